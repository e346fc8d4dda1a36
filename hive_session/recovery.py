"""Resuming what the machine or container interrupted, for sessions that asked for it, and within bounds."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hive_session.config import Config
from hive_session.errors import HiveError
from hive_session.launch import launch
from hive_session.lifecycle import RESTART_SETTLED_S, RESTARTS_MAX, awaits_restart, next_restart
from hive_session.ondisk.records import SessionRecord
from hive_session.store import Store

SUPERVISOR = "SUPERVISOR_"  # how the variables begin that supervisord gives its programs; agents are none of them


@dataclass(slots=True)
class Resumed:
    """What became of the sessions that were interrupted and asked to be resumed."""

    resumed: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    not_resumed: dict[str, str] = field(default_factory=dict)  # id -> why


def resume_interrupted(store: Store, config: Config, env: Mapping[str, str]) -> Resumed:
    """Resume every session that awaits it, the one longest under way first; MAX_CONCURRENT_SESSIONS queues them as ever."""
    done = Resumed()
    agent_env = {name: value for name, value in env.items() if not name.startswith(SUPERVISOR)}
    for record in sorted(_awaiting(store), key=lambda found: (found.started or "", found.session_id)):
        try:
            _resume(store, config, agent_env, record, done)
        except HiveError as exc:
            done.not_resumed[record.session_id] = exc.what
    return done


def _awaiting(store: Store) -> list[SessionRecord]:
    """The records to resume. The rows, which are of this moment, spare reading all others."""
    found = []
    for session_id, row in store.rows().items():
        if row["status"] == "failed":
            try:
                found.append(store.read(session_id))
            except HiveError:
                continue  # unreadable, or removed meanwhile: reconcile tells of it
    return [record for record in found if awaits_restart(record)]


def _resume(store: Store, config: Config, env: Mapping[str, str], record: SessionRecord, done: Resumed) -> None:
    number = next_restart(record)
    if number is None:
        store.change(record.session_id, _give_up)
        done.given_up.append(record.session_id)
        return
    launched = launch(store, config, env, record.session_id, None, resume=True, restarts=number)
    os.close(launched.ready_fd)  # nobody waits until it runs: it may have to queue
    done.resumed.append(record.session_id)


def _give_up(record: SessionRecord) -> SessionRecord:
    if not awaits_restart(record):
        return record  # somebody resumed it meanwhile
    times, minutes = RESTARTS_MAX + 1, RESTART_SETTLED_S / 60
    detail = f"interrupted {times} times in a row, each within {minutes:g} minutes of its start: not resumed any more"
    return replace(record, detail=detail)
