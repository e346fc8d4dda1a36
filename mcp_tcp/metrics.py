"""Figures of the server for Prometheus and for health checks; never a session's id among them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping

from hive_session.ondisk.exposition import family, labelled, sessions_family

BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)


class Latencies:
    """A histogram of how long answers took."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one answer."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


def exposition(
    *,
    sessions: Mapping[str, int],
    requests: Mapping[str, int],
    errors: Mapping[int, int],
    latencies: Latencies,
    clients: int,
    refused: int,
    subscriptions: int,
    deaf: bool,
) -> bytes:
    """The text format 0.0.4 of Prometheus."""
    lines = [
        *sessions_family(sessions),
        *family("hive_mcp_requests_total", "counter", "Requests by method.", labelled("method", requests)),
        *family("hive_mcp_errors_total", "counter", "Error answers by JSON-RPC code.", labelled("code", errors)),
        *_histogram("hive_mcp_request_duration_seconds", "How long answers took.", latencies),
        *family("hive_mcp_clients", "gauge", "Connections that are open.", [("", clients)]),
        *family("hive_mcp_refused_total", "counter", "Connections refused: too many.", [("", refused)]),
        *family("hive_mcp_subscriptions", "gauge", "What clients want to hear of.", [("", subscriptions)]),
        *family("hive_mcp_polling", "gauge", "1 when inotify has no more watches to give.", [("", int(deaf))]),
    ]
    return ("\n".join(lines) + "\n").encode()


def _histogram(name: str, text: str, latencies: Latencies) -> Iterator[str]:
    yield from family(name, "histogram", text, ())
    total = 0
    for bound, count in zip((*BOUNDS_S, "+Inf"), latencies.counts, strict=True):
        total += count
        yield f'{name}_bucket{{le="{bound}"}} {total}'
    yield f"{name}_sum {latencies.sum_s:.6f}"
    yield f"{name}_count {total}"
