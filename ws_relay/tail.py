"""The events of one telemetry.jsonl by their bytes: what is new since the last look, and any part of it again.

The rules of this file:
- `offset` is where the next line begins. A last line without its end is left for later, however long it grows.
- A line that is no event has its place in the range but is not among the lines (docs/format.md, "Bad lines").
- A file that another one has replaced is read to its end first. A file that was cut begins anew. Either is told.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from hive_session.ondisk.events import BadEvent, decode_event

SLICE_BYTES = 1 << 16  # read at a time: some 1 ms of work, and a frame of the same size
MARK_BYTES = 256  # of a file's head, by which it is told from another that has taken its place


@dataclass(frozen=True, slots=True)
class Slice:
    """Events and where they stand."""

    start: int
    end: int
    lines: list[bytes]  # without their line ends
    more: bool  # there is more to read at once


class Tail:
    """Follows one file, which need not exist yet. Its descriptor stays open between reads: `rest` gives it back.

    `on_restart` is called with the offset up to which the file before was read, when another one begins at 0.
    """

    __slots__ = ("_file", "_mark", "_on_restart", "_path", "_scanned", "_where", "offset")

    def __init__(self, path: str, offset: int, on_restart: Callable[[int], None]) -> None:
        self.offset = offset
        self._path = path
        self._on_restart = on_restart
        self._file: int | None = None
        self._where: tuple[int, int] | None = None  # device and inode
        self._mark = b""
        self._scanned = offset  # there is no line end between `offset` and here

    def read(self) -> Slice | None:
        """The next events, some SLICE_BYTES of them; None when there are none by now, or another file begins."""
        if not self._open() or not self._is_the_same():
            return None
        found = self._next()
        if found is not None:
            self.offset = self._scanned = found.end
        elif self._replaced():
            self._restart()
        return found

    def part(self, start: int, end: int) -> Slice | None:
        """Events from `start` on, some SLICE_BYTES of them, but none after `end`; both are beginnings of lines.

        None when another file begins, or nothing can be read.
        """
        if not self._open() or not self._is_the_same():
            return None
        assert self._file is not None
        chunk = os.pread(self._file, min(SLICE_BYTES, end - start), start)
        whole = chunk.rfind(b"\n") + 1
        if whole:
            return Slice(start, start + whole, _events(chunk[:whole]), start + whole < end)
        after = self._line_end(start + len(chunk))
        return None if after is None else Slice(start, after, [], after < end)

    def starts_line(self, offset: int) -> bool:
        """True where a line begins, or will begin."""
        if offset == 0:
            return True
        if not self._open():
            return False
        assert self._file is not None
        return os.pread(self._file, 1, offset - 1) == b"\n"

    def seek_end(self) -> None:
        """Pass over all whole lines that there are."""
        if not self._open():
            return
        assert self._file is not None
        end = os.fstat(self._file).st_size
        while end > self.offset:
            begin = max(self.offset, end - SLICE_BYTES)
            found = os.pread(self._file, end - begin, begin).rfind(b"\n")
            if found >= 0:
                self.offset = self._scanned = begin + found + 1
                return
            end = begin

    def rest(self) -> None:
        """Close the file; the next read opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> bool:
        """True when there is a file to read from, and it is the one that was read before."""
        if self._file is not None:
            return True
        try:
            # Not to wait for a writer where somebody put a named pipe.
            file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False  # as if it were missing; the next change asks again
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            os.close(file)
            return False
        self._file = file
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
        end = self._line_end(max(self._scanned, self.offset + len(chunk)))
        return None if end is None else Slice(self.offset, end, [], True)

    def _line_end(self, at: int) -> int | None:
        """Where the line that reaches over `at` ends; None while it does not."""
        assert self._file is not None
        while chunk := os.pread(self._file, SLICE_BYTES, at):
            found = chunk.find(b"\n")
            if found >= 0:
                return at + found + 1
            at += len(chunk)
        self._scanned = at
        return None

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
        self.rest()
        self.offset = self._scanned = 0
        self._where, self._mark = None, b""
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
