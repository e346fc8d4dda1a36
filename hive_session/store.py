"""The registry: reads and changes session records and the index, one lock for each; the only writer of both."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hive_session import lifecycle
from hive_session.conclude import conclude
from hive_session.durable import append_line, locked, read_file, replace_file
from hive_session.errors import BadFile, HiveError, NoSession, Refused, from_os_error
from hive_session.ondisk.events import BadEvent, decode_event, encode_event
from hive_session.ondisk.index import Row, decode_index, encode_index, row_of, splice_row
from hive_session.ondisk.layout import Layout, SessionPaths, is_session_id
from hive_session.ondisk.liveness import run_is_alive
from hive_session.ondisk.records import (
    BadRecord,
    SessionRecord,
    decode_session,
    encode_session,
    format_time,
)
from hive_session.ondisk.witnesses import stop_was_asked

TAIL_BYTES = 65536  # of telemetry that is looked through for an event that may have been told already
UNREADABLE = "unreadable"  # the status of a row whose session.json cannot be read


class Store:
    """All sessions of one workspace. `now` gives the time as epoch seconds."""

    def __init__(self, layout: Layout, now: Callable[[], float]) -> None:
        self.layout = layout
        self.now = now

    # -- one session ---------------------------------------------------------------------------------------------------

    def paths(self, session_id: str) -> SessionPaths:
        return self.layout.session(session_id)

    def read(self, session_id: str) -> SessionRecord:
        """The record as it is on disk. Raises: NoSession; BadFile when it is torn or of a newer version; NotPermitted."""
        paths = self.paths(session_id)
        try:
            return decode_session(read_file(paths.record), paths.record)
        except (FileNotFoundError, NotADirectoryError):
            raise NoSession(f"no session {session_id}", "`hive-session ls` shows those there are") from None
        except OSError as exc:
            raise from_os_error(exc, "reading the record:") from None
        except BadRecord as exc:
            raise BadFile(str(exc), "the other sessions are not affected; `hive-session doctor` says more") from None

    def settled(self, session_id: str) -> SessionRecord:
        """The record with the truth about its liveness: a run that is over is judged now, and written down if possible."""
        record = self.read(session_id)
        if not self._is_stale(record):
            return record
        try:
            return self.change(session_id, self._settle)
        except (OSError, HiveError):
            return self._settle(record, complete=False)  # whoever may not write still gets the truth

    def _is_stale(self, record: SessionRecord) -> bool:
        if record.status not in ("starting", "running") or record.external:
            return False
        return not run_is_alive(self.paths(record.session_id).run_lock)

    def _settle(self, record: SessionRecord, *, complete: bool = True) -> SessionRecord:
        if not self._is_stale(record):
            return record
        paths = self.paths(record.session_id)
        requested = "cancelled" if stop_was_asked(paths) else None
        return conclude(paths, record, now=self.now(), requested=requested, complete=complete)

    def change(self, session_id: str, edit: Callable[[SessionRecord], SessionRecord]) -> SessionRecord:
        """Replace the record by `edit(record)` under the session's lock; then its row; then tell telemetry.

        session.json first: once it is replaced, the change has happened. What a crash or a full disk then keeps from the
        row, readers repair.
        """
        paths = self.paths(session_id)
        if not os.path.isdir(paths.dir):
            raise NoSession(f"no session {session_id}", "`hive-session ls` shows those there are")
        with locked(paths.lock):
            record = self.read(session_id)
            edited = edit(record)
            if edited == record:
                return record
            if record.status == "created":  # with a run.lock readers look behind its row, should a crash keep it back
                os.close(os.open(paths.run_lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
            edited = replace(edited, updated=format_time(self.now()))
            if record.terminal:  # readers do not look behind a row that has ended, so it goes first
                self._put_row(session_id, row_of(edited))
            replace_file(paths.record, encode_session(edited))
            try:
                self._put_row(session_id, row_of(edited))
            except (OSError, HiveError):
                self._distrust_index()
            if (edited.status, edited.attempt) != (record.status, record.attempt):
                with suppress(OSError):
                    self.tell(edited)
        return edited

    def tell(self, record: SessionRecord) -> None:
        """Append the `session` event for the state of `record`, unless the telemetry ends with it. Raises: OSError."""
        path = self.paths(record.session_id).telemetry
        event = self.transition_event(record)
        if not _ends_with(path, event):
            append_line(path, encode_event(event))

    def transition_event(self, record: SessionRecord) -> dict[str, Any]:
        """The `session` event for the state that `record` has just reached."""
        event: dict[str, Any] = {
            "ts": int(self.now() * 1000),
            "type": "session",
            "status": record.status,
            "attempt": max(record.attempt, 1),
            "agent": record.agent,
        }
        if record.terminal:
            event.update(reason=record.reason, exit_code=record.exit_code, signal=record.signal)
        return event

    def set_status(self, session_id: str, status: str) -> SessionRecord:
        """Change a status from outside (`update-status`). Raises: Refused where the table forbids it."""

        def edit(record: SessionRecord) -> SessionRecord:
            if status == record.status:
                return record
            if not lifecycle.may_change(record.status, status):
                allowed = ", ".join(lifecycle.TRANSITIONS.get(record.status, ())) or "nothing: it has ended"
                raise Refused(
                    f"{session_id} is {record.status} and cannot become {status}", f"it can become: {allowed}"
                )
            if not record.external and run_is_alive(self.paths(session_id).run_lock):
                raise Refused(
                    f"{session_id} has a live run, which writes its own status",
                    f"hive-session stop {session_id}",
                )
            return self._driven_from_outside(record, status)

        if edit(found := self.read(session_id)) == found:  # done already, or refused, before anything is touched
            return found
        return self.change(session_id, edit)

    def _driven_from_outside(self, record: SessionRecord, status: str) -> SessionRecord:
        moment = format_time(self.now(), millis=True)
        changed = replace(record, status=status, external=True, attempt=max(record.attempt, 1))
        if status == "starting":
            return replace(changed, started=moment)
        if status in ("completed", "failed"):
            return replace(changed, ended=moment, reason="exit")
        return changed

    # -- all sessions --------------------------------------------------------------------------------------------------

    def session_ids(self) -> list[str]:
        """The ids of all session directories, sorted."""
        try:
            return sorted(name for name in os.listdir(self.layout.sessions) if is_session_id(name))
        except FileNotFoundError:
            return []

    def find(self, text: str) -> str:
        """The one session id that `text` is or begins. Raises: NoSession; Refused when several begin so."""
        text = text.lower()
        if is_session_id(text):
            return text
        matches = [each for each in self.session_ids() if each.startswith(text)] if text else []
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise Refused(f"{len(matches)} sessions begin with {text}", "give more of the id: " + " ".join(matches[:4]))
        raise NoSession(f"no session {text!r}", "`hive-session ls` shows those there are")

    def index(self) -> bytes:
        """The bytes of index.json, true at this moment: rows that lie about liveness or about which sessions exist are repaired."""
        raw = self._read_index()
        rows = self._decode_rows(raw)
        if raw is None or rows is None or rows.keys() != set(self.session_ids()):
            raw = self._completed()
            rows = decode_index(raw, self.layout.index)[1]
        stale = [each for each, row in rows.items() if self._may_lie(each, row)]
        for session_id in stale:
            row = self._true_row(session_id, rows[session_id])
            if row != rows[session_id]:
                raw = self._repaired(raw, session_id, row)
        return raw

    def _may_lie(self, session_id: str, row: Row) -> bool:
        if row["status"] == "created":
            return os.path.exists(self.paths(session_id).run_lock)
        return row["status"] not in ("completed", "failed", UNREADABLE)

    def _true_row(self, session_id: str, row: Row) -> Row:
        try:
            return row_of(self.settled(session_id))
        except HiveError:
            return {**row, "status": UNREADABLE}

    def _repaired(self, raw: bytes, session_id: str, row: Row) -> bytes:
        try:
            with locked(self.paths(session_id).lock):  # a change that is on its way puts its own row
                with suppress(HiveError):
                    row = row_of(self.read(session_id))
                self._put_row(session_id, row)
            return self._read_index() or raw
        except (OSError, HiveError):  # may not write, or the disk is full: the answer is true all the same
            return splice_row(raw, session_id, row) or raw

    def rows(self) -> dict[str, Row]:
        """All rows of the index, repaired."""
        return decode_index(self.index(), self.layout.index)[1]

    def _completed(self) -> bytes:
        try:
            return self.rebuild_index(keep=True)
        except OSError:  # may not write, nothing there yet, or a full disk: the answer is true all the same
            return self._collect(self._decode_rows(self._read_index()) or {})

    def rebuild_index(self, *, keep: bool = False) -> bytes:
        """Write index.json anew from the session files (about 10 ms a thousand); with `keep`, rows it has stay. Raises: OSError."""
        with locked(self.layout.index_lock):
            # Read under the lock: a row that was read before may have been changed meanwhile.
            raw = self._collect(self._decode_rows(self._read_index()) or {} if keep else {})
            replace_file(self.layout.index, raw, durable=False)
        return raw

    def compare_index(self) -> str:
        """How the index as it is on disk differs from the session files, in a few words; empty where it does not."""
        raw = self._read_index()
        rows = self._decode_rows(raw)
        if rows is None:
            return "it is missing" if raw is None else "it is not valid"
        ids = set(self.session_ids())
        missing, extra = len(ids - rows.keys()), len(rows.keys() - ids)
        scanned = {each: self._scan_row(each) for each in ids & rows.keys()}
        wrong = sum(1 for each, row in scanned.items() if row and row["status"] != rows[each]["status"])
        parts = (
            (missing, "sessions have no row"),
            (extra, "rows have no session"),
            (wrong, "rows have another status"),
        )
        return ", ".join(f"{number} {words}" for number, words in parts if number)

    def _collect(self, known: Mapping[str, Row]) -> bytes:
        found = [(each, known.get(each) or self._scan_row(each)) for each in self.session_ids()]
        rows = {each: row for each, row in found if row is not None}
        ordered = dict(sorted(rows.items(), key=lambda item: item[1]["created"]))
        created = min((row["created"] for row in ordered.values()), default=format_time(self.now()))
        return encode_index(created, ordered)

    def _scan_row(self, session_id: str) -> Row | None:
        """The row that its session.json calls for; None where the session has gone meanwhile."""
        directory = self.paths(session_id).dir
        try:
            return row_of(self.read(session_id))
        except HiveError:
            if not os.path.exists(directory):
                return None
            since = format_time(os.stat(directory).st_mtime)
            return {"task": "", "status": UNREADABLE, "created": since, "updated": since, "dir": directory}

    def _read_index(self) -> bytes | None:
        """The index as it is; None where there is none, or one that is known to lack a change."""
        try:
            with open(self.layout.index, "rb", buffering=0) as file:
                return file.read() if os.fstat(file.fileno()).st_mtime_ns else None
        except FileNotFoundError:
            return None

    def _distrust_index(self) -> None:
        """Mark the index as behind its sessions by a time of 0, which takes no room: who uses it next rebuilds it."""
        with suppress(OSError):
            os.utime(self.layout.index, ns=(0, 0))

    def _decode_rows(self, raw: bytes | None) -> dict[str, Row] | None:
        try:
            return decode_index(raw, self.layout.index)[1] if raw is not None else None
        except BadRecord:
            return None

    def _put_row(self, session_id: str, row: Row | None) -> None:
        """Splice one row in (or, None, out) under the index lock; an index in another form is parsed, a bad one rebuilt."""
        with locked(self.layout.index_lock):
            raw = self._read_index()
            spliced = splice_row(raw, session_id, row) if raw is not None else None
            if spliced is None:
                spliced = self._reformed(raw, session_id, row)
            if spliced != raw:
                replace_file(self.layout.index, spliced, durable=False)

    def _reformed(self, raw: bytes | None, session_id: str, row: Row | None) -> bytes:
        try:
            created, rows = decode_index(raw or b"", self.layout.index)
        except BadRecord:
            return self._collect({} if row is None else {session_id: row})
        if row is None:
            rows.pop(session_id, None)
        else:
            rows[session_id] = row
        return encode_index(created or format_time(self.now()), rows)

    def add_row(self, record: SessionRecord) -> None:
        """Show a session that was just created. Raises: OSError."""
        self._put_row(record.session_id, row_of(record))

    def drop_row(self, session_id: str) -> None:
        """Show a session no more. Raises: OSError."""
        self._put_row(session_id, None)


def _ends_with(path: str, event: Mapping[str, Any]) -> bool:
    """True when the last `session` event near the end of a telemetry file tells of the same status and attempt."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return False
    for line in reversed(lines):
        if b'"session"' in line:
            with suppress(BadEvent):
                found = decode_event(line)
                if found["type"] == "session":
                    return bool(found["status"] == event["status"] and found["attempt"] == event["attempt"])
    return False
