"""The configuration: variable over file over default, and an error that names key and source for all that is wrong."""

import json
import sys
from pathlib import Path

import pytest

from tests.integration.console import Console, error_line
from tests.integration.hive import until


def configure(console: Console, text: str) -> None:
    console.config.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("no_such_key = 1", "no_such_key"),
        ("max_concurrent_session = 1", "max_concurrent_session"),
        ("[agent.x]\nargv = ['a']", "agent"),
        ("max_concurrent_sessions = -1", "max_concurrent_sessions"),
        ("max_concurrent_sessions = 1.5", "max_concurrent_sessions"),
        ("max_concurrent_sessions = true", "max_concurrent_sessions"),
        ("stop_grace_s = 'soon'", "stop_grace_s"),
        ("stop_grace_s = -1", "stop_grace_s"),
        ("stop_grace_s = nan", "stop_grace_s"),
        ("user = ''", "user"),
        ("user = 7", "user"),
        ("claude_bin = 'claude'", "claude_bin"),
        ("default_agent = []", "default_agent"),
        ("agents = 7", "agents"),
        ("[agents]\nx = 7", "agents.x"),
        ("[agents.x]", "agents.x"),
        ("[agents.x]\nargv = []", "agents.x"),
        ("[agents.x]\nargv = 'prog {task}'", "agents.x"),
        ("[agents.x]\nargv = ['a', 7]", "agents.x"),
        ("[agents.x]\nargv = ['a\\u0000b']".replace("'", '"'), "agents.x"),
        ("[agents.x]\nargv = ['']", "agents.x"),
        ("[agents.x]\nargv = ['a']\nstdin = 'file'", "agents.x"),
        ("[agents.x]\nargv = ['a']\nenv = {A = 1}", "agents.x"),
        ("[agents.x]\nargv = ['a']\nenv = {'A=B' = '1'}", "agents.x"),
        ("[agents.x]\nargv = ['a']\nruns_claude = 1", "agents.x"),
        ("[agents.x]\nargv = ['a']\ntimeout = 1", "agents.x"),
        ("max_concurrent_sessions = ", "not TOML"),
        ("user = 'a'\nuser = 'b'", "not TOML"),
    ],
)
def test_whatever_is_wrong_in_the_file_is_named_with_the_file(console: Console, text: str, named: str) -> None:
    configure(console, text)
    before = console.snapshot()
    done = console.do("create", "work")
    assert (done.returncode, done.stdout) == (78, b"")
    line = error_line(done)
    assert str(console.config) in line and named in line
    assert console.snapshot() == before


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MAX_CONCURRENT_SESSIONS", "many"),
        ("MAX_CONCURRENT_SESSIONS", "-1"),
        ("HIVE_STOP_GRACE_S", "soon"),
        ("HIVE_LOG_MAX_BYTES", "50M"),
        ("HIVE_LOG_BACKUPS", "1.5"),
        ("HIVE_CLAUDE_BIN", "claude"),
        ("HIVE_CLAUDE_FLOW_BIN", "./claude-flow"),
        ("HIVE_WORKSPACE", "workspace"),
        ("HIVE_OUTPUT_ROOT", "./outputs"),
        ("HIVE_LOG_DIR", "~/logs"),
    ],
)
def test_whatever_is_wrong_in_a_variable_is_named_with_it(console: Console, variable: str, value: str) -> None:
    before = console.snapshot()
    done = console.do("create", "work", env={variable: value})
    assert done.returncode == 78
    assert variable in error_line(done) and value in error_line(done)
    assert console.snapshot() == before


def test_a_file_that_is_named_must_be_there_and_be_text(console: Console, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "none", tmp_path / "binary", tmp_path):
        done = console.do("create", "work", env={"HIVE_CONFIG": str(path)})
        assert done.returncode == 78 and str(path) in error_line(done)


@pytest.mark.root
def test_a_user_that_does_not_exist(console: Console) -> None:
    before = console.snapshot()
    for words in (("create", "work"), ("list",), ("ls",)):
        done = console.do(*words, env={"HIVE_USER": "no-such-user"})
        assert done.returncode == 78 and "HIVE_USER" in error_line(done)
    assert console.snapshot() == before


def test_variable_over_file_over_default(console: Console) -> None:
    assert console.on_disk(console.new("work"))["agent"] == "claude-flow"
    configure(console, "default_agent = 'rehearsal'\n[agents.mine]\nargv = ['true']\n")
    assert console.on_disk(console.new("work"))["agent"] == "rehearsal"
    assert console.on_disk(console.new("work", env={"HIVE_AGENT": "claude"}))["agent"] == "claude"
    assert console.on_disk(console.new("work", env={"HIVE_AGENT": ""}))["agent"] == "rehearsal"
    assert console.on_disk(console.new("--agent", "mine", "work", env={"HIVE_AGENT": "claude"}))["agent"] == "mine"


def test_a_limit_in_the_file_counts_and_the_variable_lifts_it(console: Console) -> None:
    agent = console.shell("exec sleep 60")
    console.config.write_text(
        "max_concurrent_sessions = 1\n" + console.config.read_text(encoding="utf-8"), encoding="utf-8"
    )
    first, second, third = (console.create(agent) for _ in range(3))
    assert b"running" in console.do("start", "--detach", first).stderr
    assert b"queued" in console.do("start", "--detach", second).stderr
    assert b"running" in console.do("start", "--detach", third, env={"MAX_CONCURRENT_SESSIONS": "0"}).stderr


def test_a_trailing_slash_makes_no_other_workspace(console: Console) -> None:
    session_id = console.new("work", env={"HIVE_WORKSPACE": console.layout.workspace + "//"})
    assert console.on_disk(session_id)["working_dir"] == console.paths(session_id).dir


def test_the_default_paths_lie_in_the_workspace(console: Console) -> None:
    for variable in ("HIVE_OUTPUT_ROOT", "HIVE_LOG_DIR"):
        del console.env[variable]
    record = console.on_disk(console.new("work"))
    workspace = console.layout.workspace
    assert record["output_dir"] == f"{workspace}/ext/hive-sessions/{record['session_id']}"
    assert record["log_file"] == f"{workspace}/logs/hive-{record['session_id']}.log"


# --- agents of the file ---

SHOW = """
import json, os, sys
with open(os.environ["HIVE_OUTPUT_DIR"] + "/seen", "w") as file:
    json.dump([sys.argv[1:], sys.stdin.read(), dict(os.environ)], file)
"""


def test_each_placeholder_is_replaced_inside_its_one_argument(console: Console) -> None:
    words = [
        "{task}",
        "--task={task}!",
        "{task_file}",
        "{session_id}",
        "{working_dir}/x",
        "{output_dir}",
        "{unknown}",
        "{}",
    ]
    configure(
        console,
        f"[agents.show]\nargv = {json.dumps([sys.executable, '-c', SHOW, *words])}\nenv.MINE = '{{task}} $HOME'",
    )
    session_id = console.new("--agent", "show", "--env", "OWN=a=b c", "a {session_id} 'b'")
    assert console.do("start", session_id, "more {task}").returncode == 0
    paths = console.paths(session_id)
    args, stdin, env = json.loads(Path(paths.output, "seen").read_text(encoding="utf-8"))
    task = "a {session_id} 'b'"
    assert args == [
        task,
        f"--task={task}!",
        paths.task_file,
        session_id,
        f"{paths.dir}/x",
        paths.output,
        "{unknown}",
        "{}",
        "more {task}",
    ]
    assert stdin == ""
    assert (env["MINE"], env["OWN"]) == ("{task} $HOME", "a=b c")


def test_an_agent_of_the_file_wins_over_one_of_ours(console: Console) -> None:
    console.config.write_text(f"[agents.rehearsal]\nargv = ['{sys.executable}', '-c', 'exit(9)']\n", encoding="utf-8")
    session_id = console.new("--agent", "rehearsal", "work")
    assert console.do("start", session_id).returncode == 9


def test_an_agent_that_has_left_the_file_is_missed_at_the_start(console: Console) -> None:
    session_id = console.create(console.shell("exit 0"))
    configure(console, "")
    done = console.do("start", session_id)
    assert done.returncode == 2 and "no agent is called" in error_line(done)
    assert console.do("status", session_id).stdout == b"created\n"


def test_a_program_that_is_not_there_fails_the_session_and_says_so(console: Console) -> None:
    session_id = console.create(console.agent(["no-such-program", "{task}"]))
    done = console.do("start", session_id)
    record = until(lambda: console.record(session_id), "a record")
    assert (record["status"], record["reason"]) == ("failed", "spawn_error")
    assert done.returncode != 0 and b"no-such-program" in done.stderr
