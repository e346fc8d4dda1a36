"""What a process tree uses over its life, though its processes come and go, and when a figure is worth a line. Stdlib only."""

from hive_session.proctree import use_of

TYPE_CHECKING = False  # typing and resource stay out of the lean runner
if TYPE_CHECKING:
    from resource import struct_rusage

TICK_S = 1.0  # at most one line a second
IDLE_TICK_S = 4.0  # where nothing moves, look less often: 100 idle runs must cost next to nothing
HEARTBEAT_S = 30.0  # at least one line in this time, so that a reader can tell idle from dead
BLOCK_BYTES = 512  # the unit of ru_inblock and ru_oublock, whatever the filesystem's blocks are
CPU_STEP_MS = 10  # what a line is worth: less than these is no change
RSS_STEP_BYTES = 1 << 20


class Sampler:
    """The totals of one tree. The kernel hands what an ended process used to whoever collects it.

    So the sum over the processes that live and over those that the caller has collected counts everything once.
    """

    __slots__ = (
        "cpu_ms",
        "max_rss_bytes",
        "processes",
        "read_bytes",
        "reaped_read_bytes",
        "reaped_write_bytes",
        "rss_bytes",
        "system_s",
        "tick_s",
        "told",
        "told_at_s",
        "user_s",
        "write_bytes",
    )

    def __init__(self) -> None:
        self.user_s = self.system_s = 0.0  # of what the caller has collected
        self.max_rss_bytes = self.reaped_read_bytes = self.reaped_write_bytes = 0
        self.cpu_ms = self.rss_bytes = self.read_bytes = self.write_bytes = self.processes = 0
        self.tick_s = TICK_S  # seconds until the next sample should be taken
        self.told: tuple[int, ...] = ()  # what the last line said, and when
        self.told_at_s = 0.0

    def count(self, used: "struct_rusage") -> None:
        """Add what a process that the caller has collected used, with all that it collected itself."""
        self.user_s += used.ru_utime
        self.system_s += used.ru_stime
        self.max_rss_bytes = max(self.max_rss_bytes, used.ru_maxrss * 1024)
        self.reaped_read_bytes += used.ru_inblock * BLOCK_BYTES
        self.reaped_write_bytes += used.ru_oublock * BLOCK_BYTES

    def take(self, pids: list[int]) -> None:
        """Sample the processes `pids`. Totals never fall, though an ended process is nobody's until it is collected."""
        uses = [use for use in map(use_of, pids) if use is not None]
        reaped_ms = int((self.user_s + self.system_s) * 1000)
        self.cpu_ms = max(self.cpu_ms, reaped_ms + sum(use.cpu_ms for use in uses))
        self.read_bytes = max(self.read_bytes, self.reaped_read_bytes + sum(use.read_bytes for use in uses))
        self.write_bytes = max(self.write_bytes, self.reaped_write_bytes + sum(use.write_bytes for use in uses))
        self.rss_bytes = sum(use.rss_bytes for use in uses)
        self.processes = len(uses)

    def totals(self) -> list[str]:
        """The totals as words for the writer, named as in the record's `rusage`."""
        return [
            f"cpu_user_ms={int(self.user_s * 1000)}",
            f"cpu_system_ms={int(self.system_s * 1000)}",
            f"max_rss_bytes={self.max_rss_bytes}",
            f"read_bytes={self.read_bytes}",
            f"write_bytes={self.write_bytes}",
        ]

    def line(self, now_s: float, ts_ms: int) -> str:
        """The `resources` event of the last sample, where something moved or silence would last too long; else empty.

        `now_s` is monotonic, `ts_ms` the time of day. Sets `tick_s`.
        """
        values = (self.cpu_ms, self.rss_bytes, self.read_bytes, self.write_bytes, self.processes)
        moved = _differ(self.told, values)
        self.tick_s = TICK_S if moved else min(self.tick_s * 1.5, IDLE_TICK_S)
        if not moved and now_s + self.tick_s - self.told_at_s <= HEARTBEAT_S:
            return ""
        self.told, self.told_at_s = values, now_s
        cpu, rss, read, write, processes = values
        return (
            f'{{"ts":{ts_ms},"type":"resources","cpu_ms":{cpu},"rss_bytes":{rss},'
            f'"read_bytes":{read},"write_bytes":{write},"processes":{processes}}}\n'
        )


def _differ(told: tuple[int, ...], values: tuple[int, ...]) -> bool:
    """True when a figure moved enough since `told` to be worth a line."""
    if not told:
        return True
    return (
        values[0] - told[0] >= CPU_STEP_MS
        or abs(values[1] - told[1]) >= max(RSS_STEP_BYTES, told[1] >> 5)
        or values[2:] != told[2:]
    )
