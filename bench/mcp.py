"""Measures mcp-tcp and mcp-tcp-proxy against peers that it starts in the same run: the goals, then the raw figures.

    .venv/bin/python bench/mcp.py [--json] [--dir DIR] [calls|crowd|start|idle|proxy]...

It needs node and socat on PATH, and the test extras, where the official SDK comes from. Everything listens on loopback and
ends with it; workspaces are temporary. Exit code: 0 whatever the figures, 1 when it cannot measure.
"""

import json
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from statistics import median

import mcp_hive
import mcp_proxy
from mcp_load import End, Figure, ask, cpu_ns
from mcp_peers import HANDSHAKE, LIST, Cell, Server, Starter, calls, eras, interleaved, node, own, sdk
from measure import Line, Workspace, leave_a_core, memory_bytes, workspaces
from report import Report, begin, parse_sections, parser_of, run

SECTIONS = ("calls", "crowd", "start", "idle", "proxy")
SESSIONS, RUNNING = 1000, 50
CONNECTIONS = (1, 50)
ROUNDS, SECONDS = 5, 0.8
STARTS = 5
IDLE_SETTLE_S, IDLE_S = 5.0, 30.0
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Ground:
    """What is measured on: a workspace with nothing in it, one with one session, one with a thousand."""

    empty: Workspace
    single: Workspace
    crowd: Workspace
    runner: mcp_hive.Runner  # of the crowd


@contextmanager
def prepared(make: Callable[[], Workspace]) -> Iterator[Ground]:
    """The workspaces, filled, and what runs in them, which ends with the block."""
    empty, single, crowd = make(), make(), make()
    with mcp_hive.filled(single, 1, 1), mcp_hive.filled(crowd, SESSIONS, RUNNING) as runner:
        yield Ground(empty, single, crowd, runner)


def ids_in(workspace: Workspace) -> list[str]:
    """The ids of its sessions, those that run first."""
    return sorted(workspace.store.session_ids())


def calls_against_peers(ground: Ground, table: list[Cell]) -> Iterator[Line]:
    """tools/call of session_status, one session there: ours, Node's, the SDK's."""
    ids = ids_in(ground.single)
    with ExitStack() as stack:
        started = {
            "mcp-tcp": stack.enter_context(own(ground.single)()),
            "node": stack.enter_context(node(ground.empty)()),
            "sdk": stack.enter_context(sdk(ground.empty)()),
        }
        variants = [each for name, server in started.items() for each in eras(name, server, ids)]
        variants = [each for each in variants if each.name != "node 2026"]  # it looks at nothing that differs
        cells = interleaved(variants, CONNECTIONS, ROUNDS, SECONDS)
    table += cells.values()
    for many in CONNECTIONS:
        yield from _beside_peers(cells, many, judged=many == max(CONNECTIONS))


def _beside_peers(cells: dict[tuple[str, int], Cell], many: int, *, judged: bool) -> Iterator[Line]:
    peer = cells["node", many]
    for name, peer_name, factor in (("mcp-tcp", "sdk", 15.0), ("mcp-tcp 2026", "sdk 2026", 20.0)):
        ours, slow = cells[name, many], cells[peer_name, many]
        told = f"{ours.median('cpu_us'):.1f} us; node {peer.median('cpu_us'):.1f}; sdk {slow.median('cpu_us'):.1f}"
        where = f"at {many}: {name}"
        yield Line(
            name=f"CPU/request {where} / node",
            measured=ours.times(peer, "cpu_us"),
            unit="x",
            limit=1.3 if judged else None,
            beside=told,
        )
        yield Line(
            name=f"CPU/request at {many}: {peer_name} / {name}",
            measured=slow.times(ours, "cpu_us"),
            unit="x",
            limit=factor if judged else None,
            at_least=True,
        )
        yield Line(
            name=f"p99 {where} / node",
            measured=ours.times(peer, "p99_ms"),
            unit="x",
            limit=1.5 if judged else None,
            beside=f"{ours.median('p99_ms'):.2f} ms / {peer.median('p99_ms'):.2f} ms",
        )


def calls_in_a_crowd(ground: Ground, table: list[Cell]) -> Iterator[Line]:
    """The same with 1,000 sessions, asked about in turn, while 50 of them write."""
    with own(ground.single)() as single, own(ground.crowd)() as crowd, ground.runner.writing():
        variants = [
            *eras("1 session", single, ids_in(ground.single)),
            *eras("1,000", crowd, ids_in(ground.crowd)),
        ]
        cells = interleaved(variants, CONNECTIONS, ROUNDS, SECONDS)
    table += cells.values()
    for many in CONNECTIONS:
        for era in ("", " 2026"):
            ours, alone = cells[f"1,000{era}", many], cells[f"1 session{era}", many]
            yield Line(
                name=f"CPU/request at {many}: 1,000{era} / 1 session{era}",
                measured=ours.times(alone, "cpu_us"),
                unit="x",
                limit=1.5 if many == max(CONNECTIONS) else None,
                beside=f"{ours.median('cpu_us'):.1f} us / {alone.median('cpu_us'):.1f} us",
            )


@dataclass(frozen=True, slots=True)
class Start:
    """A server that has just answered its first requests, and then one for each session."""

    cpu_ms: float
    wall_ms: float
    rss_bytes: int
    rss_asked_bytes: int


def start(starter: Starter, ids: Sequence[str]) -> Start:
    """Start a server, shake hands and list its tools; then ask about each of `ids`."""
    begun = time.monotonic()
    with starter() as server, _connected(server) as end:
        wall_ms, cpu_ms = 1e3 * (time.monotonic() - begun), cpu_ns(server.pid) / 1e6
        rss = memory_bytes(server.pid, b"Rss")
        for request in calls(ids, modern=False) if ids else ():
            ask(end, request.encode() + b"\n")
        return Start(cpu_ms, wall_ms, rss, memory_bytes(server.pid, b"Rss"))


@contextmanager
def _connected(server: Server) -> Iterator[End]:
    """A connection that has shaken hands and been told the tools."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as client:
        end = (client.fileno(), client.fileno())
        for message in (*HANDSHAKE, LIST):
            line = json.dumps(message).encode() + b"\n"
            if "id" in message:
                ask(end, line)
            else:
                client.sendall(line)
        yield end


def starts(ground: Ground, table: list[Cell]) -> Iterator[Line]:
    """CPU until the first answers, and memory, with no session and with 1,000; and the peers'."""
    starters: dict[str, tuple[Starter, list[str]]] = {
        "mcp-tcp": (own(ground.empty), []),
        "1,000": (own(ground.crowd), ids_in(ground.crowd)),
        "node": (node(ground.empty), []),
        "sdk": (sdk(ground.empty), []),
    }
    taken: dict[str, list[Start]] = {name: [] for name in starters}
    for number in range(STARTS + 1):
        for name in starters if number % 2 else reversed(starters):
            found = start(*starters[name])
            if number:  # the first reads everything from disk, and compiles it
                taken[name].append(found)
    cpu = {name: median(each.cpu_ms for each in found) for name, found in taken.items()}
    wall = {name: median(each.wall_ms for each in found) for name, found in taken.items()}
    rss = {name: median(each.rss_bytes for each in found) / MIB for name, found in taken.items()}
    asked = median(each.rss_asked_bytes for each in taken["1,000"]) / MIB
    yield Line(
        name="start-up CPU, sdk / mcp-tcp",
        measured=cpu["sdk"] / cpu["mcp-tcp"],
        unit="x",
        limit=5,
        at_least=True,
        beside="; ".join(f"{name} {cpu[name]:.0f} ms (wall {wall[name]:.0f})" for name in starters),
    )
    memory = (
        ("no session / node", rss["mcp-tcp"], rss["node"], 0.6),
        ("no session / sdk", rss["mcp-tcp"], rss["sdk"], None),
        ("1,000 sessions / none", rss["1,000"], rss["mcp-tcp"], 1.5),
        ("1,000 sessions, each asked about / none", asked, rss["mcp-tcp"], 1.5),
    )
    for name, ours, other, limit in memory:
        beside = f"{ours:.1f} MiB / {other:.1f} MiB"
        yield Line(name=f"RSS, {name}", measured=ours / other, unit="x", limit=limit, beside=beside)


def idle(ground: Ground, table: list[Cell]) -> Iterator[Line]:
    """What a server uses for which nobody has a question, and 50 of its 1,000 sessions run in silence."""
    with own(ground.crowd)() as server:
        with _connected(server) as end:
            for request in calls(ids_in(ground.crowd), modern=False):
                ask(end, request.encode() + b"\n")
        time.sleep(IDLE_SETTLE_S)
        used_ns, begun = cpu_ns(server.pid), time.monotonic()
        time.sleep(IDLE_S)
        share = (cpu_ns(server.pid) - used_ns) / 1e9 / (time.monotonic() - begun)
    yield Line(
        name=f"idle with {SESSIONS:,} sessions",
        measured=100 * share,
        unit="% of a core",
        limit=0.2,
        beside=f"over {IDLE_S:g} s; each session was asked about before",
    )


def proxy(ground: Ground, table: list[Cell]) -> Iterator[Line]:
    """The proxy beside socat, and what it leaves behind."""
    yield from mcp_proxy.against_socat(ground.empty, table)
    yield from mcp_proxy.lost_clients(ground.empty)


MEASURES = dict(zip(SECTIONS, (calls_against_peers, calls_in_a_crowd, starts, idle, proxy), strict=True))
COLUMNS: tuple[tuple[str, Figure, str], ...] = (
    ("req/s", "per_s", ",.0f"),
    ("p50 ms", "p50_ms", ".3f"),
    ("p99 ms", "p99_ms", ".3f"),
    ("us CPU/req", "cpu_us", ".1f"),
    ("core", "core", ".2f"),
    ("client's", "client_core", ".2f"),
    ("bytes", "answer_bytes", ".0f"),
)


def print_table(table: Sequence[Cell]) -> None:
    """The raw figures: the median over the rounds of each."""
    if not table:
        return
    print(f"\n       {'':<20}{'conns':>6}" + "".join(f"{title:>12}" for title, _, _ in COLUMNS))
    for cell in table:
        figures = "".join(f"{cell.median(figure):>12{form}}" for _, figure, form in COLUMNS)
        print(f"       {cell.name:<20}{cell.connections:>6}{figures}")
    sys.stdout.flush()


def main() -> int:
    begin()
    chosen = parse_sections(parser_of("Measures the data plane on this machine."), SECTIONS)
    leave_a_core()
    report, table = Report(as_json=chosen.json), list[Cell]()
    with workspaces(chosen.dir) as make, prepared(make) as ground:
        for name in chosen.names:
            cells: list[Cell] = []
            report.add(name, list(MEASURES[name](ground, cells)), lambda cells=cells: print_table(cells))  # type: ignore[misc]
            table += cells
        report.end(ground.empty.root, cells=[asdict(each) for each in table])
    return 0


if __name__ == "__main__":
    run("mcp.py", main)
