"""What viewers ask for: understood, or answered with what is wrong; and equal wishes are equal subscriptions."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.hives import RUNNING, card, session_id, the
from ws_relay.subscription import (
    ACTIONS,
    FILTERS,
    LONGEST_TEXT,
    SUBSCRIBE,
    BadWords,
    Ping,
    Request,
    Subscription,
    Unsubscribe,
    decode,
    parse,
)

ONE, OTHER = "0f9a3c1e-0000-4000-8000-00000000000a", "0f9a3c1e-0000-4000-8000-00000000000b"


def subscribe(**words: Any) -> Request:
    """What a `subscribe` with these words is understood as, after it came through JSON."""
    found = parse(decode(orjson.dumps({"action": "subscribe", **words})))
    assert isinstance(found, Request)
    return found


def refused(document: Any) -> BadWords:
    with pytest.raises(BadWords) as caught:
        parse(document)
    return caught.value


# -- what is understood ------------------------------------------------------------------------------------------------


def test_a_bare_subscribe_asks_for_the_state_of_everything() -> None:
    found = subscribe()
    assert found == Request(subscription=Subscription())
    assert (found.snapshot, found.cursors, found.max_bytes_per_s, found.id) == (True, {}, None, None)
    asked = found.subscription
    assert (asked.performance, asked.topology, asked.neural, asked.events, asked.hz) == (True, True, False, False, None)
    assert (asked.session_id, asked.labels, asked.roles) == (None, (), None)


def test_the_example_of_the_original_s_documents_is_understood() -> None:
    filters = {
        "include_performance": True,
        "include_topology": True,
        "include_neural": False,
        "update_frequency_hz": 10,
        "agent_types": ["queen", "worker"],
    }
    found = subscribe(session_id=ONE, swarm_id=ONE, filters=filters).subscription
    assert found == Subscription(session_id=ONE, hz=10.0, roles=frozenset({"queen", "worker"}))
    assert type(found.hz) is float


def test_all_words_of_our_own_are_understood() -> None:
    words = {"labels": {"team": "red"}, "events": True, "from": {ONE: 70, OTHER: 0}, "snapshot": False}
    assert subscribe(**words, max_bytes_per_s=50_000, id=7) == Request(
        subscription=Subscription(labels=(("team", "red"),), events=True),
        cursors={ONE: 70, OTHER: 0},
        snapshot=False,
        max_bytes_per_s=50_000,
        id=7,
    )


def test_an_offset_alone_is_that_of_the_session_subscribed_to() -> None:
    assert subscribe(session_id=ONE, **{"from": 12}).cursors == {ONE: 12}
    assert subscribe(swarm_id=ONE, **{"from": 0}).cursors == {ONE: 0}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"action": "unsubscribe"}, Unsubscribe()),
        ({"type": "unsubscribe", "id": "x"}, Unsubscribe("x")),
        ({"action": "ping"}, Ping()),
        ({"type": "ping", "timestamp": 17}, Ping()),
        ({"action": None, "type": "ping", "id": 1.5}, Ping(1.5)),
    ],
    ids=str,
)
def test_the_other_actions_are_understood(document: dict[str, Any], message: object) -> None:
    assert parse(document) == message


@pytest.mark.parametrize("name", [*SUBSCRIBE[1:], *FILTERS])
def test_null_is_as_good_as_leaving_out(name: str) -> None:
    assert subscribe(**{name: None}) == subscribe() == subscribe(filters=dict.fromkeys(FILTERS))


FILTER_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "include_performance": st.booleans(),
    "include_topology": st.booleans(),
    "include_neural": st.booleans(),
    "update_frequency_hz": st.integers(1, 60) | st.floats(0.1, 60),
    "agent_types": st.lists(st.sampled_from(["queen", "worker", "coder"]), max_size=5),
}
some_filters = st.fixed_dictionaries({}, optional=FILTER_VALUES)


@given(some_filters, st.dictionaries(st.sampled_from("abc"), st.text(max_size=3)), st.randoms(use_true_random=False))
def test_equal_meanings_give_equal_keys(filters: dict[str, Any], labels: dict[str, str], shuffled: Any) -> None:
    one = subscribe(filters=filters, labels=labels, swarm_id=ONE).subscription
    names = list(labels)
    shuffled.shuffle(names)
    said = {name: _said_otherwise(value) for name, value in filters.items()}
    inside = {name: value for name, value in said.items() if shuffled.random() < 0.5}
    other = subscribe(
        labels={name: labels[name] for name in names},
        filters=inside,
        session_id=ONE.upper(),
        **{name: value for name, value in said.items() if name not in inside},
    ).subscription
    assert one.key == other.key
    assert hash(one.key) == hash(other.key)


def _said_otherwise(value: Any) -> Any:
    if isinstance(value, list):
        return [*reversed(value), *value]
    return float(value) if type(value) is int else value


@pytest.mark.parametrize(
    "words",
    [
        {"session_id": ONE},
        {"labels": {"a": "b"}},
        {"include_performance": False},
        {"include_topology": False},
        {"include_neural": True},
        {"update_frequency_hz": 5},
        {"agent_types": ["queen"]},
        {"events": True},
    ],
    ids=str,
)
def test_other_meanings_give_other_keys(words: dict[str, Any]) -> None:
    assert subscribe(**words).subscription.key != subscribe().subscription.key


def test_what_is_one_viewer_s_alone_is_not_in_the_key() -> None:
    words = {"from": {ONE: 5}, "snapshot": False, "max_bytes_per_s": 5000, "id": "x"}
    assert subscribe(**words).subscription.key == subscribe().subscription.key


# -- what is wanted ----------------------------------------------------------------------------------------------------


def test_a_session_is_wanted_by_id_and_by_all_labels() -> None:
    known = card(RUNNING, labels={"team": "red", "size": "s"})
    assert subscribe().subscription.wants(known)
    assert subscribe(session_id=session_id(RUNNING), labels={"team": "red"}).subscription.wants(known)
    assert not subscribe(session_id=ONE).subscription.wants(known)
    assert not subscribe(labels={"team": "red", "size": "l"}).subscription.wants(known)
    assert not subscribe(labels={"colour": "red"}).subscription.wants(known)


@pytest.mark.parametrize(
    ("types", "wanted"),
    [
        (["queen"], ["queen"]),
        (["coordinator"], ["queen"]),
        (["worker"], ["a", "b", "c"]),
        (["subagent"], ["d"]),
        (["coder", "researcher"], ["a", "d"]),
        (["nobody"], []),
        ([], ["queen", "a", "b", "c", "d"]),
    ],
)
def test_agents_are_wanted_by_role_and_by_the_type_that_they_are_shown_with(
    types: list[str], wanted: list[str]
) -> None:
    asked = subscribe(agent_types=types).subscription
    hive = the(RUNNING).hive
    assert hive is not None
    assert [name for name, agent in hive.agents.items() if asked.wants_agent(agent)] == wanted


# -- what is refused ---------------------------------------------------------------------------------------------------

REFUSALS: list[tuple[dict[str, Any], str, str | None, str]] = [
    ({}, "unknown_action", "action", '"action" is missing; it is one of subscribe, unsubscribe, ping'),
    ({"action": "dance"}, "unknown_action", "action", "'dance' is no action; there are subscribe, unsubscribe, ping"),
    ({"type": "pong"}, "unknown_action", "type", "'pong' is no action; there are subscribe, unsubscribe, ping"),
    ({"action": ["subscribe"]}, "wrong_type", "action", "action must be a text, not a list"),
    ({"action": "ping", "id": True}, "wrong_type", "id", "id must be a text or a number, not true"),
    ({"action": "ping", "id": {}}, "wrong_type", "id", "id must be a text or a number, not an object"),
    ({"action": "ping", "id": "x" * 257}, "too_large", "id", "id has 257 characters; at most 256 are echoed"),
]
KNOWN = ", ".join((*SUBSCRIBE, *FILTERS))
MANY = {session_id(number): 0 for number in range(10_001)}
ANOTHER = f"from: it names session {OTHER}, and session_id another one"
A_UUID = "a UUID, as hive-session create prints it"
NOT_ITS_SWARM = "swarm_id: it is not session_id, and the swarm of a session has the session's id"
TWICE = "update_frequency_hz: it stands in filters and beside it, and differs"
SUBSCRIBE_REFUSALS: list[tuple[dict[str, Any], str, str, str]] = [
    ({"sesion_id": ONE}, "unknown_filter", "sesion_id", f"'sesion_id' is nothing to subscribe with; there are {KNOWN}"),
    ({"filters": {"fps": 3}}, "unknown_filter", "fps", f"'fps' is no filter; there are {', '.join(FILTERS)}"),
    ({"filters": []}, "wrong_type", "filters", "filters must be an object, not a list"),
    ({"session_id": "abc"}, "wrong_type", "session_id", f"session_id must be {A_UUID}, not 'abc'"),
    ({"session_id": 7}, "wrong_type", "session_id", f"session_id must be {A_UUID}, not 7"),
    ({"swarm_id": "*"}, "wrong_type", "swarm_id", f"swarm_id must be {A_UUID}, not '*'"),
    ({"session_id": ONE, "swarm_id": OTHER}, "contradiction", "swarm_id", NOT_ITS_SWARM),
    ({"labels": ["a"]}, "wrong_type", "labels", "labels must be an object of texts, not a list"),
    ({"labels": {"a": 1}}, "wrong_type", "labels", "labels must be an object of texts, not an object"),
    ({"labels": {str(n): "" for n in range(65)}}, "too_large", "labels", "labels has 65 entries; at most 64 are taken"),
    ({"labels": {"a": "x" * 257}}, "too_large", "labels", "labels has 257 characters in one text; at most 256 are taken"),
    ({"agent_types": "queen"}, "wrong_type", "agent_types", "agent_types must be a list of texts, not 'queen'"),
    ({"agent_types": ["queen", None]}, "wrong_type", "agent_types", "agent_types must be a list of texts, not a list"),
    ({"agent_types": ["x"] * 65}, "too_large", "agent_types", "agent_types has 65 entries; at most 64 are taken"),
    ({"agent_types": ["x" * 257]}, "too_large", "agent_types", "agent_types has 257 characters in one text; at most 256 are taken"),
    ({"events": 1}, "wrong_type", "events", "events must be true or false, not 1"),
    ({"snapshot": "no"}, "wrong_type", "snapshot", "snapshot must be true or false, not 'no'"),
    ({"filters": {"include_neural": 0.5}}, "wrong_type", "include_neural", "include_neural must be true or false, not 0.5"),
    ({"update_frequency_hz": "10"}, "wrong_type", "update_frequency_hz", "update_frequency_hz must be a number, not '10'"),
    ({"update_frequency_hz": True}, "wrong_type", "update_frequency_hz", "update_frequency_hz must be a number, not true"),
    ({"update_frequency_hz": 0}, "out_of_range", "update_frequency_hz", "update_frequency_hz must be from 0.1 to 60, not 0"),
    ({"update_frequency_hz": 60.5}, "out_of_range", "update_frequency_hz", "update_frequency_hz must be from 0.1 to 60, not 60.5"),
    ({"update_frequency_hz": 5, "filters": {"update_frequency_hz": 6}}, "contradiction", "update_frequency_hz", TWICE),
    ({"max_bytes_per_s": 1e6}, "wrong_type", "max_bytes_per_s", "max_bytes_per_s must be a whole number, not 1000000.0"),
    ({"max_bytes_per_s": -1}, "out_of_range", "max_bytes_per_s", "max_bytes_per_s must be from 1000 to 1e+09, not -1"),
    ({"from": 5}, "bad_cursor", "from", "from is an offset alone, and no session_id says of which session"),
    ({"from": -5, "session_id": ONE}, "bad_cursor", "from", "from: -5 is no byte offset in a file"),
    ({"from": {ONE: 2**53}}, "bad_cursor", "from", "from: 9007199254740992 is no byte offset in a file"),
    ({"from": "0", "session_id": ONE}, "wrong_type", "from", "from must be an offset, or an object of offsets by session, not '0'"),
    ({"from": {ONE: None}}, "wrong_type", "from", "from must be made of whole numbers, not null"),
    ({"from": {"x": 0}}, "wrong_type", "from", f"from must be {A_UUID}, not 'x'"),
    ({"from": {OTHER: 0}, "session_id": ONE}, "contradiction", "from", ANOTHER),
    ({"from": {ONE: 0, ONE.upper(): 1}}, "contradiction", "from", f"from: it names session {ONE} twice"),
    ({"from": MANY}, "too_large", "from", "from has 10001 entries; at most 10000 are taken"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "code", "name", "sentence"), REFUSALS, ids=[row[3][:40] for row in REFUSALS])
def test_every_wrong_message_is_told_what_is_wrong(document: Any, code: str, name: str, sentence: str) -> None:
    bad = refused(document)
    assert (bad.code, bad.field, bad.message, bad.id) == (code, name, sentence, None)


@pytest.mark.parametrize(("words", "code", "name", "sentence"), SUBSCRIBE_REFUSALS)
def test_every_wrong_word_is_told_what_is_wrong_with_the_id(words: Any, code: str, name: str, sentence: str) -> None:
    bad = refused({"action": "subscribe", "id": "s1", **words})
    assert (bad.code, bad.field, bad.message, bad.id) == (code, name, sentence, "s1")


@pytest.mark.parametrize(
    ("document", "shown"),
    [([], "a list"), ("subscribe", "a text"), (None, "null"), (True, "true"), (4, "a number"), (0.5, "a number")],
)
def test_what_is_no_object_is_told_what_it_is(document: Any, shown: str) -> None:
    with pytest.raises(BadWords) as caught:
        decode(orjson.dumps(document))
    sentence = f"a message is a JSON object, not {shown}"
    for bad in (caught.value, refused(document)):
        assert (bad.code, bad.field, bad.message) == ("not_an_object", None, sentence)


@pytest.mark.parametrize("frame", ["", "{", '{"a":1}{"a":2}', b"\xff", "NaN", '"\\ud800"', "[" * 5000])
def test_what_is_no_json_is_told_so(frame: str | bytes) -> None:
    with pytest.raises(BadWords, match="the frame is not one JSON document: ") as caught:
        decode(frame)
    assert (caught.value.code, caught.value.field) == ("bad_json", None)


def test_a_long_wrong_word_is_not_echoed_whole() -> None:
    assert len(refused({"action": "x" * 1_000_000}).message) < 200
    assert len(refused({"action": "subscribe", "x" * 1_000_000: 1}).message) < 400
    assert len(refused({"action": "subscribe", "x" * 1_000_000: 1}).field or "") <= LONGEST_TEXT


scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
names = st.sampled_from([*SUBSCRIBE, *FILTERS, ONE]) | st.text(max_size=3)
any_json = st.recursive(
    scalars | st.text(max_size=4) | st.sampled_from([*ACTIONS, ONE, OTHER]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5),
    max_leaves=20,
)
any_subscribe = st.dictionaries(names, any_json, max_size=4).map(lambda words: words | {"action": "subscribe"})


@given(any_json | any_subscribe)
def test_any_json_is_understood_or_refused_in_one_sentence(document: Any) -> None:
    try:
        found = parse(document)
    except BadWords as bad:
        assert bad.code and bad.message and "\n" not in bad.message
        orjson.dumps([bad.code, bad.message, bad.field, bad.id])
    else:
        assert isinstance(found, Request | Unsubscribe | Ping)
        if isinstance(found, Request):
            hash(found.subscription.key)
        orjson.dumps(found.id)
