"""The wrapper's decisions as tables: facts in, a plan or a refusal out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_wrapper.plan import (
    PASSED_BY,
    RELOCATIONS,
    SWITCHES,
    Account,
    ExecPlan,
    Facts,
    Program,
    Refusal,
    candidate_programs,
    choose_account,
    choose_program,
    default_workspace,
    interpreter,
    plan,
    relative_paths,
    relocation_directories,
    root_instance,
    session_directory,
    shared_places,
)

DEV = Account("dev", 1000, 1000, "/home/dev")
ROOT = Account("root", 0, 0, "/root")
REAL = "/opt/node_modules/claude-flow/bin/cli.js"
SESSION = "/ws/.swarm/sessions/9b2ac1f0-0d6c-4f0e-8d4e-0123456789ab"


def facts(**changes: Any) -> Facts:
    given_facts: dict[str, Any] = {
        "uid": 1000,
        "cwd": "/ws/project",
        "args": ("hive-mind", "init"),
        "env": {"HOME": "/home/dev"},
        "workspace": "/ws",
        "shared": ("/ws", "/ws/.swarm"),
        "session": None,
        "targets": {},
        "existing": (),
        "account": DEV,
        "program": REAL,
        "process": "7:4711",
    }
    return Facts(**{**given_facts, **changes})


def expect_plan(**changes: Any) -> ExecPlan:
    decision = plan(facts(**changes))
    assert isinstance(decision, ExecPlan), decision.why
    return decision


def expect_refusal(**changes: Any) -> Refusal:
    decision = plan(facts(**changes))
    assert isinstance(decision, Refusal)
    assert "\n" not in decision.why
    return decision


# --- where and as whom ---


@pytest.mark.parametrize(
    ("changes", "cwd", "user"),
    [
        ({}, None, None),
        ({"cwd": "/elsewhere"}, None, None),
        ({"cwd": "/ws/.swarm/sessions"}, None, None),
        ({"cwd": "/wsx"}, None, None),
        ({"uid": 0}, "/ws/.swarm/root-cli-instance", "dev"),
        ({"uid": 0, "cwd": "/ws"}, "/ws/.swarm/root-cli-instance", "dev"),
        ({"uid": 0, "cwd": ""}, "/ws/.swarm/root-cli-instance", "dev"),
        ({"uid": 0, "account": None}, "/ws/.swarm/root-cli-instance", None),
        ({"uid": 0, "account": ROOT}, "/ws/.swarm/root-cli-instance", None),
        ({"uid": 0, "cwd": SESSION, "session": SESSION}, None, None),
        ({"uid": 0, "cwd": f"{SESSION}/src", "session": SESSION}, None, None),
        ({"uid": 0, "cwd": f"{SESSION}x", "session": SESSION}, "/ws/.swarm/root-cli-instance", "dev"),
        ({"uid": 0, "cwd": SESSION, "session": None}, "/ws/.swarm/root-cli-instance", "dev"),
        ({"uid": 0, "cwd": "/ws", "session": SESSION}, "/ws/.swarm/root-cli-instance", "dev"),
        ({"account": Refusal("no such user", 78)}, None, None),
    ],
)
def test_root_is_moved_and_dropped_and_everybody_else_stays(
    changes: dict[str, Any], cwd: str | None, user: str | None
) -> None:
    decision = expect_plan(**changes)
    assert decision.cwd == cwd
    assert (decision.account.name if decision.account else None) == user
    assert decision.argv == (REAL, "hive-mind", "init")


def test_the_directories_for_root_are_made_outermost_first_below_the_real_workspace() -> None:
    moved = expect_plan(uid=0, workspace="/link", shared=("/data/ws", "/big/swarm"))
    assert moved.directories == ("/data/ws", "/data/ws/.swarm", "/data/ws/.swarm/root-cli-instance")
    assert moved.cwd == "/link/.swarm/root-cli-instance"


def test_nothing_is_made_for_who_stays() -> None:
    assert expect_plan().directories == ()


@pytest.mark.parametrize(
    ("changes", "exit_code", "words"),
    [
        ({"cwd": "/ws"}, 78, ["/ws", "cd into", "hive-session"]),
        ({"cwd": "/ws/.swarm"}, 78, ["/ws/.swarm", "cd into"]),
        ({"targets": {"CLAUDE_FLOW_CWD": "/ws"}}, 78, ["CLAUDE_FLOW_CWD", "/ws"]),
        ({"targets": {"CLAUDE_FLOW_DB_PATH": "/ws/.swarm"}}, 78, ["CLAUDE_FLOW_DB_PATH"]),
        ({"targets": {"CLAUDE_FLOW_MEMORY_PATH": "/ws/.swarm"}}, 78, ["CLAUDE_FLOW_MEMORY_PATH"]),
        ({"cwd": "/ws", "program": Refusal("none", 127)}, 78, ["/ws"]),
        ({"cwd": ""}, 78, ["removed"]),
        ({"program": Refusal("not installed", 127)}, 127, ["not installed"]),
        ({"uid": 0, "program": Refusal("not installed", 127)}, 127, ["not installed"]),
        ({"uid": 0, "account": Refusal("HIVE_USER", 78)}, 78, ["HIVE_USER"]),
        ({"workspace": "ws"}, 78, ["HIVE_WORKSPACE", "absolute"]),
        ({"env": {PASSED_BY: "7:4711"}}, 78, ["wrapper", "HIVE_CLAUDE_FLOW_BIN"]),
        ({"uid": 0, "cwd": "/ws", "session": "/ws", "env": {}}, 78, ["/ws"]),
    ],
)
def test_what_is_refused_names_the_cause_and_the_cure(
    changes: dict[str, Any], exit_code: int, words: list[str]
) -> None:
    refusal = expect_refusal(**changes)
    assert refusal.exit_code == exit_code
    assert all(word in refusal.why for word in words)


def test_a_claude_flow_started_by_a_claude_flow_is_no_loop() -> None:
    assert expect_plan(env={PASSED_BY: "6:4711"}).env[PASSED_BY] == "7:4711"


# --- environment ---


def test_the_switches_of_claude_flow_are_set_whatever_the_caller_had() -> None:
    env = expect_plan(env={"RUFLO_FUNNEL": "1", "RUFLO_STATE_DIR": "/shared", "KEEP": "me"}).env
    assert env == {
        "KEEP": "me",
        **SWITCHES,
        "RUFLO_STATE_DIR": "/ws/project/.ruflo",
        PASSED_BY: "7:4711",
    }
    assert SWITCHES == {
        "RUFLO_DAEMON_AUTOSTART": "0",
        "RUFLO_FUNNEL": "0",
        "CLAUDE_FLOW_AUTO_UPDATE": "false",
    }


@pytest.mark.parametrize("name", RELOCATIONS)
@pytest.mark.parametrize("uid", [0, 1000])
def test_a_relocation_is_dropped_with_one_warning(name: str, uid: int) -> None:
    decision = expect_plan(uid=uid, env={name: "/elsewhere/x"}, targets={name: "/elsewhere"})
    assert name not in decision.env
    assert [name in warning for warning in decision.warnings] == [True]


def test_a_blank_relocation_is_dropped_without_a_word() -> None:
    decision = expect_plan(env={"CLAUDE_FLOW_CWD": ""})
    assert "CLAUDE_FLOW_CWD" not in decision.env
    assert decision.warnings == ()


def test_root_that_points_a_database_into_the_workspace_is_moved_without_it() -> None:
    name = "CLAUDE_FLOW_DB_PATH"
    decision = expect_plan(uid=0, env={name: "/ws/.swarm/memory.db"}, targets={name: "/ws/.swarm"})
    assert name not in decision.env
    assert decision.cwd == root_instance("/ws")


def test_who_root_becomes_gets_an_environment_of_their_own() -> None:
    env = expect_plan(uid=0, env={"HOME": "/root", "USER": "root", "PWD": "/root", "PATH": "/bin"}).env
    own = {name: env[name] for name in ("HOME", "USER", "LOGNAME", "PWD", "PATH", "HIVE_WORKSPACE")}
    assert own == {
        "HOME": "/home/dev",
        "USER": "dev",
        "LOGNAME": "dev",
        "PWD": "/ws/.swarm/root-cli-instance",
        "PATH": "/bin",
        "HIVE_WORKSPACE": "/ws",
    }
    assert env["RUFLO_STATE_DIR"] == "/ws/.swarm/root-cli-instance/.ruflo"


@pytest.mark.parametrize("account", [None, ROOT])
def test_root_that_stays_root_keeps_its_home(account: Account | None) -> None:
    assert expect_plan(uid=0, account=account, env={"HOME": "/root"}).env["HOME"] == "/root"


# --- warnings ---


def test_root_without_a_user_to_become_is_told_once() -> None:
    (warning,) = expect_plan(uid=0, account=None).warnings
    assert "HIVE_USER" in warning


def test_root_that_asked_to_stay_root_is_told_nothing() -> None:
    assert expect_plan(uid=0, account=ROOT).warnings == ()


def test_relative_paths_of_root_share_one_warning() -> None:
    (warning,) = expect_plan(uid=0, existing=("a.json", "b\n.json")).warnings
    assert "'a.json', 'b\\n.json'" in warning


def test_who_stays_is_not_warned_of_relative_paths() -> None:
    assert expect_plan(existing=("a.json",)).warnings == ()


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], []),
        (["memory"], []),
        (["memory", "export", "out.json"], ["export", "out.json"]),
        (["memory", "--path=db", "--x", "-", "/abs", "", "--empty="], ["db"]),
        (["--config=c.json", "init"], ["c.json", "init"]),
        (["hive-mind", "--path=/abs"], []),
        (["run", "./x", "../y", "."], ["./x", "../y", "."]),
    ],
)
def test_what_could_be_a_relative_path(args: list[str], expected: list[str]) -> None:
    assert relative_paths(args) == expected


# --- paths ---


@pytest.mark.parametrize(
    ("env", "container", "expected"),
    [
        ({"HIVE_WORKSPACE": "/w/"}, True, "/w"),
        ({"HIVE_WORKSPACE": "/"}, True, "/"),
        ({"HIVE_WORKSPACE": ""}, True, "/workspace"),
        ({}, True, "/workspace"),
        ({}, False, "/home/dev/.local/state/hive"),
    ],
)
def test_the_workspace_is_configured_or_the_container_s_or_at_home(
    env: dict[str, str], container: bool, expected: str
) -> None:
    assert default_workspace(env, "/home/dev", lambda path: container and path == "/workspace") == expected


def test_the_shared_places_and_root_s_place() -> None:
    assert shared_places("/ws") == ("/ws", "/ws/.swarm")
    assert root_instance("/ws") == "/ws/.swarm/root-cli-instance"


@pytest.mark.parametrize("session_id", ["", ".", "..", "../..", "a/b", ".hidden"])
def test_only_a_plain_name_makes_a_session_directory(session_id: str) -> None:
    assert session_directory("/ws", {"HIVE_SESSION_ID": session_id}) is None


def test_the_session_directory_is_below_the_workspace() -> None:
    assert session_directory("/ws", {"HIVE_SESSION_ID": "abc"}) == "/ws/.swarm/sessions/abc"
    assert session_directory("/ws", {}) is None


def test_relocations_name_the_directory_they_would_fill() -> None:
    env = {
        "CLAUDE_FLOW_CWD": "sub",
        "CLAUDE_FLOW_DB_PATH": "x/memory.db",
        "CLAUDE_FLOW_MEMORY_PATH": " ",
        "OTHER": "y",
    }
    found = relocation_directories(env, lambda path: f"/here/{path}")
    assert found == {"CLAUDE_FLOW_CWD": "/here/sub", "CLAUDE_FLOW_DB_PATH": "/here/x"}


def test_a_database_in_the_root_directory_is_in_the_root_directory() -> None:
    env = {"CLAUDE_FLOW_DB_PATH": "/memory.db"}
    assert relocation_directories(env, lambda path: path) == {"CLAUDE_FLOW_DB_PATH": "/"}


# --- users ---


@pytest.mark.parametrize(
    ("env", "known", "expected"),
    [
        ({}, {"dev": DEV}, DEV),
        ({"HIVE_USER": ""}, {"dev": DEV}, DEV),
        ({}, {}, None),
        ({"HIVE_USER": "root"}, {"dev": DEV, "root": ROOT}, ROOT),
    ],
)
def test_the_user_is_the_configured_one_or_dev(
    env: dict[str, str], known: dict[str, Account], expected: Account | None
) -> None:
    assert choose_account(env, known.get) is expected


def test_a_configured_user_that_does_not_exist_is_refused() -> None:
    refusal = choose_account({"HIVE_USER": "nobdy"}, {"dev": DEV}.get)
    assert isinstance(refusal, Refusal)
    assert refusal.exit_code == 78
    assert "'nobdy'" in refusal.why


# --- the real program ---


def test_the_search_is_setup_s_program_then_path_without_its_relative_entries() -> None:
    assert candidate_programs({"PATH": "/a:.::bin:/b"}, "/venv") == (
        "/venv/node/node_modules/claude-flow/bin/cli.js",
        "/venv/node/node_modules/claude-flow/bin/claude-flow.js",
        "/a/claude-flow",
        "/b/claude-flow",
    )


def test_a_configured_program_is_the_only_candidate() -> None:
    env = {"HIVE_CLAUDE_FLOW_BIN": "/x/y", "PATH": "/a"}
    assert candidate_programs(env, "/venv") == ("/x/y",)


def test_a_relative_configured_program_is_refused() -> None:
    refusal = candidate_programs({"HIVE_CLAUDE_FLOW_BIN": "y"}, "/venv")
    assert isinstance(refusal, Refusal)
    assert refusal.exit_code == 78


def program(path: str, *, executable: bool = True, ours: bool = False, missing: str = "") -> Program:
    return Program(path, executable=executable, ours=ours, missing_interpreter=missing)


@pytest.mark.parametrize(
    "found",
    [
        [program("/good")],
        [program("/good"), program("/other")],
        [program("/us", ours=True), program("/good")],
        [program("/data", executable=False), program("/good")],
    ],
)
def test_the_first_executable_that_is_not_us_is_the_program(found: list[Program]) -> None:
    assert choose_program({}, found) == "/good"


@pytest.mark.parametrize(
    ("configured", "found", "exit_code", "words"),
    [
        ("", [], 127, ["not installed", "bin/setup"]),
        ("", [program("/us", ours=True)], 127, ["not installed", "bin/setup"]),
        ("", [program("/data", executable=False)], 126, ["/data", "chmod"]),
        ("/x", [], 127, ["HIVE_CLAUDE_FLOW_BIN", "/x", "exist"]),
        ("/x", [program("/x", executable=False)], 126, ["/x", "chmod"]),
        ("/x", [program("/x", ours=True)], 78, ["HIVE_CLAUDE_FLOW_BIN", "wrapper"]),
        ("", [program("/js", missing="node"), program("/good")], 127, ["/js", "node", "install"]),
    ],
)
def test_no_program_says_what_to_install_and_gives_a_shell_s_exit_code(
    configured: str, found: list[Program], exit_code: int, words: list[str]
) -> None:
    refusal = choose_program({"HIVE_CLAUDE_FLOW_BIN": configured}, found)
    assert isinstance(refusal, Refusal)
    assert refusal.exit_code == exit_code
    assert all(word in refusal.why for word in words)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"#!/usr/bin/env node\n// js", "node"),
        (b"#!/usr/bin/env -S node --no-warnings\n", "node"),
        (b"#! /usr/bin/env A=b node\n", "node"),
        (b"#!/usr/bin/node --flag\n", "/usr/bin/node"),
        (b"#!/usr/bin/node", "/usr/bin/node"),
        (b"#!/usr/bin/env\n", ""),
        (b"#!\n", ""),
        (b"\x7fELF\n#!/x", ""),
        (b"", ""),
    ],
)
def test_the_interpreter_of_a_script(head: bytes, expected: str) -> None:
    assert interpreter(head) == expected


@given(st.binary(max_size=80))
def test_any_head_of_a_file_has_an_interpreter_or_none(raw: bytes) -> None:
    assert isinstance(interpreter(b"#!" + raw), str)


# --- properties ---

directories = st.sampled_from(["", "/", "/ws", "/ws/.swarm", "/ws/.swarm/x", "/ws/a", "/wsx", "/home", SESSION])
arguments = st.lists(st.binary(max_size=20).filter(lambda raw: b"\0" not in raw)).map(
    lambda words: tuple(word.decode("utf-8", "surrogateescape") for word in words)
)


@given(
    args=arguments,
    uid=st.sampled_from([0, 1, 1000]),
    cwd=directories,
    session=st.sampled_from([None, SESSION]),
    account=st.sampled_from([None, DEV, ROOT]),
    targets=st.dictionaries(st.sampled_from(RELOCATIONS), directories),
)
def test_every_plan_hands_on_all_arguments_and_keeps_out_of_the_workspace(
    args: tuple[str, ...],
    uid: int,
    cwd: str,
    session: str | None,
    account: Account | None,
    targets: dict[str, str],
) -> None:
    env = dict.fromkeys(targets, "set")
    decision = plan(facts(args=args, uid=uid, cwd=cwd, session=session, account=account, targets=targets, env=env))
    if isinstance(decision, Refusal):
        assert decision.exit_code == 78
        return
    assert decision.argv == (REAL, *args)
    assert (decision.cwd or cwd) not in ("", "/ws", "/ws/.swarm")
    assert decision.env.keys().isdisjoint(RELOCATIONS)
    assert decision.account is None or (uid == 0 and decision.account.uid != 0)
