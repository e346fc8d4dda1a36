"""Rows in columns for a terminal, in words and colours, never wider than there is room; pure."""

from collections.abc import Collection, Sequence
from typing import TypeAlias

from hive_session.words import columns, one_line

Span: TypeAlias = tuple[str, str]  # a piece of text and its colour; "" is the terminal's own
Line: TypeAlias = tuple[Span, ...]

GAP = "  "
DIM = "bright_black"
LEAST_COLUMNS = 8  # of the last column
ANSI = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "bright_black": 90}  # the names are those that rich knows


def lay_out(
    titles: Sequence[str],
    rows: Sequence[Sequence[Span]],
    width: int,
    *,
    right: Collection[str] = (),
    spare: Sequence[str] = (),
) -> list[Line]:
    """The titles and the rows below them; what does not fit in `width` columns is cut from the last column.

    Columns in `right` end where their title ends. Those in `spare` are left out, in that order, where there is no room.
    """
    cells = [[(title, "") for title in titles], *rows]
    widths = {name: max(columns(row[at][0]) for row in cells) for at, name in enumerate(titles[:-1])}
    for name in spare:
        if _room(widths, width) < LEAST_COLUMNS:
            del widths[name]
    kept = [(titles.index(name), name in right, wide) for name, wide in widths.items()]
    room = max(LEAST_COLUMNS, _room(widths, width))
    return [_line(row, kept, room) for row in cells]


def _room(widths: dict[str, int], width: int) -> int:
    return width - sum(widths.values()) - len(GAP) * len(widths)


def _line(row: Sequence[Span], kept: Sequence[tuple[int, bool, int]], room: int) -> Line:
    spans: list[Span] = []
    for at, is_right, wide in kept:
        text, color = row[at]
        blanks = " " * (wide - columns(text))
        spans += [(blanks + text if is_right else text + blanks, color), (GAP, "")]
    text, color = row[-1]
    return strip((*spans, (one_line(text, room), color)))


def strip(line: Line) -> Line:
    """A line without the blanks at its end."""
    while line and not line[-1][0].rstrip():
        line = line[:-1]
    return (*line[:-1], (line[-1][0].rstrip(), line[-1][1])) if line else line


def cut(line: Line, width: int) -> Line:
    """As much of a line as `width` columns hold."""
    kept: list[Span] = []
    for text, color in line:
        wide = columns(text)
        if wide > width:
            return strip((*kept, (one_line(text, width), color))) if width > 0 else strip(tuple(kept))
        kept.append((text, color))
        width -= wide
    return tuple(kept)


def plain(line: Line) -> str:
    """The text of a line."""
    return "".join(text for text, _ in line)


def ansi(line: Line) -> str:
    """The text of a line with its colours, for a terminal."""
    return "".join(f"\x1b[{ANSI[color]}m{text}\x1b[0m" if color else text for text, color in line)
