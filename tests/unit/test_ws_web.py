"""What the relay says over HTTP: its pages of sessions and events without a socket, its heads, its figures."""

import asyncio
import json
import os
import re
import tracemalloc
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.datastructures import Headers

from hive_session.ondisk.layout import Layout, SessionPaths
from tests.integration.mcp_disk import append, message_event
from tests.unit.hives import Known, card, session, session_id
from ws_relay.api import MOST_EVENT_BYTES, MOST_ROWS, ROOT, Api, ApiError, events_page
from ws_relay.counters import Counters
from ws_relay.door import Refusal
from ws_relay.metrics import COUNTED, exposition
from ws_relay.web import plain, refused, response, takes_gzip

# -- sessions ----------------------------------------------------------------------------------------------------------


def asked(target: str, count: int = 7) -> dict[str, Any]:
    """What the API says of so many sessions that wait."""

    async def ask() -> bytes:
        sessions = Known(*(session(card(number, "created")) for number in range(count)))
        sessions.layout = Layout("", "", "")
        return await Api(sessions).answer(target)

    found: dict[str, Any] = json.loads(asyncio.run(ask()))
    return found


def refusal(target: str) -> ApiError:
    with pytest.raises(ApiError) as caught:
        asked(target)
    return caught.value


@pytest.mark.parametrize("limit", [1, 2, 6, 7, 8])
def test_pages_together_are_all_sessions_the_newest_first(limit: int) -> None:
    ids, target = [], f"{ROOT}?limit={limit}"
    while True:
        page = asked(target)
        ids += [row["session_id"] for row in page["sessions"]]
        if page["next_cursor"] is None:
            break
        assert len(page["sessions"]) == limit
        target = f"{ROOT}?limit={limit}&cursor={page['next_cursor']}"
    assert ids == [session_id(number) for number in reversed(range(7))]
    assert page["total"] == page["by_status"]["created"] == 7


def test_more_than_the_most_is_the_most() -> None:
    assert len(asked(f"{ROOT}?limit=999999", MOST_ROWS + 1)["sessions"]) == MOST_ROWS


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        (f"{ROOT}?limit=0", 400, "out_of_range"),
        (f"{ROOT}?limit=-1", 400, "out_of_range"),
        (f"{ROOT}?limit=\u0663", 400, "out_of_range"),
        (f"{ROOT}?limit={'9' * 5000}", 400, "out_of_range"),
        (f"{ROOT}?cursor=1", 400, "bad_cursor"),
        (f"{ROOT}?cursor=x.{session_id(1)}", 400, "bad_cursor"),
        (f"{ROOT}/{session_id(99)}", 404, "not_found"),
        (f"{ROOT}/<script>", 404, "not_found"),
        (f"{ROOT}/{session_id(1)}/memory", 404, "not_found"),
    ],
)
def test_what_makes_no_sense_is_answered_with_a_code_and_a_sentence(target: str, status: int, code: str) -> None:
    found = refusal(target)
    assert (found.status, found.code) == (status, code)
    assert json.loads(found.body()) == {"error": {"code": code, "message": str(found)}}
    assert "<" not in str(found)


@given(st.text())
def test_any_query_is_answered_or_refused(query: str) -> None:
    try:
        asked(f"{ROOT}?{query}")
    except ApiError as exc:
        assert exc.status == 400


# -- events ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def paths(tmp_path: Path) -> SessionPaths:
    found = Layout(str(tmp_path), str(tmp_path), str(tmp_path)).session(session_id(1))
    Path(found.dir).mkdir(parents=True)
    return found


def page(paths: SessionPaths, start: int = 0, limit: int = MOST_EVENT_BYTES) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(events_page(paths, start, limit))
    return found


def test_without_a_file_there_are_no_events_and_no_cursor_but_0(paths: SessionPaths) -> None:
    assert page(paths) == {"session_id": paths.id, "from": 0, "to": 0, "end": 0, "events": []}
    with pytest.raises(ApiError, match="there are no events yet"):
        page(paths, 1)


def test_a_page_ends_where_the_next_begins_whatever_stands_between(paths: SessionPaths) -> None:
    event = message_event("x")
    append(paths.telemetry, event + b"{}\n\xff\n\n" + event * 3 + b'{"half')
    whole = Path(paths.telemetry).stat().st_size - len(b'{"half')
    events, at = [], 0
    while at < whole:
        found = page(paths, at, len(event) + 1)
        assert found["end"] == whole and found["to"] > at
        events += found["events"]
        at = found["to"]
    assert events == [json.loads(event)] * 4
    assert page(paths, whole)["events"] == [] and page(paths, whole)["to"] == whole


def test_a_line_that_is_far_too_long_is_on_no_page_and_holds_up_none(paths: SessionPaths) -> None:
    event = message_event("x")
    append(paths.telemetry, event)
    os.truncate(paths.telemetry, 32 << 20)  # a hole: no line end in it
    tracemalloc.start()
    try:
        assert page(paths) | {"events": []} == {
            "session_id": paths.id,
            "from": 0,
            "to": len(event),
            "end": len(event),
            "events": [],
        }
        append(paths.telemetry, b"\n" + event)
        found = page(paths, len(event), 100)
        if not found["events"]:
            found = page(paths, found["to"], 100)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert found["events"] == [json.loads(event)] and found["to"] == found["end"] == os.path.getsize(paths.telemetry)


def test_a_cursor_within_a_line_or_beyond_the_end_is_refused(paths: SessionPaths) -> None:
    event = message_event("x")
    append(paths.telemetry, event * 2)
    for start in (1, len(event) - 1, len(event) + 1, 2 * len(event) + 1):
        with pytest.raises(ApiError) as caught:
            page(paths, start)
        assert caught.value.code == "bad_cursor"
    assert len(page(paths, len(event))["events"]) == 1


# -- heads -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "takes"),
    [
        ([], False),
        ([""], False),
        (["gzip"], True),
        (["GZIP"], True),
        (["br, gzip"], True),
        (["br", "gzip"], True),
        (["*"], True),
        (["gzip;q=0"], False),
        (["gzip; q=0.000"], False),
        (["gzip;q=0.001"], True),
        (["gzip;q=1.0"], True),
        (["identity"], False),
        (["gzipped"], False),
    ],
)
def test_what_is_packed_goes_to_who_takes_it(accept: list[str], takes: bool) -> None:
    assert takes_gzip(Headers([("Accept-Encoding", value) for value in accept])) is takes


def test_every_answer_says_that_it_is_what_it_says_and_the_last_one() -> None:
    headers = response(200, "application/json", b"{}").headers
    assert (headers["X-Content-Type-Options"], headers["Connection"]) == ("nosniff", "close")
    assert (headers["Content-Length"], headers["Content-Type"]) == ("2", "application/json")
    assert "Content-Type" not in response(304, "x", b"").headers


def test_a_refusal_for_want_of_a_token_says_so_in_its_head_and_no_other_does() -> None:
    assert refused(Refusal(401, "a token is needed")).headers["WWW-Authenticate"] == "Bearer"
    assert "WWW-Authenticate" not in refused(Refusal(403, "no")).headers
    assert plain(503, "later", [("Retry-After", "5")]).headers["Retry-After"] == "5"


# -- figures -----------------------------------------------------------------------------------------------------------


def test_every_counter_is_exposed_once_and_well_formed() -> None:
    counters = Counters(**{field.name: 10 + place for place, field in enumerate(fields(Counters))})
    text = exposition(sessions={"running": 2}, clients=3, refused=4, counters=counters, deaf=True).decode()
    samples = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            assert re.fullmatch(r'[a-z_]+(\{[a-z]+="[^"]+"\})?', name) and name not in samples
            assert f"# TYPE {name.partition('{')[0]} " in text
            samples[name] = float(value)
    assert samples["hive_relay_clients"] == 3 and samples['hive_sessions{state="running"}'] == 2
    shown = set(samples.values())
    assert {getattr(counters, field.name) for field in fields(Counters)} <= shown, "a counter that nobody sees"
    assert {field for field, _ in COUNTED.values()} <= {field.name for field in fields(Counters)}
