"""What a session's agent finds in its environment: its own places, who it is, and no secret of the suite."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.isolation import WITHHELD, session_environment, task_placeholder
from hive_session.ondisk.layout import Layout

ID = "550e8400-e29b-41d4-a716-446655440000"
OTHER = "9b2ac1f0-3c6e-4d5b-8f7a-0123456789ab"
LAYOUT = Layout("/w", "/o", "/l")
NAMES_IT = {  # the variables that tell a program which session it belongs to
    "HIVE_SESSION_ID": ID,
    "HIVE_SESSION_DIR": f"/w/.swarm/sessions/{ID}",
    "HIVE_OUTPUT_DIR": f"/o/{ID}",
    "HIVE_ATTEMPT": "2",
    "HIVE_MIND_SESSION_ID": ID,
    "HIVE_MIND_OUTPUT_DIR": f"/o/{ID}",
    "HIVE_WORKSPACE": "/w",
    "HIVE_OUTPUT_ROOT": "/o",
    "HIVE_LOG_DIR": "/l",
}


def environment(base: Mapping[str, str] | None = None, session_id: str = ID, **given: Any) -> dict[str, str]:
    known: dict[str, Any] = {
        "attempt": 2,
        "programs": {},
        "agent_env": {},
        "own_env": {},
        "shares_login": False,
        **given,
    }
    return session_environment(base or {}, LAYOUT, LAYOUT.session(session_id), **known)


def test_the_agent_is_told_which_session_it_works_in() -> None:
    assert environment().items() >= NAMES_IT.items()


def test_temporary_files_caches_and_state_are_the_session_s_own() -> None:
    mine, other = environment(), environment(session_id=OTHER)
    for name in ("TMPDIR", "CLAUDE_CODE_TMPDIR", "XDG_CACHE_HOME", "XDG_STATE_HOME", "CLAUDE_CONFIG_DIR"):
        assert mine[name].startswith(f"/w/.swarm/sessions/{ID}/")
        assert other[name].startswith(f"/w/.swarm/sessions/{OTHER}/")


def test_nothing_of_one_session_is_told_to_another() -> None:
    from_within = environment(base=environment(), session_id=OTHER, shares_login=False)
    assert not [value for name, value in from_within.items() if ID in value and name != "PATH"]
    assert from_within["PATH"].split(":")[0] == f"/w/.swarm/sessions/{OTHER}/bin"


@pytest.mark.parametrize("name", WITHHELD)
def test_the_suite_s_own_secrets_are_withheld(name: str) -> None:
    assert name not in environment({name: "secret", "KEPT": "1"})
    assert environment({"KEPT": "1"})["KEPT"] == "1"


def test_tokens_of_the_suite_and_marks_of_another_claude_code_are_among_what_is_withheld() -> None:
    assert {"TCP_AUTH_TOKEN", "WS_AUTH_TOKEN", "CLAUDECODE", "HIVE_TAPPED"} <= set(WITHHELD)


def test_a_login_is_shared_where_it_is_the_users() -> None:
    assert "CLAUDE_CONFIG_DIR" not in environment(shares_login=True)
    assert environment({"CLAUDE_CONFIG_DIR": "/home/me/c"}, shares_login=True)["CLAUDE_CONFIG_DIR"] == "/home/me/c"
    assert environment({"CLAUDE_CONFIG_DIR": "/home/me/c"})["CLAUDE_CONFIG_DIR"] == f"/w/.swarm/sessions/{ID}/claude"


@pytest.mark.parametrize(
    ("base", "rest"),
    [
        ({"PATH": "/a:/b"}, "/a:/b"),
        ({}, "/usr/local/bin:/usr/bin:/bin"),
        ({"PATH": ""}, "/usr/local/bin:/usr/bin:/bin"),  # an empty part would mean the current directory
    ],
)
def test_the_session_s_own_programs_come_first_on_path(base: dict[str, str], rest: str) -> None:
    assert environment(base)["PATH"] == f"/w/.swarm/sessions/{ID}/bin:{rest}"


def test_what_is_nearer_to_the_session_wins() -> None:
    given = {"base": {"A": "caller"}, "agent_env": {"A": "agent"}, "own_env": {"A": "session"}}
    assert environment(given["base"])["A"] == "caller"
    assert environment(given["base"], agent_env=given["agent_env"])["A"] == "agent"
    assert environment(given["base"], agent_env=given["agent_env"], own_env=given["own_env"])["A"] == "session"


def test_a_session_may_choose_its_own_path_and_places() -> None:
    found = environment(own_env={"PATH": "/mine", "TMPDIR": "/mine/tmp"})
    assert found["PATH"] == f"/w/.swarm/sessions/{ID}/bin:/mine"
    assert found["TMPDIR"] == "/mine/tmp"


def test_the_programs_that_were_found_are_handed_on() -> None:
    programs = {"HIVE_CLAUDE_BIN": "/usr/bin/claude"}
    assert environment(programs=programs, own_env={"HIVE_CLAUDE_BIN": "/x"})["HIVE_CLAUDE_BIN"] == "/usr/bin/claude"


variables = st.dictionaries(
    st.sampled_from([*NAMES_IT, *WITHHELD, "PATH", "HOME", "LANG"]), st.sampled_from(["", "x", OTHER])
)


@given(variables, variables, variables)
def test_no_variable_of_anybody_makes_a_session_another_one(
    base: dict[str, str], agent_env: dict[str, str], own_env: dict[str, str]
) -> None:
    found = environment(base, agent_env=agent_env, own_env=own_env)
    assert found.items() >= NAMES_IT.items()
    assert found["PATH"].startswith(f"/w/.swarm/sessions/{ID}/bin:")
    assert not [name for name in WITHHELD if name in found and name not in agent_env and name not in own_env]


def test_the_placeholder_of_a_task_names_its_session() -> None:
    assert ID in task_placeholder(ID) and task_placeholder(ID) != task_placeholder(OTHER)
