"""session.json as a record: what it holds, how it is decoded from untrusted bytes, how it is encoded."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from hive_session.ondisk.layout import is_session_id

SCHEMA = 1
STATUSES = ("created", "starting", "running", "completed", "failed")
TERMINAL = ("completed", "failed")
PRIORITIES = ("high", "medium", "low")
ON_INTERRUPT = "on-interrupt"
REASONS = ("exit", "signal", "timeout", "cancelled", "lost", "interrupted", "spawn_error")
MAX_RECORD_BYTES = 64 << 20  # a session.json beyond this is refused unread: no task comes near it


class BadRecord(ValueError):
    """A file that is not what docs/format.md says; `path` names it, the text says what is wrong."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path
        self.what = what


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the agents of a session used, over all its attempts."""

    agents: int = 0
    tokens: int = 0  # input + output + cache read + cache write
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceUsage:
    """What the whole process tree of the last attempt consumed (getrusage and /proc)."""

    cpu_user_ms: int = 0
    cpu_system_ms: int = 0
    max_rss_bytes: int = 0  # of the largest single process
    read_bytes: int = 0
    write_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """One session. Times are RFC 3339 UTC with a numeric offset; fields of later versions live in `extra`."""

    status: str
    schema: int = SCHEMA
    session_id: str
    task: str
    priority: str = "medium"
    created: str
    updated: str = ""  # empty only in files of the original that never changed status
    working_dir: str
    output_dir: str
    database: str
    log_file: str
    metadata: Any = None
    agent: str = "claude-flow"
    args: tuple[str, ...] = ()  # appended to the agent's argv, as given to `start`
    labels: dict[str, str] = field(default_factory=dict)
    env: tuple[str, ...] = ()  # names only; the values are in env.json, mode 0600
    timeout_s: float | None = None
    request_sha256: str | None = None  # of the create request, when it had a --key
    runs_claude: bool = False  # Claude Code runs beneath the agent: its exit is the session's
    restart: str | None = None  # ON_INTERRUPT: resumed by `reconcile --resume` where the machine went down; else never
    restarts: int | None = None  # how often in a row it was, without running for long in between
    external: bool = False  # driven by update-status from outside: its liveness is not ours to judge
    attempt: int = 0  # starts so far
    started: str | None = None
    ended: str | None = None
    reason: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    detail: str | None = None  # one sentence for people
    pid: int | None = None  # the runner's
    boot: str | None = None  # identity of the machine or container start that ran the last attempt
    conversation: str | None = None  # Claude Code's own session id
    usage: Usage | None = None
    rusage: ResourceUsage | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL


_FIELDS = {f.name for f in dataclasses.fields(SessionRecord)} - {"extra"}
_REQUIRED = ("status", "session_id", "task", "created", "working_dir", "output_dir", "database", "log_file")
_ALWAYS = {"metadata"}  # written even when null: the original's readers look for it


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_labels(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


# What a value must be where it is present and not null, with the words for when it is not.
_KINDS: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (
        (
            "updated",
            "priority",
            "agent",
            "request_sha256",
            "restart",
            "started",
            "ended",
            "reason",
            "detail",
            "boot",
            "conversation",
        ),
        lambda value: isinstance(value, str),
        "not text",
    ),
    (("exit_code", "signal", "pid", "attempt", "restarts"), lambda value: type(value) is int, "not a whole number"),
    (("timeout_s",), lambda value: type(value) in (int, float), "not a number"),
    (("external", "runs_claude"), lambda value: isinstance(value, bool), "not true or false"),
    (("args", "env"), _is_texts, "not a list of texts"),
    (("labels",), _is_labels, "not an object of texts"),
)


def decode_session(raw: bytes, path: str) -> SessionRecord:
    """The record in `raw`. Raises: BadRecord for anything else, naming `path` and the field at fault."""
    if len(raw) > MAX_RECORD_BYTES:
        raise BadRecord(path, f"{len(raw)} bytes; a record has at most {MAX_RECORD_BYTES}")
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise BadRecord(path, f"not JSON ({exc})") from None
    if not isinstance(found, dict):
        raise BadRecord(path, "not a JSON object")
    return _build(found, path)


def _build(found: dict[str, Any], path: str) -> SessionRecord:
    schema = found.get("schema", SCHEMA)
    if type(schema) is not int or schema < 1:
        raise BadRecord(path, "schema is not a whole number from 1")
    if schema > SCHEMA:
        raise BadRecord(path, f"schema {schema} is newer than this program reads ({SCHEMA}); upgrade it")
    known = {key: value for key, value in found.items() if key in _FIELDS}
    extra = {key: value for key, value in found.items() if key not in _FIELDS}
    _check_types(known, path)
    for key in ("args", "env"):
        known[key] = tuple(known.get(key) or ())
    known["labels"] = known.get("labels") or {}
    _check_depth({**extra, "metadata": known.get("metadata")}, path)
    known["usage"] = _part(Usage, known.get("usage"), path)
    known["rusage"] = _part(ResourceUsage, known.get("rusage"), path)
    for key in ("updated", "priority", "agent", "attempt", "external", "runs_claude"):
        if known.get(key) is None:
            known.pop(key, None)
    return SessionRecord(**known, extra=extra)


def _check_types(known: dict[str, Any], path: str) -> None:
    for key in _REQUIRED:
        if not isinstance(known.get(key), str):
            raise BadRecord(path, f"{key} is {'missing' if key not in known else 'not text'}")
    if not is_session_id(known["session_id"]):
        raise BadRecord(path, "session_id is not a lower-case UUID")
    for keys, fits, words in _KINDS:
        for key in keys:
            if known.get(key) is not None and not fits(known[key]):
                raise BadRecord(path, f"{key} is {words}")


def _check_depth(kept: dict[str, Any], path: str) -> None:
    """orjson reads four times as deep as it writes, and what is read must be writable at the next change."""
    try:
        orjson.dumps(kept)
    except orjson.JSONEncodeError as exc:
        raise BadRecord(path, f"nested too deeply ({exc})") from None


def _part(kind: type[Any], value: Any, path: str) -> Any:
    """A nested record of numbers; fields it does not know are dropped, as they can be measured again."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise BadRecord(path, f"{kind.__name__.lower()} is not an object")
    names = {f.name for f in dataclasses.fields(kind)}
    numbers = {k: v for k, v in value.items() if k in names and v is not None}
    if any(type(v) not in (int, float) for v in numbers.values()):
        raise BadRecord(path, f"{kind.__name__.lower()} holds something that is not a number")
    return kind(**numbers)


def encode_session(record: SessionRecord) -> bytes:
    """The bytes of session.json: two-space indent, `status` first, unknown keys kept, a final newline."""
    document: dict[str, Any] = {}
    for f in dataclasses.fields(record):
        value = getattr(record, f.name)
        empty = value is None or value is False or value in ((), {})
        if f.name == "extra" or (empty and f.name not in _ALWAYS):
            continue
        document[f.name] = value
    document.update(record.extra)
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def format_time(epoch_s: float, *, millis: bool = False) -> str:
    """RFC 3339 in UTC with a numeric offset, as `date -Iseconds` prints it; with milliseconds where asked."""
    moment = datetime.fromtimestamp(epoch_s, UTC)
    return moment.isoformat(timespec="milliseconds" if millis else "seconds")


def parse_time(text: str) -> float | None:
    """Seconds since the epoch of an RFC 3339 time; None when it is not one (a naive time counts as UTC)."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def end_time(record: SessionRecord) -> float | None:
    """When the session ended, in epoch seconds: `ended`, else (files of the original) `updated`, else `created`."""
    for text in (record.ended, record.updated, record.created):
        if text and (moment := parse_time(text)) is not None:
            return moment
    return None
