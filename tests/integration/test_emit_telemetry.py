"""Telemetry as a file that anybody may join: `emit` adds whole, valid events, `telemetry` shows them from any offset."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from hive_session.ondisk.events import MAX_EVENT_BYTES
from tests.integration.console import SCRIPT, Console, error_line
from tests.integration.hive import until


@pytest.fixture
def session_id(console: Console) -> str:
    return console.new("work")


def telemetry_file(console: Console, session_id: str) -> Path:
    return Path(console.paths(session_id).telemetry)


# --- emit ---


def test_an_event_is_appended_with_the_time_where_it_has_none(console: Console, session_id: str) -> None:
    before, began_ms = telemetry_file(console, session_id).read_bytes(), int(time.time() * 1000)
    for words in ('{"type":"note","text":"half way"}', '{"ts":5,"type":"note"}'):
        done = console.do("emit", session_id, words)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    raw = telemetry_file(console, session_id).read_bytes()
    assert raw.startswith(before)
    first, second = (json.loads(line) for line in raw[len(before) :].splitlines())
    assert first["text"] == "half way" and began_ms <= first["ts"] <= time.time() * 1000
    assert second == {"ts": 5, "type": "note"}


def test_what_an_event_holds_comes_back_as_it_was_given(console: Console, session_id: str) -> None:
    event = {
        "ts": 1,
        "type": "x",
        "unicode": "Ünï 🐝 \u2028",
        "big": 2**53 - 1,
        "float": 1.5,
        "deep": [[{"a": None}]],
        "": "",
    }
    console.answer("emit", session_id, json.dumps(event))
    assert console.events(session_id)[-1] == event


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('"text"', "not a JSON object"),
        ("{}", "type"),
        ('{"type":""}', "type"),
        ('{"type":7}', "type"),
        ('{"type":"x","ts":"now"}', "ts"),
        ('{"type":"x","ts":-1}', "ts"),
        ('{"type":"session","status":"completed","attempt":1}', "'session'"),
        ('{"type":"usage","agent":"a"}', "tokens"),
        ('{"type":"usage","agent":"a","tokens":-1}', "tokens"),
        ('{"type":"usage","agent":"","tokens":1}', "agent"),
        ('{"type":"agent_status","agent":"a","status":"sleeping"}', "status"),
        ('{"type":"x","a":NaN}', "not JSON"),
        ('{"type":"x","text":"' + "x" * MAX_EVENT_BYTES + '"}', "65536"),
        ('{"type":"x","deep":' + "[" * 40 + "]" * 40 + "}", "'deep'"),
    ],
)
def test_what_is_no_event_is_refused_and_nothing_is_written(
    console: Console, session_id: str, event: str, said: str
) -> None:
    before = console.snapshot()
    done = console.do("emit", session_id, event)
    assert (done.returncode, done.stdout) == (2, b"")
    assert said in error_line(done)
    assert console.snapshot() == before


def test_a_stream_of_events_comes_from_stdin(console: Console, session_id: str) -> None:
    lines = b'{"type":"a"}\n\n  {"type":"b"}  \r\n{"type":"c"}'
    assert console.do("emit", session_id, "-", stdin=lines).returncode == 0
    assert [event["type"] for event in console.events(session_id)[1:]] == ["a", "b", "c"]


def test_a_bad_line_of_a_stream_is_named_by_its_number(console: Console, session_id: str) -> None:
    done = console.do("emit", session_id, "-", stdin=b'{"type":"a"}\nnonsense\n{"type":"c"}\n')
    assert done.returncode == 2 and "line 2: " in error_line(done)
    assert [event["type"] for event in console.events(session_id)[1:]] == ["a"]


def test_a_stream_is_passed_on_line_by_line(console: Console, session_id: str) -> None:
    call = subprocess.Popen([SCRIPT, "emit", session_id, "-"], stdin=subprocess.PIPE, env=console.env)
    assert call.stdin
    for number in range(3):
        call.stdin.write(b'{"type":"n%d"}\n' % number)
        call.stdin.flush()
        until(lambda n=number: console.events(session_id, f"n{n}"), "the event")  # type: ignore[misc]
    call.stdin.close()
    assert call.wait(30) == 0


def test_lines_of_many_writers_never_mix(console: Console, session_id: str) -> None:
    text = "x" * 20_000
    calls = []
    for writer in range(4):
        lines = [json.dumps({"type": "w", "writer": writer, "n": n, "text": text}) for n in range(100)]
        source = console.root / f"lines{writer}"  # through pipes they would be fed, and so write, one after the other
        source.write_text("\n".join(lines), encoding="utf-8")
        with source.open("rb") as file:
            calls.append(subprocess.Popen([SCRIPT, "emit", session_id, "-"], stdin=file, env=console.env))
    assert [call.wait(40) for call in calls] == [0] * 4
    events = console.events(session_id, "w")
    assert len(events) == 400 and all(event["text"] == text for event in events)
    for writer in range(4):
        assert [event["n"] for event in events if event["writer"] == writer] == list(range(100))


# --- telemetry ---


def test_telemetry_prints_the_bytes_of_the_file(console: Console, session_id: str) -> None:
    console.answer("emit", session_id, '{"type":"note"}')
    assert console.answer("telemetry", session_id) == telemetry_file(console, session_id).read_bytes()


def test_a_byte_offset_is_a_cursor(console: Console, session_id: str) -> None:
    seen = console.answer("telemetry", session_id)
    console.answer("emit", session_id, '{"ts":1,"type":"first"}')
    more = console.answer("telemetry", session_id, "--from", str(len(seen)))
    assert more == b'{"ts":1,"type":"first"}\n'
    end = str(len(seen) + len(more))
    assert console.answer("telemetry", session_id, "--from", end) == b""
    assert console.answer("telemetry", session_id, "--from", "999999") == b""


def test_a_line_that_is_still_being_written_is_left_for_later(console: Console, session_id: str) -> None:
    whole = console.answer("telemetry", session_id)
    with telemetry_file(console, session_id).open("ab") as file:
        file.write(b'{"ts":1,"type":"half')
    assert console.answer("telemetry", session_id) == whole


def test_telemetry_of_any_size_is_printed_whole(console: Console, session_id: str) -> None:
    line = b'{"ts":1,"type":"note","text":"' + b"x" * 60_000 + b'"}\n'
    with telemetry_file(console, session_id).open("ab") as file:
        file.write(line * 60)
        file.write(b'{"ts":1,"type":"long","text":"' + b"x" * (2 << 20) + b'"}\n' + line)
    assert console.answer("telemetry", session_id) == telemetry_file(console, session_id).read_bytes()


def test_following_shows_events_as_they_come_and_ends_with_the_session(console: Console) -> None:
    gate = console.root / "gate"
    os.mkfifo(gate)
    session_id = console.launch(console.shell(f"read line < {gate}"))
    call = console.begin("telemetry", "-f", session_id)
    assert call.stdout
    console.answer("emit", session_id, '{"ts":1,"type":"note","n":1}')
    line = b""
    while b'"note"' not in line:
        line = call.stdout.readline()
        assert line.endswith(b"\n")
    assert call.poll() is None
    gate.write_text("go\n", encoding="utf-8")
    rest, _ = call.communicate(timeout=30)
    assert call.returncode == 0
    assert b'"completed"' in rest.splitlines()[-1]


def test_each_change_of_status_is_an_event_once(console: Console) -> None:
    session_id = console.move(console.new("work"), "starting", "starting", "running", "completed", "completed")
    told = [(event["status"], event["attempt"]) for event in console.events(session_id, "session")]
    assert told == [("created", 1), ("starting", 1), ("running", 1), ("completed", 1)]


def test_the_rehearsal_s_agents_tokens_and_cost_are_there(console: Console) -> None:
    session_id = console.new("--agent", "rehearsal", "work")
    assert console.do("start", session_id, "--seconds", "0", "--workers", "3").returncode == 0
    spawned = console.events(session_id, "agent_spawned")
    assert {event["role"] for event in spawned} >= {"queen", "worker"}
    result = console.events(session_id, "result")[-1]
    record = console.record(session_id)
    assert record["usage"]["tokens"] == result["tokens"] > 0
    assert record["usage"]["cost_usd"] == result["cost_usd"] > 0
    assert record["usage"]["agents"] == len({event["agent"] for event in spawned})
    assert [event["status"] for event in console.events(session_id, "session")] == [
        "created",
        "starting",
        "running",
        "completed",
    ]
