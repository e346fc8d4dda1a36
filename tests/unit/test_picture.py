"""What `watch` shows of sessions in every state, on every size of terminal."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk.agent_figures import agent_objects
from hive_session.ondisk.events import EVENTS
from hive_session.ondisk.figures import session_object, session_row
from hive_session.ondisk.sessions import Session
from hive_session.picture import agent_names, describe_event, session_picture, sessions_picture
from hive_session.table import ANSI, plain
from hive_session.words import columns
from tests.unit.hives import (
    BUSY,
    CREATED,
    DONE,
    FAILED,
    NOW_MS,
    RUNNING,
    START_MS,
    STATES,
    UNREADABLE,
    at,
    card,
    session,
    the,
    workspace,
)
from tests.unit.test_fold import MESSAGE, RETRY, SAMPLE, Event, ended, event, fold, result, spawned, started, status
from tests.unit.test_fold import session as told

NAMES = {"queen": "queen", "a": "coder"}


def overview(*sessions: Session, width: int = 100, height: int | None = None, beyond: int = 0) -> list[str]:
    """The picture of these sessions, the first of as many more as `beyond` says."""
    rows = [session_row(each) for each in sessions]
    counts = Counter(each.card.state.partition(":")[0] for each in sessions)
    if beyond:
        counts["done"] += beyond
    return [plain(line) for line in sessions_picture(rows, counts, now_ms=NOW_MS, width=width, height=height)]


def closeup(
    shown: Session, events: list[Event] | None = None, width: int = 100, height: int | None = None
) -> list[str]:
    made, agents = session_object(shown, NOW_MS), agent_objects(shown, NOW_MS)
    lines = session_picture(made, agents, events or [], now_ms=NOW_MS, width=width, height=height)
    return [plain(line) for line in lines]


# -- all sessions ------------------------------------------------------------------------------------------------------


def test_an_empty_workspace_names_the_one_command_that_starts_something() -> None:
    (line,) = overview()
    assert line.endswith('hive-session run "Build the importer"')


def test_each_session_has_its_mark_its_word_its_figures_and_what_it_works_on() -> None:
    ended_one = session(card(5, "failed", state="failed: exit 7", agents=3, tokens=4000, cost_usd=0.07))
    waiting = session(card(6, "created", state="waiting"))
    lines = overview(the(RUNNING), ended_one, waiting)
    assert lines[0] == "hive   1 running   1 waiting   1 failed   3 agents at work   690 tok   $0.25"
    assert lines[1] == ""
    assert lines[2].split() == ["ID", "STATUS", "AGE", "AGENTS", "TOKENS", "COST", "WORK"]
    assert lines[3].split("  ")[1] == "● running" and lines[3].endswith(
        "  1 m 4 s       5     690  $0.25  researcher: thinking · Task 4"
    )
    assert "  ✗ failed: exit 7  " in lines[4] and lines[4].endswith("  3   4.0 k  $0.07  Task 5")
    assert "  ○ waiting  " in lines[5] and lines[5].endswith("  -       -      -  Task 6")


def test_a_session_that_cannot_be_read_is_there_all_the_same() -> None:
    lines = overview(the(UNREADABLE))
    assert lines[0] == "hive   1 unreadable"
    assert lines[3].split()[1:4] == ["-", "unreadable", "-"]


def test_what_does_not_fit_is_counted() -> None:
    one = session(card(1, "completed", state="done"))
    assert len(overview(*[one] * 7, height=10)) == 10
    lines = overview(*[one] * 8, height=10)
    assert len(lines) == 10 and lines[-1] == "and 2 more sessions"
    assert overview(*[one] * 2, height=5, beyond=1_000)[-1] == "and 1001 more sessions"
    assert len(overview(*[one] * 50)) == 53


# -- one session -------------------------------------------------------------------------------------------------------


def test_a_session_that_runs_shows_what_it_uses_and_who_works() -> None:
    lines = closeup(the(RUNNING))
    assert lines[0] == "00000000  ● running  1 m 0 s  5 agents  690 tok  $0.25  researcher: thinking"
    assert lines[1:4] == ["Task 4", "cpu 150 %   memory 3 MiB", ""]
    assert lines[4].split() == ["AGENT", "ROLE", "STATUS", "TOOL", "TOKENS", "COST", "TIME", "TASK"]
    cells = [line.split() for line in lines[5:10]]
    assert [cell[0] for cell in cells] == ["queen", "coder", "researcher", "tester", "worker"]
    assert cells[0][1:5] == ["queen", "○", "waiting", "Agent"]
    assert cells[1][1:9] == ["worker", "●", "working", "Bash", "600", "$0.25", "50", "s"]
    assert cells[3][2:4] == ["✓", "done"] and lines[8].endswith("  15 s  Tested.")
    assert cells[4][2:4] == ["✗", "failed"]


def test_a_failed_session_says_why_and_what_to_do() -> None:
    lines = closeup(session(card(1, "failed", state="failed: exit 7", detail="disk full"), fold(*BUSY)))
    assert "why     disk full" in lines
    assert "to run it again in the same directory:  hive-session resume 00000000-0000-4000-8000-000000000001" in lines


def test_an_ended_session_shows_its_result_and_the_word_of_each_agent() -> None:
    lines = closeup(session(card(7, "completed", state="done"), fold(*DONE)))
    assert lines[0].startswith("00000000  ✓ done  50 s  5 agents")
    assert "result  Built." in lines
    assert any(line.endswith("Tested.") for line in lines)


def test_a_session_without_agents_says_so() -> None:
    assert "no agents yet" in closeup(the(CREATED))


def test_a_resumed_session_tells_its_attempt() -> None:
    assert any(line.startswith("attempt 2") for line in closeup(session(card(1, attempt=2), fold())))


def test_agents_of_one_kind_are_told_apart() -> None:
    made = agent_objects(session(card(1), fold(spawned("a"), spawned("b"), spawned("c", kind="tester"))), NOW_MS)
    assert agent_names(made) == {"a": "coder", "b": "coder 2", "c": "tester"}


def test_the_last_events_come_first_and_leave_room_for_the_agents() -> None:
    events = at(NOW_MS - 5000, *(status("a", "working", f"Tool{number}") for number in range(40)))
    paper = closeup(the(RUNNING), events)
    assert [line.split()[-1] for line in paper[-10:]] == [f"Tool{number}" for number in range(39, 29, -1)]
    assert paper[-1].split()[:3] == ["5", "s", "coder"]
    assert len(closeup(the(RUNNING), events, height=30)) == 30


def test_agents_that_have_ended_give_way_to_those_at_work() -> None:
    busy = fold(*(spawned(f"w{number}") for number in range(30)), *(ended(f"w{number}") for number in range(28)))
    lines = closeup(session(card(1), busy), at(NOW_MS, status("w29", "working", "Bash")), height=16)
    assert [line.split()[0] for line in lines if "● working" in line] == ["coder", "coder"]
    assert any(line.startswith("and ") and line.endswith(" more agents") for line in lines)
    assert len(lines) <= 16


# -- events ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "who", "what"),
    [
        (told("running"), "session", "running"),
        (told("completed", exit_code=0), "session", "done, exit 0"),
        (told("failed", reason="signal", exit_code=137), "session", "failed: signal, exit 137"),
        (spawned("a", task="Code"), "coder", "starts: Code"),
        (spawned("z", task=""), "z", "starts"),
        (status("a", "working", "Bash"), "coder", "Bash"),
        (status("a", "waiting"), "coder", "waits"),
        (ended("a", summary="Built."), "coder", "done: Built."),
        (ended("a", "failed"), "coder", "failed"),
        (MESSAGE, "queen", "to coder: x"),
        (RETRY, "queen", "tries again (1 of 10): overloaded"),
        (result(text="Built."), "queen", "result: Built."),
        (result(is_error=True), "queen", "error: success"),
        (started("c", model="opus"), "queen", "Claude Code starts: opus"),
        (event("note", text="half way"), "session", "note: half way"),
        (event("note", agent="a", text=7), "coder", "note"),
        (event("note", agent=["odd"]), "session", "note"),
    ],
)
def test_an_event_says_who_did_what(found: Event, who: str, what: str) -> None:
    assert describe_event(found, NAMES) == (who, what)


@pytest.mark.parametrize("found", [SAMPLE, status("a", "working"), status("a", "done"), event("tap_started")])
def test_what_the_tables_show_better_is_no_line(found: Event) -> None:
    assert describe_event(found, NAMES)[1] == ""
    assert "EVENT" not in " ".join(closeup(the(RUNNING), [found]))


# -- size --------------------------------------------------------------------------------------------------------------

nasty: dict[str, Any] = {"task": "漢字 \x1b[31m\nred\t" * 20, "detail": "why\r\n" * 50, "state": "failed: \x07bell"}
PAINTED = [(f"{name}", session(card(1, "failed", **{name: text}), fold(*BUSY))) for name, text in nasty.items()]


@pytest.mark.parametrize("number", STATES)
@pytest.mark.parametrize("width", [20, 40, 79, 80, 200])
@pytest.mark.parametrize("height", [None, 1, 5, 24])
def test_no_line_is_wider_than_the_terminal_whatever_the_session(number: int, width: int, height: int | None) -> None:
    shown = workspace().by_id[the(number).card.id]
    events = at(START_MS, *BUSY, event("note", text="漢\x1b[2J" * 90))
    for lines in (closeup(shown, events, width, height), overview(shown, width=width, height=height)):
        assert all(columns(line) <= width and line.isprintable() for line in lines)


@pytest.mark.parametrize(("name", "shown"), PAINTED, ids=list(nasty))
def test_no_text_of_a_session_reaches_the_terminal_as_anything_but_text(name: str, shown: Session) -> None:
    for lines in (closeup(shown, width=80), overview(shown, width=80)):
        assert all(columns(line) <= 80 and line.isprintable() for line in lines)


@given(st.sampled_from(list(EVENTS)), st.text(max_size=8))
def test_every_type_of_event_has_its_words(name: str, text: str) -> None:
    found: dict[str, Any] = {"ts": 1, "type": name, "agent": text, "from": text, "to": text, "text": text, "task": text}
    found |= {"status": "failed", "attempt": 1, "max_retries": 2, "error": text, "is_error": True, "subtype": text}
    who, what = describe_event(found, {})
    assert isinstance(who, str) and isinstance(what, str)


def test_colors_are_those_of_the_states() -> None:
    rows = [session_row(the(number)) for number in (RUNNING, FAILED)]
    lines = sessions_picture(rows, {"running": 1, "failed": 1}, now_ms=NOW_MS, width=80, height=None)
    assert [line[2][1] for line in lines[3:]] == ["blue", "red"]
    assert {color for line in lines for _, color in line if color} <= ANSI.keys()
