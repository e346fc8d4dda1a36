"""What a viewer gets before it is up to date: whole states of sessions, then events from its cursors on, slice by slice.

The rules of this file:
- One slice of work at a time, for one viewer after the other; a viewer without room is left alone until it has some.
- A session whose telemetry has to be read first is read once for all who wait for it.
- Replay ends where the group has told: from there on the group tells this viewer too, so nothing is missing or doubled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ws_relay import messages
from ws_relay.group import Schedule
from ws_relay.outbox import Batch, Dirty, State

if TYPE_CHECKING:
    from ws_relay.counters import Counters
    from ws_relay.scribe import Scribe
    from ws_relay.tail import Tail
    from ws_relay.viewer import Viewer

TURN_S = 0.002  # of work, before others get their turn


class Catchup:
    """The viewers that are behind, and the work that brings them up to date."""

    def __init__(
        self,
        scribe: Scribe,
        tails: dict[str, Tail],
        counters: Counters,
        schedule: Schedule,
        clock: Callable[[], float],
    ) -> None:
        self._scribe = scribe
        self._tails = tails
        self._counters = counters
        self._schedule = schedule
        self._clock = clock
        self._queue: dict[Viewer, None] = {}
        self._scheduled = False

    def add(self, viewer: Viewer) -> None:
        """Go on with what it waits for, if anything."""
        if viewer.snapshots or viewer.replays:
            self._queue[viewer] = None
            if not self._scheduled:
                self._scheduled = True
                self._schedule(0.0, self._turn)

    def drop(self, viewer: Viewer) -> None:
        """It waits for nothing any more."""
        self._queue.pop(viewer, None)

    def _turn(self) -> None:
        self._scheduled = False
        until = self._clock() + TURN_S
        while self._queue and self._serve_next() and self._clock() < until:
            continue
        if self._queue:
            self._scheduled = True
            self._schedule(0.0, self._turn)

    def _serve_next(self) -> bool:
        """One slice for the viewer that waits longest. True: it was a small one."""
        viewer = next(iter(self._queue))
        del self._queue[viewer]
        if not viewer.fits():
            # Whoever has nothing queued here, but a full transport, has to be looked after as well.
            viewer.stay()
            return True
        small = True
        if viewer.snapshots:
            small = self._tell_state(viewer)
        elif viewer.replays:  # else another one's turn has told it all that was left
            small = self._replay(viewer)
        if not viewer.closed and (viewer.snapshots or viewer.replays):
            self._queue[viewer] = None
        return small

    # -- states --------------------------------------------------------------------------------------------------------

    def _tell_state(self, viewer: Viewer) -> bool:
        session_id = next(iter(viewer.snapshots))
        if not self._scribe.loaded(session_id):
            return False
        dirty = Dirty()
        dirty.agents = None
        made: dict[object, list[bytes]] = {}
        for each in (viewer, *self._queue):
            group = each.group
            if group is not None and session_id in each.snapshots and each.fits():
                del each.snapshots[session_id]
                if group not in made:
                    made[group] = group.state(session_id, dirty)
                each.give(State(session_id, dirty), made[group])
        return True

    # -- events --------------------------------------------------------------------------------------------------------

    def _replay(self, viewer: Viewer) -> bool:
        session_id, start = next(iter(viewer.replays.items()))
        tail = self._tails.get(session_id)
        if tail is None or viewer.group is None:
            end = start
        else:
            end = viewer.group.told(session_id, tail.offset)
        if start >= end:
            del viewer.replays[session_id]
            viewer.settle()
            return True
        assert tail is not None
        restarts = tail.restarts
        found = tail.part(start, end)
        if found is None:
            if tail.restarts == restarts:  # it cannot be read now; else another file begins, which was told
                viewer.miss(session_id, start, end)
                viewer.replays[session_id] = end
            return True
        if found.end == start:  # in a line that is far too long
            return True
        viewer.replays[session_id] = found.end
        payload = messages.events(session_id, start, found.end, found.lines)
        self._counters.events_replayed_bytes += found.end - start
        viewer.give(Batch(session_id, start, found.end, payload), (payload,))
        return False
