"""MAX_CONCURRENT_SESSIONS as flocked slot files, and the queue before them by priority; a crash frees both by itself."""

import fcntl
import os
import signal

RANK = {"high": 0, "medium": 1, "low": 2}


def ticket_name(priority: str, created_ns: int, session_id: str) -> str:
    """The queue's file names sort in the order in which sessions get their slot."""
    return f"{RANK.get(priority, 1)}-{created_ns:020d}-{session_id}"


class Ticket:
    """A place in the queue, held by a flock for as long as its owner lives."""

    __slots__ = ("_directory", "_fd", "_name")

    def __init__(self, directory: str, name: str) -> None:
        """Queue up. The file appears under its name only once it is locked, so a live ticket never looks dead."""
        os.makedirs(f"{directory}/queue", exist_ok=True)
        self._directory = directory
        self._name = name
        hidden = f"{directory}/.{name}"
        self._fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        os.write(self._fd, b"%d\n" % os.getpid())
        os.rename(hidden, f"{directory}/queue/{name}")

    def try_take(self, limit: int) -> int | None:
        """The locked descriptor of a free slot among `limit`, once this ticket is first; None: ask again later."""
        queue = f"{self._directory}/queue"
        while (first := min(os.listdir(queue), default=self._name)) != self._name:
            if not _drop_if_dead(f"{queue}/{first}"):
                return None
        for number in range(1, limit + 1):
            fd = os.open(f"{self._directory}/slot-{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            if _try_lock(fd):
                self.leave()
                return fd
            os.close(fd)
        return None

    def leave(self) -> None:
        """Give up the place in the queue; whoever is first then looks at once, as there may be more slots free."""
        try:
            os.unlink(f"{self._directory}/queue/{self._name}")
        except FileNotFoundError:
            pass
        os.close(self._fd)
        wake_first(self._directory)


def wake_first(directory: str) -> None:
    """Send SIGCHLD to the first in the queue. Who does not expect it is not hurt by it; who misses it looks by itself later."""
    queue = f"{directory}/queue"
    for name in sorted(_names(queue)):
        try:
            with open(f"{queue}/{name}", "rb") as file:
                os.kill(int(file.read(20)), signal.SIGCHLD)
            return
        except (OSError, ValueError, OverflowError):
            continue  # it left in this moment, or was killed


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []  # who cleared it away has nobody woken


def _drop_if_dead(path: str) -> bool:
    """Remove a ticket that nobody holds; True when it is gone."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        if not _try_lock(fd):
            return False
        os.unlink(path)
    except FileNotFoundError:
        pass  # its owner left in this moment
    finally:
        os.close(fd)
    return True


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
