"""What `create` accepts, checked whole before anything is written: tasks, metadata, NAME=VALUE words, keys."""

import uuid
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hive_session import create
from hive_session.create import (
    TASK_MAX_BYTES,
    CreateRequest,
    check_priority,
    check_task,
    decode_metadata,
    keyed_id,
    parse_pairs,
)
from hive_session.errors import UsageError
from hive_session.ondisk.layout import is_session_id
from hive_session.ondisk.records import SessionRecord, decode_session, encode_session

texts = st.text(st.characters(codec="utf-8"), max_size=8)
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
documents = st.dictionaries(
    texts,
    st.recursive(
        st.none() | st.booleans() | numbers | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


def kept(**fields: Any) -> SessionRecord:
    """What is read again of a record with these fields."""
    names = ("status", "task", "created", "working_dir", "output_dir", "database", "log_file")
    least: dict[str, Any] = {**dict.fromkeys(names, ""), "session_id": "550e8400-e29b-41d4-a716-446655440000"}
    return decode_session(encode_session(SessionRecord(**{**least, **fields})), "p")


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        decode_metadata(text)
    assert caught.value.exit_code == 2
    return caught.value.what


# -- the task ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task",
    [
        "x",
        " x ",
        "-",
        "--help",
        "x'; touch PWNED; echo 'y",
        '"\n\t\\',
        "$(id) `id`",
        "\x01\x1b[31m",
        "日本語 🐝",
        "{task}",
    ],
)
def test_a_task_is_taken_as_it_is(task: str) -> None:
    assert check_task(task) == task


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("", "the task is empty"),
        (" \n\t\u3000", "the task is empty"),
        ("a\0b", "the task holds a NUL character"),
        ("caf\udce9", "the task is not UTF-8 text"),
    ],
)
def test_a_task_that_no_agent_could_be_given_is_refused(task: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_task(task)
    assert caught.value.what.startswith(words) and caught.value.hint


def test_a_task_is_measured_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert TASK_MAX_BYTES == 16 * 1024 * 1024
    monkeypatch.setattr(create, "TASK_MAX_BYTES", 8)
    assert check_task("ü" * 4)
    with pytest.raises(UsageError, match="the task has 10 bytes; at most 8 are taken"):
        check_task("ü" * 5)


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_a_task_that_is_taken_reads_the_same_from_its_record(task: str) -> None:
    try:
        check_task(task)
    except UsageError:
        return
    assert kept(task=task).task == task


@pytest.mark.parametrize("priority", ["high", "medium", "low"])
def test_there_are_three_priorities(priority: str) -> None:
    assert check_priority(priority) == priority


@pytest.mark.parametrize("priority", ["", "High", "urgent", 'ur"gent'])
def test_another_priority_is_refused_with_those_there_are(priority: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_priority(priority)
    assert repr(priority) in caught.value.what and caught.value.hint == "one of: high, medium, low"


# -- metadata ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [None, "", "  \n", "null", " null "])
def test_no_metadata_and_null_are_none(text: str | None) -> None:
    assert decode_metadata(text) is None


@given(documents)
def test_metadata_is_kept_as_it_was_given(given_metadata: dict[str, Any]) -> None:
    found = decode_metadata(orjson.dumps(given_metadata).decode())
    assert orjson.dumps(kept(metadata=found).metadata) == orjson.dumps(
        given_metadata
    )  # 1 and 1.0, 0.0 and -0.0 differ here


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"n": 12345678901234567890}', 12345678901234567890),
        ('{"n": 18446744073709551615}', 2**64 - 1),
        ('{"n": -9223372036854775808}', -(2**63)),
        ('{"n": 1.0}', 1.0),
        ('{"n": 1e308}', 1e308),
        ('{"n": "\\ud83d\\udc1d"}', "🐝"),
        ('{"n": 1, "n": 2}', 2),
    ],
)
def test_numbers_are_exact(text: str, value: Any) -> None:
    found = decode_metadata(text)["n"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{bad json", "the metadata is not a JSON object"),
        ("[1]", "the metadata is JSON, but not an object: [1]"),
        ("5", "the metadata is JSON, but not an object: 5"),
        ('"text"', "the metadata is JSON, but not an object"),
        ('{"n": 18446744073709551616}', "18446744073709551616 is a whole number beyond 64 bits"),
        ('{"n": -9223372036854775809}', "-9223372036854775809 is a whole number beyond 64 bits"),
        ('{"n": ' + "9" * 5000 + "}", "is a whole number beyond 64 bits"),
        ('{"n": 1e400}', "1e400 is beyond the largest number"),
        ('{"n": NaN}', "NaN is not JSON"),
        ('{"n": -Infinity}', "-Infinity is not JSON"),
        ('{"n": "\\ud83d"}', "the metadata is not a JSON object"),
        ('{"n": "\udcff"}', "the metadata is not a JSON object"),
        ('{"n": ' + "[" * 300 + "]" * 300 + "}", "the metadata is not a JSON object"),
        ('{"n": ' + "[" * 100_000 + "]" * 100_000 + "}", "the metadata is not a JSON object"),
    ],
    ids=lambda value: value[:24],
)
def test_metadata_that_could_not_be_kept_is_refused(text: str, words: str) -> None:
    assert words in refusal(text)


@given(
    st.text(max_size=30)
    | st.recursive(st.just("1"), lambda inner: inner.map(lambda each: f'{{"a":{each}}}'), max_leaves=3)
)
@example('{"a": -0}')
@example("\ufeff{}")
def test_any_text_is_metadata_or_refused(text: str) -> None:
    try:
        found = decode_metadata(text)
    except UsageError:
        return
    assert found is None or isinstance(found, dict)


# -- NAME=VALUE --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "found"),
    [
        ([], {}),
        (["a=b"], {"a": "b"}),
        (["a="], {"a": ""}),
        (["a=b=c"], {"a": "b=c"}),
        (["a=1", "b=2", "a=3"], {"a": "3", "b": "2"}),
        (["_A9=x y\n"], {"_A9": "x y\n"}),
    ],
)
def test_a_pair_is_cut_at_its_first_equals_sign(pairs: list[str], found: dict[str, str]) -> None:
    assert parse_pairs(pairs, "--label") == parse_pairs(pairs, "--env") == found


@pytest.mark.parametrize("pair", ["", "a", "=b", "a\0=b", "a=b\0", "a=\udcff"])
@pytest.mark.parametrize("option", ["--label", "--env"])
def test_a_word_that_is_no_pair_is_named_with_its_option(pair: str, option: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_pairs(["good=1", pair], option)
    assert caught.value.what.startswith(f"{option} {pair!r} is not ")


@pytest.mark.parametrize("name", ["a b", "a-b", "1a", "ä", "a.b", "a\n"])
def test_the_name_of_a_variable_is_one_that_a_shell_can_say(name: str) -> None:
    assert parse_pairs([f"{name}=x"], "--label") == {name: "x"}
    with pytest.raises(UsageError, match="is not the name of a variable"):
        parse_pairs([f"{name}=x"], "--env")


@given(st.lists(st.text(max_size=10), max_size=3), st.sampled_from(["--label", "--env"]))
def test_any_words_are_pairs_or_refused(pairs: list[str], option: str) -> None:
    try:
        found = parse_pairs(pairs, option)
    except UsageError:
        return
    assert {f"{name}={value}" for name, value in found.items()} <= set(pairs)


# -- keys --------------------------------------------------------------------------------------------------------------


@given(st.text(max_size=20))
def test_a_key_always_gives_the_same_id(key: str) -> None:
    assert is_session_id(keyed_id("/w", key))
    assert keyed_id("/w", key) == keyed_id("/w", key)
    assert uuid.UUID(keyed_id("/w", key)).version == 4


@given(st.lists(st.tuples(st.sampled_from(["/w", "/w/x", "/v"]), st.text(max_size=4)), unique=True, max_size=6))
@example([("/w", "/x"), ("/w/x", "")])
def test_other_keys_and_other_workspaces_give_other_ids(pairs: list[tuple[str, str]]) -> None:
    assert len({keyed_id(workspace, key) for workspace, key in pairs}) == len(pairs)


def test_a_workspace_has_one_name_for_keys_however_it_is_reached(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert keyed_id(str(tmp_path / "link"), "k") == keyed_id(f"{tmp_path}/x/../real/", "k")


REQUEST = CreateRequest(task="Build", agent="claude", metadata={"a": 1, "b": [2.0]}, labels={"x": "1", "y": "2"})


def test_the_same_request_has_the_same_digest_in_any_order() -> None:
    same = CreateRequest(task="Build", agent="claude", metadata={"b": [2.0], "a": 1}, labels={"y": "2", "x": "1"})
    assert same.digest() == REQUEST.digest()
    assert len(REQUEST.digest()) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"task": "Build "},
        {"priority": "high"},
        {"metadata": {"a": 1, "b": [2]}},
        {"metadata": None},
        {"agent": "claude-flow"},
        {"timeout_s": 60.0},
        {"labels": {"x": "1"}},
        {"env": {"x": "1"}},
        {"labels": {}, "env": {"x": "1", "y": "2"}},
    ],
    ids=str,
)
def test_another_request_has_another_digest(change: dict[str, Any]) -> None:
    fields = {"task": "Build", "agent": "claude", "metadata": {"a": 1, "b": [2.0]}, "labels": {"x": "1", "y": "2"}}
    assert CreateRequest(**{**fields, **change}).digest() != REQUEST.digest()
