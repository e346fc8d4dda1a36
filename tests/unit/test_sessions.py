"""Sessions kept in memory: they are what is on disk, whoever tells of it or does not, and nothing is read for nothing."""

import errno
import fcntl
import os
import shutil
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.conclude import conclude, fold_telemetry
from hive_session.durable import append_line, replace_file
from hive_session.ondisk import folding, sessions
from hive_session.ondisk.cards import Card, Change
from hive_session.ondisk.events import encode_event
from hive_session.ondisk.layout import Layout, SessionPaths
from hive_session.ondisk.liveness import boot_identity
from hive_session.ondisk.record_file import read_record
from hive_session.ondisk.records import MAX_RECORD_BYTES, SessionRecord, Usage, decode_session, encode_session
from hive_session.ondisk.sessions import Session, Sessions
from hive_session.ondisk.witnesses import stop_was_asked
from hive_session.witness import write_exit
from tests.unit.hives import BUSY, DONE, RESUMED, session_id
from tests.unit.test_fold import Event, event, result
from tests.unit.test_fold import session as told

NOW = 1_795_345_100.0
OVERFLOWS = Path("/proc/sys/fs/inotify/max_queued_events")


class Workspace:
    """A workspace on disk and the sessions that are read from it; `heard` is what they told since it was last asked."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(str(root), str(root / "outputs"), str(root / "logs"))
        os.makedirs(self.layout.sessions)
        os.makedirs(self.layout.log_dir)
        self._heard: list[tuple[str, Change]] = []
        self._locks: dict[int, int] = {}
        self.sessions = Sessions(self.layout, lambda each, change: self._heard.append((each, change)))

    def close(self) -> None:
        self.sessions.close()
        for number in list(self._locks):
            self.drop(number)

    # -- what others do on disk ------------------------------------------------------------------------------

    def paths(self, number: int) -> SessionPaths:
        return self.layout.session(session_id(number))

    def record(self, number: int, status: str = "created", **fields: Any) -> SessionRecord:
        paths = self.paths(number)
        made: dict[str, Any] = {
            "session_id": paths.id,
            "status": status,
            "task": f"Task {number}",
            "created": f"2026-11-22T09:31:{number % 60:02}+00:00",
            "working_dir": paths.dir,
            "output_dir": paths.output,
            "database": paths.database,
            "log_file": paths.log,
        }
        if status != "created":
            made |= {"attempt": 1, "started": "2026-11-22T09:32:00.000+00:00"}
        return SessionRecord(**made | fields)

    def put(self, number: int, status: str = "created", **fields: Any) -> SessionRecord:
        """The record of a session that is there, replaced."""
        record = self.record(number, status, **fields)
        replace_file(self.paths(number).record, encode_session(record), durable=False)
        return record

    def add(self, number: int, status: str = "created", events: Sequence[Event] = (), **fields: Any) -> str:
        """A session that appears whole, by rename."""
        paths = self.paths(number)
        growing = Path(self.layout.sessions, f".new-{paths.id}-1")
        growing.mkdir()
        (growing / "session.json").write_bytes(encode_session(self.record(number, status, **fields)))
        if events:
            (growing / "telemetry.jsonl").write_bytes(b"".join(map(encode_event, events)))
        growing.rename(paths.dir)
        return paths.id

    def emit(self, number: int, *events: Event) -> None:
        append_line(self.paths(number).telemetry, b"".join(map(encode_event, events)))

    def hold(self, number: int) -> None:
        """Be the run of that session."""
        fd = self._locks[number] = os.open(self.paths(number).run_lock, os.O_RDWR | os.O_CREAT)
        fcntl.flock(fd, fcntl.LOCK_EX)

    def drop(self, number: int) -> None:
        os.close(self._locks.pop(number))

    def run(self, number: int, events: Sequence[Event] = (), status: str = "running", **fields: Any) -> str:
        """A session that lives."""
        os.mkdir(self.paths(number).dir)
        self.hold(number)
        if events:
            self.emit(number, *events)
        self.put(number, status, **fields)
        return session_id(number)

    # -- what is seen of it ----------------------------------------------------------------------------------

    def open(self) -> Sessions:
        self.sessions.open()
        self._heard.clear()
        return self.sessions

    def heard(self) -> list[tuple[str, Change]]:
        """What was told since the last call, after all that changed on disk was taken in."""
        while self.sessions.refresh():
            continue
        return self.told()

    def told(self) -> list[tuple[str, Change]]:
        heard, self._heard[:] = list(self._heard), []
        return heard

    def swept(self) -> list[tuple[str, Change]]:
        """What one round of sweeps tells, and nobody else."""
        for _ in range(sessions.SWEEP_PARTS + 1):
            self.sessions.sweep()
        return self.told()

    def session(self, number: int) -> Session:
        return self.sessions.by_id[session_id(number)]

    def card(self, number: int) -> Card:
        return self.session(number).card

    def load(self, number: int) -> int:
        """How many slices it took to have the hive of that session in memory."""
        slices = 1
        while not self.sessions.loaded(self.session(number)):
            slices += 1
        return slices

    def in_memory(self) -> set[str]:
        return {each.card.id for each in self.sessions.by_id.values() if each.hive is not None}


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace(tmp_path / "place")
    yield made
    made.close()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each session.json was read."""
    counted: Counter[str] = Counter()

    def count(paths: SessionPaths) -> SessionRecord:
        counted[paths.id] += 1
        return read_record(paths)

    monkeypatch.setattr(sessions, "read_record", count)
    return counted


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inotify has no watch to give."""

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hive_session.ondisk.watch.Inotify.add_watch", refuse)


ONE, TWO, THREE = map(session_id, (1, 2, 3))
COME, GONE, RECORD = Change.LIST | Change.RECORD, Change.LIST | Change.RECORD, Change.RECORD


# -- sessions that come and go ---------------------------------------------------------------------------


def test_what_is_there_is_known_once_it_is_opened_the_newest_first(workspace: Workspace) -> None:
    for number in (2, 1, 3):
        workspace.add(number)
    assert [each.card.id for each in workspace.open().newest()] == [THREE, TWO, ONE]
    assert workspace.card(1).status == "created" and workspace.card(1).task == "Task 1"


def test_a_workspace_without_sessions_has_none(workspace: Workspace) -> None:
    assert workspace.open().newest() == []
    assert workspace.heard() == workspace.swept() == []


def test_a_session_that_appears_is_told_and_known(workspace: Workspace) -> None:
    workspace.add(1)
    opened = workspace.open()
    assert len(opened.newest()) == 1
    workspace.add(2)
    assert workspace.heard() == [(TWO, COME)]
    assert [each.card.id for each in opened.newest()] == [TWO, ONE]


@pytest.mark.parametrize("how", ["removed", "renamed"])
def test_a_session_that_goes_is_told_and_forgotten(workspace: Workspace, how: str) -> None:
    workspace.add(1, events=DONE)
    workspace.add(2)
    opened = workspace.open()
    workspace.load(1)
    if how == "removed":
        shutil.rmtree(workspace.paths(1).dir)
    else:
        os.mkdir(workspace.layout.trash)
        os.rename(workspace.paths(1).dir, f"{workspace.layout.trash}/{ONE}.1")
    assert workspace.heard()[-1] == (ONE, GONE)
    assert [each.card.id for each in opened.newest()] == [TWO]
    assert workspace.swept() == []


def test_what_happens_in_the_trash_is_nobody_s_business(workspace: Workspace) -> None:
    workspace.add(1)
    workspace.open()
    os.mkdir(workspace.layout.trash)
    os.rename(workspace.paths(1).dir, f"{workspace.layout.trash}/{ONE}.1")
    assert workspace.heard() == [(ONE, GONE)]
    replace_file(f"{workspace.layout.trash}/{ONE}.1/session.json", b"{}")
    shutil.rmtree(f"{workspace.layout.trash}/{ONE}.1")
    assert workspace.heard() == workspace.swept() == []


def test_a_session_that_comes_back_is_known_again(workspace: Workspace) -> None:
    workspace.add(1)
    workspace.open()
    shutil.rmtree(workspace.paths(1).dir)
    workspace.heard()
    workspace.add(1, "completed", reason="exit", exit_code=0)
    assert workspace.heard() == [(ONE, COME)]
    assert workspace.card(1).state == "done"
    workspace.put(1, "created")
    assert workspace.heard() == [(ONE, RECORD)]


@pytest.mark.parametrize("name", ["index", "12345678", ONE.replace("0", "A"), f".new-{ONE}-7", f"{ONE}.1", ONE[:-1]])
def test_a_directory_that_is_no_session_s_is_passed_over(workspace: Workspace, name: str) -> None:
    places = [Path(workspace.layout.sessions, name), Path(workspace.layout.sessions, f"{name}x")]
    places[0].mkdir()
    opened = workspace.open()
    places[1].mkdir()
    assert workspace.heard() == workspace.swept() == []
    assert opened.newest() == []


def test_a_file_with_a_session_s_name_is_no_session(workspace: Workspace) -> None:
    Path(workspace.paths(1).dir).touch()
    assert workspace.open().newest() == []
    Path(workspace.paths(2).dir).touch()
    assert workspace.heard() == workspace.swept() == []


def test_the_sessions_directory_may_come_after_us(workspace: Workspace) -> None:
    os.rmdir(workspace.layout.sessions)
    opened = workspace.open()
    os.mkdir(workspace.layout.sessions)
    workspace.add(1)
    assert workspace.heard() == [(ONE, COME)]
    workspace.add(2)
    assert workspace.heard() == [(TWO, COME)]
    assert len(opened.newest()) == 2


def test_the_whole_workspace_may_come_after_us(workspace: Workspace) -> None:
    shutil.rmtree(workspace.layout.swarm)
    workspace.open()
    os.makedirs(workspace.layout.sessions)
    workspace.add(1)
    assert workspace.swept() == [(ONE, COME)]
    workspace.add(2)
    assert workspace.heard() == [(TWO, COME)]  # from then on it is told at once


def test_the_sessions_directory_may_go_and_come_again(workspace: Workspace) -> None:
    workspace.add(1)
    opened = workspace.open()
    shutil.rmtree(workspace.layout.sessions)
    assert workspace.heard()[-1] == (ONE, GONE)
    workspace.swept()
    os.mkdir(workspace.layout.sessions)
    workspace.add(2)
    workspace.heard()
    workspace.swept()
    assert [each.card.id for each in opened.newest()] == [TWO]


# -- records ---------------------------------------------------------------------------------------------


def test_a_record_that_is_replaced_is_told_once(workspace: Workspace, reads: Counter[str]) -> None:
    workspace.add(1)
    workspace.open()
    reads.clear()
    workspace.put(1, "failed", reason="exit", exit_code=7, ended="2026-11-22T09:40:00.250+00:00")
    assert workspace.heard() == [(ONE, RECORD)]
    assert reads == {ONE: 1}
    card = workspace.card(1)
    assert (card.status, card.state, card.exit_code) == ("failed", "failed: exit 7", 7)
    assert card.ended_ms == 1_795_340_400_250


def test_changes_that_come_together_are_told_once(workspace: Workspace, reads: Counter[str]) -> None:
    workspace.add(1)
    workspace.open()
    reads.clear()
    for minute in range(50):
        workspace.put(1, updated=f"2026-11-22T10:{minute:02}:00+00:00")
    assert workspace.heard() == [(ONE, RECORD)]
    assert reads == {ONE: 1}
    assert workspace.card(1).updated_ms == 1_795_344_540_000


def test_a_record_that_says_the_same_is_no_change(workspace: Workspace) -> None:
    workspace.add(1)
    workspace.open()
    workspace.put(1)
    assert workspace.heard() == workspace.swept() == []


def test_a_card_holds_what_the_record_says(workspace: Workspace) -> None:
    usage = Usage(agents=5, tokens=1000, cost_usd=0.5)
    fields: dict[str, Any] = {"priority": "high", "agent": "claude", "labels": {"team": "red"}, "detail": "Well."}
    workspace.add(1, "completed", task="x" * 300, reason="exit", exit_code=0, usage=usage, attempt=3, pid=77, **fields)
    workspace.open()
    card = workspace.card(1)
    assert (card.task, card.priority, card.agent, card.labels, card.detail) == ("x" * 256, *fields.values())
    assert (card.agents, card.tokens, card.cost_usd, card.attempt, card.pid) == (5, 1000, 0.5, 3, 77)
    assert (card.created_ms, card.started_ms, card.ended_ms) == (1_795_339_861_000, 1_795_339_920_000, None)
    assert card.terminal and not card.live


def test_nothing_is_read_again_that_did_not_change(workspace: Workspace, reads: Counter[str]) -> None:
    for number in range(1, 30):
        workspace.add(number, "completed", reason="exit", exit_code=0)
    workspace.run(30, BUSY)
    workspace.add(31, "running", BUSY, external=True)
    workspace.add(32, "running")  # lost
    workspace.add(33)
    torn(workspace.paths(33).record)
    workspace.open()
    assert len(reads) == 33
    reads.clear()
    for _ in range(3):
        assert workspace.heard() == workspace.swept() == []
    workspace.sessions.sweep(parts=1)
    assert reads == {}


def test_only_what_changed_is_read_again(workspace: Workspace, reads: Counter[str]) -> None:
    for number in range(1, 20):
        workspace.add(number)
    workspace.open()
    reads.clear()
    workspace.put(7, detail="Changed.")
    workspace.emit(8, told("created"))
    workspace.heard()
    workspace.swept()
    assert reads == {session_id(7): 1}


def torn(path: str) -> None:
    Path(path).write_bytes(b'{"status": "runn')


def foreign(path: str) -> None:
    Path(path).write_bytes(b"[1, 2]")


def of_a_later_version(path: str) -> None:
    Path(path).write_bytes(Path(path).read_bytes().replace(b'"schema": 1', b'"schema": 99'))


def too_large(path: str) -> None:
    os.truncate(path, MAX_RECORD_BYTES + 1)  # nearly all of it a hole


def another_s(path: str) -> None:
    Path(path).write_bytes(Path(path).read_bytes().replace(ONE.encode(), TWO.encode()))


def missing(path: str) -> None:
    os.unlink(path)


def a_directory(path: str) -> None:
    os.unlink(path)
    os.mkdir(path)


AMISS: list[tuple[Callable[[str], None], str]] = [
    (torn, "session.json: not JSON"),
    (foreign, "session.json: not a JSON object"),
    (of_a_later_version, "session.json: schema 99 is newer"),
    (too_large, f"session.json: {MAX_RECORD_BYTES + 1} bytes; a record has at most {MAX_RECORD_BYTES}"),
    (another_s, f"session.json: it is the record of {TWO}"),
    (missing, "session.json is missing"),
    (a_directory, "session.json: Is a directory"),
]


@pytest.mark.parametrize(("damage", "words"), AMISS, ids=[damage.__name__ for damage, _ in AMISS])
def test_a_record_that_cannot_be_read_makes_that_session_unreadable_until_it_is_repaired(
    workspace: Workspace, damage: Callable[[str], None], words: str
) -> None:
    path = Path(workspace.add(1) and workspace.paths(1).record)
    workspace.add(2)
    workspace.open()
    before = workspace.card(1)
    damage(str(path))
    assert (ONE, RECORD) in workspace.heard() + workspace.swept()
    broken = workspace.card(1)
    assert (broken.status, broken.state, broken.live, broken.terminal) == ("unreadable", "unreadable", False, False)
    assert broken.detail is not None and words in broken.detail and broken.detail.startswith(workspace.paths(1).dir)
    assert workspace.card(2).status == "created"
    if path.is_dir():
        path.rmdir()
    workspace.put(1)
    assert workspace.heard()[-1] == (ONE, RECORD)
    assert workspace.card(1) == before


@pytest.mark.parametrize(("damage", "words"), AMISS, ids=[damage.__name__ for damage, _ in AMISS])
def test_a_record_that_cannot_be_read_from_the_start_is_there_all_the_same(
    workspace: Workspace, damage: Callable[[str], None], words: str
) -> None:
    workspace.add(1)
    damage(workspace.paths(1).record)
    assert [each.card.status for each in workspace.open().newest()] == ["unreadable"]
    assert words in (workspace.card(1).detail or "")


def test_an_unreadable_session_keeps_its_place_in_the_order(workspace: Workspace) -> None:
    workspace.add(1)
    workspace.add(2)
    opened = workspace.open()
    torn(workspace.paths(2).record)
    workspace.heard()
    workspace.add(3)
    workspace.heard()
    assert [each.card.id for each in opened.newest()] == [THREE, TWO, ONE]


def test_trouble_that_passes_leaves_nothing_unreadable(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.add(1)

    def refuse(paths: SessionPaths) -> SessionRecord:
        raise OSError(errno.EMFILE, "Too many open files", paths.record)

    with monkeypatch.context() as patch:
        patch.setattr(sessions, "read_record", refuse)
        workspace.open()
    assert workspace.card(1).detail == f"{workspace.paths(1).record}: Too many open files"
    assert workspace.swept() == [(ONE, RECORD)]
    assert workspace.card(1).status == "created"


def test_the_order_follows_a_record_that_was_repaired(workspace: Workspace) -> None:
    workspace.add(1)
    workspace.add(2)
    torn(workspace.paths(2).record)
    opened = workspace.open()
    assert [each.card.id for each in opened.newest()] == [ONE, TWO]
    workspace.put(2)
    workspace.heard()
    assert [each.card.id for each in opened.newest()] == [TWO, ONE]


# -- runs ------------------------------------------------------------------------------------------------


def test_a_run_lives_while_its_lock_is_held_and_is_lost_once_it_is_dropped(workspace: Workspace) -> None:
    workspace.run(1)
    opened = workspace.open()
    assert workspace.card(1).live and [each.card.id for each in opened.live()] == [ONE]
    assert workspace.heard() == workspace.swept() == []
    workspace.drop(1)
    assert workspace.heard() == [(ONE, RECORD)]
    card = workspace.card(1)
    assert (card.status, card.reason, card.state, card.exit_code) == ("failed", "lost", "failed: lost", None)
    assert opened.live() == []


def test_a_sweep_finds_a_lock_that_was_dropped_in_silence(workspace: Workspace) -> None:
    workspace.run(1)
    workspace.open()
    fcntl.flock(workspace._locks[1], fcntl.LOCK_UN)  # the file stays open: inotify has nothing to tell
    assert workspace.heard() == []
    assert workspace.swept() == [(ONE, RECORD)]
    assert workspace.card(1).state == "failed: lost"


def test_a_run_that_ends_in_good_order_is_never_taken_for_lost(workspace: Workspace) -> None:
    workspace.run(1)
    workspace.open()
    workspace.put(1, "completed", reason="exit", exit_code=0)
    workspace.drop(1)
    assert workspace.heard() == [(ONE, RECORD)]
    assert workspace.card(1).state == "done"


def test_a_run_that_ends_while_we_look_is_taken_at_its_last_word(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.run(1)

    def ends_now(_path: str) -> bool:
        workspace.put(1, "completed", reason="exit", exit_code=0)
        return False

    monkeypatch.setattr(sessions, "run_is_alive", ends_now)
    workspace.open()
    assert workspace.card(1).state == "done"


def test_a_run_that_is_resumed_lives_again(workspace: Workspace) -> None:
    workspace.add(1, "failed", DONE, reason="lost")
    workspace.open()
    workspace.hold(1)
    workspace.put(1, "starting", attempt=2)
    assert (ONE, RECORD) in workspace.heard()
    assert workspace.card(1).live and workspace.card(1).attempt == 2


def test_what_something_else_runs_is_taken_at_its_word(workspace: Workspace) -> None:
    workspace.add(1, "running", external=True)
    workspace.open()
    assert workspace.card(1).live
    assert workspace.heard() == workspace.swept() == []
    workspace.put(1, "failed", external=True)
    assert workspace.heard() == [(ONE, RECORD)]
    assert workspace.card(1).status == "failed"


Left = Callable[[SessionPaths], None]  # what the witnesses of a run left


def left(agent: tuple[int, int] | None = None, claude: tuple[int, int] | None = None, attempt: int = 1) -> Left:
    def leave(paths: SessionPaths) -> None:
        for path, seen in ((paths.exit, agent), (paths.claude_exit, claude)):
            if seen:
                write_exit(path, attempt=attempt, code=seen[0], signal_number=seen[1])

    return leave


def stopped(paths: SessionPaths) -> None:
    left((143, 15))(paths)
    Path(paths.stop_request).write_text(f"{NOW} 8\n")


def stopped_unseen(paths: SessionPaths) -> None:
    Path(paths.stop_request).touch()


def scribbled(paths: SessionPaths) -> None:
    Path(paths.exit).write_bytes(b'{"attempt": 1, "exit_code": ')


ENDS: dict[str, tuple[Left, dict[str, Any], list[Event], str]] = {
    "nothing": (left(), {}, BUSY, "failed: lost"),
    "while it started": (left(), {"status": "starting"}, [], "failed: lost"),
    "another start of the machine": (left(), {"boot": "before"}, [], "failed: interrupted"),
    "this start of the machine": (left(), {"boot": boot_identity()}, [], "failed: lost"),
    "exit 0": (left((0, 0)), {}, DONE, "done"),
    "exit 7": (left((7, 0)), {}, [], "failed: exit 7"),
    "signal": (left((137, 9)), {}, BUSY, "failed: signal 9"),
    "exit of the attempt before": (left((0, 0)), {"attempt": 2}, RESUMED, "failed: lost"),
    "exit of the second attempt": (left((3, 0), attempt=2), {"attempt": 2}, RESUMED, "failed: exit 3"),
    "claude's wins": (left((1, 0), (9, 0)), {"runs_claude": True}, DONE, "failed: exit 9"),
    "claude's 0": (left((0, 0), (0, 0)), {"runs_claude": True}, DONE, "done"),
    "claude's 0 without a result": (left((0, 0), (0, 0)), {"runs_claude": True}, BUSY, "failed: exit"),
    "an error as the result": (left((0, 0)), {}, [*BUSY, result(is_error=True)], "failed: exit"),
    "claude never started": (left((0, 0)), {"runs_claude": True}, [], "failed: spawn error"),
    "stopped": (stopped, {}, BUSY, "failed: cancelled"),
    "stopped, and nobody saw the end": (stopped_unseen, {}, BUSY, "failed: cancelled"),
    "half an exit": (scribbled, {}, BUSY, "failed: lost"),
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("seen", ["at the start", "later"])
def test_a_run_that_is_over_is_judged_as_the_control_plane_will_judge_it(
    workspace: Workspace, how: str, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave, fields, events, state = ENDS[how]
    monkeypatch.setattr(folding, "SLICE_BYTES", 500)  # the telemetry that is judged by is more than one slice
    workspace.run(1, events, **fields)
    if seen == "later":
        workspace.open()
        assert workspace.card(1).live
    leave(workspace.paths(1))
    workspace.drop(1)
    if seen == "at the start":
        workspace.open()
    workspace.heard()
    paths = workspace.paths(1)
    record = decode_session(Path(paths.record).read_bytes(), paths.record)
    requested = "cancelled" if stop_was_asked(paths) else None
    judged = conclude(paths, record, now=NOW, requested=requested, complete=False)
    card = workspace.card(1)
    assert card.state == state
    verdict = (judged.status, judged.reason, judged.exit_code, judged.signal, judged.detail)
    assert (card.status, card.reason, card.exit_code, card.signal, card.detail) == verdict
    # Nobody has put it down: the end is known where a witness saw it.
    assert (card.ended_ms is None) == (judged.ended == "2026-11-22T10:58:20.000+00:00")
    hive = workspace.session(1).hive
    assert hive is not None and hive.summary() == fold_telemetry(paths).summary()


def test_a_verdict_of_ours_gives_way_to_the_record(workspace: Workspace) -> None:
    workspace.run(1)
    workspace.open()
    workspace.drop(1)
    workspace.heard()
    workspace.put(1, "failed", reason="interrupted", ended="2026-11-22T09:40:00.000+00:00")
    assert workspace.heard() == [(ONE, RECORD)]
    assert workspace.card(1).state == "failed: interrupted"


# -- telemetry -------------------------------------------------------------------------------------------


def test_the_telemetry_of_what_lives_is_in_memory_and_grows_with_its_file(workspace: Workspace) -> None:
    workspace.run(1, BUSY[:3])
    workspace.open()
    session = workspace.session(1)
    assert session.hive is not None and list(session.hive.agents) == ["queen"]
    workspace.emit(1, *BUSY[3:6])
    assert workspace.heard() == [(ONE, Change.TELEMETRY | Change.AGENTS)]
    assert list(session.hive.agents) == ["queen", "a", "b", "c"]
    assert session.offset == os.path.getsize(workspace.paths(1).telemetry)
    workspace.emit(1, event("resources", cpu_ms=1, rss_bytes=1, processes=1))
    assert workspace.heard() == [(ONE, Change.TELEMETRY)]


def test_telemetry_that_appears_later_is_followed(workspace: Workspace) -> None:
    workspace.run(1)
    workspace.open()
    workspace.emit(1, *BUSY[:3])
    assert workspace.heard() == [(ONE, Change.TELEMETRY | Change.AGENTS)]
    workspace.emit(1, *BUSY[3:])
    assert workspace.heard() == [(ONE, Change.TELEMETRY | Change.AGENTS)]
    hive = workspace.session(1).hive
    assert hive is not None and hive.summary() == fold_telemetry(workspace.paths(1)).summary()


def test_growth_is_told_though_the_telemetry_is_not_in_memory(workspace: Workspace) -> None:
    workspace.add(1, "completed", BUSY)
    workspace.open()
    workspace.emit(1, *DONE[len(BUSY) :])
    assert workspace.heard() == [(ONE, Change.TELEMETRY | Change.AGENTS)]
    assert workspace.session(1).hive is None


def test_growth_is_told_though_somebody_asked_before_it_was(workspace: Workspace) -> None:
    workspace.add(1, "completed", BUSY)
    workspace.open()
    workspace.emit(1, *DONE[len(BUSY) :])
    workspace.load(1)  # for an answer, with the events that nobody was told of
    assert workspace.heard() == [(ONE, Change.TELEMETRY | Change.AGENTS)]


def test_half_a_line_is_left_for_later(workspace: Workspace) -> None:
    workspace.run(1, BUSY[:3])
    workspace.open()
    line = encode_event(BUSY[3])
    with open(workspace.paths(1).telemetry, "ab", buffering=0) as file:
        file.write(line[:20])
        assert workspace.heard() == []
        file.write(line[20:])
    assert workspace.heard() == [(ONE, Change.TELEMETRY | Change.AGENTS)]


def test_a_line_that_is_far_too_long_is_passed_over_and_never_held_in_memory(workspace: Workspace) -> None:
    workspace.run(1, BUSY[:3])
    workspace.open()
    path = workspace.paths(1).telemetry
    os.truncate(path, os.path.getsize(path) + (64 << 20))  # a hole: no line end in it, and no block of the disk
    tracemalloc.start()
    try:
        workspace.heard()
        for _ in range(3):
            workspace.swept()
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    with open(path, "ab") as file:
        file.write(b"\n" + encode_event(BUSY[3]))
    assert workspace.heard() == [(ONE, Change.TELEMETRY | Change.AGENTS)]
    hive = workspace.session(1).hive
    assert hive is not None and "a" in hive.agents and workspace.session(1).offset == os.path.getsize(path)


def test_telemetry_that_cannot_be_read_any_more_is_told_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.run(1, BUSY)
    workspace.open()

    def fail(*_: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    workspace.emit(1, *DONE[len(BUSY) :])
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fail)
        assert workspace.heard() == [(ONE, Change.TELEMETRY)]
        assert workspace.swept() == workspace.swept() == []
    assert workspace.swept() == [(ONE, Change.TELEMETRY | Change.AGENTS)]


LINES = [encode_event(each) for each in RESUMED]
JUNK = [
    b"\n",
    b"{}\n",
    b"[1]\n",
    b'{"ts":1,"type":"later"}\n',
    b"\xff\r\x00\n",
    b'{"ts":1}' * 40 + b"\n",
    b"x" * 900 + b"\n",
]
Cut = list[int]


@given(
    lines=st.lists(st.sampled_from(LINES) | st.sampled_from(JUNK), max_size=40),
    places=st.lists(st.floats(0, 1, exclude_max=True), max_size=12),
    slice_bytes=st.sampled_from([200, 1000, 1 << 18]),
    data=st.data(),
)
def test_however_telemetry_is_cut_into_appends_its_hive_is_that_of_the_whole(
    lines: list[bytes], places: list[float], slice_bytes: int, data: st.DataObject
) -> None:
    whole = b"".join(lines)
    cuts = sorted(int(place * len(whole)) for place in places)
    with TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        patch.setattr(folding, "SLICE_BYTES", slice_bytes)
        workspace = Workspace(Path(root))
        try:
            workspace.run(1)
            workspace.open()
            with open(workspace.paths(1).telemetry, "ab", buffering=0) as file:
                for start, end in pairwise([0, *cuts, len(whole)]):
                    file.write(whole[start:end])
                    workspace.sessions.refresh()
            workspace.heard()
            session, expected = workspace.session(1), fold_telemetry(workspace.paths(1))
            assert session.hive is not None and session.offset == len(whole)
            assert session.hive.summary() == expected.summary()
            assert session.hive.agents == expected.agents
            assert workspace.swept() == []  # and there was nothing left to find
        finally:
            workspace.close()


@given(
    lines=st.lists(st.sampled_from(LINES) | st.sampled_from(JUNK), max_size=30),
    slice_bytes=st.sampled_from([200, 2000]),
)
def test_however_many_slices_telemetry_takes_its_hive_is_that_of_the_whole(
    lines: list[bytes], slice_bytes: int
) -> None:
    with TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        patch.setattr(folding, "SLICE_BYTES", slice_bytes)
        workspace = Workspace(Path(root))
        try:
            workspace.add(1, "completed")
            Path(workspace.paths(1).telemetry).write_bytes(b"".join(lines))
            workspace.open()
            workspace.load(1)
            hive = workspace.session(1).hive
            assert hive is not None and hive.summary() == fold_telemetry(workspace.paths(1)).summary()
        finally:
            workspace.close()


def test_the_telemetry_of_what_has_ended_is_read_when_it_is_asked_for_in_slices(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "SLICE_BYTES", 1000)
    workspace.add(1, "completed", DONE)
    opened = workspace.open()
    session = workspace.session(1)
    assert session.hive is None and session.cpu_percent is None and session.offset == 0
    assert not opened.loaded(session) and session.hive is None
    size = os.path.getsize(workspace.paths(1).telemetry)
    assert workspace.load(1) >= size // 1000
    assert session.hive is not None and session.hive.summary() == fold_telemetry(workspace.paths(1)).summary()
    assert workspace.load(1) == 1 and session.offset == size


def test_a_session_without_telemetry_has_an_empty_hive(workspace: Workspace) -> None:
    workspace.add(1)
    workspace.open()
    assert workspace.load(1) == 1
    hive = workspace.session(1).hive
    assert hive is not None and hive.agents == {}


def test_only_so_many_hives_of_what_does_not_run_are_kept_those_that_were_asked_for_last(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "KEPT_HIVES", 3)
    live = {workspace.run(number, BUSY) for number in (8, 9)}
    for number in range(1, 6):
        workspace.add(number, "completed", DONE)
    workspace.open()
    for number in (1, 2, 3):
        workspace.load(number)
    workspace.load(1)
    workspace.load(4)
    assert workspace.in_memory() == live | set(map(session_id, (1, 3, 4)))
    workspace.load(5)
    assert workspace.in_memory() == live | set(map(session_id, (1, 4, 5)))


def test_a_hive_stays_when_its_session_ends_and_counts_from_then_on(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "KEPT_HIVES", 2)
    for number in range(1, 5):
        workspace.run(number, BUSY)
    workspace.open()
    for number in range(1, 4):
        workspace.put(number, "completed", reason="exit", exit_code=0)
        workspace.drop(number)
        workspace.heard()
    assert workspace.in_memory() == set(map(session_id, (2, 3, 4)))


def test_the_hive_of_what_runs_again_is_not_let_go(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "KEPT_HIVES", 1)
    workspace.add(1, "failed", DONE, reason="lost")
    workspace.add(2, "completed", DONE)
    workspace.open()
    workspace.load(1)
    workspace.hold(1)
    workspace.put(1, "running", attempt=2)
    workspace.heard()
    workspace.load(2)
    assert workspace.in_memory() == {ONE, TWO}


def test_the_hives_of_lost_runs_found_at_the_start_are_not_all_kept(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "KEPT_HIVES", 3)
    for number in range(1, 10):
        workspace.add(number, "running", BUSY)
    workspace.open()
    assert len(workspace.in_memory()) == 3
    assert {workspace.card(number).state for number in range(1, 10)} == {"failed: lost"}


def test_a_removed_session_takes_its_hive_along(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "KEPT_HIVES", 1)
    workspace.add(1, "completed", DONE)
    workspace.add(2, "completed", DONE)
    opened = workspace.open()
    workspace.load(1)
    gone = workspace.session(1)
    shutil.rmtree(workspace.paths(1).dir)
    workspace.heard()
    workspace.load(2)
    assert workspace.in_memory() == {TWO}
    opened.loaded(gone)  # whoever still holds it does no harm
    assert workspace.in_memory() == {TWO}


@pytest.mark.parametrize("status", ["completed", "running"])
def test_telemetry_that_cannot_be_read_harms_nobody(workspace: Workspace, status: str) -> None:
    workspace.add(1, status, external=True)
    os.mkdir(workspace.paths(1).telemetry)
    workspace.add(2)
    workspace.open()
    workspace.load(1)
    assert workspace.heard() == workspace.swept() == []
    assert workspace.card(1).status == status
    os.rmdir(workspace.paths(1).telemetry)
    workspace.emit(1, *DONE)
    workspace.heard()
    hive = workspace.session(1).hive
    assert hive is not None and hive.status == "completed"


def test_each_change_of_a_session_is_a_revision_of_it_and_nothing_else_is(workspace: Workspace) -> None:
    workspace.run(1, BUSY[:3])
    workspace.run(2)
    workspace.open()
    session, other = workspace.session(1), workspace.session(2).revision
    revisions = [session.revision]
    for change in (
        lambda: workspace.emit(1, BUSY[3]),
        lambda: workspace.put(1, "running", detail="Changed."),
        lambda: workspace.put(1, "completed", reason="exit", exit_code=0),
        lambda: workspace.emit(1, BUSY[4]),
    ):
        change()
        assert workspace.heard()
        revisions.append(session.revision)
    assert revisions == sorted(set(revisions))
    workspace.swept()
    workspace.load(1)
    assert (session.revision, workspace.session(2).revision) == (revisions[-1], other)


# -- processor time --------------------------------------------------------------------------------------


def sampled(ts: int, cpu_ms: int) -> Event:
    return {"ts": ts, "type": "resources", "cpu_ms": cpu_ms, "rss_bytes": 1, "processes": 1}


@pytest.mark.parametrize(
    ("events", "percent"),
    [
        ([told("running")], None),
        ([told("running"), sampled(1000, 500)], None),
        ([told("running"), sampled(1000, 500), sampled(2000, 1500)], 100.0),
        ([told("running"), sampled(1000, 500), sampled(4000, 500)], 0.0),
        ([told("running"), sampled(1000, 500), sampled(4000, 10_500)], 333.3),
        ([told("running"), sampled(1000, 500), sampled(2000, 1500), sampled(3000, 2000)], 50.0),
        ([told("running"), sampled(1000, 500), sampled(1000, 900)], None),  # two at once say nothing
        ([told("running"), sampled(1000, 500), sampled(900, 900), sampled(1900, 1000)], 10.0),  # the clock was set back
        ([told("running"), sampled(1000, 500), sampled(2000, 100)], 0.0),  # processes went, and their time with them
        ([told("running"), sampled(1000, 500), sampled(2000, 1500), told("running", 2)], None),
        ([told("running"), sampled(1000, 500), told("running", 2), sampled(2000, 700)], None),
        ([told("running"), sampled(1, 5), sampled(2, 6), told("running", 2), sampled(1000, 7), sampled(2000, 27)], 2.0),
    ],
)
def test_the_share_of_the_processor_is_between_the_last_two_samples_of_an_attempt(
    workspace: Workspace, events: list[Event], percent: float | None
) -> None:
    workspace.run(1)
    workspace.open()
    for each in events:
        workspace.emit(1, each)
        workspace.heard()
    assert workspace.session(1).cpu_percent == percent
    workspace.add(2, "completed", events)
    workspace.heard()
    workspace.load(2)
    assert workspace.session(2).cpu_percent == percent


# -- logs ------------------------------------------------------------------------------------------------


def grow(path: str, text: str = "one more line\n") -> None:
    with open(path, "a") as file:
        file.write(text)


def test_the_growth_of_a_log_is_told_while_it_is_watched(workspace: Workspace) -> None:
    workspace.add(1)
    log = workspace.paths(1).log
    Path(log).touch()
    opened = workspace.open()
    grow(log)
    assert workspace.heard() == []
    opened.watch_log(ONE)
    opened.watch_log(ONE)  # once more changes nothing
    grow(log)
    grow(log)
    assert workspace.heard() == [(ONE, Change.LOG)]
    opened.unwatch_log(ONE)
    grow(log)
    assert workspace.heard() == workspace.swept() == []
    opened.unwatch_log(ONE)


def test_a_log_that_appears_after_it_was_asked_for_is_found_by_a_sweep(workspace: Workspace) -> None:
    workspace.add(1)
    log = workspace.paths(1).log
    opened = workspace.open()
    opened.watch_log(ONE)
    grow(log)
    assert workspace.heard() == []
    assert workspace.swept() == [(ONE, Change.LOG)]
    grow(log)
    assert workspace.heard() == [(ONE, Change.LOG)]


# -- where inotify is deaf -------------------------------------------------------------------------------


def test_after_inotify_lost_count_all_is_looked_at_at_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3, 4):
        workspace.add(number)
    workspace.run(5, BUSY[:3])
    workspace.run(6)
    log = workspace.paths(5).log
    Path(log).touch()
    opened = workspace.open()
    opened.watch_log(session_id(5))
    # Two files in turn, as the kernel folds the same event twice in a row into one.
    noise = [open(f"{workspace.paths(4).dir}/noise{number}", "w") for number in (1, 2)]
    for file in noise:
        file.close()
    for _ in range(int(OVERFLOWS.read_text()) // 2 + 2):
        for file in noise:
            os.close(os.open(file.name, os.O_WRONLY))
    drains: list[bool] = []
    drain = opened._watch.drain

    def drained() -> bool:
        drains.append(drain())
        return drains[-1]

    monkeypatch.setattr(opened._watch, "drain", drained)
    # The queue is full: none of this is told.
    workspace.put(1, "completed", reason="exit", exit_code=0)
    shutil.rmtree(workspace.paths(2).dir)
    workspace.add(7)
    workspace.emit(5, *BUSY[3:])
    workspace.drop(6)
    grow(log)
    assert set(workspace.heard()) == {
        (ONE, RECORD),
        (TWO, GONE),
        (session_id(7), COME),
        (session_id(5), Change.TELEMETRY | Change.AGENTS),
        (session_id(6), RECORD),
        (session_id(5), Change.LOG),
    }
    assert drains[0] is False  # so it was full
    assert workspace.card(1).state == "done" and workspace.card(6).state == "failed: lost"
    workspace.put(7, "completed", reason="exit", exit_code=0)
    assert workspace.heard() == [(session_id(7), RECORD)]


@pytest.mark.usefixtures("deaf")
def test_without_watches_sweeps_find_every_change(workspace: Workspace) -> None:
    for number in (1, 2, 3):
        workspace.add(number)
    workspace.run(4, BUSY[:3])
    workspace.run(5)
    log = workspace.paths(4).log
    Path(log).touch()
    opened = workspace.open()
    assert opened.deaf and len(opened.newest()) == 5
    opened.watch_log(session_id(4))
    assert workspace.swept() == []
    workspace.put(1, "completed", reason="exit", exit_code=0)
    shutil.rmtree(workspace.paths(2).dir)
    workspace.add(6)
    workspace.emit(4, *BUSY[3:])
    workspace.drop(5)
    grow(log)
    assert workspace.heard() == []  # nobody tells
    assert set(workspace.swept()) - {(TWO, RECORD)} == {  # between two lists it may look as if its record were missing
        (ONE, RECORD),
        (TWO, GONE),
        (session_id(6), COME),
        (session_id(4), Change.TELEMETRY | Change.AGENTS),
        (session_id(5), RECORD),
        (session_id(4), Change.LOG),
    }
    assert workspace.card(5).state == "failed: lost"
    assert workspace.swept() == []


def grown(path: str) -> None:
    with open(path, "ab") as file:
        file.write(encode_event(told("running", 2)))


def replaced(path: str) -> None:
    """By a file of the same size."""
    data = Path(path).read_bytes()
    os.rename(path, f"{path}.1")
    Path(path).write_bytes(data)


def shortened(path: str) -> None:
    os.truncate(path, os.path.getsize(path) // 2)


@pytest.mark.usefixtures("deaf")
@pytest.mark.parametrize("change", [grown, replaced, shortened, os.unlink])
def test_without_watches_sweeps_find_what_becomes_of_telemetry_that_is_not_in_memory(
    workspace: Workspace, change: Callable[[str], None]
) -> None:
    workspace.add(1, "completed", DONE, reason="exit", exit_code=0)
    workspace.open()
    assert workspace.session(1).hive is None and workspace.swept() == []
    change(workspace.paths(1).telemetry)
    assert sweep_all(workspace) == [(ONE, Change.TELEMETRY | Change.AGENTS)]
    assert sweep_all(workspace) == []


def sweep_all(workspace: Workspace) -> list[tuple[str, Change]]:
    return [each for _ in range(sessions.ENDED_ROUNDS) for each in workspace.swept()]


def test_what_a_watch_told_of_telemetry_that_is_not_in_memory_is_not_told_by_a_sweep_too(workspace: Workspace) -> None:
    workspace.add(1, "completed", DONE, reason="exit", exit_code=0)
    workspace.open()
    grown(workspace.paths(1).telemetry)
    assert workspace.heard() == [(ONE, Change.TELEMETRY | Change.AGENTS)]
    assert sweep_all(workspace) == []


@pytest.mark.usefixtures("deaf")
def test_without_watches_a_file_of_the_same_size_in_place_of_telemetry_is_folded_anew(workspace: Workspace) -> None:
    workspace.run(1, BUSY)
    workspace.open()
    told_of = news(workspace)
    replaced(workspace.paths(1).telemetry)
    workspace.swept()
    assert [what.anew for _, what in told_of] == [True]


def test_watches_that_become_free_are_taken(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    workspace.add(1)
    with monkeypatch.context() as patch:
        patch.setattr("hive_session.ondisk.watch.Inotify.add_watch", refuse)
        workspace.open()
    workspace.swept()
    workspace.put(1, detail="Changed.")
    assert workspace.heard() == [(ONE, RECORD)]


def test_with_watches_nobody_is_deaf(workspace: Workspace) -> None:
    workspace.add(1)
    assert not workspace.open().deaf


def test_one_sweep_looks_at_a_part_alone(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 41):
        workspace.add(number)
    opened = workspace.open()
    looked: list[str] = []
    monkeypatch.setattr(opened, "_look", looked.append)
    opened.sweep()
    assert len(looked) == 40 // sessions.SWEEP_PARTS
    for _ in range(sessions.SWEEP_PARTS - 1):
        opened.sweep()
    assert sorted(looked) == sorted(opened.by_id)


@pytest.mark.parametrize("name", ["session.json", "telemetry.jsonl"])
def test_a_named_pipe_in_the_place_of_a_file_holds_up_nobody(workspace: Workspace, name: str) -> None:
    workspace.add(1)
    path = workspace.paths(1).at(name)
    if os.path.exists(path):
        os.unlink(path)
    os.mkfifo(path)
    workspace.add(2)
    opened = workspace.open()
    workspace.load(1)
    assert opened.by_id[ONE].card.status == ("unreadable" if name == "session.json" else "created")
    assert opened.by_id[TWO].card.status == "created"


def test_an_end_at_an_impossible_time_is_no_end(workspace: Workspace) -> None:
    workspace.add(1, "running", attempt=1)
    Path(workspace.paths(1).exit).write_bytes(
        b'{"exit_code":0,"signal":null,"attempt":1,"ended_ms":1000000000000000}\n'
    )
    workspace.open()
    assert workspace.card(1).state == "failed: lost"


# -- what exactly is new ---------------------------------------------------------------------------------


def news(workspace: Workspace) -> list[tuple[str, folding.News]]:
    """What is told of hives from now on."""
    told_of: list[tuple[str, folding.News]] = []
    workspace.sessions.on_news = lambda each, what: told_of.append((each.card.id, what))
    return told_of


def test_new_telemetry_is_told_with_the_agents_that_it_changed(workspace: Workspace) -> None:
    workspace.run(1, BUSY)
    workspace.open()
    told_of = news(workspace)
    message = event("message", **{"from": "a", "to": "b", "text": "Hello."})
    new = event("agent_spawned", agent="new", parent="queen", role="worker", kind="coder", task="Code")
    workspace.emit(1, event("usage", agent="a", tokens=900), new, message)
    assert workspace.heard() == [(ONE, Change.TELEMETRY | Change.AGENTS)]
    ((known_id, what),) = told_of
    assert (known_id, list(what.agents), list(what.spawned)) == (ONE, ["a", "new"], ["new"])
    assert list(what.messages) == [("a", "b")] and what.grown and not what.anew
    workspace.emit(1, told("running"))
    assert workspace.heard() == [(ONE, Change.TELEMETRY)]
    assert not told_of[1][1].agents and not told_of[1][1].messages
    workspace.emit(1, told("running", 2))
    workspace.heard()
    assert told_of[2][1].anew


def test_telemetry_that_another_file_replaced_is_folded_anew_at_once(workspace: Workspace) -> None:
    workspace.run(1, BUSY)
    workspace.open()
    told_of = news(workspace)
    os.rename(workspace.paths(1).telemetry, f"{workspace.paths(1).telemetry}.1")
    workspace.emit(1, *DONE)
    assert (ONE, Change.TELEMETRY | Change.AGENTS) in workspace.heard()
    assert any(what.anew for _, what in told_of)
    hive = workspace.session(1).hive
    assert hive is not None and hive.status == "completed"
    workspace.emit(1, told("running", 2))
    assert workspace.heard() == [(ONE, Change.TELEMETRY | Change.AGENTS)]  # the new file is watched


def test_telemetry_that_was_cut_is_folded_anew(workspace: Workspace) -> None:
    workspace.run(1, BUSY)
    workspace.open()
    Path(workspace.paths(1).telemetry).write_bytes(encode_event(told("running")))
    workspace.heard()
    hive = workspace.session(1).hive
    assert hive is not None and not hive.agents and workspace.session(1).offset == len(encode_event(told("running")))
    os.truncate(workspace.paths(1).telemetry, 0)  # without a word from inotify's close
    workspace.swept()
    assert workspace.session(1).offset == 0
