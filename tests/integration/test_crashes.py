"""SIGKILL of anything at any moment: the truth survives, and nothing runs on that should not."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hive_session.ondisk.liveness import run_is_alive
from hive_session.stream import Stream
from tests.integration.hive import SCRIPTS, Hive, children, is_alive, kill, read_bytes, until

FOREVER = "exec sleep 1000"

# Agents that kill their own runner, at once or when it asks them to end, so that no test comes too late. SIGKILL alone ends them.
KILLS_ITS_RUNNER = {
    "before": 'read runner rest < run.lock; trap : TERM; kill -KILL "$runner"; echo killed; while :; do sleep 0.1; done',
    "after": """read runner rest < run.lock
trap 'trap : TERM; kill -KILL "$runner"; echo killed' TERM
echo ready
while :; do sleep 0.1; done""",
}


@pytest.fixture
def hive(tmp_path: Path) -> Iterator[Hive]:
    with Hive(tmp_path / "hive") as hive:
        yield hive


def end(record: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(record.get(name) for name in ("status", "reason", "exit_code", "signal"))


def kill_and_see_gone(*pids: int) -> None:
    kill(pids)
    until(lambda: not any(map(is_alive, pids)), f"the end of {pids}")


# -- the runner --------------------------------------------------------------------------------------------------------


def test_the_witness_takes_a_killed_runners_place(hive: Hive) -> None:
    # So much work that the kernel's clock ticks within it: of a few milliseconds it may call none the user's.
    session_id = hive.launch(hive.shell('while [ ! -e go ]; do sleep 0.05; done; : "$(seq 2000000)"; exit 9'))
    run = hive.run(session_id)
    kill_and_see_gone(run.runner)
    # The kernel tells it at once: by itself it would look after 30 s.
    until(lambda: hive.runner(session_id) == run.witness, "the witness's pid in run.lock")
    assert hive.record(session_id)["status"] == "running"
    seen = len(hive.events(session_id, "resources"))
    until(lambda: len(hive.events(session_id, "resources")) > seen, "a sample by the witness")
    Path(hive.paths(session_id).dir, "go").touch()
    record = hive.ended(session_id)
    assert end(record) == ("failed", "exit", 9, None)
    assert record["rusage"]["cpu_user_ms"] > 0
    assert hive.all_gone(session_id)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_timeout_holds_though_the_runner_is_killed_before_or_in_its_grace(tmp_path: Path, moment: str) -> None:
    with Hive(tmp_path / "hive", HIVE_STOP_GRACE_S="1.5") as hive:
        session_id = hive.launch(hive.shell(KILLS_ITS_RUNNER[moment]), "--timeout", "4")
        assert end(hive.ended(session_id)) == ("failed", "timeout", 137, 9)
        assert b"killed\n" in hive.output(session_id)
        assert hive.all_gone()


def test_stop_ends_a_run_whose_runner_was_killed(hive: Hive) -> None:
    session_id = hive.launch(hive.shell(FOREVER))
    run = hive.run(session_id)
    kill_and_see_gone(run.runner)
    assert hive.answer("stop", session_id) == b"stopped\n"
    assert end(hive.on_disk(session_id))[:2] == ("failed", "cancelled")
    assert hive.all_gone()


def test_a_runner_killed_while_it_stops_still_gives_a_cancelled_session(hive: Hive) -> None:
    session_id = hive.launch(hive.shell(KILLS_ITS_RUNNER["after"]))
    until(lambda: b"ready\n" in hive.output(session_id), "the agent's word")
    assert hive.answer("stop", session_id) == b"stopped\n"
    assert b"killed\n" in hive.output(session_id)
    record = hive.on_disk(session_id)
    assert end(record) == ("failed", "cancelled", 137, 9)
    assert record.get("rusage"), "the witness did not go on with it: only who collects the agent knows what it used"
    assert hive.all_gone()


def test_what_escaped_from_the_tree_ends_with_a_run_whose_runner_was_killed(hive: Hive) -> None:
    code = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork(): os._exit(0)
    open("escaped", "w").write(str(os.getpid()) + "\\n")
    time.sleep(1000)
os.wait()
while not os.path.exists("go"): time.sleep(0.02)
"""
    session_id = hive.launch(hive.python(code))
    place = hive.paths(session_id).dir
    escaped = int(until(lambda: read_bytes(f"{place}/escaped").strip(), "the escape"))
    kill_and_see_gone(hive.run(session_id).runner)
    assert is_alive(escaped)
    Path(place, "go").touch()
    assert end(hive.ended(session_id)) == ("completed", "exit", 0, None)
    assert not is_alive(escaped)


def test_a_runner_killed_before_its_agent_runs_leaves_a_lost_session(tmp_path: Path) -> None:
    with Hive(tmp_path / "hive", MAX_CONCURRENT_SESSIONS="1") as hive:
        hive.launch(hive.shell(FOREVER))
        session_id = hive.launch(hive.shell(FOREVER))
        kill_and_see_gone(until(lambda: hive.runner(session_id), "a queueing runner"))
        assert end(hive.record(session_id)) == ("failed", "lost", None, None)


# -- the witness -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "expected"),
    [("exit 5", ("failed", "exit", 5, None)), ("kill -KILL $$", ("failed", "signal", 137, 9))],
)
def test_the_runner_collects_the_agent_of_a_killed_witness(
    hive: Hive, script: str, expected: tuple[str, str, int, int | None]
) -> None:
    session_id = hive.launch(hive.shell(f"while [ ! -e go ]; do sleep 0.05; done; {script}"))
    run = hive.run(session_id)
    kill_and_see_gone(run.witness)
    assert hive.record(session_id)["status"] == "running"
    Path(hive.paths(session_id).dir, "go").touch()
    assert end(hive.ended(session_id)) == expected
    assert json.loads(read_bytes(hive.paths(session_id).exit))["exit_code"] == expected[2]
    assert hive.all_gone()


def test_stop_and_timeout_work_without_a_witness(hive: Hive) -> None:
    session_id = hive.launch(hive.shell(FOREVER), "--timeout", "5")  # time enough to kill the witness before
    kill_and_see_gone(hive.run(session_id).witness)
    assert end(hive.ended(session_id)) == ("failed", "timeout", 143, 15)
    assert hive.all_gone()


def test_without_runner_and_witness_the_agent_goes_on_and_nobody_claims_to_know_its_end(hive: Hive) -> None:
    session_id = hive.launch(hive.shell("while [ ! -e go ]; do sleep 0.05; done; echo the end"))
    run = hive.run(session_id)
    kill_and_see_gone(run.witness, run.runner)
    assert is_alive(run.agent)
    assert hive.answer("status", session_id) == b"running\n"
    Path(hive.paths(session_id).dir, "go").touch()
    until(lambda: not run_is_alive(hive.paths(session_id).run_lock), "the end of the agent")
    assert hive.answer("status", session_id) == b"failed\n"
    assert end(hive.on_disk(session_id)) == ("failed", "lost", None, None)
    assert hive.output(session_id) == b"the end\n"
    assert hive.call("wait", session_id).returncode == 1


def test_stop_ends_an_agent_that_has_neither_runner_nor_witness(hive: Hive) -> None:
    session_id = hive.launch(hive.shell(FOREVER))
    run = hive.run(session_id)
    kill_and_see_gone(run.witness, run.runner)
    assert hive.answer("stop", session_id) == b"stopped\n"
    assert end(hive.on_disk(session_id))[:2] == ("failed", "cancelled")
    assert not is_alive(run.agent)


def test_stop_ends_strays_of_a_session_that_is_over(hive: Hive) -> None:
    """The agent has closed all it inherited, so nothing holds run.lock once runner and witness are killed."""
    session_id = hive.launch(
        hive.python("import os, time; os.closerange(3, 256); print('up', flush=True); time.sleep(1000)")
    )
    until(lambda: b"up" in hive.output(session_id), "the agent's word")
    run = hive.run(session_id)
    kill_and_see_gone(run.witness, run.runner)
    assert end(hive.record(session_id)) == ("failed", "lost", None, None)
    assert is_alive(run.agent)
    assert hive.answer("stop", session_id) == b"already_stopped\n"
    assert not is_alive(run.agent)


def test_reconcile_ends_strays_and_marks_what_is_lost(hive: Hive) -> None:
    stray = hive.launch(
        hive.python("import os, time; os.closerange(3, 256); print('up', flush=True); time.sleep(1000)")
    )
    until(lambda: b"up" in hive.output(stray), "the agent's word")
    alive = hive.launch(hive.shell(FOREVER))
    run = hive.run(stray)
    kill_and_see_gone(run.witness, run.runner)
    hive.answer("reconcile")
    assert not is_alive(run.agent)
    assert hive.on_disk(stray)["reason"] == "lost"
    assert hive.on_disk(alive)["status"] == "running"
    assert is_alive(hive.run(alive).agent)


# -- the tap and Claude Code beneath it --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tapped:
    """The pids of a run of the rehearsal: the tap is the agent, beneath it its witness, beneath that `claude`."""

    session_id: str
    runner: int
    tap: int
    tap_witness: int
    claude: int


# In the place of Claude Code: a rehearsal that begins, and goes on once a file `second` is there, then once `third` is.
IN_THREE_ACTS = f"""#!/bin/sh
{SCRIPTS}/hive-rehearsal --seconds 0 "$@" > play || exit
sed -n 1,20p play
while [ ! -e second ]; do sleep 0.05; done
sed -n 21,40p play
while [ ! -e third ]; do sleep 0.05; done
sed -n '41,$p' play
"""


def rehearse(hive: Hive) -> Tapped:
    """A rehearsal that is under way, and will be for a minute."""
    session_id = hive.create("rehearsal")
    hive.answer("start", "--detach", session_id, "--seconds", "60")
    return tapped_run(hive, session_id)


def rehearse_in_acts(hive: Hive) -> Tapped:
    """One that has played its first act, and waits for its cue to play the next."""
    set_stage(hive)
    return tapped_run(hive, hive.launch("claude"))


def set_stage(hive: Hive) -> None:
    """Have every Claude Code be a rehearsal in three acts."""
    program = hive.root / "claude"
    program.write_text(IN_THREE_ACTS)
    program.chmod(0o755)
    hive.env.update(HIVE_CLAUDE_BIN=str(program), IS_SANDBOX="1")


def cue(hive: Hive, session_id: str, *names: str) -> None:
    """Make the files that a script in the session waits for."""
    for name in names:
        Path(hive.paths(session_id).dir, name).touch()


def tapped_run(hive: Hive, session_id: str) -> Tapped:
    """The pids, once the first agents are told of."""
    run = hive.run(session_id)
    witness = until(lambda: children(run.agent), "the tap's witness")[0]
    claude = until(lambda: children(witness), "claude")[0]
    until(lambda: hive.events(session_id, "agent_spawned"), "the first agents")
    return Tapped(session_id, run.runner, run.agent, witness, claude)


def test_a_killed_taps_lines_are_completed_at_the_end(hive: Hive) -> None:
    tapped = rehearse_in_acts(hive)
    os.kill(tapped.tap, signal.SIGSTOP)  # it falls behind, then dies
    before = os.stat(hive.paths(tapped.session_id).claude_stream).st_size
    cue(hive, tapped.session_id, "second")
    until(lambda: os.stat(hive.paths(tapped.session_id).claude_stream).st_size > before, "more of Claude's lines")
    kill_and_see_gone(tapped.tap)
    assert is_alive(tapped.claude)
    cue(hive, tapped.session_id, "third")
    record = hive.ended(tapped.session_id)
    assert end(record) == ("completed", "exit", 0, None), "Claude Code goes on to its own end, which its witness saw"
    assert hive.all_gone(tapped.session_id)
    raw = read_bytes(hive.paths(tapped.session_id).claude_stream)
    stream, expected, at = Stream(), [], 0
    for line in raw.splitlines(keepends=True):
        at += len(line)
        expected += [event["type"] for event in stream.feed(line, at=at, now_ms=0)] if line.endswith(b"\n") else []
    told = [event for event in hive.events(tapped.session_id) if event["type"] not in ("session", "resources")]
    types = [event["type"] for event in told]
    assert (types[0], types[-1]) == ("tap_started", "tap_ended")
    assert types[1 : 1 + len(expected)] == expected
    assert record["usage"]["agents"] == types.count("agent_spawned") > 0


def test_a_killed_claude_is_the_true_end_of_the_session(hive: Hive) -> None:
    tapped = rehearse(hive)
    kill_and_see_gone(tapped.claude)
    assert end(hive.ended(tapped.session_id)) == ("failed", "signal", 137, 9)
    assert hive.all_gone()  # the last event comes after the record
    assert hive.events(tapped.session_id)[-2]["type"] in ("tap_ended", "resources")


def test_without_a_witness_of_the_tap_nobody_claims_that_claude_ended_well(hive: Hive) -> None:
    tapped = rehearse_in_acts(hive)
    kill_and_see_gone(tapped.tap_witness)
    assert is_alive(tapped.claude)
    cue(hive, tapped.session_id, "second", "third")
    assert hive.ended(tapped.session_id)["status"] == "failed"
    assert not is_alive(tapped.claude)
    assert hive.all_gone()


def test_stop_and_timeout_end_a_claude_that_outlived_its_tap(hive: Hive) -> None:
    tapped = rehearse(hive)
    kill_and_see_gone(tapped.tap)
    assert hive.record(tapped.session_id)["status"] == "running"
    assert hive.answer("stop", tapped.session_id) == b"stopped\n"
    assert end(hive.on_disk(tapped.session_id))[:2] == ("failed", "cancelled")
    assert hive.all_gone()


def test_a_rehearsal_completes_though_its_runner_is_killed(hive: Hive) -> None:
    tapped = rehearse_in_acts(hive)
    kill_and_see_gone(tapped.runner)
    cue(hive, tapped.session_id, "second", "third")
    record = hive.ended(tapped.session_id)
    assert end(record) == ("completed", "exit", 0, None)
    assert record["usage"]["agents"] > 0
    assert hive.all_gone()


def test_claude_is_ended_when_runner_witness_and_tap_are_killed(hive: Hive) -> None:
    """Nobody is left who could record more than Claude's own witness; stop and reconcile find what goes on."""
    tapped = rehearse(hive)
    run = hive.run(tapped.session_id)
    kill_and_see_gone(run.witness, run.runner, tapped.tap)
    hive.call("stop", tapped.session_id)
    assert hive.all_gone()
    assert hive.record(tapped.session_id)["status"] == "failed"


# -- a chain of two steps: claude-flow's init, then its hive, with Claude Code beneath it ------------------------------

TWO_STEPS = """#!/bin/sh
[ "$2" = init ] && trap 'exit 0' TERM
echo "$2" >> steps
case $2 in
init) %s ;;
*) claude -p --output-format stream-json --verbose "the task" </dev/null ;;
esac
"""


def chain(hive: Hive, *words: str, first: str = "while [ ! -e go ]; do sleep 0.05; done") -> str:
    """A session of the agent claude-flow that is in its first step; by itself until a file `go` is there."""
    set_stage(hive)
    program = hive.root / "claude-flow"
    program.write_text(TWO_STEPS % first)
    program.chmod(0o755)
    hive.env["HIVE_CLAUDE_FLOW_BIN"] = str(program)
    session_id = hive.launch("claude-flow", *words)
    until(lambda: steps(hive, session_id) == ["init"], "the first step")
    return session_id


def steps(hive: Hive, session_id: str) -> list[str]:
    return read_bytes(f"{hive.paths(session_id).dir}/steps").decode().split()


def test_both_steps_run_and_claudes_end_is_that_of_the_session(hive: Hive) -> None:
    session_id = chain(hive)
    cue(hive, session_id, "go", "second", "third")
    assert end(hive.ended(session_id)) == ("completed", "exit", 0, None)
    assert steps(hive, session_id) == ["init", "spawn"]


def test_a_stop_in_the_first_step_begins_no_second_though_the_first_ends_well(hive: Hive) -> None:
    session_id = chain(hive)
    assert hive.answer("stop", session_id) == b"stopped\n"
    assert end(hive.on_disk(session_id))[:2] == ("failed", "cancelled")
    assert steps(hive, session_id) == ["init"]


@pytest.mark.parametrize("keeper", ["runner", "witness"])
def test_a_keeper_killed_in_the_first_step_leaves_a_lost_session_and_never_a_completed_one(
    hive: Hive, keeper: str
) -> None:
    session_id = chain(hive)
    run = hive.run(session_id)
    kill_and_see_gone(run.runner if keeper == "runner" else run.witness)
    assert hive.record(session_id)["status"] == "running"
    cue(hive, session_id, "go")
    assert end(hive.ended(session_id))[:2] == ("failed", "lost")
    assert steps(hive, session_id) == ["init"]
    assert hive.all_gone()


@pytest.mark.timeout(120)
def test_a_timeout_in_the_first_step_is_one_though_the_runner_is_killed_in_its_grace(tmp_path: Path) -> None:
    with Hive(tmp_path / "hive", HIVE_STOP_GRACE_S="1.5") as hive:
        session_id = chain(hive, "--timeout", "6", first=KILLS_ITS_RUNNER["after"])
        assert end(hive.ended(session_id)) == ("failed", "timeout", 137, 9)
        assert b"killed\n" in hive.output(session_id)
        assert steps(hive, session_id) == ["init"]


def test_claude_finishes_its_work_though_claude_flow_is_killed(hive: Hive) -> None:
    session_id = chain(hive)
    cue(hive, session_id, "go")
    until(lambda: hive.events(session_id, "agent_spawned"), "the first agents")
    kill_and_see_gone(hive.run(session_id).agent)
    cue(hive, session_id, "second", "third")
    record = hive.ended(session_id)
    assert end(record) == ("completed", "exit", 0, None)
    assert [event["type"] for event in hive.events(session_id)].count("result") == 1
    assert hive.all_gone()
