"""Fields of the JSON that Claude Code writes, read so that no value in them can surprise; pure."""

from __future__ import annotations

import json

from hive_session.ondisk.events import MAX_INT, MAX_RESULT_CHARS, MAX_TEXT_CHARS, QUEEN

TYPE_CHECKING = False  # typing costs each tap 1 MB; mypy takes this name for typing's own
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]
    Parts = list[int]  # tokens in the order of PARTS

MAX_LINE_BYTES = 32 << 20  # more than any tool result with its images; a longer line would only cost memory
MAX_PART = MAX_INT // 4  # so that the sum of four stays exact
MAX_ROWS = 16  # models of a result, MCP servers of a start: keeps an event far below its limit of bytes
PARTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
API_PARTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
MODEL_PARTS = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")


def decode_line(line: bytes) -> Json:
    """The object on a line; {} for a banner, a torn line, and whatever else is none."""
    if not line.startswith(b"{") or len(line) > MAX_LINE_BYTES:
        return {}
    try:
        # Not orjson: this one takes halves of surrogate pairs, which JavaScript leaves when it cuts an emoji.
        return as_dict(json.loads(line.decode("utf-8", "replace")))
    except (ValueError, RecursionError):
        return {}


def as_dict(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def as_text(value: Any, limit: int = MAX_TEXT_CHARS) -> str:
    """The first `limit` characters of a string, fit for UTF-8; "" for anything else."""
    return value[:limit].encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def as_id(value: Any) -> str:
    """An id as it is, or "" for what can't be one; nobody else may call himself queen."""
    text = as_text(value)
    return text if text == value and text != QUEEN else ""


def as_amount(value: Any) -> float | None:
    """A number from 0 to MAX_INT; None for anything else."""
    # bool is an int to Python; the comparison refuses NaN.
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= MAX_INT
    return value if fits else None


def as_count(value: Any) -> int | None:
    """The same, rounded: Claude Code gives some durations with fractions."""
    amount = as_amount(value)
    return None if amount is None else round(amount)


def as_parts(usage: Any, names: tuple[str, ...]) -> Parts:
    """The four token counts under `names`; 0 where there is none."""
    return [min(as_count(as_dict(usage).get(name)) or 0, MAX_PART) for name in names]


def add_parts(one: Parts, other: Parts) -> Parts:
    return [min(a + b, MAX_PART) for a, b in zip(one, other, strict=True)]


def max_parts(one: Parts, other: Parts) -> Parts:
    return [max(pair) for pair in zip(one, other, strict=True)]


def answer_text(content: Any) -> str:
    """What a tool's answer says: a string, or its first block of text (the next one is for the model)."""
    texts = (as_text(as_dict(block).get("text")) for block in as_list(content))
    return as_text(content) or next(filter(None, texts), "")


def started_fields(message: Json) -> Json:
    """What a system/init line says, as the fields of claude_started."""
    rows = [as_dict(row) for row in as_list(message.get("mcp_servers"))[:MAX_ROWS]]
    return {
        "model": as_text(message.get("model")),
        "conversation": as_text(message.get("session_id")),
        "version": as_text(message.get("claude_code_version")),
        "tools": len(as_list(message.get("tools"))),
        "mcp_servers": [{key: as_text(row.get(key)) for key in ("name", "status")} for row in rows],
    }


def retry_fields(message: Json) -> Json:
    """What a system/api_retry line says, as the fields of api_retry."""
    return {
        "attempt": as_count(message.get("attempt")) or 0,
        "max_retries": as_count(message.get("max_retries")) or 0,
        "delay_ms": as_count(message.get("retry_delay_ms")) or 0,
        "error_status": as_count(message.get("error_status")),
        "error": as_text(message.get("error")),
    }


def result_fields(message: Json) -> Json:
    """What a result line says, as the fields of result: `usage` is the queen's, `modelUsage` everyone's."""
    rows = list(as_dict(message.get("modelUsage")).items())[:MAX_ROWS]
    models = {as_text(name): as_parts(row, MODEL_PARTS) for name, row in rows}
    costs = {as_text(name): as_amount(as_dict(row).get("costUSD")) for name, row in rows}
    parts = [0, 0, 0, 0] if models else as_parts(message.get("usage"), API_PARTS)
    for used in models.values():
        parts = add_parts(parts, used)
    times = {"duration_ms": "duration_ms", "api_duration_ms": "duration_api_ms", "turns": "num_turns"}
    figures = {name: as_count(message.get(theirs)) for name, theirs in times.items()}
    subtype = as_text(message.get("subtype"))
    words = [message.get("result"), *as_list(message.get("errors"))]
    return {
        "is_error": message.get("is_error", subtype != "success") is True,
        "subtype": subtype,
        **{name: figure for name, figure in figures.items() if figure is not None},
        "cost_usd": as_amount(message.get("total_cost_usd")),
        "tokens": sum(parts),
        **dict(zip(PARTS, parts, strict=True)),
        "models": {name: {"tokens": sum(used), "cost_usd": costs[name]} for name, used in models.items()},
        "text": as_text("\n".join(word for word in words if isinstance(word, str)), MAX_RESULT_CHARS),
    }
