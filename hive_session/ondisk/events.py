"""Lines of telemetry.jsonl: what an event of format v1 may hold, as one table; its encoder and decoder."""

from __future__ import annotations

import json

# Runners and taps live as long as their session and write events all the time, so this module must stay small
# in memory: `typing` would cost each of them 1 MB, orjson 3 MB. mypy takes this name for typing's own.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Check = Callable[[Any], bool]

MAX_EVENT_BYTES = 65536  # bytes of a line with its LF: one write of this size, one read by any follower
MAX_INT = 2**53 - 1  # the largest integer that a browser keeps exact
MAX_DEPTH = 32  # containers inside containers in fields we do not know; no reader may meet a parser's own limit
MAX_TEXT_CHARS = 256  # of strings that quote a model or a task
MAX_RESULT_CHARS = 2048  # of the final answer

QUEEN = "queen"  # id and role of the Claude Code process itself; every other agent descends from it
ROLES = (QUEEN, "worker", "subagent")  # by depth: 0, 1, deeper
SESSION_STATUSES = ("created", "starting", "running", "completed", "failed")
ENDED_SESSION_STATUSES = frozenset({"completed", "failed"})
ENDED_AGENT_STATUSES = ("done", "failed")
AGENT_STATUSES = ("working", "waiting", *ENDED_AGENT_STATUSES)


class BadEvent(ValueError):
    """What keeps a line or a mapping from being an event of format v1, as one sentence."""


class Kind:
    """A kind of value: its name in the documentation and the test that a value must pass."""

    __slots__ = ("check", "name")

    def __init__(self, name: str, check: Check) -> None:
        self.name = name
        self.check = check


class Field:
    """One field of an event: a row of the tables in docs/format.md, "telemetry.jsonl"."""

    __slots__ = ("kind", "meaning", "name", "required")

    def __init__(self, name: str, kind: Kind, meaning: str, *, required: bool = False) -> None:
        self.name = name
        self.kind = kind
        self.required = required
        self.meaning = meaning


def _is_str(value: Any) -> bool:
    return type(value) is str


def _is_name(value: Any) -> bool:
    return type(value) is str and value != ""


def _is_bool(value: Any) -> bool:
    return type(value) is bool


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_INT


def _is_ordinal(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAX_INT


def _is_amount(value: Any) -> bool:
    # The comparison also refuses NaN.
    return type(value) in (int, float) and 0 <= value <= MAX_INT


def _is_servers(value: Any) -> bool:
    return type(value) is list and all(
        type(row) is dict and _is_str(row.get("name")) and _is_str(row.get("status")) and _is_plain(row)
        for row in value
    )


def _is_models(value: Any) -> bool:
    return type(value) is dict and all(
        type(name) is str
        and type(row) is dict
        and _is_count(row.get("tokens"))
        and (row.get("cost_usd") is None or _is_amount(row["cost_usd"]))
        and _is_plain(row)
        for name, row in value.items()
    )


def _is_plain(value: Any, depth: int = 0) -> bool:
    """True for what every JSON reader takes alike: finite numbers, exact integers, text keys, sane depth."""
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return True
    if kind is int:
        return bool(-MAX_INT <= value <= MAX_INT)
    if kind is float:
        return bool(value - value == 0)  # false for NaN and the infinities
    if depth == MAX_DEPTH:
        return False
    if kind is list:
        return all(_is_plain(item, depth + 1) for item in value)
    return kind is dict and all(type(key) is str and _is_plain(item, depth + 1) for key, item in value.items())


def _one_of(*names: str) -> Kind:
    allowed = frozenset(names)
    return Kind(" or ".join(f'"{name}"' for name in names), lambda value: type(value) is str and value in allowed)


TEXT = Kind("str", _is_str)
NAME = Kind("str, not empty", _is_name)
BOOL = Kind("bool", _is_bool)
COUNT = Kind("int >= 0", _is_count)
ORDINAL = Kind("int >= 1", _is_ordinal)
AMOUNT = Kind("number >= 0", _is_amount)
SERVERS = Kind("list of {name: str, status: str}", _is_servers)
MODELS = Kind("object of {tokens: int, cost_usd: number or null}", _is_models)

AGENT = Field("agent", NAME, "the agent's id", required=True)
PARTS = (
    Field("input_tokens", COUNT, "of these, read by the model at full price"),
    Field("output_tokens", COUNT, "of these, written by the model"),
    Field("cache_read_tokens", COUNT, "of these, read from the cache"),
    Field("cache_write_tokens", COUNT, "of these, written to the cache"),
)
TOOL_USES = Field("tool_uses", COUNT, "tools called so far")
DURATION = Field("duration_ms", COUNT, "from its start to now")

COMMON = (
    Field("ts", COUNT, "when it was observed, milliseconds since 1970 in UTC", required=True),
    Field("type", NAME, "one of the types below, or any other name", required=True),
    Field("at", COUNT, "byte offset in claude.jsonl just after the line it was derived from"),
)

EVENTS: dict[str, tuple[Field, ...]] = {
    "session": (
        Field("status", _one_of(*SESSION_STATUSES), "the session's status from now on", required=True),
        Field("attempt", ORDINAL, "1 for the first run, one more for each resume", required=True),
        Field("reason", TEXT, "why it ended"),
        Field("exit_code", COUNT, "the agent program's own exit code"),
        Field("signal", ORDINAL, "number of the signal that ended it"),
        Field("agent", TEXT, "name of the agent program"),
    ),
    "resources": (
        Field("cpu_ms", COUNT, "CPU time of the whole process tree in this attempt", required=True),
        Field("rss_bytes", COUNT, "resident memory of the tree now", required=True),
        Field("read_bytes", COUNT, "read from storage in this attempt"),
        Field("write_bytes", COUNT, "written to storage in this attempt"),
        Field("processes", COUNT, "processes in the tree now", required=True),
    ),
    "log_rotated": (Field("base", COUNT, "bytes that have left the log so far", required=True),),
    "tap_started": (),
    "tap_ended": (Field("exit_code", COUNT, "Claude Code's own exit code; null when nobody saw it"),),
    "claude_started": (
        AGENT,
        Field("model", TEXT, "the model it runs on"),
        Field("conversation", TEXT, "Claude Code's own session id, which resumes the conversation"),
        Field("version", TEXT, "version of Claude Code"),
        Field("tools", COUNT, "tools on offer"),
        Field("mcp_servers", SERVERS, "MCP servers, each with its state"),
    ),
    "agent_spawned": (
        AGENT,
        Field("parent", TEXT, "id of the agent that called for it; null for the queen"),
        Field("role", _one_of(*ROLES), "by depth: 0, 1, deeper", required=True),
        Field("kind", TEXT, 'what it is, such as "coder"; "claude" for the queen', required=True),
        Field("task", TEXT, "what it is to do, cut to 256 characters", required=True),
    ),
    "agent_status": (
        AGENT,
        Field("status", _one_of(*AGENT_STATUSES), "its status from now on", required=True),
        Field("tool", TEXT, "the tool in use from now on; null for none"),
    ),
    "usage": (
        AGENT,
        Field("tokens", COUNT, "tokens used so far, all four parts together", required=True),
        *PARTS,
        TOOL_USES,
        DURATION,
        Field("cost_usd", AMOUNT, "cost so far in US dollars"),
        Field("model", TEXT, "the model that answered it last"),
    ),
    "agent_ended": (
        AGENT,
        Field("status", _one_of(*ENDED_AGENT_STATUSES), "how it ended", required=True),
        Field("tokens", COUNT, "tokens used in all"),
        TOOL_USES,
        DURATION,
        Field("summary", TEXT, "its last word, cut to 256 characters"),
    ),
    "message": (
        Field("from", NAME, "id of the agent that says it", required=True),
        Field("to", NAME, "id of the agent that is told", required=True),
        Field("text", TEXT, "what is said, cut to 256 characters", required=True),
    ),
    "api_retry": (
        AGENT,
        Field("attempt", COUNT, "which try comes next, counted by Claude Code", required=True),
        Field("max_retries", COUNT, "tries before it gives up", required=True),
        Field("delay_ms", COUNT, "wait before the next try", required=True),
        Field("error_status", COUNT, "HTTP status; null when there was no answer"),
        Field("error", TEXT, "kind of error, cut to 256 characters", required=True),
    ),
    "result": (
        AGENT,
        Field("is_error", BOOL, "true when the run failed, whatever `subtype` says", required=True),
        Field("subtype", TEXT, "Claude Code's word for the outcome", required=True),
        Field("duration_ms", COUNT, "wall time of the turn"),
        Field("api_duration_ms", COUNT, "of this, time waiting for the API"),
        Field("turns", COUNT, "answers of the model"),
        Field("cost_usd", AMOUNT, "cost of all agents so far in US dollars"),
        Field("tokens", COUNT, "tokens of all agents so far, all four parts together"),
        *PARTS,
        Field("models", MODELS, "the same by model name"),
        Field("text", TEXT, "the final answer or the error, cut to 2048 characters"),
    ),
}


def _checks(fields: tuple[Field, ...]) -> tuple[dict[str, Kind], tuple[str, ...]]:
    kinds = {field.name: field.kind for field in (*COMMON, *fields)}
    return kinds, tuple(field.name for field in (*COMMON, *fields) if field.required)


_UNKNOWN = _checks(())
_KNOWN = {name: _checks(fields) for name, fields in EVENTS.items()}


def validate_event(event: Mapping[str, Any]) -> None:
    """Accept an event of format v1 in silence; an unknown type needs only the common fields.

    Raises: BadEvent, naming the type and the field. Source: docs/format.md, "telemetry.jsonl".
    """
    kind = event.get("type")
    kinds, required = _KNOWN.get(kind, _UNKNOWN) if type(kind) is str else _UNKNOWN
    for name in required:
        if event.get(name) is None:
            raise BadEvent(f"{_label(kind)}: {_quote(name)} is missing")
    for name, value in event.items():
        expected = kinds.get(name)
        if expected is None:
            if type(name) is not str or not _is_plain(value):
                raise BadEvent(f"{_label(kind)}: {_quote(name)} holds what JSON can't carry everywhere")
        elif value is not None and not expected.check(value):
            raise BadEvent(f"{_label(kind)}: {_quote(name)} must be {expected.name}, not {_quote(value)}")


def encode_event(event: Mapping[str, Any]) -> bytes:
    """One line of telemetry.jsonl with its LF, ready for one O_APPEND write.

    Raises: BadEvent for anything that `decode_event` would refuse.
    """
    validate_event(event)
    try:
        line = json.dumps(dict(event), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    except UnicodeEncodeError as exc:
        raise BadEvent(f"{_label(event['type'])}: half of a surrogate pair is no character") from exc
    if len(line) > MAX_EVENT_BYTES:
        raise BadEvent(f"{_label(event['type'])}: {len(line)} bytes; a line holds at most {MAX_EVENT_BYTES}")
    return line


def decode_event(line: bytes) -> dict[str, Any]:
    """The event on one line of telemetry.jsonl, with or without its LF; unknown types and fields are kept.

    Raises: BadEvent for a line that is no event of format v1; a reader skips it and goes on.
    """
    import orjson  # here, not above: only readers need it

    if len(line) > MAX_EVENT_BYTES:
        raise BadEvent(f"{len(line)} bytes; a line holds at most {MAX_EVENT_BYTES}")
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        raise BadEvent(f"not JSON: {exc}") from exc
    if type(event) is not dict:
        raise BadEvent("not a JSON object")
    validate_event(event)
    return event


def _label(kind: Any) -> str:
    return kind[:40] if type(kind) is str and kind else "event"


def _quote(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
