"""Sessions listed: filtered, and page by page while others come and go."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk.figures import moment
from mcp_tcp.catalogue import TOOLS
from mcp_tcp.tools import ToolError
from tests.unit.hives import (
    COLD,
    COMPLETED,
    CREATED,
    EMPTY,
    FAILED,
    LONG_AGO,
    OTHER,
    START_MS,
    STARTING,
    STATES,
    TORN,
    UNREADABLE,
    Answer,
    Known,
    ask,
    card,
    question,
    refusal,
    session,
    session_id,
)


def ids(answer: Answer) -> list[str]:
    return [row["session_id"] for row in answer["sessions"]]


def numbers(answer: Answer) -> set[int]:
    return {int(each[-12:], 16) for each in ids(answer)}


def test_sessions_are_listed_newest_first_with_how_many_there_are() -> None:
    answer = ask("session_list")
    by_age = [TORN, *(number for number in reversed(STATES) if number not in (TORN, UNREADABLE)), UNREADABLE]
    assert ids(answer) == [session_id(number) for number in by_age]
    assert answer["total"] == len(STATES) and answer["next_cursor"] is None
    assert answer["by_status"]["failed"] == 2 and answer["by_status"]["starting"] == 1


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"status": "failed"}, {FAILED, LONG_AGO}),
        ({"status": ["starting", "unreadable"]}, {STARTING, UNREADABLE, TORN}),
        ({"status": []}, set(STATES)),
        ({"status": None, "text": None, "labels": None, "cursor": None}, set(STATES)),
        ({"labels": {"team": "red"}}, {EMPTY}),
        ({"labels": {"team": "red", "more": "x"}}, set()),
        ({"text": "TASK 1"}, {CREATED, LONG_AGO, OTHER}),
        ({"agent": "claude"}, set()),
        ({"agent": "claude-flow", "status": "completed"}, {COMPLETED, COLD}),
        ({"created_after": moment(START_MS - 5_000 + OTHER)}, {OTHER, TORN}),
        ({"created_before": moment(START_MS - 5_000 + EMPTY)}, {CREATED}),
    ],
)
def test_filters_leave_those_that_fit_all_of_them(args: dict[str, Any], expected: set[int]) -> None:
    assert numbers(ask("session_list", **args)) == expected


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ({"status": "gone"}, "status 'gone' does not exist; there are: created, starting, running, completed, failed"),
        ({"created_after": "yesterday"}, "created_after is not a time; write it as 2026-11-22T09:31:07+00:00"),
        ({"created_before": ""}, None),
        ({"cursor": "x"}, "cursor is none that session_list gave; ask again without it"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(args: dict[str, Any], sentence: str | None) -> None:
    if sentence is None:
        ask("session_list", **args)
    else:
        assert refusal("session_list", **args).startswith(sentence)


@pytest.mark.parametrize("limit", [0, 501, "x", True, 5.0])
def test_a_limit_out_of_bounds_is_refused(limit: Any) -> None:
    sentence = TOOLS["session_list"].check({"limit": limit})
    assert sentence is not None and sentence.startswith("limit must be a whole number from 1 to 500, not ")


def many(count: int) -> Known:
    """So many sessions, of which always ten were made in the same millisecond."""
    return Known(*(session(card(number, "created", created_ms=START_MS + number // 10)) for number in range(count)))


def pages(known: Known, **args: Any) -> Iterator[Answer]:
    cursor = None
    while True:
        page = ask("session_list", known, **args | ({} if cursor is None else {"cursor": cursor}))
        yield page
        cursor = page["next_cursor"]
        if cursor is None:
            return


def test_pages_give_every_session_once_while_others_come_and_go() -> None:
    known = many(1000)
    there = set(known.by_id)
    seen: list[str] = []
    for turn, page in enumerate(pages(known, limit=30)):
        assert len(page["sessions"]) <= 30
        seen += ids(page)
        known.add(session(card(5000 + turn, "created", created_ms=START_MS + 900)))  # newer than all
        known.add(session(card(6000 + turn, "created", created_ms=START_MS - 1)))  # older than all
        known.remove(seen[-1])  # the very one that the cursor names
        gone = session_id(turn)  # one of the oldest
        known.remove(gone)
        there.discard(gone)
    assert len(seen) == len(set(seen))
    assert there <= set(seen)
    assert not [each for each in seen if int(each[-12:], 16) in range(5000, 6000)]


def test_the_last_page_has_no_cursor_even_when_it_is_full() -> None:
    assert [len(page["sessions"]) for page in pages(many(60), limit=30)] == [30, 30]


def test_a_cursor_of_other_filters_is_refused() -> None:
    known = many(20)
    cursor = ask("session_list", known, limit=5, status="created")["next_cursor"]
    assert len(ask("session_list", known, limit=3, status="created", cursor=cursor)["sessions"]) == 3
    other = question(known, status="failed", cursor=cursor)
    with pytest.raises(ToolError, match="cursor belongs to a question with other filters"):
        TOOLS["session_list"].answer(other)


@given(st.text(max_size=80) | st.text("ABCDEFGHabcdefgh0123456789-_=", max_size=120))
def test_a_foreign_cursor_is_refused(cursor: str) -> None:
    if cursor:
        with pytest.raises(ToolError, match="cursor is none that session_list gave"):
            TOOLS["session_list"].answer(question(Known(), cursor=cursor))


@given(st.integers(0, 200), st.characters(codec="ascii"))
def test_a_changed_cursor_is_refused(place: int, character: str) -> None:
    known = many(20)
    cursor = ask("session_list", known, limit=10)["next_cursor"]
    broken = cursor[: place % len(cursor)] + character + cursor[place % len(cursor) + 1 :]
    try:
        answer = ask("session_list", known, cursor=broken)
    except ToolError:
        return
    assert broken == cursor or set(ids(answer)) <= set(known.by_id)  # a place of ours, if not the same one
