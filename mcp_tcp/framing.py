"""Bytes from a peer become JSON messages: one a line, or a pretty-printed one over several lines.

Rules of this file:
- A line that is no JSON is either Malformed at once or held as the start of a document over several lines. It is held
  only while brackets are open and nothing on it rules JSON out, and JSON is tried again only when they have closed:
  the work stays linear in the bytes.
- A document that turned out to be bad or too long before its brackets closed is refused: it was reported, and its
  lines are skipped until they close.
- A line that is a whole JSON-RPC message ends whatever was held or refused. So a client never loses a request to what
  was sent before it.
"""

import re
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from orjson import JSONDecodeError, loads

BLANKS: Final = b" \t\r"  # JSON's white space but LF, which ends a line
MAX_DEPTH: Final = 1024  # orjson refuses what is nested deeper, so it is not waited for
UNFINISHED: Final = "unfinished: the document was not complete"
INTERRUPTED: Final = "unfinished: a message on a line of its own came before the document was complete"
BROKEN: Final = "no JSON: the document cannot become complete after this line"

# Possessive (++, *+): neither can backtrack, so a hostile line costs no more than its length.
_TOKENS = re.compile(
    rb"(?:[ \t\r\[\]{},:]++"
    rb'|"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"'
    rb"|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"
    rb"|true|false|null)*+"
)
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?')  # also one that the line does not end


@dataclass(frozen=True, slots=True)
class Malformed:
    """What came is no JSON; answer it with -32700 and id null."""

    why: str  # for people: what is wrong, and where orjson says it


@dataclass(frozen=True, slots=True)
class Oversized:
    """What came is longer than a message may be; answer it with -32600 and id null."""

    limit_bytes: int


Item: TypeAlias = Any  # a decoded JSON value of any type, Malformed or Oversized


class Framer:
    """The messages in one peer's stream of bytes. However the stream is cut, the items are the same.

    `limit_bytes` bounds a line without its line end, and a document over several lines with the line ends between.
    At most twice that is in memory: what is held, and a line that has not ended.
    """

    __slots__ = ("_depth", "_discarding", "_document", "_limit", "_line", "_moved", "_refused", "idle")

    idle: bool
    """True when the next byte begins a line that belongs to nothing before it."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._line = bytearray()  # the start of a line that has not ended
        self._discarding = False  # that line is over the limit: the rest of it is dropped as it comes
        self._document = bytearray()  # the lines that are held
        self._depth = 0  # brackets that are open in what is held or refused
        self._refused = False
        self._moved = False  # a refused document has had a line since `expire` asked
        self.idle = True

    @property
    def held(self) -> bool:
        """True while further lines are taken as parts of a document: the time until `expire` is running."""
        return self._refused or bool(self._document)

    def feed(self, data: bytes) -> list[Item]:
        """What `data` completes, in order. Never raises."""
        lines = data.split(b"\n")
        rest = lines.pop()
        # The normal case, at little more than the price of parsing: whole messages, one a line.
        if not rest and self.idle and len(data) <= self._limit:
            try:
                return list(map(loads, lines))
            except JSONDecodeError:
                pass  # one of them is blank or no JSON: each is looked at below
        return self._feed(lines, rest)

    def end(self) -> list[Item]:
        """What is left when the peer has sent its last byte: a last line needs no line end."""
        items: list[Item] = []
        self._end_line(items)
        if self._document:
            items.append(Malformed(UNFINISHED))
        self._let_go()
        self.idle = True
        return items

    def expire(self) -> list[Item]:
        """Give up on what is held: it is Malformed. To be called a second after `held` became True.

        While a refused document is still coming, its lines go on being skipped: `held` stays True, ask again later.
        """
        if self._moved:
            self._moved = False
            return []
        items: list[Item] = [Malformed(UNFINISHED)] if self._document else []
        self._let_go()
        self._settle()
        return items

    def _feed(self, lines: list[bytes], rest: bytes) -> list[Item]:
        items: list[Item] = []
        for part in lines:
            if self._line or self._discarding or len(part) > self._limit:
                self._add(part, items)
                self._end_line(items)
            else:
                self._take(part, items)
        self._add(rest, items)
        self._settle()
        return items

    def _settle(self) -> None:
        self.idle = not (self._line or self._discarding or self._document or self._refused)

    def _add(self, part: bytes, items: list[Item]) -> None:
        """Add to the line that has not ended; one that is over the limit is reported and dropped."""
        if not part or self._discarding:
            return
        size = len(self._line) + len(part)
        # The one byte above the limit may be the CR of a line end.
        if size <= self._limit or (size == self._limit + 1 and part.endswith(b"\r")):
            self._line += part
            return
        self._line = bytearray()
        self._discarding = True
        items.append(Oversized(self._limit))
        if self._document:  # it goes with its line, which is presumed to close what brackets it opens
            self._refuse()

    def _end_line(self, items: list[Item]) -> None:
        line, self._line = bytes(self._line), bytearray()
        if self._discarding:
            self._discarding = False
        else:
            self._take(line, items)

    def _take(self, line: bytes, items: list[Item]) -> None:
        """Add to `items` what a whole line gives."""
        if not line.strip(BLANKS):
            if self._document:  # kept, so that the line numbers in `why` are true
                self._hold(line, items)
            return
        if self.held:
            self._join(line, items)
            return
        try:
            items.append(loads(line))
        except JSONDecodeError as exc:
            depth = _opened_by(line)
            if line.lstrip(BLANKS)[:1] in (b"{", b"[") and 0 < depth <= MAX_DEPTH and _TOKENS.fullmatch(line):
                self._depth = depth
                self._hold(line, items)
            else:
                items.append(Malformed(str(exc)))

    def _join(self, line: bytes, items: list[Item]) -> None:
        """Take a line that follows what is held or refused."""
        message = _message_on(line)
        if message is not None:
            if self._document:
                items.append(Malformed(INTERRUPTED))
            self._let_go()
            items.append(message)
            return
        self._depth += _opened_by(line)
        if self._refused:
            self._moved = True
            if self._depth <= 0:
                self._let_go()
        elif self._depth > MAX_DEPTH or not _TOKENS.fullmatch(line):
            items.append(Malformed(BROKEN))
            self._refuse()
        else:
            self._hold(line, items)

    def _hold(self, line: bytes, items: list[Item]) -> None:
        """Add a line to what is held, and give the document when its brackets have closed."""
        if len(self._document) + len(line) > self._limit:
            items.append(Oversized(self._limit))
            self._refuse()
            return
        self._document += line
        if self._depth > 0:
            self._document += b"\n"
            return
        try:
            items.append(loads(self._document))
        except JSONDecodeError as exc:
            items.append(Malformed(str(exc)))
        self._let_go()

    def _refuse(self) -> None:
        """Skip the rest of a document that was reported."""
        self._document = bytearray()
        self._refused = self._moved = self._depth > 0

    def _let_go(self) -> None:
        """Begin anew with the next line."""
        self._document = bytearray()
        self._refused = self._moved = False
        self._depth = 0


def _opened_by(line: bytes) -> int:
    """How many brackets `line` leaves open, less what it closes of those before it. JSON's strings end with their line."""
    rest = _STRING.sub(b"", line) if b'"' in line else line
    return rest.count(b"{") + rest.count(b"[") - rest.count(b"}") - rest.count(b"]")


def _message_on(line: bytes) -> Item | None:
    """The JSON-RPC message or batch that stands whole on `line`; None for any other line."""
    ends = line.strip(BLANKS)
    if ends[:1] + ends[-1:] not in (b"{}", b"[]"):
        return None
    try:
        value = loads(line)
    except JSONDecodeError:
        return None
    first = value[0] if isinstance(value, list) and value else value
    return value if isinstance(first, dict) and ("jsonrpc" in first or "method" in first) else None
