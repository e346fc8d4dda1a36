"""What waits for one client, bounded in bytes: states are conflated, events dropped oldest first, answers kept; pure.

The rules of this file:
- A state that waits is not a document but a note of what changed; it is made into one when it is sent, and so is the newest.
- Notes take no room: there is at most one for each session, of at most all its agents.
- Events that were dropped leave a gap for each session. Gaps are told before anything else that waits.
- All else goes out in the order in which it came. A note keeps the place of the first change that it holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

DEFAULT_LIMIT_BYTES = 1 << 20


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
    """Events of one session that were dropped, by the bytes of its telemetry."""

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
        self._answers: deque[tuple[int, Answer]] = deque()
        self._events: deque[tuple[int, Batch]] = deque()
        self._states: dict[str, tuple[int, Dirty]] = {}  # in the order of their turns
        self._gaps: dict[str, Gap] = {}

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

    def mark(self, session_id: str, dirty: Dirty) -> None:
        """Note that a session has changed."""
        waiting = self._states.get(session_id)
        if waiting is None:
            waiting = self._states[session_id] = (self._next(), Dirty())
        else:
            self.conflated_states += 1
        waiting[1].merge(dirty)

    def forget_news(self) -> None:
        """Drop all but the answers: it is not wanted any more."""
        self._states.clear()
        for _, batch in self._events:
            self.size_bytes -= len(batch.payload)
        self._events.clear()
        self._gaps.clear()

    def pop(self) -> Item | None:
        """What is to be sent next; None when nothing waits."""
        if self._gaps:
            return self._gaps.pop(next(iter(self._gaps)))
        answer = self._answers[0][0] if self._answers else self._turn
        events = self._events[0][0] if self._events else self._turn
        session_id, (state, dirty) = next(iter(self._states.items()), ("", (self._turn, None)))
        if dirty is not None and state < min(answer, events):
            del self._states[session_id]
            return State(session_id, dirty)
        if answer == events:
            return None
        item: Answer | Batch
        if answer < events:
            _, item = self._answers.popleft()
            self.answer_bytes -= len(item.payload)
        else:
            _, item = self._events.popleft()
        self.size_bytes -= len(item.payload)
        return item

    def _next(self) -> int:
        self._turn += 1
        return self._turn - 1

    def _make_room(self) -> None:
        while self.size_bytes > self.limit_bytes and self._events:
            _, batch = self._events.popleft()
            self.size_bytes -= len(batch.payload)
            self.dropped_events_bytes += batch.end - batch.start
            gap = self._gaps.get(batch.session_id)
            start = batch.start if gap is None else gap.start
            self._gaps[batch.session_id] = Gap(batch.session_id, start, batch.end)
