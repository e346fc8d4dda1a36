"""How the bench measures: whole commands beside their peers round by round, processes released at once, and what /proc says."""

import multiprocessing
import os
import pwd
import select
import shutil
import signal
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from hive_session import proctree
from hive_session.config import resolve_config
from hive_session.create import CreateRequest, create_session, make_roots
from hive_session.durable import append_line, read_file, replace_file
from hive_session.ondisk.index import encode_index, row_of
from hive_session.ondisk.liveness import run_is_alive
from hive_session.ondisk.records import encode_session
from hive_session.store import Store

PYTHON = sys.executable
COMMAND = f"{sysconfig.get_path('scripts')}/hive-session"
TASK = "Build the importer and show that it keeps every byte"
CONFIG = """\
[agents.idle]
argv = ["sleep", "3600"]
[agents.gated]
argv = ["cat", "{working_dir}/gate"]
"""


class Timing(NamedTuple):
    """One process from its start to its end; CPU time includes the children that it waited for."""

    wall_s: float
    cpu_s: float
    code: int


def run(argv: Sequence[str], env: Mapping[str, str], out: str = os.devnull) -> Timing:
    """Run `argv[0]`, an absolute path, to its end, with its stdout in the file `out` and its stderr nowhere."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 1, out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
    ]
    begun = time.perf_counter()
    pid = os.posix_spawn(argv[0], list(argv), dict(env), file_actions=actions)
    _, status, used = os.wait4(pid, 0)
    wall_s = time.perf_counter() - begun
    return Timing(wall_s, used.ru_utime + used.ru_stime, os.waitstatus_to_exitcode(status))


class Series:
    """The timings of one variant, round by round."""

    def __init__(self, timings: Sequence[Timing]) -> None:
        self.walls_s = [each.wall_s for each in timings]
        self.median_ms = 1e3 * statistics.median(each.wall_s for each in timings)
        self.min_ms = 1e3 * min(each.wall_s for each in timings)
        self.cpu_ms = 1e3 * statistics.median(each.cpu_s for each in timings)

    def __str__(self) -> str:
        return f"{self.median_ms:.1f} ms (min {self.min_ms:.1f}, cpu {self.cpu_ms:.1f})"


def interleave(variants: Mapping[str, Callable[[], Timing]], rounds: int) -> dict[str, Series]:
    """Every variant once a round, the order turned each time, so that a busy moment hits all; after one round unmeasured.

    Raises: RuntimeError when one exits with another code than 0, as its time would then mean nothing.
    """
    taken: dict[str, list[Timing]] = {name: [] for name in variants}
    names = list(variants)
    for number in range(rounds + 1):
        for name in names if number % 2 else reversed(names):
            timing = variants[name]()
            if timing.code:
                raise RuntimeError(f"{name}: exit code {timing.code}")
            if number:
                taken[name].append(timing)
    return {name: Series(timings) for name, timings in taken.items()}


def at_once(count: int, prepare: Callable[[int], Callable[[], Any]]) -> list[Any]:
    """What `prepare(number)()` gives in each of `count` processes; all have prepared before the first goes on."""
    fork = multiprocessing.get_context("fork")
    gate = fork.Barrier(count)
    with fork.Pool(count, _remember, (gate, prepare)) as pool:
        return pool.map(_pass_gate, range(count), chunksize=1)


_gated: tuple[Any, Callable[[int], Callable[[], Any]]]


def _remember(gate: Any, prepare: Callable[[int], Callable[[], Any]]) -> None:
    global _gated
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a pool ends its processes with it
    _gated = (gate, prepare)


def _pass_gate(number: int) -> Any:
    gate, prepare = _gated
    work = prepare(number)
    gate.wait()
    return work()


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure of the report; without a limit it is told, not judged."""

    name: str
    measured: float
    unit: str
    limit: float | None = None
    at_least: bool = False  # the limit is a floor
    beside: str = ""  # the figures behind it

    @property
    def passed(self) -> bool | None:
        if self.limit is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    @property
    def target(self) -> str:
        return "" if self.limit is None else f"{'>=' if self.at_least else '<='} {self.limit:g} {self.unit}".rstrip()

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "target": self.target,
            "measured": round(self.measured, 4),
            "unit": self.unit,
            "passed": self.passed,
            "beside": self.beside,
        }


def ratio_line(name: str, own: Series, peer: Series, limit: float, peer_name: str) -> Line:
    """How many times as long as its peer something takes: the median over the rounds, each with its own ratio."""
    ratio = statistics.median(a / b for a, b in zip(own.walls_s, peer.walls_s, strict=True))
    beside = (
        f"{own}; {peer_name} {peer}; ratio of medians {own.median_ms / peer.median_ms:.2f}, "
        f"of minima {own.min_ms / peer.min_ms:.2f}, of cpu {own.cpu_ms / peer.cpu_ms:.2f}"
    )
    return Line(name=name, measured=ratio, unit="x", limit=limit, beside=beside)


@dataclass(slots=True)
class Workspace:
    """A workspace of its own with the environment for whatever runs in it; no setting of the caller's reaches it."""

    root: str
    env: dict[str, str] = field(init=False)
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        os.makedirs(f"{self.root}/home")
        with open(f"{self.root}/hive.toml", "w", encoding="utf-8") as file:
            file.write(CONFIG)
        self.env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": f"{self.root}/home",
            "LC_ALL": "C.UTF-8",
            "HIVE_WORKSPACE": f"{self.root}/workspace",
            "HIVE_CONFIG": f"{self.root}/hive.toml",
            "HIVE_USER": pwd.getpwuid(os.geteuid()).pw_name,  # root stays root: the directory is root's
        }
        config = resolve_config(self.env, CONFIG, "hive.toml", self.env["HOME"], os.path.isdir)
        self.store = Store(config.layout, time.time)
        make_roots(config.layout)
        self.store.index()

    def command(self, *words: str, out: str = os.devnull) -> Timing:
        """Run `hive-session` with these words."""
        return run([COMMAND, *words], self.env, out)

    def create(self, agent: str = "idle") -> str:
        """The id of a new session, made in this process."""
        return create_session(self.store, CreateRequest(task=TASK, agent=agent)).session_id

    def seed(self, count: int) -> None:
        """Fill the empty workspace with `count` sessions as `create` makes them, but without a sync for each."""
        pattern = self.store.read(self.create())
        old, rows = pattern.session_id, {}
        paths = self.store.paths(old)
        telemetry = read_file(paths.telemetry)
        for number in range(count):
            session_id = f"{number:08x}-0000-4000-8000-000000000000"
            fresh = self.store.paths(session_id)
            for directory in (fresh.dir, os.path.dirname(fresh.database), fresh.output):
                os.mkdir(directory)
            os.symlink(fresh.output, fresh.at("output"))
            os.symlink(fresh.log, fresh.at("session.log"))
            append_line(fresh.record, encode_session(pattern).replace(old.encode(), session_id.encode()))
            append_line(fresh.telemetry, telemetry)
            append_line(fresh.log, b"")
            rows[session_id] = row_of(replace(pattern, working_dir=fresh.dir))
        shutil.rmtree(paths.dir)
        replace_file(self.store.layout.index, encode_index(pattern.created, rows))

    def end_runs(self) -> None:
        """End every run of this workspace and wait for it; SIGKILL to what does not end in 20 s."""
        ids = self.store.session_ids()
        locks = {each: self.store.paths(each).run_lock for each in ids}
        alive = {each: lock for each, lock in locks.items() if run_is_alive(lock)}
        for lock in alive.values():
            with open(lock, encoding="ascii") as file:
                proctree.send([int(file.read().split()[0])], signal.SIGTERM)
        give_up = time.monotonic() + 20
        while any(map(run_is_alive, alive.values())) and time.monotonic() < give_up:
            time.sleep(0.1)
        stray = [pid for pid, session_id in proctree.sessions_by_pid().items() if session_id in locks]
        proctree.send(stray, signal.SIGKILL)


@contextmanager
def workspaces(parent: str | None) -> Iterator[Callable[[], Workspace]]:
    """Gives a maker of workspaces; ends what runs in them and removes them at the end."""
    root = tempfile.mkdtemp(prefix="hive-bench-", dir=parent)
    made: list[Workspace] = []

    def make() -> Workspace:
        made.append(Workspace(f"{root}/{len(made)}"))
        return made[-1]

    try:
        yield make
    finally:
        for each in made:
            each.end_runs()
        shutil.rmtree(root)


def leave_a_core() -> None:
    """Keep this process, and what it starts, off the core that a load client takes."""
    cores = os.sched_getaffinity(0)
    if len(cores) > 1:
        os.sched_setaffinity(0, cores - {max(cores)})


def memory_bytes(pid: int, *kinds: bytes) -> int:
    """The sum of some lines of smaps_rollup, such as b"Pss"."""
    lines = [line.split() for line in proctree.read_proc(f"/proc/{pid}/smaps_rollup").splitlines()[1:]]
    return sum(int(size) * 1024 for name, size, _ in lines if name.rstrip(b":") in kinds)


def uss_bytes(pid: int) -> int:
    """The memory that would come free if `pid` ended: its private pages."""
    return memory_bytes(pid, b"Private_Clean", b"Private_Dirty")


def pss_bytes(pids: Sequence[int]) -> int:
    """The memory of these processes, each page shared out among those that map it."""
    return sum(memory_bytes(pid, b"Pss") for pid in pids)


def cpu_s(pids: Sequence[int]) -> float:
    """CPU time that these single-threaded processes have used, to the nanosecond, where stat has only 10 ms ticks."""
    return sum(int(proctree.read_proc(f"/proc/{pid}/schedstat").split()[0]) for pid in pids) / 1e9


def wait_until(true: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Return once `true()` is. Raises: TimeoutError."""
    give_up = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > give_up:
            raise TimeoutError(f"not within {timeout_s:g} s: {true.__qualname__}")
        time.sleep(0.002)


def end_moment(pidfd: int) -> float:
    """The monotonic time at which the process behind `pidfd` ended; blocks until then."""
    select.select([pidfd], [], [])
    return time.monotonic()
