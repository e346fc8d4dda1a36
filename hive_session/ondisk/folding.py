"""The telemetry of one session folded from its file, a slice at a time, so that others get their turn."""

from __future__ import annotations

import os

from hive_session.ondisk.events import BadEvent, decode_event
from hive_session.ondisk.fold import Hive
from hive_session.ondisk.follow import Lines

SLICE_BYTES = 1 << 18  # folded at a time: some 10 ms


class Fold:
    """What the telemetry adds up to so far; `cpu_percent` is of one core, between the attempt's last two samples."""

    __slots__ = ("_agents_changed", "_attempt", "_grown", "_sample", "cpu_percent", "hive", "lines")

    def __init__(self, path: str) -> None:
        self.lines = Lines(path)
        self.hive = Hive()
        self.cpu_percent: float | None = None
        self._attempt = self.hive.attempt
        self._sample: tuple[int, int] | None = None  # time and CPU time of this attempt's last one, in milliseconds
        self._grown = self._agents_changed = False  # since `take_news`

    def step(self) -> int:
        """Fold one slice more: the bytes that it took, 0 once there is nothing new."""
        before = self.lines.offset
        try:
            lines = self.lines.read(SLICE_BYTES)
        except OSError:
            return 0  # as if it were missing; a sweep tries again
        for line in lines:
            self._apply(line)
        taken = self.lines.offset - before
        self._grown = self._grown or taken > 0
        return taken

    @property
    def behind(self) -> bool:
        """True while the file is longer than what is folded, be it by half a line."""
        return self.lines.offset < size_of(self.lines.path)

    def take_news(self) -> tuple[bool, bool]:
        """Whether there are events that nobody was told of, and whether one changed an agent; then they count as told."""
        news = self._grown, self._agents_changed
        self._grown = self._agents_changed = False
        return news

    def _apply(self, line: bytes) -> None:
        try:
            event = decode_event(line)
        except BadEvent:
            return
        if self.hive.apply(event):
            self._agents_changed = True
        if self.hive.attempt != self._attempt:
            self._attempt = self.hive.attempt
            self._sample = self.cpu_percent = None
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
