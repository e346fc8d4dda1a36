"""The table of all tools in the order in which they are listed, and what the names answer that old clients command with."""

from __future__ import annotations

from hive_session.ondisk.figures import count_statuses
from mcp_tcp.history import HISTORY_TOOLS
from mcp_tcp.session_tools import SESSION_TOOLS
from mcp_tcp.shapes import COUNT, FLAG, MAYBE_NUMBER, TEXT, arguments, list_of, shape, told
from mcp_tcp.swarm_tools import SWARM_TOOLS
from mcp_tcp.tools import About, Answer, Needs, Question, Tool


def _server_info(question: Question) -> Answer:
    server, sessions = question.server, question.sessions
    return {
        "server_id": "mcp-tcp",
        # One of the four types that client B knows.
        "server_type": "claude-flow",
        "name": "hive-suite mcp-tcp",
        "version": server.version,
        "read_only": True,
        "supported_tools": list(TOOLS),
        "agent_count": sum(len(session.hive.agents) for session in sessions.live() if session.hive),
        "sessions": count_statuses(sessions),
        "total_sessions": len(sessions.by_id),
        "clients": server.clients,
        "uptime_seconds": max(0, question.now_ms - server.started_ms) // 1000,
        "system_cpu_usage": server.cpu_percent,
        "system_memory_mb": server.memory_mb,
    }


SERVER_INFO = Tool(
    name="server_info",
    title="About this server",
    description=(
        "Says what this server is: version, uptime, its tools, connected clients, and how many sessions and agents it sees. "
        "Use it to see whether the server is well; for the load that sessions cause use performance_summary."
    ),
    input_schema=arguments(),
    output_schema=shape(
        server_id=TEXT,
        server_type=TEXT,
        name=TEXT,
        version=TEXT,
        read_only=told(FLAG, "Always true: nothing can be changed here"),
        supported_tools=list_of(TEXT),
        agent_count=told(COUNT, "Of all live sessions"),
        sessions=told({"type": "object", "additionalProperties": COUNT}, "How many there are of each status"),
        total_sessions=COUNT,
        clients=told(COUNT, "Connections that are open"),
        uptime_seconds=COUNT,
        system_cpu_usage=told(MAYBE_NUMBER, "The machine, 0 to 100"),
        system_memory_mb=told(MAYBE_NUMBER, "In use on the machine, MiB"),
    ),
    needs=Needs.LIVE,
    about=About.ALL,
    answer=_server_info,
)

TOOLS: dict[str, Tool] = {tool.name: tool for tool in (*SESSION_TOOLS, *HISTORY_TOOLS, *SWARM_TOOLS, SERVER_INFO)}

COMMANDS: dict[str, str] = {
    "swarm_init": (
        "swarm_init is not served: this server only tells what runs. A swarm is a session; make one with "
        "`hive-session create TASK` and start it with `hive-session start ID`."
    ),
    "agent_spawn": (
        "agent_spawn is not served: this server only tells what runs. The queen of a session calls for agents herself; "
        "start a session with `hive-session run TASK`."
    ),
    "task_orchestrate": (
        "task_orchestrate is not served: this server only tells what runs. Give the task to a session of its own with "
        "`hive-session run TASK`."
    ),
    "swarm_destroy": (
        "swarm_destroy is not served: this server only tells what runs. End the session of the swarm with "
        "`hive-session stop ID`."
    ),
}
