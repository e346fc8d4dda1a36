"""Process trees as /proc tells them, and what a sampler makes of it."""

import os
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session import proctree, sampler
from hive_session.proctree import Use, descendants, read_proc, start_ticks, use_of
from hive_session.sampler import HEARTBEAT_S, IDLE_TICK_S, TICK_S, Sampler

GONE = 2**22 + 1  # beyond pid_max


def stat(name: bytes, *, state: bytes = b"S", parent: int = 1, utime: int = 0, pages: int = 0) -> bytes:
    """A line of /proc/PID/stat whose 22nd field, the start time, is 4711."""
    fields = [state, *(str(number).encode() for number in (parent, *[0] * 9, utime, 1, 2, 3, *[0] * 4, 4711, 0, pages))]
    return b"42 (" + name + b") " + b" ".join(fields) + b" 0 0\n"


@pytest.mark.parametrize("name", [b"sh", b"a b", b") S 1 (", b"((", b"\xff\n) Z 9"])
def test_a_process_may_call_itself_what_it_likes(monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
    monkeypatch.setattr(proctree, "read_proc", lambda path: stat(name, parent=7))
    assert proctree.start_ticks(42) == 4711
    assert proctree.parent_of(42) == 7
    assert not proctree.is_zombie(42)


def test_a_zombie_is_told_from_a_process_named_like_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proctree, "read_proc", lambda path: stat(b"x) S (", state=b"Z"))
    assert proctree.is_zombie(42)


def test_a_process_that_is_gone_has_nothing() -> None:
    assert read_proc(f"/proc/{GONE}/stat") == b""
    assert start_ticks(GONE) is None
    assert use_of(GONE) is None
    assert proctree.parent_of(GONE) is None
    assert proctree.session_of(GONE) is None
    assert proctree.children(GONE) == []
    assert not proctree.is_zombie(GONE)


def test_what_this_process_uses_can_be_read() -> None:
    use = use_of(os.getpid())
    assert use is not None
    assert use.rss_bytes > 1 << 20
    assert use.cpu_ms >= 0


def test_the_environment_names_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    environments = {1: b"A=1\0HIVE_SESSION_ID=abc\0B=2\0", 2: b"XHIVE_SESSION_ID=abc\0", 3: b"HIVE_SESSION_ID=\0"}
    monkeypatch.setattr(proctree, "_environ", lambda pid: environments[pid])
    assert [proctree.session_of(pid) for pid in environments] == ["abc", None, ""]


def test_descendants_come_parents_first_and_stop_where_one_does_not_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = {1: [2, 3], 2: [4], 3: [5, 6], 5: [7]}
    monkeypatch.setattr(proctree, "children", lambda pid: tree.get(pid, []))
    assert descendants(1, lambda pid: True) == [2, 3, 4, 5, 6, 7]
    assert descendants(1, lambda pid: pid != 3) == [2, 4]


def ended(cpu_s: float = 0.0, blocks_in: int = 0, blocks_out: int = 0, rss_kib: int = 0) -> Any:
    """What wait4 tells of a process."""
    return SimpleNamespace(ru_utime=cpu_s, ru_stime=0.0, ru_maxrss=rss_kib, ru_inblock=blocks_in, ru_oublock=blocks_out)


class Tree:
    """A tree of made-up processes under a sampler."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.uses: dict[int, Use] = {}
        self.sampler = Sampler()
        monkeypatch.setattr(sampler, "use_of", self.uses.get)

    def take(self) -> None:
        self.sampler.take([*self.uses, GONE])


def test_what_a_tree_uses_is_the_sum_over_those_that_live(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(monkeypatch)
    tree.uses.update({10: Use(100, 5000, 1, 2), 11: Use(50, 3000, 10, 20)})
    tree.take()
    seen = tree.sampler
    assert (seen.cpu_ms, seen.rss_bytes, seen.read_bytes, seen.write_bytes, seen.processes) == (150, 8000, 11, 22, 2)


def test_what_an_ended_process_used_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(monkeypatch)
    tree.uses.update({10: Use(0, 0, 0, 0), 11: Use(70, 0, 4096, 8192)})
    tree.take()
    del tree.uses[11]  # its parent 10 collected it, and has its figures from now on
    tree.uses[10] = Use(70, 0, 4096, 8192)
    tree.take()
    assert (tree.sampler.cpu_ms, tree.sampler.read_bytes, tree.sampler.write_bytes) == (70, 4096, 8192)
    del tree.uses[10]  # the sampler's owner collected this one
    tree.sampler.count(ended(0.07, 8, 16, 2048))
    tree.take()
    assert (tree.sampler.cpu_ms, tree.sampler.read_bytes, tree.sampler.write_bytes) == (70, 4096, 8192)
    assert tree.sampler.max_rss_bytes == 2 << 20
    assert tree.sampler.totals() == [
        "cpu_user_ms=70",
        "cpu_system_ms=0",
        "max_rss_bytes=2097152",
        "read_bytes=4096",
        "write_bytes=8192",
    ]


def test_totals_do_not_fall_while_a_process_waits_to_be_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(monkeypatch)
    tree.uses[10] = Use(70, 9000, 4096, 8192)
    tree.take()
    tree.uses.clear()
    tree.take()
    assert (tree.sampler.cpu_ms, tree.sampler.read_bytes, tree.sampler.write_bytes) == (70, 4096, 8192)
    assert (tree.sampler.rss_bytes, tree.sampler.processes) == (0, 0)


@pytest.mark.parametrize(
    ("change", "worth"),
    [
        ({}, False),
        ({"cpu_ms": 9}, False),
        ({"cpu_ms": 10}, True),
        ({"rss_bytes": (1 << 20) - 1}, False),
        ({"rss_bytes": 1 << 20}, True),
        ({"read_bytes": 1}, True),
        ({"write_bytes": 1}, True),
        ({"processes": 1}, True),
    ],
)
def test_a_line_is_written_where_a_figure_moved(change: dict[str, int], worth: bool) -> None:
    seen = Sampler()
    assert seen.line(100.0, 1) != ""
    for name, value in change.items():
        setattr(seen, name, value)
    assert (seen.line(101.0, 2) != "") is worth
    assert seen.tick_s == (TICK_S if worth else TICK_S * 1.5)


def test_a_large_process_must_move_by_a_32nd() -> None:
    seen = Sampler()
    seen.rss_bytes = 64 << 20
    seen.line(100.0, 1)
    seen.rss_bytes = (66 << 20) - 1
    assert seen.line(101.0, 2) == ""
    seen.rss_bytes = 66 << 20
    assert seen.line(102.0, 3) != ""


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_lines_come_at_most_once_a_second_and_at_least_every_30(moves: list[bool]) -> None:
    seen, now_s, told = Sampler(), 1000.0, []
    for moved in moves:
        seen.processes += moved
        if seen.line(now_s, 0):
            told.append(now_s)
        now_s += seen.tick_s
    assert told[0] == 1000.0
    gaps = [later - earlier for earlier, later in zip(told, [*told[1:], now_s], strict=True)]
    assert all(gap >= TICK_S for gap in gaps)
    assert all(gap <= HEARTBEAT_S for gap in gaps)


def test_an_idle_tree_is_looked_at_less_often() -> None:
    seen, looks, now_s = Sampler(), 0, 0.0
    while now_s < 600:
        seen.line(now_s, 0)
        now_s += seen.tick_s
        looks += 1
    assert looks <= 600 / IDLE_TICK_S * 1.2
