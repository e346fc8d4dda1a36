"""The listener under a real supervisord: what hangs is restarted, what is given up is told, and nothing loops."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hive_session.suite.control import Control
from tests.integration.hive import Hive, is_alive, kill, until
from tests.integration.listener import HEALTH, MCP, PROXY, RELAY, Listened, actor, servers
from tests.integration.mcp_server import Line, request

RESTARTED = "restart"
PATIENT = {"HIVE_HEALTH_GRACE_S": "60"}  # a slow machine takes its time to start a server
CHECK_LIMIT_S = "2.5"  # the check as a whole has 3 s

# Answers the first question, and no other: from the second one on it hangs.
TIRED = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=100)
peer, _ = listener.accept()
peer.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
time.sleep(600)
"""


@pytest.fixture
def hive(tmp_path: Path) -> Iterator[Hive]:
    settings = {"HIVE_USER": "root"} if os.geteuid() == 0 else {}
    with Hive(tmp_path / "h", **settings) as hive:  # type: ignore[arg-type]  # no setting is called output_root
        yield hive


def said(suite: Listened, event: str = "", about: str = "") -> list[dict[str, Any]]:
    """All that the listener has said by now: whenever supervisord has answered, what was said before is in the log."""
    suite.pids()
    return suite.lines(event, about)


def story(suite: Listened, about: str) -> str:
    """The events about a program in their order, without those of a machine that stood still: they are nobody's."""
    return " ".join(each["event"] for each in said(suite, about=about) if each["event"] != "unknown")


SLOW = "( silent answers-again)*"  # in a story: a machine on which an answer took its time, which restarts nothing


def test_a_server_that_is_stopped_is_restarted_after_three_misses_and_answers_again(hive: Hive) -> None:
    with Listened(hive, servers(), PATIENT) as suite:
        suite.becomes(MCP, "ok")
        relay = suite.becomes(RELAY, "ok")
        stopped = suite.signal(MCP, signal.SIGSTOP)
        until(lambda: suite.pids().get(MCP) not in (None, stopped), "another process")
        assert not is_alive(stopped)
        suite.becomes(MCP, "ok")
        with Line(int(suite.ports["MCP_TCP_PORT"])) as line:
            assert line.ask(request("ping"))["result"] == {}
        assert re.fullmatch(f"runs{SLOW} silent {RESTARTED} runs{SLOW}( silent)?", story(suite, MCP))
        (told,) = said(suite, RESTARTED)
        assert (told["misses"], told["process"], told["level"]) == (3, stopped, "error")
        assert "no answer within 0.5 s" in told["detail"]
        assert suite.becomes(RELAY, "ok") == relay  # nobody else was touched
        assert (suite.state(MCP)["restarts"], suite.state(MCP)["kills"]) == (1, 1)


def test_one_that_goes_on_in_time_is_let_be(hive: Hive) -> None:
    with Listened(hive, servers(), {**PATIENT, "HIVE_HEALTH_MISSES": "1000"}) as suite:
        suite.becomes(RELAY, "ok")
        pid = suite.signal(RELAY, signal.SIGSTOP)
        until(lambda: suite.state(RELAY)["misses"] > 1, "two misses")
        os.kill(pid, signal.SIGCONT)
        assert suite.becomes(RELAY, "ok")["misses"] == 0
        assert re.fullmatch("runs( silent answers-again)+( silent)?", story(suite, RELAY))
        assert suite.pid(RELAY) == pid


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_one_that_always_hangs_is_not_restarted_in_a_loop(hive: Hive) -> None:
    (hive.root / "tired.py").write_text(TIRED, encoding="utf-8")
    tired = servers(**{RELAY: f"{sys.executable} {{root}}/tired.py {{MCP_BRIDGE_PORT}}"})
    with Listened(hive, tired) as suite:
        until(lambda: len(suite.lines(RESTARTED, RELAY)) == 3, "three restarts", 60)
        times = [time.strptime(each["time"][:19], "%Y-%m-%dT%H:%M:%S") for each in suite.lines(RESTARTED, RELAY)]
        assert time.mktime(times[2]) - time.mktime(times[0]) >= 1  # 0.5 s and 1 s, cut to whole ones
        until(lambda: suite.state(RELAY)["misses"] >= 12, "many more misses", 60)
        assert story(suite, RELAY) == f"runs silent {RESTARTED} " * 3 + "runs silent"  # told once for each process
        suite.becomes(MCP, "ok")
        assert re.fullmatch(f"runs{SLOW}( silent)?", story(suite, MCP))


def test_a_program_that_is_given_up_is_told_once_tried_again_and_welcomed_back(hive: Hive) -> None:
    ill = hive.root / "ill"
    ill.touch()
    dies = servers(**{RELAY: actor("MCP_BRIDGE_PORT", "dies", "{root}/ill")})
    with Listened(hive, dies, {**PATIENT, "HIVE_HEALTH_RETRY_AFTER_S": "0.4,1"}) as suite:
        until(lambda: suite.lines("fatal", RELAY), "the line of the FATAL one")
        until(lambda: len(suite.lines("fatal-tried-again", RELAY)) >= 2, "two more tries")
        assert suite.infos()[MCP]["statename"] == "RUNNING"
        ill.unlink()
        until(lambda: suite.infos()[RELAY]["statename"] == "RUNNING", "it runs at the next try")
        until(lambda: suite.lines("runs", RELAY), "that is told")
        (told,) = said(suite, "fatal")
        assert told["last_line"] == "actor: the cause \x1b[31m"
        assert (told["level"], told["about"], told["retry_in_s"]) == ("error", RELAY, 0)
        assert "\x1b" not in (hive.root / "health.log").read_text()
        assert suite.lines("runs", RELAY)[0]["was"] == "FATAL"
        assert not suite.lines(RESTARTED)


@pytest.mark.slow
def test_the_listener_comes_back_and_goes_on_where_it_was(hive: Hive) -> None:
    with Listened(hive, servers(), PATIENT) as suite:
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
        assert len(said(suite, "runs", RELAY)) == 1  # nothing is told twice


@pytest.mark.parametrize(
    ("mode", "detail"), [("garbage", "no HTTP: '\\x1b[2J\\xff garbage"), ("drips", "no answer within 0.5 s")]
)
def test_what_is_no_answer_counts_as_none(hive: Hive, mode: str, detail: str) -> None:
    odd = servers(**{RELAY: actor("MCP_BRIDGE_PORT", mode)})
    with Listened(hive, odd, {"HIVE_HEALTH_GRACE_S": "0"}) as suite:
        # While it starts it refuses; on a slow machine that alone may be a restart.
        until(lambda: any(detail in each["detail"] for each in suite.lines(RESTARTED, RELAY)), "a restart for that")
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
            time.sleep(0.1)  # the pace at which events come: ten of them are less than a question that hangs
        log = (hive.root / "supervisord.log").read_text()
        assert "buffer" not in log and "bad result" not in log and "UNKNOWN" not in log
        assert suite.lines("runs", MCP) and not suite.lines(RESTARTED)


def test_a_full_house_and_a_token_are_no_failure(hive: Hive) -> None:
    strict = {"TCP_MAX_CONNECTIONS": "1", "TCP_AUTH_TOKEN": "secret", "WS_AUTH_TOKEN": "secret"}
    patient = {**PATIENT, "HIVE_HEALTH_LIMIT_S": "10"}
    wrong = {"TCP_AUTH_TOKEN": "wrong", "HIVE_HEALTH_LIMIT_S": CHECK_LIMIT_S}
    one_place = "{scripts}/mcp-tcp-proxy --max-sessions 1 --health-port {CLAUDE_FLOW_HEALTH_PORT} -- cat"
    with Listened(hive, servers(**{PROXY: one_place}), {**strict, **patient}) as suite:
        for name in (MCP, RELAY, PROXY):
            suite.becomes(name, "ok")
        with (
            the_only_line(int(suite.ports["MCP_TCP_PORT"])) as first,
            socket.create_connection(("127.0.0.1", int(suite.ports["CLAUDE_FLOW_TCP_PORT"]))),
        ):
            suite.becomes(MCP, "full")
            assert suite.check(HIVE_SUITE_CLAUDE_FLOW="true", **wrong) == (0, ["all can do their work"])
            assert is_let_in(first)
        suite.becomes(MCP, "ok")
        for _ in range(12):  # no look counts as a guess, after which the next one would have to wait
            assert suite.check(**wrong)[0] == 0
        assert not said(suite, "silent")
        assert "bad token" not in (hive.root / f"{MCP}.err").read_text()


def is_let_in(line: Line) -> bool:
    """True when the server wants a token of it, not that it goes: there are too many."""
    return "Authentication required" in line.ask(request("ping"))["error"]["message"]


def the_only_line(port: int) -> Line:
    """The one connection that there may be: now and then the listener's own question has its place for a moment."""

    def attempt() -> Line | None:
        line = Line(port)
        if is_let_in(line):
            return line
        line.close()
        return None

    return until(attempt, "the only place")


def test_a_settled_listener_lets_supervisord_end(hive: Hive) -> None:
    with Listened(hive, servers()) as suite:
        suite.becomes(MCP, "ok")
        health, *others = [suite.pid(name) for name in (HEALTH, MCP, RELAY)]  # whom nobody can ask for later
        assert suite.process
        suite.process.send_signal(signal.SIGKILL)
        until(lambda: not is_alive(health), "the end of the listener when supervisord is gone")
        kill(others)


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
        assert suite.check(HIVE_HEALTH_LIMIT_S=CHECK_LIMIT_S) == (0, ["all can do their work"])
        code, lines = suite.check(HIVE_SUITE_CLAUDE_FLOW="true", HIVE_HEALTH_LIMIT_S=CHECK_LIMIT_S)
        assert code == 1 and [line.partition(":")[0] for line in lines] == [PROXY]
        suite.signal(MCP, signal.SIGSTOP)
        suite.call("stopProcess", RELAY)
        lines = until(lambda: blamed(suite, [MCP, RELAY, "workspace"]), "each of them is named, in time")
        assert "no answer within 2 s" in lines[0] and "connection refused" in lines[1] and "is missing" in lines[2]


def blamed(suite: Listened, names: list[str]) -> list[str]:
    """What the check says of these, and of nobody else, within 3 s; else none: on a machine that stood still it blames nobody."""
    began = time.monotonic()
    code, lines = suite.check(HIVE_WORKSPACE=f"{suite.root}/none", HIVE_HEALTH_LIMIT_S="2")
    in_time = time.monotonic() - began < 3
    return lines if in_time and code == 1 and [line.partition(":")[0] for line in lines] == names else []


def test_the_check_needs_no_supervisord(hive: Hive) -> None:
    with Listened(hive, servers()) as suite:
        suite.becomes(MCP, "ok")
        suite.becomes(RELAY, "ok")
        assert suite.process
        os.kill(suite.process.pid, signal.SIGSTOP)
        try:
            assert suite.check(HIVE_HEALTH_LIMIT_S=CHECK_LIMIT_S)[0] == 0
        finally:
            os.kill(suite.process.pid, signal.SIGCONT)


def test_what_a_person_asks_supervisord_is_what_the_listener_hears(hive: Hive) -> None:
    with Listened(hive, servers()) as suite:
        until(lambda: {info["statename"] for info in suite.infos().values()} == {"RUNNING"}, "all of them run")
        control = Control(f"{hive.root}/supervisor.sock")
        assert suite.process and control.pid() == suite.process.pid
        heard = {each.name: (each.pid, each.state, each.error_log) for each in control.programs()}
        asked = {name: (info["pid"], info["statename"], info["stderr_logfile"]) for name, info in suite.infos().items()}
        assert heard == asked
        pid = suite.pid(RELAY)
        control.kill(RELAY)
        until(lambda: suite.pids().get(RELAY) not in (None, pid), "another relay")
