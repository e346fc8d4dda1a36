"""A program's log as JSON: one event a line, whoever is quoted in it, and no secret."""

import json
import logging
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk import serving
from hive_session.ondisk.journal import HIDDEN, MAX_CHARS, entry, secrets_in, timestamp, wants_json

SECRET = "s3cr3t-of-the-suite"


def told(message: str, **fields: Any) -> dict[str, Any]:
    """The one line that this message makes, read again."""
    line = entry("ws-relay", message, **{"now_s": 1_795_345_867.4129, "pid": 7, **fields})
    assert line.endswith("\n") and line.count("\n") == 1
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_line_says_when_how_bad_who_and_what() -> None:
    assert told("listening on 127.0.0.1:3002") == {
        "time": "2026-11-22T11:11:07.412+00:00",
        "level": "info",
        "program": "ws-relay",
        "pid": 7,
        "message": "listening on 127.0.0.1:3002",
    }


def test_a_line_begins_with_its_time_where_every_reader_finds_it() -> None:
    assert entry("x", "y", now_s=0.0, pid=1).startswith('{"time":"1970-01-01T00:00:00.000+00:00",')


@pytest.mark.parametrize("now_s", [0.0, 0.9999, 1_795_345_867.0005, 4_102_444_800.999])
def test_a_time_is_that_of_the_clock_to_the_millisecond(now_s: float) -> None:
    assert 0 <= now_s - datetime.fromisoformat(timestamp(now_s)).timestamp() < 0.00101


@pytest.mark.parametrize(
    ("level", "shown"), [("INFO", "info"), ("WARNING", "warning"), ("CRITICAL", "error"), ("WARN", "warning")]
)
def test_levels_are_those_of_logging_in_four_words(level: str, shown: str) -> None:
    assert told("x", level=level)["level"] == shown


@given(st.text())
def test_whatever_is_said_is_one_line_of_printable_characters(text: str) -> None:
    line = entry("p", text, now_s=0.0, pid=1, exception=text)
    found = json.loads(line)
    assert line[:-1].isprintable() and line[-1] == "\n" and line.encode()
    assert found["message"].isprintable() and all(part.isprintable() for part in found["exception"].split("\n"))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("one\ntwo", "one\\ntwo"),
        ("\x1b[2J\r{}", "\\x1b[2J\\r{}"),
        ("\u202eevil\u2028\x85", "\\u202eevil\\u2028\\x85"),
        ("half \ud800", "half \\ud800"),
        ('"},{"level":"error"', '"},{"level":"error"'),
        ("日本 é", "日本 é"),
    ],
)
def test_what_could_forge_a_line_is_written_out(said: str, shown: str) -> None:
    assert told(said)["message"] == shown


@pytest.mark.parametrize(
    "said",
    [
        f"GET /?token={SECRET}&x=1",
        f"GET /?TOKEN={SECRET}",
        f"authorization: Bearer {SECRET}",
        f"the word {SECRET} itself",
        f"twice {SECRET}{SECRET}",
    ],
)
def test_no_secret_is_told(said: str) -> None:
    found = told(said, exception=f"Error: {said}", secrets=(SECRET,))
    assert SECRET not in str(found) and HIDDEN in found["message"] and HIDDEN in found["exception"]


def test_a_token_that_is_not_ours_is_not_told_either() -> None:
    assert told("GET /?token=somebody%27s&x=1")["message"] == f"GET /?token={HIDDEN}&x=1"


def test_the_secrets_are_those_of_the_environment() -> None:
    assert secrets_in({"TCP_AUTH_TOKEN": "a", "WS_AUTH_TOKEN": "", "HOME": "/"}) == ("a",)


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    message = told("a" * MAX_CHARS * 2 + "the end")["message"]
    assert len(message) == MAX_CHARS and message.startswith("aaa") and message.endswith("the end")
    assert told("b" * MAX_CHARS)["message"] == "b" * MAX_CHARS


@pytest.mark.parametrize(("value", "wanted"), [("json", True), ("text", False), ("", False), (None, False)])
def test_json_is_only_what_was_asked_for(value: str | None, wanted: bool) -> None:
    assert wants_json({} if value is None else {"HIVE_LOG_FORMAT": value}) is wanted


# -- what servers log with ---------------------------------------------------------------------------------------------


def test_an_exception_is_one_line_with_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCP_AUTH_TOKEN", SECRET)
    lines = serving._JsonLines("mcp-tcp")
    try:
        raise ValueError(f"a\nb {SECRET}")
    except ValueError as exc:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "from %s", ("\x00me",), (ValueError, exc, None))
    line = lines.format(record)
    found = json.loads(line)
    assert line.count("\n") == 1 and (found["level"], found["message"]) == ("error", "from \\x00me")
    assert found["exception"].split("\n") == ["ValueError: a", f"b {HIDDEN}"]


@pytest.mark.parametrize("level", ["info", "error"])
def test_what_a_server_says_at_its_start_is_text_or_json(
    level: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serving.say("mcp-tcp", "listening on 127.0.0.1:9500", level)
    assert capsys.readouterr().err == "mcp-tcp: listening on 127.0.0.1:9500\n"
    monkeypatch.setenv("HIVE_LOG_FORMAT", "json")
    serving.say("mcp-tcp", "listening on 127.0.0.1:9500", level)
    out, err = capsys.readouterr()
    assert (out == "") == (level == "error") and (err == "") == (level == "info")
    found = json.loads(out or err)
    assert (found["level"], found["program"], found["message"]) == (level, "mcp-tcp", "listening on 127.0.0.1:9500")
