"""The documents that viewers get: their fields, and that nothing in them is said otherwise elsewhere."""

import time
from collections.abc import Collection
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk.agent_figures import agent_objects
from hive_session.ondisk.events import decode_event
from hive_session.ondisk.figures import session_row
from hive_session.ondisk.fold import Agent
from hive_session.ondisk.records import parse_time
from hive_session.ondisk.sessions import Session
from tests.unit.hives import COLD, COMPLETED, CREATED, FAILED, NOW_MS, RUNNING, STATES, session_id, the
from tests.unit.test_fold import spawned
from ws_relay import messages
from ws_relay.messages import Message
from ws_relay.positions import Formation, Point
from ws_relay.subscription import BadWords, Request, Subscription, parse

ALL = Subscription()
ID = session_id(RUNNING)
Document = dict[str, Any]


def formation(session: Session) -> Formation:
    found = Formation(session.card.id, Point(100.0, 200.0, 0.0))
    if session.hive is not None:
        found.follow(session.hive.agents)
    return found


def updated(
    session: Session,
    changed: Collection[str] | None = None,
    subscription: Subscription = ALL,
    spawned: Collection[str] = (),
    told: Collection[Message] = (),
) -> Document:
    place = formation(session)
    found = messages.update(session, place, changed, subscription, NOW_MS, spawned=spawned, messages=told)
    document: Document = orjson.loads(found)
    return document


def changed_topology(
    spawned: Collection[str], told: Collection[Message] = (), subscription: Subscription = ALL, state: int = RUNNING
) -> Document | None:
    found = messages.topology(the(state), spawned, told, subscription, NOW_MS)
    return None if found is None else orjson.loads(found)


# -- telemetry_update --------------------------------------------------------------------------------------------------


def test_an_update_has_the_fields_that_the_original_s_documents_promise() -> None:
    found = updated(the(RUNNING), ["a"], spawned=["a"])
    assert list(found) == [
        *("type", "timestamp", "session_id", "swarm_id", "snapshot", "cursor"),
        *("session", "agents", "topology_changes"),
    ]
    assert (found["type"], found["timestamp"]) == ("telemetry_update", "2026-11-22T10:58:20.000Z")
    assert (found["session_id"], found["swarm_id"], found["snapshot"]) == (ID, ID, False)
    [agent] = found["agents"]
    assert agent["agent_id"] == f"{ID}/a"
    assert agent["position"].keys() == {"x", "y", "z"}
    assert agent["velocity"] == {"x": 0.0, "y": 0.0, "z": 0.0}
    assert agent["performance"] == {"cpu_usage": 150.5, "memory_mb": 3.0, "scope": "session", "tasks_completed": 0}
    assert found["topology_changes"] == [
        {"type": "connection_added", "from": f"{ID}/queen", "to": f"{ID}/a", "strength": 1.0}
    ]


@pytest.mark.parametrize("state", STATES)
def test_a_snapshot_says_of_session_and_agents_what_all_others_say(state: int) -> None:
    session = the(state)
    found = updated(session)
    assert found["snapshot"] is True
    assert found["session"] == orjson.loads(orjson.dumps(session_row(session)))
    own = {"position", "velocity", "performance"}
    said = [{key: value for key, value in agent.items() if key not in own} for agent in found["agents"]]
    assert said == orjson.loads(orjson.dumps(agent_objects(session, NOW_MS)))


def test_agents_stand_where_the_formation_says() -> None:
    session = the(RUNNING)
    points = formation(session).points
    stand = {agent["agent"]: tuple(agent["position"].values()) for agent in updated(session)["agents"]}
    assert stand == points
    assert stand["queen"] == (100.0, 200.0, 0.0)


def test_a_snapshot_has_the_whole_tree_and_an_update_what_is_new() -> None:
    session = the(RUNNING)
    pairs = [("queen", "a"), ("queen", "b"), ("queen", "c"), ("a", "d")]
    ties = [(f"{ID}/{one}", f"{ID}/{other}") for one, other in pairs]
    assert [(tie["from"], tie["to"]) for tie in updated(session)["topology_changes"]] == ties
    found = updated(session, [], spawned=["queen", "d"], told=[("b", "a"), ("b", "a"), ("b", "b"), ("b", "nobody")])
    assert found["agents"] == []
    assert found["topology_changes"] == [
        {"type": "connection_added", "from": f"{ID}/a", "to": f"{ID}/d", "strength": 1.0},
        {"type": "connection_added", "from": f"{ID}/b", "to": f"{ID}/a", "strength": 0.5},
    ]


def test_an_update_names_the_changed_agents_in_the_order_given_and_passes_over_those_that_are_gone() -> None:
    assert [agent["agent"] for agent in updated(the(RUNNING), ["d", "gone", "a"])["agents"]] == ["d", "a"]


def test_who_has_ended_well_has_completed_a_task() -> None:
    done = {agent["agent"]: agent["performance"]["tasks_completed"] for agent in updated(the(RUNNING))["agents"]}
    assert done == {"queen": 0, "a": 0, "b": 1, "c": 0, "d": 0}
    assert {agent["performance"]["tasks_completed"] for agent in updated(the(COMPLETED))["agents"]} == {0, 1}


@pytest.mark.parametrize(("state", "cpu", "memory"), [(RUNNING, 150.5, 3.0), (FAILED, 0.0, 0.0)])
def test_figures_of_what_does_not_run_are_zero(state: int, cpu: float, memory: float) -> None:
    performance = updated(the(state), ["a"])["agents"][0]["performance"]
    assert (performance["cpu_usage"], performance["memory_mb"]) == (cpu, memory)


@pytest.mark.parametrize("state", [CREATED, COLD])
def test_a_session_whose_telemetry_is_not_in_memory_has_no_agents(state: int) -> None:
    found = updated(the(state))
    assert (found["agents"], found["topology_changes"], found["cursor"]) == ([], [], 0)


def test_the_cursor_is_how_far_the_telemetry_is_folded() -> None:
    session = the(RUNNING)
    assert session.fold is not None
    session.fold.lines.offset = 4711
    assert updated(session)["cursor"] == 4711


def test_what_is_not_wanted_is_left_out() -> None:
    workers = Subscription(roles=frozenset({"worker"}), performance=False)
    found = updated(the(RUNNING), None, workers, told=[("a", "b"), ("a", "queen")])
    assert [agent["agent"] for agent in found["agents"]] == ["a", "b", "c"]
    assert not any("performance" in agent for agent in found["agents"])
    assert [(tie["from"], tie["to"]) for tie in found["topology_changes"]] == [(f"{ID}/a", f"{ID}/b")]
    assert updated(the(RUNNING), None, Subscription(topology=False))["topology_changes"] == []


def test_a_neural_state_is_told_where_it_is_asked_for_and_nobody_has_one() -> None:
    assert "neural_state" not in updated(the(RUNNING), ["a"])["agents"][0]
    assert updated(the(RUNNING), ["a"], Subscription(neural=True))["agents"][0]["neural_state"] is None


def test_an_update_costs_the_same_however_many_agents_did_not_change() -> None:
    def took_s(workers: int) -> float:
        session = the(RUNNING)
        assert session.hive is not None
        for number in range(workers):
            session.hive.apply(spawned(f"w{number}"))
        place = formation(session)
        return min(_took_s(session, place) for _ in range(9))

    assert took_s(3000) < 3 * took_s(3)


def _took_s(session: Session, place: Formation) -> float:
    begin = time.process_time()
    for _ in range(50):
        messages.update(session, place, ["w1"], ALL, NOW_MS, spawned=["w1"])
    return time.process_time() - begin


# -- topology_change ---------------------------------------------------------------------------------------------------


def test_a_topology_change_tells_of_new_agents_their_parents_and_messages() -> None:
    assert changed_topology(["queen", "d"], [("a", "d"), ("d", "queen")]) == {
        "type": "topology_change",
        "timestamp": "2026-11-22T10:58:20.000Z",
        "session_id": ID,
        "changes": [
            {"action": "agent_spawned", "agent_id": f"{ID}/queen", "parent_id": None},
            {"action": "agent_spawned", "agent_id": f"{ID}/d", "parent_id": f"{ID}/a"},
            {"action": "connection_established", "from": f"{ID}/a", "to": f"{ID}/d", "connection_type": "parent"},
            {"action": "connection_established", "from": f"{ID}/a", "to": f"{ID}/d", "connection_type": "message"},
            {"action": "connection_established", "from": f"{ID}/d", "to": f"{ID}/queen", "connection_type": "message"},
        ],
    }


def test_there_is_no_topology_change_of_nothing() -> None:
    queens = Subscription(roles=frozenset({"queen"}))
    assert changed_topology([]) is None
    assert changed_topology(["nobody"], [("nobody", "a"), ("a", "a")]) is None
    assert changed_topology(["a"], [("queen", "a")], queens) is None
    assert changed_topology(["a"], [], Subscription(topology=False)) is None
    assert changed_topology(["a"], state=COLD) is None


# -- events ------------------------------------------------------------------------------------------------------------

LINES = [
    b'{"ts":1,"type":"usage","agent":"a","tokens":5}\n',
    b'{ "type" : "message", "ts":2,"from":"a","to":"b","text":"gr\xc3\xbc\xc3\x9fe\\u0041", "n":1.50 }\r\n',
    b'{"ts":3,"type":"odd","x":[1,2]}',
]


@given(st.lists(st.sampled_from(LINES)), st.integers(0, 2**53), st.integers(0, 2**53))
def test_events_go_out_as_they_are_on_disk(lines: list[bytes], start: int, end: int) -> None:
    found = messages.events(ID, start, end, lines)
    assert orjson.loads(found) == {
        "type": "events",
        "session_id": ID,
        "from": start,
        "to": end,
        "events": [decode_event(line) for line in lines],
    }
    assert all(line.rstrip(b"\n") in found for line in lines)
    assert b"\n" not in found


def test_a_gap_and_a_removal_name_the_session() -> None:
    gap = {"type": "gap", "session_id": ID, "from": 10, "to": 90}
    assert orjson.loads(messages.gap(ID, 10, 90)) == gap
    assert orjson.loads(messages.removed(ID)) == {"type": "session_removed", "session_id": ID}


# -- answers -----------------------------------------------------------------------------------------------------------

WORDS: Document = {
    "session_id": ID,
    "swarm_id": ID,
    "labels": {"a": "b"},
    "events": True,
    "snapshot": False,
    "max_bytes_per_s": 9000,
    "filters": {
        "include_performance": False,
        "include_topology": False,
        "include_neural": True,
        "update_frequency_hz": 2.5,
        "agent_types": ["queen", "worker"],
    },
}


def request(words: Document) -> Request:
    found = parse({"action": "subscribe", **words})
    assert isinstance(found, Request)
    return found


def test_an_acknowledgement_echoes_all_that_was_understood() -> None:
    found = orjson.loads(messages.subscribed(request(WORDS | {"id": "s1"}), [ID], {ID: 70}))
    assert found == {"type": "subscribed", "id": "s1", "subscription": WORDS, "sessions": [ID], "cursors": {ID: 70}}


@pytest.mark.parametrize("words", [{}, WORDS, {"update_frequency_hz": 60, "agent_types": ["b", "a", "b"]}], ids=str)
def test_an_acknowledgement_says_what_would_subscribe_to_the_same(words: Document) -> None:
    asked = request(words)
    echoed = orjson.loads(messages.subscribed(asked, [], {}))
    assert "id" not in echoed
    assert request(echoed["subscription"]) == asked


def test_short_answers_echo_the_id_where_there_is_one() -> None:
    assert orjson.loads(messages.unsubscribed(None)) == {"type": "unsubscribed"}
    assert orjson.loads(messages.unsubscribed(0)) == {"type": "unsubscribed", "id": 0}
    assert orjson.loads(messages.pong(None, NOW_MS)) == {"type": "pong", "timestamp": NOW_MS}
    assert orjson.loads(messages.pong("p", NOW_MS)) == {"type": "pong", "id": "p", "timestamp": NOW_MS}


def test_an_error_names_code_and_field_and_the_id_where_there_is_one() -> None:
    said = {"type": "error", "code": "bad_cursor", "message": "No.", "field": "from"}
    assert orjson.loads(messages.error(BadWords("bad_cursor", "No.", "from"))) == said
    assert orjson.loads(messages.error(BadWords("bad_cursor", "No.", "from", 3))) == said | {"id": 3}
    assert orjson.loads(messages.error(BadWords("bad_json", "No.")))["field"] is None


@given(st.integers(0, 4_102_444_800_000))
def test_timestamps_are_rfc_3339_in_utc_with_a_z(now_ms: int) -> None:
    text = messages.timestamp(now_ms)
    assert len(text) == 24 and text.endswith("Z")
    assert parse_time(text) == now_ms / 1000


def test_an_agent_with_a_strange_name_is_told_of_too() -> None:
    session = the(RUNNING)
    assert session.hive is not None
    session.hive.agents['"/\\\n☃'] = Agent('"/\\\n☃', "queen", "worker", "", "", NOW_MS)
    assert updated(session, ['"/\\\n☃'])["agents"][0]["agent_id"] == f'{ID}/"/\\\n☃'
