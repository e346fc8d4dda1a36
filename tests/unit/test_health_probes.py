"""What the bytes that come back from a server say about it, and whom the listener asks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk.settings import address_to_serve
from hive_session.suite.probes import (
    FULL,
    HEALTHS,
    LOADING,
    MAX_ANSWER_BYTES,
    OK,
    SILENT,
    Answer,
    judge_http,
    judge_ping,
    questions,
    reachable,
    worst,
)
from mcp_tcp.jsonrpc import REFUSED, error_line

PONG = b'{"jsonrpc":"2.0","id":"hive-health","result":{}}\n'
FULL_HOUSE = error_line(None, REFUSED, "Too many connections: there are 50; close one or try again later")
NEEDS_TOKEN = error_line("hive-health", REFUSED, "Authentication required: a token is needed first")
READY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def health(judged: Answer | None) -> str | None:
    return judged.health if judged else None


@pytest.mark.parametrize(
    ("data", "meant"),
    [
        (PONG, OK),
        (PONG + b"more", OK),
        (NEEDS_TOKEN, OK),
        (error_line("hive-health", -32601, "Method not found: ping"), OK),
        (FULL_HOUSE, FULL),
        (error_line(None, -32700, "Parse error"), SILENT),
        (PONG.replace(b"hive-health", b"other"), SILENT),
        (b"HTTP/1.1 200 OK\r\n", SILENT),
        (b"\n", SILENT),
        (b"[]\n", SILENT),
        (b'{"jsonrpc":"2.0"}\n', SILENT),
        (b'{"jsonrpc":"2.0","error":7}\n', SILENT),
        (b"\xff\x00\x1b[2J\n", SILENT),
        (b"[" * 60_000 + b"\n", SILENT),
        (b"x" * MAX_ANSWER_BYTES, SILENT),
    ],
)
def test_a_refusal_is_an_answer_and_garbage_is_none(data: bytes, meant: str) -> None:
    assert health(judge_ping(data, False)) == meant


@pytest.mark.parametrize(
    ("data", "meant"),
    [
        (READY, OK),
        (b"HTTP/1.0 200 \r\n", OK),
        (b"HTTP/1.1 503 Service Unavailable\r\n", LOADING),
        (b"HTTP/1.1 404 Not Found\r\n", SILENT),
        (b"HTTP/1.1 \r\n", SILENT),
        (b"SSH-2.0-OpenSSH_9.2\r\n", SILENT),
        (b"\r\n", SILENT),
        (b"x" * MAX_ANSWER_BYTES, SILENT),
    ],
)
def test_the_status_of_a_response_is_what_counts(data: bytes, meant: str) -> None:
    assert health(judge_http(data, False)) == meant


def test_who_hangs_up_without_a_word_over_http_has_a_full_house() -> None:
    assert health(judge_http(b"", True)) == FULL
    assert health(judge_ping(b"", True)) == SILENT
    assert health(judge_http(b"HTTP/1.1 20", True)) == health(judge_ping(b'{"json', True)) == SILENT


@given(st.sampled_from([PONG, FULL_HOUSE, READY]), st.integers(0, 400))
def test_an_answer_in_pieces_is_waited_for(whole: bytes, cut: int) -> None:
    judge, end = (judge_http, b"\r\n") if whole is READY else (judge_ping, b"\n")
    piece = whole[:cut]
    assert (judge(piece, False) is None) == (end not in piece)


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_are_too_odd_and_none_of_them_reaches_a_terminal(data: bytes, ended: bool) -> None:
    for judge in (judge_ping, judge_http):
        answer = judge(data, ended)
        if answer is None:
            assert not ended
        else:
            assert answer.health in HEALTHS and answer.detail.isprintable()


def test_the_worst_answer_counts() -> None:
    assert worst([Answer(OK), Answer(SILENT, "x"), Answer(LOADING)]).detail == "x"
    assert worst([Answer(OK), Answer(FULL)]).health == FULL


# -- whom to ask -------------------------------------------------------------------------------------------------------


def places(**env: str) -> dict[str, list[str]]:
    return {name: [each.place for each in found] for name, found in questions(env).items()}


def test_the_ports_are_those_of_the_servers() -> None:
    assert places() == {
        "mcp-tcp-server": ["127.0.0.1:9500", "127.0.0.1:9501/readyz"],
        "mcp-ws-bridge": ["127.0.0.1:3002/readyz"],
        "claude-flow-tcp": ["127.0.0.1:9503/health"],
    }
    chosen = places(
        MCP_TCP_PORT="1", MCP_HEALTH_PORT="-1", MCP_BRIDGE_PORT="2", CLAUDE_FLOW_HEALTH_PORT="3", TCP_AUTH_TOKEN="t"
    )
    assert [*chosen.values()] == [["127.0.0.1:1"], ["127.0.0.1:2/readyz"], ["127.0.0.1:3/health"]]


@pytest.mark.parametrize(
    ("bind", "token", "host"),
    [
        ("0.0.0.0", "", "127.0.0.1"),
        ("0.0.0.0", "t", "127.0.0.1"),
        ("::", "t", "::1"),
        ("::1", "", "::1"),
        ("10.0.0.5", "t", "10.0.0.5"),
        ("10.0.0.5", "", "127.0.0.1"),
        ("localhost", "", "127.0.0.1"),
        ("", "", "127.0.0.1"),
    ],
)
def test_a_server_is_asked_where_it_listens(bind: str, token: str, host: str) -> None:
    asked = questions({"HIVE_BIND": bind, "TCP_AUTH_TOKEN": token, "WS_AUTH_TOKEN": token})
    assert asked["mcp-tcp-server"][0].address == (host, 9500)
    assert asked["mcp-ws-bridge"][0].address == (host, 3002)


@pytest.mark.parametrize(("trust", "host"), [("true", "10.0.0.5"), ("", "127.0.0.1"), ("false", "127.0.0.1")])
def test_trust_opens_all_of_them_and_nothing_else_opens_the_proxy(trust: str, host: str) -> None:
    asked = questions({"HIVE_BIND": "10.0.0.5", "HIVE_TRUST_NETWORK": trust})
    assert {each[0].address[0] for each in asked.values()} == {host}
    with_token = questions({"HIVE_BIND": "10.0.0.5", "TCP_AUTH_TOKEN": "t", "WS_AUTH_TOKEN": "t"})
    assert with_token["claude-flow-tcp"][0].address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "bind", ["127.0.0.1", "127.9.9.9", "localhost", "::1", "10.0.0.5", "127.example.org", "fe80::1"]
)
@pytest.mark.parametrize("token", ["", "t"])
def test_where_they_listen_is_what_they_say_themselves(bind: str, token: str) -> None:
    serves = address_to_serve(bind, token=token, trusted=False)
    assert reachable(bind, is_open=bool(token)) == reachable(serves, is_open=True)


def test_no_token_is_ever_sent() -> None:
    asked = questions({"TCP_AUTH_TOKEN": "secret", "WS_AUTH_TOKEN": "secret"})
    assert all(b"secret" not in each.request for found in asked.values() for each in found)


@pytest.mark.parametrize("text", ["x", "65536", "-2", "9500 "])
def test_a_port_that_is_none_is_named(text: str) -> None:
    if text == "9500 ":
        assert questions({"MCP_TCP_PORT": text})["mcp-tcp-server"][0].address == ("127.0.0.1", 9500)
        return
    with pytest.raises(ValueError, match="MCP_TCP_PORT"):
        questions({"MCP_TCP_PORT": text})
