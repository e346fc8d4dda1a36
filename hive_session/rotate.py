"""Rotates a log that others hold open and append to, without losing a byte: copy its head away, then cut the head off.

A process of its own, started by the runner for each rotation, because fallocate(2) needs ctypes. Stdlib only.
"""

import ctypes
import fcntl
import os
import sys

FALLOC_FL_COLLAPSE_RANGE = 0x08  # linux/falloc.h: removes a block-aligned range; what follows moves up


def main() -> None:
    """argv: LOG BASE_FILE BACKUPS."""
    _, log, base, backups = sys.argv
    rotate(log, base, int(backups))


def rotate(log: str, base: str, backups: int) -> int:
    """Move the block-aligned head of `log` to `log`.1, keeping `backups` older ones; returns the bytes moved.

    `base` is flocked meanwhile; it holds two numbers: how many bytes were ever moved out (what a reader adds to a file
    offset to get a log offset), and how many are being moved now (0 outside a rotation), so that a rotation that was
    killed is finished by the next one instead of leaving its bytes twice.
    """
    with os.fdopen(os.open(base, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        moved, pending = read_base(file.fileno())
        with open(log, "r+b") as head:
            if pending:
                moved = _finish(log, head.fileno(), moved, pending)
                _write_base(file.fileno(), moved, 0)
            info = os.fstat(head.fileno())
            length = (info.st_size - 1) // info.st_blksize * info.st_blksize
            if length <= 0:
                return 0
            _write_base(file.fileno(), moved, length)
            _copy_head(head.fileno(), f"{log}.tmp", length)
            shift(log, backups)
            os.rename(f"{log}.tmp", f"{log}.1")
            collapse(head.fileno(), length)
            _write_base(file.fileno(), moved + length, 0)
    return length


def read_base(fd: int) -> tuple[int, int]:
    """(bytes ever moved out of the log, bytes being moved now) as the base file says; zeros when it is empty."""
    words = os.pread(fd, 64, 0).split()
    return (int(words[0]), int(words[1])) if len(words) == 2 else (0, 0)


def _write_base(fd: int, moved: int, pending: int) -> None:
    os.pwrite(fd, b"%020d %020d\n" % (moved, pending), 0)
    os.fsync(fd)


def _finish(log: str, head: int, moved: int, pending: int) -> int:
    """Complete a rotation that was killed: before the copy was whole it is forgotten, after it the head is cut off."""
    if os.path.exists(f"{log}.tmp"):
        os.unlink(f"{log}.tmp")
        return moved
    try:
        with open(f"{log}.1", "rb") as copy:
            whole = os.fstat(copy.fileno()).st_size == pending
            same = whole and os.pread(copy.fileno(), 65536, 0) == os.pread(head, min(65536, pending), 0)
    except FileNotFoundError:
        return moved
    if same:
        collapse(head, pending)
    return moved + pending if whole else moved


def _copy_head(source: int, target: str, length: int) -> None:
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        done = 0
        while done < length:
            done += os.copy_file_range(source, fd, length - done, offset_src=done)
        os.fsync(fd)
    except OSError:
        os.unlink(target)
        raise
    finally:
        os.close(fd)


def shift(log: str, backups: int) -> None:
    """Rename LOG.1 to LOG.2 and so on; the one beyond `backups` goes."""
    for number in range(backups, 0, -1):
        if os.path.exists(f"{log}.{number}"):
            if number == backups:
                os.unlink(f"{log}.{number}")
            else:
                os.rename(f"{log}.{number}", f"{log}.{number + 1}")


def collapse(fd: int, length: int) -> None:
    """Cut the first `length` bytes (whole blocks) off an open file. Raises: OSError where the filesystem cannot."""
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
