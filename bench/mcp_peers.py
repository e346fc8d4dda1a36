"""What the bench of the data plane starts and asks: our server, its peers in Node and Python, and the words of both eras."""

import json
import os
import re
import shutil
import signal
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import IO, Any

from mcp_load import Figure, Job, Report
from measure import PYTHON, Workspace, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = sysconfig.get_path("scripts")
READY = re.compile(r"listening on .*?127\.0\.0\.1:(\d+)")  # what every server here says on stderr
READY_TIMEOUT_S, END_TIMEOUT_S, JOB_TIMEOUT_S = 20.0, 6.0, 60.0
MANY_CLIENTS = {
    "TCP_MAX_CONNECTIONS": "200",
    "CLAUDE_FLOW_MAX_SESSIONS": "40",
}  # those of the job before may be leaving

CLIENT = {"name": "bench", "version": "1"}
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": CLIENT,
}
HANDSHAKE: list[dict[str, Any]] = [
    {
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": CLIENT},
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
]
LIST: dict[str, Any] = {"jsonrpc": "2.0", "id": "list", "method": "tools/list"}
OPENING = [json.dumps(each) for each in HANDSHAKE]
AT_LEAST_REQUESTS = 100  # so that an id comes again only after as many others


def call(number: int, session_id: str, *, modern: bool) -> str:
    """A request for the state of one session."""
    params: dict[str, Any] = {"name": "session_status", "arguments": {"session_id": session_id}}
    if modern:
        params["_meta"] = ENVELOPE
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})


def calls(ids: Sequence[str], *, modern: bool) -> list[str]:
    """One request for each of these sessions, or more where they are few."""
    rounds = -(-AT_LEAST_REQUESTS // len(ids))
    return [call(number, each, modern=modern) for number, each in enumerate([*ids] * rounds, 1)]


class Server:
    """A server from its start to its end, with the port that it chose itself."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], cwd: str, log: IO[bytes]) -> None:
        self._log = log
        self._name = os.path.basename(argv[0])
        self._process = subprocess.Popen(
            argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        self.pid = self._process.pid
        self.port = 0

    def wait_ready(self) -> None:
        """Return once it listens. Raises: RuntimeError when it ends instead, with what it said."""

        def listens() -> bool:
            said = self.said()
            found = READY.search(said)
            if found:
                self.port = int(found[1])
            elif self._process.poll() is not None:
                raise RuntimeError(f"{self._name} does not start: {said[-500:].strip()}")
            return bool(found)

        wait_until(listens, READY_TIMEOUT_S)

    def said(self) -> str:
        """What it has written on stdout and stderr."""
        return os.pread(self._log.fileno(), 1 << 20, 0).decode(errors="replace")

    def end(self) -> None:
        """SIGTERM, then SIGKILL to its process group, which is its alone."""
        self._process.terminate()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()


@contextmanager
def serving(argv: Sequence[str], env: Mapping[str, str], cwd: str) -> Iterator[Server]:
    """A server that listens; it ends with the block."""
    with tempfile.TemporaryFile() as log:
        server = Server(argv, env, cwd, log)
        try:
            server.wait_ready()
            yield server
        finally:
            server.end()


Starter = Callable[[], AbstractContextManager[Server]]


def own(workspace: Workspace) -> Starter:
    """Our server, on this workspace."""
    argv = [script("mcp-tcp"), "--port", "0", "--health-port", "0"]
    return lambda: serving(argv, workspace.env | MANY_CLIENTS, workspace.root)


def node(workspace: Workspace) -> Starter:
    """The peer in Node. Raises: RuntimeError where there is no Node."""
    program = shutil.which("node")
    if program is None:
        raise RuntimeError("there is no node on PATH")
    return lambda: serving([program, f"{HERE}/mcp_node.js"], workspace.env, workspace.root)


def sdk(workspace: Workspace) -> Starter:
    """The official SDK's lowlevel server; -P, because beside it lies a file with the name of the SDK."""
    return lambda: serving([PYTHON, "-P", f"{HERE}/mcp_sdk.py"], workspace.env, workspace.root)


def script(name: str) -> str:
    """The path of an installed console script. Raises: RuntimeError when it is not there."""
    path = f"{SCRIPTS}/{name}"
    if not os.access(path, os.X_OK):
        raise RuntimeError(f"{name} is not installed beside {PYTHON}")
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One row of the raw table: whom to ask, and what."""

    name: str
    requests: list[str]
    opening: list[str]
    port: int | None = None
    pid: int | None = None
    command: tuple[str, ...] = ()


def eras(name: str, server: Server, ids: Sequence[str]) -> list[Variant]:
    """A server asked in both eras."""
    port, pid = server.port, server.pid
    return [
        Variant(name=name, requests=calls(ids, modern=False), opening=OPENING, port=port, pid=pid),
        Variant(name=f"{name} 2026", requests=calls(ids, modern=True), opening=[], port=port, pid=pid),
    ]


def load(variant: Variant, connections: int, seconds: float, warmup_s: float) -> Report:
    """Have the load client ask. Raises: RuntimeError with its words when it cannot measure."""
    job: Job = {
        "port": variant.port,
        "command": list(variant.command),
        "pid": variant.pid,
        "connections": connections,
        "warmup_s": warmup_s,
        "seconds": seconds,
        "opening": variant.opening,
        "requests": variant.requests,
    }
    report: Report = run_client([PYTHON, "-P", f"{HERE}/mcp_load.py"], job, variant.name, JOB_TIMEOUT_S)
    return report


def run_client(argv: Sequence[str], job: Mapping[str, Any], name: str, timeout_s: float) -> Any:
    """What a load client reports of a job. Raises: RuntimeError with its words when it cannot measure `name`."""
    try:
        client = subprocess.run(argv, input=json.dumps(job).encode(), capture_output=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{name}: not measured within {timeout_s:g} s") from None
    if client.returncode:
        raise RuntimeError(f"{name}: {client.stderr.decode(errors='replace').strip()[-700:]}")
    return json.loads(client.stdout)


@dataclass(frozen=True, slots=True)
class Cell:
    """What one variant did with so many connections, round by round."""

    name: str
    connections: int
    reports: list[Report]

    def median(self, figure: Figure) -> float:
        return median(self.each(figure))

    def each(self, figure: Figure) -> list[float]:
        return [report[figure] for report in self.reports]

    def times(self, other: "Cell", figure: Figure) -> float:
        """How many times as much as another cell of the same rounds: the median of their ratios."""
        return median(a / b for a, b in zip(self.each(figure), other.each(figure), strict=True))


def interleaved(
    variants: Sequence[Variant], connections: Sequence[int], rounds: int, seconds: float, warmup_s: float = 0.25
) -> dict[tuple[str, int], Cell]:
    """Every variant with every number of connections once a round, the order turned each time."""
    cells = {(each.name, many): Cell(each.name, many, []) for many in connections for each in variants}
    for number in range(rounds):
        for many in connections:
            for each in variants if number % 2 else reversed(variants):
                cells[each.name, many].reports.append(load(each, many, seconds, warmup_s))
    return cells
