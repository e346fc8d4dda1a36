"""Every version reads the golden files of the versions before it: the expected record, rows or events, or the documented error."""

import dataclasses
from pathlib import Path
from typing import Any

import orjson
import pytest

from hive_session.ondisk.events import BadEvent, decode_event, encode_event
from hive_session.ondisk.follow import Lines
from hive_session.ondisk.index import decode_index, encode_index, splice_row
from hive_session.ondisk.log import decode_base
from hive_session.ondisk.records import BadRecord, decode_session, encode_session, end_time, parse_time
from hive_session.ondisk.witnesses import read_exit

GOLDEN = Path(__file__).parent / "golden" / "v1"
KINDS = {"session", "index", "telemetry", "exit", "log.base"}
FEWEST = 135  # golden files are only ever added


def expected(path: Path) -> Any:
    return orjson.loads(path.with_name(f"{path.stem}.expected.json").read_bytes())


def golden(kind: str) -> list[Path]:
    return sorted(path for path in (GOLDEN / kind).iterdir() if ".expected." not in path.name)


def readable(kind: str) -> list[Path]:
    return [path for path in golden(kind) if "error" not in expected(path)]


def each(paths: list[Path]) -> pytest.MarkDecorator:
    assert paths
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def as_json(value: Any) -> Any:
    return orjson.loads(orjson.dumps(value))


def test_no_golden_file_was_removed_and_none_is_without_its_expectation() -> None:
    files = [path for path in GOLDEN.glob("*/*") if ".expected." not in path.name]
    assert len(files) >= FEWEST
    assert {path.parent.name for path in files} == KINDS
    lonely = [path.name for path in files if not list(path.parent.glob(f"{path.stem}.expected.json*"))]
    assert not lonely


@each(golden("session"))
def test_a_session_file_gives_its_record_or_its_error(path: Path) -> None:
    wanted = expected(path)
    if "error" in wanted:
        with pytest.raises(BadRecord) as caught:
            decode_session(path.read_bytes(), str(path))
        assert wanted["error"] in caught.value.what
        assert caught.value.path == str(path) and str(path) in str(caught.value)
    else:
        fields = as_json(dataclasses.asdict(decode_session(path.read_bytes(), str(path))))
        assert {name: fields[name] for name in wanted["record"]} == wanted["record"]


@each(readable("session"))
def test_a_writer_keeps_all_that_a_session_file_says(path: Path) -> None:
    raw = path.read_bytes()
    record = decode_session(raw, str(path))
    written = encode_session(record)
    assert decode_session(written, "again") == record
    assert written.startswith(b'{\n  "status": "')  # what a poller reads of it
    before, after = orjson.loads(raw), orjson.loads(written)
    # Figures can be measured again, so what a later version says in them may go.
    kept = {
        key: value for key, value in before.items() if value not in (None, False) and key not in ("usage", "rusage")
    }
    assert {key: after.get(key) for key in kept} == kept
    assert end_time(record) is not None


@each(golden("index"))
def test_an_index_gives_its_rows_or_its_error(path: Path) -> None:
    wanted = expected(path)
    if "error" in wanted:
        with pytest.raises(BadRecord) as caught:
            decode_index(path.read_bytes(), str(path))
        assert wanted["error"] in caught.value.what
    else:
        created, rows = decode_index(path.read_bytes(), str(path))
        assert (created, rows) == (wanted["created"], wanted["rows"])
        assert list(rows) == list(wanted["rows"])
        assert all(parse_time(row["updated"]) is not None for row in rows.values())


NEW = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


@each(readable("index"))
def test_an_index_in_any_layout_is_spliced_right_or_not_at_all(path: Path) -> None:
    raw = path.read_bytes()
    created, rows = decode_index(raw, str(path))
    fresh = {"task": "x", "status": "failed", "created": created, "updated": "2026", "dir": "/d"}
    for session_id in [*rows, NEW]:
        for row in (fresh, None):
            wanted = {key: value for key, value in {**rows, session_id: row}.items() if value is not None}
            found = splice_row(raw, session_id, row)  # type: ignore[arg-type]  # a literal of Row's keys
            if found is None:
                assert not path.stem.startswith("v1"), "our own form was not spliced"
            else:
                assert decode_index(found, "spliced") == (created, wanted)
                assert list(decode_index(found, "spliced")[1]) == list(wanted)


@each([path for path in golden("index") if path.stem.startswith("v1")])
def test_our_own_index_is_written_as_it_was(path: Path) -> None:
    raw = path.read_bytes()
    assert encode_index(*decode_index(raw, str(path))) == raw


@each(golden("telemetry"))
def test_each_whole_line_gives_its_event_or_is_refused_in_its_words(path: Path) -> None:
    wanted = [orjson.loads(line) for line in Lines(str(path.with_name(f"{path.stem}.expected.jsonl"))).read()]
    lines = Lines(str(path)).read()
    assert len(lines) == len(wanted)
    for line, event in zip(lines, wanted, strict=True):
        if "refused" in event:
            with pytest.raises(BadEvent) as caught:
                decode_event(line)
            assert event["refused"] in str(caught.value)
        else:
            assert decode_event(line) == event
            assert decode_event(encode_event(event)) == event


@each(golden("exit"))
def test_an_exit_file_tells_how_attempt_one_ended_or_nothing(path: Path) -> None:
    found = read_exit(str(path), attempt=1)
    assert (None if found is None else as_json(found)) == expected(path)


@each(golden("log.base"))
def test_a_log_base_gives_its_parts_or_that_of_a_log_never_rotated(path: Path) -> None:
    base = decode_base(path.read_bytes())
    assert {"moved": base.moved, "leaving": base.leaving, "mark": base.mark} == expected(path)
