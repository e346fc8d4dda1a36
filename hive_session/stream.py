"""Claude Code's stream-json turned into telemetry events, one line at a time; pure.

The rules of this file, as Claude Code 2.1.197 was seen to behave:
- A line belongs to the agent whose Agent call `parent_tool_use_id` names; null is the queen.
- The usage of a message stands on each of its lines and counts once; its output is not yet counted there.
- A subagent that its parent waits for says its last message only in the answer, with that message's usage.
- Agents deeper down show no lines, only tasks: `task_progress` names the caller before `task_started` comes.
- `total_tokens` of a task is the size of its context, so less than what several messages cost.
- The answer to an Agent call may only say that it was launched; its task says when it ends, and may restart.
- A result ends a turn, not the process: what runs in the background brings another turn.
"""

from __future__ import annotations

from hive_session.ondisk.events import QUEEN
from hive_session.stream_agents import AGENT_TOOLS, Agent
from hive_session.stream_fields import (
    answer_text,
    as_dict,
    as_id,
    as_list,
    as_text,
    decode_line,
    result_fields,
    retry_fields,
    started_fields,
)

TYPE_CHECKING = False  # typing costs each tap 1 MB; mypy takes this name for typing's own
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from hive_session.stream_fields import Json

MAX_CALLERS = 64  # announced calls not yet started; each is started by one of the next lines
ENDED_FIGURES = ("tokens", "tool_uses", "duration_ms")
TASK_ENDS = {"completed": "done", "failed": "failed", "killed": "failed", "stopped": "failed"}


class Stream:
    """The telemetry of one run of Claude Code; the same lines always give the same events."""

    def __init__(self, *, task: str = "") -> None:
        self._task = task  # of the queen; the stream itself does not say it
        self._out: list[Json] = []
        self._agents: dict[str, Agent] = {}
        self._tasks: dict[str, Agent] = {}  # Claude Code's task ids
        self._side_tasks: dict[str, str] = {}  # tasks that are no agents -> the call that made them
        self._callers: dict[str, Agent] = {}  # by the description of the call that a task has announced
        self._tools: dict[str, Agent] = {}  # calls under way, and who made them
        self._calls: dict[str, Json] = {}  # the arguments of those that call an agent
        self._running = 0  # agents beside the queen
        self._started: Json = {}

    def feed(self, line: bytes, *, at: int, now_ms: int) -> list[Json]:
        """The events of one line; [] for a banner, a torn line, or one that says nothing new. Never raises.

        `at` is the offset just after the line. Each event carries it, so that a process that replays the file
        from its start knows which events were written before.
        """
        message = decode_line(line)
        handle = _BY_TYPE.get(as_text(message.get("type")))
        if handle is not None:
            handle(self, message)
        return self._flush(now_ms, at=at)

    def end(self, *, now_ms: int, exit_code: int | None) -> list[Json]:
        """The events that close what is still open once Claude Code is gone; `exit_code` None when unknown.

        A queen that has told a result ends as it said, one that has not as the exit code says.
        """
        self._side_tasks.clear()
        for agent in reversed(list(self._agents.values())):  # the queen came first and goes last
            verdict, last = "failed", "Claude Code ended before it did"
            if agent.id == QUEEN:
                verdict = "done" if exit_code == 0 else "failed"
                last = f"Claude Code gave no result (exit code {exit_code})"
            self._finish(agent, agent.verdict or verdict, agent.said if agent.verdict else last)
        return self._flush(now_ms)

    def _flush(self, now_ms: int, **position: int) -> list[Json]:
        out, self._out = self._out, []
        return [{"ts": now_ms, **fields, **position} for fields in out]

    def _emit(self, name: str, **fields: Any) -> None:
        self._out.append({"type": name, **fields})

    # -- lines -----------------------------------------------------------------------------------------------

    def _system(self, message: Json) -> None:
        handle = _BY_SUBTYPE.get(as_text(message.get("subtype")))
        if handle is not None:
            self._queen()
            handle(self, message)

    def _init(self, message: Json) -> None:
        started = started_fields(message)
        if started != self._started:  # each turn begins with the same line
            self._started = started
            self._emit("claude_started", agent=QUEEN, **started)
        self._wake_queen()

    def _assistant(self, message: Json) -> None:
        agent = self._owner(message)
        if agent is None:
            return
        body = as_dict(message.get("message"))
        self._begin_message(agent, as_id(body.get("id")))
        agent.count(agent.message, body.get("usage"))
        model = as_text(body.get("model"))
        if model and not model.startswith("<"):  # <synthetic> speaks for the API's errors
            agent.model = model
        for block in map(as_dict, as_list(body.get("content"))):
            if block.get("type") == "tool_use":
                self._call(agent, block)
            elif block.get("type") == "text":
                agent.said = as_text(block.get("text")) or agent.said
        self._wake_queen() if agent.id == QUEEN else self._refresh(agent)
        self._tell_usage(agent)

    def _user(self, message: Json) -> None:
        if self._owner(message) is None:
            return
        blocks = map(as_dict, as_list(as_dict(message.get("message")).get("content")))
        answers = [block for block in blocks if block.get("type") == "tool_result"]
        detail = as_dict(message.get("tool_use_result")) if len(answers) == 1 else {}
        for block in answers:
            self._answer(block, detail)

    def _result(self, message: Json) -> None:
        fields = result_fields(message)
        queen = self._queen()
        queen.settle_turn(message.get("usage"))
        queen.verdict = "failed" if fields["is_error"] else "done"
        self._tell_usage(queen)
        self._emit("result", agent=QUEEN, **fields)
        self._refresh(queen)

    def _api_retry(self, message: Json) -> None:
        self._emit("api_retry", agent=QUEEN, **retry_fields(message))

    def _task_started(self, message: Json) -> None:
        task, call = as_id(message.get("task_id")), as_id(message.get("tool_use_id"))
        kind = message.get("task_type")
        if not task:
            return
        if kind != "local_agent" and (kind is not None or call not in self._calls):
            self._side_tasks[task] = call  # a command in the background, or what a later Claude Code invents
        elif task in self._tasks:
            self._resume(self._tasks[task], as_text(message.get("prompt")))
        else:
            self._tasks[task] = self._agents.get(call) or self._spawn(call or task, message)

    def _task_progress(self, message: Json) -> None:
        agent = self._task_agent(message)
        if agent is None:
            return
        tool = as_text(message.get("last_tool_name"))
        if tool in AGENT_TOOLS:
            self._callers[as_text(message.get("description"))] = agent
            if len(self._callers) > MAX_CALLERS:
                del self._callers[next(iter(self._callers))]
        if tool and not agent.seen:
            agent.shown_tool = tool
        agent.report(as_dict(message.get("usage")))
        self._refresh(agent)
        self._tell_usage(agent)

    def _task_updated(self, message: Json) -> None:
        self._end_task(message, as_dict(message.get("patch")).get("status"))

    def _task_notification(self, message: Json) -> None:
        self._end_task(message, message.get("status"))
        agent = self._task_agent(message)
        if agent is None or not agent.verdict or agent.ended:
            return
        agent.report(as_dict(message.get("usage")))
        if agent.id in self._tools:  # its parent waits for the answer, which says more
            self._tell_usage(agent)
            return
        summary = as_text(message.get("summary"))
        said = agent.said if agent.verdict == "done" else ""
        if not said and summary != agent.task:
            said = summary
        self._say(agent, said)
        self._finish(agent, agent.verdict, said)

    def _end_task(self, message: Json, status: Any) -> None:
        verdict = TASK_ENDS.get(as_text(status))
        if not verdict:
            return
        agent = self._task_agent(message)
        if agent is None:
            self._side_tasks.pop(as_id(message.get("task_id")), None)
        elif not agent.ended:
            self._settle(agent, verdict)
            self._refresh(agent)
        self._refresh(self._queen())

    # -- calls and answers -----------------------------------------------------------------------------------

    def _begin_message(self, agent: Agent, message: str) -> None:
        agent.seen, agent.shown_tool = True, None
        if message == agent.message:
            return
        agent.message, agent.called = message, False
        for call in list(agent.open_tools):
            # The model speaks again only when all its calls are answered: this answer was lost on the way.
            self._close_call(call)
            child = self._agents.get(call)
            if child is not None and child.verdict:
                self._finish(child, child.verdict, child.said)

    def _call(self, agent: Agent, block: Json) -> None:
        call, tool = as_id(block.get("id")), as_text(block.get("name")) or "tool"
        if not call or call in self._tools:
            return
        agent.open_tools[call] = tool
        agent.called = True
        agent.calls += 1
        self._tools[call] = agent
        if tool in AGENT_TOOLS:
            self._calls[call] = as_dict(block.get("input"))
            self._adopt(agent, self._agents.get(call))

    def _adopt(self, parent: Agent, child: Agent | None) -> None:
        """Correct the parent of a child that was spawned before the line with its call came."""
        if child is not None and child.parent is not parent and not child.is_above(parent):
            child.parent = parent
            self._tell_spawned(child)

    def _close_call(self, call: str) -> Agent | None:
        owner = self._tools.pop(call, None)
        if owner is not None:
            owner.open_tools.pop(call, None)
        self._calls.pop(call, None)
        return owner

    def _answer(self, block: Json, detail: Json) -> None:
        call = as_id(block.get("tool_use_id"))
        child = self._agents.get(call)
        if child is None and call in self._calls and detail.get("status") == "completed":
            child = self._spawn(call, {})
        owner = self._close_call(call)
        if owner is None:
            return
        is_error = block.get("is_error") is True
        if child is not None and (is_error or self._is_final(child, detail)):
            child.count_last(detail.get("usage"))
            child.report(detail)
            said = answer_text(detail.get("content")) or answer_text(block.get("content"))
            self._say(child, said)
            self._finish(child, "failed" if is_error else "done", said)
        self._refresh(owner)

    def _is_final(self, child: Agent, detail: Json) -> bool:
        """True for the answer of an agent that has ended, false where it only says that it was launched."""
        status = detail.get("status")
        if status is None:  # so it is for the calls of subagents
            return bool(child.verdict) or child not in self._tasks.values()
        return bool(status == "completed")

    # -- agents ----------------------------------------------------------------------------------------------

    def _queen(self) -> Agent:
        queen = self._agents.get(QUEEN)
        if queen is None:
            queen = self._agents[QUEEN] = Agent(QUEEN, None, "claude", as_text(self._task))
            queen.status = ""  # so that her first is told: another Claude Code of this run may have ended her
            self._tell_spawned(queen)
        return queen

    def _wake_queen(self) -> None:
        queen = self._queen()
        queen.verdict = ""
        self._refresh(queen)

    def _owner(self, message: Json) -> Agent | None:
        """The agent whose line this is; None for a line of something that is no agent."""
        call = message.get("parent_tool_use_id")
        queen = self._queen()
        if call is None:
            return queen
        call = as_id(call)
        if not call or call in self._side_tasks.values():
            return None
        return self._agents.get(call) or self._spawn(call, message)

    def _task_agent(self, message: Json) -> Agent | None:
        return self._tasks.get(as_id(message.get("task_id")))

    def _spawn(self, name: str, message: Json) -> Agent:
        """A new agent, known by its call and by the first line that speaks of it."""
        call = self._calls.get(name, {})
        task = as_text(message.get("description")) or as_text(message.get("task_description"))
        announced = self._callers.pop(task, None)
        parent = self._tools.get(name) or self._tasks.get(as_id(message.get("parent_task_id"))) or announced
        kind = as_text(message.get("subagent_type")) or as_text(call.get("subagent_type")) or "agent"
        agent = Agent(name, parent or self._queen(), kind, task or as_text(call.get("description")))
        self._agents[name] = agent
        self._running += 1
        self._tell_spawned(agent)
        self._instruct(agent, as_text(call.get("prompt")) or as_text(message.get("prompt")))
        return agent

    def _resume(self, agent: Agent, prompt: str) -> None:
        if agent.verdict:
            self._running += 1
            agent.resume()
            self._instruct(agent, prompt)
            self._refresh(agent)

    def _settle(self, agent: Agent, verdict: str) -> None:
        """Note how an agent ended, before all is known that can be told of it."""
        if not agent.verdict and agent.id != QUEEN:
            self._running -= 1
        agent.verdict = verdict
        parent = agent.parent
        if parent is not None and parent.shown_tool in AGENT_TOOLS:
            parent.shown_tool = None
            self._refresh(parent)

    def _finish(self, agent: Agent, verdict: str, summary: str) -> None:
        if agent.ended:
            return
        self._settle(agent, verdict)
        for call in list(agent.open_tools):
            self._close_call(call)
        self._tell_usage(agent)
        agent.ended, agent.status, agent.tool = True, verdict, None
        known: Json = {key: agent.told[key] for key in ENDED_FIGURES if key in agent.told}
        if summary:
            known["summary"] = summary
        self._emit("agent_ended", agent=agent.id, status=verdict, **known)
        self._refresh(self._queen())

    def _refresh(self, agent: Agent) -> None:
        status, tool = agent.activity()
        if agent.verdict:
            busy = agent.id == QUEEN and (self._running or self._side_tasks)
            status, tool = ("waiting" if busy else agent.verdict), None
        if not agent.ended and (status, tool) != (agent.status, agent.tool):
            agent.status, agent.tool = status, tool
            self._emit("agent_status", agent=agent.id, status=status, tool=tool)

    def _tell_spawned(self, agent: Agent) -> None:
        above = agent.parent.id if agent.parent else None
        who = {"agent": agent.id, "parent": above, "role": agent.role(), "kind": agent.kind}
        self._emit("agent_spawned", **who, task=agent.task)

    def _instruct(self, agent: Agent, text: str) -> None:
        if text and agent.parent is not None:
            self._emit("message", **{"from": agent.parent.id, "to": agent.id, "text": text})

    def _say(self, agent: Agent, text: str) -> None:
        if text and agent.parent is not None and not agent.ended:
            self._emit("message", **{"from": agent.id, "to": agent.parent.id, "text": text})

    def _tell_usage(self, agent: Agent) -> None:
        usage = agent.usage()
        if usage != agent.told:
            agent.told = usage
            self._emit("usage", agent=agent.id, **usage)


_BY_TYPE: dict[str, Callable[[Stream, Json], None]] = {
    "system": Stream._system,
    "assistant": Stream._assistant,
    "user": Stream._user,
    "result": Stream._result,
}
_BY_SUBTYPE: dict[str, Callable[[Stream, Json], None]] = {
    "init": Stream._init,
    "api_retry": Stream._api_retry,
    "task_started": Stream._task_started,
    "task_progress": Stream._task_progress,
    "task_updated": Stream._task_updated,
    "task_notification": Stream._task_notification,
}
