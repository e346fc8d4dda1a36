"""What a run is charged for, and what our own watching of it costs."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.integration.hive import Hive, children, read_bytes, until

MIB = 1 << 20


@pytest.fixture
def hive(tmp_path: Path) -> Iterator[Hive]:
    with Hive(tmp_path / "hive") as hive:
        yield hive


def test_the_figures_of_a_run_are_those_of_its_tree(hive: Hive) -> None:
    code = f"""
import os, subprocess, sys, time
def wait_for(name):
    while not os.path.exists(name): time.sleep(0.05)
held = b"x" * {64 * MIB}
wait_for("measured")
while time.process_time() < 0.7: pass
with open("written", "wb") as file:
    file.write(held[:{8 * MIB}]); file.flush(); os.fsync(file.fileno())
subprocess.run(["dd", "if=/dev/zero", "of=child", "bs=1M", "count=4", "conv=fsync"], stderr=subprocess.DEVNULL)
wait_for("measured again")
"""
    session_id = hive.start(hive.create(hive.python(code)))
    directory = Path(hive.paths(session_id).dir)
    until(lambda: hive.events(session_id, "resources"), "the first sample")
    (directory / "measured").touch()
    until(lambda: hive.events(session_id, "resources")[-1]["write_bytes"] >= 12 * MIB, "a sample of all that it wrote")
    (directory / "measured again").touch()
    assert hive.call("wait", session_id).returncode == 0
    samples = hive.events(session_id, "resources")
    assert all(isinstance(value, int) for sample in samples for key, value in sample.items() if key != "type")
    alive = samples[:-1]
    assert len(alive) >= 2
    assert alive[0]["processes"] >= 1
    assert 64 * MIB <= max(sample["rss_bytes"] for sample in alive) <= 160 * MIB
    assert 600 <= alive[-1]["cpu_ms"] <= 3000
    for name in ("cpu_ms", "write_bytes", "read_bytes"):
        assert [sample[name] for sample in samples] == sorted(sample[name] for sample in samples), name
    assert 12 * MIB <= alive[-1]["write_bytes"] <= 14 * MIB
    assert (samples[-1]["processes"], samples[-1]["rss_bytes"]) == (0, 0)
    gaps = [later["ts"] - earlier["ts"] for earlier, later in pairwise(alive)]
    assert all(gap >= 990 for gap in gaps), gaps
    used = hive.on_disk(session_id)["rusage"]
    assert 600 <= used["cpu_user_ms"] + used["cpu_system_ms"] <= 3000
    assert 64 * MIB <= used["max_rss_bytes"] <= 160 * MIB
    assert 12 * MIB <= used["write_bytes"] <= 14 * MIB


def test_our_own_staff_is_not_charged_to_the_session(hive: Hive) -> None:
    session_id = hive.create(hive.shell("exec sleep 0.6"))
    assert hive.call("start", session_id).returncode == 0
    used = hive.on_disk(session_id)["rusage"]
    assert used["cpu_user_ms"] + used["cpu_system_ms"] < 50
    assert used["max_rss_bytes"] < 14 * MIB  # a fork of the lean runner before its exec; a writer takes twice as much


def test_an_idle_runner_holds_at_most_5_mb_of_its_own(hive: Hive) -> None:
    session_id = hive.launch(hive.shell("exec sleep 1000"))
    run = hive.run(session_id)
    until(lambda: len(children(run.runner)) == 1, "the runner to be alone with its witness")
    until(lambda: hive.events(session_id, "resources"), "its first sample")
    for name, pid in (("runner", run.runner), ("witness", run.witness)):
        rollup = read_bytes(f"/proc/{pid}/smaps_rollup").decode()
        kib = sum(map(int, re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+) kB", rollup, re.MULTILINE)))
        assert 0 < kib <= 5 * 1000, f"{name}: {kib} KiB"
