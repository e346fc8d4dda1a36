"""When to restart a program that does not answer, and when to try one again that supervisord has given up; pure.

The rules of this file:
- A program hangs after so many misses in a row. Until it has answered once, it may take its time to start.
- Restarts of the same program get rarer until it has been well for a while. So do tries of one that is FATAL.
- FATAL is told once for each time that it becomes so. It is tried again because what stops a program for good may pass:
  a full disk, a port that is taken, a program that is being replaced. Nobody may look for days.
- Times are those of a clock that nobody sets: a clock that jumps restarts nothing.
"""

TYPE_CHECKING = False  # typing stays out of the lean listener
if TYPE_CHECKING:
    from collections.abc import Mapping

SAVED = ("pid", "answered", "restarts", "kills", "rung", "fatal", "tries")  # of what is known of a program


class Rules:
    """What decides; the times are in seconds. Of `restart_after_s` and `retry_after_s` the last one holds for ever."""

    __slots__ = ("grace_s", "misses", "restart_after_s", "retry_after_s", "settled_s")

    def __init__(
        self,
        *,
        misses: int = 3,  # in a row
        grace_s: float = 30.0,  # for the first answer of a process: a big workspace takes its time to read
        restart_after_s: tuple[float, ...] = (30.0, 60.0, 120.0, 300.0, 600.0),  # from one restart to the next
        retry_after_s: tuple[float, ...] = (60.0, 300.0, 900.0),  # of a program that is FATAL
        settled_s: float = 300.0,  # well for so long, and what was before is forgotten
    ) -> None:
        self.misses = misses
        self.grace_s = grace_s
        self.restart_after_s = restart_after_s
        self.retry_after_s = retry_after_s
        self.settled_s = settled_s


class Watched:
    """One program, as far as it decides about the next restart. `now_s` is a monotonic clock."""

    __slots__ = (
        "_not_before_s",
        "_retry_s",
        "_rules",
        "_since_s",
        "answered",
        "fatal",
        "kills",
        "misses",
        "pid",
        "restarts",
        "rung",
        "tries",
        "well_s",
    )

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.pid = 0  # of the process that was seen last
        self.restarts = 0  # processes beyond the first
        self.kills = 0  # of these, ours
        self.misses = 0  # in a row
        self.rung = 0  # restarts since it was last well for long
        self.fatal = False  # and told
        self.tries = 0  # to start it again since it was last well for long
        self.well_s: float | None = None  # since when nothing was amiss
        self.answered = False  # this process, at least once
        self._since_s = 0.0  # when this process was seen first
        self._not_before_s = float("-inf")
        self._retry_s = float("inf")

    def saved(self) -> "dict[str, int]":
        """What `resume` needs to go on where this left off."""
        return {name: int(getattr(self, name)) for name in SAVED}

    def resume(self, saved: "Mapping[str, int]", now_s: float) -> None:
        """Go on where another left off: nothing is told twice, nothing happens sooner than it would have."""
        for name in SAVED:
            setattr(self, name, saved[name])
        self.fatal, self.answered = bool(self.fatal), bool(self.answered)
        self._since_s = now_s
        if self.rung:
            self._not_before_s = now_s + _rung(self._rules.restart_after_s, self.rung - 1)
        self.put_off(now_s)

    def runs(self, pid: int, now_s: float) -> bool:
        """It runs as `pid`. True: it was FATAL before."""
        if pid != self.pid:
            self.restarts += self.pid != 0
            self.pid, self._since_s = pid, now_s
            self.answered, self.misses, self.well_s = False, 0, None
        was_fatal, self.fatal = self.fatal, False
        return was_fatal

    def well(self, now_s: float) -> None:
        """Nothing is amiss."""
        self.answered, self.misses = True, 0
        if self.well_s is None:
            self.well_s = now_s
        if now_s - self.well_s >= self._rules.settled_s:
            self.rung = self.tries = 0
            self._not_before_s = float("-inf")

    def missed(self, now_s: float) -> bool:
        """It did not answer. True: it is to be restarted now, and that counts as done."""
        if self.starting(now_s):
            return False
        self.well_s = None
        self.misses += 1
        if self.misses < self._rules.misses or now_s < self._not_before_s:
            return False
        self.kills += 1
        self.back_off(now_s)
        return True

    def starting(self, now_s: float) -> bool:
        """True as long as nobody has to wonder why it does not answer."""
        return not self.answered and now_s - self._since_s < self._rules.grace_s

    def back_off(self, now_s: float) -> None:
        """Put the next restart further off."""
        self._not_before_s = now_s + _rung(self._rules.restart_after_s, self.rung)
        self.rung += 1

    def is_fatal(self, now_s: float) -> bool:
        """supervisord has given it up. True: that is news."""
        news = not self.fatal
        if news:
            self.fatal = True
            self.misses, self.well_s = 0, None
            self.put_off(now_s)
        return news

    def to_be_tried(self, now_s: float) -> bool:
        """True: it is FATAL and to be started again now, and that counts as done."""
        due = self.fatal and now_s >= self._retry_s
        if due:
            self.tries += 1
            self.put_off(now_s)
        return due

    def put_off(self, now_s: float) -> None:
        """Time the next try of a program that is FATAL."""
        self._retry_s = now_s + _rung(self._rules.retry_after_s, self.tries)

    def retry_in_s(self, now_s: float) -> float:
        """Seconds until then."""
        return max(0.0, self._retry_s - now_s)


def _rung(times_s: tuple[float, ...], number: int) -> float:
    return times_s[min(number, len(times_s) - 1)]
