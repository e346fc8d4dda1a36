"""The page for whoever has a phone, no mouse, or poor eyes, and for whoever comes too early."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.integration.hive import Hive
from tests.integration.mcp_server import rehearse
from tests.integration.page_browser import await_step, begin, browse, half_played, in_order, said
from tests.integration.ws_server import RelayProcess

pytestmark = [pytest.mark.npm, pytest.mark.slow, pytest.mark.timeout(300)]

LIVE, PLAYED, FAILED, WAITING = "live", "played", "failed", "waiting"
REASON = "The run fails on purpose with exit code 7."


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RelayProcess, dict[str, str]]]:
    """A relay, and the ids of a session that runs, of one that is done, of one that failed, and of one that waits."""
    root = tmp_path_factory.mktemp("page_use")
    root.chmod(0o755)
    with Hive(root / "hive", HOME=str(root)) as hive:
        ids = {PLAYED: rehearse(hive, "--seconds", "1"), FAILED: rehearse(hive, "--seconds", "1", "--exit-code", "7")}
        ids[LIVE] = half_played(hive)
        ids[WAITING] = hive.create("rehearsal", task="Wait")
        for ended in (PLAYED, FAILED):
            hive.ended(ids[ended])
        with RelayProcess(hive) as relay:
            yield relay, ids


def test_every_text_can_be_read_and_the_focus_is_seen_and_nothing_moves_unasked(
    stage: tuple[RelayProcess, dict[str, str]],
) -> None:
    relay, ids = stage
    moment_ms = relay.hive.events(ids[PLAYED], "agent_spawned")[2]["ts"] + 1
    moment = datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    found = browse("access", relay, moment=moment, **ids)
    assert found["texts"] > 500 and found["faint"] == []
    sys.stdout.write(f"{found['texts']} texts; {len(found['stops'])} stops of the Tab key\n")
    assert len(found["stops"]) > 20
    assert [stop for stop in found["stops"] if not (stop["outlined"] and stop["inSight"])] == []
    assert found["moving"] > 0 and found["still"] == 0


def test_a_session_is_looked_through_with_keys_alone(stage: tuple[RelayProcess, dict[str, str]]) -> None:
    relay, ids = stage
    found = browse("walk", relay, word=ids[FAILED], sessions=len(ids))
    assert [told.split()[0] for told in found["told"]] == ["session", "result"]
    assert found["told"][0] == "session failed: exit 7"
    assert any("uses" in line for line in found["log"]) and not any('{"' in line for line in found["log"])
    assert any(line.startswith('{"type"') for line in found["raw"])
    assert found["first"] == 1 and not found["replayed"], "arrows in tabs do not step through time"
    assert "Role" in found["card"]


def test_on_a_phone_one_part_is_shown_at_a_time_and_nothing_is_cut(stage: tuple[RelayProcess, dict[str, str]]) -> None:
    relay, ids = stage
    found = browse("phone", relay, failed=ids[FAILED])
    assert found["alone"] == {"list": True, "panel": True}
    assert REASON in found["reason"]
    assert found["faults"] == []


def test_a_link_to_a_session_that_is_not_there_says_so_and_shows_it_once_it_is(tmp_path: Path) -> None:
    with Hive(tmp_path / "hive") as hive:
        session_id = rehearse(hive, "--seconds", "0")
        hive.ended(session_id)
        place = hive.paths(session_id).dir
        aside = tmp_path / "aside"
        os.rename(place, aside)
        with RelayProcess(hive) as relay:
            call = begin("unknown", relay, session=session_id)
            await_step(call, "open")
            os.rename(aside, place)
            found = in_order(said(call))
    assert session_id in found["missing"] and "There is no session" in found["missing"]
    assert found["announced"] == "status" and found["title"] == "Build the importer"


def test_a_hidden_page_rests_and_is_up_to_date_once_it_is_seen(stage: tuple[RelayProcess, dict[str, str]]) -> None:
    relay, ids = stage
    call = begin("hidden", relay, live=ids[LIVE], word="Come later")
    await_step(call, "hidden")
    relay.hive.create("rehearsal", task="Come later")
    found = in_order(said(call))
    assert found["seen"] > 0 and not found["drawnUnseen"]


def test_nothing_needs_a_way_sideways_and_a_link_to_an_agent_leads_to_its_row(
    stage: tuple[RelayProcess, dict[str, str]],
) -> None:
    relay, ids = stage
    found = browse("fits", relay, failed=ids[FAILED])
    assert found["wider"] == []
    assert found["before"] == [False, False], "the rows are far down, else this shows nothing"
    assert found["after"] == [True, True]
