"""What a crash of the whole container leaves, and what the next start makes of it: each of "Failure Modes and Recovery"."""

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hive_session.lifecycle import RESTARTS_MAX
from tests.integration.console import Console
from tests.integration.hive import CALL_S, children, is_alive, kill, read_bytes, until

FOREVER = "exec sleep 1000"
ASKS = ("--restart", "on-interrupt")
OBEY = 'while read -r line; do eval "$line"; done'


class Container:
    """A pid namespace with a /proc of its own: what runs in it dies with its process 1, as in a container."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._calls = 0
        self._place = Path(console.root)
        own = [] if os.geteuid() == 0 else ["--user", "--map-current-user"]
        self._process = subprocess.Popen(
            ["unshare", *own, "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", OBEY],
            stdin=subprocess.PIPE,
            env=console.env,
        )

    def do(self, *words: str) -> tuple[int, str]:
        """(exit code, stdout) of `hive-session WORDS…`, called in the container."""
        self._calls += 1
        name = self._place / f"call-{self._process.pid}-{self._calls}"
        call = f"{shlex.join(['hive-session', *words])} </dev/null >{name}.out 2>{name}.err"
        line = f"{call}; echo $? >{name}.tmp; mv {name}.tmp {name}.rc\n"
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()
        until(lambda: os.path.exists(f"{name}.rc"), f"the end of {words}", CALL_S)
        return int(read_bytes(f"{name}.rc")), read_bytes(f"{name}.out").decode()

    def answer(self, *words: str) -> str:
        """The stdout of a call that must go well."""
        code, out = self.do(*words)
        assert code == 0, f"{words}: {code}"
        return out

    def crash(self) -> None:
        """SIGKILL to everything in it."""
        kill(children(self._process.pid))
        until(lambda: not self._console.processes(), "the end of all processes of the container")
        self._process.wait(timeout=10)
        assert self._process.stdin is not None
        self._process.stdin.close()


@contextmanager
def container(console: Console) -> Iterator[Container]:
    """A container that crashes at the latest where the block ends."""
    found = Container(console)
    try:
        yield found
    finally:
        if found._process.poll() is None:
            found.crash()


def crashed(console: Console, *sessions: tuple[str, tuple[str, ...]]) -> list[str]:
    """The ids of sessions (agent, options) that were started in a container, which then crashed."""
    with container(console) as inside:
        ids = [console.create(agent, *options) for agent, options in sessions]
        for each in ids:
            inside.answer("start", "--detach", each)
    return ids


def end(record: dict[str, Any]) -> tuple[Any, ...]:
    return record["status"], record.get("reason")


# -- container crash ---------------------------------------------------------------------------------------------------


def test_after_a_crash_of_the_container_all_is_marked_and_what_asked_for_it_goes_on(console: Console) -> None:
    agent = console.shell(FOREVER)
    with container(console) as inside:
        well = console.create(console.shell("echo done"))
        inside.answer("start", well)
        before = console.on_disk(well)
        plain, asks = console.create(agent), console.create(agent, *ASKS)
        for each in (plain, asks):
            inside.answer("start", "--detach", each)
    with container(console) as inside:
        report = json.loads(inside.answer("reconcile", "--resume", "--json"))
        assert report["ended"] == {plain: "failed: interrupted", asks: "failed: interrupted"}
        assert (report["resumed"], report["not_resumed"], report["given_up"]) == ([asks], {}, [])
        until(lambda: console.on_disk(asks)["status"] == "running", "the second attempt")
        assert inside.answer("status", asks) == "running\n"
        record = console.on_disk(asks)
        assert (record["attempt"], record["restarts"], record["restart"]) == (2, 1, "on-interrupt")
        assert end(console.on_disk(plain)) == ("failed", "interrupted")
        assert console.on_disk(well) == before
        twice = ["created", "starting", "running", "failed", "starting", "running"]
        until(lambda: [event["status"] for event in console.events(asks, "session")] == twice, "its telemetry")
        assert inside.answer("logs", plain).count("Starting session:") == 1
        inside.answer("resume", "--detach", plain)
        assert inside.answer("stop", asks) == "stopped\n"
        assert end(console.on_disk(asks)) == ("failed", "cancelled")
        assert "restarts" not in console.on_disk(plain)


def test_the_report_is_left_in_a_file_and_in_the_audit_file(console: Console) -> None:
    (session_id,) = crashed(console, (console.shell(FOREVER), ()))
    with container(console) as inside:
        report = json.loads(inside.answer("reconcile", "--json"))
        left = json.loads(read_bytes(console.layout.reconciled))
        assert {name: left[name] for name in report} == report
        assert report["ended"] == {session_id: "failed: interrupted"}
        assert [json.loads(line) for line in read_bytes(console.layout.audit).splitlines()] == [left]
        inside.answer("reconcile")
    again = json.loads(read_bytes(console.layout.reconciled))
    assert again["ended"] == {} and again["reconciled"] > left["reconciled"]
    assert len(read_bytes(console.layout.audit).splitlines()) == 1, "nothing was done, so nothing is told"


def test_reconcile_by_itself_starts_nothing(console: Console) -> None:
    (session_id,) = crashed(console, (console.shell(FOREVER), ASKS))
    with container(console) as inside:
        assert "resumed" not in json.loads(inside.answer("reconcile", "--json"))
        assert end(console.on_disk(session_id)) == ("failed", "interrupted")
        assert json.loads(inside.answer("reconcile", "--resume", "--json"))["resumed"] == [session_id]
        assert json.loads(inside.answer("reconcile", "--resume", "--json"))["resumed"] == []


def test_what_is_resumed_waits_for_a_slot_like_everybody(tmp_path: Path) -> None:
    with Console(tmp_path / "console", MAX_CONCURRENT_SESSIONS="1") as console:
        agent = console.shell(FOREVER)
        ids = crashed(console, *[(agent, ASKS)] * 3)
        with container(console) as inside:
            assert json.loads(inside.answer("reconcile", "--resume", "--json"))["resumed"] == ids

            def running() -> list[str]:
                return [each for each in ids if console.on_disk(each)["status"] == "running"]

            until(lambda: len(console.processes()) >= 3 and len(running()) == 1, "one that runs")
            assert sorted(console.on_disk(each)["status"] for each in ids) == ["running", "starting", "starting"]
            first = running()
            inside.answer("stop", *first)
            until(lambda: running() and running() != first, "the next one")


@pytest.mark.timeout(150)
def test_a_crash_loop_ends_after_as_many_attempts_as_are_allowed(console: Console) -> None:
    (session_id,) = crashed(console, (console.shell(FOREVER), ASKS))
    for number in range(1, RESTARTS_MAX + 1):
        with container(console) as inside:
            assert json.loads(inside.answer("reconcile", "--resume", "--json"))["resumed"] == [session_id]
            assert console.on_disk(session_id)["restarts"] == number
    for _ in range(2):
        with container(console) as inside:
            report = json.loads(inside.answer("reconcile", "--resume", "--json"))
            assert (report["resumed"], report["given_up"]) == ([], [session_id])
    record = console.on_disk(session_id)
    assert end(record) == ("failed", "interrupted") and "interrupted 6 times in a row" in record["detail"]
    console.answer("resume", "--detach", session_id)
    assert "restarts" not in console.on_disk(session_id) and "detail" not in console.on_disk(session_id)


def test_a_run_ended_by_the_machine_s_shutdown_goes_on_and_one_that_was_stopped_does_not(console: Console) -> None:
    agent = console.shell(FOREVER)
    shut, stopped = console.launch(agent, *ASKS), console.launch(agent, *ASKS)
    os.kill(console.run(shut).runner, signal.SIGTERM)
    assert end(console.ended(shut)) == ("failed", "interrupted")
    console.answer("stop", stopped)
    assert json.loads(console.answer("reconcile", "--resume", "--json"))["resumed"] == [shut]
    until(lambda: console.on_disk(shut)["status"] == "running", "the second attempt")


def test_one_that_is_stopped_after_it_was_interrupted_stays_so(console: Console) -> None:
    (session_id,) = crashed(console, (console.shell(FOREVER), ASKS))
    assert console.answer("stop", session_id) == b"already_stopped\n"
    assert json.loads(console.answer("reconcile", "--resume", "--json"))["resumed"] == []
    assert end(console.on_disk(session_id)) == ("failed", "interrupted")


def test_two_reconciles_at_once_resume_a_session_once(console: Console) -> None:
    ids = crashed(console, *[(console.shell(FOREVER), ASKS)] * 3)
    calls = [console.begin("reconcile", "--resume", "--json") for _ in range(2)]
    reports = [json.loads(call.communicate(timeout=CALL_S)[0]) for call in calls]
    assert sorted(each for report in reports for each in report["resumed"]) == sorted(ids)
    for each in ids:
        until(lambda each=each: console.on_disk(each)["status"] == "running", "the second attempt")  # type: ignore[misc]
        assert console.on_disk(each)["attempt"] == 2 and b"attempt" not in console.output(each)


def test_one_that_cannot_be_resumed_keeps_no_other_from_it(console: Console) -> None:
    agent, other = console.shell(FOREVER), console.shell(FOREVER)
    ids = crashed(console, (agent, ASKS), (other, ASKS))
    settings = console.config.read_text(encoding="utf-8").replace(f"[agents.{agent}]", "[agents.renamed]")
    console.config.write_text(settings, encoding="utf-8")
    report = json.loads(console.answer("reconcile", "--resume", "--json"))
    assert report["resumed"] == ids[1:] and list(report["not_resumed"]) == ids[:1]
    assert agent in report["not_resumed"][ids[0]]
    until(lambda: console.on_disk(ids[1])["status"] == "running", "the other one")


def test_a_resumed_agent_is_told_nothing_of_supervisord(console: Console) -> None:
    (session_id,) = crashed(console, (console.shell('env; echo "all of attempt $HIVE_ATTEMPT"; exec sleep 1000'), ASKS))
    console.answer("reconcile", "--resume", env={"SUPERVISOR_SERVER_URL": "unix:///run/s.sock", "KEPT": "kept"})
    until(lambda: b"\nall of attempt 2\n" in console.output(session_id), "its environment")
    assert b"KEPT=kept" in console.output(session_id)
    assert b"SUPERVISOR" not in console.output(session_id)


@pytest.mark.parametrize("word", ["always", "", "On-Interrupt"])
def test_other_words_for_restart_are_refused(console: Console, word: str) -> None:
    done = console.do("create", "--restart", word, "work")
    assert done.returncode == 2 and b"one of: no, on-interrupt" in done.stderr
    assert console.index() == {}


# -- what goes on without its runner -----------------------------------------------------------------------------------


def test_an_agent_without_runner_and_witness_is_reported_and_left_alone(console: Console) -> None:
    orphaned, watched = console.launch(console.shell(FOREVER)), console.launch(console.shell(FOREVER))
    run = console.run(orphaned)
    kill([run.witness, run.runner])
    until(lambda: not is_alive(run.runner) and not is_alive(run.witness), "their end")
    report = json.loads(console.answer("reconcile", "--json"))
    assert report["orphaned"] == {orphaned: [run.agent]}
    assert report["running"] == sorted([orphaned, watched]) and report["strays"] == {}
    assert f"{orphaned}  orphaned: process {run.agent} without a runner" in console.answer("reconcile").decode()
    assert is_alive(run.agent)
    assert f"session {orphaned} goes on without runner and witness" in console.answer("doctor").decode()
    console.answer("stop", orphaned)
    assert json.loads(console.answer("reconcile", "--json"))["orphaned"] == {}


def test_a_run_whose_witness_took_over_is_not_orphaned(console: Console) -> None:
    session_id = console.launch(console.shell(FOREVER))
    kill([console.run(session_id).runner])
    report = json.loads(console.answer("reconcile", "--json"))
    assert (report["running"], report["orphaned"]) == ([session_id], {})


# -- database lock -----------------------------------------------------------------------------------------------------

LOCKS = """
import os, sqlite3, sys, time
base = sqlite3.connect(".swarm/memory.db", timeout=0.2, isolation_level=None)
base.execute("CREATE TABLE IF NOT EXISTS notes (text)")
base.execute("BEGIN EXCLUSIVE")
base.execute("INSERT INTO notes VALUES (?)", (sys.argv[1],))
print("locked", flush=True)
while not os.path.exists("go"): time.sleep(0.02)
base.execute("COMMIT")
print(base.execute("SELECT text FROM notes").fetchall(), flush=True)
"""


def test_sessions_that_lock_their_databases_at_once_are_not_in_each_other_s_way(console: Console) -> None:
    agent = console.python(LOCKS)
    ids = [console.launch(agent, task=f"task {number}") for number in range(4)]
    until(lambda: all(b"locked" in console.output(each) for each in ids), "all to hold the lock of their database")
    for each in ids:
        Path(console.paths(each).dir, "go").touch()
    for number, each in enumerate(ids):
        assert end(console.ended(each)) == ("completed", "exit")
        assert f"[('task {number}',)]".encode() in console.output(each)
    assert not os.path.exists(console.layout.shared_database)


# -- zombies -----------------------------------------------------------------------------------------------------------

ORPHANS = """
import os, time
for number in range(20):
    if os.fork() == 0:
        os.setsid()
        if os.fork(): os._exit(0)
        while not os.path.exists("end"): time.sleep(0.02)
        os._exit(0)
    os.wait()
print("up", flush=True)
time.sleep(1000)
"""


def zombies(inside: int) -> list[str]:
    """The states of all zombies in the namespace of process 1 `inside`."""
    done = subprocess.run(
        ["nsenter", "-t", str(inside), "-p", "-m", "ps", "-eo", "stat,pid,comm", "--no-headers"],
        capture_output=True,
        text=True,
        timeout=CALL_S,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if line.startswith("Z")]


@pytest.mark.root
def test_supervisord_as_process_1_collects_what_nobody_else_does(console: Console, scripts: Path) -> None:
    """The runner is killed and its witness is no subreaper: what escaped from the tree falls to process 1."""
    settings = Path(console.root, "supervisord.conf")
    settings.write_text(
        f"[supervisord]\nnodaemon=true\nuser=root\nlogfile=/dev/null\nlogfile_maxbytes=0\n"
        f"pidfile={console.root}/pid\nchildlogdir={console.root}\n",
        encoding="utf-8",
    )
    outer = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", scripts / "supervisord", "-c", settings],
        env=console.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        first = until(lambda: children(outer.pid), "process 1")[0]
        until(lambda: os.path.exists(f"{console.root}/pid"), "supervisord")
        session_id = console.create(console.python(ORPHANS))
        enter = ["nsenter", "-t", str(first), "-p", "-m", f"{scripts}/hive-session", "start", "--detach", session_id]
        subprocess.run(enter, env=console.env, check=True, timeout=CALL_S, capture_output=True)
        until(lambda: b"up" in console.output(session_id), "its children")
        runner = next(pid for pid in children(first) if b"hive_session.runner" in read_bytes(f"/proc/{pid}/cmdline"))
        kill([runner])
        until(lambda: not is_alive(runner), "the end of the runner")
        until(lambda: len(children(first)) == 21, "the witness and the 20 that escaped, as children of process 1")
        Path(console.paths(session_id).dir, "end").touch()
        until(lambda: len(children(first)) == 1, "the end of those 20")
        until(lambda: not zombies(first), "the end of all zombies")
    finally:
        kill(children(outer.pid))
        outer.wait(timeout=10)
