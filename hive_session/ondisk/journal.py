"""What a program of the suite logs where HIVE_LOG_FORMAT is json: one event, one line, one JSON object; pure, stdlib only."""

from __future__ import annotations

import json
import re
import time

TYPE_CHECKING = False  # typing would cost the health listener more than this whole module
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

VARIABLE = "HIVE_LOG_FORMAT"
SECRETS = ("TCP_AUTH_TOKEN", "WS_AUTH_TOKEN")  # the variables whose values never stand in a log
MAX_CHARS = 8192  # of a message; a traceback may have as many again
HIDDEN = "***"
_UNUSUAL = re.compile(r"[^\x20-\x7e]")
_CREDENTIAL = re.compile(r"(?i)(\btoken=|\bbearer\s+)[^\s&\"',;]+")
_LEVELS = {"CRITICAL": "error", "WARN": "warning", "NOTSET": "debug"}


def wants_json(env: Mapping[str, str]) -> bool:
    """True where events are to be logged as JSON; otherwise as text."""
    return env.get(VARIABLE) == "json"


def secrets_in(env: Mapping[str, str]) -> tuple[str, ...]:
    """The values that no log may hold."""
    return tuple(env[name] for name in SECRETS if env.get(name))


def entry(
    program: str,
    message: str,
    *,
    now_s: float,
    pid: int,
    level: str = "info",
    exception: str | None = None,
    secrets: Iterable[str] = (),
) -> str:
    """One line with its LF. `level`: debug, info, warning or error, or as `logging` names it; `exception`: a traceback.

    Whoever said what is quoted in it, the line stays one line of printable characters without secrets.
    Source: docs/format.md, "Logs".
    """
    found = {
        "time": timestamp(now_s),
        "level": _LEVELS.get(level.upper(), level.lower()),
        "program": program,
        "pid": pid,
        "message": cut(escape(conceal(message, secrets))),
    }
    if exception is not None:
        lines = conceal(exception, secrets).split("\n")
        found["exception"] = cut("\n".join(map(escape, lines)).strip("\n"))
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")) + "\n"


def timestamp(now_s: float) -> str:
    """RFC 3339 in UTC with a numeric offset, to the millisecond."""
    now_ms = int(now_s * 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now_ms // 1000))}.{now_ms % 1000:03}+00:00"


def escape(text: str) -> str:
    """`text` with all that is not printable written out, such as `\\n` or `\\x1b`."""
    return _UNUSUAL.sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
    return found[0] if found[0].isprintable() else ascii(found[0])[1:-1]


def conceal(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without `secrets`, and without what follows `token=` and `Bearer`, whosoever it is."""
    for each in secrets:
        text = text.replace(each, HIDDEN)
    return _CREDENTIAL.sub(rf"\1{HIDDEN}", text)


def cut(text: str) -> str:
    """At most MAX_CHARS characters: of a longer text the beginning and the end, where a traceback says what happened."""
    if len(text) <= MAX_CHARS:
        return text
    half = MAX_CHARS // 2
    return f"{text[: half - 1]}…{text[-half:]}"
