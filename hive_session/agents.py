"""The agents that can work in a session, as one table: from a task to the argvs that carry it out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hive_session.config import CommandAgent
from hive_session.errors import UsageError
from hive_session.isolation import task_placeholder

ARGUMENT_MAX_BYTES = 131_071  # Linux MAX_ARG_STRLEN less the closing NUL
SETTLE_S = 10.0  # claude-flow 2.x never exits by itself; this long after Claude Code did, it is ended


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """One kind of agent. `{task}`, `{task_file}`, `{session_id}`, `{working_dir}`, `{output_dir}` stand in `steps`."""

    name: str
    steps: tuple[tuple[str, ...], ...]  # argvs, one after the other; `start`'s extra arguments go to the last
    stdin: str = "null"  # "null" or "task"
    env: Mapping[str, str] = field(default_factory=dict)
    runs_claude: bool = False  # Claude Code runs beneath it: the tap's witness knows the true exit
    programs: tuple[str, ...] = ()  # what must be installed: "claude", "claude-flow"
    task_max_bytes: int = ARGUMENT_MAX_BYTES  # for a longer task a placeholder stands, which the tap fills in


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the runner has to start."""

    steps: tuple[tuple[str, ...], ...]
    stdin: str  # "null" or "task"
    env: Mapping[str, str]
    runs_claude: bool
    settle_s: float


CLAUDE_FLAGS = ("-p", "--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions")

# 3.43 puts the task into Claude's prompt twice, 2.7 three times; that prompt is one argument
# (facts/claude-flow.md section 2: 63,000 and about 41,000 bytes pass).
CLAUDE_FLOW_3 = AgentSpec(
    name="claude-flow",
    steps=(
        ("claude-flow", "hive-mind", "init"),
        ("claude-flow", "hive-mind", "spawn", "--objective={task}", "--claude", "--non-interactive"),
    ),
    runs_claude=True,
    programs=("claude-flow", "claude"),
    task_max_bytes=60_000,
)
CLAUDE_FLOW_2 = AgentSpec(
    name="claude-flow",
    steps=(("claude-flow", "hive-mind", "spawn", "{task}", "--claude", "--non-interactive"),),
    runs_claude=True,
    programs=("claude-flow", "claude"),
    task_max_bytes=38_000,
)
CLAUDE = AgentSpec(
    name="claude", steps=(("claude", *CLAUDE_FLAGS),), stdin="task", runs_claude=True, programs=("claude",)
)
REHEARSAL = AgentSpec(name="rehearsal", steps=(("claude", *CLAUDE_FLAGS),), stdin="task", runs_claude=True)

BUILT_IN = {"claude-flow": CLAUDE_FLOW_3, "claude": CLAUDE, "rehearsal": REHEARSAL}


def find_agent(name: str, configured: Mapping[str, CommandAgent], claude_flow_major: int) -> AgentSpec:
    """The agent called `name`; one from the configuration file wins. Raises: UsageError listing those there are."""
    if name in configured:
        agent = configured[name]
        return AgentSpec(
            name=name, steps=(agent.argv,), stdin=agent.stdin, env=agent.env, runs_claude=agent.runs_claude
        )
    if name not in BUILT_IN:
        known = ", ".join(sorted({*BUILT_IN, *configured}))
        raise UsageError(
            f"no agent is called {name!r}",
            f"agents: {known}; add one in the configuration file: [agents.{name}]",
        )
    return CLAUDE_FLOW_2 if name == "claude-flow" and claude_flow_major == 2 else BUILT_IN[name]


def plan_job(spec: AgentSpec, task: str, *, args: tuple[str, ...], values: Mapping[str, str], initialised: bool) -> Job:
    """What to start for `task`. `values` fills the other placeholders; `initialised` skips an init that was done before.

    Raises: UsageError when the task cannot reach this agent.
    """
    words = {**values, "task": _task_argument(spec, task, values["session_id"])}
    steps = spec.steps[1:] if initialised and len(spec.steps) > 1 else spec.steps
    filled = [tuple(fill(word, words) for word in step) for step in steps]
    filled[-1] += args
    never_exits = spec is CLAUDE_FLOW_2
    return Job(
        steps=tuple(filled),
        stdin=spec.stdin,
        env=spec.env,
        runs_claude=spec.runs_claude,
        settle_s=SETTLE_S if never_exits else 0.0,
    )


def _task_argument(spec: AgentSpec, task: str, session_id: str) -> str:
    if not any("{task}" in word for step in spec.steps for word in step):
        return task
    size = len(task.encode("utf-8", "surrogateescape"))
    beside = max(len(word.encode()) - len("{task}") for step in spec.steps for word in step if "{task}" in word)
    positional = any(word == "{task}" for step in spec.steps for word in step)
    fits = size <= spec.task_max_bytes and size + beside <= ARGUMENT_MAX_BYTES
    if fits and not (spec.programs and positional and task.startswith("-")):
        return task
    if not spec.programs:
        hint = "let the agent read {task_file}, or take the task on stdin, in the configuration file"
        raise UsageError(
            f"a task of {size} bytes does not fit into one argument of {spec.name} ({ARGUMENT_MAX_BYTES})",
            hint,
        )
    return task_placeholder(session_id)


def fill(word: str, values: Mapping[str, str]) -> str:
    """`word` with each known `{name}` replaced in one pass: what a value contains is never looked at again."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), word)
