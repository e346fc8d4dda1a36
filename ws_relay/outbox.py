"""What waits for one client, bounded in bytes: states are conflated, events dropped oldest first, answers kept; pure.

The rules of this file:
- A state that waits is not a document but a note of what changed; it is made into one when it is sent, and so is the newest.
- Notes take no room: there is at most one for each session, of at most all its agents.
- Events that were dropped leave a gap for each session, and one more where the telemetry went on in another file: what was
  lost of the one is never told as if it were of the other.
- All goes out in the order in which it came. A note, or a gap, keeps the place of the first that it holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter

DEFAULT_LIMIT_BYTES = 1 << 20
GAP_BYTES = 128  # that count for a gap among the events: of its document


class Dirty:
    """What changed of a session since somebody was told. `agents` is None when everything did."""

    __slots__ = ("agents", "messages", "spawned")

    def __init__(self) -> None:
        self.agents: dict[str, None] | None = {}
        self.spawned: dict[str, None] = {}
        self.messages: dict[tuple[str, str], None] = {}

    def add(self, agents: Iterable[str], spawned: Iterable[str], messages: Iterable[tuple[str, str]]) -> None:
        """Note ids of agents that changed, of those that are new, and who wrote to whom."""
        if self.agents is not None:
            self.agents.update(dict.fromkeys(agents))
        self.spawned.update(dict.fromkeys(spawned))
        self.messages.update(dict.fromkeys(messages))

    def merge(self, other: Dirty) -> None:
        """Note all that `other` has."""
        if other.agents is None:
            self.agents = None
        self.add(other.agents or (), other.spawned, other.messages)


@dataclass(frozen=True, slots=True)
class Answer:
    """A document that is sent as it is."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one session, as a document, from byte `start` to byte `end` of its telemetry."""

    session_id: str
    start: int
    end: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Gap:
    """Events of one session that do not come, by the bytes of its telemetry.

    With an `end` of 0 there are no more of them: the file ends at `start`, and another one begins. Where that happens again
    before it could be told, the files in between are passed over.
    """

    session_id: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class State:
    """A session whose newest state is to be told."""

    session_id: str
    dirty: Dirty


Item = Answer | Batch | Gap | State


class Outbox:
    """The queue of one client. `size_bytes` is what it holds, at most `limit_bytes` but for answers: see `overflows`.

    `answer_bytes` are the answers in it.
    """

    def __init__(self, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.size_bytes = self.answer_bytes = 0
        self.dropped_events_bytes = 0  # by their place in the telemetry, since the beginning
        self.conflated_states = 0
        self._turn = 0
        self._answers: deque[tuple[int, Answer | Gap]] = deque()
        self._events: deque[tuple[int, Batch | Gap]] = deque()
        self._states: dict[str, tuple[int, Dirty]] = {}  # in the order of their turns
        self._gaps: dict[str, list[tuple[int, Gap]]] = {}  # by session; all of them come before all of `_events`

    def __bool__(self) -> bool:
        return bool(self._answers or self._events or self._states or self._gaps)

    @property
    def overflows(self) -> bool:
        """True when answers alone, which cannot be dropped, pass the limit: the client asks and does not read."""
        return self.answer_bytes > self.limit_bytes

    def put(self, payload: bytes) -> None:
        """Add a document that has to arrive."""
        self._answers.append((self._next(), Answer(payload)))
        self.size_bytes += len(payload)
        self.answer_bytes += len(payload)
        self._make_room()

    def put_events(self, batch: Batch) -> None:
        """Add events; the oldest give way."""
        self._events.append((self._next(), batch))
        self.size_bytes += len(batch.payload)
        self._make_room()

    def put_gap(self, gap: Gap) -> None:
        """Add the news of events that do not come, or of another file; it gives way as events do, and is told all the same."""
        self._events.append((self._next(), gap))
        self.size_bytes += GAP_BYTES
        self._make_room()

    def mark(self, session_id: str, dirty: Dirty) -> None:
        """Note that a session has changed."""
        waiting = self._states.get(session_id)
        if waiting is None:
            waiting = self._states[session_id] = (self._next(), Dirty())
        else:
            self.conflated_states += 1
        waiting[1].merge(dirty)

    def forget_news(self) -> None:
        """Drop all but the answers: it is not wanted any more. But who is told of another file has cursors of the old one."""
        self._states.clear()
        waiting = [*chain.from_iterable(self._gaps.values()), *self._events]
        self._gaps.clear()
        self._events.clear()
        restarts = [(turn, item) for turn, item in waiting if isinstance(item, Gap) and not item.end]
        self._answers = deque(sorted([*self._answers, *restarts], key=itemgetter(0)))
        self.size_bytes = self.answer_bytes = sum(_size(item) for _, item in self._answers)

    def pop(self) -> Item | None:
        """What is to be sent next; None when nothing waits."""
        heads: list[tuple[int, Callable[[], Item]]] = []  # each with its turn, of which no two are equal
        if self._answers:
            heads.append((self._answers[0][0], self._pop_answer))
        if self._events:
            heads.append((self._events[0][0], self._pop_events))
        if self._states:
            heads.append((next(iter(self._states.values()))[0], self._pop_state))
        if self._gaps:
            heads.append((next(iter(self._gaps.values()))[0][0], self._pop_gap))
        return min(heads, key=itemgetter(0))[1]() if heads else None

    def _pop_answer(self) -> Item:
        _, item = self._answers.popleft()
        self.size_bytes -= _size(item)
        self.answer_bytes -= _size(item)
        return item

    def _pop_events(self) -> Item:
        _, item = self._events.popleft()
        self.size_bytes -= _size(item)
        return item

    def _pop_state(self) -> Item:
        session_id = next(iter(self._states))
        return State(session_id, self._states.pop(session_id)[1])

    def _pop_gap(self) -> Item:
        session_id, gaps = next(iter(self._gaps.items()))
        _, gap = gaps.pop(0)
        if not gaps:
            del self._gaps[session_id]
        return gap

    def _next(self) -> int:
        self._turn += 1
        return self._turn - 1

    def _make_room(self) -> None:
        while self.size_bytes > self.limit_bytes and self._events:
            turn, item = self._events.popleft()
            self.size_bytes -= _size(item)
            if isinstance(item, Batch):
                self.dropped_events_bytes += item.end - item.start
            self._lose(turn, item)

    def _lose(self, turn: int, item: Batch | Gap) -> None:
        """Have a gap hold it. What waits of a session is at most a gap, that another file follows, and a gap in that."""
        gaps = self._gaps.setdefault(item.session_id, [])
        first, last = gaps[-1] if gaps else (turn, None)
        if item.end and last is not None and last.end:
            gaps[-1] = first, Gap(item.session_id, last.start, item.end)
        elif item.end:
            gaps.append((turn, Gap(item.session_id, item.start, item.end)))
        elif any(not each.end for _, each in gaps):  # nothing was told of the file that ends here: it never was
            del gaps[1 + next(place for place, (_, each) in enumerate(gaps) if not each.end) :]
        else:
            gaps.append((turn, Gap(item.session_id, item.start, 0)))


def _size(item: Answer | Batch | Gap) -> int:
    return GAP_BYTES if isinstance(item, Gap) else len(item.payload)
