"""What running costs: the memory of a runner and its witness, the CPU of a hundred idle runs, and how fast `wait` wakes."""

import fcntl
import os
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

from measure import COMMAND, Line, Workspace, cpu_s, end_moment, pss_bytes, uss_bytes, wait_until

from hive_session import proctree

IDLE, TAPPED = 100, 20  # sessions
SETTLE_S = 15.0  # until a runner where nothing moves looks as seldom as it ever does
SETTLE_TAPPED_S = 3.0  # until the interpreters have started
IDLE_FOR_S, TAPPED_FOR_S = 30.0, 15.0
WAKES = 15
MIB = 1 << 20


def idle_sessions(workspace: Workspace) -> Iterator[Line]:
    """100 sessions whose agent is `sleep`: memory of their runners and witnesses, and the CPU they use."""
    staff = [_staff(workspace, each) for each in _start(workspace, "idle", IDLE)]
    time.sleep(SETTLE_S)
    pids = [pid for runner, witness, _ in staff for pid in (runner, witness)]
    share = _core_shares([pids], IDLE_FOR_S)[0]
    for name, who in (("runner", 0), ("witness", 1)):
        sizes = [uss_bytes(each[who]) / MIB for each in staff]
        yield Line(
            name=f"memory of a {name} alone (USS)",
            measured=max(sizes),
            unit="MiB",
            limit=5,
            beside=f"the largest of {IDLE}; median {statistics.median(sizes):.2f}",
        )
    yield Line(
        name="memory of a runner and its witness (PSS)",
        measured=pss_bytes(pids) / MIB / IDLE,
        unit="MiB",
        beside="counts what the two share, which USS leaves out",
    )
    yield Line(
        name=f"{IDLE} idle sessions",
        measured=share,
        unit="% of a core",
        limit=5,
        beside=f"runners and witnesses over {IDLE_FOR_S:g} s; agents are not counted",
    )
    workspace.end_runs()


def tapped_sessions(workspace: Workspace) -> Iterator[Line]:
    """Rehearsed sessions at work: what runner, tap and their witnesses use beside the agent."""
    staff = [_staff(workspace, each) for each in _start(workspace, "rehearsal", TAPPED, "--seconds", "60")]
    wait_until(lambda: all(_below(tap, 2) for _, _, tap in staff))
    time.sleep(SETTLE_TAPPED_S)
    runners = [pid for runner, witness, _ in staff for pid in (runner, witness)]
    taps = [pid for _, _, tap in staff for pid in (tap, *proctree.children(tap))]
    agents = [pid for _, _, tap in staff for pid in _below(tap, 2)]
    shares = [each * 100 / TAPPED for each in _core_shares([runners, taps, agents], TAPPED_FOR_S)]
    yield Line(
        name="100 rehearsed sessions at work",
        measured=shares[0] + shares[1],
        unit="% of a core",
        beside=(
            f"scaled from {TAPPED}: runners and their witnesses {shares[0]:.1f}, taps and theirs {shares[1]:.1f}; "
            f"the agents themselves {shares[2]:.1f}"
        ),
    )
    yield Line(
        name="memory of a tap and its witness (PSS)",
        measured=pss_bytes(taps) / MIB / TAPPED,
        unit="MiB",
        beside=f"runner and its witness {pss_bytes(runners) / MIB / TAPPED:.2f}",
    )
    workspace.end_runs()


def _core_shares(groups: Sequence[Sequence[int]], for_s: float) -> list[float]:
    """What each group of processes uses, in percent of one core, measured for so long."""
    before, begun = [cpu_s(each) for each in groups], time.monotonic()
    time.sleep(for_s)
    took_s = time.monotonic() - begun
    return [100 * (cpu_s(each) - was) / took_s for each, was in zip(groups, before, strict=True)]


def _below(pid: int, depth: int) -> list[int]:
    """The pids of the processes `depth` generations below `pid`."""
    return [pid] if not depth else [each for child in proctree.children(pid) for each in _below(child, depth - 1)]


def _start(workspace: Workspace, agent: str, count: int, *args: str) -> list[str]:
    """The ids of `count` sessions that run by now; four at a time are started by the command."""
    ids = [workspace.create(agent) for _ in range(count)]
    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda each: workspace.command("start", "--detach", each, *args).code, ids))
    if any(codes):
        raise RuntimeError(f"{sum(map(bool, codes))} of {count} sessions do not start")
    return ids


def _staff(workspace: Workspace, session_id: str) -> tuple[int, int, int]:
    """The pids of a session's runner, its witness and its agent."""
    with open(workspace.store.paths(session_id).run_lock, encoding="ascii") as file:
        runner = int(file.read().split()[0])
    witness = proctree.children(runner)[0]
    return runner, witness, proctree.children(witness)[0]


def wakes(workspace: Workspace) -> Iterator[Line]:
    """From the end of an agent to the end of a `hive-session wait` that was blocked on it."""
    taken = [_wake(workspace) for _ in range(WAKES)]
    # Two threads look at the clock, so that a `wait` that ends at once may seem to end a little too early.
    released = [max(0.0, 1e3 * (woken - release)) for _, release, woken in taken]
    ended = [1e3 * (woken - end) for end, _, woken in taken]
    yield Line(
        name="wait ends after run.lock is free",
        measured=statistics.median(released),
        unit="ms",
        limit=50,
        beside=f"median of {WAKES}; min {min(released):.1f}, max {max(released):.1f}",
    )
    yield Line(
        name="wait ends after the agent's end",
        measured=statistics.median(ended),
        unit="ms",
        beside=f"with the record written in between; min {min(ended):.1f}, max {max(ended):.1f}",
    )


def _wake(workspace: Workspace) -> tuple[float, float, float]:
    """Monotonic times: the agent ended, run.lock was free, `wait` ended."""
    session_id = workspace.create("gated")
    paths = workspace.store.paths(session_id)
    os.mkfifo(paths.at("gate"))
    if workspace.command("start", "--detach", session_id).code:
        raise RuntimeError("a session does not start")
    agent = os.pidfd_open(_staff(workspace, session_id)[2])
    waiting = subprocess.Popen([COMMAND, "wait", session_id], env=workspace.env)
    waiter = os.pidfd_open(waiting.pid)
    wait_until(lambda: _blocks_on_flock(waiting.pid))
    moments: dict[str, float] = {}

    def note_release() -> None:
        with open(paths.run_lock, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            moments["release"] = time.monotonic()

    def note_end() -> None:
        moments["end"] = end_moment(agent)

    watchers = [Thread(target=note_release), Thread(target=note_end)]
    for each in watchers:
        each.start()
    os.close(os.open(paths.at("gate"), os.O_WRONLY))
    woken = end_moment(waiter)
    for each in watchers:
        each.join()
    os.close(agent)
    os.close(waiter)
    if waiting.wait():
        raise RuntimeError(f"wait: exit code {waiting.returncode}")
    return moments["end"], moments["release"], woken


def _blocks_on_flock(pid: int) -> bool:
    """True when the kernel lists `pid` among those who wait for a lock."""
    with open("/proc/locks", encoding="ascii") as file:
        return any(words[1] == "->" and words[5] == str(pid) for words in map(str.split, file) if len(words) > 5)
