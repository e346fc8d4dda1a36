"""Rotates a log that others hold open and append to, without losing a byte: copy its head away, then cut the head off.

A process of its own, started by the runner for each rotation, because fallocate(2) needs ctypes. Stdlib only.
"""

import errno
import fcntl
import os
import sys
import time

from hive_session.appending import append_lines
from hive_session.ondisk.log import MARK_BYTES, Base, decode_base, encode_base, settle_base

FALLOC_FL_COLLAPSE_RANGE = 0x08  # linux/falloc.h: removes a block-aligned range; what follows moves up


def main() -> None:
    """argv: LOG BASE_FILE BACKUPS TELEMETRY. Where it cannot, the runner tries again; a full disk is not worth a word."""
    _, log, base, backups, telemetry = sys.argv
    try:
        rotate(log, base, int(backups), telemetry)
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise


def rotate(log: str, base_file: str, backups: int, telemetry: str) -> None:
    """Move the block-aligned head of `log` to `log`.1 and keep at most `backups` of these. Raises: OSError.

    `base_file` is flocked meanwhile. A rotation may be killed at any step; the next one finishes it, and readers look through
    it before that. The copy is whole, as `log`.tmp, before the base tells of it. Then a random mark is written over the
    head of the log, which is in the copy; then the copy gets its name; then the head is cut off. So once `log`.tmp is
    gone, the mark alone says whether the cut was made.
    """
    with os.fdopen(open_base(base_file), "r+b") as file, open(log, "r+b") as head:
        found = decode_base(os.pread(file.fileno(), 256, 0))
        base = settle_base(log, found)
        if base.leaving:
            base = _put_away(log, head.fileno(), file.fileno(), base, backups, telemetry)
        elif found.leaving:
            write_base(file.fileno(), base)  # before there is a new copy, which would speak for the old base
        info = os.fstat(head.fileno())
        length = (info.st_size - 1) // info.st_blksize * info.st_blksize
        if length > 0:
            _copy_head(head.fileno(), f"{log}.tmp", length)
            base = Base(base.moved, length, os.urandom(MARK_BYTES // 2).hex())
            write_base(file.fileno(), base)
            _put_away(log, head.fileno(), file.fileno(), base, backups, telemetry)


def open_base(path: str) -> int:
    """The descriptor of a base file, flocked."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def write_base(fd: int, base: Base) -> None:
    os.pwrite(fd, encode_base(base), 0)
    os.fsync(fd)


def tell_rotated(telemetry: str, moved: int) -> None:
    """Append a `log_rotated` event: `moved` bytes have left the log so far."""
    fd = os.open(telemetry, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    append_lines(fd, b'{"ts":%d,"type":"log_rotated","base":%d}\n' % (time.time_ns() // 1_000_000, moved))
    os.close(fd)


def _put_away(log: str, head: int, base_fd: int, base: Base, backups: int, telemetry: str) -> Base:
    """From a whole copy that the base tells of, and a head not yet cut off, to the end of the rotation; the base then."""
    if os.path.exists(f"{log}.tmp"):
        os.pwrite(head, base.mark.encode(), 0)
        os.fdatasync(head)
        shift(log, backups)
        os.rename(f"{log}.tmp", f"{log}.1")
    collapse(head, base.leaving)
    after = Base(base.moved + base.leaving)
    write_base(base_fd, after)
    tell_rotated(telemetry, after.moved)
    return after


def _copy_head(source: int, target: str, length: int) -> None:
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        done = 0
        while done < length:
            copied = os.copy_file_range(source, fd, length - done, offset_src=done)
            if not copied:
                raise OSError(errno.EIO, "the log became shorter while it was copied")
            done += copied
        os.fsync(fd)
    except OSError:
        os.unlink(target)
        raise
    finally:
        os.close(fd)


def shift(log: str, backups: int) -> None:
    """Make LOG.1 free: rename it to LOG.2, and so on up to the first name that is free, or else over the oldest."""
    beyond = max(backups, 1) + 1
    while os.path.exists(f"{log}.{beyond}"):
        beyond += 1
    for number in range(beyond - 1, backups, -1):  # there were more of them once
        os.unlink(f"{log}.{number}")
    free = 1
    while free < backups and os.path.exists(f"{log}.{free}"):
        free += 1
    for number in range(free - 1, 0, -1):
        os.rename(f"{log}.{number}", f"{log}.{number + 1}")


def collapse(fd: int, length: int) -> None:
    """Cut the first `length` bytes (whole blocks) off an open file. Raises: OSError where the filesystem cannot."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    fallocate = libc.fallocate
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, length) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def can_collapse(directory: str) -> bool:
    """True when files in `directory` can lose their head (ext4, xfs); False on tmpfs and others: those need the pump."""
    path = f"{directory}/.collapse-{os.getpid()}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        block = os.fstat(fd).st_blksize
        os.write(fd, bytes(2 * block))
        collapse(fd, block)
    except OSError:
        return False
    finally:
        os.close(fd)
        os.unlink(path)
    return True
