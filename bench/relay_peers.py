"""What the bench of the relay starts and has watched: our relay, its peers in Node and Python, each over a file of its own."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from mcp_peers import HERE, Server, run_client, serving
from measure import PYTHON, Workspace
from relay_load import Figure, Job, Report

NODE_MODULES = Path(PYTHON).parent.parent / "node-ws" / "node_modules"  # bin/setup --test puts `ws` there
JOB_TIMEOUT_S = 240.0
MANY_VIEWERS = {"WS_MAX_CONNECTIONS": "1000"}
UNBOUNDED_BYTES_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """One row of the raw table: who relays which file, and what a viewer has to ask for."""

    name: str
    server: Server
    file: str
    subscribe: str = ""
    deflate: bool = False


@contextmanager
def own(workspace: Workspace, session_id: str, *, deflate: bool = False) -> Iterator[Relay]:
    """Our relay on this workspace; the lines are the telemetry of one session."""
    argv = [PYTHON, "-m", "ws_relay", "--port", "0"]
    with serving(argv, workspace.env | MANY_VIEWERS, workspace.root) as server:
        file = workspace.store.paths(session_id).telemetry
        yield Relay(name="ws-relay", server=server, file=file, subscribe=events_of(session_id), deflate=deflate)


def events_of(session_id: str) -> str:
    """A subscription to the lines of one session and as little else as there can be."""
    filters = {"include_performance": False, "include_topology": False, "update_frequency_hz": 0.1}
    words = {"action": "subscribe", "session_id": session_id, "events": True, "snapshot": False, "filters": filters}
    return json.dumps(words | {"max_bytes_per_s": UNBOUNDED_BYTES_PER_S})


@contextmanager
def node(workspace: Workspace, *, deflate: bool = False) -> Iterator[Relay]:
    """The peer in Node. Raises: RuntimeError where there is no Node, or no `ws`."""
    program = shutil.which("node")
    if program is None or not (NODE_MODULES / "ws").is_dir():
        raise RuntimeError("there is no node on PATH, or no `ws` for it: bin/setup --test")
    argv = [program, f"{HERE}/relay_node.js"]
    with _peer("node ws", argv, workspace, deflate, {"NODE_PATH": str(NODE_MODULES)}) as relay:
        yield relay


@contextmanager
def python(workspace: Workspace, *, deflate: bool = False) -> Iterator[Relay]:
    """The peer that is `websockets.broadcast`."""
    with _peer("broadcast", [PYTHON, f"{HERE}/relay_broadcast.py"], workspace, deflate, {}) as relay:
        yield relay


@contextmanager
def _peer(name: str, argv: Sequence[str], workspace: Workspace, deflate: bool, env: dict[str, str]) -> Iterator[Relay]:
    file = f"{workspace.root}/{name.replace(' ', '-')}.jsonl"
    os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))
    words = [*argv, file, *["--deflate"] * deflate]
    with serving(words, workspace.env | env, workspace.root) as server:
        yield Relay(name=name, server=server, file=file, deflate=deflate)


def load(
    relay: Relay,
    viewers: int,
    per_s: float,
    seconds: float,
    *,
    warmup_s: float = 0.7,
    stalled: int = 0,
    kept: int | None = None,
) -> Report:
    """Have viewers receive. Raises: RuntimeError with the client's words when it cannot measure."""
    job: Job = {
        "port": relay.server.port,
        "pid": relay.server.pid,
        "file": relay.file,
        "viewers": viewers,
        "stalled": stalled,
        "kept": viewers if kept is None else kept,
        "deflate": relay.deflate,
        "subscribe": relay.subscribe,
        "per_s": per_s,
        "warmup_s": warmup_s,
        "seconds": seconds,
    }
    report: Report = run_client([PYTHON, f"{HERE}/relay_load.py"], job, relay.name, JOB_TIMEOUT_S)
    return report


@dataclass(frozen=True, slots=True)
class Cell:
    """What one relay did for so many viewers, round by round."""

    section: str
    name: str
    reports: list[Report]

    def median(self, figure: Figure) -> float:
        return median(self.each(figure))

    def each(self, figure: Figure) -> list[float]:
        return [report[figure] for report in self.reports]

    def times(self, other: "Cell", figure: Figure) -> float:
        """How many times as much as another cell of the same rounds: the median of their ratios."""
        return median(a / b for a, b in zip(self.each(figure), other.each(figure), strict=True))


def interleaved(
    section: str, relays: Sequence[Relay], viewers: int, per_s: float, rounds: int, seconds: float
) -> dict[str, Cell]:
    """Every relay once a round, the order turned each time."""
    cells = {each.name: Cell(section, each.name, []) for each in relays}
    for number in range(rounds):
        for each in relays if number % 2 else reversed(relays):
            cells[each.name].reports.append(load(each, viewers, per_s, seconds))
    return cells
