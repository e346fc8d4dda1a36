"""Figures of the server for Prometheus and for health checks; never a session's id among them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping

from hive_session.ondisk.cards import UNREADABLE
from hive_session.ondisk.records import STATUSES

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


def by_state(statuses: Mapping[str, int]) -> dict[str, int]:
    """The same with one name for all that is no status of ours: files of the original may hold any text."""
    known = (*STATUSES, UNREADABLE)
    other = sum(count for status, count in statuses.items() if status not in known)
    return {**{status: statuses.get(status, 0) for status in known}, "other": other}


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
        *_family("hive_sessions", "gauge", "Sessions by state.", _labelled("state", by_state(sessions))),
        *_family("hive_mcp_requests_total", "counter", "Requests by method.", _labelled("method", requests)),
        *_family("hive_mcp_errors_total", "counter", "Error answers by JSON-RPC code.", _labelled("code", errors)),
        *_histogram("hive_mcp_request_duration_seconds", "How long answers took.", latencies),
        *_family("hive_mcp_clients", "gauge", "Connections that are open.", [("", clients)]),
        *_family("hive_mcp_refused_total", "counter", "Connections refused: too many.", [("", refused)]),
        *_family("hive_mcp_subscriptions", "gauge", "What clients want to hear of.", [("", subscriptions)]),
        *_family("hive_mcp_polling", "gauge", "1 when inotify has no more watches to give.", [("", int(deaf))]),
    ]
    return ("\n".join(lines) + "\n").encode()


def _labelled(label: str, values: Mapping[str, int] | Mapping[int, int]) -> list[tuple[str, int]]:
    return [(f'{{{label}="{key}"}}', value) for key, value in sorted(values.items())]


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[str, int]]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield f"{name}{labels} {value}"


def _histogram(name: str, text: str, latencies: Latencies) -> Iterator[str]:
    yield from _family(name, "histogram", text, ())
    total = 0
    for bound, count in zip((*BOUNDS_S, "+Inf"), latencies.counts, strict=True):
        total += count
        yield f'{name}_bucket{{le="{bound}"}} {total}'
    yield f"{name}_sum {latencies.sum_s:.6f}"
    yield f"{name}_count {total}"
