"""Events of telemetry.jsonl folded into the state of one hive: its session, its agents, their figures; pure.

The rules of this file:
- Events come as `decode_event` gave them, in the order of the file. Nothing in them raises, in any order.
- Figures of an agent are cumulative, so the largest one counts and a repeated event changes nothing.
- `at` is a position in claude.jsonl. An event from before the newest position seen was seen already.
- A new attempt starts with no agents; what the attempts before it used stays in the totals.
- So does what an earlier Claude Code of the attempt used: another conversation after its end is another one.
- Once a session has ended, no agent of it is active.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hive_session.ondisk.events import ENDED_AGENT_STATUSES, ENDED_SESSION_STATUSES, QUEEN

Event = Mapping[str, Any]
Changed = tuple[str, ...]  # ids of agents
NONE: Changed = ()

GROWING = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "tool_uses")


@dataclass(slots=True)
class Agent:
    """One agent of the current attempt. Tokens and tool uses only grow; `tool` is None while none is used."""

    agent: str  # its id; "queen" for the Claude Code process itself
    parent: str | None
    role: str  # queen, worker or subagent
    kind: str  # such as "coder"; "" while nothing but its id is known
    task: str
    started_ms: int  # Unix time in milliseconds
    status: str = "working"  # working, waiting, done or failed
    tool: str | None = None
    tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    tool_uses: int = 0
    cost_usd: float | None = None  # None: nobody has said
    ended_ms: int | None = None
    duration_ms: int | None = None  # as reported, else from start to end; None while neither is known
    model: str | None = None
    summary: str | None = None  # its last word

    @property
    def active(self) -> bool:
        """True until it is done or failed."""
        return self.status not in ENDED_AGENT_STATUSES

    def forget_usage(self) -> None:
        """Count from nothing: it is another process from now on."""
        self.tokens = self.tool_uses = 0
        self.input_tokens = self.output_tokens = self.cache_read_tokens = self.cache_write_tokens = 0
        self.cost_usd = None

    @property
    def headline(self) -> str:
        """Who does what, such as "queen: planning", "coder: Bash" or "tester: done"."""
        name, idle = ("queen", "planning") if self.role == "queen" else (self.kind or self.role, "thinking")
        return f"{name}: {self.tool or idle if self.status == 'working' else self.status}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What Claude Code said last about a turn; the figures are those of all agents of its process so far."""

    is_error: bool
    subtype: str
    text: str
    tokens: int | None
    cost_usd: float | None
    duration_ms: int | None  # of the turn
    turns: int | None
    models: Mapping[str, Any]  # name -> {tokens, cost_usd}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """A sample of the session's process tree; see docs/format.md for what each figure covers."""

    cpu_ms: int
    rss_bytes: int
    read_bytes: int | None
    write_bytes: int | None
    processes: int


@dataclass(slots=True)
class Hive:
    """The state of one session, as its telemetry tells it. Starts empty; `apply` brings it up to date."""

    status: str = "created"
    attempt: int = 1
    reason: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    program: str | None = None  # name of the agent program
    agents: dict[str, Agent] = field(default_factory=dict)  # of this attempt, in order of appearance
    active: dict[str, None] = field(default_factory=dict)  # ids of those that work or wait; the newest last
    messages: int = 0  # between agents, over all attempts
    api_retries: int = 0  # over all attempts
    result: Result | None = None  # the last one of this attempt
    resources: Resources | None = None  # the latest sample of this attempt
    log_base: int = 0  # bytes rotated out of the log
    conversation: str | None = None  # Claude Code's own session id, for resuming
    claude_version: str | None = None
    last_ts: int = 0  # of the newest event, Unix time in milliseconds
    last_at: int = 0  # newest position in claude.jsonl in this attempt
    past_tokens: int = 0  # of earlier attempts and processes
    past_cost_usd: float | None = None
    agent_tokens: int = 0  # sum over the agents of this attempt
    agent_cost_usd: float | None = None
    base_tokens: int = 0  # agent_tokens when the last result came
    base_cost_usd: float = 0.0

    def apply(self, event: Event) -> Changed:
        """Take in one event; the ids of the agents that it changed. Constant time, but for a session's end.

        The totals may change with usage, agent_ended, result and session, the session's status with session.
        """
        at = event.get("at")
        if at is not None:
            if at < self.last_at:
                return NONE
            self.last_at = at
        ts = event["ts"]
        if ts > self.last_ts:
            self.last_ts = ts
        handle = _HANDLERS.get(event["type"])
        return NONE if handle is None else handle(self, event)

    @property
    def ended(self) -> bool:
        """True once the session has completed or failed."""
        return self.status in ENDED_SESSION_STATUSES

    @property
    def tokens(self) -> int:
        """Tokens of all attempts: what the last result says and agents used since, else the agents' sum."""
        told = self.result.tokens if self.result else None
        if told is None:
            return self.past_tokens + self.agent_tokens
        return self.past_tokens + told + self.agent_tokens - self.base_tokens

    @property
    def cost_usd(self) -> float | None:
        """Cost of all attempts in US dollars, reckoned like `tokens`; None when nobody has said."""
        told = self.result.cost_usd if self.result else None
        now = self.agent_cost_usd
        if told is not None:
            now = told + (now or 0.0) - self.base_cost_usd
        return _plus(self.past_cost_usd, now)

    @property
    def headline(self) -> str:
        """The queen's, or while she waits the newest working agent's; "" before there is an agent."""
        shown = self.agents.get(QUEEN)
        if shown is None or shown.status == "waiting":
            newest = (self.agents[name] for name in reversed(self.active))
            shown = next((agent for agent in newest if agent.status == "working"), shown)
        if shown is None:
            shown = next(reversed(self.agents.values()), None)
        return shown.headline if shown else ""

    def summary(self) -> dict[str, Any]:
        """The state in one line's worth of plain values: what a list of sessions shows."""
        return {
            "status": self.status,
            "attempt": self.attempt,
            "reason": self.reason,
            "exit_code": self.exit_code,
            "signal": self.signal,
            "agents": len(self.agents),
            "active_agents": len(self.active),
            "tokens": self.tokens,
            "cost_usd": self.cost_usd,
            "messages": self.messages,
            "api_retries": self.api_retries,
            "is_error": bool(self.result and self.result.is_error),
            "headline": self.headline,
            "last_ts": self.last_ts,
        }

    # -- the session -----------------------------------------------------------------------------------------

    def _session(self, event: Event) -> Changed:
        attempt = event["attempt"]
        if attempt < self.attempt:
            return NONE
        if attempt > self.attempt:
            self._begin_attempt(attempt, event.get("at") or 0)
        self.status = event["status"]
        self.reason = event.get("reason")
        self.exit_code = event.get("exit_code")
        self.signal = event.get("signal")
        self.program = event.get("agent") or self.program
        if not self.active or not self.ended:
            return NONE
        closed = tuple(self.active)
        for name in closed:
            status = "done" if name == QUEEN and self.status == "completed" else "failed"
            self._set_status(self.agents[name], status, None, event["ts"])
        return closed

    def _begin_attempt(self, attempt: int, at: int) -> None:
        self._keep_totals()
        self.attempt = attempt
        self.agents, self.active = {}, {}
        self.resources = None
        self.last_at = at

    def _keep_totals(self) -> None:
        """Let what was used up to now stay in the totals, and count anew."""
        self.past_tokens, self.past_cost_usd = self.tokens, self.cost_usd
        self.agent_tokens = self.base_tokens = 0
        self.agent_cost_usd, self.base_cost_usd = None, 0.0
        self.result = None

    def _resources(self, event: Event) -> Changed:
        self.resources = Resources(
            cpu_ms=event["cpu_ms"],
            rss_bytes=event["rss_bytes"],
            read_bytes=event.get("read_bytes"),
            write_bytes=event.get("write_bytes"),
            processes=event["processes"],
        )
        return NONE

    def _log_rotated(self, event: Event) -> Changed:
        self.log_base = max(self.log_base, event["base"])
        return NONE

    def _result(self, event: Event) -> Changed:
        self.result = Result(
            is_error=event["is_error"],
            subtype=event["subtype"],
            text=event.get("text") or "",
            tokens=event.get("tokens"),
            cost_usd=event.get("cost_usd"),
            duration_ms=event.get("duration_ms"),
            turns=event.get("turns"),
            models=event.get("models") or {},
        )
        self.base_tokens = self.agent_tokens
        self.base_cost_usd = self.agent_cost_usd or 0.0
        return NONE

    # -- agents ----------------------------------------------------------------------------------------------

    def _agent(self, name: str, ts: int) -> Agent:
        """The agent of that id; one that nobody has introduced yet gets a place all the same."""
        agent = self.agents.get(name)
        if agent is None:
            role, parent = ("queen", None) if name == QUEEN else ("worker", QUEEN)
            agent = self.agents[name] = Agent(name, parent, role, "", "", ts)
            self.active[name] = None
            if self.ended:
                self._set_status(agent, "failed", None, ts)
        return agent

    def _spawned(self, event: Event) -> Changed:
        name = event["agent"]
        agent = self._agent(name, event["ts"])
        agent.parent = event.get("parent")
        agent.role, agent.kind, agent.task = event["role"], event["kind"], event["task"]
        return (name,)

    def _claude_started(self, event: Event) -> Changed:
        name, conversation = event["agent"], event.get("conversation")
        agent = self._agent(name, event["ts"])
        if conversation and conversation != self.conversation:
            self.conversation = conversation
            if not agent.active:  # another process takes the place of one that has ended
                self._keep_totals()
                agent.forget_usage()
        agent.model = event.get("model") or agent.model
        self.claude_version = event.get("version") or self.claude_version
        return (name,)

    def _status(self, event: Event) -> Changed:
        name = event["agent"]
        self._set_status(self._agent(name, event["ts"]), event["status"], event.get("tool"), event["ts"])
        return (name,)

    def _set_status(self, agent: Agent, status: str, tool: str | None, ts: int) -> None:
        if status in ENDED_AGENT_STATUSES:
            agent.status, agent.tool = status, None
            if agent.ended_ms is None:
                agent.ended_ms = ts
                if agent.duration_ms is None:
                    agent.duration_ms = max(0, ts - agent.started_ms)
            self.active.pop(agent.agent, None)
        elif not self.ended:
            agent.status, agent.tool = status, tool
            if agent.ended_ms is not None:  # it was resumed
                agent.ended_ms = agent.duration_ms = None
                self.active[agent.agent] = None

    def _usage(self, event: Event) -> Changed:
        name = event["agent"]
        self._grow(self._agent(name, event["ts"]), event)
        return (name,)

    def _grow(self, agent: Agent, event: Event) -> None:
        tokens = event.get("tokens")
        if tokens is not None and tokens > agent.tokens:
            self.agent_tokens += tokens - agent.tokens
            agent.tokens = tokens
        for name in GROWING:
            value = event.get(name)
            if value is not None and value > getattr(agent, name):
                setattr(agent, name, value)
        duration_ms = event.get("duration_ms")
        if duration_ms is not None:
            agent.duration_ms = duration_ms
        cost_usd = event.get("cost_usd")
        if cost_usd is not None and cost_usd > (agent.cost_usd or -1.0):
            self.agent_cost_usd = (self.agent_cost_usd or 0.0) + cost_usd - (agent.cost_usd or 0.0)
            agent.cost_usd = cost_usd
        agent.model = event.get("model") or agent.model

    def _ended(self, event: Event) -> Changed:
        name = event["agent"]
        agent = self._agent(name, event["ts"])
        self._grow(agent, event)
        agent.summary = event.get("summary") or agent.summary
        self._set_status(agent, event["status"], None, event["ts"])
        return (name,)

    def _message(self, event: Event) -> Changed:
        self.messages += 1
        return NONE

    def _api_retry(self, event: Event) -> Changed:
        self.api_retries += 1
        return NONE


_HANDLERS: dict[str, Callable[[Hive, Event], Changed]] = {
    "session": Hive._session,
    "resources": Hive._resources,
    "log_rotated": Hive._log_rotated,
    "claude_started": Hive._claude_started,
    "agent_spawned": Hive._spawned,
    "agent_status": Hive._status,
    "usage": Hive._usage,
    "agent_ended": Hive._ended,
    "message": Hive._message,
    "api_retry": Hive._api_retry,
    "result": Hive._result,
}


def _plus(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else one + other
