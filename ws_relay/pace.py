"""When news on disk is read: at once after a pause, else together with all that comes within a window; pure."""

EACH_S = 4e-4  # of the window for each viewer: one hears at once
LONGEST_S = 0.01  # 25 to 100 viewers, which are as many as there may be unless told otherwise, wait no longer
EACH_OF_MANY_S = 1e-4  # of the window for each viewer where there are more
UTMOST_S = 0.02  # for 200 of them; and where news comes so thick that nobody could tell lines apart
DENSE_BYTES_PER_S = 200_000.0  # some thousand lines a second
WORTH_WAITING_S = 0.001  # a shorter window is that of a few viewers, who hear of each line by itself


class Pace:
    """Tells how long news waits before it is read; times are seconds of one clock."""

    def __init__(self) -> None:
        self._read_at = float("-inf")
        self._dense = False

    def window_s(self, viewers: int) -> float:
        """How long news may wait for more."""
        longest_s = UTMOST_S if self._dense else min(UTMOST_S, max(LONGEST_S, EACH_OF_MANY_S * viewers))
        return min(longest_s, EACH_S * viewers)

    def read(self, now: float, size: int) -> None:
        """Note that all events that there were have been read, so many bytes of them."""
        self._dense = size > DENSE_BYTES_PER_S * (now - self._read_at)
        self._read_at = now

    def wait_s(self, now: float, viewers: int) -> float:
        """How long news that came just now waits for more of it: a whole window where the last reading is no longer ago."""
        window_s = self.window_s(viewers)
        return window_s if window_s >= WORTH_WAITING_S and now - self._read_at < window_s else 0.0
