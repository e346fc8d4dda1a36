"""What a child says beside the protocol, as the log shows it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_tcp.proxy.log import BURST_LINES, LINES_PER_S, MAX_CHARS, ChildWords, printable


def test_lines_come_when_they_are_whole_and_blank_ones_do_not() -> None:
    words = ChildWords(0.0)
    assert words.feed(b"one\n\n  \r\ntw", 0.0) == ["one"]
    assert words.feed(b"o\r\nthree", 0.0) == ["two"]
    assert words.end(0.0) == ["three"]
    assert words.end(0.0) == []


@given(st.lists(st.binary(max_size=30)))
def test_any_split_gives_the_same_lines(pieces: list[bytes]) -> None:
    cut, whole = ChildWords(0.0), ChildWords(0.0)
    lines = [line for piece in pieces for line in cut.feed(piece, 0.0)]
    assert [*lines, *cut.end(0.0)] == [*whole.feed(b"".join(pieces), 0.0), *whole.end(0.0)]


@given(st.binary(max_size=3000))
def test_whatever_is_said_is_one_printable_line(line: bytes) -> None:
    text = printable(line)
    assert text.isprintable() and len(text) <= MAX_CHARS


@pytest.mark.parametrize("char", ["a", "é", "日", "👩"])
def test_a_long_line_is_cut_and_one_that_just_fits_is_not(char: str) -> None:
    assert printable((char * MAX_CHARS).encode()) == char * MAX_CHARS
    assert printable((char * (MAX_CHARS + 1)).encode()) == char * (MAX_CHARS - 1) + "…"


def test_a_line_without_end_is_held_only_as_far_as_it_is_shown() -> None:
    words = ChildWords(0.0)
    for _ in range(1000):
        assert words.feed(b"x" * 65536, 0.0) == []
    (line,) = words.feed(b"\n", 0.0)
    assert line == "x" * (MAX_CHARS - 1) + "…"


def test_a_flood_is_counted_and_told_when_it_has_quietened() -> None:
    words = ChildWords(0.0)
    said = words.feed(b"x\n" * 1000, 0.0)
    assert len(said) == BURST_LINES
    assert words.line(b"y", 0.0) == []
    assert words.line(b"z", 10 / LINES_PER_S) == [f"({1001 - int(BURST_LINES)} lines left out)", "z"]
    assert words.line(b"z", 10 / LINES_PER_S) == ["z"]


def test_the_end_tells_what_was_left_out() -> None:
    words = ChildWords(0.0)
    words.feed(b"x\n" * 300, 0.0)
    assert words.end(0.0) == [f"({300 - int(BURST_LINES)} lines left out)"]
