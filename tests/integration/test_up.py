"""bin/up: one session run to its end, and beside it the suite, which is left running."""

import json
import os
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.hive import until
from tests.integration.supervised import CALL_S, LASTING, Done, Supervised

UP = Path(__file__).parents[2] / "bin/up"
PAGE = re.compile(r"^Watch it live:  (http://\S+/)$", re.MULTILINE)
LINE = re.compile(r"MCP on (\S+):(\d+); .*\n  (echo .* \| nc \S+ \d+)\n")


@pytest.fixture
def suite(tmp_path: Path) -> Iterator[Supervised]:
    with Supervised(tmp_path / "h") as suite:
        yield suite


@contextmanager
def up(suite: Supervised, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """bin/up at work in a session of its own, as from a terminal, and the file that takes what it says."""
    said = suite.root / "said"
    with said.open("wb") as out:
        call = subprocess.Popen(
            [UP, *words], env=suite.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        try:
            yield call, said
        finally:
            call.kill()
            call.wait()


def ask(suite: Supervised, *words: str) -> Done:
    """bin/up WORDS… to its end."""
    return subprocess.run([UP, *words], env=suite.env, capture_output=True, encoding="utf-8", timeout=CALL_S)


def found(pattern: re.Pattern[str], said: Path) -> re.Match[str]:
    """Where it says so, once it does; what is being written may end within a character."""
    return until(lambda: pattern.search(said.read_text(encoding="utf-8", errors="replace")), pattern.pattern, CALL_S)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_lines_it_prints_show_the_running_agents_and_the_suite_is_left_running(suite: Supervised) -> None:
    with up(suite, "Show it") as (call, said):
        command = found(LINE, said)[3]

        def roles() -> set[str]:
            """Of the agents at work."""
            done = subprocess.run(["sh", "-c", command], capture_output=True, check=True, timeout=20)
            agents = json.loads(done.stdout)["result"]["agents"]
            return {agent["role"] for agent in agents if agent["status"] in ("working", "waiting")}

        with urllib.request.urlopen(found(PAGE, said)[1], timeout=30) as answered:
            assert b"<title>" in answered.read()
        until(lambda: roles() == {"queen", "worker"}, "a queen and a worker in the answer")
        assert call.wait(CALL_S) == 0
    assert "bin/up --stop" in said.read_text(encoding="utf-8")
    pids = suite.pids()
    until(lambda: suite.states()["reconcile"] == "EXITED", "the end of reconcile")
    status = ask(suite, "--status")
    assert status.returncode == 0
    assert dict(line.split()[:2] for line in status.stdout.splitlines()) == {
        "reconcile": "EXITED",
        **dict.fromkeys(LASTING, "RUNNING"),
    }
    again = ask(suite, "once more", "--agent", suite.shell("exit 7"))
    assert again.returncode == 7
    assert "runs already" in again.stderr and PAGE.search(again.stdout)
    assert suite.pids() == pids
    assert ask(suite, "--stop").returncode == 0
    assert suite.processes() == []
    gone = ask(suite, "--status")
    assert gone.returncode == 3 and "does not run" in gone.stderr


@pytest.mark.timeout(180)
def test_whoever_kills_it_kills_neither_the_suite_nor_the_session(suite: Supervised) -> None:
    gate = suite.root / "gate"
    agent = suite.shell(f"while [ ! -e {gate} ]; do sleep 0.05; done; exit 7")
    with up(suite, "Wait", "--agent", agent) as (call, said):
        found(LINE, said)
        (session_id,) = until(lambda: list(suite.index()), "a session")
        run = suite.run(session_id)
        until(lambda: suite.on_disk(session_id)["status"] == "running", "its runner's word in the record")
        os.killpg(call.pid, signal.SIGHUP)
        os.killpg(call.pid, signal.SIGKILL)
        call.wait()
    assert suite.pids().keys() == set(LASTING)
    assert suite.record(session_id)["status"] == "running" and suite.run(session_id) == run
    gate.touch()
    assert suite.ended(session_id)["exit_code"] == 7


@pytest.mark.timeout(180)
def test_without_the_whole_suite_the_session_runs_all_the_same(suite: Supervised) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        suite.env["MCP_TCP_PORT"] = port
        done = ask(suite, "work", "--agent", suite.shell("exit 7"))
    assert done.returncode == 7
    assert any("mcp-tcp-server" in line and port in line for line in done.stderr.splitlines())
    assert PAGE.search(done.stdout) and not LINE.search(done.stdout)
