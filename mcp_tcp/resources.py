"""The resources hive://…: their addresses, what each shows, which of them a change concerns, and completion; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hive_session.ondisk.cards import Card, Change
from hive_session.ondisk.layout import is_session_id

SESSIONS = "hive://sessions"
PREFIX = "hive://session/"
JSON = "application/json"
MAX_COMPLETIONS = 100  # by the specification


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a session shows below its address. `tool` answers for it, with `args` beside the session's id."""

    suffix: str
    name: str
    title: str
    description: str
    tool: str
    args: dict[str, Any]
    mime_type: str
    changes: Change  # that concern it


PARTS = {
    part.suffix: part
    for part in (
        Part(
            suffix="",
            name="session",
            title="Session",
            description="One session: its status, task, times, figures and, once it has ended, why",
            tool="session_status",
            args={},
            mime_type=JSON,
            changes=Change.LIST | Change.RECORD | Change.TELEMETRY,
        ),
        Part(
            suffix="/agents",
            name="agents",
            title="Agents of a session",
            description="Every agent of a session: what it is, what it does now, what it has used",
            tool="session_agents",
            args={},
            mime_type=JSON,
            changes=Change.LIST | Change.RECORD | Change.AGENTS,
        ),
        Part(
            suffix="/telemetry",
            name="telemetry",
            title="Telemetry of a session",
            description="The last 200 events of a session; the tool session_events reads all of them by cursor",
            tool="session_events",
            args={"tail": 200},
            mime_type=JSON,
            changes=Change.LIST | Change.TELEMETRY,
        ),
        Part(
            suffix="/log",
            name="log",
            title="Log of a session",
            description="The last 200 lines that a session printed; the tool session_logs reads and searches all of them",
            tool="session_logs",
            args={"tail": 200},
            mime_type="text/plain",
            changes=Change.LIST | Change.LOG,
        ),
    )
}
LIST_RESOURCE = {
    "uri": SESSIONS,
    "name": "sessions",
    "title": "All sessions",
    "description": "The newest 500 sessions with status, task and figures; it changes when one comes, goes or changes its status",
    "mimeType": JSON,
}
LIST_TOOL, LIST_ARGS = "session_list", {"limit": 500}
LIST_CHANGES = Change.LIST | Change.RECORD
TEMPLATES = [
    {
        "uriTemplate": f"{PREFIX}{{id}}{part.suffix}",
        "name": part.name,
        "title": part.title,
        "description": part.description,
        "mimeType": part.mime_type,
    }
    for part in PARTS.values()
]


def parse_uri(uri: str) -> tuple[str, Part] | None:
    """(session id, part) of hive://session/…; None when it is no such address. The session need not exist."""
    if not uri.startswith(PREFIX):
        return None
    session_id, slash, rest = uri[len(PREFIX) :].partition("/")
    part = PARTS.get(slash + rest)
    return (session_id, part) if part and is_session_id(session_id) else None


def describe(card: Card) -> dict[str, Any]:
    """The row of a session in resources/list."""
    task = " ".join(card.task.split())[:80]
    return {
        "uri": f"{PREFIX}{card.id}",
        "name": card.id,
        "title": f"{card.state}: {task}" if task else card.state,
        "mimeType": JSON,
    }


def concerned(session_id: str, change: Change) -> Iterator[str]:
    """The addresses whose content that change of that session alters."""
    if change & LIST_CHANGES:
        yield SESSIONS
    for part in PARTS.values():
        if change & part.changes:
            yield f"{PREFIX}{session_id}{part.suffix}"


def complete_id(value: str, cards: Iterable[Card], *, ended_badly_first: bool) -> dict[str, Any]:
    """The `completion` of a session's id: those that begin with `value`, in the order of `cards`, at most 100."""
    found = [card for card in cards if card.id.startswith(value)]
    if ended_badly_first:
        found.sort(key=lambda card: card.status != "failed")
    values = [card.id for card in found[:MAX_COMPLETIONS]]
    return {"values": values, "total": len(found), "hasMore": len(found) > len(values)}
