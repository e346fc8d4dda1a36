"""The fixtures that the official conformance suite asks a server for; served with the hidden flag --conformance alone; pure.

They answer with whole results: a tool's answer has `content` and goes out as it is. What takes more than reading (logging,
progress, sampling, elicitation) is not here, as the data plane does not offer it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mcp_tcp.tools import About, Answer, Needs, Question, Schema, Tool

Json = dict[str, Any]

# One red pixel, and one millisecond of silence.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC"
WAV = "UklGRiwAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQgAAACAgICAgICAgA=="

TEMPLATE_START, TEMPLATE_END = "test://template/", "/data"


class Fixture(Tool):
    """A tool without an output schema, that takes any arguments."""

    __slots__ = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "check", _anything)


def _anything(_: object) -> None:
    return None


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _image() -> Json:
    return {"type": "image", "data": PNG, "mimeType": "image/png"}


def _embedded(uri: str, mime: str, text: str) -> Json:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": mime, "text": text}}


def _fixture(name: str, description: str, *content: Json, error: bool = False, schema: Schema | None = None) -> Fixture:
    """A tool that always answers the same."""
    answer: Answer = {"content": list(content), "isError": error}

    def same(_: Question) -> Answer:
        return dict(answer)

    return Fixture(
        name=name,
        title=name,
        description=description,
        input_schema=schema or {"type": "object", "properties": {}},
        output_schema={},
        needs=Needs.CARDS,
        about=About.ALL,
        answer=same,
    )


# Every keyword of it must reach the client unchanged.
_RICH_SCHEMA: Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}

TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        _fixture("test_simple_text", "Answers with text.", _text("This is a simple text response for testing.")),
        _fixture("test_image_content", "Answers with an image.", _image()),
        _fixture("test_audio_content", "Answers with sound.", {"type": "audio", "data": WAV, "mimeType": "audio/wav"}),
        _fixture(
            "test_embedded_resource",
            "Answers with a resource.",
            _embedded("test://embedded-resource", "text/plain", "This is an embedded resource content."),
        ),
        _fixture(
            "test_multiple_content_types",
            "Answers with text, an image and a resource.",
            _text("Multiple content types test:"),
            _image(),
            _embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
        ),
        _fixture(
            "test_error_handling",
            "Always fails.",
            _text("This tool intentionally returns an error for testing"),
            error=True,
        ),
        _fixture("test_logging_tool", "Would be one to log; this server never does.", _text("Nothing was logged.")),
        _fixture(
            "json_schema_2020_12_tool",
            "Tool with JSON Schema 2020-12 features",
            _text("Only its input schema counts."),
            schema=_RICH_SCHEMA,
        ),
    )
}

RESOURCES: tuple[Json, ...] = (
    {
        "uri": "test://static-text",
        "name": "static-text",
        "description": "A text that never changes.",
        "mimeType": "text/plain",
    },
    {
        "uri": "test://static-binary",
        "name": "static-binary",
        "description": "An image that never changes.",
        "mimeType": "image/png",
    },
    {
        "uri": "test://watched-resource",
        "name": "watched-resource",
        "description": "One to subscribe to.",
        "mimeType": "text/plain",
    },
)

TEMPLATES: tuple[Json, ...] = (
    {
        "uriTemplate": f"{TEMPLATE_START}{{id}}{TEMPLATE_END}",
        "name": "template",
        "description": "An object that holds the id.",
        "mimeType": "application/json",
    },
)

_STATIC: dict[str, Json] = {
    "test://static-text": {"mimeType": "text/plain", "text": "This is the content of the static text resource."},
    "test://static-binary": {"mimeType": "image/png", "blob": PNG},
    "test://watched-resource": {"mimeType": "text/plain", "text": "It never changes."},
}


def read_resource(uri: str) -> Json | None:
    """The one element of `contents` of a resources/read; None when there is no such resource."""
    if uri in _STATIC:
        return {"uri": uri, **_STATIC[uri]}
    if uri.startswith(TEMPLATE_START) and uri.endswith(TEMPLATE_END):
        part = uri[len(TEMPLATE_START) : -len(TEMPLATE_END)]
        held = {"id": part, "templateTest": True, "data": f"Data for ID: {part}"}
        return {"uri": uri, "mimeType": "application/json", "text": json.dumps(held)}
    return None


def _argument(name: str, description: str) -> Json:
    return {"name": name, "description": description, "required": True}


PROMPTS: tuple[Json, ...] = (
    {"name": "test_simple_prompt", "description": "A prompt without arguments."},
    {
        "name": "test_prompt_with_arguments",
        "description": "A prompt that holds its arguments.",
        "arguments": [_argument("arg1", "First test argument"), _argument("arg2", "Second test argument")],
    },
    {
        "name": "test_prompt_with_embedded_resource",
        "description": "A prompt with a resource.",
        "arguments": [_argument("resourceUri", "URI of the resource to embed")],
    },
    {"name": "test_prompt_with_image", "description": "A prompt with an image."},
)


def get_prompt(name: str, arguments: Mapping[str, str]) -> Json | None:
    """The result of a prompts/get, whose arguments are there as PROMPTS says; None when there is no such prompt."""
    if name == "test_simple_prompt":
        contents = [_text("This is a simple prompt for testing.")]
    elif name == "test_prompt_with_arguments":
        contents = [_text(f"Prompt with arguments: arg1='{arguments['arg1']}', arg2='{arguments['arg2']}'")]
    elif name == "test_prompt_with_embedded_resource":
        embedded = _embedded(arguments["resourceUri"], "text/plain", "Embedded resource content for testing.")
        contents = [embedded, _text("Please process the embedded resource above.")]
    elif name == "test_prompt_with_image":
        contents = [_image(), _text("Please analyze the image above.")]
    else:
        return None
    return {"messages": [{"role": "user", "content": content} for content in contents]}


def complete(name: str, argument: str, value: str) -> list[str] | None:
    """What could stand for an argument of a prompt of ours; None when the prompt or its argument is not ours."""
    if name == "test_prompt_with_arguments" and argument in ("arg1", "arg2"):
        return [word for word in ("paris", "park", "party") if word.startswith(value)]
    return None
