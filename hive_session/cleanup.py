"""Removing old sessions: what is selected, and how it goes without ever taking what is not ours or leaving half of it."""

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import orjson

from hive_session.durable import append_line, locked, read_file
from hive_session.errors import HiveError, NoSession
from hive_session.ondisk.index import TASK_CHARACTERS
from hive_session.ondisk.layout import Layout, SessionPaths, is_session_id
from hive_session.ondisk.liveness import run_is_alive
from hive_session.ondisk.records import BadRecord, SessionRecord, decode_session, end_time, format_time
from hive_session.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long ended sessions are kept, in seconds since their end; failed ones may be kept longer."""

    max_age_s: float
    keep_failed_s: float | None = None


def select_expired(records: Iterable[SessionRecord], *, now: float, limits: Limits) -> list[SessionRecord]:
    """The ended sessions beyond their age, oldest end first. What still runs, or has no readable end, never expires.

    Source: docs/format.md, "Cleanup".
    """
    dated = [(moment, each) for each in records if each.terminal and (moment := end_time(each)) is not None]
    expired = [(moment, each) for moment, each in dated if now - moment >= _limit(each, limits)]
    return [each for _, each in sorted(expired, key=lambda pair: pair[0])]


def _limit(record: SessionRecord, limits: Limits) -> float:
    if record.status == "failed" and limits.keep_failed_s is not None:
        return limits.keep_failed_s
    return limits.max_age_s


def clean_up(
    store: Store, limits: Limits, *, dry_run: bool, outputs: bool = False, logs: bool = False
) -> Iterator[SessionRecord]:
    """Remove what is expired (with `dry_run`: only tell), giving each session as it goes. Raises: OSError.

    Each goes by one rename into the trash, then out of the index, then into the audit file, then for good; a crash
    between is completed by the next cleanup.
    """
    if not dry_run:
        empty_trash(store.layout, store.now())
    for record in select_expired(_ended(store), now=store.now(), limits=limits):
        if dry_run:
            yield record
        elif _remove(store, record, limits, outputs=outputs, logs=logs):
            yield record


def _ended(store: Store) -> Iterator[SessionRecord]:
    for session_id, row in store.rows().items():
        if row["status"] in ("completed", "failed") and carries_our_marker(store.paths(session_id)):
            try:
                yield store.read(session_id)
            except HiveError:
                continue


def carries_our_marker(paths: SessionPaths) -> bool:
    """True for a real directory of ours: no link, on the filesystem of its parent, with a session.json that names it."""
    try:
        info = os.lstat(paths.dir)
        ours = os.path.isdir(paths.dir) and not os.path.islink(paths.dir)
        same_filesystem = info.st_dev == os.lstat(os.path.dirname(paths.dir)).st_dev
        return ours and same_filesystem and decode_session(read_file(paths.record), paths.record).session_id == paths.id
    except (OSError, BadRecord):
        return False


def _remove(store: Store, record: SessionRecord, limits: Limits, *, outputs: bool, logs: bool) -> bool:
    paths = store.paths(record.session_id)
    os.makedirs(store.layout.trash, exist_ok=True)
    name = f"{paths.id}.{int(store.now() * 1000)}"
    try:
        with locked(paths.lock):
            current = store.read(paths.id)
            if not select_expired([current], now=store.now(), limits=limits) or run_is_alive(paths.run_lock):
                return False  # it was resumed meanwhile
            os.rename(paths.dir, f"{store.layout.trash}/{name}")
    except (FileNotFoundError, NoSession):
        return False  # somebody else removed it
    store.drop_row(paths.id)
    if outputs:
        shutil.rmtree(paths.output, ignore_errors=True)
    if logs:
        _remove_logs(paths)
    _bury(store.layout, name, store.now())
    return True


def _remove_logs(paths: SessionPaths) -> None:
    directory, base = os.path.split(paths.log)
    for name in os.listdir(directory):
        part = name.removeprefix(f"{base}.")  # .1 and on, and what a rotation that was killed was copying
        if name == base or (part != name and (part.isdigit() or part == "tmp")):
            os.unlink(f"{directory}/{name}")


def empty_trash(layout: Layout, now: float) -> list[str]:
    """Complete removals that a crash left half done; gives the ids of the sessions."""
    try:
        names = os.listdir(layout.trash)
    except FileNotFoundError:
        return []
    found = [name for name in names if is_session_id(name.partition(".")[0])]
    for name in found:
        _bury(layout, name, now)
    return [name.partition(".")[0] for name in found]


def _bury(layout: Layout, name: str, now: float) -> None:
    """One line in the audit file for the directory `name` in the trash, exactly once, then the directory goes."""
    directory = f"{layout.trash}/{name}"
    with locked(layout.audit):  # cleanups may meet over one directory
        if f'"trash":"{name}"'.encode() not in _tail(layout.audit):
            append_line(layout.audit, _audit_line(directory, name, now))
    shutil.rmtree(directory, ignore_errors=True)


def _audit_line(directory: str, name: str, now: float) -> bytes:
    event: dict[str, object] = {
        "removed": format_time(now, millis=True),
        "session_id": name.partition(".")[0],
        "trash": name,
    }
    try:
        record = decode_session(read_file(f"{directory}/session.json"), directory)
        event |= {
            "status": record.status,
            "reason": record.reason,
            "exit_code": record.exit_code,
            "created": record.created,
            "ended": record.ended,
            "task": record.task[:TASK_CHARACTERS],
            "output_dir": record.output_dir,
        }
    except (OSError, BadRecord):
        event["status"] = "unreadable"
    return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)


def _tail(path: str, length: int = 1 << 20) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - length))
            return file.read()
    except FileNotFoundError:
        return b""
