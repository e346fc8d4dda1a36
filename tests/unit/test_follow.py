"""Following what others append: whole lines only, each of them once, and a wait that ends with the first change."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk.follow import Changes, Lines

BEYOND_S = 3600.0  # a wait that lasts until its time is up runs into pytest's own limit


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "telemetry.jsonl"


def append(file: Path, data: bytes) -> None:
    with file.open("ab") as stream:
        stream.write(data)


def test_a_file_that_is_not_there_yet_has_no_lines(file: Path) -> None:
    lines = Lines(str(file))
    assert lines.read() == []
    append(file, b"one\n")
    assert lines.read() == [b"one\n"]


def test_each_line_is_given_once_and_an_unfinished_one_is_left_for_later(file: Path) -> None:
    lines = Lines(str(file))
    append(file, b"one\ntw")
    assert (lines.read(), lines.offset) == ([b"one\n"], 4)
    assert (lines.read(), lines.offset) == ([], 4)
    append(file, b"o\n\nthree\n")
    assert (lines.read(), lines.offset) == ([b"two\n", b"\n", b"three\n"], 15)
    assert lines.read() == []


def test_lines_end_with_a_line_feed_and_nothing_else(file: Path) -> None:
    append(file, b"a\rb\x0bc\x0cd\x85e\r\n\xff\n")
    assert len(Lines(str(file)).read()) == 2


def test_reading_begins_where_it_is_told_to(file: Path) -> None:
    append(file, b"one\ntwo\n")
    assert Lines(str(file), 4).read() == [b"two\n"]
    assert Lines(str(file), 8).read() == []
    assert Lines(str(file), 1000).read() == []


def test_no_more_is_read_at_once_than_asked(file: Path) -> None:
    append(file, b"".join(b"%03d\n" % number for number in range(100)))
    lines = Lines(str(file))
    assert lines.read(limit=10) == [b"000\n", b"001\n"]
    assert len(lines.read(limit=400)) == 98


def test_a_line_longer_than_the_limit_is_given_whole(file: Path) -> None:
    append(file, b"x" * 100 + b"\nshort\n")
    lines = Lines(str(file))
    assert lines.read(limit=10) == [b"x" * 100 + b"\n"]
    assert lines.read(limit=10) == [b"short\n"]


@pytest.mark.parametrize("limit", [1, 10, 50, 1000])
def test_a_line_that_is_too_long_is_passed_over_and_what_stands_around_it_is_given(file: Path, limit: int) -> None:
    append(file, b"one\n" + b"x" * 5000)
    lines = Lines(str(file), longest=20)
    found = [line for _ in range(10) for line in lines.read(limit)]
    assert (found, lines.offset, lines.seen) == ([b"one\n"], 4, 5004)
    append(file, b"x\n" + b"y" * 19 + b"\nlast\n")
    assert [line for _ in range(10) for line in lines.read(limit)][-2:] == [b"y" * 19 + b"\n", b"last\n"]
    assert lines.offset == lines.seen == file.stat().st_size


def test_a_file_that_is_cut_within_a_line_that_is_too_long_is_read_on(file: Path) -> None:
    append(file, b"one\n" + b"x" * 5000)
    lines = Lines(str(file), longest=20)
    assert [lines.read(10) for _ in range(3)] == [[b"one\n"], [], []]
    os.truncate(file, 5)
    append(file, b"x\ntwo\n")
    assert lines.read() == [b"xx\n", b"two\n"]


def test_a_long_line_without_its_end_is_left_for_later_too(file: Path) -> None:
    append(file, b"x" * 100)
    lines = Lines(str(file))
    assert (lines.read(limit=10), lines.offset) == ([], 0)


@given(st.lists(st.binary(max_size=20), max_size=8), st.integers(1, 30))
def test_however_a_file_grows_its_lines_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes], limit: int
) -> None:
    file = tmp_path_factory.mktemp("grows") / "f"
    lines, found = Lines(str(file)), []
    for chunk in chunks:
        append(file, chunk)
        while some := lines.read(limit):
            found += some
    whole = b"".join(chunks)
    assert b"".join(found) == whole[: whole.rfind(b"\n") + 1]
    assert all(line.count(b"\n") == 1 and line.endswith(b"\n") for line in found)


# -- waiting -----------------------------------------------------------------------------------------------------------


def test_a_change_ends_the_wait(file: Path) -> None:
    changes = Changes([str(file.parent)])
    append(file, b"one\n")
    assert changes.wait(timeout_s=BEYOND_S) == []
    changes.close()


def test_a_descriptor_that_is_readable_ends_the_wait_and_is_given(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"x")
    changes = Changes([str(tmp_path)])
    assert changes.wait([reader], timeout_s=BEYOND_S) == [reader]
    changes.close()
    os.close(reader)
    os.close(writer)


def test_without_a_change_the_wait_ends_with_its_time(tmp_path: Path) -> None:
    changes = Changes([str(tmp_path)])
    assert changes.wait(timeout_s=0.0) == []
    changes.close()


def test_a_file_that_takes_the_place_of_a_watched_one_is_watched_from_the_next_sweep_on(file: Path) -> None:
    append(file, b"one\n")
    changes = Changes([str(file), str(file.with_name("not-there-yet"))])
    os.rename(file, file.with_name("old"))
    append(file, b"two\n")
    assert changes.wait(timeout_s=0.0) == []  # the sweep
    append(file, b"more\n")
    assert changes.wait(timeout_s=BEYOND_S) == []
    changes.close()
