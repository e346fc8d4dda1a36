"""The script of a rehearsed hive: a seed in, timed lines in Claude Code's stream-json format out; pure.

Every agent writes its own lines inside its slot of the run, and the agents of a wave are merged by time. So
the whole takes as long as asked, no line is made before its turn, and a thousand agents cost little more
memory than one wave of them.

How the figures add up (as Claude Code's own do): the usage of a message stands on each of its lines, so it
counts once per message id. A sub-agent's last message has no line; its usage is `tool_use_result.usage` of
the line that hands its answer to its parent. `modelUsage` of the result is the sum over all messages of that
model, `usage` of the result the sum over the queen's. `total_tokens` of a task is what its agent's latest
message sent and got.

One thing is shown that Claude Code 2.1.197 keeps to itself: the lines of a sub-agent's own sub-agent. Without
them its tokens would be in the result and nowhere else.
"""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Iterator

from hive_session import rehearsal_lines as lines
from hive_session.rehearsal_lines import DISCLAIMER, Line
from hive_session.rehearsal_plan import (
    ROLES,
    Agent,
    Usage,
    add,
    cost_usd,
    make_uuid,
    plan_waves,
    usage_by_model,
)

Moment = tuple[float, Line]  # (when, as a fraction of the whole run; the line)

EPOCH_S = 1_767_225_600  # 2026-01-01T00:00:00Z; lines carry played time, so equal arguments give equal bytes
CRASH_AT = 0.6  # fraction of the run at which `crash` ends the stream
RETRIES_MAX = 10  # Claude Code gives up after as many

FILES = ("README.md", "src/main.py", "src/importer.py", "tests/test_main.py", "docs/format.md")
WORDS = ("timeout", "TODO", "def main", "retry", "cache", "raise", "limit")
COMMANDS = (("python -m pytest -q", "Run the tests"), ("git status --short", "See what changed"))


class Rehearsal:
    """One performance: `lines()` plays it, once; what was played can be read from the agents then."""

    def __init__(
        self,
        *,
        seed: int,
        task: str,  # the beginning of the prompt, as text fit for display and for JSON
        workers: int = 4,
        seconds: float = 8.0,  # from the first line to the last
        session_id: str = "",  # a UUID; when empty, one is made from the seed
        resumed: bool = False,
        cwd: str = "/",
        exit_code: int = 0,  # other than 0: the result says is_error
        retries: int = 0,  # refusals of the model's server before the first message
        crash: bool = False,  # the lines stop early, without a result
    ) -> None:
        self.session_id = session_id or make_uuid(random.Random(f"{seed}/session"))
        self.workers = workers
        self.seconds = seconds
        self.subject = next((line.strip() for line in task.splitlines() if line.strip()), "")[:80]
        self.queen = Agent("queen", 0, 0)
        self.waves = plan_waves(seed, workers)
        self._resumed = resumed
        self._cwd = cwd
        self._exit_code = exit_code
        self._retries = retries
        self._crash = crash
        self._turns = 1
        self._rng = random.Random(f"{seed}/play")
        # Ids hang on the session too: two sessions with one seed differ in nothing but those.
        self._ids = random.Random(f"{seed}/{self.session_id}/{resumed}")

    def agents(self) -> Iterator[Agent]:
        """Every agent of the plan, the queen first, each worker before its sub-agent."""
        yield self.queen
        for worker in (worker for wave in self.waves for worker in wave):
            yield worker
            if worker.child:
                yield worker.child

    def lines(self) -> Iterator[tuple[float, Line]]:
        """(seconds to wait before it, line) in order. The waits sum to `seconds`; less when it crashes."""
        before = 0.0
        for when, line in self._play():
            if self._crash and when > CRASH_AT:
                return
            yield (when - before) * self.seconds, line
            before = when

    # -- the course of the play ----------------------------------------------------------------------------

    def _play(self) -> Iterator[Moment]:
        yield 0.0, self._system("init", **lines.init_fields(self._cwd))
        yield from self._refusals(0.01, 0.04)
        yield from self._planning()
        for number, wave in enumerate(self.waves, 1):
            yield from self._spawn_wave(number, wave)
            yield from heapq.merge(*(self._work(agent, self.queen) for agent in wave), key=_when)
        yield from self._summing_up()
        yield 1.0, self._result()

    def _planning(self) -> Iterator[Moment]:
        again = "Resumed. " if self._resumed else ""
        plan = f"{len(self.waves)} waves of workers, {self.workers} in all"
        create: Line = {"subject": plan, "description": self.subject, "activeForm": "Playing the hive"}
        call = self._call("TaskCreate", create)
        yield from self._says(
            self.queen,
            0.05,
            {"type": "thinking", "thinking": "Nothing is thought here; the plan is drawn.", "signature": ""},
            {"type": "text", "text": f"{again}{DISCLAIMER} The task: {self.subject}. The plan: {plan}."},
            call,
        )
        yield 0.07, self._answer(self.queen, 0.07, call, "Task #1 created successfully")

    def _spawn_wave(self, number: int, wave: list[Agent]) -> Iterator[Moment]:
        text = f"Wave {number} of {len(self.waves)}: {', '.join(agent.kind for agent in wave)}."
        calls = [self._spawn_call(agent) for agent in wave]
        said = self._says(self.queen, wave[0].start, {"type": "text", "text": text}, *calls)
        yield next(said)
        for agent, (_, line) in zip(wave, said, strict=True):
            yield agent.start, line
            yield from self._started(agent)

    def _work(self, agent: Agent, parent: Agent) -> Iterator[Moment]:
        """What `agent` does from its first tool to the answer that its parent gets."""
        tools = ROLES[agent.role][2]
        steps = len(tools) if agent.depth == 1 else 2
        span = (agent.end - agent.start) * 0.8 / steps
        for step in range(steps // 2 if agent.fails else steps):
            begin = agent.start + 0.19 * (agent.end - agent.start) + step * span
            end = begin + span * self._rng.uniform(0.4, 0.95)
            if agent.child and step == steps // 2:
                yield from self._delegate(agent, agent.child, begin, end)
            else:
                yield from self._use_tool(agent, tools[step], begin, end)
        yield from self._ended(agent, parent)

    def _use_tool(self, agent: Agent, tool: str, begin: float, end: float) -> Iterator[Moment]:
        arguments, doing = self._arguments(tool)
        call = self._call(tool, arguments)
        said = list(self._says(agent, begin, call))
        yield begin, self._progress(agent, begin, doing, tool)
        yield from said
        size = self._rng.randint(3, 240)
        yield end, self._answer(agent, end, call, f"(rehearsed: {size} lines that no tool has read)")

    def _delegate(self, agent: Agent, child: Agent, begin: float, end: float) -> Iterator[Moment]:
        child.start, child.end = begin, end
        said = list(self._says(agent, begin, self._spawn_call(child)))
        yield begin, self._progress(agent, begin, child.description, "Agent")
        yield from said
        yield from self._started(child)
        yield from self._work(child, agent)

    def _started(self, agent: Agent) -> Iterator[Moment]:
        yield (
            agent.start,
            self._system("task_started", **lines.task_fields(agent), task_type="local_agent", prompt=agent.prompt),
        )
        content: list[Line] = [{"type": "text", "text": agent.prompt}]
        yield agent.start, self._user(agent, agent.start, content)

    def _ended(self, agent: Agent, parent: Agent) -> Iterator[Moment]:
        when = agent.end
        status = "failed" if agent.fails else "completed"
        if not agent.fails:
            self._spend(agent)  # its last message, which has no line of its own
        patch = {"status": status, "end_time": self._clock_ms(when)}
        yield when, self._system("task_updated", task_id=agent.task_id, patch=patch)
        yield (
            when,
            self._system(
                "task_notification",
                task_id=agent.task_id,
                tool_use_id=agent.tool_use_id,
                status=status,
                output_file="",
                summary=agent.description,
                usage=self._task_usage(agent, when),
            ),
        )
        yield when, self._handed_over(agent, parent, when)

    def _summing_up(self) -> Iterator[Moment]:
        call = self._call("TaskUpdate", {"taskId": "1", "status": "completed"})
        yield from self._says(self.queen, 0.93, call)
        yield 0.94, self._answer(self.queen, 0.94, call, "Updated task #1 status")
        yield from self._says(self.queen, 0.97, {"type": "text", "text": self._summary()})

    def _refusals(self, begin: float, end: float) -> Iterator[Moment]:
        pause = (end - begin) / (self._retries or 1)
        for attempt in range(1, self._retries + 1):
            yield (
                begin + (attempt - 1) * pause,
                self._system(
                    "api_retry",
                    attempt=attempt,
                    max_retries=RETRIES_MAX,
                    retry_delay_ms=pause * self.seconds * 1000,
                    error_status=529,
                    error="overloaded",
                ),
            )

    # -- single lines --------------------------------------------------------------------------------------

    def _line(self, kind: str, **fields: object) -> Line:
        return {"type": kind, **fields, "session_id": self.session_id, "uuid": make_uuid(self._ids)}

    def _system(self, subtype: str, **fields: object) -> Line:
        return self._line("system", subtype=subtype, **fields)

    def _says(self, agent: Agent, when: float, *blocks: Line) -> Iterator[Moment]:
        """One message of `agent`: a line for each block, all with the same id and usage."""
        usage = lines.usage_fields(self._spend(agent))
        message = {"id": self._id("msg_"), "type": "message", "role": "assistant", "model": agent.model}
        for block in blocks:
            if block["type"] == "tool_use":
                agent.count(str(block["name"]))
        for block in blocks:
            rest = {"stop_reason": None, "stop_sequence": None, "usage": usage, "context_management": None}
            yield (
                when,
                self._line(
                    "assistant",
                    message={**message, "content": [block], **rest},
                    parent_tool_use_id=lines.call_of(agent),
                )
                | lines.whose(agent),
            )

    def _user(self, agent: Agent, when: float, content: list[Line]) -> Line:
        message = {"role": "user", "content": content}
        line = self._line("user", message=message, parent_tool_use_id=lines.call_of(agent))
        return line | {"timestamp": self._timestamp(when)} | lines.whose(agent)

    def _answer(self, agent: Agent, when: float, call: Line, content: object, *, is_error: bool = False) -> Line:
        """The line that gives `agent` the result of its `call`."""
        if agent is self.queen:
            self._turns += 1
        block: Line = {
            "tool_use_id": call["id"],
            "type": "tool_result",
            "content": content,
            "is_error": is_error,
        }
        return self._user(agent, when, [block])

    def _progress(self, agent: Agent, when: float, doing: str, tool: str) -> Line:
        usage = self._task_usage(agent, when)
        fields = lines.task_fields(agent) | {"description": doing, "usage": usage, "last_tool_name": tool}
        return self._system("task_progress", **fields)

    def _handed_over(self, agent: Agent, parent: Agent, when: float) -> Line:
        """The line that gives `parent` the answer of the sub-agent it called."""
        call: Line = {"id": agent.tool_use_id}
        if agent.fails:
            line = self._answer(parent, when, call, f"The {agent.kind} failed (rehearsed).", is_error=True)
            return line | {"tool_use_result": f"Error: The {agent.kind} failed (rehearsed)."}
        answer = f"The {agent.kind} has played its part. {DISCLAIMER}"
        took_ms = self._ms(when - agent.start)
        content = [{"type": "text", "text": text} for text in (answer, lines.footer(agent, took_ms))]
        line = self._answer(parent, when, call, content)
        return line | {"tool_use_result": lines.task_result(agent, answer, took_ms)}

    def _result(self) -> Line:
        """The last line, with the sums of the whole run."""
        failed = self._exit_code != 0
        models = usage_by_model(self.agents())
        costs = {model: cost_usd(model, usage) for model, usage in models.items()}
        return self._line(
            "result",
            **lines.outcome_fields(failed),
            duration_ms=self._ms(1.0),
            duration_api_ms=self._ms(0.7),
            ttft_ms=self._ms(0.05),
            ttft_stream_ms=self._ms(0.05),
            time_to_request_ms=self._ms(0.01),
            num_turns=self._turns,
            result=self._summary(),
            total_cost_usd=round(sum(costs.values()), 6),
            usage=lines.full_usage_fields(self.queen.spent),
            modelUsage={model: lines.model_fields(usage, costs[model]) for model, usage in models.items()},
        )

    def _summary(self) -> str:
        subs = sum(worker.child is not None for wave in self.waves for worker in wave)
        failed = [agent.kind for agent in self.agents() if agent.fails]
        parts = [f"Workers: {self.workers}, with sub-agents: {subs}. The task was: {self.subject}."]
        parts += [f"The {kind} failed, as its seed wanted." for kind in failed]
        if self._exit_code:
            parts.append(f"The run fails on purpose with exit code {self._exit_code}.")
        return " ".join([DISCLAIMER, *parts])

    # -- figures and names ---------------------------------------------------------------------------------

    def _spend(self, agent: Agent) -> Usage:
        """The usage of one more message of `agent`, whose context grows by what was written and said."""
        base = 0 if agent.context else 14_000 if agent is self.queen else 5_000
        written, said = base + self._rng.randint(200, 2_400), self._rng.randint(40, 700)
        agent.last = (self._rng.randint(2, 12), said, agent.context, written)
        agent.spent = add(agent.spent, agent.last)
        agent.context += written
        return agent.last

    def _call(self, tool: str, arguments: Line) -> Line:
        return {"type": "tool_use", "id": self._id("toolu_"), "name": tool, "input": arguments}

    def _spawn_call(self, agent: Agent) -> Line:
        """The call that makes `agent`, which has its identity from here on."""
        verb = ROLES[agent.role][1]
        agent.description = f"{verb} the task"
        agent.prompt = f"[rehearsal] You are the {agent.kind}. {verb}: {self.subject}"
        call = self._call(
            "Agent", {"description": agent.description, "prompt": agent.prompt, "subagent_type": agent.kind}
        )
        agent.tool_use_id = str(call["id"])
        agent.task_id = f"a{self._ids.getrandbits(64):016x}"
        return call

    def _arguments(self, tool: str) -> tuple[Line, str]:
        """(plausible input of `tool`, what it is doing in words)."""
        pick = self._rng.choice
        if tool == "Bash":
            command, doing = pick(COMMANDS)
            return {"command": command, "description": doing}, f"Running {doing}"
        if tool == "WebSearch":
            return {"query": self.subject}, "Searching the web"
        if tool == "Grep":
            word = pick(WORDS)
            return {"pattern": word, "path": self._cwd}, f"Searching for {word}"
        path = f"{self._cwd.rstrip('/')}/{pick(FILES)}"
        if tool == "Read":
            return {"file_path": path}, f"Reading {path}"
        word = pick(WORDS)
        return {"file_path": path, "old_string": word, "new_string": f"{word}_"}, f"Editing {path}"

    def _id(self, prefix: str) -> str:
        return f"{prefix}{self._ids.getrandbits(96):024x}"

    def _task_usage(self, agent: Agent, when: float) -> Line:
        took_ms = self._ms(when - agent.start)
        return {"total_tokens": sum(agent.last), "tool_uses": agent.tool_uses, "duration_ms": took_ms}

    def _ms(self, fraction: float) -> int:
        return round(fraction * self.seconds * 1000)

    def _clock_ms(self, when: float) -> int:
        return EPOCH_S * 1000 + self._ms(when)

    def _timestamp(self, when: float) -> str:
        seconds, millis = divmod(self._clock_ms(when), 1000)
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{millis:03d}Z"


def _when(moment: Moment) -> float:
    return moment[0]
