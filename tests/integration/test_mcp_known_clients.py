"""What the known clients send, sent as it is recorded in tests/contract/mcp_clients, and the answers read as they read them."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.hive import DEADLINE_S, until
from tests.integration.mcp_server import DataPlane, Json, Line, Stage, ending_piped_calls, rehearse, request
from tests.integration.serde import AGENT_METRICS, AGENT_OF_D, RESULTS_OF_A, RESULTS_OF_B, string, u32, vec

VECTORS = Path(__file__).parents[1] / "contract" / "mcp_clients"
PLACEHOLDER = "11111111-2222-4333-8444-555555555555"  # in the vectors, for a session's id
LEFT_OUT = 10  # slowest ones of many: the machine may have stood still
COMMANDS = ("swarm_init", "agent_spawn", "task_orchestrate", "swarm_destroy")


def recorded(name: str, session_id: str) -> list[bytes]:
    """The lines of a vector, about this session."""
    text = (VECTORS / f"{name}.jsonl").read_text(encoding="utf-8").replace(PLACEHOLDER, session_id)
    return [line.encode() + b"\n" for line in text.splitlines()]


def named(line: bytes) -> str:
    """The tool that a request calls, or else its method."""
    sent = json.loads(line)
    name: str = sent["params"].get("name", sent["method"]) if sent["method"] == "tools/call" else sent["method"]
    return name


def exchange(line: Line, sent: bytes) -> Json:
    """The first line that comes back; it must be the answer."""
    line.send(sent)
    answer: Json = line.next()
    wanted = json.loads(sent)["id"]
    assert (answer["jsonrpc"], answer["id"], type(answer["id"])) == ("2.0", wanted, type(wanted))
    assert "error" not in answer, answer
    return answer


def once(plane: DataPlane, sent: bytes) -> Any:
    """The result, on a connection of its own."""
    with plane.connect() as line:
        return exchange(line, sent)["result"]


def text_of(result: Json) -> Any:
    """What content[0].text holds; the same fields must stand in the result and in structuredContent."""
    told = json.loads(result["content"][0]["text"])
    assert told == result["structuredContent"]
    assert told.items() <= result.items()
    return told


def test_client_a_understands_every_answer(stage: Stage) -> None:
    for session_id in (stage.live, stage.done, stage.failed):
        for line in recorded("a_telemetry", session_id):
            name = named(line)
            try:
                RESULTS_OF_A[name](once(stage.plane, line))
            except AssertionError as exc:
                raise AssertionError(f"{name}: {exc}") from None


def test_client_a_understands_a_session_that_was_never_started(stage: Stage) -> None:
    for line in recorded("a_telemetry", stage.created):
        if named(line) in ("session_status", "session_agents", "session_metrics"):
            RESULTS_OF_A[named(line)](once(stage.plane, line))


def test_client_a_gets_metrics_of_every_agent_that_it_is_told_of(stage: Stage) -> None:
    agents = stage.plane.call("session_agents", session_id=stage.live)["agents"]
    assert len(agents) >= 2
    assert agents[0]["type"] == "coordinator"
    for agent in agents:
        metrics = stage.plane.call("agent_metrics", agent_id=agent["agent_id"])
        AGENT_METRICS(metrics)
        assert metrics["agent_id"] == agent["agent_id"]


def test_the_swarm_of_a_session_is_there_as_soon_as_it_has_started(stage: Stage) -> None:
    session_id = rehearse(stage.hive, "--seconds", "600")
    swarm = stage.plane.call("session_status", session_id=session_id)["swarm_id"]
    listed = {entry["session_id"]: entry["swarm_id"] for entry in stage.plane.call("swarm_list")["swarms"]}
    assert listed[session_id] == swarm == session_id


def test_both_spellings_of_the_task_counts_are_there(stage: Stage) -> None:
    for counts in (
        stage.plane.call("session_metrics", session_id=stage.done)["tasks"],
        *(swarm["tasks"] for swarm in stage.plane.call("swarm_list")["swarms"]),
    ):
        for name in ("total", "completed", "active", "failed"):
            u32(counts[name])
            assert counts[name] == counts[f"{name}_tasks"]


def test_client_b_understands_every_answer(stage: Stage) -> None:
    for _ in range(20):  # it looks whether anybody listens before it asks
        stage.plane.connect().close()
    for line in recorded("b_discovery", stage.live):
        result = once(stage.plane, line)
        if named(line) == "initialize":
            string(result["protocolVersion"])
        else:
            RESULTS_OF_B[named(line)](text_of(result))


def test_client_b_need_not_invent_what_an_agent_is(stage: Stage) -> None:
    agents = {agent["id"]: agent for agent in stage.plane.call("agent_list", filter="all")["agents"]}
    live = [agent for agent in agents.values() if agent["swarm_id"] == stage.live]
    assert len(live) >= 2
    for agent in live:
        for name in ("name", "type", "status"):
            string(agent[name])


def test_client_c_works_through_its_whole_session_on_one_connection(stage: Stage) -> None:
    with stage.plane.connect() as line:
        for sent in recorded("c_persistent", stage.live):
            result = exchange(line, sent)["result"]
            if named(sent) in COMMANDS:
                assert result["isError"] is True
                assert "hive-session" in result["content"][0]["text"]
            elif named(sent) != "initialize":
                assert not result.get("isError")
                text_of(result)


def test_client_d_draws_the_agents_for_two_minutes_without_being_limited(stage: Stage) -> None:
    first, *polls = recorded("d_actor", stage.live)
    with stage.plane.connect() as line:
        string(exchange(line, first)["result"]["protocolVersion"])
        for _ in range(120):
            agents = text_of(exchange(line, polls[0])["result"])["agents"]
            vec(AGENT_OF_D)(agents)
            assert agents
        assert exchange(line, polls[-1])["result"]["isError"] is True


def test_fifty_connections_a_second_for_five_seconds_are_all_served(stage: Stage) -> None:
    (sent,) = (line for line in recorded("a_telemetry", stage.live) if named(line) == "session_status")
    took_s = []
    for _ in range(250 + LEFT_OUT):
        began = time.monotonic()
        assert once(stage.plane, sent)["session_id"] == stage.live
        took_s.append(time.monotonic() - began)
    assert sum(sorted(took_s)[:-LEFT_OUT]) < 5


def test_one_connection_takes_fifty_requests_at_once(stage: Stage) -> None:
    with stage.plane.connect() as line:
        line.send(b"".join(json.dumps(request("ping", number)).encode() + b"\n" for number in range(50)))
        assert [line.next()["id"] for _ in range(50)] == list(range(50))


# -- what all of them rely on ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_id", [0, 1, -1, 1763800000000, 2**53 - 1, "", "0", "7f0c5a2e-9d41", "ü"])
def test_an_id_comes_back_with_its_type(stage: Stage, request_id: int | str) -> None:
    exchange_id = stage.plane.ask(request("tools/list", request_id))["id"]
    assert (exchange_id, type(exchange_id)) == (request_id, type(request_id))


def test_the_same_id_on_two_connections_is_two_requests(stage: Stage) -> None:
    with stage.plane.connect() as one, stage.plane.connect() as other:
        one.send(request("tools/call", 7, name="session_status", arguments={"session_id": stage.live}))
        other.send(request("tools/call", 7, name="session_status", arguments={"session_id": stage.done}))
        assert other.next()["result"]["session_id"] == stage.done
        assert one.next()["result"]["session_id"] == stage.live


@pytest.mark.parametrize("version", ["2024-11-05", "1.0.0", "", {"major": 1, "minor": 0}, 7, None])
@pytest.mark.parametrize("capabilities", [{}, {"roots": True, "sampling": True, "tools": True}, None])
def test_any_handshake_is_accepted(stage: Stage, version: object, capabilities: object) -> None:
    params = {"protocolVersion": version, "capabilities": capabilities, "clientInfo": {"name": "old", "version": "0"}}
    with stage.plane.connect() as line:
        result = line.ask(request("initialize", **params))["result"]
        assert result["protocolVersion"] == "2024-11-05"
        assert result["serverInfo"]["name"]
        assert line.ask(request("tools/list", 2))["result"]["tools"]


def test_a_tool_s_name_is_a_method_too(stage: Stage) -> None:
    bare = stage.plane.ask(request("agent_list", "a", filter="all"))
    called = stage.plane.call("agent_list", filter="all")
    assert bare["id"] == "a"
    assert [agent["id"] for agent in text_of(bare["result"])["agents"]] == [agent["id"] for agent in called["agents"]]
    assert stage.plane.ask(request("swarm_init", topology="mesh"))["result"]["isError"] is True


def test_nothing_comes_that_was_not_asked_for(stage: Stage) -> None:
    with stage.plane.connect() as silent:
        silent.send(request("initialize", 1, protocolVersion="2024-11-05", capabilities={}))
        assert silent.next()["id"] == 1
        before = stage.plane.call("session_status", session_id=stage.live)["last_activity"]
        stage.hive.answer("emit", stage.live, '{"type":"note","text":"half way"}')
        until(
            lambda: stage.plane.call("session_status", session_id=stage.live)["last_activity"] != before,
            "the note in the answers",
        )
        stage.hive.create("rehearsal")
        silent.send(request("ping", 3))
        assert silent.next()["id"] == 3


# -- people with netcat, and the script that notifies ----------------------------------------------------------------------


def netcat(stage: Stage, feed: str) -> list[Json]:
    """What `FEED | nc localhost PORT` prints; it must end by itself."""
    with ending_piped_calls(stage.hive, 2.0) as plane:
        script = f"{feed} | nc localhost {plane.port}"
        done = subprocess.run(["sh", "-c", script], capture_output=True, timeout=DEADLINE_S, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_documented_line_for_netcat_prints_one_line_and_ends(stage: Stage) -> None:
    (line,) = recorded("e_netcat", stage.live)
    (answer,) = netcat(stage, f"echo '{line.decode().strip()}'")
    assert answer["id"] == 1
    assert "agent_list" in [tool["name"] for tool in answer["result"]["tools"]]


def test_json_over_several_lines_is_answered_through_netcat(stage: Stage, tmp_path: Path) -> None:
    pretty = (VECTORS / "e_netcat_pretty.txt").read_text(encoding="utf-8").replace(PLACEHOLDER, stage.live)
    (tmp_path / "request").write_text(pretty, encoding="utf-8")
    (answer,) = netcat(stage, f"cat {tmp_path / 'request'}")
    assert answer["id"] == "1"
    assert answer["result"]["session_id"] == stage.live


def test_a_notification_has_no_answer(stage: Stage) -> None:
    sent = (VECTORS / "f_notification.txt").read_bytes().replace(PLACEHOLDER.encode(), stage.live.encode())
    with stage.plane.connect() as line:
        line.send(sent)
        assert line.ask(request("ping", 5)) == {"jsonrpc": "2.0", "id": 5, "result": {}}


def test_a_broken_notification_is_told_and_the_connection_lives(stage: Stage) -> None:
    sent = (VECTORS / "f_notification_without_ids.txt").read_bytes()
    with stage.plane.connect() as line:
        line.send(sent)
        line.send(request("ping", 5))
        error = line.next()
        assert (error["id"], error["error"]["code"]) == (None, -32700)
        assert line.next() == {"jsonrpc": "2.0", "id": 5, "result": {}}


def test_every_recorded_line_is_what_a_client_would_send() -> None:
    for path in sorted(VECTORS.glob("*.jsonl")):
        for line in recorded(path.stem, PLACEHOLDER):
            sent = json.loads(line)
            assert sent["jsonrpc"] == "2.0"
            assert {"id", "method"} <= sent.keys()
            assert b" " not in line.replace(b"Review the parser", b"")
