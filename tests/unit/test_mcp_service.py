"""What each kind of client may say and what it is answered, over sessions on disk and without a socket."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_tcp import door, methods
from mcp_tcp.asking import Asking, Reply
from mcp_tcp.catalogue import COMMANDS, TOOLS
from mcp_tcp.client import Client
from mcp_tcp.door import Door
from mcp_tcp.eras import HANDSHAKE_VERSIONS, negotiate
from mcp_tcp.framing import Malformed, Oversized
from mcp_tcp.jsonrpc import RpcError
from mcp_tcp.methods import Methods, listen_ended
from mcp_tcp.service import Handler, Method, Service
from mcp_tcp.subscriptions import Subscriptions
from tests.unit.hives import BUSY, DONE, FACTS, session_id
from tests.unit.test_sessions import Workspace

Message = dict[str, Any]

INFO = {"name": "hive-suite", "version": "1.2.3"}
META = "io.modelcontextprotocol/"
ENVELOPE = {f"{META}protocolVersion": "2026-07-28", f"{META}clientCapabilities": {}}
OLDEST, FAULTS_AS_RESULTS = "2024-11-05", ("2025-11-25", "2026-07-28")
BARE, MODERN = "bare", "2026-07-28"
ERAS = (BARE, *HANDSHAKE_VERSIONS, MODERN)
RUNNING, ENDED, NOBODY = session_id(1), session_id(2), session_id(99)
SECRET = "s3cret"


class Peer:
    """One client: what it says is answered by messages, decoded."""

    def __init__(self, house: "House", era: str = BARE, *, admitted: bool = True) -> None:
        self.house = house
        self.told: list[Message] = []
        self.cancelled: list[Any] = []
        self.client = Client(self.hear, self.cancelled.append, address="192.0.2.7", admitted=admitted)
        self.modern = era == MODERN
        if era in HANDSHAKE_VERSIONS:
            self.call("initialize", protocolVersion=era)

    def hear(self, _key: object, line: bytes) -> None:
        self.told.append(orjson.loads(line))

    def raw(self, message: Any) -> bytes:
        reply = self.house.service.answer(self.client, message)
        return reply if isinstance(reply, bytes) else self.house.runner.run(reply)

    def say(self, message: Any) -> Any:
        """The one message that answers; None when nothing does."""
        line = self.raw(message)
        if not line:
            return None
        assert line.endswith(b"\n") and line.count(b"\n") == 1
        return orjson.loads(line)

    def ask(self, method: str, request_id: Any = 1, /, **params: Any) -> Message:
        if self.modern:
            params = {**params, "_meta": {**ENVELOPE, **params.get("_meta", {})}}
        found: Message = self.say({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})
        assert found["jsonrpc"] == "2.0" and len(found.keys() & {"result", "error", "method"}) == 1
        return found

    def call(self, method: str, /, **params: Any) -> Message:
        """The result."""
        found = self.ask(method, **params)
        assert "result" in found, found
        result: Message = found["result"]
        return result

    def fail(self, method: str, /, **params: Any) -> tuple[int, str]:
        """Code and words of the error."""
        error = self.ask(method, **params)["error"]
        return error["code"], error["message"]

    def tool(self, name: str, /, **args: Any) -> Message:
        return self.call("tools/call", name=name, arguments=args)


class House:
    """The service over one workspace; what is scheduled is called by `pass_time`."""

    def __init__(self, workspace: Workspace, runner: asyncio.Runner, token: str = "") -> None:
        self.workspace = workspace
        self.runner = runner
        self.due: list[Callable[[], None]] = []
        self.now_s = 100.0
        sessions = workspace.sessions
        self.subscriptions = Subscriptions(sessions, lambda _delay, call: self.due.append(call), lambda: self.now_s)
        sessions.on_change = self.subscriptions.changed
        self.methods = Methods(Asking(sessions, FACTS), self.subscriptions, INFO)
        self.service = self.serving(self.methods.table(), token)

    def serving(self, table: dict[str, Method], token: str = "") -> Service:
        return Service(
            table,
            call_tool=self.methods.call_by_name,
            cancelled=self.methods.cancelled,
            door=Door(token),
            server_info=INFO,
        )

    def asked(self) -> dict[str, int]:
        """The methods that were counted."""
        return {method: count for method, count in self.service.requests.items() if count}

    def pass_time(self) -> None:
        """Take in what changed on disk, and tell it."""
        self.workspace.sessions.refresh()
        due, self.due = self.due, []
        for call in due:
            call()
        self.now_s += 1


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A session that runs and one that has ended."""
    made = Workspace(tmp_path / "place")
    made.run(1, BUSY)
    made.add(2, "failed", DONE, reason="exit", exit_code=7, ended="2026-11-22T09:40:00.000+00:00")
    for number in (1, 2):
        Path(made.paths(number).log).write_text("first line\nlast line\n")
    yield made
    made.close()


@pytest.fixture
def house(workspace: Workspace, runner: asyncio.Runner) -> House:
    workspace.sessions.open()
    return House(workspace, runner)


# -- which version it is ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "agreed"),
    [
        *((version, version) for version in HANDSHAKE_VERSIONS),
        ("2026-07-28", "2025-11-25"),
        ("2099-01-01", "2025-11-25"),
        ("2024-10-07", OLDEST),
        ("2025-01-01", OLDEST),
        ("1.0.0", OLDEST),
        ("", OLDEST),
        ("latest", OLDEST),
        ({"major": 1, "minor": 0, "patch": 0}, OLDEST),
        (None, OLDEST),
        (1, OLDEST),
        ([], OLDEST),
    ],
)
def test_initialize_agrees_on_a_version_that_the_client_will_understand(house: House, asked: Any, agreed: str) -> None:
    peer = Peer(house)
    found = peer.call("initialize", protocolVersion=asked, capabilities=[], clientInfo=None)
    assert found["protocolVersion"] == agreed == peer.client.era.version
    assert found["serverInfo"] == INFO and found["capabilities"]["resources"] == {"subscribe": True}
    assert set(found["capabilities"]) == {"tools", "resources", "prompts", "completions"} and found["instructions"]
    assert peer.client.stays


def test_initialize_without_a_version_gets_the_oldest(house: House) -> None:
    assert Peer(house).call("initialize")["protocolVersion"] == OLDEST


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda each: st.lists(each, max_size=3)))
def test_whatever_is_asked_for_there_is_a_version(asked: Any) -> None:
    assert negotiate(asked).version in HANDSHAKE_VERSIONS


def test_the_first_request_that_tells_its_version_decides_for_the_connection(house: House) -> None:
    peer = Peer(house)
    assert peer.call("ping") == {} and not peer.client.stays
    assert peer.call("server/discover", _meta=ENVELOPE)["resultType"] == "complete"
    assert peer.client.stays
    code, words = peer.fail("tools/list")
    assert (code, words) == (-32602, f"params._meta lacks {META}protocolVersion and {META}clientCapabilities")


def test_whoever_was_introduced_by_a_handshake_stays_with_it(house: House) -> None:
    peer = Peer(house, "2025-06-18")
    assert "resultType" not in peer.call("tools/list", _meta=ENVELOPE)
    assert peer.fail("server/discover", _meta=ENVELOPE)[0] == -32601
    assert peer.call("initialize", protocolVersion=OLDEST)["protocolVersion"] == OLDEST  # once more is allowed


def test_initialize_after_2026_07_28_is_a_version_that_is_not_spoken(house: House) -> None:
    peer = Peer(house, MODERN)
    peer.call("tools/list")
    error = peer.ask("initialize", protocolVersion="2025-11-25")["error"]
    assert (error["code"], error["data"]) == (-32022, {"supported": [MODERN], "requested": "2025-11-25"})


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("meta", "code", "words"),
    [
        ({f"{META}protocolVersion": MODERN}, -32602, f"params._meta lacks {META}clientCapabilities"),
        ({**ENVELOPE, f"{META}protocolVersion": 1}, -32602, f"{META}protocolVersion is not a text"),
        ({**ENVELOPE, f"{META}clientCapabilities": []}, -32602, f"{META}clientCapabilities is not an object"),
        ({**ENVELOPE, f"{META}protocolVersion": "2099-01-01"}, -32022, "Unsupported protocol version"),
        ({**ENVELOPE, f"{META}protocolVersion": "2025-11-25"}, -32022, "Unsupported protocol version"),
    ],
)
def test_an_envelope_is_checked(house: House, first: bool, meta: Message, code: int, words: str) -> None:
    peer = Peer(house)
    if not first:
        peer.call("tools/list", _meta=ENVELOPE)
    error = peer.ask("tools/list", _meta=meta)["error"]
    assert (error["code"], error["message"]) == (code, words)
    version = meta[f"{META}protocolVersion"]
    assert error.get("data") == ({"supported": [MODERN], "requested": version} if code == -32022 else None)
    assert peer.client.era.modern is not first  # a request that was refused decides nothing
    assert peer.call("tools/list", _meta=ENVELOPE)["resultType"] == "complete"


@pytest.mark.parametrize("meta", [None, [], "x", {}, {f"{META}clientCapabilities": {}}, {"progressToken": 1}])
def test_without_a_version_nobody_is_taken_for_modern(house: House, meta: Any) -> None:
    peer = Peer(house)
    assert "resultType" not in peer.call("tools/list", _meta=meta)
    assert not peer.client.era.introduced
    modern = Peer(house)
    modern.call("tools/list", _meta=ENVELOPE)
    assert modern.fail("tools/list", _meta=meta)[0] == -32602


ONLY = {
    "initialize": "handshake",
    "ping": "handshake",
    "resources/subscribe": "handshake",
    "resources/unsubscribe": "handshake",
    "server/discover": "modern",
    "subscriptions/listen": "modern",
}


@pytest.mark.parametrize("era", ERAS)
def test_each_era_has_its_methods_and_who_never_said_has_both(house: House, era: str) -> None:
    for method in house.methods.table():
        peer = Peer(house, era)
        if era == MODERN:
            peer.call("tools/list")
        found = peer.ask(method, notifications={}, uri="hive://sessions", protocolVersion="2025-11-25")
        kind = ONLY.get(method, "both")
        there = era == BARE or kind in ("both", "modern" if era == MODERN else "handshake")
        code = found.get("error", {}).get("code")
        assert (code not in (-32601, -32022)) is there, method


@pytest.mark.parametrize("era", ERAS)
def test_a_method_that_there_is_not_says_so(house: House, era: str) -> None:
    peer = Peer(house, era)
    assert peer.fail("swarm/init") == (-32601, "Method not found: swarm/init")
    assert peer.fail("x" * 5000) == (-32601, f"Method not found: {'x' * 100}")
    assert peer.fail("") == (-32601, "Method not found: ")
    assert house.service.requests["other"] == 3 and "swarm/init" not in house.service.requests


# -- what is in every result -----------------------------------------------------------------------------

ASKED: dict[str, Message] = {
    "server/discover": {},
    "authenticate": {},
    "auth": {},
    "tools/list": {},
    "tools/call": {"name": "session_status", "arguments": {"session_id": RUNNING}},
    "resources/list": {},
    "resources/templates/list": {},
    "resources/read": {"uri": f"hive://session/{RUNNING}/log"},
    "prompts/list": {},
    "prompts/get": {"name": "diagnose_session", "arguments": {"session_id": ENDED}},
    "completion/complete": {"ref": {"type": "ref/resource", "uri": "hive://session/{id}"}, "argument": {"value": ""}},
}
KEPT_MS = {
    "server/discover": 3_600_000,
    "tools/list": 3_600_000,
    "resources/list": 0,
    "resources/templates/list": 3_600_000,
    "resources/read": 0,
    "prompts/list": 3_600_000,
}


@pytest.mark.parametrize("method", ASKED)
def test_a_modern_result_carries_what_2026_07_28_wants(house: House, method: str) -> None:
    found = Peer(house, MODERN).call(method, **ASKED[method])
    assert found["resultType"] == "complete"
    assert found["_meta"] == {f"{META}serverInfo": INFO}
    kept = {key: found[key] for key in ("ttlMs", "cacheScope") if key in found}
    assert kept == ({"ttlMs": KEPT_MS[method], "cacheScope": "private"} if method in KEPT_MS else {})


@pytest.mark.parametrize("method", [each for each in ASKED if each != "server/discover"])
@pytest.mark.parametrize("era", [BARE, *HANDSHAKE_VERSIONS])
def test_an_older_result_carries_nothing_of_it(house: House, method: str, era: str) -> None:
    found = Peer(house, era).call(method, **ASKED[method])
    assert not found.keys() & {"resultType", "_meta", "ttlMs", "cacheScope"}


def test_both_eras_are_answered_the_same_otherwise(house: House) -> None:
    for method, params in ASKED.items():
        modern = Peer(house, MODERN).call(method, **params)
        bare = Peer(house).call(method, **params)
        extra = {"resultType", "_meta", "ttlMs", "cacheScope"}
        if method != "tools/call":  # it tells how long ago something was
            assert {key: value for key, value in modern.items() if key not in extra} == bare
        else:
            assert modern.keys() - extra == bare.keys()


# -- messages --------------------------------------------------------------------------------------------

IDS = [
    0,
    1,
    -1,
    "",
    "a",
    "é€😀",
    "1",
    1.5,
    1.0,
    -0.0,
    9007199254740993,
    2**63 - 1,
    2**64 - 1,
    -(2**63),
    1.5e300,
    "x" * 9000,
]


@pytest.mark.parametrize("request_id", IDS, ids=lambda each: ascii(each)[:20])
@pytest.mark.parametrize("method", ["ping", "resources/read", "none", "session_logs"])
def test_an_answer_has_the_id_of_its_request(house: House, request_id: Any, method: str) -> None:
    message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": {"uri": f"hive://session/{RUNNING}/log"}}
    found = Peer(house).say(message)
    assert found["id"] == request_id and type(found["id"]) is type(request_id)


@pytest.mark.parametrize("request_id", [None, True, False, [], {}, [1], {"id": 1}])
def test_what_is_no_id_is_refused_under_null(house: House, request_id: Any) -> None:
    for message in ({"jsonrpc": "2.0", "id": request_id, "method": "ping"}, {"jsonrpc": "2.0", "id": request_id}):
        found = Peer(house).say(message)
        assert (found["id"], found["error"]["code"]) == (None, -32600)


@pytest.mark.parametrize(
    "method", ["notifications/initialized", "notifications/none", "ping", "none", "swarm_status", ""]
)
@pytest.mark.parametrize("params", [None, {}, [], {"requestId": []}, 5])
@pytest.mark.parametrize("era", [BARE, "2025-11-25", MODERN])
def test_a_notification_is_never_answered(house: House, method: str, params: Any, era: str) -> None:
    peer = Peer(house, era)
    assert peer.say({"jsonrpc": "2.0", "method": method, "params": params}) is None
    assert peer.say({"method": method}) is None
    assert house.service.errors == {}


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "?"}},
        {"jsonrpc": "2.0", "result": None},
    ],
)
def test_an_answer_that_nobody_asked_for_is_passed_over(house: House, message: Message) -> None:
    assert Peer(house).say(message) is None


@pytest.mark.parametrize(
    ("message", "request_id", "code", "words"),
    [
        ({"id": 1, "method": "ping"}, 1, -32600, 'Invalid Request: jsonrpc must be "2.0"'),
        ({"jsonrpc": "1.0", "id": 1, "method": "ping"}, 1, -32600, 'Invalid Request: jsonrpc must be "2.0"'),
        ({"jsonrpc": 2.0, "id": 1, "method": "ping"}, 1, -32600, 'Invalid Request: jsonrpc must be "2.0"'),
        ({"jsonrpc": "2.0", "id": 1}, 1, -32600, "Invalid Request: method must be a text"),
        ({"jsonrpc": "2.0", "id": "a", "method": 5}, "a", -32600, "Invalid Request: method must be a text"),
        ({"jsonrpc": "2.0", "id": 1, "method": None}, 1, -32600, "Invalid Request: method must be a text"),
        ({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}, 1, -32602, "Invalid params: params must be an object"),
        ({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": "x"}, 1, -32602, "Invalid params: params must be an object"),
        ({}, None, -32600, "Invalid Request: id must be a text or a number"),
        ({"jsonrpc": "2.0", "method": 5}, None, -32600, "Invalid Request: id must be a text or a number"),
        (5, None, -32600, "Invalid Request: a message is a JSON object"),
        (None, None, -32600, "Invalid Request: a message is a JSON object"),
        ("ping", None, -32600, "Invalid Request: a message is a JSON object"),
        (True, None, -32600, "Invalid Request: a message is a JSON object"),
        (Malformed("unexpected character"), None, -32700, "Parse error: unexpected character"),
        (Oversized(1024), None, -32600, "Request too large: a message has at most 1024 bytes"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused(house: House, message: Any, request_id: Any, code: int, words: str) -> None:
    peer = Peer(house)
    found = peer.say(message)
    assert found == {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": words}}
    assert house.service.errors == {code: 1}
    assert peer.call("ping") == {}


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=8), each, max_size=3),
    max_leaves=8,
)
KEYS = ("jsonrpc", "id", "method", "params", "result", "error")


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house for many examples."""
    made = Workspace(tmp_path_factory.mktemp("standing") / "place")
    made.run(1, BUSY)
    made.sessions.open()
    with asyncio.Runner() as runner:
        yield House(made, runner)
    made.close()


@given(
    message=st.fixed_dictionaries({"jsonrpc": st.just("2.0")}, optional=dict.fromkeys(KEYS[1:], JSON)) | JSON,
    method=st.sampled_from(
        ["tools/call", "resources/read", "prompts/get", "subscriptions/listen", "session_status", None]
    ),
    version=st.sampled_from(ERAS),
)
def test_whatever_is_said_there_is_one_answer_or_none_and_no_bug(
    standing: House, message: Any, method: str | None, version: str
) -> None:
    peer = Peer(standing, version)
    if type(message) is dict and method:
        message["method"] = method
    line = peer.raw(message)
    if line:
        found = orjson.loads(line)
        for each in found if type(found) is list else [found]:
            assert each["jsonrpc"] == "2.0"
            assert each.get("error", {}).get("code") != -32603
    standing.methods.leave(peer.client)
    assert len(standing.subscriptions) == 0


# -- batches ---------------------------------------------------------------------------------------------

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


def test_a_batch_is_answered_by_one_in_the_order_of_its_requests(house: House) -> None:
    peer = Peer(house, "2025-03-26")
    log = {"jsonrpc": "2.0", "id": "log", "method": "session_logs", "params": {"session_id": RUNNING}}
    found = peer.say([PING, {"jsonrpc": "2.0", "method": "notifications/initialized"}, log, 5, {**PING, "id": 3}, []])
    assert [each["id"] for each in found] == [1, "log", None, 3, None]
    assert found[0]["result"] == {} and found[1]["result"]["lines"] == ["first line", "last line"]
    assert [found[at]["error"]["code"] for at in (2, 4)] == [-32600, -32600]


def test_a_batch_of_notifications_is_answered_by_nothing(house: House) -> None:
    assert Peer(house, "2025-03-26").say([{"jsonrpc": "2.0", "method": "notifications/initialized"}] * 3) is None


def test_an_empty_batch_is_refused(house: House) -> None:
    found = Peer(house, "2025-03-26").say([])
    assert (found["id"], found["error"]["code"], found["error"]["message"]) == (
        None,
        -32600,
        "Invalid Request: the batch is empty",
    )


@pytest.mark.parametrize("era", [each for each in ERAS if each != "2025-03-26"])
@pytest.mark.parametrize("batch", [[], [PING], [5]])
def test_other_versions_have_no_batches(house: House, era: str, batch: list[Any]) -> None:
    found = Peer(house, era).say(batch)
    assert (found["id"], found["error"]["code"]) == (None, -32600)


# -- tools -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TOOLS)
@pytest.mark.parametrize("era", [OLDEST, MODERN])
def test_a_tool_answers_flat_as_text_and_structured_all_the_same(house: House, name: str, era: str) -> None:
    args = {"session_id": RUNNING, "agent_id": f"{RUNNING}/a", "task_id": f"{RUNNING}/a", "pattern": "x", "query": "x"}
    found = Peer(house, era).tool(name, **args)
    structured = found["structuredContent"]
    assert orjson.loads(found["content"][0]["text"]) == structured
    assert len(found["content"]) == 1 and found["content"][0]["type"] == "text" and found["isError"] is False
    ours = {"content", "structuredContent", "isError", "resultType", "_meta"}
    assert {key: value for key, value in found.items() if key not in ours} == structured
    assert TOOLS[name].output_schema["required"] and structured.keys() >= set(TOOLS[name].output_schema["required"])


def test_all_tools_are_listed_with_what_a_model_needs_to_choose(house: House) -> None:
    found = Peer(house).call("tools/list")["tools"]
    assert [each["name"] for each in found] == list(TOOLS)
    for each in found:
        assert each["annotations"] == {"readOnlyHint": True, "openWorldHint": False}
        assert each["title"] and each["description"] and each["inputSchema"]["type"] == "object"
        assert each["outputSchema"]["type"] == "object"


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_may_be_called_as_if_it_were_a_method(house: House, name: str) -> None:
    args = {"session_id": RUNNING, "agent_id": f"{RUNNING}/a", "task_id": f"{RUNNING}/a", "pattern": "x", "query": "x"}
    bare = Peer(house).call(name, **args)
    assert bare.keys() == Peer(house).tool(name, **args).keys()
    assert Peer(house, MODERN).fail(name, **args)[0] == -32601


FAULTY: list[tuple[str, Any, str]] = [
    ("session_status", {}, "session_id"),
    ("session_status", {"session_id": NOBODY}, f"no session '{NOBODY}'; session_list gives the ids of all sessions"),
    ("session_status", {"session_id": 5}, "session_id must be text"),
    ("session_status", [], "arguments is not an object"),
    ("session_status", "x", "arguments is not an object"),
    ("session_list", {"limit": 0}, "limit must be a whole number from 1 to 500"),
    ("session_list", {"cursor": "x"}, "cursor is none that session_list gave; ask again without it"),
]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(("name", "args", "words"), FAULTY)
def test_arguments_without_an_answer_are_told_in_the_way_of_the_version(
    house: House, era: str, name: str, args: Any, words: str
) -> None:
    found = Peer(house, era).ask("tools/call", name=name, arguments=args)
    if era in FAULTS_AS_RESULTS:
        assert found["result"]["isError"] is True and "structuredContent" not in found["result"]
        told = found["result"]["content"][0]["text"]
    else:
        assert found["error"]["code"] == -32602
        told = found["error"]["message"]
    assert words in told and "\n" not in told


def test_a_fault_of_a_tool_called_by_its_name_is_a_protocol_error(house: House) -> None:
    peer = Peer(house, "2025-11-25")
    assert peer.fail("session_status", session_id=NOBODY)[0] == -32602
    assert peer.fail("session_logs", session_id=NOBODY)[0] == -32602


@pytest.mark.parametrize("era", ERAS)
def test_a_tool_that_there_is_not_is_a_protocol_error(house: House, era: str) -> None:
    peer = Peer(house, era)
    assert peer.fail("tools/call", name="none") == (-32602, "Unknown tool: 'none'")
    assert peer.fail("tools/call", name=5) == (-32602, "Unknown tool: 5")
    assert peer.fail("tools/call") == (-32602, "params.name is missing")
    assert len(peer.fail("tools/call", name="x" * 10_000)[1]) < 200


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("era", ERAS)
def test_a_command_is_answered_with_the_command_line_that_does_it(house: House, name: str, era: str) -> None:
    found = Peer(house, era).tool(name, objective="x")
    assert found["isError"] is True
    assert found["content"] == [{"type": "text", "text": COMMANDS[name]}] and "hive-session" in COMMANDS[name]
    if era != MODERN:
        assert Peer(house, era).call(name, objective="x") == found


def test_what_was_asked_is_counted_by_method(house: House) -> None:
    peer = Peer(house)
    peer.call("ping")
    peer.tool("swarm_list")
    peer.call("swarm_list")
    peer.fail("none")
    assert house.asked() == {"ping": 1, "tools/call": 2, "other": 1}
    assert house.service.errors == {-32601: 1}


def test_a_session_whose_telemetry_is_not_in_memory_is_answered_as_soon_as_it_is(house: House) -> None:
    session = house.workspace.session(2)
    assert session.hive is None
    found = Peer(house).tool("session_agents", session_id=ENDED)
    assert found["total"] == 5 and session.hive is not None


# -- resources -------------------------------------------------------------------------------------------


def test_resources_come_in_pages_each_session_once(tmp_path: Path, runner: asyncio.Runner) -> None:
    workspace = Workspace(tmp_path / "many")
    for number in range(1, 251):
        workspace.add(number)
    workspace.sessions.open()
    peer = Peer(House(workspace, runner), "2025-11-25")
    pages = [peer.call("resources/list")]
    while cursor := pages[-1].get("nextCursor"):
        pages.append(peer.call("resources/list", cursor=cursor))
    workspace.close()
    assert [len(page["resources"]) for page in pages] == [101, 100, 50]
    uris = [row["uri"] for page in pages for row in page["resources"]]
    assert uris[0] == "hive://sessions" and len(set(uris)) == 251
    assert uris[1:] == [f"hive://session/{each.card.id}" for each in workspace.sessions.newest()]


@pytest.mark.parametrize("cursor", ["x", 5, [], "AAAA"])
def test_a_cursor_that_is_none_is_refused(house: House, cursor: Any) -> None:
    assert Peer(house).fail("resources/list", cursor=cursor)[0] == -32602
    for method in ("tools/list", "prompts/list", "resources/templates/list"):
        assert Peer(house).fail(method, cursor=cursor) == (-32602, "no such cursor: this list has one page")
        assert Peer(house).call(method, cursor=None)


@pytest.mark.parametrize("era", [OLDEST, MODERN])
def test_each_resource_shows_what_its_tool_tells(house: House, era: str) -> None:
    peer = Peer(house, era)

    def read(uri: str) -> tuple[str, str]:
        contents = peer.call("resources/read", uri=uri)["contents"]
        assert len(contents) == 1 and contents[0]["uri"] == uri
        return contents[0]["mimeType"], contents[0]["text"]

    def shown(uri: str) -> Message:
        mime_type, text = read(uri)
        assert mime_type == "application/json"
        found: Message = orjson.loads(text)
        return found

    base = f"hive://session/{RUNNING}"
    assert [row["session_id"] for row in shown("hive://sessions")["sessions"]] == [ENDED, RUNNING]
    assert shown(base)["status"] == "running"
    assert [each["agent"] for each in shown(f"{base}/agents")["agents"]] == ["queen", "a", "b", "c", "d"]
    assert len(shown(f"{base}/telemetry")["events"]) == len(BUSY)
    assert read(f"{base}/log") == ("text/plain", "first line\nlast line")


@pytest.mark.parametrize(
    "uri", [f"hive://session/{NOBODY}", f"hive://session/{RUNNING}/none", "file:///x", "", "x" * 9000]
)
@pytest.mark.parametrize("method", ["resources/read", "resources/subscribe"])
def test_a_resource_that_there_is_not_has_the_code_of_the_version(house: House, uri: str, method: str) -> None:
    for era in ERAS:
        if era == MODERN and method == "resources/subscribe":
            continue
        error = Peer(house, era).ask(method, uri=uri)["error"]
        assert error["code"] == (-32602 if era == MODERN else -32002)
        assert error["message"] == f"Resource not found: {uri[:200]}" and error["data"] == {"uri": uri}


@pytest.mark.parametrize("method", ["resources/read", "resources/subscribe", "resources/unsubscribe"])
@pytest.mark.parametrize("params", [{}, {"uri": 5}, {"uri": None}])
def test_a_resource_is_named_by_a_text(house: House, method: str, params: Message) -> None:
    assert Peer(house).fail(method, **params) == (-32602, "params.uri must be a text")


# -- subscriptions ---------------------------------------------------------------------------------------


def test_who_subscribed_is_told_until_it_has_enough(house: House) -> None:
    peer, uri = Peer(house, OLDEST), f"hive://session/{RUNNING}"
    assert peer.call("resources/subscribe", uri=uri) == {} == peer.call("resources/subscribe", uri=uri)
    assert peer.client.subscriptions() == len(house.subscriptions) == 1
    house.workspace.put(1, "running", detail="Changed.")
    house.pass_time()
    assert [each["params"] for each in peer.told] == [{"uri": uri}]
    assert peer.call("resources/unsubscribe", uri=uri) == {} == peer.call("resources/unsubscribe", uri=uri)
    house.workspace.put(1, "running", detail="Changed again.")
    house.pass_time()
    assert len(peer.told) == 1 and len(house.subscriptions) == 0


def test_a_bare_client_that_subscribed_stays(house: House) -> None:
    peer = Peer(house)
    assert not peer.client.stays
    peer.call("resources/subscribe", uri="hive://sessions")
    assert peer.client.stays


def test_listen_is_acknowledged_with_what_is_granted_and_told_under_its_id(house: House) -> None:
    peer, uri = Peer(house, MODERN), f"hive://session/{RUNNING}"
    wanted = ["hive://sessions", uri, f"hive://session/{NOBODY}", "file:///x", uri, f"{uri}/none"]
    message = {
        "jsonrpc": "2.0",
        "id": "a",
        "method": "subscriptions/listen",
        "params": {
            "_meta": ENVELOPE,
            "notifications": {
                "resourceSubscriptions": wanted,
                "resourcesListChanged": True,
                "toolsListChanged": True,
                "promptsListChanged": True,
            },
        },
    }
    mark = {f"{META}subscriptionId": "a"}
    granted = {
        "resourceSubscriptions": ["hive://sessions", uri, f"hive://session/{NOBODY}"],
        "resourcesListChanged": True,
    }
    assert peer.say(message) == {
        "jsonrpc": "2.0",
        "method": "notifications/subscriptions/acknowledged",
        "params": {"notifications": granted, "_meta": mark},
    }
    house.workspace.put(1, "running", detail="Changed.")
    house.pass_time()
    assert [each["params"] for each in peer.told] == [
        {"uri": "hive://sessions", "_meta": mark},
        {"uri": uri, "_meta": mark},
    ]
    peer.told.clear()
    house.workspace.add(99)
    house.pass_time()
    assert {each["method"] for each in peer.told} == {
        "notifications/resources/updated",
        "notifications/resources/list_changed",
    }
    assert peer.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "a"}}) is None
    assert peer.cancelled == ["a"] and peer.client.listens == {} and len(house.subscriptions) == 0


def test_listening_to_nothing_is_granted(house: House) -> None:
    peer = Peer(house, MODERN)
    for request_id, wanted in enumerate(({}, {"resourceSubscriptions": None}, {"resourcesListChanged": 1})):
        params = {"_meta": ENVELOPE, "notifications": wanted}
        found = peer.say({"jsonrpc": "2.0", "id": request_id, "method": "subscriptions/listen", "params": params})
        assert found["params"]["notifications"] == {}
    assert len(house.subscriptions) == 0 and len(peer.client.listens) == 3


@pytest.mark.parametrize("wanted", [None, [], "x", {"resourceSubscriptions": "x"}, {"resourceSubscriptions": [1]}])
def test_what_cannot_be_listened_to_is_refused(house: House, wanted: Any) -> None:
    peer = Peer(house, MODERN)
    assert peer.fail("subscriptions/listen", notifications=wanted)[0] == -32602
    assert peer.client.listens == {}


def test_an_id_that_listens_cannot_listen_once_more(house: House) -> None:
    peer = Peer(house, MODERN)
    peer.raw({**PING, "method": "subscriptions/listen", "params": {"_meta": ENVELOPE, "notifications": {}}})
    assert peer.fail("subscriptions/listen", notifications={}) == (
        -32600,
        "the id 1 is in use by an open subscriptions/listen",
    )
    assert list(peer.client.listens) == [1]


def test_the_end_of_a_listen_is_its_result() -> None:
    found = orjson.loads(listen_ended("a"))
    assert found == {
        "jsonrpc": "2.0",
        "id": "a",
        "result": {"resultType": "complete", "_meta": {f"{META}subscriptionId": "a"}},
    }


def test_a_connection_has_so_many_subscriptions_and_no_more(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "MAX_SUBSCRIPTIONS", 3)
    peer, base = Peer(house), f"hive://session/{RUNNING}"
    for uri in ("hive://sessions", base, f"{base}/log"):
        peer.call("resources/subscribe", uri=uri)
    refusal = (-32600, "a connection has at most 3 subscriptions")
    assert peer.fail("resources/subscribe", uri=f"{base}/agents") == refusal
    assert (
        Peer(house, MODERN).fail("subscriptions/listen", notifications={"resourceSubscriptions": [base] * 3}) == refusal
    )
    assert Peer(house).call("resources/subscribe", uri=base) == {}  # others have their own
    assert len(house.subscriptions) == 4


def test_whoever_leaves_is_forgotten(house: House) -> None:
    peer = Peer(house)
    peer.call("resources/subscribe", uri=f"hive://session/{RUNNING}/log")
    wanted = {"resourceSubscriptions": ["hive://sessions"], "resourcesListChanged": True}
    peer.raw({**PING, "method": "subscriptions/listen", "params": {"notifications": wanted}})
    assert len(house.subscriptions) == 3
    house.methods.leave(peer.client)
    assert len(house.subscriptions) == peer.client.subscriptions() == 0
    house.workspace.add(3)
    house.pass_time()
    assert peer.told == []


@pytest.mark.parametrize("request_id", [None, [], {}, "b", True, 2.5])
def test_taking_back_what_was_never_asked_is_heard_in_silence(house: House, request_id: Any) -> None:
    peer = Peer(house, MODERN)
    message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request_id}}
    assert peer.say(message) is None


# -- prompts and completion ------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [RUNNING, ENDED])
def test_the_diagnosis_of_a_session_holds_its_log_and_events(house: House, which: str) -> None:
    found = Peer(house).call("prompts/get", name="diagnose_session", arguments={"session_id": which})
    assert which in found["description"]
    text = "".join(each["content"]["text"] for each in found["messages"])
    assert which in text and "last line" in text


def test_a_session_without_log_and_telemetry_can_be_diagnosed(house: House) -> None:
    house.workspace.add(3)
    house.pass_time()
    found = Peer(house).call("prompts/get", name="diagnose_session", arguments={"session_id": session_id(3)})
    assert found["messages"]


@pytest.mark.parametrize("era", [OLDEST, MODERN])
@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "params.name must be a text"),
        ({"name": 5}, "params.name must be a text"),
        ({"name": "none"}, "Unknown prompt: 'none'; there is diagnose_session"),
        ({"name": "diagnose_session"}, "diagnose_session: session_id is missing"),
        ({"name": "diagnose_session", "arguments": [1]}, "diagnose_session: session_id is missing"),
        ({"name": "diagnose_session", "arguments": {"session_id": 5}}, "diagnose_session: session_id is missing"),
        (
            {"name": "diagnose_session", "arguments": {"session_id": NOBODY}},
            f"no session '{NOBODY}'; session_list gives the ids of all sessions",
        ),
    ],
)
def test_a_prompt_that_there_is_not_is_refused(house: House, era: str, params: Message, words: str) -> None:
    assert Peer(house, era).fail("prompts/get", **params) == (-32602, words)


RESOURCE, PROMPT = (
    {"type": "ref/resource", "uri": "hive://session/{id}/log"},
    {"type": "ref/prompt", "name": "diagnose_session"},
)


@pytest.mark.parametrize(
    ("ref", "name", "value", "values"),
    [
        (RESOURCE, "id", "", [ENDED, RUNNING]),
        (RESOURCE, "id", RUNNING[:-1], [ENDED, RUNNING]),
        (RESOURCE, "id", RUNNING, [RUNNING]),
        (RESOURCE, "id", "x", []),
        (RESOURCE, "session_id", "", []),
        ({"type": "ref/resource", "uri": "file:///{id}"}, "id", "", []),
        (PROMPT, "session_id", "", [ENDED, RUNNING]),
        (PROMPT, "id", "", []),
        ({"type": "ref/prompt", "name": "none"}, "session_id", "", []),
        ({}, "id", "", []),
    ],
)
def test_ids_are_completed_where_an_id_is_wanted(
    house: House, ref: Message, name: str, value: str, values: list[str]
) -> None:
    found = Peer(house).call("completion/complete", ref=ref, argument={"name": name, "value": value})
    assert found == {"completion": {"values": values, "total": len(values), "hasMore": False}}


@pytest.mark.parametrize(
    "params",
    [{}, {"ref": RESOURCE}, {"ref": RESOURCE, "argument": {"name": "id"}}, {"ref": 1, "argument": {"value": ""}}],
)
def test_a_completion_of_nothing_is_refused(house: House, params: Message) -> None:
    assert Peer(house).fail("completion/complete", **params)[0] == -32602


# -- tokens ----------------------------------------------------------------------------------------------


class Clock:
    """A clock that goes on when somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        self.slept: list[float] = []
        monkeypatch.setattr(door, "asyncio", SimpleNamespace(sleep=self.sleep))
        monkeypatch.setattr(door, "time", SimpleNamespace(monotonic=lambda: self.now_s))

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


@pytest.fixture
def guarded(workspace: Workspace, runner: asyncio.Runner) -> House:
    workspace.sessions.open()
    return House(workspace, runner, SECRET)


def stranger(house: House) -> Peer:
    return Peer(house, admitted=False)


@pytest.mark.parametrize("method", ["authenticate", "auth"])
def test_the_token_opens_the_door_once_and_for_all(guarded: House, method: str) -> None:
    peer = stranger(guarded)
    assert peer.fail("ping")[0] == -32000
    assert peer.call(method, token=SECRET) == {"authenticated": True}
    assert peer.call("ping") == {}
    assert stranger(guarded).fail("ping")[0] == -32000  # others have to show it themselves


def test_a_request_may_bring_the_token_along(guarded: House) -> None:
    peer = stranger(guarded)
    assert peer.call("server/discover", _meta={**ENVELOPE, "token": SECRET})["resultType"] == "complete"
    assert peer.call("tools/list", _meta=ENVELOPE)["tools"]
    late = stranger(guarded)
    assert (
        late.call("initialize", protocolVersion="2025-06-18", _meta={"token": SECRET})["protocolVersion"]
        == "2025-06-18"
    )


@pytest.mark.parametrize("method", ["ping", "initialize", "tools/list", "swarm_list", "none", "authenticate"])
def test_before_the_token_nothing_is_told_and_nothing_changes(guarded: House, method: str) -> None:
    peer = stranger(guarded)
    code, words = peer.fail(method, protocolVersion="2025-11-25", uri="hive://sessions")
    assert code == -32000 and words.startswith("Authentication required: ") and SECRET not in words
    assert not peer.client.era.introduced and guarded.asked() == {}
    assert peer.say({"jsonrpc": "2.0", "method": "notifications/initialized"}) is None


@pytest.mark.parametrize("token", ["", "wrong", 5, True, ["s3cret"], SECRET + " "])
def test_a_bad_token_is_refused_and_never_logged(guarded: House, token: Any, caplog: pytest.LogCaptureFixture) -> None:
    peer = stranger(guarded)
    assert peer.fail("authenticate", token=token) == (-32000, "Authentication failed: that is not the token")
    assert not peer.client.admitted
    assert caplog.messages == ["a bad token from 192.0.2.7"]


def test_whoever_guesses_waits_longer_and_longer(guarded: House, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    for _ in range(14):
        stranger(guarded).fail("authenticate", token="wrong")
    assert clock.slept == [1, 2, 4, 8]
    peer = stranger(guarded)
    assert peer.call("authenticate", token=SECRET) == {"authenticated": True}
    assert clock.slept == [1, 2, 4, 8, 16]  # the right one is no quicker to tell
    stranger(guarded).fail("authenticate", token="wrong")
    assert len(clock.slept) == 5  # all is forgiven


def test_without_a_token_to_show_authenticating_changes_nothing(house: House) -> None:
    peer = Peer(house)
    assert peer.call("authenticate", token="anything") == peer.call("auth") == {"authenticated": True}


# -- bugs ------------------------------------------------------------------------------------------------


def at_once(_client: Client, _id: Any, _params: Message) -> Reply:
    raise ZeroDivisionError("a secret of the inside")


def later(_client: Client, _id: Any, _params: Message) -> Reply:
    async def fail() -> bytes:
        await asyncio.sleep(0)
        raise KeyError("a secret of the inside")

    return fail()


@pytest.mark.parametrize("handler", [at_once, later])
def test_a_bug_of_ours_costs_one_answer_and_is_logged_once(
    house: House, handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    house.service = house.serving({**house.methods.table(), "boom": Method(handler=handler)})
    peer = Peer(house)
    found = peer.ask("boom", 7)
    error = {"code": -32603, "message": "Internal error: a bug of mcp-tcp; its log says where"}
    assert found == {"jsonrpc": "2.0", "id": 7, "error": error}
    [record] = caplog.records
    assert record.levelno == logging.ERROR and record.getMessage() == "a bug of ours in boom"
    assert (record.exc_text and handler.__name__ in record.exc_text) or "fail" in (record.exc_text or "")
    assert peer.call("ping") == {} and house.service.errors == {-32603: 1}


def test_what_a_handler_refuses_later_is_an_error_like_any_other(house: House) -> None:
    def refuse(_client: Client, _id: Any, _params: Message) -> Reply:
        async def fail() -> bytes:
            raise RpcError(-32000, "not now", {"why": 1})

        return fail()

    house.service = house.serving({"later": Method(handler=refuse)})
    assert Peer(house).ask("later")["error"] == {"code": -32000, "message": "not now", "data": {"why": 1}}


def test_a_disk_that_does_not_answer_is_given_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_work: Callable[[], Message]) -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr("mcp_tcp.asking.asyncio.to_thread", never)
    monkeypatch.setattr("mcp_tcp.asking.DISK_S", 0.01)
    code, words = Peer(house).fail("session_logs", session_id=RUNNING)
    assert (code, words) == (-32603, "the disk did not answer within 0.01 s; try again")
