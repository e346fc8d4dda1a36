"""The telemetry of one session folded from its file, a slice at a time, so that others get their turn."""

from __future__ import annotations

import os

from hive_session.ondisk.events import MAX_EVENT_BYTES, BadEvent, decode_event
from hive_session.ondisk.fold import Hive
from hive_session.ondisk.follow import Lines

SLICE_BYTES = 1 << 18  # folded at a time: some 10 ms


class News:
    """What became different about a hive; empty at first. Ids of agents in the order in which they changed."""

    __slots__ = ("agents", "anew", "grown", "messages", "spawned")

    def __init__(self) -> None:
        self.grown = False  # there are events that nobody was told of
        self.anew = False  # its agents are others than before: a new attempt, or another file
        self.agents: dict[str, None] = {}  # that changed
        self.spawned: dict[str, None] = {}  # those of them that are new
        self.messages: dict[tuple[str, str], None] = {}  # who wrote to whom


class Fold:
    """What the telemetry adds up to so far; `cpu_percent` is of one core, between the attempt's last two samples.

    `unreadable` is True while the file is there but could not be read at the last attempt.
    """

    __slots__ = (
        "__weakref__",
        "_attempt",
        "_inode",
        "_news",
        "_sample",
        "cpu_percent",
        "hive",
        "lines",
        "unreadable",
    )

    def __init__(self, path: str) -> None:
        self.lines = Lines(path, longest=MAX_EVENT_BYTES)
        self.unreadable = False
        self._inode = 0  # of the file that was read last; 0: none was
        self._news = News()
        self._begin()

    def _begin(self) -> None:
        self.hive = Hive()
        self.cpu_percent: float | None = None
        self._attempt = self.hive.attempt
        self._sample: tuple[int, int] | None = None  # time and CPU time of this attempt's last one, in milliseconds

    def restart_where_replaced(self) -> bool:
        """Fold from nothing when another file stands in the place of the one that was read, or it was cut. True: it was."""
        try:
            found = os.stat(self.lines.path)
        except OSError:
            return False
        replaced = self._inode not in (0, found.st_ino) or found.st_size < self.lines.offset
        self._inode = found.st_ino
        if replaced:
            self.lines.restart()
            self._begin()
            self._news.grown = self._news.anew = True
        return replaced

    def step(self) -> int:
        """Fold one slice more: the bytes that it went on, 0 once there is nothing new."""
        before, seen = self.lines.offset, self.lines.seen
        try:
            lines = self.lines.read(SLICE_BYTES)
        except OSError:
            self.unreadable = True
            return 0  # as if it were missing; a sweep tries again
        self.unreadable = False
        for line in lines:
            self._apply(line)
        if self.lines.offset > before:
            self._news.grown = True
        return max(0, self.lines.seen - seen)

    @property
    def behind(self) -> bool:
        """True while the file is longer than what is folded, be it by half a line."""
        return self.lines.offset < size_of(self.lines.path)

    def take_news(self) -> News:
        """What nobody was told of yet; then it counts as told."""
        news = self._news
        if news.grown:
            self._news = News()
        return news

    def _apply(self, line: bytes) -> None:
        try:
            event = decode_event(line)
        except BadEvent:
            return
        known = len(self.hive.agents)
        if changed := self.hive.apply(event):
            for name in changed:
                self._news.agents[name] = None
            if len(self.hive.agents) > known:
                self._news.spawned[changed[0]] = None
        if event["type"] == "message":
            self._news.messages[event["from"], event["to"]] = None
        if self.hive.attempt != self._attempt:
            self._attempt = self.hive.attempt
            self._sample = self.cpu_percent = None
            self._news.anew = True
        if event["type"] == "resources":
            self._measure(event["ts"], event["cpu_ms"])

    def _measure(self, ts: int, cpu_ms: int) -> None:
        last, self._sample = self._sample, (ts, cpu_ms)
        if last is not None and ts > last[0]:
            self.cpu_percent = round(max(0, cpu_ms - last[1]) * 100 / (ts - last[0]), 1)


def size_of(path: str) -> int:
    """Bytes in a file; 0 where there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def stamp_of(path: str) -> int:
    """Tells one state of a file from the next."""
    try:
        found = os.stat(path)
    except OSError:
        return 0
    return hash((found.st_ino, found.st_mtime_ns, found.st_size))
