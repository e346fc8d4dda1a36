"""Whoever subscribes hears of each change at once, of nothing else, and misses nothing, not even when the server is killed."""

from __future__ import annotations

import fcntl
import json
import os
import statistics
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.integration.hive import DEADLINE_S, Hive, read_bytes, until
from tests.integration.mcp_disk import (
    MODERN,
    append,
    assert_quiet,
    change_record,
    introduced,
    locked_database,
    message_event,
    spawn_event,
    tool_call,
)
from tests.integration.mcp_server import DataPlane, Json, Line, modern, request, running_first

PING = request("ping", "ping")
PROMISED_S = 0.05
CHANGES = 20
UPDATED = "notifications/resources/updated"
LIST_CHANGED = "notifications/resources/list_changed"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
SESSIONS = "hive://sessions"
PARTS = ("", "/agents", "/telemetry", "/log")


@pytest.fixture
def session_id(plane: DataPlane) -> str:
    return plane.hive.create("rehearsal")


def resource(session_id: str, part: str) -> str:
    """The address of a part; "sessions" is that of all sessions."""
    return SESSIONS if part == "sessions" else f"hive://session/{session_id}{part}"


def change(hive: Hive, session_id: str, part: str, number: int) -> None:
    """Have what that resource shows change on disk, in one step."""
    paths = hive.paths(session_id)
    if part == "sessions":
        change_record(paths, labels={"number": str(number)})
    elif part == "/agents":
        append(paths.telemetry, spawn_event(f"agent-{number}"))
    elif part == "/log":
        append(paths.log, b"line %d\n" % number)
    else:
        append(paths.telemetry, message_event(str(number)))


def listen(uris: list[str], request_id: object = "sub", **more: object) -> Json:
    return modern("subscriptions/listen", request_id, notifications={"resourceSubscriptions": uris, **more})


def subscribed(plane: DataPlane, version: str, uris: list[str]) -> Line:
    line = introduced(plane, version)
    if version == MODERN:
        acknowledged = line.ask(listen(uris))
        assert acknowledged["method"] == ACKNOWLEDGED
        assert acknowledged["params"]["notifications"] == {"resourceSubscriptions": uris}
        assert acknowledged["params"]["_meta"] == {SUBSCRIPTION: "sub"}
        return line
    for uri in uris:
        assert line.ask(request("resources/subscribe", uri, uri=uri)) == {"jsonrpc": "2.0", "id": uri, "result": {}}
    return line


def update(version: str, uri: str) -> Json:
    """The notification of a change, as it must be to the letter."""
    marked = {"_meta": {SUBSCRIPTION: "sub"}} if version == MODERN else {}
    return {"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": uri, **marked}}


def ping(line: Line, version: str) -> Json:
    """Ask something cheap; the message that comes next."""
    return line.ask(modern("tools/list", "ping") if version == MODERN else PING)


# -- how soon --------------------------------------------------------------------------------------------------------------


# No sweep sees what inotify did not tell: that is never told then, instead of late.
NO_SWEEPS = "import hive_session.ondisk.sessions\nhive_session.ondisk.sessions.ROUND_S = 6000.0\n"


@pytest.fixture
def prompt(tmp_path: Path) -> Iterator[DataPlane]:
    """A data plane over an empty workspace that has nothing but inotify to tell what changed."""
    with Hive(tmp_path / "hive") as hive, DataPlane(hive, env=running_first(tmp_path / "first", NO_SWEEPS)) as plane:
        yield plane


@pytest.mark.parametrize("part", ["sessions", *PARTS])
@pytest.mark.parametrize("version", ["2025-06-18", MODERN])
def test_a_change_is_told_within_50_ms_of_the_line_on_disk(prompt: DataPlane, version: str, part: str) -> None:
    plane, session_id = prompt, prompt.hive.create("rehearsal")
    uri = resource(session_id, part)
    took_s = []
    with subscribed(plane, version, [uri]) as line:
        for number in range(CHANGES):
            if number == CHANGES // 2:  # from here on its telemetry is in memory
                plane.call("session_agents", session_id=session_id)
            began = time.monotonic()
            change(plane.hive, session_id, part, number)
            assert line.next() == update(version, uri)
            took_s.append(time.monotonic() - began)
    assert statistics.median(took_s) < PROMISED_S, took_s


@pytest.mark.parametrize("version", ["2025-06-18", MODERN])
def test_a_change_of_many_watched_sessions_is_told_within_50_ms_too(prompt: DataPlane, version: str) -> None:
    plane = prompt
    ids = [plane.hive.create("rehearsal") for _ in range(3)]
    uris = [resource(session_id, part) for session_id in ids for part in ("/telemetry", "/log")]
    took_s = []
    with subscribed(plane, version, uris) as line:
        for number in range(CHANGES):
            began = time.monotonic()
            change(plane.hive, ids[number % 3], "/telemetry", number)
            assert line.next() == update(version, resource(ids[number % 3], "/telemetry"))
            took_s.append(time.monotonic() - began)
    assert statistics.median(took_s) < PROMISED_S, took_s


def test_what_is_read_after_a_notification_holds_the_change(plane: DataPlane, session_id: str) -> None:
    uri = resource(session_id, "/telemetry")
    with subscribed(plane, "2025-11-25", [uri]) as line, plane.connect() as reader:
        for number in range(CHANGES):
            change(plane.hive, session_id, "/telemetry", number)
            line.next()
            content = reader.ask(request("resources/read", uri=uri))["result"]["contents"][0]["text"]
            assert json.loads(content)["events"][-1]["text"] == str(number)


def test_the_log_of_a_session_that_was_never_started_is_told_of_once_there_is_one(plane: DataPlane) -> None:
    agent = plane.hive.shell("echo hello; exec sleep 600")
    session_id = plane.hive.create(agent)
    uri = resource(session_id, "/log")
    with subscribed(plane, MODERN, [uri]) as line:
        plane.hive.start(session_id)
        assert line.next() == update(MODERN, uri)
        until(lambda: b"hello" in read_bytes(plane.hive.paths(session_id).log), "the log to be written")


# -- to whom ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2024-11-05", "2025-11-25", MODERN])
def test_only_what_was_subscribed_is_told_and_only_to_whom_it_was(
    plane: DataPlane, session_id: str, version: str
) -> None:
    other_id = plane.hive.create("rehearsal")
    uri, telemetry = resource(session_id, "/agents"), resource(session_id, "/telemetry")
    plane.call("session_agents", session_id=session_id)  # else any telemetry may be of agents, for all the server knows
    with (
        introduced(plane, version) as unsubscribed,
        plane.connect() as bare,
        subscribed(plane, version, [resource(other_id, "/telemetry")]) as other,
        subscribed(plane, version, [telemetry]) as witness,
        subscribed(plane, version, [uri]) as line,
    ):
        ping(unsubscribed, version)
        for number, part in enumerate(("/log", "", "/telemetry")):
            change(plane.hive, session_id, part, number)
            assert part == "/log" or witness.next() == update(version, telemetry)
        for quiet in (unsubscribed, other, line):
            assert ping(quiet, version)["id"] == "ping"
        change(plane.hive, session_id, "sessions", 3)
        assert line.next() == update(version, uri)
        change(plane.hive, session_id, "/agents", 4)
        assert line.next() == update(version, uri)
        for quiet in (unsubscribed, other, line):
            assert ping(quiet, version)["id"] == "ping"
        assert bare.ask(PING)["id"] == "ping"


def test_each_listen_of_a_connection_is_told_under_its_own_id(plane: DataPlane, session_id: str) -> None:
    log, telemetry = resource(session_id, "/log"), resource(session_id, "/telemetry")
    with plane.connect() as line:
        for request_id, uris in ((0, [log]), ("0", [telemetry]), (1.5, [telemetry, telemetry])):
            assert line.ask(listen(uris, request_id))["params"]["_meta"] == {SUBSCRIPTION: request_id}
        assert line.ask(listen([log], 0))["error"]["code"] == -32600  # in use
        change(plane.hive, session_id, "/telemetry", 0)
        told = [line.next()["params"]["_meta"][SUBSCRIPTION] for _ in range(2)]
        assert told == ["0", 1.5]
        change(plane.hive, session_id, "/log", 0)
        assert line.next()["params"] == {"uri": log, "_meta": {SUBSCRIPTION: 0}}


def test_what_is_no_resource_is_not_granted(plane: DataPlane, session_id: str) -> None:
    uri = resource(session_id, "/log")
    with plane.connect() as line:
        answer = line.ask(listen([uri, "hive://session/../../etc/passwd", "file:///etc/passwd", "", uri]))
        assert answer["params"]["notifications"] == {"resourceSubscriptions": [uri]}
        no_lists: tuple[object, ...] = (5, True, [5], "hive://sessions", {"uri": uri})
        for wrong in no_lists:
            params = {"notifications": {"resourceSubscriptions": wrong}}
            assert line.ask(modern("subscriptions/listen", 2, **params))["error"]["code"] == -32602


def test_sessions_that_come_and_go_are_told_as_changes_of_the_list(plane: DataPlane) -> None:
    with plane.connect() as line:
        acknowledged = line.ask(listen([], resourcesListChanged=True))
        assert acknowledged["params"]["notifications"] == {"resourcesListChanged": True}
        session_id = plane.hive.create("rehearsal")
        expected = {"jsonrpc": "2.0", "method": LIST_CHANGED, "params": {"_meta": {SUBSCRIPTION: "sub"}}}
        assert line.next() == expected
        change(plane.hive, session_id, "/telemetry", 0)  # no change of the list
        os.rename(plane.hive.paths(session_id).dir, f"{plane.hive.root}/removed")
        assert line.next() == expected
        assert ping(line, MODERN)["id"] == "ping"


# -- until when ------------------------------------------------------------------------------------------------------------


def test_after_unsubscribe_nothing_more_is_told(plane: DataPlane, session_id: str) -> None:
    uri = resource(session_id, "/telemetry")
    with subscribed(plane, "2025-06-18", [uri]) as line, subscribed(plane, "2025-06-18", [uri]) as witness:
        assert line.ask(request("resources/unsubscribe", 5, uri=uri))["result"] == {}
        assert line.ask(request("resources/unsubscribe", 6, uri=uri))["result"] == {}  # once more does no harm
        change(plane.hive, session_id, "/telemetry", 0)
        assert witness.next() == update("2025-06-18", uri)
        assert line.ask(PING)["id"] == "ping"


@pytest.mark.parametrize("busy", [False, True])
def test_after_cancelled_nothing_more_is_told(plane: DataPlane, session_id: str, busy: bool) -> None:
    uri = resource(session_id, "/telemetry")
    with (
        locked_database(plane.hive.paths(session_id)),
        plane.connect() as line,
        subscribed(plane, MODERN, [uri]) as witness,
    ):
        if busy:  # the listen waits behind an answer that waits for the lock, and is cancelled before it has begun
            line.send(modern("tools/call", "slow", name="session_memory", arguments={"session_id": session_id}))
            plane.call("server_info")  # by its answer the server has read that
        line.send(listen([uri], "mine"))
        if not busy:
            assert line.next()["method"] == ACKNOWLEDGED
        plane.call("server_info")  # by its answer the server has read that
        line.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "mine"}})
        line.send(modern("tools/list", "last"))
        while line.next().get("id") != "last":
            continue
        change(plane.hive, session_id, "/telemetry", 0)
        assert witness.next() == update(MODERN, uri)
        assert ping(line, MODERN)["id"] == "ping"
        change(plane.hive, session_id, "/telemetry", 1)
        assert witness.next() == update(MODERN, uri)
        assert ping(line, MODERN)["id"] == "ping"


def test_a_subscriber_that_has_no_more_to_say_is_told_the_end(plane: DataPlane, session_id: str) -> None:
    uris = [resource(session_id, "/telemetry")]
    with subscribed(plane, MODERN, uris) as line, subscribed(plane, "2025-06-18", uris) as legacy:
        for peer in (line, legacy):
            peer.end()
        result = {"resultType": "complete", "_meta": {SUBSCRIPTION: "sub"}}
        assert [json.loads(raw) for raw in line.rest()] == [{"jsonrpc": "2.0", "id": "sub", "result": result}]
        assert legacy.rest() == []


# -- much at once ----------------------------------------------------------------------------------------------------------


def test_a_burst_of_5000_events_is_told_in_few_words_the_last_of_them_after_its_end(
    plane: DataPlane, session_id: str
) -> None:
    uri = resource(session_id, "/telemetry")
    count = 5000
    with subscribed(plane, MODERN, [uri]) as line, plane.connect() as reader:
        cursor = reader.ask(tool_call("session_events", session_id=session_id, tail=0))["result"]["cursor"]
        notifications, seen = 0, list[int]()
        began = time.monotonic()
        writer = threading.Thread(target=_write_all, args=(plane.hive, session_id, count))
        writer.start()
        while len(seen) < count:
            # Reads only when told to: if nothing were told after the last event, this would end in a TimeoutError.
            assert line.next() == update(MODERN, uri)
            notifications += 1
            more = True
            while more:
                page = reader.ask(tool_call("session_events", session_id=session_id, cursor=cursor, limit=1000))[
                    "result"
                ]
                seen += [int(event["text"]) for event in page["events"]]
                cursor, more = page["cursor"], page["more"]
        line.send(modern("tools/list", "last"))
        while line.next().get("id") != "last":
            notifications += 1
        took_s = time.monotonic() - began
        writer.join()
    assert seen == list(range(count))
    assert notifications <= took_s / 0.02 + 2
    assert notifications < count / 10


def _write_all(hive: Hive, session_id: str, count: int) -> None:
    for number in range(count):
        change(hive, session_id, "", number)


def test_a_subscriber_that_does_not_read_is_told_of_many_changes_once(plane: DataPlane, session_id: str) -> None:
    uri, answers = resource(session_id, "/telemetry"), 400  # some 18 MB: far more than the kernel takes
    with subscribed(plane, MODERN, [uri]) as line, subscribed(plane, MODERN, [uri]) as witness:
        line.send(b"".join(json.dumps(modern("tools/list", at)).encode() + b"\n" for at in range(answers)))
        _wait_until_full(line)
        for number in range(CHANGES):
            change(plane.hive, session_id, "/telemetry", number)
            assert witness.next() == update(MODERN, uri)
        came = [line.next() for _ in range(answers + 1)]
        assert [message["id"] for message in came if "id" in message] == list(range(answers))
        assert came.count(update(MODERN, uri)) == 1
        assert ping(line, MODERN)["id"] == "ping"
    assert_quiet(plane)


def _wait_until_full(line: Line) -> None:
    """Until the kernel takes no more of what nobody reads."""
    unread = -1

    def grows() -> bool:
        nonlocal unread
        before, unread = unread, struct.unpack("i", fcntl.ioctl(line.fileno(), termios.FIONREAD, bytes(4)))[0]
        return unread != before or not unread

    until(lambda: not grows(), "the connection to be full")


# -- the server is killed --------------------------------------------------------------------------------------------------


@dataclass
class Follower:
    """A client that subscribes, reads on from its cursor whenever it is told to, and comes back after every loss."""

    plane: DataPlane
    session_id: str
    total: int
    seen: list[int] = field(default_factory=list)
    cursor: int = 0
    connections: int = 0

    def follow(self) -> None:
        while len(self.seen) < self.total:
            with suppress(ConnectionError, AssertionError), self.plane.connect() as line:
                self._serve(line)

    def _serve(self, line: Line) -> None:
        hello = request("initialize", 0, protocolVersion="2025-06-18", capabilities={}, clientInfo={})
        assert "result" in line.ask(hello)
        assert "result" in line.ask(request("resources/subscribe", uri=resource(self.session_id, "/telemetry")))
        self.connections += 1
        while len(self.seen) < self.total:
            line.send(tool_call("session_events", session_id=self.session_id, cursor=self.cursor))
            told_meanwhile = False  # of what came after the page was read, perhaps: it is asked for again
            while "id" not in (answer := line.next()):
                told_meanwhile = True
            page = answer["result"]
            self.seen += [int(event["text"]) for event in page["events"] if event["type"] == "message"]
            self.cursor = page["cursor"]
            if not page["more"] and not told_meanwhile and len(self.seen) < self.total:
                assert line.next()["method"] == UPDATED


def test_fifty_subscribers_miss_no_event_and_see_none_twice_when_the_server_is_killed(
    plane: DataPlane, session_id: str
) -> None:
    total = 90
    clients = [Follower(plane, session_id, total) for _ in range(50)]
    threads = [threading.Thread(target=client.follow, daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    numbers = iter(range(total))

    def write(count: int, while_waiting_for: Callable[[], bool]) -> None:
        """Append events one after another, for as long as something has not come about."""
        left = [next(numbers) for _ in range(count)]

        def step() -> bool:
            if left:
                change(plane.hive, session_id, "", left.pop(0))
            return not left and while_waiting_for()

        until(step, "that")

    write(30, lambda: all(len(client.seen) >= 20 for client in clients))
    plane.kill()
    write(30, lambda: True)  # nobody is there to tell of these
    plane.start()
    write(30, lambda: all(client.connections > 1 for client in clients))
    for thread in threads:
        thread.join(DEADLINE_S)
    assert [client.seen for client in clients] == [list(range(total))] * 50
    assert all(client.connections == 2 for client in clients)
    assert_quiet(plane)


@pytest.fixture(autouse=True)
def _threads_end() -> Iterator[None]:
    """No thread of a test outlives it."""
    before = threading.active_count()
    yield
    until(lambda: threading.active_count() <= before, "the end of all threads")
