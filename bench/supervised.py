"""The suite under supervisord over a workspace of the bench: started from nothing, asked as its own listener asks, ended."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from mcp_peers import script
from measure import Workspace

from hive_session import proctree
from hive_session.suite.control import SOCKET, Control
from hive_session.suite.environment import PORTS
from hive_session.suite.ports import read_ports
from hive_session.suite.probes import OK, ask_all, questions, worst

SERVERS = ("mcp-tcp-server", "mcp-ws-bridge", "claude-flow-tcp")
CALL_S, ANSWER_S, LOOK_S = 60.0, 1.0, 0.005
LOOK_INSIDE_S = 0.1  # each look starts a shell and a Python beside those that are starting


@dataclass(slots=True)
class Suite:
    """One suite that runs; claude-flow's proxy is part of it whether or not claude-flow is there, as nobody connects."""

    workspace: Workspace
    took_s: float = 0.0  # from `hive-suite start --detach` to its end: every server answers

    @property
    def env(self) -> dict[str, str]:
        free = dict.fromkeys(PORTS, "0")
        return self.workspace.env | free | {"HIVE_RUN_DIR": self._run_dir, "HIVE_SUITE_CLAUDE_FLOW": "true"}

    @property
    def _run_dir(self) -> str:
        return f"{self.workspace.root}/run"

    @property
    def _control(self) -> Control:
        return Control(f"{self._run_dir}/{SOCKET}")

    def start(self) -> None:
        """Raises: RuntimeError with its words when not every server answers."""
        begun = time.monotonic()
        done = self._call("start", "--detach")
        self.took_s = time.monotonic() - begun
        if done.returncode:
            raise RuntimeError(f"hive-suite start: {done.stderr.strip()[-500:]}")

    def stop(self) -> None:
        self._call("stop")

    def _call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [script("hive-suite"), *words], env=self.env, capture_output=True, text=True, timeout=CALL_S
        )

    def processes(self) -> dict[int, str]:
        """Every process of it, with the name of its program."""
        first = self._control.pid()
        found = {first: "supervisord"}
        for program in self._control.programs():
            if program.pid:
                below = proctree.descendants(program.pid, lambda _: True)
                found |= dict.fromkeys([program.pid, *below], program.name)
        return found

    def settled_pid(self, name: str) -> int:
        """Of a program, once it has run so long that supervisord would start it anew without a delay."""
        while (program := self._control.program(name)).state != "RUNNING":
            if program.state == "FATAL":
                raise RuntimeError(f"{name} is FATAL: {program.why}")
            time.sleep(LOOK_S)
        return program.pid

    def answers(self, name: str) -> bool:
        """True when a server does what it is there for."""
        asked = questions({port: str(number) for port, number in read_ports(self._run_dir).items()})
        return worst(ask_all(asked[name], ANSWER_S)).health == OK


@contextmanager
def supervised(workspace: Workspace) -> Iterator[Suite]:
    """A suite over this workspace; it ends with the block."""
    suite = Suite(workspace)
    try:
        suite.start()
        yield suite
    finally:
        suite.stop()


def soon(true: Callable[[], bool], limit_s: float, look_s: float = LOOK_S) -> float:
    """Seconds until `true()` holds, looked at every `look_s`. Raises: TimeoutError."""
    begun = time.monotonic()
    while not true():
        if time.monotonic() > begun + limit_s:
            raise TimeoutError(f"not within {limit_s:g} s")
        time.sleep(look_s)
    return time.monotonic() - begun


# -- the container -----------------------------------------------------------------------------------------------------


def why_no_container(image: str | None) -> str:
    """What keeps a container from being measured; "" for nothing."""
    if not image:
        return "no --image was named"
    if shutil.which("docker") is None:
        return "there is no docker on PATH"
    done = _docker("image", "inspect", "--format", "{{.Id}}", image)
    return done.stderr.strip() or "" if done.returncode else ""


def start_container(image: str) -> float:
    """Seconds from `docker run` to a suite of which every program can do its work. Raises: RuntimeError."""
    begun = time.monotonic()
    made = _docker("run", "--detach", "--rm", "--network", "none", image)
    if made.returncode:
        raise RuntimeError(f"docker run {image}: {made.stderr.strip()[-500:]}")
    name = made.stdout.strip()
    try:
        soon(lambda: _docker("exec", name, "/app/scripts/healthcheck").returncode == 0, CALL_S, LOOK_INSIDE_S)
        return time.monotonic() - begun
    finally:
        _docker("rm", "--force", "--volumes", name)


def _docker(*words: str) -> subprocess.CompletedProcess[str]:
    """The docker command, at the engine of DOCKER_HOST."""
    return subprocess.run(["docker", *words], capture_output=True, text=True, timeout=CALL_S)


# -- a bare loop -------------------------------------------------------------------------------------------------------


def bare_loop(argv: Sequence[str], task: str, count: int, at_once: int, directory: str) -> tuple[float, int]:
    """The same command, from xargs: seconds for all, and how many left a log with its last line.

    Each is a shell that gives the command its task and a file for what it says: the least that somebody would write.
    """
    os.mkdir(directory)
    with open(f"{directory}/task", "w", encoding="utf-8") as file:
        file.write(task)
    line = f'{" ".join(argv)} <"$1/task" >"$1/$2.log" 2>&1'
    numbers = "\n".join(map(str, range(count)))
    begun = time.monotonic()
    subprocess.run(
        ["xargs", "-P", str(at_once), "-I", "{}", "sh", "-c", line, "sh", directory, "{}"],
        input=numbers,
        text=True,
        check=True,
    )
    took_s = time.monotonic() - begun
    logs = [f"{directory}/{number}.log" for number in range(count)]
    return took_s, sum(map(said_all, logs))


def said_all(log: str) -> bool:
    """True when the last line of what an agent wrote is its result."""
    try:
        with open(log, "rb") as file:
            last = file.read().splitlines()[-1]
        return bool(json.loads(last)["type"] == "result")
    except (OSError, IndexError, ValueError, KeyError, TypeError):
        return False
