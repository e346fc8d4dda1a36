"""A threaded HTTP server on loopback that answers Claude Code as the Messages API would.

By hand: `python -m tests.standin.messages_api --scenario hive --port 0` prints its URL and serves until it is
interrupted; give that URL to Claude Code as ANTHROPIC_BASE_URL, with any ANTHROPIC_API_KEY.
Source: platform.claude.com/docs, "Messages", "Streaming messages", "Errors"; Claude Code 2.1.197 as observed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.standin.scenarios import (
    SCENARIOS,
    Json,
    Refusal,
    Role,
    Scenario,
    Turn,
    encode_message,
    prompts_of,
    role_of,
    scenario_named,
    select_turn,
    stream_message,
)

NOT_FOUND = Refusal(status=404, error_type="not_found_error", message="Not found", retry=False)
NOT_JSON = Refusal(status=400, error_type="invalid_request_error", message="Not a JSON object", retry=False)
GATE_STEP_S = 0.05  # a request that waits at the gate also has to see the server close


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it came."""

    method: str
    path: str  # without the query
    headers: dict[str, str]  # names in lower case
    body: Json | None  # None unless a JSON object
    role: Role | None  # who asked; None for anything but POST /v1/messages
    session_id: str  # Claude Code's own session; "" where it does not say

    @property
    def prompts(self) -> list[str]:
        """What the user asked in this conversation, oldest first, without the client's reminders."""
        return prompts_of(self.body) if self.body and self.role else []


class MessagesApi:
    """Context manager: serves `script` (a scenario or its name) on 127.0.0.1 until it is left.

    `base_url` is what ANTHROPIC_BASE_URL wants; `requests` grows as requests come, in order of arrival. With a `gate`
    every answer of the model waits until that is set, so that a test can look at all who ask while they all live.
    """

    def __init__(
        self, script: Scenario | str = "answer", *, port: int = 0, gate: threading.Event | None = None
    ) -> None:
        self.scenario = scenario_named(script) if isinstance(script, str) else script
        self.requests: list[Request] = []
        self.gate = gate
        self._server = _Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.base_url = f"http://127.0.0.1:{self._server.server_port}"

    def asked_by(self, role: Role) -> list[Request]:
        """The message requests of the queen, of workers, or the side ones; a snapshot."""
        return [request for request in tuple(self.requests) if request.role == role]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()


class _Server(ThreadingHTTPServer):
    """Keeps its open connections, so that closing ends a stream in the middle and leaves no thread behind."""

    request_queue_size = 128  # ten sessions connect at once; the default of 5 makes some wait a second
    daemon_threads = False  # so that server_close joins them

    def __init__(self, address: tuple[str, int], api: MessagesApi) -> None:
        self.api = api
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._refused: Counter[str] = Counter()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Cut every connection, then wait for the handlers to notice."""
        self.closing.set()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):  # the client may have hung up first
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def refusal_for(self, request: Request) -> Refusal | None:
        """The scenario's refusal while this session's share of it lasts."""
        refusal = self.api.scenario.refusal
        if refusal is None or refusal.times is None:
            return refusal
        with self._lock:
            self._refused[request.session_id] += 1
            return refusal if self._refused[request.session_id] <= refusal.times else None


def _decode_object(raw: bytes) -> Json | None:
    try:
        body = json.loads(raw)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a test reads `requests` instead."""

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True  # the client was killed in the middle, as tests mean it to be

    def do_HEAD(self) -> None:
        # Claude Code warms its connection up with HEAD /.
        self._receive()
        self._respond(200, b"")

    def do_GET(self) -> None:
        self._receive()
        self._refuse(NOT_FOUND)

    def do_POST(self) -> None:
        request = self._receive()
        if request.path not in ("/v1/messages", "/v1/messages/count_tokens"):
            self._refuse(NOT_FOUND)
        elif request.body is None:
            self._refuse(NOT_JSON)
        elif request.path == "/v1/messages/count_tokens":
            self._respond_json(200, {"input_tokens": 1 + len(json.dumps(request.body)) // 4})
        elif self._may_pass():
            refusal = self.server.refusal_for(request)
            self._refuse(refusal) if refusal else self._answer(request.body)

    def _may_pass(self) -> bool:
        """True once the gate is open; False when the server closes before."""
        gate = self.server.api.gate
        while gate is not None and not gate.wait(GATE_STEP_S):
            if self.server.closing.is_set():
                return False
        return True

    def _receive(self) -> Request:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        body = _decode_object(raw)
        request = Request(
            method=self.command,
            path=path,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
            role=role_of(body) if body and path == "/v1/messages" else None,
            session_id=self.headers.get("X-Claude-Code-Session-Id", ""),
        )
        self.server.api.requests.append(request)
        return request

    def _answer(self, body: Json) -> None:
        turn = select_turn(self.server.api.scenario, body)
        if body.get("stream"):
            self._stream(turn, body)
        elif not self.server.closing.wait(turn.wait_s):
            self._respond_json(200, encode_message(turn, body))

    def _stream(self, turn: Turn, body: Json) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")  # the end of the stream is the end of the connection
        self.end_headers()
        for wait_s, event in stream_message(turn, body):
            if wait_s and self.server.closing.wait(wait_s):
                break
            self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())

    def _refuse(self, refusal: Refusal) -> None:
        error = {"type": refusal.error_type, "message": refusal.message}
        advice = {"x-should-retry": "true" if refusal.retry else "false"}
        self._respond_json(refusal.status, {"type": "error", "error": error}, advice)

    def _respond_json(self, status: int, answer: Json, headers: Mapping[str, str] | None = None) -> None:
        self._respond(status, json.dumps(answer).encode(), headers)

    def _respond(self, status: int, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


def main(argv: list[str] | None = None) -> int:
    """Serve one scenario until interrupted; the URL is the only line on stdout."""
    parser = argparse.ArgumentParser(description="A local stand-in for the Messages API.")
    names = f"{', '.join(SCENARIOS)} or slow:SECONDS"
    parser.add_argument("--scenario", type=scenario_named, default="hive", help=names)
    parser.add_argument("--port", type=int, default=0, help="0 lets the system choose")
    options = parser.parse_args(argv)
    # Who has read the URL may interrupt at once.
    with MessagesApi(options.scenario, port=options.port) as api, contextlib.suppress(KeyboardInterrupt):
        sys.stdout.write(f"{api.base_url}\n")
        sys.stdout.flush()
        threading.Event().wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
