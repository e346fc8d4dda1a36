"""The suite over a disk that is full, and over a workspace that became read-only: it serves on, and loses nothing."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hive_session.suite.environment import PORTS
from tests.integration.hive import Hive, is_alive, kill, read_bytes, until
from tests.integration.listener import MCP, PROXY, RELAY
from tests.integration.mcp_disk import append
from tests.integration.mcp_server import Line, request
from tests.integration.supervised import SERVERS, Supervised
from tests.integration.test_fault_storm import events_of, following

pytestmark = pytest.mark.root  # only root can mount

IO, NOT_PERMITTED = 74, 77
SIZE = "64m"
PAGE = 4096


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of SIZE that all of the suite is on: workspace, logs, sockets."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", place], check=True, timeout=50)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True, timeout=50)


@contextmanager
def full(place: Path) -> Iterator[None]:
    """No byte more fits on the filesystem of `place` within the block; who frees some finds it taken again at once."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        _take_all(place, file.fileno())
        yield
    ballast.unlink()


def _take_all(place: Path, ballast: int) -> None:
    while free := os.statvfs(place).f_bavail:
        try:
            os.posix_fallocate(ballast, os.fstat(ballast).st_size, free * PAGE)
        except OSError:
            continue


@contextmanager
def read_only(place: str) -> Iterator[None]:
    """Whoever comes by the path finds everything below it read-only within the block."""
    subprocess.run(["mount", "--bind", place, place], check=True, timeout=50)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True, timeout=50)
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True, timeout=50)


def check(suite: Supervised) -> tuple[int, str]:
    """Exit code and words of `hive-health --check`, as the engine of a container calls it."""
    done = suite.do("hive-health", "--check", env={name: str(suite.ports[name]) for name in PORTS})
    return done.returncode, done.stdout


def is_told(suite: Supervised, why: str) -> bool:
    """True when a check names the workspace, and why, alone: on a machine that stood still servers may have been too late."""
    code, said = check(suite)
    return code == 1 and said.startswith("workspace: ") and why in said and said.count("\n") == 1


def assert_refused(hive: Hive, code: int, word: str, *words: str) -> None:
    """A command that would write says one clear line, and no traceback."""
    done = hive.call(*words)
    assert done.returncode == code, (words, done)
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("hive-session: ") and word in line and done.stdout == b"", (words, done)


def assert_read(hive: Hive, session_id: str) -> None:
    """All that only reads works."""
    for words in (
        ("list",),
        ("ls",),
        ("status", session_id),
        ("get", session_id),
        ("logs", session_id),
        ("telemetry", session_id),
        ("output-dir", session_id),
        ("watch", "--once"),
    ):
        assert hive.call(*words).returncode == 0, words


def fill_page(path: str) -> None:
    """Have a log end with a block, so that on a full disk not one line more fits."""
    append(path, b"\n" * (-os.path.getsize(path) % PAGE))


def who_runs(suite: Supervised, session_id: str) -> bytes:
    """The words of the process that holds the run of a session: in the end, of who writes its record."""
    return read_bytes(f"/proc/{suite.runner(session_id)}/cmdline")


def amiss(suite: Supervised) -> list[str]:
    """What `hive-suite status` says of programs that do not run; nothing while hive-health has them tried again."""
    status = suite.suite("status")
    return status.stderr.splitlines() if status.returncode == 3 else []


def come_back(suite: Supervised, *names: str) -> None:
    """Each of these servers, killed now, is back at its work."""
    pids = [suite.program(name).pid for name in names]
    kill(pids)
    until(lambda: not any(map(is_alive, pids)), "their end")
    until(lambda: all(suite.answers(name) for name in names), "they are at work again")


# Prints a line and emits an event for each number, an event again as long as there is no room for it.
COUNTS = """
import os, subprocess, sys, time
gate, code = sys.argv[1].split()
number = 0
event = '{"type":"message","from":"queen","to":"w","text":"%d","room":"' + "x" * 500 + '"}'
while not os.path.exists(gate) or number < 20:
    print("line", number, flush=True)
    while subprocess.run(["hive-session", "emit", os.environ["HIVE_SESSION_ID"], event % number]).returncode == 74:
        open(gate + ".full", "w").close()
        time.sleep(0.1)
    number += 1
print("last", number, flush=True)
sys.exit(int(code))
"""


def told(suite: Supervised, session_id: str) -> list[dict[str, Any]]:
    """The events of a telemetry file, torn lines left out."""
    return [json.loads(line) for line in events_of(read_bytes(suite.paths(session_id).telemetry)).splitlines()]


def assert_nothing_is_missing(suite: Supervised, within: str, after: str) -> None:
    """What two agents said, into log and telemetry: `within` ended on the full disk, `after` counted on through it."""
    texts = [event["text"] for event in told(suite, after) if event["type"] == "message"]
    assert texts == [str(number) for number in range(len(texts))]
    log = suite.output(after).decode()
    assert [line for line in log.splitlines() if line.startswith("line ")] == [f"line {text}" for text in texts]
    assert f"last {len(texts)}\n" in log
    assert b"in time\n" in suite.output(within)
    assert [event for event in told(suite, within) if event["type"] == "session"][-1]["exit_code"] == 7


def assert_told_to_its_end(suite: Supervised, plays: str) -> None:
    """Each line that a Claude Code could still write is in the telemetry, and how it ended."""
    events = told(suite, plays)
    assert [each.get("exit_code") for each in events if each["type"] in ("tap_ended", "session")][-2:] == [IO, IO]
    ats = [event["at"] for event in events if "at" in event]
    assert ats == sorted(ats) and max(ats) == read_bytes(suite.paths(plays).claude_stream).rfind(b"\n") + 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_full_disk_costs_no_record_no_event_and_no_exit_code_and_the_suite_goes_on(small_disk: Path) -> None:
    gates = {code: str(small_disk.parent / f"gate{code}") for code in (7, 8)}
    with Supervised(small_disk / "h") as suite:
        within = suite.launch(suite.shell(f"while [ ! -e {gates[7]} ]; do sleep 0.05; done; echo in time; exit 7"))
        after = suite.launch(suite.python(COUNTS), task=f"{gates[8]} 8")
        waits, plays = suite.create("rehearsal"), suite.create("rehearsal")
        suite.up()
        with following(suite, [within, after], 3, small_disk.parent) as clients:
            until(lambda: len(suite.events(after, "message")) > 3, "some events")
            until(lambda: clients.at_work() == 6, "all clients at work")
            agent = suite.run(within).agent
            suite.answer(
                "start", "--detach", plays, "--seconds", "60"
            )  # it ends sooner, by the first line without room
            until(lambda: any("at" in event for event in suite.events(plays)), "a line of its play")
            fill_page(f"{suite.layout.log_dir}/supervisor/supervisord.log")
            with full(small_disk):
                until(lambda: not os.statvfs(small_disk).f_bavail, "a full disk")
                Path(gates[7]).touch()
                until(lambda: not is_alive(agent), "the end of an agent")
                until(lambda: b"hive_session.writer" in who_runs(suite, plays), "the end of one that had to write")
                until(lambda: os.path.exists(f"{gates[8]}.full"), "an event for which there is no room")
                for words in (
                    ("create", "work"),
                    ("update-status", waits, "starting"),
                    ("emit", waits, json.dumps({"type": "note", "text": "x" * 2 * PAGE})),
                ):
                    assert_refused(suite, IO, "No space left", *words)
                assert suite.call("start", waits).returncode == IO
                assert_read(suite, after)
                until(lambda: is_told(suite, "no space left"), "what is amiss to be told")
                assert all(suite.answers(name) for name in SERVERS)
                come_back(suite, *SERVERS)
                assert suite.on_disk(within)["status"] == "running"  # nobody could write otherwise by now
                assert suite.runner(within), "somebody waits for room"
            assert suite.ended(within)["exit_code"] == 7
            assert suite.ended(plays)["exit_code"] == IO, "as its program says that it ends then"
            until(lambda: check(suite)[0] == 0, "all can do their work")
            Path(gates[8]).touch()
            assert suite.ended(after, 60)["exit_code"] == 8
            suite.all_gone(after)  # the last event comes after the record
            files = {each: read_bytes(suite.paths(each).telemetry) for each in (within, after)}
            assert min(clients.finish(files)) > 1
        assert_nothing_is_missing(suite, within, after)
        suite.all_gone(plays)
        assert_told_to_its_end(suite, plays)
        assert suite.answer("start", waits, "--seconds", "0") and suite.ended(waits)["status"] == "completed"
        assert suite.suite("status").returncode == 0
        rows = {each: row["status"] for each, row in suite.index().items()}
        assert rows == {within: "failed", after: "failed", waits: "completed", plays: "failed"}


@pytest.mark.timeout(240)
def test_a_read_only_workspace_is_read_and_served_on_and_every_writer_says_so_in_one_line(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    settings = {"HIVE_HEALTH_RETRY_AFTER_S": "1", "HIVE_HEALTH_EVERY_S": "0.5"}
    with Supervised(tmp_path / "h", **settings) as suite:
        ends = suite.launch(suite.shell(f"while [ ! -e {gate} ]; do sleep 0.05; done; exit 7"))
        done, waits = suite.create("rehearsal"), suite.create("rehearsal")
        suite.answer("start", done, "--seconds", "0")
        suite.up()
        agent, pids = suite.run(ends).agent, suite.pids(SERVERS)
        before = suite.index()
        with read_only(suite.layout.workspace):
            for each in (ends, done, waits):
                assert_read(suite, each)
            for words in (
                ("create", "work"),
                ("update-status", waits, "starting"),
                ("emit", done, '{"type":"note"}'),
                ("start", waits),
                ("start", "--detach", waits),
                ("run", "work"),
                ("resume", done),
                ("stop", waits),
                ("cleanup", "0"),
                ("reindex",),
            ):
                assert_refused(suite, NOT_PERMITTED, "Read-only file system", *words)
            until(lambda: is_told(suite, "read-only file system"), "what is amiss to be told")
            with Line(suite.ports["MCP_TCP_PORT"]) as line:
                answer = line.ask(request("tools/call", name="session_status", arguments={"session_id": done}))
                assert answer["result"]["status"] == "completed"
            assert suite.pids(SERVERS) == pids
            come_back(suite, MCP, RELAY)
            kill([suite.program(PROXY).pid])  # its children need directories: it cannot begin without
            until(lambda: suite.program(PROXY).state == "FATAL", "an end of its tries", 60)
            (why,) = until(lambda: amiss(suite), "what does not run to be told")
            assert "claude-flow-tcp" in why and "not writable" in why, why
            gate.touch()
            until(lambda: not is_alive(agent), "the end of an agent")
            until(lambda: b"hive_session.writer" in who_runs(suite, ends), "who records it")
            assert suite.index() == before
        record = suite.ended(ends)
        assert (record["status"], record["reason"], record["exit_code"]) == ("failed", "exit", 7)
        until(lambda: suite.answers(PROXY), "the proxy to be tried again, by hive-health", 60)
        until(lambda: check(suite) == (0, "all can do their work\n"), "a check that finds all well")
        suite.answer("start", waits, "--seconds", "0")
        assert suite.ended(waits)["status"] == "completed"
