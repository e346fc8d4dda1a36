"""One session as the data plane keeps it in memory: the truth of its record in some 2 kB, and what can change about it; pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag
from sys import intern

from hive_session.ondisk.index import TASK_CHARACTERS
from hive_session.ondisk.records import STATUSES, SessionRecord, parse_time
from hive_session.ondisk.verdict import describe_end

UNREADABLE = "unreadable"
CARD_STATUSES = (*STATUSES, UNREADABLE)
LIVE = ("starting", "running")
NO_LABELS: dict[str, str] = {}  # shared by the many that have none


class Change(IntFlag):
    """What became different about a session."""

    RECORD = 1  # its card
    AGENTS = 2  # one of its agents
    TELEMETRY = 4  # there are new events
    LIST = 8  # it is new, or gone
    LOG = 16  # its log grew; told only of logs that are watched


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What is known of one session without its telemetry; replaced as a whole when its record changes.

    `status` is one of the record's, or "unreadable", and `detail` then says what is wrong with session.json. Times are Unix
    milliseconds, None where there is none; `started_ms` is that of the last attempt. `agents`, `tokens` and `cost_usd` are
    the totals that the record holds once a session has ended, None before.
    """

    id: str
    status: str
    state: str  # in the words of terminal and page, such as "failed: exit 7"
    reason: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    detail: str | None = None
    task: str = ""  # at most 256 characters
    priority: str = "medium"
    agent: str = ""  # the program, such as "claude-flow"
    attempt: int = 0  # starts so far
    labels: dict[str, str] = field(default_factory=lambda: NO_LABELS)
    created_ms: int | None = None
    updated_ms: int | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    agents: int | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    pid: int | None = None  # of the runner
    external: bool = False  # something else runs it: its run.lock says nothing

    @property
    def live(self) -> bool:
        """True while it starts or runs."""
        return self.status in LIVE

    @property
    def terminal(self) -> bool:
        """True once it has completed or failed."""
        return self.status in ("completed", "failed")


def card_of(record: SessionRecord) -> Card:
    """The card of a record as it stands on disk."""
    usage = record.usage
    return Card(
        id=record.session_id,
        status=intern(record.status),
        state=intern(describe_end(record)),
        reason=record.reason and intern(record.reason),
        exit_code=record.exit_code,
        signal=record.signal,
        detail=record.detail,
        task=record.task[:TASK_CHARACTERS],
        priority=intern(record.priority),
        agent=intern(record.agent),
        attempt=record.attempt,
        labels=record.labels or NO_LABELS,
        created_ms=_milliseconds(record.created),
        updated_ms=_milliseconds(record.updated or record.created),
        started_ms=_milliseconds(record.started),
        ended_ms=_milliseconds(record.ended),
        agents=int(usage.agents) if usage else None,
        tokens=int(usage.tokens) if usage else None,
        cost_usd=usage.cost_usd if usage else None,
        pid=record.pid,
        external=record.external,
    )


def unreadable_card(session_id: str, why: str, created_ms: int | None) -> Card:
    """The card of a session whose record cannot be read; `why` is one sentence."""
    return Card(id=session_id, status=UNREADABLE, state=UNREADABLE, detail=why, created_ms=created_ms)


def _milliseconds(text: str | None) -> int | None:
    moment = parse_time(text) if text else None
    return None if moment is None else int(moment * 1000)
