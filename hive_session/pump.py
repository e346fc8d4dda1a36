"""Writes what comes on stdin to a log and rotates it by renaming, for filesystems on which a file cannot lose its head.

Started by the runner, which holds both ends of the pipe: a pump that is killed is replaced, and no agent notices. Stdlib only.
"""

import errno
import fcntl
import os
import sys
import time

from hive_session.rotate import read_base, shift

CHUNK_BYTES = 65536


def main() -> None:
    """argv: LOG BASE_FILE BACKUPS ROTATE_BYTES."""
    _, log, base, backups, rotate_bytes = sys.argv
    out = _open(log)
    while chunk := os.read(0, CHUNK_BYTES):
        if os.fstat(out).st_size + len(chunk) > int(rotate_bytes):
            _rename(log, base, int(backups))
            os.close(out)
            out = _open(log)
        _write_all(out, chunk)


def _open(log: str) -> int:
    return os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except OSError as exc:
            if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            time.sleep(1)  # a full disk halts the agent's output; it must not lose it


def _rename(log: str, base: str, backups: int) -> None:
    with os.fdopen(os.open(base, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        moved, _ = read_base(file.fileno())
        size = os.stat(log).st_size
        shift(log, backups)
        os.rename(log, f"{log}.1")
        os.pwrite(file.fileno(), b"%020d %020d\n" % (moved + size, 0), 0)
