"""What the suite is told, decided without a machine."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.suite.environment import (
    NO_PORT,
    PORTS,
    SOCKET,
    STEP,
    BadValue,
    given_ports,
    plan_ports,
    programs_environment,
    resolve_environment,
)

DEFAULTS = {name: default for name, (default, _, _) in PORTS.items()}
ANY = 40_001


def resolve(env: Mapping[str, str] = {}, *, checkout: str = "/src/hive", claude_flow: bool = True) -> dict[str, str]:
    return resolve_environment(
        env,
        user="ann",
        uid=1007,
        home="/home/ann",
        bin_dir="/src/hive/.venv/bin",
        checkout=checkout,
        claude_flow=claude_flow,
        exists=lambda path: False,
    )


def plan(
    given: Mapping[str, int] = {},
    remembered: Mapping[str, int] = {},
    taken: frozenset[int] = frozenset(),
) -> dict[str, int]:
    return plan_ports(given, remembered, lambda port: port not in taken, lambda: ANY)


# --- variables ---


def test_a_checkout_keeps_everything_below_the_workspace() -> None:
    values = resolve()
    run_dir = values.pop("HIVE_RUN_DIR")
    assert run_dir.startswith("/home/ann/.local/state/hive/.supervisor/") and len(run_dir.rpartition("/")[2]) == 8
    assert values == {
        "HIVE_WORKSPACE": "/home/ann/.local/state/hive",
        "HIVE_LOG_DIR": "/home/ann/.local/state/hive/logs",
        "HIVE_OUTPUT_ROOT": "/home/ann/.local/state/hive/ext/hive-sessions",
        "HIVE_USER": "ann",
        "HIVE_USER_HOME": "/home/ann",
        "HIVE_BIN": "/src/hive/.venv/bin",
        "HIVE_MCP_LOG_DIR": "/home/ann/.local/state/hive/logs/mcp",
        "HIVE_SUPERVISOR_LOG_DIR": "/home/ann/.local/state/hive/logs/supervisor",
        "HIVE_LOG_FORMAT": "json",
        "HIVE_CLEANUP_HOURS": "24",
        "HIVE_SUITE_CLAUDE_FLOW": "true",
    }


def test_what_the_container_sets_is_taken_as_it_is() -> None:
    container = {
        "HIVE_WORKSPACE": "/workspace",
        "HIVE_RUN_DIR": "/workspace/.supervisor",
        "HIVE_MCP_LOG_DIR": "/app/mcp-logs",
        "HIVE_SUPERVISOR_LOG_DIR": "/var/log/supervisor",
        "HIVE_BIN": "/app/bin",
        "HIVE_USER_HOME": "/home/dev",
        "HIVE_CLEANUP_HOURS": "0",
        "HIVE_SUITE_CLAUDE_FLOW": "false",
    }
    assert container.items() <= resolve(container).items()


def test_the_user_is_whoever_runs_it_whatever_the_environment_says() -> None:
    assert resolve({"HIVE_USER": "somebody"})["HIVE_USER"] == "ann"


def test_two_checkouts_of_one_workspace_have_run_directories_of_their_own() -> None:
    there = {"HIVE_WORKSPACE": "/shared"}
    assert resolve(there)["HIVE_RUN_DIR"] != resolve(there, checkout="/src/other")["HIVE_RUN_DIR"]


def test_a_workspace_that_is_too_deep_for_a_socket_has_its_run_directory_in_tmp() -> None:
    deep, deeper = (resolve({"HIVE_WORKSPACE": f"/{'d' * 90}/{name}"})["HIVE_RUN_DIR"] for name in "ab")
    assert deep.startswith("/tmp/hive-suite-1007-") and deep != deeper


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=120))
def test_a_socket_always_fits_the_kernel_with_the_pid_that_supervisord_appends(name: str) -> None:
    try:
        values = resolve({"HIVE_WORKSPACE": f"/{name}"})
    except BadValue:
        return
    assert len(f"{values['HIVE_RUN_DIR']}/{SOCKET}.4194304".encode()) <= 107


@pytest.mark.parametrize("hours", ["0", "24", "1.5", ".5", "0.0"])
def test_hours_may_be_any_number_in_digits(hours: str) -> None:
    assert resolve({"HIVE_CLEANUP_HOURS": hours})["HIVE_CLEANUP_HOURS"] == hours


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HIVE_CLEANUP_HOURS", "-1"),
        ("HIVE_CLEANUP_HOURS", "day"),
        ("HIVE_CLEANUP_HOURS", "."),
        ("HIVE_CLEANUP_HOURS", "1e3"),
        ("HIVE_CLEANUP_HOURS", "1; rm -rf /"),
        ("HIVE_SUITE_CLAUDE_FLOW", "maybe"),
        ("HIVE_RUN_DIR", "run"),
        ("HIVE_RUN_DIR", "/" + "x" * 90),
        ("HIVE_USER_HOME", '/home/"ann"'),
        ("HIVE_MCP_LOG_DIR", "/logs/100%"),
        ("HIVE_LOG_DIR", "logs"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(BadValue, match=f"^{name}: "):
        resolve({name: value})


def test_programs_get_the_caller_s_variables_but_none_of_the_session_that_it_was_called_in() -> None:
    caller = {"HIVE_SESSION_ID": "x", "HIVE_OUTPUT_DIR": "/o", "CLAUDECODE": "1", "LANG": "C", "PATH": "/usr/bin"}
    env = programs_environment(caller, resolve())
    assert "HIVE_SESSION_ID" not in env and "HIVE_OUTPUT_DIR" not in env and "CLAUDECODE" not in env
    assert (env["LANG"], env["PATH"]) == ("C", "/src/hive/.venv/bin:/usr/bin")
    assert (env["HOME"], env["USER"], env["LOGNAME"]) == ("/home/ann", "ann", "ann")


# --- ports ---


def test_free_ports_are_the_documented_ones() -> None:
    assert plan() == DEFAULTS


def test_a_default_that_is_taken_gives_way_to_one_nearby() -> None:
    assert plan(taken=frozenset({9500, 9510, 3002})) == {**DEFAULTS, "MCP_TCP_PORT": 9520, "MCP_BRIDGE_PORT": 3012}


def test_the_last_port_is_kept_as_long_as_it_is_free() -> None:
    assert plan(remembered={"MCP_TCP_PORT": 9520})["MCP_TCP_PORT"] == 9520
    assert plan(remembered={"MCP_TCP_PORT": 9520}, taken=frozenset({9520}))["MCP_TCP_PORT"] == 9500


def test_a_port_that_the_user_set_is_never_another_even_where_it_is_taken() -> None:
    assert plan({"MCP_TCP_PORT": 7000}, {"MCP_TCP_PORT": 9520}, frozenset({7000}))["MCP_TCP_PORT"] == 7000


def test_nobody_else_gets_a_port_that_the_user_set() -> None:
    ports = plan({"MCP_TCP_PORT": 9501})
    assert (ports["MCP_TCP_PORT"], ports["MCP_HEALTH_PORT"]) == (9501, 9501 + STEP)


def test_zero_is_any_free_port_and_is_kept() -> None:
    assert plan({"MCP_TCP_PORT": 0})["MCP_TCP_PORT"] == ANY
    assert plan({"MCP_TCP_PORT": 0}, {"MCP_TCP_PORT": 41_000})["MCP_TCP_PORT"] == 41_000


def test_a_health_port_may_be_none() -> None:
    assert given_ports({"MCP_HEALTH_PORT": "-1"}, {}) == {"MCP_HEALTH_PORT": NO_PORT}
    assert plan({"MCP_HEALTH_PORT": NO_PORT})["MCP_HEALTH_PORT"] == NO_PORT


@given(st.frozensets(st.sampled_from([port + STEP * step for port in DEFAULTS.values() for step in range(4)])))
def test_no_two_servers_get_one_port_and_none_a_taken_one(taken: frozenset[int]) -> None:
    ports = plan(taken=taken)
    assert len(set(ports.values())) == len(PORTS) and not taken & set(ports.values())


def test_a_variable_wins_over_the_file_and_an_empty_one_is_none() -> None:
    document = {"mcp_tcp": {"port": 7100}, "ws_relay": {"port": 7200}}
    assert given_ports({"MCP_TCP_PORT": "7001", "MCP_BRIDGE_PORT": ""}, document) == {
        "MCP_TCP_PORT": 7001,
        "MCP_BRIDGE_PORT": 7200,
    }


@pytest.mark.parametrize("value", ["x", "-1", "65536", "1.5", "9500; true"])
def test_what_is_no_port_is_refused_by_its_name(value: str) -> None:
    with pytest.raises(BadValue, match=r"^MCP_TCP_PORT: "):
        given_ports({"MCP_TCP_PORT": value}, {})
