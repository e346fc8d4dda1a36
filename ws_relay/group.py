"""Viewers with equal subscriptions: what they are told is encoded once for all, and compressed once.

The rules of this file:
- News is told at once after a pause, else when the window since the last time is over. States keep to the subscription's
  rate besides. What waits meanwhile is a note of what changed, and the events of the window.
- A compressed frame of the shared context goes to those who got each one of it. A viewer that missed one, or comes later,
  gets frames of its own until the context begins anew, which it does for their sake at most once in RESET_S.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING

from ws_relay import messages
from ws_relay.frame import SharedDeflate, lone_frame, text_frame
from ws_relay.outbox import Answer, Batch, Dirty, State
from ws_relay.viewer import HIGH_BYTES, OUT, Part, Viewer

if TYPE_CHECKING:
    from ws_relay.counters import Counters
    from ws_relay.scribe import Scribe
    from ws_relay.subscription import Subscription
    from ws_relay.tail import Slice

RESET_S = 1.0  # between two beginnings of the shared context: each costs all members what was remembered
NEVER, NOT_YET = float("-inf"), float("inf")
SLACK_S = 1e-4  # a timer that is early by less is on time
MOST_STATES = 32  # told at a time, so that others get their turn
MOST_EVENT_BYTES = 1 << 17  # of one session that wait for the end of the window

Schedule = Callable[[float, Callable[[], None]], object]  # seconds from now, what to call then


class Group:
    """The members of one subscription. `window_s` says how long news may wait for more of it."""

    def __init__(
        self,
        subscription: Subscription,
        scribe: Scribe,
        counters: Counters,
        schedule: Schedule,
        clock: Callable[[], float],
        window_s: Callable[[], float],
    ) -> None:
        self.subscription = subscription
        self.members: dict[Viewer, None] = {}
        self._scribe = scribe
        self._counters = counters
        self._schedule = schedule
        self._clock = clock
        self._window_s = window_s
        self._pause_s = 1 / subscription.hz if subscription.hz else 0.0
        self._dirty: dict[str, Dirty] = {}
        self._events: dict[str, tuple[int, int, list[bytes]]] = {}  # session id -> from, to, lines
        self._states_at = self._events_at = self._reset_at = NEVER
        self._wakes_at = NOT_YET
        self._cold: dict[str, Dirty] = {}  # like _dirty, of sessions whose telemetry is being read first
        self._deflate: SharedDeflate | None = None
        self._epoch = 0

    # -- members -------------------------------------------------------------------------------------------------------

    def join(self, viewer: Viewer) -> None:
        """Have it told of what comes."""
        self.members[viewer] = None
        viewer.group, viewer.epoch = self, OUT

    def part(self, viewer: Viewer) -> None:
        """Have it told no more."""
        self.members.pop(viewer, None)
        viewer.group = None

    # -- news ----------------------------------------------------------------------------------------------------------

    def changed(
        self,
        session_id: str,
        agents: Iterable[str] | None,
        spawned: Iterable[str] = (),
        written: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Note ids of agents that changed, None for all; who is new; who wrote to whom."""
        dirty = self._dirty.get(session_id)
        if dirty is None:
            dirty = self._dirty[session_id] = Dirty()
        if agents is None:
            dirty.agents = None
        dirty.add(agents or (), spawned, written)
        self._wake()

    def grown(self, session_id: str, found: Slice) -> None:
        """Note new events. They follow those before without a gap."""
        start, _, lines = self._events.get(session_id) or (found.start, 0, [])
        self._events[session_id] = (start, found.end, lines + found.lines)
        if found.end - start >= MOST_EVENT_BYTES:
            self.tell_events()
        else:
            self._wake()

    def told(self, session_id: str, offset: int) -> int:
        """Up to where events were told, when they were read up to `offset`."""
        waiting = self._events.get(session_id)
        return offset if waiting is None else waiting[0]

    def removed(self, session_id: str) -> None:
        """Tell that a session is gone, after all that was known of it."""
        self.tell_events()
        payload = messages.removed(session_id)
        self._send([(Answer(payload), (payload,))])

    def restarted(self, session_id: str, offset: int) -> None:
        """Tell that after the event before `offset` comes the one at 0, of another file."""
        self.tell_events()
        for member in tuple(self.members):
            read = member.replays.get(session_id)
            if read is not None:
                member.replays[session_id] = 0
                if read < offset:
                    member.miss(session_id, read, offset)
            member.miss(session_id, offset, 0)

    def tell_events(self) -> None:
        """Tell the events that wait for the end of the window now."""
        events, self._events = self._events, {}
        if events:
            self._events_at = self._clock()
            self._send([_batch(session_id, *waiting) for session_id, waiting in events.items()])

    # -- telling -------------------------------------------------------------------------------------------------------

    def loaded(self, session_id: str) -> bool:
        """True when `state` can be asked for; else a slice of the way there is gone."""
        return self._scribe.loaded(session_id)

    def state(self, session_id: str, dirty: Dirty) -> list[bytes]:
        """What is to be said of a session that changed."""
        return self._scribe.state(session_id, dirty, self.subscription)

    def _wake(self) -> None:
        """Be called when the next news is due."""
        due = min(self._events_due(), self._states_due())
        if due < self._wakes_at:
            self._wakes_at = due
            self._schedule(max(0.0, due - self._clock()), self._tell)

    def _events_due(self) -> float:
        return max(0.0, self._events_at + self._window_s()) if self._events else NOT_YET

    def _states_due(self) -> float:
        return max(0.0, self._states_at + max(self._window_s(), self._pause_s)) if self._dirty else NOT_YET

    def _tell(self) -> None:
        now, self._wakes_at = self._clock(), NOT_YET
        if not self.members:
            self._events, self._dirty, self._cold = {}, {}, {}
        parts: list[Part] = []
        if self._events_due() <= now + SLACK_S:
            parts += [_batch(session_id, *waiting) for session_id, waiting in self._events.items()]
            self._events = {}
            self._events_at = now
        if self._states_due() <= now + SLACK_S:
            parts += self._states()
            if not self._dirty:
                self._states_at = now
        if parts:
            self._send(parts)
        if self._events or self._dirty:
            self._wake()

    def _states(self) -> list[Part]:
        """Some of the states that are to be told; those that have to be read from disk first are put aside."""
        parts: list[Part] = []
        for session_id in list(islice(self._dirty, MOST_STATES)):
            dirty = self._dirty.pop(session_id)
            if not self._scribe.loaded(session_id):
                dirty.agents = None
                if not self._cold:
                    self._schedule(0.0, self._read)
                self._cold[session_id] = dirty
            elif payloads := self.state(session_id, dirty):
                parts.append((State(session_id, dirty), payloads))
        return parts

    def _read(self) -> None:
        """Read a slice of what was put aside."""
        session_id = next(iter(self._cold), None)
        if session_id is None:
            return
        if self._scribe.loaded(session_id):
            dirty = self._cold.pop(session_id)
            self.changed(session_id, None, dirty.spawned, dirty.messages)
        if self._cold:
            self._schedule(0.0, self._read)

    def _send(self, parts: list[Part]) -> None:
        """Give all members the same. This is the place that has to be fast."""
        payloads = [payload for _, each in parts for payload in each]
        plain = b"".join(map(text_frame, payloads))
        shared = lone = b""
        begins = self._may_begin_anew()
        now = self._clock()
        count = size = 0
        for member in tuple(self.members):
            wire, bucket = member.wire, member.bucket
            if not member.clear or wire.unsent() >= HIGH_BYTES or (bucket is not None and bucket.wait_s(now)):
                member.take(parts)
                continue
            if not wire.deflate:
                frame = plain
            elif begins or member.epoch == self._epoch:
                if not shared:
                    shared = self._compress(payloads, begins)
                member.epoch = self._epoch
                frame = shared
            else:
                frame = lone = lone or b"".join(lone_frame(payload, True) for payload in payloads)
            wire.write(frame)
            if bucket is not None:
                bucket.take(len(frame))
            count += 1
            size += len(frame)
        self._count(count, size, len(payloads))

    def _may_begin_anew(self) -> bool:
        """True when the shared context should begin anew with this frame: somebody stands outside of it."""
        if self._clock() - self._reset_at < RESET_S:
            return False
        epoch = self._epoch
        return any(member.clear and member.wire.deflate and member.epoch != epoch for member in self.members)

    def _compress(self, payloads: list[bytes], begins: bool) -> bytes:
        if self._deflate is None:
            self._deflate = SharedDeflate()
        elif begins:
            self._deflate.fresh()
        if begins:
            self._epoch += 1
            self._reset_at = self._clock()
            self._counters.deflate_resets += 1
        frames = b"".join(map(self._deflate.compress, payloads))
        self._counters.deflate_in_bytes += sum(map(len, payloads))
        self._counters.deflate_out_bytes += len(frames)
        return frames

    def _count(self, members: int, size: int, frames: int) -> None:
        counters = self._counters
        counters.frames_encoded += frames
        counters.frames_sent += frames * members
        counters.writes += members
        counters.bytes_sent += size


def _batch(session_id: str, start: int, end: int, lines: list[bytes]) -> Part:
    payload = messages.events(session_id, start, end, lines)
    return Batch(session_id, start, end, payload), (payload,)
