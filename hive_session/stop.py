"""Ending a session from any process: by its runner where one lives, else by finding what is left of it."""

import os
import signal
import time
from dataclasses import dataclass, replace

from hive_session import proctree
from hive_session.durable import read_file, replace_file
from hive_session.errors import IoFailed
from hive_session.lifecycle import awaits_restart, may_change
from hive_session.ondisk.layout import SessionPaths
from hive_session.ondisk.liveness import run_is_alive
from hive_session.ondisk.records import SessionRecord, format_time
from hive_session.store import Store

RUNNER_S = 30.0  # beyond the grace, for a runner that lives: its sweep, the rest of the log, the last record
KILLED_S = 5.0  # for what was killed to be gone
STEP_S = 0.05


@dataclass(frozen=True, slots=True)
class Stopped:
    """`word` is `stopped`, or `already_stopped` where nothing ran."""

    word: str
    record: SessionRecord


def stop_session(store: Store, session_id: str, grace_s: float) -> Stopped:
    """SIGTERM to the whole tree, SIGKILL after `grace_s`; returns when it has ended. A session not yet started is cancelled.

    Raises: IoFailed when something of it outlives SIGKILL.
    """
    paths = store.paths(session_id)
    record = store.settled(session_id)
    if record.terminal:
        end_strays(session_id, grace_s)  # runner and witness may have been killed before their agent
        return Stopped("already_stopped", store.change(session_id, _kept_down) if awaits_restart(record) else record)
    if not run_is_alive(paths.run_lock):
        return Stopped("stopped", store.change(session_id, lambda found: _cancelled(store, found)))
    replace_file(paths.stop_request, f"{format_time(store.now(), millis=True)} {grace_s:g}\n".encode())
    if not _ask_runner(paths) or not _gone_within(paths, grace_s + RUNNER_S):
        end_strays(session_id, grace_s)
        if not _gone_within(paths, KILLED_S):
            raise IoFailed(f"{session_id}: something still holds its run.lock", "hive-session doctor names it")
    return Stopped("stopped", store.settled(session_id))


def _kept_down(record: SessionRecord) -> SessionRecord:
    """One that was interrupted and would be resumed at the next start: whoever stops it does not want that."""
    return replace(record, restart=None) if awaits_restart(record) else record


def _cancelled(store: Store, record: SessionRecord) -> SessionRecord:
    if record.terminal or not may_change(record.status, "failed"):
        return record
    return replace(record, status="failed", reason="cancelled", ended=format_time(store.now(), millis=True))


def runner_of(paths: SessionPaths) -> int | None:
    """The pid of the process that runs the session, as it wrote it into run.lock, if that very process still lives."""
    try:
        words = read_file(paths.run_lock).split()
        pid, started = int(words[0]), int(words[1])
    except (OSError, ValueError, IndexError):
        return None
    return pid if proctree.lives(pid, started) else None


def _ask_runner(paths: SessionPaths) -> bool:
    pid = runner_of(paths)
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return False
    return True


def _gone_within(paths: SessionPaths, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while run_is_alive(paths.run_lock):
        if time.monotonic() >= deadline:
            return False
        time.sleep(STEP_S)
    return True


def end_strays(session_id: str, grace_s: float) -> int:
    """End every process whose environment names the session; returns how many there were."""
    strays = proctree.marked(session_id)
    proctree.send(strays, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while left := proctree.marked(session_id):
        if time.monotonic() >= deadline:
            proctree.send(left, signal.SIGKILL)
        time.sleep(STEP_S)
    return len(strays)
