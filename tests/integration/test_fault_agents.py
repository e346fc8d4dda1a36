"""Agents that harm: one forks without end, one fills its log as fast as the disk takes it. Each run is bounded and ends."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from hive_session.ondisk.log import log_end
from tests.integration.hive import Hive, until
from tests.integration.supervised import Supervised

LONELY = "games"  # a user of every Debian who has no processes
ONE_RUN, ENOUGH = 3, 100  # processes: runner, witness and agent; and whatever else is wanted
PROCESSES = 60  # that the forking agent's user may have
MIB = 1 << 20
PACE_BYTES = 100 * MIB  # a second
SECONDS = 8  # of it; a disk that is slower takes longer
AHEAD_BYTES = 140 * MIB  # that a log may grow between two looks at it: four parts of it are less than 3/4 of all
LOG_BYTES = 8 * MIB
BACKUPS = 2

# Everything that it starts forks on, leaves its group now and then, ignores SIGTERM, and replaces whatever was killed.
BOMB = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
number = 0
while True:
    number += 1
    try:
        if os.fork() == 0:
            number = 0
            if os.getpid() % 3 == 0: os.setsid()
            if os.getpid() % 2 == 0 and os.fork(): os._exit(0)
    except OSError:
        time.sleep(0.02)  # there may be no more: so often is enough to be a nuisance
    try:
        while os.waitpid(-1, os.WNOHANG)[0]: pass
    except OSError:
        pass
"""

FLOOD = f"""
import os, time
line = b"a line of a flood of lines, which has no end and says nothing ....\\n"
chunk = line * ({MIB} // len(line))
began, written = time.monotonic(), 0
while written < {SECONDS * PACE_BYTES}:
    while os.fstat(1).st_size > {AHEAD_BYTES}:
        time.sleep(0.01)  # whoever cuts the log waits for a disk that stands still
    written += os.write(1, chunk)
    if (ahead := written / {PACE_BYTES} - (time.monotonic() - began)) > 0:
        time.sleep(ahead)
os.write(1, b"written %d\\n" % written)
raise SystemExit(7)
"""


@pytest.mark.root
@pytest.mark.timeout(180)
@pytest.mark.parametrize("way", ["stop", "timeout"])
def test_an_agent_that_forks_without_end_is_ended_with_all_that_it_started(tmp_path: Path, way: str) -> None:
    program = tmp_path / "bomb.py"
    program.write_text(BOMB, encoding="utf-8")
    bounded = ["setpriv", "--reuid", "nobody", "--clear-groups", "prlimit", f"--nproc={PROCESSES}", "--"]
    with Hive(tmp_path / "h", HIVE_STOP_GRACE_S="0.5") as hive:
        calm = hive.launch(hive.shell("read line <&0; exec sleep 1000"))
        limit = ("--timeout", "10") if way == "timeout" else ()
        session_id = hive.launch(hive.agent([*bounded, sys.executable, str(program)]), *limit)
        until(lambda: len(hive.processes(session_id)) > PROCESSES // 2, "many processes")
        if way == "stop":
            assert hive.answer("stop", session_id) == b"stopped\n"
        record = hive.ended(session_id, 60)
        assert (record["status"], record["reason"]) == ("failed", "cancelled" if way == "stop" else "timeout")
        assert hive.all_gone(session_id)
        assert hive.record(calm)["status"] in ("running", "completed"), "its neighbour has nothing to do with it"


@dataclass(frozen=True, slots=True)
class Queued:
    """A session of LONELY's whose runner, the only process LONELY has, stands still before its agent."""

    hive: Supervised
    session_id: str
    runner: int

    def allow(self, processes: int) -> None:
        """So many may LONELY have from now on, as far as the runner is concerned."""
        words = ["prlimit", "--pid", str(self.runner), f"--nproc={processes}:{ENOUGH}"]
        subprocess.run(words, user=LONELY, group=LONELY, check=True, timeout=50)


@pytest.fixture
def queued(tmp_path: Path) -> Iterator[Queued]:
    tmp_path.chmod(0o755)
    with Supervised(tmp_path / "h", user=LONELY, MAX_CONCURRENT_SESSIONS="1") as hive:
        agent = hive.shell("exec sleep 1000")
        first, second = (hive.do("hive-session", "create", "--agent", agent, "work").stdout.strip() for _ in range(2))
        for each in (first, second):
            hive.do("hive-session", "start", "--detach", each)
        runner = hive.runner(second)  # it waits for the slot of the first one
        os.kill(runner, signal.SIGSTOP)
        hive.do("hive-session", "stop", first)
        until(lambda: pids_of(LONELY) == [runner], f"the end of every other process of {LONELY}, zombies included")
        yield Queued(hive, second, runner)


def pids_of(user: str) -> list[int]:
    uid = pwd.getpwnam(user).pw_uid
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(FileNotFoundError):
            found += [int(name)] * (os.stat(f"/proc/{name}").st_uid == uid)
    return found


@pytest.mark.root
def test_a_run_that_no_process_can_be_had_for_goes_on_and_is_recorded_as_soon_as_there_is_one(queued: Queued) -> None:
    hive, session_id = queued.hive, queued.session_id
    queued.allow(ONE_RUN)
    os.kill(queued.runner, signal.SIGCONT)
    run = hive.run(session_id)
    assert hive.record(session_id)["status"] == "starting"
    queued.allow(ENOUGH)
    until(lambda: hive.record(session_id)["status"] == "running", "the record, once there was room for a process")
    assert (hive.record(session_id)["pid"], hive.run(session_id)) == (queued.runner, run)


@pytest.mark.root
def test_an_agent_that_no_process_can_be_had_for_is_told_with_the_reason(queued: Queued) -> None:
    queued.allow(ONE_RUN - 1)
    os.kill(queued.runner, signal.SIGCONT)
    record = queued.hive.ended(queued.session_id)
    assert (record["status"], record["reason"]) == ("failed", "spawn_error")
    assert record["detail"] == "cannot run sh: Resource temporarily unavailable"


@pytest.fixture(params=["cut", "renamed"])
def log_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A directory for logs where a file can lose its head, and one where it cannot."""
    if request.param == "cut":
        yield tmp_path / "log"
        return
    place = Path(tempfile.mkdtemp(prefix="hive-tests-", dir="/dev/shm"))
    yield place / "log"
    shutil.rmtree(place)


def size_of(directory: Path) -> int:
    total = 0
    for entry in os.scandir(directory):
        with suppress(FileNotFoundError):  # it was renamed
            total += entry.stat().st_blocks * 512
    return total


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_an_agent_that_fills_its_log_at_100_mb_a_second_is_bounded_and_its_run_goes_on(
    tmp_path: Path, log_dir: Path
) -> None:
    settings = {"HIVE_LOG_MAX_BYTES": str(LOG_BYTES), "HIVE_LOG_BACKUPS": str(BACKUPS)}
    with Hive(tmp_path / "h", log_dir=log_dir, **settings) as hive:  # type: ignore[arg-type]  # no setting is called output_root
        session_id = hive.launch(hive.python(FLOOD))
        most = 0

        def ended() -> bool:
            nonlocal most
            most = max(most, size_of(log_dir))
            return bool(hive.on_disk(session_id)["status"] == "failed")

        until(ended, "its end", 180)
        assert hive.on_disk(session_id)["exit_code"] == 7
        written = log_end(hive.paths(session_id))
        assert written > SECONDS * PACE_BYTES and len(hive.events(session_id, "log_rotated")) > BACKUPS
        if str(log_dir).startswith("/dev/shm"):
            assert most <= (BACKUPS + 1) * (LOG_BYTES + MIB)
        else:
            # Looked at once a second: a part holds what came in that time, and while it is copied there are two of it.
            assert most < written * 3 / 4
        assert hive.answer("telemetry", session_id).count(b'"log_rotated"') > BACKUPS
