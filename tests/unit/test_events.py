"""The format of telemetry lines: what is an event, what is refused and in which words, and what the document says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk import events
from hive_session.ondisk.events import (
    COMMON,
    EVENTS,
    MAX_EVENT_BYTES,
    MAX_INT,
    BadEvent,
    Field,
    decode_event,
    encode_event,
    validate_event,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "format.md"

SAMPLES: dict[str, dict[str, Any]] = {
    "session": {"status": "running", "attempt": 1},
    "resources": {"cpu_ms": 12, "rss_bytes": 4096, "read_bytes": 0, "write_bytes": 0, "processes": 3},
    "log_rotated": {"base": 50_000_000},
    "tap_started": {"at": 4096},
    "tap_ended": {"exit_code": 0},
    "claude_started": {"agent": "queen", "tools": 24, "mcp_servers": [{"name": "x", "status": "connected"}]},
    "agent_spawned": {"agent": "t1", "parent": "queen", "role": "worker", "kind": "coder", "task": "Write"},
    "agent_status": {"agent": "t1", "status": "working", "tool": "Bash"},
    "usage": {"agent": "t1", "tokens": 10, "input_tokens": 4, "output_tokens": 6, "cost_usd": 0.25},
    "agent_ended": {"agent": "t1", "status": "done", "tokens": 10, "summary": "Written."},
    "message": {"from": "queen", "to": "t1", "text": "Write it."},
    "api_retry": {"agent": "queen", "attempt": 1, "max_retries": 10, "delay_ms": 536, "error": "overloaded"},
    "result": {
        "agent": "queen",
        "is_error": False,
        "subtype": "success",
        "cost_usd": 0.25,
        "models": {"opus": {"tokens": 10, "cost_usd": None}},
        "text": "Done.",
    },
}


def event(kind: str, /, **fields: object) -> dict[str, Any]:
    return {"ts": 1795345042001, "type": kind, **SAMPLES.get(kind, {}), **fields}


def line(value: object) -> bytes:
    return json.dumps(value).encode()


def refusal(raw: bytes) -> str:
    with pytest.raises(BadEvent) as caught:
        decode_event(raw)
    return str(caught.value)


def test_every_type_has_a_sample() -> None:
    assert SAMPLES.keys() == EVENTS.keys()


@pytest.mark.parametrize("kind", EVENTS)
def test_an_event_survives_its_line(kind: str) -> None:
    raw = encode_event(event(kind, at=7))
    assert raw.endswith(b"\n") and raw.count(b"\n") == 1
    assert decode_event(raw) == decode_event(raw.rstrip(b"\n")) == event(kind, at=7)


@pytest.mark.parametrize("kind", EVENTS)
def test_null_is_taken_wherever_a_field_may_be_absent(kind: str) -> None:
    optional = {field.name: None for field in EVENTS[kind] if not field.required}
    validate_event(event(kind, **optional, at=None))


@pytest.mark.parametrize(
    ("kind", "field"), [(kind, f.name) for kind in EVENTS for f in (*COMMON, *EVENTS[kind]) if f.required]
)
def test_a_required_field_may_be_neither_absent_nor_null(kind: str, field: str) -> None:
    without = {name: value for name, value in event(kind).items() if name != field}
    name = "event" if field == "type" else kind
    assert refusal(line(without)) == f"{name}: '{field}' is missing"
    assert refusal(line({**without, field: None})) == f"{name}: '{field}' is missing"


@pytest.mark.parametrize(
    ("kind", "fields", "because"),
    [
        ("usage", {"tokens": -1}, "usage: 'tokens' must be int >= 0, not -1"),
        ("usage", {"tokens": True}, "usage: 'tokens' must be int >= 0, not True"),
        ("usage", {"tokens": 1.0}, "usage: 'tokens' must be int >= 0, not 1.0"),
        ("usage", {"tokens": "9"}, "usage: 'tokens' must be int >= 0, not '9'"),
        ("usage", {"cost_usd": -0.5}, "usage: 'cost_usd' must be number >= 0, not -0.5"),
        ("usage", {"cost_usd": 1e300}, "usage: 'cost_usd' must be number >= 0, not 1e+300"),
        ("usage", {"agent": ""}, "usage: 'agent' must be str, not empty, not ''"),
        ("usage", {"ts": -1}, "usage: 'ts' must be int >= 0, not -1"),
        ("usage", {"at": "7"}, "usage: 'at' must be int >= 0, not '7'"),
        ("session", {"attempt": 0}, "session: 'attempt' must be int >= 1, not 0"),
        ("agent_ended", {"status": "working"}, "agent_ended: 'status' must be \"done\" or \"failed\", not 'working'"),
        ("agent_status", {"status": ["done"]}, None),
        ("agent_spawned", {"role": "king"}, None),
        ("agent_spawned", {"task": 1}, None),
        ("result", {"is_error": 1}, "result: 'is_error' must be bool, not 1"),
        ("result", {"models": []}, None),
        ("result", {"models": {"m": []}}, None),
        ("result", {"models": {"m": {"tokens": -1}}}, None),
        ("result", {"models": {"m": {"tokens": 1, "cost_usd": "1"}}}, None),
        ("result", {"models": {"m": {"tokens": 1, "more": 2**60}}}, None),
        ("claude_started", {"mcp_servers": {}}, None),
        ("claude_started", {"mcp_servers": [1]}, None),
        ("claude_started", {"mcp_servers": [{"name": "x"}]}, None),
        ("claude_started", {"mcp_servers": [{"name": "x", "status": "y", "more": 2**60}]}, None),
        ("usage", {"more": 2**53}, "usage: 'more' holds what JSON can't carry everywhere"),
        ("usage", {"more": [{"deep": -(2**53)}]}, "usage: 'more' holds what JSON can't carry everywhere"),
    ],
)
def test_a_wrong_field_is_refused_by_name(kind: str, fields: dict[str, Any], because: str | None) -> None:
    said = refusal(line(event(kind, **fields)))
    assert said == because if because else said.startswith(f"{kind}: '{next(iter(fields))}' must be ")


@pytest.mark.parametrize(
    ("raw", "because"),
    [
        (b"", "not JSON: "),
        (b"\n", "not JSON: "),
        (b'{"ts":1,"type":"usage"', "not JSON: "),
        (b'{"ts":1,"type":"x"}{"ts":1,"type":"x"}', "not JSON: "),
        (b'{"ts":1,"type":"x","y":NaN}', "not JSON: "),
        (b'{"ts":1,"type":"x","y":1e999}', "not JSON: "),
        (b'{"ts":1,"type":"x","y":"\\ud83d"}', "not JSON: "),
        (b'{"ts":1,"type":"x","y":"\xff"}', "not JSON: "),
        (b'["ts",1]', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"type":"x"}', "x: 'ts' is missing"),
        (b'{"ts":1}', "event: 'type' is missing"),
        (b'{"ts":1,"type":""}', "event: 'type' must be str, not empty, not ''"),
        (b'{"ts":1,"type":["usage"]}', "event: 'type' must be str, not empty, not ['usage']"),
        (b'{"ts":1,"type":"x","pad":"%s"}' % (b"p" * MAX_EVENT_BYTES), "65564 bytes; a line holds at most 65536"),
        (b'{"ts":1,"type":"x","y":' + b"[" * 33 + b"]" * 33 + b"}", "x: 'y' holds what JSON can't carry everywhere"),
    ],
)
def test_a_line_that_is_no_event_is_refused_in_words(raw: bytes, because: str) -> None:
    assert refusal(raw).startswith(because)


def test_a_long_wrong_value_is_quoted_in_part() -> None:
    assert len(refusal(line(event("usage", tokens="9" * 1000)))) < 100
    assert len(refusal(line({"type": "x" * 1000}))) < 100


finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers(-MAX_INT, MAX_INT) | finite | st.text()


@given(st.recursive(scalars, st.lists, max_leaves=5))
def test_unknown_types_and_fields_are_kept_as_they_are(value: object) -> None:
    strange = {"ts": 1, "type": "of_tomorrow", "agent": 7, "status": value}
    known = event("agent_status", of_tomorrow=value)
    assert decode_event(line(strange)) == strange
    assert decode_event(line(known)) == known


@pytest.mark.parametrize(
    "fields", [{"more": float("nan")}, {"more": float("inf")}, {"more": {1: 2}}, {"more": object()}, {1: 2}]
)
def test_what_json_cannot_carry_is_never_written(fields: dict[Any, Any]) -> None:
    with pytest.raises(BadEvent, match="holds what JSON can't carry everywhere"):
        encode_event({**event("usage"), **fields})


def test_half_a_surrogate_pair_is_never_written() -> None:
    with pytest.raises(BadEvent, match="message: half of a surrogate pair"):
        encode_event(event("message", text="\ud83d"))


def test_a_line_that_no_reader_would_take_is_never_written() -> None:
    longest = MAX_EVENT_BYTES - len(encode_event(event("message", text="")))
    assert decode_event(encode_event(event("message", text="x" * longest)))["text"] == "x" * longest
    with pytest.raises(BadEvent, match="message: 65537 bytes; a line holds at most 65536"):
        encode_event(event("message", text="x" * (longest + 1)))


def values_of(field: Field) -> st.SearchStrategy[Any]:
    """What a field may hold, by its kind."""
    if field.kind.name.startswith('"'):
        return st.sampled_from(re.findall(r'"(\w+)"', field.kind.name))
    return {
        "str": st.text(),
        "str, not empty": st.text(min_size=1),
        "bool": st.booleans(),
        "int >= 0": st.integers(0, MAX_INT),
        "int >= 1": st.integers(1, MAX_INT),
        "number >= 0": st.floats(0, MAX_INT) | st.integers(0, MAX_INT),
        events.SERVERS.name: st.lists(st.fixed_dictionaries({"name": st.text(), "status": st.text()}), max_size=3),
        events.MODELS.name: st.dictionaries(
            st.text(),
            st.fixed_dictionaries({"tokens": st.integers(0, MAX_INT), "cost_usd": st.none() | st.floats(0, 1e6)}),
            max_size=3,
        ),
    }[field.kind.name]


def events_of(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    fields = [field for field in (*COMMON, *EVENTS[kind]) if field.name != "type"]
    required = {field.name: values_of(field) for field in fields if field.required}
    optional = {field.name: st.none() | values_of(field) for field in fields if not field.required}
    return st.fixed_dictionaries({"type": st.just(kind), **required}, optional=optional)


@given(st.sampled_from(sorted(EVENTS)).flatmap(events_of))
def test_whatever_the_tables_allow_survives_its_line(made: dict[str, Any]) -> None:
    assert decode_event(encode_event(made)) == made


@given(st.binary(max_size=200) | st.binary(max_size=80).map(lambda raw: b'{"ts":1,"type":"usage",' + raw))
def test_any_bytes_give_an_event_or_a_refusal(raw: bytes) -> None:
    try:
        found = decode_event(raw)
    except BadEvent as refused:
        assert str(refused)
    else:
        assert decode_event(encode_event(found)) == found


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([*EVENTS, "other"]), st.data())
def test_any_json_in_any_field_gives_an_event_or_a_refusal(kind: str, data: st.DataObject) -> None:
    names = [field.name for field in (*COMMON, *EVENTS.get(kind, ()))]
    changed = data.draw(st.dictionaries(st.sampled_from([*names, "more"]), json_values, max_size=3))
    try:
        found = decode_event(line(event(kind, **changed)))
    except BadEvent as refused:
        assert str(refused)
    else:
        assert decode_event(encode_event(found)) == found


def documented() -> str:
    text = DOCUMENT.read_text(encoding="utf-8")
    return re.split(r"^## ", text.split("## telemetry.jsonl\n", 1)[1], flags=re.MULTILINE)[0]


def rows_below(heading: str) -> list[list[str]]:
    section = documented().split(f"### {heading}\n", 1)[1].split("\n### ", 1)[0]
    rows = [row.strip("|").split(" | ") for row in section.splitlines() if row.startswith("| `")]
    return [[cell.strip() for cell in row] for row in rows]


@pytest.mark.parametrize(
    ("heading", "fields"), [("Every event", COMMON), *((f"`{kind}`", EVENTS[kind]) for kind in EVENTS)]
)
def test_the_document_lists_the_very_fields_that_are_checked(heading: str, fields: tuple[Field, ...]) -> None:
    assert rows_below(heading) == [
        [f"`{field.name}`", field.kind.name, "yes" if field.required else "no", field.meaning] for field in fields
    ]


def test_the_document_lists_no_other_type_and_every_limit() -> None:
    text = documented()
    assert re.findall(r"^### `(\w+)`$", text, flags=re.MULTILINE) == list(EVENTS)
    limits = (MAX_EVENT_BYTES, events.MAX_TEXT_CHARS, events.MAX_RESULT_CHARS, events.MAX_DEPTH)
    assert [limit for limit in limits if str(limit) not in text] == []
    assert MAX_INT == 2**53 - 1 and "2^53 - 1" in text


def test_the_examples_in_the_document_are_events() -> None:
    lines = documented().split("```json\n", 1)[1].split("```", 1)[0].encode().splitlines()
    assert {decode_event(raw)["type"] for raw in lines} <= EVENTS.keys()
    assert len(lines) > 5
