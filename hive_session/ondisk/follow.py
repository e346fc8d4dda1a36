"""Following files that others append to: whole lines from a byte offset on, and a wait that inotify ends at once."""

import io
import os
import select
from collections.abc import Iterable

PASSED_BYTES = 1 << 20  # of a line that is too long, at a time
SWEEP_S = 1.0  # where inotify tells nothing (some container and network filesystems), look this often all the same


def open_file(path: str, flags: int) -> int:
    """An `opener` for open(): a named pipe in the place of a file is opened at once, and then cannot be read from."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


class Lines:
    """The whole lines of one file from a byte offset on; `offset` is always where the next line begins.

    Where `longest` is given, a line of more bytes than that is passed over when it does not come in one piece, and never
    held whole. `seen` is how far the file was read: beyond `offset` while the end of such a line is looked for.
    """

    def __init__(self, path: str, offset: int = 0, longest: int | None = None) -> None:
        self.path = path
        self.offset = self.seen = offset
        self._longest = longest

    def restart(self) -> None:
        """Read from the beginning: it is another file."""
        self.offset = self.seen = 0

    def read(self, limit: int = 1 << 20) -> list[bytes]:
        """The lines that are whole by now, each with its line end; at most about `limit` bytes. A missing file has none."""
        try:
            with open(self.path, "rb", opener=open_file) as file:
                chunk = self._chunk(file, limit)
        except FileNotFoundError:
            return []
        whole = chunk.rfind(b"\n") + 1
        self.offset += whole
        self.seen = max(self.seen, self.offset)
        # Not splitlines(): a carriage return is part of its line.
        return [line + b"\n" for line in chunk[:whole].split(b"\n")[:-1]]

    def _chunk(self, file: io.BufferedReader, limit: int) -> bytes:
        """Bytes from `offset` on: whole lines, where a line ends among them."""
        if self.seen > self.offset and not self._pass_over(file, limit):
            return b""
        chunk = os.pread(file.fileno(), limit, self.offset)
        if len(chunk) < limit or b"\n" in chunk:
            return chunk
        if self._longest is None:  # one line longer than the limit: take it whole
            file.seek(self.offset)
            return file.readline()
        if limit <= self._longest:
            chunk = os.pread(file.fileno(), self._longest + 1, self.offset)
            if len(chunk) <= self._longest or b"\n" in chunk:
                return chunk
        self.seen = self.offset + len(chunk)
        return b""

    def _pass_over(self, file: io.BufferedReader, limit: int) -> bool:
        """Look for the end of a line that is too long, among the next bytes. True: it was found, or the line is gone."""
        if os.fstat(file.fileno()).st_size < self.seen:
            self.seen = self.offset  # the file was cut
            return True
        chunk = os.pread(file.fileno(), max(limit, PASSED_BYTES), self.seen)
        end = chunk.find(b"\n") + 1
        self.seen += end or len(chunk)
        if end:
            self.offset = self.seen
        return bool(end)


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
