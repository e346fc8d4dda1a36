"""The page's own files, as a browser gets them: compressed once, and sent again only when they changed."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from hashlib import sha256
from zlib import MAX_WBITS, compressobj

ROOT = os.path.join(os.path.dirname(__file__), "page")
INDEX = "/index.html"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
PACKED = (".ico", ".png", ".woff2")  # compressing these makes them no smaller
# No part begins with a dot: there is no way out of the directory, and what is hidden stays so.
PATH = re.compile(r"(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")


@dataclass(frozen=True, slots=True)
class File:
    """One file. `packed` is its gzip, b"" where that is no smaller."""

    content_type: str
    body: bytes
    packed: bytes
    etag: str
    stamp: tuple[int, int]


class Files:
    """What there is below one directory; each file is read when it is first asked for, and again once it changed."""

    def __init__(self, root: str = ROOT) -> None:
        self._root = root
        self._read: dict[str, File] = {}

    def find(self, path: str) -> File | None:
        """The file of the path of a URL; None where there is none. Reads from disk."""
        path = INDEX if path == "/" else path
        content_type = TYPES.get(os.path.splitext(path)[1])
        if content_type is None or not PATH.fullmatch(path):
            return None
        try:
            found = os.stat(self._root + path)
            stamp = (found.st_mtime_ns, found.st_size)
            known = self._read.get(path)
            if known is None or known.stamp != stamp:
                with open(self._root + path, "rb") as file:
                    known = self._read[path] = _file(path, content_type, file.read(), stamp)
        except OSError:
            return None
        return known


def _file(path: str, content_type: str, body: bytes, stamp: tuple[int, int]) -> File:
    packed = b"" if path.endswith(PACKED) else gzipped(body, 9)
    etag = f'"{sha256(body).hexdigest()[:24]}"'
    return File(content_type, body, packed if len(packed) < len(body) else b"", etag, stamp)


def gzipped(body: bytes, level: int) -> bytes:
    """`body` in the gzip format, with nothing of the time in it."""
    packer = compressobj(level, wbits=MAX_WBITS | 16)
    return packer.compress(body) + packer.flush()
