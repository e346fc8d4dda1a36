"""The tools that tell of swarms, a session's agents as a whole, and of all swarms together; pure."""

from __future__ import annotations

from hive_session.ondisk.agent_figures import agent_objects, swarm_shapes
from hive_session.ondisk.figures import (
    MOST_SWARMS,
    active_agents,
    counts,
    recent,
    session_performance,
    started_ms,
    sum_counts,
    swarm_id,
    swarm_rows,
    task_counts,
)
from mcp_tcp.agent_tools import AGENT_TOOLS
from mcp_tcp.shapes import (
    AGENT,
    COUNT,
    FLAG,
    MAYBE_NUMBER,
    NUMBER,
    SESSION_PERFORMANCE,
    SESSION_ROW,
    SESSION_STATUS,
    SWARM_ID,
    SWARM_KEYS,
    TASK_COUNTS,
    TEXT,
    TOPOLOGY,
    arguments,
    extend,
    list_of,
    nullable,
    shape,
    told,
)
from mcp_tcp.tools import About, Answer, Needs, Question, Tool

# -- swarm_list ------------------------------------------------------------------------------------------


def _list(question: Question) -> Answer:
    if not question.args.get("include_ended"):
        return swarm_rows(recent(question.sessions, question.now_ms))
    started = [session for session in question.sessions.newest() if swarm_id(session.card)]
    return swarm_rows(sorted(started, key=started_ms, reverse=True))


SWARM_LIST = Tool(
    name="swarm_list",
    title="List swarms",
    description=(
        "Lists the swarms that run or ended within the last hour, the last started first: one swarm for each session, with "
        "the number of its agents and its task counts. To filter or page through all sessions use session_list."
    ),
    input_schema=arguments(
        include_ended=told(nullable(FLAG), f"Also all that ended earlier; at most {MOST_SWARMS}, the last started"),
    ),
    output_schema=shape(
        swarms=list_of(
            extend(SESSION_ROW, tasks=told(nullable(TASK_COUNTS), "null where its telemetry is not loaded"))
        ),
        total_swarms=COUNT,
        total_agents=told(COUNT, "Of the swarms listed"),
    ),
    needs=Needs.RECENT,
    about=About.ALL,
    answer=_list,
)

# -- swarm_status ----------------------------------------------------------------------------------------


def _status(question: Question) -> Answer:
    return swarm_shapes([question.session] if question.session else question.sessions.live())


SWARM_STATUS = Tool(
    name="swarm_status",
    title="Shape of the swarms",
    description=(
        "Says how the agents of one swarm, or of all live ones, are organised: topology, depth, how many are active, task "
        "counts. Use it for an overview; for the agents themselves use swarm_monitor (one swarm) or agent_list (all)."
    ),
    input_schema=arguments(**SWARM_KEYS),
    output_schema=extend(
        TOPOLOGY,
        tasks=TASK_COUNTS,
        total_swarms=COUNT,
        swarms=list_of(
            extend(TOPOLOGY, swarm_id=SWARM_ID, session_id=TEXT, status=SESSION_STATUS, tasks=nullable(TASK_COUNTS))
        ),
    ),
    needs=Needs.LIVE,
    about=About.ANY,
    answer=_status,
)

# -- swarm_monitor ---------------------------------------------------------------------------------------


def _monitor(question: Question) -> Answer:
    session = question.named()
    return {
        "swarm_id": session.card.id,
        "session_id": session.card.id,
        "status": session.card.status,
        "agents": agent_objects(session, question.now_ms),
        "tasks": task_counts(session) or counts(0, 0, 0),
        "metrics": session_performance(session),
    }


SWARM_MONITOR = Tool(
    name="swarm_monitor",
    title="Watch a swarm",
    description=(
        "Gives one swarm at this moment: each agent with what it does, and the figures of the whole. Use it to draw or "
        "follow a swarm; swarm_status tells its shape alone. swarm_id is required."
    ),
    input_schema=arguments(
        swarm_id=told(nullable(TEXT), "Id of the swarm, which is the id of its session"),
        swarmId=told(nullable(TEXT), "Other name for swarm_id"),
        session_id=told(nullable(TEXT), "Other name for swarm_id"),
    ),
    output_schema=shape(
        swarm_id=told(TEXT, "The session's id"),
        session_id=TEXT,
        status=SESSION_STATUS,
        agents=list_of(AGENT),
        tasks=TASK_COUNTS,
        metrics=SESSION_PERFORMANCE,
    ),
    needs=Needs.HIVE,
    about=About.ONE,
    answer=_monitor,
)

# -- performance_summary ---------------------------------------------------------------------------------


def _summary(question: Question) -> Answer:
    live = question.sessions.live()
    made = sum_counts(live)
    performances = [session_performance(session) for session in live]
    costs = [each["cost_usd"] for each in performances if each["cost_usd"] is not None]
    return made | {
        "total_swarms": len(live),
        "total_agents": made["total"],
        "active_agents": sum(active_agents(session) or 0 for session in live),
        "tokens": sum(each["tokens"] or 0 for each in performances),
        "cost_usd": sum(costs) if costs else None,
        "sessions_cpu_usage": round(sum(each["cpu_usage"] for each in performances), 1),
        "sessions_memory_mb": round(sum(each["memory_usage_mb"] for each in performances), 1),
        # Client A can read nothing but numbers here.
        "system_cpu_usage": question.server.cpu_percent or 0.0,
        "system_memory_mb": question.server.memory_mb or 0.0,
    }


PERFORMANCE_SUMMARY = Tool(
    name="performance_summary",
    title="Figures of all that runs",
    description=(
        "Adds up all live sessions: swarms, agents, tasks, tokens, cost, processor and memory, beside those of the machine. "
        "Use it to see the load; for one session use session_metrics, for one agent agent_metrics."
    ),
    input_schema=arguments(),
    output_schema=extend(
        TASK_COUNTS,
        total_swarms=COUNT,
        total_agents=COUNT,
        active_agents=COUNT,
        tokens=COUNT,
        cost_usd=MAYBE_NUMBER,
        sessions_cpu_usage=told(NUMBER, "All process trees of live sessions, percent of one core"),
        sessions_memory_mb=told(NUMBER, "All process trees of live sessions, MiB"),
        system_cpu_usage=told(NUMBER, "The machine, 0 to 100; 0 until measured"),
        system_memory_mb=told(NUMBER, "In use on the machine, MiB; 0 until measured"),
    ),
    needs=Needs.LIVE,
    about=About.ALL,
    answer=_summary,
)

SWARM_TOOLS = (SWARM_LIST, SWARM_STATUS, SWARM_MONITOR, *AGENT_TOOLS, PERFORMANCE_SUMMARY)
