"""Every task reaches its agent byte for byte, comes back from `get` and `list`, and never becomes a command."""

import json
import sys
from pathlib import Path

import pytest

from hive_session.ondisk.index import TASK_CHARACTERS
from tests.integration.console import DROP_IN, Console

TASKS = {
    "D4": "x'; touch PWNED; echo 'y",
    "D4-double": 'x"; touch PWNED; echo "y',
    "D4b": "don't stop",
    "D4c": "a[$(touch PWNED)]",
    "D5-quote": 'say "hello"',
    "D5-newline": "first line\nsecond line\n",
    "D5-carriage-return": "first\r\nsecond\rthird",
    "D5-tab": "a\tb",
    "D5-path": "C:\\new\\table",
    "D5-controls": "".join(map(chr, range(1, 32))) + "\x7f",
    "D5b": 'x", "status": "completed", "y": "',
    "D5b-brace": '"}}, "00000000-0000-4000-8000-000000000000": {"task": "',
    "D5c-substitution": "$(touch PWNED) ${HOME} $PATH",
    "D5c-backticks": "`touch PWNED`",
    "D5c-unicode": "Ünïcödé 日本語 \u202e\u2028\ufeff e\u0301 🐝👩‍👩‍👧",
    "dash": "-x",
    "dashes": "--",
    "help": "--help",
    "option": "--task-file=/etc/passwd",
    "words": " two  spaces ",
    "glob": "* ? [a] ~ # ! & | ; < >",
    "placeholders": "{task} {task_file} {session_id} {output_dir} {} {{}} %s %(x)s \\1",
    "100 kB": "0123456789" * 10_000,
}
MEGABYTE = "a line of a long task, with 'quotes' and ünïcödé\n" * 21_000

# Each writes the task as it got it to the output directory.
BY_ARGUMENT = "import os, sys; open(os.environ['HIVE_OUTPUT_DIR'] + '/seen', 'wb').write(os.fsencode(sys.argv[1]))"
BY_STDIN = "import os, sys; open(os.environ['HIVE_OUTPUT_DIR'] + '/seen', 'wb').write(sys.stdin.buffer.read())"
BY_FILE = "import os, sys; open(os.environ['HIVE_OUTPUT_DIR'] + '/seen', 'wb').write(open(sys.argv[1], 'rb').read())"


def recorder(console: Console, way: str) -> str:
    """The name of an agent that gets its task this way."""
    if way == "argument":
        return console.python(BY_ARGUMENT)
    if way == "file":
        return console.agent([sys.executable, "-c", BY_FILE, "{task_file}"])
    return console.agent([sys.executable, "-c", BY_STDIN], stdin="task")


def seen(console: Console, session_id: str) -> bytes:
    """What the agent of a session that has completed wrote down."""
    record = console.record(session_id)
    assert record["status"] == "completed", record
    return Path(record["output_dir"], "seen").read_bytes()


def expect_no_trace_of_execution(console: Console, *more: Path) -> None:
    for place in (console.root, *more):
        assert [path for path in place.rglob("*") if path.name.startswith("PWN")] == []


HARD = ("D4", "D5-controls", "D5c-unicode", "dash", "placeholders", "100 kB")  # where not all are played through
EACH_WAY = [*((name, "argument") for name in TASKS), *((name, way) for way in ("stdin", "file") for name in HARD)]


@pytest.mark.parametrize(("name", "way"), EACH_WAY)
def test_a_task_reaches_the_agent_and_comes_back(console: Console, tmp_path: Path, name: str, way: str) -> None:
    task = TASKS[name]
    session_id = console.new("--agent", recorder(console, way), "--", task)
    assert console.do("start", session_id).returncode == 0
    assert seen(console, session_id) == task.encode()
    assert json.loads(console.answer("get", session_id))["task"] == task
    index = json.loads(console.answer("list"))["sessions"]
    assert index.keys() == {session_id}
    assert (index[session_id]["task"], index[session_id]["status"]) == (task[:TASK_CHARACTERS], "completed")
    expect_no_trace_of_execution(console, tmp_path)


@pytest.mark.parametrize("way", ["stdin", "file"])
@pytest.mark.parametrize("source", ["--task-file", "standard input"])
def test_a_task_of_a_megabyte_goes_through_a_file_or_stdin(
    console: Console, tmp_path: Path, source: str, way: str
) -> None:
    raw = MEGABYTE.encode()
    assert len(raw) > 1_000_000
    file = tmp_path / "task.md"
    file.write_bytes(raw)
    agent = recorder(console, way)
    if source == "--task-file":
        session_id = console.new("--agent", agent, "--task-file", str(file), "low", "{}")
    else:
        session_id = console.new("--agent", agent, "--task-file", "-", stdin=raw)
    assert console.do("start", session_id).returncode == 0
    assert seen(console, session_id) == raw
    assert console.record(session_id)["task"] == MEGABYTE
    assert console.index()[session_id]["task"] == MEGABYTE[:TASK_CHARACTERS]


@pytest.mark.parametrize("size", [131_071, 131_072, 1_000_000])
def test_a_task_beyond_one_argument_is_refused_by_an_agent_that_wants_one(console: Console, size: int) -> None:
    """131,071 bytes are the most that Linux lets one argument have (MAX_ARG_STRLEN less its NUL)."""
    task = "x" * size
    session_id = console.new("--agent", recorder(console, "argument"), "--task-file", "-", stdin=task.encode())
    done = console.do("start", session_id)
    if size == 131_071:
        assert (done.returncode, seen(console, session_id)) == (0, task.encode())
    else:
        assert done.returncode == 2 and b"stdin" in done.stderr
        assert console.record(session_id)["status"] == "created"


def test_bytes_of_a_file_are_the_task_line_ends_and_all(console: Console, tmp_path: Path) -> None:
    for raw in (b"\xef\xbb\xbfwith a mark", b"no line end", b"dos\r\n", b"\n\nlines before"):
        file = tmp_path / "task"
        file.write_bytes(raw)
        assert console.on_disk(console.new("--task-file", str(file)))["task"].encode() == raw


@pytest.mark.parametrize("name", HARD)
def test_the_rehearsal_gets_the_task_too(console: Console, tmp_path: Path, name: str) -> None:
    task = TASKS[name]
    session_id = console.new("--agent", "rehearsal", "--", task)
    done = console.do("start", session_id, "--seconds", "0")
    assert done.returncode == 0, done
    assert Path(console.paths(session_id).output, "task.txt").read_bytes() == task.encode()
    assert json.loads(console.answer("get", session_id))["task"] == task
    expect_no_trace_of_execution(console, tmp_path)


def test_the_rehearsal_gets_a_megabyte(console: Console) -> None:
    session_id = console.new("--agent", "rehearsal", "--task-file", "-", stdin=MEGABYTE.encode())
    assert console.do("start", session_id, "--seconds", "0").returncode == 0
    assert Path(console.paths(session_id).output, "task.txt").read_bytes() == MEGABYTE.encode()


def test_the_old_name_takes_every_task_as_the_original_s_callers_give_it(console: Console) -> None:
    console.program = DROP_IN
    ids = {name: console.new(task, "high", "{}") for name, task in TASKS.items()}
    index = json.loads(console.do("list").stdout)["sessions"]
    assert {name: index[each]["task"] for name, each in ids.items()} == {
        name: task[:TASK_CHARACTERS] for name, task in TASKS.items()
    }
    for name in HARD:
        assert json.loads(console.do("get", ids[name]).stdout)["task"] == TASKS[name]


def test_all_of_them_side_by_side_make_one_valid_index(console: Console) -> None:
    ids = {name: console.seed(1, task)[0] for name, task in TASKS.items()}
    index = json.loads(console.answer("list"))["sessions"]
    assert {name: index[each]["task"] for name, each in ids.items()} == {
        name: task[:TASK_CHARACTERS] for name, task in TASKS.items()
    }
    lines = console.answer("ls", "--json").splitlines()
    assert {json.loads(line)["task"] for line in lines} == set(TASKS.values())
    table = console.answer("ls").decode()
    assert len(table.splitlines()) == len(TASKS) + 1
    assert not [char for char in table if not char.isprintable() and char != "\n"]


def test_run_takes_the_same_tasks(console: Console) -> None:
    for name in ("D4", "D5-newline", "help"):
        done = console.do("run", "--agent", recorder(console, "argument"), "--json", "--", TASKS[name])
        assert done.returncode == 0, done
        assert seen(console, json.loads(done.stdout)["session_id"]) == TASKS[name].encode()
