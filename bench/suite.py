"""Measures the supervised suite: what it takes when idle, how fast it starts and comes back, and what it costs sessions.

    .venv/bin/python bench/suite.py [--json] [--dir DIR] [--image IMAGE] [idle|start|container|kill|sessions]...

With --image, `docker run` of that image is measured too, at the engine of DOCKER_HOST. Everything listens on loopback and ends
with it; workspaces are temporary. Exit code: 0 whatever the figures, 1 when it cannot measure.
"""

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median

import mcp_hive
from mcp_load import cpu_ns
from mcp_peers import script
from measure import COMMAND, TASK, Line, Workspace, memory_bytes, wait_until, workspaces
from report import Report, begin, parse_sections, parser_of, run
from supervised import SERVERS, Suite, bare_loop, said_all, soon, start_container, supervised, why_no_container

from hive_session.ondisk.index import decode_index
from hive_session.ondisk.liveness import run_is_alive

SECTIONS = ("idle", "start", "container", "kill", "sessions")
SESSIONS, RUNNING = 1000, 40
SETTLE_S, IDLE_S = 20.0, 30.0
STARTS, KILLS = 5, 5
RUNS, AT_ONCE = 100, 4
SHORT_S, LONG_S = 1.0, 10.0  # what the short one shows is our overhead; agents at work take minutes
LIMIT_S = 30.0  # for whatever should be there within seconds
MB = 1e6

Make = Callable[[], Workspace]


@contextmanager
def crowd(make: Make) -> Iterator[Workspace]:
    """A workspace with 1,000 sessions, of which 40 run and write nothing; they end with the block."""
    workspace = make()
    with mcp_hive.filled(workspace, SESSIONS, RUNNING):
        yield workspace


def idle(make: Make) -> Iterator[Line]:
    """What all its programs take together while nobody asks but its own listener."""
    with crowd(make) as workspace, supervised(workspace) as suite:
        time.sleep(SETTLE_S)
        processes = suite.processes()
        used_ns, begun = {pid: cpu_ns(pid) for pid in processes}, time.monotonic()
        time.sleep(IDLE_S)
        lasted_ns = 1e9 * (time.monotonic() - begun)
        shares = {pid: 100 * (cpu_ns(pid) - used_ns[pid]) / lasted_ns for pid in processes}
        rss, pss = ({pid: memory_bytes(pid, kind) / MB for pid in processes} for kind in (b"Rss", b"Pss"))
    where = f"{SESSIONS:,} sessions, {RUNNING} of them running"
    yield Line(
        name=f"memory of all programs (RSS), {where}",
        measured=sum(rss.values()),
        unit="MB",
        limit=120,
        beside=_by_program(processes, rss, ".1f"),
    )
    yield Line(
        name="the same with shared pages counted once (PSS)",
        measured=sum(pss.values()),
        unit="MB",
        beside=_by_program(processes, pss, ".1f"),
    )
    yield Line(
        name="CPU of all programs",
        measured=sum(shares.values()),
        unit="% of a core",
        limit=1,
        beside=f"{_by_program(processes, shares, '.2f')}; over {IDLE_S:g} s",
    )


def _by_program(processes: dict[int, str], figures: dict[int, float], form: str) -> str:
    sums: dict[str, float] = defaultdict(float)
    for pid, name in processes.items():
        sums[name] += figures[pid]
    return ", ".join(f"{name} {figure:{form}}" for name, figure in sums.items())


def start(make: Make) -> Iterator[Line]:
    """From nothing to every server answering."""
    with crowd(make) as full:
        for name, workspace in (("an empty workspace", make()), (f"{SESSIONS:,} sessions", full)):
            taken = []
            for _ in range(STARTS):
                with supervised(workspace) as suite:
                    taken.append(suite.took_s)
            yield _slowest(f"start to ready, {name}", taken, 5)


def container(image: str) -> Iterator[Line]:
    """From `docker run` to the health check's first success."""
    taken = [start_container(image) for _ in range(STARTS)]
    yield _slowest("docker run to ready", taken, 5, image)


def kill(make: Make) -> Iterator[Line]:
    """From SIGKILL to answering again."""
    with crowd(make) as workspace, supervised(workspace) as suite:
        for name in (*SERVERS, "health"):
            taken = [_kill(suite, name) for _ in range(KILLS)]
            back = "answering" if name in SERVERS else "running"
            yield _slowest(f"kill -9 of {name} to {back} again", taken, 2, f"{SESSIONS:,} sessions")


def _slowest(name: str, taken_s: Sequence[float], limit_s: float, *more: str) -> Line:
    """The figure of something done several times; `more` stands beside it."""
    beside = "; ".join((f"the slowest of {len(taken_s)}", f"median {median(taken_s):.2f}", *more))
    return Line(name=name, measured=max(taken_s), unit="s", limit=limit_s, beside=beside)


def _kill(suite: Suite, name: str) -> float:
    """Seconds until it is there again."""
    pid = suite.settled_pid(name)
    os.kill(pid, signal.SIGKILL)
    if name in SERVERS:
        return soon(lambda: not os.path.exists(f"/proc/{pid}") and suite.answers(name), LIMIT_S)
    return soon(lambda: pid not in suite.processes() and name in suite.processes().values(), LIMIT_S)


def sessions(make: Make) -> Iterator[Line]:
    """100 sessions to the end beside the same agent in a bare loop, four at a time in both."""
    lost = 0
    for agent_s, limit in ((SHORT_S, None), (LONG_S, 95.0)):
        with supervised(make()) as suite:
            own_s, ended_well = _through_sessions(suite.workspace, agent_s)
        lost += RUNS - ended_well
        argv = [script("hive-rehearsal"), "-p", "--output-format", "stream-json", *_play(agent_s)]
        bare_s, said = bare_loop(argv, TASK, RUNS, AT_ONCE, f"{make().root}/bare")
        if said < RUNS:
            raise RuntimeError(f"{RUNS - said} agents of the bare loop did not come to their end")
        beside_s = (own_s - bare_s) * AT_ONCE / RUNS
        yield Line(
            name=f"throughput, {AT_ONCE} agents of {agent_s:g} s at a time / a bare loop",
            measured=100 * bare_s / own_s,
            unit="%",
            limit=limit,
            at_least=True,
            beside=f"{RUNS} of them: {own_s:.1f} s / {bare_s:.1f} s; beside its agent each takes {1e3 * beside_s:.0f} ms more",
        )
    yield Line(name=f"sessions lost of {2 * RUNS}", measured=lost, unit="", limit=0)


def _play(agent_s: float) -> tuple[str, ...]:
    """A small rehearsal of so many seconds."""
    return ("--seconds", f"{agent_s:g}", "--workers", "2")


def _through_sessions(workspace: Workspace, agent_s: float) -> tuple[float, int]:
    """Seconds from the first start to the last end, and how many sessions came to a good one with all that was said."""
    ids = [workspace.create("rehearsal") for _ in range(RUNS)]
    line = f'for id; do "$HIVE" start --detach "$id" {" ".join(_play(agent_s))} || exit; done'
    env = workspace.env | {"MAX_CONCURRENT_SESSIONS": str(AT_ONCE), "HIVE": COMMAND}
    begun = time.monotonic()
    subprocess.run(
        ["sh", "-c", line, "sh", *ids], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
    )
    locks = [workspace.store.paths(each).run_lock for each in ids]
    wait_until(lambda: not any(map(run_is_alive, locks)), RUNS * (agent_s + 2))
    took_s = time.monotonic() - begun
    known = decode_index(workspace.store.index(), workspace.store.layout.index)[1]
    well = [
        each
        for each in ids
        if each in known
        and (record := workspace.store.read(each)).status == "completed"
        and record.exit_code == 0
        and said_all(workspace.store.paths(each).log)
    ]
    return took_s, len(well)


MEASURES = {"idle": idle, "start": start, "kill": kill, "sessions": sessions}


def measure(name: str, make: Make, image: str | None) -> list[Line]:
    """The figures of one section; none for a container that cannot be had, of which it tells on stderr."""
    if name != "container":
        return list(MEASURES[name](make))
    why = why_no_container(image)
    if why or image is None:
        print(f"bench/suite.py: docker run is left out: {why}", file=sys.stderr)
        return []
    return list(container(image))


def main() -> int:
    begin()
    parser = parser_of("Measures the supervised suite on this machine.")
    parser.add_argument("--image", help="the image of the suite, for the section container")
    chosen = parse_sections(parser, SECTIONS)
    report = Report(as_json=chosen.json)
    with workspaces(chosen.dir) as make:
        for name in chosen.names:
            report.add(name, measure(name, make, chosen.image))
        report.end(make().root)
    return 0


if __name__ == "__main__":
    run("suite.py", main)
