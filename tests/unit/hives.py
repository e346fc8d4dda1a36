"""Sessions in the states in which a reader may meet them, made from real events, without files."""

from typing import Any

import orjson
import pytest

from hive_session.ondisk.cards import Card, unreadable_card
from hive_session.ondisk.fold import Hive
from hive_session.ondisk.folding import Fold
from hive_session.ondisk.sessions import Session, Sessions
from mcp_tcp.catalogue import TOOLS
from mcp_tcp.schemas import compile_schema
from mcp_tcp.tools import Question, ServerFacts, ToolError
from tests.unit.test_fold import QUEEN, Event, ended, event, fold, result, spawned, status, usage
from tests.unit.test_fold import session as told

NOW_MS = 1_795_345_100_000  # 2026-11-22T10:58:20+00:00
START_MS = NOW_MS - 60_000
FACTS = ServerFacts(started_ms=NOW_MS - 5_500, version="1.2.3", clients=4, cpu_percent=12.5, memory_mb=2048.5)

UNKNOWN = ServerFacts(started_ms=NOW_MS, version="0", clients=0, cpu_percent=None, memory_mb=None)

Answer = dict[str, Any]


def session_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


def card(number: int, status: str = "running", **fields: Any) -> Card:
    """A card as that of a session in its first attempt; what is given wins."""
    made: dict[str, Any] = {
        "id": session_id(number),
        "status": status,
        "state": status,
        "task": f"Task {number}",
        "agent": "claude-flow",
        "created_ms": START_MS - 5_000 + number,
        "updated_ms": START_MS,
    }
    if status != "created":
        made |= {"attempt": 1, "started_ms": START_MS}
    if status in ("completed", "failed"):
        made |= {"ended_ms": NOW_MS - 10_000, "reason": "exit", "exit_code": 0 if status == "completed" else 7}
    return Card(**made | fields)


def session(card: Card, hive: Hive | None = None, cpu_percent: float | None = None) -> Session:
    """A session whose telemetry is in memory where a hive is given."""
    made = Session(card)
    if hive is not None:
        made.fold = Fold("")
        made.fold.hive, made.fold.cpu_percent = hive, cpu_percent
    return made


class Known(Sessions):
    """Sessions that are in memory, with no directory behind them."""

    def __init__(self, *sessions: Session) -> None:
        self.by_id = {each.card.id: each for each in sessions}
        self._newest = None

    def add(self, session: Session) -> None:
        self.by_id[session.card.id] = session
        self._newest = None

    def remove(self, session_id: str) -> None:
        del self.by_id[session_id]
        self._newest = None


def at(ms: int, *events: Event) -> list[Event]:
    """The same events, observed then."""
    return [each | {"ts": ms} for each in events]


def sample(rss_bytes: int) -> Event:
    return event("resources", cpu_ms=7, rss_bytes=rss_bytes, read_bytes=1, processes=2)


# A queen, a coder at work, a tester that has ended, one that failed, and a helper of the coder.
BUSY = [
    *at(START_MS, told("running"), QUEEN, status("queen", "waiting", "Agent")),
    *at(START_MS + 10_000, spawned("a", kind="coder"), spawned("b", kind="tester"), spawned("c", kind="")),
    *at(START_MS + 20_000, spawned("d", "a", "subagent", kind="researcher"), status("a", "working", "Bash")),
    *at(
        START_MS + 20_000,
        usage("a", 600, input_tokens=500, output_tokens=100, tool_uses=3, cost_usd=0.25, model="opus"),
    ),
    *at(START_MS + 20_000, usage("d", 50), sample(3 << 20)),
    *at(START_MS + 30_000, ended("b", tokens=40, duration_ms=15_000, summary="Tested."), ended("c", "failed")),
]
DONE = [
    *BUSY,
    *at(START_MS + 40_000, ended("d"), ended("a"), result(tokens=1000, cost_usd=0.5, text="Built.", turns=3)),
    *at(START_MS + 50_000, ended("queen"), told("completed", exit_code=0)),
]
RESUMED = [*DONE, *at(START_MS + 55_000, told("running", 2), QUEEN, usage("queen", 30))]

CREATED, EMPTY, STARTING, RUNNING, RESUMING, FAILED, COMPLETED, COLD, UNREADABLE, TORN, LONG_AGO, OTHER = range(1, 13)
STATES = range(CREATED, OTHER + 1)


def workspace() -> Known:
    """One session in each state. COLD and LONG_AGO have no telemetry in memory, TORN has, and its record is unreadable."""
    return Known(
        session(card(CREATED, "created")),
        session(card(EMPTY, "created", labels={"team": "red"}), Hive()),
        session(card(STARTING, "starting", state="waiting", pid=77), fold(told("starting"))),
        session(card(RUNNING), fold(*BUSY), 150.5),
        session(card(RESUMING, attempt=2, started_ms=START_MS + 55_000), fold(*RESUMED)),
        # Its telemetry breaks off: nobody wrote the end.
        session(card(FAILED, "failed", state="failed: lost", reason="lost", exit_code=None), fold(*BUSY)),
        session(card(COMPLETED, "completed", agents=5, tokens=1000, cost_usd=0.5), fold(*DONE)),
        session(card(COLD, "completed", agents=5, tokens=1000, cost_usd=0.5, detail="All is well.")),
        session(unreadable_card(session_id(UNREADABLE), "session.json: not JSON", None)),
        session(unreadable_card(session_id(TORN), "session.json: not JSON", START_MS), fold(*BUSY)),
        session(card(LONG_AGO, "failed", signal=9, started_ms=START_MS - 8_000_000, ended_ms=NOW_MS - 7_200_000)),
        session(card(OTHER, "paused by hand", attempt=0, started_ms=None)),
    )


def the(number: int) -> Session:
    """The session of the workspace that is in this state."""
    return workspace().by_id[session_id(number)]


def question(sessions: Sessions, about: int | None = None, facts: ServerFacts = FACTS, **args: Any) -> Question:
    """A question, about one session where a number is given."""
    named = None if about is None else sessions.by_id[session_id(about)]
    return Question(args=args, session=named, sessions=sessions, now_ms=NOW_MS, server=facts)


# -- asking ----------------------------------------------------------------------------------------------

RESERVED = {"content", "structuredContent", "isError", "_meta", "resultType"}  # of a tool's result in MCP
OUTPUT = {tool.name: compile_schema(tool.output_schema, "the answer") for tool in TOOLS.values()}


def ask(name: str, sessions: Sessions | None = None, about: int | None = None, **args: Any) -> Answer:
    """The answer as it comes out of JSON, after the arguments were found to fit and before the answer was found to."""
    tool = TOOLS[name]
    assert tool.check(args) is None
    asked = question(sessions or workspace(), about, **args)
    return checked(name, asked)


def checked(name: str, asked: Question) -> Answer:
    answer: Answer = orjson.loads(orjson.dumps(TOOLS[name].answer(asked)))
    assert OUTPUT[name](answer) is None
    assert not answer.keys() & RESERVED
    return answer


def refusal(name: str, about: int | None = None, **args: Any) -> str:
    with pytest.raises(ToolError) as caught:
        TOOLS[name].answer(question(workspace(), about, **args))
    return str(caught.value)
