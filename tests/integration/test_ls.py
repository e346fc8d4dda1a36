"""`ls` for people and programs: columns, words, filters; and the beginnings of ids that people type."""

import io
import json
import os
import pty
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hive_session.ondisk.records import format_time
from hive_session.words import columns
from tests.integration.console import SCRIPT, Console

TITLES = "ID STATUS AGE AGENTS TOKENS COST TASK".split()
DAY_S = 86_400


def amend(console: Console, session_id: str, **fields: object) -> str:
    """The same id, with these fields of its session.json changed behind hive-session's back."""
    path = Path(console.paths(session_id).record)
    path.write_text(json.dumps(json.loads(path.read_bytes()) | fields), encoding="utf-8")
    return session_id


def table(console: Console, *words: str, width: int = 80) -> list[list[str]]:
    """The cells of `ls`, cut where the titles begin or end."""
    lines = console.answer("ls", *words, env={"COLUMNS": str(width)}).decode().splitlines()
    assert lines[0].split() == TITLES
    return [re.split(r"  +", line.strip()) for line in lines[1:]]


def objects(console: Console, *words: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in console.answer("ls", "--json", *words).splitlines()]


def test_an_empty_workspace_has_titles_and_no_rows(console: Console) -> None:
    assert table(console) == []
    assert console.answer("ls", "--json") == b""
    assert os.listdir(console.layout.workspace) == []


def test_each_status_has_its_word_and_each_row_its_figures(console: Console) -> None:
    waiting, starting, running, done, exited, killed, lost = console.seed(7)
    amend(console, waiting, created=format_time(time.time() - 3 * 60 - 12))
    console.move(starting, "starting")
    console.move(running, "starting", "running")
    usage = {"agents": 14, "tokens": 12_400, "cost_usd": 0.21}
    amend(console, done, status="completed", usage=usage, created=format_time(time.time() - 2 * 3600 - 300))
    amend(console, exited, status="failed", reason="exit", exit_code=7, usage={"agents": 1, "tokens": 950})
    amend(console, killed, status="failed", reason="signal", exit_code=137, signal=9)
    amend(console, lost, status="failed", reason="lost", created="2025-10-05T19:45:00+00:00")
    console.answer("reindex")
    rows = {row[0]: row[1:] for row in table(console)}
    assert rows.keys() == {each[:8] for each in (waiting, starting, running, done, exited, killed, lost)}
    assert {key: row[0] for key, row in rows.items()} == {
        waiting[:8]: "waiting",
        starting[:8]: "starting",
        running[:8]: "running",
        done[:8]: "done",
        exited[:8]: "failed: exit 7",
        killed[:8]: "failed: signal 9",
        lost[:8]: "failed: lost",
    }
    assert re.fullmatch(r"3 m \d\d s", rows[waiting[:8]][1])
    assert rows[done[:8]][1:] == ["2 h 5 m", "14", "12.4 k", "$0.21", "work"]
    assert rows[exited[:8]][2:] == ["1", "950", "-", "work"]
    assert rows[lost[:8]][1] == "2025-10-05"


def test_a_live_session_shows_what_its_telemetry_adds_up_to(console: Console) -> None:
    session_id = console.launch(console.shell("exec sleep 60"))
    for event in (
        {"type": "agent_spawned", "agent": "queen", "role": "queen", "kind": "claude", "task": ""},
        {"type": "agent_spawned", "agent": "a", "parent": "queen", "role": "worker", "kind": "coder", "task": ""},
        {"type": "usage", "agent": "a", "tokens": 1500},
    ):
        console.answer("emit", session_id, json.dumps(event))
    (row,) = objects(console)
    assert (row["state"], row["agents"], row["tokens"], row["cost_usd"]) == ("running", 2, 1500, None)


TASKS = {
    "long": "word " * 100,
    "wide": "日本語" * 40,
    "emoji": "🐝" * 60,
    "accents": "e\u0301" * 200,
    "controls": "a\x1b[31mred\n\r\t\x07b",
    "short": "Build the importer",
    "empty looking": "\u200b\u2028 x",
}


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_line_is_wider_than_the_terminal_and_columns_align(console: Console, width: int) -> None:
    for task in TASKS.values():
        console.seed(1, task)
    amend(
        console, console.seed(1)[0], status="failed", reason="spawn_error", usage={"agents": 1000, "tokens": 9 * 10**9}
    )
    console.answer("reindex")
    lines = console.answer("ls", env={"COLUMNS": str(width)}).decode().splitlines()
    assert len(lines) == len(TASKS) + 2
    assert all(columns(line) <= width for line in lines)
    assert all(line == line.rstrip() and line.isprintable() for line in lines)
    at = lines[0].index("TASK")
    assert all(line[at - 1] == " " and line[at] != " " for line in lines[1:])
    right = [lines[0].index(name) + len(name) for name in ("AGENTS", "TOKENS", "COST")]
    assert all(line[end - 1] != " " and line[end] == " " for line in lines for end in right)
    cut = [line for line in lines[1:] if line.endswith("…")]
    assert len(cut) >= 3 and all(width - columns(line) <= 1 for line in cut if "word" not in line)


def test_there_is_no_colour_unless_a_terminal_reads(console: Console) -> None:
    amend(console, console.seed(1)[0], status="failed", reason="lost")
    console.answer("reindex")
    assert b"\x1b" not in console.answer("ls")
    for extra, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        control, terminal = pty.openpty()
        subprocess.run(
            [SCRIPT, "ls"], stdout=terminal, stderr=subprocess.PIPE, env={**console.env, **extra}, timeout=30
        )
        os.close(terminal)
        with open(control, "rb", buffering=0) as file:
            seen = b"".join(pieces(file))
        assert (b"\x1b[31mfailed: lost" in seen) == coloured
        assert b"failed: lost" in seen


def pieces(terminal: io.FileIO) -> Iterator[bytes]:
    """All that was written to a terminal whose other end is closed: it comes piece by piece, and ends with an error."""
    with suppress(OSError):
        while piece := terminal.read(4096):
            yield piece


def test_a_status_of_the_original_that_no_table_knows_is_shown_harmlessly(console: Console) -> None:
    amend(console, console.seed(1)[0], status="\x1b[31mbanana\n" + "x" * 100)
    console.answer("reindex")
    ((_, state, *_rest),) = table(console)
    assert state.startswith("[31mbanana x") and 20 < len(state) <= 24


# --- filters ---


@pytest.mark.timeout(180)
def test_filters_by_status_label_and_age(console: Console) -> None:
    blue = console.new("--label", "team=blue", "--label", "kind=a=b", "one")
    red = console.move(console.new("--label", "team=red", "two"), "starting", "failed")
    plain = amend(console, console.new("three"), created=format_time(time.time() - 2 * DAY_S))
    console.answer("reindex")

    def found(*words: str) -> set[object]:
        return {each["session_id"] for each in objects(console, *words)}

    assert found() == {blue, red, plain}
    assert found("--status", "created") == {blue, plain}
    assert found("--status", "created", "--status", "failed") == {blue, red, plain}
    assert found("--status", "running") == set()
    assert found("--label", "team=blue") == {blue}
    assert found("--label", "team=blue", "--label", "kind=a=b") == {blue}
    assert found("--label", "team=blue", "--label", "team=red") == {red}  # the same label twice: the last counts
    assert found("--label", "team=") == set()
    assert found("--newer", "24h") == {blue, red}
    assert found("--older", "1d") == {plain}
    assert found("--older", "30m", "--newer", "1w") == {plain}
    assert found("--status", "created", "--newer", "1d") == {blue}


def test_the_newest_come_first(console: Console) -> None:
    same_second = console.seed(3)
    for session_id in same_second:
        amend(console, session_id, created="2026-01-02T00:00:00+00:00")
    old = amend(console, console.seed(1)[0], created="2026-01-01T00:00:00+00:00")
    east = amend(console, console.seed(1)[0], created="2026-01-02T05:00:00+09:00")  # 20:00 on the first
    console.answer("reindex")
    order = [each["session_id"] for each in objects(console)]
    assert set(order[:3]) == set(same_second) and order[3:] == [east, old]


def test_sessions_of_one_second_come_in_the_order_of_their_birth(console: Console) -> None:
    ids = console.seed(5)
    assert [each["session_id"] for each in objects(console)] == ids[::-1]


def test_json_gives_one_object_a_line_with_the_whole_task(console: Console) -> None:
    task = "long " * 200 + "\nsecond line"
    session_id = console.new("--label", "a=b", "--agent", "rehearsal", "--", task, "low")
    (row,) = objects(console)
    assert row["task"] == task and row["labels"] == {"a": "b"}
    assert (row["session_id"], row["agent"], row["priority"]) == (session_id, "rehearsal", "low")
    assert row.keys() >= {
        "status",
        "state",
        "reason",
        "exit_code",
        "created",
        "started",
        "ended",
        "age_seconds",
        "attempt",
    }
    assert row.keys() >= {"agents", "tokens", "cost_usd", "output_dir"}


# --- beginnings of ids ---


@pytest.mark.parametrize("command", ["status", "get", "output-dir", "log", "logs", "telemetry"])
def test_a_unique_beginning_of_an_id_is_enough(console: Console, command: str) -> None:
    session_id = console.new("work")
    whole = console.do(command, session_id)
    for beginning in (session_id[:1], session_id[:8], session_id[:-1], session_id[:8].upper(), session_id.upper()):
        done = console.do(command, beginning)
        assert (done.returncode, done.stdout) == (0, whole.stdout)


def test_a_beginning_is_enough_for_what_changes_a_session_too(console: Console) -> None:
    session_id = console.new("work")
    assert console.do("update-status", session_id[:6], "starting").returncode == 0
    assert console.do("emit", session_id[:6], '{"type":"note"}').returncode == 0
    assert console.do("stop", session_id[:6]).stdout == b"stopped\n"
    assert console.on_disk(session_id)["status"] == "failed"


def test_nothing_but_the_beginning_of_an_id_is_taken_for_one(console: Console) -> None:
    session_id = console.new("work")
    for text in (session_id[1:8], session_id + "0", session_id[:8] + "*", "." + session_id[:3]):
        assert console.do("status", text).returncode == 1
