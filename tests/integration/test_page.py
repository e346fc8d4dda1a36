"""The page in a headless Chromium: what it shows of a hive, and how it stands a restart, the past, and a poor browser."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hive_session.ondisk.events import encode_event
from hive_session.ondisk.layout import SessionPaths
from tests.integration.hive import Hive, read_bytes, until
from tests.integration.mcp_disk import append, change_record
from tests.integration.mcp_server import rehearse
from tests.integration.page_browser import await_step, begin, browse, half_played, in_order, said
from tests.integration.ws_server import Json, RelayProcess

pytestmark = [pytest.mark.npm, pytest.mark.slow, pytest.mark.timeout(300)]

QUIET = {"usage", "resources", "tap_started", "tap_ended", "log_rotated"}  # events that the feed leaves out
AGENTS = 1000
SEEN_MAX_MS = 10_000  # the goal is 2,000; a loaded machine that draws without a GPU takes up to 4,000
ANSWERED_MAX_MS = 500  # the goal is 100; on two quiet cores the median is 27
TOOLS = ("Bash", "Read", "Edit")
TOKEN = "s3cret&of the=hive"

Agent = tuple[str, str, str]  # name, role, status


def agents_at(events: list[Json], ms: float = float("inf")) -> list[Agent]:
    """The agents that the file knew at a moment, in the order of their appearance."""
    agents: dict[str, list[str]] = {}
    for event in events:
        if event["ts"] > ms:
            break
        if event["type"] == "agent_spawned":
            name = "queen" if event["role"] == "queen" else event["kind"]
            agents[event["agent"]] = [name, event["role"], "working"]
        elif event["type"] in ("agent_status", "agent_ended"):
            agents[event["agent"]][2] = event["status"]
    return [(name, role, status) for name, role, status in agents.values()]


def agents_of(cells: list[list[str]]) -> list[Agent]:
    """The agents of rows of the table view, as people read them."""
    return [(row[0], row[6], row[1]) for row in cells]


@pytest.fixture(scope="module")
def hive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hive]:
    root = tmp_path_factory.mktemp("page")
    root.chmod(0o755)
    with Hive(root / "hive", HOME=str(root)) as hive:
        yield hive


@pytest.fixture(scope="module")
def live(hive: Hive) -> str:
    """A session whose rehearsal stopped in the middle of its play."""
    return half_played(hive)


@pytest.fixture(scope="module")
def played(hive: Hive) -> str:
    """A rehearsal of some seconds that has ended."""
    session_id = rehearse(hive, "--seconds", "5")
    hive.ended(session_id)
    return session_id


@pytest.fixture(scope="module")
def failed(hive: Hive) -> str:
    session_id = rehearse(hive, "--seconds", "0", "--exit-code", "7")
    hive.ended(session_id)
    return session_id


@pytest.fixture(scope="module")
def relay(hive: Hive, live: str, played: str, failed: str) -> Iterator[RelayProcess]:
    with RelayProcess(hive) as relay:
        yield relay
        assert "Traceback" not in relay.log, relay.log


def test_the_graph_and_the_table_hold_every_session_and_agent(
    relay: RelayProcess, live: str, played: str, failed: str
) -> None:
    hive = relay.hive
    known = agents_at(hive.events(live))
    found = browse("shows", relay, agents=sum(len(agents_at(hive.events(each))) for each in (live, played, failed)))
    assert found["renderer"] == "gpu" and all(found["insides"][:3]), found["insides"]
    assert {name for name, _, _ in known} <= set(found["named"])
    assert {each["session"]: each["mark"] for each in found["listed"]} == {
        live: "running",
        played: "done",
        failed: "failed",
    }
    rows = found["rows"]
    assert [row["session"] for row in rows if row["of"] == "session"] == [
        live,
        *sorted([played, failed], key=ended(hive)),
    ]
    agents = {
        id: [row["cells"] for row in rows if (row["session"], row["of"]) == (id, "agent")] for id in (live, played)
    }
    assert agents_of(agents[live]) == known
    assert [agent[:2] for agent in agents_of(agents[played])] == [agent[:2] for agent in agents_at(hive.events(played))]
    assert {agent[2] for agent in agents_of(agents[played])} == {"done"}


def ended(hive: Hive) -> Any:
    """A key that sorts sessions by their end, the newest first."""
    return lambda session_id: -datetime.fromisoformat(hive.on_disk(session_id)["ended"]).timestamp()


def test_what_the_page_must_not_do_is_stopped_and_seen(relay: RelayProcess) -> None:
    found = said(begin("trespass", relay, foreignUrl="http://127.0.0.1:9/"))
    assert (found["inlineRan"], found["fetched"]) == (False, False)
    assert any("script-src" in problem for problem in found["problems"]), found
    assert any("connect-src" in problem for problem in found["problems"]), found


def test_a_page_survives_the_death_of_its_relay_without_a_gap(tmp_path: Path) -> None:
    with Hive(tmp_path / "hive") as hive, RelayProcess(hive) as relay:
        session_id = hive.create("rehearsal", task="Build the importer")
        call = begin("restart", relay, session=session_id)
        await_step(call, "connected")
        hive.answer("start", "--detach", session_id, "--seconds", "20")  # not before: a browser may take long to begin
        until(lambda: hive.events(session_id, "agent_spawned"), "the first agent")
        seen = len(hive.events(session_id))
        until(lambda: len(hive.events(session_id)) > seen + 5, "events while the page looks on")
        relay.kill()
        await_step(call, "away")
        seen = len(hive.events(session_id))
        until(lambda: len(hive.events(session_id)) > seen + 5, "events that no relay saw")
        relay.start()
        found = in_order(said(call))
        events = hive.events(session_id)
        size = len(read_bytes(hive.paths(session_id).telemetry))
    told = [(number, event["ts"]) for number, event in enumerate(events) if is_told(events, number)]
    assert [(line["index"], line["ms"]) for line in found["told"]] == told
    assert found["away"]["shown"] and "Not connected" in found["away"]["banner"] and found["away"]["sessions"] == 1
    assert_no_byte_twice_or_never(found["sockets"], session_id, size)


def is_told(events: list[Json], number: int) -> bool:
    """Whether the feed tells an event: not what only counts, and an end or an answer once, not with each of its events."""
    event = events[number]
    if event["type"] == "agent_status":
        return event["status"] not in ("done", "failed")
    if event["type"] == "agent_ended":
        return not any((each["type"], each.get("agent")) == ("result", event["agent"]) for each in events[:number])
    if event["type"] == "message":
        ends = [each for each in events[number + 1 : number + 5] if each["type"] == "agent_ended"]
        return not any(end["agent"] == event["from"] and end["summary"][:60] in event["text"] for end in ends)
    return event["type"] not in QUIET


def assert_no_byte_twice_or_never(sockets: list[Json], session_id: str, size: int) -> None:
    """Each range that came begins where the one before ended, over all connections, up to the end of the file."""
    opened = [each for each in sockets if each["subscribed"]]
    ranges = [tuple(each) for socket in opened for each in socket["ranges"]]
    assert len(opened) == 2 and all(socket["ranges"] for socket in opened)
    assert not any(socket["gaps"] for socket in opened)
    assert [begin for begin, _ in ranges[1:]] == [end for _, end in ranges[:-1]]
    assert ranges[-1][1] == size
    (again,) = opened[1]["subscribed"]
    assert again["from"] == {session_id: opened[0]["ranges"][-1][1]}


def test_the_time_line_shows_the_past_and_its_address_leads_there_again(relay: RelayProcess, played: str) -> None:
    events = relay.hive.events(played)
    all_agents = agents_at(events)
    share = quiet_share(events, relay.hive.on_disk(played))
    found = browse("replay", relay, session=played, agents=len(all_agents), share=share)
    moment = datetime.fromisoformat(found["address"].partition("at=")[2].partition("&")[0]).timestamp() * 1000
    then = agents_at(events, moment)
    assert 0 < len(then) < len(all_agents)
    assert agents_of(found["then"]) == then
    assert agents_of(found["linked"]) == then
    assert found["said"].startswith("as of ") and found["linkedState"]["said"] == found["said"]
    assert found["linkedState"]["title"] == "Build the importer · hive"
    assert agents_of(found["now"]) == agents_of(found["back"])
    assert [agent[:2] for agent in agents_of(found["back"])] == [agent[:2] for agent in all_agents]


def quiet_share(events: list[Json], record: Json) -> float:
    """Where in a session's time it is farthest from any agent's coming, of all that lies between the first and the last."""
    came = [event["ts"] for event in events if event["type"] == "agent_spawned"]
    before, after = max(pairwise(came), key=lambda pair: pair[1] - pair[0])
    end = datetime.fromisoformat(record["ended"]).timestamp() * 1000
    return float(((before + after) / 2 - events[0]["ts"]) / (end - events[0]["ts"]))


def test_without_webgl_the_graph_is_there_all_the_same_and_says_so_once(relay: RelayProcess) -> None:
    found = browse("fallback", relay)
    assert not found["webgl"]
    assert "cannot draw on the GPU" in found["notice"] and found["closed"] and not found["again"]
    assert all(found["insides"][:3]), found["insides"]


def test_the_keyboard_is_enough(relay: RelayProcess, failed: str) -> None:
    found = browse("keyboard", relay, sessions=3, word="exit")
    assert found["kept"] == found["ids"][0], "Escape closes the help alone"
    assert found["found"] == [failed]
    assert "Keyboard" in found["help"]
    assert {"view-button", "filter", "Moment"} <= {*found["reached"]}


def test_before_the_first_session_the_page_names_the_command_that_starts_one(tmp_path: Path) -> None:
    with Hive(tmp_path / "hive") as hive, RelayProcess(hive) as relay:
        found = browse("nothing", relay)
        assert found["heading"] == "No sessions yet"
        assert found["copied"] == found["command"]
        done = subprocess.run(
            ["sh", "-c", found["copied"]], env=hive.env, stdin=subprocess.DEVNULL, capture_output=True, timeout=120
        )
        assert done.returncode == 0, done.stderr.decode()
        assert len(hive.index()) == 1


def test_a_token_is_asked_for_and_stays_out_of_the_address(hive: Hive, played: str) -> None:
    with RelayProcess(hive, env={"WS_AUTH_TOKEN": TOKEN}) as relay:
        found = browse("token", relay, token=TOKEN, session=played)
        assert TOKEN not in relay.log and "s3cret" not in relay.log
    assert found["asked"] == {"heading": "This relay wants a token", "fields": 1, "link": "token needed"}
    assert "s3cret" not in found["address"] + found["linkedAddress"]
    assert played in found["linkedAddress"] and found["title"] == "Build the importer"


def crowd(hive: Hive) -> SessionPaths:
    """A session that runs, of a queen and 999 workers, of which every fourth has ended."""
    paths = hive.paths(hive.create("rehearsal", task="A thousand agents"))
    now_ms = time.time_ns() // 1_000_000
    change_record(paths, status="running", external=True, attempt=1, started=datetime.now().astimezone().isoformat())
    events: list[Json] = [{"type": "session", "status": "running", "attempt": 1}]
    queen = {"type": "agent_spawned", "agent": "queen", "parent": None, "role": "queen", "kind": "claude", "task": ""}
    events.append(queen)
    for number in range(1, AGENTS):
        agent = {"agent": f"w{number}", "task": f"Part {number}", "parent": "queen", "role": "worker", "kind": "coder"}
        events.append({"type": "agent_spawned", **agent})
        if number % 4 == 0:
            events.append({"type": "agent_ended", "agent": f"w{number}", "status": "done", "tokens": 50 * number})
    append(paths.telemetry, b"".join(encode_event({"ts": now_ms, **event}) for event in events))
    return paths


def test_a_thousand_agents_are_in_sight_soon(tmp_path: Path) -> None:
    with Hive(tmp_path / "hive") as hive:
        crowd(hive)
        with RelayProcess(hive) as relay:
            found = browse("thousand", relay, agents=AGENTS)
    sys.stdout.write(f"1,000 agents after {found['graphMs']:.0f} ms as a graph, {found['tableMs']:.0f} ms as a table\n")
    assert found["renderer"] == "gpu"
    assert found["graphMs"] < SEEN_MAX_MS and found["tableMs"] < SEEN_MAX_MS, found
    assert found["focused"] == found["kept"] == f"w{AGENTS - 1}", "the focus stays where it was, in sight or not"
    assert found["told"] == AGENTS + 2 and found["drawn"] < 100, "the head, the session and its agents; few are drawn"


def test_the_page_answers_while_a_thousand_updates_a_second_arrive(tmp_path: Path) -> None:
    with Hive(tmp_path / "hive") as hive:
        paths = crowd(hive)
        with RelayProcess(hive) as relay, storm(paths):
            found = browse("busy", relay, word="thousand")
    answers = sorted(found["answersMs"])
    middle = answers[len(answers) // 2]
    sys.stdout.write(
        f"a key is answered after {middle:.0f} ms, at most {answers[-1]:.0f} ms; {found['events']} events came\n"
    )
    assert found["events"] > 1000
    assert middle < ANSWERED_MAX_MS, answers


@contextmanager
def storm(paths: SessionPaths) -> Iterator[None]:
    """Events at 1,000 a second, 20 at once, for as long as the block lasts."""
    over = threading.Event()

    def blow() -> None:
        number = 0
        due = time.monotonic()
        while not over.wait(max(0.0, due - time.monotonic())):
            due += 0.02
            lines = []
            for _ in range(20):
                number += 1
                agent = f"w{1 + number % (AGENTS - 1)}"
                event = {
                    "type": "agent_status",
                    "agent": agent,
                    "status": "working",
                    "tool": TOOLS[number % len(TOOLS)],
                }
                lines.append(encode_event({"ts": time.time_ns() // 1_000_000, **event}))
            append(paths.telemetry, b"".join(lines))

    thread = threading.Thread(target=blow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
