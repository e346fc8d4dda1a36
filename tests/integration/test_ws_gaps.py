"""Viewers that come and go, stall, and outlive the relay or the file that they watch: none misses an event or gets one twice."""

import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection

from hive_session.ondisk.layout import SessionPaths
from tests.integration.hive import DEADLINE_S, Hive, read_bytes, until
from tests.integration.mcp_disk import append, message_event
from tests.integration.ws_server import Json, RelayProcess

EVENTS = 100_000
STALL_BYTES = 4 << 20  # written while a slow viewer reads nothing: more than the kernel and the relay hold for it
LITTLE_BYTES = 4096  # that the kernel takes for a viewer which does not read
LOOK_S = 0.2
PACE_S = 0.02  # between two attempts to reach a relay that is away
WRITTEN_S = 60.0  # for all events to be written, which takes eight seconds, and for a copy to have them all

# Appends so many events to a file in bursts of some hundred lines, each burst in one write.
WRITER = """
import os, random, sys, time
path, events, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
dice = random.Random(seed)
line = '{"ts":%d,"type":"message","from":"queen","to":"w","text":"%d %s"}\\n'
file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
number = 0
while number < events:
    burst = min(events - number, dice.choice((1, 20, 300, 900)))
    words = [dice.randbytes(dice.randrange(8, 100)).hex() + "é" for _ in range(burst)]
    data = "".join(line % (1_700_000_000_000 + number + i, number + i, word) for i, word in enumerate(words)).encode()
    assert os.write(file, data) == len(data)
    number += burst
    time.sleep(burst / events * 8)  # the pace: eight seconds for all of them
"""


class Copy:
    """A viewer that writes a session's telemetry anew, byte for byte, from the events that it is told.

    It comes back with the end of what it has as its cursor, and asks again for what a gap names.
    """

    def __init__(self, relay: RelayProcess, session_id: str, **options: Any) -> None:
        self.file = bytearray()
        self.joins = self.gaps = self.restarts = 0
        self.may_restart = False  # another file is expected to take the place of the one that it reads
        self.before = b""  # what it had when another file began
        self._relay = relay
        self._session_id = session_id
        self._options = options
        self._words: Json = {}
        self._asked = 0
        self._heard = 0  # number of the last subscription that was acknowledged

    @property
    def is_there(self) -> bool:
        """What it asked for last was acknowledged."""
        return 0 < self._asked == self._heard

    def saying(self, **words: Any) -> "Copy":
        """Has these words in its subscriptions."""
        self._words = words
        return self

    @contextmanager
    def connect(self) -> Iterator[ClientConnection]:
        """A connection that keeps little for who does not read, subscribed from the cursor on."""
        with socket.socket() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE_BYTES)
            peer.connect(("127.0.0.1", self._relay.port))
            with self._relay.connect(sock=peer, max_queue=1, close_timeout=0.1, **self._options) as viewer:
                self.joins += 1
                self.ask(viewer)
                yield viewer

    def ask(self, viewer: ClientConnection) -> None:
        """Subscribe from the end of what it has."""
        self._asked += 1
        words = {"events": True, "snapshot": False, "from": len(self.file), "id": self._asked, **self._words}
        viewer.send(json.dumps({"action": "subscribe", "session_id": self._session_id, **words}))

    def read(self, viewer: ClientConnection, timeout_s: float = DEADLINE_S) -> Json:
        """Take in one message."""
        message: Json = json.loads(viewer.recv(timeout_s))
        kind = message["type"]
        if kind == "error":
            self._is_refused(viewer, message)
        elif kind == "subscribed":
            self._heard = message["id"]
            if self._heard == self._asked:
                assert message["cursors"].get(self._session_id, len(self.file)) == len(self.file), message
        elif kind == "events" and self._heard == self._asked:
            assert message["from"] == len(self.file), (message["from"], message["to"], len(self.file))
            self.file += b"".join(orjson.dumps(event) + b"\n" for event in message["events"])
            assert message["to"] == len(self.file)
        elif kind == "gap" and message["to"] == 0:
            assert self._heard != self._asked or message["from"] == len(self.file), message
            self._begin_anew(viewer)
        elif kind == "gap" and self._heard == self._asked:
            assert message["from"] == len(self.file) < message["to"], message
            self.gaps += 1
            self.ask(viewer)
        return message

    def read_to(self, viewer: ClientConnection, path: str) -> None:
        """Read until it has the whole file, which must be what it wrote."""
        while bytes(self.file) != read_bytes(path):
            self.read(viewer)

    def _begin_anew(self, viewer: ClientConnection) -> None:
        """Another file stands in the place of the one that it had."""
        self.before = self.before or bytes(self.file)
        self.file.clear()
        self.restarts += 1
        if self._heard != self._asked:
            self.ask(viewer)  # what it asked for is of the file before

    def _is_refused(self, viewer: ClientConnection, error: Json) -> None:
        """A cursor that is none any more is one in a file that is gone; it may be told of that one just now."""
        assert error["code"] == "bad_cursor" and self.may_restart, error
        if error["id"] == self._asked:
            self._begin_anew(viewer)


@pytest.fixture(scope="module")
def hive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hive]:
    root = tmp_path_factory.mktemp("gaps")
    with Hive(root / "hive", HOME=str(root)) as hive:
        yield hive


@pytest.fixture
def paths(hive: Hive) -> SessionPaths:
    """A session that has not begun."""
    return hive.paths(hive.create("rehearsal"))


@pytest.fixture(scope="module")
def relay(hive: Hive) -> Iterator[RelayProcess]:
    with RelayProcess(hive) as relay:
        yield relay
        assert_quiet(relay)


def assert_quiet(relay: RelayProcess) -> None:
    """Nothing went wrong that it did not expect."""
    said, found, trouble = relay.log.partition("Traceback")
    assert not found, said[-500:] + found + trouble[:3000]


def figure(relay: RelayProcess, name: str) -> float:
    """One figure of /metrics."""
    found = dict(line.rsplit(" ", 1) for line in relay.get("/metrics")[2].decode().splitlines() if line[0] != "#")
    return float(found[f"hive_relay_{name}"])


# -- coming and going --------------------------------------------------------------------------------------------------


class Visitor(threading.Thread):
    """A copy that is dropped at random and comes back; a slow one stops reading too, at once and later at random."""

    def __init__(self, copy: Copy, path: str, seed: int, slow: bool, ended: Callable[[], bool]) -> None:
        super().__init__(daemon=True)
        self.copy = copy
        self.failure: BaseException | None = None
        self._path = path
        self._dice = random.Random(seed)
        self._slow = slow
        self._ended = ended

    def run(self) -> None:
        try:
            while not self._complete():
                with suppress(ConnectionClosed, InvalidHandshake, OSError, EOFError):
                    self._visit()
                time.sleep(PACE_S)
        except BaseException as exc:  # the test asks for it
            self.failure = exc

    def _complete(self) -> bool:
        return self._ended() and len(self.copy.file) == os.path.getsize(self._path)

    def _visit(self) -> None:
        with self.copy.connect() as viewer:
            for _ in range(self._dice.randrange(1, 150 if self._slow else 60)):
                if self._complete():
                    return
                with suppress(TimeoutError):
                    self.copy.read(viewer, LOOK_S)
                if self._slow and self._dice.random() < (0.05 if self.copy.gaps else 1) and self._is_live():
                    self._stall()
            if self._dice.random() < 0.5:
                viewer.socket.shutdown(socket.SHUT_RDWR)

    def _is_live(self) -> bool:
        return os.path.getsize(self._path) - len(self.copy.file) < 1 << 16

    def _stall(self) -> None:
        end = os.path.getsize(self._path) + STALL_BYTES
        until(lambda: self._ended() or os.path.getsize(self._path) >= end, "the file to grow", WRITTEN_S)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_five_viewers_that_come_and_go_write_100_000_events_anew_though_the_relay_is_killed(
    hive: Hive, paths: SessionPaths
) -> None:
    with RelayProcess(hive) as relay, ExitStack() as stack:
        writer: subprocess.Popen[bytes] | None = None
        copies = [
            Copy(relay, paths.id),
            Copy(relay, paths.id, compression=None),
            Copy(relay, paths.id).saying(filters={"update_frequency_hz": 5}),
            Copy(relay, paths.id),
            Copy(relay, paths.id, compression=None).saying(filters={"update_frequency_hz": 5}),
        ]
        visitors = [
            Visitor(copy, paths.telemetry, seed, seed >= 3, lambda: writer is not None and writer.poll() is not None)
            for seed, copy in enumerate(copies)
        ]
        for each in visitors:
            each.start()
        until(lambda: all(copy.is_there for copy in copies[3:]), "the slow ones to be there before there is much")
        writer = stack.enter_context(writing(paths))
        until(lambda: os.path.getsize(paths.telemetry) > 6 << 20, "the middle of the events", WRITTEN_S)
        relay.kill()
        relay.start()
        assert writer.wait(WRITTEN_S) == 0
        for each in visitors:
            each.join(WRITTEN_S)
            assert each.failure is None, repr(each.failure)
            assert not each.is_alive(), len(each.copy.file)
        assert_quiet(relay)
    whole = read_bytes(paths.telemetry)
    assert whole.count(b"\n") >= EVENTS
    assert [copy.file == whole for copy in copies] == [True] * 5
    assert min(copy.joins for copy in copies) >= 3 and sum(copy.joins for copy in copies) >= 30
    assert min(copy.gaps for copy in copies[3:]) >= 1, [copy.gaps for copy in copies]


@contextmanager
def writing(paths: SessionPaths) -> Iterator[subprocess.Popen[bytes]]:
    """The process that writes all the events; it ends with the block."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, paths.telemetry, str(EVENTS), "7"])
    try:
        yield writer
    finally:
        writer.kill()
        writer.wait()


def test_what_a_viewer_that_stalls_does_not_get_is_named_and_comes_when_asked_for(
    relay: RelayProcess, paths: SessionPaths
) -> None:
    copy = Copy(relay, paths.id)
    with copy.connect() as viewer:
        append(paths.telemetry, message_event("first"))
        copy.read_to(viewer, paths.telemetry)
        overwhelm(relay, paths)
        copy.read_to(viewer, paths.telemetry)
        append(paths.telemetry, message_event("last"))
        copy.read_to(viewer, paths.telemetry)
    assert copy.gaps >= 1 and b"last" in copy.file


def overwhelm(relay: RelayProcess, paths: SessionPaths) -> None:
    """Write events until the relay has dropped some for a viewer that does not read."""
    before = figure(relay, "events_dropped_bytes_total")

    def dropped() -> bool:
        append(paths.telemetry, b"".join(message_event(random.randbytes(4000).hex()) for _ in range(100)))
        return figure(relay, "events_dropped_bytes_total") > before

    until(dropped, "events to be dropped")


def test_a_session_may_be_watched_before_there_is_one(relay: RelayProcess, hive: Hive, tmp_path: Path) -> None:
    with Hive(tmp_path / "elsewhere", HOME=str(tmp_path)) as elsewhere:
        made = elsewhere.paths(elsewhere.create("rehearsal"))
        append(made.telemetry, message_event("there before anybody saw it"))
        paths, copy = hive.paths(made.id), Copy(relay, made.id)
        with copy.connect() as viewer:
            acknowledged = copy.read(viewer)
            assert (acknowledged["type"], acknowledged["sessions"]) == ("subscribed", [])
            os.rename(made.dir, paths.dir)
            until(lambda: copy.read(viewer)["type"] == "telemetry_update", "the session to be told of")
            append(paths.telemetry, message_event("later"))
            copy.read_to(viewer, paths.telemetry)
    assert copy.gaps == copy.restarts == 0 and b"before anybody" in copy.file and b"later" in copy.file


# -- another file in its place -----------------------------------------------------------------------------------------


def cut(path: str, data: bytes) -> None:
    """Empty the file, and write to it."""
    os.truncate(path, 0)
    append(path, data)


def replace(path: str, data: bytes) -> None:
    """Put a new file in its place."""
    append(f"{path}.new", data)
    os.replace(f"{path}.new", path)


OTHERS = b"".join(message_event(f"of the other file {number}") for number in range(50))


@pytest.mark.parametrize("change", [cut, replace])
@pytest.mark.parametrize("lines", [1, 50], ids=["shorter", "longer"])
def test_a_file_that_another_one_follows_is_told_as_a_gap_to_0_and_then_from_its_beginning(
    relay: RelayProcess, paths: SessionPaths, change: Callable[[str, bytes], None], lines: int
) -> None:
    copy = Copy(relay, paths.id)
    others = b"".join(OTHERS.splitlines(keepends=True)[:lines])
    with copy.connect() as viewer:
        append(paths.telemetry, b"".join(message_event(f"{number}") for number in range(10)))
        copy.read_to(viewer, paths.telemetry)
        first = read_bytes(paths.telemetry)
        change(paths.telemetry, others)
        copy.read_to(viewer, paths.telemetry)
        append(paths.telemetry, message_event("and more"))
        copy.read_to(viewer, paths.telemetry)
    assert (copy.restarts, copy.gaps, copy.before) == (1, 0, first)


def test_what_was_written_just_before_a_file_was_replaced_is_told_too(relay: RelayProcess, paths: SessionPaths) -> None:
    copy = Copy(relay, paths.id)
    with copy.connect() as viewer:
        append(paths.telemetry, message_event("first"))
        copy.read_to(viewer, paths.telemetry)
        viewer.send('{"action":"ping"}')
        until(lambda: copy.read(viewer)["type"] == "pong", "its replay to be over")
        append(paths.telemetry, message_event("the last of the old"))
        replace(paths.telemetry, OTHERS)
        copy.read_to(viewer, paths.telemetry)
    assert copy.restarts == 1 and b"the last of the old" in copy.before


@pytest.mark.parametrize("change", [cut, replace])
@pytest.mark.parametrize("drops", [False, True], ids=["little follows", "more follows than is kept"])
def test_a_viewer_that_stalls_while_another_file_begins_has_all_of_that_one(
    relay: RelayProcess, paths: SessionPaths, change: Callable[[str, bytes], None], drops: bool
) -> None:
    copy = Copy(relay, paths.id)
    with copy.connect() as viewer:
        append(paths.telemetry, message_event("first"))
        copy.read_to(viewer, paths.telemetry)
        overwhelm(relay, paths)
        copy.may_restart = True
        change(paths.telemetry, OTHERS)
        with relay.connect() as other:
            other.send(json.dumps({"action": "ping"}))
            other.recv(DEADLINE_S)
        if drops:
            overwhelm(relay, paths)
        append(paths.telemetry, message_event("the end"))
        copy.read_to(viewer, paths.telemetry)
    assert copy.restarts >= 1 and b"the end" in copy.file


def test_who_comes_back_after_a_file_was_cut_is_told_that_its_cursor_is_beyond_the_end_and_gets_all_from_0(
    relay: RelayProcess, paths: SessionPaths
) -> None:
    append(paths.telemetry, OTHERS)
    copy = Copy(relay, paths.id)
    with copy.connect() as viewer:
        copy.read_to(viewer, paths.telemetry)
    cut(paths.telemetry, message_event("first of the other"))
    with relay.connect() as viewer:
        words = {"session_id": paths.id, "events": True, "snapshot": False, "from": len(copy.file)}
        viewer.send(json.dumps({"action": "subscribe", **words}))
        refusal = json.loads(viewer.recv(DEADLINE_S))
        assert (refusal["type"], refusal["code"], refusal["field"]) == ("error", "bad_cursor", "from")
    fresh = Copy(relay, paths.id)
    with fresh.connect() as viewer:
        append(paths.telemetry, message_event("second"))
        fresh.read_to(viewer, paths.telemetry)
