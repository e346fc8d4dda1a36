"""A clock that jumps by an hour, forwards and back: nothing is restarted, ended, removed or missed because of it.

Nobody can set the clock of one process: every Python program of the test finds a `time` whose wall clock is moved by what a file
says. The lean runner takes no modules from outside, so its clock stands right; its deadlines go by a clock that nobody sets.
"""

import ast
import json
import os
from pathlib import Path

import pytest

from tests.integration.hive import is_alive, kill, read_bytes, until
from tests.integration.supervised import LASTING, SERVERS, Supervised
from tests.integration.test_fault_storm import events_of, following

HOUR_S = 3600
PACKAGE = Path(__file__).parents[2] / "hive_session"
MOVED = """
import os, time
real, real_ns = time.time, time.time_ns
def moved():
    try:
        with open({path!r}) as file:
            return int(file.read() or 0)
    except OSError:
        return 0
time.time = lambda: real() + moved()
time.time_ns = lambda: real_ns() + moved() * 10**9
"""


def move(suite: Supervised, seconds: int) -> None:
    """Have the clock of all programs show `seconds` more than the right time from now on."""
    path = suite.root / "moved"
    new = path.with_suffix(".new")
    new.write_text(str(seconds), encoding="ascii")
    os.replace(new, path)


def assert_asked_on(suite: Supervised) -> None:
    """hive-health has asked all servers since this was called, and found them well."""
    health = Path(suite.run_dir, "health.json")

    def is_well() -> bool:
        told = json.loads(health.read_bytes())["programs"]
        return {told[name]["health"] for name in SERVERS} == {"ok"}

    for _ in range(2):  # a look may have been underway
        seen = health.stat().st_mtime_ns
        until(lambda seen=seen: health.stat().st_mtime_ns > seen, "hive-health to ask on")  # type: ignore[misc]
    until(is_well, "an answer of each server")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_hour_forwards_and_two_back_change_nothing_but_the_times(tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    path = tmp_path / "h" / "moved"
    (modules / "sitecustomize.py").write_text(MOVED.format(path=str(path)), encoding="utf-8")
    quick = {"HIVE_HEALTH_EVERY_S": "0.2", "PYTHONPATH": str(modules)}
    with Supervised(tmp_path / "h", **quick) as suite:
        gate = tmp_path / "gate"
        live = suite.create(suite.shell(f"while [ ! -e {gate} ]; do sleep 0.05; done; exit 7"), "--timeout", "600")
        suite.start(live)
        done = suite.create("rehearsal")
        suite.answer("start", done, "--seconds", "0")
        suite.up()
        pids, supervisord = suite.pids(), suite.supervisord()
        with following(suite, [live, done], 3, tmp_path) as clients:
            for number, seconds in enumerate((HOUR_S, -HOUR_S, 0)):
                move(suite, seconds)
                made = suite.create("rehearsal")
                assert json.loads(suite.answer("list"))["sessions"].keys() >= {live, done, made}
                suite.answer("emit", live, json.dumps({"type": "note", "number": number}))
                assert_asked_on(suite)
                assert (suite.supervisord(), suite.pids()) == (supervisord, pids), f"{seconds}"
                assert suite.record(live)["status"] == "running"
                assert suite.call("cleanup", "24", "--dry-run").returncode == 0
                killed = suite.program(SERVERS[number])
                kill([killed.pid])
                until(lambda pid=killed.pid: not is_alive(pid), "its end")  # type: ignore[misc]
                until(lambda name=killed.name: suite.answers(name), "it at work again")  # type: ignore[misc]
                pids = suite.pids(LASTING)
            gate.touch()
            record = suite.ended(live)
            suite.all_gone(live)
            files = {each: read_bytes(suite.paths(each).telemetry) for each in (live, done)}
            clients.finish(files)
        assert (record["status"], record["exit_code"]) == ("failed", 7)
        notes = [json.loads(line) for line in events_of(files[live]).splitlines() if b'"note"' in line]
        assert [note["number"] for note in notes] == [0, 1, 2]
        assert notes[0]["ts"] - notes[1]["ts"] > HOUR_S * 1000, "the clock of the programs was not moved"
        assert len(suite.index()) == 5


@pytest.mark.parametrize(
    "name", ["runner", "witness", "tap", "pump", "stop", "suite/misses", "suite/watch", "suite/health"]
)
def test_whoever_waits_and_gives_up_goes_by_a_clock_that_nobody_sets(name: str) -> None:
    """What the wall clock says there goes into records and logs: it is never compared."""
    tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
    compared = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("time.time", "time.time_ns", "store.now")
    ]
    assert compared == []
