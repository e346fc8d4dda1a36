"""What /proc tells of a process tree: who is in it, what it uses, and how to end it. Stdlib only, few imports."""

import os
import signal

TYPE_CHECKING = False  # typing stays out of the lean runner
if TYPE_CHECKING:
    from collections.abc import Callable

CLOCK_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Use:
    """What one process uses, with what the children it has collected used."""

    __slots__ = ("cpu_ms", "read_bytes", "rss_bytes", "write_bytes")

    def __init__(self, cpu_ms: int, rss_bytes: int, read_bytes: int, write_bytes: int) -> None:
        self.cpu_ms = cpu_ms
        self.rss_bytes = rss_bytes
        self.read_bytes = read_bytes  # from storage; 0 where that is not ours to read
        self.write_bytes = write_bytes


def read_proc(path: str) -> bytes:
    """All of a /proc file, which gives a page at a time; empty when the process is gone or not ours to read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    pieces = []
    try:
        while piece := os.read(fd, 65536):
            pieces.append(piece)
        return b"".join(pieces)
    except OSError:
        return b""
    finally:
        os.close(fd)


def start_ticks(pid: int) -> int | None:
    """When `pid` started, in clock ticks since boot: with the pid it names one process for ever. None: no such process."""
    fields = _stat_fields(pid)
    return int(fields[19]) if fields else None


def lives(pid: int, started: int) -> bool:
    """True while the process that was `pid` and `started` at that tick has not ended; a zombie has."""
    return start_ticks(pid) == started and not is_zombie(pid)


def _stat_fields(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the third on (state first); the name before them may hold anything."""
    raw = read_proc(f"/proc/{pid}/stat")
    return raw[raw.rfind(b")") + 2 :].split()


def children(pid: int) -> list[int]:
    """The pids of the direct children of all threads of `pid`."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    found: list[int] = []
    for thread in threads:
        found.extend(map(int, read_proc(f"/proc/{pid}/task/{thread}/children").split()))
    return found


def descendants(pid: int, belongs: "Callable[[int], bool]") -> list[int]:
    """The pids of all processes below `pid`, parents before children; where one does not belong, nothing below it does."""
    found = list(filter(belongs, children(pid)))
    for each in found:  # grows while it is walked
        found.extend(filter(belongs, children(each)))
    return found


def marked(session_id: str) -> list[int]:
    """The pids of all processes whose environment names this session, wherever in the tree they hang now."""
    return [pid for pid, found in sessions_by_pid().items() if found == session_id]


def sessions_by_pid() -> dict[int, str]:
    """The session that each process on the machine says it belongs to; zombies and this process left out."""
    own = os.getpid()
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    found = {pid: session_of(pid) for pid in pids if pid != own}
    return {pid: session for pid, session in found.items() if session is not None and not is_zombie(pid)}


def session_of(pid: int) -> str | None:
    """The session that the environment of `pid` names; None when it names none or is not ours to read."""
    _, mark, rest = (b"\0" + _environ(pid)).partition(b"\0HIVE_SESSION_ID=")
    return os.fsdecode(rest.partition(b"\0")[0]) if mark else None


def _environ(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read()
    except OSError:
        return b""


def is_zombie(pid: int) -> bool:
    """True when `pid` has ended and waits for its parent to notice."""
    return _stat_fields(pid)[:1] == [b"Z"]


def parent_of(pid: int) -> int | None:
    """The pid of its parent; None when the process is gone."""
    fields = _stat_fields(pid)
    return int(fields[1]) if fields else None


def send(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to each of `pids` that is still there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def use_of(pid: int) -> Use | None:
    """What `pid` uses by now; None when it is gone."""
    fields = _stat_fields(pid)
    if not fields:
        return None
    ticks = sum(map(int, fields[11:15]))  # utime, stime, and those of the children it collected
    io = read_proc(f"/proc/{pid}/io").split()
    read, write = (int(io[9]), int(io[11])) if len(io) >= 12 else (0, 0)
    return Use(ticks * 1000 // CLOCK_TICKS_PER_S, int(fields[21]) * PAGE_BYTES, read, write)
