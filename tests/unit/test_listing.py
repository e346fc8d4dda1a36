"""What `ls` shows: which sessions, in which order, with which figures, in how many columns."""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.errors import UsageError
from hive_session.listing import Filter, format_table, list_sessions, parse_age
from hive_session.ondisk.events import encode_event
from hive_session.ondisk.layout import Layout
from hive_session.ondisk.records import SessionRecord, Usage, encode_session, format_time
from hive_session.store import Store
from hive_session.words import columns

NOW = 1_795_345_867.0
IDS = [f"{digit}50e8400-e29b-41d4-a716-446655440000" for digit in range(6)]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(None, None), ("0s", 0), ("90s", 90), ("30m", 1800), ("1.5h", 5400), ("7d", 604_800), ("2w", 1_209_600)],
)
def test_an_age_is_a_number_with_its_unit(text: str | None, seconds: float | None) -> None:
    assert parse_age(text, "--newer") == seconds


@pytest.mark.parametrize("text", ["", "h", "30", "30 minutes", "-1h", "nanh", "infd", "1e300w", "1,5h", "30M"])
def test_what_is_no_age_is_named_with_its_option(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_age(text, "--older")
    assert caught.value.what.startswith(f"--older {text!r} is not an age")


class Sessions:
    """A workspace with sessions in it, in files as they would be."""

    def __init__(self, tmp_path: Path) -> None:
        self.layout = Layout(str(tmp_path / "w"), str(tmp_path / "o"), str(tmp_path / "l"))
        self.store = Store(self.layout, lambda: NOW)

    def add(self, session_id: str, *, age_s: float = 60, **fields: Any) -> SessionRecord:
        paths = self.store.paths(session_id)
        created = format_time(NOW - age_s)
        record = SessionRecord(
            **{
                "status": "created",
                "session_id": session_id,
                "task": "Build the importer",
                "created": created,
                "updated": created,
                "working_dir": paths.dir,
                "output_dir": paths.output,
                "database": paths.database,
                "log_file": paths.log,
                **fields,
            }
        )
        Path(paths.dir).mkdir(parents=True)
        Path(paths.record).write_bytes(encode_session(record))
        return record

    def ids(self, **wanted: Any) -> list[str]:
        return [each["session_id"] for each in list_sessions(self.store, Filter(**wanted))]


@pytest.fixture
def sessions(tmp_path: Path) -> Sessions:
    return Sessions(tmp_path)


def test_the_newest_session_comes_first(sessions: Sessions) -> None:
    for session_id, age_s in zip(IDS, (300, 100, 200), strict=False):
        sessions.add(session_id, age_s=age_s)
    assert sessions.ids() == [IDS[1], IDS[2], IDS[0]]


def test_of_the_same_second_the_last_one_in_the_index_comes_first(sessions: Sessions) -> None:
    for session_id in IDS[:3]:
        sessions.add(session_id)
    assert sessions.ids() == [IDS[2], IDS[1], IDS[0]]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, {0, 1, 2, 3}),
        ({"statuses": ("failed",)}, {1}),
        ({"statuses": ("failed", "completed")}, {1, 2}),
        ({"statuses": ("unreadable",)}, set()),
        ({"labels": {"team": "blue"}}, {0, 2}),
        ({"labels": {"team": "blue", "x": "y"}}, {2}),
        ({"labels": {"team": ""}}, set()),
        ({"newer_s": 100.0}, {0, 1}),
        ({"newer_s": 99.0}, {0}),
        ({"older_s": 100.0}, {2, 3}),
        ({"newer_s": 1000.0, "older_s": 99.0}, {1, 2}),
        ({"statuses": ("failed",), "labels": {"team": "blue"}}, set()),
    ],
)
def test_a_filter_lets_through_what_fits_all_of_it(sessions: Sessions, wanted: dict[str, Any], found: set[int]) -> None:
    sessions.add(IDS[0], age_s=50, labels={"team": "blue"})
    sessions.add(IDS[1], age_s=100, status="failed")
    sessions.add(IDS[2], age_s=1000, status="completed", labels={"team": "blue", "x": "y"})
    sessions.add(IDS[3], age_s=2000, labels={"team": "red"})
    assert set(sessions.ids(**wanted)) == {IDS[number] for number in found}


def test_an_ended_session_has_the_figures_of_its_record(sessions: Sessions) -> None:
    usage = Usage(agents=5, tokens=229_301, cost_usd=0.29)
    record = sessions.add(IDS[0], status="failed", reason="exit", exit_code=7, usage=usage, attempt=2)
    assert list_sessions(sessions.store, Filter()) == [
        {
            "session_id": IDS[0],
            "status": "failed",
            "state": "failed: exit 7",
            "reason": "exit",
            "exit_code": 7,
            "created": record.created,
            "started": None,
            "ended": None,
            "age_seconds": 60,
            "attempt": 2,
            "agent": "claude-flow",
            "priority": "medium",
            "labels": {},
            "agents": 5,
            "tokens": 229_301,
            "cost_usd": 0.29,
            "task": "Build the importer",
            "output_dir": record.output_dir,
        }
    ]


def test_a_session_that_waits_has_used_nothing(sessions: Sessions) -> None:
    sessions.add(IDS[0])
    found = list_sessions(sessions.store, Filter())[0]
    assert (found["state"], found["agents"], found["tokens"], found["cost_usd"]) == ("waiting", 0, 0, None)


def test_a_live_session_has_the_figures_of_its_telemetry(sessions: Sessions) -> None:
    sessions.add(IDS[0], status="running", external=True, attempt=1)
    events = (
        {"ts": 1, "type": "session", "status": "running", "attempt": 1},
        {"ts": 1, "type": "agent_spawned", "agent": "queen", "role": "queen", "kind": "claude", "task": ""},
        {"ts": 2, "type": "usage", "agent": "queen", "tokens": 950, "cost_usd": 0.01},
    )
    telemetry = Path(sessions.store.paths(IDS[0]).telemetry)
    telemetry.write_bytes(b"".join(encode_event(event) for event in events) + b"{torn")
    found = list_sessions(sessions.store, Filter())[0]
    assert (found["status"], found["agents"], found["tokens"], found["cost_usd"]) == ("running", 1, 950, 0.01)


def test_an_unreadable_session_is_listed_with_what_is_known_of_it(sessions: Sessions) -> None:
    sessions.add(IDS[0])
    sessions.add(IDS[1])
    Path(sessions.store.paths(IDS[1]).record).write_bytes(b'{"task": "say "hello""}')
    found = {each["session_id"]: each for each in list_sessions(sessions.store, Filter())}
    assert found[IDS[0]]["state"] == "waiting"
    assert found[IDS[1]]["state"] == "unreadable" and "agents" not in found[IDS[1]]
    assert orjson.dumps(found)
    assert "unreadable" in format_table(list(found.values()), 100, color=False)


def test_a_session_of_the_original_without_a_time_has_no_age(sessions: Sessions) -> None:
    sessions.add(IDS[0], created="yesterday")
    found = list_sessions(sessions.store, Filter(older_s=1.0, newer_s=0.0))
    assert found == []
    assert list_sessions(sessions.store, Filter())[0]["age_seconds"] == 0


# -- the table ---------------------------------------------------------------------------------------------------------


def shown(**fields: Any) -> dict[str, Any]:
    return {
        "session_id": IDS[5],
        "state": "running",
        "age_seconds": 192,
        "created": "2026-11-22T09:31:07+00:00",
        "agents": 14,
        "tokens": 12_400,
        "cost_usd": None,
        "task": "Build the importer",
        **fields,
    }


def test_a_table_has_a_line_a_session_below_its_heads() -> None:
    failed = shown(state="failed: exit 7", age_seconds=7200, agents=3, tokens=4000, cost_usd=0.07, task="Fix login")
    assert format_table([shown(), failed], 80, color=False).split("\n") == [
        "ID        STATUS          AGE       AGENTS  TOKENS   COST  TASK",
        "550e8400  running         3 m 12 s      14  12.4 k      -  Build the importer",
        "550e8400  failed: exit 7  2 h 0 m        3   4.0 k  $0.07  Fix login",
    ]


def test_without_sessions_there_are_heads_alone() -> None:
    assert format_table([], 80, color=True) == "ID  STATUS  AGE  AGENTS  TOKENS  COST  TASK"


def test_from_a_day_on_the_date_is_the_age() -> None:
    assert "23 h 59 m" in format_table([shown(age_seconds=86_399)], 80, color=False)
    assert "2026-11-22" in format_table([shown(age_seconds=86_400)], 80, color=False)


@pytest.mark.parametrize(
    ("state", "color"),
    [
        ("running", "34"),
        ("starting", "33"),
        ("done", "32"),
        ("waiting", "90"),
        ("failed: signal 9", "31"),
        ("banana", ""),
    ],
)
def test_a_status_has_its_color_where_colors_are_wanted(state: str, color: str) -> None:
    plain = format_table([shown(state=state)], 80, color=False)
    painted = format_table([shown(state=state)], 80, color=True)
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[0-9]*m", "", painted) == plain
    assert (f"\x1b[{color}m{state}" if color else plain) in painted


narrow = st.text(st.characters(min_codepoint=1, max_codepoint=0x2FF), max_size=40)


@given(st.lists(st.builds(shown, task=st.text(max_size=50), state=narrow), max_size=3), st.integers(90, 140))
def test_no_line_of_the_table_is_wider_than_asked(sessions: list[dict[str, Any]], width: int) -> None:
    table = format_table(sessions, width, color=False)
    lines = table.split("\n")
    assert len(lines) == len(sessions) + 1
    assert all(columns(line) <= width and line.isprintable() for line in lines)
