"""How real sessions end when they do not end well: errors, kills, stops and timeouts, and what `resume` goes on with."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from hive_session.lifecycle import FALLBACK_CODES
from tests.integration.chain import (
    CHAIN_S,
    Chain,
    asked,
    check_user,
    queen_runs,
    served,
    still_there,
    worker_runs,
)
from tests.integration.hive import kill, read_bytes, stat_fields, until
from tests.standin.messages_api import MessagesApi
from tests.standin.scenarios import Scenario

pytestmark = [pytest.mark.npm, pytest.mark.timeout(150)]  # what is run here takes seconds to start

SESSION = 3  # of the fields of /proc/PID/stat from the third on: the process session
UNTIL_GO = "touch working; until [ -e go ]; do sleep 0.1; done"
HANGS = "touch working; sleep 1000 & exec sleep 1000"
HANGS_ON = "trap '' TERM; touch working; while :; do sleep 1000; done"


@pytest.fixture(scope="module", autouse=True)
def _the_user_can_run_it() -> None:
    check_user()


def working(chain: Chain, session_id: str) -> None:
    """Return once the tool of HANGS or UNTIL_GO is at its work."""
    until(lambda: os.path.exists(chain.paths(session_id).at("working")), "the tool", CHAIN_S)


def go(chain: Chain, session_id: str) -> None:
    """Let the tool of UNTIL_GO end."""
    Path(chain.paths(session_id).at("go")).touch()


def streaming(chain: Chain, session_id: str) -> None:
    """Return once the worker of a slow hive has used its tool, and its report is on its way."""
    until(lambda: "worker-1.txt" in os.listdir(chain.paths(session_id).output), "the worker's file", CHAIN_S)
    # The queen has such an event, too, when she begins.
    after_tool = {"status": "working", "tool": None}
    until(
        lambda: any(
            after_tool.items() <= event.items()
            for event in chain.events(session_id, "agent_status")
            if event["agent"] != "queen"
        ),
        "its report",
        CHAIN_S,
    )


def witnessed(path: str) -> tuple[int, int | None]:
    """(exit code, signal) in an exit file."""
    found = json.loads(read_bytes(path))
    return found["exit_code"], found["signal"]


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", ["claude-flow", "claude"])
def test_a_refused_key_fails_the_session_with_claudes_code(tmp_path: Path, agent: str) -> None:
    with MessagesApi("bad_key") as api, Chain(tmp_path / "chain", api) as chain:
        session_id = chain.create(agent)
        assert chain.call("start", session_id).returncode == 1
        record = chain.on_disk(session_id)
        assert (record["status"], record["reason"], record["exit_code"]) == ("failed", "exit", 1)
        assert chain.call("wait", session_id).returncode == 1
        (result,) = chain.events(session_id, "result")
        assert result["is_error"]
        assert "Invalid API key" in result["text"]


def test_a_killed_claude_code_fails_the_session_with_its_own_code_and_not_claude_flows(tmp_path: Path) -> None:
    with MessagesApi("slow:60") as api, Chain(tmp_path / "chain", api) as chain:
        session_id = chain.launch("claude-flow")
        streaming(chain, session_id)
        kill([chain.claude(session_id)])
        record = chain.ended(session_id)
        assert (record["status"], record["reason"]) == ("failed", "signal")
        assert (record["exit_code"], record["signal"]) == (137, signal.SIGKILL)
        assert chain.call("wait", session_id).returncode == 137
        assert witnessed(chain.paths(session_id).claude_exit) == (137, signal.SIGKILL)
        assert witnessed(chain.paths(session_id).exit) == (1, None)  # claude-flow's, which says nothing
        assert [agent.status for agent in chain.state(session_id).agents.values()] == ["failed", "failed"]
        chain.check_told_once(session_id)


def test_a_claude_code_that_exits_with_0_but_reports_an_error_has_failed(tmp_path: Path) -> None:
    with MessagesApi("slow:60") as api, Chain(tmp_path / "chain", api) as chain:
        session_id = chain.launch("claude")
        streaming(chain, session_id)
        # It exits with 0 then, with an error as its result or with none.
        os.kill(chain.claude(session_id), signal.SIGINT)
        record = chain.ended(session_id)
        assert (record["status"], record["reason"], record["exit_code"]) == ("failed", "exit", 0)
        assert record["detail"]
        assert chain.call("wait", session_id).returncode == 1


NOT_THERE = "/nonexistent/program"
MISSING = [
    pytest.param("claude", {"HIVE_CLAUDE_BIN": "", "PATH": "/usr/bin:/bin"}, id="claude"),
    pytest.param("claude-flow", {"HIVE_CLAUDE_BIN": "", "PATH": "/usr/bin:/bin"}, id="claude-beneath-claude-flow"),
]


@pytest.mark.parametrize(("agent", "settings"), MISSING)
def test_without_claude_code_the_session_fails_and_says_what_to_install(
    tmp_path: Path, agent: str, settings: dict[str, str]
) -> None:
    with MessagesApi("answer") as api, Chain(tmp_path / "chain", api, env=settings) as chain:
        session_id = chain.create(agent)
        start = chain.call("start", session_id)
        record = chain.on_disk(session_id)
        assert (record["status"], record["reason"]) == ("failed", "spawn_error")
        assert "npm install -g @anthropic-ai/claude-code" in record["detail"]
        assert record["detail"].encode() in start.stderr
        assert start.returncode == FALLBACK_CODES["spawn_error"]
        assert chain.call("wait", session_id).returncode == start.returncode


WRONG = [
    ("claude", "HIVE_CLAUDE_BIN", "npm install -g @anthropic-ai/claude-code"),
    ("claude-flow", "HIVE_CLAUDE_BIN", "npm install -g @anthropic-ai/claude-code"),
    ("claude-flow", "HIVE_CLAUDE_FLOW_BIN", "does not exist"),
]


@pytest.mark.parametrize(("agent", "variable", "sentence"), WRONG)
def test_a_program_named_wrongly_fails_the_session_with_127(
    tmp_path: Path, agent: str, variable: str, sentence: str
) -> None:
    with MessagesApi("answer") as api, Chain(tmp_path / "chain", api, env={variable: NOT_THERE}) as chain:
        session_id = chain.create(agent)
        assert chain.call("start", session_id).returncode == 127
        record = chain.on_disk(session_id)
        assert (record["status"], record["reason"]) == ("failed", "spawn_error")
        assert all(words in record["detail"] for words in (NOT_THERE, variable, sentence))
        assert not api.requests


# -- ends from outside -------------------------------------------------------------------------------------------------

STOPPED = [
    pytest.param("claude-flow", queen_runs(HANGS), id="claude-flow-queens-tool"),
    pytest.param("claude-flow", worker_runs(HANGS), id="claude-flow-workers-tool"),
    pytest.param("claude", queen_runs(HANGS_ON), id="claude-queens-tool-that-ignores-SIGTERM"),
    pytest.param("claude", worker_runs(HANGS), id="claude-workers-tool"),
]


@pytest.mark.parametrize(("agent", "scenario"), STOPPED)
def test_stop_ends_every_process_of_the_tree_and_says_cancelled(tmp_path: Path, agent: str, scenario: Scenario) -> None:
    with MessagesApi(scenario) as api, Chain(tmp_path / "chain", api) as chain:
        session_id = chain.create(agent)
        start = chain.begin("start", session_id)
        working(chain, session_id)
        tree = chain.tree(session_id)
        # What made the file that we waited for may be ending.
        sessions = {fields[SESSION] for pid, _ in tree if (fields := stat_fields(pid))}
        assert len(sessions) == 2, "Claude Code's tools are in a process session of their own"
        # Claude Code has all the time it takes: killed together with its witness, it would leave no exit code behind.
        assert chain.answer("stop", "--grace", "40", session_id) == b"stopped\n"
        assert still_there(tree) == []
        assert chain.processes(session_id) == []
        record = chain.on_disk(session_id)
        assert (record["status"], record["reason"]) == ("failed", "cancelled")
        # Claude Code may exit with 0 on SIGTERM, and even tell a success.
        assert record["exit_code"] == witnessed(chain.paths(session_id).claude_exit)[0]
        start.communicate(timeout=30)
        assert start.returncode == chain.call("wait", session_id).returncode == (record["exit_code"] or 143)
        assert chain.answer("stop", session_id) == b"already_stopped\n"


@pytest.mark.parametrize("agent", ["claude-flow", "claude"])
def test_a_timeout_ends_the_session_with_124(tmp_path: Path, agent: str) -> None:
    with MessagesApi("forever") as api, Chain(tmp_path / "chain", api) as chain:
        session_id = chain.create(agent, "--timeout", "5")
        start = chain.begin("start", session_id)
        runner = chain.run(session_id).runner
        # However long it takes until both agents are at work, the timeout comes after that.
        os.kill(runner, signal.SIGSTOP)
        until(lambda: os.path.exists(chain.paths(session_id).at("ticks.txt")), "the worker's second tool call", CHAIN_S)
        os.kill(runner, signal.SIGCONT)
        start.communicate(timeout=CHAIN_S)
        assert start.returncode == 124
        record = chain.on_disk(session_id)
        assert (record["status"], record["reason"]) == ("failed", "timeout")
        assert chain.call("wait", session_id).returncode == 124
        assert chain.processes(session_id) == []
        assert record["usage"]["agents"] == 2
        assert record["usage"]["tokens"] > 0
        chain.check_told_once(session_id)


# -- resume ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", ["claude-flow", "claude"])
def test_resume_after_a_stop_goes_on_with_the_conversation(tmp_path: Path, agent: str) -> None:
    with MessagesApi("forever") as first, MessagesApi("hive") as second, Chain(tmp_path / "chain", first) as chain:
        session_id = chain.launch(agent, task="Go on")
        until(lambda: os.path.exists(chain.paths(session_id).at("ticks.txt")), "the worker's second tool call", CHAIN_S)
        chain.answer("stop", session_id)
        before = chain.on_disk(session_id)
        made = hive_made(chain, session_id)
        check_resumed(chain, before, first, second)
        assert hive_made(chain, session_id) == made


def test_resume_after_a_success_goes_on_with_the_conversation(tmp_path: Path) -> None:
    with MessagesApi("hive") as first, MessagesApi("hive") as second, Chain(tmp_path / "chain", first) as chain:
        session_id = chain.create("claude", task="Go on")
        assert chain.call("start", session_id).returncode == 0
        before = chain.on_disk(session_id)
        assert before["usage"]["tokens"] == sum(served(asked(first, session_id), first.scenario).values())
        check_resumed(chain, before, first, second)


def check_resumed(chain: Chain, before: dict[str, Any], first: MessagesApi, second: MessagesApi) -> None:
    """Resume against `second`: attempt 2 of the same session knows what attempt 1 asked, and its figures come on top."""
    session_id = before["session_id"]
    done = chain.call("resume", session_id, env={"ANTHROPIC_BASE_URL": second.base_url})
    assert done.returncode == 0, done.stderr
    after = chain.on_disk(session_id)
    assert (after["status"], after["attempt"], after["working_dir"]) == ("completed", 2, before["working_dir"])
    assert after["conversation"] == before["conversation"] == session_id
    (earlier,) = asked(first, session_id)[0].prompts
    remembered, new = asked(second, session_id)[0].prompts
    assert remembered == earlier
    assert "Go on" in new
    used = sum(served(asked(second, session_id), second.scenario).values())
    assert after["usage"]["tokens"] == before["usage"]["tokens"] + used
    assert before["usage"]["tokens"] > 0
    assert after["usage"]["cost_usd"] > (before["usage"]["cost_usd"] or 0)
    assert [event["attempt"] for event in chain.events(session_id, "session")][-3:] == [2, 2, 2]


def hive_made(chain: Chain, session_id: str) -> str | None:
    """When claude-flow made the hive in the session's directory; None where it has none."""
    state = read_bytes(chain.paths(session_id).at(".claude-flow/hive-mind/state.json"))
    return json.loads(state)["createdAt"] if state else None


# -- our own processes, killed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", ["claude-flow", "claude"])
def test_a_killed_tap_costs_no_line_of_telemetry_and_no_truth(tmp_path: Path, agent: str) -> None:
    scenario = worker_runs(f"{UNTIL_GO}; sleep 2; touch finished")
    with MessagesApi(scenario) as api, Chain(tmp_path / "chain", api) as chain:
        session_id = chain.launch(agent)
        working(chain, session_id)
        tree = chain.tree(session_id)
        kill([chain.tap(session_id)])
        go(chain, session_id)
        record = chain.ended(session_id, CHAIN_S)
        code, _ = witnessed(chain.paths(session_id).claude_exit)
        finished = os.path.exists(chain.paths(session_id).at("finished"))
        # Claude Code can exit with 0 and a success although its worker was ended in the middle.
        assert (record["status"], record["exit_code"] == code) == ("completed" if finished else "failed", True)
        assert record["usage"]["agents"] == 2
        until(lambda: not still_there(tree), "the end of all its processes")
        chain.check_told_once(session_id)
        assert chain.has_event(session_id, type="tap_ended", exit_code=code)


@pytest.mark.parametrize("agent", ["claude-flow", "claude"])
def test_a_killed_runner_costs_the_session_nothing(tmp_path: Path, agent: str) -> None:
    with MessagesApi(worker_runs(UNTIL_GO)) as api, Chain(tmp_path / "chain", api) as chain:
        session_id = chain.launch(agent)
        working(chain, session_id)
        tree = chain.tree(session_id)
        run = chain.run(session_id)
        kill([run.runner])
        until(lambda: chain.runner(session_id) == run.witness, "the witness in its place")
        go(chain, session_id)
        assert chain.call("wait", session_id).returncode == 0
        record = chain.ended(session_id)
        assert (record["status"], record["reason"], record["exit_code"]) == ("completed", "exit", 0)
        assert record["usage"]["tokens"] == sum(served(asked(api, session_id), api.scenario).values())
        until(lambda: not still_there(tree), "the end of all its processes")
        chain.check_told_once(session_id)
