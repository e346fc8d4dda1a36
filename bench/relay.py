"""Measures ws-relay against peers that it starts in the same run: the goals, then the raw figures.

    .venv/bin/python bench/relay.py [--json] [--dir DIR] [plain|coalesced|compressed|latency|idle|stalled]...

It needs node on PATH and the test extras, where `ws` comes from. Everything listens on loopback and ends with it; workspaces
are temporary. Exit code: 0 whatever the figures, 1 when it cannot measure.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass

import mcp_hive
import relay_peers
from mcp_load import cpu_ns
from measure import Line, Workspace, at_once, leave_a_core, workspaces
from relay_load import Figure, Viewer
from relay_peers import Cell, Relay, interleaved, load
from report import Report, begin, parse_sections, parser_of, run

SECTIONS = ("plain", "coalesced", "compressed", "latency", "idle", "stalled")
SESSIONS, RUNNING = 1000, 50
ROUNDS, SECONDS = 3, 4.0
MANY_VIEWERS, SLOW_PER_S = 200, 150.0
FEWER_VIEWERS, FAST_PER_S = 50, 1500.0
LONE_PER_S, LONE_S = 40.0, 8.0
IDLE_SETTLE_S, IDLE_S = 5.0, 30.0
BURST, BURST_S = 30, 5.0
ALONE_S, STALLED_S, STALLED_KEPT = 20.0, 120.0, 2
STALLED_GROWTH_MIB = 16.0
EVERYTHING = json.dumps({"action": "subscribe"})


@dataclass(frozen=True, slots=True)
class Ground:
    """What is measured on: a workspace with one session, which runs, and one with a thousand."""

    single: Workspace
    crowd: Workspace
    session_id: str  # of the single one


@contextmanager
def prepared(make: Callable[[], Workspace], names: Sequence[str]) -> Iterator[Ground]:
    """The workspaces, filled, and what runs in them, which ends with the block."""
    single, crowd = make(), make()
    with ExitStack() as stack:
        stack.enter_context(mcp_hive.filled(single, 1, 1))
        (session_id,) = single.store.session_ids()
        if "idle" in names:
            stack.enter_context(mcp_hive.filled(crowd, SESSIONS, RUNNING))
        yield Ground(single, crowd, session_id)


@contextmanager
def all_three(ground: Ground, *, deflate: bool = False) -> Iterator[list[Relay]]:
    """Ours and both peers, each over a file of its own, so that those whose turn it is not rest."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(relay_peers.own(ground.single, ground.session_id, deflate=deflate)),
            stack.enter_context(relay_peers.node(ground.single, deflate=deflate)),
            stack.enter_context(relay_peers.python(ground.single, deflate=deflate)),
        ]


def _ratio(
    cells: dict[str, Cell], peer: str, figure: Figure, limit: float | None, unit: str, form: str = ".1f"
) -> Line:
    ours, other = cells["ws-relay"], cells[peer]
    titles = {"cpu_us": "CPU/line", "wire_bytes": "bytes on the wire", "rss_mib": "RSS"}
    return Line(
        name=f"{titles[figure]}, ws-relay / {peer}",
        measured=ours.times(other, figure),
        unit="x",
        limit=limit,
        beside=f"{ours.median(figure):{form}} {unit} / {other.median(figure):{form}} {unit}",
    )


def _all_came(cell: Cell) -> Line:
    """Whether every line came at every viewer."""
    missing = sum(cell.each("missing"))
    in_time = min(cell.each("delivered"))
    told = f"{100 * in_time:.2f} % of them in time"
    return Line(name="lines that did not come", measured=missing, unit="", limit=0, beside=told)


def plain(ground: Ground, table: list[Cell]) -> Iterator[Line]:
    """Many viewers, few lines."""
    with all_three(ground) as relays:
        cells = interleaved("plain", relays, MANY_VIEWERS, SLOW_PER_S, ROUNDS, SECONDS)
    table += cells.values()
    yield _ratio(cells, "node ws", "cpu_us", 0.9, "us")
    yield _ratio(cells, "broadcast", "cpu_us", None, "us")
    yield _all_came(cells["ws-relay"])


def coalesced(ground: Ground, table: list[Cell]) -> Iterator[Line]:
    """Fewer viewers, so many lines that several of them go together."""
    with all_three(ground) as relays:
        cells = interleaved("coalesced", relays, FEWER_VIEWERS, FAST_PER_S, ROUNDS, SECONDS)
    table += cells.values()
    yield _ratio(cells, "node ws", "cpu_us", 0.25, "us")
    yield Line(name="p99", measured=cells["ws-relay"].median("p99_ms"), unit="ms", limit=25)
    yield _all_came(cells["ws-relay"])


def compressed(ground: Ground, table: list[Cell]) -> Iterator[Line]:
    """Many viewers, all with permessage-deflate."""
    with all_three(ground, deflate=True) as relays:
        cells = interleaved("compressed", relays, MANY_VIEWERS, SLOW_PER_S, ROUNDS, SECONDS)
    table += cells.values()
    yield _ratio(cells, "node ws", "cpu_us", 1 / 5, "us")
    yield _ratio(cells, "broadcast", "cpu_us", 1 / 3, "us")
    yield _ratio(cells, "node ws", "wire_bytes", 1.1, "bytes")
    yield _ratio(cells, "node ws", "rss_mib", 0.45, "MiB")
    yield _all_came(cells["ws-relay"])


def latency(ground: Ground, table: list[Cell]) -> Iterator[Line]:
    """One viewer, and a line every now and then: from the file to the frame."""
    with all_three(ground) as relays:
        cells = interleaved("latency", relays, 1, LONE_PER_S, ROUNDS, LONE_S)
    table += cells.values()
    ours = cells["ws-relay"]
    peers = "; ".join(f"{each.name} {each.median('p50_ms'):.2f}/{each.median('p99_ms'):.2f}" for each in cells.values())
    yield Line(name="p50, file to frame", measured=ours.median("p50_ms"), unit="ms", limit=1, beside=peers)
    yield Line(name="p99, file to frame", measured=ours.median("p99_ms"), unit="ms", limit=5)


def idle(ground: Ground, table: list[Cell]) -> Iterator[Line]:
    """What a relay uses while nothing happens; then thirty sessions are created at once."""
    with relay_peers.own(ground.crowd, "") as relay:
        viewer = Viewer(relay.server.port, deflate=True)
        viewer.subscribe(EVERYTHING)
        while viewer.next(IDLE_SETTLE_S) is not None:
            continue
        used_ns, begun = cpu_ns(relay.server.pid), time.monotonic()
        viewer.next(IDLE_S)  # answers what pings come
        time.sleep(max(0.0, begun + IDLE_S - time.monotonic()))
        share = (cpu_ns(relay.server.pid) - used_ns) / 1e9 / (time.monotonic() - begun)
        created = set(at_once(BURST, lambda _number: ground.crowd.create))
        seen = _seen(viewer, created)
    yield Line(
        name=f"idle with {SESSIONS:,} sessions and a viewer",
        measured=100 * share,
        unit="% of a core",
        limit=0.2,
        beside=f"over {IDLE_S:g} s",
    )
    yield Line(name="sessions seen of 30 created at once", measured=len(seen), unit="", limit=BURST, at_least=True)


def _seen(viewer: Viewer, wanted: set[str]) -> set[str]:
    """Which of these sessions the viewer is told of, within BURST_S after their creation."""
    seen: set[str] = set()
    give_up = time.monotonic() + BURST_S
    while seen != wanted and (text := viewer.next(give_up - time.monotonic())) is not None:
        seen |= wanted & {json.loads(text).get("session_id")}
    return seen


def stalled(ground: Ground, table: list[Cell]) -> Iterator[Line]:
    """Fifty viewers at full rate for two minutes beside one that never reads; before that without it."""
    with relay_peers.own(ground.single, ground.session_id) as relay:
        alone = load(relay, FEWER_VIEWERS, FAST_PER_S, ALONE_S, kept=STALLED_KEPT)
        beside = load(relay, FEWER_VIEWERS, FAST_PER_S, STALLED_S, kept=STALLED_KEPT, stalled=1)
    table += [Cell("stalled", "without it", [alone]), Cell("stalled", "beside it", [beside])]
    yield Line(
        name="p99 of the others, beside a stalled one / without",
        measured=beside["p99_ms"] / alone["p99_ms"],
        unit="x",
        limit=1.2,
        beside=f"{beside['p99_ms']:.2f} ms / {alone['p99_ms']:.2f} ms",
    )
    yield Line(
        name="memory that grew meanwhile",
        measured=beside["growth_mib"],
        unit="MiB",
        limit=STALLED_GROWTH_MIB,
        beside=f"{beside['rss_mib']:.1f} MiB after {STALLED_S:g} s",
    )
    yield _all_came(Cell("stalled", "ws-relay", [beside]))


MEASURES = dict(zip(SECTIONS, (plain, coalesced, compressed, latency, idle, stalled), strict=True))
COLUMNS: tuple[tuple[str, Figure, str], ...] = (
    ("lines/s", "per_s", ",.0f"),
    ("delivered", "delivered", ".2%"),
    ("us CPU/line", "cpu_us", ".2f"),
    ("bytes/line", "wire_bytes", ".1f"),
    ("p50 ms", "p50_ms", ".2f"),
    ("p99 ms", "p99_ms", ".2f"),
    ("RSS MiB", "rss_mib", ".1f"),
    ("core", "core", ".2f"),
    ("client's", "client_core", ".2f"),
)


def print_table(table: Sequence[Cell]) -> None:
    """The raw figures: the median over the rounds of each."""
    if not table:
        return
    print(f"\n       {'':<12}" + "".join(f"{title:>12}" for title, _, _ in COLUMNS))
    for cell in table:
        figures = "".join(f"{cell.median(figure):>12{form}}" for _, figure, form in COLUMNS)
        print(f"       {cell.name:<12}{figures}")
    sys.stdout.flush()


def main() -> int:
    begin()
    chosen = parse_sections(parser_of("Measures the relay on this machine."), SECTIONS)
    leave_a_core()
    report, table = Report(as_json=chosen.json), list[Cell]()
    with workspaces(chosen.dir) as make, prepared(make, chosen.names) as ground:
        for name in chosen.names:
            cells: list[Cell] = []
            report.add(name, list(MEASURES[name](ground, cells)), lambda cells=cells: print_table(cells))  # type: ignore[misc]
            table += cells
        report.end(ground.single.root, cells=[asdict(each) for each in table])
    return 0


if __name__ == "__main__":
    run("relay.py", main)
