"""Lines of a file that grows, from an offset on or back from its end, in blocks: what it costs does not depend on its size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO

BLOCK_BYTES = 64 << 10  # read at once

# Bytes of the file: (offset, limit) -> up to `limit` bytes, and the offset after them. Where what stood at the offset is
# gone, they begin at the oldest that is left. No bytes: nothing more for now. Such as hive_session.ondisk.log.read_log.
Read = Callable[[int, int], tuple[bytes, int]]
Line = tuple[int, bytes]  # the offset it begins at; its bytes with their LF, which only the last of the file may lack


def lines_on(read: Read, start: int, longest: int) -> Iterator[Line]:
    """The lines from `start` on, an unfinished last one too. A line over `longest` bytes comes in pieces."""
    rest, at = b"", start
    while True:
        data, after = read(at + len(rest), BLOCK_BYTES)
        if not data:
            break
        if (first := after - len(data)) > at + len(rest):  # what was to come is gone
            yield from _split(at, rest, longest)
            rest, at = b"", first
        rest += data
        whole = rest.rfind(b"\n") + 1
        yield from _split(at, rest[:whole], longest)
        rest, at = rest[whole:], at + whole
        while len(rest) > longest:
            piece = whole_characters(rest[:longest])
            yield at, piece
            rest, at = rest[len(piece) :], at + len(piece)
    yield from _split(at, whole_characters(rest), longest)


def lines_back(read: Read, end: int, longest: int) -> Iterator[Line]:
    """The lines before `end`, the newest first; `end` may stand within one. A line over `longest` bytes comes in pieces."""
    rest, at, more = b"", end, end > 0  # the first line of `rest` may begin before it
    while more:
        start = max(0, at - BLOCK_BYTES)
        block, first = stretch(read, start, at)
        more = first == start > 0  # else nothing older is left
        rest, at = block + rest, first
        if head := rest.find(b"\n") + 1:
            yield from _reversed(at + head, rest[head:], longest)
            rest = rest[:head]
        while more and len(rest) > longest:
            cut = len(rest) - longest
            yield at + cut, rest[cut:]
            rest = rest[:cut]
    yield from _reversed(at, rest, longest)


def whole_characters(data: bytes) -> bytes:
    """`data` without the beginning of a UTF-8 character at its end, unless that is all there is."""
    for back in range(1, min(4, len(data))):
        lead = data[-back]
        if lead & 0xC0 == 0x80:  # goes on with a character
            continue
        length = 4 if lead >= 0xF0 else 3 if lead >= 0xE0 else 2 if lead >= 0xC0 else 1
        return data[:-back] if back < length else data
    return data


def stretch(read: Read, start: int, end: int) -> tuple[bytes, int]:
    """The bytes from `start` to `end` and the offset they begin at: later than `start` where those before are gone."""
    parts: list[bytes] = []
    first = at = start
    while at < end:
        data, after = read(at, end - at)
        begin = after - len(data)
        if not data or begin >= end:
            break
        if begin > at:
            parts, first = [], begin
        parts.append(data[: end - begin])
        at = min(after, end)
    return b"".join(parts), first if parts else end


def _split(at: int, data: bytes, longest: int) -> Iterator[Line]:
    """The lines of `data`, which begins at `at`, or their pieces."""
    for line in BytesIO(data):  # splits at LF alone
        while len(line) > longest:
            piece = whole_characters(line[:longest])
            yield at, piece
            line, at = line[len(piece) :], at + len(piece)
        yield at, line
        at += len(line)


def _reversed(at: int, data: bytes, longest: int) -> Iterator[Line]:
    return reversed(list(_split(at, data, longest)))
