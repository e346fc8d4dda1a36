"""The relay as a process over a test's workspace, and what a client may do with its port."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPMessage
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.integration.hive import DEADLINE_S
from tests.integration.server_process import ServerProcess

Json = dict[str, Any]


class RelayProcess(ServerProcess):
    """`ws-relay` for the workspace of `hive`; `words` are further flags. It ends with the `with` block."""

    PROGRAM, MODULE = "ws-relay", "ws_relay"

    def connect(self, path: str = "/ws", **options: Any) -> ClientConnection:
        """A viewer; `options` are those of websockets' own `connect`."""
        url = f"ws://127.0.0.1:{self.port}{path}"
        viewer: ClientConnection = connect(url, proxy=None, open_timeout=DEADLINE_S, **options)
        return viewer

    def get(
        self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET", body: str | None = None
    ) -> tuple[int, HTTPMessage, bytes]:
        """Status, headers and body of an answer over HTTP."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def json(self, path: str, headers: Mapping[str, str] | None = None) -> Json:
        """The object at a path, which must be there."""
        status, _, body = self.get(path, headers)
        assert status == 200, body
        found: Json = json.loads(body)
        return found

    def socket(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), DEADLINE_S)


def ask(viewer: ClientConnection, **message: Any) -> Json:
    """Say something, and the next message that comes."""
    viewer.send(json.dumps(message))
    return heard(viewer)


def heard(viewer: ClientConnection) -> Json:
    """The next message."""
    found: Json = json.loads(viewer.recv(DEADLINE_S))
    return found
