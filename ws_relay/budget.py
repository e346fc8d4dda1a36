"""Token buckets: how many bytes a client may be sent by now; pure."""

from __future__ import annotations

BURST_S = 0.25  # how much of a second's bytes may be saved up


class TokenBucket:
    """Lets `rate` bytes a second pass in the long run. Times are seconds of one clock that never goes back."""

    __slots__ = ("_at", "_burst", "_tokens", "rate")

    def __init__(self, rate: int, now: float) -> None:
        self.rate = rate
        self._burst = rate * BURST_S
        self._tokens = self._burst
        self._at = now

    def wait_s(self, now: float) -> float:
        """Seconds until something may be sent; 0.0: now. Called for each frame of each client."""
        if now > self._at:
            tokens = self._tokens + (now - self._at) * self.rate
            self._tokens = tokens if tokens < self._burst else self._burst
            self._at = now
        # A hair of debt is rounding: who waited as long as told must find the way free.
        return 0.0 if self._tokens > -1e-3 else -self._tokens / self.rate

    def take(self, size: int) -> None:
        """Count `size` bytes. A message is never cut, so a large one may leave a debt, which time pays."""
        self._tokens -= size
