"""A server that has no file descriptor left: who is connected is served on, who comes waits, and nothing is missed."""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.integration.hive import Hive, until
from tests.integration.mcp_disk import append, message_event
from tests.integration.mcp_proxy import SERVER, Proxy
from tests.integration.mcp_server import DataPlane, Json, Line, request
from tests.integration.server_process import ServerProcess
from tests.integration.ws_server import RelayProcess, heard

SPARE = 12  # descriptors beyond those that the server has when it is idle
MANY = {"TCP_MAX_CONNECTIONS": "1000", "WS_MAX_CONNECTIONS": "1000"}
SHORT = "no file descriptor is left"


@pytest.fixture
def hive(tmp_path: Path) -> Iterator[Hive]:
    with Hive(tmp_path / "h", HOME=str(tmp_path)) as hive:
        yield hive


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@contextmanager
def exhausted(pid: int, port: int, spare: int = SPARE) -> Iterator[None]:
    """Clients that say nothing hold all descriptors of a server within the block; more of them wait at its door."""
    limit = descriptors(pid) + spare
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, hard))
    with ExitStack() as held:
        for _ in range(spare + 5):
            held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        until(lambda: descriptors(pid) >= limit, "a server without a descriptor to spare")
        yield


def assert_told_once(server: ServerProcess) -> None:
    """The shortage is one line of the log, however long it lasts and however often the server met it."""
    assert server.log.count(SHORT) == 1, server.log[-3000:]
    assert "Traceback" not in server.log, server.log[-3000:]


def listed(hive: Hive, server: ServerProcess) -> dict[str, str]:
    """Id -> status of all sessions, as a new client is told."""
    if isinstance(server, RelayProcess):
        return {row["session_id"]: row["status"] for row in server.json("/api/sessions")["sessions"]}
    assert isinstance(server, DataPlane)
    return {row["session_id"]: row["status"] for row in server.call("session_list")["sessions"]}


def test_mcp_tcp_serves_who_is_there_and_misses_nothing(hive: Hive) -> None:
    live = hive.launch(hive.shell("exec sleep 1000"))
    with DataPlane(hive, env=MANY) as plane, plane.connect() as line:
        assert plane.process
        hello = request("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "c"})
        assert "result" in line.ask(hello)
        line.ask(request("resources/subscribe", uri=f"hive://session/{live}/telemetry"))
        with exhausted(plane.process.pid, plane.port):
            append(hive.paths(live).telemetry, message_event("in need"))
            new = hive.create("rehearsal")
            for _ in range(6):  # a round of sweeps takes five seconds
                _sees_a_second(line)
            assert _statuses(line)[live] == "running", "nobody is gone for want of a descriptor"
            assert_told_once(plane)
        until(lambda: _statuses(line) == {live: "running", new: "created"}, "all sessions")
        texts = [event.get("text") for event in _events(line, live)]
        assert "in need" in texts
        until(lambda: listed(hive, plane) == {live: "running", new: "created"}, "all sessions for who comes now")
        assert plane.stop() == 0


def _ask(line: Line, tool: str, **arguments: object) -> dict[str, object]:
    """The result of a tool call, past all notifications."""
    line.send(request("tools/call", name=tool, arguments=arguments))
    while "id" not in (answer := line.next()):
        continue
    result: dict[str, object] = answer["result"]
    return result


def _statuses(line: Line) -> dict[str, str]:
    rows = _ask(line, "session_list")["sessions"]
    assert isinstance(rows, list)
    return {row["session_id"]: row["status"] for row in rows}


def _events(line: Line, session_id: str) -> list[dict[str, object]]:
    found = _ask(line, "session_events", session_id=session_id)["events"]
    assert isinstance(found, list)
    return found


def _sees_a_second(line: Line) -> None:
    """Wait until the server's own clock has moved on."""
    before = _ask(line, "server_info").get("uptime_seconds")
    until(lambda: _ask(line, "server_info").get("uptime_seconds") != before, "time to pass")


def test_ws_relay_serves_who_is_there_and_misses_nothing(hive: Hive) -> None:
    live = hive.launch(hive.shell("exec sleep 1000"))
    with RelayProcess(hive, env=MANY) as relay, relay.connect() as viewer:
        assert relay.process
        viewer.send(json.dumps({"action": "subscribe", "events": True, "snapshot": False}))
        assert heard(viewer)["type"] == "subscribed"
        told: list[Json] = []

        def hears(condition: Callable[[Json], bool]) -> bool:
            """True once a message has come that is the one."""
            if not any(map(condition, told)):
                told.append(heard(viewer))
            return any(map(condition, told))

        with exhausted(relay.process.pid, relay.port):
            append(hive.paths(live).telemetry, message_event("in need"))
            new = hive.create("rehearsal")
            viewer.send('{"action":"ping"}')
            until(lambda: hears(lambda message: message["type"] == "pong"), "an answer in need")
            until(lambda: SHORT in relay.log, "that it is told")
        until(lambda: hears(lambda message: "in need" in str(message.get("events"))), "the event")
        until(lambda: hears(lambda message: message.get("session_id") == new), "the session that came in need")
        until(lambda: listed(hive, relay) == {live: "running", new: "created"}, "all sessions for who comes now")
        assert "session_removed" not in {message["type"] for message in told}
        assert_told_once(relay)
        assert relay.stop() == 0


def test_the_proxy_serves_who_is_there_and_those_that_come_once_there_is_room(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER, encoding="utf-8")
    with Proxy(tmp_path, [sys.executable, str(tmp_path / "server.py")], CLAUDE_FLOW_MAX_SESSIONS="1000") as proxy:
        pid, first = proxy.process.pid, proxy.client()
        first.ask(1)
        with exhausted(pid, proxy.port, 2 * SPARE):
            first.ask(2)
        until(lambda: _is_served(proxy), "room for who comes now")
        first.ask(3)
        first.close()


def _is_served(proxy: Proxy) -> bool:
    """True when a new client of the proxy gets its answer; one for whom there is no room is turned away."""
    client = proxy.client()
    try:
        client.send(b'{"jsonrpc":"2.0","id":1,"method":"echo"}\n')
        answer = client.line()
    except OSError:
        return False
    finally:
        client.close()
    return answer is not None and "result" in answer
