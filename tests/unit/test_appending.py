"""Lines that many append to one file over a disk that takes a part: none is lost, doubled or mixed with another."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hive_session.appending import append_lines

LINES = st.lists(st.text("ab", max_size=5).map(lambda word: word.encode() + b"!\n"), min_size=1)


@pytest.fixture
def fd(tmp_path: Path) -> int:
    return os.open(tmp_path / "file", os.O_RDWR | os.O_APPEND | os.O_CREAT)


def test_lines_come_in_one_write_and_nothing_is_left(fd: int) -> None:
    assert append_lines(fd, b"one\ntwo\n") == b""
    assert append_lines(fd, b"") == b""
    assert os.pread(fd, 99, 0) == b"one\ntwo\n"


def test_half_a_line_of_somebody_is_ended_first(fd: int) -> None:
    os.write(fd, b"ha")
    assert append_lines(fd, b"one\n") == b""
    assert os.pread(fd, 99, 0) == b"ha\none\n"


def test_a_line_that_somebody_is_writing_is_waited_for(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long write is seen in pieces by who looks at the file meanwhile."""
    pieces, real = [b"l", b"f\n"], os.lseek

    def wait(fd: int, offset: int, whence: int) -> int:
        os.write(fd, pieces.pop(0))
        return real(fd, offset, whence)

    os.write(fd, b"ha")
    monkeypatch.setattr(os, "lseek", wait)
    assert append_lines(fd, b"one\n") == b""
    assert os.pread(fd, 99, 0) == b"half\none\n"


def test_a_disk_that_takes_nothing_is_an_error(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="full"):
        append_lines(fd, b"one\n")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mine=LINES, yours=LINES, room=st.lists(st.integers(0, 20)))
def test_two_writers_on_a_disk_that_fills_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mine: list[bytes], yours: list[bytes], room: list[int]
) -> None:
    """Marked lines of both, each in its own order, are there once each, whatever else stands between."""
    real, left, writers = os.write, list(room), ((b"m", mine), (b"y", yours))
    path = tmp_path / "file"
    path.unlink(missing_ok=True)

    def write(fd: int, data: bytes) -> int:
        count = min(len(data), left.pop(0)) if left else len(data)
        if not count:
            raise OSError(errno.ENOSPC, "full")
        return real(fd, data[:count])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        given = {mark: [b"%b%d %b" % (mark, *each) for each in enumerate(lines)] for mark, lines in writers}
        untold = [b"".join(lines) for lines in given.values()]
        while any(untold):
            for at, rest in enumerate(untold):
                try:
                    untold[at] = append_lines(fd, rest)
                except OSError:
                    continue
        os.close(fd)
    found = [line for line in (path.read_bytes() + b"\n").splitlines(keepends=True) if line.endswith(b"!\n")]
    for mark, expected in given.items():
        assert [line for line in found if line.startswith(mark)] == expected
