"""What VisionFlow's clients ask over the WebSocket is answered in the shapes that they parse."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk import agent_figures
from hive_session.ondisk.agent_figures import listed_agents
from hive_session.ondisk.cards import Card
from hive_session.ondisk.figures import MOST_SWARMS, session_object
from hive_session.ondisk.fold import Agent, Hive
from tests.unit import hives
from tests.unit.hives import COLD, COMPLETED, NOW_MS, RESUMING, RUNNING, STARTING, Known, session_id, the, workspace
from tests.unit.test_fold import spawned
from ws_relay.outbox import DEFAULT_LIMIT_BYTES
from ws_relay.positions import Ground
from ws_relay.rpc import COMMANDS, DEFAULT_LIMIT, MOST_AGENTS, MOST_TIES, TOOLS, answer

ID = session_id(RUNNING)
Document = dict[str, Any]

# BotsClient, in the order and with the ids that it sends.
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": "init-1",
    "method": "initialize",
    "params": {
        "protocolVersion": {"major": 2024, "minor": 11, "patch": 5},
        "capabilities": {"roots": True, "sampling": True, "tools": True},
        "clientInfo": {"name": "visionflow", "version": "1.0.0"},
    },
}
BARE_LIST = {"jsonrpc": "2.0", "id": "initial-agent-list", "method": "agent_list", "params": {"filter": "all"}}
CALLED_LIST = {
    "jsonrpc": "2.0",
    "id": "agent-list-1",
    "method": "tools/call",
    "params": {"name": "agent_list", "arguments": {"filter": "all"}},
}
TOOLS_LIST = {"jsonrpc": "2.0", "id": "tools-list-2", "method": "tools/list"}


def ask(message: Document, sessions: Known | None = None) -> Document | None:
    """The answer as it comes out of JSON, which has a result or an error and never both."""
    found = answer(message, sessions or workspace(), Ground(), NOW_MS)
    if found is None:
        return None
    document: Document = orjson.loads(found)
    assert list(document) in (["jsonrpc", "id", "result"], ["jsonrpc", "id", "error"])
    assert document["jsonrpc"] == "2.0"
    return document


def result(message: Document, sessions: Known | None = None) -> Document:
    document = ask(message, sessions)
    assert document is not None and document["id"] == message["id"]
    found: Document = document["result"]
    return found


def call(name: str, sessions: Known | None = None, **args: Any) -> Document:
    """What a tool answers, after its text was found to say what its fields say."""
    params = {"name": name, "arguments": args}
    found = result({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, sessions)
    [content] = found.pop("content")
    assert (content["type"], found.pop("isError")) == ("text", False)
    assert orjson.loads(content["text"]) == found
    return found


def refusal(name: str, args: Any) -> str:
    found = result({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": args}})
    [content] = found["content"]
    assert found == {"content": [content], "isError": True}
    text: str = content["text"]
    return text


# -- BotsClient --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "agreed"),
    [
        ({"major": 2024, "minor": 11, "patch": 5}, "2024-11-05"),
        ("1.0.0", "2024-11-05"),
        (None, "2024-11-05"),
        (["2025-06-18"], "2024-11-05"),
        ("2024-11-05", "2024-11-05"),
        ("2025-11-25", "2025-11-25"),
    ],
    ids=str,
)
def test_initialize_takes_any_version(asked: Any, agreed: str) -> None:
    found = result(INITIALIZE | {"params": {"protocolVersion": asked}})
    assert found["protocolVersion"] == agreed
    assert found["capabilities"] == {"tools": {}}
    assert found["serverInfo"].keys() == {"name", "version"}
    assert result({"jsonrpc": "2.0", "id": 1, "method": "initialize"})["protocolVersion"] == "2024-11-05"


def test_initialize_as_bots_client_sends_it() -> None:
    assert result(INITIALIZE)["protocolVersion"] == "2024-11-05"


def parse_agents(document: Document) -> list[Document]:
    """As BotsClient does it: the text in the content, else the fields of the result; numbers are numbers."""
    found: list[Document] = orjson.loads(document["content"][0]["text"])["agents"]
    assert found == document["agents"]
    for agent in found:
        assert all(type(agent[key]) is str for key in ("id", "name", "type", "status"))
        assert all(type(agent[key]) is float for key in "xyz")
        assert all(type(agent.get(key, 0.0)) is float for key in ("cpu_usage", "health", "workload", "memory_usage"))
        assert type(agent.get("createdAt", "")) is str and type(agent.get("age", 0)) is int
    return found


@pytest.mark.parametrize("message", [BARE_LIST, CALLED_LIST], ids=["bare", "called"])
def test_agent_list_gives_all_agents_of_live_sessions_each_with_its_place(message: Document) -> None:
    found = result(message)
    assert type(found["timestamp"]) is int
    agents = parse_agents(found)
    live = [the(number) for number in (RESUMING, RUNNING, STARTING)]
    assert [agent["id"] for agent in agents] == [each["id"] for one in live for each in listed_agents(one, NOW_MS)]
    assert len({(agent["x"], agent["y"]) for agent in agents}) == len(agents)
    assert found["metrics"] == {"total_tokens": 1720, "active_agents": 4, "tasks_completed": 1}


def test_agents_are_told_of_as_everywhere_but_for_what_is_not_known() -> None:
    found = {agent["agent"]: agent for agent in call("agent_list", session_id=ID)["agents"]}
    for made in orjson.loads(orjson.dumps(listed_agents(the(RUNNING), NOW_MS))):
        agent = found[made["agent"]]
        assert {key: value for key, value in agent.items() if key not in "xyz"} == {
            key: value for key, value in made.items() if value is not None
        }


def test_places_are_those_of_the_viewers() -> None:
    sessions, ground = workspace(), Ground()
    hive = sessions.by_id[ID].hive
    assert hive is not None
    formation = ground.formation(sessions.by_id[ID])
    formation.follow(hive.agents)
    found = answer(CALLED_LIST, sessions, ground, NOW_MS)
    assert found is not None
    agents = [agent for agent in orjson.loads(found)["result"]["agents"] if agent["session_id"] == ID]
    assert {agent["agent"]: (agent["x"], agent["y"], agent["z"]) for agent in agents} == formation.points


@pytest.mark.parametrize(
    ("wanted", "agents"),
    [
        ("all", ["queen", "a", "b", "c", "d"]),
        ("active", ["queen", "a", "d"]),
        ("busy", ["a", "d"]),
        ("idle", ["queen"]),
        ("ended", ["b", "c"]),
        (None, ["queen", "a", "b", "c", "d"]),
    ],
)
def test_agent_list_can_be_filtered(wanted: str | None, agents: list[str]) -> None:
    found = call("agent_list", swarm_id=ID, filter=wanted)
    assert [agent["agent"] for agent in found["agents"]] == agents
    assert found["total"] == len(agents)


def crowded(workers: int, **words: Any) -> Known:
    """A workspace in which one session has so many agents more."""
    sessions = workspace()
    hive = sessions.by_id[ID].hive
    assert hive is not None
    for number in range(workers):
        hive.apply(spawned(f"w{number}", **words))
    return sessions


@pytest.mark.parametrize("message", [BARE_LIST, CALLED_LIST], ids=["bare", "called"])
def test_of_more_agents_than_one_answer_holds_the_number_is_told(message: Document) -> None:
    sessions = crowded(4000, task='"' * 256)
    found = answer(message, sessions, Ground(), NOW_MS)
    assert found is not None and len(found) < DEFAULT_LIMIT_BYTES
    document = orjson.loads(found)["result"]
    agents = parse_agents(document)
    assert 100 < len(agents) <= DEFAULT_LIMIT and document["total"] == 4006
    assert document["metrics"]["active_agents"] == 4004
    assert max(len(agent["connections"]) for agent in agents) == MOST_TIES


def test_agent_list_gives_as_many_as_it_is_asked_for() -> None:
    sessions = crowded(MOST_AGENTS)
    found = call("agent_list", sessions, session_id=ID, limit=7)
    assert [agent["agent"] for agent in found["agents"]] == ["queen", "a", "b", "c", "d", "w0", "w1"]
    assert found["total"] == MOST_AGENTS + 5
    assert call("agent_list", sessions, session_id=ID, limit=2, filter="ended")["agents"][1]["agent"] == "c"


def test_agents_beyond_the_limit_are_not_made_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    agent_object = agent_figures.agent_object

    def count(card: Card, agent: Agent, neighbours: list[str], now_ms: int) -> Document:
        made.append(agent.agent)
        return agent_object(card, agent, neighbours, now_ms)

    monkeypatch.setattr(agent_figures, "agent_object", count)
    call("agent_list", crowded(4000), limit=3)
    assert len(made) == 3


def test_agents_of_a_session_that_is_not_in_memory_are_none() -> None:
    assert call("agent_list", swarmId=session_id(COLD))["agents"] == []


def test_tools_list_names_and_describes_every_tool() -> None:
    tools = result(TOOLS_LIST)["tools"]
    assert [tool["name"] for tool in tools] == list(TOOLS)
    assert all(tool["description"] and tool["inputSchema"]["type"] == "object" for tool in tools)


def test_ping_is_answered() -> None:
    assert result({"jsonrpc": "2.0", "id": 0, "method": "ping", "params": {}}) == {}


# -- the other tools ---------------------------------------------------------------------------------------------------


def test_swarm_status_tells_the_shape_of_one_swarm_or_of_all() -> None:
    one = call("swarm_status", include_topology=True, include_performance=True, swarm_id=ID)
    assert (one["topology_type"], one["total_agents"], one["coordination_layers"]) == ("hierarchical", 5, 3)
    everything = call("swarm_status")
    assert everything["total_swarms"] == len(everything["swarms"]) == 3
    assert everything["total_agents"] == sum(swarm["total_agents"] for swarm in everything["swarms"]) == 6
    nothing = call("swarm_status", Known())
    assert (nothing["topology_type"], nothing["total_agents"], nothing["swarms"]) == (None, 0, [])


@pytest.mark.parametrize(
    ("name", "args"), [("swarm_list", {}), ("swarm_status", {}), ("swarm_status", {"swarm_id": ID})]
)
def test_swarms_are_told_of_as_mcp_tcp_tells_of_them(name: str, args: dict[str, Any]) -> None:
    about = RUNNING if args else None
    assert call(name, **args) == hives.ask(name, about=about, **args)


def test_not_all_of_very_many_swarms_are_listed() -> None:
    known = Known(*(hives.session(hives.card(number), Hive()) for number in range(1, MOST_SWARMS + 100)))
    for name in ("swarm_list", "swarm_status"):
        found = call(name, known)
        assert (len(found["swarms"]), found["total_swarms"]) == (MOST_SWARMS, MOST_SWARMS + 99)


def test_swarm_list_gives_live_and_recent_swarms() -> None:
    found = call("swarm_list")
    assert {session_id(RUNNING), session_id(COMPLETED)} <= {row["swarm_id"] for row in found["swarms"]}
    assert found["total_swarms"] == len(found["swarms"])
    assert all(type(row["agents"]) is int for row in found["swarms"] if row["status"] == "running")


def test_session_status_says_how_one_stands() -> None:
    assert call("session_status", session_id=ID) == orjson.loads(orjson.dumps(session_object(the(RUNNING), NOW_MS)))
    assert refusal("session_status", {}) == "session_id is missing; swarm_list gives the ids of those that run"


def test_server_info_is_of_a_type_that_visionflow_knows() -> None:
    found = call("server_info")
    assert found["server_type"] in ("claude-flow", "ruv-swarm", "daa", "other")
    assert found["supported_tools"] == list(TOOLS)
    assert found["agent_count"] == len(call("agent_list")["agents"])


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["swarm_init", "agent_spawn", "task_orchestrate", "swarm_destroy"])
def test_who_commands_is_told_of_hive_session(name: str) -> None:
    assert "hive-session" in refusal(name, {"topology": "mesh"})
    bare = result({"jsonrpc": "2.0", "id": 9, "method": name})
    assert bare == {"content": [{"type": "text", "text": COMMANDS[name]}], "isError": True}


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ({"filter": "nice"}, "filter 'nice' does not exist; there are all, active, ended, busy, idle"),
        ({"filter": ["all"]}, "filter ['all'] does not exist; there are all, active, ended, busy, idle"),
        ({"limit": 0}, "limit must be a whole number from 1 to 5000"),
        ({"limit": True}, "limit must be a whole number from 1 to 5000"),
        ({"limit": 5001}, "limit must be a whole number from 1 to 5000"),
        ({"session_id": "x"}, "there is no session 'x'; swarm_list gives those that run"),
        ({"swarm_id": 7}, "there is no session 7; swarm_list gives those that run"),
        ([], "arguments is not an object"),
    ],
)
def test_arguments_that_do_not_fit_are_told_as_a_result(args: Any, sentence: str) -> None:
    assert refusal("agent_list", args) == sentence


@pytest.mark.parametrize(
    ("message", "code", "sentence"),
    [
        ({"id": 1, "method": "resources/list"}, -32601, "Method not found: resources/list"),
        ({"id": 1, "method": "x" * 9999}, -32601, f"Method not found: {'x' * 100}"),
        ({"id": 1, "method": 5}, -32600, "method is not a text"),
        ({"id": 1}, -32600, "method is not a text"),
        ({"id": 1, "method": "tools/call"}, -32602, "params.name is missing"),
        ({"id": 1, "method": "tools/call", "params": {"name": "fly"}}, -32602, f"Unknown tool: fly; there are {', '.join(TOOLS)}"),
        ({"id": 1, "method": "ping", "params": [1]}, -32602, "params is not an object"),
        ({"id": [1], "method": "ping"}, -32600, "id is not a text or a number"),
        ({"id": True, "method": "ping"}, -32600, "id is not a text or a number"),
    ],
)  # fmt: skip
def test_what_is_no_request_gets_an_error(message: Document, code: int, sentence: str) -> None:
    found = ask({"jsonrpc": "2.0"} | message)
    assert found is not None and found["error"] == {"code": code, "message": sentence}
    assert found["id"] == (1 if message["id"] is not True and message["id"] == 1 else None)


@pytest.mark.parametrize(
    "message",
    [
        {"method": "notifications/initialized"},
        {"method": "agent_list"},
        {"method": "ping", "id": None},
        {"method": 7},
        {"id": 3, "result": {}},
        {"id": 3, "error": {"code": 1, "message": ""}},
    ],
    ids=str,
)
def test_notifications_and_answers_are_not_answered(message: Document) -> None:
    assert ask({"jsonrpc": "2.0"} | message) is None


@given(st.text() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False))
def test_every_id_is_echoed(request_id: Any) -> None:
    for method in ("ping", "nothing", "agent_spawn"):
        found = ask({"jsonrpc": "2.0", "id": request_id, "method": method})
        assert found is not None and found["id"] == request_id


scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
names = st.sampled_from(["name", "arguments", "session_id", "filter", "limit", "protocolVersion"])
any_json = st.recursive(
    scalars | st.text(max_size=4) | st.sampled_from([*TOOLS, *COMMANDS, ID]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
methods = st.sampled_from(["initialize", "tools/call", "tools/list", "ping", *TOOLS, *COMMANDS])


@given(any_json, methods | any_json, any_json)
def test_any_message_is_answered_or_left_alone(request_id: Any, method: Any, params: Any) -> None:
    ask({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})
