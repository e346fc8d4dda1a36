"""A session's log read by log offset: bytes counted from its very beginning, across rotations, whatever was moved meanwhile."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hive_session.ondisk.layout import SessionPaths

MARK_BYTES = 32
HOLD_OFF_S = 5.0  # whoever keeps the base longer than any rotation holds up its readers no more than this
RENAMED = "inode:"  # how the mark of a log begins that is rotated by renaming


class Base:
    """What log.base holds: how much of a log has left its file, and how far a rotation came that did not end.

    `moved`: bytes that have left. `leaving`: bytes that were leaving when the last rotation was killed, else 0. `mark`: what
    tells whether those still begin the log file. Where the head is cut off, they do while the file begins with `mark`
    itself, which was written over bytes that are in the copy already; where the file is renamed, while it is the inode
    that `mark` names.
    """

    __slots__ = ("leaving", "mark", "moved")

    def __init__(self, moved: int = 0, leaving: int = 0, mark: str = "") -> None:
        self.moved = moved
        self.leaving = leaving
        self.mark = mark


def decode_base(raw: bytes) -> Base:
    """The base in `raw`; that of a log never rotated where it is anything else."""
    words = raw.split()
    if len(words) != 3 or not (words[0].isdigit() and words[1].isdigit()):
        return Base()
    return Base(int(words[0]), int(words[1]), words[2].decode("ascii", "replace"))


def encode_base(base: Base) -> bytes:
    """The bytes of log.base, always as many."""
    return b"%020d %020d %-*s\n" % (base.moved, base.leaving, MARK_BYTES, base.mark.encode() or b"-")


def settle_base(log: str, base: Base) -> Base:
    """`base` as it would be, had the last rotation not been killed; one whose head still stands in the log stays."""
    if base.leaving and not (os.path.exists(log) and _head_stands(log, base.mark)):
        return Base(base.moved + base.leaving)
    return Base(base.moved) if base.mark.startswith(RENAMED) else base


def _head_stands(log: str, mark: str) -> bool:
    if mark.startswith(RENAMED):
        return str(os.stat(log).st_ino) == mark.removeprefix(RENAMED)
    if os.path.exists(f"{log}.tmp"):
        return True
    with open(log, "rb") as file:
        return file.read(len(mark)) == mark.encode()


def log_end(paths: SessionPaths) -> int:
    """The log offset at which the next byte will be written."""
    with _still(paths) as base:
        return base.moved + _size(paths.log)


def read_log(paths: SessionPaths, offset: int, limit: int) -> tuple[bytes, int]:
    """Up to `limit` bytes from log offset `offset` on, and the offset after them; no bytes: nothing more for now.

    What rotation has dropped for good is passed over: the bytes then begin at the oldest that is kept.
    """
    with _still(paths) as base:
        segments = _segments(paths.log, base)
        for at, (start, path, skip) in enumerate(segments):
            end = segments[at + 1][0] if at + 1 < len(segments) else None
            if end is not None and offset >= end:
                continue
            offset = max(offset, start)
            with open(path, "rb") as file:
                length = limit if end is None else min(limit, end - offset)
                data = os.pread(file.fileno(), length, offset - start + skip)
            return data, offset + len(data)
    return b"", offset


def _segments(log: str, base: Base) -> list[tuple[int, str, int]]:
    """(log offset, path, position in the file) of where each part of the log begins, oldest first."""
    number = 1
    found = [(base.moved, log, 0)] if os.path.exists(log) else []
    if base.leaving:
        copied = not os.path.exists(f"{log}.tmp")
        number = 2 if copied else 1
        copy = f"{log}.1" if copied else f"{log}.tmp"
        found = [(base.moved, copy, 0), (base.moved + base.leaving, log, base.leaving)]
    start = base.moved
    # A rotation that was killed in the middle of renaming leaves one number out.
    while os.path.exists(f"{log}.{number}") or os.path.exists(f"{log}.{number + 1}"):
        if size := _size(f"{log}.{number}"):
            start -= size
            found.insert(0, (start, f"{log}.{number}", 0))
        number += 1
    return found


@contextmanager
def _still(paths: SessionPaths) -> Iterator[Base]:
    """The base of the log, with rotation held off meanwhile."""
    try:
        fd = os.open(paths.log_base, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # never run
        yield Base()
        return
    try:
        _hold_off(fd)
        yield settle_base(paths.log, decode_base(os.pread(fd, 256, 0)))
    finally:
        os.close(fd)


def _hold_off(fd: int) -> None:
    """Wait for a rotation in progress, which takes milliseconds. Raises: BlockingIOError where it takes seconds."""
    give_up_s = time.monotonic() + HOLD_OFF_S
    while True:
        tried_s = time.monotonic()  # before the try: a machine that stood still since then is no reason to give up
        try:
            return fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if tried_s > give_up_s:
                raise
        time.sleep(0.005)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
