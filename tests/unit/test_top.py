"""What `top` shows of a suite in every state, on every size of terminal; and how it counts the pace."""

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk.figures import session_row
from hive_session.suite.gauge import Gauge, _outermost, _size
from hive_session.suite.probes import HEALTHS
from hive_session.suite.top import BLANK, HEALTH_COLORS, Moment, Pace, ProgramRow, Room, size, top_picture
from hive_session.table import ANSI, plain
from hive_session.words import columns
from tests.unit.hives import NOW_MS, RUNNING, STATES, the

MIB = 1 << 20
MCP = ProgramRow(
    name="mcp-tcp-server", state="RUNNING", pid=4711, up_s=11_520, rss_bytes=31 * MIB, cpu_percent=0.1, restarts=0,
    health="ok",
)  # fmt: skip
SILENT = replace(MCP, name="mcp-ws-bridge", pid=4712, health="silent", detail="no answer within 2 s", restarts=3)
FATAL = ProgramRow(name="claude-flow-tcp", state="FATAL", detail="mcp-tcp-proxy: the port is taken", restarts=0)
ENDED = ProgramRow(name="reconcile", state="EXITED")
QUIET = Moment(
    heading="/workspace/.supervisor", trouble=False, programs=[MCP, SILENT, FATAL, ENDED], counts={"done": 12},
    live=[], events_per_s=0.0, tokens_per_min=0.0, room=Room(free=70 << 30, total=252 << 30, logs=40 << 10),
    now_ms=NOW_MS,
)  # fmt: skip
LIVE = [(session_row(the(RUNNING)), 9_100.0)]


def picture(moment: Moment, width: int = 100, height: int | None = None) -> list[str]:
    return [plain(line) for line in top_picture(moment, width, height)]


def colors(moment: Moment, text: str) -> set[str]:
    return {color for line in top_picture(moment, 120, None) for piece, color in line if text in piece}


# -- the picture -------------------------------------------------------------------------------------------------------


def test_each_program_has_a_line_with_all_there_is_to_say() -> None:
    lines = picture(QUIET, width=120)
    assert lines[0] == "hive suite   /workspace/.supervisor"
    assert lines[2].split() == ["PROGRAM", "STATE", "PID", "UP", "RSS", "CPU", "RESTARTS", "HEALTH"]
    assert lines[3].split("  ")[0] == "mcp-tcp-server"
    assert re.split(" {2,}", lines[3])[1:] == ["● running", "4711", "3 h 12 m", "31 MiB", "0.1 %", "0", "ok"]
    assert lines[4].endswith("3  silent: no answer within 2 s")
    assert "✗ FATAL" in lines[5] and lines[5].endswith("mcp-tcp-proxy: the port is taken")
    assert "○ ended" in lines[6]
    assert lines[8:] == [
        "sessions   12 done",
        "pace       0.0 events/s   0 tok/min",
        "disk       70 GiB free of 252 GiB (28 %)   logs 40 KiB",
    ]


def test_trouble_is_red_and_what_is_well_is_not() -> None:
    assert colors(QUIET, "silent: ") == colors(QUIET, "FATAL") == colors(QUIET, "the port is taken") == {"red"}
    assert ("ok", "green") in top_picture(QUIET, 120, None)[3]
    assert HEALTH_COLORS.keys() == set(HEALTHS)
    gone = replace(QUIET, heading="supervisord does not run", trouble=True, programs=[])
    assert colors(gone, "does not run") == {"red"}
    assert colors(replace(QUIET, room=Room(free=1, total=100, logs=0)), "free of") == {"red"}
    assert colors(replace(QUIET, room=Room(free=5, total=100, logs=0)), "free of") == {"yellow"}
    assert colors(QUIET, "free of") == {""}


def test_without_supervisord_the_rest_is_shown() -> None:
    gone = replace(QUIET, heading="supervisord does not run", trouble=True, programs=[], live=LIVE, room=None)
    lines = picture(gone)
    assert lines[0] == "hive suite   supervisord does not run"
    assert lines[2].startswith("sessions") and "9.1 k" in lines[-1]
    assert not any("PROGRAM" in line or "disk" in line for line in lines)


def test_an_empty_workspace_says_so() -> None:
    assert "sessions   none yet" in picture(replace(QUIET, counts={}))


def test_what_is_at_work_has_its_own_pace() -> None:
    lines = picture(replace(QUIET, live=LIVE, counts={"running": 1, "done": 2, "odd": 1}))
    assert "sessions   1 running   2 done   1 odd" in lines
    assert lines[-2].split() == ["ID", "STATUS", "AGE", "AGENTS", "TOKENS", "TOK/MIN", "TASK"]
    assert "9.1 k" in lines[-1]


@pytest.mark.parametrize("height", [23, 30, 39])
def test_a_screen_is_filled_and_what_does_not_fit_is_counted(height: int) -> None:
    lines = picture(replace(QUIET, live=LIVE * 50), height=height)
    assert len(lines) == height
    assert lines[-1] == f"and {50 - (height - 14)} more"


def test_paper_shows_all() -> None:
    assert len(picture(replace(QUIET, live=LIVE * 50))) == len(picture(QUIET)) + 52


def test_at_80_columns_nothing_is_left_out() -> None:
    titles = picture(replace(QUIET, programs=[replace(MCP, pid=65_535, up_s=86_399)]), width=80)[2]
    assert titles.split() == ["PROGRAM", "STATE", "PID", "UP", "RSS", "CPU", "RESTARTS", "HEALTH"]


@given(
    st.integers(30, 200),
    st.integers(8, 60),
    st.text(max_size=40),
    st.lists(st.sampled_from(STATES), max_size=30),
    st.sampled_from(["RUNNING", "STARTING", "BACKOFF", "STOPPING", "STOPPED", "EXITED", "FATAL", "odd \x1b"]),
)
def test_no_line_is_too_wide_and_nothing_of_anybodys_moves_the_cursor(
    width: int, height: int, text: str, sessions: list[int], state: str
) -> None:
    rows = [MCP, replace(SILENT, name=text, detail=text), replace(FATAL, state=state, detail=text, health=text)]
    live = [(session_row(the(each)), 1e7) for each in sessions]
    moment = replace(QUIET, heading=text, programs=rows, counts={text: 3, "running": 1}, live=live)
    for line in top_picture(moment, width, height):
        assert line == BLANK or plain(line).isprintable()
        assert columns(plain(line)) <= width
        assert {color for _, color in line} <= {*ANSI, ""}


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (31 * MIB, "31 MiB"),
        (1_300_000_000, "1.2 GiB"),
        (70 << 30, "70 GiB"),
        (1 << 60, "1048576 TiB"),
    ],
)
def test_sizes_are_short(number: int, text: str) -> None:
    assert size(number) == text


# -- pace --------------------------------------------------------------------------------------------------------------


def usage(ts: int, tokens: int, agent: str = "queen") -> dict[str, Any]:
    return {"type": "usage", "ts": ts, "agent": agent, "tokens": tokens}


def rates(pace: Pace, now_ms: int, began_ms: int = 0) -> tuple[float, float]:
    events, tokens = pace.rates(now_ms, began_ms)
    return round(events, 3), round(tokens, 3)


def test_tokens_are_cumulative_so_differences_count() -> None:
    pace = Pace(whole=True)
    for event in (usage(1_000_000, 100), usage(1_010_000, 400), usage(1_020_000, 400), usage(1_030_000, 100)):
        pace.take(event)
    assert rates(pace, 1_030_000) == (round(4 / 60, 3), 400)


def test_what_was_used_before_the_tail_is_not_new() -> None:
    pace = Pace(whole=False)
    pace.take(usage(1_000_000, 90_000))
    pace.take(usage(1_010_000, 90_500))
    pace.take({"type": "agent_spawned", "ts": 1_011_000, "agent": "a"})
    pace.take({"type": "agent_ended", "ts": 1_012_000, "agent": "a", "tokens": 250})
    assert rates(pace, 1_012_000)[1] == 750


def test_an_attempt_counts_from_nothing() -> None:
    pace = Pace(whole=False)
    pace.take(usage(1_000_000, 90_000))
    pace.take({"type": "session", "ts": 1_001_000, "status": "starting"})
    pace.take(usage(1_002_000, 300))
    assert rates(pace, 1_002_000)[1] == 300


def test_what_is_older_than_a_minute_is_forgotten() -> None:
    pace = Pace(whole=True)
    pace.take(usage(1_000_000, 100))
    assert rates(pace, 1_059_999)[1] == 100
    assert rates(pace, 1_060_000) == (0, 0)


def test_a_young_session_is_not_measured_by_a_minute_it_has_not_lived() -> None:
    pace = Pace(whole=True)
    pace.take(usage(1_009_000, 100))
    assert rates(pace, 1_010_000, began_ms=1_000_000)[1] == 600
    assert rates(pace, 1_010_000, began_ms=1_009_999)[1] == 1200  # by five seconds at least


# -- gauges ------------------------------------------------------------------------------------------------------------


def test_logs_within_logs_are_counted_once(tmp_path: Path) -> None:
    inner = tmp_path / "logs" / "mcp"
    inner.mkdir(parents=True)
    (inner / "a.log").write_bytes(bytes(10_000))
    (tmp_path / "logs" / "loop").symlink_to(tmp_path / "logs")
    logs = f"{tmp_path}/logs"
    assert _outermost([str(inner), logs, logs + "/"]) == [logs]
    assert _size(logs) >= 10_000 and _size(logs) < 30_000
    assert _size(f"{tmp_path}/missing") == 0
    room = Gauge(str(tmp_path), str(tmp_path), [logs]).room()
    assert room and room.logs == _size(logs) and 0 < room.free <= room.total
    assert Gauge(str(tmp_path), f"{tmp_path}/missing", [logs]).room() is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"programs": []}', '{"programs": {"a": 1}}'])
def test_a_state_that_cannot_be_read_is_said_and_no_more(tmp_path: Path, text: str) -> None:
    (tmp_path / "health.json").write_text(text)
    assert Gauge(str(tmp_path), str(tmp_path), [])._health()[0] == {}
    assert Gauge(str(tmp_path), str(tmp_path), [])._health()[1]


def test_a_listener_that_has_gone_quiet_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "health.json"
    path.write_text('{"programs": {"a": {"health": "ok"}}}')
    gauge = Gauge(str(tmp_path), str(tmp_path), [])
    written_s = path.stat().st_mtime
    monkeypatch.setattr(time, "time", lambda: written_s + 19.9)
    assert gauge._health() == ({"a": {"health": "ok"}}, "")
    monkeypatch.setattr(time, "time", lambda: written_s + 200.5)
    assert gauge._health() == ({}, "the program health has said nothing for 3 m 20 s")


def test_no_supervisord_is_no_error(tmp_path: Path) -> None:
    assert Gauge(str(tmp_path), str(tmp_path), []).programs() == (
        "supervisord does not run; to start it:  hive-suite start",
        True,
        [],
    )
