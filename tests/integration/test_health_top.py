"""`top` as a person has it on a terminal, and as a pipe has it, with and without a supervisord."""

import os
import re
import signal

from hive_session.words import columns
from tests.integration.console import Console
from tests.integration.hive import until
from tests.integration.listener import HEALTH, MCP, RELAY, Listened, actor, servers
from tests.integration.test_watch import HOME, Terminal, emit, spawn, watching


def row(lines: list[str], name: str) -> str:
    """The line of a program."""
    found = [line for line in lines if line.startswith(f"{name} ")]
    assert len(found) == 1, lines
    return found[0]


def drawn(terminal: Terminal, name: str, pattern: str) -> list[str]:
    """The first picture whose line of a program is as `pattern` says; on a slow machine others come before it."""

    def found() -> list[str]:
        lines = terminal.picture()
        own = [line for line in lines if line.startswith(f"{name} ")]
        return lines if len(own) == 1 and re.search(pattern, own[0]) else []

    return until(found, f"{name} as {pattern}: {terminal.raw[-2000:]!r}")


def at_work(console: Console) -> str:
    """A session that has used some tokens."""
    (session_id,) = console.seed(1, task="Build the importer")
    console.move(session_id, "starting", "running")
    spawn(console, session_id, "queen", "claude")
    emit(console, session_id, type="usage", agent="queen", tokens=600)
    return session_id


def test_programs_and_sessions_are_on_one_screen_and_q_ends_it(console: Console) -> None:
    session_id = at_work(console)
    with Listened(console, servers()) as suite:
        suite.becomes(MCP, "ok")
        suite.becomes(RELAY, "ok")
        with watching(console, "--interval", "0.2", command="top", env={"HIVE_RUN_DIR": str(suite.root)}) as terminal:
            pid = suite.pid(MCP)
            lines = drawn(terminal, MCP, rf"● running +{pid} +\d+ s +\d+ MiB .* 0  ok$")
            assert len(lines) == 24 and all(columns(line) <= 80 for line in lines)
            drawn(terminal, "supervisord", r"\d+ MiB +\d+\.\d % +- +-$")
            assert any(line.startswith("sessions   1 running") for line in lines)
            assert re.search(r"\d GiB free of", "".join(lines))
            assert session_id[:8] in "".join(lines)
            assert not re.search(r" 0 tok/min", "".join(lines))
            os.kill(pid, signal.SIGKILL)
            drawn(terminal, MCP, r" 1  ok$")
            terminal.resize(40, 120)
            terminal.process.send_signal(signal.SIGWINCH)
            until(lambda: len(terminal.picture()) == 40, "40 lines")
            terminal.type(b"q")
            assert terminal.ends() == 0


def test_what_is_wrong_is_said_in_its_line(console: Console) -> None:
    (console.root / "ill").touch()
    odd = servers(**{RELAY: actor("MCP_BRIDGE_PORT", "dies", "{root}/ill")})
    # What is FATAL stays so: nobody tries it again while it is looked at.
    settings = {"HIVE_HEALTH_MISSES": "1000", "HIVE_HEALTH_GRACE_S": "0", "HIVE_HEALTH_RETRY_AFTER_S": "600"}
    with Listened(console, odd, settings) as suite:
        until(lambda: suite.lines("fatal"), "the relay is given up")
        suite.becomes(MCP, "ok")
        suite.signal(MCP, signal.SIGSTOP)
        suite.becomes(MCP, "silent")
        lines = until(lambda: told(suite, MCP, "silent: no answer within 0.5 s"), "what is wrong with it")
        assert "✗ FATAL" in row(lines, RELAY) and row(lines, RELAY).endswith("actor: the cause  [31m")
        assert "\x1b" not in "".join(lines)
        suite.call("stopProcess", HEALTH)
        os.unlink(suite.root / "health.json")
        lines = printed(suite, "--once")
        assert lines[0].endswith("nobody asks the servers: the program health does not run")
        assert "○ stopped" in row(lines, HEALTH)


def printed(suite: Listened, *words: str) -> list[str]:
    """What `top` prints where there is no terminal."""
    env = {"HIVE_RUN_DIR": str(suite.root), "COLUMNS": "120"}
    return suite.hive.answer("top", *words, env=env).decode().splitlines()


def told(suite: Listened, name: str, end: str) -> list[str]:
    """What it prints once the line of a program ends so: a machine that stood still leaves another word there for a moment."""
    lines = printed(suite)
    return lines if row(lines, name).endswith(end) else []


def test_without_supervisord_the_rest_is_shown(console: Console) -> None:
    session_id = at_work(console)
    lines = console.answer("top", "--once").decode().splitlines()
    assert lines[0] == "hive suite   supervisord does not run; to start it:  hive-suite start"
    assert "sessions   1 running" in lines
    assert lines[-1].startswith(session_id[:8]) and lines[-1].endswith("Build the importer")
    with watching(console, command="top") as terminal:
        terminal.shows("supervisord does not run")
        terminal.type(b"q")
        assert terminal.ends() == 0


def test_an_empty_workspace_is_no_error_and_stays_empty(console: Console) -> None:
    assert "sessions   none yet" in console.answer("top").decode()
    assert os.listdir(console.layout.workspace) == []


def test_it_is_drawn_at_its_interval_and_not_at_each_event(console: Console) -> None:
    session_id = at_work(console)
    with watching(console, "--interval", "600", command="top") as terminal:
        terminal.shows("q quits")
        drawn = terminal.raw.count(HOME)
        for tokens in range(700, 1200, 100):
            emit(console, session_id, type="usage", agent="queen", tokens=tokens)
        while terminal.read(0.6):
            continue
        assert terminal.raw.count(HOME) == drawn
