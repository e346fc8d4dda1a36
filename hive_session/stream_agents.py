"""One agent of a Claude Code run: what it does, and what it has used by all that the stream says of it."""

from __future__ import annotations

from hive_session.ondisk.events import MAX_INT, ROLES
from hive_session.stream_fields import (
    API_PARTS,
    PARTS,
    add_parts,
    as_count,
    as_parts,
    max_parts,
)

TYPE_CHECKING = False  # typing costs each tap 1 MB; mypy takes this name for typing's own
if TYPE_CHECKING:
    from typing import Any

    from hive_session.stream_fields import Json, Parts

AGENT_TOOLS = frozenset({"Agent", "Task"})  # the second is the name before 2.1
MAX_COUNTED = 8  # messages of an agent whose usage is remembered; only the newest can come again


class Agent:
    """Its figures only grow. `verdict` is how it ended, as far as known; `ended`, that this has been told."""

    def __init__(self, name: str, parent: Agent | None, kind: str, task: str) -> None:
        self.id, self.parent, self.kind, self.task = name, parent, kind, task
        self.status, self.verdict, self.ended = "working", "", False
        self.tool: str | None = None
        self.open_tools: dict[str, str] = {}  # id -> name, in order of their start
        self.shown_tool: str | None = None  # what its task says, while no line of its own was seen
        self.seen = False
        self.message, self.called, self.said = (
            "",
            False,
            "",
        )  # newest message, does it call a tool, newest text
        self.counted: dict[str, Parts] = {}  # usage by message
        self.spent: Parts = [0, 0, 0, 0]  # by its messages
        self.settled: Parts = [0, 0, 0, 0]  # by the results of its turns
        self.calls = self.tool_uses = 0  # tools called: as seen, and as its task says
        self.context_tokens = self.past_ms = 0
        self.duration_ms: int | None = None
        self.model: str | None = None
        self.told: Json = {"tokens": 0, "tool_uses": 0}  # the figures as last told

    def role(self) -> str:
        """By depth: the queen, a worker, or deeper."""
        if self.parent is None:
            return ROLES[0]
        return ROLES[1] if self.parent.parent is None else ROLES[2]

    def is_above(self, other: Agent | None) -> bool:
        """True for `other` itself and for whoever called it, directly or not."""
        while other is not None and other is not self:
            other = other.parent
        return other is self

    def activity(self) -> tuple[str, str | None]:
        """(status, tool) while it has not ended: it waits when all it does is to wait for other agents."""
        names = list(self.open_tools.values()) or ([self.shown_tool] if self.shown_tool else [])
        if not names:
            return "working", None
        return ("waiting" if AGENT_TOOLS.issuperset(names) else "working"), names[-1]

    def usage(self) -> Json:
        """The fields of a usage event, without those that nobody has said."""
        parts = max_parts(self.spent, self.settled)
        tokens = max(sum(parts), self.context_tokens)
        known = zip(PARTS, parts, strict=True) if 0 < tokens == sum(parts) else ()
        uses = max(self.calls, self.tool_uses)
        rest = {"tool_uses": uses, "duration_ms": self.duration_ms, "model": self.model}
        return {"tokens": tokens, **dict(known)} | {key: v for key, v in rest.items() if v is not None}

    def count(self, message: str, usage: Any) -> None:
        """Add what a line says of its message beyond what the lines before it said."""
        if not message:
            return
        parts, before = as_parts(usage, API_PARTS), self.counted.get(message, [0, 0, 0, 0])
        most = self.counted[message] = max_parts(parts, before)
        self.spent = add_parts(self.spent, [new - old for new, old in zip(most, before, strict=True)])
        if len(self.counted) > MAX_COUNTED:
            del self.counted[next(iter(self.counted))]

    def count_last(self, usage: Any) -> None:
        """Count the message an answer came in: the last one seen unless that calls a tool, or one unseen."""
        if self.message and not self.called:
            self.count(self.message, usage)
        else:
            self.spent = add_parts(self.spent, as_parts(usage, API_PARTS))

    def settle_turn(self, usage: Any) -> None:
        """Add the usage of a turn that has its result: the only exact one, but it comes late."""
        self.settled = add_parts(self.settled, as_parts(usage, API_PARTS))

    def report(self, figures: Json) -> None:
        """Take over the totals of a task, or of the answer that ends it, where they say more."""
        tokens = as_count(figures.get("total_tokens", figures.get("totalTokens")))
        uses = as_count(figures.get("tool_uses", figures.get("totalToolUseCount")))
        took_ms = as_count(figures.get("duration_ms", figures.get("totalDurationMs")))
        self.context_tokens = max(self.context_tokens, tokens or 0)
        self.tool_uses = max(self.tool_uses, uses or 0)
        if took_ms is not None:
            self.duration_ms = max(self.duration_ms or 0, min(self.past_ms + took_ms, MAX_INT))

    def resume(self) -> None:
        """Start again after its end, in the same conversation."""
        self.verdict, self.ended, self.said = "", False, ""
        self.past_ms = self.duration_ms or 0
