"""Following files that others append to: whole lines from a byte offset on, and a wait that inotify ends at once."""

import os
import select
from collections.abc import Iterable

SWEEP_S = 1.0  # where inotify tells nothing (some container and network filesystems), look this often all the same


def open_file(path: str, flags: int) -> int:
    """An `opener` for open(): a named pipe in the place of a file is opened at once, and then cannot be read from."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


class Lines:
    """The whole lines of one file from a byte offset on; `offset` is always where the next line begins."""

    def __init__(self, path: str, offset: int = 0) -> None:
        self.path = path
        self.offset = offset

    def read(self, limit: int = 1 << 20) -> list[bytes]:
        """The lines that are whole by now, each with its line end; at most about `limit` bytes. A missing file has none."""
        try:
            with open(self.path, "rb", opener=open_file) as file:
                chunk = os.pread(file.fileno(), limit, self.offset)
                whole = chunk.rfind(b"\n") + 1
                if not whole and len(chunk) == limit:  # one line longer than the limit: take it whole
                    file.seek(self.offset)
                    chunk = file.readline()
                    whole = len(chunk) if chunk.endswith(b"\n") else 0
        except FileNotFoundError:
            return []
        self.offset += whole
        # Not splitlines(): a carriage return is part of its line.
        return [line + b"\n" for line in chunk[:whole].split(b"\n")[:-1]]


class Changes:
    """Waits until something changes in a few files or directories. One inotify instance; close it after use."""

    def __init__(self, paths: Iterable[str]) -> None:
        from hive_session.ondisk import inotify  # here, not above: readers of `Lines` alone spare ctypes

        self._inotify = inotify.Inotify()
        self._mask = inotify.MODIFY | inotify.CREATE | inotify.MOVED_TO | inotify.CLOSE_WRITE
        self._paths = list(paths)
        self._watch()

    def _watch(self) -> None:
        """Watch each path, and again what stands there now: a log that was renamed is not the one that grows."""
        for path in self._paths:
            try:
                self._inotify.add_watch(path, self._mask)  # once more changes nothing
            except FileNotFoundError:
                continue  # in the middle of a renaming; the sweep comes back to it

    def wait(self, also: Iterable[int] = (), timeout_s: float = SWEEP_S) -> list[int]:
        """Return at the first change, when one of the descriptors `also` is readable, or after `timeout_s`.

        Gives those of `also` that are readable.
        """
        others = list(also)
        readable, _, _ = select.select([self._inotify.fileno(), *others], [], [], timeout_s)
        if self._inotify.fileno() in readable:
            self._inotify.read()
        else:
            self._watch()
        return [fd for fd in others if fd in readable]

    def close(self) -> None:
        self._inotify.close()
