"""Where sessions and agents stand: apart from each other, in one place for good, and the same each time it is reckoned."""

import gc
import math
from collections.abc import Iterable
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk.agent_figures import agent_objects, global_id
from hive_session.ondisk.cards import unreadable_card
from hive_session.ondisk.fold import Agent
from hive_session.ondisk.folding import Fold
from hive_session.ondisk.sessions import Session
from tests.unit.hives import RUNNING, session_id, the
from tests.unit.test_fold import QUEEN, fold, session, spawned, status
from ws_relay.positions import CLUSTER, DEEPEST, LAYER, SPACING, Formation, Ground, Point, sunflower

ID = session_id(1)
MIDDLE = Point(0.0, 0.0, 0.0)
NEAREST = SPACING - 0.01  # points are rounded to a thousandth

NAMES = [*"abcdefghijkl", "queen"]
some_agent = st.tuples(
    st.sampled_from(NAMES), st.sampled_from([*NAMES, None]), st.sampled_from(["worker", "subagent", "queen"])
)
some_hive = st.lists(some_agent, unique_by=lambda row: row[0])


def made(rows: Iterable[tuple[str, str | None, str]]) -> dict[str, Agent]:
    return {name: Agent(name, parent, role, "coder", "", 0) for name, parent, role in rows}


def formed(agents: dict[str, Agent], centre: Point = MIDDLE) -> Formation:
    found = Formation(ID, centre)
    found.follow(agents)
    return found


def crowd(workers: int, subagents: int) -> dict[str, Agent]:
    """A queen, her workers, and of the first of them the subagents."""
    rows: list[tuple[str, str | None, str]] = [("queen", None, "queen")]
    rows += [(f"w{number}", "queen", "worker") for number in range(workers)]
    rows += [(f"s{number}", "w0", "subagent") for number in range(subagents)]
    return made(rows)


def flat(one: Point, other: Point) -> float:
    """How far apart they are for who looks from above."""
    return math.dist(one[:2], other[:2])


def nearest(points: Iterable[Point]) -> float:
    return min(flat(*pair) for pair in combinations(points, 2))


@given(some_hive)
def test_no_two_agents_stand_nearer_than_the_spacing_in_whatever_tree(rows: list[tuple[str, str | None, str]]) -> None:
    points = formed(made(rows)).points
    assert list(points) == [name for name, _, _ in rows]
    assert len(points) < 2 or nearest(points.values()) > NEAREST


@given(some_hive, st.data())
def test_nobody_moves_when_others_come_and_it_is_all_one_in_how_many_steps(
    rows: list[tuple[str, str | None, str]], data: st.DataObject
) -> None:
    agents, whole = made(rows), formed(made(rows)).points
    step_by_step, seen = Formation(ID, MIDDLE), 0
    while seen < len(agents):
        seen = data.draw(st.integers(seen + 1, len(agents)))
        before = dict(step_by_step.points)
        step_by_step.follow(dict(list(agents.items())[:seen]))
        assert step_by_step.points | before == step_by_step.points
    assert step_by_step.points == whole


@pytest.mark.parametrize(("workers", "subagents"), [(300, 0), (0, 300), (150, 150)])
def test_a_crowd_stands_apart_too(workers: int, subagents: int) -> None:
    assert nearest(formed(crowd(workers, subagents)).points.values()) > NEAREST


def test_the_queen_stands_in_the_middle_though_others_were_seen_before_her() -> None:
    agents = made([("w", "queen", "worker"), *((f"s{number}", "w", "subagent") for number in range(30))])
    points = formed(agents | made([("queen", None, "queen")]), Point(5.0, 7.0, 0.0)).points
    assert points["queen"] == (5.0, 7.0, 0.0)
    assert nearest(points.values()) > NEAREST


def test_the_first_workers_surround_the_queen_at_one_distance() -> None:
    points = formed(crowd(6, 0)).points
    away = [flat(points["queen"], points[f"w{number}"]) for number in range(6)]
    assert away == pytest.approx([2 * SPACING] * 6, abs=0.01)
    assert nearest(points.values()) > 2 * NEAREST


def test_a_few_workers_stand_on_all_sides_of_the_queen() -> None:
    points = formed(crowd(3, 0)).points
    assert [sum(points[f"w{number}"][axis] for number in range(3)) for axis in (0, 1)] == pytest.approx(
        [0, 0], abs=0.01
    )


def test_workers_fill_one_ring_after_the_other() -> None:
    points = formed(crowd(6 + 12 + 18, 0)).points
    away = [flat(points["queen"], points[f"w{number}"]) for number in range(6 + 12 + 18)]
    assert max(away[:6]) < min(away[6:18]) <= max(away[6:18]) < max(away[18:])


def test_subagents_stand_around_their_parent() -> None:
    points = formed(crowd(6, 4)).points
    away = [flat(points["w0"], points[f"s{number}"]) for number in range(4)]
    assert away == pytest.approx([SPACING] * 4, abs=0.01)


def test_a_subagent_whose_parent_nobody_knows_stands_among_the_workers() -> None:
    points = formed(made([("queen", None, "queen"), ("s", "nobody", "subagent")])).points
    assert flat(points["queen"], points["s"]) == pytest.approx(2 * SPACING, abs=0.01)


def test_heights_tell_the_depth_and_stay_small() -> None:
    names = ["queen", *(f"a{number}" for number in range(20))]
    chain = [(name, above, "subagent") for above, name in pairwise(names)]
    points = formed(made([("queen", None, "queen"), *chain])).points
    assert [points[name].z for name in names[:4]] == [0.0, LAYER, 2 * LAYER, 3 * LAYER]
    assert points[names[-1]].z == DEEPEST * LAYER


def test_a_circle_of_parents_is_no_obstacle() -> None:
    points = formed(made([("a", "b", "worker"), ("b", "a", "worker"), ("c", "c", "subagent")])).points
    assert len(set(points.values())) == 3


def test_sessions_do_not_all_point_the_same_way() -> None:
    def first_worker(number: int) -> Point:
        found = Formation(session_id(number), MIDDLE)
        found.follow(crowd(1, 0))
        return found.points["w0"]

    assert len({first_worker(number) for number in range(20)}) == 20


# -- who there is ------------------------------------------------------------------------------------------------------


def test_a_new_attempt_begins_anew() -> None:
    hive = fold(QUEEN, spawned("a"), spawned("b"))
    found = formed(hive.agents)
    before = dict(found.points)
    hive.apply(session("running", 2))
    found.follow(hive.agents)
    assert found.points == {}
    hive.apply(QUEEN)
    hive.apply(spawned("b"))
    found.follow(hive.agents)
    assert found.points == {"queen": before["queen"], "b": before["a"]}


def test_neighbours_are_those_that_the_agent_s_own_object_lists() -> None:
    known = the(RUNNING)
    assert known.hive is not None
    agents = known.hive.agents
    found = formed(agents)
    listed = {made["agent"]: made["connections"] for made in agent_objects(known, 0)}
    near = {name: [global_id(known.card.id, each) for each in found.neighbours(agents[name])] for name in agents}
    assert near == listed


@given(some_hive)
def test_neighbours_are_the_same_in_whatever_tree(rows: list[tuple[str, str | None, str]]) -> None:
    known = the(RUNNING)
    assert known.hive is not None
    known.hive.agents = made(rows)
    found = formed(known.hive.agents)
    listed = {made["agent"]: sorted(made["connections"]) for made in agent_objects(known, 0)}
    for name, agent in known.hive.agents.items():
        assert sorted(global_id(known.card.id, each) for each in found.neighbours(agent)) == listed[name]


def test_one_that_is_introduced_late_keeps_its_place_and_gets_its_parent() -> None:
    hive = fold(QUEEN, spawned("a"), status("b", "working"))
    found = formed(hive.agents)
    before = found.points["b"]
    changed = hive.apply(spawned("b", "a", "subagent"))
    found.follow(hive.agents, changed)
    assert found.points["b"] == before
    assert found.neighbours(hive.agents["a"]) == ["queen", "b"]
    assert found.neighbours(hive.agents["b"]) == ["a"]
    assert found.neighbours(hive.agents["queen"]) == ["a"]


# -- sessions ----------------------------------------------------------------------------------------------------------


def told_of(session_id: str) -> Session:
    """A session whose telemetry is in memory."""
    made = Session(unreadable_card(session_id, "", None))
    made.fold = Fold("")
    return made


def middles(ground: Ground, ids: Iterable[str]) -> list[Point]:
    found = []
    for each in ids:
        formation = ground.formation(told_of(each))
        formation.follow(crowd(0, 0))
        found.append(formation.points["queen"])
    return found


def test_places_on_the_sunflower_are_a_cluster_apart() -> None:
    assert nearest([sunflower(place) for place in range(400)]) >= CLUSTER


def test_sessions_with_three_hundred_and_thirty_workers_keep_clear_of_each_other() -> None:
    reach = max(math.hypot(*point[:2]) for point in formed(crowd(330, 0)).points.values())
    assert 2 * reach + SPACING <= CLUSTER


def test_each_session_has_a_place_of_its_own() -> None:
    points = middles(Ground(), [session_id(number) for number in range(500)])
    assert nearest(points) > CLUSTER - 0.01


def test_a_few_sessions_stand_close_together() -> None:
    points = middles(Ground(), [session_id(number) for number in range(5)])
    assert max(math.hypot(*point[:2]) for point in points) < 6 * CLUSTER


def test_a_place_is_the_id_s_own_whoever_else_is_there() -> None:
    alone = {number: middles(Ground(), [session_id(number)])[0] for number in range(40)}
    pairs = [(one, other) for one, other in combinations(alone, 2) if alone[one] != alone[other]]
    assert len(pairs) > 400
    for one, other in pairs:
        assert middles(Ground(), [session_id(other), session_id(one)]) == [alone[other], alone[one]]


def test_a_session_keeps_its_formation_until_it_leaves_and_then_another_may_have_the_place() -> None:
    ground, one = Ground(), told_of(ID)
    formation = ground.formation(one)
    assert ground.formation(one) is formation
    [before] = middles(ground, [ID])
    ground.leave(ID)
    ground.leave(ID)
    assert middles(ground, [ID]) == [before]
    ground.leave(ID)
    neighbour = next(other for other in map(session_id, range(2, 99)) if middles(Ground(), [other]) == [before])
    assert middles(ground, [neighbour]) == [before]
    assert ground.formation(one) is not formation and middles(ground, [ID]) != [before]


def test_agents_of_telemetry_that_left_memory_are_forgotten_but_not_the_place() -> None:
    ground, one, before = Ground(), told_of(ID), held()
    agents = crowd(3, 0)
    ground.formation(one).follow(agents)
    points = dict(ground.formation(one).points)
    assert held() == before + 1
    one.fold = None
    assert held() == before
    middles(ground, [session_id(2)])
    one.fold = Fold("")
    again = ground.formation(one)
    again.follow(agents)
    assert again.points == points


def held() -> int:
    """How many formations are in memory."""
    gc.collect()
    return sum(isinstance(each, Formation) for each in gc.get_objects())
