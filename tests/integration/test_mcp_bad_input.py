"""Bad input costs its sender one correct error each: the connection lives, others notice nothing, the log stays quiet."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.hive import Hive, read_bytes, until
from tests.integration.mcp_disk import (
    MODERN,
    VERSIONS,
    append,
    assert_quiet,
    introduced,
    locked_database,
    message_event,
    rss_bytes,
    said_in,
    tool_call,
)
from tests.integration.mcp_server import DataPlane, Json, Line, modern, request
from tests.nasty import bad_lines, odd_lines

MIB = 1 << 20
ABSENT = "11111111-2222-4333-8444-555555555555"
BEFORE_TOOL_FAULTS = ("2024-11-05", "2025-03-26", "2025-06-18")
ABOUT_ONE = ("session_status", "session_metrics", "session_agents", "session_logs", "session_events", "session_memory")
NO_SESSIONS: tuple[Any, ...] = (
    ABSENT,
    "../../etc/passwd",
    "/etc",
    "/etc/passwd",
    "..",
    ".",
    "a\0b",
    f"{ABSENT}\0",
    "\0",
    "x" * 5000,
)
NO_SESSIONS += ("", 5, None, {}, ["a"])
NO_RESOURCES = (
    f"hive://session/{ABSENT}",
    f"hive://session/{ABSENT}/log",
    "hive://session/../../etc/passwd",
    "hive://session//etc/log",
    "hive://session/a\0b",
    "hive://session/",
    "hive://sessions/",
    "file:///etc/passwd",
    "",
)
PING = request("ping", "good")
PONG = {"jsonrpc": "2.0", "id": "good", "result": {}}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataPlane]:
    root = tmp_path_factory.mktemp("bad-input")
    root.chmod(0o755)
    with Hive(root / "hive") as hive, DataPlane(hive) as plane:
        hive.create("rehearsal", task="first")
        hive.create("rehearsal", task="second")
        yield plane


@pytest.fixture
def server(shared: DataPlane) -> Iterator[DataPlane]:
    """One server for all tests here; after each of them it is the same process, and has said nothing twice."""
    assert shared.process
    pid = shared.process.pid
    yield shared
    assert shared.process.pid == pid and shared.process.poll() is None
    assert_quiet(shared)


@pytest.fixture
def ids(server: DataPlane) -> list[str]:
    return sorted(os.path.basename(path) for path in _directories(server.hive))


def _directories(hive: Hive) -> list[str]:
    return [entry.path for entry in os.scandir(hive.layout.sessions) if entry.is_dir()]


def assert_error(answer: Json, code: int, request_id: object) -> None:
    assert set(answer) == {"jsonrpc", "id", "error"} and answer["jsonrpc"] == "2.0", answer
    assert (answer["error"]["code"], answer["id"]) == (code, request_id), answer
    assert type(answer["error"]["message"]) is str and answer["error"]["message"]


def assert_lives(line: Line) -> None:
    assert line.ask(PING) == PONG


# -- what is no JSON -------------------------------------------------------------------------------------------------------


def test_each_bad_line_is_one_parse_error_and_the_connection_answers_the_next_request(server: DataPlane) -> None:
    lines = bad_lines()
    assert len(lines) >= 318
    with server.connect() as line:
        for bad in lines:
            line.send(bad + b"\n" + json.dumps(PING).encode() + b"\n")
            answer = line.next()
            try:
                assert_error(answer, -32700, None)
                assert line.next() == PONG
            except AssertionError as exc:
                raise AssertionError(f"{bad[:80]!r}: {exc}") from None


def test_each_odd_line_that_is_json_gets_one_answer_and_no_parse_error(server: DataPlane) -> None:
    with server.connect() as line:
        for odd in odd_lines():
            line.send(odd + b"\n" + json.dumps(PING).encode() + b"\n")
            answer = line.next()
            if "result" not in answer:
                assert_error(answer, -32600, None)
            assert line.next() == PONG, odd[:80]


def test_the_start_of_a_document_is_given_up_after_a_second(server: DataPlane) -> None:
    with server.connect() as line:
        line.send(b'{"jsonrpc":"2.0",\n')
        assert_error(line.next(), -32700, None)
        assert_lives(line)


def test_a_character_may_come_in_two_packets(server: DataPlane) -> None:
    text = "é€😀"
    message = json.dumps(request("ping", text), ensure_ascii=False).encode() + b"\n"
    begin = message.index(text.encode())
    with server.connect() as line, server.connect() as other:
        for cut in range(begin, begin + len(text.encode()) + 1):
            line.send(message[:cut])
            assert_lives(other)  # by now the server has read the first part
            line.send(message[cut:])
            assert line.next() == {"jsonrpc": "2.0", "id": text, "result": {}}


@pytest.mark.parametrize("octets", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf0\x9f\x98"])
def test_text_that_is_no_utf8_is_a_parse_error(server: DataPlane, octets: bytes) -> None:
    with server.connect() as line:
        line.send(b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"%b"}}\n' % octets)
        assert_error(line.next(), -32700, None)
        assert_lives(line)


@pytest.mark.parametrize("closed", [True, False])
def test_a_depth_of_ten_thousand_is_refused(server: DataPlane, closed: bool) -> None:
    deep = b'{"a":' * 10_000 + (b"1" + b"}" * 10_000 + b"}" if closed else b"")
    with server.connect() as line:
        line.send(b'{"jsonrpc":"2.0","id":1,"method":"ping","params":%b\n' % deep)
        assert_error(line.next(), -32700, None)
        assert_lives(line)


def test_a_line_of_64_mib_costs_one_answer_and_no_memory(server: DataPlane) -> None:
    chunk = b"x" * MIB
    with server.connect() as line, server.connect() as other:
        assert_lives(line)
        before = most = rss_bytes(server)
        for sent in range(64):
            line.send(chunk)
            most = max(most, rss_bytes(server))
            if sent % 16 == 0:
                assert_lives(other)
        assert_error(line.next(), -32600, None)  # told before the line has ended
        line.send(b"\n")
        assert_lives(line)
        assert max(most, rss_bytes(server)) - before < 8 * MIB


def test_half_a_line_holds_up_nobody_and_is_answered_once_it_is_whole(server: DataPlane) -> None:
    message = json.dumps(PING).encode() + b"\n"
    with server.connect() as hanging, server.connect() as other:
        hanging.send(message[:20])
        for _ in range(100):
            assert_lives(other)
        hanging.send(message[20:])
        assert hanging.next() == PONG


# -- what is no request ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_only_2025_03_26_has_batches(server: DataPlane, version: str) -> None:
    batch: list[Any] = [request("ping", 1), {"jsonrpc": "2.0", "method": "notifications/x"}, request("none", 2), 5, []]
    with introduced(server, version) as line:
        line.ask(said_in(version, "tools/list"))
        line.send(batch)
        answer = line.next()
        if version == "2025-03-26":
            assert [(each.get("id"), each.get("error", {}).get("code")) for each in answer] == [
                (1, None),
                (2, -32601),
                (None, -32600),
                (None, -32600),
            ]
        else:
            assert_error(answer, -32600, None)
        line.send(b"[]\n")
        assert_error(line.next(), -32600, None)
        assert line.ask(said_in(version, "tools/list", "good"))["id"] == "good"


def test_a_batch_of_a_connection_without_a_version_is_refused(server: DataPlane) -> None:
    with server.connect() as line:
        line.send([PING])
        assert_error(line.next(), -32600, None)
        assert_lives(line)


def test_a_batch_keeps_the_order_of_its_requests_and_needs_no_answer_for_notifications(
    server: DataPlane, ids: list[str]
) -> None:
    with introduced(server, "2025-03-26") as line:
        line.send([{"jsonrpc": "2.0", "method": "notifications/initialized"}])  # nothing to answer
        mixed = [
            tool_call("session_logs", at, session_id=ids[0]) if at % 3 else request("ping", at) for at in range(30)
        ]
        line.send(mixed)
        assert [answer["id"] for answer in line.next()] == list(range(30))


def test_what_says_nothing_of_whom_it_concerns_does_not_cancel_a_batch(server: DataPlane, ids: list[str]) -> None:
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
    with locked_database(server.hive.paths(ids[0])), introduced(server, "2025-03-26") as line:
        line.send([tool_call("session_memory", at, session_id=ids[0]) for at in range(2)])  # these wait for the lock
        server.call("server_info")  # by its answer the server has begun with the batch
        line.send({**cancelled, "params": {}})
        line.send({**cancelled, "params": {"requestId": None}})
        assert len(line.next()) == 2
        assert_lives(line)


@pytest.mark.parametrize("jsonrpc", ["1.0", "2", 2.0, 2, None, ["2.0"]])
def test_another_jsonrpc_is_an_invalid_request(server: DataPlane, jsonrpc: object) -> None:
    with server.connect() as line:
        assert_error(line.ask({"jsonrpc": jsonrpc, "id": 7, "method": "ping"}), -32600, 7)
        assert_error(line.ask({"id": "a", "method": "ping"}), -32600, "a")
        assert_lives(line)


@pytest.mark.parametrize("request_id", [None, True, [], {}, [1], {"a": 1}])
def test_an_id_that_no_answer_can_bear_is_an_invalid_request(server: DataPlane, request_id: object) -> None:
    with server.connect() as line:
        assert_error(line.ask(request("ping", request_id)), -32600, None)
        assert_lives(line)


@pytest.mark.parametrize("method", [None, 5, [], {}, True])
def test_a_method_that_is_no_text_is_an_invalid_request(server: DataPlane, method: object) -> None:
    with server.connect() as line:
        assert_error(line.ask({"jsonrpc": "2.0", "id": 7, "method": method}), -32600, 7)
        assert_lives(line)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_unknown_method_is_not_found(server: DataPlane, version: str) -> None:
    with introduced(server, version) as line:
        for method in ("", "no/such", "TOOLS/LIST", "tools/list\0", "__class__", "x" * 10_000):
            assert_error(line.ask(said_in(version, method, 3)), -32601, 3)
        assert "result" in line.ask(said_in(version, "tools/list", 4))


WRONG_PARAMS: list[tuple[str, Json]] = [
    ("tools/call", {}),
    ("tools/call", {"name": 5}),
    ("tools/call", {"name": "no_such_tool"}),
    ("tools/call", {"name": ["session_list"]}),
    ("tools/list", {"cursor": "abc"}),
    ("prompts/list", {"cursor": "abc"}),
    ("resources/templates/list", {"cursor": 5}),
    ("resources/list", {"cursor": "abc"}),
    ("resources/list", {"cursor": 5}),
    ("resources/read", {}),
    ("resources/read", {"uri": 5}),
    ("prompts/get", {}),
    ("prompts/get", {"name": "no_such_prompt"}),
    ("prompts/get", {"name": "diagnose_session", "arguments": {"session_id": 5}}),
    ("prompts/get", {"name": "diagnose_session", "arguments": [1]}),
    ("completion/complete", {"ref": 5, "argument": {}}),
]


@pytest.mark.parametrize("version", VERSIONS)
def test_wrong_params_are_invalid_params(server: DataPlane, version: str) -> None:
    with introduced(server, version) as line:
        for at, (method, params) in enumerate(WRONG_PARAMS):
            assert_error(line.ask(said_in(version, method, at, **params)), -32602, at)
        assert "result" in line.ask(said_in(version, "tools/list", "good"))


@pytest.mark.parametrize("params", [[], [1], "text", 5, True])
def test_params_that_are_no_object_are_invalid_params(server: DataPlane, params: object) -> None:
    with server.connect() as line:
        assert_error(line.ask({**request("tools/list", 5), "params": params}), -32602, 5)
        assert_lives(line)


def test_an_envelope_that_is_not_whole_is_refused_and_another_version_named(server: DataPlane) -> None:
    with server.connect() as line:
        line.ask(modern("tools/list"))
        assert_error(line.ask(request("tools/list", 2)), -32602, 2)
        assert_error(line.ask(request("tools/list", 3, _meta=5)), -32602, 3)
        meta = {**modern("x")["params"]["_meta"], "io.modelcontextprotocol/protocolVersion": "2030-01-01"}
        refused = line.ask(request("tools/list", 4, _meta=meta))
        assert_error(refused, -32022, 4)
        assert refused["error"]["data"]["supported"] == [MODERN]
        assert "result" in line.ask(modern("tools/list", 5))


# -- what is no session ----------------------------------------------------------------------------------------------------


def assert_tool_fault(version: str, answer: Json, request_id: object) -> None:
    """Arguments without an answer are a protocol error at first, and later a result that the model reads."""
    if version in BEFORE_TOOL_FAULTS:
        assert_error(answer, -32602, request_id)
        return
    assert answer["id"] == request_id and answer["result"]["isError"] is True, answer
    assert answer["result"]["content"][0]["text"]


@pytest.mark.parametrize("version", VERSIONS)
def test_an_unknown_session_or_a_path_in_its_place_is_told_in_the_way_of_the_version(
    server: DataPlane, version: str
) -> None:
    with introduced(server, version) as line:
        for tool in ABOUT_ONE:
            for wrong in NO_SESSIONS:
                call = said_in(version, "tools/call", tool, name=tool, arguments={"session_id": wrong})
                line.send(call)
                raw = line.raw()
                assert b"root:" not in raw and len(raw) < 1000
                assert_tool_fault(version, json.loads(raw), tool)
        no_arguments: tuple[Any, ...] = (5, [], "x", {"session_id": ABSENT, "tail": -1})
        for arguments in no_arguments:
            call = said_in(version, "tools/call", 1, name="session_logs", arguments=arguments)
            assert_tool_fault(version, line.ask(call), 1)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_resource_that_is_none_is_not_found_in_the_way_of_the_version(server: DataPlane, version: str) -> None:
    code = -32602 if version == MODERN else -32002
    with introduced(server, version) as line:
        for uri in NO_RESOURCES:
            for method in ("resources/read",) if version == MODERN else ("resources/read", "resources/subscribe"):
                answer = line.ask(said_in(version, method, uri, uri=uri))
                assert_error(answer, code, uri)
                assert answer["error"]["data"] == {"uri": uri}
        assert "result" in line.ask(said_in(version, "resources/read", 1, uri="hive://sessions"))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_cursor_of_another_list_is_refused(server: DataPlane, version: str) -> None:
    with introduced(server, version) as line:

        def listed(**arguments: Any) -> Json:
            return line.ask(said_in(version, "tools/call", 1, name="session_list", arguments=arguments))

        cursor = listed(limit=1)["result"]["structuredContent"]["next_cursor"]
        assert len(listed(limit=1, cursor=cursor)["result"]["structuredContent"]["sessions"]) == 1
        assert_tool_fault(version, listed(limit=1, cursor=cursor, text="first"), 1)
        for foreign in (cursor[:-2], cursor + "A", "abc", "é", "\0", "MTIz", "x" * 5000):
            assert_tool_fault(version, listed(cursor=foreign), 1)
        assert_error(line.ask(said_in(version, "resources/list", 2, cursor=cursor[:-2])), -32602, 2)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_cursor_of_another_sessions_events_is_refused(server: DataPlane, ids: list[str], version: str) -> None:
    paths = server.hive.paths(ids[0])
    append(paths.telemetry, message_event("x" * 50))
    foreign = len(read_bytes(paths.telemetry))
    size = len(read_bytes(server.hive.paths(ids[1]).telemetry))
    with introduced(server, version) as line:

        def events(session_id: str, cursor: object) -> Json:
            arguments = {"session_id": session_id, "cursor": cursor}
            return line.ask(said_in(version, "tools/call", 1, name="session_events", arguments=arguments))

        assert events(ids[0], foreign)["result"]["structuredContent"]["events"] == []
        for cursor in (foreign, size - 1, size + 1, 1, -1, 2**53, 10**30, "0", 0.5, None, True):
            assert_tool_fault(version, events(ids[1], cursor), 1)


# -- what changes under the reader -----------------------------------------------------------------------------------------


def test_a_torn_record_makes_that_one_session_unreadable_until_it_is_repaired(
    server: DataPlane, ids: list[str]
) -> None:
    path = server.hive.paths(ids[0]).record
    whole = read_bytes(path)
    of_another = whole.replace(ids[0].encode(), ids[1].encode())
    with server.connect() as line:
        for torn in (whole[: len(whole) // 2], b"", b"\xff\xfe", b"[" * 10_000, b"[]", of_another):
            try:
                Path(path).write_bytes(torn)
                _assert_unreadable(line, ids[0], ids[1])
            finally:
                Path(path).write_bytes(whole)
            assert line.ask(tool_call("session_status", session_id=ids[0]))["result"]["status"] == "created"


def _assert_unreadable(line: Line, torn: str, other: str) -> None:
    rows = {row["session_id"]: row for row in line.ask(tool_call("session_list"))["result"]["sessions"]}
    assert (rows[torn]["status"], rows[other]["status"]) == ("unreadable", "created")
    status = line.ask(tool_call("session_status", session_id=torn))["result"]
    assert status["status"] == "unreadable" and "session.json" in status["detail"], status
    for tool in ABOUT_ONE:
        assert "result" in line.ask(tool_call(tool, session_id=torn))
    assert line.ask(tool_call("session_status", session_id=other))["result"]["status"] == "created"


def _questions(session_id: str) -> Iterator[Json]:
    """Everything that can be asked about one session."""
    for tool in ABOUT_ONE:
        yield tool_call(tool, session_id=session_id)
    for suffix in ("", "/agents", "/telemetry", "/log"):
        for method in ("resources/read", "resources/subscribe", "resources/unsubscribe"):
            yield request(method, uri=f"hive://session/{session_id}{suffix}")
    yield request("prompts/get", name="diagnose_session", arguments={"session_id": session_id})
    for tool in ("session_list", "swarm_list", "agent_list", "performance_summary"):
        yield tool_call(tool)
    yield request("resources/list")


EXPECTED = {0, -32602, -32002}  # answers, and errors while it is away


def test_a_session_that_goes_and_comes_back_under_its_readers_breaks_nothing(server: DataPlane, ids: list[str]) -> None:
    home = server.hive.paths(ids[0]).dir
    away = f"{server.hive.root}/away"
    done = threading.Event()
    codes: set[int] = set()

    def read() -> None:
        with server.connect() as line:
            for number in range(300):
                if number >= 12 and codes >= EXPECTED:
                    break
                for question in _questions(ids[0]):
                    line.send(question)
                    while "id" not in (answer := line.next()):
                        continue  # a notification
                    codes.add(answer.get("error", {}).get("code", 0))

    readers = [threading.Thread(target=read) for _ in range(3)]
    mover = threading.Thread(target=_move_to_and_fro, args=(home, away, done))
    for thread in (*readers, mover):
        thread.start()
    for thread in readers:
        thread.join()
    done.set()
    mover.join()
    assert codes == EXPECTED
    assert server.call("session_status", session_id=ids[0])["status"] == "created"


def _move_to_and_fro(home: str, away: str, done: threading.Event) -> None:
    while not done.wait(0.002):
        os.rename(home, away)
        done.wait(0.002)
        os.rename(away, home)


def test_sessions_removed_file_by_file_under_their_readers_break_nothing(server: DataPlane, ids: list[str]) -> None:
    pattern = server.hive.paths(ids[0]).dir
    with server.connect() as line:
        for at in range(20):
            session_id = f"{at:08x}-2222-4333-8444-555555555555"
            directory = server.hive.paths(session_id).dir
            shutil.copytree(pattern, directory, symlinks=True)
            for question in _questions(session_id):
                line.send(question)
            shutil.rmtree(directory)
            answers = 0
            while answers < len(list(_questions(session_id))):
                answer = line.next()
                answers += "id" in answer
                assert answer.get("error", {}).get("code") in (None, -32602, -32002), answer
            assert_error(line.ask(tool_call("session_status", session_id=session_id)), -32602, 1)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_database_that_its_owner_has_locked_is_told_and_holds_up_nobody(
    server: DataPlane, ids: list[str], version: str
) -> None:
    call = said_in(version, "tools/call", 1, name="session_memory", arguments={"session_id": ids[0]})
    with (
        locked_database(server.hive.paths(ids[0])) as owner,
        introduced(server, version) as line,
        server.connect() as other,
    ):
        line.send(call)
        for _ in range(20):
            assert_lives(other)
        answer = line.next()
        assert_tool_fault(version, answer, 1)
        assert "busy" in json.dumps(answer)
        owner.execute("ROLLBACK")
        assert line.ask(call)["result"]["structuredContent"]["entries"]


def test_a_peer_that_goes_in_the_middle_of_everything_leaves_nothing_behind(server: DataPlane, ids: list[str]) -> None:
    for at in range(30):
        line = server.connect()
        line.send(tool_call("session_logs", at, session_id=ids[0]))
        line.send(json.dumps(PING).encode()[: at % 40])
        line.close()
    until(lambda: server.call("server_info")["clients"] == 1, "the server to have noticed that all have gone")
