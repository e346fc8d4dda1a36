"""Making a session: the request is checked whole before anything is written, and the directory appears by one rename."""

import errno
import json
import math
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from hive_session import errors
from hive_session.durable import append_line, replace_file, sync_directory
from hive_session.errors import Refused, UsageError
from hive_session.ondisk.events import encode_event
from hive_session.ondisk.layout import SWARM, Layout, SessionPaths
from hive_session.ondisk.records import ON_INTERRUPT, PRIORITIES, SessionRecord, encode_session, format_time
from hive_session.store import Store

TASK_MAX_BYTES = 16 << 20
EXACT_INTEGERS = range(-(2**63), 2**64)  # what JSON readers of this field keep exactly
NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """What `create` was asked for, checked."""

    task: str
    priority: str = "medium"
    metadata: Any = None
    agent: str
    timeout_s: float | None = None
    restart: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """SHA-256 of the request: two creates with one --key are the same request when this is equal."""
        import hashlib  # only --key needs it, and it takes 2 ms

        parts = [
            self.task,
            self.priority,
            self.metadata,
            self.agent,
            self.timeout_s,
            dict(self.labels),
            dict(self.env),
            *filter(None, [self.restart]),  # left out by itself: keys of earlier versions keep their digest
        ]
        return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


def check_task(task: str) -> str:
    """The task as it is. Raises: UsageError when it is empty, holds a NUL or is not text."""
    if not task.strip():
        raise UsageError("the task is empty", "say what the session is to do")
    if "\0" in task:
        raise UsageError("the task holds a NUL character, which no program argument can carry", "remove it")
    try:
        size = len(task.encode())
    except UnicodeEncodeError:
        raise UsageError(
            "the task is not UTF-8 text", "give it as UTF-8, or put the bytes in a file that the task names"
        ) from None
    if size > TASK_MAX_BYTES:
        raise UsageError(
            f"the task has {size} bytes; at most {TASK_MAX_BYTES} are taken",
            "put it in a file that the task names",
        )
    return task


def check_priority(priority: str) -> str:
    if priority not in PRIORITIES:
        raise UsageError(f"no such priority: {priority!r}", f"one of: {', '.join(PRIORITIES)}")
    return priority


def check_restart(word: str) -> str | None:
    """What the record holds for the word of --restart. Raises: UsageError."""
    if word not in ("no", ON_INTERRUPT):
        raise UsageError(f"--restart {word!r} is not known", f"one of: no, {ON_INTERRUPT}")
    return None if word == "no" else word


def decode_metadata(text: str | None) -> Any:
    """The JSON object in `text`; None for nothing or `null`. Raises: UsageError for anything else."""
    if text is None or text.strip() in ("", "null"):
        return None
    try:
        found = json.loads(text, parse_int=_exact_integer, parse_float=_finite, parse_constant=_no_constant)
        orjson.dumps(
            [found]
        )  # one level deeper, as in the record: no lone surrogates, no nesting that other readers refuse
    except (ValueError, RecursionError, orjson.JSONEncodeError) as exc:
        raise UsageError(
            f"the metadata is not a JSON object: {exc}", """write for example '{"owner":"me"}'"""
        ) from None
    if not isinstance(found, dict):
        raise UsageError(
            f"the metadata is JSON, but not an object: {text[:40]}", """write for example '{"owner":"me"}'"""
        )
    return found


def _exact_integer(digits: str) -> int:
    if len(digits) > 20 or int(digits) not in EXACT_INTEGERS:
        raise ValueError(f"{digits[:24]} is a whole number beyond 64 bits, which would be changed; write it as a text")
    return int(digits)


def _finite(digits: str) -> float:
    if math.isinf(number := float(digits)):
        raise ValueError(f"{digits[:24]} is beyond the largest number, which would be changed; write it as a text")
    return number


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def parse_pairs(pairs: list[str], option: str) -> dict[str, str]:
    """`k=v` words as a mapping. Raises: UsageError naming the word at fault."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, mark, value = pair.partition("=")
        if not mark or not name or "\0" in pair:
            raise UsageError(f"{option} {pair!r} is not NAME=VALUE")
        if option == "--env" and not (set(name) <= NAME_CHARACTERS and not name[0].isdigit()):
            raise UsageError(f"{option}: {name!r} is not the name of a variable")
        try:
            pair.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{option} {pair!r} is not UTF-8 text") from None
        found[name] = value
    return found


def keyed_id(workspace: str, key: str) -> str:
    """The id that `--key KEY` always gives in this workspace: the directory's name is then the guard against a second one."""
    import hashlib

    digest = hashlib.sha256(f"{os.path.realpath(workspace)}\0{key}".encode("utf-8", "surrogateescape")).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


def create_session(store: Store, request: CreateRequest, key: str | None = None) -> SessionRecord:
    """Make the session on disk. Raises: HiveError; then nothing is left of it."""
    session_id = keyed_id(store.layout.workspace, key) if key is not None else str(uuid.uuid4())
    paths = store.paths(session_id)
    if key is not None and os.path.exists(paths.record):
        return _same_request(store, session_id, request, key)
    record = _new_record(store, paths, request, keyed=key is not None)
    building = f"{store.layout.sessions}/.new-{session_id}-{os.getpid()}"
    try:
        make_roots(store.layout)
        _build(building, paths, record, request, store)
        os.rename(building, paths.dir)
        sync_directory(store.layout.sessions)
    except OSError as exc:
        shutil.rmtree(building, ignore_errors=True)
        if exc.errno in (errno.ENOTEMPTY, errno.EEXIST) and key is not None:
            return _same_request(store, session_id, request, key)
        _remove_outside(paths)
        raise errors.from_os_error(exc, "creating a session:") from None
    try:
        store.add_row(record)
    except (OSError, errors.HiveError) as exc:
        shutil.rmtree(paths.dir, ignore_errors=True)
        _remove_outside(paths)
        if isinstance(exc, errors.HiveError):
            raise
        raise errors.from_os_error(exc, "adding a session to the index:") from None
    return record


def make_roots(layout: Layout) -> None:
    """The directories that all sessions share. Raises: OSError."""
    for path in (layout.sessions, layout.output_root, layout.log_dir):
        os.makedirs(path, exist_ok=True)


def _same_request(store: Store, session_id: str, request: CreateRequest, key: str) -> SessionRecord:
    record = store.read(session_id)
    if record.request_sha256 != request.digest():
        raise Refused(f"the key {key!r} was used for another request, by session {session_id}", "use another key")
    return record


def _new_record(store: Store, paths: SessionPaths, request: CreateRequest, *, keyed: bool) -> SessionRecord:
    moment = format_time(store.now())
    return SessionRecord(
        status="created",
        session_id=paths.id,
        task=request.task,
        priority=request.priority,
        created=moment,
        updated=moment,
        working_dir=paths.dir,
        output_dir=paths.output,
        database=paths.database,
        log_file=paths.log,
        metadata=request.metadata,
        agent=request.agent,
        labels=dict(request.labels),
        env=tuple(request.env),
        timeout_s=request.timeout_s,
        restart=request.restart,
        request_sha256=request.digest() if keyed else None,
    )


def _build(building: str, paths: SessionPaths, record: SessionRecord, request: CreateRequest, store: Store) -> None:
    os.mkdir(building)
    os.mkdir(f"{building}/{SWARM}")
    os.symlink(paths.output, f"{building}/output")
    os.symlink(paths.log, f"{building}/session.log")
    replace_file(f"{building}/session.json", encode_session(record))
    append_line(f"{building}/telemetry.jsonl", encode_event(store.transition_event(record)))
    if request.env:
        replace_file(f"{building}/env.json", orjson.dumps(dict(request.env)), mode=0o600)
    os.makedirs(paths.output, exist_ok=True)
    append_line(paths.log, b"")


def _remove_outside(paths: SessionPaths) -> None:
    """Take back what a failed create made outside the session directory; an output directory only while it is empty."""
    try:
        os.rmdir(paths.output)
    except OSError:
        pass
    try:
        if os.path.getsize(paths.log) == 0:
            os.unlink(paths.log)
    except OSError:
        pass
