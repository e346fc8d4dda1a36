"""Rotation under a writer that never waits: through `logs` not a byte is lost or doubled, whoever is killed when."""

import itertools
import os
import random
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hive_session import pump, rotate
from hive_session.ondisk.layout import SessionPaths
from hive_session.ondisk.log import log_end, read_log
from tests.integration.hive import Hive, children, kill, read_bytes, until

# Where tests are spread over workers, these have threads; what is forked here runs no code of those.
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

ROTATE_BYTES = 300_000
FLOOD_S = 90.0  # for any flood to end; all is well after a few of them
LINE = b"line %08d of a flood ..................................................\n"
# Writes so many lines in so many seconds, through two descriptors: stdout and stderr share the log. It never waits, but it goes
# slowly while it is far ahead of those that are named: the rotation, or a reader that writes to this file. So on a machine that
# is slow, or stood still, it is not over before they had their turn.
FLOOD = """
import json, os, sys, time
lines, seconds, *takers = sys.argv[1].split()
def rotated():
    with open(os.environ["HIVE_SESSION_DIR"] + "/telemetry.jsonl", "rb") as file:
        told = [line for line in file if b'"log_rotated"' in line and line.endswith(b"\\n")]
    return json.loads(told[-1])["base"] if told else 0
def taken(by):
    return rotated() if by == "rotation" else os.stat(by).st_size
written = 0
for at in range(0, int(lines), 50):
    data = b"".join(b"line %08d of a flood ..................................................\\n" % n
        for n in range(at, min(at + 50, int(lines))))
    os.write(1 + at // 50 % 2, data)
    written += len(data)
    far_ahead = any(written > taken(by) + 500_000 for by in takers)
    time.sleep(0.2 if far_ahead else 50 / int(lines) * float(seconds))
"""


@pytest.fixture(params=["cut", "renamed"])
def log_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A directory for logs: where a file can lose its head, and where it cannot."""
    if request.param == "cut":
        assert rotate.can_collapse(str(tmp_path)), f"{tmp_path}: tests need a file system as ext4 or xfs (--basetemp)"
        yield tmp_path / "log"
        return
    place = Path(tempfile.mkdtemp(prefix="hive-tests-", dir="/dev/shm"))
    assert not rotate.can_collapse(str(place))
    yield place / "log"
    shutil.rmtree(place)


@pytest.fixture
def hive(tmp_path: Path, log_dir: Path) -> Iterator[Hive]:
    with Hive(tmp_path / "hive", log_dir=log_dir, HIVE_LOG_MAX_BYTES=str(ROTATE_BYTES)) as hive:
        yield hive


def renames(log_dir: str | Path) -> bool:
    return str(log_dir).startswith("/dev/shm")


def flood(total: int) -> bytes:
    return b"".join(LINE % number for number in range(total))


def unheaded(raw: bytes) -> bytes:
    return b"".join(line for line in raw.splitlines(keepends=True) if not line.startswith(b"[SESSION-MGR] "))


def assert_same(found: bytes, expected: bytes) -> None:
    """Equal, or the place where they part: pytest's own comparison of megabytes takes minutes."""
    if found != expected:
        pairs = itertools.zip_longest(found.splitlines(), expected.splitlines())
        at = next((number, *pair) for number, pair in enumerate(pairs) if pair[0] != pair[1])
        pytest.fail(f"{len(found)} bytes where {len(expected)} were expected; line {at[0]}: {at[1]!r} for {at[2]!r}")


def rotations(hive: Hive, session_id: str) -> list[int]:
    return [event["base"] for event in hive.events(session_id, "log_rotated")]


# -- whole runs --------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(180)
def test_a_flood_is_whole_through_logs_and_logs_f(hive: Hive) -> None:
    total = 20_000  # 1.4 MB: within what log and five backups hold
    session_id = hive.start(hive.create(hive.python(FLOOD), task=f"{total} 4 rotation"))
    followed = follow(hive, "logs", "-f", session_id)
    assert hive.ended(session_id)["status"] == "completed"
    assert_same(unheaded(followed), flood(total))
    assert_same(hive.output(session_id), flood(total))
    assert len(rotations(hive, session_id)) >= 2
    assert rotations(hive, session_id)[-1] + os.stat(hive.paths(session_id).log).st_size == log_end(
        hive.paths(session_id)
    )
    assert not os.path.exists(f"{hive.paths(session_id).log}.tmp")


def follow(hive: Hive, *words: str) -> bytes:
    """What `hive-session WORDS…` wrote until nothing of the run was left, not even a rotation that began at its very end."""
    path = hive.root / "followed"
    with path.open("wb") as file:
        follower = hive.begin(*words, stdout=file.fileno())
        assert follower.wait(FLOOD_S) == 0
    return path.read_bytes()


@pytest.mark.timeout(180)
def test_a_follower_sees_what_the_backups_no_longer_hold(hive: Hive) -> None:
    hive.env["HIVE_LOG_BACKUPS"] = "2"
    total = 30_000
    session_id = hive.create(hive.python(FLOOD), task=f"{total} 5 rotation {hive.root}/followed")
    assert_same(unheaded(follow(hive, "start", session_id)), flood(total))
    kept = hive.output(session_id)
    assert len(kept) < len(flood(total))
    assert_same(kept, flood(total)[-len(kept) :])
    names = sorted(os.listdir(hive.layout.log_dir))
    log = f"hive-{session_id}.log"
    assert names == [log, f"{log}.1", f"{log}.2"]


@pytest.mark.timeout(180)
def test_a_cursor_into_the_log_stays_where_it_is(hive: Hive) -> None:
    session_id = hive.create(hive.python(FLOOD), task="15000 3 rotation")
    hive.start(session_id)
    first = len(flood(1))
    whole = until(lambda: found if len(found := hive.answer("logs", session_id)) > 100 * first else b"", "100 lines")
    hive.ended(session_id, FLOOD_S)
    assert rotations(hive, session_id)
    again = hive.answer("logs", session_id, "--from", str(len(whole) - 10 * first))
    assert_same(again[: 10 * first], whole[-10 * first :])


@pytest.mark.timeout(180)
def test_attempts_share_one_log_with_one_count(hive: Hive) -> None:
    session_id = hive.create(hive.python(FLOOD), task="9000 2")
    assert hive.call("start", session_id, deadline_s=FLOOD_S).returncode == 0
    second = hive.call("resume", session_id, deadline_s=FLOOD_S)
    assert second.returncode == 0
    assert_same(unheaded(second.stdout), flood(9000))
    assert_same(hive.output(session_id), flood(9000) * 2)


@pytest.mark.timeout(180)
def test_killing_whoever_rotates_loses_nothing(hive: Hive) -> None:
    total = 20_000
    word = "pump" if renames(hive.layout.log_dir) else "rotate"
    session_id = hive.create(hive.python(FLOOD), task=f"{total} 4")
    hive.start(session_id)
    runner, dice, kills = hive.run(session_id).runner, random.Random(7), 0
    done = threading.Event()

    def killer() -> None:
        nonlocal kills
        while not done.is_set():
            for pid in children(runner):
                if f"hive_session.{word} ".encode() in read_bytes(f"/proc/{pid}/cmdline"):
                    done.wait(dice.uniform(0, 0.06 if word == "rotate" else 0.5))
                    kill([pid])
                    kills += 1
            done.wait(0.001)

    thread = threading.Thread(target=killer)
    thread.start()
    record = hive.ended(session_id, FLOOD_S)
    done.set()
    thread.join()
    assert record["status"] == "completed"
    assert kills > 0
    assert_same(hive.output(session_id), flood(total))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("log_dir", ["renamed"], indirect=True)
def test_a_pump_outlives_the_runner_and_a_killed_one_is_replaced_by_whoever_took_over(hive: Hive) -> None:
    total = 12_000
    session_id = hive.create(hive.python(FLOOD), task=f"{total} 3")
    hive.start(session_id)
    run = hive.run(session_id)
    (first,) = (pid for pid in children(run.runner) if b"hive_session.pump " in read_bytes(f"/proc/{pid}/cmdline"))
    kill([run.runner])
    until(lambda: hive.runner(session_id) == run.witness, "the witness in its place")
    until(lambda: len(hive.output(session_id)) > len(flood(total)) // 2, "half of the flood, with two pumps there")
    kill([first])
    assert hive.ended(session_id, FLOOD_S)["status"] == "completed"
    assert_same(hive.output(session_id), flood(total))
    assert hive.all_gone(session_id)


# -- killed between any two steps --------------------------------------------------------------------------------------

BLOCK = 4096
STEPS = ("copy_file_range", "fsync", "fdatasync", "pwrite", "rename", "unlink")


class Clockwork:
    """Kills this process before or after its nth step; `count` alone lets it through and says how many there are."""

    def __init__(self, fatal: int) -> None:
        self.fatal = fatal  # two a step: before, after
        self.now = 0

    def wrap(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.tick()
            result = step(*args, **kwargs)
            self.tick()
            return result

        return wrapped

    def tick(self) -> None:
        self.now += 1
        if self.now == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def wind(self) -> None:
        for name in STEPS:
            setattr(os, name, self.wrap(getattr(os, name)))
        rotate.collapse = self.wrap(rotate.collapse)


class Scene:
    """A log with all its backups, what was ever written to it, and a rotation that may be killed."""

    def __init__(self, place: Path, *, cut: bool, periodic: bool) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.cut = cut
        self.paths = SessionPaths(str(place), "11111111-2222-4333-8444-555555555555", str(place), str(place))
        self.dice = random.Random(1)
        self.periodic = periodic
        self.written = b""

    def write(self, size: int) -> None:
        data = b"y\n" * (size // 2) if self.periodic else self.dice.randbytes(size)
        with open(self.paths.log, "ab") as file:
            file.write(data)
        self.written += data

    def rotate(self, fatal: int = 0) -> bool:
        """Rotate in a child that is killed at its step `fatal`; True when it came to its end."""
        Path(self.paths.log).touch()  # as a pump does when it begins
        pid = os.fork()
        if not pid:
            try:
                Clockwork(fatal).wind()
                if self.cut:
                    rotate.rotate(self.paths.log, self.paths.log_base, 3, self.paths.telemetry)
                else:
                    pump._rename(self.paths.log, self.paths.log_base, 3, self.paths.telemetry)
                os._exit(0)
            finally:
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code in (0, -signal.SIGKILL)
        return code == 0

    def read(self, offset: int) -> bytes:
        found: list[bytes] = []
        while True:
            data, offset = read_log(self.paths, offset, 5000)
            if not data:
                return b"".join(found)
            found.append(data)

    def assert_whole(self, why: str) -> None:
        assert log_end(self.paths) == len(self.written), why
        kept = self.read(0)
        assert kept == self.written[-len(kept) :], why
        assert self.read(len(self.written) - 100) == self.written[-100:], why
        for offset in range(len(self.written) - len(kept), len(self.written), 3 * BLOCK):
            data, after = read_log(self.paths, offset, 7)
            assert data == self.written[offset:after], f"{why}: at {offset}"


@pytest.mark.timeout(180)  # it waits for the disk some hundred times
@pytest.mark.parametrize("periodic", [False, True], ids=["random", "all lines alike"])
@pytest.mark.parametrize("backups_before", [0, 1, 4])
def test_a_rotation_killed_at_any_step_is_read_rightly_and_finished_by_the_next(
    log_dir: Path, periodic: bool, backups_before: int
) -> None:
    fatal = 0
    while True:
        fatal += 1
        scene = Scene(log_dir / f"at-{fatal}", cut=not renames(log_dir), periodic=periodic)
        for _ in range(backups_before):
            scene.write(3 * BLOCK + 10)
            assert scene.rotate()
        scene.write(3 * BLOCK + 10 - (0 if not backups_before else 10))
        came_through = scene.rotate(fatal)
        why = f"killed at {fatal}"
        scene.assert_whole(why)
        scene.write(5 * BLOCK)
        scene.assert_whole(f"{why}, then written to")
        assert scene.rotate()
        scene.assert_whole(f"{why}, then rotated")
        kept = scene.read(0)
        assert len(kept) >= min(len(scene.written), 8 * BLOCK), why
        assert scene.rotate()
        scene.assert_whole(f"{why}, then rotated twice")
        if came_through:
            break
    assert fatal > 8


@pytest.mark.timeout(300)  # and this some thousand times
def test_a_rotation_killed_twice_is_finished_by_the_third(log_dir: Path) -> None:
    for first, second in itertools.product(range(1, 24, 2), repeat=2):
        scene = Scene(log_dir / f"{first}-{second}", cut=not renames(log_dir), periodic=True)
        scene.write(3 * BLOCK)
        scene.rotate()
        for fatal in (first, second):
            scene.write(4 * BLOCK)
            scene.rotate(fatal)
            scene.assert_whole(f"killed at {first}, {second}")
        scene.write(BLOCK)
        assert scene.rotate()
        scene.assert_whole(f"killed at {first}, {second}, then rotated")


def test_fewer_backups_than_before_drop_the_oldest(log_dir: Path) -> None:
    scene = Scene(log_dir, cut=not renames(log_dir), periodic=False)
    for _ in range(5):
        scene.write(3 * BLOCK)
        assert scene.rotate()
    rotate.shift(scene.paths.log, 1)
    assert sorted(name for name in os.listdir(log_dir) if ".log." in name) == [f"hive-{scene.paths.id}.log.1"]
    scene.assert_whole("shifted")


def test_a_log_too_short_to_be_cut_stays(tmp_path: Path) -> None:
    scene = Scene(tmp_path, cut=True, periodic=False)
    for size in (1, BLOCK - 1):
        scene.write(size)
        assert scene.rotate()
        assert os.stat(scene.paths.log).st_size == len(scene.written)
        assert not os.path.exists(f"{scene.paths.log}.1")
    scene.assert_whole("untouched")


def test_a_disk_too_full_for_the_copy_leaves_all_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(tmp_path, cut=True, periodic=False)
    scene.write(3 * BLOCK)

    def full(*_: Any, **__: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", full)
    monkeypatch.setattr("sys.argv", ["rotate", scene.paths.log, scene.paths.log_base, "3", scene.paths.telemetry])
    rotate.main()
    scene.assert_whole("not rotated")
    assert not os.path.exists(f"{scene.paths.log}.tmp")
