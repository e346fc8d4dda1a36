"""What a viewer must not say, and what a bad one can do: it is answered or closed, and its neighbour is served as usual."""

import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, Self

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from hive_session.ondisk.layout import SessionPaths
from tests.integration.hive import DEADLINE_S, Hive, until
from tests.integration.mcp_disk import append, message_event
from tests.integration.stopwatch import Lateness, within
from tests.integration.ws_server import Json, RelayProcess, ask, heard

PACE_S = 0.01  # between two lines
USUAL_LINES = 100  # by which the usual delay is measured
USUALLY_S = 0.05  # of which half of the delays stay below, on a machine that does other work too
LONGEST_S = 1.0  # of one delay: far above the usual one, far below what a bad neighbour could cost
UNREAD_BYTES = 4096
MISSING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def hive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hive]:
    root = tmp_path_factory.mktemp("bad")
    with Hive(root / "hive", HOME=str(root)) as hive:
        yield hive


@pytest.fixture(scope="module")
def paths(hive: Hive) -> SessionPaths:
    """A session with 4 MB of events."""
    paths = hive.paths(hive.create("rehearsal"))
    append(paths.telemetry, message_event("x" * 4000) * 1000)
    return paths


@pytest.fixture(scope="module")
def relay(hive: Hive, paths: SessionPaths) -> Iterator[RelayProcess]:
    with RelayProcess(hive) as relay:
        yield relay
        assert "Traceback" not in relay.log, relay.log


# -- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "field"),
    [
        ("", "bad_json", None),
        ("{", "bad_json", None),
        ('{"action":"ping"} {"action":"ping"}', "bad_json", None),
        ('{"action":NaN}', "bad_json", None),
        ('{"action":"\\ud800"}', "bad_json", None),
        ("[" * 10_000, "bad_json", None),
        ('{"a":' * 900 + "1" + "}" * 900, "unknown_action", "action"),
        ("[]", "not_an_object", None),
        ("null", "not_an_object", None),
        ('"subscribe"', "not_an_object", None),
        ("{}", "unknown_action", "action"),
        ('{"action":"dance"}', "unknown_action", "action"),
        ('{"type":"dance"}', "unknown_action", "type"),
        ('{"action":7}', "wrong_type", "action"),
        ('{"action":"ping","id":[1]}', "wrong_type", "id"),
        ('{"action":"ping","id":"%s"}' % ("x" * 300), "too_large", "id"),
        ('{"action":"subscribe","filters":[]}', "wrong_type", "filters"),
        ('{"action":"subscribe","filters":{"colour":"red"}}', "unknown_filter", "colour"),
        ('{"action":"subscribe","colour":"red"}', "unknown_filter", "colour"),
        ('{"action":"subscribe","filters":{"agent_types":"queen"}}', "wrong_type", "agent_types"),
        ('{"action":"subscribe","filters":{"include_performance":1}}', "wrong_type", "include_performance"),
        ('{"action":"subscribe","filters":{"update_frequency_hz":0}}', "out_of_range", "update_frequency_hz"),
        ('{"action":"subscribe","filters":{"update_frequency_hz":1e300}}', "out_of_range", "update_frequency_hz"),
        ('{"action":"subscribe","filters":{"update_frequency_hz":true}}', "wrong_type", "update_frequency_hz"),
        ('{"action":"subscribe","session_id":"../../etc"}', "wrong_type", "session_id"),
        ('{"action":"subscribe","session_id":{}}', "wrong_type", "session_id"),
        ('{"action":"subscribe","labels":{"a":1}}', "wrong_type", "labels"),
        ('{"action":"subscribe","events":"yes"}', "wrong_type", "events"),
        ('{"action":"subscribe","snapshot":0}', "wrong_type", "snapshot"),
        ('{"action":"subscribe","from":1.5}', "wrong_type", "from"),
        ('{"action":"subscribe","from":0}', "bad_cursor", "from"),
        (json.dumps({"action": "subscribe", "from": {MISSING: -1}}), "bad_cursor", "from"),
        (json.dumps({"action": "subscribe", "from": {MISSING: 10**20}}), "wrong_type", "from"),
        ('{"action":"subscribe","from":{"x":0}}', "wrong_type", "from"),
        ('{"action":"subscribe","max_bytes_per_s":1}', "out_of_range", "max_bytes_per_s"),
        ('{"action":"subscribe","max_bytes_per_s":"1e6"}', "wrong_type", "max_bytes_per_s"),
    ],
)
def test_wrong_words_are_answered_by_an_error_and_the_next_ones_are_heard(
    relay: RelayProcess, text: str, code: str, field: str | None
) -> None:
    with relay.connect() as viewer:
        viewer.send(text)
        error = heard(viewer)
        assert (error["type"], error["code"], error.get("field")) == ("error", code, field), error
        assert 0 < len(error["message"]) < 400 and "Traceback" not in error["message"]
        assert ask(viewer, action="ping")["type"] == "pong"


def test_wrong_words_leave_the_subscription_as_it_was(relay: RelayProcess, paths: SessionPaths) -> None:
    with relay.connect() as viewer:
        assert ask(viewer, action="subscribe", session_id=paths.id, events=True, snapshot=False)["cursors"]
        assert ask(viewer, action="subscribe", session_id="x", id=5)["id"] == 5
        append(paths.telemetry, message_event("still heard"))
        until(lambda: "still heard" in str(heard(viewer)), "the event")


def test_a_cursor_that_is_none_is_said_and_the_events_go_on_from_now(relay: RelayProcess, paths: SessionPaths) -> None:
    for cursor in (1, 1 << 40):
        with relay.connect() as viewer:
            words = {"session_id": paths.id, "events": True, "snapshot": False, "from": cursor, "id": "a"}
            error = ask(viewer, action="subscribe", **words)
            assert (error["code"], error["field"], error["id"]) == ("bad_cursor", "from", "a")
            acknowledged = heard(viewer)
            assert acknowledged["type"] == "subscribed"
            append(paths.telemetry, message_event("after it"))
            found: Json = until(lambda viewer=viewer: events_of(heard(viewer)), "events")  # type: ignore[misc]  # mypy infers no lambda with defaults
            assert found["from"] == acknowledged["cursors"][paths.id]


def events_of(message: Json) -> Json | None:
    return message if message["type"] == "events" else None


def test_a_session_that_does_not_exist_is_no_mistake(relay: RelayProcess) -> None:
    with relay.connect() as viewer:
        found = ask(viewer, action="subscribe", session_id=MISSING, events=True, **{"from": 0})
        assert (found["type"], found["sessions"]) == ("subscribed", [])


# -- neighbours --------------------------------------------------------------------------------------------------------


class Neighbour:
    """A good viewer of a session of its own, to which a line is written now and then; `delays_s` are from line to frame."""

    def __init__(self, hive: Hive, relay: RelayProcess) -> None:
        self.delays_s: list[float] = []
        self._paths = hive.paths(hive.create("rehearsal"))
        self._relay = relay
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.served(USUAL_LINES)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(DEADLINE_S)
        assert self._failure is None, repr(self._failure)

    def served(self, lines: int) -> None:
        """Wait until it was told so many lines more."""
        goal = len(self.delays_s) + lines
        until(lambda: self._failure or len(self.delays_s) >= goal, "the neighbour to be served")
        assert self._failure is None, repr(self._failure)

    def _watch(self) -> None:
        try:
            with self._relay.connect() as viewer:
                ask(viewer, action="subscribe", session_id=self._paths.id, events=True, snapshot=False)
                number = 0
                while not self._over.wait(PACE_S):
                    number += 1
                    began = time.monotonic()
                    append(self._paths.telemetry, message_event(f"line {number}."))
                    while f"line {number}." not in str(viewer.recv(DEADLINE_S)):
                        continue
                    self.delays_s.append(time.monotonic() - began)
        except BaseException as exc:  # the test asks for it
            self._failure = exc


def closed_with(peer: Any) -> int | None:
    """The code that the relay closed a viewer with."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            peer.recv(DEADLINE_S)
    return None if caught.value.rcvd is None else caught.value.rcvd.code


def talks_nonsense(relay: RelayProcess, paths: SessionPaths) -> None:
    frames = [Frame(Opcode.TEXT, words).serialize(mask=True) for words in (b"{", b"[" * 5000, b'{"action":"x"}')]
    with relay.connect(compression=None, max_queue=None) as viewer:
        viewer.socket.sendall(b"".join(frames) * 500)
        answers = [heard(viewer)["code"] for _ in range(1500)]
    assert answers == ["bad_json", "bad_json", "unknown_action"] * 500


def sends_binary(relay: RelayProcess, paths: SessionPaths) -> None:
    for _ in range(20):
        with relay.connect() as viewer:
            viewer.send(b"\x00" * 100_000)
            assert closed_with(viewer) == 1003


def sends_100_mb(relay: RelayProcess, paths: SessionPaths) -> None:
    with relay.connect(compression=None) as viewer:
        viewer.socket.settimeout(DEADLINE_S)
        viewer.socket.sendall(struct.pack("!BBQ4s", 0x81, 0x80 | 127, 100 << 20, b"mask"))
        with pytest.raises(OSError):  # it is not taken to its end
            for _ in range(100):
                viewer.socket.sendall(b"x" * (1 << 20))


def sends_100_mb_in_pieces(relay: RelayProcess, paths: SessionPaths) -> None:
    with relay.connect(compression=None) as viewer, pytest.raises(ConnectionClosed) as caught:
        viewer.send("x" * (1 << 18) for _ in range(400))
    assert caught.value.rcvd is not None and caught.value.rcvd.code == 1009


def drops_bombs(relay: RelayProcess, paths: SessionPaths) -> None:
    packer = zlib.compressobj(9, wbits=-15)
    bomb = packer.compress(b"0" * (100 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    frame = bytearray(Frame(Opcode.TEXT, bomb[:-4]).serialize(mask=True))
    frame[0] |= 0x40  # RSV1: it is compressed
    for _ in range(10):
        with relay.connect() as viewer:
            viewer.socket.sendall(frame)
            assert closed_with(viewer) == 1009


def subscribes_10_000_times(relay: RelayProcess, paths: SessionPaths) -> None:
    """Each time to all events there are, and to the whole state."""
    text = json.dumps({"action": "subscribe", "session_id": paths.id, "events": True, "from": 0}).encode()
    flood = Frame(Opcode.TEXT, text).serialize(mask=True) * 10_000
    with relay.connect(compression=None, max_queue=None) as viewer:
        sender = threading.Thread(target=viewer.socket.sendall, args=(flood,), daemon=True)
        sender.start()
        answers = 0
        while answers < 10_000:
            answers += heard(viewer)["type"] == "subscribed"
        sender.join(DEADLINE_S)


def never_reads(relay: RelayProcess, paths: SessionPaths) -> None:
    peer = deaf_peer(relay)
    text = json.dumps({"action": "subscribe", "session_id": paths.id, "events": True, "from": 0}).encode()
    peer.sendall(Frame(Opcode.TEXT, text).serialize(mask=True))
    for _ in range(50):
        append(paths.telemetry, message_event("y" * 4000) * 20)
        time.sleep(PACE_S)
    peer.close()


def deaf_peer(relay: RelayProcess) -> socket.socket:
    """A viewer after its handshake, which reads nothing more and answers no ping."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNREAD_BYTES)
    peer.settimeout(DEADLINE_S)
    peer.connect(("127.0.0.1", relay.port))
    peer.sendall(
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += peer.recv(1)
    assert b" 101 " in head
    return peer


@pytest.fixture(scope="module")
def stuck(relay: RelayProcess, paths: SessionPaths) -> Iterator[socket.socket]:
    """A viewer that asked for all events and reads none, there from the first bad neighbour on."""
    with deaf_peer(relay) as peer:
        text = json.dumps({"action": "subscribe", "session_id": paths.id, "events": True, "from": 0}).encode()
        peer.sendall(Frame(Opcode.TEXT, text).serialize(mask=True))
        yield peer


@pytest.mark.slow
@pytest.mark.usefixtures("stuck")
@pytest.mark.parametrize(
    "misbehave",
    [
        talks_nonsense,
        sends_binary,
        sends_100_mb,
        sends_100_mb_in_pieces,
        drops_bombs,
        subscribes_10_000_times,
        never_reads,
    ],
)
def test_a_neighbour_is_served_within_its_usual_delay_while_another(
    hive: Hive, relay: RelayProcess, paths: SessionPaths, misbehave: Callable[[RelayProcess, SessionPaths], None]
) -> None:
    with Neighbour(hive, relay) as neighbour:
        usual = median(neighbour.delays_s)
        before = len(neighbour.delays_s)
        with Lateness() as late:
            misbehave(relay, paths)
            neighbour.served(5)
            meanwhile = neighbour.delays_s[before:]
            longest_late, usually_late = late.longest_s, late.usual_s
    # From line to frame three wait for their turn: the relay, the neighbour's reader, and the neighbour.
    assert median(meanwhile) < max(USUALLY_S, 3 * usual) + 3 * usually_late, (median(meanwhile), usual, usually_late)
    assert max(meanwhile) < LONGEST_S + longest_late, (max(meanwhile), longest_late)


@pytest.mark.slow
def test_a_peer_that_is_half_gone_is_dropped_after_two_pings_and_its_neighbour_is_served(hive: Hive) -> None:
    relay = RelayProcess(hive, env={"WS_PING_S": "1"})
    with relay, Neighbour(hive, relay) as neighbour, Lateness() as late:
        half_gone = [deaf_peer(relay) for _ in range(10)]
        before = len(neighbour.delays_s)
        # 5 on an idle machine: to the ping, to its timeout, to the end of the closing handshake.
        within(12, lambda: relay.json("/healthz")["clients"] == 1, "the others are dropped")
        neighbour.served(5)
        assert max(neighbour.delays_s[before:]) < LONGEST_S + late.longest_s
        for each in half_gone:
            while each.recv(1 << 16):  # pings, and then the end of the connection
                continue
            each.close()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_who_reads_nothing_for_30_s_is_closed_with_1013(relay: RelayProcess, stuck: socket.socket) -> None:
    closed = b'hive_relay_turned_away_total{reason="stuck"} 1\n'
    until(lambda: closed in relay.get("/metrics")[2], "the relay to give it up", 45)
    said, reason = b"", b"nothing was read for 30 s"
    while (at := said.find(reason)) < 0:
        chunk = stuck.recv(1 << 16)
        assert chunk, "it ended without a word"
        said = said[-100:] + chunk
    assert struct.unpack("!H", said[at - 2 : at]) == (1013,)
