"""A session's log read by log offset: bytes counted from its very beginning, across rotations, whatever was moved meanwhile."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from hive_session.ondisk.layout import SessionPaths


def log_end(paths: SessionPaths) -> int:
    """The log offset at which the next byte will be written."""
    with _still(paths) as (moved, _):
        return moved + _size(paths.log)


def read_log(paths: SessionPaths, offset: int, limit: int) -> tuple[bytes, int]:
    """Up to `limit` bytes from log offset `offset` on, and the offset after them; no bytes: nothing more for now.

    What rotation has dropped for good is passed over: the bytes then begin at the oldest that is kept.
    """
    with _still(paths) as (moved, first_backup):
        segments = _segments(paths.log, moved, first_backup)
        for at, (start, path) in enumerate(segments):
            end = segments[at + 1][0] if at + 1 < len(segments) else None
            if end is not None and offset >= end:
                continue
            offset = max(offset, start)
            with open(path, "rb") as file:
                data = os.pread(file.fileno(), limit if end is None else min(limit, end - offset), offset - start)
            return data, offset + len(data)
    return b"", offset


def _segments(log: str, moved: int, first_backup: int) -> list[tuple[int, str]]:
    """(log offset of its first byte, path) of each file that holds a part of the log, oldest first."""
    found = [(moved, log)] if os.path.exists(log) else []
    start, number = moved, first_backup
    while os.path.exists(f"{log}.{number}"):
        start -= _size(f"{log}.{number}")
        found.insert(0, (start, f"{log}.{number}"))
        number += 1
    return found


@contextmanager
def _still(paths: SessionPaths) -> Iterator[tuple[int, int]]:
    """(bytes ever moved out of the log, number of its first backup), with rotation held off meanwhile."""
    try:
        fd = os.open(paths.log_base, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # never rotated
        yield 0, 1
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        words = os.pread(fd, 64, 0).split()
        yield _settled(paths.log, int(words[0]), int(words[1])) if len(words) == 2 else (0, 1)
    finally:
        os.close(fd)


def _settled(log: str, moved: int, pending: int) -> tuple[int, int]:
    """Looks through a rotation that was killed (rotate.py finishes it later): no byte is shown twice, none is missing."""
    copied = pending and not os.path.exists(f"{log}.tmp") and _size(f"{log}.1") == pending
    if not copied:
        return moved, 1
    if _head(log, pending) == _head(f"{log}.1", pending):
        return moved, 2  # the head still stands in the log: pass over its copy
    return moved + pending, 1


def _head(path: str, length: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(min(65536, length))


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
