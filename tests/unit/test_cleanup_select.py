"""Which sessions cleanup takes: ended ones beyond their age, by their end and to the second; nothing else, ever."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.cleanup import Limits, select_expired
from hive_session.ondisk.records import STATUSES, SessionRecord, format_time

NOW = 1_795_345_867.0
HOUR_S = 3600.0


def record(session_id: str = "", **fields: Any) -> SessionRecord:
    names = ("task", "working_dir", "output_dir", "database", "log_file")
    since = format_time(NOW - 1000 * HOUR_S)
    return SessionRecord(
        **{**dict.fromkeys(names, ""), "status": "completed", "session_id": session_id, "created": since, **fields}
    )


def ended(hours_ago: float, **fields: Any) -> SessionRecord:
    return record(ended=format_time(NOW - hours_ago * HOUR_S), **fields)


def selected(*records: SessionRecord, hours: float = 24, keep_failed_hours: float | None = None) -> list[SessionRecord]:
    kept_s = None if keep_failed_hours is None else keep_failed_hours * HOUR_S
    return select_expired(records, now=NOW, limits=Limits(max_age_s=hours * HOUR_S, keep_failed_s=kept_s))


@pytest.mark.parametrize(
    ("hours", "removed"),
    [
        (72, [73]),
        (48, [49, 73]),
        (24, [25, 30, 47, 49, 73]),
        (12, [13, 23, 25, 30, 47, 49, 73]),
        (1, [1, 13, 23, 25, 30, 47, 49, 73]),
        (0, [0, 1, 13, 23, 25, 30, 47, 49, 73]),
        (1000, []),
    ],
)
def test_what_ended_at_least_so_long_ago_goes(hours: float, removed: list[int]) -> None:
    by_age = {age: ended(age) for age in (0, 1, 13, 23, 25, 30, 47, 49, 73)}
    assert selected(*by_age.values(), hours=hours) == [by_age[age] for age in reversed(removed)]


def test_the_limit_is_met_to_the_second() -> None:
    at_limit = record(ended=format_time(NOW - 24 * HOUR_S))
    a_second_short = record(ended=format_time(NOW - 24 * HOUR_S + 1))
    assert selected(at_limit, a_second_short) == [at_limit]


@pytest.mark.parametrize("status", [*(each for each in STATUSES if each not in ("completed", "failed")), "banana", ""])
def test_what_has_not_ended_never_expires(status: str) -> None:
    assert selected(ended(500, status=status), hours=0) == []


def test_a_session_that_worked_for_a_month_is_not_old_when_it_ends() -> None:
    assert selected(ended(1, created=format_time(NOW - 720 * HOUR_S))) == []


@pytest.mark.parametrize(
    ("fields", "goes"),
    [
        ({"updated": format_time(NOW - 25 * HOUR_S)}, True),
        ({"updated": format_time(NOW - 23 * HOUR_S)}, False),
        ({"updated": ""}, True),  # by `created`
        ({"ended": "yesterday", "updated": format_time(NOW - 23 * HOUR_S)}, False),
        ({"created": "yesterday"}, False),  # no readable end at all
    ],
)
def test_files_of_the_original_end_with_their_last_update_or_their_creation(fields: dict[str, Any], goes: bool) -> None:
    found = record(**fields)
    assert selected(found) == ([found] if goes else [])


@pytest.mark.parametrize(("keep", "goes"), [(None, ["b", "a"]), (0.0, ["b", "a"]), (48.0, ["a"]), (26.0, ["b", "a"])])
def test_failed_sessions_may_be_kept_longer_or_shorter(keep: float | None, goes: list[str]) -> None:
    records = (ended(25, session_id="a"), ended(26, session_id="b", status="failed"))
    assert [each.session_id for each in selected(*records, keep_failed_hours=keep)] == goes


def test_an_end_in_the_future_is_not_old() -> None:
    assert selected(ended(-48), hours=0) == []


ages = st.lists(
    st.tuples(st.floats(-100, 2000), st.sampled_from([*STATUSES, "banana"])).map(
        lambda each: ended(each[0], status=each[1])
    ),
    max_size=8,
)


@given(ages, st.floats(0, 1000), st.none() | st.floats(0, 1000))
def test_what_goes_has_ended_and_is_old_and_the_oldest_goes_first(
    records: list[SessionRecord], hours: float, keep: float | None
) -> None:
    found = selected(*records, hours=hours, keep_failed_hours=keep)
    assert all(each.status in ("completed", "failed") for each in found)
    ends = [each.ended or "" for each in found]
    assert ends == sorted(ends)
    left = [each for each in records if each not in found]
    assert selected(*left, hours=hours, keep_failed_hours=keep) == []
    assert set(map(id, selected(*records, hours=hours + 1, keep_failed_hours=keep))) <= set(map(id, found))
