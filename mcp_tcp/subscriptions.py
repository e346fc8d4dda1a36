"""Who wants to hear when what a resource shows has changed, and telling them: at once, then at most every 20 ms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from hive_session.ondisk.cards import Change
from hive_session.ondisk.sessions import Sessions
from mcp_tcp.eras import SUBSCRIPTION_KEY
from mcp_tcp.jsonrpc import notification_line
from mcp_tcp.resources import PREFIX, concerned, parse_uri

PACE_S = 0.02  # between two rounds of notifications; a change is told well within the promised 50 ms
UPDATED = "notifications/resources/updated"
LIST_CHANGED = "notifications/resources/list_changed"
LOG = "/log"


class Listener(Protocol):
    """A client that has subscribed."""

    def notify(self, key: object, line: bytes) -> None:
        """Send `line`; a client that cannot take it now may put it off, and only the last line of each `key` counts."""


Schedule = Callable[[float, Callable[[], None]], object]  # seconds from now, what to call then


class Subscriptions:
    """The table of subscriptions. One of 2025 and before has no id; one of 2026 is told under its request's id."""

    def __init__(self, sessions: Sessions, schedule: Schedule, clock: Callable[[], float]) -> None:
        self._sessions = sessions
        self._schedule = schedule
        self._clock = clock
        self._by_uri: dict[str, dict[tuple[Listener, Any], None]] = {}
        self._list: dict[tuple[Listener, Any], None] = {}  # who wants to know of sessions that come and go
        self._dirty: dict[str, None] = {}
        self._list_dirty = False
        self._scheduled = False
        self._told_at = 0.0

    def __len__(self) -> int:
        return sum(map(len, self._by_uri.values())) + len(self._list)

    def add(self, listener: Listener, uri: str, subscription: Any = None) -> None:
        """Tell `listener` of changes of `uri`; once more changes nothing."""
        self._by_uri.setdefault(uri, {})[listener, subscription] = None
        if uri.endswith(LOG) and (found := parse_uri(uri)):
            self._sessions.watch_log(found[0])

    def add_list(self, listener: Listener, subscription: Any) -> None:
        """Tell `listener` when a session comes or goes."""
        self._list[listener, subscription] = None

    def remove(self, listener: Listener, uri: str, subscription: Any = None) -> None:
        """The opposite of `add`."""
        wanting = self._by_uri.get(uri)
        if wanting is None:
            return
        wanting.pop((listener, subscription), None)
        if not wanting:
            del self._by_uri[uri]
            if uri.endswith(LOG) and (found := parse_uri(uri)):
                self._sessions.unwatch_log(found[0])

    def remove_list(self, listener: Listener, subscription: Any) -> None:
        """The opposite of `add_list`."""
        self._list.pop((listener, subscription), None)

    def changed(self, session_id: str, change: Change) -> None:
        """Hear of a change on disk."""
        if self._by_uri:
            for uri in concerned(session_id, change):
                if uri in self._by_uri:
                    self._dirty[uri] = None
            if change & Change.RECORD and f"{PREFIX}{session_id}{LOG}" in self._by_uri:
                self._sessions.watch_log(session_id)  # a log appears with the first run
        if change & Change.LIST and self._list:
            self._list_dirty = True
        if (self._dirty or self._list_dirty) and not self._scheduled:
            self._scheduled = True
            self._schedule(max(0.0, self._told_at + PACE_S - self._clock()), self._tell)

    def _tell(self) -> None:
        self._scheduled = False
        self._told_at = self._clock()
        dirty, self._dirty = self._dirty, {}
        for uri in dirty:
            plain = notification_line(UPDATED, {"uri": uri})
            for listener, subscription in list(self._by_uri.get(uri, ())):
                line = plain if subscription is None else notification_line(UPDATED, _marked(subscription, uri=uri))
                listener.notify((uri, subscription), line)
        if self._list_dirty:
            self._list_dirty = False
            for listener, subscription in list(self._list):
                listener.notify((LIST_CHANGED, subscription), notification_line(LIST_CHANGED, _marked(subscription)))


def _marked(subscription: Any, **params: Any) -> dict[str, Any]:
    return {**params, "_meta": {SUBSCRIPTION_KEY: subscription}}
