"""What tests of the data plane do on disk behind its back, and what they look up of its process."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hive_session.ondisk.events import encode_event
from hive_session.ondisk.layout import SessionPaths
from tests.integration.hive import read_bytes
from tests.integration.mcp_server import DataPlane, Json, Line, modern, request

MODERN = "2026-07-28"
VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", MODERN)
STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ")


def introduced(plane: DataPlane, version: str) -> Line:
    """A connection on which that version is agreed; in 2026-07-28 each request says so by itself."""
    line = plane.connect()
    if version != MODERN:
        hello = request("initialize", "hello", protocolVersion=version, capabilities={}, clientInfo={"name": "test"})
        assert line.ask(hello)["result"]["protocolVersion"] == version
    return line


def said_in(version: str, method: str, request_id: object = 1, **params: Any) -> Json:
    """A request as that version has it."""
    return (modern if version == MODERN else request)(method, request_id, **params)


def tool_call(name: str, request_id: object = 1, **arguments: Any) -> Json:
    """A tools/call of the versions before 2026-07-28."""
    return request("tools/call", request_id, name=name, arguments=arguments)


def append(path: str, data: bytes) -> None:
    """One write at the end of a file, as every writer of telemetry and logs does it."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        assert os.write(fd, data) == len(data)
    finally:
        os.close(fd)


def message_event(text: str) -> bytes:
    """A line of telemetry: the queen says `text` to a worker."""
    return encode_event(
        {"ts": time.time_ns() // 1_000_000, "type": "message", "from": "queen", "to": "w", "text": text}
    )


def spawn_event(agent: str) -> bytes:
    """A line of telemetry: a new agent."""
    event = {"ts": time.time_ns() // 1_000_000, "type": "agent_spawned", "agent": agent, "parent": "queen"}
    return encode_event({**event, "role": "worker", "kind": "coder", "task": "work"})


def change_record(paths: SessionPaths, **fields: Any) -> None:
    """Replace session.json, whole, by the same with other `fields`."""
    record = {**json.loads(read_bytes(paths.record)), **fields}
    new = paths.at("session.json.new")
    with open(new, "w", encoding="utf-8") as file:
        json.dump(record, file)
    os.replace(new, paths.record)


@contextmanager
def locked_database(paths: SessionPaths) -> Iterator[sqlite3.Connection]:
    """The memory of a session, with an entry in it, in the hands of an owner that lets nobody else in."""
    owner = sqlite3.connect(paths.database, isolation_level=None)
    try:
        owner.execute("CREATE TABLE IF NOT EXISTS memory_entries (key TEXT, namespace TEXT, content TEXT)")
        owner.execute("INSERT INTO memory_entries VALUES ('k', 'n', 'v')")
        owner.execute("BEGIN EXCLUSIVE")
        yield owner
    finally:
        owner.close()


def rss_bytes(plane: DataPlane) -> int:
    """What the server has in memory now."""
    assert plane.process
    return int(read_bytes(f"/proc/{plane.process.pid}/statm").split()[1]) * os.sysconf("SC_PAGESIZE")


def assert_quiet(plane: DataPlane) -> None:
    """The log holds no traceback, and no line twice, whatever the time before it."""
    assert "Traceback" not in plane.log and "a bug of ours" not in plane.log, plane.log
    said = Counter(STAMP.sub("", line) for line in plane.log.splitlines())
    assert [line for line, times in said.items() if times > 1] == []
