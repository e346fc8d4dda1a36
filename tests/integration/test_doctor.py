"""What `doctor` finds, each thing provoked for real, and what `doctor --fix`, `reconcile` and `reindex` mend."""

import fcntl
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hive_session.ondisk.records import format_time
from tests.integration.console import Console, reachable_script
from tests.integration.hive import is_alive, kill, until

MANY_LOCKS = 300  # /proc/locks gives about 80 at a time


@pytest.fixture
def well(console: Console, tmp_path: Path) -> Console:
    """A workspace with two sessions in which nothing is wrong."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    console.env |= {
        "HIVE_CLAUDE_BIN": str(program),
        "HIVE_CLAUDE_FLOW_BIN": str(program),
        "ANTHROPIC_API_KEY": "dummy",
    }
    console.new("one")
    console.move(console.new("two"), "starting", "running", "completed")
    return console


def findings(console: Console, *words: str, **env: str) -> list[dict[str, object]]:
    """What `doctor --json WORDS…` says, its exit code checked; what is wrong with the machine and not with us is left out."""
    done = console.do("doctor", "--json", *words, env=env)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(each.keys() == {"check", "level", "what", "mend", "mended"} and each["mend"] for each in found)
    assert done.returncode == int(any(each["level"] == "problem" and not each["mended"] for each in found)), done
    machine = ("zombies", "room", "logs")
    return [each for each in found if each["check"] not in machine and "run as root" not in str(each["what"])]


def the_one(found: list[dict[str, object]], check: str) -> dict[str, object]:
    """The only finding, which must be of this check."""
    assert [each["check"] for each in found] == [check], found
    return found[0]


def kill_run(console: Console, session_id: str) -> None:
    """SIGKILL to all of a run; returns once nothing of it is left."""
    run = console.run(session_id)
    pids = (run.witness, run.runner, run.agent)
    kill(pids)
    until(lambda: not any(map(is_alive, pids)), "their end")


def expect_mended(console: Console, check: str) -> None:
    """`--fix` mends what is wrong, says so, and then nothing is wrong any more."""
    found = findings(console, "--fix")
    assert [(each["check"], each["mended"]) for each in found] == [(check, True)] * len(found) and found
    assert findings(console) == []


# --- nothing is wrong ---


def test_a_healthy_workspace_has_no_findings(well: Console) -> None:
    assert findings(well) == []


def test_examining_changes_nothing(well: Console) -> None:
    well.launch(well.shell("exec sleep 60"))
    before = {name: value for name, value in well.snapshot().items() if not name.endswith(".jsonl")}
    assert findings(well) == []
    after = {name: value for name, value in well.snapshot().items() if not name.endswith(".jsonl")}
    assert after == before


@pytest.mark.root
def test_all_is_well_for_a_plain_user_who_has_everything(well: Console, tmp_path: Path) -> None:
    script = reachable_script(tmp_path / "venv", "nobody")
    subprocess.run(["chown", "-R", "nobody", well.root], check=True, timeout=10)
    done = well.do("doctor", program=script, user="nobody")
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0
    assert lines == ["all is well"] or all(
        line.startswith(("warning  logs", "warning  room", "warning  zombies", "  ")) for line in lines
    )


# --- directories, programs ---


def test_a_workspace_that_was_never_made(console: Console) -> None:
    done = console.do("doctor")
    assert done.returncode == 1
    assert b"hive-session init" in done.stdout
    done = console.do("doctor", "--fix")
    assert b"mended   directories" in done.stdout and done.returncode == 0
    assert console.do("doctor").returncode == 0


def test_a_log_directory_that_is_gone(well: Console) -> None:
    shutil.rmtree(well.layout.log_dir)
    assert well.layout.log_dir in str(the_one(findings(well), "directories")["what"])
    expect_mended(well, "directories")


@pytest.mark.root
def test_a_workspace_that_the_user_cannot_write(well: Console, tmp_path: Path) -> None:
    script = reachable_script(tmp_path / "venv", "nobody")
    done = well.do("doctor", program=script, user="nobody")
    assert done.returncode == 1
    assert f"{well.layout.sessions} is not writable".encode() in done.stdout and b"chown" in done.stdout


@pytest.mark.parametrize(
    ("variable", "words"), [("HIVE_CLAUDE_BIN", "Claude Code"), ("HIVE_CLAUDE_FLOW_BIN", "claude-flow")]
)
def test_a_program_that_is_missing(well: Console, tmp_path: Path, variable: str, words: str) -> None:
    closed = tmp_path / "closed"
    closed.touch(0o644)
    found = the_one(findings(well, **{variable: str(closed)}), "programs")
    assert found["level"] == "problem" and words in str(found["what"]) and str(closed) in str(found["what"])


def test_claude_code_that_is_nowhere_and_a_login_that_is_missing_are_warnings(well: Console) -> None:
    del well.env["HIVE_CLAUDE_BIN"], well.env["ANTHROPIC_API_KEY"]
    found = findings(well, PATH="/usr/bin:/bin")
    assert {each["level"] for each in found} == {"warning"}
    assert ["Claude Code is not installed", "nobody is logged in"] == [
        str(each["what"])[: len(words)]
        for each, words in zip(found, ["Claude Code is not installed", "nobody is logged in"], strict=True)
    ]


# --- isolation ---


def test_a_shared_database(well: Console) -> None:
    for end in ("", "-wal", "-shm"):
        Path(well.layout.shared_database + end).write_bytes(b"shared" + end.encode())
    found = the_one(findings(well), "isolation")
    assert well.layout.shared_database in str(found["what"]) and "rm " in str(found["mend"])
    expect_mended(well, "isolation")
    aside = f"{well.layout.shared_database}.set-aside"
    assert [Path(aside + end).read_bytes() for end in ("", "-wal", "-shm")] == [b"shared", b"shared-wal", b"shared-shm"]
    Path(well.layout.shared_database).touch()
    assert b"doctor" in well.do("init").stderr


@pytest.mark.parametrize("how", ["symlink", "hardlink", "directory"])
def test_a_database_that_two_sessions_share(well: Console, how: str) -> None:
    one, two = sorted(well.index())
    first, second = Path(well.paths(one).database), Path(well.paths(two).database)
    first.write_bytes(b"")
    if how == "symlink":
        second.symlink_to(first)
    elif how == "hardlink":
        second.hardlink_to(first)
    else:
        shutil.rmtree(second.parent)
        second.parent.symlink_to(first.parent)
    found = findings(well)
    assert found and {each["check"] for each in found} == {"isolation"}
    assert two in str(found[0]["what"])


def test_a_session_with_the_database_of_another_open(well: Console) -> None:
    victim = well.seed(1)[0]
    database = well.paths(victim).database
    sqlite3.connect(database).close()
    Path(database).write_bytes(b"")
    thief = well.launch(well.python(f"import time; file = open({database!r}); print(1, flush=True); time.sleep(60)"))
    until(lambda: well.output(thief), "the file to be open")
    found = the_one(findings(well), "isolation")
    assert thief in str(found["what"]) and database in str(found["what"]) and thief in str(found["mend"])


def test_a_database_that_is_broken(well: Console) -> None:
    path = Path(well.paths(next(iter(well.index()))).database)
    path.write_bytes(b"SQLite format 3\0" + b"garbage" * 1000)
    found = the_one(findings(well), "databases")
    assert str(path) in str(found["what"])


# --- locks ---


def test_a_lock_that_somebody_keeps_is_found_among_many(well: Console, tmp_path: Path) -> None:
    with ExitStack() as stack:
        for place in (well.layout.index_lock, *(f"{tmp_path}/{number}" for number in range(MANY_LOCKS))):
            fcntl.flock(stack.enter_context(open(place, "a", encoding="ascii")), fcntl.LOCK_EX)
        found = the_one(findings(well), "lock holders")
    assert f"process {os.getpid()} " in str(found["what"])
    assert findings(well) == []


# --- processes ---


def test_processes_that_outlived_their_run(well: Console) -> None:
    session_id = next(iter(well.index()))
    stray = subprocess.Popen(["sleep", "60"], env={**well.env, "HIVE_SESSION_ID": session_id}, start_new_session=True)
    try:
        found = the_one(findings(well), "orphans")
        assert str(stray.pid) in str(found["what"]) and session_id in str(found["what"])
        expect_mended(well, "orphans")
        assert stray.wait(5) == -signal.SIGTERM
    finally:
        stray.kill()
        stray.wait()


def test_a_process_that_nobody_collects(well: Console) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, time; pid = os.fork() or os._exit(0); print(pid, flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert parent.stdout
        child = int(parent.stdout.readline())
        until(lambda: not is_alive(child), "the child to be a zombie")
        done = well.do("doctor", "--json")
        said = [json.loads(line)["what"] for line in done.stdout.splitlines()]
        assert any(f"process {child} " in what and f"process {parent.pid} " in what for what in said)
    finally:
        parent.kill()
        parent.communicate()


def test_a_session_that_says_it_runs_and_does_not(well: Console) -> None:
    session_id = well.launch(well.shell("exec sleep 60"))
    kill_run(well, session_id)
    assert well.on_disk(session_id)["status"] == "running"
    assert session_id in str(the_one(findings(well), "records")["what"])
    expect_mended(well, "records")
    assert well.on_disk(session_id)["status"] == "failed"
    assert well.on_disk(session_id)["reason"] == "lost"


# --- records and the index ---


def test_a_record_that_is_torn(well: Console) -> None:
    session_id = next(iter(well.index()))
    path = Path(well.paths(session_id).record)
    path.write_bytes(path.read_bytes()[:100])
    well.answer("reindex")
    found = the_one(findings(well), "records")
    assert found["level"] == "problem" and str(path) in str(found["what"])
    assert the_one(findings(well, "--fix"), "records")["mended"] is False  # nothing guesses what it said


@pytest.mark.parametrize("what", ["row missing", "row of nothing", "another status", "corrupt", "missing"])
def test_an_index_apart_from_the_sessions(well: Console, what: str) -> None:
    path = Path(well.layout.index)
    document = json.loads(path.read_bytes())
    one = next(iter(document["sessions"]))
    if what == "row missing":
        del document["sessions"][one]
    elif what == "row of nothing":
        document["sessions"]["00000000-0000-4000-8000-000000000000"] = document["sessions"][one]
    elif what == "another status":
        document["sessions"][one]["status"] = "completed"
    path.write_text(json.dumps(document) if what != "corrupt" else "{", encoding="utf-8")
    if what == "missing":
        path.unlink()
    before = path.read_bytes() if path.exists() else None
    the_one(findings(well), "index")
    assert (path.read_bytes() if path.exists() else None) == before
    expect_mended(well, "index")
    rows = json.loads(path.read_bytes())["sessions"]
    assert {each: row["status"] for each, row in rows.items()} == {each: well.on_disk(each)["status"] for each in rows}


INDEXES = {
    "missing": None,
    "empty": b"",
    "torn": b'{"created":"2026-01-01T00:00:00+00:00","sessions":{\n"',
    "another form": b'{"sessions": []}',
    "no text": b"\xff\xfe\0",
    "a bad row": b'{"sessions": {"00000000-0000-4000-8000-000000000000": 7}}',
}


@pytest.mark.parametrize("name", INDEXES)
def test_a_bad_index_is_rebuilt_by_whoever_needs_it(well: Console, name: str) -> None:
    expected = well.index()
    path = Path(well.layout.index)
    for words in (("list",), ("reindex",), ("ls",), ("create", "more")):
        raw = INDEXES[name]
        path.unlink() if raw is None else path.write_bytes(raw)
        assert well.do(*words).returncode == 0
        if words != ("create", "more"):
            assert json.loads(path.read_bytes())["sessions"] == expected
    assert len(json.loads(path.read_bytes())["sessions"]) == len(expected) + 1


def test_reindex_says_how_many_and_takes_an_index_of_the_original_s_over(well: Console) -> None:
    path = Path(well.layout.index)
    rows = json.loads(path.read_bytes())["sessions"]
    created = "2025-10-05T19:45:00+00:00"
    original = {"sessions": {each: {k: v for k, v in row.items() if k != "updated"} for each, row in rows.items()}}
    path.write_text(json.dumps(original | {"created": created}, indent=2) + "\n", encoding="utf-8")
    assert json.loads(well.answer("list"))["sessions"].keys() == rows.keys()
    new = well.new("three")
    document = json.loads(path.read_bytes())
    assert document["created"] == created and document["sessions"].keys() == {*rows, new}
    assert all(row["updated"] for row in document["sessions"].values())
    assert well.answer("reindex") == b"3\n"


# --- leftovers and reconcile ---


def test_what_a_create_that_was_killed_left(well: Console) -> None:
    half = Path(f"{well.layout.sessions}/.new-00000000-0000-4000-8000-000000000000-{2**22 + 1}")
    (half / ".swarm").mkdir(parents=True)
    own = Path(f"{well.layout.sessions}/.new-00000000-0000-4000-8000-000000000001-{os.getpid()}")
    own.mkdir()
    assert str(half) in str(the_one(findings(well), "leftovers")["what"])
    expect_mended(well, "leftovers")
    assert own.exists() and not half.exists()


@pytest.fixture
def after_a_crash(well: Console) -> Iterator[tuple[Console, dict[str, str]]]:
    """A workspace as a power cut leaves it: a run that is over, one of another boot, a half, a stray, trash, a bad index."""
    lost, rebooted = well.launch(well.shell("exec sleep 60")), well.seed(1)[0]
    kill_run(well, lost)
    path = Path(well.paths(rebooted).record)
    started = {"status": "running", "attempt": 1, "started": format_time(0), "boot": "another", "pid": 1}
    path.write_text(json.dumps(json.loads(path.read_bytes()) | started), encoding="utf-8")
    Path(well.paths(rebooted).run_lock).touch()
    half = Path(f"{well.layout.sessions}/.new-00000000-0000-4000-8000-000000000000-{2**22 + 1}")
    half.mkdir()
    trash = Path(well.layout.trash, "00000000-0000-4000-8000-000000000009.1")
    trash.mkdir(parents=True)
    Path(well.layout.index).write_bytes(b"{")
    stray = subprocess.Popen(["sleep", "60"], env={**well.env, "HIVE_SESSION_ID": rebooted}, start_new_session=True)
    yield well, {"lost": lost, "rebooted": rebooted, "half": str(half), "trash": str(trash), "stray": str(stray.pid)}
    stray.kill()
    stray.wait()


def test_reconcile_puts_right_what_a_crash_left(after_a_crash: tuple[Console, dict[str, str]]) -> None:
    console, left = after_a_crash
    live = console.launch(console.shell("exec sleep 60"))
    report = json.loads(console.answer("reconcile", "--json"))
    assert report["running"] == [live]
    assert report["ended"] == {left["lost"]: "failed: lost", left["rebooted"]: "failed: interrupted"}
    assert report["strays"] == {left["rebooted"]: 1} and report["halves"] == [left["half"]]
    assert report["sessions"] == 5 and report["unreadable"] == {}
    assert not os.path.exists(left["half"]) and not os.path.exists(left["trash"])
    until(lambda: not is_alive(int(left["stray"])), "the end of the stray")
    assert findings(console) == []
    index = console.index()
    assert {each: index[each]["status"] for each in (left["lost"], live)} == {left["lost"]: "failed", live: "running"}
    again = console.answer("reconcile").decode().splitlines()
    assert again == ["5 sessions, 1 running, 0 marked as ended"]


def test_doctor_fix_puts_right_what_a_crash_left(after_a_crash: tuple[Console, dict[str, str]]) -> None:
    console, left = after_a_crash
    checks = {str(each["check"]) for each in findings(console)}
    assert checks == {"records", "orphans", "leftovers", "index"}
    assert all(each["mended"] for each in findings(console, "--fix"))
    assert findings(console) == []
    assert console.record(left["rebooted"])["reason"] == "interrupted"


def test_reconcile_of_a_workspace_that_nothing_was_made_in(console: Console) -> None:
    assert console.answer("reconcile") == b"0 sessions, 0 running, 0 marked as ended\n"
    assert json.loads(console.answer("list"))["sessions"] == {}


def test_a_session_that_is_driven_from_outside_is_left_to_its_driver(well: Console) -> None:
    session_id = well.move(well.new("elsewhere"), "starting", "running")
    well.answer("reconcile")
    assert findings(well, "--fix") == []
    assert well.on_disk(session_id)["status"] == "running"


# --- room ---


@pytest.mark.root
def test_a_disk_that_is_nearly_full(console: Console, tmp_path: Path) -> None:
    console.new("work")
    place = Path(console.layout.output_root)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=100", "tmpfs", place], check=True, timeout=10)
    try:
        found = [json.loads(line) for line in console.do("doctor", "--json").stdout.splitlines()]
        said = [
            (each["level"], each["what"]) for each in found if each["check"] == "room" and str(place) in each["what"]
        ]
        assert [level for level, _ in said] == ["problem", "warning"]
        assert "1 MiB are free" in said[0][1] and "inodes are free" in said[1][1]
    finally:
        subprocess.run(["umount", "--lazy", place], check=True, timeout=10)


@pytest.mark.root
def test_a_log_directory_on_tmpfs_costs_a_pump(console: Console) -> None:
    console.new("work")
    place = Path(console.layout.log_dir)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], check=True, timeout=10)
    try:
        found = [json.loads(line) for line in console.do("doctor", "--json").stdout.splitlines()]
        (said,) = [each for each in found if each["check"] == "logs"]
        assert str(place) in said["what"] and "HIVE_LOG_DIR" in said["mend"]
    finally:
        subprocess.run(["umount", "--lazy", place], check=True, timeout=10)
