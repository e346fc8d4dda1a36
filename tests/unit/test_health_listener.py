"""The words of supervisord that the listener understands, its answers as text, its settings, the state it leaves."""

import json
import os
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk.layout import Layout
from hive_session.suite.check import unwritable
from hive_session.suite.control import NoAnswer, Program, encode_call, parse_programs, parse_response, socket_of
from hive_session.suite.health import MESSAGES, Events, Settings, teller
from hive_session.suite.misses import Watched
from hive_session.suite.watch import Watch, _supervisor, last_line

TICK = b"ver:3.0 server:supervisor serial:21 pool:health poolserial:10 eventname:TICK_5 len:15\nwhen:1201063880"
SAID = b"processname:mcp-tcp-server groupname:mcp-tcp-server from_state:BACKOFF"
GONE = b"ver:3.0 server:supervisor pool:health eventname:PROCESS_STATE_FATAL len:%d\n%b" % (len(SAID), SAID)
INFO: dict[str, Any] = {
    "name": "mcp-tcp-server", "group": "mcp-tcp-server", "start": 100, "stop": 0, "now": 160, "state": 20,
    "statename": "RUNNING", "spawnerr": "", "exitstatus": 0, "logfile": "/l", "stdout_logfile": "/l",
    "stderr_logfile": "/logs/a <b> & \"c\".log", "pid": 4711, "description": "pid 4711, uptime 0:01:00",
}  # fmt: skip


def response(body: str) -> bytes:
    return b"HTTP/1.0 200 OK\r\nContent-Type: text/xml\r\n\r\n" + body.encode()


def answered(value: object) -> str:
    return xmlrpc.client.dumps((value,), methodresponse=True)  # type: ignore[arg-type]  # whatever it can marshal


# -- events ------------------------------------------------------------------------------------------------------------


def test_events_are_known_by_their_names() -> None:
    assert Events().feed(TICK + GONE + TICK) == ["TICK_5", "PROCESS_STATE_FATAL", "TICK_5"]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_events_may_come_in_pieces_of_any_size(sizes: list[int]) -> None:
    events, data, found = Events(), TICK + GONE, []
    for size in sizes:
        found += events.feed(data[:size])
        data = data[size:]
    assert found + events.feed(data) == ["TICK_5", "PROCESS_STATE_FATAL"]


@pytest.mark.parametrize("data", [b"hello\n", b"eventname:TICK_5\n", b"len:3 eventname:\xff\n", b"eventname:T len:x\n"])
def test_what_is_no_event_is_not_passed_over(data: bytes) -> None:
    with pytest.raises(ValueError):
        Events().feed(data)


# -- supervisord's XML -------------------------------------------------------------------------------------------------


def test_programs_are_read_from_what_the_library_writes() -> None:
    other = {**INFO, "name": "qgis", "group": "gui", "pid": 0, "statename": "FATAL", "spawnerr": "no <such> & file"}
    found = parse_programs(parse_response(response(answered([INFO, other]))))
    assert [(each.name, each.state, each.pid, each.up_s) for each in found] == [
        ("mcp-tcp-server", "RUNNING", 4711, 60),
        ("gui:qgis", "FATAL", 0, 0),
    ]
    assert found[0].error_log == INFO["stderr_logfile"]
    assert found[1].why == "no <such> & file"


def test_a_clock_that_was_set_back_makes_no_time_negative() -> None:
    (found,) = parse_programs(answered([{**INFO, "start": 10_000}]))
    assert found.up_s == 0


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=30), st.booleans())
def test_a_call_is_read_by_the_library_as_it_was_meant(text: str, flag: bool) -> None:
    body = encode_call("supervisor.startProcess", [text, flag]).partition(b"\r\n\r\n")[2]
    params, method = xmlrpc.client.loads(body)
    assert (params, method) == ((text, flag), "supervisor.startProcess")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "answered"),
        (b"HTTP/1.0 401 Unauthorized\r\n\r\n", "401"),
        (b"\x1b[2J\r\n\r\n", "x1b"),
        (response(xmlrpc.client.dumps(xmlrpc.client.Fault(10, "BAD_NAME: <x>"))), "BAD_NAME: <x>"),
    ],
)
def test_a_refusal_is_told_in_supervisord_s_words(data: bytes, why: str) -> None:
    with pytest.raises(NoAnswer) as refused:
        parse_response(data)
    assert why in str(refused.value) and "\x1b" not in str(refused.value)


def test_a_program_that_lacks_something_is_no_answer() -> None:
    with pytest.raises(NoAnswer):
        parse_programs(answered([{"name": "x"}]))


@pytest.mark.parametrize(("url", "path"), [("unix:///a/b.sock", "/a/b.sock"), ("http://localhost:9001", ""), ("", "")])
def test_only_a_unix_socket_will_do(url: str, path: str) -> None:
    assert socket_of(url) == path


# -- settings ----------------------------------------------------------------------------------------------------------


def test_the_defaults_are_those_that_the_help_names() -> None:
    from hive_session.suite.health import HELP

    named = dict(word.split("=") for word in HELP.split() if word.startswith("HIVE_HEALTH_") and "=" in word)
    assert len(named) == 6
    for made in (Settings({}), Settings(named)):
        rules = made.rules
        assert (rules.misses, rules.grace_s, rules.settled_s, made.limit_s) == (3, 30, 300, 2)
        assert made.every_s is None
        assert rules.restart_after_s == (30, 60, 120, 300, 600)
        assert rules.retry_after_s == (60, 300, 900)


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5"])
def test_a_setting_that_is_none_is_named(value: str) -> None:
    with pytest.raises(ValueError, match="HIVE_HEALTH_MISSES"):
        Settings({"HIVE_HEALTH_MISSES": value})
    with pytest.raises(ValueError, match="HIVE_HEALTH_RESTART_AFTER_S"):
        Settings({"HIVE_HEALTH_RESTART_AFTER_S": "30,,60"})


# -- the last line of a log --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"", ""),
        (b"one\ntwo\n\n  \n", "two"),
        (b"no end", "no end"),
        (b"x" * 9000 + b"the end\n", "x" * 493 + "the end"),
        (b"\xff\n", "�"),
        (b'{"time":"2026-11-22T00:00:00.000+00:00","message":"the port is taken"}\n', "the port is taken"),
        (b'{"message":"cut of', '{"message":"cut of'),
        (b"[1]\n", "[1]"),
    ],
)
def test_the_last_line_that_says_something(tmp_path: Path, text: bytes, line: str) -> None:
    (tmp_path / "log").write_bytes(text)
    assert last_line(str(tmp_path / "log")) == line
    assert last_line(str(tmp_path / "missing")) == last_line(str(tmp_path)) == last_line("") == ""


# -- the watch, with a supervisord of words ----------------------------------------------------------------------------


class Acted:
    """supervisord as far as the watch asks it; remembers what it was told to do."""

    def __init__(self, *programs: dict[str, Any]) -> None:
        self.infos = list(programs)
        self.done: list[tuple[str, str]] = []
        self.now: list[dict[str, Any]] | None = None  # what a single program is said to be, where that differs

    def programs(self) -> list[Program]:
        return parse_programs(answered(self.infos))

    def program(self, name: str) -> Program:
        return parse_programs(answered(self.now or [each for each in self.infos if each["name"] == name]))[0]

    def kill(self, name: str) -> None:
        self.done.append(("kill", name))

    def start(self, name: str) -> None:
        self.done.append(("start", name))


@pytest.fixture
def watch(tmp_path: Path) -> "Callable[..., tuple[Watch, list[dict[str, Any]], Path]]":
    """Makes a watch over `acted` that has nobody to ask, what it tells, and its state file."""

    def make(acted: Acted, **env: str) -> tuple[Watch, list[dict[str, Any]], Path]:
        told: list[dict[str, Any]] = []

        def tell(level: str, event: str, **fields: Any) -> None:
            assert MESSAGES[event].format(**fields)
            told.append({"level": level, "event": event, **fields})

        path = tmp_path / "health.json"
        settings = Settings(env)
        made = Watch(acted, dict, settings.rules, settings.limit_s, tell, str(path))  # type: ignore[arg-type]  # acts like one
        return made, told, path

    return make


Make = Callable[..., tuple[Watch, list[dict[str, Any]], Path]]


def test_fatal_is_told_once_with_the_last_line_of_its_log(tmp_path: Path, watch: Make) -> None:
    log = tmp_path / "error.log"
    log.write_text("starting\nmcp-tcp: cannot listen on 127.0.0.1: Address already in use\n")
    acted = Acted(
        {**INFO, "statename": "FATAL", "pid": 0, "stderr_logfile": str(log), "spawnerr": "Exited too quickly"}
    )
    made, told, _ = watch(acted)
    for _ in range(3):
        made.look()
    (line,) = told
    assert (line["level"], line["event"], line["about"]) == ("error", "fatal", "mcp-tcp-server")
    assert line["last_line"] == "mcp-tcp: cannot listen on 127.0.0.1: Address already in use"
    assert (line["detail"], line["retry_in_s"], acted.done) == ("Exited too quickly", 60, [])


def test_a_listener_that_takes_over_tells_no_fatal_again(watch: Make) -> None:
    acted = Acted({**INFO, "statename": "FATAL", "pid": 0})
    watch(acted)[0].look()
    made, told, _ = watch(acted, HIVE_HEALTH_RETRY_AFTER_S="0")
    made.look()
    assert [line["event"] for line in told] == ["fatal-tried-again"]
    assert acted.done == [("start", "mcp-tcp-server")]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"supervisor": 1}', '{"supervisor": %s, "programs": {"a": {"pid": 1}}}']
)
def test_a_state_file_that_is_none_is_said_to_be_and_replaced(watch: Make, text: str) -> None:
    made, _, path = watch(Acted(INFO))
    path.write_text(text.replace("%s", json.dumps(_supervisor())))
    made, told, _ = watch(Acted(INFO))
    made.look()
    unreadable = [] if text == '{"supervisor": 1}' else ["not-resumed"]  # another supervisord's is no trouble
    assert [line["event"] for line in told] == [*unreadable, "runs"]
    assert json.loads(path.read_bytes())["programs"]["mcp-tcp-server"]["state"] == "RUNNING"


def test_the_state_is_written_when_it_changes_and_touched_when_not(watch: Make) -> None:
    made, _, path = watch(Acted(INFO))
    made.ask()
    inode = path.stat().st_ino
    os.utime(path, (1, 1))
    made.ask()
    assert path.stat().st_ino == inode and path.stat().st_mtime > 1
    assert os.listdir(path.parent).count("health.json.new") == 0


def test_a_state_that_cannot_be_written_is_told_once_and_stops_nothing(watch: Make) -> None:
    made, told, path = watch(Acted(INFO))
    path.mkdir()
    (path / "in the way").touch()
    for _ in range(3):
        made.look()
    assert [line["event"] for line in told] == ["runs", "not-written"]


def test_a_process_that_took_the_place_of_a_silent_one_is_spared(watch: Make) -> None:
    acted = Acted(INFO)
    made, _, _ = watch(acted)
    acted.now = [{**INFO, "pid": 4712}]
    made.look()
    made._command(acted.programs()[0], acted.kill)
    assert acted.done == []
    acted.now = None
    made._command(acted.programs()[0], acted.kill)
    assert acted.done == [("kill", "mcp-tcp-server")]


def test_supervisord_s_silence_is_told_once(watch: Make) -> None:
    class Mute(Acted):
        def programs(self) -> list[Program]:
            raise NoAnswer("no answer within 2 s")

    made, told, _ = watch(Mute())
    made.look()
    made.ask()
    assert [line["event"] for line in told] == ["no-supervisord"]


def test_a_program_that_is_asked_nothing_is_well_as_long_as_it_runs(watch: Make) -> None:
    made, _, _ = watch(Acted({**INFO, "name": "x", "group": "x"}), HIVE_HEALTH_SETTLED_S="0")
    made._of["x"] = Watched(Settings({"HIVE_HEALTH_SETTLED_S": "0"}).rules)
    made._of["x"].tries = 3
    made.ask()
    assert made._of["x"].tries == 0


def test_an_event_is_one_line_without_secrets_and_without_what_moves_a_cursor(
    capfd: pytest.CaptureFixture[str],
) -> None:
    tell = teller({"TCP_AUTH_TOKEN": "hush-hush"})
    tell("error", "silent", about="mcp-tcp-server", detail="\x1b[2J hush-hush \n\u2028 Bearer abc")
    told = capfd.readouterr().err
    assert told.endswith("}\n") and told[:-1].isprintable() and told.isascii()
    line = json.loads(told)
    assert (line["level"], line["program"], line["event"], line["about"]) == (
        "error", "hive-health", "silent", "mcp-tcp-server",
    )  # fmt: skip
    assert line["message"] == "mcp-tcp-server does not answer: \\x1b[2J *** \\n\\u2028 Bearer ***"
    assert "hush" not in told and "abc" not in told


# -- the workspace -----------------------------------------------------------------------------------------------------


def test_a_workspace_is_writable_without_a_trace(tmp_path: Path) -> None:
    root = tmp_path / "workspace"
    layout = Layout(str(root), "", "")
    assert unwritable(layout) == ""
    (root / ".swarm").mkdir()
    assert unwritable(layout) == ""
    assert [path.name for path in root.rglob("*")] == [".swarm"]


def test_what_keeps_a_workspace_from_being_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "is missing" in unwritable(Layout(f"{tmp_path}/none", "", ""))
    (tmp_path / "file").touch()
    assert "not a directory" in unwritable(Layout(f"{tmp_path}/file", "", ""))
    (tmp_path / ".health").symlink_to(tmp_path / "file")
    assert "cannot be written" in unwritable(Layout(str(tmp_path), "", ""))
    (tmp_path / ".health").unlink()

    def full(_fd: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert unwritable(Layout(str(tmp_path), "", "")) == f"{tmp_path} cannot be written: no space left on device"
    assert not (tmp_path / ".health").exists()
