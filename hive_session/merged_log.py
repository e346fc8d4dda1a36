"""Lines of many logs as one: when each was written, which comes first, how it is shown, and where a log goes on; pure."""

import heapq
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

LINE_BYTES = 64 << 10  # of one line; a longer one is shown in pieces, so that none fills the memory
ATTEMPT = b"[SESSION-MGR] Starting session: "  # how each attempt begins in a session's log

# Our JSON lines, what `date -Iseconds` gives, and, in local time, Python's and supervisord's text.
_TIME = re.compile(
    rb'(?:\{"time":"|\[)?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,6})?(?:Z|[+-]\d\d:?\d\d)?)(?![\w.:,+-])'
)
_HARMLESS = b"\t" + bytes(range(0x20, 0x7F))
_COLOUR = re.compile(rb"\x1b\[[\d;]*m")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]|\xe2\x81[\xa6-\xa9]")


class Line(NamedTuple):
    """One line of one log, without its end; sorts by `ms`, Unix milliseconds."""

    ms: int
    label: str
    text: bytes


class Part(NamedTuple):
    """One file of a log that is rotated by renaming: LOG is number 0, LOG.1 is 1. `changed_ns` as stat has it."""

    number: int
    inode: int
    changed_ns: int


def time_of(line: bytes) -> int | None:
    """When a line says that it was written, in Unix milliseconds; a time without a zone is one of this machine."""
    found = _TIME.match(line)
    if found is None:
        return None
    try:
        return int(datetime.fromisoformat(found[1].decode()).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        return None


class Clock:
    """Gives each line of one log its time, in the order of the file.

    A line that tells none counts as the one before it, and no line as older than that or as younger than the moment at which
    it was read: whatever a log says of itself, it moves nobody else's lines. `attempts`: when each attempt of a session began.
    """

    def __init__(self, label: str, attempts: dict[int, int] | None = None) -> None:
        self.label = label
        self._attempts = attempts or {}
        self._attempt = 0
        self._ms = 0

    def stamp(self, texts: Iterable[bytes], *, first_ms: int, now_ms: int) -> list[Line]:
        """The lines with their times; those at the beginning that tell none are of `first_ms`.

        At the very beginning of a log they are of the first line that tells one, where there is one among these.
        """
        found = [(text, self._told(text)) for text in texts]
        if not found:
            return []
        if not self._ms:
            first_ms = next((told for _, told in found if told is not None), first_ms)
        ms = max(self._ms, min(first_ms, now_ms))
        lines = []
        for text, told in found:
            ms = ms if told is None else max(ms, min(told, now_ms))
            lines.append(Line(ms, self.label, text))
        self._ms = ms
        return lines

    def _told(self, text: bytes) -> int | None:
        if text.startswith(ATTEMPT):
            self._attempt += 1
            return self._attempts.get(self._attempt)
        return time_of(text)

    @property
    def last_ms(self) -> int:
        """The time of the last line; 0 before the first."""
        return self._ms


class Cutter:
    """Cuts bytes that come in pieces of any size into lines of at most LINE_BYTES."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes."""
        *lines, rest = (self._rest + data).split(b"\n")
        pieces = [piece for line in lines for piece in _pieces(line)]
        *full, self._rest = _pieces(rest)
        return pieces + full

    def end(self) -> list[bytes]:
        """What stands behind the last line end."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


def _pieces(line: bytes) -> list[bytes]:
    return [line[at : at + LINE_BYTES] for at in range(0, len(line), LINE_BYTES)] or [b""]


def merge(logs: Iterable[Iterable[Line]]) -> Iterator[Line]:
    """The lines of all logs by time, holding one of each; each log's own order stays."""
    return heapq.merge(*logs)


def shown(line: Line) -> bytes:
    """The line for people, with who wrote it before it. No line can look like two, or act on a terminal."""
    text = line.text.removesuffix(b"\r")
    if text.translate(None, _HARMLESS):  # most lines are not worth two searches
        text = _CONTROL.sub(_escaped, _COLOUR.sub(b"", text))
    return b"%b: %b\n" % (line.label.encode("utf-8", "backslashreplace"), text)


def _escaped(found: re.Match[bytes]) -> bytes:
    return ascii(found[0].decode())[1:-1].encode()


def next_part(parts: Iterable[Part], inode: int, changed_ns: int) -> Part | None:
    """The part that follows the one with this inode, which was read to its end; None: none yet, look again.

    Where that one is gone, dropped as the oldest or cleared away, it is the oldest that was written to after it.
    """
    by_number = {part.number: part for part in parts}
    for part in by_number.values():
        if part.inode == inode:
            return by_number.get(part.number - 1)  # missing in the middle of a rotation
    later = [part for part in by_number.values() if part.changed_ns >= changed_ns]
    return max(later, default=None)
