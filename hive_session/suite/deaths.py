"""Notices at once that a program has ended. supervisord itself looks once a second, or when it is asked something.

Stdlib only, few imports: it stays in memory for ever.
"""

import os
import select

TYPE_CHECKING = False  # typing stays out of the lean listener
if TYPE_CHECKING:
    from collections.abc import Iterable


class Deaths:
    """Has `poll` tell of the end of processes, by descriptors that `ended` knows."""

    __slots__ = ("_fds", "_poll")

    def __init__(self, poll: select.poll) -> None:
        self._poll = poll
        self._fds: dict[int, int] = {}  # pid -> descriptor

    def follow(self, pids: "Iterable[int]") -> None:
        """Wait for the end of these, and of no others."""
        wanted = set(pids)
        for pid in [known for known in self._fds if known not in wanted]:
            self._forget(pid)
        for pid in wanted.difference(self._fds):
            try:
                fd = os.pidfd_open(pid)
            except OSError:
                continue  # it has ended, or there is no descriptor left: supervisord will notice by itself
            self._fds[pid] = fd
            self._poll.register(fd, select.POLLIN)

    def ended(self, fds: "Iterable[int]") -> set[int]:
        """The pids of those whose descriptors are among `fds`; each is told once."""
        found = set(fds)
        gone = {pid for pid, fd in self._fds.items() if fd in found}
        for pid in gone:
            self._forget(pid)
        return gone

    def _forget(self, pid: int) -> None:
        fd = self._fds.pop(pid)
        self._poll.unregister(fd)
        os.close(fd)
