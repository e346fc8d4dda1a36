"""Bytes become JSON messages: the same ones however the stream is cut, and exactly one error for each thing that is none."""

import json
import time
import tracemalloc
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_tcp import framing
from mcp_tcp.framing import Framer, Item, Malformed, Oversized
from tests.nasty import bad_lines, odd_lines

MIB = 1 << 20
PING: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
CALL: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 2,
    "method": "tools/call",
    "params": {"name": "swarm_list", "arguments": {}},
}
PING_LINE = json.dumps(PING).encode() + b"\n"
BAD, LONG = "malformed", "oversized"


def brief(items: Iterable[Item]) -> list[Any]:
    """The items with their errors by name alone."""
    return [BAD if isinstance(item, Malformed) else LONG if isinstance(item, Oversized) else item for item in items]


def items_of(*parts: bytes, limit: int = MIB) -> list[Item]:
    framer = Framer(limit)
    return [item for part in parts for item in framer.feed(part)] + framer.end()


def fed(*parts: bytes, limit: int = MIB) -> tuple[Framer, list[Any]]:
    framer = Framer(limit)
    return framer, brief(item for part in parts for item in framer.feed(part))


def pretty(value: object) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"


# One message a line


def test_a_line_is_a_message() -> None:
    framer, items = fed(PING_LINE)
    assert (items, framer.idle, framer.held) == ([PING], True, False)


def test_many_lines_in_one_chunk_are_messages_in_their_order() -> None:
    calls = [PING | {"id": number} for number in range(1000)]
    assert items_of(b"".join(json.dumps(call).encode() + b"\n" for call in calls)) == calls


def test_a_message_is_given_only_when_its_line_has_ended() -> None:
    framer = Framer(MIB)
    assert framer.feed(PING_LINE[:-1]) == []
    assert (framer.idle, framer.held) == (False, False)
    assert framer.feed(b"\n") == [PING]
    assert framer.idle


def test_no_bytes_give_nothing() -> None:
    framer, items = fed(b"")
    assert (items, framer.idle, framer.end()) == ([], True, [])


def test_a_character_of_utf_8_may_be_cut_anywhere() -> None:
    line = '{"method":"é€😀"}\n'.encode()
    for at in range(len(line)):
        assert items_of(line[:at], line[at:]) == [{"method": "é€😀"}]


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b"  \t \r\n", b"\n\n\n\n"])
def test_blank_lines_are_skipped(blank: bytes) -> None:
    assert items_of(blank, PING_LINE, blank, PING_LINE + blank) == [PING, PING]


def test_a_line_may_end_in_crlf() -> None:
    assert items_of(PING_LINE[:-1] + b"\r\n" + PING_LINE[:-1] + b"\r\n") == [PING, PING]


def test_a_value_that_is_neither_object_nor_array_is_given_as_it_is() -> None:
    assert items_of(b'1\n"a"\nnull\ntrue\n[]\n') == [1, "a", None, True, []]


def test_every_odd_line_is_the_value_that_it_is() -> None:
    for line in odd_lines():
        assert items_of(line + b"\n" + PING_LINE) == [orjson.loads(line), PING], line[:80]


def test_every_bad_line_is_one_error_and_costs_the_next_message_nothing() -> None:
    for line in bad_lines():
        framer, items = fed(line + b"\n", PING_LINE)
        assert (items, framer.idle) == ([BAD, PING], True), line[:80]


def test_bad_lines_among_messages_are_one_error_each() -> None:
    lines = bad_lines()
    assert brief(items_of(PING_LINE.join(line + b"\n" for line in lines) + PING_LINE)) == [BAD, PING] * len(lines)


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"GET / HTTP/1.1",
        b'{"a":1,}',
        b"[1}",
        b"[]]",
        b"}",
        b'{"a":"b',
        b'["\\x"',
        b"{a:1",
        b"[NaN,",
        b'["\x01",',
        b"[" * 2000,
        b'\xef\xbb\xbf{"a":1}',
        b'"\xff"',
        b"[1],",
        b'"a" [',
    ],
)
def test_what_can_never_become_whole_is_an_error_at_once(line: bytes) -> None:
    framer, items = fed(line + b"\n")
    assert (items, framer.idle) == ([BAD], True)


def test_an_error_says_where_it_is() -> None:
    (error,) = items_of(b'{\n  "a": 1,\n\n  "b": ,\n  "c": 2\n}\n')
    assert isinstance(error, Malformed)
    assert "line 4 column 8" in error.why


# A document over several lines


def test_a_pretty_printed_document_is_one_message() -> None:
    framer = Framer(MIB)
    lines = pretty(CALL).splitlines(keepends=True)
    assert [framer.feed(line) for line in lines[:-1]] == [[]] * (len(lines) - 1)
    assert (framer.held, framer.idle) == (True, False)
    assert framer.feed(lines[-1]) == [CALL]
    assert (framer.held, framer.idle) == (False, True)


def test_a_document_may_hold_brackets_in_its_strings_and_blank_lines_and_crlf() -> None:
    value = {"method": "x", "params": ["}", "]]", '\\"{', "[\\", {"{": "[\\\\"}]}
    raw = pretty(value).replace(b"\n", b"\r\n \t\r\n")
    assert items_of(raw, PING_LINE) == [value, PING]


def test_a_document_may_be_an_array_with_messages_over_several_lines() -> None:
    assert items_of(pretty([PING, CALL])) == [[PING, CALL]]


def test_documents_follow_each_other() -> None:
    assert items_of(pretty(PING) + pretty(CALL) + PING_LINE + pretty(PING)) == [PING, CALL, PING, PING]


def test_a_syntax_error_in_a_document_is_one_error_at_its_closing_bracket() -> None:
    raw = b'{\n  "jsonrpc": "2.0",\n  "params": {\n    "session_id": ,\n    "agent_id": \n  }\n}\n'
    framer, items = fed(raw[:-2])
    assert (items, framer.held) == ([], True)
    assert (brief(framer.feed(b"}\n")), framer.idle) == ([BAD], True)
    assert framer.feed(PING_LINE) == [PING]


@pytest.mark.parametrize(
    ("line", "closing"),
    [
        (b'"b": "unterminated', b""),
        (b'"b": "{[', b""),
        (b'"b": ["}', b"]"),
        (b"plain words", b""),
        (b"'b': 1,", b""),
        (b'"\\x": 1,', b""),
        (b"\x00", b""),
        (b"[" * 2000, b"]" * 2000),
    ],
)
def test_a_broken_line_in_a_document_is_an_error_at_once_and_the_rest_is_skipped(line: bytes, closing: bytes) -> None:
    framer, items = fed(b'{\n"a": 1,\n' + line + b"\n")
    assert items == [BAD]
    assert framer.feed(b'"c": {\n"d": 1\n}\n' + closing + b"\n") == []
    assert framer.held
    assert (framer.feed(b"}\n"), framer.idle) == ([], True)
    assert framer.feed(pretty(PING)) == [PING]


def test_a_closing_bracket_too_many_ends_a_document() -> None:
    framer, items = fed(b'{\n"a": [1\n]}]\n')
    assert (items, framer.idle) == ([BAD], True)


@pytest.mark.parametrize("message", [PING, {"method": "ping"}, {"jsonrpc": "2.0"}, [PING, CALL], [CALL]])
def test_a_whole_message_on_one_line_ends_what_was_held(message: object) -> None:
    framer, items = fed(b'{\n"a": 1,\n', b"  " + json.dumps(message).encode() + b" \r\n")
    assert (items, framer.idle) == ([BAD, message], True)


def test_a_whole_message_ends_what_was_refused_with_no_second_error() -> None:
    assert brief(items_of(b'{\n"a": "b\n"c": {\n' + PING_LINE)) == [BAD, PING]


@pytest.mark.parametrize(
    "lines", [b"{}", b"[]", b'{"a": 1}', b"[1, 2]", b'[{"a": 1}]', b'["jsonrpc"]', b'{"method": 1},\n0']
)
def test_lines_that_are_json_but_no_message_are_part_of_the_document(lines: bytes) -> None:
    raw = b'{"a": [\n' + lines + b"\n]}\n"
    assert items_of(raw) == [json.loads(raw)]


def test_a_held_start_that_expires_is_one_error() -> None:
    framer, items = fed(b'{\n"a": 1,\n')
    assert items == []
    assert brief(framer.expire()) == [BAD]
    assert (framer.held, framer.idle, framer.expire()) == (False, True, [])
    assert framer.feed(pretty(PING)) == [PING]


def test_expiry_spares_the_line_that_has_not_ended() -> None:
    framer = fed(b"{\n" + PING_LINE[:9])[0]
    assert brief(framer.expire()) == [BAD]
    assert (framer.held, framer.idle) == (False, False)
    assert framer.feed(PING_LINE[9:]) == [PING]


def test_a_refused_document_is_skipped_while_it_comes_and_given_up_when_it_stops() -> None:
    framer = fed(b'{\n"a": "b\n')[0]
    assert (framer.expire(), framer.held) == ([], True)
    framer.feed(b'"c": 1,\n')
    assert (framer.expire(), framer.held) == ([], True)
    assert (framer.expire(), framer.held, framer.idle) == ([], False, True)
    assert framer.feed(pretty(PING)) == [PING]


# The last byte


def test_at_the_end_a_last_line_needs_no_line_end() -> None:
    framer, items = fed(PING_LINE + PING_LINE[:-1])
    assert items == [PING]
    assert (framer.end(), framer.idle) == ([PING], True)


def test_at_the_end_a_document_may_close_on_a_line_without_end() -> None:
    assert items_of(pretty(CALL)[:-1]) == [CALL]


@pytest.mark.parametrize("raw", [b"{", b"{\n", b'{\n"a": 1', b'{"a', b"tru"])
def test_at_the_end_what_is_unfinished_is_one_error(raw: bytes) -> None:
    framer, items = fed(raw)
    assert items == []
    assert (brief(framer.end()), framer.idle, framer.end()) == ([BAD], True, [])


def test_at_the_end_nothing_is_said_twice() -> None:
    assert brief(items_of(b'{\n"a": "b\n')) == [BAD]
    assert brief(items_of(b"x" * 100, limit=50)) == [LONG]


# Limits


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("size", [1, 7, 64, 4096])
def test_a_message_as_long_as_the_limit_passes_and_one_byte_more_does_not(end: bytes, size: int) -> None:
    line = json.dumps(PING | {"params": "x" * 100}).encode()
    for limit, expected in ((len(line), json.loads(line)), (len(line) - 1, LONG)):
        raw = line + end + (PING_LINE if end else b"")
        parts = [raw[at : at + size] for at in range(0, len(raw), size)]
        assert brief(items_of(*parts, limit=limit)) == [expected, PING][: 2 if end else 1]


def test_a_line_over_the_limit_is_told_as_soon_as_it_is_known() -> None:
    framer, items = fed(b"x" * 100, b"x", limit=100)
    assert (items, framer.idle, framer.held) == ([LONG], False, False)
    assert framer.feed(b"x" * 1000) == []
    assert (framer.feed(b"x\n" + PING_LINE), framer.idle) == ([PING], True)


def test_the_error_of_size_names_the_limit() -> None:
    assert items_of(b"x" * 100, limit=10) == [Oversized(10)]


def test_each_line_over_the_limit_is_one_error() -> None:
    line = b'{"a":"' + b"x" * 100 + b'"}\n'
    assert brief(items_of(line + PING_LINE + line * 2 + PING_LINE, limit=60)) == [LONG, PING, LONG, LONG, PING]


def test_64_mib_without_a_line_end_keep_memory_flat() -> None:
    framer, chunk = Framer(MIB), b"x" * 65536
    tracemalloc.start()
    try:
        items = [item for _ in range(1024) for item in framer.feed(chunk)]
        left_bytes, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert brief(items) == [LONG]
    assert peak_bytes < 4 * MIB
    assert left_bytes < MIB // 4
    assert framer.feed(b"\n" + PING_LINE) == [PING]


def test_64_mib_of_a_document_over_short_lines_keep_memory_flat() -> None:
    framer, chunk = Framer(MIB), (b'"' + b"x" * 1021 + b'",\n') * 64
    tracemalloc.start()
    try:
        items = framer.feed(b"[\n") + [item for _ in range(1024) for item in framer.feed(chunk)]
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert brief(items) == [LONG]
    assert peak_bytes < 4 * MIB
    assert (framer.feed(b"1]\n"), framer.idle) == ([], True)


def test_a_document_as_long_as_the_limit_passes_and_one_byte_more_does_not() -> None:
    raw = pretty(CALL)[:-1]
    assert items_of(raw + b"\n" + PING_LINE, limit=len(raw)) == [CALL, PING]
    assert brief(items_of(raw + b"\n" + pretty(PING), limit=len(raw) - 1)) == [LONG, PING]


def test_a_document_over_the_limit_is_one_error_and_is_skipped_to_its_end() -> None:
    assert brief(items_of(pretty([CALL] * 20) + pretty(PING), limit=200)) == [LONG, PING]


def test_a_document_with_a_line_over_the_limit_is_one_error() -> None:
    value = {"a": {"b": 1}, "blob": "[{" * 200, "c": {"d": 1}}
    assert brief(items_of(pretty(value) + pretty(PING), limit=200)) == [LONG, PING]


# Cost


def parsed_bytes(monkeypatch: pytest.MonkeyPatch, raw: bytes) -> int:
    """How many bytes are given to the JSON parser for `raw`."""
    sizes: list[int] = []

    def loads(given: bytes | bytearray) -> object:
        sizes.append(len(given))
        return json.loads(given)

    with monkeypatch.context() as patch:
        patch.setattr(framing, "loads", loads)
        patch.setattr(framing, "JSONDecodeError", ValueError)
        Framer(16 * MIB).feed(raw)
    return sum(sizes)


@pytest.mark.parametrize(
    "filling", [b"1\n,\n", b"{\n}\n,\n", b'{"a":1},\n', b"[1]\n,\n", b'"a":\n', b"[\n", b"]\n[\n", b"x\n"]
)
def test_a_document_is_parsed_a_bounded_number_of_times(monkeypatch: pytest.MonkeyPatch, filling: bytes) -> None:
    for times in (200, 800):
        raw = b"[\n" + filling * times + b"1\n]\n"
        assert parsed_bytes(monkeypatch, raw) <= 3 * len(raw)


def test_a_mebibyte_in_lines_of_one_character_takes_linear_time() -> None:
    began = time.process_time()
    (value,) = Framer(2 * MIB).feed(b"[\n" + b"1\n,\n" * (MIB // 4) + b"1\n]\n")
    assert time.process_time() - began < 5
    assert len(value) == MIB // 4 + 1


@pytest.mark.parametrize("filling", [b"1,", b'"', b'"",', b"\\", b"{[", b"]", b"1e", b" ", b"1.0", b'"\\"', b"-"])
def test_a_line_of_a_mebibyte_takes_linear_time(filling: bytes) -> None:
    framer, line = Framer(2 * MIB), b"[" + filling * (MIB // len(filling)) + b"\n"
    began = time.process_time()
    framer.feed(b"[\n" + line + line)
    assert time.process_time() - began < 5


def test_a_mebibyte_that_comes_byte_by_byte_takes_linear_time() -> None:
    framer, raw = Framer(MIB), b'"' + b"x" * (MIB - 2) + b'"\n'
    began = time.process_time()
    items = [item for at in range(len(raw)) for item in framer.feed(raw[at : at + 1])]
    assert time.process_time() - began < 10
    assert items == [raw[1:-2].decode()]


# However the stream is cut

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab{["]}\\\n', max_size=5), inner, max_size=4),
    max_leaves=8,
)
MESSAGES = st.builds(lambda params: PING | {"params": params}, VALUES)
LIMIT = 4000  # bytes; what the strategies below build is shorter, but for what is meant to be longer
Piece = tuple[bytes, list[Any]]  # bytes that end a line, and the items that they give


def line_piece(message: Any, ascii_only: bool, end: bytes) -> Piece:
    return json.dumps(message, ensure_ascii=ascii_only).encode() + end, [message]


def pretty_piece(message: Any, indent: int | str, end: bytes) -> Piece:
    return json.dumps(message, indent=indent).encode().replace(b"\n", end) + end, [message]


def spoilt_piece(message: Any) -> Piece:
    return pretty(message)[:-2] + b',\n"session_id": ,\n"agent_id": 1\n}\n', [BAD]


ENDS = st.sampled_from([b"\n", b"\r\n", b" \t\n", b"\n\n", b"\n \r\n"])
SHORT_BAD = [line for line in bad_lines() if len(line) < 1000]
PIECES: st.SearchStrategy[Piece] = st.one_of(
    st.builds(line_piece, MESSAGES, st.booleans(), ENDS),
    st.builds(pretty_piece, MESSAGES, st.sampled_from([0, 1, 4, "\t"]), ENDS),
    st.builds(spoilt_piece, MESSAGES),
    st.sampled_from(SHORT_BAD).map(lambda line: (line + b"\n" + PING_LINE, [BAD, PING])),
    st.sampled_from([b"\n", b"\r\n", b" \n\t\n"]).map(lambda blank: (blank, [])),
    st.integers(LIMIT + 2, 3 * LIMIT).map(lambda size: (b"[" * size + b"\n", [LONG])),
    st.integers(LIMIT, 3 * LIMIT).map(lambda size: (b"[\n" + b"1,\n" * size + b"1]\n", [LONG])),
)


def cuts(raw: bytes, at: Iterable[int]) -> list[bytes]:
    places = [0, *sorted(place % (len(raw) + 1) for place in at), len(raw)]
    return [raw[begin:end] for begin, end in pairwise(places)]


@given(st.lists(PIECES, max_size=6), st.lists(st.integers(0), max_size=8))
def test_a_mix_of_everything_gives_what_each_part_gives(pieces: list[Piece], at: list[int]) -> None:
    raw = b"".join(given for given, _ in pieces)
    expected = [item for _, items in pieces for item in items]
    whole = items_of(raw, limit=LIMIT)
    assert brief(whole) == expected
    assert items_of(*cuts(raw, at), limit=LIMIT) == whole
    assert items_of(*(raw[place : place + 1] for place in range(len(raw))), limit=LIMIT) == whole


SCRAPS = st.one_of(
    st.binary(max_size=20),
    st.sampled_from(
        [b"{", b"}", b"[", b"]", b'"', b"\\", b":", b",", b"\n", b"\r", b" ", b"1", b"\n{\n", b"\n}\n", b'"a":']
    ),
    st.sampled_from([PING_LINE, b"\n" + PING_LINE, pretty(PING), pretty(CALL), b"x" * 150, b"\n\n", b"\xef\xbb\xbf"]),
    st.sampled_from([line[:300] for line in bad_lines() + odd_lines()]),
)


@given(st.lists(SCRAPS, max_size=20).map(b"".join), st.lists(st.integers(0), max_size=8), st.integers(0, 200))
def test_any_bytes_give_the_same_items_however_they_are_cut(raw: bytes, at: list[int], limit: int) -> None:
    whole = items_of(raw, limit=limit)
    assert items_of(*cuts(raw, at), limit=limit) == whole
    assert items_of(*(raw[place : place + 1] for place in range(len(raw))), limit=limit) == whole


@given(st.lists(SCRAPS, max_size=20).map(b"".join))
def test_a_message_that_follows_any_bytes_on_a_line_of_its_own_is_given(raw: bytes) -> None:
    framer, items = fed(raw + b"\n" + PING_LINE)
    assert items[-1] == PING
    assert framer.idle


@given(st.lists(SCRAPS, max_size=20), st.lists(st.booleans(), min_size=20, max_size=20))
def test_expiry_at_any_time_leaves_nothing_held_for_long(scraps: list[bytes], expires: list[bool]) -> None:
    framer = Framer(200)
    for scrap, expired in zip(scraps, expires, strict=False):
        framer.feed(scrap)
        if expired:
            framer.expire()
            framer.expire()
            assert not framer.held
    framer.end()
    assert framer.feed(PING_LINE) == [PING]
