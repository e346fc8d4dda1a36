"""HTTP in front of the data plane, for the conformance suite alone: it speaks HTTP only, the data plane only TCP.

Streamable HTTP on one side, newline-delimited JSON on the other. Up to 2025-11-25 one TCP connection is one session
(Mcp-Session-Id); from 2026-07-28 on it is one request. What the transport's specification asks of HTTP alone is done here:
the status codes, the checks of headers, Origin and Host, and server-sent events.

    python -m tests.conformance.bridge TCP_PORT      prints its URL in one line
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Json = dict[str, Any]

LINE_MAX_BYTES = 16 << 20
LEGACY = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
PROTOCOL_VERSION = "io.modelcontextprotocol/protocolVersion"
HEADER_MISMATCH = -32020
LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")

# Streamable HTTP of 2026-07-28: these errors have a status of their own. -32602 is one of HTTP only for a bad _meta.
STATUSES = {-32601: 404, -32022: 400, -32021: 400, -32700: 400, -32600: 400}

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


class Session:
    """One TCP connection of the handshake era, with the answers that are waited for."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self.writer = writer
        self.waiting: dict[Any, asyncio.Future[Json]] = {}
        self.unasked: asyncio.Queue[Json] = asyncio.Queue()
        self.reading = asyncio.create_task(self._read(reader))

    async def _read(self, reader: Reader) -> None:
        while line := await reader.readline():
            message = json.loads(line)
            if "method" not in message and message.get("id") in self.waiting:
                self.waiting.pop(message["id"]).set_result(message)
            else:
                self.unasked.put_nowait(message)
        for left in self.waiting.values():
            left.set_exception(ConnectionError("the data plane closed the connection"))

    async def ask(self, request: Json) -> Json:
        answer = asyncio.get_running_loop().create_future()
        self.waiting[request["id"]] = answer
        send(self.writer, request)
        return await asyncio.shield(answer)

    def close(self) -> None:
        self.reading.cancel()
        self.writer.close()


def send(writer: Writer, message: Json) -> None:
    writer.write(json.dumps(message).encode() + b"\n")


def refusal(status: int, code: int, text: str, request_id: object = None) -> Response:
    error = {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": text}}
    return JSONResponse(error, status_code=status)


def is_local(request: Request) -> bool:
    """False for a page of another host that a browser was led to (DNS rebinding)."""
    host = request.headers.get("host", "").rpartition(":")[0]
    origin = request.headers.get("origin")
    return host in LOCAL_NAMES and (origin is None or origin.partition("://")[2].rpartition(":")[0] in LOCAL_NAMES)


def is_modern(request: Request) -> bool:
    version = request.headers.get("mcp-protocol-version")
    return version is not None and version not in LEGACY and "mcp-session-id" not in request.headers


def told_twice(request: Request, message: Json) -> str | None:
    """The header that says other than the body; None when all agree."""
    params = message.get("params") or {}
    in_body = {
        "mcp-protocol-version": (params.get("_meta") or {}).get(PROTOCOL_VERSION),
        "mcp-method": message.get("method"),
        "mcp-name": params.get("name", params.get("uri")),
    }
    for header, value in in_body.items():
        told = request.headers.get(header)
        if value is not None and told is not None and told.strip() != value:
            return header
    return None


def status_of(answer: Json) -> int:
    error = answer.get("error")
    if error is None:
        return 200
    if error["code"] == -32602 and "_meta" in error["message"]:
        return 400
    return STATUSES.get(error["code"], 200)


class Bridge:
    """The one endpoint, in front of the TCP server on `port`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.sessions: dict[str, Session] = {}

    async def connect(self) -> tuple[Reader, Writer]:
        return await asyncio.open_connection("127.0.0.1", self.port, limit=LINE_MAX_BYTES)

    async def endpoint(self, request: Request) -> Response:
        if not is_local(request):
            return refusal(403, -32600, "this host or origin is not allowed")
        if request.method == "POST":
            message = await request.json()
            return await (self.modern(request, message) if is_modern(request) else self.legacy(request, message))
        session = self.sessions.get(request.headers.get("mcp-session-id", ""))
        if session is None:
            return refusal(404, -32600, "there is no such session")
        if request.method == "DELETE":
            self.sessions.pop(request.headers["mcp-session-id"]).close()
            return Response(status_code=200)
        return StreamingResponse(unasked(session), media_type="text/event-stream")

    async def legacy(self, request: Request, message: Json) -> Response:
        session_id = request.headers.get("mcp-session-id")
        if session_id is None and message.get("method") == "initialize":
            session_id = uuid.uuid4().hex
            self.sessions[session_id] = Session(*await self.connect())
        if session_id not in self.sessions:
            return refusal(404 if session_id else 400, -32600, "there is no such session", message.get("id"))
        session = self.sessions[session_id]
        if "id" not in message or "method" not in message:
            send(session.writer, message)
            return Response(status_code=202)
        return JSONResponse(await session.ask(message), headers={"mcp-session-id": session_id})

    async def modern(self, request: Request, message: Json) -> Response:
        if header := told_twice(request, message):
            return refusal(400, HEADER_MISMATCH, f"{header} differs from the body", message.get("id"))
        reader, writer = await self.connect()
        send(writer, message)
        if "id" not in message:
            writer.close()
            return Response(status_code=202)
        first: Json = json.loads(await reader.readline())
        if "method" in first:
            return StreamingResponse(stream(first, reader, writer), media_type="text/event-stream")
        writer.close()
        return JSONResponse(first, status_code=status_of(first))


def event(message: Json) -> str:
    return f"event: message\ndata: {json.dumps(message)}\n\n"


async def unasked(session: Session) -> AsyncIterator[str]:
    while True:
        yield event(await session.unasked.get())


async def stream(first: Json, reader: Reader, writer: Writer) -> AsyncIterator[str]:
    """Everything up to the answer; the connection goes with the client."""
    try:
        yield event(first)
        while line := await reader.readline():
            message = json.loads(line)
            yield event(message)
            if "method" not in message:
                return
    finally:
        writer.close()


def main(port: int) -> None:
    bridge = Bridge(port)
    app = Starlette(routes=[Route("/mcp", bridge.endpoint, methods=["GET", "POST", "DELETE"])])
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp\n")
    sys.stdout.flush()
    config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(int(sys.argv[1]))
