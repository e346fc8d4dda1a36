"""session.json: any bytes give a record or BadRecord and nothing else, and what is unknown is kept."""

import dataclasses
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hive_session.ondisk import events, records
from hive_session.ondisk.records import (
    PRIORITIES,
    REASONS,
    STATUSES,
    TERMINAL,
    BadRecord,
    ResourceUsage,
    SessionRecord,
    Usage,
    decode_session,
    encode_session,
    end_time,
    format_time,
    parse_time,
)

ID = "550e8400-e29b-41d4-a716-446655440000"
LEAST = {
    "status": "created",
    "session_id": ID,
    "task": "Build the importer",
    "created": "2026-11-22T09:31:07+00:00",
    "working_dir": "/w",
    "output_dir": "/o",
    "database": "/d",
    "log_file": "/l",
}
ALWAYS = ("schema", "priority", "updated", "metadata", "agent", "attempt")  # written though they say nothing
FIELDS = [field.name for field in dataclasses.fields(SessionRecord) if field.name != "extra"]

texts = st.text(st.characters(codec="utf-8"), max_size=12)
wholes = st.integers(-(2**63), 2**64 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | wholes | floats | texts
plain_json = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
moments = st.datetimes(datetime(1971, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC)).map(datetime.isoformat)


def record(**fields: Any) -> SessionRecord:
    return SessionRecord(**{**LEAST, **fields})


def document(**fields: Any) -> bytes:
    return orjson.dumps({**LEAST, **fields})


def refusal(raw: bytes) -> str:
    with pytest.raises(BadRecord) as caught:
        decode_session(raw, "/w/session.json")
    assert str(caught.value) == f"/w/session.json: {caught.value.what}"
    return caught.value.what


any_record = st.builds(
    SessionRecord,
    status=st.sampled_from(STATUSES) | texts,
    session_id=st.uuids().map(str),
    task=texts,
    priority=st.sampled_from(PRIORITIES) | texts,
    created=moments | texts,
    updated=moments | texts,
    working_dir=texts,
    output_dir=texts,
    database=texts,
    log_file=texts,
    metadata=plain_json,
    agent=texts,
    args=st.lists(texts, max_size=3).map(tuple),
    labels=st.dictionaries(texts, texts, max_size=2),
    env=st.lists(texts, max_size=2).map(tuple),
    timeout_s=st.none() | floats,
    request_sha256=st.none() | texts,
    runs_claude=st.booleans(),
    restart=st.none() | texts,
    restarts=st.none() | st.integers(0, 5),
    external=st.booleans(),
    attempt=st.integers(0, 2**53),
    started=st.none() | moments,
    ended=st.none() | moments,
    reason=st.none() | st.sampled_from(REASONS),
    exit_code=st.none() | st.integers(0, 255),
    signal=st.none() | st.integers(1, 64),
    detail=st.none() | texts,
    pid=st.none() | st.integers(1, 2**22),
    boot=st.none() | texts,
    conversation=st.none() | texts,
    usage=st.none()
    | st.builds(Usage, agents=st.integers(0, 2**53), tokens=st.integers(0, 2**53), cost_usd=st.none() | floats),
    rusage=st.none() | st.builds(ResourceUsage, cpu_user_ms=st.integers(0, 2**53), read_bytes=st.integers(0, 2**63)),
    extra=st.dictionaries(texts.filter(lambda name: name not in FIELDS), plain_json, max_size=2),
)


@given(st.binary(max_size=80))
def test_any_bytes_give_a_record_or_bad_record_and_nothing_else(raw: bytes) -> None:
    try:
        assert isinstance(decode_session(raw, "p"), SessionRecord)
    except BadRecord as exc:
        assert exc.what


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(FIELDS) | texts, plain_json, max_size=6))
@example({"usage": {"agents": True}})
@example({"schema": True})
def test_any_values_give_a_record_that_can_be_written_or_bad_record(fields: dict[str, Any]) -> None:
    try:
        found = decode_session(document(**fields), "p")
    except BadRecord:
        return
    assert decode_session(encode_session(found), "p") == found


@settings(max_examples=60)
@given(any_record)
@example(record(timeout_s=0.0))
@example(record(exit_code=0, attempt=0))
@example(record(metadata={}, extra={"extra": 1}))
@example(record(metadata=False))
def test_a_record_survives_its_file_whole(original: SessionRecord) -> None:
    assert decode_session(encode_session(original), "p") == original


@given(st.binary(max_size=6), st.data())
def test_a_file_with_a_hole_is_bad_or_still_a_record(hole: bytes, data: st.DataObject) -> None:
    raw = encode_session(record(metadata={"a": [1]}, usage=Usage(), labels={"a": "b"}))
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, min(len(raw), start + 40)))
    try:
        decode_session(raw[:start] + hole + raw[end:], "p")
    except BadRecord as exc:
        assert exc.path == "p"


@pytest.mark.parametrize("name", LEAST)
def test_a_field_that_every_record_has_must_be_there_and_be_text(name: str) -> None:
    without = {key: value for key, value in LEAST.items() if key != name}
    assert refusal(orjson.dumps(without)) == f"{name} is missing"
    assert refusal(document(**{name: None})) == f"{name} is not text"
    assert refusal(document(**{name: 5})) == f"{name} is not text"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"schema": 2}, "schema 2 is newer than this program reads (1); upgrade it"),
        ({"schema": 0}, "schema is not a whole number from 1"),
        ({"schema": "1"}, "schema is not a whole number from 1"),
        ({"schema": True}, "schema is not a whole number from 1"),
        ({"session_id": ID.upper()}, "session_id is not a lower-case UUID"),
        ({"updated": 1}, "updated is not text"),
        ({"request_sha256": ["a"]}, "request_sha256 is not text"),
        ({"exit_code": "7"}, "exit_code is not a whole number"),
        ({"exit_code": True}, "exit_code is not a whole number"),
        ({"pid": 1.0}, "pid is not a whole number"),
        ({"timeout_s": "90"}, "timeout_s is not a number"),
        ({"timeout_s": True}, "timeout_s is not a number"),
        ({"external": 1}, "external is not true or false"),
        ({"args": "--verbose"}, "args is not a list of texts"),
        ({"args": [1]}, "args is not a list of texts"),
        ({"labels": ["a"]}, "labels is not an object of texts"),
        ({"labels": {"a": 1}}, "labels is not an object of texts"),
        ({"usage": [1]}, "usage is not an object"),
        ({"usage": {"tokens": "many"}}, "usage holds something that is not a number"),
        ({"rusage": {"read_bytes": True}}, "resourceusage holds something that is not a number"),
    ],
)
def test_a_bad_record_is_named_in_its_words(fields: dict[str, Any], words: str) -> None:
    assert refusal(document(**fields)) == words


def test_what_is_not_an_object_is_no_record() -> None:
    assert refusal(b"[1]") == "not a JSON object"
    assert refusal(b"{").startswith("not JSON (")


def test_a_file_beyond_all_measure_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = document()
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", len(raw))
    assert decode_session(raw, "p").task == "Build the importer"
    assert refusal(raw + b" ") == f"{len(raw) + 1} bytes; a record has at most {len(raw)}"


@pytest.mark.parametrize("name", ["metadata", "later"])
def test_what_is_nested_deeper_than_it_could_be_written_is_refused(name: str) -> None:
    def nested(levels: int) -> bytes:
        return document(**{name: 0}).replace(b":0", b":" + b"[" * levels + b"]" * levels)

    deepest = decode_session(nested(250), "p")
    assert decode_session(encode_session(deepest), "p") == deepest
    assert refusal(nested(500)).startswith("nested too deeply")


def test_null_counts_as_absent() -> None:
    nulls = {name: None for name in FIELDS if name not in (*LEAST, "schema")}
    assert decode_session(document(**nulls), "p") == decode_session(document(), "p") == record()


def test_our_files_begin_with_status_and_schema_and_end_with_a_line_end() -> None:
    raw = encode_session(record())
    assert raw.startswith(b'{\n  "status": "created",\n  "schema": 1,\n') and raw.endswith(b"\n}\n")
    assert b'"metadata": null' in raw  # the original's readers look for it
    assert list(orjson.loads(raw)) == [name for name in FIELDS if name in orjson.loads(raw)]


def test_what_says_nothing_is_not_written() -> None:
    assert set(orjson.loads(encode_session(record()))) == {*LEAST, *ALWAYS}


def test_figures_of_a_later_version_are_dropped_and_keys_beside_them_are_kept() -> None:
    found = decode_session(document(usage={"tokens": 5, "cache": 1}, later={"a": 1}), "p")
    assert found.usage == Usage(tokens=5)
    assert found.extra == {"later": {"a": 1}}


@pytest.mark.parametrize("status", STATUSES)
def test_completed_and_failed_are_the_ends(status: str) -> None:
    assert record(status=status).terminal == (status in ("completed", "failed")) == (status in TERMINAL)


def test_a_change_leaves_the_record_it_was_made_from() -> None:
    before = record()
    after = replace(before, status="failed", reason="lost")
    assert (before.status, after.status, after.reason) == ("created", "failed", "lost")
    assert replace(after, status="created", reason=None) == before


def test_records_and_events_know_the_same_statuses() -> None:
    assert STATUSES == events.SESSION_STATUSES
    assert set(TERMINAL) == events.ENDED_SESSION_STATUSES


# -- times -------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 253402300799), st.booleans())
def test_a_time_survives_its_text(epoch_s: int, millis: bool) -> None:
    assert parse_time(format_time(epoch_s, millis=millis)) == epoch_s


@given(st.integers(0, 4_000_000_000_000))
def test_milliseconds_survive_where_they_are_asked_for(epoch_ms: int) -> None:
    found = parse_time(format_time(epoch_ms / 1000, millis=True))
    assert found is not None and abs(found * 1000 - epoch_ms) <= 1


def test_times_are_utc_with_a_numeric_offset() -> None:
    assert format_time(1795345867.9) == "2026-11-22T11:11:07+00:00"
    assert format_time(1795345867.25, millis=True) == "2026-11-22T11:11:07.250+00:00"


@pytest.mark.parametrize(
    "text",
    ["2026-11-22T11:11:07+00:00", "2026-11-22T11:11:07Z", "2026-11-22T12:11:07+01:00", "2026-11-22 11:11:07.000"],
)
def test_every_way_to_write_a_moment_is_that_moment(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert parse_time(text) == 1795345867.0
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.text(max_size=30))
@example("0001-01-01T00:00:00+23:59")
@example("9999-12-31T23:59:59-23:59")
@example("\ud800")
@example("2026-11-22T11:11:07+99:99")
def test_any_text_is_a_time_or_none(text: str) -> None:
    assert parse_time(text) is None or isinstance(parse_time(text), float)


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ({"ended": "2026-01-04T00:00:00+00:00", "updated": "2026-01-03T00:00:00+00:00"}, "2026-01-04"),
        ({"updated": "2026-01-03T00:00:00+00:00"}, "2026-01-03"),
        ({}, "2026-01-02"),
        ({"ended": "yesterday", "updated": ""}, "2026-01-02"),
        ({"created": "yesterday"}, None),
    ],
)
def test_the_end_is_ended_else_updated_else_created(fields: dict[str, Any], end: str | None) -> None:
    found = end_time(record(**{"created": "2026-01-02T00:00:00+00:00", **fields}))
    assert found == (end and parse_time(end))
