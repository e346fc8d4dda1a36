"""What `top` draws, brought together: the gauges of the suite and the sessions of the workspace."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

from hive_session.ondisk.events import BadEvent, decode_event
from hive_session.ondisk.figures import session_row
from hive_session.ondisk.folding import size_of
from hive_session.ondisk.follow import Lines
from hive_session.ondisk.layout import Layout
from hive_session.ondisk.sessions import Sessions
from hive_session.suite.gauge import Gauge
from hive_session.suite.top import Moment, Pace, top_picture
from hive_session.table import Line

TAIL_BYTES = 128 << 10  # of the telemetry of each session at work, for its pace up to now
LOGS = ("HIVE_LOG_DIR", "HIVE_MCP_LOG_DIR", "HIVE_SUPERVISOR_LOG_DIR")


class Tail:
    """The end of one session's telemetry, and what comes after it."""

    def __init__(self, path: str) -> None:
        start = max(0, size_of(path) - TAIL_BYTES)
        self._lines = Lines(path, start)
        self.pace = Pace(whole=start == 0)

    def read(self) -> None:
        """Take in what is new. The half line at which the tail may begin is no event."""
        while lines := self._lines.read():
            for line in lines:
                try:
                    self.pace.take(decode_event(line))
                except BadEvent:
                    continue


class SuiteView:
    """What is to be drawn (live.Shown). `values` are the variables of the suite (suite.environment)."""

    ticking = True

    def __init__(self, layout: Layout, values: Mapping[str, str]) -> None:
        self.sessions = Sessions(layout)
        self.changed = True  # only by the size of the terminal: what happens is told at the next tick
        self._layout = layout
        self._gauge = Gauge(values["HIVE_RUN_DIR"], layout.workspace, [values[name] for name in LOGS])
        self._tails: dict[str, Tail] = {}

    def open(self) -> None:
        """Read all there is to show."""
        self.sessions.open()
        while self.catch_up():
            continue

    def catch_up(self) -> bool:
        """Take in what changed on disk, a slice at a time. True: there is more; call again at once."""
        behind = self.sessions.refresh()
        unread = [session for session in self.sessions.live() if not self.sessions.loaded(session)]
        return behind or bool(unread)

    def lines(self, width: int, height: int | None) -> list[Line]:
        """The picture at this moment, every line at most `width` columns."""
        self.changed = False
        return top_picture(self._moment(time.time_ns() // 1_000_000), width, height)

    def _moment(self, now_ms: int) -> Moment:
        live = self.sessions.live()
        paths = {session.card.id: self._layout.session(session.card.id).telemetry for session in live}
        self._tails = {each: self._tails.get(each) or Tail(path) for each, path in paths.items()}
        rates = {}
        for session in live:
            tail = self._tails[session.card.id]
            tail.read()
            rates[session.card.id] = tail.pace.rates(now_ms, session.card.started_ms)
        heading, trouble, programs = self._gauge.programs()
        return Moment(
            heading=heading,
            trouble=trouble,
            programs=programs,
            counts=Counter(session.card.state.partition(":")[0] for session in self.sessions.newest()),
            live=[(session_row(session), rates[session.card.id][1]) for session in live],
            events_per_s=sum(events for events, _ in rates.values()),
            tokens_per_min=sum(tokens for _, tokens in rates.values()),
            room=self._gauge.room(),
            now_ms=now_ms,
        )
