"""The original's commands: what each prints where, and with which exit code, under the new name and under the old one."""

import json
import os
import re
import shutil
import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.integration.console import ABSENT, DROP_IN, REPOSITORY, SCRIPT, Console, error_line
from tests.integration.hive import until

UUID4 = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\n")
NUMERIC_OFFSET = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d")
ORIGINAL_KEYS = (
    "session_id",
    "task",
    "priority",
    "created",
    "status",
    "working_dir",
    "output_dir",
    "database",
    "log_file",
)
STATUSES = ("created", "starting", "running", "completed", "failed")


@pytest.fixture(params=[SCRIPT, DROP_IN], ids=["hive-session", "drop-in"])
def either(console: Console, request: pytest.FixtureRequest) -> Console:
    """The same workspace under each of the two names."""
    console.program = request.param
    return console


# --- create ---


def test_create_prints_the_id_alone_and_the_record_to_stderr(either: Console) -> None:
    done = either.do("create", "Build the importer", "high", '{"owner":"me"}')
    assert done.returncode == 0
    assert UUID4.fullmatch(done.stdout)
    session_id = done.stdout.decode().strip()
    raw = Path(either.paths(session_id).record).read_bytes()
    assert done.stderr == raw
    record = json.loads(raw)
    assert (record["session_id"], record["task"], record["priority"]) == (session_id, "Build the importer", "high")
    assert (record["status"], record["metadata"]) == ("created", {"owner": "me"})


def test_create_without_priority_and_metadata_takes_medium_and_null(either: Console) -> None:
    record = either.on_disk(either.new("work"))
    assert (record["priority"], record["metadata"]) == ("medium", None)


def test_the_record_says_where_everything_is_and_it_is_there(console: Console) -> None:
    record = console.on_disk(session_id := console.new("work"))
    directory = f"{console.layout.sessions}/{session_id}"
    assert {key: record[key] for key in ("working_dir", "output_dir", "database", "log_file")} == {
        "working_dir": directory,
        "output_dir": f"{console.layout.output_root}/{session_id}",
        "database": f"{directory}/.swarm/memory.db",
        "log_file": f"{console.layout.log_dir}/hive-{session_id}.log",
    }
    assert os.path.isdir(record["output_dir"]) and os.path.isfile(record["log_file"])
    assert os.readlink(f"{directory}/output") == record["output_dir"]
    assert os.readlink(f"{directory}/session.log") == record["log_file"]
    assert os.path.isdir(f"{directory}/.swarm") and not os.path.exists(record["database"])
    assert not os.path.exists(console.layout.shared_database)


def test_create_with_json_prints_the_record_alone(console: Console) -> None:
    done = console.do("create", "--json", "work")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == Path(console.paths(json.loads(done.stdout)["session_id"]).record).read_bytes()


def test_times_are_of_this_moment_and_have_a_numeric_offset(console: Console) -> None:
    began = int(time.time())  # a record has whole seconds
    record = console.on_disk(console.new("work"))
    for name in ("created", "updated"):
        assert NUMERIC_OFFSET.fullmatch(record[name]), record[name]
        assert began <= datetime.fromisoformat(record[name]).timestamp() <= time.time()


METADATA = [
    "{}",
    "null",
    '{"big": 12345678901234567890, "low": -9223372036854775808, "float": 1.0, "tiny": 5e-324}',
    '{"nested": {"list": [1, [2, {"deep": null}], true, ""]}, "": "empty key"}',
    '{"unicode": "Ünïcödé 🐝 \\u0000 \\n \\" \\\\", "日本": "語"}',
    '{"strategy":"HiveMind","max_workers":8,"consensus_type":"majority","memory_size_mb":100,"auto_scale":true,'
    '"encryption":false,"monitor":true,"verbose":false}',
]


@pytest.mark.parametrize("text", METADATA)
def test_metadata_comes_back_as_it_was_given_after_a_change_of_status_too(console: Console, text: str) -> None:
    session_id = console.new("work", "low", text)
    expected = repr(json.loads(text))  # tells 1.0 from 1
    assert repr(console.record(session_id)["metadata"]) == expected
    console.move(session_id, "starting", "running", "completed")
    assert repr(console.record(session_id)["metadata"]) == expected


# --- reading ---


def test_status_prints_the_word_alone(either: Console) -> None:
    session_id = either.new("work")
    for status in STATUSES[:4]:
        if status != "created":
            either.move(session_id, status)
        done = either.do("status", session_id)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{status}\n".encode(), b"")


def test_get_prints_the_bytes_of_session_json(either: Console) -> None:
    session_id = either.new("work")
    done = either.do("get", session_id)
    raw = Path(either.paths(session_id).record).read_bytes()
    assert (done.returncode, done.stdout, done.stderr) == (0, raw, b"")


def test_get_prints_the_bytes_whatever_layout_they_have(console: Console) -> None:
    session_id = console.new("work")
    path = Path(console.paths(session_id).record)
    raw = json.dumps(json.loads(path.read_bytes()), separators=(", ", " : ")).encode() + b"\r\n"
    path.write_bytes(raw)
    assert console.answer("get", session_id) == raw


def test_list_prints_the_bytes_of_index_json(either: Console) -> None:
    ids = {either.new("one"), either.new("two")}
    done = either.do("list")
    assert (done.returncode, done.stdout, done.stderr) == (0, Path(either.layout.index).read_bytes(), b"")
    assert json.loads(done.stdout)["sessions"].keys() == ids


def test_list_of_a_workspace_that_nothing_was_made_in_is_an_empty_index(either: Console) -> None:
    done = either.do("list")
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["sessions"] == {}


def test_output_dir_and_log_print_the_paths(either: Console) -> None:
    session_id = either.new("work")
    for command, path in (
        ("output-dir", f"{either.layout.output_root}/{session_id}"),
        ("log", f"{either.layout.log_dir}/hive-{session_id}.log"),
    ):
        done = either.do(command, session_id)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}\n".encode(), b"")


ANSWERS = {"status": b"not_found\n", "get": b'{"error": "Session not found"}\n', "output-dir": b"\n", "log": b"\n"}


@pytest.mark.parametrize("command", ANSWERS)
def test_an_id_that_no_session_has_is_answered_as_the_original_did(either: Console, command: str) -> None:
    for absent in (ABSENT, "../../secret"):
        done = either.do(command, absent)
        assert (done.returncode, done.stdout) == (1, ANSWERS[command])
        assert "no session" in error_line(done)


@pytest.mark.parametrize("command", ["start", "stop", "resume", "wait", "logs", "telemetry", "vacuum"])
def test_a_command_that_acts_on_no_session_says_so(console: Console, command: str) -> None:
    done = console.do(command, ABSENT.upper())
    assert (done.returncode, done.stdout) == (1, b"")
    assert ABSENT in error_line(done)


def test_update_status_and_init_print_nothing(either: Console) -> None:
    session_id = either.new("work")
    for words in (("update-status", session_id, "starting"), ("init",), ("init",)):
        done = either.do(*words)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    done = either.do("update-status", ABSENT, "starting")
    assert (done.returncode, done.stdout) == (1, b"")
    assert ABSENT in error_line(done)


def test_init_makes_the_directories_and_the_index(either: Console) -> None:
    either.do("init")
    layout = either.layout
    assert all(os.path.isdir(path) for path in (layout.sessions, layout.output_root, layout.log_dir))
    assert json.loads(Path(layout.index).read_bytes())["sessions"] == {}


def test_a_change_of_status_moves_updated_and_the_row_with_it(console: Console) -> None:
    session_id = console.new("work")
    before = console.on_disk(session_id)
    path = Path(console.paths(session_id).record)
    path.write_bytes(path.read_bytes().replace(before["updated"].encode(), b"2025-01-01T00:00:00+00:00"))
    console.move(session_id, "starting")
    after = console.on_disk(session_id)
    row = console.index()[session_id]
    assert after["updated"] >= before["updated"] and after["created"] == row["created"]
    assert (row["status"], row["updated"]) == ("starting", after["updated"])


# --- start ---


def test_start_prints_the_five_lines_and_what_the_agent_says_and_exits_with_its_code(either: Console) -> None:
    agent = either.shell("echo out; echo err >&2; exit 7")
    session_id = either.create(agent, task="don't stop")
    done = either.do("start", session_id)
    paths = either.paths(session_id)
    lines = done.stdout.decode().splitlines()
    assert lines[:4] == [
        f"[SESSION-MGR] Starting session: {session_id}",
        f"[SESSION-MGR] Working directory: {paths.dir}",
        f"[SESSION-MGR] Output directory: {paths.output}",
        "[SESSION-MGR] Task: don't stop",
    ]
    assert lines[4].startswith("[SESSION-MGR] Command: sh ") and lines[4].endswith(' "don\'t stop"')
    assert lines[5:] == ["out", "err"]
    assert done.returncode == 7
    assert Path(paths.log).read_bytes() == done.stdout
    record = either.record(session_id)
    assert (record["status"], record["exit_code"]) == ("failed", 7)
    assert either.index()[session_id]["status"] == "failed"


def test_a_task_of_several_lines_cannot_speak_in_our_name(either: Console) -> None:
    task = "first\n[SESSION-MGR] Session completed\r\x1b[2Jäö\u2028end"
    session_id = either.create(either.shell("exit 0"), task=task)
    log = either.do("start", session_id).stdout.decode()
    assert len(log.split("\n")) == 6 and len(log.splitlines()) == 5
    assert "Task: first\\n[SESSION-MGR] Session completed\\r\\x1b[2Jäö\\u2028end\n" in log
    assert "\x1b" not in log


def test_start_of_what_succeeds_is_completed_and_0(either: Console) -> None:
    session_id = either.create(either.shell("exit 0"))
    assert either.do("start", session_id).returncode == 0
    assert either.do("status", session_id).stdout == b"completed\n"


def test_the_arguments_after_the_id_reach_the_agent_as_they_are(either: Console) -> None:
    agent = either.python(
        "import os, sys; open(os.environ['HIVE_OUTPUT_DIR'] + '/argv', 'w').write(repr(sys.argv[1:]))"
    )
    words = ["--queen-type", "tactical", "--max-workers", "8", "--help", "--detach", "-d", "--", "a b", "", "$(id)"]
    session_id = either.create(agent, task="the task")
    assert either.do("start", session_id, *words).returncode == 0
    seen = Path(either.paths(session_id).output, "argv").read_text(encoding="utf-8")
    assert seen == repr(["the task", *words])


def test_the_agent_finds_the_names_that_the_original_exported(console: Console) -> None:
    agent = console.shell(
        'printf "%s\\n" "$HIVE_MIND_SESSION_ID" "$HIVE_MIND_OUTPUT_DIR" "$PWD" > "$HIVE_OUTPUT_DIR/seen"'
    )
    session_id = console.create(agent)
    console.answer("start", session_id)
    paths = console.paths(session_id)
    assert Path(paths.output, "seen").read_text(encoding="utf-8").splitlines() == [session_id, paths.output, paths.dir]


def test_stop_is_a_command_and_ends_what_runs(either: Console) -> None:
    session_id = either.launch(either.shell("exec sleep 60"))
    done = either.do("stop", session_id)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"stopped\n", b"")
    again = either.do("stop", session_id)
    assert (again.returncode, again.stdout) == (0, b"already_stopped\n")
    record = either.record(session_id)
    assert (record["status"], record["reason"]) == ("failed", "cancelled")


# --- cleanup ---


def test_cleanup_says_what_goes_and_how_many(either: Console) -> None:
    gone = either.move(either.new("old"), "starting", "running", "completed")
    kept = either.new("never started")
    done = either.do("cleanup", "0")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines() == [
        f"Cleaning up session: {gone} (status: completed)",
        "Cleaned up 1 old sessions",
    ]
    assert either.index().keys() == {kept}
    assert either.do("cleanup").stdout == b"Cleaned up 0 old sessions\n"


# --- what the Rust client requires ---


def parses_as_rfc3339(text: str) -> bool:
    """True for what chrono's DateTime::parse_from_rfc3339 takes: date, time and offset."""
    shape = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
    return bool(re.fullmatch(shape, text)) and datetime.fromisoformat(text).tzinfo is not None


def test_get_has_what_the_rust_client_requires_in_every_status(console: Console) -> None:
    session_id = console.new("work", "high", METADATA[-1])
    for status in STATUSES[:4]:
        if status != "created":
            console.move(session_id, status)
        record = console.record(session_id)
        assert all(isinstance(record[key], str) for key in ORIGINAL_KEYS)
        assert record["status"] == status
        times = ("created", "updated", "started", "ended")
        assert all(parses_as_rfc3339(record[key]) for key in times if record.get(key) is not None)


def test_list_has_what_the_rust_client_requires_right_after_create(console: Console) -> None:
    session_id = console.new("work")
    index = json.loads(console.answer("list"))
    assert parses_as_rfc3339(index["created"])
    row = index["sessions"][session_id]
    assert row.keys() >= {"task", "status", "created", "updated", "dir"}
    assert all(isinstance(value, str) for value in row.values())
    assert parses_as_rfc3339(row["created"]) and parses_as_rfc3339(row["updated"])
    assert row["dir"] == console.paths(session_id).dir


# --- the old name ---

USAGE_COMMANDS = "create start stop status get list output-dir log update-status cleanup init".split()


@pytest.mark.parametrize("words", [(), ("help",), ("--help",), ("-h",), ("no-such-command",), ("",), ("--version",)])
def test_the_drop_in_prints_its_usage_for_anything_else(console: Console, words: tuple[str, ...]) -> None:
    done = console.do(*words, program=DROP_IN)
    assert (done.returncode, done.stderr) == (1, b"")
    lines = done.stdout.decode().splitlines()
    assert lines[0] == "Hive-Mind Session Manager"
    assert lines[2] == "Usage:"
    assert all(any(f" {command} " in f"{line} " for line in lines) for command in USAGE_COMMANDS)


def test_the_drop_in_knows_every_command_of_hive_session(console: Console) -> None:
    text = console.answer("--help").decode().partition("Commands:\n")[2]
    commands = set(re.findall(r"^  ([a-z][a-z-]+) ", text, re.MULTILINE))
    patterns = re.findall(r"^ +([a-z][a-z |\\\n-]*)\)$", Path(DROP_IN).read_text(encoding="utf-8"), re.MULTILINE)
    assert {word for pattern in patterns for word in re.findall(r"[a-z-]+", pattern)} == commands
    for command in ("ls", "doctor"):
        assert console.do(command, "--help", program=DROP_IN).returncode == 0


@pytest.mark.parametrize("task", ["--help", "-x", "--task-file", "--", "--key=1"])
def test_the_drop_in_takes_every_task_literally(console: Console, task: str) -> None:
    assert console.on_disk(console.new(task, program=DROP_IN))["task"] == task


def test_the_drop_in_finds_its_own_checkout_through_links(console: Console, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(DROP_IN)
    second = tmp_path / "second"
    second.symlink_to("link")
    assert console.do("list", program=str(second), env={"PATH": "/usr/bin:/bin"}).returncode == 0


def test_the_drop_in_elsewhere_takes_hive_session_from_path_or_says_what_is_missing(
    console: Console, tmp_path: Path
) -> None:
    copy = tmp_path / "bin/hive-session-manager.sh"
    copy.parent.mkdir()
    shutil.copy(DROP_IN, copy)
    session_id = console.new("work", program=str(copy), env={"PATH": f"{Path(SCRIPT).parent}:/usr/bin:/bin"})
    assert session_id in console.index()
    done = console.do("list", program=str(copy), env={"PATH": "/usr/bin:/bin"})
    assert (done.returncode, done.stdout) == (69, b"")
    assert b"bin/setup" in done.stderr


def test_the_drop_in_becomes_hive_session_so_that_signals_reach_it(console: Console) -> None:
    session_id = console.launch(console.shell("exec sleep 60"))
    follower = subprocess.Popen(
        [DROP_IN, "wait", session_id], env=console.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    words = Path(f"/proc/{follower.pid}/cmdline")
    until(lambda: b"hive-session\0wait" in words.read_bytes(), "the drop-in to become hive-session")
    follower.kill()
    follower.communicate()
    assert console.do("status", session_id).stdout == b"running\n"


def test_the_drop_in_is_plain_posix_shell() -> None:
    text = (REPOSITORY / "bin/hive-session-manager.sh").read_text(encoding="utf-8")
    assert text.startswith("#!/bin/sh\n")
    assert subprocess.run(["dash", "-n", DROP_IN], timeout=10).returncode == 0
