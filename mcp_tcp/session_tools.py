"""The tools that tell of one session from its card and its hive: session_status, session_metrics, session_agents; pure."""

from __future__ import annotations

from hive_session.ondisk.agent_figures import agent_metrics, agent_objects
from hive_session.ondisk.figures import counts, session_object, session_performance, swarm_id, task_counts
from mcp_tcp.listing import SESSION_LIST
from mcp_tcp.shapes import (
    AGENT,
    AGENT_METRICS,
    COUNT,
    SESSION,
    SESSION_ID,
    SESSION_PERFORMANCE,
    SESSION_STATUS,
    SWARM_ID,
    TASK_COUNTS,
    TEXT,
    arguments,
    list_of,
    shape,
    told,
)
from mcp_tcp.tools import About, Answer, Needs, Question, Tool


def _status(question: Question) -> Answer:
    return session_object(question.named(), question.now_ms)


def _metrics(question: Question) -> Answer:
    session = question.named()
    agents = session.hive.agents.values() if session.hive else ()
    return {
        # Client A requires a string here even where there is no swarm yet.
        "swarm_id": session.card.id,
        "session_id": session.card.id,
        "status": session.card.status,
        "agents": [agent_metrics(session, agent, question.now_ms) for agent in agents],
        "tasks": task_counts(session) or counts(0, 0, 0),
        "performance": session_performance(session),
    }


def _agents(question: Question) -> Answer:
    session = question.named()
    agents = agent_objects(session, question.now_ms)
    return {
        "session_id": session.card.id,
        "swarm_id": swarm_id(session.card),
        "status": session.card.status,
        "agents": agents,
        "total": len(agents),
    }


SESSION_STATUS_TOOL = Tool(
    name="session_status",
    title="Status of a session",
    description=(
        "Says how one session stands: status, exit code and reason, what it does now, its task counts, tokens, cost, "
        "processor and memory, and its result. The first to ask about a known session; its agents one by one are in "
        "session_agents, what it printed is in session_logs."
    ),
    input_schema=arguments("session_id", session_id=SESSION_ID),
    output_schema=SESSION,
    needs=Needs.HIVE,
    about=About.ONE,
    answer=_status,
)

SESSION_METRICS = Tool(
    name="session_metrics",
    title="Figures of a session",
    description=(
        "Gives the figures of one session and of each of its agents: tasks, success rate, tokens, processor, memory. "
        "Use it to measure; to know how the session stands use session_status."
    ),
    input_schema=arguments("session_id", session_id=SESSION_ID),
    output_schema=shape(
        swarm_id=told(TEXT, "The session's id"),
        session_id=TEXT,
        status=SESSION_STATUS,
        agents=list_of(AGENT_METRICS),
        tasks=TASK_COUNTS,
        performance=SESSION_PERFORMANCE,
    ),
    needs=Needs.HIVE,
    about=About.ONE,
    answer=_metrics,
)

SESSION_AGENTS = Tool(
    name="session_agents",
    title="Agents of a session",
    description=(
        "Lists the agents of one session's last attempt, ended ones too: what each was told to do, what it does now, who "
        "called for it, its tokens and its last word. For the agents of all live sessions at once use agent_list."
    ),
    input_schema=arguments("session_id", session_id=SESSION_ID),
    output_schema=shape(
        session_id=TEXT,
        swarm_id=SWARM_ID,
        status=SESSION_STATUS,
        agents=list_of(AGENT),
        total=COUNT,
    ),
    needs=Needs.HIVE,
    about=About.ONE,
    answer=_agents,
)

SESSION_TOOLS = (SESSION_LIST, SESSION_STATUS_TOOL, SESSION_METRICS, SESSION_AGENTS)
