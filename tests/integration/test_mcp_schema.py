"""Every line that the data plane emits, in every version of the protocol, judged by its schema and by the official models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest

from tests.conformance.oracle import HANDSHAKE_VERSIONS, VERSIONS, Models, Schemas
from tests.integration.hive import until
from tests.integration.mcp_server import ENVELOPE, DataPlane, Json, Line, Stage, modern, request

UNKNOWN = "00000000-0000-4000-8000-000000000000"

# A request, and whether it must be answered with a result; None: either will do.
Step = tuple[Json, bool | None]


class Judge(Protocol):
    def faults(self, message: Json, method: str | None) -> list[str]: ...


JUDGES = [pytest.param(Schemas, marks=pytest.mark.npm, id="schema"), pytest.param(Models, id="models")]


def uris(session_id: str) -> list[str]:
    return [
        "hive://sessions",
        *(f"hive://session/{session_id}{part}" for part in ("", "/agents", "/telemetry", "/log")),
    ]


def arguments(stage: Stage, agent_id: str, name: str) -> Json:
    """Arguments with which a tool has an answer."""
    if name.startswith("agent_metrics"):
        return {"agent_id": agent_id}
    if name in ("swarm_status", "swarm_monitor"):
        return {"swarm_id": stage.live}
    return {"session_id": stage.live} if name.startswith("session_") and name != "session_list" else {}


def steps(stage: Stage, tools: list[Json], agent_id: str) -> Iterator[Step]:
    """One request of each sort that both eras have."""
    for tool in tools:
        yield request("tools/call", name=tool["name"], arguments=arguments(stage, agent_id, tool["name"])), True
    yield request("tools/call", name="session_list", arguments={"limit": 1}), True
    yield request("tools/call", name="session_status", arguments={"session_id": stage.created}), True
    yield request("tools/call", name="session_status", arguments={"session_id": UNKNOWN}), None
    yield request("tools/call", name="session_status", arguments={"session_id": 7}), None
    yield request("tools/call", name="session_logs", arguments={"session_id": "../../etc"}), None
    yield request("tools/call", name="agent_spawn", arguments={"type": "coder"}), None
    yield request("tools/call", name="no_such_tool", arguments={}), False
    yield request("tools/list", cursor="of somebody else"), False
    yield request("resources/list"), True
    yield request("resources/templates/list"), True
    for uri in uris(stage.live):
        yield request("resources/read", uri=uri), True
    yield request("resources/read", uri=f"hive://session/{UNKNOWN}"), False
    yield request("prompts/list"), True
    yield request("prompts/get", name="diagnose_session", arguments={"session_id": stage.failed}), True
    yield request("prompts/get", name="no_such_prompt"), False
    template = "hive://session/{id}/agents"
    ref = {"type": "ref/resource", "uri": template}
    yield request("completion/complete", ref=ref, argument={"name": "id", "value": stage.live[:4]}), True
    yield request("no/such/method"), False


def enveloped(message: Json) -> Json:
    return {**message, "params": {**message.get("params", {}), "_meta": ENVELOPE}}


class Script:
    """Plays requests on one connection and collects what the judge has against the answers."""

    def __init__(self, line: Line, judge: Callable[[str], Judge], version: str) -> None:
        self.line, self.judge, self.version = line, judge(version), version
        self.wrap = enveloped if version == VERSIONS[-1] else dict
        self.faults: list[str] = []
        self.asked = 0

    def ask(self, message: Json, want: bool | None = True) -> Json:
        """The answer; what comes before it is judged too."""
        self.asked += 1
        sent = {**self.wrap(message), "id": self.asked}
        self.line.send(sent)
        while (answer := self.take(message["method"])).get("id") != self.asked:
            assert "method" in answer, answer
        if want is not None and ("result" in answer) is not want:
            self.faults.append(f"{message}: {answer}")
        return answer

    def take(self, method: str | None = None) -> Json:
        message: Json = self.line.next()
        self.faults += [f"{method or message.get('method')}: {fault}" for fault in self.judge.faults(message, method)]
        if "error" in message and "result" in message:
            self.faults.append(f"both an error and a result: {message}")
        return message

    def batch(self, messages: list[Json]) -> None:
        """Several messages in one array: only 2025-03-26 has that."""
        self.line.send(messages)
        answers = self.line.next()
        if self.version != "2025-03-26":
            assert answers["error"]["code"] == -32600
            answers = [answers]
        methods = {message["id"]: message["method"] for message in messages}
        for answer in answers:
            self.faults += self.judge.faults(answer, methods.get(answer["id"]))

    def notify(self, method: str, **params: Any) -> None:
        self.line.send(self.wrap({"jsonrpc": "2.0", "method": method, **({"params": params} if params else {})}))


def agent_of(stage: Stage) -> str:
    found: str = stage.plane.call("session_agents", session_id=stage.live)["agents"][0]["agent_id"]
    return found


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("version", HANDSHAKE_VERSIONS)
def test_every_line_of_a_session_with_a_handshake_is_valid(
    stage: Stage, judge: Callable[[str], Judge], version: str
) -> None:
    with stage.plane.connect() as line:
        script = Script(line, judge, version)
        client = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        assert script.ask(request("initialize", **client))["result"]["protocolVersion"] == version
        script.notify("notifications/initialized")
        script.ask(request("ping"))
        script.ask(request("logging/setLevel", level="debug"), want=None)
        tools = script.ask(request("tools/list"))["result"]["tools"]
        for message, want in steps(stage, tools, agent_of(stage)):
            script.ask(message, want)
        script.batch([request("ping", "a"), request("tools/list", "b"), request("no/such/method", "c")])
        for uri in uris(stage.live):
            script.ask(request("resources/subscribe", uri=uri))
        stage.hive.create("rehearsal")  # changes hive://sessions and the list of resources
        heard = script.take()
        assert "method" in heard and "id" not in heard
        for uri in uris(stage.live):
            script.ask(request("resources/unsubscribe", uri=uri))
        script.line.send(b'{"jsonrpc":\n}\n{"jsonrpc":"2.0","id":"after","method":"ping"}\n')
        until(lambda: script.take("ping").get("id") == "after", "the answer after a line of bad JSON")
    assert script.faults == []


@pytest.mark.parametrize("judge", JUDGES)
def test_every_line_of_the_stateless_era_is_valid(stage: Stage, judge: Callable[[str], Judge]) -> None:
    with stage.plane.connect() as line:
        script = Script(line, judge, VERSIONS[-1])
        found = script.ask(request("server/discover"))["result"]
        assert VERSIONS[-1] in found["supportedVersions"]
        tools = script.ask(request("tools/list"))["result"]["tools"]
        for message, want in steps(stage, tools, agent_of(stage)):
            script.ask(message, want)
        for removed in ("ping", "logging/setLevel", "resources/subscribe"):
            script.ask(request(removed), want=False)
        other = {**ENVELOPE, "io.modelcontextprotocol/protocolVersion": "2031-01-01"}
        line.send(request("tools/list", "version", _meta=other))
        refused = script.take("tools/list")["error"]
        assert (refused["code"], refused["data"]["requested"]) == (-32022, "2031-01-01")
        assert VERSIONS[-1] in refused["data"]["supported"]
    assert script.faults == []


@pytest.mark.parametrize("judge", JUDGES)
def test_every_line_of_a_subscription_is_valid(stage: Stage, judge: Callable[[str], Judge]) -> None:
    with stage.plane.connect() as line:
        script = Script(line, judge, VERSIONS[-1])
        wanted = {"resourcesListChanged": True, "resourceSubscriptions": uris(stage.live)}
        line.send(enveloped(request("subscriptions/listen", "listen", notifications=wanted)))
        first = script.take()
        assert first["method"] == "notifications/subscriptions/acknowledged"
        stage.hive.create("rehearsal")
        heard = script.take()
        for message in (first, heard):
            assert message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == "listen"
        script.notify("notifications/cancelled", requestId="listen")
    assert script.faults == []


@pytest.mark.parametrize("judge", JUDGES)
def test_what_a_listener_gets_when_the_server_ends_is_valid(plane: DataPlane, judge: Callable[[str], Judge]) -> None:
    with plane.connect() as line:
        script = Script(line, judge, VERSIONS[-1])
        line.send(modern("subscriptions/listen", "listen", notifications={"resourcesListChanged": True}))
        script.take()
        assert plane.stop() == 0
        last = script.take("subscriptions/listen")
        assert (last["id"], last["result"]["resultType"]) == ("listen", "complete")
        assert line.rest() == []
    assert script.faults == []


BAD: list[tuple[str, Json]] = [
    ("tools/list", {"tools": [{"name": "no input schema"}]}),
    ("tools/call", {"structuredContent": {}}),
    ("tools/call", {"content": [{"type": "text"}]}),
    ("initialize", {"protocolVersion": "2024-11-05"}),
    ("server/discover", {"supportedVersions": "2026-07-28"}),
    ("resources/read", {"contents": [{"text": "of what?"}]}),
    ("prompts/get", {"messages": [{"role": "nobody", "content": {"type": "text", "text": ""}}]}),
    ("completion/complete", {"values": []}),
]


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_judges_find_what_is_wrong(judge: Callable[[str], Judge], version: str) -> None:
    asked = judge(version)
    absent = "server/discover" if version in HANDSHAKE_VERSIONS else "initialize"
    for method, result in BAD:
        if method != absent:
            assert asked.faults({"jsonrpc": "2.0", "id": 1, "result": result}, method), (method, result)
    assert asked.faults({"jsonrpc": "2.0", "id": 1, "error": {"code": "-32600", "message": "no number"}}, "ping")
    assert asked.faults({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {}}, None)
    assert asked.faults({"jsonrpc": "2.0", "method": "server.initialized"}, None)
