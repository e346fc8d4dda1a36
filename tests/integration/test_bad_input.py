"""Bad input: one line on stderr that says what is wrong and what to do, a documented exit code, nothing changed on disk."""

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.integration.console import ABSENT, SCRIPT, Console, Done, error_line, reachable_script, snapshot

USAGE, NO, BAD_FILE, IO, BUSY, FORBIDDEN, CONFIG = 2, 1, 65, 74, 75, 77, 78


@pytest.fixture(scope="module")
def peopled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A workspace with a session in each status that `update-status` leads to; its tests leave it as it is."""
    place = tmp_path_factory.mktemp("peopled")
    place.chmod(0o755)
    with Console(place / "console", HOME=str(place)) as console:
        yield console


@pytest.fixture(scope="module")
def sessions(peopled: Console) -> dict[str, str]:
    """Status -> id."""
    walks = {
        "created": (),
        "starting": ("starting",),
        "running": ("starting", "running"),
        "completed": ("starting", "running", "completed"),
        "failed": ("starting", "failed"),
    }
    return {status: peopled.move(peopled.new(status), *walk) for status, walk in walks.items()}


def refused(
    console: Console, *words: str | bytes, code: int, env: dict[str, str] | None = None, stdin: bytes = b""
) -> str:
    """The line that says why a call was refused, which changed nothing and answered nothing."""
    before = console.snapshot()
    done = console.do(*words, env=env, stdin=stdin)
    assert done.returncode == code, done
    assert console.snapshot() == before
    line = error_line(done)
    assert "bug" not in line and "Traceback" not in line
    return line


# --- ids ---

NOT_IDS = ["../../x", "x", "", ".", "*", "../../../../etc", "%s", "a/b", "\U0001f41d", ABSENT[:-1], ABSENT + "0"]
ON_ONE_SESSION = [
    "start",
    "stop",
    "resume",
    "status",
    "get",
    "output-dir",
    "log",
    "wait",
    "logs",
    "telemetry",
    "vacuum",
]


@pytest.mark.parametrize("command", ON_ONE_SESSION)
def test_what_is_no_uuid_names_no_session(peopled: Console, sessions: dict[str, str], command: str) -> None:
    secret = peopled.root / "secret"
    if not secret.exists():
        secret.mkdir()
        (secret / "session.json").write_text(
            '{\n  "status": "completed",\n  "schema": 1,\n  "x": 1\n}\n', encoding="utf-8"
        )
    for text in (*NOT_IDS[:4], "../../../secret", ABSENT):
        assert "no session" in refused(peopled, command, text, code=NO)


@pytest.mark.parametrize("text", NOT_IDS)
def test_no_words_lead_a_change_of_status_out_of_the_workspace(
    peopled: Console, sessions: dict[str, str], text: str
) -> None:
    assert "no session" in refused(peopled, "update-status", text, "failed", code=NO)


def test_the_beginning_of_several_ids_is_refused_with_their_number(console: Console) -> None:
    ids = sorted(console.new("work") for _ in range(17))  # of 17, two begin with the same digit
    first = next(a[0] for a, b in pairwise(ids) if a[0] == b[0])
    matching = [each for each in ids if each.startswith(first)]
    line = refused(console, "status", first, code=NO)
    assert f"{len(matching)} sessions begin with {first}" in line and matching[0] in line


def test_a_missing_id_is_a_wrong_call(peopled: Console, sessions: dict[str, str]) -> None:
    for command in ("start", "stop", "status", "get", "output-dir", "log", "update-status", "emit"):
        assert f"hive-session {command} --help" in refused(peopled, command, code=USAGE)


# --- tasks, priorities, metadata ---


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        (("",), b"", "the task is empty"),
        ((" \n\t",), b"", "the task is empty"),
        ((), b"", "no task is given"),
        (("--task-file", "-"), b"", "the task is empty"),
        (("--task-file", "-"), b"a\0b", "NUL"),
        (("--task-file", "-"), b"\xff\xfe", "not UTF-8"),
        (("--task-file", "-"), b"x" * ((16 << 20) + 1), "at most 16777216"),
        (("--task-file", "/no/such/file"), b"", "/no/such/file"),
        (("--task-file", "/"), b"", "--task-file /"),
        ((b"\xff\xfe",), b"", "not UTF-8"),
        (("task", "urgent"), b"", "high, medium, low"),
        (("task", "High"), b"", "high, medium, low"),
        (("task", 'ur"gent'), b"", "high, medium, low"),
        (("task", "low", "{bad json"), b"", "JSON object"),
        (("task", "low", "[]"), b"", "not an object"),
        (("task", "low", '"text"'), b"", "not an object"),
        (("task", "low", "7"), b"", "not an object"),
        (("task", "low", '{"a":NaN}'), b"", "NaN"),
        (("task", "low", '{"a":-Infinity}'), b"", "Infinity"),
        (("task", "low", '{"a":1e999}'), b"", "1e999"),
        (("task", "low", '{"a":18446744073709551616}'), b"", "64 bits"),
        (("task", "low", '{"a":-9223372036854775809}'), b"", "64 bits"),
        (("task", "low", '{"a":' + "9" * 5000 + "}"), b"", "64 bits"),
        (("task", "low", '{"a":"\\ud800"}'), b"", "JSON object"),
        (("task", "low", b'{"a":"\xff"}'), b"", "JSON object"),
        (("task", "low", '{"a":' * 254 + "1" + "}" * 254), b"", "JSON object"),
        (("task", "low", '{"a":' * 5000 + "1" + "}" * 5000), b"", "JSON object"),
        (("task", "low", "{}", "more"), b"", "quote the task"),
        (("--agent", "nobody", "task"), b"", "claude-flow"),
        (("--timeout", "0", "task"), b"", "--timeout"),
        (("--timeout", "-1", "task"), b"", "--timeout"),
        (("--timeout", "nan", "task"), b"", "--timeout"),
        (("--timeout", "soon", "task"), b"", "--timeout"),
        (("--key", "", "task"), b"", "--key"),
        (("--label", "blue", "task"), b"", "--label"),
        (("--label", "=blue", "task"), b"", "--label"),
        (("--env", "1A=b", "task"), b"", "--env"),
        (("--env", "A B=c", "task"), b"", "--env"),
        (("--env", b"A=\xff", "task"), b"", "--env"),
        (("--no-such-option", "task"), b"", "--no-such-option"),
        (("-x", "task"), b"", "-x"),
    ],
)
def test_a_session_that_cannot_be_is_not_made(
    peopled: Console, sessions: dict[str, str], words: tuple[str | bytes, ...], stdin: bytes, said: str
) -> None:
    assert said in refused(peopled, "create", *words, stdin=stdin, code=USAGE)


@pytest.mark.parametrize("words", [(), ("",), ("task", "urgent"), ("task", "low", "[]"), ("--agent", "nobody", "task")])
def test_run_refuses_what_create_refuses(peopled: Console, sessions: dict[str, str], words: tuple[str, ...]) -> None:
    refused(peopled, "run", *words, code=USAGE)


def test_bad_input_makes_no_workspace_either(console: Console) -> None:
    os.rmdir(console.layout.workspace)
    for words in (
        ("create", ""),
        ("create", "task", "urgent"),
        ("update-status", ABSENT, "starting"),
        ("start", ABSENT),
    ):
        refused(console, *words, code=USAGE if words[0] == "create" else NO)


# --- statuses ---

FORBIDDEN_MOVES = [
    ("created", "running"),
    ("created", "completed"),
    ("starting", "created"),
    ("starting", "completed"),
    ("running", "created"),
    ("running", "starting"),
    *(
        (end, to)
        for end in ("completed", "failed")
        for to in ("created", "starting", "running", "completed", "failed")
        if to != end
    ),
]


@pytest.mark.parametrize(("status", "target"), FORBIDDEN_MOVES)
def test_a_change_of_status_that_the_table_forbids(
    peopled: Console, sessions: dict[str, str], status: str, target: str
) -> None:
    line = refused(peopled, "update-status", sessions[status], target, code=NO)
    assert f"is {status} and cannot become {target}" in line and "it can become: " in line


@pytest.mark.parametrize("text", ["banana", "", "Completed", "running ", "unreadable", "not_found"])
def test_an_unknown_status(peopled: Console, sessions: dict[str, str], text: str) -> None:
    assert "created, starting, running, completed, failed" in refused(
        peopled, "update-status", sessions["created"], text, code=USAGE
    )


def test_the_same_status_again_is_done_already(peopled: Console, sessions: dict[str, str]) -> None:
    before = peopled.snapshot()
    for status, session_id in sessions.items():
        assert peopled.do("update-status", session_id, status).returncode == 0
    assert peopled.snapshot() == before


def test_starting_what_has_ended_says_resume(peopled: Console, sessions: dict[str, str]) -> None:
    for status in ("completed", "failed"):
        line = refused_start(peopled, sessions[status])
        assert f"hive-session resume {sessions[status]}" in line


def refused_start(console: Console, session_id: str) -> str:
    """As `refused`; `run.lock` alone may appear, as it is what a start is refused by."""
    before = console.snapshot()
    done = console.do("start", session_id)
    assert done.returncode == NO
    lock = os.path.relpath(console.paths(session_id).run_lock, console.root)
    after = console.snapshot()
    assert {name: value for name, value in after.items() if name != lock} == {
        name: value for name, value in before.items() if name != lock
    }
    return error_line(done)


def test_starting_what_runs_is_busy_and_leaves_the_run_alone(console: Console) -> None:
    session_id = console.launch(console.shell("exec sleep 60"))
    run = console.run(session_id)
    for command in ("start", "resume"):
        done = console.do(command, session_id)
        assert (done.returncode, done.stdout) == (BUSY, b"")
        assert "running" in error_line(done)
    assert console.run(session_id) == run
    assert console.record(session_id)["attempt"] == 1


def test_nobody_sets_the_status_of_a_session_that_runs_here(console: Console) -> None:
    session_id = console.launch(console.shell("exec sleep 60"))
    done = console.do("update-status", session_id, "failed")
    assert (done.returncode, done.stdout) == (NO, b"")
    assert "stop" in error_line(done)
    assert console.do("status", session_id).stdout == b"running\n"


def test_resuming_what_has_not_run_says_start(peopled: Console, sessions: dict[str, str]) -> None:
    before = peopled.on_disk(sessions["created"])
    done = peopled.do("resume", sessions["created"])
    assert done.returncode == NO and f"hive-session start {sessions['created']}" in error_line(done)
    assert peopled.on_disk(sessions["created"]) == before


# --- other words ---


@pytest.mark.parametrize(
    "words",
    [
        ("cleanup", "-1"),
        ("cleanup", "--", "-1"),
        ("cleanup", "abc"),
        ("cleanup", "nan"),
        ("cleanup", "inf"),
        ("cleanup", "1e9"),
        ("cleanup", ""),
        ("cleanup", "a[$(touch PWNED)]"),
        ("cleanup", "24h"),
        ("cleanup", "0", "0"),
        ("cleanup", "0", "--keep-failed", "-1"),
        ("cleanup", "0", "--keep-failed", "x"),
        ("ls", "--status", "banana"),
        ("ls", "--label", "blue"),
        ("ls", "--newer", "5"),
        ("ls", "--newer", "-5m"),
        ("ls", "--older", "soon"),
        ("logs", "--from", "-1", ABSENT),
        ("telemetry", "--from", "x", ABSENT),
        ("stop", "--grace", "-1", ABSENT),
        ("no-such-command",),
        ("lst",),
        ("status", "a", "b"),
    ],
)
def test_words_that_mean_nothing(peopled: Console, sessions: dict[str, str], words: tuple[str, ...]) -> None:
    refused(peopled, *words, code=USAGE)
    assert not list(peopled.root.rglob("PWN*"))


def test_no_words_at_all_get_the_help_on_stderr(console: Console) -> None:
    done = console.do()
    assert (done.returncode, done.stdout) == (USAGE, b"")
    assert done.stderr.startswith(b"Usage: hive-session ")


def test_an_argument_for_the_agent_that_is_no_text(peopled: Console, sessions: dict[str, str]) -> None:
    assert "UTF-8" in refused(peopled, "start", sessions["created"], b"\xff\xfe", code=USAGE)


# --- configuration ---


@pytest.mark.parametrize(
    "words", [("create", "task"), ("list",), ("ls",), ("start", ABSENT), ("cleanup", "0"), ("doctor",)]
)
def test_a_configuration_key_that_does_not_exist(
    peopled: Console, sessions: dict[str, str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    config = tmp_path / "typo.toml"
    config.write_text("max_concurrent_session = 2\n", encoding="utf-8")
    line = refused(peopled, *words, env={"HIVE_CONFIG": str(config)}, code=CONFIG)
    assert str(config) in line and "max_concurrent_session" in line and "max_concurrent_sessions" in line


# --- a workspace that cannot be written ---


@pytest.mark.root
def test_a_plain_user_in_a_workspace_of_others_reads_everything_and_changes_nothing(
    console: Console, tmp_path: Path
) -> None:
    script = reachable_script(tmp_path / "venv", "nobody")
    session_id = console.new("work")
    ended = console.move(console.new("done"), "starting", "running", "completed")
    before = console.snapshot()
    for words in (
        ("create", "task"),
        ("create", "--key", "k", "task"),
        ("update-status", session_id, "starting"),
        ("start", session_id),
        ("stop", session_id),
        ("cleanup", "0"),
        ("emit", session_id, '{"type":"note"}'),
        ("reindex",),
        ("init",) if not os.access(console.layout.sessions, os.W_OK) else ("reconcile",),
    ):
        done = console.do(*words, program=script, user="nobody")
        assert done.returncode == FORBIDDEN, (words, done)
        assert "HIVE_WORKSPACE" in error_line(done)
    for words in (("status", session_id), ("get", ended), ("list",), ("ls",), ("logs", ended), ("telemetry", ended)):
        done = console.do(*words, program=script, user="nobody")
        assert (done.returncode, done.stderr) == (0, b""), (words, done)
    assert console.snapshot() == before


@pytest.mark.root
def test_a_workspace_that_cannot_be_made(console: Console, tmp_path: Path) -> None:
    script = reachable_script(tmp_path / "venv", "nobody")
    before = snapshot(tmp_path)
    done = console.do("create", "task", program=script, user="nobody", env={"HIVE_WORKSPACE": str(tmp_path / "new")})
    assert done.returncode == FORBIDDEN and "HIVE_WORKSPACE" in error_line(done)
    assert snapshot(tmp_path) == before


# --- a torn record ---

TORN: list[Callable[[bytes], bytes]] = [
    lambda raw: raw[: len(raw) // 2],
    lambda raw: raw[:-1] if raw.endswith(b"}") else raw[:-3],
    lambda raw: raw[:24],
    lambda raw: b"",
    lambda raw: bytes(len(raw)),
    lambda raw: raw + raw[:40],
]


@pytest.mark.parametrize("tear", TORN, ids=["half", "end-missing", "head-alone", "empty", "zeros", "overlong"])
def test_a_torn_record_is_reported_and_all_others_work(console: Console, tear: Callable[[bytes], bytes]) -> None:
    torn = console.move(console.new("torn"), "starting", "running", "completed")
    other = console.new("other")
    path = Path(console.paths(torn).record)
    path.write_bytes(tear(path.read_bytes()))
    os.unlink(console.layout.index)  # so that `list` has to look at the files
    before = path.read_bytes()
    for words in (("status", torn), ("get", torn), ("update-status", torn, "failed"), ("start", torn), ("stop", torn)):
        done = console.do(*words)
        assert (done.returncode, done.stdout) == (BAD_FILE, b""), words
        assert str(path) in error_line(done) and "doctor" in error_line(done)
    index = console.index()
    assert index.keys() == {torn, other}
    assert (index[torn]["status"], index[other]["status"]) == ("unreadable", "created")
    rows = [line.split() for line in console.answer("ls").decode().splitlines()]
    assert [torn[:8], "unreadable"] in [row[:2] for row in rows]
    assert [other[:8], "waiting"] in [row[:2] for row in rows]
    console.move(other, "starting", "failed")
    assert console.new("third") in console.index()
    assert b"Cleaned up 1 " in console.answer("cleanup", "0")  # `other`; never the torn one
    assert path.read_bytes() == before


# --- stdout ---


def test_an_answer_that_cannot_be_written_is_an_error(console: Console) -> None:
    session_id = console.new("work")
    for words in (("status", session_id), ("get", session_id), ("list",), ("ls",), ("--help",)):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([SCRIPT, *words], stdout=full, stderr=subprocess.PIPE, env=console.env, timeout=30)
        assert done.returncode == IO, (words, done)
        assert "No space left" in error_line(Done(done.args, done.returncode, b"", done.stderr))


def test_a_reader_that_goes_away_is_no_error(console: Console) -> None:
    session_id = console.new("work")
    Path(console.paths(session_id).log).write_bytes(b"line\n" * 100_000)
    reading, writing = os.pipe()
    call = subprocess.Popen([SCRIPT, "logs", session_id], stdout=writing, stderr=subprocess.PIPE, env=console.env)
    os.close(writing)
    assert os.read(reading, 5) == b"line\n"
    os.close(reading)
    _, err = call.communicate(timeout=30)
    assert (call.returncode, err) == (0, b"")


def test_modes_let_everybody_read_and_the_owner_alone_write(console: Console) -> None:
    session_id = console.new("--env", "SECRET=1", "work")
    paths = console.paths(session_id)
    for path, mode in (
        (paths.record, 0o644),
        (console.layout.index, 0o644),
        (paths.log, 0o644),
        (paths.env_file, 0o600),
    ):
        assert stat.S_IMODE(os.stat(path).st_mode) == mode, path
