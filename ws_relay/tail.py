"""The events of one telemetry.jsonl by their bytes: what is new since the last look, and any part of it again.

The rules of this file:
- `offset` is where the next line begins. A last line without its end is left for later, however long it grows.
- A line that is no event has its place in the range but is not among the lines (docs/format.md, "Bad lines").
- A file that another one has replaced is read to its end first. A file that was cut begins anew. Either is told.
- A file that cannot be read has nothing new until it can. That is told once, and costs nobody but who wants its events.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from hive_session.ondisk.events import BadEvent, decode_event

SLICE_BYTES = 1 << 16  # read at a time: some 1 ms of work, and a frame of the same size
SEARCH_BYTES = 1 << 20  # looked through at a time for the end of a line that is no event
MARK_BYTES = 256  # of a file's head, by which it is told from another that has taken its place

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Slice:
    """Events and where they stand."""

    start: int
    end: int
    lines: list[bytes]  # without their line ends
    more: bool  # there is more to read at once


class Tail:
    """Follows one file, which need not exist yet. Its descriptor stays open between reads: `rest` gives it back.

    `on_restart` is called with the offset up to which the file before was read, when another one begins at 0; `restarts`
    counts that. `trouble` is why the file could not be read at the last attempt; a missing one is none.
    """

    __slots__ = (
        "_file",
        "_mark",
        "_on_restart",
        "_passed",
        "_path",
        "_scanned",
        "_where",
        "offset",
        "restarts",
        "trouble",
    )

    def __init__(self, path: str, offset: int, on_restart: Callable[[int], None]) -> None:
        self.offset = offset
        self.restarts = 0
        self.trouble: OSError | None = None
        self._path = path
        self._on_restart = on_restart
        self._file: int | None = None
        self._where: tuple[int, int] | None = None  # device and inode
        self._mark = b""
        self._scanned = offset  # there is no line end between `offset` and here
        self._passed: dict[int, int] = {}  # the same for other very long lines, by their beginnings

    def read(self) -> Slice | None:
        """The next events, some SLICE_BYTES of them; None when there are none by now, or another file begins.

        An empty slice says that the end of a long line is still looked for.
        """
        return self._attempt(self._read, None)

    def _read(self) -> Slice | None:
        if not self._open() or not self._is_the_same():
            return None
        found = self._next()
        if found is not None:
            self.offset = found.end
            self._scanned = max(self._scanned, found.end)
        elif self._replaced():
            self._restart()
        return found

    def part(self, start: int, end: int) -> Slice | None:
        """Events from `start` on, some SLICE_BYTES of them, but none after `end`; both are beginnings of lines.

        An empty slice says that the end of a long line is still looked for. None when another file begins, or nothing can be read.
        """
        return self._attempt(lambda: self._part(start, end), None)

    def _part(self, start: int, end: int) -> Slice | None:
        if not self._open() or not self._is_the_same():
            return None
        assert self._file is not None
        chunk = os.pread(self._file, min(SLICE_BYTES, end - start), start)
        whole = chunk.rfind(b"\n") + 1
        if whole:
            return Slice(start, start + whole, _events(chunk[:whole]), start + whole < end)
        begin = self._passed.get(start, start + len(chunk))
        at, ends = self._search(begin)
        if not ends and at == begin:
            return None
        if at - start > SEARCH_BYTES:
            self._passed[start] = at - ends  # whoever comes here too need not look again
        return Slice(start, at, [], at < end) if ends else Slice(start, start, [], True)

    def starts_line(self, offset: int) -> bool:
        """True where a line begins, or will begin."""
        return offset == 0 or self._attempt(lambda: self._ends_line(offset), False)

    def _ends_line(self, offset: int) -> bool:
        if not self._open():
            return False
        assert self._file is not None
        return os.pread(self._file, 1, offset - 1) == b"\n"

    def seek_end(self, known: int = 0) -> None:
        """Pass over all whole lines that there are; before a very long half line, those up to `known`, where one begins."""
        self._attempt(lambda: self._seek_end(known), None)

    def _seek_end(self, known: int) -> None:
        if not self._open():
            return
        assert self._file is not None
        size = end = os.fstat(self._file).st_size
        while end > max(self.offset, size - SEARCH_BYTES):
            begin = max(self.offset, end - SLICE_BYTES)
            found = os.pread(self._file, end - begin, begin).rfind(b"\n")
            if found >= 0:
                self.offset = self._scanned = begin + found + 1
                return
            end = begin
        if self.offset < known <= size and self._ends_line(known):
            self.offset = self._scanned = known

    def rest(self) -> None:
        """Close the file; the next read opens it again."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # what it may report is about writing
                os.close(file)

    def _attempt(self, work: Callable[[], Found], nothing: Found) -> Found:
        """What `work` finds; `nothing` where the file cannot be read, and it is opened anew the next time."""
        try:
            found = work()
        except OSError as exc:
            self.rest()
            self.trouble = exc
            return nothing
        self.trouble = None
        return found

    def _open(self) -> bool:
        """True when there is a file to read from, and it is the one that was read before. Raises: OSError."""
        if self._file is not None:
            return True
        try:
            # Not to wait for a writer where somebody put a named pipe.
            file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return False
        self._file = file
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            self.rest()
            return False
        where = (found.st_dev, found.st_ino)
        if self._where not in (None, where):
            self._restart()
            return False
        self._where = where
        return True

    def _next(self) -> Slice | None:
        assert self._file is not None
        chunk = os.pread(self._file, SLICE_BYTES, self.offset)
        whole = chunk.rfind(b"\n") + 1
        if whole:
            return Slice(self.offset, self.offset + whole, _events(chunk[:whole]), len(chunk) == SLICE_BYTES)
        if len(chunk) < SLICE_BYTES:
            return None
        # Longer than any event: its end is looked for, and nothing of it is kept.
        begin = max(self._scanned, self.offset + len(chunk))
        self._scanned, ends = self._search(begin)
        if ends:
            return Slice(self.offset, self._scanned, [], True)
        return Slice(self.offset, self.offset, [], True) if self._scanned - begin >= SEARCH_BYTES else None

    def _search(self, at: int) -> tuple[int, bool]:
        """Look for the end of the line that reaches over `at`, in some SEARCH_BYTES: how far it went, and whether it ends there."""
        assert self._file is not None
        until = at + SEARCH_BYTES
        while at < until and (chunk := os.pread(self._file, SLICE_BYTES, at)):
            found = chunk.find(b"\n") + 1
            if found:
                return at + found, True
            at += len(chunk)
        return at, False

    def _is_the_same(self) -> bool:
        """False where the file was cut, or cut and written anew; then it begins anew."""
        assert self._file is not None
        head = os.pread(self._file, MARK_BYTES, 0)
        same = head.startswith(self._mark) and os.fstat(self._file).st_size >= self.offset
        if not same:
            self._restart()
        self._mark = head if same else b""
        return same

    def _replaced(self) -> bool:
        try:
            found = os.stat(self._path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) != self._where

    def _restart(self) -> None:
        before = self.offset
        self.restarts += 1
        self.rest()
        self.offset = self._scanned = 0
        self._where, self._mark, self._passed = None, b"", {}
        self._on_restart(before)


def _events(chunk: bytes) -> list[bytes]:
    """Those of the lines that are events."""
    found = []
    for line in chunk.split(b"\n"):
        if line:
            try:
                decode_event(line)
            except BadEvent:
                continue
            found.append(line)
    return found
