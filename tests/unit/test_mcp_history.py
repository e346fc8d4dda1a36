"""session_logs and session_events: pages of a session's log and telemetry, whole, gapless, and cheap however long they are."""

import io
import os
import resource
import shutil
import threading
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk.cards import unreadable_card
from hive_session.ondisk.layout import Layout, SessionPaths
from hive_session.ondisk.log import Base, encode_base
from hive_session.ondisk.pages import lines_back, lines_on, whole_characters
from hive_session.ondisk.sessions import Session, Sessions
from mcp_tcp.history import HISTORY_TOOLS
from mcp_tcp.schemas import compile_schema
from mcp_tcp.tools import Needs, Question, ServerFacts, ToolError

ID = "550e8400-e29b-41d4-a716-446655440000"
TOOLS = {tool.name: tool for tool in HISTORY_TOOLS}
SERVER = ServerFacts(started_ms=0, version="0", clients=0, cpu_percent=None, memory_mb=None)

Answer = dict[str, Any]


class Place:
    """A session's directory and log, and the tools that read them."""

    def __init__(self, root: Path) -> None:
        layout = Layout(str(root), str(root / "outputs"), str(root / "logs"))
        self.paths: SessionPaths = layout.session(ID)
        os.makedirs(self.paths.dir)
        os.makedirs(layout.log_dir)
        self.sessions = cast(Sessions, SimpleNamespace(layout=layout))  # a real one holds an inotify instance
        self.log = Path(self.paths.log)
        self.telemetry = Path(self.paths.telemetry)

    def ask(self, name: str, **args: Any) -> Answer:
        """The answer, with arguments and answer checked against the tool's schemas."""
        tool = TOOLS[name]
        given = {"session_id": ID, **args}
        assert tool.check(given) is None
        session = Session(unreadable_card(ID, "torn", None))
        question = Question(args=given, session=session, sessions=self.sessions, now_ms=0, server=SERVER)
        answer = tool.answer(question)
        assert compile_schema(tool.output_schema)(answer) is None
        assert orjson.loads(orjson.dumps(answer)) == answer
        return answer

    def logs(self, **args: Any) -> Answer:
        return self.ask("session_logs", **args)

    def events(self, **args: Any) -> Answer:
        return self.ask("session_events", **args)

    def rotated(self, whole: bytes, *cuts: int) -> None:
        """The log `whole`, which was rotated at these offsets."""
        bounds = [0, *cuts, len(whole)]
        parts = [whole[start:end] for start, end in pairwise(bounds)]
        for number, part in enumerate(reversed(parts)):
            Path(f"{self.log}.{number}" if number else self.log).write_bytes(part)
        Path(self.paths.log_base).write_bytes(encode_base(Base(cuts[-1] if cuts else 0)))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "place")


def numbered(count: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(count))


# -- the tools -----------------------------------------------------------------------------------------------------------


def test_they_read_files_and_are_told_apart_by_their_descriptions() -> None:
    assert list(TOOLS) == ["session_logs", "session_events", "session_memory"]
    assert all(tool.needs is Needs.DISK for tool in HISTORY_TOOLS)
    assert all(tool.input_schema["required"] == ["session_id"] for tool in HISTORY_TOOLS)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("session_logs", {"tail": -1}),
        ("session_logs", {"from": 2**60}),
        ("session_logs", {"limit_bytes": 600 << 10}),
        ("session_logs", {"grep": "x" * 257}),
        ("session_events", {"limit": 1001}),
        ("session_events", {"cursor": "0"}),
        ("session_events", {"types": "result"}),
        ("session_memory", {"limit": 0}),
    ],
)
def test_arguments_out_of_bounds_do_not_pass_the_schema(name: str, args: Answer) -> None:
    assert TOOLS[name].check({"session_id": ID, **args})


@pytest.mark.parametrize("name", list(TOOLS))
def test_a_session_that_was_removed_is_said_so(place: Place, name: str) -> None:
    shutil.rmtree(place.paths.dir)
    with pytest.raises(ToolError, match="was removed"):
        place.ask(name)


def test_a_session_that_is_removed_while_it_is_read_is_said_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.rotated(numbered(100), 80)
    place.telemetry.write_bytes(line(1))

    def vanish(*_args: object) -> tuple[bytes, int]:
        shutil.rmtree(place.paths.dir)
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("hive_session.ondisk.log_pages.read_log", vanish)
    with pytest.raises(ToolError, match="was removed"):
        place.logs()


def test_what_may_not_be_read_is_said_with_its_reason(place: Place) -> None:
    place.log.mkdir()
    with pytest.raises(ToolError, match=r"the log of session .* cannot be read: Is a directory"):
        place.logs()


# -- logs: the end -------------------------------------------------------------------------------------------------------


def test_no_log_yet_is_no_lines(place: Place) -> None:
    empty = {"session_id": ID, "lines": [], "next": 0, "end": 0, "from": 0, "truncated": False, "unfinished": False}
    assert place.logs() == place.logs(**{"from": 0}) == empty


def test_the_last_hundred_lines_are_given_unless_others_are_asked_for(place: Place) -> None:
    whole = numbered(1000)
    place.rotated(whole)
    page = place.logs()
    assert page["lines"] == [f"line {number}" for number in range(900, 1000)]
    assert (page["next"], page["end"], page["truncated"], page["unfinished"]) == (len(whole), len(whole), False, False)
    assert whole[page["from"] :].startswith(b"line 900\n")
    assert place.logs(tail=2)["lines"] == ["line 998", "line 999"]


def test_a_tail_of_nothing_tells_where_the_log_ends(place: Place) -> None:
    place.rotated(b"one\ntwo\n")
    page = place.logs(tail=0)
    assert (page["lines"], page["from"], page["next"]) == ([], 8, 8)


@pytest.mark.parametrize("cuts", [(), (500,), (500, 1000), (500, 1000, 1001, 8800)])
def test_a_tail_goes_back_across_rotations(place: Place, cuts: tuple[int, ...]) -> None:
    whole = numbered(1000)
    place.rotated(whole, *cuts)
    page = place.logs(tail=10_000)
    assert page["lines"] == whole.decode().splitlines()
    assert (page["from"], page["next"], page["end"]) == (0, len(whole), len(whole))


def test_a_tail_ends_at_the_oldest_that_rotation_kept(place: Place) -> None:
    whole = numbered(100)
    place.rotated(whole, 207, 407)
    os.unlink(f"{place.log}.2")
    page = place.logs(tail=1000)
    assert page["from"] == 207
    assert "\n".join(page["lines"]).encode() + b"\n" == whole[207:]


def test_the_last_words_of_a_program_that_died_within_a_line_are_given(place: Place) -> None:
    place.rotated(b"one\nSegmentation fau")
    page = place.logs()
    assert (page["lines"], page["unfinished"], page["next"]) == (["one", "Segmentation fau"], True, 20)
    with place.log.open("ab") as file:
        file.write(b"lt\n")
    page = place.logs(**{"from": page["next"]})
    assert (page["lines"], page["unfinished"]) == (["lt"], False)


def test_a_character_that_is_still_being_written_is_left_for_later(place: Place) -> None:
    place.rotated("né".encode()[:-1])
    for page in (place.logs(), place.logs(**{"from": 0})):
        assert (page["lines"], page["next"]) == (["n"], 1)


def test_a_limit_in_bytes_keeps_the_newest_lines(place: Place) -> None:
    place.rotated(numbered(1000))
    page = place.logs(tail=1000, limit_bytes=1024)
    assert page["truncated"] and page["lines"][-1] == "line 999"
    assert 1000 < sum(len(text) + 1 for text in page["lines"]) <= 1024


def test_the_tail_of_a_huge_log_is_read_in_flat_memory(place: Place) -> None:
    with place.log.open("wb") as file:
        file.truncate(200 << 20)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + numbered(300))
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(place.logs()["lines"]) == 100
    assert place.logs(tail=1, grep="line 7")["lines"] == ["line 79"]
    place.logs(tail=400)  # into the line of 200 MB
    place.logs(grep="not there", **{"from": 0})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 60 << 10


# -- logs: from an offset on ---------------------------------------------------------------------------------------------


def pages(place: Place, start: int = 0, **args: Any) -> Iterator[Answer]:
    """All pages from there on; each begins where the last one ended."""
    while True:
        page = place.logs(**{"from": start}, **args)
        assert page["from"] == start and page["next"] >= start
        assert page["truncated"] is (page["next"] < page["end"])
        yield page
        if page["next"] == start:
            return
        start = page["next"]


@given(
    st.lists(st.text("ab\té€🐝", max_size=700) | st.integers(0, 5000).map("x".__mul__), max_size=30),
    st.booleans(),
    st.integers(1024, 4096),
    st.data(),
)
def test_paging_gives_every_byte_once_whatever_the_lines_and_limits(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], ended: bool, limit: int, data: st.DataObject
) -> None:
    place = Place(tmp_path_factory.mktemp("log"))
    whole = "\n".join(texts).encode() + (b"\n" if ended else b"")
    cuts = (
        sorted(set(data.draw(st.lists(st.integers(1, max(1, len(whole) - 1)), max_size=3)))) if len(whole) > 2 else []
    )
    place.rotated(whole, *cuts)
    joined = ""
    for page in pages(place, limit_bytes=limit):
        joined += "\n".join(page["lines"])
        joined += "" if page["unfinished"] or not page["lines"] else "\n"
        assert sum(len(text.encode()) for text in page["lines"]) <= limit
    assert joined.encode() == whole
    tail = place.logs(tail=3, limit_bytes=512 << 10)
    assert tail["lines"] == ([text.removesuffix("\n") for text in io.StringIO(whole.decode(), newline="\n")])[-3:]
    assert tail["next"] == len(whole)


def test_pages_of_a_log_that_grows_meanwhile_hold_every_line_once(place: Place) -> None:
    place.log.touch()
    count, done = 20_000, threading.Event()

    def write() -> None:
        with place.log.open("ab", buffering=0) as file:
            for number in range(0, count, 10):
                file.write(b"".join(b"%d\n" % each for each in range(number, number + 10))[:-1])
                file.write(b"\n")
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    text, start = "", 0
    while not done.is_set() or start < place.logs(tail=0)["end"]:
        page = place.logs(**{"from": start, "limit_bytes": 2048})
        text += "\n".join(page["lines"]) + ("" if page["unfinished"] or not page["lines"] else "\n")
        start = page["next"]
    writer.join()
    assert text.split() == [str(number) for number in range(count)]


def test_an_offset_beyond_the_end_is_refused(place: Place) -> None:
    place.rotated(b"one\n")
    with pytest.raises(ToolError, match="beyond the end"):
        place.logs(**{"from": 5})
    assert place.logs(**{"from": 4})["lines"] == []


def test_what_rotation_dropped_is_passed_over(place: Place) -> None:
    whole = numbered(100)
    place.rotated(whole, 207, 407)
    os.unlink(f"{place.log}.2")
    page = place.logs(**{"from": 3})
    assert (page["from"], page["next"]) == (207, len(whole))


def test_tail_and_from_are_not_both_taken(place: Place) -> None:
    with pytest.raises(ToolError, match="tail or from"):
        place.logs(tail=3, **{"from": 0})
    with pytest.raises(ToolError, match="tail or cursor"):
        place.events(tail=3, cursor=0)


# -- logs: which lines, and how they look --------------------------------------------------------------------------------

SAID = b"all well\nERROR: disk full\nall well\nerror (again)\nall well\n"


@pytest.mark.parametrize(
    ("args", "found"),
    [
        ({"grep": "error"}, ["error (again)"]),
        ({"grep": "error", "ignore_case": True}, ["ERROR: disk full", "error (again)"]),
        ({"grep": "(again)"}, ["error (again)"]),
        ({"grep": "(again)", "tail": 1}, ["error (again)"]),
        ({"grep": "all", "tail": 1}, ["all well"]),
        ({"grep": "error", "from": 9, "ignore_case": True}, ["ERROR: disk full", "error (again)"]),
        ({"grep": ""}, SAID.decode().splitlines()),
        ({"grep": "nothing"}, []),
    ],
)  # fmt: skip
def test_grep_gives_the_lines_that_fit(place: Place, args: Answer, found: list[str]) -> None:
    place.rotated(SAID, 20)
    page = place.logs(**args)
    assert (page["lines"], page["truncated"], page["next"]) == (found, False, len(SAID))


def test_a_search_stops_after_its_share_and_says_where_it_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hive_session.ondisk.log_pages.SEARCH_BYTES", 1 << 18)
    whole = b"needle\n" + b"hay\n" * (3 << 15) + b"needle\n"
    place.rotated(whole)
    back = place.logs(grep="needle")
    assert back["truncated"] and back["lines"] == ["needle"] and 0 < back["from"] < len(whole)
    on = place.logs(grep="needle", **{"from": 0})
    assert on["truncated"] and on["lines"] == ["needle"]
    rest = place.logs(grep="needle", **{"from": on["next"]})
    assert (rest["lines"], rest["next"], rest["truncated"]) == (["needle"], len(whole), False)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"\x1b[1;31mred\x1b[0m and \x1b[38;5;208morange\x1b[m\r\n", "red and orange"),
        (b"\x1b]0;title\x07shown \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n", "shown link"),
        (b"\x1b]0;title that never ends\n", "0;title that never ends"),
        (b"\x1bPq#0;2\x1b\\after\n", "after"),
        (b"10%\r20%\x1b[K\x1b[2A\x08\x00!\ttab\n", "10% 20% !\ttab"),
        (b"\xc2\x9b31mC1\n", "C1"),
        (b"\x1b(B\x1b=\x1b\n", ""),
        (b"caf\xe9 \xff\n", "caf\ufffd \ufffd"),
    ],
)
def test_lines_are_shown_without_what_only_a_terminal_understands(place: Place, raw: bytes, shown: str) -> None:
    place.rotated(raw)
    assert place.logs()["lines"] == [shown]
    plain = raw.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
    assert place.logs(raw=True)["lines"] == [plain]


@given(st.binary(max_size=300))
def test_no_escape_ever_reaches_a_terminal(raw: bytes) -> None:
    from hive_session.ondisk.log_pages import plain_text

    text = plain_text(raw)
    assert not [char for char in text if (ord(char) < 32 and char != "\t") or 127 <= ord(char) < 160]


# -- lines of any file ---------------------------------------------------------------------------------------------------


@given(st.binary(max_size=200), st.integers(4, 60), st.integers(1, 40))
def test_lines_back_are_lines_on_in_reverse_for_lines_that_are_not_too_long(
    data: bytes, longest: int, block: int
) -> None:
    def read(offset: int, limit: int) -> tuple[bytes, int]:
        found = data[offset : offset + min(limit, block)]
        return found, offset + len(found)

    forward = list(lines_on(read, 0, longest))
    backward = list(lines_back(read, len(data), longest))[::-1]
    for lines in (forward, backward):
        at = 0
        for start, raw in lines:
            assert start == at and 0 < len(raw) <= longest
            at += len(raw)
        assert data.startswith(b"".join(raw for _, raw in lines))
    assert b"".join(raw for _, raw in backward) == data
    assert len(data) - sum(len(raw) for _, raw in forward) <= 3  # a character that has not ended
    if all(len(raw) < longest for _, raw in backward) and forward[-1:] == backward[-1:]:
        assert forward == backward


@given(st.text(min_size=1), st.integers(0, 400))
def test_whole_characters_never_ends_within_one(text: str, cut: int) -> None:
    data = text.encode()[: max(1, cut)]
    whole = whole_characters(data)
    assert data.startswith(whole) and len(data) - len(whole) <= 3
    if len(whole) > 3:
        whole.decode()


# -- events --------------------------------------------------------------------------------------------------------------


def line(number: int, kind: str = "note", **fields: Any) -> bytes:
    return orjson.dumps({"ts": number, "type": kind, **fields}) + b"\n"


BAD = (
    b"not json\n",
    b"[]\n",
    b"\n",
    b'{"ts":1}\n',
    b'{"ts":1,"type":"message","from":"a"}\n',
    b"\xff\xfe\n",
    b"x" * 70_000 + b"\n",
)


def test_a_session_with_no_telemetry_yet_has_no_events(place: Place) -> None:
    empty = {"session_id": ID, "events": [], "from": 0, "cursor": 0, "more": False, "truncated": False, "skipped": 0}
    assert place.events() == place.events(tail=5) == empty
    with pytest.raises(ToolError, match="beyond the end"):
        place.events(cursor=1)


def test_every_event_carries_its_offset_and_reading_from_there_gives_it_again(place: Place) -> None:
    place.telemetry.write_bytes(b"".join(map(line, range(10))))
    events = place.events()["events"]
    assert [event["ts"] for event in events] == list(range(10))
    for event in events:
        assert place.events(cursor=event["offset"], limit=1)["events"] == [event]


def test_an_offset_that_an_event_brings_along_does_not_pass_for_its_own(place: Place) -> None:
    place.telemetry.write_bytes(line(1) + line(2, offset=99))
    assert place.events()["events"][1]["offset"] == len(line(1))


def test_bad_lines_are_passed_over_and_counted(place: Place) -> None:
    raw = b"".join(bad + line(number) for number, bad in enumerate(BAD))
    place.telemetry.write_bytes(raw)
    for page in (place.events(), place.events(tail=100)):
        assert [event["ts"] for event in page["events"]] == list(range(len(BAD)))
        assert page["cursor"] == len(raw)
    assert place.events()["skipped"] == len(BAD)


def test_what_stands_behind_a_line_that_is_too_long_does_not_pass_for_an_event(place: Place) -> None:
    place.telemetry.write_bytes(b"x" * 65_537 + line(1) + line(2))
    assert [event["ts"] for event in place.events(tail=9)["events"]] == [2]


def test_a_line_that_is_too_long_is_never_held_whole_and_counted_once(place: Place) -> None:
    with place.telemetry.open("wb") as file:
        file.write(line(1))
        file.truncate(
            len(line(1)) + (64 << 20)
        )  # a hole: nothing on disk, but all of it in memory where it is read whole
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + line(2))
    tracemalloc.start()
    pages = [place.events(limit=1)]
    while pages[-1]["more"]:
        pages.append(place.events(cursor=pages[-1]["cursor"]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [event["ts"] for page in pages for event in page["events"]] == [1, 2]
    assert sum(page["skipped"] for page in pages) == 1
    assert peak < 8 << 20


def test_a_line_that_is_still_being_written_is_left_for_later(place: Place) -> None:
    half = line(2)
    place.telemetry.write_bytes(line(1) + half[:7])
    for args in ({}, {"tail": 5}):
        page = place.events(**args)
        assert [event["ts"] for event in page["events"]] == [1]
        assert (page["cursor"], page["more"]) == (len(line(1)), False)
    with place.telemetry.open("ab") as file:
        file.write(half[7:])
    assert [event["ts"] for event in place.events(cursor=page["cursor"])["events"]] == [2]


@pytest.mark.parametrize(
    ("cursor", "why"), [(1, "not where an event"), (5, "not where an event"), (10_000, "beyond the end")]
)
def test_a_cursor_of_someone_else_is_refused_with_what_to_do(place: Place, cursor: int, why: str) -> None:
    place.telemetry.write_bytes(line(1) + line(2))
    with pytest.raises(ToolError, match=f"{why}.*session_events gave for this session"):
        place.events(cursor=cursor)


def test_types_select_and_the_cursor_passes_over_the_others(place: Place) -> None:
    raw = b"".join(line(number, "tick" if number % 10 else "tock") for number in range(100))
    place.telemetry.write_bytes(raw)
    page = place.events(types=["tock"], limit=3)
    assert [event["ts"] for event in page["events"]] == [0, 10, 20] and page["more"]
    assert [e["ts"] for e in place.events(types=["tock"], cursor=page["cursor"])["events"]] == list(range(30, 100, 10))
    assert [e["ts"] for e in place.events(types=["tock", "none"], tail=2)["events"]] == [80, 90]
    assert place.events(types=["none"])["events"] == []


def test_a_page_ends_with_its_bytes_too_and_says_so(place: Place) -> None:
    place.telemetry.write_bytes(b"".join(line(number, text="x" * 10_000) for number in range(100)))
    page = place.events(limit=100)
    assert page["truncated"] and page["more"] and 20 < len(page["events"]) < 40
    page = place.events(tail=100)
    assert page["truncated"] and page["events"][-1]["ts"] == 99 and 20 < len(page["events"]) < 40
    assert place.events(tail=0)["events"] == []


def test_a_search_for_types_stops_after_its_share(place: Place) -> None:
    place.telemetry.write_bytes(line(0, "rare") + line(1, text="x" * 1000) * 6000 + line(2, "rare"))
    first = place.events(types=["rare"])
    assert first["truncated"] and first["more"] and [event["ts"] for event in first["events"]] == [0]
    rest = place.events(types=["rare"], cursor=first["cursor"])
    assert [event["ts"] for event in rest["events"]] == [2] and not rest["more"]
    assert place.events(types=["rare"], tail=5)["truncated"]


@given(
    st.lists(st.sampled_from(["note", "tick", "bad"]), max_size=60),
    st.integers(1, 9),
    st.sampled_from([[], ["tick"], ["tick", "note"]]),
)
def test_pages_of_events_leave_nothing_out_and_give_nothing_twice(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], limit: int, types: list[str]
) -> None:
    place = Place(tmp_path_factory.mktemp("events"))
    lines = [b"bad\n" if kind == "bad" else line(number, kind) for number, kind in enumerate(kinds)]
    place.telemetry.write_bytes(b"".join(lines) + b'{"ts":')
    wanted = [number for number, kind in enumerate(kinds) if kind != "bad" and (not types or kind in types)]
    found, skipped, cursor, more = [], 0, 0, True
    while more:
        page = place.events(cursor=cursor, limit=limit, types=types)
        assert page["from"] == cursor and len(page["events"]) <= limit
        found += [event["ts"] for event in page["events"]]
        skipped, cursor, more = skipped + page["skipped"], page["cursor"], page["more"]
    assert (found, skipped, cursor) == (wanted, kinds.count("bad"), len(b"".join(lines)))
    tail = place.events(tail=limit, types=types)
    assert ([event["ts"] for event in tail["events"]], tail["cursor"]) == (wanted[-limit:], cursor)


def test_events_that_are_appended_meanwhile_are_each_given_once(place: Place) -> None:
    place.telemetry.touch()
    count, done = 5_000, threading.Event()

    def write() -> None:
        with place.telemetry.open("ab", buffering=0) as file:
            for number in range(count):
                whole = line(number)
                file.write(whole[:9])
                file.write(whole[9:])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    found: list[int] = []
    cursor, more = 0, True
    while more:
        all_there = done.is_set()  # asked first: what is written after the page was read is on the next one
        page = place.events(cursor=cursor, limit=100)
        found += [event["ts"] for event in page["events"]]
        assert page["skipped"] == 0
        cursor, more = page["cursor"], page["more"] or not all_there
    writer.join()
    assert found == list(range(count))
