"""What the tools say of agents, their tree and their tasks, figure by figure; and any hive against the schemas."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk.agent_figures import (
    agent_metrics,
    agent_objects,
    agent_task,
    layers,
    listed_agents,
    session_task,
    topology,
    topology_type,
)
from hive_session.ondisk.figures import (
    moment,
    session_object,
    session_performance,
)
from hive_session.ondisk.fold import Agent, Hive
from mcp_tcp import shapes
from mcp_tcp.schemas import compile_schema
from tests.unit.hives import (
    COLD,
    COMPLETED,
    CREATED,
    FAILED,
    NOW_MS,
    RESUMING,
    RUNNING,
    START_MS,
    STARTING,
    card,
    session,
    session_id,
    the,
)
from tests.unit.test_fold import ended, fold, spawned, stamped, usage


def agents(number: int) -> dict[str, dict[str, Any]]:
    return {each["agent"]: each for each in listed_agents(the(number), NOW_MS)}


# -- the tree of agents ----------------------------------------------------------------------------------


def test_layers_count_down_from_the_queen() -> None:
    hive = the(RUNNING).hive
    assert hive is not None
    assert layers(hive.agents) == {"queen": 0, "a": 1, "b": 1, "c": 1, "d": 2}


def test_a_circle_of_parents_ends_and_unknown_parents_leave_the_role() -> None:
    circle = fold(
        spawned("a", "b"), spawned("b", "a"), spawned("c", "gone", "subagent"), spawned("d", "d"), usage("e", 1)
    )
    found = layers(circle.agents)
    assert set(found) == set(circle.agents) and found["c"] == 2 and found["d"] == found["e"] == 1


@given(st.lists(st.tuples(st.integers(0, 9), st.none() | st.integers(0, 12)), max_size=20))
def test_a_child_stands_one_below_its_parent_wherever_there_is_no_circle(edges: list[tuple[int, int | None]]) -> None:
    hive = Hive()
    for child, parent in edges:
        hive.apply(spawned(str(child), None if parent is None else str(parent), "queen"))
    found = layers(hive.agents)
    assert set(found) == set(hive.agents)
    for name, agent in hive.agents.items():
        if agent.parent in hive.agents and not in_circle(hive.agents, name):
            assert agent.parent is not None and found[name] == found[agent.parent] + 1


def in_circle(agents: dict[str, Agent], name: str) -> bool:
    above = agents[name].parent
    for _ in agents:
        if above == name:
            return True
        above = agents[above].parent if above in agents else None
    return False


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (CREATED, (None, 0, 0, 0)),
        (STARTING, (None, 0, 0, 0)),
        (RESUMING, ("single", 1, 1, 1)),
        (RUNNING, ("hierarchical", 5, 3, 3)),
        (COMPLETED, ("hierarchical", 5, 0, 3)),
    ],
)
def test_the_topology_is_that_of_the_tree(number: int, expected: tuple[str | None, int, int, int]) -> None:
    assert tuple(topology(the(number)).values()) == expected
    assert topology_type(0) is None


# -- agents ----------------------------------------------------------------------------------------------


def test_an_agent_says_what_it_is_and_what_it_does() -> None:
    coder = agents(RUNNING)["a"]
    known_id = f"{session_id(RUNNING)}/a"
    told_of = {key: coder[key] for key in ("agent_id", "id", "agent", "name", "type", "role", "status", "tool")}
    assert told_of == {
        "agent_id": known_id,
        "id": known_id,
        "agent": "a",
        "name": "coder",
        "type": "coder",
        "role": "worker",
        "status": "working",
        "tool": "Bash",
    }
    assert (coder["current_task"], coder["task"], coder["model"]) == ("Code", "Code", "opus")
    assert coder["parent_id"] == f"{session_id(RUNNING)}/queen"
    assert coder["connections"] == [coder["parent_id"], f"{session_id(RUNNING)}/d"]
    assert (coder["tokens"], coder["input_tokens"], coder["tool_uses"], coder["cost_usd"]) == (600, 500, 3, 0.25)
    assert (coder["started"], coder["ended"], coder["duration_ms"]) == (moment(START_MS + 10_000), None, 50_000)


def test_the_queen_is_a_coordinator_and_one_without_a_kind_a_worker() -> None:
    found = agents(RUNNING)
    assert (found["queen"]["name"], found["queen"]["type"], found["queen"]["parent_id"]) == (
        "queen",
        "coordinator",
        None,
    )
    assert (found["c"]["name"], found["c"]["type"], found["c"]["status"]) == ("worker", "worker", "failed")


def test_an_agent_that_has_ended_has_no_current_task() -> None:
    tester = agents(RUNNING)["b"]
    assert (tester["current_task"], tester["task"], tester["summary"]) == (None, "Code", "Tested.")
    assert (tester["ended"], tester["duration_ms"]) == (moment(START_MS + 30_000), 15_000)


def test_parts_of_tokens_are_unknown_where_only_their_sum_was_told() -> None:
    found = agents(RUNNING)
    assert [found["d"][key] for key in ("tokens", "input_tokens", "cache_write_tokens")] == [50, None, None]
    assert [found["queen"][key] for key in ("tokens", "input_tokens", "cache_write_tokens")] == [0, 0, 0]


def test_an_agent_left_open_when_its_session_was_lost_has_failed_and_worked_to_the_end() -> None:
    coder = agents(FAILED)["a"]
    assert (coder["status"], coder["tool"], coder["current_task"]) == ("failed", None, None)
    assert coder["duration_ms"] == 40_000


def test_the_figures_of_an_agent_are_those_of_its_one_task() -> None:
    found = the(RUNNING)
    assert found.hive is not None
    tester = agent_metrics(found, found.hive.agents["b"], NOW_MS)
    assert tester["performance"] == {
        "cpu_usage": 150.5,
        "memory_usage": 3.0,
        "scope": "session",
        "tasks_active": 0,
        "tasks_completed": 1,
        "tasks_failed": 0,
        "success_rate": 100.0,
        "tasks_per_hour": 240.0,
        "average_task_duration_ms": 15_000.0,
        "token_usage": 40,
        "token_rate": 160.0,
    }
    assert tester["resources"] == {"cpu_usage": 150.5, "memory_mb": 3.0, "scope": "session"}
    assert tester["neural_state"] is None


def test_rates_of_an_agent_that_took_no_time_are_zero_or_unknown() -> None:
    quick = session(card(1), fold(spawned("a", ts=NOW_MS), ended("a", tokens=5, ts=NOW_MS)))
    (made,) = listed_agents(quick, NOW_MS)
    assert (made["performance"]["tasks_per_hour"], made["performance"]["token_rate"]) == (0.0, None)
    assert made["metadata"]["topology_position"]["layer"] == 1


def test_a_listed_agent_has_its_place_in_the_tree() -> None:
    found = agents(RUNNING)
    places = {name: each["metadata"]["topology_position"] for name, each in found.items()}
    assert {name: (place["layer"], place["index_in_layer"]) for name, place in places.items()} == {
        "queen": (0, 0),
        "a": (1, 0),
        "b": (1, 1),
        "c": (1, 2),
        "d": (2, 0),
    }
    assert [name for name, place in places.items() if place["is_coordinator"]] == ["queen"]
    assert (found["d"]["age"], found["d"]["createdAt"]) == (40_000, moment(START_MS + 20_000))


def test_a_session_without_telemetry_in_memory_lists_no_agents() -> None:
    assert agent_objects(the(COLD), NOW_MS) == listed_agents(the(COLD), NOW_MS) == []


# -- tasks -----------------------------------------------------------------------------------------------


def test_a_task_is_that_of_an_agent_or_of_a_session() -> None:
    found = the(COMPLETED)
    assert found.hive is not None
    of_agent = agent_task(found.card, found.hive.agents["b"], NOW_MS)
    assert (of_agent["task_id"], of_agent["status"], of_agent["result"]) == (
        f"{session_id(COMPLETED)}/b",
        "done",
        "Tested.",
    )
    of_session = session_task(found, NOW_MS)
    assert (of_session["taskId"], of_session["status"], of_session["task"]) == (found.card.id, "completed", "Task 7")
    assert (of_session["result"], of_session["duration_ms"], of_session["agent_id"]) == ("Built.", 50_000, None)
    assert session_task(the(CREATED), NOW_MS)["duration_ms"] is None


# -- any hive --------------------------------------------------------------------------------------------

check_session = compile_schema(shapes.SESSION)
check_agent = compile_schema(shapes.LISTED_AGENT)
check_metrics = compile_schema(shapes.AGENT_METRICS)
check_task = compile_schema(shapes.TASK)


@given(
    st.lists(stamped, max_size=20),
    st.sampled_from(["created", "starting", "running", "completed", "failed", "unreadable"]),
    st.integers(0, 2**53),
)
def test_whatever_the_telemetry_says_the_objects_fit_their_schemas(events: list[Any], word: str, now_ms: int) -> None:
    hive = fold(*events)
    found = session(card(1, word), hive)
    made = session_object(found, now_ms)
    assert check_session(made) is None
    assert made["tasks"]["active"] == made["active_agents"] or word == "created"
    listed = listed_agents(found, now_ms)
    assert [check_agent(each) for each in listed] == [None] * len(hive.agents)
    figures = [agent_metrics(found, agent, now_ms) for agent in hive.agents.values()]
    assert [check_metrics(each) for each in figures] == [None] * len(hive.agents)
    tasks = [agent_task(found.card, agent, now_ms) for agent in hive.agents.values()]
    assert [check_task(each) for each in [*tasks, session_task(found, now_ms)]] == [None] * (len(tasks) + 1)
    orjson.dumps([made, listed, figures, tasks, topology(found), session_performance(found)])
