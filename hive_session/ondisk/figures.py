"""What cards and hives say of sessions, as the plain objects that readers show; pure. Agents: agent_figures.py.

The rules of both files:
- Each object is made in one place, here or there, and its schema stands in mcp_tcp/shapes.py.
- Nothing is invented. Unknown is None, and where a known client can read numbers only, 0.0 until it was measured.
- The card decides about the session. Once it says that the session has ended, no agent of it is active, even where
  its telemetry breaks off before the end.
- One agent is one task: what it was told to do. Agents and tasks are those of the last attempt.
- Ids of agents outside of their session are SESSION/AGENT. The swarm of a session has the session's id.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hive_session.ondisk.cards import CARD_STATUSES
from hive_session.ondisk.fold import Agent, Hive
from hive_session.ondisk.records import format_time

if TYPE_CHECKING:
    from hive_session.ondisk.cards import Card
    from hive_session.ondisk.sessions import Session, Sessions

Object = dict[str, Any]

RECENT_MS = 3_600_000  # a swarm stays in swarm_list for an hour after its end: clients that poll must see it
RECENT_ENDED = 50  # fewer than the hives of ended sessions that are kept in memory
LAST_MOMENT_MS = 253_402_300_799_999  # the end of the year 9999; nothing later can be written down
MOST_SWARMS = 500  # in one list of them
MIB = 1 << 20


@lru_cache(maxsize=4096)  # the times of a session are asked for again and again, and do not change
def moment(ms: int | None) -> str | None:
    """RFC 3339 in UTC with milliseconds, of Unix milliseconds; None for None and for what no calendar has."""
    if ms is None or not 0 <= ms <= LAST_MOMENT_MS:
        return None
    return format_time(ms / 1000, millis=True)


# -- sessions --------------------------------------------------------------------------------------------


def swarm_id(card: Card) -> str | None:
    """The id of the session's swarm, which is the session's own; None while it was never started."""
    started = card.attempt > 0 or card.started_ms is not None or card.live or card.status == "completed"
    return card.id if started else None


def recent(sessions: Sessions, now_ms: int) -> list[Session]:
    """All live sessions, and of those that ended within the last hour the RECENT_ENDED last ones; last started first."""
    ended = [
        session
        for session in sessions.newest()
        if session.card.terminal
        and session.card.ended_ms is not None
        and now_ms - session.card.ended_ms <= RECENT_MS
        and swarm_id(session.card)
    ]
    ended.sort(key=lambda each: each.card.ended_ms or 0, reverse=True)
    return sorted(sessions.live() + ended[:RECENT_ENDED], key=started_ms, reverse=True)


def started_ms(session: Session) -> int:
    """When its last attempt started, else when it was created, for sorting; 0 where neither is known."""
    return session.card.started_ms or session.card.created_ms or 0


def count_statuses(sessions: Sessions) -> dict[str, int]:
    """How many sessions there are of each status; those of the original may have one of their own."""
    found = dict.fromkeys(CARD_STATUSES, 0)
    for session in sessions.by_id.values():
        status = session.card.status
        found[status] = found.get(status, 0) + 1
    return found


def uptime_seconds(card: Card, now_ms: int) -> int | None:
    """Whole seconds from the start of the last attempt to its end, or to now; None where either is not known."""
    until = now_ms if card.live else card.ended_ms
    return None if card.started_ms is None or until is None else max(0, until - card.started_ms) // 1000


def last_activity(session: Session) -> str | None:
    """When the session last gave a sign: in its telemetry or its record."""
    told = session.hive.last_ts if session.hive else 0
    return moment(max(told, session.card.updated_ms or 0) or None)


def memory_mb(session: Session) -> float | None:
    """Resident memory of the session's process tree at its last sample in MiB; 0.0 when it does not run."""
    if not session.card.live:
        return None if session.card.status == "unreadable" else 0.0
    sample = session.hive.resources if session.hive else None
    return None if sample is None else round(sample.rss_bytes / MIB, 1)


def cpu_percent(session: Session) -> float | None:
    """CPU of the session's process tree in percent of one core; 0.0 when it does not run."""
    if not session.card.live:
        return None if session.card.status == "unreadable" else 0.0
    return session.cpu_percent


def task_counts(session: Session) -> Object | None:
    """How many tasks there are, by state, in both spellings; None where the telemetry is not in memory."""
    hive = session.hive
    if hive is None:
        return counts(0, 0, 0) if session.card.status == "created" else None
    done = failed = 0
    for agent in hive.agents.values():
        if agent.status == "done":
            done += 1
        elif agent.status == "failed":
            failed += 1
    if hive.active and session.card.terminal:
        saved = sum(agent_status(session.card, hive.agents[name]) == "done" for name in hive.active)
        done, failed = done + saved, failed + len(hive.active) - saved
    return counts(len(hive.agents), done, failed)


def counts(total: int, done: int, failed: int) -> Object:
    """Task counts in both spellings that clients know."""
    active = total - done - failed
    return {
        "total_tasks": total,
        "completed_tasks": done,
        "active_tasks": active,
        "failed_tasks": failed,
        "total": total,
        "completed": done,
        "active": active,
        "failed": failed,
    }


def sum_counts(sessions: list[Session]) -> Object:
    """Task counts of several sessions together; those whose telemetry is not in memory count as none."""
    known = [made for session in sessions if (made := task_counts(session))]
    return counts(*(sum(made[key] for made in known) for key in ("total", "completed", "failed")))


def active_agents(session: Session) -> int | None:
    """Agents that work or wait; None where that is not known."""
    if session.card.terminal or session.card.status == "created":
        return 0
    return None if session.hive is None else len(session.hive.active)


def headline(session: Session) -> str:
    """One line for people: who does what while it runs, else how it stands."""
    card = session.card
    told = session.hive.headline if session.hive and card.live else ""
    return told or card.detail or card.state


def session_row(session: Session) -> Object:
    """A session in a list: what it is, how it stands, what it has used."""
    card, hive = session.card, session.hive
    return {
        "session_id": card.id,
        "swarm_id": swarm_id(card),
        "status": card.status,
        "state": card.state,
        "task": card.task,
        "priority": card.priority,
        "agent": card.agent,
        "attempt": card.attempt,
        "labels": card.labels,
        "created": moment(card.created_ms),
        "updated": moment(card.updated_ms),
        "started": moment(card.started_ms),
        "ended": moment(card.ended_ms),
        "agents": card.agents if hive is None else len(hive.agents),
        "active_agents": active_agents(session),
        "tokens": card.tokens if hive is None else hive.tokens,
        "cost_usd": card.cost_usd if hive is None else hive.cost_usd,
        "headline": headline(session),
    }


def swarm_rows(sessions: list[Session]) -> Object:
    """These sessions as swarms, the first MOST_SWARMS of them row by row; `total_agents` are those of the rows."""
    rows = [session_row(session) | {"tasks": task_counts(session)} for session in sessions[:MOST_SWARMS]]
    return {
        "swarms": rows,
        "total_swarms": len(sessions),
        "total_agents": sum(row["agents"] or 0 for row in rows),
    }


def session_object(session: Session, now_ms: int) -> Object:
    """All there is to say of a session but its agents one by one."""
    card, hive = session.card, session.hive
    return session_row(session) | {
        "uptime_seconds": uptime_seconds(card, now_ms),
        "last_activity": last_activity(session),
        "reason": card.reason,
        "exit_code": card.exit_code,
        "signal": card.signal,
        "detail": card.detail,
        "pid": card.pid,
        "tasks": task_counts(session),
        "cpu_percent": cpu_percent(session),
        "memory_mb": memory_mb(session),
        "messages": hive.messages if hive else None,
        "api_retries": hive.api_retries if hive else None,
        "result": result_object(hive) if hive else None,
    }


def result_object(hive: Hive) -> Object | None:
    """The last word of the last attempt; None before there is one."""
    told = hive.result
    if told is None:
        return None
    return {
        "text": told.text,
        "is_error": told.is_error,
        "subtype": told.subtype,
        "turns": told.turns,
        "duration_ms": told.duration_ms,
    }


def session_performance(session: Session) -> Object:
    """The figures of a session that monitors draw; all those that known clients require are numbers."""
    made = task_counts(session) or counts(0, 0, 0)
    return {
        "total_tasks": made["total"],
        "completed_tasks": made["completed"],
        "active_tasks": made["active"],
        "failed_tasks": made["failed"],
        "active_agents": active_agents(session) or 0,
        "memory_usage_mb": memory_mb(session) or 0.0,
        "cpu_usage": cpu_percent(session) or 0.0,
        "success_rate": success_rate(made["completed"], made["failed"]),
        "tokens": session.hive.tokens if session.hive else session.card.tokens,
        "cost_usd": session.hive.cost_usd if session.hive else session.card.cost_usd,
    }


def success_rate(done: int, failed: int) -> float:
    """Percent of the ended tasks that ended well: 100 until one has failed."""
    return round(100.0 * done / (done + failed), 1) if failed else 100.0


def agent_status(card: Card, agent: Agent) -> str:
    """working, waiting, done or failed; of an agent that was open when its session ended, what became of it."""
    if not agent.active or not card.terminal:
        return agent.status
    return "done" if agent.role == "queen" and card.status == "completed" else "failed"
