"""JSON Schema, the part of it that our tools use, compiled to functions that say in a sentence what does not fit; pure.

Keywords: type (one or several), enum (of plain values), properties, required, additionalProperties, items, minimum,
maximum, minLength, maxLength. Any other that is not an annotation is refused when the schema is compiled, so that
nothing is promised to clients and then not checked. A whole number is a Python int: 5.0 and true are none.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Check = Callable[[Any], str | None]
Schema = dict[str, Any]

ANNOTATIONS = {"$schema", "title", "description", "default", "examples"}
KEYWORDS = {
    "type", "enum", "properties", "required", "additionalProperties", "items", "minimum", "maximum",
    "minLength", "maxLength",
}  # fmt: skip
PYTHON: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}
SHOWN_CHARS = 60  # of a value that does not fit


def compile_schema(schema: Schema, name: str = "the arguments") -> Check:
    """A function that gives None for a value that fits, else one sentence that names the part at fault.

    `name` is what the sentence calls the value as a whole. Raises: ValueError for a schema outside of the subset.
    """
    return _compile(schema, name, "")


def _compile(schema: Schema, name: str, inside: str) -> Check:
    """`inside` stands before the names of what an object holds."""
    if unknown := schema.keys() - KEYWORDS - ANNOTATIONS:
        raise ValueError(f"{name}: {', '.join(sorted(unknown))} is not checked here")
    refuse = _refusal(schema, name)
    by_type: dict[type, Check | None] = {}
    for word in _types(schema):
        for kind in PYTHON[word]:
            by_type[kind] = _part(schema, kind, name, inside, refuse)

    def check(value: Any) -> str | None:
        part = by_type.get(type(value), refuse)
        return None if part is None else part(value)

    return check


def _types(schema: Schema) -> list[str]:
    words = schema.get("type", list(PYTHON))
    return [words] if isinstance(words, str) else words


def _part(schema: Schema, kind: type, name: str, inside: str, refuse: Check) -> Check | None:
    """The check of a value of one Python type; None where the type says it all."""
    if "enum" in schema:
        allowed = {value for value in schema["enum"] if type(value) is kind}
        return _enum_check(allowed, refuse) if allowed else refuse
    if kind is dict:
        return _object_check(schema, inside)
    if kind is list and "items" in schema:
        return _items_check(_compile(schema["items"], f"each of {name}", inside))
    if kind is str and schema.keys() & {"minLength", "maxLength"}:
        return _range_check(schema.get("minLength"), schema.get("maxLength"), len, refuse)
    if kind in (int, float) and schema.keys() & {"minimum", "maximum"}:
        return _range_check(schema.get("minimum"), schema.get("maximum"), None, refuse)
    return None


def _enum_check(allowed: set[Any], refuse: Check) -> Check:
    return lambda value: None if value in allowed else refuse(value)


def _range_check(low: float | None, high: float | None, size: Callable[[Any], int] | None, refuse: Check) -> Check:
    least, most = float("-inf") if low is None else low, float("inf") if high is None else high
    if size is None:
        return lambda value: None if least <= value <= most else refuse(value)
    return lambda value: None if least <= size(value) <= most else refuse(value)


def _items_check(each: Check) -> Check:
    def check(values: list[Any]) -> str | None:
        for value in values:
            wrong = each(value)
            if wrong is not None:
                return wrong
        return None

    return check


def _object_check(schema: Schema, inside: str) -> Check | None:
    properties = {
        key: _compile(part, f"{inside}{key}", f"{inside}{key}.") for key, part in schema.get("properties", {}).items()
    }
    missing = {key: f"{inside}{key} is missing" for key in schema.get("required", ())}
    rest = schema.get("additionalProperties", True)
    others = _compile(rest, f"each of {inside[:-1] or 'the arguments'}", inside) if isinstance(rest, dict) else None

    def check(value: dict[str, Any]) -> str | None:
        for key in missing:
            if key not in value:
                return missing[key]
        for key, item in value.items():
            part = properties.get(key, others)
            if part is not None:
                wrong = part(item)
                if wrong is not None:
                    return wrong
        return None

    if rest is False:
        return _closed(check, properties, inside)
    return check if properties or missing or others else None


def _closed(check: Check, properties: dict[str, Check], inside: str) -> Check:
    known = ", ".join(f"{inside}{key}" for key in properties) or "none"

    def check_closed(value: dict[str, Any]) -> str | None:
        if stray := value.keys() - properties.keys():
            return f"{inside}{_cut(min(stray))} is not known; known: {known}"
        return check(value)

    return check_closed


# -- words -----------------------------------------------------------------------------------------------


def _refusal(schema: Schema, name: str) -> Check:
    wanted = _words(schema)
    return lambda value: f"{name} must be {wanted}, not {_show(value)}"


def _words(schema: Schema) -> str:
    """What a value must be, such as "a whole number from 1 to 500"."""
    if "enum" in schema:
        return "one of " + ", ".join(_show(value) for value in schema["enum"])
    return " or ".join(_type_words(word, schema) for word in _types(schema))


def _type_words(word: str, schema: Schema) -> str:
    match word:
        case "string":
            return "text" + _length(schema.get("minLength"), schema.get("maxLength"))
        case "integer" | "number":
            kind = "a whole number" if word == "integer" else "a number"
            return kind + _range(schema.get("minimum"), schema.get("maximum"))
        case "array":
            return "a list"
        case "object":
            return "an object"
        case "boolean":
            return "true or false"
    return word


def _range(low: float | None, high: float | None) -> str:
    return ("" if low is None else f" from {low}") + (
        "" if high is None else f" {'up ' if low is None else ''}to {high}"
    )


def _length(low: int | None, high: int | None) -> str:
    if high is not None:
        return f" of {low or 0} to {high} characters"
    return " that is not empty" if low == 1 else "" if low is None else f" of at least {low} characters"


def _show(value: Any) -> str:
    """A value as JSON; only the kind of one that holds others, as it may be long."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        value = _cut(value)
    return json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"
