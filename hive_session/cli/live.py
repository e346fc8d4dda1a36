"""The live view in a terminal: all sessions, or one with its agents and events, drawn anew when something changes."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time
import tty
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Protocol

from hive_session.ondisk.agent_figures import agent_objects
from hive_session.ondisk.cards import Change
from hive_session.ondisk.events import BadEvent, decode_event
from hive_session.ondisk.figures import session_object, session_row
from hive_session.ondisk.folding import size_of
from hive_session.ondisk.follow import Lines
from hive_session.ondisk.layout import Layout
from hive_session.ondisk.sessions import SWEEP_PARTS, Session, Sessions
from hive_session.picture import session_picture, sessions_picture
from hive_session.table import DIM, Line, cut

if TYPE_CHECKING:
    from rich.live import Live

GAP_S = 0.1  # between two pictures, however much happens
SWEEP_S = 5.0 / SWEEP_PARTS  # every session is looked at within five seconds, where no watch tells of it
TAIL_BYTES = 128 << 10  # of the telemetry, for the first events shown
KEPT_EVENTS = 200
KEY_BYTES = 64
QUIT = (b"q", b"Q", b"\x04")
FOOT = "q quits"
FOOT_ALL = "q quits; one session with its agents and events: hive-session watch ID"


class Feed:
    """The last events of one session, the newest last."""

    def __init__(self, path: str) -> None:
        self._lines = Lines(path, max(0, size_of(path) - TAIL_BYTES))
        self.events: deque[dict[str, Any]] = deque(maxlen=KEPT_EVENTS)

    def read(self) -> None:
        """Take in what is new. The half line at which the tail may begin is no event."""
        while lines := self._lines.read():
            for line in lines:
                try:
                    self.events.append(decode_event(line))
                except BadEvent:
                    continue


class View:
    """What is to be drawn: all sessions, or the one with `session_id`. `changed` is True when it would look different."""

    def __init__(self, layout: Layout, session_id: str | None) -> None:
        self.sessions = Sessions(layout, self._on_change)
        self.session_id = session_id
        self.changed = True
        self._feed = Feed(layout.session(session_id).telemetry) if session_id else None

    def _on_change(self, session_id: str, change: Change) -> None:
        self.changed = self.changed or self.session_id in (None, session_id)

    def _shown(self) -> list[Session]:
        if self.session_id is None:
            return self.sessions.live()
        found = self.sessions.by_id.get(self.session_id)
        return [found] if found else []

    def catch_up(self) -> bool:
        """Take in what changed on disk, a slice at a time. True: there is more; call again at once."""
        behind = self.sessions.refresh()
        unread = [session for session in self._shown() if not self.sessions.loaded(session)]
        return behind or bool(unread)

    @property
    def ticking(self) -> bool:
        """True while something is shown that grows older by the second."""
        return any(session.card.live for session in self._shown())

    def lines(self, width: int, height: int | None) -> list[Line]:
        """The picture at this moment, every line at most `width` columns."""
        self.changed = False
        now_ms = time.time_ns() // 1_000_000
        if self._feed is None:
            return self._all(now_ms, width, height)
        self._feed.read()
        for session in self._shown():
            told, agents = session_object(session, now_ms), agent_objects(session, now_ms)
            return session_picture(told, agents, self._feed.events, now_ms=now_ms, width=width, height=height)
        return [cut(((f"{self.session_id} was removed", ""),), width)]

    def _all(self, now_ms: int, width: int, height: int | None) -> list[Line]:
        live, newest = self.sessions.live(), self.sessions.newest()
        foremost = live + [session for session in newest if not session.card.live]
        rows = [session_row(session) for session in foremost[:height]]
        counts = Counter(session.card.state.partition(":")[0] for session in newest)
        return sessions_picture(rows, counts, now_ms=now_ms, width=width, height=height)

    def open(self) -> None:
        """Read all there is to show."""
        self.sessions.open()
        while self.catch_up():
            continue


def picture(layout: Layout, session_id: str | None, width: int) -> list[Line]:
    """One picture, of whatever height it takes."""
    view = View(layout, session_id)
    try:
        view.open()
        return view.lines(width, None)
    finally:
        view.sessions.close()


def follow(layout: Layout, session_id: str | None, interval_s: float) -> None:
    """Draw on the terminal until the person there wants no more: q or Ctrl-C. A time that runs is drawn every `interval_s`."""
    view = View(layout, session_id)
    try:
        view.open()
        show(view, FOOT if session_id else FOOT_ALL, interval_s)
    finally:
        view.sessions.close()


class Shown(Protocol):
    """What a screen shows."""

    sessions: Sessions
    changed: bool  # it would look different now

    @property
    def ticking(self) -> bool:
        """True while it looks different as time goes by."""

    def catch_up(self) -> bool:
        """Take in what changed on disk, a slice at a time. True: there is more; call again at once."""

    def lines(self, width: int, height: int | None) -> list[Line]:
        """The picture at this moment, every line at most `width` columns."""


def show(view: Shown, foot: str, interval_s: float) -> None:
    """Draw it on the terminal, with `foot` below, until the person there wants no more."""
    with Screen(foot) as screen:
        _Loop(view, screen, interval_s).run()


class Screen:
    """The terminal as long as it is ours: a screen of its own, keys as they are typed, signals as bytes to read."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGWINCH, signal.SIGTSTP)

    def __init__(self, foot: str) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)
        self._foot = foot
        self._live: Live | None = None
        self._typed: list[Any] | None = None
        self.keys = [0] if os.isatty(0) else []
        self.signals, self._told = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Screen:
        for number in self.SIGNALS:
            self._before[number] = signal.signal(number, lambda *_: None)  # the byte in the pipe says it all
        signal.set_wakeup_fd(self._told)
        self._take()
        return self

    def __exit__(self, *exc: object) -> None:
        self._give_back()
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self) -> None:
        from rich.live import Live

        if self.keys:
            self._typed = termios.tcgetattr(0)
            tty.setcbreak(0)
        self._live = Live(console=self._console, auto_refresh=False, screen=True)
        self._live.start()

    def _give_back(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._typed is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self._typed)

    def suspend(self) -> None:
        """Ctrl-Z: leave the terminal to others until we are called back."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()

    def draw(self, view: Shown) -> None:
        """Show the view as it is now, in the size that the terminal has now."""
        from rich.text import Text

        width, height = self._console.size = _terminal_size()
        lines = view.lines(width, height - 1)[: height - 1]
        lines += [()] * (height - 1 - len(lines))
        shown = Text(no_wrap=True, overflow="crop", end="")
        for line in lines:
            shown.append_tokens((text, color or None) for text, color in (*line, ("\n", "")))
        shown.append_tokens((text, color or None) for text, color in cut(((self._foot, DIM),), width))
        assert self._live is not None
        self._live.update(shown, refresh=True)


def _terminal_size() -> tuple[int, int]:
    """Columns and lines as they are now; COLUMNS and LINES, which rich goes by, would stay what they were."""
    found = os.get_terminal_size(1)
    return found.columns or 80, found.lines or 24


class _Loop:
    """Waits for changes, keys and signals, and draws when it is due."""

    def __init__(self, view: Shown, screen: Screen, interval_s: float) -> None:
        self.view = view
        self.screen = screen
        self.interval_s = interval_s
        self.drawn_s = self.swept_s = float("-inf")
        self.over = False

    def run(self) -> None:
        while not self.over:
            behind = self.view.catch_up()
            now_s = time.monotonic()
            if now_s >= self._due_s():
                self.screen.draw(self.view)
                self.drawn_s = now_s
            if now_s - self.swept_s >= SWEEP_S:
                self.view.sessions.sweep()
                self.swept_s = now_s
            self._wait(0.0 if behind else max(0.0, min(self._due_s(), self.swept_s + SWEEP_S) - time.monotonic()))

    def _due_s(self) -> float:
        """The monotonic time from which on a picture is due."""
        if self.view.changed:
            return self.drawn_s + GAP_S
        return self.drawn_s + self.interval_s if self.view.ticking else float("inf")

    def _wait(self, timeout_s: float) -> None:
        watched = [self.view.sessions.fileno(), self.screen.signals, *self.screen.keys]
        readable, _, _ = select.select(watched, [], [], timeout_s)
        if self.screen.signals in readable:
            for number in os.read(self.screen.signals, KEY_BYTES):
                self._signalled(number)
        if 0 in readable:
            typed = os.read(0, KEY_BYTES)
            self.over = self.over or not typed or typed in QUIT

    def _signalled(self, number: int) -> None:
        if number == signal.SIGTERM:
            sys.exit(128 + signal.SIGTERM)
        if number == signal.SIGINT:
            self.over = True
        elif number == signal.SIGTSTP:
            self.screen.suspend()
        self.view.changed = True
