"""One client: what it is sent now, what waits for it, and when it has kept everybody waiting for too long.

The rules of this file:
- While anything waits, whatever comes waits behind it.
- What goes past the group's shared compressor leaves its context: the group lets it in again when it begins anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ws_relay import messages
from ws_relay.budget import TokenBucket
from ws_relay.frame import lone_frame, text_frame
from ws_relay.outbox import Answer, Batch, Gap, Item, Outbox, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ws_relay.counters import Counters
    from ws_relay.group import Group

HIGH_BYTES = 1 << 16  # a transport that holds more is full: what comes next waits here
CHOKED_BYTES = 1 << 14  # of answers that wait: some hundred pongs
STUCK_S = 30.0  # without one byte taken
TRY_AGAIN_LATER = 1013
OUT = -1  # no epoch of a compressor

Part = tuple[Item, "Sequence[bytes]"]  # what is told, and as documents


class Wire(Protocol):
    """The connection of a client after its handshake. Nobody else writes data frames to it."""

    deflate: bool  # permessage-deflate was agreed on, with context takeover and a 15-bit window from server to client

    def write(self, data: bytes) -> None:
        """Send whole frames, or keep them until they can be sent."""

    def unsent(self) -> int:
        """Bytes that are kept."""

    def close(self, code: int, reason: str) -> None:
        """Close it; what is kept may be lost."""


class House(Protocol):
    """What viewers share."""

    counters: Counters

    def clock(self) -> float:
        """Seconds."""

    def hear(self, viewer: Viewer, text: str | bytes) -> None:
        """Do what it says."""

    def fell_behind(self, viewer: Viewer) -> None:
        """Something waits for it: call `pump` again and again."""

    def caught_up(self, viewer: Viewer) -> None:
        """Nothing waits any more."""

    def leave(self, viewer: Viewer) -> None:
        """It is gone."""


class Viewer:
    """A client. Its group reads `clear` and `epoch` for itself, once for each frame."""

    __slots__ = (
        "_dropped",
        "_house",
        "_moved_at",
        "_unsent",
        "bucket",
        "clear",
        "closed",
        "epoch",
        "group",
        "outbox",
        "replays",
        "snapshots",
        "wire",
    )

    def __init__(self, house: House, wire: Wire, limit_bytes: int, bytes_per_s: int | None) -> None:
        self.wire = wire
        self.outbox = Outbox(limit_bytes)
        self.bucket: TokenBucket | None = None
        self.group: Group | None = None
        self.clear = True  # what its group has for all is what it gets
        self.closed = False
        self.epoch = OUT  # of its group's compressor, of which it got all since
        self.replays: dict[str, int] = {}  # session id -> offset from which on events are still to be read for it
        self.snapshots: dict[str, None] = {}  # ids of sessions of which it waits for the whole state
        self._house = house
        self._unsent = 0
        self._moved_at = 0.0
        self.limit_rate(bytes_per_s)

    # -- what the server calls -----------------------------------------------------------------------------------------

    def hear(self, text: str | bytes) -> None:
        """Take in one message of the client."""
        if not self.closed:
            self._house.hear(self, text)

    def drained(self) -> None:
        """The transport has room again."""
        self.pump()

    @property
    def choked(self) -> bool:
        """True while the client does not read its answers: the server should not read what it asks next."""
        return self.outbox.answer_bytes >= CHOKED_BYTES

    # -- sending -------------------------------------------------------------------------------------------------------

    def limit_rate(self, bytes_per_s: int | None) -> None:
        """Send at most so many bytes a second from now on; None: no limit."""
        if bytes_per_s is None:
            self.bucket = None
        elif self.bucket is None or self.bucket.rate != bytes_per_s:
            self.bucket = TokenBucket(bytes_per_s, self._house.clock())

    def wait_s(self) -> float:
        """Seconds until its budget allows to send; 0.0: now."""
        return 0.0 if self.bucket is None else self.bucket.wait_s(self._house.clock())

    def fits(self) -> bool:
        """True when what comes now can be sent at once."""
        return not (self.closed or self.outbox) and self._has_room()

    def say(self, payload: bytes) -> None:
        """Send a document that is for this client alone, and must arrive."""
        if self.closed:
            return
        if self.fits():
            self._interject(payload)
            return
        self._hold(Answer(payload))
        if self.outbox.overflows:
            self._house.counters.closed_overflow += 1
            self.close(TRY_AGAIN_LATER, "answers wait and are not read")

    def miss(self, session_id: str, start: int, end: int) -> None:
        """Tell it of events that do not come; with an `end` of 0, that the file ends at `start` and another one begins."""
        gap = Gap(session_id, start, end)
        if not self.fits():
            if not self.closed:
                self._hold(gap)
            return
        for payload in self._payloads(gap):
            self._interject(payload)

    def take(self, parts: Sequence[Part]) -> None:
        """Take what the group has for all, but not the events that are read for this client from the file."""
        for item, payloads in parts:
            if isinstance(item, Batch) and item.session_id in self.replays:
                continue
            self.give(item, payloads)

    def give(self, item: Item, payloads: Sequence[bytes]) -> None:
        """Send something, or keep it; either way outside of the group's context."""
        self.epoch = OUT
        if self.closed:
            return
        if not self.fits():
            self._hold(item)
            return
        for payload in payloads:
            self._write(lone_frame(payload, self.wire.deflate))

    def pump(self) -> None:
        """Send what waits, as far as there is room."""
        while not self.closed and self.outbox and self._has_room():
            item = self.outbox.pop()
            assert item is not None
            for payload in self._payloads(item):
                self._write(lone_frame(payload, self.wire.deflate))
        if not self.closed and not self.outbox and self._has_room():
            self.settle()
            self._house.caught_up(self)

    def settle(self) -> None:
        """See anew whether it gets what its group gets."""
        self.clear = not (self.closed or self.outbox or self.replays)

    def check(self, now: float) -> None:
        """Close it where it took nothing for too long; call it about once a second while something waits."""
        unsent = self.wire.unsent()
        if unsent < self._unsent or unsent < HIGH_BYTES:
            self._moved_at = now
        self._unsent = unsent
        if now - self._moved_at >= STUCK_S:
            self._house.counters.closed_stuck += 1
            self.close(TRY_AGAIN_LATER, f"nothing was read for {STUCK_S:.0f} s")

    def stay(self) -> None:
        """Be looked after until there is room for what is kept elsewhere for it."""
        if not self.closed:
            self._house.fell_behind(self)

    def close(self, code: int, reason: str) -> None:
        """Part from it."""
        if not self.closed:
            self.closed = True
            self.clear = False
            self.wire.close(code, reason)
            self._house.leave(self)

    def watch_from(self, now: float) -> None:
        """Begin to count how long nothing moves."""
        self._moved_at, self._unsent = now, self.wire.unsent()

    def _has_room(self) -> bool:
        return self.wire.unsent() < HIGH_BYTES and not self.wait_s()

    def _interject(self, payload: bytes) -> None:
        # Plain, where a compressed one would come between the frames of the group's context.
        self._write(text_frame(payload) if self.epoch != OUT else lone_frame(payload, self.wire.deflate))

    def _write(self, frame: bytes) -> None:
        self.wire.write(frame)
        if self.bucket is not None:
            self.bucket.take(len(frame))
        counters = self._house.counters
        counters.frames_sent += 1
        counters.writes += 1
        counters.bytes_sent += len(frame)

    def _hold(self, item: Item) -> None:
        self.clear, self.epoch = False, OUT
        box, counters = self.outbox, self._house.counters
        dropped, conflated = box.dropped_events_bytes, box.conflated_states
        if isinstance(item, Answer):
            box.put(item.payload)
        elif isinstance(item, Batch):
            box.put_events(item)
        elif isinstance(item, State):
            box.mark(item.session_id, item.dirty)
        else:
            box.put_gap(item)
        counters.events_dropped_bytes += box.dropped_events_bytes - dropped
        counters.states_conflated += box.conflated_states - conflated
        self._house.fell_behind(self)

    def _payloads(self, item: Item) -> Sequence[bytes]:
        if isinstance(item, State):
            if self.group is None:
                return ()
            if not self.group.loaded(item.session_id):  # it left memory while this waited
                self.snapshots[item.session_id] = None
                return ()
            return self.group.state(item.session_id, item.dirty)
        if isinstance(item, Gap):
            self._house.counters.gaps_sent += 1
            return (messages.gap(item.session_id, item.start, item.end),)
        return (item.payload,)
