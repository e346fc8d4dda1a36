"""A client's queue: bounded in bytes; states are conflated, events give way and leave gaps, answers stay, order is kept."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.hives import session_id
from ws_relay.outbox import Answer, Batch, Dirty, Gap, Item, Outbox, State

ONE, TWO, THREE = map(session_id, (1, 2, 3))


def batch(start: int, end: int, of: str = ONE, size: int = 10) -> Batch:
    return Batch(of, start, end, b"x" * size)


def dirty(*agents: str, everything: bool = False) -> Dirty:
    made = Dirty()
    made.add(agents, (), ())
    if everything:
        made.agents = None
    return made


def emptied(outbox: Outbox) -> list[Item]:
    found: list[Item] = []
    while (item := outbox.pop()) is not None:
        found.append(item)
    assert not outbox and outbox.size_bytes == 0
    return found


def test_an_empty_one_has_nothing() -> None:
    assert emptied(Outbox()) == []


def test_what_waits_comes_in_the_order_in_which_it_came() -> None:
    outbox = Outbox()
    outbox.put(b"ack")
    outbox.put_events(batch(0, 5))
    outbox.mark(ONE, dirty("a"))
    outbox.put(b"pong")
    outbox.put_events(batch(5, 9))
    outbox.mark(TWO, dirty("b"))
    assert outbox and outbox.size_bytes == 27
    found = emptied(outbox)
    assert [type(each) for each in found] == [Answer, Batch, State, Answer, Batch, State]
    assert [each.start for each in found if isinstance(each, Batch)] == [0, 5]


def test_a_session_has_one_state_which_keeps_its_place_and_gathers_what_changed() -> None:
    outbox = Outbox()
    outbox.mark(ONE, dirty("a"))
    outbox.put(b"pong")
    later = dirty("b", "a")
    later.add((), ("b",), (("a", "b"),))
    outbox.mark(ONE, later)
    state, pong = emptied(outbox)
    assert isinstance(state, State) and pong == Answer(b"pong")
    assert list(state.dirty.agents or ()) == ["a", "b"]
    assert list(state.dirty.spawned) == ["b"] and list(state.dirty.messages) == [("a", "b")]
    assert outbox.conflated_states == 1


def test_a_state_of_everything_stays_one() -> None:
    outbox = Outbox()
    for each in (dirty("a"), dirty(everything=True), dirty("b")):
        outbox.mark(ONE, each)
    (state,) = emptied(outbox)
    assert isinstance(state, State) and state.dirty.agents is None


def test_a_note_is_not_that_of_whoever_gave_it() -> None:
    outbox, given_ = Outbox(), dirty("a")
    outbox.mark(ONE, given_)
    outbox.mark(ONE, dirty("b"))
    assert list(given_.agents or ()) == ["a"]


def test_the_oldest_events_give_way_and_leave_one_gap_for_each_session_that_comes_first() -> None:
    outbox = Outbox(limit_bytes=30)
    outbox.put(b"ack")
    for start in range(0, 50, 10):
        outbox.put_events(batch(start, start + 10))
        outbox.put_events(batch(start + 1000, start + 1010, TWO))
    assert outbox.size_bytes <= 30 and outbox.dropped_events_bytes == 80
    assert emptied(outbox) == [
        Gap(ONE, 0, 40),
        Gap(TWO, 1000, 1040),
        Answer(b"ack"),
        batch(40, 50),
        batch(1040, 1050, TWO),
    ]


def test_events_larger_than_the_limit_leave_only_a_gap() -> None:
    outbox = Outbox(limit_bytes=30)
    outbox.put_events(batch(0, 500, size=31))
    assert emptied(outbox) == [Gap(ONE, 0, 500)]


def test_what_is_dropped_after_a_gap_was_told_is_another_gap() -> None:
    outbox = Outbox(limit_bytes=10)
    outbox.put_events(batch(0, 10))
    outbox.put_events(batch(10, 20))
    assert outbox.pop() == Gap(ONE, 0, 10)
    outbox.put_events(batch(20, 30))
    assert emptied(outbox) == [Gap(ONE, 10, 20), batch(20, 30)]


def test_answers_are_kept_whatever_their_size_and_it_is_said_when_they_are_too_many() -> None:
    outbox = Outbox(limit_bytes=20)
    outbox.put_events(batch(0, 10))
    outbox.put(b"x" * 20)
    assert not outbox.overflows
    outbox.put(b"y")
    assert outbox.overflows
    assert emptied(outbox) == [Gap(ONE, 0, 10), Answer(b"x" * 20), Answer(b"y")]
    assert not outbox.overflows


def test_states_take_no_room_however_often_they_change() -> None:
    outbox = Outbox(limit_bytes=10)
    for _ in range(10_000):
        outbox.mark(ONE, dirty("a", "b"))
    assert outbox.size_bytes == 0 and len(emptied(outbox)) == 1


def test_what_is_not_wanted_any_more_is_forgotten_but_answers() -> None:
    outbox = Outbox(limit_bytes=20)
    outbox.put(b"ack")
    for start in (0, 10, 20):
        outbox.put_events(batch(start, start + 10))
    outbox.mark(ONE, dirty("a"))
    outbox.forget_news()
    assert emptied(outbox) == [Answer(b"ack")]


Step = tuple[str, int, int]
STEPS = st.lists(st.tuples(st.sampled_from(["put", "events", "mark", "pop"]), st.integers(0, 2), st.integers(1, 40)))


@given(STEPS, st.integers(1, 200))
def test_events_and_gaps_together_are_all_that_was_put_in_order(steps: list[Step], limit: int) -> None:
    """For each session the ranges that come out follow each other without a hole and without an overlap."""
    outbox = Outbox(limit)
    ends = dict.fromkeys((ONE, TWO, THREE), 0)
    told = dict(ends)
    answers: list[bytes] = []
    popped: list[bytes] = []

    def pop() -> bool:
        item = outbox.pop()
        if isinstance(item, Batch | Gap):
            assert item.start == told[item.session_id] < item.end
            told[item.session_id] = item.end
        elif isinstance(item, Answer):
            popped.append(item.payload)
        return item is not None

    for what, number, size in steps:
        of = list(ends)[number]
        if what == "put":
            answers.append(b"%d" % len(answers) * size)
            outbox.put(answers[-1])
        elif what == "events":
            outbox.put_events(batch(ends[of], ends[of] + size, of, size))
            ends[of] += size
        elif what == "mark":
            outbox.mark(of, dirty("a"))
        else:
            pop()
        waiting = sum(map(len, answers)) - sum(map(len, popped))
        assert outbox.size_bytes <= max(limit, waiting)
    while pop():
        continue
    assert told == ends and popped == answers
