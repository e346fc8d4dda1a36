"""A group tells all its members the same, encoded and compressed once; none of them ever reads a bad frame."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk.events import encode_event
from tests.unit.hives import session_id
from tests.unit.relays import Clock, Document, FakeWire
from tests.unit.test_fold import usage
from ws_relay import group as group_module
from ws_relay import viewer as viewer_module
from ws_relay.counters import Counters
from ws_relay.frame import text_frame
from ws_relay.group import RESET_S, Group
from ws_relay.outbox import Dirty, State
from ws_relay.subscription import Subscription
from ws_relay.tail import Slice
from ws_relay.viewer import HIGH_BYTES, OUT, Viewer

ONE, TWO = session_id(1), session_id(2)


class Scribe:
    """Writes down what is asked of it, and when."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.asked: list[tuple[float, str, list[str] | None]] = []
        self.cold: set[str] = set()
        self.slices = 0

    def loaded(self, session_id: str) -> bool:
        if session_id in self.cold:
            self.slices += 1
            if self.slices >= 3:
                self.cold.discard(session_id)
        return session_id not in self.cold

    def state(self, session_id: str, dirty: Dirty, _subscription: Subscription) -> list[bytes]:
        agents = None if dirty.agents is None else list(dirty.agents)
        self.asked.append((round(self.clock() - 1000, 4), session_id, agents))
        told = {"type": "telemetry_update", "session_id": session_id, "agents": agents, "number": len(self.asked)}
        return [orjson.dumps(told)]


class House:
    """A group and its surroundings."""

    def __init__(self, hz: float | None = None, window_s: float = 0.01) -> None:
        self.counters = Counters()
        self.clock = Clock()
        self.scribe = Scribe(self.clock)
        self.window = window_s
        self.group = Group(
            Subscription(hz=hz, events=True),
            self.scribe,  # type: ignore[arg-type]  # as much of one as a group needs
            self.counters,
            self.clock.schedule,
            self.clock,
            lambda: self.window,
        )
        self.wires: list[FakeWire] = []
        self.viewers: list[Viewer] = []
        self.offset = 0

    def hear(self, viewer: Viewer, text: str | bytes) -> None:
        raise AssertionError("nobody says anything here")

    def fell_behind(self, viewer: Viewer) -> None: ...

    def caught_up(self, viewer: Viewer) -> None: ...

    def leave(self, viewer: Viewer) -> None:
        self.group.part(viewer)

    def join(self, deflate: bool = False) -> FakeWire:
        wire = FakeWire(deflate)
        viewer = Viewer(self, wire, 1 << 20, None)
        self.wires.append(wire)
        self.viewers.append(viewer)
        self.group.join(viewer)
        return wire

    def grow(self, count: int = 1) -> None:
        lines = [encode_event(usage("a", self.offset + each))[:-1] for each in range(count)]
        size = sum(len(line) + 1 for line in lines)
        self.group.grown(ONE, Slice(self.offset, self.offset + size, lines, False))
        self.offset += size

    def times(self) -> list[float]:
        return [at for at, _, _ in self.scribe.asked]


# -- when --------------------------------------------------------------------------------------------------------------


def test_news_after_a_pause_is_told_at_once() -> None:
    house = House()
    wire = house.join()
    house.group.changed(ONE, ["a"])
    house.clock.settle()
    assert house.times() == [0.0] and len(wire.heard()) == 1
    house.clock.wait(0.5)
    house.group.changed(ONE, ["a"])
    house.clock.settle()
    assert house.times() == [0.0, 0.5]


def test_news_under_load_waits_for_the_end_of_the_window_and_comes_as_one() -> None:
    house = House()
    wire = house.join()
    for _ in range(100):
        house.group.changed(ONE, ["a"])
        house.grow()
        house.clock.wait(0.001)
    assert len(wire.heard("events")) == 10 and len(house.scribe.asked) == 10
    assert wire.writes == 10  # state and events go in one write
    assert house.times() == pytest.approx([number / 100 for number in range(10)], abs=0.0011)


def test_news_never_waits_longer_than_the_window() -> None:
    house = House()
    wire = house.join()
    for pause_s in (0.0, 0.0007, 0.009, 0.0101, 0.003, 0.02):
        house.clock.wait(pause_s)
        house.grow()
        since = house.clock()
        while not wire.heard():
            house.clock.wait(0.0001)
        assert house.clock() - since <= 0.0102


def test_no_events_are_told_twice_or_forgotten_however_they_come() -> None:
    house = House()
    wire = house.join()
    end = 0
    for number in range(200):
        house.grow(1 + number % 3)
        house.clock.wait(number % 13 / 1000)
        if number % 10 == 0:
            house.group.tell_events()
    house.clock.wait(0.02)
    for each in wire.heard("events"):
        assert each["from"] == end
        end = each["to"]
    assert end == house.offset


def test_a_rate_conflates_to_the_newest_state_and_events_do_not_wait_for_it() -> None:
    house = House(hz=10)
    wire = house.join()
    for number in range(1000):
        house.group.changed(ONE, [f"agent-{number % 3}"])
        house.grow()
        house.clock.wait(0.001)
    assert len(house.scribe.asked) == 10
    assert all(set(agents or ()) == {"agent-0", "agent-1", "agent-2"} for _, _, agents in house.scribe.asked[1:])
    documents = wire.heard()
    assert sum(each["type"] == "events" for each in documents) == 100
    house.clock.wait(0.1)
    assert len(house.scribe.asked) == 11 and len(wire.heard("telemetry_update")) == 1  # the last change is told, once
    house.clock.wait(10)
    assert wire.heard() == []


def test_each_session_has_its_own_state() -> None:
    house = House(hz=1)
    wire = house.join()
    house.group.changed(ONE, ["a"])
    house.clock.settle()
    house.group.changed(TWO, ["b"])
    house.group.changed(ONE, None)
    house.group.changed(ONE, ["c"])
    house.clock.wait(1)
    assert [(each["session_id"], each["agents"]) for each in wire.heard()] == [(ONE, ["a"]), (TWO, ["b"]), (ONE, None)]


def test_a_session_that_has_to_be_read_first_keeps_no_other_waiting() -> None:
    house = House()
    house.scribe.cold = {ONE}
    wire = house.join()
    house.group.changed(ONE, ["a"])
    house.group.changed(TWO, ["b"])
    house.clock.turn()
    assert [each["session_id"] for each in wire.heard()] == [TWO]
    house.clock.wait(0.02)
    assert [(each["session_id"], each["agents"]) for each in wire.heard()] == [(ONE, None)]


def test_many_states_are_told_in_parts() -> None:
    house = House()
    wire = house.join()
    for number in range(100):
        house.group.changed(session_id(number), None)
    house.clock.turn()
    assert len(wire.heard()) == group_module.MOST_STATES
    house.clock.wait(0.01)
    assert len(wire.heard()) == 100 - group_module.MOST_STATES


def test_a_group_without_members_does_nothing() -> None:
    house = House()
    house.join()
    house.group.changed(ONE, ["a"])
    house.group.part(house.viewers[0])
    house.clock.wait(1)
    assert house.scribe.asked == []


# -- once for all ------------------------------------------------------------------------------------------------------


def test_what_all_get_is_encoded_once() -> None:
    house = House()
    wires = [house.join(deflate=number % 2 == 0) for number in range(20)]
    for _ in range(5):
        house.grow()
        house.group.changed(ONE, ["a"])
        house.clock.wait(0.1)
    documents = [wire.heard() for wire in wires]
    assert all(each == documents[0] for each in documents) and len(documents[0]) == 10
    assert len(house.scribe.asked) == 5
    assert house.counters.frames_encoded == 10 and house.counters.frames_sent == 200
    assert house.counters.deflate_resets == 1 and house.counters.deflate_out_bytes < house.counters.deflate_in_bytes / 2


def read_all(house: House) -> list[list[Document]]:
    return [wire.heard() for wire in house.wires]


def test_a_late_one_gets_the_shared_frames_once_the_context_began_anew() -> None:
    house = House()
    house.join(deflate=True)
    house.grow(20)
    house.clock.wait(0.1)
    late = house.join(deflate=True)
    house.grow(20)
    house.clock.wait(0.1)
    assert house.counters.deflate_resets == 1
    late.heard()
    assert late.client.compressed == 1  # by itself
    house.clock.wait(RESET_S)
    house.grow(20)
    house.clock.wait(0.1)
    assert house.counters.deflate_resets == 2
    assert all(viewer.epoch == house.viewers[0].epoch for viewer in house.viewers)
    read_all(house)


def test_a_storm_of_joins_begins_the_context_anew_once_a_second_at_most() -> None:
    house = House()
    for number in range(300):
        house.join(deflate=True)
        house.grow(3)
        house.clock.wait(0.01)
        for wire, viewer in list(zip(house.wires, house.viewers, strict=True))[: number // 3]:
            wire.heard()
            house.group.part(viewer)
    assert house.counters.deflate_resets <= 4
    read_all(house)


def test_one_that_missed_a_frame_leaves_the_context_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (group_module, viewer_module):
        monkeypatch.setattr(module, "HIGH_BYTES", 5000)
    house = House()
    slow, fast = house.join(deflate=True), house.join(deflate=True)
    for number in range(200):
        slow.stalled = 50 <= number < 90
        if number == 90:
            assert house.viewers[0].outbox and house.viewers[0].epoch == OUT
            slow.let_go()
            house.viewers[0].drained()
        house.grow(50)
        house.clock.wait(0.1)
    heard = [[each for each in wire.heard() if each["type"] == "events"] for wire in (slow, fast)]
    ends = [[line["tokens"] for each in documents for line in each["events"]] for documents in heard]
    assert ends[0] == ends[1]  # late, but nothing was dropped, and nothing was bad
    assert house.viewers[0].epoch == house.viewers[1].epoch
    assert house.counters.deflate_resets >= 2


def test_an_answer_between_two_shared_frames_does_no_harm() -> None:
    house = House()
    wire = house.join(deflate=True)
    for number in range(20):
        house.grow(10)
        house.clock.wait(0.1)
        house.viewers[0].say(orjson.dumps({"type": "pong", "text": "x" * 100 * number}))
    assert len(wire.heard()) == 40 and house.counters.deflate_resets == 1
    assert wire.client.plain == 20


def test_a_state_for_one_alone_between_two_shared_frames_does_no_harm() -> None:
    house = House()
    wire = house.join(deflate=True)
    house.grow(10)
    house.clock.wait(0.1)
    snapshot = orjson.dumps({"type": "telemetry_update", "texts": [f"text {number}" for number in range(100)]})
    house.viewers[0].give(State(TWO, Dirty()), [snapshot])
    house.grow(10)
    house.clock.wait(0.1)
    assert by_type(wire) == ["events", "telemetry_update", "events"]
    assert wire.client.compressed == 3


def test_an_answer_that_had_to_wait_does_no_harm() -> None:
    house = House()
    wire = house.join(deflate=True)
    house.grow(10)
    house.clock.wait(0.1)
    wire.stalled = True
    wire.kept += text_frame(b'{"type":"pong","text":"%b"}' % (b"x" * HIGH_BYTES))
    house.viewers[0].say(orjson.dumps({"type": "pong", "texts": [f"text {number}" for number in range(100)]}))
    wire.let_go()
    house.viewers[0].drained()
    assert house.viewers[0].clear
    house.grow(10)
    house.clock.wait(0.1)
    assert by_type(wire) == ["events", "pong", "pong", "events"]


def by_type(wire: FakeWire) -> list[str]:
    return [each["type"] for each in wire.heard()]


def test_who_goes_over_to_another_group_starts_outside_of_its_context() -> None:
    one, other = House(), House()
    wire = one.join(deflate=True)
    other.join(deflate=True)
    for house in (one, other):
        house.grow(10 if house is one else 37)
        house.clock.settle()
    viewer = one.viewers[0]
    one.group.part(viewer)
    other.group.join(viewer)
    other.grow(10)
    other.clock.wait(0.1)
    assert len(wire.heard()) == 2


Move = tuple[str, int]


@given(
    st.lists(
        st.tuples(st.sampled_from(["join", "part", "grow", "change", "wait", "stall", "go", "say"]), st.integers(0, 99))
    )
)
def test_nobody_reads_a_bad_frame_whatever_happens(moves: list[Move]) -> None:
    """Joins, leaves, stalls and answers at any time: each client reads each frame, and its events have no hole."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (group_module, viewer_module):
            patch.setattr(module, "HIGH_BYTES", 300)  # so that a transport is full soon
        play(moves)


def play(moves: list[Move]) -> None:
    house = House()
    told: dict[int, int] = {}

    def check() -> None:
        for number, wire in enumerate(house.wires):
            for document in wire.heard("events"):
                assert told.setdefault(number, document["from"]) == document["from"]
                told[number] = document["to"]

    for what, number in moves:
        if house.viewers:
            act(house, house.viewers[number % len(house.viewers)], what, number)
        if what == "join":
            house.join(deflate=number % 4 != 0)
        check()
    for viewer in house.viewers:
        act(house, viewer, "go", 0)
    house.clock.wait(1)
    check()
    assert all(told.get(number, house.offset) == house.offset for number in members(house))


def members(house: House) -> list[int]:
    return [number for number, viewer in enumerate(house.viewers) if viewer.group is not None]


def act(house: House, viewer: Viewer, what: str, number: int) -> None:
    wire: Any = viewer.wire
    if what == "grow":
        house.grow(1 + number * (30 if number % 5 == 0 else 1))
    elif what == "change":
        house.group.changed(ONE, [f"agent-{number}"])
    elif what == "wait":
        house.clock.wait(number / (1000 if number % 2 else 20))
    elif what == "part":
        house.group.part(viewer)
        viewer.outbox.forget_news()
        viewer.settle()
    elif what == "stall":
        wire.stalled = True
    elif what == "go":
        wire.let_go()
        viewer.drained()
    elif what == "say":
        viewer.say(orjson.dumps({"type": "pong", "text": "y" * 10 * number}))


def test_a_full_transport_is_given_nothing_more() -> None:
    house = House()
    wire = house.join()
    wire.stalled = True
    for _ in range(1000):
        house.grow(10)
        house.clock.wait(0.01)
    assert wire.unsent() < 2 * HIGH_BYTES
    assert house.viewers[0].outbox.size_bytes <= 1 << 20
