"""`vacuum`: each ended session's own databases made small, those that could be in use left alone."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.console import CALL_S, Console


def swell(path: Path) -> int:
    """A database with a thousand rows, all deleted again; gives its size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE kept (text)")
        database.execute("INSERT INTO kept VALUES ('stays')")
        database.execute("CREATE TABLE gone (blob)")
        database.executemany("INSERT INTO gone VALUES (?)", [(bytes(1000),)] * 1000)
        database.commit()
        database.execute("DELETE FROM gone")
        database.commit()
    return path.stat().st_size


def kept(path: Path) -> list[tuple[str]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT text FROM kept").fetchall()


@pytest.fixture
def done(console: Console) -> str:
    """A session that has completed."""
    return console.move(console.new("work"), "starting", "running", "completed")


def test_every_database_of_an_ended_session_gets_small(console: Console, done: str) -> None:
    place = Path(console.paths(done).dir)
    files = [place / name for name in (".swarm/memory.db", ".hive-mind/hive.db", "own.db")]
    before = [swell(path) for path in files]
    said = console.answer("vacuum").decode().splitlines()
    assert len(said) == 3 and all(line.startswith(done[:8]) for line in said)
    for path, size in zip(files, before, strict=True):
        assert path.stat().st_size < size / 10
        assert kept(path) == [("stays",)]
        (line,) = [line for line in said if line.endswith(str(path))]
        assert f"{size:,}" in line and f"{path.stat().st_size:,}" in line


def test_a_write_ahead_log_is_folded_in(console: Console, done: str) -> None:
    path = Path(console.paths(done).database)
    swell(path)
    script = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA journal_mode=WAL'); "
        "c.execute(\"INSERT INTO kept VALUES ('late')\"); c.commit(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], timeout=CALL_S)
    assert Path(f"{path}-wal").stat().st_size > 0
    console.answer("vacuum", done)
    assert not Path(f"{path}-wal").exists() or Path(f"{path}-wal").stat().st_size == 0
    assert kept(path) == [("stays",), ("late",)]


def test_sessions_that_have_not_ended_are_left_alone(console: Console, done: str) -> None:
    waiting, live = console.new("waiting"), console.launch(console.shell("exec sleep 60"))
    outside = console.move(console.new("outside"), "starting", "running")
    sizes = {each: swell(Path(console.paths(each).database)) for each in (waiting, live, outside, done)}
    console.answer("vacuum")
    shrunk = [each for each, size in sizes.items() if Path(console.paths(each).database).stat().st_size < size]
    assert shrunk == [done]
    assert console.answer("vacuum", live) == b""


def test_one_session_alone(console: Console, done: str) -> None:
    other = console.move(console.new("other"), "starting", "failed")
    sizes = {each: swell(Path(console.paths(each).database)) for each in (done, other)}
    assert console.answer("vacuum", other[:12]).decode().startswith(other[:8])
    assert Path(console.paths(done).database).stat().st_size == sizes[done]
    assert Path(console.paths(other).database).stat().st_size < sizes[other]


def test_a_database_that_somebody_uses_is_a_problem_that_is_told(console: Console, done: str) -> None:
    path = Path(console.paths(done).database)
    size = swell(path)
    with closing(sqlite3.connect(path)) as user:
        user.execute("BEGIN EXCLUSIVE")
        call = console.do("vacuum", done)
    assert call.returncode == 1 and b"locked" in call.stdout
    assert path.stat().st_size == size and kept(path) == [("stays",)]


def test_what_is_no_database_or_no_file_of_the_session_is_not_touched(
    console: Console, done: str, tmp_path: Path
) -> None:
    place = Path(console.paths(done).dir)
    (place / "text.db").write_text("not a database", encoding="utf-8")
    outside = tmp_path / "outside.db"
    size = swell(outside)
    (place / "linked.db").symlink_to(outside)
    assert console.answer("vacuum") == b""
    assert outside.stat().st_size == size
    assert (place / "text.db").read_text(encoding="utf-8") == "not a database"


def test_a_database_that_is_broken_is_told_and_the_others_are_done(console: Console, done: str) -> None:
    place = Path(console.paths(done).dir)
    (place / "a-broken.db").write_bytes(b"SQLite format 3\0" + b"garbage" * 500)
    size = swell(place / "good.db")
    call = console.do("vacuum")
    assert call.returncode == 1 and b"a-broken.db" not in call.stderr
    assert (place / "good.db").stat().st_size < size


def test_a_torn_record_is_passed_over(console: Console, done: str) -> None:
    torn = console.new("torn")
    Path(console.paths(torn).record).write_bytes(b"{")
    size = swell(Path(console.paths(done).database))
    call = console.do("vacuum")
    assert call.returncode == 0 and torn[:8].encode() in call.stdout
    assert Path(console.paths(done).database).stat().st_size < size


def test_a_session_can_be_resumed_after_it(console: Console) -> None:
    session_id = console.create(console.shell("exit 0"))
    console.answer("start", session_id)
    swell(Path(console.paths(session_id).database))
    console.answer("vacuum", session_id)
    assert console.do("resume", session_id).returncode == 0
    assert console.record(session_id)["attempt"] == 2
