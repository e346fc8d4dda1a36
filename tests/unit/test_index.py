"""index.json: reading any layout, and the splice that equals to parse, change and dump."""

import re
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hive_session.ondisk.index import Row, decode_index, encode_index, encode_row, row_of, splice_row
from hive_session.ondisk.records import BadRecord, SessionRecord

IDS = [f"550e8400-e29b-41d4-a716-44665544000{digit}" for digit in range(6)]
ROW: Row = {"task": "Build", "status": "created", "created": "2026", "updated": "2026", "dir": "/w"}
LONELY = b'{"created":"2026","sessions":{\n'

texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from([*IDS, f'\n"{IDS[0]}":', "}}\n", '",'])
rows_of_any_text = st.fixed_dictionaries({**dict.fromkeys(Row.__annotations__, texts), "updated": texts.filter(bool)})


def record(**fields: Any) -> SessionRecord:
    names = ("session_id", "task", "working_dir", "output_dir", "database", "log_file")
    return SessionRecord(**{**dict.fromkeys(names, ""), "status": "created", "created": "2026", **fields})


class Splices(RuleBasedStateMachine):
    """Any sequence of additions, changes and removals, each done by a splice and on a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, Row] = {}
        self.raw = encode_index("2026", {})

    @rule(session_id=st.sampled_from(IDS), row=rows_of_any_text)
    def put(self, session_id: str, row: Row) -> None:
        self.splice(session_id, row)
        self.rows[session_id] = row

    @rule(session_id=st.sampled_from(IDS))
    def remove(self, session_id: str) -> None:
        self.splice(session_id, None)
        self.rows.pop(session_id, None)

    def splice(self, session_id: str, row: Row | None) -> None:
        spliced = splice_row(self.raw, session_id, row)
        if spliced is None:  # only where a text is an id: it would take a parse to tell it from a row
            assert any(session_id in each.values() for each in self.rows.values())
            rows: dict[str, Row | None] = {**self.rows, session_id: row}
            spliced = encode_index("2026", {key: each for key, each in rows.items() if each is not None})
        self.raw = spliced

    @invariant()
    def equals_a_dump_of_the_rows(self) -> None:
        assert self.raw == encode_index("2026", self.rows)
        assert decode_index(self.raw, "p") == ("2026", self.rows)


TestSplices = Splices.TestCase
TestSplices.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


@given(
    st.dictionaries(st.sampled_from(IDS), rows_of_any_text, max_size=3),
    st.sampled_from(IDS),
    st.none() | rows_of_any_text,
    st.lists(st.tuples(st.integers(0), st.sampled_from([b"\n", b"\n  ", b" ", b"\r\n"])), max_size=4),
    st.booleans(),
)
@example({}, IDS[0], ROW, [], True)
@example({IDS[0]: ROW, IDS[1]: ROW}, IDS[0], None, [], True)
def test_an_index_with_blanks_anywhere_is_spliced_right_or_not_at_all(
    rows: dict[str, Row], session_id: str, row: Row | None, blanks: list[tuple[int, bytes]], tight: bool
) -> None:
    raw = encode_index("2026", rows)
    if tight:
        raw = raw.replace(b",\n", b"\n,") if rows else raw.replace(b"\n\n", b"\n")
    tokens = re.findall(rb'"(?:[^"\\]|\\.)*"|[{}:,\n]', raw)
    assert b"".join(tokens) == raw
    for at, blank in blanks:
        tokens.insert(at % (len(tokens) + 1), blank)
    raw = b"".join(tokens)
    orjson.loads(raw)
    found = splice_row(raw, session_id, row)
    if found is not None:
        wanted: dict[str, Row | None] = {**rows, session_id: row}
        expected = {key: each for key, each in wanted.items() if each is not None}
        assert decode_index(found, "p") == ("2026", expected)
        assert list(decode_index(found, "p")[1]) == list(expected)


@given(st.binary(max_size=60))
@example(LONELY + b"}}\n")
@example(b'{"created":"2026"\n}}\n')
def test_any_bytes_give_rows_or_bad_record_and_are_spliced_or_not(raw: bytes) -> None:
    try:
        created, rows = decode_index(raw, "p")
        assert isinstance(created, str) and isinstance(rows, dict)
    except BadRecord as exc:
        assert exc.path == "p" and exc.what
    assert splice_row(raw, IDS[0], ROW) is None or raw.startswith(b'{"created":')


@settings(max_examples=40)
@given(
    st.recursive(st.none() | st.text(max_size=5), lambda inner: st.dictionaries(st.sampled_from([*IDS, *ROW]), inner))
)
def test_any_sessions_give_rows_of_texts_or_bad_record(sessions: Any) -> None:
    try:
        rows = decode_index(orjson.dumps({"created": "2026", "sessions": sessions}), "p")[1]
    except BadRecord:
        return
    assert all(row.keys() == ROW.keys() and all(type(text) is str for text in row.values()) for row in rows.values())
    assert rows.keys() <= set(IDS)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        encode_index("2026", {IDS[0]: ROW}).rstrip(),  # what comes after the last row is not what we write
        encode_index("2026", {IDS[0]: ROW}).replace(b'{"created"', b'{ "created"'),
        encode_index("x" * 300, {IDS[0]: ROW}),  # a head that is too long to be ours
        b'{"created":"2026","by":{"hand":1},"sessions":{\n' + encode_row(IDS[0], ROW) + b"\n}}\n",
        LONELY + b"}}\n",
        LONELY + b"  \n}}\n",
        LONELY + encode_row(IDS[1], ROW).replace(b",", b",\n", 1) + b"\n}}\n",
        LONELY + b'\n},"more":{\n"hand":{}\n}}\n',
    ],
)
def test_a_row_is_not_added_to_what_is_not_in_our_form(raw: bytes) -> None:
    assert splice_row(raw, IDS[5], ROW) is None


@pytest.mark.parametrize(
    "raw",
    [
        LONELY + encode_row(IDS[5], ROW).replace(b",", b",\n", 1) + b"\n}}\n",  # a row on two lines
        LONELY + encode_row(IDS[0], ROW) + b"," + encode_row(IDS[5], ROW) + b"\n}}\n",  # two rows on one line
        LONELY + encode_row(IDS[5], ROW) + b"," + encode_row(IDS[0], ROW) + b"\n}}\n",
        LONELY + encode_row(IDS[5], ROW) + b"\n," + encode_row(IDS[0], ROW) + b"\n}}\n",  # the comma in front
        LONELY + encode_row(IDS[0], ROW) + b", \n" + encode_row(IDS[5], ROW) + b"\n}}\n",
    ],
)
def test_a_row_is_not_removed_where_others_would_go_with_it(raw: bytes) -> None:
    assert IDS[5] in decode_index(raw, "p")[1]
    assert splice_row(raw, IDS[5], None) is None


def test_a_row_that_is_not_there_is_removed_already() -> None:
    raw = encode_index("2026", {IDS[0]: ROW})
    assert splice_row(raw, IDS[1], None) is raw


def test_a_row_is_what_list_promises() -> None:
    row = row_of(record(task="x" * 300, working_dir="/w", updated="2027"))
    assert row == {"task": "x" * 256, "status": "created", "created": "2026", "updated": "2027", "dir": "/w"}


def test_a_row_of_the_original_that_never_changed_is_updated_when_it_was_created() -> None:
    assert row_of(record(updated=""))["updated"] == "2026"


def test_an_index_that_says_nothing_of_its_birth_has_an_empty_one() -> None:
    assert decode_index(b'{"sessions":{}}', "p") == ("", {})


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"{", "not JSON"),
        (b"[]", "no object `sessions`"),
        (b'{"sessions":[]}', "no object `sessions`"),
        (b'{"sessions":{"%b":[]}}' % IDS[0].encode(), f"the row of {IDS[0]} is not an object"),
        (b'{"sessions":{"%b":{}}}' % IDS[0].encode(), f"the row of {IDS[0]} lacks task, status, created or dir"),
    ],
)
def test_a_bad_index_is_named_in_its_words(raw: bytes, words: str) -> None:
    with pytest.raises(BadRecord) as caught:
        decode_index(raw, "/w/index.json")
    assert caught.value.what.startswith(words)
