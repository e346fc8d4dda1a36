"""The tool session_list: sessions filtered and given page by page, while others come and go; pure.

A cursor holds the place of the last row given and a digest of the filters: the next page starts behind that place,
whatever has been added or removed since, and a cursor of another question is refused.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any
from zlib import crc32

import orjson

from hive_session.ondisk.cards import CARD_STATUSES
from hive_session.ondisk.figures import count_statuses, session_row
from hive_session.ondisk.layout import is_session_id
from hive_session.ondisk.records import parse_time
from mcp_tcp.shapes import COUNT, SESSION_ROW, TEXT, arguments, limit, list_of, nullable, shape, told
from mcp_tcp.tools import About, Answer, Needs, Question, Schema, Tool, ToolError

if TYPE_CHECKING:
    from hive_session.ondisk.cards import Card
    from hive_session.ondisk.sessions import Session

DEFAULT_LIMIT, MOST = 50, 500
FILTERS = ("status", "labels", "text", "agent", "created_after", "created_before")
LONGEST_CURSOR = 200  # characters; ours have about 80

Place = tuple[int, str]  # when a session was created, in Unix milliseconds, and its id: the order of the list


def _answer(question: Question) -> Answer:
    """The rows of one page; the newest session first."""
    args, sessions = question.args, question.sessions.newest()
    wanted = {key: args[key] for key in FILTERS if args.get(key) not in (None, "", [], {})}
    fits, digest = _compile(wanted), crc32(orjson.dumps(wanted, option=orjson.OPT_SORT_KEYS))
    after = _decode_cursor(args["cursor"], digest) if args.get("cursor") else None
    most = args.get("limit") or DEFAULT_LIMIT
    page = list(islice(_behind(sessions, after, fits), most + 1))
    more = len(page) > most
    return {
        "sessions": [session_row(session) for session in page[:most]],
        "next_cursor": _encode_cursor(_place(page[most - 1].card), digest) if more else None,
        "total": len(sessions),
        "by_status": count_statuses(question.sessions),
    }


def _place(card: Card) -> Place:
    return card.created_ms or 0, card.id


def _behind(sessions: list[Session], after: Place | None, fits: Callable[[Card], bool]) -> Iterator[Session]:
    """Those that fit, from behind a place on; `sessions` are in the order of their places, the last first."""
    return (each for each in sessions if (after is None or _place(each.card) < after) and fits(each.card))


def _compile(wanted: dict[str, Any]) -> Callable[[Card], bool]:
    """One function of all filters. Raises: ToolError for a time that is none."""
    tests = [_test(key, value) for key, value in wanted.items()]
    if not tests:
        return lambda card: True
    return lambda card: all(test(card) for test in tests)


def _test(key: str, value: Any) -> Callable[[Card], bool]:
    match key:
        case "status":
            statuses = {value} if isinstance(value, str) else set(value)
            if unknown := statuses.difference(CARD_STATUSES):
                raise ToolError(f"status {min(unknown)[:60]!r} does not exist; there are: {', '.join(CARD_STATUSES)}")
            return lambda card: card.status in statuses
        case "labels":
            return lambda card: value.items() <= card.labels.items()
        case "text":
            part = value.casefold()
            return lambda card: part in card.task.casefold()
        case "agent":
            return lambda card: card.agent == value
        case "created_after":
            first_ms = _milliseconds(key, value)
            return lambda card: card.created_ms is not None and card.created_ms >= first_ms
    last_ms = _milliseconds(key, value)
    return lambda card: card.created_ms is not None and card.created_ms < last_ms


def _milliseconds(key: str, text: str) -> float:
    moment = parse_time(text)
    if moment is None:
        raise ToolError(f"{key} is not a time; write it as 2026-11-22T09:31:07+00:00")
    return moment * 1000


# -- cursors ---------------------------------------------------------------------------------------------


def _encode_cursor(place: Place, digest: int) -> str:
    return urlsafe_b64encode(b"%d.%b.%08x" % (place[0], place[1].encode(), digest)).decode()


def _decode_cursor(cursor: str, digest: int) -> Place:
    """The place that a cursor of ours stands for. Raises: ToolError for any other, and for one of other filters."""
    try:
        place, its_digest = _cursor_parts(cursor)
    except ValueError:
        raise ToolError("cursor is none that session_list gave; ask again without it") from None
    if its_digest != digest:
        raise ToolError("cursor belongs to a question with other filters; ask again without it")
    return place


def _cursor_parts(cursor: str) -> tuple[Place, int]:
    """Raises: ValueError for what `_encode_cursor` would not have made."""
    if len(cursor) > LONGEST_CURSOR:
        raise ValueError("too long")
    created, session_id, digest = urlsafe_b64decode(cursor.encode("ascii")).decode("ascii").split(".")
    parts = (int(created), session_id), int(digest, 16)
    if not is_session_id(session_id) or _encode_cursor(*parts) != cursor:
        raise ValueError("not ours")
    return parts


# -- the tool --------------------------------------------------------------------------------------------

_STATUS: Schema = {"type": "string", "enum": list(CARD_STATUSES)}

SESSION_LIST = Tool(
    name="session_list",
    title="List sessions",
    description=(
        "Lists sessions, live and ended, newest first, with status, task, agents, tokens and cost, and how many there are "
        "of each status. Use it to find a session's id or to see what runs; for one known session use session_status."
    ),
    input_schema=arguments(
        status={
            "type": ["string", "array", "null"],
            "items": _STATUS,
            "description": f"Only sessions of this status, or of these: {', '.join(CARD_STATUSES)}",
        },
        labels=told(
            {"type": ["object", "null"], "additionalProperties": TEXT}, "Only sessions that carry all these labels"
        ),
        text=told(nullable(TEXT), "Only sessions whose task (its first 256 characters) holds this, in any case"),
        agent=told(nullable(TEXT), "Only sessions that this program runs, such as claude-flow"),
        created_after=told(nullable(TEXT), "Only sessions created at this time or later, RFC 3339"),
        created_before=told(nullable(TEXT), "Only sessions created before this time, RFC 3339"),
        limit=limit(DEFAULT_LIMIT, MOST),
        cursor=told(nullable(TEXT), "next_cursor of the page before, asked for with the same filters"),
    ),
    output_schema=shape(
        sessions=list_of(SESSION_ROW),
        next_cursor=told(nullable(TEXT), "Where the next page starts; null after the last"),
        total=told(COUNT, "Sessions in all, whatever the filters"),
        by_status=told({"type": "object", "additionalProperties": COUNT}, "How many of all there are of each status"),
    ),
    needs=Needs.LIVE,
    about=About.ALL,
    answer=_answer,
)
