"""Runs a program as a child and writes down how it ended, so that its end is known though whoever asked is killed.

The witness is a fork of the lean process that asks (runner or tap), not a shell: it shares that process's pages, no shell
ever sees a task, and exit codes and signals stay apart. Stdlib only.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

ORPHAN_CHECK_S = 5.0  # how often a witness looks whether its parent still lives
EXIT_BYTES = 256  # reserved for the exit file at birth, so that a full disk cannot lose an exit code


class Witness:
    """The parent's view of a witness: its pid, and the pipe on which it tells what happens.

    Lines on the pipe: `pid STEP PID`, `error STEP ERRNO`, `end STEP EXIT_CODE SIGNAL`.
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

    The last one's end goes to `exit_path` by rename, into room reserved beforehand. When the parent dies, the witness calls
    `orphaned(step, pid, pipe)`, which may take the parent's place and need not return. Signals that end the parent do not
    reach the child: the caller sends those it wants to.
    """
    _reserve(exit_path)
    parent = os.getpid()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Witness(pid, reading)
    os.close(reading)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
    code = by = 0
    for step, argv in enumerate(steps):
        child = _start(argv, env, cwd, (stdin, stdout, stderr), new_group, step, writing)
        status = _wait(child, parent, partial(orphaned, step, child, writing) if orphaned else _stay)
        code, by = split_status(status)
        _tell(writing, f"end {step} {code} {by}")
        if code:
            break
    write_exit(exit_path, attempt=attempt, code=code, signal_number=by)
    os._exit(code)


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
    failing, failed = os.pipe()  # close-on-exec: end of file means that exec went through
    child = os.fork()
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


def _wait(child: int, parent: int, orphaned: Callable[[], object]) -> int:
    """The child's wait status; calls `orphaned` once when `parent` is gone."""
    watching = True
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        signal.sigtimedwait({signal.SIGCHLD}, ORPHAN_CHECK_S if watching else 3600)
        if watching and os.getppid() != parent:
            watching = False
            orphaned()


def _stay() -> None:
    """What a witness without a part to take over does when its parent is gone: wait on, and write down the end."""


def _tell(fd: int, line: str) -> None:
    try:
        os.write(fd, line.encode() + b"\n")
    except OSError:
        pass  # nobody listens any more; the exit file says it
