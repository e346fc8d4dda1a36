"""Root and a plain user on one workspace: whoever touched a file last, both can go on (the original's D1, D8 and D18)."""

import json
import os
import pwd
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.console import Console, Done, reachable_script
from tests.integration.hive import is_alive, until

pytestmark = pytest.mark.root

USER = "nobody"


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Console]:
    """A workspace on which root acts as nobody, with commands that nobody can run too."""
    with Console(tmp_path / "console", HIVE_USER=USER) as console:
        console.program = reachable_script(tmp_path / "venv", USER)
        for path in (console.root, console.layout.workspace):
            os.chmod(path, 0o755)
        yield console


def uid() -> int:
    return pwd.getpwnam(USER).pw_uid


def as_root(console: Console, *words: str, code: int = 0) -> Done:
    done = console.do(*words)
    assert done.returncode == code, (words, done)
    return done


def as_user(console: Console, *words: str, code: int = 0) -> Done:
    done = console.do(*words, user=USER)
    assert done.returncode == code, (words, done)
    return done


def of_root(console: Console) -> list[str]:
    """Everything in workspace, outputs and logs that belongs to root."""
    layout = console.layout
    tops = [Path(top) for top in (layout.workspace, layout.output_root, layout.log_dir)]
    return [str(path) for top in tops for path in [top, *top.rglob("*")] if path.lstat().st_uid == 0]


def test_what_root_makes_belongs_to_the_user_altogether(shared: Console) -> None:
    session_id = as_root(shared, "create", "--env", "A=b", "work").stdout.decode().strip()
    as_root(shared, "update-status", session_id, "starting")
    as_root(shared, "emit", session_id, '{"type":"note"}')
    as_root(shared, "list")
    assert of_root(shared) == []
    assert as_user(shared, "get", session_id).stdout == as_root(shared, "get", session_id).stdout


@pytest.mark.parametrize("first", [as_root, as_user])
def test_they_take_turns_without_end(shared: Console, first: object) -> None:
    if first is as_user:
        as_root(shared, "init")
    turns = [as_root, as_user] if first is as_root else [as_user, as_root]
    session_id = turns[0](shared, "create", "work").stdout.decode().strip()
    for number, words in enumerate(
        (
            ("update-status", session_id, "starting"),
            ("emit", session_id, '{"type":"note"}'),
            ("create", "another"),
            ("update-status", session_id, "running"),
            ("reindex",),
            ("list",),
            ("update-status", session_id, "completed"),
            ("vacuum", session_id),
            ("create", "--key", "k", "keyed"),
            ("create", "--key", "k", "keyed"),
            ("cleanup", "0"),
            ("reconcile",),
            ("create", "the last"),
        ),
        start=1,
    ):
        turns[number % 2](shared, *words)
        assert of_root(shared) == []
    ids = json.loads(as_user(shared, "list").stdout)["sessions"]
    assert len(ids) == 3 and session_id not in ids


def test_a_first_start_by_root_completes_and_the_log_is_the_user_s(shared: Console) -> None:
    agent = shared.shell('id -u; pwd; echo "$HOME $USER"; touch "$HIVE_OUTPUT_DIR/artefact"')
    session_id = as_root(shared, "create", "--agent", agent, "work").stdout.decode().strip()
    done = as_root(shared, "start", session_id)
    assert done.stdout.decode().splitlines()[5:] == [
        str(uid()),
        shared.paths(session_id).dir,
        f"{pwd.getpwnam(USER).pw_dir} {USER}",
    ]
    assert as_user(shared, "status", session_id).stdout == b"completed\n"
    assert of_root(shared) == []
    as_user(shared, "resume", session_id)
    as_root(shared, "resume", session_id)
    assert json.loads(as_user(shared, "get", session_id).stdout)["attempt"] == 3
    assert of_root(shared) == []


def test_a_user_starts_what_root_created_and_root_stops_it(shared: Console) -> None:
    agent = shared.shell("exec sleep 60")
    session_id = as_root(shared, "create", "--agent", agent, "work").stdout.decode().strip()
    as_user(shared, "start", "--detach", session_id)
    assert as_root(shared, "status", session_id).stdout == b"running\n"
    as_root(shared, "start", session_id, code=75)
    assert as_root(shared, "stop", session_id).stdout == b"stopped\n"
    other = as_user(shared, "create", "--agent", agent, "work").stdout.decode().strip()
    as_root(shared, "start", "--detach", other)
    assert as_user(shared, "stop", other).stdout == b"stopped\n"
    assert of_root(shared) == []


@pytest.mark.parametrize("words", [("status",), ("get",), ("list",), ("ls",), ("wait",), ("doctor",), ("stop",)])
def test_what_root_repairs_while_it_reads_stays_the_user_s(shared: Console, words: tuple[str, ...]) -> None:
    agent = shared.shell("exec sleep 60")
    session_id = as_user_after_init(shared, agent)
    run = shared.run(session_id)
    for pid in (run.witness, run.runner, run.agent):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(is_alive(pid) for pid in (run.runner, run.witness, run.agent)), "their end")
    os.unlink(shared.paths(session_id).lock)
    os.unlink(shared.layout.index)
    on_one = words[0] in ("status", "get", "wait", "stop")
    shared.do(*words, *([session_id] if on_one else []))
    assert of_root(shared) == []
    as_user(shared, "resume", "--detach", session_id)
    as_user(shared, "stop", session_id)


def as_user_after_init(console: Console, agent: str) -> str:
    """A running session that nobody created and started."""
    as_root(console, "init")
    session_id = as_user(console, "create", "--agent", agent, "work").stdout.decode().strip()
    as_user(console, "start", "--detach", session_id)
    return session_id


# --- what the original left ---


def original(console: Console, session_id: str, status: str) -> Path:
    """Make a record as the original's root leaves it after `update-status`: its keys, mode 0600, root's."""
    path = Path(console.paths(session_id).record)
    record = json.loads(path.read_bytes())
    keys = (
        "session_id",
        "task",
        "priority",
        "created",
        "status",
        "working_dir",
        "output_dir",
        "database",
        "log_file",
        "metadata",
    )
    old = {key: record[key] for key in keys} | {"status": status, "updated": record["updated"]}
    path.unlink()
    path.write_text(json.dumps(old, indent=2) + "\n", encoding="utf-8")
    path.chmod(0o600)
    os.chown(path, 0, 0)
    return path


def test_records_that_root_alone_can_read_are_unreadable_for_the_user_and_all_others_work(shared: Console) -> None:
    closed = as_root(shared, "create", "closed").stdout.decode().strip()
    other = as_user(shared, "create", "open").stdout.decode().strip()
    path = original(shared, closed, "completed")
    os.unlink(shared.layout.index)
    rows = json.loads(as_user(shared, "list").stdout)["sessions"]
    assert {each: row["status"] for each, row in rows.items()} == {closed: "unreadable", other: "created"}
    assert b"unreadable" in as_user(shared, "ls").stdout
    for command in ("status", "get"):
        done = as_user(shared, command, closed, code=77)
        assert str(path).encode() in done.stderr and len(done.stderr.splitlines()) == 1
    as_user(shared, "update-status", other, "starting")


@pytest.mark.parametrize("words", [("status",), ("get",), ("update-status",), ("output-dir",)])
def test_root_hands_over_the_record_that_it_is_asked_about(shared: Console, words: tuple[str, ...]) -> None:
    session_id = as_root(shared, "create", "work").stdout.decode().strip()
    original(shared, session_id, "running" if words[0] == "update-status" else "completed")
    as_root(shared, *words, session_id, *(["completed"] if words[0] == "update-status" else []))
    assert as_user(shared, "get", session_id).returncode == 0
    assert of_root(shared) == []


@pytest.mark.parametrize("words", [("init",), ("reconcile",), ("doctor", "--fix")])
def test_root_takes_a_whole_workspace_of_the_original_s_over(shared: Console, words: tuple[str, ...]) -> None:
    ids = [as_root(shared, "create", f"task {number}").stdout.decode().strip() for number in range(3)]
    for session_id in ids:
        original(shared, session_id, "completed")
        os.chown(shared.paths(session_id).dir, 0, 0)
    index = Path(shared.layout.index)
    index.write_bytes(index.read_bytes().replace(b'"created"', b'"completed"'))
    for path in (shared.layout.index, shared.layout.index_lock):
        os.chmod(path, 0o600)
        os.chown(path, 0, 0)
    as_user(shared, "update-status", ids[0], "failed", code=77)
    as_root(shared, *words)
    rows = json.loads(as_user(shared, "list").stdout)["sessions"]
    assert {each: row["status"] for each, row in rows.items()} == dict.fromkeys(ids, "completed")
    assert of_root(shared) == []
    assert as_user(shared, "cleanup", "0").stdout.endswith(b"Cleaned up 3 old sessions\n")


def test_root_follows_no_link_that_the_user_left(shared: Console, tmp_path: Path) -> None:
    session_id = as_root(shared, "create", "work").stdout.decode().strip()
    secret = tmp_path / "secret"
    secret.write_text("root's", encoding="utf-8")
    secret.chmod(0o600)
    directory = tmp_path / "directory"
    directory.mkdir()
    paths = shared.paths(session_id)
    for link in (paths.lock, paths.run_lock, f"{shared.layout.swarm}/audit.jsonl", paths.log):
        if os.path.lexists(link):
            os.unlink(link)
        os.symlink(secret, link)
    os.symlink(directory, shared.layout.trash)
    for words in (
        ("status", session_id),
        ("update-status", session_id, "starting"),
        ("list",),
        ("cleanup", "0"),
        ("init",),
    ):
        shared.do(*words)
    assert (secret.stat().st_uid, secret.read_text(encoding="utf-8")) == (0, "root's")
    assert directory.stat().st_uid == 0


# --- who root is without a user ---


def test_without_a_user_to_become_root_stays_root_and_says_so_when_an_agent_starts(console: Console) -> None:
    session_id = console.create(console.shell("id -u"))
    del console.env["HIVE_USER"]
    done = console.do("start", session_id)
    has_dev = "dev" in {entry.pw_name for entry in pwd.getpwall()}
    assert (b"HIVE_USER" in done.stderr) != has_dev
    assert done.stdout.splitlines()[-1] == (b"%d" % pwd.getpwnam("dev").pw_uid if has_dev else b"0")
    silent = console.do("resume", session_id, env={"HIVE_USER": "root"})
    assert silent.stderr == b"" and silent.stdout.splitlines()[-1] == b"0"


def test_root_that_may_not_change_its_user_says_so(shared: Console) -> None:
    powerless = ["/usr/bin/setpriv", "--bounding-set=-setuid,-setgid", shared.program]
    done = subprocess.run([*powerless, "create", "work"], env=shared.env, capture_output=True, timeout=30)
    assert (done.returncode, done.stdout) == (77, b"")
    assert b"becoming nobody" in done.stderr and len(done.stderr.splitlines()) == 1
