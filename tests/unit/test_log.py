"""A session's log read by log offset over its rotated parts: the same bytes at every step of a rotation, killed or not."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk.layout import SessionPaths
from hive_session.ondisk.log import MARK_BYTES, Base, decode_base, encode_base, log_end, read_log, settle_base

MARK = "5f0e3b9c1d7a4e268b90c4d2e6f1a357"
BLOCK = 64  # bytes that leave the log at once in these tests
WHOLE = b"".join(b"%07d\n" % number for number in range(64))  # 512 bytes: eight blocks


class Log:
    """A log in files, brought into any state that a rotation can leave."""

    def __init__(self, tmp_path: Path) -> None:
        self.paths = SessionPaths(str(tmp_path), "550e8400", str(tmp_path), str(tmp_path))
        self.name = self.paths.log

    def put(self, suffix: str, data: bytes) -> None:
        Path(self.name + suffix).write_bytes(data)

    def base(self, moved: int, leaving: int = 0, mark: str = "") -> None:
        Path(self.paths.log_base).write_bytes(encode_base(Base(moved, leaving, mark)))

    def rename(self, old: str, new: str) -> None:
        os.rename(self.name + old, self.name + new)

    def inode(self) -> str:
        return f"inode:{os.stat(self.name).st_ino}"

    def read_all(self, offset: int = 0, limit: int = 1 << 20) -> bytes:
        found: list[bytes] = []
        while True:
            data, after = read_log(self.paths, offset, limit)
            if not data:
                return b"".join(found)
            assert len(data) <= limit and after >= offset + len(data)
            found.append(data)
            offset = after


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def never_rotated(log: Log) -> None:
    log.put("", WHOLE)


def begun(log: Log) -> None:
    never_rotated(log)
    Path(log.paths.log_base).touch()


def rotated_twice(log: Log) -> None:
    log.put(".2", WHOLE[:BLOCK])
    log.put(".1", WHOLE[BLOCK : 3 * BLOCK])
    log.put("", WHOLE[3 * BLOCK :])
    log.base(3 * BLOCK)


def rotated_to_its_end(log: Log) -> None:
    log.put(".1", WHOLE)
    log.put("", b"")
    log.base(len(WHOLE))


def copying(log: Log) -> None:
    """The head is being copied: the base does not tell of it yet."""
    rotated_twice(log)
    log.put(".tmp", WHOLE[3 * BLOCK : 3 * BLOCK + 10])


def copied(log: Log) -> None:
    rotated_twice(log)
    log.put(".tmp", WHOLE[3 * BLOCK : 5 * BLOCK])
    log.base(3 * BLOCK, 2 * BLOCK, MARK)


def marked(log: Log) -> None:
    copied(log)
    log.put("", MARK.encode() + WHOLE[3 * BLOCK + MARK_BYTES :])


def shifting(log: Log) -> None:
    """.2 has become .3, and .1 is still to become .2: one number is left out."""
    marked(log)
    log.rename(".2", ".3")


def shifted(log: Log) -> None:
    shifting(log)
    log.rename(".1", ".2")


def named(log: Log) -> None:
    shifted(log)
    log.rename(".tmp", ".1")


def cut(log: Log) -> None:
    named(log)
    log.put("", WHOLE[5 * BLOCK :])


def told(log: Log) -> None:
    cut(log)
    log.base(5 * BLOCK)


def renaming(log: Log) -> None:
    """Where files cannot lose their head, the whole log is renamed; nothing is yet."""
    rotated_twice(log)
    log.base(3 * BLOCK, len(WHOLE) - 3 * BLOCK, log.inode())


def renaming_shifted(log: Log) -> None:
    renaming(log)
    log.rename(".2", ".3")
    log.rename(".1", ".2")


def renamed(log: Log) -> None:
    renaming_shifted(log)
    log.rename("", ".1")


def renamed_and_begun(log: Log) -> None:
    log.put(".2", WHOLE[: 3 * BLOCK])
    log.put("", WHOLE[3 * BLOCK : 6 * BLOCK])
    log.base(3 * BLOCK, 3 * BLOCK, log.inode())
    log.rename("", ".1")
    log.put("", WHOLE[6 * BLOCK :])


STATES = (
    never_rotated, begun, rotated_twice, rotated_to_its_end, copying, copied, marked, shifting, shifted, named, cut, told,
    renaming, renaming_shifted, renamed, renamed_and_begun,
)  # fmt: skip
each_state = pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)


@each_state
def test_the_whole_log_is_read_whatever_was_moved(log: Log, state: Callable[[Log], None]) -> None:
    state(log)
    assert log.read_all() == WHOLE
    assert log_end(log.paths) == len(WHOLE)


@each_state
def test_every_offset_and_limit_gives_the_same_bytes(log: Log, state: Callable[[Log], None]) -> None:
    state(log)
    for offset in (
        0,
        1,
        BLOCK - 1,
        BLOCK,
        3 * BLOCK,
        3 * BLOCK + 5,
        5 * BLOCK - 1,
        5 * BLOCK,
        len(WHOLE) - 1,
        len(WHOLE),
    ):
        assert log.read_all(offset) == WHOLE[offset:]
        data, after = read_log(log.paths, offset, 10)
        assert data == WHOLE[offset:after] and (data or offset == len(WHOLE))
    assert log.read_all(limit=7) == WHOLE


@each_state
def test_at_the_end_there_is_nothing_more_for_now(log: Log, state: Callable[[Log], None]) -> None:
    state(log)
    assert read_log(log.paths, len(WHOLE), 100) == (b"", len(WHOLE))
    with open(log.name, "ab") as file:
        file.write(b"more\n")
    assert read_log(log.paths, len(WHOLE), 100) == (b"more\n", len(WHOLE) + 5)
    assert log_end(log.paths) == len(WHOLE) + 5


def test_what_rotation_has_dropped_is_passed_over(log: Log) -> None:
    rotated_twice(log)
    os.unlink(log.name + ".2")
    assert read_log(log.paths, 0, 8) == (WHOLE[BLOCK : BLOCK + 8], BLOCK + 8)
    assert log.read_all() == WHOLE[BLOCK:]


def test_a_session_that_never_ran_has_an_empty_log(log: Log) -> None:
    assert (read_log(log.paths, 0, 100), log_end(log.paths)) == ((b"", 0), 0)
    assert read_log(log.paths, 50, 100) == (b"", 50)


# -- the base ----------------------------------------------------------------------------------------------------------


def parts(base: Base) -> tuple[int, int, str]:
    return base.moved, base.leaving, base.mark


@given(
    st.integers(0, 10**20 - 1),
    st.integers(0, 10**20 - 1),
    st.text("0123456789abcdef", min_size=1, max_size=MARK_BYTES) | st.integers(0, 2**64).map(lambda n: f"inode:{n}"),
)
def test_a_base_survives_its_bytes_which_are_always_as_many(moved: int, leaving: int, mark: str) -> None:
    raw = encode_base(Base(moved, leaving, mark))
    assert len(raw) == len(encode_base(Base()))
    assert parts(decode_base(raw)) == (moved, leaving, mark)


@given(st.binary(max_size=256))
def test_any_bytes_are_a_base_or_that_of_a_log_never_rotated(raw: bytes) -> None:
    base = decode_base(raw)
    assert base.moved >= 0 and base.leaving >= 0
    assert len(raw.split()) == 3 or parts(base) == parts(Base())


@pytest.mark.parametrize(
    ("state", "moved", "leaving"),
    [
        (rotated_twice, 3 * BLOCK, 0),
        (copied, 3 * BLOCK, 2 * BLOCK),
        (marked, 3 * BLOCK, 2 * BLOCK),
        (named, 3 * BLOCK, 2 * BLOCK),  # the head still stands in the log: it is to be cut off
        (cut, 5 * BLOCK, 0),
        (renaming, 3 * BLOCK, 0),  # as if it had never begun
        (renamed, len(WHOLE), 0),
        (renamed_and_begun, 6 * BLOCK, 0),
    ],
)  # fmt: skip
def test_a_rotation_that_was_killed_is_settled(
    log: Log, state: Callable[[Log], None], moved: int, leaving: int
) -> None:
    state(log)
    base = settle_base(log.name, decode_base(Path(log.paths.log_base).read_bytes()))
    assert (base.moved, base.leaving) == (moved, leaving)
