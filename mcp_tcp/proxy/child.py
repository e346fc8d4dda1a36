"""Starts a command so that nothing of it can outlive its connection, nor the proxy.

The rules of this file:
- Between the proxy and the command stands a keeper: a fork of the proxy that does nothing but wait. It adopts what the
  command leaves behind (a subreaper), so all that ever came of the command is below it, in whatever process group.
- The keeper ends all of it when the command ends, when the proxy says so, and when the proxy is gone, however it went:
  both hold one end of a socket, which the kernel closes at their death. The command dies with the keeper.
- The bytes go past the keeper: the proxy holds the other ends of the command's pipes.
- A directory of the command's own is made and removed by the keeper. It holds a lock on a file in it for as long as it
  lives, so that a directory which nobody removed, because the machine went down, can be told from one in use.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)

# After the command's input is closed: what ends by itself gets that long, what heeds SIGTERM until the kill.
TERMINATE_AFTER_S = 0.25
KILL_AFTER_S = 1.5
KILL_AGAIN_S = 0.05  # for what was forked meanwhile
GIVE_UP_AFTER_S = 10.0  # what outlives SIGKILL that long is stuck in the kernel or not ours to end

MARK = ".mcp-tcp-proxy"  # the locked file in a directory of ours

# The keeper's words to the proxy; each message is one of them, a space, and the rest.
STARTED, NOT_STARTED, ENDED, NOTE = "started", "not-started", "ended", "note"

_KEEPER_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Command:
    """What is started for each connection."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd_each: str | None  # the directory in which each gets one of its own; None: all run where the proxy does


@dataclass(frozen=True, slots=True)
class Child:
    """The proxy's side of a command: the keeper's pid, and descriptors that do not block."""

    keeper: int
    control: socket.socket  # the keeper's messages, one each; empty: the keeper has ended, and everything below it
    stdin: int
    stdout: int
    stderr: int

    def end(self) -> None:
        """Ask the keeper to end everything; the caller closes stdin too."""
        with suppress(OSError):
            self.control.shutdown(socket.SHUT_WR)


def spawn(command: Command) -> Child:
    """Start a command; whether that worked is the keeper's first message. Raises: OSError for want of descriptors or processes."""
    with ExitStack() as ours, ExitStack() as theirs:
        control, keeper_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.enter_context(control)
        theirs.enter_context(keeper_control)
        stdin = _pipe(theirs, ours)
        stdout = _pipe(ours, theirs)
        stderr = _pipe(ours, theirs)
        with _signals_blocked():  # a signal must not reach the keeper while it has the proxy's handlers
            pid = os.fork()
            if pid == 0:
                _be_keeper(command, keeper_control, (stdin[0], stdout[1], stderr[1]))
        for fd in (control.fileno(), stdin[1], stdout[0], stderr[0]):
            os.set_blocking(fd, False)
        ours.pop_all()
    return Child(pid, control, stdin[1], stdout[0], stderr[0])


def reap() -> None:
    """Collect all children that have ended: keepers, and what keepers that were killed have left."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def adopt_orphans() -> None:
    """Let what a killed keeper leaves behind become children of this process."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_strays(keepers: set[int]) -> None:
    """Kill all children of this process that are no keepers, and what is below them: a keeper that was killed left them."""
    strays = [pid for pid in _children(os.getpid()) if pid not in keepers]
    _send([*strays, *(each for pid in strays for each in _descendants(pid))], signal.SIGKILL)


def remove_leftovers(cwd_each: str) -> None:
    """Remove the directories in `cwd_each` that a proxy made and whose keeper is gone, because the machine went down."""
    for entry in os.scandir(cwd_each):
        with suppress(OSError):
            mark = os.open(f"{entry.path}/{MARK}", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                _lock(mark)
                shutil.rmtree(entry.path, ignore_errors=True)
            finally:
                os.close(mark)


def _pipe(read_for: ExitStack, write_for: ExitStack) -> tuple[int, int]:
    reader, writer = os.pipe()
    read_for.callback(os.close, reader)
    write_for.callback(os.close, writer)
    return reader, writer


@contextmanager
def _signals_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _KEEPER_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _lock(fd: int) -> None:
    """Raises: OSError where another process has the lock."""
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


# -- processes ---------------------------------------------------------------------------------------------------------


def _children(pid: int) -> list[int]:
    """The pids of the direct children of a process; none when it is gone."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    return found


def _descendants(pid: int) -> list[int]:
    """The pids of all processes below `pid`, parents before children."""
    found = _children(pid)
    for each in found:  # grows while it is walked
        found += _children(each)
    return found


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


# -- the keeper --------------------------------------------------------------------------------------------------------


def _be_keeper(command: Command, control: socket.socket, stdio: tuple[int, int, int]) -> NoReturn:
    """What the fork does."""
    status = 70  # EX_SOFTWARE
    try:
        # No object of the proxy may be finalised here: it would close a descriptor that is ours by now.
        gc.disable()
        _Keeper(command, control).run(stdio)
        status = 0
    finally:
        if status:
            sys.excepthook(*sys.exc_info())  # as the log has it
            sys.stderr.flush()
        os._exit(status)


class _Keeper:
    """One command, from its start until nothing of it is left."""

    def __init__(self, command: Command, control: socket.socket) -> None:
        self._command = command
        self._control = control
        self._directory: str | None = None
        self._child = 0
        self._told_to_end = False

    def run(self, stdio: tuple[int, int, int]) -> None:
        os.setsid()  # what is sent to the proxy's group must not reach the keeper, which has work to do then
        _close_all_but({0, 1, 2, self._control.fileno(), *stdio})
        adopt_orphans()
        try:
            self._listen_to_signals()
            self._make_directory()
            self._start(stdio)
        except (OSError, subprocess.SubprocessError) as exc:
            self._tell(NOT_STARTED, _why(exc))
        for fd in stdio:
            os.close(fd)
        if self._child:
            self._wait()
            self._end_all()
        self._remove_directory()

    def _listen_to_signals(self) -> None:
        self._signals, writer = os.pipe()
        os.set_blocking(self._signals, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in _KEEPER_SIGNALS:
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _KEEPER_SIGNALS)

    def _start(self, stdio: tuple[int, int, int]) -> None:
        keeper = os.getpid()

        def die_with_keeper() -> None:
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != keeper:
                os._exit(70)

        env = dict(self._command.env)
        if self._directory is not None:
            env.update(PWD=self._directory, TMPDIR=f"{self._directory}/tmp")
        stdin, stdout, stderr = stdio
        self._process = subprocess.Popen(
            self._command.argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=self._directory,
            env=env,
            start_new_session=True,
            preexec_fn=die_with_keeper,
        )
        self._child = self._process.pid
        self._tell(STARTED, str(self._child))

    def _tell(self, word: str, rest: str) -> None:
        with suppress(OSError):  # a proxy that is gone hears nothing
            self._control.send(f"{word} {rest}".encode("utf-8", "replace"))

    # -- waiting -------------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Until the command has ended, or somebody wants it to."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._signals, select.POLLIN)
        while self._child and not self._told_to_end:
            for fd, _ in poll.poll():
                if fd == self._signals:
                    self._hear_signals()
                else:
                    self._told_to_end = True

    def _hear_signals(self) -> bool:
        """Note what has come; True when no process is left."""
        with suppress(BlockingIOError):
            numbers = os.read(self._signals, 4096)
            self._told_to_end |= any(number != signal.SIGCHLD for number in numbers)
        try:
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                self._note_end(*ended)
        except ChildProcessError:
            return True
        return False

    def _note_end(self, pid: int, status: int) -> None:
        if pid == self._child:
            self._child = 0
            self._tell(ENDED, _how(os.waitstatus_to_exitcode(status)))

    def _end_all(self) -> None:
        """End every process below the keeper, gently first."""
        began_s = time.monotonic()
        if self._child and self._all_gone_by(began_s + TERMINATE_AFTER_S):
            return
        _send(_descendants(os.getpid()), signal.SIGTERM)
        kill_at_s = began_s + KILL_AFTER_S
        while not self._all_gone_by(kill_at_s):
            if kill_at_s > began_s + GIVE_UP_AFTER_S:
                self._tell(NOTE, f"cannot end the processes {_descendants(os.getpid())}")
                return
            _send(_descendants(os.getpid()), signal.SIGKILL)
            kill_at_s = time.monotonic() + KILL_AGAIN_S

    def _all_gone_by(self, deadline_s: float) -> bool:
        poll = select.poll()
        poll.register(self._signals, select.POLLIN)
        while not self._hear_signals():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return False
            poll.poll(left_s * 1000)
        return True

    # -- the directory -------------------------------------------------------------------------------------------------

    def _make_directory(self) -> None:
        if self._command.cwd_each is None:
            return
        directory = f"{self._command.cwd_each}/{uuid.uuid4()}"
        os.mkdir(directory, 0o700)
        self._directory = directory
        # Locked before it has its name: from then on `remove_leftovers` leaves the directory alone.
        unnamed = os.open(f"{directory}/{MARK}.new", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        _lock(unnamed)  # until the keeper's end
        os.rename(f"{directory}/{MARK}.new", f"{directory}/{MARK}")
        os.mkdir(f"{directory}/tmp", 0o700)

    def _remove_directory(self) -> None:
        if self._directory is None:
            return
        shutil.rmtree(self._directory, ignore_errors=True)
        if os.path.lexists(self._directory):
            self._tell(NOTE, f"cannot remove {self._directory}")


def _close_all_but(kept: set[int]) -> None:
    """Close what the keeper has of the proxy's: another child's pipe, held here, would keep that child from seeing its end.

    The numbers stay taken: objects of the proxy and libuv, which uvloop is made of, remember some, and libuv closes its own
    after each fork, whoever has them by then.
    """
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd != nothing and fd not in kept:
            os.dup2(nothing, fd, inheritable=False)


def _why(exc: OSError | subprocess.SubprocessError) -> str:
    if isinstance(exc, OSError):
        return f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc.strerror)
    return str(exc)


def _how(exit_code: int) -> str:
    """How a process ended, from its exit code as subprocess has it: "exit 7", "signal SIGKILL"."""
    if exit_code >= 0:
        return f"exit {exit_code}"
    try:
        return f"signal {signal.Signals(-exit_code).name}"
    except ValueError:  # a real-time signal
        return f"signal {-exit_code}"
