"""Appending whole lines to a file that others append to as well, on a disk that may be full. Stdlib only, for lean programs.

What a full disk cuts stays in the file as half a line, which is none, unless whoever writes next ends it first.
"""

import os

LOOKS = 100  # at a file that grows each time


def append_lines(fd: int, lines: bytes) -> bytes:
    """Append `lines`, whole ones with their LFs, in one write; returns those that the disk had no room for, to be given again.

    `fd` is open for reading and appending. Raises: OSError when it took nothing.
    """
    if not lines:
        return b""
    torn = _ends_in_half_a_line(fd)
    done = os.write(fd, b"\n" + lines if torn else lines) - torn
    # A line that lacks nothing but its end is there: the next writer ends it, and once more it would be there twice.
    return lines[lines.rfind(b"\n", 0, done + 1) + 1 :]


def _ends_in_half_a_line(fd: int) -> bool:
    """True where half a line was left at the end; one that somebody is writing at this moment is none."""
    for _ in range(LOOKS):
        size = os.fstat(fd).st_size
        if not size or os.pread(fd, 1, size - 1) == b"\n":
            return False
        os.lseek(fd, 0, os.SEEK_HOLE)  # waits until a write that is underway is over, on ext4, btrfs and tmpfs
        if os.fstat(fd).st_size == size:
            return True
    return False  # others write all the time: the next of them ends what is left
