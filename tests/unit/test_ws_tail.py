"""The events of one file by their bytes, whatever is written and however it is cut into reads."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hive_session.ondisk.events import MAX_EVENT_BYTES
from ws_relay import tail as tail_module
from ws_relay.tail import SEARCH_BYTES, SLICE_BYTES, Slice, Tail

GOOD = b'{"ts":1,"type":"x","n":%d}\n'


class File:
    """A file and its tail; what was told of restarts."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.restarts: list[int] = []
        self.tail = Tail(str(path), offset, self.restarts.append)

    def write(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)

    def read(self) -> list[bytes]:
        """All new events; their ranges follow each other."""
        lines: list[bytes] = []
        at = self.tail.offset
        while (found := self.tail.read()) is not None:
            assert found.start == at <= found.end == self.tail.offset
            assert found.more or at < found.end
            at = found.end
            lines += found.lines
        return lines


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "telemetry.jsonl")


def good(*numbers: int) -> bytes:
    return b"".join(GOOD % number for number in numbers)


def test_a_missing_file_has_no_events_until_it_is_there(file: File) -> None:
    assert file.read() == []
    file.write(good(1))
    assert file.read() == [good(1)[:-1]] and file.read() == []


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_has_no_events(file: File, make: object) -> None:
    make(file.path)  # type: ignore[operator]  # one of the two above
    assert file.read() == [] and not file.tail.starts_line(1)
    file.tail.seek_end()
    assert file.tail.offset == 0


def test_half_a_line_waits_for_its_end(file: File) -> None:
    file.write(good(1) + good(2)[:7])
    assert len(file.read()) == 1 and file.tail.offset == len(good(1))
    file.write(good(2)[7:])
    assert file.read() == [good(2)[:-1]]


def test_a_line_without_end_is_not_kept_in_memory_and_passed_over_once_it_ends(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write(good(1))
    file.read()
    sizes: list[int] = []
    pread = os.pread

    def count(fd: int, size: int, offset: int) -> bytes:
        found = pread(fd, size, offset)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(os, "pread", count)
    for _ in range(30):
        file.write(b"x" * 3 * SLICE_BYTES)
        assert file.read() == [] and file.tail.offset == len(good(1))
    assert sum(sizes) < 30 * 5 * SLICE_BYTES  # what was looked through is not looked through again
    file.write(b"\n" + good(2))
    assert file.read() == [good(2)[:-1]]


@pytest.mark.parametrize(("size", "counts"), [(MAX_EVENT_BYTES, True), (MAX_EVENT_BYTES + 1, False)])
def test_the_longest_line_is_that_of_the_format(file: File, size: int, counts: bool) -> None:
    line = b'{"ts":1,"type":"x","n":"%b"}\n'
    file.write(good(1) + line % (b"y" * (size - len(line) + 2)) + good(2))
    assert len(file.read()) == 2 + counts
    part = file.tail.part(len(good(1)), file.tail.offset)
    assert part is not None and len(part.lines) == counts


def test_the_end_is_where_the_last_whole_line_ends(file: File) -> None:
    file.write(good(*range(5000)) + b"half" * SLICE_BYTES)
    file.tail.seek_end()
    assert file.tail.offset == len(good(*range(5000)))
    assert file.tail.starts_line(file.tail.offset) and not file.tail.starts_line(file.tail.offset - 1)
    assert file.read() == []


def test_the_end_of_a_line_of_many_megabytes_is_looked_for_a_part_at_a_time(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write(good(1))
    os.truncate(file.path, 20 * SEARCH_BYTES)  # a hole: no line end in it
    size = 0
    pread = os.pread

    def count(fd: int, length: int, offset: int) -> bytes:
        nonlocal size
        found = pread(fd, length, offset)
        size += len(found)
        return found

    monkeypatch.setattr(os, "pread", count)

    def looked(work: Callable[[], Slice | None]) -> tuple[list[Slice], int]:
        """What several calls find, until one finds something or nothing more is to come, and the most that one read."""
        nonlocal size
        slices, most = list[Slice](), 0
        while True:
            size = 0
            found = work()
            most = max(most, size)
            if found is not None:
                slices.append(found)
            if found is None or found.end > found.start:
                return slices, most

    other = File(file.path)
    other.tail.seek_end(len(good(1)))
    assert other.tail.offset == len(good(1)) and size < 2 * SEARCH_BYTES
    file.tail.read()
    slices, most = looked(file.tail.read)
    assert len(slices) >= 15 and most < 2 * SEARCH_BYTES and file.tail.offset == len(good(1))
    file.write(b"\n" + good(2))
    end = file.path.stat().st_size - len(good(2))
    slices, most = looked(file.tail.read)
    assert (slices[-1].end, slices[-1].lines) == (end, []) and most < 2 * SEARCH_BYTES
    for _ in range(2):
        slices, most = looked(lambda: file.tail.part(len(good(1)), end))
        assert (slices[-1].end, slices[-1].lines, slices[-1].more) == (end, [], False) and most < 2 * SEARCH_BYTES
    assert len(slices) == 1  # the second one need not look again
    assert file.read() == [good(2)[:-1]]


def test_a_file_of_half_a_line_ends_where_it_begins(file: File) -> None:
    file.write(b"half")
    file.tail.seek_end()
    assert file.tail.offset == 0


def test_a_file_that_took_the_place_is_read_after_the_rest_of_the_one_before(file: File) -> None:
    file.write(good(1))
    file.read()
    file.write(good(2))
    file.path.rename(file.path.with_suffix(".1"))
    file.write(good(3))
    assert file.read() == [good(2)[:-1]] and file.restarts == [len(good(1, 2))]
    assert file.read() == [good(3)[:-1]]


def test_a_file_that_took_the_place_while_ours_was_closed_is_noticed(file: File) -> None:
    file.write(good(1))
    file.read()
    file.tail.rest()
    file.path.rename(file.path.with_suffix(".1"))
    file.write(good(2, 3))
    assert file.read() == [] and file.restarts == [len(good(1))]
    assert len(file.read()) == 2


@pytest.mark.parametrize("anew", [b"", good(7), good(*range(500))])
@pytest.mark.parametrize("rest", [False, True])
def test_a_file_that_was_cut_and_written_anew_is_noticed(file: File, anew: bytes, rest: bool) -> None:
    file.write(good(1, 2))
    file.read()
    if rest:
        file.tail.rest()
    file.path.write_bytes(anew)
    assert file.tail.read() is None and file.restarts == [len(good(1, 2))]
    assert b"".join(line + b"\n" for line in file.read()) == anew
    assert len(file.restarts) == 1


@pytest.mark.parametrize("call", ["open", "pread", "fstat"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_a_file_that_cannot_be_read_has_nothing_new_until_it_can(
    file: File, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    file.write(good(1))
    file.read()
    file.write(good(2))
    file.tail.rest()
    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse(number))
        assert file.tail.read() is None and file.tail.part(0, len(good(1))) is None
        assert not file.tail.starts_line(len(good(1)))
        file.tail.seek_end()
        assert isinstance(file.tail.trouble, OSError) and file.tail.trouble.errno == number
    assert len(os.listdir("/proc/self/fd")) == before
    assert file.read() == [good(2)[:-1]] and file.restarts == [] and file.tail.trouble is None


def refuse(number: int) -> Callable[..., Any]:
    """A call of the system that fails so."""

    def fail(*_args: object, **_words: object) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_missing_file_is_no_trouble(file: File) -> None:
    assert file.tail.read() is None and file.tail.trouble is None


def test_parts_are_slices_of_what_was_read(file: File) -> None:
    data = good(*range(10_000))
    file.write(data)
    file.read()
    at, lines = len(good(0)), list[bytes]()
    while at < len(data):
        part = file.tail.part(at, len(data))
        assert (
            part is not None
            and part.start == at
            and part.end - at <= SLICE_BYTES
            and part.more == (part.end < len(data))
        )
        at, lines = part.end, lines + part.lines
    assert len(lines) == 9_999
    end = len(good(0, 1, 2))
    part = file.tail.part(0, end)
    assert part is not None and part.end == end and len(part.lines) == 3


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from([b"\n", good(1), good(2, 3), good(4)[:9], b'{"ts":1,"type":"y","t":"' + b"z" * 90 + b'"}\n']),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(PIECES, st.data())
def test_any_cut_of_the_writes_gives_the_same_events_live_and_replayed(
    pieces: list[bytes], data: st.DataObject
) -> None:
    with TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tail_module, "SLICE_BYTES", 64)
        patch.setattr(tail_module, "MARK_BYTES", 16)
        file = File(Path(place, "file"))
        live: list[bytes] = []
        for piece in pieces:
            file.write(piece)
            if data.draw(st.booleans()):
                live += file.read()
            if data.draw(st.booleans()):
                file.tail.rest()
        live += file.read()
        whole = file.path.read_bytes() if file.path.exists() else b""
        assert file.tail.offset == whole.rfind(b"\n") + 1 and file.restarts == []
        at, replayed = 0, list[bytes]()
        while at < file.tail.offset:
            part = file.tail.part(at, file.tail.offset)
            assert part is not None and at < part.end <= file.tail.offset
            at, replayed = part.end, replayed + part.lines
        assert replayed == live
        file.tail.rest()
