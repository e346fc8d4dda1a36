"""Pages of a session's log: its last lines, or those from a log offset on; all of them, or those that fit a condition."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from hive_session.ondisk.layout import SessionPaths
from hive_session.ondisk.log import log_end, read_log
from hive_session.ondisk.pages import Read, lines_back, lines_on, stretch, whole_characters

SEARCH_BYTES = 8 << 20  # of the log that one page looks through: below a second

Show = Callable[[bytes], str]  # a line of the log as it is shown
Fits = Callable[[str], bool]  # whether a line, as it is shown, is wanted

ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, movements of the cursor
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # OSC: titles, links
    r"|\x1b[PX^_][^\x1b\x9c]*(?:\x1b\\|\x9c)"  # DCS and other strings
    r"|\x1b[ -/]*[0-~]?"  # the rest, and the beginnings of those that have no end: no text is taken along
)
CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """Some lines of a log, oldest first and without line ends. All offsets are log offsets."""

    lines: list[str]
    start: int  # what was looked through begins here
    next: int  # and ends here: the next page begins here
    end: int  # of the log, now
    truncated: bool  # a limit in bytes ended the page, and there is more
    unfinished: bool  # `next` stands within a line: the one before it has no end yet, or was too long for one page


def raw_text(raw: bytes) -> str:
    """A line as it is, without its line end; what is no UTF-8 is replaced."""
    return raw.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")


def plain_text(raw: bytes) -> str:
    """A line as people read it: terminal escapes left out, blanks for all other control characters but tabs."""
    return CONTROLS.sub(" ", ESCAPES.sub("", raw_text(raw)))


def any_line(_text: str) -> bool:
    """The condition that every line fits."""
    return True


def last_lines(
    paths: SessionPaths, count: int, limit: int, *, show: Show = plain_text, fits: Fits = any_line
) -> LogPage:
    """The last `count` lines that fit, at most `limit` bytes of them. Raises: OSError."""
    end, unfinished = _end(paths)
    lines: list[str] = []
    start, size, truncated = end, 0, False
    for at, raw in lines_back(_reader(paths), end, limit):
        if len(lines) == count:
            break
        if truncated := (lines != [] and size + len(raw) > limit) or end - start >= SEARCH_BYTES:
            break
        if fits(text := show(raw)):
            lines.append(text)
            size += len(raw)
        start = at
    lines.reverse()
    return LogPage(lines=lines, start=start, next=end, end=end, truncated=truncated, unfinished=unfinished)


def lines_from(
    paths: SessionPaths, offset: int, limit: int, *, show: Show = plain_text, fits: Fits = any_line
) -> LogPage:
    """The lines from log offset `offset` on that fit, at most `limit` bytes of them. Raises: OSError.

    What rotation has dropped for good is passed over: `start` then is the oldest that is kept.
    """
    lines: list[str] = []
    start, after, size, truncated, unfinished = -1, offset, 0, False, False
    for at, raw in lines_on(_reader(paths), offset, limit):
        start = at if start < 0 else start
        if truncated := (lines != [] and size + len(raw) > limit) or at - start >= SEARCH_BYTES:
            break
        if fits(text := show(raw)):
            lines.append(text)
            size += len(raw)
        after, unfinished = at + len(raw), not raw.endswith(b"\n")
    return LogPage(
        lines=lines,
        start=max(start, offset),
        next=after,
        end=log_end(paths),
        truncated=truncated,
        unfinished=unfinished,
    )


def _reader(paths: SessionPaths) -> Read:
    return lambda offset, limit: read_log(paths, offset, limit)


def _end(paths: SessionPaths) -> tuple[int, bool]:
    """Where the log ends, less a character that is still being written, and whether that is within a line."""
    end = log_end(paths)
    last, start = stretch(_reader(paths), max(0, end - 4), end)
    whole = whole_characters(last)
    return start + len(whole), bool(last) and not whole.endswith(b"\n")
