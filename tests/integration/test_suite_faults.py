"""The suite when things break: each program killed, supervisord killed, ports taken, files that are wrong."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hive_session.suite.ports import any_free
from tests.integration.hive import children, is_alive, kill, until
from tests.integration.stopwatch import Stopwatch
from tests.integration.supervised import LASTING, SERVERS, Supervised

BACK_S = 10.0  # from kill -9 to an answer; 2 s on a machine that has nothing else to do
STOP_S = 10.0  # what Docker gives a container
OURS = Path(__file__).parents[2] / "etc/supervisor"


@pytest.fixture
def suite(tmp_path: Path) -> Iterator[Supervised]:
    """The suite over a copy of its files, not started."""
    shutil.copytree(OURS, tmp_path / "supervisor")
    with Supervised(tmp_path / "h", HIVE_SUPERVISOR_CONF=str(tmp_path / "supervisor/supervisord.conf")) as suite:
        yield suite


def spawned(suite: Supervised, name: str) -> int:
    """How often supervisord has started a program."""
    return len(re.findall(f"spawned: '{name}' with pid", suite.log))


def write_conf(suite: Supervised, text: str) -> Path:
    path = Path(suite.conf).parent / "conf.d/90-more.conf"
    path.write_text(text, encoding="utf-8")
    return path


def listener() -> socket.socket:
    """A stranger on a port, one that no connection is given by the kernel."""
    return socket.create_server(("127.0.0.1", any_free("127.0.0.1")))


def fail_slowly(suite: Supervised) -> None:
    """Let an end of mcp-tcp-server within 12 s be a start that failed: 3 s are soon over on a machine that stands still."""
    core = Path(suite.conf).parent / "conf.d/10-core.conf"
    head, program, rest = core.read_text(encoding="utf-8").partition("[program:mcp-tcp-server]")
    core.write_text(head + program + rest.replace("startsecs=3\n", "startsecs=12\n", 1), encoding="utf-8")


def kill_supervisord(suite: Supervised) -> None:
    """Return once it is gone; what it has started goes on."""
    pid = suite.supervisord()
    kill([pid])
    until(lambda: not is_alive(pid), "the end of supervisord")


# --- killed ---


@pytest.mark.timeout(180)
def test_every_program_that_is_killed_is_back_within_seconds(suite: Supervised) -> None:
    """Nobody asks supervisord meanwhile: each question would have it look after its programs sooner."""
    suite.up()
    supervisord, before = suite.supervisord(), suite.pids()
    took = {}
    for name, pid in before.items():

        def is_back(name: str = name, pid: int = pid) -> bool:
            at_work = suite.answers(name) if name in SERVERS else len(children(supervisord)) == len(before)
            return not is_alive(pid) and pid not in children(supervisord) and at_work

        with Stopwatch() as watch:
            kill([pid])
            until(is_back, f"{name} at work again", 60)
        took[name] = watch.seconds
    assert max(took.values()) < BACK_S, took
    after = suite.pids()
    assert not set(after.values()) & set(before.values())


def test_all_programs_killed_at_once_are_back(suite: Supervised) -> None:
    suite.up()
    before = suite.pids()
    kill(before.values())
    until(lambda: not any(is_alive(pid) for pid in before.values()), "their end")
    after = suite.pids()
    assert after.keys() == before.keys() and not set(after.values()) & set(before.values())
    until(lambda: all(suite.answers(name) for name in SERVERS), "all servers at work again")


def test_a_run_goes_on_while_supervisord_is_killed_and_started_again_and_no_server_is_left_behind(
    suite: Supervised,
) -> None:
    gate = suite.root / "gate"
    session_id = suite.launch(suite.shell(f"while [ ! -e {gate} ]; do sleep 0.05; done; exit 7"))
    run = suite.run(session_id)
    suite.up()
    old, pids, ports = suite.supervisord(), suite.pids(), suite.ports
    kill_supervisord(suite)
    # What it served goes on without it.
    assert all(suite.answers(name) for name in SERVERS)
    assert suite.suite("status").returncode == 3
    suite.up()
    assert suite.ports == ports
    assert suite.supervisord() != old
    assert not any(is_alive(pid) for pid in pids.values())
    assert suite.pids().keys() == set(LASTING)
    assert is_alive(run.agent) and suite.record(session_id)["status"] == "running"
    gate.touch()
    assert suite.ended(session_id)["exit_code"] == 7


def test_stop_ends_what_a_killed_supervisord_left(suite: Supervised) -> None:
    suite.up()
    pids = suite.pids()
    kill_supervisord(suite)
    done = suite.suite("stop")
    assert (done.returncode, done.stderr) == (0, "")
    assert not any(is_alive(pid) for pid in pids.values())
    assert suite.processes() == []


def test_a_run_that_a_program_of_the_suite_began_outlives_the_suite(suite: Supervised) -> None:
    """As `reconcile` does with those that are to be resumed."""
    gate = suite.root / "gate"
    session_id = suite.create(suite.shell(f"while [ ! -e {gate} ]; do sleep 0.05; done; exit 7"))
    write_conf(
        suite, f"[program:begin]\ncommand=hive-session start --detach {session_id}\nautorestart=false\nstartsecs=0\n"
    )
    suite.up()
    run = suite.run(session_id)
    until(lambda: suite.states()["begin"] == "EXITED", "the end of the command that began it")
    kill_supervisord(suite)
    suite.up()
    assert suite.suite("stop").returncode == 0
    assert all(is_alive(pid) for pid in (run.runner, run.witness, run.agent))
    gate.touch()
    assert suite.ended(session_id)["exit_code"] == 7


def test_a_program_that_ignores_sigterm_does_not_hold_up_the_end(suite: Supervised) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    program = suite.root / "deaf.py"
    program.write_text(deaf, encoding="utf-8")
    out = suite.root / "deaf.out"
    write_conf(
        suite,
        f"[program:deaf]\ncommand={sys.executable} {program}\nstdout_logfile={out}\n"
        "stopasgroup=true\nkillasgroup=true\nstopwaitsecs=2\n",
    )
    suite.up()
    until(lambda: out.exists() and out.read_text(encoding="utf-8"), "a deaf program")
    with Stopwatch() as watch:
        assert suite.suite("stop").returncode == 0
    assert watch.seconds < STOP_S
    assert suite.processes() == []


# --- ports ---


@pytest.mark.timeout(180)
def test_a_port_of_the_user_s_that_is_taken_is_fatal_with_a_clear_line_and_no_crash_loop(suite: Supervised) -> None:
    fail_slowly(suite)
    with listener() as taken:
        port = taken.getsockname()[1]
        suite.env["MCP_TCP_PORT"] = str(port)
        done = suite.suite("start", "--detach")
        assert done.returncode == 69
        (line,) = (line for line in done.stderr.splitlines() if "mcp-tcp-server" in line)
        assert "FATAL" in line and str(port) in line, line
        assert suite.states()["mcp-tcp-server"] == "FATAL"
        tries = spawned(suite, "mcp-tcp-server")
        assert tries == 4
        assert suite.answers("mcp-ws-bridge")
        status = suite.suite("status")
        assert status.returncode == 3
        assert any("mcp-tcp-server" in line and str(port) in line for line in status.stderr.splitlines())
        assert spawned(suite, "mcp-tcp-server") == tries
    assert suite.ctl("start", "mcp-tcp-server").returncode == 0
    until(lambda: suite.answers("mcp-tcp-server"), "the server on its port")
    assert suite.ports["MCP_TCP_PORT"] == port
    assert suite.suite("status").returncode == 0


@pytest.mark.timeout(180)
def test_a_stranger_who_answers_in_a_server_s_place_is_not_taken_for_it(suite: Supervised, tmp_path: Path) -> None:
    suite.up()
    fail_slowly(suite)
    port = suite.ports["MCP_TCP_PORT"]
    with Supervised(tmp_path / "other", MCP_TCP_PORT=str(port), HIVE_SUPERVISOR_CONF=suite.conf) as other:
        done = other.suite("start", "--detach")
        assert done.returncode == 69 and f"nc 127.0.0.1 {port}" not in done.stdout


# --- files ---

BAD_FILES = (
    "[program:mcp-tcp-server]\nautostart=maybe\n",
    "[program:x]\npriority=1\n",
    "[program:x]\ncommand=/bin/echo %(ENV_MISSING)s\n",
    "this is no file of supervisord\n",
)


@pytest.mark.timeout(180)
def test_a_bad_file_changes_nothing_of_a_running_suite(suite: Supervised) -> None:
    suite.up()
    pids = suite.pids()
    for text in BAD_FILES:
        path = write_conf(suite, text)
        done = suite.ctl("reread")
        assert done.returncode != 0 and "CANT_REREAD" in done.stdout, done
        suite.ctl("update")
        checked = suite.suite("check")
        assert checked.returncode == 78 and "problem" in checked.stdout, checked
        found = suite.call("doctor", "--json").stdout.decode().splitlines()
        assert any('"supervision"' in line and '"problem"' in line for line in found)
        assert suite.pids() == pids
        path.unlink()
    assert suite.ctl("reread").returncode == 0
    assert suite.suite("check").returncode == 0
    assert suite.pids() == pids


@pytest.mark.parametrize("text", BAD_FILES)
def test_a_suite_with_a_bad_file_is_not_started_and_says_where_it_is_wrong(suite: Supervised, text: str) -> None:
    path = write_conf(suite, text)
    done = suite.suite("start", "--detach", env={"SOME_SECRET": "never-told"})
    assert done.returncode == 78 and "hive-suite: " in done.stderr
    assert str(path) in done.stderr or suite.conf in done.stderr
    assert "never-told" not in done.stderr and "SOME_SECRET" not in done.stderr
    assert suite.processes() == []


def test_one_program_more_is_taken_in_without_touching_the_others(suite: Supervised) -> None:
    suite.up()
    pids = suite.pids()
    write_conf(suite, "[program:more]\ncommand=/bin/sleep 600\n")
    assert suite.ctl("update").returncode == 0
    until(lambda: suite.states().get("more") == "RUNNING", "one program more")
    assert suite.pids() == pids


def test_a_wrong_variable_or_configuration_file_is_one_line(suite: Supervised) -> None:
    for env, code, word in (
        ({"MCP_TCP_PORT": "many"}, 78, "MCP_TCP_PORT"),
        ({"HIVE_CLEANUP_HOURS": "-5"}, 78, "HIVE_CLEANUP_HOURS"),
        ({"HIVE_WORKSPACE": "here"}, 78, "HIVE_WORKSPACE"),
        ({"HIVE_RUN_DIR": f"/{'x' * 100}"}, 78, "HIVE_RUN_DIR"),
        ({"HIVE_SUPERVISOR_CONF": "/nowhere.conf"}, 78, "/nowhere.conf"),
    ):
        done = suite.suite("start", "--detach", env=env)
        (line,) = done.stderr.splitlines()
        assert (done.returncode, done.stdout) == (code, "") and word in line, done
    suite.config.write_text("no toml", encoding="utf-8")
    done = suite.suite("start", "--detach")
    assert done.returncode == 78 and len(done.stderr.splitlines()) == 1


# --- logs ---


def test_logs_are_rotated_and_none_is_ever_longer_than_it_may_be(suite: Supervised) -> None:
    out = suite.root / "loud.log"
    write_conf(
        suite,
        f"[program:loud]\ncommand=/bin/sh -c 'yes 0123456789 | head -c 3000000'\nautorestart=false\nstartsecs=0\n"
        f"stdout_logfile={out}\nstdout_logfile_maxbytes=200KB\nstdout_logfile_backups=3\n",
    )
    suite.up()
    until(lambda: suite.states()["loud"] == "EXITED", "its end")
    files = sorted(path.name for path in suite.root.glob("loud.log*"))
    assert files == ["loud.log", "loud.log.1", "loud.log.2", "loud.log.3"]
    block = 128 * 1024  # supervisord looks at the length after each write
    assert all(path.stat().st_size <= 200 * 1024 + block for path in suite.root.glob("loud.log*"))


def test_a_damaged_memory_of_ports_is_none(suite: Supervised) -> None:
    os.makedirs(suite.run_dir, mode=0o700)
    for text in ("", "[]", '{"MCP_TCP_PORT": "x", "OTHER": 1}', "\0"):
        Path(suite.run_dir, "ports.json").write_text(text, encoding="utf-8")
        assert suite.suite("env").returncode == 0
    suite.up()


# --- cleanup ---


def test_a_cleanup_that_fails_is_told_and_the_next_hour_is_waited_for(suite: Supervised, scripts: Path) -> None:
    tools = suite.root / "tools"
    tools.mkdir()
    for name, line in (
        ("hive-session", f'echo "$@" >>{tools}/calls; echo "no room" >&2; exit 74'),
        ("sleep", f"echo slept >>{tools}/calls; exec /bin/sleep 600"),
    ):
        (tools / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        (tools / name).chmod(0o755)
    env = {
        **suite.env,
        "PATH": f"{tools}:{scripts}:/usr/bin:/bin",
        "HIVE_CLEANUP_HOURS": "1.5",
        "HIVE_LOG_FORMAT": "json",
    }
    call = subprocess.Popen(
        [OURS / "hourly-cleanup"], env=env, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert call.stderr
        told = [json.loads(call.stderr.readline()) for _ in range(2)]
        assert [each["message"] for each in told] == ["no room", "hive-session: exit 74"]
        assert {(each["program"], each["level"]) for each in told} == {("cleanup", "error")}
        calls = tools / "calls"
        until(lambda: calls.read_text(encoding="utf-8") == "cleanup 1.5\nslept\n", "its rest")
        assert call.poll() is None
    finally:
        os.killpg(call.pid, 9)
        call.communicate()
