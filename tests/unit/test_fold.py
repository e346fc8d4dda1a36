"""The state of a hive as its events add up to it, in order, out of order, and twice."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk.events import AGENT_STATUSES, ROLES, SESSION_STATUSES, validate_event
from hive_session.ondisk.fold import Agent, Hive

Event = dict[str, Any]


def event(type_: str, /, **fields: Any) -> Event:
    made = {"ts": 1000, "type": type_, **fields}
    validate_event(made)
    return made


def session(status: str, attempt: int = 1, **fields: Any) -> Event:
    return event("session", status=status, attempt=attempt, **fields)


def spawned(name: str, parent: str | None = "queen", role: str = "worker", **fields: Any) -> Event:
    return event(
        "agent_spawned", **{"agent": name, "parent": parent, "role": role, "kind": "coder", "task": "Code"} | fields
    )


def status(name: str, word: str, tool: str | None = None, **fields: Any) -> Event:
    return event("agent_status", agent=name, status=word, tool=tool, **fields)


def usage(name: str, tokens: int, **fields: Any) -> Event:
    return event("usage", agent=name, tokens=tokens, **fields)


def ended(name: str, word: str = "done", **fields: Any) -> Event:
    return event("agent_ended", agent=name, status=word, **fields)


def result(**fields: Any) -> Event:
    return event("result", **{"agent": "queen", "is_error": False, "subtype": "success"} | fields)


def started(conversation: str | None, **fields: Any) -> Event:
    return event("claude_started", agent="queen", conversation=conversation, **fields)


MESSAGE = event("message", **{"from": "queen", "to": "a", "text": "x"})
RETRY = event("api_retry", agent="queen", attempt=1, max_retries=10, delay_ms=5, error="overloaded")
SAMPLE = event("resources", cpu_ms=7, rss_bytes=4096, read_bytes=1, processes=2)
QUEEN = spawned("queen", None, "queen", kind="claude", task="Build it")


def fold(*events: Event) -> Hive:
    hive = Hive()
    for each in events:
        hive.apply(each)
    return hive


def test_a_hive_of_no_events_is_a_session_that_was_created() -> None:
    assert fold().summary() == {
        "status": "created",
        "attempt": 1,
        "reason": None,
        "exit_code": None,
        "signal": None,
        "agents": 0,
        "active_agents": 0,
        "tokens": 0,
        "cost_usd": None,
        "messages": 0,
        "api_retries": 0,
        "is_error": False,
        "headline": "",
        "last_ts": 0,
    }


def test_a_session_says_how_it_ended() -> None:
    hive = fold(session("running", agent="claude-flow"), session("failed", reason="signal", exit_code=137, signal=9))
    assert (hive.status, hive.reason, hive.exit_code, hive.signal) == ("failed", "signal", 137, 9)
    assert hive.program == "claude-flow" and hive.ended


def test_an_agent_carries_all_that_was_said_of_it() -> None:
    parts = {"input_tokens": 1, "output_tokens": 2, "cache_read_tokens": 3, "cache_write_tokens": 4}
    hive = fold(
        spawned("a", ts=1000),
        status("a", "working", "Bash"),
        usage("a", 10, **parts, tool_uses=1, duration_ms=5, cost_usd=0.5, model="opus"),
        ended("a", tokens=12, tool_uses=2, duration_ms=7, summary="Coded.", ts=1009),
    )
    assert hive.agents == {
        "a": Agent(
            agent="a",
            parent="queen",
            role="worker",
            kind="coder",
            task="Code",
            started_ms=1000,
            status="done",
            tokens=12,
            input_tokens=1,
            output_tokens=2,
            cache_read_tokens=3,
            cache_write_tokens=4,
            tool_uses=2,
            cost_usd=0.5,
            ended_ms=1009,
            duration_ms=7,
            model="opus",
            summary="Coded.",
        )
    }
    assert (hive.tokens, hive.cost_usd, hive.last_ts) == (12, 0.5, 1009)


def test_apply_names_the_agents_that_an_event_changed() -> None:
    hive = Hive()
    assert hive.apply(session("running")) == ()
    assert hive.apply(QUEEN) == hive.apply(started("c1")) == hive.apply(usage("queen", 5)) == ("queen",)
    assert hive.apply(spawned("a")) == hive.apply(status("a", "waiting")) == ("a",)
    assert [hive.apply(each) for each in (MESSAGE, RETRY, SAMPLE, event("log_rotated", base=1))] == [()] * 4
    assert hive.apply(result()) == hive.apply(event("of_tomorrow", agent="a")) == ()
    assert hive.apply(session("completed")) == ("queen", "a")
    assert (
        hive.apply(session("completed")) == hive.apply(session("failed", 2)) == hive.apply(session("failed", 1)) == ()
    )
    assert hive.apply(ended("a")) == ("a",)


def test_an_agent_without_a_duration_gets_the_time_from_start_to_end() -> None:
    hive = fold(spawned("a", ts=1000), status("a", "done", ts=1500), ended("a", ts=1700))
    assert (hive.agents["a"].ended_ms, hive.agents["a"].duration_ms) == (1500, 500)
    assert fold(spawned("a", ts=1000), ended("a", ts=900)).agents["a"].duration_ms == 0


def test_an_agent_that_works_again_was_resumed() -> None:
    hive = fold(spawned("a", ts=1000), ended("a", ts=1500), status("a", "working", "Bash"))
    agent = hive.agents["a"]
    assert (agent.active, agent.tool, agent.ended_ms, agent.duration_ms) == (True, "Bash", None, None)
    assert list(hive.active) == ["a"]


def test_an_agent_that_is_spawned_again_is_only_corrected() -> None:
    hive = fold(spawned("a"), ended("a"), spawned("a", parent="b", role="subagent"))
    assert (hive.agents["a"].parent, hive.agents["a"].role, hive.agents["a"].status) == ("b", "subagent", "done")


@pytest.mark.parametrize(
    "first", [usage("a", 5), status("a", "working"), event("agent_ended", agent="a", status="failed")]
)
def test_an_agent_that_nobody_introduced_has_a_place_until_somebody_does(first: Event) -> None:
    hive = fold(first)
    assert (hive.agents["a"].role, hive.agents["a"].parent, hive.agents["a"].kind) == ("worker", "queen", "")
    hive.apply(spawned("a", "b", "subagent"))
    assert (hive.agents["a"].role, hive.agents["a"].parent, hive.agents["a"].kind) == ("subagent", "b", "coder")


def test_a_queen_that_nobody_introduced_is_a_queen() -> None:
    queen = fold(usage("queen", 5)).agents["queen"]
    assert (queen.role, queen.parent) == ("queen", None)


def test_of_cumulative_figures_the_largest_counts() -> None:
    hive = fold(usage("a", 5, tool_uses=3, cost_usd=0.5), usage("a", 4, tool_uses=2, cost_usd=0.25), usage("b", 1))
    assert (hive.agents["a"].tokens, hive.agents["a"].tool_uses, hive.agents["a"].cost_usd) == (5, 3, 0.5)
    assert (hive.tokens, hive.cost_usd) == (6, 0.5)


def test_the_result_takes_the_place_of_the_sum_and_later_usage_adds_to_it() -> None:
    hive = fold(usage("queen", 100), usage("a", 50), result(tokens=180, cost_usd=0.5))
    assert (hive.tokens, hive.cost_usd) == (180, 0.5)
    hive.apply(usage("queen", 110, cost_usd=0.25))
    assert (hive.tokens, hive.cost_usd) == (190, 0.75)
    hive.apply(result(tokens=195, cost_usd=0.625))
    assert (hive.tokens, hive.cost_usd) == (195, 0.625)


def test_a_result_without_figures_leaves_the_sum() -> None:
    hive = fold(usage("queen", 100, cost_usd=0.25), result())
    assert (hive.tokens, hive.cost_usd) == (100, 0.25)


def test_the_last_result_is_kept_whole() -> None:
    models = {"opus": {"tokens": 9, "cost_usd": None}}
    hive = fold(
        result(), result(is_error=True, subtype="error_max_turns", text="No.", turns=3, duration_ms=4, models=models)
    )
    assert hive.result is not None
    assert (hive.result.is_error, hive.result.subtype, hive.result.text) == (True, "error_max_turns", "No.")
    assert (hive.result.turns, hive.result.duration_ms, hive.result.models) == (3, 4, models)
    assert hive.summary()["is_error"] is True


def test_the_latest_sample_and_the_counts_are_kept() -> None:
    rotated = (event("log_rotated", base=50), event("log_rotated", base=10))
    hive = fold(SAMPLE | {"cpu_ms": 1}, SAMPLE, *rotated, RETRY, MESSAGE, MESSAGE)
    assert hive.resources is not None
    assert (hive.resources.cpu_ms, hive.resources.read_bytes, hive.resources.write_bytes) == (7, 1, None)
    assert (hive.log_base, hive.api_retries, hive.messages) == (50, 1, 2)


def test_the_conversation_outlives_the_attempt() -> None:
    hive = fold(started("c1", model="opus", version="2.1.197"), session("starting", 2), started(None))
    assert (hive.conversation, hive.claude_version) == ("c1", "2.1.197")


def test_the_model_is_the_last_that_was_said() -> None:
    assert fold(started("c1", model="opus"), started("c1")).agents["queen"].model == "opus"
    assert fold(started("c1", model="opus"), usage("queen", 1, model="haiku")).agents["queen"].model == "haiku"


# -- attempts and ends -----------------------------------------------------------------------------------


def test_a_new_attempt_drops_the_agents_and_keeps_what_they_cost() -> None:
    hive = fold(QUEEN, usage("queen", 100), result(tokens=120, cost_usd=0.5), SAMPLE, session("failed", exit_code=1))
    hive.apply(session("starting", 2))
    assert (hive.attempt, hive.status, hive.exit_code) == (2, "starting", None)
    assert (hive.agents, hive.active, hive.result, hive.resources) == ({}, {}, None, None)
    assert (hive.tokens, hive.cost_usd) == (120, 0.5)
    hive.apply(usage("queen", 30))
    assert (hive.tokens, hive.cost_usd) == (150, 0.5)
    hive.apply(result(tokens=40, cost_usd=0.25))
    assert (hive.tokens, hive.cost_usd) == (160, 0.75)


def test_an_event_from_before_the_newest_position_of_its_attempt_was_seen_already() -> None:
    hive = fold(usage("a", 1, at=50), usage("a", 9, at=49), usage("a", 2, at=50))
    assert hive.tokens == 2
    hive.apply(session("starting", 2))
    hive.apply(usage("a", 3, at=10))
    assert hive.tokens == 5


def test_a_word_about_an_attempt_that_is_over_comes_too_late() -> None:
    hive = fold(session("running", 2), session("failed", 1))
    assert (hive.status, hive.attempt) == ("running", 2)


@pytest.mark.parametrize(("word", "queen"), [("completed", "done"), ("failed", "failed")])
def test_the_end_of_the_session_ends_whoever_was_still_open(word: str, queen: str) -> None:
    hive = fold(QUEEN, spawned("a"), spawned("b"), ended("b"), status("a", "working", "Bash"), session(word))
    assert {name: (agent.status, agent.tool) for name, agent in hive.agents.items()} == {
        "queen": (queen, None),
        "a": ("failed", None),
        "b": ("done", None),
    }
    assert not hive.active


def test_after_the_end_of_the_session_nobody_becomes_active() -> None:
    hive = fold(QUEEN, session("failed"), status("queen", "working"), usage("a", 7), spawned("b"))
    assert [agent.status for agent in hive.agents.values()] == ["failed", "failed", "failed"]
    assert not hive.active and hive.tokens == 7
    hive.apply(ended("a"))
    assert hive.agents["a"].status == "done"


def test_another_claude_code_after_the_end_of_one_adds_to_its_totals() -> None:
    first = (QUEEN, started("c1"), usage("queen", 100, cost_usd=0.25), result(tokens=120, cost_usd=0.5), ended("queen"))
    hive = fold(*first, QUEEN, started("c2"), status("queen", "working"), usage("queen", 30))
    assert (hive.tokens, hive.cost_usd, hive.agents["queen"].tokens) == (150, 0.5, 30)
    hive.apply(result(tokens=50, cost_usd=0.25))
    assert (hive.tokens, hive.cost_usd, hive.conversation) == (170, 0.75, "c2")


def test_a_start_that_comes_after_the_first_usage_counts_nothing_twice() -> None:
    hive = fold(usage("queen", 100), started("c1"), usage("queen", 110), started("c1"), usage("queen", 120))
    assert hive.tokens == 120


# -- one line for people ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "headline"),
    [
        ([QUEEN], "queen: planning"),
        ([QUEEN, status("queen", "working", "Bash")], "queen: Bash"),
        ([QUEEN, status("queen", "waiting", "Agent")], "queen: waiting"),
        ([QUEEN, status("queen", "waiting", "Agent"), spawned("a")], "coder: thinking"),
        ([QUEEN, status("queen", "waiting", "Agent"), spawned("a"), status("a", "working", "Read")], "coder: Read"),
        ([QUEEN, status("queen", "waiting", "Agent"), spawned("a"), spawned("b", kind="tester")], "tester: thinking"),
        ([QUEEN, status("queen", "waiting"), spawned("a"), spawned("b"), status("b", "waiting")], "coder: thinking"),
        ([QUEEN, spawned("a"), status("a", "working", "Bash")], "queen: planning"),
        ([QUEEN, ended("queen")], "queen: done"),
        ([QUEEN, session("failed")], "queen: failed"),
        ([usage("a", 1)], "worker: thinking"),
        ([usage("a", 1), ended("a", "failed")], "worker: failed"),
    ],
)
def test_the_headline_says_who_does_what(events: list[Event], headline: str) -> None:
    assert fold(*events).headline == fold(*events).summary()["headline"] == headline


# -- any events in any order -----------------------------------------------------------------------------

names = st.sampled_from(["queen", "a", "b", "c"])
counts = st.integers(0, 2**53 - 1)
amounts = st.none() | st.floats(0, 1e6)
any_event = st.one_of(
    st.builds(session, st.sampled_from(SESSION_STATUSES), st.integers(1, 3)),
    st.builds(spawned, names, st.none() | names, st.sampled_from(ROLES)),
    st.builds(status, names, st.sampled_from(AGENT_STATUSES), st.none() | st.just("Bash")),
    st.builds(lambda n, t, c, ms: usage(n, t, cost_usd=c, duration_ms=ms), names, counts, amounts, st.none() | counts),
    st.builds(lambda n, s, t: ended(n, s, tokens=t), names, st.sampled_from(["done", "failed"]), st.none() | counts),
    st.builds(lambda e, t, c: result(is_error=e, tokens=t, cost_usd=c), st.booleans(), st.none() | counts, amounts),
    st.builds(started, st.none() | st.sampled_from(["c1", "c2"])),
    st.sampled_from([MESSAGE, RETRY, SAMPLE, event("log_rotated", base=1)]),
    st.just(event("of_tomorrow", agent=7)),
)
stamped = st.builds(
    lambda e, ts, at: e | {"ts": ts} | ({} if at is None else {"at": at}),
    any_event,
    counts,
    st.none() | st.integers(0, 50),
)


@given(st.lists(stamped, max_size=30))
def test_any_events_fold_into_a_state_that_holds_together(events: list[Event]) -> None:
    hive = fold(*events)
    assert set(hive.active) == {name for name, agent in hive.agents.items() if agent.active}
    assert not (hive.ended and hive.active)
    assert hive.last_ts >= max((each["ts"] for each in events if "at" not in each), default=0)
    assert hive.tokens >= hive.past_tokens >= 0
    assert all((agent.ended_ms is None) == agent.active for agent in hive.agents.values())
    assert hive.summary()["agents"] == len(hive.agents)


@given(st.lists(stamped, max_size=20), st.data())
def test_repeating_usage_and_status_changes_nothing(events: list[Event], data: st.DataObject) -> None:
    twice = [
        each
        for made in events
        for each in [made] * (data.draw(st.integers(1, 3)) if made["type"] not in ("message", "api_retry") else 1)
    ]
    assert fold(*twice) == fold(*events)


@given(st.lists(any_event.filter(lambda made: made.get("attempt", 1) == 1), max_size=20))
def test_replaying_what_came_before_in_the_stream_changes_nothing(events: list[Event]) -> None:
    placed = [made | {"at": at} for at, made in enumerate(events)]
    again = fold(*placed)
    for made in placed[:-1]:
        assert again.apply(made) == ()
    assert again == fold(*placed)


@given(st.lists(stamped, max_size=20), st.integers(0, 20))
def test_two_halves_give_the_same_as_one_pass(events: list[Event], middle: int) -> None:
    hive = copy.deepcopy(fold(*events[:middle]))
    for made in events[middle:]:
        hive.apply(made)
    assert hive == fold(*events)


@given(st.lists(stamped, max_size=20))
def test_apply_names_every_agent_that_it_changes(events: list[Event]) -> None:
    hive = Hive()
    for made in events:
        before = copy.deepcopy(hive.agents)
        named = hive.apply(made)
        changed = {name for name, agent in hive.agents.items() if before.get(name) != agent}
        assert changed <= set(named) <= set(hive.agents)
