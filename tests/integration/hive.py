"""A workspace of a test's own, driven through the installed console scripts, and a view of the processes that work in it."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from hive_session.ondisk.layout import Layout, SessionPaths

T = TypeVar("T")

DEADLINE_S = 20.0  # of every wait for something that takes milliseconds when all is well
STEP_S = 0.01
CALL_S = 50.0  # of a call of hive-session, which takes a fraction of a second when all is well
STARTED = 19  # of the fields of /proc/PID/stat from the third on: clock ticks from boot to the process's start
SCRIPTS = sysconfig.get_path("scripts")
FOREIGN = ("HIVE_", "MAX_CONCURRENT_SESSIONS", "ANTHROPIC_", "CLAUDE")


def until(condition: Callable[[], T | None], what: str, deadline_s: float = DEADLINE_S) -> T:
    """The first true answer of `condition`. Raises: AssertionError saying `what` did not come about in time."""
    end = time.monotonic() + deadline_s
    while True:
        is_last = time.monotonic() > end  # before the look: what came about while the machine stood still counts
        if answer := condition():
            return answer
        if is_last:
            raise AssertionError(f"not within {deadline_s:g} s: {what}")
        time.sleep(STEP_S)


def read_bytes(path: str) -> bytes:
    """The bytes of a file; empty where it is missing, or of a process that is gone or another user's."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on (state, parent, group, session, …); none when it is gone."""
    return read_bytes(f"/proc/{pid}/stat").rpartition(b") ")[2].decode().split()


def is_alive(pid: int) -> bool:
    """True while `pid` is there and no zombie."""
    return stat_fields(pid)[:1] not in ([], ["Z"], ["X"])


def is_same(pid: int, started: str) -> bool:
    """True while `pid` is alive and still the process that started then, told in one look: it may end at any moment."""
    fields = stat_fields(pid)
    return len(fields) > STARTED and fields[0] not in ("Z", "X") and fields[STARTED] == started


def children(pid: int) -> list[int]:
    """The pids of the direct children of a single-threaded process."""
    return [int(word) for word in read_bytes(f"/proc/{pid}/task/{pid}/children").split()]


def kill(pids: Iterable[int]) -> None:
    """SIGKILL to each of `pids` that is still there."""
    for pid in pids:
        assert pid > 0, "nobody to kill: 0 would be whoever runs the tests"
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


@dataclass(frozen=True, slots=True)
class Run:
    """The pids of one run: its runner, the witness beneath it, the agent beneath that."""

    runner: int
    witness: int
    agent: int


class Hive:
    """One workspace below `root`; whatever still works in it ends with the `with` block.

    `settings` are environment variables for every call, such as MAX_CONCURRENT_SESSIONS="2".
    """

    def __init__(
        self, root: Path, *, output_root: Path | None = None, log_dir: Path | None = None, **settings: str
    ) -> None:
        self.root = root
        self.layout = Layout(str(root / "ws"), str(output_root or root / "out"), str(log_dir or root / "log"))
        self.config = root / "agents.toml"
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        self.env.update(
            HIVE_WORKSPACE=self.layout.workspace,
            HIVE_OUTPUT_ROOT=self.layout.output_root,
            HIVE_LOG_DIR=self.layout.log_dir,
            HIVE_CONFIG=str(self.config),
            HIVE_STOP_GRACE_S="2",
            PATH=f"{SCRIPTS}:{os.environ['PATH']}",
        )
        self.env.update(settings)
        self._calls: list[subprocess.Popen[bytes]] = []
        self._as_caller: dict[str, Any] = {}  # what Popen is told of who calls; by itself, whoever runs the tests
        self._agents = 0
        os.makedirs(self.layout.workspace)
        self.config.touch()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End every process of this workspace."""
        until(self._ended, "the end of all processes of the workspace")
        for call in self._calls:
            call.communicate()

    def _ended(self) -> bool:
        left = [*self.processes(), *(call.pid for call in self._calls if call.poll() is None)]
        kill(left)
        return not left

    # -- agents --------------------------------------------------------------------------------------------------------

    def agent(self, argv: Sequence[str], **options: object) -> str:
        """The name of a new agent in the configuration file; `options` are its other keys there."""
        self._agents += 1
        name = f"agent{self._agents}"
        keys = {"argv": list(argv), **options}
        lines = [f"[agents.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
        with self.config.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        return name

    def shell(self, script: str, **options: object) -> str:
        """The name of a new agent that is this shell script; $1 is the task."""
        return self.agent(["sh", "-c", script, "agent", "{task}"], **options)

    def python(self, code: str, **options: object) -> str:
        """The name of a new agent that is this Python program; sys.argv[1] is the task."""
        program = self.root / f"agent{self._agents + 1}.py"
        program.write_text(code, encoding="utf-8")
        return self.agent([sys.executable, str(program), "{task}"], **options)

    # -- calls ---------------------------------------------------------------------------------------------------------

    def begin(
        self, *words: str, env: Mapping[str, str] | None = None, stdout: int = subprocess.PIPE
    ) -> subprocess.Popen[bytes]:
        """`hive-session WORDS…` as a process that goes on beside the test."""
        call = subprocess.Popen(
            [f"{SCRIPTS}/hive-session", *words],
            env={**self.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            **self._as_caller,
        )
        self._calls.append(call)
        return call

    def call(
        self, *words: str, env: Mapping[str, str] | None = None, deadline_s: float = CALL_S
    ) -> subprocess.CompletedProcess[bytes]:
        """`hive-session WORDS…` to its end, whatever its exit code."""
        call = self.begin(*words, env=env)
        out, err = call.communicate(timeout=deadline_s)
        self._calls.remove(call)
        return subprocess.CompletedProcess(call.args, call.returncode, out, err)

    def answer(self, *words: str, env: Mapping[str, str] | None = None) -> bytes:
        """The stdout of `hive-session WORDS…`, which must exit with 0."""
        done = self.call(*words, env=env)
        assert done.returncode == 0, f"hive-session {words}: {done.returncode}: {done.stderr.decode()}"
        return done.stdout

    def create(self, agent: str, *words: str, task: str = "work") -> str:
        """The id of a new session; `words` are further options of `create`."""
        return self.answer("create", "--agent", agent, *words, "--", task).decode().strip()

    def start(self, session_id: str, *, env: Mapping[str, str] | None = None) -> str:
        """Start a session and return once its agent runs (or waits in the queue)."""
        self.answer("start", "--detach", session_id, env=env)
        return session_id

    def launch(self, agent: str, *words: str, task: str = "work") -> str:
        """`create` and `start`."""
        return self.start(self.create(agent, *words, task=task))

    # -- what is on disk -----------------------------------------------------------------------------------------------

    def paths(self, session_id: str) -> SessionPaths:
        return self.layout.session(session_id)

    def on_disk(self, session_id: str) -> dict[str, Any]:
        """session.json as it is."""
        found: dict[str, Any] = json.loads(read_bytes(self.paths(session_id).record))
        return found

    def record(self, session_id: str) -> dict[str, Any]:
        """The record as `get` tells it: the truth at this moment."""
        found: dict[str, Any] = json.loads(self.answer("get", session_id))
        return found

    def ended(self, session_id: str, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """The record once its own writer has put down the end; nobody's reading helps it along."""
        until(
            lambda: self.on_disk(session_id)["status"] in ("completed", "failed"),
            f"the end of {session_id} in its record",
            deadline_s,
        )
        return self.on_disk(session_id)

    def index(self) -> dict[str, Any]:
        """The rows of `list` by session id."""
        rows: dict[str, Any] = json.loads(self.answer("list"))["sessions"]
        return rows

    def events(self, session_id: str, kind: str | None = None) -> list[dict[str, Any]]:
        """The whole lines of telemetry.jsonl so far, all or those of one type."""
        lines = read_bytes(self.paths(session_id).telemetry).split(b"\n")[:-1]
        found: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return [event for event in found if kind in (None, event["type"])]

    def output(self, session_id: str) -> bytes:
        """What `logs` prints, without the five lines of the header of each attempt."""
        lines = self.answer("logs", session_id).splitlines(keepends=True)
        return b"".join(line for line in lines if not line.startswith(b"[SESSION-MGR] "))

    # -- processes -----------------------------------------------------------------------------------------------------

    def processes(self, session_id: str | None = None) -> list[int]:
        """The pids of what works in this workspace (for one session, where one is named); zombies are not among them."""
        mark = f"HIVE_SESSION_ID={session_id}" if session_id else f"HIVE_WORKSPACE={self.layout.workspace}"
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                words = read_bytes(f"/proc/{name}/environ").split(b"\0")
                if mark.encode() in words and is_alive(int(name)):
                    found.append(int(name))
        return found

    def all_gone(self, session_id: str | None = None) -> bool:
        """True once nothing works in this workspace (for one session, where one is named) any more."""
        try:
            return until(lambda: not self.processes(session_id), "the end of all processes")
        except AssertionError as exc:
            left = [read_bytes(f"/proc/{pid}/cmdline").replace(b"\0", b" ") for pid in self.processes(session_id)]
            raise AssertionError(f"{exc}: {left}") from None

    def runner(self, session_id: str) -> int:
        """The pid in run.lock, of a process that lives; 0 when there is none."""
        words = read_bytes(self.paths(session_id).run_lock).split()
        pid, started = (int(words[0]), words[1].decode()) if len(words) == 2 else (0, "")
        return pid if pid and is_same(pid, started) else 0

    def run(self, session_id: str) -> Run:
        """The pids of a live run, as soon as all three are there."""
        return until(lambda: self._run(session_id), f"runner, witness and agent of {session_id}")

    def _run(self, session_id: str) -> Run | None:
        runner = self.runner(session_id)
        own = read_bytes(f"/proc/{runner}/cmdline")
        for witness in children(runner) if runner else ():
            for agent in children(witness) if read_bytes(f"/proc/{witness}/cmdline") == own else ():
                if read_bytes(f"/proc/{agent}/cmdline") != own:  # until its exec an agent looks like its witness
                    return Run(runner, witness, agent)
        return None
