"""Writing files so that no reader, crash or full disk ever sees half of one; and the one way to take each sort of lock."""

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType

from hive_session.appending import append_lines
from hive_session.errors import Busy
from hive_session.ondisk.liveness import run_is_alive

LOCK_TIMEOUT_S = 5.0  # a writer holds a lock for milliseconds; longer means something hangs
LOCK_TICKS = 10  # in which it is counted: a machine that stands still for all of it, with the holder, uses up one
RUN_LOCK_TRIES = 20  # while a run holds run.lock; it may be vacuum, which is done in a moment
PROBED_TRIES = 400  # while readers' probes do: they take microseconds, unless they are held up themselves
RUN_LOCK_PAUSE_S = 0.005


def replace_file(path: str, data: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Put `data` at `path` by rename: readers see the old bytes or the new ones. Raises: OSError, leaving the old file.

    `durable` also survives a power cut (fsync of file and directory); what can be rebuilt does without.
    """
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            if data and not durable:
                # ext4 writes a file out when it replaces another, unless its blocks are allocated: 2 ms against 0.05.
                os.posix_fallocate(fd, 0, len(data))
            _write_all(fd, data)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        remove_file(temporary)
        raise
    if durable:
        sync_directory(os.path.dirname(path))


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def append_line(path: str, line: bytes, *, mode: int = 0o644) -> None:
    """Append one line (or several whole ones) with a single O_APPEND write, never interleaved with others'.

    Where a full disk cut the line before it, that one is ended first.
    """
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)
    try:
        while line:
            line = append_lines(fd, line)
    finally:
        os.close(fd)


def read_file(path: str) -> bytes:
    """The bytes of `path`. Raises: OSError."""
    with open(path, "rb", buffering=0) as file:
        return file.read()


def remove_file(path: str) -> None:
    """Remove `path`; that it is gone already is fine."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def sync_directory(path: str) -> None:
    """Make renames and new names in `path` survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def locked(path: str, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold the exclusive flock of the sidecar file `path`. Raises: Busy after `timeout_s`; FileNotFoundError.

    Blocking, because portalocker's default polls and starves writers: 8 of 64 never got the lock (facts/managers.md D);
    a timer bounds it. For the main thread only, as signals are.
    """
    portalocker = _import_portalocker(os.path.dirname(path))
    lock = portalocker.Lock(path, "a", flags=portalocker.LockFlags.EXCLUSIVE)
    previous = signal.signal(signal.SIGALRM, _expiry(path, timeout_s))
    signal.setitimer(signal.ITIMER_REAL, timeout_s / LOCK_TICKS, timeout_s / LOCK_TICKS)
    try:
        lock.acquire()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    try:
        yield
    finally:
        lock.release()


def _import_portalocker(directory: str) -> ModuleType:
    """portalocker, without the file that it would try out in the temporary directory, and fail where no room is for one."""
    import tempfile

    before, tempfile.tempdir = tempfile.tempdir, tempfile.tempdir or directory
    try:
        import portalocker
    finally:
        tempfile.tempdir = before
    return portalocker


def _expiry(path: str, timeout_s: float) -> Callable[[int, FrameType | None], None]:
    """What each tick of the timer calls; the last one raises Busy."""
    ticks = iter(range(LOCK_TICKS - 1))

    def tick(_number: int, _frame: FrameType | None) -> None:
        if next(ticks, None) is None:
            raise Busy(
                f"{path}: another writer has held this lock for {timeout_s:g} s",
                "try again; `hive-session doctor` names the holder",
            )

    return tick


def hold_run_lock(path: str) -> int | None:
    """A descriptor that holds the run.lock `path` alone, and whatever inherits it; None where a run has it. Raises: OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    held = probed = 0
    while held < RUN_LOCK_TRIES and probed < PROBED_TRIES:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if run_is_alive(path):
                held += 1
            else:
                probed += 1
        time.sleep(RUN_LOCK_PAUSE_S)
    os.close(fd)
    return None
