"""The listener under a real supervisord: what hangs is restarted, what is given up is told, and nothing loops."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hive_session.suite.control import Control
from tests.integration.hive import Hive, is_alive, until
from tests.integration.listener import HEALTH, MCP, PROXY, RELAY, Listened, actor, servers
from tests.integration.mcp_server import Line, request

RESTARTED = "restart"


@pytest.fixture
def hive(tmp_path: Path) -> Iterator[Hive]:
    settings = {"HIVE_USER": "root"} if os.geteuid() == 0 else {}
    with Hive(tmp_path / "h", **settings) as hive:  # type: ignore[arg-type]  # no setting is called output_root
        yield hive


def test_a_server_that_is_stopped_is_restarted_after_three_misses_and_answers_again(hive: Hive) -> None:
    with Listened(hive, servers()) as suite:
        suite.becomes(MCP, "ok")
        relay = suite.becomes(RELAY, "ok")
        stopped = suite.signal(MCP, signal.SIGSTOP)
        until(lambda: suite.pids().get(MCP) not in (None, stopped), "another process")
        assert not is_alive(stopped)
        suite.becomes(MCP, "ok")
        with Line(int(suite.ports["MCP_TCP_PORT"])) as line:
            assert line.ask(request("ping"))["result"] == {}
        assert [each["event"] for each in suite.lines(about=MCP)] == ["runs", "silent", RESTARTED, "runs"]
        (told,) = suite.lines(RESTARTED)
        assert (told["misses"], told["process"], told["level"]) == (3, stopped, "error")
        assert "no answer within 0.5 s" in told["detail"]
        assert suite.state(RELAY) == relay  # nobody else was touched
        assert (suite.state(MCP)["restarts"], suite.state(MCP)["kills"]) == (1, 1)


def test_one_that_goes_on_in_time_is_let_be(hive: Hive) -> None:
    with Listened(hive, servers(), {"HIVE_HEALTH_MISSES": "1000"}) as suite:
        suite.becomes(RELAY, "ok")
        pid = suite.signal(RELAY, signal.SIGSTOP)
        until(lambda: suite.state(RELAY)["misses"] > 1, "two misses")
        os.kill(pid, signal.SIGCONT)
        assert suite.becomes(RELAY, "ok")["misses"] == 0
        assert [each["event"] for each in suite.lines(about=RELAY)] == ["runs", "silent", "answers-again"]
        assert suite.pid(RELAY) == pid


@pytest.mark.slow
def test_one_that_always_hangs_is_not_restarted_in_a_loop(hive: Hive) -> None:
    hangs = servers(**{RELAY: actor("MCP_BRIDGE_PORT", "hangs")})
    quick = {"HIVE_HEALTH_GRACE_S": "0.1", "HIVE_HEALTH_LIMIT_S": "0.1"}
    with Listened(hive, hangs, quick) as suite:
        until(lambda: len(suite.lines(RESTARTED)) == 3, "three restarts")
        times = [time.strptime(each["time"][:19], "%Y-%m-%dT%H:%M:%S") for each in suite.lines(RESTARTED)]
        assert time.mktime(times[2]) - time.mktime(times[0]) >= 1  # 0.5 s and 1 s, cut to whole ones
        until(lambda: suite.state(RELAY)["misses"] >= 12, "many more misses")
        assert len(suite.lines(RESTARTED)) == 3
        assert len(suite.lines("silent", RELAY)) == 4  # told once for each process
        suite.becomes(MCP, "ok")
        assert suite.lines(about=MCP)[0]["event"] == "runs" and len(suite.lines(about=MCP)) == 1


def test_a_program_that_is_given_up_is_told_once_tried_again_and_welcomed_back(hive: Hive) -> None:
    ill = hive.root / "ill"
    ill.touch()
    dies = servers(**{RELAY: actor("MCP_BRIDGE_PORT", "dies", "{root}/ill")})
    with Listened(hive, dies, {"HIVE_HEALTH_RETRY_AFTER_S": "0.5,1,1,600"}) as suite:
        until(lambda: suite.lines("fatal", RELAY), "the line of the FATAL one")
        until(lambda: len(suite.lines("fatal-tried-again", RELAY)) == 2, "two more tries")
        assert suite.infos()[MCP]["statename"] == "RUNNING"
        ill.unlink()
        until(lambda: suite.infos()[RELAY]["statename"] == "RUNNING", "it runs at the next try")
        until(lambda: suite.lines("runs", RELAY), "that is told")
        (told,) = suite.lines("fatal")
        assert told["last_line"] == "actor: the cause \x1b[31m"
        assert (told["level"], told["about"], told["retry_in_s"]) == ("error", RELAY, 0)
        assert "\x1b" not in (hive.root / "health.log").read_text()
        assert suite.lines("runs", RELAY)[0]["was"] == "FATAL"
        assert not suite.lines(RESTARTED)


@pytest.mark.slow
def test_the_listener_comes_back_and_goes_on_where_it_was(hive: Hive) -> None:
    with Listened(hive, servers()) as suite:
        suite.becomes(MCP, "ok")
        suite.signal(MCP, signal.SIGSTOP)
        until(lambda: suite.state(MCP)["kills"] == 1, "a restart")
        suite.becomes(MCP, "ok")
        killed = suite.signal(HEALTH, signal.SIGKILL)
        until(lambda: suite.pids().get(HEALTH) not in (None, killed), "another listener")
        suite.signal(MCP, signal.SIGSTOP)
        until(lambda: suite.state(MCP)["kills"] == 2, "another restart")
        suite.becomes(MCP, "ok")
        assert suite.state(MCP)["rung"] == 2  # the next one is further off
        assert len(suite.lines("runs", RELAY)) == 1  # nothing is told twice


@pytest.mark.parametrize(
    ("mode", "detail"), [("garbage", "no HTTP: '\\x1b[2J\\xff garbage"), ("drips", "no answer within 0.5 s")]
)
def test_what_is_no_answer_counts_as_none(hive: Hive, mode: str, detail: str) -> None:
    odd = servers(**{RELAY: actor("MCP_BRIDGE_PORT", mode)})
    with Listened(hive, odd, {"HIVE_HEALTH_GRACE_S": "0"}) as suite:
        until(lambda: suite.lines(RESTARTED), "a restart")
        assert detail in suite.lines("silent", RELAY)[0]["detail"]
        suite.becomes(MCP, "ok")


@pytest.mark.slow
def test_events_are_answered_at_once_while_a_server_hangs(hive: Hive) -> None:
    """supervisord keeps ten that wait, and says so when one has to go."""
    slow = {"HIVE_HEALTH_LIMIT_S": "5", "HIVE_HEALTH_GRACE_S": "60", "HIVE_HEALTH_EVERY_S": "0.1"}
    hangs = servers(**{RELAY: actor("MCP_BRIDGE_PORT", "hangs")})
    with Listened(hive, hangs, slow) as suite:
        suite.becomes(RELAY, "silent")  # and from now on it is always being asked
        for number in range(40):
            suite.call("sendRemoteCommEvent", "test", str(number))
            time.sleep(0.05)  # the pace at which events come, which is what is tested
        log = (hive.root / "supervisord.log").read_text()
        assert "buffer" not in log and "bad result" not in log and "UNKNOWN" not in log
        assert suite.lines("runs", MCP) and not suite.lines(RESTARTED)


def test_a_full_house_and_a_token_are_no_failure(hive: Hive) -> None:
    strict = {"TCP_MAX_CONNECTIONS": "1", "TCP_AUTH_TOKEN": "secret", "WS_AUTH_TOKEN": "secret"}
    one_place = "{scripts}/mcp-tcp-proxy --max-sessions 1 --health-port {CLAUDE_FLOW_HEALTH_PORT} -- cat"
    with Listened(hive, servers(**{PROXY: one_place}), strict) as suite:
        for name in (MCP, RELAY, PROXY):
            suite.becomes(name, "ok")
        with (
            Line(int(suite.ports["MCP_TCP_PORT"])) as first,
            socket.create_connection(("127.0.0.1", int(suite.ports["CLAUDE_FLOW_TCP_PORT"]))),
        ):
            suite.becomes(MCP, "full")
            assert suite.check(HIVE_SUITE_CLAUDE_FLOW="true", TCP_AUTH_TOKEN="wrong") == (0, ["all can do their work"])
            assert "Authentication required" in first.ask(request("ping"))["error"]["message"]
        suite.becomes(MCP, "ok")
        for _ in range(12):  # no look counts as a guess, after which the next one would have to wait
            assert suite.check(TCP_AUTH_TOKEN="wrong")[0] == 0
        assert not suite.lines("silent")
        assert "bad token" not in (hive.root / f"{MCP}.err").read_text()


def test_a_settled_listener_lets_supervisord_end(hive: Hive) -> None:
    with Listened(hive, servers()) as suite:
        suite.becomes(MCP, "ok")
        pid = suite.pid(HEALTH)
        assert suite.process
        suite.process.send_signal(signal.SIGKILL)
        until(lambda: not is_alive(pid), "the end of the listener when supervisord is gone")
        for name in (MCP, RELAY):
            os.kill(suite_pid(suite, name), signal.SIGKILL)


def suite_pid(suite: Listened, name: str) -> int:
    """What the listener last knew: supervisord cannot be asked any more."""
    pid: int = suite.state(name)["pid"]
    return pid


def test_what_stays_in_memory_for_ever_imports_little() -> None:
    """Each of these is a megabyte or more."""
    program = "import hive_session.suite.health, sys; print(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-c", program], text=True).split())
    costly = {"typing", "dataclasses", "subprocess", "asyncio", "logging", "orjson", "xmlrpc", "http", "argparse"}
    assert "hive_session.suite.control" in loaded and not loaded & costly


# -- the check ---------------------------------------------------------------------------------------------------------


def test_the_check_names_each_that_cannot_do_its_work(hive: Hive) -> None:
    with Listened(hive, servers(), {"HIVE_HEALTH_MISSES": "1000"}) as suite:
        suite.becomes(MCP, "ok")
        suite.becomes(RELAY, "ok")
        assert suite.check() == (0, ["all can do their work"])
        code, lines = suite.check(HIVE_SUITE_CLAUDE_FLOW="true")
        assert code == 1 and [line.partition(":")[0] for line in lines] == [PROXY]
        suite.signal(MCP, signal.SIGSTOP)
        suite.call("stopProcess", RELAY)
        began = time.monotonic()
        code, lines = suite.check(HIVE_WORKSPACE=f"{hive.root}/none", HIVE_HEALTH_LIMIT_S="2")
        assert time.monotonic() - began < 3
        assert code == 1 and [line.partition(":")[0] for line in lines] == [MCP, RELAY, "workspace"]
        assert "no answer within 2 s" in lines[0] and "connection refused" in lines[1] and "is missing" in lines[2]


def test_the_check_needs_no_supervisord(hive: Hive) -> None:
    with Listened(hive, servers()) as suite:
        suite.becomes(MCP, "ok")
        suite.becomes(RELAY, "ok")
        assert suite.process
        os.kill(suite.process.pid, signal.SIGSTOP)
        try:
            assert suite.check()[0] == 0
        finally:
            os.kill(suite.process.pid, signal.SIGCONT)


def test_what_a_person_asks_supervisord_is_what_the_listener_hears(hive: Hive) -> None:
    with Listened(hive, servers()) as suite:
        suite.becomes(MCP, "ok")
        control = Control(f"{hive.root}/supervisor.sock")
        assert suite.process and control.pid() == suite.process.pid
        heard = {each.name: (each.pid, each.state, each.error_log) for each in control.programs()}
        asked = {name: (info["pid"], info["statename"], info["stderr_logfile"]) for name, info in suite.infos().items()}
        assert heard == asked
        pid = suite.pid(RELAY)
        control.kill(RELAY)
        until(lambda: suite.pids().get(RELAY) not in (None, pid), "another relay")
