"""Stands in for `claude` inside a session: runs the real Claude Code, keeps its stream, and turns it into telemetry.

Claude Code writes to claude.jsonl, a file, so that no reader's death can harm it; this program follows that file, passes it on
to its own stdout, and appends events to telemetry.jsonl. A witness beneath records Claude's true exit in claude.exit.
"""

import fcntl
import glob
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence

from hive_session import witness
from hive_session.appending import append_lines
from hive_session.isolation import task_placeholder
from hive_session.ondisk.events import encode_event
from hive_session.ondisk.layout import SessionPaths, is_session_id
from hive_session.ondisk.liveness import run_is_alive
from hive_session.stream import Stream

SWEEP_S = 1.0  # the kernel tells of each write; this is the net beneath that
ACTIVE_POLL_S = 0.005  # where it cannot tell, look this often, and ever less while nothing comes
IDLE_POLL_S = 0.1
ABANDONED_CHECK_S = 5.0
CHUNK_BYTES = 1 << 20
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
WATCHED = (signal.SIGCHLD, signal.SIGIO, *PASSED_ON)


def main() -> int:
    """The console script `hive-tap`, linked as bin/claude in each session."""
    env = dict(os.environ)
    real = env.get("HIVE_CLAUDE_BIN", "")
    if not real.startswith("/"):
        sys.stderr.write("claude: HIVE_CLAUDE_BIN does not name the real Claude Code by absolute path\n")
        return 127
    directory, session_id = env.get("HIVE_SESSION_DIR", ""), env.get("HIVE_SESSION_ID", "")
    if not is_tapped(sys.argv[1:], env) or not is_session_id(session_id):
        return _become(real, sys.argv[1:], env)
    paths = SessionPaths(directory, session_id, os.path.dirname(env["HIVE_OUTPUT_DIR"]), "")
    attempt = int(env.get("HIVE_ATTEMPT", "1"))
    words, prompt = fill_task(sys.argv[1:], session_id, paths.task_file)
    flags = conversation_flags(words, session_id, attempt, _transcript_exists(env, session_id))
    prompt = _no_command(0) if prompt is None else prompt
    stdin = 0 if prompt is None else _file_in_memory(prompt)
    return Tap(paths, attempt).run([real, *flags, *words], {**env, "HIVE_TAPPED": "1"}, stdin)


def fill_task(argv: Sequence[str], session_id: str, task_file: str) -> tuple[list[str], bytes | None]:
    """`argv` and None; where a word holds the placeholder, `argv` without it, and that word filled in, for stdin."""
    mark = task_placeholder(session_id)
    prompts = [word for word in argv if mark in word]
    if not prompts:
        return list(argv), None
    with open(task_file, "rb") as file:
        prompt = os.fsencode(prompts[0]).replace(os.fsencode(mark), file.read())
    return [word for word in argv if mark not in word], prompt


def _no_command(stdin: int) -> bytes | None:
    """A task on stdin that begins with a slash, after a line feed; None for any other.

    Claude Code would take it for one of its own commands, and end with success without having asked a model.
    """
    try:
        if os.pread(stdin, 1, 0) != b"/":
            return None
        return b"\n" + os.pread(stdin, os.fstat(stdin).st_size, 0)
    except OSError:
        return None  # no file, so not our task


def _file_in_memory(data: bytes) -> int:
    fd = os.memfd_create("prompt")
    with open(os.dup(fd), "wb") as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def is_tapped(argv: Sequence[str], env: Mapping[str, str]) -> bool:
    """True for the session's own Claude Code in stream-json mode; everything else (`--version`, one beneath it) runs as it is."""
    streaming = "stream-json" in argv or "--output-format=stream-json" in argv
    return streaming and "HIVE_TAPPED" not in env and bool(env.get("HIVE_SESSION_DIR"))


def conversation_flags(argv: Sequence[str], session_id: str, attempt: int, transcript: bool) -> list[str]:
    """What makes Claude's conversation carry the session's id, and go on where an earlier attempt left it."""
    chosen = ("--session-id", "--resume", "-r", "--continue", "-c")
    if any(word.split("=")[0] in chosen for word in argv if word.startswith("-")):
        return []
    if not transcript:
        return ["--session-id", session_id]
    return ["--resume", session_id] if attempt > 1 else []


def _transcript_exists(env: Mapping[str, str], session_id: str) -> bool:
    home = env.get("CLAUDE_CONFIG_DIR") or f"{env.get('HOME', '')}/.claude"
    return bool(glob.glob(f"{glob.escape(home)}/projects/*/{session_id}.jsonl"))


def _become(program: str, argv: Sequence[str], env: Mapping[str, str]) -> int:
    try:
        os.execve(program, [program, *argv], dict(env))
    except OSError as exc:
        _complain(program, exc.errno or 0)
        return 127 if isinstance(exc, FileNotFoundError) else 126


def _complain(program: str, number: int) -> None:
    cure = "install it: npm install -g @anthropic-ai/claude-code, or name it in HIVE_CLAUDE_BIN"
    sys.stderr.write(f"claude: cannot run {program}: {os.strerror(number)}; {cure}\n")


class Tap:
    """One Claude Code, from its start to its end."""

    def __init__(self, paths: SessionPaths, attempt: int) -> None:
        self.paths = paths
        self.attempt = attempt
        self.stream = Stream()
        self.rest = b""
        self.untold = b""  # events that a full disk did not take yet
        self.end: tuple[int, int] | None = None
        self.child = 0
        self.next_check = time.monotonic() + ABANDONED_CHECK_S

    def run(self, argv: Sequence[str], env: Mapping[str, str], stdin: int = 0) -> int:
        """Run Claude Code to its end; returns its exit code."""
        signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a caller that ignored it would keep Claude's exit code from us
        self.program = argv[0]
        append = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self.telemetry = os.open(self.paths.telemetry, append, 0o644)
        claude_stdout = os.open(self.paths.claude_stream, append, 0o644)
        self.source = os.open(self.paths.claude_stream, os.O_RDONLY | os.O_CLOEXEC)
        self.at = os.lseek(self.source, 0, os.SEEK_END)
        self.tell([{"ts": _now_ms(), "type": "tap_started", "at": self.at}])
        self.witness = witness.spawn(
            [argv],
            env=env,
            cwd=os.getcwd(),
            stdin=stdin,
            stdout=claude_stdout,
            stderr=2,
            exit_path=self.paths.claude_exit,
            attempt=self.attempt,
            new_group=False,
        )
        os.close(claude_stdout)
        self.hear()  # waits for the child's pid: a signal that comes now has to reach it
        os.set_blocking(self.witness.fd, False)
        self.follow()
        code = self.end[0] if self.end else 1
        events = self.stream.end(now_ms=_now_ms(), exit_code=code)
        self.tell([*events, {"ts": _now_ms(), "type": "tap_ended", "exit_code": code}])
        return code

    def follow(self) -> None:
        """Pass on what Claude Code writes until it has ended and all of it is read."""
        told = self.ask_for_changes()
        pause = 0.0
        while self.end is None:
            info = signal.sigtimedwait(WATCHED, pause)
            if info is not None and info.si_signo in PASSED_ON and self.child:
                os.kill(self.child, info.si_signo)
            self.hear()
            self.end_if_abandoned()
            if self.take():
                pause = 0.0 if told else ACTIVE_POLL_S
            else:
                pause = SWEEP_S if told else min(max(pause * 1.5, ACTIVE_POLL_S), IDLE_POLL_S)
        while self.take():
            pass

    def ask_for_changes(self) -> bool:
        """Have the kernel send SIGIO at each write to a file of the session's directory; False where it cannot."""
        directory = os.path.dirname(self.paths.claude_stream)
        self.watched = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)  # the watch lasts until this is closed
        try:
            fcntl.fcntl(self.watched, fcntl.F_NOTIFY, fcntl.DN_MODIFY | fcntl.DN_MULTISHOT)
        except OSError:
            return False
        return True

    def end_if_abandoned(self) -> None:
        """End a Claude Code of whose run nobody is left: no runner, no witness, no agent holds run.lock any more."""
        now = time.monotonic()
        if now >= self.next_check:
            self.next_check = now + ABANDONED_CHECK_S
            if self.child and not run_is_alive(self.paths.run_lock):
                os.kill(self.child, signal.SIGTERM)

    def hear(self) -> None:
        """What the witness told, and whether it is gone: killed, it leaves its child to the runner, and this run is over."""
        gone, _ = os.waitpid(self.witness.pid, os.WNOHANG)
        for word, _, *rest in self.witness.read():
            if word == "pid":
                self.child = int(rest[0])
            elif word == "error":
                _complain(self.program, int(rest[0]))
            elif word == "over":
                self.end = (int(rest[0]), int(rest[1]))
        if gone and self.end is None:
            self.end = (128 + signal.SIGKILL, signal.SIGKILL)

    def take(self) -> bool:
        """Read what is new in claude.jsonl; False when there is nothing."""
        chunk = os.read(self.source, CHUNK_BYTES)
        if not chunk:
            return False
        _pass_on(chunk)
        lines = (self.rest + chunk).split(b"\n")
        self.rest = lines.pop()
        now_ms = _now_ms()
        events = []
        for line in lines:
            self.at += len(line) + 1
            events.extend(self.stream.feed(line, at=self.at, now_ms=now_ms))
        self.tell(events)
        return True

    def tell(self, events: Sequence[Mapping[str, object]]) -> None:
        """Append events to the session's telemetry, in one write."""
        self.untold += b"".join(encode_event(event) for event in events)
        while self.untold:
            try:
                self.untold = append_lines(self.telemetry, self.untold)
            except OSError:
                return  # a full disk: told with what comes next, or completed from claude.jsonl at the end of the run


def _pass_on(chunk: bytes) -> None:
    try:
        while chunk:
            chunk = chunk[os.write(1, chunk) :]
    except OSError:
        pass  # whoever read our stdout is gone; the file has it all


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
