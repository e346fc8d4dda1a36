"""The tools that tell of agents and tasks over all sessions: agent_list, agent_metrics, task_status; pure."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING

from hive_session.ondisk.agent_figures import agent_metrics, agent_task, global_id, listed_agents, session_task
from hive_session.ondisk.figures import Object, counts, sum_counts
from hive_session.ondisk.fold import Agent
from mcp_tcp.shapes import (
    AGENT_METRICS,
    COUNT,
    LISTED_AGENT,
    MAYBE_TEXT,
    SWARM_KEYS,
    TASK,
    TASK_COUNTS,
    arguments,
    limit,
    list_of,
    shape,
    told,
)
from mcp_tcp.tools import About, Answer, Needs, Question, Tool, ToolError

if TYPE_CHECKING:
    from hive_session.ondisk.sessions import Session

DEFAULT_LIMIT, MOST = 500, 5000

# What clients may ask for, the words of claude-flow's own agent_list among them: the statuses that it means.
FILTERS: dict[str, tuple[str, ...]] = {
    "all": ("working", "waiting", "done", "failed"),
    "active": ("working", "waiting"),
    "ended": ("done", "failed"),
    "working": ("working",),
    "waiting": ("waiting",),
    "done": ("done",),
    "failed": ("failed",),
    "busy": ("working",),
    "idle": ("waiting",),
}


def _asked(question: Question) -> list[Session]:
    return [question.session] if question.session else question.sessions.live()


# -- agent_list ------------------------------------------------------------------------------------------


def _list(question: Question) -> Answer:
    wanted = FILTERS[question.args.get("filter") or "all"]
    listed = chain.from_iterable(listed_agents(session, question.now_ms) for session in _asked(question))
    found = [agent for agent in listed if agent["status"] in wanted]
    return {"agents": found[: question.args.get("limit") or DEFAULT_LIMIT], "total": len(found)}


AGENT_LIST = Tool(
    name="agent_list",
    title="List agents",
    description=(
        "Lists the agents of all live sessions, or of one session, each with its figures and its place in the tree. Use it "
        "for an overview over sessions; for one session session_agents is shorter."
    ),
    input_schema=arguments(
        filter={
            "type": ["string", "null"],
            "enum": [*FILTERS, None],
            "default": "all",
            "description": "active: working or waiting; busy and idle are other words for working and waiting",
        },
        limit=limit(DEFAULT_LIMIT, MOST),
        **SWARM_KEYS,
    ),
    output_schema=shape(agents=list_of(LISTED_AGENT), total=told(COUNT, "Agents that fit, listed or beyond the limit")),
    needs=Needs.LIVE,
    about=About.ANY,
    answer=_list,
)

# -- one agent -------------------------------------------------------------------------------------------


def _find_agent(question: Question, name: str) -> tuple[Session, Agent]:
    """The agent that a client calls so. Raises: ToolError when there is none, or more than one."""
    if question.session is not None:
        session_id = question.session.card.id
        bare = name.removeprefix(f"{session_id}/")
        agent = question.session.hive.agents.get(bare) if question.session.hive else None
        if agent is None:
            raise ToolError(f"session {session_id} has no agent {_quote(bare)}; session_agents lists those it has")
        return question.session, agent
    found = [
        (session, session.hive.agents[name])
        for session in question.sessions.live()
        if session.hive is not None and name in session.hive.agents
    ]
    if not found:
        raise ToolError(
            f"no live session has an agent {_quote(name)}; agent_list lists them, session_agents those of one"
        )
    if len(found) > 1:
        example = global_id(found[0][0].card.id, name)
        raise ToolError(f"{len(found)} sessions have an agent {_quote(name)}; say which, such as {_quote(example)}")
    return found[0]


def _quote(name: str) -> str:
    return f'"{name if len(name) <= 80 else name[:79] + "…"}"'


def _first(question: Question, *keys: str) -> str | None:
    """The first of these arguments that says something; several spellings mean the same."""
    return next((value for key in keys if (value := question.args.get(key))), None)


def _metrics(question: Question) -> Answer:
    name = _first(question, "agent_id", "agentId")
    if name is None:
        raise ToolError("agent_id is missing; agent_list gives the ids of all agents")
    session, agent = _find_agent(question, name)
    return agent_metrics(session, agent, question.now_ms)


_AGENT_ID = told(MAYBE_TEXT, "SESSION/AGENT as agent_list gives it, or the agent's own id where it is the only one")

AGENT_METRICS_TOOL = Tool(
    name="agent_metrics",
    title="Figures of an agent",
    description=(
        "Gives the figures of one agent: its task's outcome and duration, tokens and their rate, and the processor and "
        "memory of its session. Use it for one known agent; session_metrics gives all agents of a session. agent_id is required."
    ),
    input_schema=arguments(agent_id=_AGENT_ID, agentId=told(MAYBE_TEXT, "Other name for agent_id"), **SWARM_KEYS),
    output_schema=AGENT_METRICS,
    needs=Needs.LIVE,
    about=About.ANY,
    answer=_metrics,
)

# -- task_status -----------------------------------------------------------------------------------------


def _tasks(question: Question) -> Answer:
    name = _first(question, "task_id", "taskId")
    session, now_ms = question.session, question.now_ms
    if session is not None and name in (None, session.card.id):
        return session_task(session, now_ms) | _task_list(question, [session])
    if name is None:
        return _task_list(question, question.sessions.live())
    session, agent = _find_agent(question, name)
    task = agent_task(session.card, agent, now_ms)
    done, failed = int(task["status"] == "done"), int(task["status"] == "failed")
    return task | {"tasks": [task.copy()], **counts(1, done, failed)}


def _task_list(question: Question, sessions: list[Session]) -> Object:
    tasks = (
        agent_task(session.card, agent, question.now_ms)
        for session in sessions
        for agent in (session.hive.agents.values() if session.hive else ())
    )
    return {"tasks": list(islice(tasks, question.args.get("limit") or DEFAULT_LIMIT)), **sum_counts(sessions)}


TASK_STATUS = Tool(
    name="task_status",
    title="Status of tasks",
    description=(
        "Says how tasks stand: that of one agent, that of one session with those of its agents, or without an id those of "
        "all live sessions. Each agent has one task. Use it to follow work; for who does it use agent_list."
    ),
    input_schema=arguments(
        task_id=told(MAYBE_TEXT, "An agent_id (SESSION/AGENT), or a session's id for the task of the session"),
        taskId=told(MAYBE_TEXT, "Other name for task_id"),
        limit=limit(DEFAULT_LIMIT, MOST),
        **SWARM_KEYS,
    ),
    output_schema={
        "type": "object",
        "description": "With an id, the fields of that task stand beside the list",
        "properties": TASK["properties"] | TASK_COUNTS["properties"] | {"tasks": list_of(TASK)},
        "required": ["tasks", *TASK_COUNTS["required"]],
    },
    needs=Needs.LIVE,
    about=About.ANY,
    answer=_tasks,
)

AGENT_TOOLS = (AGENT_LIST, AGENT_METRICS_TOOL, TASK_STATUS)
