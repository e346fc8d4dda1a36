"""Appending whole lines to a file that others append to as well, on a disk that may be full. Stdlib only, for lean programs.

What a full disk cuts stays in the file as half a line, which is none, unless whoever writes next ends it first.
"""

import os


def append_lines(fd: int, lines: bytes) -> bytes:
    """Append `lines`, whole ones with their LFs, in one write; returns those that the disk had no room for, to be given again.

    `fd` is open for reading and appending. Raises: OSError when it took nothing.
    """
    if not lines:
        return b""
    size = os.fstat(fd).st_size
    torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
    done = os.write(fd, b"\n" + lines if torn else lines) - torn
    # A line that lacks nothing but its end is there: the next writer ends it, and once more it would be there twice.
    return lines[lines.rfind(b"\n", 0, done + 1) + 1 :]
