"""What a tool of the data plane is: the question it is asked, what it needs in memory for it, how it refuses; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from hive_session.ondisk.layout import is_session_id
from mcp_tcp.schemas import Check, compile_schema

if TYPE_CHECKING:
    from hive_session.ondisk.sessions import Session, Sessions

Schema = dict[str, Any]
Answer = dict[str, Any]

SESSION_KEYS = ("session_id", "swarm_id", "swarmId")  # the swarm of a session has the session's id
PART_KEYS = ("agent_id", "agentId", "task_id", "taskId")  # SESSION/AGENT, or for a task the session's id alone


class Needs(Enum):
    """What must be in memory before `Tool.answer` is called."""

    CARDS = "cards"  # nothing but the cards
    HIVE = "hive"  # the hive of the session the question is about
    LIVE = "live"  # the same where the question names a session, else the hives of all live sessions
    RECENT = "recent"  # the hives of `figures.recent`
    DISK = "disk"  # reads files: called in a worker thread, touches no hive


class About(Enum):
    """Whether a question names a session; `named_session` finds which."""

    ALL = "all"  # never: what looks like a session's id in its arguments is ignored
    ANY = "any"  # it may
    ONE = "one"  # it must


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What the server knows of itself and of its machine."""

    started_ms: int  # Unix time in milliseconds
    version: str
    clients: int  # connections that are open
    cpu_percent: float | None  # of the whole machine, 0 to 100; None: unknown
    memory_mb: float | None  # in use on the machine, 2^20 bytes; None: unknown


@dataclass(slots=True, kw_only=True)
class Question:
    """One call of a tool, with all that an answer may rest on."""

    args: dict[str, Any]  # checked; unknown keys are ignored, as old clients send more than they need
    session: Session | None  # the one that the arguments name
    sessions: Sessions
    now_ms: int  # Unix time in milliseconds
    server: ServerFacts

    def named(self) -> Session:
        """The session that the question is about. Raises: ToolError when it names none."""
        if self.session is None:
            raise ToolError("session_id is missing; session_list gives the ids of all sessions")
        return self.session


class ToolError(Exception):
    """Why a question has no answer, in one sentence for people: what is wrong, what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool as tools/list shows it, and the function behind it.

    `check` gives None for arguments that fit the input schema, else one sentence. `answer` may raise ToolError.
    """

    name: str
    title: str
    description: str  # for a model that must choose: what it answers, and when to use it
    input_schema: Schema
    output_schema: Schema
    needs: Needs
    about: About
    answer: Callable[[Question], Answer]
    check: Check = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "check", compile_schema(self.input_schema))


def named_session(args: Mapping[str, Any]) -> str | None:
    """The id of the session that arguments name, as given; None when they name none. It need not exist.

    It stands in session_id, swarm_id or swarmId, or before the slash of an agent's or task's id.
    """
    for key in SESSION_KEYS:
        value = args.get(key)
        if isinstance(value, str) and value:
            return value
    for key in PART_KEYS:
        value = args.get(key)
        if isinstance(value, str):
            session_id, slash, _ = value.partition("/")
            if slash or is_session_id(session_id):
                return session_id
    return None
