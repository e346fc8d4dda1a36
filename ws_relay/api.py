"""The same state as JSON over HTTP: lists of sessions, one session, pages of its events, the end of its log."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from itertools import islice

import orjson

from hive_session.ondisk.agent_figures import agent_objects
from hive_session.ondisk.events import MAX_EVENT_BYTES, MAX_INT, BadEvent, decode_event
from hive_session.ondisk.figures import count_statuses, session_object, session_row
from hive_session.ondisk.follow import Lines, open_file
from hive_session.ondisk.layout import SessionPaths, is_session_id
from hive_session.ondisk.log_pages import last_lines
from hive_session.ondisk.sessions import Session, Sessions
from ws_relay.door import query_of

ROOT = "/api/sessions"
ROWS, MOST_ROWS = 500, 1000
EVENT_BYTES, MOST_EVENT_BYTES = 256 << 10, 1 << 20  # of a page of events: some 40 ms of work in a thread
TAIL, MOST_TAIL = 100, 1000
LOG_BYTES = 256 << 10
DISK_READERS = 4  # threads that read at once
DISK_S = 10.0

Place = tuple[int, str]  # of a session in the list: when it was created, and its id


class ApiError(Exception):
    """An answer that is none: its HTTP status, a code for programs, a sentence for people."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code

    def body(self) -> bytes:
        return orjson.dumps({"error": {"code": self.code, "message": str(self)}})


class Api:
    """Answers from the sessions in memory, and from their files what is not kept there."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._disk = asyncio.Semaphore(DISK_READERS)

    async def answer(self, target: str) -> bytes:
        """The JSON that a target below ROOT stands for. Raises: ApiError."""
        parts = target.partition("?")[0].removeprefix(ROOT).strip("/").split("/")
        if parts == [""]:
            return self._list(target)
        session = self._session(parts[0])
        paths = self._sessions.layout.session(session.card.id)
        match parts[1:]:
            case []:
                return await self._one(session)
            case ["events"]:
                start = _number(target, "from", 0, MAX_INT, 0)
                limit = _number(target, "limit_bytes", 1, MOST_EVENT_BYTES, EVENT_BYTES)
                return await self._from_disk(lambda: events_page(paths, start, limit))
            case ["log"]:
                tail = _number(target, "tail", 0, MOST_TAIL, TAIL)
                return await self._from_disk(lambda: log_page(paths, tail))
        raise ApiError(404, "not_found", f"there is nothing here; try {ROOT}/ID, {ROOT}/ID/events or {ROOT}/ID/log")

    def _list(self, target: str) -> bytes:
        """The rows of one page, the newest session first; `cursor` is the `next_cursor` of the page before."""
        limit = _number(target, "limit", 1, MOST_ROWS, ROWS)
        after = _place_of(target)
        behind = (each for each in self._sessions.newest() if after is None or _place(each) < after)
        page = list(islice(behind, limit + 1))
        last = _place(page[limit - 1]) if len(page) > limit else None
        return orjson.dumps(
            {
                "sessions": [session_row(session) for session in page[:limit]],
                "next_cursor": last and f"{last[0]}.{last[1]}",
                "total": len(self._sessions.by_id),
                "by_status": count_statuses(self._sessions),
            }
        )

    async def _one(self, session: Session) -> bytes:
        """One session with its agents, in the shape of a telemetry_update."""
        # Nobody would tell: each look is a slice of the work.
        while not self._sessions.loaded(session):  # noqa: ASYNC110
            await asyncio.sleep(0)
        now_ms = time.time_ns() // 1_000_000
        return orjson.dumps(
            {
                "session_id": session.card.id,
                "cursor": session.offset,
                "session": session_object(session, now_ms),
                "agents": agent_objects(session, now_ms),
            }
        )

    def _session(self, session_id: str) -> Session:
        found = self._sessions.by_id.get(session_id)
        if found is None:
            what = session_id if is_session_id(session_id) else "of that name"
            raise ApiError(404, "not_found", f"there is no session {what}; {ROOT} lists those there are")
        return found

    async def _from_disk(self, work: Callable[[], bytes]) -> bytes:
        """What `work` returns, done where waiting for a disk holds up nobody. Raises: ApiError."""
        try:
            async with asyncio.timeout(DISK_S), self._disk:
                return await asyncio.to_thread(work)
        except TimeoutError:
            raise ApiError(503, "busy", f"the disk did not answer within {DISK_S:g} s; try again") from None
        except OSError as exc:
            raise ApiError(503, "unreadable", f"it cannot be read: {exc.strerror}") from None


def events_page(paths: SessionPaths, start: int, limit: int) -> bytes:
    """Events from byte `start` of telemetry.jsonl on, as they are on disk; whole lines, about `limit` bytes of them.

    `to` is where the next page begins, `end` where the last whole line ends. Raises: ApiError, OSError.
    """
    try:
        with open(paths.telemetry, "rb", buffering=0, opener=open_file) as file:
            _check_cursor(file.fileno(), start)
            end = _whole_end(file.fileno())
    except FileNotFoundError:
        end = 0
        if start:
            raise ApiError(400, "bad_cursor", "there are no events yet; from must be 0") from None
    lines = Lines(paths.telemetry, start, longest=MAX_EVENT_BYTES)
    events = b",".join(line.rstrip(b"\n") for line in _page(lines, limit) if _is_event(line))
    return b'{"session_id":"%b","from":%d,"to":%d,"end":%d,"events":[%b]}' % (
        paths.id.encode(),
        start,
        lines.offset,
        max(end, lines.offset),
        events,
    )


def _check_cursor(fd: int, start: int) -> None:
    size = os.fstat(fd).st_size
    if start > size:
        raise ApiError(400, "bad_cursor", f"from {start} is beyond the end, which is {size}")
    if start and os.pread(fd, 1, start - 1) != b"\n":
        raise ApiError(400, "bad_cursor", f"from {start} is not where a line begins; give the `to` of a page")


def _whole_end(fd: int) -> int:
    end = os.fstat(fd).st_size
    while end:
        start = max(0, end - MAX_EVENT_BYTES)
        if whole := os.pread(fd, end - start, start).rfind(b"\n") + 1:
            return start + whole
        end = start  # the last line is too long, and has no end
    return 0


def _page(lines: Lines, limit: int) -> list[bytes]:
    """The next lines; a line that is too long is passed over as a whole, or it would be on every page."""
    start = lines.offset
    while True:
        seen, found = lines.seen, lines.read(limit)
        if lines.offset > start or lines.seen == seen:
            return found


def _is_event(line: bytes) -> bool:
    try:
        decode_event(line)
    except BadEvent:
        return False
    return True


def log_page(paths: SessionPaths, tail: int) -> bytes:
    """The last lines of the log as people read them. Raises: OSError."""
    page = last_lines(paths, tail, LOG_BYTES)
    return orjson.dumps({"session_id": paths.id, "lines": page.lines, "end": page.end, "truncated": page.truncated})


# -- what is asked -----------------------------------------------------------------------------------------------------


def _number(target: str, name: str, least: int, most: int, default: int) -> int:
    """A whole number of the query; more than `most` is `most`, for it is a limit. Raises: ApiError."""
    given = query_of(target, name)
    if not given:
        return default
    text = given[-1]
    if not (text.isascii() and text.isdecimal() and len(text) <= 16 and int(text) >= least):
        raise ApiError(400, "out_of_range", f"{name} must be a whole number from {least} to {most}")
    return min(int(text), most)


def _place(session: Session) -> Place:
    return session.card.created_ms or 0, session.card.id


def _place_of(target: str) -> Place | None:
    given = query_of(target, "cursor")
    if not given:
        return None
    created, _, session_id = given[-1].partition(".")
    if not (created.isascii() and created.isdecimal() and len(created) <= 16 and is_session_id(session_id)):
        raise ApiError(400, "bad_cursor", "cursor must be the next_cursor of the page before")
    return int(created), session_id
