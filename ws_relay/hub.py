"""What changes in sessions, brought to the groups of viewers who want to hear of it; and what viewers say, done.

The rules of this file:
- The hub hears of all changes. It reads new events once, from the file, and only of sessions that somebody hears events of.
- `Tail.offset` is what groups were given; each group knows what of that it has told. The cursor of a viewer is one of both.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator

from hive_session.ondisk.cards import Card, Change
from hive_session.ondisk.folding import News, size_of
from hive_session.ondisk.sessions import ROUND_S, Session, Sessions
from ws_relay import messages, rpc
from ws_relay.catchup import Catchup
from ws_relay.counters import Counters
from ws_relay.group import Group, Schedule
from ws_relay.outbox import DEFAULT_LIMIT_BYTES
from ws_relay.pace import Pace
from ws_relay.scribe import Scribe
from ws_relay.subscription import BadWords, Ping, Request, Subscription, Unsubscribe, decode, parse
from ws_relay.tail import Tail
from ws_relay.viewer import Viewer, Wire

CHECK_S = 1.0  # between two looks at those who are behind
OPEN_FILES = 64  # telemetry files that stay open between reads

log = logging.getLogger(__name__)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Hub:
    """All viewers and all groups, over `sessions`, which tell it what changes. Times of `clock` are seconds of the loop."""

    def __init__(
        self,
        sessions: Sessions,
        schedule: Schedule,
        clock: Callable[[], float],
        max_bytes_per_s: int | None = None,
        *,
        now_ms: Callable[[], int] = _now_ms,
        max_queue_bytes: int = DEFAULT_LIMIT_BYTES,
    ) -> None:
        self.sessions = sessions
        self.clock = clock
        self.counters = Counters()
        self.viewers: dict[Viewer, None] = {}
        self.groups: dict[Subscription, Group] = {}
        self._narrow: dict[str | None, dict[Subscription, Group]] = {None: {}}  # by session id; None: of any session
        self._schedule = schedule
        self._pace = Pace()
        self._read_bytes = 0  # of events, up to the last reading
        self._scribe = Scribe(sessions, now_ms)
        self._max_queue_bytes = max_queue_bytes
        self._max_bytes_per_s = max_bytes_per_s
        self._tails: dict[str, Tail] = {}  # of all sessions, while anybody hears events
        self._open: OrderedDict[str, None] = OrderedDict()  # whose tails hold a file; the one read longest ago first
        self._unread: dict[str, None] = {}  # whose telemetry holds more than one slice of new events
        self._unreadable: dict[str, None] = {}  # whose telemetry cannot be read now; it is tried again like a sweep
        self._retrying = False
        self._behind: dict[Viewer, None] = {}
        self._checking = False
        self._waking: dict[Viewer, None] = {}  # to be pumped when their budgets allow it
        self._catchup = Catchup(self._scribe, self._tails, self.counters, schedule, clock)
        self._cards: dict[str, Card] = {each.card.id: each.card for each in sessions.by_id.values()}
        sessions.on_change, sessions.on_news = self.on_change, self.on_news

    # -- viewers -------------------------------------------------------------------------------------------------------

    def join(self, wire: Wire) -> Viewer:
        """A client whose handshake is done."""
        viewer = Viewer(self, wire, self._max_queue_bytes, self._max_bytes_per_s)
        self.viewers[viewer] = None
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """It is gone. Once more changes nothing."""
        viewer.closed, viewer.clear = True, False
        self.viewers.pop(viewer, None)
        self._behind.pop(viewer, None)
        self._unsubscribe(viewer)

    def wait_s(self) -> float:
        """How long news that came just now should wait for more of it before it is read."""
        return self._pace.wait_s(self.clock(), len(self.viewers))

    def read_by_now(self) -> None:
        """Note that everything that there was on disk has been taken in."""
        read = self.counters.events_read_bytes
        self._pace.read(self.clock(), read - self._read_bytes)
        self._read_bytes = read

    def _spacing_s(self) -> float:
        """The least between two tellings. Reading, which waits for the whole window, sets the pace."""
        return self._pace.window_s(len(self.viewers)) / 2

    def fell_behind(self, viewer: Viewer) -> None:
        """Something waits for a viewer."""
        if viewer not in self._behind:
            self._behind[viewer] = None
            self.counters.held += 1
            viewer.watch_from(self.clock())
            if not self._checking:
                self._checking = True
                self._schedule(CHECK_S, self._check)
        wait_s = viewer.wait_s()
        if wait_s and viewer not in self._waking:
            self._waking[viewer] = None
            self._schedule(wait_s, lambda: self._pump(viewer))

    def caught_up(self, viewer: Viewer) -> None:
        """Nothing waits for it any more; now comes what it has not seen yet."""
        self._behind.pop(viewer, None)
        self._catchup.add(viewer)

    def _pump(self, viewer: Viewer) -> None:
        self._waking.pop(viewer, None)
        viewer.pump()
        if viewer in self._behind and not viewer.closed:
            self.fell_behind(viewer)

    def _check(self) -> None:
        now = self.clock()
        for viewer in list(self._behind):
            viewer.pump()
            if viewer in self._behind:
                viewer.check(now)
        self._checking = bool(self._behind)
        if self._behind:
            self._schedule(CHECK_S, self._check)

    # -- what they say -------------------------------------------------------------------------------------------------

    def hear(self, viewer: Viewer, text: str | bytes) -> None:
        """Do what a message says, and answer."""
        self.counters.messages_received += 1
        try:
            document = decode(text)
            if "jsonrpc" in document:
                answer = rpc.answer(document, self.sessions, self._scribe.ground, self._scribe.now_ms())
                if answer is not None:
                    viewer.say(answer)
                return
            self._obey(viewer, parse(document))
        except BadWords as bad:
            self._refuse(viewer, bad)

    def _obey(self, viewer: Viewer, message: Request | Unsubscribe | Ping) -> None:
        if isinstance(message, Ping):
            viewer.say(messages.pong(message.id, self._scribe.now_ms()))
        elif isinstance(message, Unsubscribe):
            self._unsubscribe(viewer)
            viewer.say(messages.unsubscribed(message.id))
        else:
            self._subscribe(viewer, message)

    def _refuse(self, viewer: Viewer, bad: BadWords) -> None:
        self.counters.messages_refused += 1
        viewer.say(messages.error(bad))

    def _subscribe(self, viewer: Viewer, request: Request) -> None:
        self._unsubscribe(viewer)
        subscription = request.subscription
        if subscription.events and not self._tails:
            for session_id, session in self.sessions.by_id.items():
                self._follow(session_id).seek_end(session.offset)
                self._keep_open(session_id)
        group = self.groups.get(subscription.key)
        if group is None:
            group = self.groups[subscription.key] = Group(
                subscription, self._scribe, self.counters, self._schedule, self.clock, self._spacing_s
            )
            self._narrow.setdefault(subscription.session_id, {})[subscription] = group
        for session_id, offset in request.cursors.items():
            self._read_up_to(session_id, offset, group)
        group.join(viewer)
        wanted = [each.card.id for each in self.sessions.newest() if subscription.wants(each.card)]
        cursors = {each: group.told(each, self._tails[each].offset) for each in wanted} if subscription.events else {}
        limits = [each for each in (request.max_bytes_per_s, self._max_bytes_per_s) if each is not None]
        viewer.limit_rate(min(limits, default=None))
        if subscription.events:
            cursors |= self._replay_from(viewer, request, cursors)
        viewer.say(messages.subscribed(request, wanted, cursors))
        if request.snapshot:
            live = [each.card.id for each in self.sessions.live() if subscription.wants(each.card)]
            viewer.snapshots = dict.fromkeys((*live, *wanted))
        self._catchup.add(viewer)

    def _replay_from(self, viewer: Viewer, request: Request, now: dict[str, int]) -> dict[str, int]:
        """Note where the viewer's events begin; a wrong cursor is answered, and that session goes on from now."""
        for session_id, offset in request.cursors.items():
            end = now.get(session_id, 0)
            tail = self._tails.get(session_id)
            if offset > end or (tail is not None and not tail.starts_line(offset)):
                why = f"is beyond the end, {end}" if offset > end else "is not where a line begins"
                words = f"from: {offset} of session {session_id} {why}; its events come from {end} on"
                self._refuse(viewer, BadWords("bad_cursor", words, "from", request.id))
            elif offset < end:
                viewer.replays[session_id] = offset
        viewer.settle()
        return dict(viewer.replays)

    def _unsubscribe(self, viewer: Viewer) -> None:
        group = viewer.group
        viewer.snapshots, viewer.replays = {}, {}
        viewer.outbox.forget_news()
        viewer.settle()
        self._catchup.drop(viewer)
        if group is None:
            return
        group.part(viewer)
        if not group.members:
            del self.groups[group.subscription.key]
            of_session = self._narrow[group.subscription.session_id]
            del of_session[group.subscription]
            if not of_session and group.subscription.session_id is not None:
                del self._narrow[group.subscription.session_id]
        if self._tails and not any(each.events for each in self.groups):
            for tail in self._tails.values():
                tail.rest()
            for known in (self._tails, self._open, self._unreadable):
                known.clear()

    # -- what changes --------------------------------------------------------------------------------------------------

    def on_change(self, session_id: str, change: Change) -> None:
        """Hear from the sessions what became different."""
        session = self.sessions.by_id.get(session_id)
        if session is None:
            self._removed(session_id)
            return
        if change & Change.LIST and any(each.events for each in self.groups):
            self._follow(session_id)
        if change & (Change.LIST | Change.RECORD):
            self._cards[session_id] = session.card
        if change & (Change.LIST | Change.RECORD) or (session.hive is None and change & Change.TELEMETRY):
            for group in self._groups(session.card):
                group.changed(session_id, None)
        if change & (Change.LIST | Change.TELEMETRY) and self._tails:
            self._read(session_id)

    def on_news(self, session: Session, news: News) -> None:
        """Hear what new telemetry did to a hive."""
        agents = None if news.anew else news.agents
        for group in self._groups(session.card):
            group.changed(session.card.id, agents, news.spawned, news.messages)
        if news.anew and self._tails:
            # The file may be another one, to be read after what is left of the one before.
            self._read_soon(session.card.id)

    def _groups(self, card: Card) -> Iterator[Group]:
        """Those who want to hear of a session."""
        for session_id in (None, card.id):
            for subscription, group in self._narrow.get(session_id, {}).items():
                if subscription.wants(card):
                    yield group

    def _removed(self, session_id: str) -> None:
        card = self._cards.pop(session_id, None)
        tail = self._tails.pop(session_id, None)
        if tail is not None:
            tail.rest()
        for known in (self._open, self._unread, self._unreadable):
            known.pop(session_id, None)
        self._scribe.ground.leave(session_id)
        if card is not None:
            for group in list(self._groups(card)):
                group.removed(session_id)

    # -- events --------------------------------------------------------------------------------------------------------

    def _follow(self, session_id: str) -> Tail:
        """The tail of a session's telemetry from its beginning on."""
        path = self.sessions.layout.session(session_id).telemetry
        tail = self._tails[session_id] = Tail(path, 0, lambda offset: self._restarted(session_id, offset))
        return tail

    def _read(self, session_id: str) -> None:
        """Give the groups a slice of the new events, and go on between other work where there are more."""
        tail = self._tails.get(session_id)
        session = self.sessions.by_id.get(session_id)
        if tail is None or session is None:
            return
        found = tail.read()
        self._keep_open(session_id)
        self._note_trouble(session_id, tail)
        if found is None:
            return
        self.counters.events_read_bytes += found.end - found.start
        for group in list(self._groups(session.card)):
            if group.subscription.events and found.end > found.start:
                group.grown(session_id, found)
        if found.more:
            self._read_soon(session_id)

    def _note_trouble(self, session_id: str, tail: Tail) -> None:
        """See whether the telemetry could be read: where it could not, say so once, and try again."""
        if tail.trouble is None:
            self._unreadable.pop(session_id, None)
        elif session_id not in self._unreadable:
            log.warning("the events of session %s cannot be read: %s", session_id, tail.trouble)
            self._unreadable[session_id] = None
            self._retry_later()

    def _retry_later(self) -> None:
        if self._unreadable and not self._retrying:
            self._retrying = True
            self._schedule(ROUND_S, self._retry)

    def _retry(self) -> None:
        self._retrying = False
        for session_id in list(self._unreadable):
            self._read(session_id)
        self._retry_later()

    def _read_up_to(self, session_id: str, offset: int, group: Group) -> None:
        """Have the group told of what is before a cursor that is newer than our news: its hive was read first."""
        tail = self._tails.get(session_id)
        if tail is None or offset <= group.told(session_id, tail.offset):
            return
        if offset <= size_of(self.sessions.layout.session(session_id).telemetry):
            before = -1
            while before < tail.offset < offset:
                before = tail.offset
                self._read(session_id)
            group.tell_events()

    def _read_soon(self, session_id: str) -> None:
        if not self._unread:
            self._schedule(0.0, self._read_on)
        self._unread[session_id] = None

    def _read_on(self) -> None:
        unread, self._unread = self._unread, {}
        for session_id in unread:
            self._read(session_id)

    def _restarted(self, session_id: str, offset: int) -> None:
        """Another file stands in the place of the one that was read up to `offset`."""
        card = self._cards.get(session_id)
        if card is not None:
            for group in list(self._groups(card)):
                if group.subscription.events:
                    group.restarted(session_id, offset)
        self._read_soon(session_id)

    def _keep_open(self, session_id: str) -> None:
        self._open[session_id] = None
        self._open.move_to_end(session_id)
        while len(self._open) > OPEN_FILES:
            oldest, _ = self._open.popitem(last=False)
            if (tail := self._tails.get(oldest)) is not None:
                tail.rest()
