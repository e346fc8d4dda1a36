"""Every tool asked about every kind of session: the answers fit what was promised, to models and to the known clients."""

import re
from typing import Any

import pytest

from mcp_tcp.catalogue import COMMANDS, TOOLS
from mcp_tcp.schemas import compile_schema
from mcp_tcp.tools import About, Needs, named_session
from tests.unit.hives import (
    COLD,
    COMPLETED,
    CREATED,
    FAILED,
    LONG_AGO,
    RESERVED,
    RESUMING,
    RUNNING,
    STARTING,
    STATES,
    UNKNOWN,
    UNREADABLE,
    Known,
    ask,
    card,
    checked,
    question,
    refusal,
    session,
    session_id,
    workspace,
)

ORDER = """session_list session_status session_metrics session_agents session_logs session_events session_memory
swarm_list swarm_status swarm_monitor agent_list agent_metrics task_status performance_summary server_info""".split()
FROM_MEMORY = [tool for tool in TOOLS.values() if tool.needs is not Needs.DISK]


# -- the table -------------------------------------------------------------------------------------------


def test_the_tools_are_listed_in_a_fixed_order_under_their_names() -> None:
    assert list(TOOLS) == ORDER
    assert [tool.name for tool in TOOLS.values()] == ORDER


@pytest.mark.parametrize("tool", TOOLS.values(), ids=list(TOOLS))
def test_a_tool_can_be_listed(tool: Any) -> None:
    assert tool.title and re.fullmatch(r"[a-z_]{1,128}", tool.name)
    assert 1 <= len(re.findall(r"\.(?: |$)", tool.description)) <= 4 and tool.description.endswith(".")
    for schema in (tool.input_schema, tool.output_schema):
        assert schema["type"] == "object" and set(schema.get("required", ())) <= set(schema["properties"])
        assert schema.get("additionalProperties", True)
        compile_schema(schema)
    assert not RESERVED & set(tool.output_schema["properties"])


@pytest.mark.parametrize("tool", TOOLS.values(), ids=list(TOOLS))
def test_a_tool_ignores_arguments_that_it_does_not_know(tool: Any) -> None:
    extra: dict[str, Any] = {"include_topology": True, "include_performance": True, "include_metadata": None, "x": []}
    assert tool.check({"session_id": "x"} | extra) is None


def test_the_names_that_command_say_which_command_does_it() -> None:
    assert list(COMMANDS) == ["swarm_init", "agent_spawn", "task_orchestrate", "swarm_destroy"]
    for name, sentence in COMMANDS.items():
        assert name not in TOOLS
        assert re.search(r"`hive-session (create|start|run|stop) [A-Z]+`", sentence)


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ({}, None),
        ({"session_id": "x"}, "x"),
        ({"swarm_id": "x"}, "x"),
        ({"swarmId": "x", "session_id": None}, "x"),
        ({"session_id": "x", "agent_id": "y/a"}, "x"),
        ({"session_id": ""}, None),
        ({"session_id": 5}, None),
        ({"agent_id": "queen"}, None),
        ({"agent_id": f"{session_id(1)}/queen"}, session_id(1)),
        ({"agentId": "../../secret/queen"}, ".."),
        ({"task_id": session_id(1)}, session_id(1)),
        ({"taskId": f"{session_id(1)}/toolu_1/2"}, session_id(1)),
        ({"task_id": "toolu_1"}, None),
    ],
)
def test_a_session_is_named_by_its_id_or_before_the_slash(args: dict[str, Any], named: str | None) -> None:
    assert named_session(args) == named


# -- every tool, every state -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", STATES)
@pytest.mark.parametrize("tool", [tool.name for tool in FROM_MEMORY if tool.about is not About.ALL])
def test_a_question_about_a_session_in_any_state_is_answered_as_promised(tool: str, number: int) -> None:
    if tool == "agent_metrics":
        found = workspace().by_id[session_id(number)].hive
        for name in found.agents if found else ():
            ask(tool, about=number, agent_id=f"{session_id(number)}/{name}")
    else:
        ask(tool, about=number, session_id=session_id(number))


@pytest.mark.parametrize("tool", [tool.name for tool in FROM_MEMORY if tool.about is not About.ONE])
def test_a_question_about_all_is_answered_as_promised(tool: str) -> None:
    if tool == "agent_metrics":
        ask(tool, agent_id="d")
    else:
        ask(tool)


@pytest.mark.parametrize("tool", [tool.name for tool in FROM_MEMORY if tool.about is not About.ONE])
def test_a_question_about_all_is_answered_as_promised_where_there_is_nothing(tool: str) -> None:
    if tool != "agent_metrics":
        checked(tool, question(Known(), facts=UNKNOWN))


def test_a_question_that_names_no_session_where_one_must_be_is_refused() -> None:
    for name in ("session_status", "swarm_monitor"):
        assert refusal(name) == "session_id is missing; session_list gives the ids of all sessions"
    assert TOOLS["session_status"].check({}) == "session_id is missing"


# -- the other tools -------------------------------------------------------------------------------------


def test_an_unreadable_session_is_answered_with_what_is_wrong() -> None:
    answer = ask("session_status", about=UNREADABLE, session_id=session_id(UNREADABLE))
    assert (answer["status"], answer["detail"], answer["agents"]) == ("unreadable", "session.json: not JSON", None)


def test_a_running_session_says_who_does_what() -> None:
    answer = ask("session_status", about=RUNNING, session_id=session_id(RUNNING))
    assert (answer["status"], answer["uptime_seconds"], answer["tokens"]) == ("running", 60, 690)
    assert (answer["agents"], answer["active_agents"], answer["tasks"]["active"]) == (5, 3, 3)


def test_swarms_are_those_that_run_or_ended_lately() -> None:
    answer = ask("swarm_list")
    assert {row["session_id"] for row in answer["swarms"]} == {
        session_id(number) for number in (STARTING, RUNNING, RESUMING, FAILED, COMPLETED, COLD)
    }
    assert (answer["total_swarms"], answer["total_agents"]) == (6, 21)
    assert answer["swarms"][0]["session_id"] == session_id(RESUMING)


def test_all_swarms_are_all_that_were_ever_started() -> None:
    answer = ask("swarm_list", include_ended=True)
    assert {row["session_id"] for row in answer["swarms"]} >= {session_id(LONG_AGO), session_id(COLD)}
    assert not {row["swarm_id"] for row in answer["swarms"]} & {None, session_id(CREATED)}
    assert len(ask("swarm_list", Known(*(session(card(n)) for n in range(600))), include_ended=True)["swarms"]) == 500


def test_a_swarm_has_a_shape_and_all_of_them_together_have_one() -> None:
    one = ask("swarm_status", about=RUNNING, swarm_id=session_id(RUNNING))
    assert (one["topology_type"], one["total_agents"], one["coordination_layers"]) == ("hierarchical", 5, 3)
    assert one["swarms"][0]["swarm_id"] == session_id(RUNNING) and one["total_swarms"] == 1
    both = ask("swarm_status")
    assert (both["total_agents"], both["active_agents"], both["total_swarms"]) == (6, 4, 3)
    assert both["tasks"]["total"] == 6


def test_agents_are_those_of_live_sessions_unless_one_is_named() -> None:
    assert ask("agent_list")["total"] == 6
    assert ask("agent_list", about=COMPLETED, session_id=session_id(COMPLETED))["total"] == 5


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("all", {"queen", "a", "b", "c", "d"}),
        (None, {"queen", "a", "b", "c", "d"}),
        ("active", {"queen", "a", "d"}),
        ("busy", {"a", "d"}),
        ("waiting", {"queen"}),
        ("ended", {"b", "c"}),
        ("failed", {"c"}),
    ],
)
def test_agents_are_filtered_by_what_they_do(words: str | None, expected: set[str]) -> None:
    answer = ask("agent_list", about=RUNNING, swarmId=session_id(RUNNING), filter=words)
    assert {each["agent"] for each in answer["agents"]} == expected and answer["total"] == len(expected)


def test_a_limit_cuts_the_list_and_not_the_count() -> None:
    answer = ask("agent_list", limit=2)
    assert (len(answer["agents"]), answer["total"]) == (2, 6)
    answer = ask("task_status", limit=2)
    assert (len(answer["tasks"]), answer["total"]) == (2, 6)


def test_an_agent_is_found_by_its_whole_id_or_by_its_own_where_that_is_the_only_one() -> None:
    whole = f"{session_id(RUNNING)}/a"
    assert ask("agent_metrics", about=RUNNING, agent_id=whole)["agent_id"] == whole
    assert ask("agent_metrics", about=RUNNING, session_id=session_id(RUNNING), agentId="a")["agent_id"] == whole
    assert ask("agent_metrics", agent_id="a")["agent_id"] == whole
    assert ask("agent_metrics", about=COMPLETED, agent_id=f"{session_id(COMPLETED)}/a")["status"] == "done"


@pytest.mark.parametrize(
    ("about", "args", "sentence"),
    [
        (None, {}, "agent_id is missing; agent_list gives the ids of all agents"),
        (None, {"agent_id": ""}, "agent_id is missing; agent_list gives the ids of all agents"),
        (
            None,
            {"agent_id": "x"},
            'no live session has an agent "x"; agent_list lists them, session_agents those of one',
        ),
        (
            None,
            {"agent_id": "queen"},
            f'2 sessions have an agent "queen"; say which, such as "{session_id(RESUMING)}/queen"',
        ),
        (
            RUNNING,
            {"agent_id": f"{session_id(RUNNING)}/x"},
            f'session {session_id(RUNNING)} has no agent "x"; session_agents lists those it has',
        ),
        (
            COLD,
            {"agent_id": f"{session_id(COLD)}/{'x' * 100}"},
            f'session {session_id(COLD)} has no agent "{"x" * 79}…"; session_agents lists those it has',
        ),
    ],
)
def test_an_agent_that_is_not_found_is_refused_with_a_way_on(
    about: int | None, args: dict[str, Any], sentence: str
) -> None:
    assert refusal("agent_metrics", about, **args) == sentence


def test_tasks_are_those_of_one_agent_of_a_session_or_of_all_that_live() -> None:
    agent = ask("task_status", about=RUNNING, taskId=f"{session_id(RUNNING)}/b")
    assert (agent["status"], agent["result"], agent["completed"], len(agent["tasks"])) == ("done", "Tested.", 1, 1)
    assert ask("task_status", task_id="d")["active_tasks"] == 1
    whole = ask("task_status", about=RUNNING, task_id=session_id(RUNNING))
    assert (whole["task_id"], whole["status"], whole["total_tasks"]) == (session_id(RUNNING), "running", 5)
    assert [each["agent_id"][-1] for each in whole["tasks"]] == ["n", "a", "b", "c", "d"]
    every = ask("task_status")
    assert (every["total_tasks"], len(every["tasks"])) == (6, 6) and "task_id" not in every


def test_the_summary_adds_up_what_lives() -> None:
    answer = ask("performance_summary")
    assert (answer["total_swarms"], answer["total_agents"], answer["total_tasks"], answer["completed_tasks"]) == (
        3,
        6,
        6,
        1,
    )
    assert (answer["tokens"], answer["cost_usd"], answer["active_agents"]) == (690 + 1030, 0.75, 4)
    assert (answer["sessions_cpu_usage"], answer["sessions_memory_mb"]) == (150.5, 3.0)
    assert (answer["system_cpu_usage"], answer["system_memory_mb"]) == (12.5, 2048.5)


def test_the_server_tells_of_itself() -> None:
    answer = ask("server_info")
    assert answer["supported_tools"] == ORDER and answer["read_only"] is True
    assert (answer["server_type"], answer["agent_count"], answer["uptime_seconds"]) == ("claude-flow", 6, 5)
    assert (answer["version"], answer["clients"], answer["total_sessions"]) == ("1.2.3", 4, len(STATES))
