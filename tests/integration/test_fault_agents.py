"""Agents that harm: one forks without end, one fills its log as fast as the disk takes it. Each run is bounded and ends."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hive_session.ondisk.log import log_end
from tests.integration.hive import Hive, until

PROCESSES = 60  # that the forking agent's user may have
MIB = 1 << 20
PACE_BYTES = 100 * MIB  # a second
SECONDS = 8
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
while time.monotonic() < began + {SECONDS}:
    written += os.write(1, chunk)
    if (ahead := written / {PACE_BYTES} - (time.monotonic() - began)) > 0:
        time.sleep(ahead)
os.write(1, b"written %d\\n" % written)
raise SystemExit(7)
"""


@pytest.mark.root
@pytest.mark.parametrize("way", ["stop", "timeout"])
def test_an_agent_that_forks_without_end_is_ended_with_all_that_it_started(tmp_path: Path, way: str) -> None:
    program = tmp_path / "bomb.py"
    program.write_text(BOMB, encoding="utf-8")
    bounded = ["setpriv", "--reuid", "nobody", "--clear-groups", "prlimit", f"--nproc={PROCESSES}", "--"]
    with Hive(tmp_path / "h", HIVE_STOP_GRACE_S="0.5") as hive:
        calm = hive.launch(hive.shell("read line <&0; exec sleep 1000"))
        limit = ("--timeout", "2") if way == "timeout" else ()
        session_id = hive.launch(hive.agent([*bounded, sys.executable, str(program)]), *limit)
        until(lambda: len(hive.processes(session_id)) > PROCESSES // 2, "many processes")
        if way == "stop":
            assert hive.answer("stop", session_id) == b"stopped\n"
        record = hive.ended(session_id)
        assert (record["status"], record["reason"]) == ("failed", "cancelled" if way == "stop" else "timeout")
        assert hive.all_gone(session_id)
        assert hive.record(calm)["status"] in ("running", "completed"), "its neighbour has nothing to do with it"


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

        until(ended, "its end", 40)
        assert hive.on_disk(session_id)["exit_code"] == 7
        written = log_end(hive.paths(session_id))
        assert written > SECONDS * PACE_BYTES / 2 and len(hive.events(session_id, "log_rotated")) > BACKUPS
        if str(log_dir).startswith("/dev/shm"):
            assert most <= (BACKUPS + 1) * (LOG_BYTES + MIB)
        else:
            # Looked at once a second: a part holds what came in that time, and while it is copied there are two of it.
            assert most < written * 3 / 4
        assert hive.answer("telemetry", session_id).count(b'"log_rotated"') > BACKUPS
