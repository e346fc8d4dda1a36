"""One run of a session with real processes: its true end, its whole tree, and who may begin or end it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from hive_session.ondisk.liveness import run_is_alive
from tests.integration.hive import SCRIPTS, Hive, children, is_alive, read_bytes, stat_fields, until

# Leaves behind what an agent can leave behind, all deaf to SIGTERM, and writes their pids to $HIVE_OUTPUT_DIR/pids.
BROOD = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)

def note():
    with open(os.environ["HIVE_OUTPUT_DIR"] + "/pids", "a") as file:
        file.write(f"{os.getpid()}\\n")

def escape(clear):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            note()
            if clear:  # nothing in its environment says where it belongs
                os.execve("/bin/sh", ["sh", "-c", "trap '' TERM; while :; do sleep 0.2; done"], {"PATH": os.environ["PATH"]})
            time.sleep(1000)
        os._exit(0)
    os.wait()

note()
escape(clear=False)
escape(clear=True)
if os.fork() == 0:
    os.setpgid(0, 0)
    note()
    time.sleep(1000)
while len(open(os.environ["HIVE_OUTPUT_DIR"] + "/pids").read().split()) < 4:
    time.sleep(0.01)
print("brood is out", flush=True)
time.sleep(float(sys.argv[1]))
"""


@pytest.fixture
def hive(tmp_path: Path) -> Iterator[Hive]:
    with Hive(tmp_path / "hive") as hive:
        yield hive


def brood(hive: Hive, session_id: str) -> list[int]:
    """The pids of the agent BROOD and of all it left behind, once they are all out."""
    path = f"{hive.paths(session_id).output}/pids"
    return until(lambda: found if len(found := [*map(int, read_bytes(path).split())]) == 4 else None, "the brood")


def end(record: dict[str, object]) -> tuple[object, ...]:
    return tuple(record.get(name) for name in ("status", "reason", "exit_code", "signal"))


# -- the true end ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 0", ("completed", "exit", 0, None)),
        ("exit 7", ("failed", "exit", 7, None)),
        ("exit 255", ("failed", "exit", 255, None)),
        ("exit 143", ("failed", "exit", 143, None)),
        ("kill -KILL $$", ("failed", "signal", 137, 9)),
        ("kill -TERM $$", ("failed", "signal", 143, 15)),
        ("kill -SEGV $$", ("failed", "signal", 139, 11)),
    ],
)
def test_start_wait_and_record_tell_the_same_true_end(
    hive: Hive, script: str, expected: tuple[str, str, int, int | None]
) -> None:
    session_id = hive.create(hive.shell(script))
    started = hive.call("start", session_id)
    assert started.returncode == expected[2]
    assert end(hive.on_disk(session_id)) == expected
    assert hive.call("wait", session_id).returncode == expected[2]
    assert [event["status"] for event in hive.events(session_id, "session")] == [
        "created",
        "starting",
        "running",
        expected[0],
    ]
    assert hive.index()[session_id]["status"] == expected[0]


def test_an_agent_killed_from_outside_is_a_signal(hive: Hive) -> None:
    session_id = hive.launch(hive.shell("exec sleep 1000"))
    os.kill(hive.run(session_id).agent, signal.SIGKILL)
    assert end(hive.ended(session_id)) == ("failed", "signal", 137, 9)
    assert hive.all_gone()


@pytest.mark.parametrize(
    ("argv", "code", "word"),
    [(["/no/such/program"], 127, "No such file"), (["/etc/passwd", "{task}"], 126, "Permission denied")],
)
def test_an_agent_that_cannot_be_run_is_a_spawn_error_with_the_reason(
    hive: Hive, argv: list[str], code: int, word: str
) -> None:
    session_id = hive.create(hive.agent(argv))
    started = hive.call("start", "--detach", session_id)
    assert started.returncode == code
    assert word in started.stderr.decode()
    assert end(hive.on_disk(session_id)) == ("failed", "spawn_error", code, None)
    assert word in hive.on_disk(session_id)["detail"]
    assert "running" not in [event["status"] for event in hive.events(session_id, "session")]


def test_the_task_and_the_arguments_of_start_reach_the_agent_byte_for_byte(hive: Hive) -> None:
    code = "import sys; sys.stdout.buffer.write(repr(sys.argv[1:]).encode())"
    task, words = "a 'b' \"c\" $(d) `e` \\ * \n-x — 🐝", ("--flag", "", "two words", "$HOME")
    session_id = hive.create(hive.python(code), task=task)
    assert hive.call("start", session_id, *words).returncode == 0
    assert hive.output(session_id).decode().endswith(repr([task, *words]))


def test_the_agent_reads_nothing_and_stands_in_its_own_directory(hive: Hive) -> None:
    session_id = hive.create(hive.shell("cat; pwd; echo $HIVE_SESSION_ID $HIVE_ATTEMPT; test -d $TMPDIR && echo tmp"))
    assert hive.call("start", session_id).returncode == 0
    assert hive.output(session_id).decode().splitlines() == [hive.paths(session_id).dir, f"{session_id} 1", "tmp"]


def test_a_caller_that_ignores_sigchld_costs_no_exit_code(hive: Hive) -> None:
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    for agent, words in ((hive.shell("exit 7"), ()), ("rehearsal", ("--seconds", "0", "--exit-code", "7"))):
        session_id = hive.create(agent)
        argv = [sys.executable, "-c", ignoring, f"{SCRIPTS}/hive-session", "start", session_id, *words]
        assert subprocess.run(argv, env=hive.env, capture_output=True, timeout=30).returncode == 7
        assert end(hive.on_disk(session_id)) == ("failed", "exit", 7, None)


# -- the whole tree --------------------------------------------------------------------------------------------------


def test_a_timeout_ends_everything_the_agent_started_whatever_it_ignores(tmp_path: Path) -> None:
    with Hive(tmp_path / "hive", HIVE_STOP_GRACE_S="0.5") as hive:
        # By then all of it is out.
        session_id = hive.create(hive.python(BROOD), "--timeout", "5", task="1000")
        assert hive.call("start", session_id).returncode == 124
        record = hive.on_disk(session_id)
        assert end(record) == ("failed", "timeout", 137, 9)
        pids = brood(hive, session_id)
        assert [pid for pid in pids if is_alive(pid)] == []
        assert [pid for pid in pids if stat_fields(pid)] == [], "zombies"
        assert hive.all_gone()


def test_an_agent_has_the_grace_to_end_well(tmp_path: Path) -> None:
    with Hive(tmp_path / "hive", HIVE_STOP_GRACE_S="20") as hive:
        agent = hive.shell("trap 'echo saved; exit 5' TERM; echo up; while :; do sleep 0.05; done")
        session_id = hive.create(agent, "--timeout", "3")  # by then it has set its trap
        assert hive.call("start", session_id).returncode == 124
        assert end(hive.on_disk(session_id)) == ("failed", "timeout", 5, None)
        assert hive.output(session_id).endswith(b"saved\n")


def test_what_an_agent_leaves_behind_ends_with_it(hive: Hive) -> None:
    session_id = hive.launch(hive.python(BROOD), task="0.3")
    pids = brood(hive, session_id)
    assert end(hive.ended(session_id)) == ("completed", "exit", 0, None)
    assert [pid for pid in pids if stat_fields(pid)] == []


def test_no_zombie_stands_below_a_run(hive: Hive) -> None:
    agent = hive.python(
        "import os, time\n"
        "for _ in range(20):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork(): os._exit(0)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "print('done', flush=True); time.sleep(1000)"
    )
    session_id = hive.launch(agent)
    until(lambda: b"done" in hive.output(session_id), "the agent's word")
    run = hive.run(session_id)
    until(lambda: children(run.runner) == [run.witness], "the runner to have collected what came to it")


def test_a_run_inside_a_run_lives_on_by_itself(hive: Hive) -> None:
    inner_agent = hive.shell("echo inner is up; exec sleep 1000")
    inner = hive.create(inner_agent)
    outer = hive.create(hive.shell(f"hive-session start --detach {inner}"))
    assert hive.call("start", outer).returncode == 0
    assert not run_is_alive(hive.paths(outer).run_lock), "the inner run holds the outer one's run.lock"
    assert hive.record(inner)["status"] == "running"
    run = hive.run(inner)
    assert hive.answer("stop", inner) == b"stopped\n"
    assert not is_alive(run.agent)


def test_run_lock_is_held_by_the_whole_tree(hive: Hive) -> None:
    session_id = hive.launch(hive.shell("exec sleep 1000"))
    run = hive.run(session_id)
    for pid in (run.runner, run.witness):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not (is_alive(run.runner) or is_alive(run.witness)), "their end")
    assert run_is_alive(hive.paths(session_id).run_lock)
    assert hive.record(session_id)["status"] == "running"


# -- beginning -------------------------------------------------------------------------------------------------------


def test_a_second_start_is_refused_while_the_first_runs(hive: Hive) -> None:
    session_id = hive.launch(hive.shell("exec sleep 1000"))
    refused = hive.call("start", session_id)
    assert refused.returncode == 75
    assert session_id in refused.stderr.decode()
    assert hive.on_disk(session_id)["attempt"] == 1


def test_two_starts_at_once_make_one_child(hive: Hive) -> None:
    for _ in range(3):
        session_id = hive.create(hive.shell('echo x >> "$HIVE_OUTPUT_DIR/starts"; exec sleep 1000'))
        calls = [hive.begin("start", "--detach", session_id) for _ in range(2)]
        assert sorted(call.wait(timeout=30) for call in calls) == [0, 75]
        hive.run(session_id)
        starts = partial(read_bytes, f"{hive.paths(session_id).output}/starts")
        assert until(starts, "a start") == b"x\n"
        assert hive.answer("stop", session_id) == b"stopped\n"
        assert starts() == b"x\n"


def test_an_ended_session_is_not_started_but_resumed(hive: Hive) -> None:
    agent = hive.shell('shift; echo "$HIVE_ATTEMPT $*" >> attempts; cat attempts; exit $((3 - HIVE_ATTEMPT))')
    session_id = hive.create(agent)
    assert hive.call("start", session_id, "--keep", "it").returncode == 2
    refused = hive.call("start", session_id)
    assert refused.returncode == 1
    assert f"hive-session resume {session_id}" in refused.stderr.decode()
    assert hive.on_disk(session_id)["attempt"] == 1
    assert hive.call("resume", session_id).returncode == 1
    record = hive.on_disk(session_id)
    assert (record["attempt"], *end(record)) == (2, "failed", "exit", 1, None)
    assert read_bytes(f"{hive.paths(session_id).dir}/attempts") == b"1 --keep it\n2 --keep it\n"
    assert hive.output(session_id) == b"1 --keep it\n1 --keep it\n2 --keep it\n"


def test_resume_leaves_nothing_of_the_last_attempts_end(hive: Hive) -> None:
    session_id = hive.launch(hive.shell("[ $HIVE_ATTEMPT = 2 ] || exec sleep 1000; exit 0"))
    hive.run(session_id)
    hive.answer("stop", session_id)
    assert hive.on_disk(session_id)["reason"] == "cancelled"
    assert hive.call("resume", session_id).returncode == 0
    assert end(hive.on_disk(session_id)) == ("completed", "exit", 0, None)


def test_detach_returns_once_it_runs(hive: Hive) -> None:
    session_id = hive.create(hive.shell("exec sleep 1000"))
    call = hive.call("start", "--detach", session_id)
    assert call.returncode == 0
    assert call.stdout == b""
    assert call.stderr.decode().splitlines()[-1] == f"{session_id} running"
    assert hive.on_disk(session_id)["status"] == "running"
    assert is_alive(hive.run(session_id).agent)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_killing_the_cli_kills_nothing(hive: Hive, number: signal.Signals) -> None:
    session_id = hive.create(hive.shell("echo up; while [ ! -e go ]; do sleep 0.05; done; echo ended"))
    call = hive.begin("start", session_id)
    until(lambda: hive.output(session_id) == b"up\n", "the agent's first word")
    run = hive.run(session_id)
    call.send_signal(number)
    call.wait(timeout=30)
    assert is_alive(run.agent) and is_alive(run.runner)
    Path(hive.paths(session_id).dir, "go").touch()
    assert end(hive.ended(session_id)) == ("completed", "exit", 0, None)
    assert hive.output(session_id) == b"up\nended\n"


# -- ending ----------------------------------------------------------------------------------------------------------


def test_stop_ends_the_tree_and_calls_it_cancelled(hive: Hive) -> None:
    session_id = hive.launch(hive.python(BROOD), task="1000")
    pids = brood(hive, session_id)
    assert hive.answer("stop", "--grace", "0.2", session_id) == b"stopped\n"
    record = hive.on_disk(session_id)
    assert end(record) == ("failed", "cancelled", 137, 9)
    assert record["rusage"]["max_rss_bytes"] > 0, "the runner itself wrote the end"
    assert [pid for pid in pids if stat_fields(pid)] == []
    assert hive.answer("stop", session_id) == b"already_stopped\n"
    assert end(hive.on_disk(session_id)) == end(record)


def test_stop_takes_no_longer_than_it_must(tmp_path: Path) -> None:
    with Hive(tmp_path / "hive", HIVE_STOP_GRACE_S="1000") as hive:
        session_id = hive.launch(hive.shell("trap '' TERM; echo deaf; while :; do sleep 0.1; done"))
        until(lambda: b"deaf" in hive.output(session_id), "the agent's word")
        assert hive.answer("stop", "--grace", "0.3", session_id) == b"stopped\n"
        assert end(hive.on_disk(session_id)) == ("failed", "cancelled", 137, 9)


def test_a_session_that_never_started_is_cancelled(hive: Hive) -> None:
    session_id = hive.create(hive.shell("exit 0"))
    assert hive.answer("stop", session_id) == b"stopped\n"
    assert end(hive.on_disk(session_id)) == ("failed", "cancelled", None, None)
    assert hive.call("start", session_id).returncode == 1


def test_an_agent_that_ends_well_when_asked_to_was_cancelled_all_the_same(hive: Hive) -> None:
    session_id = hive.launch(hive.shell("trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done"))
    until(lambda: b"up" in hive.output(session_id), "the agent's word")
    assert hive.answer("stop", "--grace", "30", session_id) == b"stopped\n"
    assert end(hive.on_disk(session_id)) == ("failed", "cancelled", 0, None)
    assert hive.call("wait", session_id).returncode == 143


def test_a_signal_without_a_stop_request_is_an_interruption(tmp_path: Path) -> None:
    with Hive(tmp_path / "hive", HIVE_STOP_GRACE_S="30") as hive:
        session_id = hive.launch(hive.shell("exec sleep 1000"))
        os.kill(hive.run(session_id).runner, signal.SIGTERM)
        assert end(hive.ended(session_id)) == ("failed", "interrupted", 143, 15)
        assert hive.all_gone()


def test_signals_after_the_end_of_the_agent_do_not_keep_it_from_the_record(hive: Hive) -> None:
    """The runner sweeps for up to two seconds here, then becomes the writer: SIGTERM finds it in each of its forms."""
    session_id = hive.launch(hive.python(BROOD), task="0.1")
    agent, runner = brood(hive, session_id)[0], hive.runner(session_id)
    own = read_bytes(f"/proc/{runner}/cmdline")
    until(lambda: not is_alive(agent), "the end of the agent")
    until(lambda: own not in [read_bytes(f"/proc/{each}/cmdline") for each in children(runner)], "that of the witness")

    def pester() -> bool:
        if pid := hive.runner(session_id):
            with suppress(ProcessLookupError):  # it ends at last
                os.kill(pid, signal.SIGTERM)
        return bool(hive.on_disk(session_id)["status"] == "completed")

    until(pester, "the record")
    assert "cpu_user_ms" in hive.on_disk(session_id)["rusage"]


def test_wait_on_a_session_that_has_not_started_waits_for_its_end(hive: Hive) -> None:
    session_id = hive.create(hive.shell("exit 7"))
    waiting = hive.begin("wait", session_id)
    assert hive.call("start", "--detach", session_id).returncode in (0, 7)
    assert waiting.wait(timeout=20) == 7


# -- many, and elsewhere ---------------------------------------------------------------------------------------------


def test_workspace_on_disk_and_outputs_and_logs_elsewhere(tmp_path: Path) -> None:
    elsewhere = Path(tempfile.mkdtemp(prefix="hive-tests-", dir="/dev/shm"))
    try:
        assert os.stat(elsewhere).st_dev != os.stat(tmp_path).st_dev
        with Hive(tmp_path / "hive", output_root=elsewhere / "out", log_dir=elsewhere / "log") as hive:
            session_id = hive.create(hive.shell('echo made > "$HIVE_OUTPUT_DIR/made"; echo said; exit 4'))
            assert hive.call("start", session_id).stdout.endswith(b"said\n")
            assert end(hive.on_disk(session_id)) == ("failed", "exit", 4, None)
            assert (elsewhere / "out" / session_id / "made").read_text() == "made\n"
            assert Path(hive.paths(session_id).dir, "output", "made").read_text() == "made\n"
            assert hive.output(session_id) == b"said\n"
            assert hive.call("resume", session_id).returncode == 4
            assert hive.output(session_id) == b"said\nsaid\n"
            assert hive.all_gone()
    finally:
        shutil.rmtree(elsewhere)


def test_starting_many_at_once_gives_each_its_own_end(hive: Hive) -> None:
    agent = hive.shell('exit "$1"')
    codes = dict(zip([hive.create(agent, task=str(code)) for code in range(8)], range(8), strict=True))
    seen: dict[str, int] = {}
    threads = [
        threading.Thread(target=lambda at=at: seen.update({at: hive.call("start", at).returncode})) for at in codes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == codes
    assert {each: row["status"] for each, row in hive.index().items()} == {
        each: "failed" if code else "completed" for each, code in codes.items()
    }
