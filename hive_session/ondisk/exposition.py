"""Figures in the text format 0.0.4 of Prometheus, as every server gives them; pure. Never a session's id among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from hive_session.ondisk.cards import UNREADABLE
from hive_session.ondisk.records import STATUSES

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def by_state(statuses: Mapping[str, int]) -> dict[str, int]:
    """The same with one name for all that is no status of ours: files of the original may hold any text."""
    known = (*STATUSES, UNREADABLE)
    other = sum(count for status, count in statuses.items() if status not in known)
    return {**{status: statuses.get(status, 0) for status in known}, "other": other}


def labelled(label: str, values: Mapping[str, int] | Mapping[int, int]) -> list[tuple[str, int]]:
    """Samples for `family`: one for each value of a label."""
    return [(f'{{{label}="{key}"}}', value) for key, value in sorted(values.items())]


def family(name: str, kind: str, text: str, samples: Iterable[tuple[str, float]]) -> Iterator[str]:
    """The lines of one family; `samples` are labels in their braces, or "", and values."""
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield f"{name}{labels} {value}"


def sessions_family(statuses: Mapping[str, int]) -> Iterator[str]:
    """The lines of hive_sessions, which every server has; `statuses` as figures.count_statuses gives them."""
    return family("hive_sessions", "gauge", "Sessions by state.", labelled("state", by_state(statuses)))
