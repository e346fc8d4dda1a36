"""hive-suite: the whole suite starts, answers, tells of itself, stops; as root, as a plain user, twice on one machine."""

import json
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hive_session.suite.ports import TURN
from tests.integration.hive import SCRIPTS, children, is_alive, read_bytes, until
from tests.integration.stopwatch import Stopwatch
from tests.integration.supervised import CALL_S, LASTING, PLAIN_USER, SERVERS, Supervised, scripts_for

STOP_S = 10.0  # what Docker gives a container
START_S = 10.0  # 0.4 s on a machine that has nothing else to do

pytestmark = pytest.mark.timeout(180)  # most of the time is that of several starts and stops


@pytest.fixture
def suite(tmp_path: Path) -> Iterator[Supervised]:
    with Supervised(tmp_path / "h") as suite:
        yield suite


# --- from start to stop ---


def test_it_starts_answers_tells_its_addresses_and_stops_in_time(suite: Supervised) -> None:
    with Stopwatch() as watch:
        done = suite.up()
    assert watch.seconds < START_S
    ports = suite.ports
    assert f"http://127.0.0.1:{ports['MCP_BRIDGE_PORT']}/" in done.stdout
    assert f"| nc 127.0.0.1 {ports['MCP_TCP_PORT']}\n" in done.stdout
    assert [suite.answers(name) for name in SERVERS] == [True] * len(SERVERS)
    until(lambda: suite.states()["reconcile"] == "EXITED", "the end of reconcile")
    pids = [suite.supervisord(), *suite.pids().values()]
    with Stopwatch() as watch:
        assert suite.suite("stop").returncode == 0
    assert watch.seconds < STOP_S
    assert not any(is_alive(pid) for pid in pids)
    assert suite.processes() == []


def test_a_second_start_finds_the_first_one_s_suite_and_uses_it(suite: Supervised) -> None:
    first = suite.up()
    pids, ports = (suite.supervisord(), suite.pids()), suite.ports
    second = suite.up()
    assert (second.stdout, suite.ports) == (first.stdout, ports)
    assert f"runs already: supervisord is process {pids[0]}" in second.stderr
    assert (suite.supervisord(), suite.pids()) == pids


def test_starts_at_once_end_in_one_suite(suite: Supervised) -> None:
    calls = [
        subprocess.Popen(
            [f"{SCRIPTS}/hive-suite", "start", "--detach"], env=suite.env, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    assert len({call.communicate(timeout=CALL_S)[0] for call in calls}) == 1
    assert [call.returncode for call in calls] == [0, 0, 0]
    assert len(re.findall("supervisord started with pid", suite.log)) == 1


def test_stopping_what_does_not_run_is_no_failure_and_status_says_that_nothing_runs(suite: Supervised) -> None:
    assert suite.suite("stop").returncode == 0
    done = suite.suite("status")
    assert (done.returncode, done.stdout) == (3, "") and "does not run" in done.stderr


def test_status_is_supervisorctl_s_lines_and_zero_when_all_runs_that_should(suite: Supervised) -> None:
    suite.up()
    suite.pids()
    until(lambda: suite.states()["reconcile"] == "EXITED", "the end of reconcile")
    done = suite.suite("status")
    assert done.returncode == 0, done
    lines = dict(line.split()[:2] for line in done.stdout.splitlines())
    assert lines == {"reconcile": "EXITED", **dict.fromkeys(LASTING, "RUNNING")}
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == [
        line.split(",")[0] for line in suite.ctl("status").stdout.splitlines()
    ]


def test_in_the_foreground_the_caller_becomes_supervisord_and_ends_with_it(suite: Supervised) -> None:
    call = subprocess.Popen([f"{SCRIPTS}/hive-suite", "start"], env=suite.env, stdout=subprocess.DEVNULL)
    until(lambda: suite.supervisord() == call.pid, "supervisord in the place of its caller")
    until(lambda: all(suite.answers(name) for name in SERVERS), "the servers")
    refused = suite.suite("start")
    assert refused.returncode == 75 and "runs already" in refused.stderr
    with Stopwatch() as watch:
        call.send_signal(signal.SIGTERM)
        assert call.wait(CALL_S) == 0
    assert watch.seconds < STOP_S
    assert suite.all_gone()  # what a shell of the suite's has started ends by itself


def test_it_belongs_to_nobody_s_terminal_and_outlives_its_caller(suite: Supervised) -> None:
    suite.up()
    pid = suite.supervisord()
    assert os.getsid(pid) == pid
    assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1)} == {"/dev/null"}


def test_programs_know_their_home_and_user_and_nothing_of_the_session_that_called(suite: Supervised) -> None:
    suite.up(HOME="/elsewhere" if os.geteuid() == 0 else suite.env["HOME"], USER="x", HIVE_SESSION_ID="none-of-ours")
    me = pwd.getpwuid(os.geteuid())
    for pid in suite.pids(SERVERS).values():
        env = dict(word.split(b"=", 1) for word in read_bytes(f"/proc/{pid}/environ").split(b"\0") if word)
        assert env[b"USER"] == env[b"LOGNAME"] == me.pw_name.encode()
        assert env[b"HOME"] == (me.pw_dir if os.geteuid() == 0 else suite.env["HOME"]).encode()
        assert b"HIVE_SESSION_ID" not in env


def test_its_directory_and_socket_are_the_user_s_alone(suite: Supervised) -> None:
    suite.up()
    assert stat.S_IMODE(os.stat(suite.run_dir).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(f"{suite.run_dir}/supervisor.sock").st_mode) == 0o700
    suite.suite("stop")
    os.chmod(suite.run_dir, 0o777)
    suite.up()
    assert stat.S_IMODE(os.stat(suite.run_dir).st_mode) == 0o700


def test_a_run_directory_behind_a_link_is_refused(suite: Supervised, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", suite.run_dir)
    done = suite.suite("start", "--detach")
    assert done.returncode == 77 and suite.run_dir in done.stderr
    assert os.listdir(tmp_path / "elsewhere") == []


def test_no_token_is_told_written_or_in_anybody_s_words(suite: Supervised) -> None:
    tokens = {"TCP_AUTH_TOKEN": "tcp-s3cret-token", "WS_AUTH_TOKEN": "ws-s3cret-token"}
    suite.env |= tokens
    said = [suite.suite("start", "--detach"), suite.suite("start", "--detach")]
    said += [suite.suite(word) for word in ("status", "env", "check")]
    told = "".join(done.stdout + done.stderr for done in said)
    until(lambda: suite.states()["reconcile"] == "EXITED", "the end of reconcile")
    told += "".join(
        read_bytes(str(path)).decode("utf-8", "replace")  # one that was to replace another may be gone
        for root in (suite.run_dir, suite.layout.log_dir)
        for path in Path(root).rglob("*")
        if path.is_file()
    )
    told += "".join(read_bytes(f"/proc/{pid}/cmdline").decode() for pid in suite.processes())
    assert "with TCP_AUTH_TOKEN" in told
    assert not any(token in told for token in tokens.values())


def test_its_variables_are_words_for_a_shell(suite: Supervised) -> None:
    suite.up()
    script = f'eval "$({SCRIPTS}/hive-suite env)"; echo "$MCP_TCP_PORT $HIVE_RUN_DIR"'
    said = subprocess.check_output(["sh", "-c", script], env=suite.env, text=True, timeout=CALL_S)
    assert said.split() == [str(suite.ports["MCP_TCP_PORT"]), suite.run_dir]


def test_claude_flow_is_started_only_where_it_is_installed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "venv"  # where bin/setup has put no claude-flow
    subprocess.run(["python3", "-m", "venv", "--without-pip", elsewhere], check=True, timeout=CALL_S)
    python = f"{elsewhere}/bin/python"
    own = subprocess.check_output([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True)
    packages = Path(SCRIPTS).parent / Path(own.strip()).relative_to(elsewhere)
    Path(own.strip(), "hive.pth").write_text(f"import site; site.addsitedir({str(packages)!r})\n", encoding="utf-8")
    with Supervised(tmp_path / "h", HIVE_SUITE_CLAUDE_FLOW="", HIVE_BIN=SCRIPTS, PATH="/usr/bin:/bin") as suite:
        for word in (("start", "--detach"), ("status",)):
            done = subprocess.run(
                [python, "-m", "hive_session.suite", *word], env=suite.env, capture_output=True, text=True
            )
            assert done.returncode == 0, done
        assert suite.states()["claude-flow-tcp"] == "STOPPED"
        program = tmp_path / "claude-flow"
        program.write_text("#!/bin/sh\n", encoding="utf-8")
        program.chmod(0o755)
        done = suite.suite("env", env={"HIVE_CLAUDE_FLOW_BIN": str(program)})
        assert "HIVE_SUITE_CLAUDE_FLOW=true\n" in done.stdout


# --- cleanup ---


def test_old_sessions_are_removed_at_the_start_and_none_where_the_hours_are_zero(suite: Supervised) -> None:
    session_id = suite.create(suite.shell("true"))
    suite.answer("start", session_id)
    suite.up(HIVE_CLEANUP_HOURS="0")
    until(lambda: suite.states()["cleanup"] == "EXITED", "an end without work")
    assert suite.suite("status").returncode == 0
    assert session_id in suite.index()
    suite.suite("stop")
    suite.up(HIVE_CLEANUP_HOURS="0.0000001")
    until(lambda: session_id not in suite.index(), "its removal")
    assert suite.states()["cleanup"] == "RUNNING"


# --- others on the machine ---


def test_two_suites_of_one_workspace_do_not_get_in_each_other_s_way(suite: Supervised, tmp_path: Path) -> None:
    suite.up()
    other_run = str(tmp_path / "other")
    there = {"HIVE_RUN_DIR": other_run}
    done = suite.suite("start", "--detach", env=there)
    assert done.returncode == 0, done
    told = suite.suite("env", env=there).stdout
    ports = {int(port) for port in re.findall(r"_PORT=(\d+)", told)}
    assert len(ports) == 5 and not ports & set(suite.ports.values())
    logs = set(re.findall(r"_LOG_DIR=(\S+)", told)) - {suite.layout.log_dir}
    assert not logs & set(re.findall(r"_LOG_DIR=(\S+)", suite.suite("env").stdout))
    assert suite.suite("stop", env=there).returncode == 0
    assert all(suite.answers(name) for name in SERVERS)
    assert suite.suite("status").returncode == 0


def test_servers_are_asked_where_the_file_has_them_listen_even_when_it_changes(tmp_path: Path) -> None:
    file, servers = tmp_path / "hive.toml", ("mcp-tcp-server", "mcp-ws-bridge")

    def listen_on(host: str) -> None:
        file.write_text(f'[mcp_tcp]\nbind = "{host}"\n[ws_relay]\nbind = "{host}"\n', encoding="ascii")

    listen_on("127.0.0.7")
    with Supervised(tmp_path / "h", HIVE_CONFIG=str(file), HIVE_HEALTH_EVERY_S="0.1") as suite:
        said = suite.up().stdout
        assert f"http://127.0.0.7:{suite.ports['MCP_BRIDGE_PORT']}/" in said
        listen_on("127.0.0.8")
        assert suite.ctl("restart", *servers).returncode == 0
        pids = suite.pids(servers)

        def health() -> dict[str, tuple[int, str]]:
            programs = json.loads(read_bytes(f"{suite.run_dir}/health.json"))["programs"]
            return {name: (programs[name]["pid"], programs[name]["health"]) for name in servers}

        until(lambda: health() == {name: (pid, "ok") for name, pid in pids.items()}, "answers at the new address")
        where = {name: str(port) for name, port in suite.ports.items()}
        until(
            lambda: suite.do("hive-health", "--check", env=where).returncode == 0, "a check there that finds all well"
        )


def test_default_ports_that_are_taken_give_way_and_the_new_ones_stay(tmp_path: Path) -> None:
    unset = dict.fromkeys(("MCP_TCP_PORT", "MCP_HEALTH_PORT", "MCP_BRIDGE_PORT"), "")
    with Supervised(tmp_path / "a", **unset) as one, Supervised(tmp_path / "b", **unset) as two:
        calls = [
            subprocess.Popen([f"{SCRIPTS}/hive-suite", "start", "--detach"], env=each.env, stdout=subprocess.DEVNULL)
            for each in (one, two)
        ]
        assert [call.wait(CALL_S) for call in calls] == [0, 0]
        first, second = one.ports, two.ports
        assert not set(first.values()) & set(second.values())
        for each, ports in ((one, first), (two, second)):
            each.suite("stop")
            each.up()
            assert each.ports == ports


def has_turn(turn: socket.socket) -> bool:
    try:
        turn.bind(TURN)
    except OSError:
        return False
    return True


def test_whoever_keeps_all_others_from_choosing_ports_only_delays_them(suite: Supervised) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as turn:
        until(lambda: has_turn(turn), "the turn of nobody else")
        call = subprocess.Popen(
            [f"{SCRIPTS}/hive-suite", "start", "--detach"], env=suite.env, stdout=subprocess.DEVNULL
        )
        with pytest.raises(subprocess.TimeoutExpired):
            call.wait(1)
    with Stopwatch() as watch:
        assert call.wait(CALL_S) == 0
    assert watch.seconds < START_S


@pytest.mark.root
def test_a_plain_user_needs_nobody_s_help(tmp_path: Path) -> None:
    with Supervised(tmp_path / "h", user=PLAIN_USER) as suite:
        suite.up()
        assert suite.suite("status").returncode == 0
        uid = pwd.getpwnam(PLAIN_USER).pw_uid
        assert {os.stat(f"/proc/{pid}").st_uid for pid in [suite.supervisord(), *suite.pids().values()]} == {uid}
        assert all(suite.answers(name) for name in SERVERS)
        assert suite.suite("stop").returncode == 0
        owners = {path.owner() for place in (suite.run_dir, suite.layout.workspace) for path in Path(place).rglob("*")}
        assert owners == {PLAIN_USER}


@pytest.mark.root
def test_root_s_suite_is_that_of_hive_user(tmp_path: Path) -> None:
    with Supervised(tmp_path / "h", HIVE_USER=PLAIN_USER) as suite:
        suite.bin = scripts_for(tmp_path / "venv", PLAIN_USER)
        Path(suite.run_dir).mkdir()
        shutil.chown(suite.run_dir, PLAIN_USER)
        suite.up()
        uid = pwd.getpwnam(PLAIN_USER).pw_uid
        assert {os.stat(f"/proc/{pid}").st_uid for pid in [suite.supervisord(), *suite.pids().values()]} == {uid}
        assert suite.suite("status").returncode == 0
        assert suite.ctl("status", "mcp-tcp-server").returncode == 0
        assert suite.suite("stop").returncode == 0


@pytest.mark.root
def test_root_says_so_where_hive_user_cannot_reach_the_programs(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(0o700)
    with Supervised(tmp_path / "h", HIVE_USER=PLAIN_USER, HIVE_BIN=str(closed)) as suite:
        Path(suite.run_dir).mkdir()
        shutil.chown(suite.run_dir, PLAIN_USER)
        done = suite.suite("start", "--detach")
        assert done.returncode == 77 and "cannot run" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.root
def test_as_process_1_it_collects_orphans(suite: Supervised) -> None:
    call = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", f"{SCRIPTS}/hive-suite", "start"],
        env=suite.env,
        stdout=subprocess.DEVNULL,
    )
    until(lambda: suite.supervisord() == 1, "supervisord as process 1")
    until(lambda: all(suite.answers(name) for name in SERVERS), "the servers")
    (first,) = children(call.pid)
    script = "(sleep 0.2 &) ; exec true"
    subprocess.run(["nsenter", "-t", str(first), "-p", "-m", "sh", "-c", script], check=True, timeout=CALL_S)
    until(lambda: "reaped unknown pid" in suite.log, "a process that nobody waits for")
    with Stopwatch() as watch:
        os.kill(first, signal.SIGTERM)
        assert call.wait(CALL_S) == 0
    assert watch.seconds < STOP_S
    assert suite.processes() == []


def test_a_supervisord_that_hangs_is_stopped_all_the_same(suite: Supervised) -> None:
    suite.up()
    pids = [suite.supervisord(), *suite.pids().values()]
    os.kill(pids[0], signal.SIGSTOP)
    with Stopwatch() as watch:
        assert suite.suite("stop").returncode == 0
    assert watch.seconds < STOP_S
    assert not any(is_alive(pid) for pid in pids)
