"""Who hears of what, how soon and how often, on a clock that only the tests move."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from hive_session.ondisk.cards import Change
from mcp_tcp.subscriptions import LIST_CHANGED, PACE_S, UPDATED, Subscriptions
from tests.unit.hives import Known, session_id

KEY = "io.modelcontextprotocol/subscriptionId"
ONE, TWO = session_id(1), session_id(2)
ALL, FIRST, SECOND = "hive://sessions", f"hive://session/{ONE}", f"hive://session/{TWO}"


class Logs(Known):
    """Sessions of which only the watched logs matter."""

    def __init__(self) -> None:
        super().__init__()
        self.watched: set[str] = set()
        self.calls = 0

    def watch_log(self, session_id: str) -> None:
        self.watched.add(session_id)
        self.calls += 1

    def unwatch_log(self, session_id: str) -> None:
        self.watched.discard(session_id)


class Listener:
    """What one client was told: method, params and the key under which a late line replaces an earlier one."""

    def __init__(self, on_notify: Callable[[], None] = lambda: None) -> None:
        self.lines: list[tuple[object, dict[str, Any]]] = []
        self.on_notify = on_notify

    def notify(self, key: object, line: bytes) -> None:
        assert line.endswith(b"\n") and line.count(b"\n") == 1
        self.lines.append((key, orjson.loads(line)))
        self.on_notify()

    def uris(self) -> list[str]:
        """The addresses of the updates since the last call."""
        return [message["params"]["uri"] for message in self.messages()]

    def messages(self) -> list[dict[str, Any]]:
        lines, self.lines = self.lines, []
        return [message for _, message in lines]


class Hall:
    """Subscriptions over a clock in milliseconds and a list of what is to be called when."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.logs = Logs()
        self.table = Subscriptions(self.logs, self.schedule, lambda: self.now_s)

    def schedule(self, delay_s: float, call: Callable[[], None]) -> None:
        assert delay_s >= 0
        self.due.append((self.now_s + delay_s, call))

    def wait(self, seconds: float = 0.0) -> None:
        """Let so much time go by, and call what falls due."""
        until = self.now_s + seconds
        while due := [each for each in self.due if each[0] <= until + 1e-9]:
            first = min(due, key=lambda each: each[0])
            self.due.remove(first)
            self.now_s = max(self.now_s, first[0])
            first[1]()
        self.now_s = until


@pytest.fixture
def hall() -> Hall:
    return Hall()


def test_a_first_change_is_told_at_once(hall: Hall) -> None:
    listener = Listener()
    hall.table.add(listener, FIRST)
    hall.table.changed(ONE, Change.RECORD)
    assert listener.lines == []  # not from within whoever changes it
    hall.wait(0)
    assert listener.messages() == [{"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": FIRST}}]


def test_later_ones_are_told_together_no_sooner_than_the_pace(hall: Hall) -> None:
    listener = Listener()
    hall.table.add(listener, FIRST)
    hall.table.changed(ONE, Change.RECORD)
    hall.wait(0)
    listener.lines.clear()
    for _ in range(30):
        hall.table.changed(ONE, Change.TELEMETRY)
    assert len(hall.due) == 1
    hall.wait(PACE_S * 0.9)
    assert listener.uris() == []
    hall.wait(PACE_S * 0.2)
    assert listener.uris() == [FIRST]
    hall.wait(10)
    assert listener.uris() == [] and hall.due == []


def test_a_storm_is_told_fifty_times_a_second_at_most_and_its_end_within_50_ms(hall: Hall) -> None:
    listener = Listener()
    hall.table.add(listener, FIRST)
    for _ in range(1000):
        hall.table.changed(ONE, Change.TELEMETRY)
        hall.wait(0.001)
    assert 45 <= len(listener.uris()) <= 51
    hall.table.changed(ONE, Change.TELEMETRY)
    hall.wait(0.05)
    assert listener.uris() == [FIRST]


def test_after_a_pause_the_next_change_is_told_at_once_again(hall: Hall) -> None:
    listener = Listener()
    hall.table.add(listener, FIRST)
    for _ in range(3):
        hall.table.changed(ONE, Change.RECORD)
        hall.wait(0)
        assert listener.uris() == [FIRST]
        hall.wait(PACE_S)


def test_every_address_is_told_once_in_a_round(hall: Hall) -> None:
    listener = Listener()
    for uri in (ALL, FIRST, SECOND, f"{FIRST}/agents"):
        hall.table.add(listener, uri)
        hall.table.add(listener, uri)  # once more changes nothing
    assert len(hall.table) == 4
    for change in (Change.RECORD, Change.TELEMETRY | Change.AGENTS, Change.RECORD):
        hall.table.changed(ONE, change)
        hall.table.changed(TWO, change)
    hall.wait(0)
    assert sorted(listener.uris()) == sorted([ALL, FIRST, SECOND, f"{FIRST}/agents"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (Change.LIST | Change.RECORD, {ALL, FIRST, f"{FIRST}/agents", f"{FIRST}/telemetry", f"{FIRST}/log"}),
        (Change.RECORD, {ALL, FIRST, f"{FIRST}/agents"}),  # the agents of a lost run have failed with it
        (Change.TELEMETRY, {FIRST, f"{FIRST}/telemetry"}),
        (Change.TELEMETRY | Change.AGENTS, {FIRST, f"{FIRST}/agents", f"{FIRST}/telemetry"}),
        (Change.LOG, {f"{FIRST}/log"}),
    ],
)
def test_a_change_is_told_to_whom_it_concerns(hall: Hall, change: Change, told: set[str]) -> None:
    listener = Listener()
    for uri in (ALL, *(f"{base}{part}" for base in (FIRST, SECOND) for part in ("", "/agents", "/telemetry", "/log"))):
        hall.table.add(listener, uri)
    hall.table.changed(ONE, change)
    hall.wait(0)
    assert set(listener.uris()) == told


def test_whoever_did_not_ask_hears_nothing(hall: Hall) -> None:
    one, other = Listener(), Listener()
    hall.table.add(one, FIRST)
    hall.table.add(other, SECOND)
    hall.table.changed(ONE, Change.RECORD)
    hall.wait(0)
    assert (one.uris(), other.uris()) == ([FIRST], [])


def test_without_subscriptions_nothing_is_ever_scheduled(hall: Hall) -> None:
    hall.table.changed(ONE, Change.LIST | Change.RECORD)
    assert hall.due == []
    listener = Listener()
    hall.table.add(listener, SECOND)
    hall.table.changed(ONE, Change.RECORD)
    assert hall.due == []


def test_each_subscription_id_is_told_by_a_line_of_its_own(hall: Hall) -> None:
    listener, other = Listener(), Listener()
    for subscription in (None, 0, "a"):
        hall.table.add(listener, FIRST, subscription)
    hall.table.add(other, FIRST, "a")
    hall.table.changed(ONE, Change.RECORD)
    hall.wait(0)
    assert {key for key, _ in listener.lines} == {(FIRST, None), (FIRST, 0), (FIRST, "a")}
    params = [message["params"] for message in listener.messages()]
    assert params == [{"uri": FIRST}, {"uri": FIRST, "_meta": {KEY: 0}}, {"uri": FIRST, "_meta": {KEY: "a"}}]
    assert [message["params"] for message in other.messages()] == [{"uri": FIRST, "_meta": {KEY: "a"}}]


def test_who_asked_for_the_list_hears_that_a_session_came_or_went_and_of_nothing_else(hall: Hall) -> None:
    listener = Listener()
    hall.table.add_list(listener, 7)
    assert len(hall.table) == 1
    for change in (Change.RECORD, Change.TELEMETRY, Change.AGENTS, Change.LOG):
        hall.table.changed(ONE, change)
    hall.wait(1)
    assert listener.lines == []
    hall.table.changed(ONE, Change.LIST | Change.RECORD)
    hall.table.changed(TWO, Change.LIST | Change.RECORD)
    hall.wait(0)
    assert listener.lines == [
        ((LIST_CHANGED, 7), {"jsonrpc": "2.0", "method": LIST_CHANGED, "params": {"_meta": {KEY: 7}}})
    ]
    listener.lines.clear()
    hall.wait(1)
    hall.table.remove_list(listener, 7)
    hall.table.remove_list(listener, 7)
    hall.table.changed(ONE, Change.LIST | Change.RECORD)
    hall.wait(1)
    assert listener.lines == [] and len(hall.table) == 0


def test_what_was_taken_back_is_not_told_though_it_had_changed(hall: Hall) -> None:
    listener, other = Listener(), Listener()
    for each in (listener, other):
        hall.table.add(each, FIRST)
        hall.table.add_list(each, 1)
    hall.table.changed(ONE, Change.LIST | Change.RECORD)
    hall.table.remove(listener, FIRST)
    hall.table.remove_list(listener, 1)
    hall.wait(1)
    assert listener.lines == [] and len(other.lines) == 2
    hall.table.changed(ONE, Change.RECORD)
    hall.table.remove(other, FIRST)
    hall.wait(1)
    assert len(other.lines) == 2


def test_taking_back_one_subscription_leaves_the_others(hall: Hall) -> None:
    listener = Listener()
    hall.table.add(listener, FIRST)
    hall.table.add(listener, FIRST, 1)
    hall.table.remove(listener, FIRST)
    hall.table.remove(listener, FIRST)
    hall.table.remove(listener, SECOND)
    hall.table.changed(ONE, Change.RECORD)
    hall.wait(0)
    assert [message["params"]["_meta"] for message in listener.messages()] == [{KEY: 1}]


def test_a_change_made_by_a_listener_that_is_told_waits_for_the_next_round(hall: Hall) -> None:
    listener = Listener(lambda: hall.table.changed(ONE, Change.RECORD))
    hall.table.add(listener, FIRST)
    hall.table.changed(ONE, Change.RECORD)
    hall.wait(0)
    assert listener.uris() == [FIRST]
    hall.wait(PACE_S)
    assert listener.uris() == [FIRST]


def test_a_listener_may_leave_when_it_is_told(hall: Hall) -> None:
    listener = Listener(lambda: hall.table.remove(listener, FIRST))
    hall.table.add(listener, FIRST)
    hall.table.changed(ONE, Change.RECORD)
    hall.wait(0)
    assert listener.uris() == [FIRST] and len(hall.table) == 0


def test_a_log_is_watched_while_somebody_wants_to_hear_of_it(hall: Hall) -> None:
    one, other, log = Listener(), Listener(), f"{FIRST}/log"
    hall.table.add(one, FIRST)
    assert hall.logs.watched == set()
    hall.table.add(one, log)
    hall.table.add(one, log, 1)
    hall.table.add(other, log)
    hall.table.add(other, f"{SECOND}/log")
    assert hall.logs.watched == {ONE, TWO}
    hall.table.remove(one, log)
    hall.table.remove(one, log, 1)
    assert hall.logs.watched == {ONE, TWO}
    hall.table.remove(other, log)
    assert hall.logs.watched == {TWO}


def test_a_log_that_may_have_appeared_with_a_run_is_looked_for_again(hall: Hall) -> None:
    hall.table.add(Listener(), f"{FIRST}/log")
    calls = hall.logs.calls
    hall.table.changed(TWO, Change.RECORD)
    hall.table.changed(ONE, Change.TELEMETRY)
    assert hall.logs.calls == calls
    hall.table.changed(ONE, Change.RECORD)
    assert hall.logs.calls == calls + 1
