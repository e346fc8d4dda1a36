"""The JSON-RPC dialect: what VisionFlow's clients ask over the WebSocket, answered from the same state as the viewers'; pure.

The rules of this file:
- Some of these clients take a protocol version that is an object, call tools as if they were methods, and believe that a
  request failed as soon as there is an `error`, be it null. All ids are echoed, and no answer has both.
- A tool's answer stands in `result` twice: its fields flat, and as JSON text in content[0], as different clients read it.
- Nothing can be commanded. The full set of tools is that of mcp-tcp.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import orjson

from hive_session.ondisk.agent_figures import swarm_shapes, walk_agents
from hive_session.ondisk.figures import Object, agent_status, recent, session_object, sum_counts, swarm_rows
from hive_session.ondisk.version import VERSION

if TYPE_CHECKING:
    from hive_session.ondisk.sessions import Session, Sessions
    from ws_relay.positions import Ground

INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32600, -32601, -32602
VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")  # the first for whoever asks for none of them
SESSION_KEYS = ("session_id", "swarm_id", "swarmId")  # the swarm of a session has the session's id
DEFAULT_LIMIT, MOST_AGENTS = 500, 5000  # agents in one answer, as mcp-tcp gives them
AGENTS_BYTES = 384 << 10  # of them at most: they stand in an answer twice, and a viewer's queue of 1 MiB has to hold it
MOST_TIES = 64  # connections that are named of one agent

# What agent_list may be asked for: the statuses that are meant.
FILTERS: dict[str, tuple[str, ...]] = {
    "all": ("working", "waiting", "done", "failed"),
    "active": ("working", "waiting"),
    "ended": ("done", "failed"),
    "busy": ("working",),
    "idle": ("waiting",),
}


class RpcError(Exception):
    """What becomes the `error` of an answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ToolError(Exception):
    """Why a tool has no answer, in one sentence for people."""


@dataclass(frozen=True, slots=True)
class State:
    """What answers rest on."""

    sessions: Sessions
    ground: Ground
    now_ms: int  # Unix time in milliseconds

    def asked(self, args: Mapping[str, Any]) -> list[Session]:
        """The session that the arguments name, else all live ones. Raises: ToolError."""
        found = self.named(args)
        return self.sessions.live() if found is None else [found]

    def named(self, args: Mapping[str, Any]) -> Session | None:
        """The session that the arguments name; None where they name none. Raises: ToolError when it does not exist."""
        session_id = next((value for key in SESSION_KEYS if (value := args.get(key))), None)
        if session_id is None:
            return None
        session = self.sessions.by_id.get(session_id) if type(session_id) is str else None
        if session is None:
            raise ToolError(f"there is no session {ascii(session_id)[:80]}; swarm_list gives those that run")
        return session


Args = Mapping[str, Any]


# -- messages ----------------------------------------------------------------------------------------------------------


def answer(message: Mapping[str, Any], sessions: Sessions, ground: Ground, now_ms: int) -> bytes | None:
    """The answer to a message that has "jsonrpc", as one JSON object; None where it is none that is answered."""
    request_id, method = message.get("id"), message.get("method")
    if request_id is None or (method is None and ("result" in message or "error" in message)):
        return None
    try:
        if type(request_id) not in (str, int, float):
            request_id = None
            raise RpcError(INVALID_REQUEST, "id is not a text or a number")
        result = _result(method, message.get("params"), State(sessions, ground, now_ms))
    except RpcError as exc:
        error = {"code": exc.code, "message": exc.message}
        return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "error": error})
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "result": result})


def _result(method: Any, params: Any, state: State) -> Object:
    """Raises: RpcError."""
    if type(method) is not str:
        raise RpcError(INVALID_REQUEST, "method is not a text")
    words = {} if params is None else params
    if type(words) is not dict:
        raise RpcError(INVALID_PARAMS, "params is not an object")
    if method in METHODS:
        return METHODS[method](words, state)
    if method in TOOLS or method in COMMANDS:
        return _tool_result(method, words, state)
    raise RpcError(METHOD_NOT_FOUND, f"Method not found: {method[:100]}")


def _initialize(params: Args, _state: State) -> Object:
    asked = params.get("protocolVersion")
    return {
        "protocolVersion": asked if asked in VERSIONS else VERSIONS[0],
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "hive-suite ws-relay", "version": VERSION},
    }


def _list_tools(_params: Args, _state: State) -> Object:
    return {
        "tools": [
            {"name": tool.name, "description": tool.description, "inputSchema": tool.input_schema}
            for tool in TOOLS.values()
        ]
    }


def _call(params: Args, state: State) -> Object:
    name, args = params.get("name"), params.get("arguments")
    if type(name) is not str:
        raise RpcError(INVALID_PARAMS, "params.name is missing")
    if name not in TOOLS and name not in COMMANDS:
        raise RpcError(INVALID_PARAMS, f"Unknown tool: {name[:100]}; there are {', '.join(TOOLS)}")
    return _tool_result(name, {} if args is None else args, state)


def _tool_result(name: str, args: Any, state: State) -> Object:
    try:
        if name in COMMANDS:
            raise ToolError(COMMANDS[name])
        if type(args) is not dict:
            raise ToolError("arguments is not an object")
        found = TOOLS[name].answer(args, state)
    except ToolError as exc:
        return {"content": [{"type": "text", "text": str(exc)}], "isError": True}
    return found | {"content": [{"type": "text", "text": orjson.dumps(found).decode()}], "isError": False}


METHODS: dict[str, Callable[[Args, State], Object]] = {
    "initialize": _initialize,
    "ping": lambda _params, _state: {},
    "tools/list": _list_tools,
    "tools/call": _call,
}


# -- tools -------------------------------------------------------------------------------------------------------------


def _agent_list(args: Args, state: State) -> Object:
    """The agents with their places, as many as fit, and the totals that BotsClient shows."""
    wanted = args.get("filter") or "all"
    if type(wanted) is not str or wanted not in FILTERS:
        raise ToolError(f"filter {ascii(wanted)[:60]} does not exist; there are {', '.join(FILTERS)}")
    limit = DEFAULT_LIMIT if args.get("limit") is None else args["limit"]
    if type(limit) is not int or not 1 <= limit <= MOST_AGENTS:
        raise ToolError(f"limit must be a whole number from 1 to {MOST_AGENTS}")
    found, statuses = state.asked(args), FILTERS[wanted]
    placed = chain.from_iterable(_placed_agents(session, state, statuses) for session in found)
    tasks = sum_counts(found)
    return {
        "agents": _within_budget(islice(placed, limit)),
        "total": sum(_count_agents(session, statuses) for session in found),
        "metrics": {
            "total_tokens": sum(session.hive.tokens for session in found if session.hive),
            "active_agents": tasks["active"],
            "tasks_completed": tasks["completed"],
        },
        "timestamp": state.now_ms,
    }


def _placed_agents(session: Session, state: State, statuses: Container[str]) -> Iterator[Object]:
    """Its agents with x, y and z. Figures that are not known are left out: some clients read numbers only."""
    if session.hive is None:
        return
    formation = state.ground.formation(session)
    formation.follow(session.hive.agents)
    for made in walk_agents(session, state.now_ms, statuses):
        known = {key: value for key, value in made.items() if value is not None}
        # A queen may have thousands; each of them names her too.
        known["connections"] = made["metadata"]["topology_position"]["connections"] = made["connections"][:MOST_TIES]
        x, y, z = formation.points[made["agent"]]
        yield known | {"x": x, "y": y, "z": z}


def _within_budget(agents: Iterable[Object]) -> list[orjson.Fragment]:
    """As many of them as an answer has room for, at least one where there is one; encoded, once for both their places."""
    found: list[orjson.Fragment] = []
    size = 0
    for agent in agents:
        encoded = orjson.dumps(agent)
        size += len(encoded)
        if found and size > AGENTS_BYTES:
            break
        found.append(orjson.Fragment(encoded))
    return found


def _count_agents(session: Session, statuses: Container[str]) -> int:
    agents = session.hive.agents.values() if session.hive else ()
    return sum(agent_status(session.card, agent) in statuses for agent in agents)


def _swarm_list(_args: Args, state: State) -> Object:
    return swarm_rows(recent(state.sessions, state.now_ms))


def _swarm_status(args: Args, state: State) -> Object:
    return swarm_shapes(state.asked(args))


def _session_status(args: Args, state: State) -> Object:
    session = state.named(args)
    if session is None:
        raise ToolError("session_id is missing; swarm_list gives the ids of those that run")
    return session_object(session, state.now_ms)


def _server_info(_args: Args, state: State) -> Object:
    return {
        "server_id": "ws-relay",
        "server_type": "claude-flow",  # one of the four that VisionFlow knows
        "version": VERSION,
        "read_only": True,
        "supported_tools": list(TOOLS),
        "agent_count": sum(len(session.hive.agents) for session in state.sessions.live() if session.hive),
        "total_sessions": len(state.sessions.by_id),
    }


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as tools/list shows it, and the function behind it."""

    name: str
    description: str
    properties: Mapping[str, Object]
    answer: Callable[[Args, State], Object]

    @property
    def input_schema(self) -> Object:
        return {"type": "object", "properties": self.properties}


ONE = {"session_id": {"type": "string", "description": "Id of the session; its swarm's is the same"}}
FILTER = {"filter": {"type": "string", "enum": list(FILTERS), "default": "all"}}
LIMIT = {"limit": {"type": "integer", "minimum": 1, "maximum": MOST_AGENTS, "default": DEFAULT_LIMIT}}

TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool(
            "agent_list",
            "Lists the agents of all live sessions, or of one, with figures and places; `total` is how many fit, listed or "
            f"not. An answer has room for some {AGENTS_BYTES >> 10} KiB of them.",
            ONE | FILTER | LIMIT,
            _agent_list,
        ),
        Tool("swarm_list", "Lists the swarms that run or ended within the last hour.", {}, _swarm_list),
        Tool("swarm_status", "Says how the agents of all live sessions, or of one, are organised.", ONE, _swarm_status),
        Tool("session_status", "Says how one session stands.", ONE, _session_status),
        Tool("server_info", "Says what this server is and how much it sees.", {}, _server_info),
    )
}

COMMANDS: dict[str, str] = {
    "swarm_init": "This server only tells what runs. A swarm is a session; start one with `hive-session run TASK`.",
    "agent_spawn": "This server only tells what runs. The queen of a session, `hive-session run TASK`, calls for agents herself.",
    "task_orchestrate": "This server only tells what runs. Give the task to a session with `hive-session run TASK`.",
    "swarm_destroy": "This server only tells what runs. End the session of the swarm with `hive-session stop ID`.",
}
