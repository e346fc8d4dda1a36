"""Pages of a session's telemetry: its events from a byte offset on, or the last of them, each with its own offset."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from hive_session.ondisk.events import MAX_EVENT_BYTES, BadEvent, decode_event
from hive_session.ondisk.follow import Lines
from hive_session.ondisk.pages import BLOCK_BYTES, Read, lines_back
from mcp_tcp.tools import ToolError

PAGE_BYTES = 256 << 10  # of events in one page: an answer stays small
SEARCH_BYTES = 4 << 20  # of telemetry that one page looks through: below a second

Event = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """Some events in the order of the file. All offsets count bytes in telemetry.jsonl and are where lines begin."""

    events: list[Event]  # as written, each with its `offset`
    start: int  # what was looked through begins here
    cursor: int  # and ends here: the next page begins here
    more: bool  # there is a whole line at `cursor`
    truncated: bool  # a limit in bytes ended the page before there were as many events as asked for
    skipped: int  # lines looked at that are no events


class _Page:
    """Takes lines until it has as many events as it may hold."""

    def __init__(self, limit: int, types: Collection[str]) -> None:
        self.limit = limit
        self.types = types
        self.events: list[Event] = []
        self.skipped = 0
        self.bytes = 0  # of the events
        self.searched = 0  # bytes of all lines

    @property
    def complete(self) -> bool:
        return len(self.events) >= self.limit

    @property
    def exhausted(self) -> bool:
        return self.bytes >= PAGE_BYTES or self.searched >= SEARCH_BYTES

    def skip(self, size: int) -> None:
        self.searched += size
        self.skipped += 1

    def take(self, at: int, line: bytes) -> None:
        try:
            event = decode_event(line)
        except BadEvent:
            self.skip(len(line))
            return
        self.searched += len(line)
        if not self.types or event["type"] in self.types:
            self.events.append({**event, "offset": at})
            self.bytes += len(line)


def events_from(path: str, cursor: int, limit: int, types: Collection[str] = ()) -> EventPage:
    """At most `limit` events from `cursor` on, of these types (none given: of all); a missing file has none.

    Raises: ToolError for a cursor that is not where a line begins; OSError.
    """
    _check_cursor(path, cursor)
    page, lines, at = _Page(limit, types), Lines(path, cursor, longest=MAX_EVENT_BYTES), cursor
    while not (page.complete or page.exhausted):
        seen = lines.seen
        batch = lines.read(BLOCK_BYTES)
        if lines.seen == seen:
            break
        begins = lines.offset - sum(map(len, batch))
        if begins > at:  # a line that is too long for an event was passed over
            page.skip(begins - at)
            at = begins
        for line in batch:
            if page.complete or page.exhausted:
                break
            page.take(at, line)
            at += len(line)
    more = _goes_on(path, at)
    return EventPage(
        events=page.events,
        start=cursor,
        cursor=at,
        more=more,
        truncated=more and not page.complete,
        skipped=page.skipped,
    )


def _goes_on(path: str, at: int) -> bool:
    """Is there a whole line behind the one that begins at `at`, or is that one whole?"""
    lines = Lines(path, at, longest=MAX_EVENT_BYTES)
    while not lines.read(1):
        if lines.seen in (lines.offset, at):
            return lines.offset > at
        at = lines.seen
    return True


def last_events(path: str, count: int, types: Collection[str] = ()) -> EventPage:
    """The last `count` events of these types (none given: of all); a missing file has none. Raises: OSError."""
    page, end, start = _Page(count, types), 0, 0
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return EventPage(events=[], start=0, cursor=0, more=False, truncated=False, skipped=0)
    try:
        end = start = _whole_end(fd)
        for at, line in lines_back(_reader(fd), end, MAX_EVENT_BYTES + 1):
            if page.complete or page.exhausted:
                break
            # What is longer than an event comes in pieces; none of them may pass for one.
            page.take(at, line if _begins_line(fd, at) and line.endswith(b"\n") else b"")
            start = at
    finally:
        os.close(fd)
    page.events.reverse()
    short = start > 0 and not page.complete
    return EventPage(
        events=page.events, start=start, cursor=end, more=False, truncated=short, skipped=page.skipped
    )  # fmt: skip


def _check_cursor(path: str, cursor: int) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        size, fits = 0, cursor == 0
    else:
        size, fits = os.fstat(fd).st_size, _begins_line(fd, cursor)
        os.close(fd)
    if cursor > size:
        raise ToolError(
            f"cursor {cursor} is beyond the end of this session's telemetry, which has {size} bytes; "
            "use one that session_events gave for this session, or 0"
        )
    if not fits:
        raise ToolError(
            f"cursor {cursor} is not where an event of this session begins; "
            "use one that session_events gave for this session, or 0"
        )


def _begins_line(fd: int, offset: int) -> bool:
    return offset == 0 or os.pread(fd, 1, offset - 1) == b"\n"


def _reader(fd: int) -> Read:
    def read(offset: int, limit: int) -> tuple[bytes, int]:
        data = os.pread(fd, limit, offset)
        return data, offset + len(data)

    return read


def _whole_end(fd: int) -> int:
    """Where the last whole line ends."""
    end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - BLOCK_BYTES)
        if found := os.pread(fd, end - start, start).rfind(b"\n") + 1:
            return start + found
        end = start
    return 0
