"""The hub over real files: who hears of what, from where on, and what a slow one costs the others."""

import errno
import gc
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hive_session.ondisk import folding
from hive_session.ondisk import sessions as ondisk_sessions
from hive_session.ondisk.events import encode_event
from hive_session.ondisk.fold import Agent
from hive_session.ondisk.sessions import ROUND_S
from tests.unit.hives import BUSY, DONE, session_id
from tests.unit.relays import Clock, Document, FakeWire
from tests.unit.test_fold import MESSAGE, QUEEN, spawned, status, usage
from tests.unit.test_fold import session as told
from tests.unit.test_sessions import Workspace
from ws_relay import group as group_module
from ws_relay import hub as hub_module
from ws_relay import tail as tail_module
from ws_relay import viewer as viewer_module
from ws_relay.frame import text_frame
from ws_relay.hub import CHECK_S, Hub
from ws_relay.pace import LONGEST_S
from ws_relay.positions import Formation
from ws_relay.tail import SEARCH_BYTES
from ws_relay.viewer import HIGH_BYTES, STUCK_S, Viewer

ONE, TWO, THREE = map(session_id, (1, 2, 3))
NOW_MS = 1_795_345_100_000


class Seat:
    """A viewer and its wire."""

    def __init__(self, hall: "Hall", deflate: bool) -> None:
        self.wire = FakeWire(deflate)
        self.viewer: Viewer = hall.hub.join(self.wire)
        self._hall = hall

    def say(self, **words: Any) -> list[Document]:
        """What arrives after these words, at once."""
        self.viewer.hear(orjson.dumps(words).decode())
        self._hall.settle()
        return self.wire.heard()

    def subscribe(self, **words: Any) -> list[Document]:
        return self.say(action="subscribe", **words)

    def heard(self, *types: str) -> list[Document]:
        """What arrived since the last call, after all that changed on disk was told."""
        self._hall.settle()
        self._hall.clock.wait(LONGEST_S)
        return self.wire.heard(*types)


class Hall(Workspace):
    """A workspace, a hub over it, and time that stands still until somebody waits."""

    def __init__(self, root: Path, **options: Any) -> None:
        super().__init__(root)
        self.clock = Clock()
        self.hub = Hub(self.sessions, self.clock.schedule, self.clock, now_ms=lambda: NOW_MS, **options)

    def seat(self, deflate: bool = False) -> Seat:
        return Seat(self, deflate)

    def settle(self) -> None:
        while self.sessions.refresh():
            self.clock.settle()
        self.clock.settle()

    def telemetry(self, number: int) -> bytes:
        return Path(self.paths(number).telemetry).read_bytes()


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    made = Hall(tmp_path / "place")
    made.open()
    yield made
    made.close()


def lines_of(documents: list[Document], of: str = ONE) -> list[Document]:
    return [
        line for each in documents if each["type"] == "events" and each["session_id"] == of for line in each["events"]
    ]


def ranges(documents: list[Document], of: str = ONE) -> list[tuple[int, int]]:
    return [(each["from"], each["to"]) for each in documents if each["type"] == "events" and each["session_id"] == of]


def on_disk(data: bytes) -> list[Document]:
    return [orjson.loads(line) for line in data.splitlines()]


def by_type(documents: list[Document]) -> list[str]:
    return [each["type"] for each in documents]


# -- subscribing -------------------------------------------------------------------------------------------------------


def test_a_subscription_is_acknowledged_and_the_whole_state_follows_the_live_first(hall: Hall) -> None:
    hall.add(1, "completed", DONE, reason="exit", exit_code=0)
    hall.run(2, BUSY)
    hall.add(3)
    seat = hall.seat()
    hall.settle()
    ack, *states = seat.subscribe(id=7)
    assert ack["type"] == "subscribed" and ack["id"] == 7
    assert ack["sessions"] == [THREE, TWO, ONE] and ack["cursors"] == {}
    assert [(each["type"], each["session_id"], each["snapshot"]) for each in states] == [
        ("telemetry_update", TWO, True),
        ("telemetry_update", THREE, True),
        ("telemetry_update", ONE, True),
    ]
    assert [len(each["agents"]) for each in states] == [5, 0, 5]
    assert states[0]["cursor"] == len(hall.telemetry(2))
    assert seat.heard() == []


def test_without_a_snapshot_only_changes_are_told(hall: Hall) -> None:
    hall.run(1, BUSY)
    hall.settle()
    seat = hall.seat()
    assert by_type(seat.subscribe(snapshot=False)) == ["subscribed"]
    hall.emit(1, usage("a", 700))
    (update,) = seat.heard()
    assert update["snapshot"] is False
    assert [agent["agent"] for agent in update["agents"]] == ["a"]


def test_changes_of_the_session_alone_name_no_agent(hall: Hall) -> None:
    hall.run(1, BUSY)
    hall.settle()
    seat = hall.seat()
    seat.subscribe(snapshot=False)
    hall.emit(1, told("running"))
    (update,) = seat.heard()
    assert update["agents"] == []


def test_new_agents_and_messages_change_the_topology(hall: Hall) -> None:
    hall.run(1, BUSY)
    hall.settle()
    seat = hall.seat()
    seat.subscribe(snapshot=False)
    hall.emit(1, spawned("new"), MESSAGE)
    update, topology = seat.heard()
    assert [agent["agent"] for agent in update["agents"]] == ["new"]
    assert topology["type"] == "topology_change"
    assert [each["action"] for each in topology["changes"]] == [
        "agent_spawned",
        "connection_established",
        "connection_established",
    ]


def test_a_session_can_be_subscribed_to_before_it_exists(hall: Hall) -> None:
    seat = hall.seat()
    (ack,) = seat.subscribe(session_id=ONE, events=True)
    assert ack["sessions"] == [] and ack["cursors"] == {}
    hall.run(2, BUSY)
    assert seat.heard() == []
    hall.run(1, BUSY)
    heard = seat.heard()
    assert lines_of(heard) == on_disk(hall.telemetry(1))
    assert {each["session_id"] for each in heard} == {ONE}
    assert any(each["type"] == "telemetry_update" and len(each["agents"]) == 5 for each in heard)


def test_only_sessions_with_the_labels_are_told_of(hall: Hall) -> None:
    hall.run(1, BUSY, labels={"team": "red"})
    hall.run(2, BUSY, labels={"team": "blue"})
    hall.settle()
    seat = hall.seat()
    ack, state = seat.subscribe(labels={"team": "red"})
    assert ack["sessions"] == [ONE] and state["session_id"] == ONE
    hall.emit(1, usage("a", 900))
    hall.emit(2, usage("a", 900))
    assert {each["session_id"] for each in seat.heard()} == {ONE}


def test_a_session_that_is_gone_is_told_to_those_who_heard_of_it(hall: Hall) -> None:
    for number in (1, 2):
        hall.add(number, labels={"team": "red" if number == 1 else "blue"})
    hall.settle()
    everybody, red, blue = hall.seat(), hall.seat(), hall.seat()
    everybody.subscribe()
    red.subscribe(labels={"team": "red"})
    blue.subscribe(session_id=TWO)
    os.mkdir(hall.layout.trash)
    os.rename(hall.paths(1).dir, f"{hall.layout.trash}/{ONE}.1")
    gone = [{"type": "session_removed", "session_id": ONE}]
    assert everybody.heard() == red.heard() == gone
    assert blue.heard() == []


def test_a_new_attempt_is_told_as_a_whole(hall: Hall) -> None:
    hall.run(1, BUSY)
    hall.settle()
    seat = hall.seat()
    seat.subscribe(snapshot=False)
    hall.emit(1, told("running", 2), QUEEN)
    (update, *_) = seat.heard("telemetry_update")
    assert update["snapshot"] is True and [agent["agent"] for agent in update["agents"]] == ["queen"]


def test_a_record_that_changes_is_told_with_all_its_agents(hall: Hall) -> None:
    hall.run(1, BUSY)
    hall.settle()
    seat = hall.seat()
    seat.subscribe(snapshot=False)
    hall.put(1, "failed", reason="exit", exit_code=7)
    (update,) = seat.heard()
    assert update["snapshot"] is True and update["session"]["status"] == "failed"
    assert {agent["status"] for agent in update["agents"]} == {"done", "failed"}


def test_a_further_subscription_replaces_the_one_before(hall: Hall) -> None:
    for number in (1, 2):
        hall.run(number, BUSY)
    hall.settle()
    seat = hall.seat()
    seat.subscribe(session_id=ONE, events=True)
    assert len(hall.hub.groups) == 1
    seat.subscribe(session_id=TWO, snapshot=False)
    assert len(hall.hub.groups) == 1
    hall.emit(1, usage("a", 900))
    hall.emit(2, usage("a", 900))
    assert [each["session_id"] for each in seat.heard()] == [TWO]
    assert by_type(seat.say(action="unsubscribe")) == ["unsubscribed"]
    hall.emit(2, usage("a", 1000))
    assert seat.heard() == [] and not hall.hub.groups


def test_words_are_answered_and_others_unaffected(hall: Hall) -> None:
    seat = hall.seat()
    assert by_type(seat.say(type="ping", id=1)) == ["pong"]
    for text in ("{", "[1]", '{"action":"dance"}', b"\xff\x00"):
        seat.viewer.hear(text)
    assert [each["code"] for each in seat.wire.heard()] == ["bad_json", "not_an_object", "unknown_action", "bad_json"]
    assert hall.hub.counters.messages_refused == 4


def test_who_has_left_is_told_nothing(hall: Hall) -> None:
    hall.run(1, BUSY)
    hall.settle()
    seat, other = hall.seat(), hall.seat()
    for each in (seat, other):
        each.subscribe(snapshot=False)
    hall.hub.leave(seat.viewer)
    hall.hub.leave(seat.viewer)
    hall.emit(1, usage("a", 900))
    assert len(other.heard()) == 1 and seat.heard() == []
    hall.hub.leave(other.viewer)
    assert not hall.hub.groups and not hall.hub.viewers


# -- events ------------------------------------------------------------------------------------------------------------


def test_events_come_as_they_are_on_disk_with_their_bytes(hall: Hall) -> None:
    hall.run(1, BUSY)
    hall.settle()
    seat = hall.seat()
    ack, _ = seat.subscribe(events=True)
    before = len(hall.telemetry(1))
    assert ack["cursors"] == {ONE: before}
    hall.emit(1, usage("a", 900), status("a", "working", "Read"))
    heard = seat.heard()
    assert lines_of(heard) == on_disk(hall.telemetry(1)[before:])
    assert ranges(heard) == [(before, len(hall.telemetry(1)))]


def test_lines_that_are_no_events_are_passed_over(hall: Hall) -> None:
    hall.run(1, BUSY)
    hall.settle()
    seat = hall.seat()
    seat.subscribe(events=True, snapshot=False)
    before = len(hall.telemetry(1))
    junk = b'\n{"ts":1}\nNaN\n{"ts":1,"type":"x","a":NaN}\n\xff\n' + b'{"ts":1,"type":"x","a":"%b"}\n' % (b"y" * 70_000)
    good = encode_event(usage("a", 900))
    with open(hall.paths(1).telemetry, "ab") as file:
        file.write(junk + good + b'{"ts":1')
    heard = seat.heard()
    assert lines_of(heard) == on_disk(good)
    assert [ranges(heard)[0][0], ranges(heard)[-1][1]] == [before, before + len(junk) + len(good)]
    with open(hall.paths(1).telemetry, "ab") as file:
        file.write(b',"type":"later"}\n')
    assert lines_of(seat.heard()) == [{"ts": 1, "type": "later"}]


def test_a_line_of_many_megabytes_keeps_nobody_waiting_and_what_follows_it_is_told(hall: Hall) -> None:
    hall.run(1, BUSY)
    hall.settle()
    seat = hall.seat()
    seat.subscribe(events=True, snapshot=False)
    path = hall.paths(1).telemetry
    start = len(hall.telemetry(1))
    os.truncate(path, 8 * SEARCH_BYTES)  # a hole: no line end in it
    assert lines_of(seat.heard()) == []
    write(hall, b"\n" + encode_event(usage("a", 900)))
    heard = seat.heard("events")
    assert lines_of(heard) == [usage("a", 900)] and ranges(heard)[0][0] == start
    again = seat.subscribe(events=True, session_id=ONE, snapshot=False, **{"from": start})
    assert lines_of(again) == [usage("a", 900)] and ranges(again)[-1][1] == os.path.getsize(path)


def test_replay_from_a_cursor_goes_over_into_live_events(hall: Hall) -> None:
    hall.run(1, BUSY)
    hall.settle()
    cut = hall.telemetry(1).index(b"\n") + 1
    seat = hall.seat()
    ack, *heard = seat.subscribe(session_id=ONE, events=True, snapshot=False, **{"from": cut})
    assert ack["cursors"] == {ONE: cut}
    hall.emit(1, usage("a", 900))
    heard += seat.heard()
    assert lines_of(heard) == on_disk(hall.telemetry(1)[cut:])
    assert seat.viewer.clear  # from now on it gets what its group gets


@pytest.mark.parametrize("offset", [1, 100_000, -1])
def test_a_wrong_cursor_is_answered_and_the_rest_honoured(hall: Hall, offset: int) -> None:
    hall.run(1, BUSY)
    hall.run(2, BUSY)
    hall.settle()
    size = len(hall.telemetry(1))
    seat = hall.seat()
    offset = size - 1 if offset == -1 else offset
    error, ack, *heard = seat.subscribe(events=True, snapshot=False, id="x", **{"from": {ONE: offset, TWO: 0}})
    assert (error["code"], error["field"], error["id"]) == ("bad_cursor", "from", "x")
    assert ack["cursors"] == {ONE: size, TWO: 0}
    assert lines_of(heard, TWO) == on_disk(hall.telemetry(2)) and lines_of(heard) == []
    hall.emit(1, usage("a", 900))
    assert ranges(seat.heard())[0][0] == size


def test_a_cursor_may_be_that_of_a_state_that_was_told_before_its_events(hall: Hall) -> None:
    hall.run(1, BUSY)
    hall.settle()
    first, second = hall.seat(), hall.seat()
    first.subscribe(events=True)
    hall.emit(1, usage("a", 900))
    size = len(hall.telemetry(1))
    second.viewer.hear(orjson.dumps({"action": "subscribe", "events": True, "from": {ONE: size}}))
    ack, *heard = second.heard()
    assert ack["type"] == "subscribed" and ack["cursors"] == {ONE: size} and lines_of(heard) == []
    assert lines_of(first.heard()) == on_disk(encode_event(usage("a", 900)))


def test_a_replaced_file_is_read_to_its_end_and_the_new_one_from_its_beginning(hall: Hall) -> None:
    hall.run(1, BUSY)
    hall.settle()
    seat = hall.seat()
    seat.subscribe(events=True, snapshot=False)
    telemetry = Path(hall.paths(1).telemetry)
    hall.emit(1, usage("a", 900))
    seat.heard()
    hall.emit(1, usage("a", 1000))
    size = len(hall.telemetry(1))
    telemetry.rename(f"{telemetry}.1")
    hall.emit(1, told("running"), QUEEN)
    heard = seat.heard("events", "gap")
    last, gap, anew = heard
    assert lines_of([last]) == on_disk(encode_event(usage("a", 1000)))
    assert gap == {"type": "gap", "session_id": ONE, "from": size, "to": 0}
    assert lines_of([anew]) == on_disk(hall.telemetry(1)) and ranges([anew]) == [(0, len(hall.telemetry(1)))]
    hall.emit(1, usage("queen", 10))
    assert lines_of(seat.heard()) == on_disk(encode_event(usage("queen", 10)))


@pytest.mark.parametrize("longer", [False, True])
def test_a_file_that_was_cut_begins_anew(hall: Hall, longer: bool) -> None:
    hall.run(1, BUSY[:3])
    hall.settle()
    seat = hall.seat()
    seat.subscribe(events=True, snapshot=False)
    hall.emit(1, status("queen", "working"))
    seat.heard()
    size = len(hall.telemetry(1))
    anew = b"".join(map(encode_event, BUSY[1:] if longer else [QUEEN]))
    assert (len(anew) > size) == longer
    Path(hall.paths(1).telemetry).write_bytes(anew)
    heard = seat.heard("events", "gap")
    assert heard[0] == {"type": "gap", "session_id": ONE, "from": size, "to": 0}
    assert lines_of(heard) == on_disk(anew)


def test_a_replay_whose_file_is_cut_begins_anew_too(hall: Hall) -> None:
    hall.run(1, BUSY * 2000)
    hall.settle()
    seat = hall.seat()
    seat.viewer.hear(orjson.dumps({"action": "subscribe", "events": True, "snapshot": False, "from": {ONE: 0}}))
    hall.clock.turn()
    hall.clock.turn()
    before = seat.wire.heard("events")
    size = len(hall.telemetry(1))
    assert 0 < ranges(before)[-1][1] < size
    Path(hall.paths(1).telemetry).write_bytes(b"".join(map(encode_event, DONE)))
    heard = seat.heard("events", "gap")
    lost, restart = [each for each in heard if each["type"] == "gap"]
    assert (lost["from"], lost["to"]) == (ranges(before)[-1][1], size)  # what it does not get of the old one is named
    assert (restart["from"], restart["to"]) == (size, 0)
    assert lines_of(heard[heard.index(restart) :]) == on_disk(hall.telemetry(1))


def test_a_replay_that_has_not_begun_when_its_file_is_cut_is_of_the_new_file_from_its_beginning(hall: Hall) -> None:
    hall.run(1, BUSY * 50)
    hall.settle()
    seat = hall.seat()
    seat.viewer.hear(orjson.dumps({"action": "subscribe", "events": True, "snapshot": False, "from": {ONE: 0}}))
    size = len(hall.telemetry(1))
    Path(hall.paths(1).telemetry).write_bytes(b"".join(map(encode_event, DONE)))
    hall.clock.settle()
    heard = seat.heard("events", "gap")
    assert [(each["from"], each["to"]) for each in heard if each["type"] == "gap"] == [(0, size), (size, 0)]
    assert by_type(heard)[:2] == ["gap", "gap"] and lines_of(heard) == on_disk(hall.telemetry(1))


def test_a_slow_viewer_is_told_of_each_file_by_itself_what_it_lacks(tmp_path: Path) -> None:
    hall = Hall(tmp_path / "place", max_queue_bytes=20_000)
    hall.run(1, BUSY)
    hall.open()
    seat = hall.seat()
    seat.subscribe(events=True, snapshot=False)
    begin = len(hall.telemetry(1))
    seat.wire.stalled = True
    seat.wire.kept += text_frame(b'{"type":"pong","text":"%b"}' % (b"x" * HIGH_BYTES))
    flood(hall, 2)
    end = len(hall.telemetry(1))
    telemetry = Path(hall.paths(1).telemetry)
    telemetry.rename(f"{telemetry}.1")
    flood(hall, 10)
    seat.wire.let_go()
    seat.viewer.drained()
    last, restart, first, *events = seat.heard("events", "gap")
    assert (last["from"], last["to"], restart["from"], restart["to"]) == (begin, end, end, 0)
    assert (first["type"], first["from"]) == ("gap", 0) and 0 < first["to"] == ranges(events)[0][0]
    assert lines_of(events) == on_disk(hall.telemetry(1)[first["to"] :])
    hall.close()


@pytest.mark.parametrize("everywhere", [True, False])
def test_telemetry_that_cannot_be_read_costs_only_its_session_and_is_read_once_it_can(
    hall: Hall, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, everywhere: bool
) -> None:
    hall.run(1, BUSY)
    hall.run(2, BUSY)
    hall.settle()
    seat = hall.seat()
    seat.subscribe(events=True, snapshot=False)
    start = len(hall.telemetry(1))
    bad = os.stat(hall.paths(1).telemetry).st_ino
    pread = os.pread

    def fail(fd: int, size: int, offset: int) -> bytes:
        if os.fstat(fd).st_ino == bad:
            raise OSError(errno.EIO, "Input/output error")
        return pread(fd, size, offset)

    with monkeypatch.context() as patch:
        if everywhere:
            patch.setattr(os, "pread", fail)
        else:
            patch.setattr(tail_module, "os", SimpleNamespace(**vars(os) | {"pread": fail}))
        for tokens in (900, 901):
            write(hall, encode_event(usage("a", tokens)))
            hall.emit(2, usage("a", tokens))
            assert len(lines_of(seat.heard(), TWO)) == 1
        hall.clock.wait(3 * ROUND_S)
        late = hall.seat()
        answers = late.subscribe(events=True, session_id=ONE, snapshot=False, **{"from": 0})
    assert [each.getMessage() for each in caplog.records] == [
        f"the events of session {ONE} cannot be read: [Errno 5] Input/output error"
    ]
    hall.clock.wait(ROUND_S)
    hall.sessions.sweep(1)
    assert lines_of(seat.heard()) == on_disk(hall.telemetry(1)[start:])
    assert by_type(answers) == ["subscribed", "gap"] and (answers[1]["from"], answers[1]["to"]) == (0, start)
    assert ranges(late.heard("events"))[0][0] == start


def test_a_long_replay_lets_others_have_their_turn(hall: Hall) -> None:
    hall.run(1, BUSY * 3000)
    hall.run(2, BUSY)
    hall.settle()
    reader, live = hall.seat(), hall.seat()
    live.subscribe(session_id=TWO, snapshot=False)
    reader.viewer.hear(orjson.dumps({"action": "subscribe", "events": True, "snapshot": False, "from": {ONE: 0}}))
    turns = 0
    while reader.viewer.replays:
        if turns == 3:
            hall.emit(2, usage("a", 900))
            hall.sessions.refresh()
        hall.clock.turn()
        turns += 1
        if turns == 5:
            assert len(live.wire.heard()) == 1 and reader.viewer.replays
    assert turns > 10
    assert lines_of(reader.wire.heard()) == on_disk(hall.telemetry(1))


Move = tuple[str, int]
MOVES = st.lists(
    st.tuples(st.sampled_from(["write", "half", "turn", "wait", "join", "cut", "stall", "go"]), st.integers(0, 2**16)),
    max_size=60,
)


class Reader:
    """A client that reconnects where it stopped, and keeps what it got by its bytes."""

    def __init__(self, hall: Hall, number: int) -> None:
        self.hall, self.number = hall, number
        self.start = self.cursor = -1  # of the file
        self.lines: list[Document] = []
        self.seat: Seat | None = None

    def join(self) -> None:
        self.leave()
        self.seat = self.hall.seat(deflate=self.number % 2 == 0)
        words: dict[str, Any] = {"action": "subscribe", "events": True, "snapshot": False}
        if self.number % 3 == 0:
            words["session_id"] = ONE
        if self.cursor >= 0:
            words["from"] = {ONE: self.cursor}
        self.seat.viewer.hear(orjson.dumps(words))

    def leave(self) -> None:
        if self.seat is not None:
            self.read()
            self.hall.hub.leave(self.seat.viewer)
            self.seat = None

    def read(self) -> None:
        if self.seat is None:
            return
        for document in self.seat.wire.heard():
            assert document["type"] != "error", document
            if document["type"] == "subscribed":
                if self.cursor < 0:
                    self.start = self.cursor = document["cursors"][ONE]
                assert document["cursors"][ONE] == self.cursor
            elif document["type"] == "events":
                assert document["from"] == self.cursor
                self.cursor = document["to"]
                self.lines += document["events"]
            else:
                assert document["type"] in ("telemetry_update", "topology_change")


@settings(max_examples=60, deadline=None)
@given(MOVES)
def test_whoever_reconnects_with_its_cursor_gets_every_event_once(moves: list[Move]) -> None:
    """Random writes, joins, cuts and stalls: each reader's events are the file from where it began, without gap or double."""
    with TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        for module in (group_module, viewer_module):
            patch.setattr(module, "HIGH_BYTES", 500)  # so that a transport is full soon
        hall = Hall(Path(place, "hall"))
        try:
            hall.run(1, BUSY)
            hall.open()
            readers = [Reader(hall, number) for number in range(4)]
            play(hall, readers, moves)
            for reader in readers:
                if reader.seat is not None:
                    reader.seat.wire.let_go()
                    reader.seat.viewer.drained()
            if not hall.telemetry(1).endswith(b"\n"):
                write(hall, b"0}\n")
            hall.settle()
            hall.clock.wait(2 * CHECK_S)
            data = hall.telemetry(1)
            for reader in readers:
                reader.read()
                if reader.seat is not None:
                    assert reader.cursor == len(data)
                    assert reader.lines == on_disk(data[reader.start :])
        finally:
            hall.close()


def write(hall: Hall, data: bytes) -> None:
    with open(hall.paths(1).telemetry, "ab", buffering=0) as file:
        file.write(data)


def play(hall: Hall, readers: list[Reader], moves: list[Move]) -> None:
    written, open_line = 0, False
    for what, number in moves:
        reader = readers[number % len(readers)]
        if what in ("write", "half"):
            tail = b"" if not open_line else b"0}\n"
            count = 1 + number % (200 if number % 7 == 0 else 3)
            lines = b"".join(b'{"ts":1,"type":"x","n":%d}\n' % (written + each) for each in range(count))
            written += count
            open_line = what == "half"
            write(hall, tail + lines + (b'{"ts":1,"type":"y","n":' if open_line else b""))
            hall.sessions.refresh()
        elif what == "turn":
            hall.clock.turn()
        elif what == "wait":
            hall.clock.wait(number % 20 / 1000)
        elif what == "join":
            reader.join()
        elif what == "cut":
            reader.leave()
        elif reader.seat is not None:
            if what == "stall":
                reader.seat.wire.stalled = True
            else:
                reader.seat.wire.let_go()
                reader.seat.viewer.drained()


# -- slow viewers ------------------------------------------------------------------------------------------------------


def flood(hall: Hall, rounds: int, size: int = 60) -> None:
    for number in range(rounds):
        hall.emit(1, *(usage("a", 1000 + number * size + each) for each in range(size)))
        hall.settle()
        hall.clock.wait(LONGEST_S)


def test_a_slow_viewer_costs_only_itself(tmp_path: Path) -> None:
    hall = Hall(tmp_path / "place", max_queue_bytes=50_000)
    hall.run(1, BUSY)
    hall.open()
    slow, fast = hall.seat(), hall.seat()
    for each in (slow, fast):
        each.subscribe(events=True, snapshot=False)
    begin = len(hall.telemetry(1))
    slow.wire.stalled = True
    flood(hall, 100)
    assert len(lines_of(fast.heard())) == 6000
    assert slow.viewer.outbox.size_bytes <= 50_000 and slow.wire.unsent() < 4 * HIGH_BYTES
    kept = slow.wire.unsent()
    flood(hall, 20)
    assert slow.wire.unsent() == kept  # bounded, however long it lasts
    slow.wire.let_go()
    slow.viewer.drained()
    heard = slow.heard()
    (gap,) = [each for each in heard if each["type"] == "gap"]
    ends = [(each["from"], each["to"]) for each in heard if each["type"] in ("events", "gap")]
    assert ends[0][0] == begin and ends[-1][1] == len(hall.telemetry(1))
    assert all(one[1] == other[0] for one, other in pairwise(ends))
    # The gap names what is to be asked for again, and nothing else is missing.
    again = slow.subscribe(session_id=ONE, events=True, snapshot=False, **{"from": gap["from"]})
    assert lines_of(again) == on_disk(hall.telemetry(1)[gap["from"] :])
    updates = [each for each in heard if each["type"] == "telemetry_update"]
    assert updates[-1]["agents"][0]["tokens"] == 1000 + 99 * 60 + 59
    assert hall.hub.counters.events_dropped_bytes == gap["to"] - gap["from"] and hall.hub.counters.gaps_sent == 1
    assert hall.hub.counters.states_conflated > 50
    hall.close()


def test_a_viewer_that_takes_nothing_for_30_s_is_closed_with_1013(hall: Hall) -> None:
    hall.run(1, BUSY)
    hall.settle()
    stuck, fast = hall.seat(), hall.seat()
    for each in (stuck, fast):
        each.subscribe(events=True, snapshot=False)
    stuck.wire.stalled = True
    flood(hall, 100)
    hall.clock.wait(STUCK_S - 5 * CHECK_S)
    assert stuck.wire.closed is None
    hall.clock.wait(7 * CHECK_S)
    assert stuck.wire.closed is not None and stuck.wire.closed[0] == 1013
    assert hall.hub.counters.closed_stuck == 1 and list(hall.hub.viewers) == [fast.viewer]
    assert fast.wire.closed is None


def test_a_viewer_that_takes_a_little_now_and_then_is_not_closed(hall: Hall) -> None:
    hall.run(1, BUSY)
    hall.settle()
    seat = hall.seat()
    seat.subscribe(events=True, snapshot=False)
    seat.wire.stalled = True
    flood(hall, 100)
    for _ in range(10):
        hall.clock.wait(STUCK_S / 2)
        del seat.wire.kept[:10]
    assert seat.wire.closed is None and seat.viewer.outbox


def test_a_viewer_that_asks_and_does_not_read_is_closed_before_it_costs_much(tmp_path: Path) -> None:
    hall = Hall(tmp_path / "place", max_queue_bytes=30_000)
    hall.open()
    seat = hall.seat()
    seat.wire.stalled = True
    seat.wire.kept += b"x" * HIGH_BYTES
    heard = 0
    while not seat.viewer.choked:
        seat.viewer.hear('{"action":"subscribe"}')
        heard += 1
    assert 10 < heard < 1000 and seat.wire.closed is None
    for _ in range(10_000):
        seat.viewer.hear('{"action":"subscribe"}')
    assert seat.wire.closed is not None and seat.wire.closed[0] == 1013
    assert seat.viewer.outbox.size_bytes < 31_000 and hall.hub.counters.closed_overflow == 1
    hall.close()


def test_a_budget_is_kept_with_the_newest_state_and_gaps(hall: Hall) -> None:
    hall.run(1, BUSY)
    hall.settle()
    seat, fast = hall.seat(), hall.seat()
    seat.subscribe(events=True, snapshot=False, max_bytes_per_s=20_000)
    fast.subscribe(events=True, snapshot=False)
    before = seat.wire.client.plain
    began, size = hall.clock(), 0
    for _ in range(20):
        flood(hall, 10)
        hall.clock.wait(0.4)
        size += len(seat.wire.sent)
        passed = 20_000 * (hall.clock() - began)
        assert passed - 20_000 <= size <= passed + 30_000
        seat.wire.heard()
    assert len(lines_of(fast.heard())) == 12_000
    hall.clock.wait(200)
    heard = seat.wire.heard()
    assert heard and before == 1 and not seat.viewer.outbox
    assert [each for each in heard if each["type"] == "telemetry_update"][-1]["agents"][0]["tokens"] == 1599
    assert seat.wire.closed is None


def test_a_snapshot_keeps_to_the_budget_and_arrives(hall: Hall) -> None:
    for number in range(1, 30):
        hall.add(number, "completed", DONE, reason="exit", exit_code=0)
    hall.settle()
    seat = hall.seat()
    seat.subscribe(max_bytes_per_s=50_000)
    assert seat.viewer.snapshots
    hall.clock.wait(0.5)
    assert len(seat.wire.sent) <= 50_000
    hall.clock.wait(3)
    assert not seat.viewer.snapshots and len(seat.heard("telemetry_update")) > 0


def test_a_smaller_limit_of_the_server_holds(tmp_path: Path) -> None:
    hall = Hall(tmp_path / "place", max_bytes_per_s=5000)
    seat = hall.seat()
    assert seat.viewer.bucket is not None
    seat.subscribe(max_bytes_per_s=10_000)
    assert seat.viewer.bucket.rate == 5000
    seat.subscribe(max_bytes_per_s=2000)
    assert seat.viewer.bucket.rate == 2000
    hall.close()


def test_a_snapshot_waits_until_there_is_room(hall: Hall) -> None:
    for number in range(1, 30):
        hall.add(number, "completed", DONE, reason="exit", exit_code=0)
    hall.settle()
    seat = hall.seat()
    seat.wire.stalled = True
    seat.subscribe()
    assert HIGH_BYTES <= seat.wire.unsent() < HIGH_BYTES + 20_000 and seat.viewer.snapshots
    seat.wire.let_go()
    seat.viewer.drained()
    assert len(seat.heard()) == 30 and not seat.viewer.snapshots


def test_cold_sessions_are_read_once_for_all_who_wait(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ondisk_sessions, "KEPT_HIVES", 2)
    for number in range(1, 20):
        hall.add(number, "completed", DONE, reason="exit", exit_code=0)
    hall.settle()
    loads: list[str] = []
    loaded = hall.sessions.loaded

    def count(session: ondisk_sessions.Session) -> bool:
        if session.hive is None:
            loads.append(session.card.id)
        return loaded(session)

    monkeypatch.setattr(hall.sessions, "loaded", count)
    seats = [hall.seat() for _ in range(5)]
    for seat in seats:
        seat.viewer.hear('{"action":"subscribe"}')
    for seat in seats:
        states = seat.heard("telemetry_update")
        assert len(states) == 19 and all(len(each["agents"]) == 5 for each in states)
    assert len(loads) == 19


def test_no_agents_are_kept_of_hives_that_left_memory(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ondisk_sessions, "KEPT_HIVES", 2)
    for number in range(1, 20):
        hall.add(number, "completed", DONE, reason="exit", exit_code=0)
    hall.settle()
    before = held(Formation), held(Agent)
    seat = hall.seat()
    seat.subscribe()
    assert not seat.viewer.snapshots
    assert (held(Formation), held(Agent)) == (before[0] + 2, before[1] + 2 * 5)


def held(kind: type) -> int:
    """How many of these are in memory."""
    gc.collect()
    return sum(isinstance(each, kind) for each in gc.get_objects())


def test_a_state_that_left_memory_while_it_waited_is_told_as_a_whole(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ondisk_sessions, "KEPT_HIVES", 1)
    monkeypatch.setattr(folding, "SLICE_BYTES", 300)
    for number in (1, 2):
        hall.add(number, "completed", DONE, reason="exit", exit_code=0)
    hall.settle()
    seat = hall.seat()
    seat.subscribe(session_id=ONE)
    seat.wire.stalled = True
    seat.wire.kept += bytes(HIGH_BYTES)
    hall.put(1, "completed", reason="exit", exit_code=0, detail="Well.")
    hall.settle()
    hall.load(2)
    assert seat.viewer.outbox and hall.session(1).hive is None
    seat.wire.kept.clear()
    seat.viewer.drained()
    hall.settle()
    seat.wire.let_go()
    (state,) = seat.heard()
    assert state["snapshot"] is True and len(state["agents"]) == 5 and state["session"]["session_id"] == ONE


def test_one_that_does_not_keep_up_is_heard_all_the_same(tmp_path: Path) -> None:
    hall = Hall(tmp_path / "place", max_queue_bytes=50_000)
    hall.run(1, BUSY)
    hall.open()
    seat = hall.seat()
    seat.subscribe(events=True, snapshot=False)
    seat.wire.stalled = True
    flood(hall, 100)
    assert seat.viewer.outbox.dropped_events_bytes and not seat.viewer.choked
    seat.say(action="unsubscribe")
    assert 0 < seat.viewer.outbox.size_bytes < 100
    seat.wire.let_go()
    seat.viewer.drained()
    assert by_type(seat.heard())[-1] == "unsubscribed"
    hall.close()


def test_files_of_few_sessions_stay_open(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "OPEN_FILES", 3)
    for number in range(1, 10):
        hall.run(number, BUSY)
    hall.settle()
    seat = hall.seat()
    seat.subscribe(events=True, snapshot=False)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(1, 10):
        hall.emit(number, usage("a", 900))
    heard = seat.heard()
    assert all(lines_of(heard, session_id(number)) for number in range(1, 10))
    assert len(os.listdir("/proc/self/fd")) <= before
    hall.hub.leave(seat.viewer)
    assert len(os.listdir("/proc/self/fd")) == before - 3


def test_a_burst_of_new_sessions_is_told_without_missing_one(hall: Hall) -> None:
    seat = hall.seat()
    seat.subscribe()
    for number in range(1, 101):
        hall.add(number)
    assert {each["session_id"] for each in seat.heard("telemetry_update")} == set(map(session_id, range(1, 101)))
