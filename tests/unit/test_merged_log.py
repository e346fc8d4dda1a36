"""Lines of many logs as one: their times, their order, how they are shown, and where a rotated log goes on."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.merged_log import ATTEMPT, LINE_BYTES, Clock, Cutter, Line, Part, merge, next_part, shown, time_of
from hive_session.ondisk.journal import entry

NOW_MS = 1_795_400_000_000
MOMENT_MS = 1_795_345_867_412


def local(text: str) -> int:
    """Unix milliseconds of a time without a zone, as this machine's clocks show it."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


# -- times -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "ms"),
    [
        (entry("mcp-tcp", "up", now_s=MOMENT_MS / 1000, pid=1).encode(), MOMENT_MS),
        (b"2026-11-22T11:11:07.412Z mcp-tcp-proxy: up", MOMENT_MS),
        (b"2026-11-22T12:11:07.412+01:00 up", MOMENT_MS),
        (b"2026-11-22T11:11:07+00:00 started", MOMENT_MS - 412),
        (b"[2026-11-22T11:11:07.412Z] [INFO] up", MOMENT_MS),
        (b"2026-11-22 11:11:07,412 INFO spawned: 'a' with pid 7", local("2026-11-22 11:11:07.412")),
        (b"2026-11-22 11:11:07,412 mcp-tcp: refused", local("2026-11-22 11:11:07.412")),
        (b"no time at all", None),
        (b"", None),
        (b"2026-13-22T11:11:07Z month thirteen", None),
        (b"2026-11-22", None),
        (b" 2026-11-22T11:11:07Z not at the beginning", None),
        (b'{"message":"x","time":"2026-11-22T11:11:07Z"}', None),
        (b"2026-11-22T11:11:07.412Zulu", None),
        (b"\xff\xfe\x00", None),
    ],
)
def test_a_line_tells_its_time_in_each_of_the_formats_of_the_suite(line: bytes, ms: int | None) -> None:
    assert time_of(line) == ms


@given(st.binary(max_size=60) | st.from_regex(rb"\A\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,Z+-]?\d{0,7}"))
def test_any_bytes_have_a_time_or_none(line: bytes) -> None:
    found = time_of(line)
    assert found is None or isinstance(datetime.fromtimestamp(found / 1000, UTC), datetime)


def stamped(clock: Clock, *texts: bytes, first_ms: int = 5, now_ms: int = NOW_MS) -> list[int]:
    return [line.ms for line in clock.stamp(texts, first_ms=first_ms, now_ms=now_ms)]


ONE, TWO = b"1970-01-01T00:00:01Z", b"1970-01-01T00:00:02Z"


def test_a_line_without_a_time_counts_as_the_one_before_it() -> None:
    clock = Clock("x")
    assert stamped(clock, ONE, b"Traceback", b"  File", TWO, b"more") == [1000, 1000, 1000, 2000, 2000]
    assert stamped(clock, b"still more", first_ms=clock.last_ms) == [2000]
    assert stamped(clock, b"later, without a time", first_ms=7000) == [7000]


def test_lines_before_the_first_time_are_of_that_time_or_of_the_file_s() -> None:
    assert stamped(Clock("x"), b"hello", TWO, first_ms=9000) == [2000, 2000]
    assert stamped(Clock("x"), b"hello", b"world", first_ms=9000) == [9000, 9000]


def test_a_log_keeps_its_order_though_its_clock_was_set_back() -> None:
    assert stamped(Clock("x"), TWO, ONE, b"x") == [2000, 2000, 2000]


def test_a_line_from_the_future_is_of_now() -> None:
    assert stamped(Clock("x"), b"2099-01-01T00:00:00Z", now_ms=5000) == [5000]


def test_no_lines_are_of_no_time() -> None:
    clock = Clock("x")
    assert stamped(clock, first_ms=9000) == [] and clock.last_ms == 0


def test_attempts_of_a_session_begin_when_its_record_says() -> None:
    clock = Clock("550e8400", {1: 1000, 3: 8000})
    head = ATTEMPT + b"550e8400-e29b-41d4-a716-446655440000"
    assert stamped(clock, head, b"a", head, b"b", head, b"c") == [1000, 1000, 1000, 1000, 8000, 8000]


@given(st.lists(st.sampled_from([ONE, TWO, b"x", b"2099-01-01T00:00:00Z"])), st.integers(0, 5000))
def test_times_of_one_log_never_go_back(texts: list[bytes], first_ms: int) -> None:
    found = stamped(Clock("x"), *texts, first_ms=first_ms, now_ms=3000)
    assert found == sorted(found) and all(ms <= 3000 for ms in found)


# -- lines -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=20)))
def test_any_split_gives_the_same_lines(pieces: list[bytes]) -> None:
    cutter = Cutter()
    lines = [line for piece in pieces for line in cutter.feed(piece)]
    whole = b"".join(pieces).split(b"\n")
    assert [*lines, *cutter.end()] == (whole if whole[-1] else whole[:-1])


def test_a_line_without_end_is_held_only_as_far_as_a_piece() -> None:
    cutter = Cutter()
    pieces = [piece for _ in range(100) for piece in cutter.feed(b"x" * 10_000)]
    assert {len(piece) for piece in pieces} == {LINE_BYTES}
    assert len(b"".join(pieces)) + len(b"".join(cutter.end())) == 1_000_000


@given(st.lists(st.lists(st.integers(0, 50)).map(sorted), max_size=4))
def test_merged_lines_are_in_order_and_none_is_missing(logs: list[list[int]]) -> None:
    sources = [[Line(ms, f"log{at}", b"%d" % n) for n, ms in enumerate(log)] for at, log in enumerate(logs)]
    merged = list(merge(sources))
    assert [line.ms for line in merged] == sorted(ms for log in logs for ms in log)
    for at, source in enumerate(sources):
        assert sorted([line for line in merged if line.label == f"log{at}"]) == sorted(source)


def test_lines_of_one_log_with_one_time_keep_their_order() -> None:
    first, second = [Line(5, "a", text) for text in (b"z", b"y", b"x")], [Line(5, "b", b"w")]
    merged = [line.text for line in merge([first, second])]
    assert [text for text in merged if text != b"w"] == [b"z", b"y", b"x"]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (b"plain\ttext \xe6\x97\xa5", b"plain\ttext \xe6\x97\xa5"),
        (b"dos\r", b"dos"),
        (b"\x1b[1;31mred\x1b[0m", b"red"),
        (b"over\rwritten", b"over\\rwritten"),
        (b"\x1b]0;title\x07\x1b[2J", b"\\x1b]0;title\\x07\\x1b[2J"),
        ("\x85\u202e\u2028".encode(), b"\\x85\\u202e\\u2028"),
        (b"\xff", b"\xff"),
    ],
)
def test_no_line_acts_on_a_terminal_or_looks_like_two(text: bytes, seen: bytes) -> None:
    assert shown(Line(0, "tcp-server", text)) == b"tcp-server: " + seen + b"\n"


@given(st.binary())
def test_a_shown_line_is_one_line(text: bytes) -> None:
    found = shown(Line(0, "x", text.replace(b"\n", b"")))
    assert found.count(b"\n") == 1 and b"\x1b" not in found and b"\r" not in found


# -- rotation ----------------------------------------------------------------------------------------------------------


def parts(*rows: tuple[int, int, int]) -> list[Part]:
    return [Part(*row) for row in rows]


@pytest.mark.parametrize(
    ("there", "goes_on"),
    [
        (parts((0, 20, 200), (1, 10, 100)), 20),  # rotated once
        (parts((0, 30, 300), (1, 20, 200), (2, 10, 100)), 20),  # twice: what came first comes first
        (parts((1, 10, 100)), None),  # between the renaming and the new file
        (parts((0, 30, 300), (1, 20, 200), (3, 10, 100)), None),  # between two renamings
        (parts((0, 40, 400), (1, 30, 300), (2, 20, 200)), 20),  # dropped as the oldest
        (parts((0, 20, 200), (1, 9, 90), (2, 8, 80)), 20),  # cleared: the parts behind it were read before it
        (parts((1, 9, 90)), None),  # cleared, and not yet made anew
        (parts(), None),
    ],
)
def test_a_log_goes_on_in_the_part_after_the_one_that_was_read(there: list[Part], goes_on: int | None) -> None:
    found = next_part(there, 10, 100)
    assert (found and found.inode) == goes_on
