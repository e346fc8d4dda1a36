"""Real sessions for the data plane: written with hive_session's own code, played by rehearsals, fifty of them at work."""

import fcntl
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from multiprocessing import get_context
from typing import Any

import orjson
from measure import TASK, Workspace

from hive_session import proctree
from hive_session.durable import append_line, replace_file
from hive_session.ondisk.events import encode_event
from hive_session.ondisk.fold import Hive
from hive_session.ondisk.index import encode_index, row_of
from hive_session.ondisk.layout import SessionPaths
from hive_session.ondisk.liveness import boot_identity
from hive_session.ondisk.records import ResourceUsage, SessionRecord, Usage, encode_session, format_time
from hive_session.rehearsal_script import Rehearsal
from hive_session.stream import Stream

PLAYS = range(5, 16)  # workers of the queen; each play is written into many sessions
PLAYED_S = 600.0  # how long a play lasts, as its times tell it
STILL_PLAYS = 0.6  # the part of its events that a running session has written so far
EVENTS_PER_S = 2.0  # of each session at work
TOOLS = ("Bash", "Read", "Edit", "Grep")

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Play:
    """The telemetry of one hive: whole lines, and what they come to."""

    lines: bytes
    usage: Usage
    last_ms: int


def play(workers: int, begun_ms: int, share: float) -> Play:
    """The first `share` of what the tap tells of a rehearsed hive that began at this Unix time in milliseconds."""
    events = list(_events(workers, begun_ms))
    events = events[: int(len(events) * share)]
    hive = Hive()
    for event in events:
        hive.apply(event)
    usage = Usage(agents=len(hive.agents), tokens=hive.tokens, cost_usd=hive.cost_usd)
    return Play(b"".join(map(encode_event, events)), usage, hive.last_ts)


def _events(workers: int, begun_ms: int) -> Iterator[Event]:
    stream, at, after_s, sampled_s = Stream(), 0, 0.0, 0.0
    yield {"ts": begun_ms, "type": "tap_started", "at": 0}
    for wait_s, line in Rehearsal(seed=workers, task=TASK, workers=workers, seconds=PLAYED_S).lines():
        raw = orjson.dumps(line) + b"\n"
        at, after_s = at + len(raw), after_s + wait_s
        now_ms = begun_ms + int(after_s * 1000)
        yield from stream.feed(raw, at=at, now_ms=now_ms)
        if after_s >= sampled_s:
            yield _sample(now_ms, after_s, workers)
            sampled_s = after_s + 30
    yield from stream.end(now_ms=now_ms, exit_code=0)
    yield {"ts": now_ms, "type": "tap_ended", "exit_code": 0}


def _sample(now_ms: int, after_s: float, workers: int) -> Event:
    return {
        "ts": now_ms,
        "type": "resources",
        "cpu_ms": int(after_s * 120),
        "rss_bytes": (300 + 4 * workers) << 20,
        "read_bytes": int(after_s) << 12,
        "write_bytes": int(after_s) << 14,
        "processes": 3,
    }


def _fill(workspace: Workspace, sessions: int, running: int, runner: int) -> list[str]:
    """Fill an empty workspace; the ids of all, those that run first. `runner` is the pid of what holds their run.lock."""
    workspace.seed(sessions)
    store, now_ms = workspace.store, int(time.time() * 1000)
    begun_ms = now_ms - int(PLAYED_S * 1000 * STILL_PLAYS)
    ended = [play(workers, begun_ms - int(PLAYED_S * 1000), 1.0) for workers in PLAYS]
    at_work = [play(workers, begun_ms, STILL_PLAYS) for workers in PLAYS]
    boot, rows = boot_identity(), {}
    ids = sorted(store.session_ids())
    for number, session_id in enumerate(ids):
        plays = at_work if number < running else ended
        chosen = plays[(number + len(PLAYS) // 2) % len(PLAYS)]  # the first session's is a middling one
        started_ms = begun_ms - (0 if number < running else int(PLAYED_S * 1000))
        record = replace(
            store.read(session_id),
            status="running",
            created=_time(started_ms - 1000 * number),
            updated=_time(started_ms),
            attempt=1,
            started=_time(started_ms),
            pid=runner,
            boot=boot,
            agent="rehearsal",
        )
        if number >= running:
            record = _end(record, chosen)
        _write(store.paths(session_id), record, chosen, started_ms, runner)
        rows[session_id] = row_of(record)
    replace_file(store.layout.index, encode_index(_time(begun_ms), rows), durable=False)
    return ids


def _time(unix_ms: int) -> str:
    return format_time(unix_ms / 1000)


def _end(record: SessionRecord, played: Play) -> SessionRecord:
    ended = _time(played.last_ms)
    rusage = ResourceUsage(cpu_user_ms=60_000, cpu_system_ms=12_000, max_rss_bytes=320 << 20)
    words = {"status": "completed", "updated": ended, "ended": ended, "reason": "exit", "detail": "exit code 0"}
    return replace(record, **words, exit_code=0, usage=played.usage, rusage=rusage)  # type: ignore[arg-type]  # all text


def _write(paths: SessionPaths, record: SessionRecord, played: Play, started_ms: int, runner: int) -> None:
    """The files of a session as its commands, its runner and its tap leave them, but without a sync."""
    begin = [
        {"ts": started_ms, "type": "session", "status": status, "attempt": 1, "agent": record.agent}
        for status in ("starting", "running")
    ]
    end: Event = {**begin[0], "ts": played.last_ms, "status": record.status, "reason": record.reason, "exit_code": 0}
    lines = [encode_event(each) for each in begin] + [played.lines] + [encode_event(end)] * record.terminal
    replace_file(paths.record, encode_session(record), durable=False)
    append_line(paths.telemetry, b"".join(lines))
    append_line(paths.log, b"a line of the agent's output, as long as such lines are\n" * 40)
    append_line(paths.run_lock, b"%d %d\n" % (runner, proctree.start_ticks(runner) or 0))


class Runner:
    """A process that stands in for the runners of many sessions: it holds each run.lock, and writes when it is told to."""

    def __init__(self) -> None:
        fork = get_context("fork")
        self._orders, theirs = fork.Pipe()
        self._process = fork.Process(target=_obey, args=(theirs, os.getpid()), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def hold(self, sessions: Sequence[SessionPaths]) -> None:
        """These sessions run from now on, until `end`."""
        self._order([(each.run_lock, each.telemetry) for each in sessions])

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Meanwhile each session that it holds writes telemetry."""
        self._order(True)
        try:
            yield
        finally:
            self._order(False)

    def _order(self, order: object) -> None:
        self._orders.send(order)
        if not self._orders.poll(10):
            raise RuntimeError("the process that stands in for the runners does not answer")
        self._orders.recv()

    def end(self) -> None:
        self._process.terminate()
        self._process.join()


@contextmanager
def filled(workspace: Workspace, sessions: int, running: int) -> Iterator[Runner]:
    """An empty workspace has so many sessions, of which some run, for as long as the block lasts."""
    runner = Runner()
    try:
        ids = _fill(workspace, sessions, running, runner.pid)
        runner.hold([workspace.store.paths(each) for each in ids[:running]])
        yield runner
    finally:
        runner.end()


def _obey(orders: Any, parent: int) -> None:
    """The course of that process: orders as they come, an event every now and then in between."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    locks, files, pause_s = [], [""], 1.0
    events: Iterator[tuple[str, Event]] = iter(())
    while os.getppid() == parent:
        if orders.poll(pause_s):
            match orders.recv():
                case list(sessions):
                    locks = [open(run_lock, "rb") for run_lock, _ in sessions]
                    for lock in locks:
                        fcntl.flock(lock, fcntl.LOCK_EX)
                    files = [telemetry for _, telemetry in sessions]
                    events = _work(files)
                case writes:
                    pause_s = 1 / (EVENTS_PER_S * len(files)) if writes else 1.0
            orders.send(None)
        elif pause_s < 1:
            path, event = next(events)
            append_line(path, encode_event(event))


def _work(files: Sequence[str]) -> Iterator[tuple[str, Event]]:
    """What the queens of these sessions do, in turn, for ever: another tool, then what it has cost."""
    for turn in count(1):
        tool = TOOLS[turn // 2 % len(TOOLS)]
        for path in files:
            now_ms = int(time.time() * 1000)
            if turn % 2:
                yield path, {"ts": now_ms, "type": "agent_status", "agent": "queen", "status": "working", "tool": tool}
            else:
                yield path, {"ts": now_ms, "type": "usage", "agent": "queen", "tokens": 10**7 + turn, "tool_uses": turn}
