"""Runs a program as a child and writes down how it ended, so that its end is known though whoever asked is killed.

The witness is a fork of the lean process that asks (runner or tap), not a shell: it shares that process's pages, no shell
ever sees a task, and exit codes and signals stay apart. Stdlib only.
"""

import fcntl
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence

BLOCKED = (signal.SIGCHLD, signal.SIGIO, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
ORPHAN_CHECK_S = 30.0  # the pipe tells a witness at once that its parent is gone; this is the net beneath that
REPARENTED_S = 0.01  # between a parent's closing of its files and the kernel's handing on of its children
EXIT_BYTES = 256  # reserved for the exit file at birth, so that a full disk cannot lose an exit code
NO_CHILD = 126  # exit code, as of a program that cannot be run


class Witness:
    """The parent's view of a witness: its pid, and the pipe on which it tells what happens.

    Lines on the pipe: `pid STEP PID`, `error STEP ERRNO`, `ended STEP`, and last `over STEP EXIT_CODE SIGNAL`.
    """

    __slots__ = ("_rest", "fd", "pid")

    def __init__(self, pid: int, fd: int) -> None:
        self.pid = pid
        self.fd = fd
        self._rest = b""

    def read(self) -> list[list[str]]:
        """The words of each line told since the last call; none when there is nothing new or the witness is gone."""
        try:
            chunk = os.read(self.fd, 4096)
        except BlockingIOError:
            return []
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        return [line.decode().split() for line in lines]


def spawn(
    steps: Sequence[Sequence[str]],
    *,
    env: Mapping[str, str],
    cwd: str,
    stdin: int,
    stdout: int,
    stderr: int,
    exit_path: str,
    attempt: int,
    new_group: bool,
    orphaned: Callable[[int, int, int], None] | None = None,
) -> Witness:
    """Start the argvs of `steps` one after the other beneath a witness; the first that fails ends the chain.

    So does SIGTERM to the witness, after the step that runs. The last one's end goes to `exit_path` by rename, into room
    reserved beforehand. When the parent dies, the witness calls `orphaned(step, pid, pipe)`, which takes the parent's
    place, collects the child and does not return. Signals that end the parent do not reach the child: the caller sends
    those it wants to. Raises: OSError.
    """
    _reserve(exit_path)
    parent = os.getpid()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Witness(pid, reading)
    try:
        os.close(reading)
        signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
        _ask_for_hangup(writing)
        orphanhood = _Orphanhood(parent, writing, orphaned)
        code = 0
        for step, argv in enumerate(steps):
            child = _start(argv, env, cwd, (stdin, stdout, stderr), new_group, step, writing)
            code, by = _wait(step, child, orphanhood)
            over = code != 0 or step == len(steps) - 1 or signal.SIGTERM in signal.sigpending()
            _tell(writing, f"over {step} {code} {by}" if over else f"ended {step}")
            if over:
                write_exit(exit_path, attempt=attempt, code=code, signal_number=by)
            orphanhood.look(step, child)
            os.waitpid(child, 0)
            if over:
                break
        os._exit(code)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(70)  # nothing of this process may go on as a second parent


def split_status(status: int) -> tuple[int, int]:
    """(exit code as a shell gives it, signal or 0) of a wait status."""
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status), os.WTERMSIG(status)
    return os.WEXITSTATUS(status), 0


def write_exit(path: str, *, attempt: int, code: int, signal_number: int) -> None:
    """Write the exit file: one JSON object, durable before it appears."""
    text = (
        f'{{"attempt":{attempt},"exit_code":{code},"signal":{signal_number or "null"},'
        f'"ended_ms":{time.time_ns() // 1_000_000}}}'
    )
    try:
        fd = os.open(path + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.pwrite(fd, text.encode().ljust(EXIT_BYTES - 1) + b"\n", 0)
        os.fsync(fd)
        os.close(fd)
        os.rename(path + ".tmp", path)
    except OSError:
        pass  # the pipe told the parent already; without it, readers will say `lost`


def _reserve(path: str) -> None:
    fd = os.open(path + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    os.write(fd, b" " * EXIT_BYTES)
    os.fsync(fd)
    os.close(fd)


def _start(
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: str,
    stdio: tuple[int, int, int],
    new_group: bool,
    step: int,
    told: int,
) -> int:
    """The pid of the new child, which may have ended already: that it could not become `argv` is told."""
    failing, failed = os.pipe()  # close-on-exec: end of file means that exec went through
    try:
        child = os.fork()
    except OSError as exc:
        _tell(told, f"error {step} {exc.errno}")
        os._exit(NO_CHILD)
    if not child:
        _become(argv, env, cwd, stdio, new_group, failed)
    os.close(failed)
    reason = os.read(failing, 16)
    os.close(failing)
    _tell(told, f"error {step} {reason.decode()}" if reason else f"pid {step} {child}")
    return child


def _become(
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: str,
    stdio: tuple[int, int, int],
    new_group: bool,
    failed: int,
) -> None:
    try:
        if new_group:
            os.setpgid(0, 0)
        os.chdir(cwd)
        for target, fd in enumerate(stdio):
            os.dup2(fd, target)
        # Python ignores these two from its start; programs expect their defaults.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execvpe(argv[0], list(argv), dict(env))
    except OSError as exc:
        os.write(failed, str(exc.errno).encode())
        os._exit(127 if exc.errno == 2 else 126)


def _ask_for_hangup(told: int) -> None:
    """Have the kernel send SIGIO when the reader of `told`, the parent, closes it: at its death at the latest."""
    fcntl.fcntl(told, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(told, fcntl.F_SETFL, fcntl.fcntl(told, fcntl.F_GETFL) | os.O_ASYNC)


class _Orphanhood:
    """Looks whether the parent still lives, and lets `orphaned` take its place when it does not."""

    __slots__ = ("_orphaned", "_parent", "_told")

    def __init__(self, parent: int, told: int, orphaned: Callable[[int, int, int], None] | None) -> None:
        self._parent = parent
        self._told = told
        self._orphaned = orphaned

    def look(self, step: int, child: int) -> float:
        """Seconds after which to look again. Does not return when `orphaned` took over."""
        if self._orphaned is None:
            return ORPHAN_CHECK_S
        if os.getppid() != self._parent:
            self._orphaned(step, child, self._told)
        poll = select.poll()
        poll.register(self._told, 0)
        return REPARENTED_S if poll.poll(0) else ORPHAN_CHECK_S


def _wait(step: int, child: int, orphanhood: _Orphanhood) -> tuple[int, int]:
    """(exit code, signal or 0) of the child once it has ended; it is left to be collected."""
    while (end := os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is None:
        signal.sigtimedwait((signal.SIGCHLD, signal.SIGIO), orphanhood.look(step, child))
    return (end.si_status, 0) if end.si_code == os.CLD_EXITED else (128 + end.si_status, end.si_status)


def _tell(fd: int, line: str) -> None:
    try:
        os.write(fd, line.encode() + b"\n")
    except OSError:
        pass  # nobody listens any more; the exit file says it
