"""Columns that align, within the width of a terminal."""

import re

from hypothesis import given
from hypothesis import strategies as st

from hive_session.table import ANSI, Span, ansi, cut, lay_out, plain
from hive_session.words import COLORS, columns

TITLES = ("ID", "TOKENS", "COST", "TASK")
texts = st.text(st.characters(exclude_categories=["C", "Z", "M"]), max_size=12)
spans: st.SearchStrategy[Span] = st.tuples(texts, st.sampled_from(["", *ANSI]))


def row(*texts: str) -> tuple[Span, ...]:
    return tuple((text, "") for text in texts)


def shown(rows: list[tuple[Span, ...]], width: int, **options: object) -> list[str]:
    return [plain(line) for line in lay_out(TITLES, rows, width, **options)]  # type: ignore[arg-type]  # as the test says


def test_cells_stand_below_their_titles() -> None:
    rows = [row("550e8400", "12.4 k", "$0.21", "Build"), row("9b2ac1f0", "4", "-", "Fix login")]
    assert shown(rows, 80, right={"TOKENS", "COST"}) == [
        "ID        TOKENS   COST  TASK",
        "550e8400  12.4 k  $0.21  Build",
        "9b2ac1f0       4      -  Fix login",
    ]


def test_what_does_not_fit_is_cut_from_the_last_column() -> None:
    assert shown([row("a", "b", "c", "Build the importer")], 30)[1] == "a   b       c     Build the i…"


def test_where_there_is_no_room_columns_are_left_out_one_after_the_other() -> None:
    rows = [row("550e8400", "12.4 k", "$0.21", "Build the importer")]
    spare = ("COST", "TOKENS")
    assert shown(rows, 33, spare=spare)[0] == "ID        TOKENS  COST   TASK"
    assert shown(rows, 32, spare=spare)[0] == "ID        TOKENS  TASK"
    assert shown(rows, 25, spare=spare)[0] == "ID        TASK"
    assert shown(rows, 5, spare=spare)[1] == "550e8400  Build t…"  # and no more than these


def test_a_color_is_around_its_cell_alone() -> None:
    (_, line) = lay_out(("A", "B"), [(("x", "red"), ("y", ""))], 80)
    assert ansi(line) == "\x1b[31mx\x1b[0m  y"


def test_every_color_of_a_state_is_one_that_a_terminal_has() -> None:
    assert set(COLORS.values()) <= ANSI.keys()


@given(st.lists(st.tuples(spans, spans, spans, spans), max_size=4), st.integers(60, 120))
def test_no_line_is_wider_than_asked_and_colors_change_no_text(rows: list[tuple[Span, ...]], width: int) -> None:
    lines = lay_out(TITLES, rows, width, right={"COST"})
    assert len(lines) == len(rows) + 1
    for line in lines:
        assert columns(plain(line)) <= width
        assert re.sub(r"\x1b\[[0-9]*m", "", ansi(line)) == plain(line) == plain(line).rstrip()


@given(st.lists(spans, max_size=6).map(tuple), st.integers(0, 40))
def test_a_line_that_is_cut_is_the_beginning_of_the_line(line: tuple[Span, ...], width: int) -> None:
    short = plain(cut(line, width))
    assert columns(short) <= width
    assert short == plain(line) or (plain(line).startswith(short.removesuffix("…")))
