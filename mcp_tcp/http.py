"""A minimal HTTP/1.1 server for health and metrics: GET and HEAD, one request a connection.

The rules of this file:
- What a peer can make us hold is bounded: MAX_CONNECTIONS of MAX_HEAD_BYTES for HEAD_TIMEOUT_S.
- No body is read. What comes after the head is thrown away until the peer closes, for LINGER_S at most: closing a socket
  with unread bytes in it resets the connection, which can cost the peer its answer.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

MAX_CONNECTIONS = 64
MAX_HEAD_BYTES = 8192
HEAD_TIMEOUT_S = 5.0
LINGER_S = 5.0

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

# RFC 9112 3 and 3.2: method SP target SP version; a target that names the server too is that of a request to a proxy.
_SERVER = rb"[Hh][Tt][Tt][Pp]://[^/?# ]+"
_REQUEST_LINE = re.compile(
    rb"([!#$%%&'*+.^_`|~0-9A-Za-z-]+) (?:(?:%b)?(/[!-~]*)|%b(?:\?[!-~]*)?|\*) HTTP/1\.[01]" % (_SERVER, _SERVER)
)
_HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00\r\n]*")
_HEAD_END = re.compile(rb"\r?\n\r?\n")  # RFC 9112 2.2: a lone LF may end a line
# RFC 9110 6.6.1 fixes the names, whatever the locale.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Response:
    """What a route answers with."""

    status: int
    content_type: str
    body: bytes


Routes = Mapping[str, Callable[[], Response]]


async def serve_http(host: str, port: int, routes: Routes) -> asyncio.Server:
    """A server that answers GET and HEAD of each path in `routes` (such as "/metrics") with what its function returns.

    The functions run in the event loop and must not block. Port 0 takes a free one: see `sockets` of what is returned.
    Raises: OSError where the address cannot be had.
    """
    connections: set[_Connection] = set()
    return await asyncio.get_running_loop().create_server(lambda: _Connection(routes, connections), host, port)


def parse_head(head: bytes) -> tuple[str, str] | None:
    """Method and path, without the query, of a request's head up to its blank line; None for what is no HTTP/1 head."""
    first, *fields = re.split(rb"\r?\n", head)
    request = _REQUEST_LINE.fullmatch(first)
    if request is None or not all(map(_HEADER.fullmatch, fields)):
        return None
    path = (request[2] or b"/").partition(b"?")[0]
    return request[1].decode("ascii"), path.decode("ascii")


def answer(head: bytes, routes: Routes) -> tuple[Response, bool]:
    """The response to a request's head, and whether its body is to be left out."""
    request = parse_head(head)
    if request is None:
        return _plain(HTTPStatus.BAD_REQUEST), False
    method, path = request
    is_head = method == "HEAD"
    if method not in ("GET", "HEAD"):
        return _plain(HTTPStatus.METHOD_NOT_ALLOWED), False
    route = routes.get(path)
    return (route() if route else _plain(HTTPStatus.NOT_FOUND)), is_head


def encode_response(response: Response, now_s: float, *, without_body: bool = False) -> bytes:
    """The bytes of a response; `now_s` is Unix time."""
    status = HTTPStatus(response.status)
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Date: {_format_date(now_s)}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    head = "\r\n".join(lines).encode("ascii") + b"\r\n\r\n"
    return head if without_body else head + response.body


def _plain(status: HTTPStatus) -> Response:
    return Response(status, TEXT, f"{status.value} {status.phrase}\n".encode("ascii"))


def _format_date(now_s: float) -> str:
    now = time.gmtime(now_s)
    day, month = _DAYS[now.tm_wday], _MONTHS[now.tm_mon - 1]
    return f"{day}, {now.tm_mday:02} {month} {now.tm_year} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02} GMT"


class _Connection(asyncio.Protocol):
    """One request, one answer, and the end."""

    def __init__(self, routes: Routes, connections: set[_Connection]) -> None:
        self._routes = routes
        self._connections = connections
        self._head = bytearray()
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is none by its type
        self._transport = transport
        self._timer = asyncio.get_running_loop().call_later(HEAD_TIMEOUT_S, self._time_out)
        if len(self._connections) < MAX_CONNECTIONS:
            self._connections.add(self)
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        if self._answered:
            return
        start = max(0, len(self._head) - 3)  # the blank line may have begun before
        self._head += data
        end = _HEAD_END.search(self._head, start, MAX_HEAD_BYTES)
        if end is not None:
            self._respond(*answer(bytes(self._head[: end.start()]), self._routes))
        elif len(self._head) >= MAX_HEAD_BYTES:
            self._respond(_plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))

    def eof_received(self) -> bool:
        if not self._answered:
            self._respond(_plain(HTTPStatus.BAD_REQUEST))
        return False  # the transport sends what it holds and closes

    def _time_out(self) -> None:
        self._respond(_plain(HTTPStatus.REQUEST_TIMEOUT))

    def _respond(self, response: Response, without_body: bool = False) -> None:
        self._answered = True
        self._head.clear()
        self._transport.write(encode_response(response, time.time(), without_body=without_body))
        with suppress(OSError):  # the peer is gone, of which `connection_lost` will tell
            self._transport.write_eof()
        self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)
