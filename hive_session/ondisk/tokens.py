"""Who may ask: the check of a token, and the delay that guessing costs an address."""

from typing import Final

FREE_FAILURES: Final = 9  # a mistyped or outdated token costs nothing; the tenth does
MAX_DELAY_S: Final = 60.0
FORGET_AFTER_S: Final = 15 * 60.0  # since the last failure
MAX_ADDRESSES: Final = 10_000  # about 2 MB


def token_matches(given: object, expected: str) -> bool:
    """True when `given` is the token `expected`; how long it takes tells nothing of it. "" as `expected` matches nothing."""
    from hashlib import sha256  # here, not above: a server without a token spares 0.7 MB
    from hmac import compare_digest

    if not isinstance(given, str) or not expected:
        return False
    # Digests are of one length, so not even the token's length shows. Surrogates: a token from the environment may
    # hold bytes that are no UTF-8.
    ours, theirs = (sha256(token.encode("utf-8", "surrogatepass")).digest() for token in (expected, given))
    return compare_digest(ours, theirs)


class Failures:
    """Bad tokens by address, and what the next try from there has to wait."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}  # address: count, time of the last; oldest first

    def delay_s(self, address: str, now_s: float) -> float:
        """Seconds to wait before a try from `address` is answered: 0 up to nine bad ones, then 1, 2, 4 … 60."""
        count, last_s = self._seen.get(address, (0, now_s))
        if count <= FREE_FAILURES or now_s - last_s >= FORGET_AFTER_S:
            return 0.0
        # Bounded before the power: the count has no end.
        return min(2.0 ** min(count - FREE_FAILURES - 1, 10), MAX_DELAY_S)

    def failed(self, address: str, now_s: float) -> None:
        """Count one bad token; forget who has not failed for 15 minutes, and the oldest when there are too many."""
        self._forget_old(now_s)
        count, _ = self._seen.pop(address, (0, now_s))
        self._seen[address] = (count + 1, now_s)  # at the end: the table is in the order of its times
        if len(self._seen) > MAX_ADDRESSES:
            del self._seen[next(iter(self._seen))]

    def succeeded(self, address: str) -> None:
        """Forget the bad tokens of `address`."""
        self._seen.pop(address, None)

    def _forget_old(self, now_s: float) -> None:
        old = []
        for address, (_, last_s) in self._seen.items():
            if now_s - last_s < FORGET_AFTER_S:
                break
            old.append(address)
        for address in old:
            del self._seen[address]
