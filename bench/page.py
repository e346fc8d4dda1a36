"""Measures the live page in a headless Chromium without a GPU: how soon 1,000 agents are shown, and input answered.

    .venv/bin/python bench/page.py [--json] [--dir DIR] [--beside CHECKOUT] [--gpu]

It needs the test extras (playwright-core, node) and Debian's Chromium. The relay is a real one, on a workspace of the
bench's own; everything listens on loopback and ends with it, within about a minute. With --beside, the page of another
checkout is measured in turn with this one, which tells more than a figure alone: other programs on the same cores make
for good and bad minutes. The page draws on the 2-D canvas here, as wherever a GPU is only imitated; --gpu shows why.
Exit code: 0 whatever the figures, 1 when it cannot measure.
"""

import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from mcp_peers import HERE, Server, run_client, serving
from measure import PYTHON, Line, Workspace, workspaces
from report import Report, begin, parser_of, run

from hive_session.durable import append_line, replace_file
from hive_session.ondisk.events import encode_event
from hive_session.ondisk.layout import SessionPaths
from hive_session.ondisk.records import encode_session, format_time

AGENTS = 1000
UPDATES_PER_S, AT_ONCE = 1000, 20
OPENINGS, ANSWERS = 3, 12  # of each round; answers of each kind: key, click, pan
ROUNDS = 2
JOB_TIMEOUT_S = 60.0
MODULES = Path(PYTHON).parent.parent / "node-playwright" / "node_modules"  # bin/setup --test puts it there
TOOLS = ("Bash", "Read", "Edit", "Grep")
SHOWN_MS, ANSWERED_MS, PAINTED_MS = 2000, 100, 300

Told = dict[str, Any]


def crowd(workspace: Workspace) -> SessionPaths:
    """A session that runs, of a queen and workers, of which every fourth has ended."""
    session_id = workspace.create()
    paths, now_s = workspace.store.paths(session_id), time.time()
    began = format_time(now_s)
    words = {"status": "running", "started": began, "updated": began, "attempt": 1, "external": True}
    record = replace(workspace.store.read(session_id), **words)  # type: ignore[arg-type]  # each as its field wants it
    replace_file(paths.record, encode_session(record), durable=False)
    append_line(paths.telemetry, b"".join(_lines(int(now_s * 1000))))
    return paths


def _lines(now_ms: int) -> Iterator[bytes]:
    yield encode_event({"ts": now_ms, "type": "session", "status": "running", "attempt": 1})
    for number in range(AGENTS):
        who: Told = {
            "agent": f"w{number}",
            "parent": "w0",
            "role": "worker",
            "kind": "coder",
            "task": f"Part {number}",
        }
        if number == 0:
            who |= {"parent": None, "role": "queen", "kind": "claude"}
        yield encode_event({"ts": now_ms, "type": "agent_spawned", **who})
        if number and number % 4 == 0:
            yield encode_event(
                {"ts": now_ms, "type": "agent_ended", "agent": f"w{number}", "status": "done", "tokens": 50 * number}
            )


@contextmanager
def storm(paths: SessionPaths) -> Iterator[None]:
    """UPDATES_PER_S events a second, AT_ONCE together, for as long as the block lasts."""
    over = threading.Event()

    def blow() -> None:
        number, due = 0, time.monotonic()
        while not over.wait(max(0.0, due - time.monotonic())):
            due += AT_ONCE / UPDATES_PER_S
            now_ms = int(time.time() * 1000)
            append_line(paths.telemetry, b"".join(_update(number + each, now_ms) for each in range(AT_ONCE)))
            number += AT_ONCE

    thread = threading.Thread(target=blow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _update(number: int, now_ms: int) -> bytes:
    event = {"ts": now_ms, "type": "agent_status", "agent": f"w{1 + number % (AGENTS - 1)}", "status": "working"}
    return encode_event({**event, "tool": TOOLS[number // AGENTS % len(TOOLS)]})


class Page:
    """The page of one checkout, and all that was measured of it."""

    def __init__(self, name: str, server: Server, paths: SessionPaths, job: Mapping[str, Any]) -> None:
        self.name, self._paths = name, paths
        self._job = {**job, "url": f"http://127.0.0.1:{server.port}/"}
        self.opened: list[Told] = []
        self.busy: list[Told] = []

    def measure(self) -> None:
        """One round: open it some times, then have it answer while the updates come."""
        self.opened.append(self._ask("open", OPENINGS))
        with storm(self._paths):
            self.busy.append(self._ask("busy", ANSWERS))

    def _ask(self, measure: str, times: int) -> Told:
        node = shutil.which("node")
        if node is None or not MODULES.is_dir():
            raise RuntimeError("there is no node on PATH, or no playwright-core for it: bin/setup --test")
        job = {**self._job, "measure": measure, "times": times}
        report: Told = run_client([node, f"{HERE}/page.mjs"], job, f"{self.name}, {measure}", JOB_TIMEOUT_S)
        return report

    def values(self, name: str) -> list[float]:
        """All values of one figure, over all rounds."""
        return [value for report in (*self.opened, *self.busy) for value in report.get(name, ())]


@contextmanager
def page_of(name: str, checkout: str, workspace: Workspace, job: Mapping[str, Any]) -> Iterator[Page]:
    """The page that the relay of this checkout serves, of a crowd that it alone shows."""
    paths = crowd(workspace)
    with serving([PYTHON, "-m", "ws_relay", "--port", "0"], workspace.env, checkout) as server:
        yield Page(name, server, paths, job)


def lines_of(page: Page, other: Page | None) -> Iterator[Line]:
    """The figures of a page, with those of the other one beside them."""

    def line(title: str, name: str, limit: float | None, unit: str = "ms") -> Line:
        told = [f"{value:.0f}" for value in page.values(name)]
        beside = ", ".join(told) if len(told) <= OPENINGS * ROUNDS else f"p95 {p95(page.values(name)):.0f} {unit}"
        if other:
            beside += f"; {other.name}: {median(other.values(name)):.0f}, p95 {p95(other.values(name)):.0f} {unit}"
        return Line(name=title, measured=median(page.values(name)), unit=unit, limit=limit, beside=beside)

    yield line("first paint", "painted_ms", PAINTED_MS)
    yield line(f"{AGENTS:,} agents shown after opening", "shown_ms", SHOWN_MS)
    for kind in ("key", "click", "pan"):
        yield line(f"{kind} answered at {UPDATES_PER_S:,} updates/s, p50", f"{kind}_ms", ANSWERED_MS)
    answers = [value for kind in ("key", "click", "pan") for value in page.values(f"{kind}_ms")]
    yield Line(name="any of these, p95", measured=p95(answers), unit="ms", limit=ANSWERED_MS)
    yield line("main thread meanwhile, of each second", "main_ms", None)
    yield line("events that came, of each second", "events_per_s", None, "")


def p95(values: Sequence[float]) -> float:
    """The 95th percentile; of a single value, that value."""
    return quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]


def main() -> int:
    begin()
    parser = parser_of("Measures the live page on this machine.")
    parser.add_argument("--beside", metavar="CHECKOUT", help="measure the page of this checkout in turn with ours")
    parser.add_argument("--gpu", action="store_true", help="have the graph drawn on the imitated GPU")
    chosen = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        raise RuntimeError("there is no chromium on PATH: apt-get install chromium")
    job = {"modules": str(MODULES), "chromium": chromium, "agents": AGENTS, "gpu": chosen.gpu}
    report = Report(as_json=chosen.json)
    with workspaces(chosen.dir) as make, ExitStack() as stack:
        ours = stack.enter_context(page_of("ours", os.path.dirname(HERE), make(), job))
        other = stack.enter_context(page_of("beside", chosen.beside, make(), job)) if chosen.beside else None
        pages = [page for page in (ours, other) if page]
        for number in range(ROUNDS):
            for page in pages if number % 2 else reversed(pages):
                page.measure()
        report.add(f"page, drawn by: {ours.busy[-1]['renderer'][0]}", list(lines_of(ours, other)))
    report.end(chosen.dir or "/tmp")
    return 0


if __name__ == "__main__":
    run("page.py", main)
