"""How long to wait before the next attempt to connect."""

FIRST_S = 0.1
LONGEST_S = 10.0


def backoff_s(failures: int, chance: float) -> float:
    """Seconds before the next attempt after `failures` failed ones in a row; `chance` is evenly spread over [0, 1).

    Exponential with full jitter: anything up to 0.1 s, 0.2 s, 0.4 s … 10 s. Clients that lost one server together
    come back spread out, and half of them in half the time.
    """
    doublings = min(failures, 10)  # 2**failures of a server that is away for days would overflow
    return chance * min(LONGEST_S, FIRST_S * (1 << doublings))
