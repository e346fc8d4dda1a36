"""What the bytes that come back from a server say about it, and whom the listener asks."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    ("left", "host"),
    [
        ("0.0.0.0\n", "127.0.0.1"),
        ("::\n", "::1"),
        ("10.0.0.5\n", "10.0.0.5"),
        ("fe80::1%eth0\n", "fe80::1%eth0"),
        ("", "127.0.0.1"),
        (None, "127.0.0.1"),
        (b"\xff\0", "127.0.0.1"),
    ],
)
def test_a_server_is_asked_where_it_says_that_it_listens(left: str | bytes | None, host: str, tmp_path: Path) -> None:
    if left is not None:
        data = left if isinstance(left, bytes) else left.encode()
        Path(tmp_path, "mcp-tcp.host").write_bytes(data)
    Path(tmp_path, "mcp-tcp-proxy.host").write_text("10.0.0.6\n", encoding="ascii")
    asked = questions({"HIVE_RUN_DIR": str(tmp_path), "HIVE_BIND": "10.0.0.7"})
    assert {each.address[0] for each in asked["mcp-tcp-server"]} == {host}
    assert asked["claude-flow-tcp"][0].address[0] == "10.0.0.6"
    assert asked["mcp-ws-bridge"][0].address[0] == "127.0.0.1"


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
