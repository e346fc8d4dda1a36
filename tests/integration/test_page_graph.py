"""The graph of the page in a headless Chromium: what it tells apart, what moves in it, and that it rests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from hive_session.ondisk.events import encode_event
from hive_session.ondisk.layout import SessionPaths
from tests.integration.hive import Hive
from tests.integration.mcp_disk import append, change_record
from tests.integration.page_browser import await_step, begin, in_order, said
from tests.integration.ws_server import Json, RelayProcess

pytestmark = [pytest.mark.npm, pytest.mark.slow, pytest.mark.timeout(300)]

INKS = {"message": "#6b5fa8", "text": "#e6edf3", "running": "#58a6ff"}  # of the dark theme


def tell(paths: SessionPaths, *events: Json) -> None:
    now_ms = time.time_ns() // 1_000_000
    append(paths.telemetry, b"".join(encode_event({"ts": now_ms, **event}) for event in events))


@pytest.fixture
def talkers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RelayProcess, SessionPaths]]:
    """A session of a queen and two workers who all speak with each other."""
    root = tmp_path_factory.mktemp("graph")
    with Hive(root / "hive") as hive:
        paths = hive.paths(hive.create("rehearsal", task="Speak with each other"))
        change_record(
            paths, status="running", external=True, attempt=1, started=datetime.now().astimezone().isoformat()
        )
        spawned = {"type": "agent_spawned", "kind": "coder", "task": "", "parent": "queen", "role": "worker"}
        tell(
            paths,
            {"type": "session", "status": "running", "attempt": 1},
            {**spawned, "agent": "queen", "parent": None, "role": "queen", "kind": "claude"},
            {**spawned, "agent": "one"},
            {**spawned, "agent": "other"},
            *(
                {"type": "message", "from": one, "to": other, "text": "Hello"}
                for one, other in (("one", "other"), ("queen", "one"), ("other", "queen"))
            ),
        )
        with RelayProcess(hive) as relay:
            yield relay, paths


@pytest.mark.parametrize("renderer", ["gpu", "canvas"])
def test_messages_a_choice_and_a_tool_that_begins_are_seen(
    talkers: tuple[RelayProcess, SessionPaths], renderer: str
) -> None:
    relay, paths = talkers
    (session,) = relay.hive.index()
    call = begin("graph_look", relay, session=session, renderer=renderer, **INKS)
    await_step(call, "chosen")
    tell(paths, {"type": "agent_status", "agent": "one", "status": "working", "tool": "Bash"})
    found = in_order(said(call))
    assert found["messages"] > 4
    assert found["name"].startswith(("queen", "coder"))
    assert [ring["motions"] for ring in found["shown"]] == [1]


def test_a_graph_rests_and_nothing_moves_for_who_wants_no_motion(talkers: tuple[RelayProcess, SessionPaths]) -> None:
    relay, paths = talkers
    call = begin("graph_calm", relay)
    await_step(call, "still")
    tell(paths, {"type": "agent_status", "agent": "one", "status": "working", "tool": "Bash"})
    assert in_order(said(call))["rings"] == 0
