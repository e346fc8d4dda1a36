"""What fits a schema, what does not, and the sentence for it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_tcp.schemas import KEYWORDS, PYTHON, compile_schema

Schema = dict[str, Any]

LIST: Schema = {
    "type": "object",
    "properties": {
        "session_id": {"type": "string", "minLength": 1, "maxLength": 36},
        "limit": {"type": "integer", "minimum": 1, "maximum": 500},
        "ratio": {"type": "number", "maximum": 1},
        "deep": {"type": ["boolean", "null"]},
        "order": {"type": ["string", "null"], "enum": ["up", "down", None]},
        "status": {"type": ["string", "array"], "items": {"type": "string", "enum": ["created", "failed"]}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "range": {
            "type": "object",
            "properties": {"from": {"type": "integer", "minimum": 0}},
            "required": ["from"],
            "additionalProperties": False,
        },
    },
    "required": ["session_id"],
}
check_list = compile_schema(LIST)


def test_arguments_that_fit_have_no_sentence() -> None:
    full = {
        "session_id": "x",
        "limit": 500,
        "ratio": -0.5,
        "deep": None,
        "order": "up",
        "status": ["failed", "created"],
        "labels": {"a": "b"},
        "range": {"from": 0},
        "of_old_clients": [1, {}],
    }
    assert check_list(full) is None
    assert check_list({"session_id": "x" * 36, "status": "any", "order": None, "ratio": 1, "deep": False}) is None


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([], "the arguments must be an object, not a list"),
        (None, "the arguments must be an object, not null"),
        ({}, "session_id is missing"),
        ({"session_id": ""}, 'session_id must be text of 1 to 36 characters, not ""'),
        ({"limit": 5, "session_id": 5}, "session_id must be text of 1 to 36 characters, not 5"),
        ({"limit": "x"}, 'limit must be a whole number from 1 to 500, not "x"'),
        ({"limit": 0}, "limit must be a whole number from 1 to 500, not 0"),
        ({"limit": 501}, "limit must be a whole number from 1 to 500, not 501"),
        ({"limit": True}, "limit must be a whole number from 1 to 500, not true"),
        ({"limit": 5.0}, "limit must be a whole number from 1 to 500, not 5.0"),
        ({"ratio": 1.5}, "ratio must be a number up to 1, not 1.5"),
        ({"deep": 0}, "deep must be true or false or null, not 0"),
        ({"order": "left"}, 'order must be one of "up", "down", null, not "left"'),
        ({"order": False}, 'order must be one of "up", "down", null, not false'),
        ({"status": ["failed", "gone"]}, 'each of status must be one of "created", "failed", not "gone"'),
        ({"status": 1}, "status must be text or a list, not 1"),
        ({"labels": {"a": 1}}, "each of labels must be text, not 1"),
        ({"labels": "a=b"}, 'labels must be an object, not "a=b"'),
        ({"range": {}}, "range.from is missing"),
        ({"range": {"from": -1}}, "range.from must be a whole number from 0, not -1"),
        ({"range": {"from": 1, "to": 2}}, "range.to is not known; known: range.from"),
        ({"order": "y" * 100}, f'order must be one of "up", "down", null, not "{"y" * 59}…"'),
    ],
)
def test_the_sentence_names_the_argument_and_what_it_must_be(value: Any, sentence: str) -> None:
    if isinstance(value, dict) and value:
        value = {"session_id": "x"} | value
    assert check_list(value) == sentence


def test_a_part_of_an_entry_of_a_list_is_named_with_the_list() -> None:
    entry = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    check = compile_schema({"type": "object", "properties": {"agents": {"type": "array", "items": entry}}})
    assert check({"agents": [{"id": "a"}, {"id": 1}]}) == "agents.id must be text, not 1"
    assert check({"agents": [{"id": "a"}, {}]}) == "agents.id is missing"
    assert check({"agents": [1]}) == "each of agents must be an object, not 1"


def test_the_whole_may_have_a_name_of_its_own() -> None:
    assert compile_schema({"type": "string", "minLength": 1}, "it")("") == 'it must be text that is not empty, not ""'
    assert (
        compile_schema({"type": "string", "minLength": 2}, "it")(1) == "it must be text of at least 2 characters, not 1"
    )
    assert compile_schema({"type": "string", "maxLength": 2}, "it")(1) == "it must be text of 0 to 2 characters, not 1"
    assert compile_schema({"type": "integer"}, "the answer")("x") == 'the answer must be a whole number, not "x"'


@pytest.mark.parametrize("keyword", ["pattern", "anyOf", "minItems", "oneOf", "$ref"])
def test_a_keyword_that_would_not_be_checked_is_refused(keyword: str) -> None:
    with pytest.raises(ValueError, match="is not checked here"):
        compile_schema({"type": "object", "properties": {"a": {keyword: 1}}})


def test_annotations_change_nothing() -> None:
    schema = {"type": "string", "title": "T", "description": "D", "default": "x", "examples": ["x"]}
    assert compile_schema(schema)("y") is None


def test_true_and_one_are_two_things_in_an_enum() -> None:
    check = compile_schema({"enum": [1, "a"]})
    assert check(1) is None and check("a") is None
    assert check(True) is not None and check(1.0) is not None and check([]) is not None


# -- any schema of the subset against any value ----------------------------------------------------------

plain = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-3, 3) | st.text("ab", max_size=4)
keys = st.sampled_from(["a", "b", "c"])
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner), max_leaves=8)
bounds = st.integers(-2, 3)
leaves = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(list(PYTHON)) | st.lists(st.sampled_from(list(PYTHON)), min_size=1, unique=True),
        "minimum": bounds,
        "maximum": bounds,
        "minLength": bounds,
        "maxLength": bounds,
        "required": st.lists(keys, unique=True),
    },
)
schemas = st.recursive(
    leaves | st.builds(lambda enum: {"enum": enum}, st.lists(plain, max_size=4)),
    lambda inner: st.builds(
        lambda leaf, more: leaf | more,
        leaves,
        st.fixed_dictionaries(
            {},
            optional={
                "properties": st.dictionaries(keys, inner),
                "items": inner,
                "additionalProperties": st.booleans() | inner,
            },
        ),
    ),
    max_leaves=6,
)


def fits(schema: Schema, value: Any) -> bool:
    """The schema read plainly, keyword by keyword."""
    words = schema.get("type", list(PYTHON))
    if not any(type(value) in PYTHON[word] for word in ([words] if isinstance(words, str) else words)):
        return False
    if "enum" in schema:
        return any(type(each) is type(value) and each == value for each in schema["enum"])
    if isinstance(value, str):
        return bool(schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    if isinstance(value, list):
        return all(fits(schema.get("items", {}), each) for each in value)
    return not isinstance(value, dict) or fits_object(schema, value)


def fits_object(schema: Schema, value: dict[str, Any]) -> bool:
    rest = schema.get("additionalProperties", True)
    properties = schema.get("properties", {})
    others = {key: each for key, each in value.items() if key not in properties}
    if not isinstance(rest, dict):
        rest = {} if rest else {"enum": []}
    return (
        all(key in value for key in schema.get("required", ()))
        and all(fits(part, value[key]) for key, part in properties.items() if key in value)
        and all(fits(rest, each) for each in others.values())
    )


@given(schemas, values)
def test_a_compiled_schema_says_what_a_plain_reading_says(schema: Schema, value: Any) -> None:
    assert schema.keys() <= KEYWORDS
    sentence = compile_schema(schema)(value)
    assert (sentence is None) == fits(schema, value)
    assert sentence is None or sentence
