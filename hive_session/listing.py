"""What `ls` shows: sessions filtered, with their figures, as plain objects or as a table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hive_session import words
from hive_session.conclude import fold_telemetry
from hive_session.errors import HiveError, UsageError
from hive_session.ondisk.index import Row
from hive_session.ondisk.records import SessionRecord, parse_time
from hive_session.ondisk.verdict import describe_end
from hive_session.store import Store
from hive_session.table import Span, ansi, lay_out, plain
from hive_session.words import DAY_S, count, money, one_line

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": DAY_S, "w": 7 * DAY_S}
COLUMNS = ("ID", "STATUS", "AGE", "AGENTS", "TOKENS", "COST", "TASK")
RIGHT = {"AGENTS", "TOKENS", "COST"}
STATE_COLUMNS = 24  # files of the original may hold any text as status


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which sessions are wanted; empty parts let all through. Ages in seconds since creation."""

    statuses: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    newer_s: float | None = None
    older_s: float | None = None


def parse_age(text: str | None, option: str) -> float | None:
    """Seconds of `30m`, `24h`, `7d`; None for None. Raises: UsageError."""
    if text is None:
        return None
    number, unit = text[:-1], text[-1:]
    try:
        age = float(number) * UNITS_S[unit]
    except (ValueError, KeyError):
        raise UsageError(f"{option} {text!r} is not an age", "write for example 30m, 24h or 7d") from None
    if not 0 <= age < 1e12:
        raise UsageError(f"{option} {text!r} is not an age from 0")
    return age


def list_sessions(store: Store, wanted: Filter) -> list[dict[str, Any]]:
    """One plain object a session, newest first: id, words and figures, and for the unreadable what is known of them."""
    found = []
    for session_id, row in store.rows().items():
        if _row_fits(row, wanted, store.now()):
            shown = _describe(store, session_id, row)
            if all(shown["labels"].get(key) == value for key, value in wanted.labels.items()):
                found.append(shown)
    found.sort(key=lambda each: parse_time(each["created"]) or 0.0)
    return found[::-1]


def _row_fits(row: Row, wanted: Filter, now: float) -> bool:
    age = now - (parse_time(row["created"]) or now)
    return (
        (not wanted.statuses or row["status"] in wanted.statuses)
        and (wanted.newer_s is None or age <= wanted.newer_s)
        and (wanted.older_s is None or age > wanted.older_s)
    )


def _describe(store: Store, session_id: str, row: Row) -> dict[str, Any]:
    try:
        record = store.settled(session_id)
    except HiveError:
        return {
            "session_id": session_id,
            **row,
            "state": row["status"],
            "labels": {},
            "age_seconds": _age_s(store, row["created"]),
        }
    usage = _usage(store, record)
    return {
        "session_id": session_id,
        "status": record.status,
        "state": describe_end(record),
        "reason": record.reason,
        "exit_code": record.exit_code,
        "created": record.created,
        "started": record.started,
        "ended": record.ended,
        "age_seconds": _age_s(store, record.created),
        "attempt": record.attempt,
        "agent": record.agent,
        "priority": record.priority,
        "labels": record.labels,
        **usage,
        "task": record.task,
        "output_dir": record.output_dir,
    }


def _age_s(store: Store, created: str) -> int:
    """Seconds since `created`; 0 where that is no time."""
    return int(store.now() - (parse_time(created) or store.now()))


def _usage(store: Store, record: SessionRecord) -> dict[str, Any]:
    """Figures of an ended session from its record, of a live one from its telemetry."""
    if record.usage is not None and record.terminal:
        return {
            "agents": record.usage.agents,
            "tokens": record.usage.tokens,
            "cost_usd": record.usage.cost_usd,
        }
    if record.status == "created":
        return {"agents": 0, "tokens": 0, "cost_usd": None}
    hive = fold_telemetry(store.paths(record.session_id))
    return {"agents": len(hive.agents), "tokens": hive.tokens, "cost_usd": hive.cost_usd}


def format_table(sessions: list[dict[str, Any]], width: int, *, color: bool) -> str:
    """The table, every line at most `width` columns: what does not fit is cut from the task."""
    lines = lay_out(COLUMNS, [_cells(each) for each in sessions], width, right=RIGHT)
    return "\n".join(map(ansi if color else plain, lines))


def _cells(each: dict[str, Any]) -> tuple[Span, ...]:
    known = "agents" in each
    return (
        (each["session_id"][:8], ""),
        (one_line(each["state"], STATE_COLUMNS), words.color(each["state"])),
        (words.age(each["age_seconds"], str(each["created"])), ""),
        (str(each["agents"]) if known else "-", ""),
        (count(each["tokens"]) if known else "-", ""),
        (money(each["cost_usd"]) if known else "-", ""),
        (each["task"], ""),
    )
