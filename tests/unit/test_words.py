"""How figures read to people: few words, one line, never wider than there is room."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.words import columns, count, duration, money, one_line, plural, progress_line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (0.99, "0 s"),
        (59.9, "59 s"),
        (60, "1 m 0 s"),
        (192, "3 m 12 s"),
        (3599, "59 m 59 s"),
        (3600, "1 h 0 m"),
        (7500, "2 h 5 m"),
        (86_399, "23 h 59 m"),
        (86_400, "1 d 0 h"),
        (273_600, "3 d 4 h"),
        (1e9, "11574 d 1 h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_a_longer_duration_never_reads_shorter(one: float, other: float) -> None:
    def seconds(text: str) -> int:
        words = text.split()
        unit_s = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
        return sum(int(number) * unit_s[unit] for number, unit in zip(words[::2], words[1::2], strict=True))

    low, high = sorted((one, other))
    assert seconds(duration(low)) <= seconds(duration(high)) <= high


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (950, "950"),
        (999, "999"),
        (1000, "1.0 k"),
        (12_400, "12.4 k"),
        (999_949, "999.9 k"),
        (999_950, "1.0 M"),
        (3_100_000, "3.1 M"),
        (2_500_000_000, "2500.0 M"),
    ],
)
def test_a_count_is_cut_to_thousands_and_millions(number: int, text: str) -> None:
    assert count(number) == text


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (None, "-"),
        (0, "$0.00"),
        (0.0004, "$0.00"),
        (0.042, "$0.042"),
        (0.05, "$0.05"),
        (0.0999, "$0.10"),
        (0.1, "$0.10"),
        (0.214, "$0.21"),
        (12.7, "$12.70"),
    ],
)
def test_money_has_cents_and_below_ten_of_them_a_digit_more(usd: float | None, text: str) -> None:
    assert money(usd) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 agents"), (1, "1 agent"), (14, "14 agents")])
def test_one_has_no_plural(number: int, text: str) -> None:
    assert plural(number, "agent") == text


@pytest.mark.parametrize(
    ("text", "wide"), [("", 0), ("abc", 3), ("日本", 4), ("🐝", 2), ("e\u0301", 1), ("é", 1), ("ﾊ", 1), ("Ａ", 2)]
)
def test_columns_are_those_of_a_terminal(text: str, wide: int) -> None:
    assert columns(text) == wide


@pytest.mark.parametrize(
    ("text", "width", "line"),
    [
        ("Build", 5, "Build"),
        ("Build it", 5, "Buil…"),
        ("Build it", 7, "Build…"),  # no blank before the ellipsis
        ("  Build\n  it\t", 20, "Build   it"),
        ("a\x1b[31mb\x07\x00", 20, "a [31mb"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
        ("日本語", 6, "日本語"),
        ("e\u0301e\u0301e\u0301", 2, "e\u0301…"),
        ("x", 1, "x"),
        ("xy", 1, "…"),
        ("\u202egnirts", 20, "gnirts"),  # no order of characters of its own
        ("", 5, ""),
    ],
)
def test_a_text_is_shown_on_one_line_of_its_width(text: str, width: int, line: str) -> None:
    assert one_line(text, width).strip() == line


@given(st.text(max_size=60), st.integers(1, 40))
def test_one_line_is_printable_and_no_wider_than_asked(text: str, width: int) -> None:
    line = one_line(text, width)
    assert line.isprintable() and columns(line) <= width
    assert not any(unicodedata.category(character) == "Cc" for character in line)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40), st.integers(1, 40))
def test_what_fits_is_shown_whole_and_what_does_not_says_so(text: str, width: int) -> None:
    line = one_line(text, width)
    assert line == text if len(text) <= width else line.endswith("…")


def test_a_task_of_megabytes_costs_no_more_than_a_line() -> None:
    assert one_line("\u0301" * 5_000_000, 10).endswith("…")


def test_the_progress_line_says_all_about_one_session() -> None:
    line = progress_line(
        "550e8400-e29b-41d4-a716-446655440000",
        "running",
        seconds=192,
        agents=14,
        tokens=12_400,
        cost_usd=0.21,
        headline="queen: planning",
    )
    assert line == "550e8400  running     3 m 12 s  14 agents   12.4 k tok    $0.21  queen: planning"


def test_a_progress_line_without_a_headline_has_no_blanks_at_its_end() -> None:
    line = progress_line("550e8400", "done", seconds=8, agents=1, tokens=0, cost_usd=None, headline="")
    assert line == "550e8400  done             8 s    1 agent        0 tok        -"
