"""HTTP on the port of the relay: the page and its files, health, figures, and the sessions as JSON. GET and HEAD only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from email.utils import formatdate
from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from ws_relay.api import ROOT, Api, ApiError
from ws_relay.door import Door, Refusal
from ws_relay.static import File, Files, gzipped

JSON = "application/json"
PLAIN = "text/plain; charset=utf-8"
LEAST_PACKED_BYTES = 1024  # a shorter answer fits into one packet as it is
# What the page may do. No word of it allows what stands in the text of a page, or another host.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SAFE = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),  # an address may hold a token
    ("Cross-Origin-Resource-Policy", "same-origin"),
)

Fields = Iterable[tuple[str, str]]
Route = Callable[[], tuple[int, str, bytes]]  # status, type and body of an answer that is made anew each time


class Web:
    """Answers requests that do not ask for a WebSocket. `judge` says which of them may see sessions."""

    def __init__(self, api: Api, files: Files, door: Door, routes: dict[str, Route]) -> None:
        self._api = api
        self._files = files
        self._door = door
        self._routes = routes

    @staticmethod
    def needs_admission(path: str) -> bool:
        """True for what tells of sessions; the page itself does not, and has to ask for the token."""
        return path == ROOT or path.startswith(f"{ROOT}/")

    async def answer(self, request: Request) -> Response:
        """The response to a request that may be answered."""
        path = request.path.partition("?")[0]
        if route := self._routes.get(path):
            status, content_type, body = route()
            return response(status, content_type, body, [("Cache-Control", "no-store")])
        if self.needs_admission(path):
            return await self._sessions(request)
        found = await asyncio.to_thread(self._files.find, path)
        return _file(found, request) if found else plain(404, "there is no such page")

    async def _sessions(self, request: Request) -> Response:
        fields = [("Cache-Control", "no-store"), ("Vary", "Accept-Encoding, Origin")]
        for origin in request.headers.get_all("Origin"):
            if self._door.allows_reading(origin):
                fields += [("Access-Control-Allow-Origin", origin), ("Cross-Origin-Resource-Policy", "cross-origin")]
        try:
            body, status = await self._api.answer(request.path), 200
        except ApiError as exc:
            body, status = exc.body(), exc.status
        if len(body) >= LEAST_PACKED_BYTES and takes_gzip(request.headers):
            body = await asyncio.to_thread(gzipped, body, 1)
            fields.append(("Content-Encoding", "gzip"))
        return response(status, JSON, body, fields)


def _file(found: File, request: Request) -> Response:
    fields = [("Cache-Control", "no-cache"), ("ETag", found.etag), ("Vary", "Accept-Encoding")]
    fields += [("Content-Security-Policy", POLICY), ("Cross-Origin-Opener-Policy", "same-origin")]
    if found.etag in ",".join(request.headers.get_all("If-None-Match")):
        return response(304, found.content_type, b"", fields)
    if found.packed and takes_gzip(request.headers):
        return response(200, found.content_type, found.packed, [*fields, ("Content-Encoding", "gzip")])
    return response(200, found.content_type, found.body, fields)


def refused(refusal: Refusal) -> Response:
    """The response that turns a request away."""
    fields = [("WWW-Authenticate", "Bearer")] if refusal.status == 401 else []
    return plain(refusal.status, refusal.sentence, fields)


def plain(status: int, sentence: str, fields: Fields = ()) -> Response:
    """A response that says one sentence."""
    return response(status, PLAIN, f"{sentence}\n".encode(), [("Cache-Control", "no-store"), *fields])


def response(status: int, content_type: str, body: bytes, fields: Fields = ()) -> Response:
    """A whole response; what `fields` name wins over what is always said."""
    headers = Headers([("Date", formatdate(usegmt=True)), ("Connection", "close"), ("Content-Length", str(len(body)))])
    if status != 304:
        headers["Content-Type"] = content_type
    named = dict(fields)
    for name, value in (dict(SAFE) | named).items():
        headers[name] = value
    return Response(status, HTTPStatus(status).phrase, headers, body)


def takes_gzip(headers: Headers) -> bool:
    """True where the client can unpack gzip (RFC 9110 12.5.3)."""
    for each in ",".join(headers.get_all("Accept-Encoding")).split(","):
        coding, _, weight = each.replace(" ", "").lower().partition(";q=")
        if coding in ("gzip", "*"):
            return weight.strip("0.") != "" if weight else True
    return False
