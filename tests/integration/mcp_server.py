"""The data plane as a process over a test's workspace, and a client of it that speaks nothing but lines."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.integration.hive import DEADLINE_S, SCRIPTS, Hive, until
from tests.integration.server_process import ServerProcess

Json = dict[str, Any]

ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}


def request(method: str, request_id: object = 1, **params: Any) -> Json:
    """A JSON-RPC request; `params` are left out when there are none."""
    return {"jsonrpc": "2.0", "id": request_id, "method": method, **({"params": params} if params else {})}


def modern(method: str, request_id: object = 1, **params: Any) -> Json:
    """A request of 2026-07-28, with the envelope that makes it one."""
    return request(method, request_id, _meta=ENVELOPE, **params)


class Line:
    """One connection; what comes is read line by line."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: Json | list[Json] | bytes) -> None:
        """Send a message as one line, or these very bytes."""
        self._socket.sendall(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")

    def end(self) -> None:
        """Nothing more will be sent; answers still can come."""
        self._socket.shutdown(socket.SHUT_WR)

    def raw(self) -> bytes:
        """The next line with its end; empty once the server closed. Raises: TimeoutError."""
        return self._file.readline()

    def next(self) -> Any:
        """The next message. Raises: AssertionError when the server closed."""
        line = self.raw()
        assert line.endswith(b"\n"), f"the server closed the connection after {line!r}"
        return json.loads(line)

    def ask(self, message: Json) -> Json:
        """Send, and return the very next message."""
        self.send(message)
        answer: Json = self.next()
        return answer

    def rest(self) -> list[bytes]:
        """Every line up to the server's end of the connection."""
        return list(self._file)


def running_first(directory: Path, code: str) -> dict[str, str]:
    """The environment in which Python runs `code` before a program, to change a constant that no test can wait for."""
    directory.mkdir(exist_ok=True)
    (directory / "sitecustomize.py").write_text(code, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(directory), *filter(None, [os.environ.get("PYTHONPATH")])])}


class DataPlane(ServerProcess):
    """`mcp-tcp` for the workspace of `hive`; `words` are further flags. It ends with the `with` block.

    It ends no silent connection: a test that stands still for two seconds would be taken for a piped netcat call.
    """

    PROGRAM, MODULE, WORDS = "mcp-tcp", "mcp_tcp", ("--health-port", "0", "--linger-s", "0")

    def connect(self) -> Line:
        return Line(self.port)

    def ask(self, message: Json) -> Json:
        """The first line that comes back on a connection of its own."""
        with self.connect() as line:
            return line.ask(message)

    def lines(self, data: bytes) -> list[Json]:
        """Everything that comes back to `data` and the end of input, on a connection of its own."""
        with self.connect() as line:
            line.send(data)
            line.end()
            return [json.loads(raw) for raw in line.rest()]

    def call(self, tool: str, **arguments: Any) -> Json:
        """The result of a tool, asked for as the oldest clients do: without a handshake."""
        answer = self.ask(request("tools/call", name=tool, arguments=arguments))
        assert "result" in answer, answer
        result: Json = answer["result"]
        return result


# What comes so late after the connection counts as typed by a person; on a machine that stands still netcat's may be late.
UNHURRIED = "import mcp_tcp.connection\nmcp_tcp.connection.PIPED_S = 60.0\n"


def ending_piped_calls(hive: Hive, linger_s: float) -> DataPlane:
    """A data plane that ends a piped call so long after its answer."""
    env = running_first(Path(hive.root, "unhurried"), UNHURRIED)
    return DataPlane(hive, "--linger-s", str(linger_s), env=env)


@dataclass(frozen=True, slots=True)
class Stage:
    """A data plane over a workspace with one session of every sort."""

    hive: Hive
    plane: DataPlane
    live: str  # it runs, and its agents are at work
    done: str
    failed: str  # with exit code 7
    created: str  # never started

    @property
    def ids(self) -> set[str]:
        return {self.live, self.done, self.failed, self.created}


def rehearse(hive: Hive, *words: str) -> str:
    """A rehearsal that was started; `words` are its flags."""
    session_id = hive.create("rehearsal", task="Build the importer")
    hive.answer("start", "--detach", session_id, *words)
    return session_id


# The rehearsal, stopped in the middle of its play: its agents stay at work.
HALF_A_PLAY = """#!/bin/sh
{scripts}/hive-rehearsal --seconds 1 "$@" | head -n 25
exec sleep 600
"""


def staged(plane: DataPlane) -> Stage:
    """One session of every sort; the live one stays in the middle of its play for ten minutes."""
    hive = plane.hive
    program = Path(hive.root, "half-a-play")
    program.write_text(HALF_A_PLAY.format(scripts=SCRIPTS), encoding="utf-8")
    program.chmod(0o755)
    done = rehearse(hive, "--seconds", "0")
    failed = rehearse(hive, "--seconds", "0", "--exit-code", "7")
    live = hive.create("claude", task="Build the importer")
    hive.start(live, env={"HIVE_CLAUDE_BIN": str(program), "IS_SANDBOX": "1"})
    created = hive.create("rehearsal", task="Wait")
    hive.ended(done)
    hive.ended(failed)
    until(lambda: len(hive.events(live, "agent_spawned")) > 2, "the workers of the live session")
    until(lambda: hive.events(live, "resources"), "the first sample of its resources")
    return Stage(hive, plane, live, done, failed, created)
