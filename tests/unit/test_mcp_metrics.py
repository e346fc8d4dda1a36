"""The figures of the server as Prometheus reads them."""

import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk.exposition import by_state
from mcp_tcp.machine import Machine
from mcp_tcp.metrics import BOUNDS_S, Latencies, exposition
from tests.unit.hives import session_id

STATES = ("created", "starting", "running", "completed", "failed", "unreadable", "other")

# By the text format 0.0.4.
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
NUMBER = r"(?:[+-]?(?:\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|Inf)|NaN)"
SAMPLE = re.compile(rf"({NAME})(\{{{LABEL}(?:,{LABEL})*\}})? ({NUMBER})")
HELP = re.compile(rf"# HELP ({NAME}) (.+)")
TYPE = re.compile(rf"# TYPE ({NAME}) (counter|gauge|histogram)")


def exposed(
    sessions: Mapping[str, int] | None = None,
    requests: Mapping[str, int] | None = None,
    errors: Mapping[int, int] | None = None,
    latencies: Latencies | None = None,
    deaf: bool = False,
) -> str:
    return exposition(
        sessions=sessions or {},
        requests=requests or {},
        errors=errors or {},
        latencies=latencies or Latencies(),
        clients=3,
        refused=2,
        subscriptions=5,
        deaf=deaf,
    ).decode()


def parsed(text: str) -> dict[str, float]:
    """The samples by name and labels, after every line was found to be in its place in a family."""
    assert text.endswith("\n")
    samples: dict[str, float] = {}
    families: set[str] = set()
    family = kind = ""
    for line in text.splitlines():
        if found := HELP.fullmatch(line):
            family, kind = found[1], ""
            assert family not in families
            families.add(family)
        elif found := TYPE.fullmatch(line):
            assert found[1] == family and not kind
            kind = found[2]
            assert family.endswith("_total") == (kind == "counter")
        else:
            found = SAMPLE.fullmatch(line)
            assert found is not None, line
            parts = {f"{family}{end}" for end in ("_bucket", "_sum", "_count")} if kind == "histogram" else {family}
            assert kind and found[1] in parts
            key = f"{found[1]}{found[2] or ''}"
            assert key not in samples
            samples[key] = float(found[3])
    return samples


def test_a_server_that_did_nothing_yet_has_figures() -> None:
    samples = parsed(exposed())
    assert samples["hive_mcp_clients"] == 3 and samples["hive_mcp_refused_total"] == 2
    assert samples["hive_mcp_subscriptions"] == 5 and samples["hive_mcp_polling"] == 0
    assert parsed(exposed(deaf=True))["hive_mcp_polling"] == 1


def test_sessions_are_counted_by_state_and_a_foreign_state_is_other() -> None:
    found = {"running": 2, "unreadable": 1, "paused by hand": 4, 'a"b\n': 5}
    samples = parsed(exposed(sessions=found))
    expected = dict.fromkeys(STATES, 0) | {"running": 2, "unreadable": 1, "other": 9}
    assert {state: samples[f'hive_sessions{{state="{state}"}}'] for state in STATES} == expected
    assert sum(key.startswith("hive_sessions") for key in samples) == len(STATES)


@given(st.dictionaries(st.text(max_size=10) | st.sampled_from(STATES), st.integers(0, 1000)))
def test_no_session_is_lost_by_counting(found: dict[str, int]) -> None:
    assert sum(by_state(found).values()) == sum(found.values())
    assert tuple(by_state(found)) == STATES
    parsed(exposed(sessions=found))


def test_requests_and_errors_are_counted_by_method_and_code() -> None:
    samples = parsed(exposed(requests={"tools/call": 7, "other": 1}, errors={-32601: 1, -32000: 4}))
    assert samples['hive_mcp_requests_total{method="tools/call"}'] == 7
    assert samples['hive_mcp_requests_total{method="other"}'] == 1
    assert samples['hive_mcp_errors_total{code="-32000"}'] == 4


def test_no_session_s_id_is_among_them() -> None:
    assert session_id(1) not in exposed(sessions={session_id(1): 1})


@given(st.lists(st.floats(0, 100), max_size=60))
def test_the_histogram_counts_every_answer_where_it_belongs(seconds: list[float]) -> None:
    latencies = Latencies()
    for each in seconds:
        latencies.observe(each)
    samples = parsed(exposed(latencies=latencies))
    name = "hive_mcp_request_duration_seconds"
    for bound in BOUNDS_S:
        assert samples[f'{name}_bucket{{le="{bound}"}}'] == sum(each <= bound for each in seconds)
    assert samples[f'{name}_bucket{{le="+Inf"}}'] == samples[f"{name}_count"] == len(seconds)
    assert samples[f"{name}_sum"] == pytest.approx(sum(seconds), abs=1e-6)


def test_the_bounds_of_the_histogram_grow() -> None:
    assert list(BOUNDS_S) == sorted(set(BOUNDS_S))


# -- the machine -----------------------------------------------------------------------------------------


def test_this_machine_says_how_busy_it_is() -> None:
    machine = Machine()
    assert machine.cpu_percent is not None and 0 <= machine.cpu_percent <= 100
    assert machine.memory_mb is not None and machine.memory_mb > 1


def test_the_load_is_that_between_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = {
        "cpu ": "cpu  100 0 100 700 100 0 0 0 0 0",
        "MemTotal:": "MemTotal: 4096 kB",
        "MemAvailable:": "MemAvailable: 1024 kB",
    }
    monkeypatch.setattr("mcp_tcp.machine._line", lambda _path, start: lines[start])
    machine = Machine()
    assert (machine.cpu_percent, machine.memory_mb) == (20.0, 3.0)  # since its start
    lines["cpu "] = "cpu  150 0 100 720 130 0 0 0 0 0"
    machine.look()
    assert machine.cpu_percent == 50.0
    machine.look()
    assert machine.cpu_percent == 50.0  # nothing went by


def test_a_machine_that_does_not_say_is_not_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_tcp.machine._line", lambda _path, _start: "")
    machine = Machine()
    assert (machine.cpu_percent, machine.memory_mb) == (None, None)
