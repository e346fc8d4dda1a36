"""Time as programs have it: a bound in seconds is theirs, and what a machine that stands still adds to it is no fault of theirs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from statistics import median
from types import TracebackType
from typing import Self

from tests.integration.hive import DEADLINE_S, STEP_S

NAP_S = 0.01


class Stopwatch:
    """The seconds that a block takes of a machine that works: while it stands still, nobody has any."""

    def __init__(self) -> None:
        self._naps = 0
        self._over = threading.Event()
        self._counting = threading.Thread(target=self._count)

    def __enter__(self) -> Self:
        self._counting.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._counting.join()

    def _count(self) -> None:
        while not self._over.wait(NAP_S):
            self._naps += 1

    @property
    def seconds(self) -> float:
        return self._naps * NAP_S


def within(seconds: float, condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition that must come about so soon."""
    with Stopwatch() as watch:
        while not condition():
            assert watch.seconds < seconds, f"not within {seconds:g} s: {what}"
            time.sleep(STEP_S)


class Lateness:
    """How late the machine is during a `with` block: what short sleeps take beyond what was asked for.

    A bound in seconds is one of the program's. What a machine that stalls, or does other work, adds to it is no fault of its.
    """

    def __init__(self) -> None:
        self._late_s = [0.0]
        self._asleep_since = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(DEADLINE_S)

    def _watch(self) -> None:
        while not self._over.is_set():
            self._asleep_since = time.monotonic()
            time.sleep(NAP_S)
            self._late_s.append(self._now_late_s())

    def _now_late_s(self) -> float:
        return time.monotonic() - self._asleep_since - NAP_S

    @property
    def longest_s(self) -> float:
        """The latest up to now, the sleep included that is not over though it should be."""
        return max(*self._late_s, self._now_late_s())

    @property
    def usual_s(self) -> float:
        """Half of the sleeps are no later."""
        return median(self._late_s)
