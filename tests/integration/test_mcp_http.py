"""The small HTTP server for health and metrics, over real sockets in one event loop."""

import asyncio
import http.client
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from mcp_tcp import http as mcp_http
from mcp_tcp.http import HEAD_TIMEOUT_S, JSON, MAX_CONNECTIONS, MAX_HEAD_BYTES, Response, serve_http

T = TypeVar("T")

BODY = b'{"ok":true}\n'
ROUTES = {
    "/": lambda: Response(200, JSON, BODY),
    "/readyz": lambda: Response(503, JSON, b"{}\n"),
    "/metrics": lambda: Response(200, "text/plain; version=0.0.4", b"x" * 3_000_000),
}


def served(visit: Callable[[int], Awaitable[T]]) -> T:
    """What `visit` finds at the port of a server."""

    async def run() -> T:
        server = await serve_http("127.0.0.1", 0, ROUTES)
        async with server:
            return await asyncio.wait_for(visit(server.sockets[0].getsockname()[1]), 20)

    return asyncio.run(run())


def answer_to(*pieces: bytes, eof: bool = False) -> bytes:
    """All that the server says to a request that is sent in pieces."""

    async def visit(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01 if len(pieces) > 1 else 0)  # so that the pieces are packets
        if eof:
            writer.write_eof()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    return served(visit)


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 ")
    return int(answer.split()[1])


@pytest.mark.parametrize("path", ["/", "/?x=/metrics", "/?"])
def test_a_known_path_is_answered_whatever_its_query(path: str) -> None:
    def ask(port: int) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path)
        response = connection.getresponse()
        found = response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        connection.close()
        return found

    status, headers, body = served(lambda port: asyncio.to_thread(ask, port))
    assert (status, body) == (200, BODY)
    assert headers["content-type"] == JSON
    assert headers["content-length"] == str(len(BODY))
    assert headers["connection"] == "close"


def test_head_has_the_head_of_get_and_no_body() -> None:
    get, head = (answer_to(b"%b / HTTP/1.1\r\nHost: x\r\n\r\n" % method) for method in (b"GET", b"HEAD"))
    assert head.endswith(b"\r\n\r\n")
    assert get.startswith(head.split(b"Date:")[0]) and get.endswith(BODY)
    assert b"Content-Length: %d\r\n" % len(BODY) in head


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /readyz HTTP/1.0\r\n\r\n", 503),
        (b"GET /nothing HTTP/1.1\r\n\r\n", 404),
        (b"GET /../etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 405),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", 405),
        (b"GET http://localhost:9501/ HTTP/1.1\r\n\r\n", 200),
        (b"GET / HTTP/1.1\n\n", 200),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"}\r\n\r\n', 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES, 431),
        (b"x" * MAX_HEAD_BYTES, 431),
    ],
)
def test_each_request_gets_its_status(request_bytes: bytes, status: int) -> None:
    answer = answer_to(request_bytes)
    assert status_of(answer) == status
    assert (b"Allow: GET, HEAD\r\n" in answer) == (status == 405)


def test_a_request_may_come_in_pieces() -> None:
    assert answer_to(b"GE", b"T / HTT", b"P/1.1\r\nHost: x\r", b"\n\r", b"\n").endswith(BODY)


def test_half_close_after_a_whole_request_is_answered_and_after_a_part_of_one_too() -> None:
    assert answer_to(b"GET / HTTP/1.1\r\n\r\n", eof=True).endswith(BODY)
    assert status_of(answer_to(b"GET / HTTP/1.1\r\n", eof=True)) == 400


def test_a_body_that_is_not_read_does_not_cost_the_answer() -> None:
    answer = answer_to(b"GET / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 1_000_000)
    assert answer.endswith(BODY)


def test_a_second_request_on_a_connection_is_not_answered() -> None:
    assert answer_to(b"GET / HTTP/1.1\r\n\r\n" * 3).count(b"HTTP/1.1 200") == 1


def test_a_large_answer_comes_whole() -> None:
    assert answer_to(b"GET /metrics HTTP/1.1\r\n\r\n").count(b"x") >= 3_000_000


def test_who_does_not_finish_the_head_is_told_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert HEAD_TIMEOUT_S == 5
    monkeypatch.setattr(mcp_http, "HEAD_TIMEOUT_S", 0.05)
    assert status_of(answer_to(b"GET / HTTP/1.1\r\n")) == 408
    assert status_of(answer_to()) == 408


def test_who_stays_after_the_answer_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_http, "LINGER_S", 0.05)

    async def visit(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await reader.read()).endswith(BODY)
        with pytest.raises(ConnectionError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()

    served(visit)


def test_more_connections_than_the_most_are_closed_and_the_others_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_http, "HEAD_TIMEOUT_S", 60.0)  # those who are silent must not be sent away for that

    async def visit(port: int) -> None:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                assert await reader.read() == b""
            except ConnectionResetError:
                pass
            writer.close()
        reader, writer = silent.pop()
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await reader.read()).endswith(BODY)
        for _, each in [*silent, (reader, writer)]:
            each.close()

    served(visit)


def test_clients_that_reset_leave_no_connection_behind() -> None:
    async def visit(port: int) -> None:
        for _ in range(2 * MAX_CONNECTIONS):
            client = socket.create_connection(("127.0.0.1", port))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.send(b"GET")
            client.close()
            await asyncio.sleep(0)
        for _ in range(1000):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            try:
                answer = await reader.read()
            except ConnectionResetError:
                answer = b""
            writer.close()
            if answer:
                assert answer.endswith(BODY)
                return
        raise AssertionError("there is never room again")

    served(visit)
