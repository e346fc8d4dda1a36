"""How busy the whole machine is, from /proc."""

from __future__ import annotations


class Machine:
    """CPU between one look and the next, and memory in use. None: /proc does not say."""

    __slots__ = ("_busy", "_total", "cpu_percent", "memory_mb")

    def __init__(self) -> None:
        self.cpu_percent: float | None = None  # of all cores together, 0 to 100; at first since the machine's start
        self.memory_mb: float | None = None  # 2^20 bytes
        self._busy = self._total = 0
        self.look()

    def look(self) -> None:
        """Take both anew."""
        ticks = [int(word) for word in _line("/proc/stat", "cpu ").split()[1:9]]
        if len(ticks) == 8:
            total = sum(ticks)
            busy = total - ticks[3] - ticks[4]  # idle, and waiting for a disk
            if total > self._total:
                self.cpu_percent = round(100 * max(0, busy - self._busy) / (total - self._total), 1)
            self._busy, self._total = busy, total
        words = [_line("/proc/meminfo", key).split() for key in ("MemTotal:", "MemAvailable:")]
        if all(len(found) > 1 for found in words):
            self.memory_mb = round((int(words[0][1]) - int(words[1][1])) / 1024, 1)


def _line(path: str, start: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return next((line for line in file if line.startswith(start)), "")
    except OSError:
        return ""
