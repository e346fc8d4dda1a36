"""Writes what comes on stdin to a log and rotates it by renaming, for filesystems on which a file cannot lose its head.

Started by the runner, which holds both ends of the pipe: a pump that is killed is replaced, and no agent notices. The bytes go
from pipe to file inside the kernel, so a pump that is killed takes none with it. Stdlib only.
"""

import errno
import fcntl
import os
import sys
import time

from hive_session.ondisk.log import RENAMED, Base, decode_base, settle_base
from hive_session.rotate import open_base, shift, tell_rotated, write_base

CHUNK_BYTES = 65536


def main() -> None:
    """argv: LOG BASE_FILE BACKUPS TELEMETRY ROTATE_BYTES."""
    _, log, base, backups, telemetry, rotate_bytes = sys.argv
    _await_turn()
    out = _open(log)
    while _move(out, max(1, int(rotate_bytes) - os.fstat(out).st_size)):
        if os.fstat(out).st_size >= int(rotate_bytes):
            _rename(log, base, int(backups), telemetry)
            os.close(out)
            out = _open(log)


def _await_turn() -> None:
    """Wait until no other pump is at this pipe: its flock, on a description of our own, goes with this process."""
    fcntl.flock(os.open("/proc/self/fd/0", os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_EX)


def _open(log: str) -> int:
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _move(out: int, limit: int) -> bool:
    """Move up to `limit` bytes from stdin to the end of `out`; False at the end of stdin."""
    while True:
        try:
            # Not O_APPEND, which splice(2) refuses: the runner's own words to this log come before and after the agent's.
            return os.splice(0, out, min(limit, CHUNK_BYTES), offset_dst=os.fstat(out).st_size) > 0
        except OSError as exc:
            if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            time.sleep(1)  # a full disk halts the agent's output; it must not lose it


def _rename(log: str, base_file: str, backups: int, telemetry: str) -> None:
    """Move all of `log` to `log`.1. One that was killed is told apart by the inode: only before the rename it is `log`'s."""
    with os.fdopen(open_base(base_file), "r+b") as file:
        moved = settle_base(log, decode_base(os.pread(file.fileno(), 256, 0))).moved
        info = os.stat(log)
        write_base(file.fileno(), Base(moved, info.st_size, f"{RENAMED}{info.st_ino}"))
        shift(log, backups)
        os.rename(log, f"{log}.1")
        write_base(file.fileno(), Base(moved + info.st_size))
    tell_rotated(telemetry, moved + info.st_size)
