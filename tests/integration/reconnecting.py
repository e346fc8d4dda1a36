"""Clients that follow the telemetry of sessions and come back with their cursors after every loss; a program of its own.

    reconnecting.py HOST SILENT_S MCP_PORT WS_PORT MCP_CLIENTS WS_CLIENTS STATUS_FILE SESSION_ID...

A connection that says nothing for SILENT_S, while events are written all the time, is a dead one. STATUS_FILE tells how many
of them are at work: connected, and told something since. A line on stdin, an object of session id -> bytes, says how long the
files are in the end: once every client has all of them the program prints what each one holds, as JSON, and ends. What a client
holds is the SHA-256 of the files' events as it wrote them anew from what it was told: an event too many, too few or out of turn
shows.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from hashlib import sha256
from typing import Any

import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

PACE_S = 0.05  # between two attempts of one client to connect
TELL_S = 0.05  # between two looks at how the clients are
LINE_BYTES = 8 << 20
LOST = (
    OSError,
    EOFError,
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    asyncio.IncompleteReadError,
    TimeoutError,
)


class Copy:
    """One session's telemetry as one client has it."""

    def __init__(self) -> None:
        self.cursor = 0
        self.digest = sha256()

    def take(self, start: int, end: int, events: list[dict[str, Any]]) -> None:
        """Append the events of the bytes from `start` to `end`, which must come next; a torn line there is no event."""
        data = b"".join(orjson.dumps(event) + b"\n" for event in events)
        assert start == self.cursor, f"from {start} where {self.cursor} was next"
        assert len(data) <= end - start, f"{len(data)} bytes for {start} to {end}"
        self.digest.update(data)
        self.cursor = end


class Client:
    """One client of one port; `visit` is one connection of it, until that is lost."""

    def __init__(self, host: str, port: int, silent_s: float, ids: list[str], number: int) -> None:
        self.host = host
        self.port = port
        self.silent_s = silent_s
        self.number = number
        self.copies = {each: Copy() for each in ids}
        self.connections = 0
        self.heard = False  # something, on the connection that it has

    async def follow(self) -> None:
        while True:
            with suppress(*LOST):
                await self.visit()
            self.heard = False
            await asyncio.sleep(PACE_S)

    async def visit(self) -> None:
        raise NotImplementedError

    def behind(self, sizes: dict[str, int]) -> dict[str, int]:
        """The cursors in those files of which it has not everything."""
        return {each: copy.cursor for each, copy in self.copies.items() if copy.cursor != sizes[each]}


class McpClient(Client):
    """Subscribes to every session's telemetry over TCP, and reads on wherever it is told of a change."""

    async def visit(self) -> None:
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(self.host, self.port, limit=LINE_BYTES), self.silent_s
        )
        try:
            self._reader, self._writer = reader, writer
            self._changed = dict.fromkeys(self.copies)
            await self._ask("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "c"})
            for each in self.copies:
                await self._ask("resources/subscribe", uri=f"hive://session/{each}/telemetry")
            self.connections += 1
            while True:
                while self._changed:
                    await self._read(self._changed.popitem()[0])
                await self._next()
        finally:
            writer.transport.abort()

    async def _read(self, session_id: str) -> None:
        copy, more = self.copies[session_id], True
        while more:
            arguments = {"session_id": session_id, "cursor": copy.cursor}
            page = await self._ask("tools/call", name="session_events", arguments=arguments)
            for event in page["events"]:
                event.pop("offset", None)
            copy.take(page["from"], page["cursor"], page["events"])
            self.heard = self.heard or bool(page["events"])
            more = page["more"]

    async def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._writer.write(orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}) + b"\n")
        while "id" not in (message := await self._next()):
            continue
        if "error" in message:  # such as: too many connections, while a probe holds the last one
            raise ConnectionError(message["error"]["message"])
        result: dict[str, Any] = message["result"]
        return result

    async def _next(self) -> dict[str, Any]:
        """The next message; of a notification, what it names is remembered."""
        line = await asyncio.wait_for(self._reader.readuntil(b"\n"), self.silent_s)
        message: dict[str, Any] = orjson.loads(line)
        if uri := message.get("params", {}).get("uri"):
            self._changed[uri.split("/")[3]] = None
        return message


class Viewer(Client):
    """Subscribes to all sessions over WebSocket; asks again, from its cursors, for what a gap names."""

    async def visit(self) -> None:
        options: dict[str, Any] = {"compression": None if self.number % 2 else "deflate"}
        options |= {"open_timeout": self.silent_s, "max_size": LINE_BYTES, "close_timeout": 0.1, "proxy": None}
        async with connect(f"ws://{self.host}:{self.port}/ws", **options) as viewer:
            self.connections += 1
            asked = await self._ask(viewer, 0)
            acknowledged = 0
            async for message in _messages(viewer, self.silent_s):
                if message["type"] == "subscribed":
                    acknowledged = message["id"]
                elif message["type"] == "error":
                    raise AssertionError(message)
                elif acknowledged != asked:
                    continue
                elif message["type"] == "events" and message["session_id"] in self.copies:
                    self.copies[message["session_id"]].take(message["from"], message["to"], message["events"])
                    self.heard = True
                elif message["type"] == "gap":
                    asked = await self._ask(viewer, asked)

    async def _ask(self, viewer: Any, asked: int) -> int:
        cursors = {each: copy.cursor for each, copy in self.copies.items()}
        words = {"events": True, "snapshot": False, "from": cursors, "filters": {"update_frequency_hz": 1}}
        await viewer.send(json.dumps({"action": "subscribe", "id": asked + 1, **words}))
        return asked + 1


async def _messages(viewer: Any, silent_s: float) -> AsyncIterator[dict[str, Any]]:
    while True:
        yield orjson.loads(await asyncio.wait_for(viewer.recv(), silent_s))


async def main() -> None:
    host, silent_s = sys.argv[1], float(sys.argv[2])
    mcp_port, ws_port, many_mcp, many_ws = map(int, sys.argv[3:7])
    status, ids = sys.argv[7], sys.argv[8:]
    clients: list[Client] = [McpClient(host, mcp_port, silent_s, ids, number) for number in range(many_mcp)]
    clients += [Viewer(host, ws_port, silent_s, ids, number) for number in range(many_ws)]
    tasks = [asyncio.create_task(each.follow()) for each in clients]
    asked = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    sizes: dict[str, int] | None = None
    while sizes is None or any(each.behind(sizes) for each in clients):
        if asked.done() and sizes is None:
            sizes = json.loads(asked.result())
        for task in tasks:
            if task.done():
                task.result()  # what went wrong in it ends this program
        behind = [each.behind(sizes) for each in clients] if sizes else []
        _tell(status, {"at_work": sum(each.heard for each in clients), "behind": behind})
        await asyncio.sleep(TELL_S)
    held = [{name: copy.digest.hexdigest() for name, copy in each.copies.items()} for each in clients]
    found = [{"connections": each.connections, "held": own} for each, own in zip(clients, held, strict=True)]
    sys.stdout.write(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # to end so many connections in good order would be no part of the test


def _tell(path: str, found: dict[str, object]) -> None:
    with open(f"{path}.new", "w", encoding="ascii") as file:
        json.dump(found, file)
    os.replace(f"{path}.new", path)


if __name__ == "__main__":
    asyncio.run(main())
