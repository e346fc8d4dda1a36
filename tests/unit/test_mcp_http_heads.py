"""What the small HTTP server understands and says, without a socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_tcp.http import Response, answer, encode_response, parse_head


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_none(head: bytes) -> None:
    request = parse_head(head)
    assert request is None or (request[0] and request[1].startswith("/") and "?" not in request[1])


@given(
    st.from_regex(
        rb"(GET|HEAD) (http://[a-z]{1,5})?(/[a-z/]{0,5})(\?[a-z]{0,3})? HTTP/1\.[01](\r\n[a-zA-Z-]{1,4}: ?[a-z]*)*",
        fullmatch=True,
    )
)
def test_every_plain_request_is_understood(head: bytes) -> None:
    assert parse_head(head) is not None


@pytest.mark.parametrize(
    ("head", "request_"),
    [
        (b"GET /a/b?c=/d HTTP/1.1\r\nHost: x", ("GET", "/a/b")),
        (b"PUT http://h:1 HTTP/1.1", ("PUT", "/")),
        (b"GET http://h:1?q HTTP/1.1", ("GET", "/")),
        (b"OPTIONS * HTTP/1.0", ("OPTIONS", "/")),
        (b"GET / HTTP/1.1\nHost:", ("GET", "/")),
        (b"GET  HTTP/1.1", None),
        (b"GET x HTTP/1.1", None),
        (b"GET /\x01 HTTP/1.1", None),
        (b" GET / HTTP/1.1", None),
        (b"GET / HTTP/1.1\r\n folded: x", None),
        (b"GET / HTTP/1.1\r\nA: b\rc", None),
        (b"GET / http/1.1", None),
        (b"", None),
    ],
)
def test_a_head_is_its_method_and_path(head: bytes, request_: tuple[str, str] | None) -> None:
    assert parse_head(head) == request_


def test_a_response_on_the_wire() -> None:
    wire = encode_response(Response(200, "text/plain", b"up\n"), 784_111_777.0)
    assert wire == (
        b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n"
        b"Cache-Control: no-store\r\nConnection: close\r\n\r\nup\n"
    )
    assert encode_response(Response(200, "text/plain", b"up\n"), 784_111_777.0, without_body=True) == wire[:-3]


def test_only_get_and_head_run_a_route() -> None:
    ran = []

    def route() -> Response:
        ran.append(1)
        return Response(200, "text/plain", b"")

    methods = (b"GET", b"HEAD", b"POST", b"get")
    assert [answer(b"%b / HTTP/1.1" % method, {"/": route})[0].status for method in methods] == [200, 200, 405, 405]
    assert len(ran) == 2
