"""The addresses hive://…: which there are, what a change concerns, how a session is shown and its id completed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk.cards import Change
from mcp_tcp import resources
from mcp_tcp.catalogue import TOOLS
from mcp_tcp.resources import PARTS, complete_id, concerned, describe, parse_uri
from tests.unit.hives import card, session_id

ID = session_id(0xABC)
PREFIX = "hive://session/"


@pytest.mark.parametrize("suffix", ["", "/agents", "/telemetry", "/log"])
def test_each_part_of_a_session_has_its_address(suffix: str) -> None:
    assert parse_uri(f"{PREFIX}{ID}{suffix}") == (ID, PARTS[suffix])


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "hive://sessions",
        "hive://session/",
        "hive://session//log",
        f"hive://session/{ID}/",
        f"hive://session/{ID}//log",
        f"hive://session/{ID}/log/",
        f"hive://session/{ID}/logs",
        f"hive://session/{ID}/agents/queen",
        f"hive://session/{ID}/log?tail=5",
        f"hive://session/{ID}#",
        f"hive://session/{ID} ",
        f"hive://session/{ID.upper()}",
        f"hive://session/{ID.upper()}/log",
        f"hive://session/{ID[:-1]}",
        f"HIVE://session/{ID}",
        f"hive://session/../{ID}",
        f"hive://session/{ID}%2Flog",
        f"file:///{ID}",
        f" hive://session/{ID}",
    ],
)
def test_anything_else_is_no_address(uri: str) -> None:
    assert parse_uri(uri) is None


@given(st.uuids(), st.sampled_from(sorted(PARTS)))
def test_every_session_id_and_part_make_an_address_that_says_both(uuid: Any, suffix: str) -> None:
    assert parse_uri(f"{PREFIX}{uuid}{suffix}") == (str(uuid), PARTS[suffix])


@given(st.text(max_size=60) | st.text("hive://son0-9af/lgtemry", max_size=60).map(PREFIX.__add__))
def test_no_text_makes_it_raise_and_what_it_takes_is_an_address(text: str) -> None:
    found = parse_uri(text)
    if found is not None:
        assert text == f"{PREFIX}{found[0]}{found[1].suffix}"


@given(st.integers(0, 31).map(Change))
def test_a_change_concerns_addresses_that_exist_each_once(change: Change) -> None:
    uris = list(concerned(ID, change))
    assert len(uris) == len(set(uris))
    assert all(uri == resources.SESSIONS or (parse_uri(uri) or ("",))[0] == ID for uri in uris)
    assert bool(uris) == bool(change)


def test_every_part_is_answered_by_a_tool_that_takes_what_it_is_asked() -> None:
    asked = [(part.tool, {"session_id": ID, **part.args}) for part in PARTS.values()]
    asked.append((resources.LIST_TOOL, resources.LIST_ARGS))
    for name, args in asked:
        assert TOOLS[name].check(args) is None


def test_the_templates_are_the_parts() -> None:
    assert [each["uriTemplate"] for each in resources.TEMPLATES] == [
        "hive://session/{id}",
        "hive://session/{id}/agents",
        "hive://session/{id}/telemetry",
        "hive://session/{id}/log",
    ]
    assert [each["mimeType"] for each in resources.TEMPLATES] == [*["application/json"] * 3, "text/plain"]
    assert len({each["name"] for each in resources.TEMPLATES}) == 4


@pytest.mark.parametrize(
    ("task", "title"),
    [
        ("Build it", "failed: exit 7: Build it"),
        ("", "failed: exit 7"),
        (" \n\t ", "failed: exit 7"),
        ("one\ntwo\t three", "failed: exit 7: one two three"),
        ("x" * 200, f"failed: exit 7: {'x' * 80}"),
    ],
)
def test_a_session_is_shown_by_its_state_and_task(task: str, title: str) -> None:
    shown = describe(card(7, "failed", state="failed: exit 7", task=task))
    uri = f"{PREFIX}{session_id(7)}"
    assert shown == {"uri": uri, "name": session_id(7), "title": title, "mimeType": "application/json"}


CARDS = [card(number, "failed" if number % 3 == 0 else "completed") for number in range(250, 0, -1)]


def test_a_completion_has_the_first_hundred_and_says_that_there_are_more() -> None:
    found = complete_id("", CARDS, ended_badly_first=False)
    assert found == {"values": [each.id for each in CARDS[:100]], "total": 250, "hasMore": True}


def test_a_completion_begins_with_what_is_there_so_far() -> None:
    found = complete_id(session_id(0xF0)[:-1], CARDS, ended_badly_first=False)
    assert found == {"values": [session_id(number) for number in range(250, 239, -1)], "total": 11, "hasMore": False}
    assert complete_id("x", CARDS, ended_badly_first=True) == {"values": [], "total": 0, "hasMore": False}


def test_for_a_diagnosis_those_that_failed_come_first_and_keep_their_order() -> None:
    values = complete_id("", CARDS, ended_badly_first=True)["values"]
    failed = [each.id for each in CARDS if each.status == "failed"]
    assert values[: len(failed)] == failed
    assert values[len(failed) :] == [each.id for each in CARDS if each.status != "failed"][: 100 - len(failed)]
