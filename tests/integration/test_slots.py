"""MAX_CONCURRENT_SESSIONS: never more at once than allowed, in the order of priority, whatever is killed."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hive_session.slots import Ticket, ticket_name, wake_first
from tests.integration.hive import Hive, is_alive, kill, read_bytes, until

# Notes its coming and going in one file for all, works until its own file `go` is there.
WORK = """
order=$HIVE_WORKSPACE/../order
echo "+ $1" >> "$order"
while [ ! -e go ]; do sleep 0.02; done
echo "- $1" >> "$order"
"""


@pytest.fixture
def hive(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Hive]:
    """A workspace with one slot, or as many as the test is parametrised with."""
    with Hive(tmp_path / "hive", MAX_CONCURRENT_SESSIONS=str(getattr(request, "param", 1))) as hive:
        yield hive


def order(hive: Hive) -> list[str]:
    """What came (+) and went (-), in this order."""
    return read_bytes(f"{hive.root}/order").decode().splitlines()


def go(hive: Hive, session_id: str) -> None:
    Path(hive.paths(session_id).dir, "go").touch()


def queue(hive: Hive) -> list[str]:
    return sorted(os.listdir(f"{hive.layout.slots}/queue"))


def launch(hive: Hive, agent: str, task: str, priority: str = "medium") -> str:
    """A session that has been started, and runs or waits by now."""
    session_id = hive.answer("create", "--agent", agent, task, priority).decode().strip()
    return hive.start(session_id)


def end(record: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(record.get(name) for name in ("status", "reason"))


@pytest.mark.parametrize("hive", [2], indirect=True)
def test_never_more_run_than_there_are_slots(hive: Hive) -> None:
    agent = hive.shell(WORK)
    sessions = [launch(hive, agent, str(number)) for number in range(6)]
    until(lambda: len(order(hive)) == 2, "two that run")
    assert [hive.answer("status", each).decode().strip() for each in sessions].count("running") == 2
    for each in sessions:
        go(hive, each)
    for each in sessions:
        assert end(hive.ended(each)) == ("completed", "exit")
    at_once = 0
    for line in order(hive):
        at_once += 1 if line[0] == "+" else -1
        assert 0 <= at_once <= 2
    assert len(order(hive)) == 12
    assert queue(hive) == []


def test_the_next_is_the_one_of_the_highest_priority_and_then_the_oldest(hive: Hive) -> None:
    agent = hive.shell(WORK)
    first = launch(hive, agent, "first", "low")
    until(lambda: order(hive) == ["+ first"], "the first")
    waiting = [
        launch(hive, agent, task, priority)
        for task, priority in (("low", "low"), ("medium 1", "medium"), ("medium 2", "medium"), ("high", "high"))
    ]
    until(lambda: len(queue(hive)) == 4, "four in the queue")
    for each in (*waiting, first):
        go(hive, each)
    for each in waiting:
        hive.ended(each)
    came = [line[2:] for line in order(hive) if line[0] == "+"]
    assert came == ["first", "high", "medium 1", "medium 2", "low"]


def test_who_waits_is_starting_and_start_says_queued(hive: Hive) -> None:
    agent = hive.shell(WORK)
    launch(hive, agent, "first")
    until(lambda: order(hive) == ["+ first"], "the first")
    session_id = hive.create(agent, task="second")
    assert hive.call("start", "--detach", session_id).stderr.decode().splitlines()[-1] == f"{session_id} queued"
    assert hive.record(session_id)["status"] == "starting"
    assert hive.call("start", session_id).returncode == 75
    assert order(hive) == ["+ first"]


def test_stopping_a_waiting_session_cancels_it(hive: Hive) -> None:
    agent = hive.shell(WORK)
    first, second = launch(hive, agent, "first"), launch(hive, agent, "second")
    assert hive.answer("stop", second) == b"stopped\n"
    assert end(hive.on_disk(second)) == ("failed", "cancelled")
    assert queue(hive) == []
    go(hive, first)
    hive.ended(first)
    assert order(hive) == ["+ first", "- first"]


def test_a_signal_to_a_waiting_runner_is_an_interruption(hive: Hive) -> None:
    agent = hive.shell(WORK)
    launch(hive, agent, "first")
    second = launch(hive, agent, "second")
    os.kill(hive.runner(second), signal.SIGTERM)
    assert end(hive.ended(second)) == ("failed", "interrupted")


def test_a_killed_waiter_stands_in_nobodys_way(hive: Hive) -> None:
    agent = hive.shell(WORK)
    first = launch(hive, agent, "first")
    killed = [launch(hive, agent, "killed", "high") for _ in range(3)]
    last = launch(hive, agent, "last", "low")
    kill([hive.runner(each) for each in killed])
    until(lambda: not any(map(hive.runner, killed)), "their end")
    for each in (first, last):
        go(hive, each)
    hive.ended(last)
    assert order(hive) == ["+ first", "- first", "+ last", "- last"]
    assert [end(hive.record(each)) for each in killed] == [("failed", "lost")] * 3
    assert queue(hive) == []


def test_a_killed_runner_and_witness_keep_their_slot_while_their_agent_works(hive: Hive) -> None:
    agent = hive.shell(WORK)
    first = launch(hive, agent, "first")
    launch(hive, agent, "second")
    until(lambda: order(hive) == ["+ first"], "the first")
    run = hive.run(first)
    kill([run.runner, run.witness])
    until(lambda: not (is_alive(run.runner) or is_alive(run.witness)), "their end")
    third = launch(hive, agent, "third", "high")
    go(hive, third)
    until(lambda: len(queue(hive)) == 2, "both to wait")
    assert order(hive) == ["+ first"]
    kill([run.agent])
    hive.ended(third)
    until(lambda: order(hive)[-1] == "+ second", "the second")
    assert order(hive) == ["+ first", "+ third", "- third", "+ second"]
    assert end(hive.record(first)) == ("failed", "lost")


def test_a_takeover_by_the_witness_keeps_the_slot(hive: Hive) -> None:
    agent = hive.shell(WORK)
    first = launch(hive, agent, "first")
    launch(hive, agent, "second")
    until(lambda: order(hive) == ["+ first"], "the first")
    run = hive.run(first)
    kill([run.runner])
    until(lambda: hive.runner(first) == run.witness, "the witness in its place")
    assert order(hive) == ["+ first"]
    go(hive, first)
    assert end(hive.ended(first)) == ("completed", "exit")
    until(lambda: order(hive)[-1] == "+ second", "the second")


def test_a_run_started_inside_another_holds_its_own_slot_only(hive: Hive) -> None:
    """One slot: the inner session waits until the outer one has ended, and takes nothing of it along."""
    inner = hive.create(hive.shell(WORK), task="inner")
    outer = hive.create(hive.shell(f"hive-session start --detach {inner}"))
    assert hive.call("start", outer).returncode == 0
    until(lambda: order(hive) == ["+ inner"], "the inner one")
    go(hive, inner)
    assert end(hive.ended(inner)) == ("completed", "exit")


def test_no_limit_is_the_default(tmp_path: Path) -> None:
    with Hive(tmp_path / "free") as hive:
        agent = hive.shell(WORK)
        for number in range(4):
            launch(hive, agent, str(number))
        until(lambda: len(order(hive)) == 4, "four that run")
        assert not os.path.exists(hive.layout.slots)


# -- tickets -----------------------------------------------------------------------------------------------------------


def test_tickets_sort_by_rank_then_time_then_id() -> None:
    names = [
        ticket_name("high", 9_000_000_000_000_000_000, "a"),
        ticket_name("medium", 2, "b"),
        ticket_name("medium", 10, "a"),
        ticket_name("medium", 10, "b"),
        ticket_name("low", 1, "a"),
    ]
    assert names == sorted(names)
    assert ticket_name("unheard of", 10, "a") == ticket_name("medium", 10, "a")


def test_many_dead_tickets_cost_one_look(tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir()
    for number in range(50):
        (tmp_path / "queue" / ticket_name("high", number, "dead")).touch()
    ticket = Ticket(str(tmp_path), ticket_name("low", 1, "alive"))
    slot = ticket.try_take(1)
    assert slot is not None
    os.close(slot)
    assert os.listdir(tmp_path / "queue") == []


def test_a_live_ticket_ahead_is_waited_for_and_a_taken_slot_too(tmp_path: Path) -> None:
    first = Ticket(str(tmp_path), ticket_name("high", 1, "first"))
    second = Ticket(str(tmp_path), ticket_name("high", 2, "second"))
    assert second.try_take(1) is None
    slot = first.try_take(1)
    assert slot is not None
    assert second.try_take(1) is None
    assert sorted(os.listdir(tmp_path / "queue")) == [ticket_name("high", 2, "second")]
    os.close(slot)
    again = second.try_take(1)
    assert again is not None
    os.close(again)


@pytest.fixture
def woken() -> Iterator[Callable[[], bool]]:
    """Whether this process was woken since it last asked. Told by a handler: what is blocked another thread may take."""
    wakes: list[int] = []

    def ask() -> bool:
        found = bool(wakes)
        wakes.clear()
        return found

    before = signal.signal(signal.SIGCHLD, lambda number, _frame: wakes.append(number))
    yield ask
    signal.signal(signal.SIGCHLD, before)


def test_who_leaves_the_queue_or_a_slot_wakes_the_first_that_lives(tmp_path: Path, woken: Callable[[], bool]) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    woken()  # of its end
    first, second = (Ticket(str(tmp_path), ticket_name("high", number, "alive")) for number in (2, 3))
    for number, text in enumerate((f"{gone.pid}\n", "", "no pid", f"{2**70}\n")):
        Path(tmp_path, "queue", ticket_name("high", 1, f"dead{number}")).write_text(text, encoding="ascii")
    assert not woken()
    wake_first(str(tmp_path))
    assert woken()
    first.leave()
    assert woken()
    second.leave()
    assert not woken()
    wake_first(str(tmp_path / "cleared"))
