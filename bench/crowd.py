"""Many at once: 64 creates beside 4 readers, how long a writer waits for its lock, and how many updates the index takes."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from typing import Any
from unittest.mock import patch

from measure import COMMAND, TASK, Line, Workspace, at_once

from hive_session import store as registry
from hive_session.durable import LOCK_TIMEOUT_S, locked

WRITERS, READERS = 64, 4
CREATES_EACH = 4
UPDATERS, UPDATES_FOR_S = 8, 3.0
LONGEST_WAIT_S = 3.0
READER_PAUSE_S = 0.001  # readers that never pause would have the cores to themselves


def concurrent_creates(workspace: Workspace) -> Iterator[Line]:
    """64 `create` commands started together, with readers that parse index.json and every record meanwhile."""
    before = set(workspace.store.session_ids())
    with _readers(workspace) as reports, tempfile.TemporaryFile() as out:
        begun = time.monotonic()
        commands = [
            subprocess.Popen([COMMAND, "create", TASK], env=workspace.env, stdout=out, stderr=subprocess.DEVNULL)
            for _ in range(WRITERS)
        ]
        refused = sum(command.wait() != 0 for command in commands)
        took_s = time.monotonic() - begun
        out.seek(0)
        told = set(out.read().decode().split())
    listed = set(json.loads(workspace.store.index())["sessions"]) - before
    lost = WRITERS - len(told & listed)
    yield Line(
        name=f"{WRITERS} creates at once: lost",
        measured=lost,
        unit="sessions",
        limit=0,
        beside=f"{refused} refused; all ended within {took_s:.1f} s, {WRITERS / took_s:.0f}/s",
    )
    yield _reading(f"{READERS} readers beside them: unparsable", reports)


def lock_waits(workspace: Workspace) -> Iterator[Line]:
    """The same in processes that have started already, so that all meet at the locks; how long each waited is noted."""

    def prepare(number: int) -> Callable[[], Any]:
        waits = _noting_waits()
        workspace.create()  # portalocker is imported at the first

        def work() -> list[float]:
            waits.clear()
            for _ in range(CREATES_EACH):
                workspace.create()
            return list(waits)

        return work

    before = len(workspace.store.rows())
    with _readers(workspace) as reports:
        waits = [wait_s for each in at_once(WRITERS, prepare) for wait_s in each]
    lost = before + WRITERS * (CREATES_EACH + 1) - len(workspace.store.rows())
    yield Line(
        name=f"longest wait of {WRITERS} writers for a lock",
        measured=max(waits),
        unit="s",
        limit=LONGEST_WAIT_S,
        beside=f"{len(waits)} locks taken, median {sorted(waits)[len(waits) // 2]:.3f} s; {lost} sessions lost",
    )
    yield _reading(f"{READERS} readers beside them: unparsable", reports)


def _noting_waits() -> list[float]:
    """From now on in this process: how long each lock of the registry was waited for, in seconds."""
    waits: list[float] = []

    @contextmanager
    def noted(path: str, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
        begun = time.monotonic()
        with locked(path, timeout_s):
            waits.append(time.monotonic() - begun)
            yield

    patch.object(registry, "locked", noted).start()
    return waits


def index_updates(workspace: Workspace) -> Iterator[Line]:
    """Changed rows a second from 8 processes; the workspace holds 1,000 sessions."""
    store = workspace.store
    ids = store.session_ids()

    def prepare(number: int) -> Callable[[], Any]:
        waits = _noting_waits()
        records = [store.read(each) for each in ids[number::UPDATERS][:50]]
        changed = [replace(record, status=word) for word in ("starting", "running") for record in records]
        store.add_row(changed[0])

        def work() -> tuple[int, float]:
            until, count = time.monotonic() + UPDATES_FOR_S, 0
            while time.monotonic() < until:
                store.add_row(changed[count % len(changed)])
                count += 1
            return count, max(waits)

        return work

    with _readers(workspace, 1) as reports:
        done = at_once(UPDATERS, prepare)
    total = sum(count for count, _ in done)
    fewest = min(count for count, _ in done)
    yield Line(
        name=f"index updates from {UPDATERS} processes at {len(ids):,} sessions",
        measured=total / UPDATES_FOR_S,
        unit="/s",
        limit=1000,
        at_least=True,
        beside=f"{total} in {UPDATES_FOR_S:g} s, {fewest} by the slowest; longest wait {max(w for _, w in done):.3f} s",
    )
    yield _reading("a reader beside them: unparsable", reports)


@contextmanager
def _readers(workspace: Workspace, count: int = READERS) -> Iterator[list[tuple[int, int]]]:
    """Processes that read the registry over and over; at the end the list holds (reads, unparsable reads) of each."""
    fork = get_context("fork")
    stop = fork.Event()
    reports: list[tuple[int, int]] = []
    with fork.Pool(count, _read_until, (stop, workspace.store.layout.sessions)) as pool:
        pending = pool.map_async(_read_all, range(count), chunksize=1)
        try:
            yield reports
        finally:
            stop.set()
            reports.extend(pending.get())


_reading_job: tuple[Any, str]


def _read_until(stop: Any, directory: str) -> None:
    global _reading_job
    _reading_job = (stop, directory)


def _read_all(number: int) -> tuple[int, int]:
    stop, directory = _reading_job
    reads = bad = 0
    while not stop.is_set():
        with os.scandir(directory) as entries:
            found = [f"{entry.path}/session.json" for entry in entries if entry.name[0] != "." and entry.is_dir()]
        for path in [f"{directory}/index.json", *found[-WRITERS:]]:
            reads += 1
            try:
                with open(path, "rb") as file:
                    json.loads(file.read())
            except (OSError, ValueError):
                bad += 1
        time.sleep(READER_PAUSE_S)
    return reads, bad


def _reading(name: str, reports: list[tuple[int, int]]) -> Line:
    reads, bad = (sum(each) for each in zip(*reports, strict=True))
    return Line(name=name, measured=bad, unit="reads", limit=0, beside=f"of {reads:,} reads")
