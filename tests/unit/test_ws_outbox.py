"""A client's queue: bounded in bytes; states are conflated, events give way and leave gaps, answers stay, order is kept."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.hives import session_id
from ws_relay.outbox import GAP_BYTES, Answer, Batch, Dirty, Gap, Item, Outbox, State

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


def test_the_oldest_events_give_way_and_leave_one_gap_for_each_session_in_their_place() -> None:
    outbox = Outbox(limit_bytes=30)
    outbox.put(b"ack")
    for start in range(0, 50, 10):
        outbox.put_events(batch(start, start + 10))
        outbox.put_events(batch(start + 1000, start + 1010, TWO))
    assert outbox.size_bytes <= 30 and outbox.dropped_events_bytes == 80
    assert emptied(outbox) == [
        Answer(b"ack"),
        Gap(ONE, 0, 40),
        Gap(TWO, 1000, 1040),
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


def test_what_is_lost_of_a_file_is_told_apart_from_what_is_lost_of_the_one_that_took_its_place() -> None:
    outbox = Outbox(limit_bytes=10)
    outbox.put_events(batch(500, 510))
    outbox.put_gap(Gap(ONE, 510, 0))
    for start in (0, 10, 20):
        outbox.put_events(batch(start, start + 10))
    assert emptied(outbox) == [Gap(ONE, 500, 510), Gap(ONE, 510, 0), Gap(ONE, 0, 20), batch(20, 30)]


def test_another_file_is_told_where_it_begins_among_the_events() -> None:
    outbox = Outbox()
    outbox.put_events(batch(500, 510))
    outbox.put_gap(Gap(ONE, 510, 0))
    outbox.put_events(batch(0, 10))
    assert emptied(outbox) == [batch(500, 510), Gap(ONE, 510, 0), batch(0, 10)]


def test_however_often_another_file_begins_what_waits_stays_small() -> None:
    outbox = Outbox(limit_bytes=1000)
    outbox.put_events(batch(0, 10))
    for _ in range(10_000):
        outbox.put_gap(Gap(ONE, 10, 0))
        outbox.put_events(batch(0, 10))
    assert outbox.size_bytes <= 1000
    found = emptied(outbox)
    assert len(found) < 20 and found[:2] == [Gap(ONE, 0, 10), Gap(ONE, 10, 0)] and found[-1] == batch(0, 10)


def test_answers_are_kept_whatever_their_size_and_it_is_said_when_they_are_too_many() -> None:
    outbox = Outbox(limit_bytes=20)
    outbox.put_events(batch(0, 10))
    outbox.put(b"x" * 20)
    assert not outbox.overflows
    outbox.put(b"y")
    assert outbox.overflows
    assert emptied(outbox) == [Gap(ONE, 0, 10), Answer(b"x" * 20), Answer(b"y")]  # in the order in which they came
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


def test_that_another_file_began_is_told_to_who_subscribes_anew_before_the_answer() -> None:
    outbox = Outbox(limit_bytes=200)
    outbox.put(b"pong")
    outbox.put_events(batch(0, 10))
    outbox.put_gap(Gap(ONE, 10, 0))
    outbox.put_events(batch(0, 100, size=100))  # all before has to go
    outbox.put_gap(Gap(TWO, 7, 0))
    outbox.forget_news()
    outbox.put(b"ack")
    outbox.put_events(batch(0, 10))
    assert outbox.answer_bytes == 7 + 2 * GAP_BYTES
    assert emptied(outbox) == [Answer(b"pong"), Gap(ONE, 10, 0), Gap(TWO, 7, 0), Answer(b"ack"), Gap(ONE, 0, 10)]


class Copy:
    """What a client makes of the news of one session: it knows where it stands, and in which file as soon as events say so."""

    def __init__(self) -> None:
        self.file: int | None = 0
        self.at = self.last = self.restarts = 0

    def take(self, item: Batch | Gap) -> None:
        assert item.start == self.at  # no hole and no overlap, whatever was lost
        if isinstance(item, Gap):
            self.at = item.end
            if not item.end:
                self.file, self.restarts = None, self.restarts + 1
            return
        file = int(item.payload.split()[0])
        assert file == self.file or (self.file is None and file > self.last)
        self.file = self.last = file
        self.at = item.end


Step = tuple[str, int, int]
KINDS = st.sampled_from(["put", "events", "events", "restart", "mark", "pop"])
STEPS = st.lists(st.tuples(KINDS, st.integers(0, 2), st.integers(1, 40)))


class Play:
    """What is put into an outbox, and what comes out of it."""

    def __init__(self, limit: int) -> None:
        self.outbox = Outbox(limit)
        self.files = dict.fromkeys((ONE, TWO, THREE), 0)
        self.ends = dict.fromkeys(self.files, 0)
        self.copies = {each: Copy() for each in self.files}
        self.answers: list[bytes] = []
        self.popped: list[bytes] = []

    def do(self, what: str, of: str, size: int) -> None:
        file, end = self.files[of], self.ends[of]
        match what:
            case "put":
                self.answers.append(b"%d" % len(self.answers) * size)
                self.outbox.put(self.answers[-1])
            case "events":
                self.outbox.put_events(Batch(of, end, end + size, b"%d " % file + b"x" * size))
                self.ends[of] += size
            case "restart":
                self.outbox.put_gap(Gap(of, end, 0))
                self.files[of], self.ends[of] = file + 1, 0
            case "mark":
                self.outbox.mark(of, dirty("a"))
            case _:
                self.pop()

    def pop(self) -> bool:
        item = self.outbox.pop()
        if isinstance(item, Batch | Gap):
            self.copies[item.session_id].take(item)
        elif isinstance(item, Answer):
            self.popped.append(item.payload)
        return item is not None


@given(STEPS, st.integers(1, 300))
def test_events_and_gaps_together_are_all_that_was_put_of_every_file_in_order(steps: list[Step], limit: int) -> None:
    """For each session: the ranges follow each other without a hole, and never go over from one file to the next."""
    play = Play(limit)
    for what, number, size in steps:
        play.do(what, list(play.ends)[number], size)
        waiting = sum(map(len, play.answers)) - sum(map(len, play.popped))
        assert play.outbox.size_bytes <= max(limit, waiting)
    while play.pop():
        continue
    assert play.popped == play.answers
    for of, copy in play.copies.items():
        assert copy.at == play.ends[of] and copy.restarts <= play.files[of]
        assert copy.file == play.files[of] or (copy.file is None and copy.last < play.files[of])
