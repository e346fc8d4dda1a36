"""What one client, or many, can make the data plane do is bounded; its settings, its end and its figures over HTTP."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from mcp_tcp import server
from tests.integration.hive import DEADLINE_S, Hive, read_bytes, until
from tests.integration.mcp_disk import append, assert_quiet, locked_database, message_event, rss_bytes, tool_call
from tests.integration.mcp_server import DataPlane, Json, Line, ending_piped_calls, modern, request, running_first

MIB = 1 << 20
PING = request("ping", "good")
PONG = {"jsonrpc": "2.0", "id": "good", "result": {}}
SUPERVISORS_WAIT_S = 5.0  # from SIGTERM to SIGKILL


def assert_lives(line: Line) -> None:
    assert line.ask(PING) == PONG


def encoded(messages: list[Json]) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


@pytest.fixture
def session_id(plane: DataPlane) -> str:
    return plane.hive.create("rehearsal")


def mixed(count: int, session_id: str) -> list[Json]:
    """Requests that are answered at once, and such that wait for the disk, with their numbers as ids."""
    return [_kinds(at, session_id)[at % 7] for at in range(count)]


def _kinds(at: int, session_id: str) -> tuple[Json, ...]:
    about: Json = {"session_id": session_id}
    return (
        request("ping", at),
        tool_call("session_logs", at, **about, tail=at),  # each is another question
        tool_call("session_list", at),
        request("no/such/method", at),
        tool_call("session_events", at, **about, limit=at),
        tool_call("session_status", at, session_id="none"),
        request("resources/read", at, uri=f"hive://session/{session_id}"),
    )


# -- connections -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speaks_first", [False, True])
def test_connection_51_is_told_why_and_closed_and_a_new_one_served_once_another_left(
    plane: DataPlane, speaks_first: bool
) -> None:
    with ExitStack() as stack:
        lines = [stack.enter_context(plane.connect()) for _ in range(50)]
        for line in lines:
            assert_lives(line)
        with plane.connect() as refused:
            if speaks_first:
                refused.send(encoded([PING] * 100))
            answer = refused.next()
            assert (answer["id"], answer["error"]["code"]) == (None, -32000)
            assert "50" in answer["error"]["message"]
            assert refused.rest() == []
        assert_lives(lines[0])
        lines[7].close()
        until(lambda: _is_served(plane), "a new connection to be served")
        assert_lives(lines[0])
    assert "Traceback" not in plane.log


def _is_served(plane: DataPlane) -> bool:
    return "result" in plane.ask(PING)


def test_those_who_were_refused_and_do_not_leave_are_closed_and_keep_nobody_out(tmp_path: Path) -> None:
    with Hive(tmp_path / "hive") as hive, DataPlane(hive, "--max-connections", "1") as plane, ExitStack() as stack:
        first = stack.enter_context(plane.connect())
        assert_lives(first)
        refused = [stack.enter_context(plane.connect()) for _ in range(5)]
        assert ["error" in line.next() for line in refused] == [True] * 5
        first.close()
        until(lambda: _is_served(plane), "a new connection to be served")


# -- one message -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [None, 4096])
def test_a_message_at_the_limit_is_answered_and_one_byte_more_refused(tmp_path: Path, limit: int | None) -> None:
    env = {"MAX_REQUEST_SIZE": str(limit)} if limit else {}
    size = limit or MIB
    with Hive(tmp_path / "hive") as hive, DataPlane(hive, env=env) as plane, plane.connect() as line:
        for end in (b"\n", b"\r\n"):
            line.send(_padded(size) + end)
            assert line.next() == PONG
            line.send(_padded(size + 1) + end)
            answer = line.next()
            assert (answer["id"], answer["error"]["code"]) == (None, -32600)
            assert str(size) in answer["error"]["message"]
            assert_lives(line)


def _padded(size: int) -> bytes:
    """A request of that many bytes."""
    message = json.dumps({**PING, "params": {"x": ""}}).encode()
    return message.replace(b'""', b'"%b"' % (b"x" * (size - len(message))))


def test_the_answers_to_one_batch_are_bounded_and_each_request_gets_one(plane: DataPlane) -> None:
    with plane.connect() as line:
        line.ask(request("initialize", 0, protocolVersion="2025-03-26", capabilities={}, clientInfo={}))
        line.send([request("tools/list", at) for at in range(15_000)])  # of each, 45 kB would come back
        raw = line.raw()
        assert len(raw) < 8 * MIB
        answers = json.loads(raw)
        assert [answer["id"] for answer in answers] == list(range(15_000))
        refused = [answer["error"]["code"] for answer in answers if "error" in answer]
        assert set(refused) == {-32600} and len(refused) < 15_000
        assert_lives(line)


def test_a_peer_that_is_silent_is_asked_by_the_kernel_whether_it_is_there(plane: DataPlane) -> None:
    with plane.connect() as line, socket.create_connection(("127.0.0.1", plane.port)) as peer:
        assert_lives(line)
        ends = f"0100007F:{plane.port:04X} 0100007F:{peer.getsockname()[1]:04X}"

        def timer() -> str:
            (row,) = (row for row in read_bytes("/proc/net/tcp").decode().splitlines() if ends in row)
            return row.split()[5]

        until(lambda: timer().startswith("02:"), "its timer to be that of keepalive")


# -- those who are silent --------------------------------------------------------------------------------------------------


def test_only_a_piped_call_is_ended_when_it_stays_silent(tmp_path: Path) -> None:
    with (
        Hive(tmp_path / "hive") as hive,
        ending_piped_calls(hive, 1.0) as plane,
        plane.connect() as mute,
        plane.connect() as introduced,
        plane.connect() as stateless,
        plane.connect() as typing,
    ):
        introduced.ask(request("initialize", 1, protocolVersion="2025-06-18", capabilities={}, clientInfo={}))
        stateless.ask(modern("tools/list"))
        typing.ask(PING)
        typing.ask(PING)
        with plane.connect() as piped:  # its end is the clock: it takes the linger, and has asked last
            piped.send(PING)
            assert [json.loads(line) for line in piped.rest()] == [PONG]
        for line in (mute, introduced, typing):
            assert_lives(line) if line is not mute else line.send(PING)
        assert mute.next() == PONG
        assert "result" in stateless.ask(modern("tools/list"))


def test_a_linger_of_nothing_ends_nobody(tmp_path: Path) -> None:
    with (
        Hive(tmp_path / "hive") as hive,
        DataPlane(hive, "--linger-s", "0") as plane,
        plane.connect() as piped,
        plane.connect() as clock,
    ):
        assert_lives(piped)
        clock.send(b"{\n")
        clock.next()  # after a second
        assert_lives(piped)


# -- those who do not read -------------------------------------------------------------------------------------------------


def deaf_peer(plane: DataPlane, requests: int) -> socket.socket:
    """One that asks for all tools so often, and reads nothing."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.connect(("127.0.0.1", plane.port))
    peer.setblocking(False)
    rest = encoded([request("tools/list")] * requests)
    try:
        while rest:
            rest = rest[peer.send(rest) :]
    except BlockingIOError:
        pass  # the server does not take more
    return peer


HURRY = "import mcp_tcp.connection\nmcp_tcp.connection.SLOW_S = 1.0\n"


@pytest.fixture
def hurried(tmp_path: Path) -> Iterator[DataPlane]:
    """A data plane that waits one second for a peer that does not read, and not half a minute."""
    env = running_first(tmp_path / "hurry", HURRY)
    with Hive(tmp_path / "hive") as hive, DataPlane(hive, env=env) as plane:
        yield plane


def test_a_peer_that_does_not_read_is_bounded_and_then_closed_and_others_are_served(hurried: DataPlane) -> None:
    with hurried.connect() as other:
        assert_lives(other)
        before = rss_bytes(hurried)
        peer = deaf_peer(hurried, 20_000)
        most = 0

        def is_closed() -> bool:
            nonlocal most
            assert_lives(other)
            most = max(most, rss_bytes(hurried))
            return "has not read for 1 s" in hurried.log

        until(is_closed, "the peer that does not read to be let go")
        assert most - before < 16 * MIB
        with peer:
            _read_to_the_end(peer)
        assert_lives(other)
        until(lambda: hurried.call("server_info")["clients"] == 2, "the peer to be counted out")
    assert_quiet(hurried)


def _read_to_the_end(peer: socket.socket) -> None:
    """What is in our own buffer, then the end. Raises: TimeoutError when there is none."""
    peer.settimeout(10)
    try:
        while peer.recv(1 << 16):
            continue
    except ConnectionResetError:
        return


def test_a_slow_peer_that_reads_after_all_gets_every_answer_in_order(plane: DataPlane) -> None:
    with plane.connect() as line:
        line.send(encoded([request("tools/list", at) for at in range(400)]))  # some 10 MB of answers
        line.end()
        assert [json.loads(raw)["id"] for raw in line.rest()] == list(range(400))


def test_a_peer_that_goes_while_it_is_subscribed_is_counted_out(plane: DataPlane, session_id: str) -> None:
    uri = f"hive://session/{session_id}/log"
    with plane.connect() as legacy, plane.connect() as listening:
        assert legacy.ask(request("resources/subscribe", uri=uri))["result"] == {}
        listening.ask(modern("subscriptions/listen", notifications={"resourceSubscriptions": [uri]}))
    until(
        lambda: plane.call("server_info")["clients"] == 1, "the peers to be counted out, though nothing was to be told"
    )


# -- order -----------------------------------------------------------------------------------------------------------------


def test_a_thousand_requests_in_one_write_are_answered_in_their_order(plane: DataPlane, session_id: str) -> None:
    with plane.connect() as line:
        line.send(encoded(mixed(1000, session_id)))
        answers = [line.next() for _ in range(1000)]
    assert [answer["id"] for answer in answers] == list(range(1000))
    for at, answer in enumerate(answers):
        assert answer.get("error", {}).get("code") == {3: -32601, 5: -32602}.get(at % 7), answer


def test_requests_that_come_byte_by_byte_are_answered_in_their_order(plane: DataPlane, session_id: str) -> None:
    with plane.connect() as line:
        for octet in encoded(mixed(20, session_id)):
            line.send(bytes([octet]))
        assert [line.next()["id"] for _ in range(20)] == list(range(20))


@pytest.mark.parametrize("count", [10, 1000])
def test_what_comes_while_an_answer_is_awaited_waits_its_turn(plane: DataPlane, session_id: str, count: int) -> None:
    with locked_database(plane.hive.paths(session_id)), plane.connect() as line:
        line.send(tool_call("session_memory", "slow", session_id=session_id))
        for at in range(count):
            line.send(request("ping", at))
            if at % 100 == 0:
                plane.call("server_info")  # by its answer the server has read what came before
        line.end()
        assert [json.loads(raw)["id"] for raw in line.rest()] == ["slow", *range(count)]


def test_after_a_half_close_all_hundred_answers_come_and_then_the_end(plane: DataPlane, session_id: str) -> None:
    answers = plane.lines(encoded([tool_call("session_logs", at, session_id=session_id, tail=at) for at in range(100)]))
    assert [answer["id"] for answer in answers] == list(range(100))


# -- the end ---------------------------------------------------------------------------------------------------------------


def test_sigterm_answers_what_is_pending_ends_subscriptions_and_exits_with_0(plane: DataPlane, session_id: str) -> None:
    assert plane.process
    uri = f"hive://session/{session_id}/telemetry"
    with plane.connect() as busy, plane.connect() as listening, plane.connect() as legacy, plane.connect() as mute:
        listening.ask(modern("subscriptions/listen", "sub", notifications={"resourceSubscriptions": [uri]}))
        legacy.ask(request("resources/subscribe", uri=uri))
        busy.send(encoded(mixed(200, session_id)))
        first = busy.next()
        plane.process.send_signal(signal.SIGTERM)
        assert [first["id"], *(json.loads(raw)["id"] for raw in busy.rest())] == list(range(200))
        ended = [json.loads(raw) for raw in listening.rest()]
        assert [(message["id"], message["result"]["resultType"]) for message in ended] == [("sub", "complete")]
        assert ended[0]["result"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": "sub"}
        assert (legacy.rest(), mute.rest()) == ([], [])
        assert plane.process.wait(DEADLINE_S) == 0
    with pytest.raises(ConnectionRefusedError):
        plane.connect()
    assert_quiet(plane)


def test_while_it_takes_its_leave_nobody_new_is_let_in_and_nobody_can_hold_it_up(plane: DataPlane) -> None:
    assert plane.process and server.LEAVE_S < SUPERVISORS_WAIT_S
    with deaf_peer(plane, 2000):
        until(lambda: plane.call("server_info")["clients"] == 2, "the peer that does not read to be in")
        began = time.monotonic()
        plane.process.send_signal(signal.SIGTERM)
        until(lambda: "no new connections" in plane.log, "the server to begin to leave")
        with pytest.raises(ConnectionRefusedError):
            until(lambda: plane.connect().close(), "a new connection to be refused")
        waits = plane.process.poll() is None
        assert waits or time.monotonic() - began > server.LEAVE_S  # for the peer
        assert plane.process.wait(DEADLINE_S) == 0  # which has half a minute at other times
        assert time.monotonic() - began > server.LEAVE_S
    assert_quiet(plane)


def test_sigint_ends_it_in_the_same_way(plane: DataPlane) -> None:
    assert plane.process
    plane.process.send_signal(signal.SIGINT)
    assert plane.process.wait(DEADLINE_S) == 0
    assert_quiet(plane)


# -- settings --------------------------------------------------------------------------------------------------------------


def attempt(hive: Hive, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A server that does not come to serve."""
    argv = [sys.executable, "-m", "mcp_tcp", *words]
    return subprocess.run(argv, env={**hive.env, **env}, cwd=hive.root, capture_output=True, text=True, timeout=30)


@pytest.fixture
def hive(tmp_path: Path) -> Iterator[Hive]:
    with Hive(tmp_path / "alone") as hive:
        yield hive


def test_a_port_that_is_taken_is_one_line_and_exit_code_75(plane: DataPlane, hive: Hive) -> None:
    for ports in (
        ("--port", str(plane.port), "--health-port", "-1"),
        ("--port", "0", "--health-port", str(plane.port)),
    ):
        done = attempt(hive, *ports)
        lines = [line for line in done.stderr.splitlines() if "listening on" not in line]
        assert (done.returncode, done.stdout, len(lines)) == (75, "", 1), done.stderr
        assert "--port" in lines[0]


@pytest.mark.parametrize("sources, limit", [(1, 2048), (2, 3072), (3, 4096)])
def test_flags_win_over_the_environment_and_that_over_the_file(hive: Hive, sources: int, limit: int) -> None:
    hive.config.write_text("[mcp_tcp]\nmax_request_bytes = 2048\nmax_connections = 3\n", encoding="utf-8")
    env = {"MAX_REQUEST_SIZE": "3072"} if sources > 1 else {}
    words = ["--max-request-bytes", "4096"] if sources > 2 else []
    with DataPlane(hive, *words, env=env) as plane, ExitStack() as stack:
        answer = plane.ask({**PING, "params": {"x": "x" * 10_000}})
        assert f"at most {limit} bytes" in answer["error"]["message"]
        until(lambda: plane.call("server_info")["clients"] == 1, "the first call to be over")
        lines = [stack.enter_context(plane.connect()) for _ in range(3)]
        for line in lines:
            assert_lives(line)
        assert "there are 3" in stack.enter_context(plane.connect()).next()["error"]["message"]


@pytest.mark.parametrize(
    "words, env, file, named",
    [
        (["--port", "nine"], {}, "", "--port"),
        (["--port", "65536"], {}, "", "--port"),
        (["--max-request-bytes", "10"], {}, "", "--max-request-bytes"),
        (["--linger-s", "-1"], {}, "", "--linger-s"),
        (["--health-port", "-2"], {}, "", "--health-port"),
        ([], {"MCP_TCP_PORT": "70000"}, "", "MCP_TCP_PORT"),
        ([], {"TCP_MAX_CONNECTIONS": "0"}, "", "TCP_MAX_CONNECTIONS"),
        ([], {"MAX_REQUEST_SIZE": "1 MiB"}, "", "MAX_REQUEST_SIZE"),
        ([], {"MCP_LINGER_S": "nan"}, "", "MCP_LINGER_S"),
        ([], {}, '[mcp_tcp]\nport = "x"\n', "mcp_tcp.port"),
        ([], {}, "[mcp_tcp]\nport = true\n", "mcp_tcp.port"),
        ([], {}, "[mcp_tcp]\nno_such_key = 1\n", "mcp_tcp.no_such_key"),
        ([], {}, "mcp_tcp = 5\n", "mcp_tcp"),
        ([], {}, "[mcp_tcp\n", "alone/agents.toml"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it_and_exit_code_2_for_a_flag_78_for_the_rest(
    hive: Hive, words: list[str], env: Mapping[str, str], file: str, named: str
) -> None:
    hive.config.write_text(file, encoding="utf-8")
    done = attempt(hive, *words, **env)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2 if words else 78, "", 1), done.stderr
    assert named in done.stderr


def test_unknown_words_are_wrong_usage_and_help_tells_the_exit_codes(hive: Hive) -> None:
    assert attempt(hive, "--no-such-flag").returncode == 2
    told = attempt(hive, "--help")
    codes = re.search(r"exit codes:(.*)", told.stdout)
    assert told.returncode == 0 and codes
    assert re.findall(r"\d+", codes[1]) == ["0", "2", "74", "75", "77", "78"]


# -- over HTTP -------------------------------------------------------------------------------------------------------------


def get(plane: DataPlane, path: str) -> tuple[int, str, bytes]:
    """Status, type and body of what is at `path` on the health port."""
    port = int(re.findall(r"health on http://127\.0\.0\.1:(\d+)/healthz", plane.log)[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read()
    finally:
        connection.close()


NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
COMMENT = re.compile(rf"# (HELP|TYPE) ({NAME}) (.+)")
SAMPLE = re.compile(
    rf'({NAME})(\{{{NAME}="[^"\\\n]*"(?:,{NAME}="[^"\\\n]*")*\}})? (\+Inf|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)'
)


def parsed(text: bytes) -> dict[str, float]:
    """Sample by name and labels. Raises: AssertionError for what breaks a rule of the text format 0.0.4."""
    samples: dict[str, float] = {}
    types: dict[str, str] = {}
    helped: set[str] = set()
    families: list[str] = []
    assert text.endswith(b"\n")
    for line in text.decode().splitlines():
        if comment := COMMENT.fullmatch(line):
            kind, name, rest = comment.groups()
            assert name not in families, f"{line}: after samples of the same"
            assert name not in (helped if kind == "HELP" else types), f"{line}: twice"
            if kind == "HELP":
                helped.add(name)
            else:
                types[name] = rest
                assert rest in ("counter", "gauge", "histogram")
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, f"neither comment nor sample: {line!r}"
        name, labels, value = sample.groups()
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        family = family if types.get(family) == "histogram" else name
        assert family in types and family in helped, f"{line}: without TYPE and HELP"
        assert family not in families[:-1], f"{line}: its family was over"
        families += [family] if families[-1:] != [family] else []
        assert (types[family] == "counter") == name.endswith("_total"), line
        key = name + (labels or "")
        assert key not in samples, f"{line}: twice"
        samples[key] = float(value.replace("+Inf", "inf"))
    return samples


def test_health_and_readiness_are_told_as_json(plane: DataPlane, session_id: str) -> None:
    status, kind, body = get(plane, "/healthz")
    assert (status, kind, json.loads(body)["status"]) == (200, "application/json", "ok")
    until(lambda: get(plane, "/readyz")[0] == 200, "the server to be ready")
    assert json.loads(get(plane, "/readyz")[2]) == {"ready": True, "sessions": 1}
    assert get(plane, "/none")[0] == 404


def test_metrics_parse_count_and_name_no_session(plane: DataPlane, session_id: str) -> None:
    before = parsed(get(plane, "/metrics")[2])
    with plane.connect() as line:
        for message in mixed(70, session_id):
            line.ask(message)
        line.ask(request("resources/subscribe", uri=f"hive://session/{session_id}/log"))
        line.send(b"no json\n")
        line.next()
        line.ask(request(f"no/{session_id}", 1))
        append(plane.hive.paths(session_id).telemetry, message_event("hello"))
        status, kind, body = get(plane, "/metrics")
        after = parsed(body)
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert session_id.encode() not in body

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert after['hive_sessions{state="created"}'] == 1
    assert (after["hive_mcp_clients"], after["hive_mcp_subscriptions"]) == (1, 1)
    assert grown('hive_mcp_requests_total{method="ping"}') == 10
    assert grown('hive_mcp_requests_total{method="tools/call"}') == 40
    assert grown('hive_mcp_requests_total{method="other"}') == 11
    assert grown('hive_mcp_errors_total{code="-32601"}') == 11
    assert grown('hive_mcp_errors_total{code="-32602"}') == 10
    assert grown('hive_mcp_errors_total{code="-32700"}') == 1
    assert grown("hive_mcp_request_duration_seconds_count") == 73
    buckets = [value for name, value in after.items() if name.startswith("hive_mcp_request_duration_seconds_bucket")]
    assert buckets == sorted(buckets) and buckets[-1] == after["hive_mcp_request_duration_seconds_count"]
    assert after["hive_mcp_request_duration_seconds_sum"] > 0
    until(lambda: parsed(get(plane, "/metrics")[2])["hive_mcp_clients"] == 0, "the client to be counted out")
