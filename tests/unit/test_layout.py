"""Paths come from three variables, and a session is named by a lower-case UUID."""

import uuid
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk.layout import Layout, SessionPaths, default_workspace, is_session_id, resolve_layout

ID = "550e8400-e29b-41d4-a716-446655440000"


def nowhere(path: str) -> bool:
    return False


def container(path: str) -> bool:
    return path == "/workspace"


@pytest.mark.parametrize(
    ("env", "exists", "workspace", "output_root", "log_dir"),
    [
        ({}, nowhere, "/h/.local/state/hive", "/h/.local/state/hive/ext/hive-sessions", "/h/.local/state/hive/logs"),
        ({}, container, "/workspace", "/workspace/ext/hive-sessions", "/var/log/multi-agent"),
        ({"HIVE_WORKSPACE": ""}, container, "/workspace", "/workspace/ext/hive-sessions", "/var/log/multi-agent"),
        ({"HIVE_WORKSPACE": "/w"}, container, "/w", "/w/ext/hive-sessions", "/w/logs"),
        ({"HIVE_WORKSPACE": "/w//"}, container, "/w", "/w/ext/hive-sessions", "/w/logs"),
        ({"HIVE_WORKSPACE": "/"}, container, "/", "//ext/hive-sessions", "//logs"),
        (
            {"HIVE_WORKSPACE": "/workspace/"},
            nowhere,
            "/workspace",
            "/workspace/ext/hive-sessions",
            "/var/log/multi-agent",
        ),
        ({"HIVE_OUTPUT_ROOT": "/o/", "HIVE_LOG_DIR": "/l/"}, container, "/workspace", "/o", "/l"),
        ({"HIVE_WORKSPACE": "/w", "HIVE_OUTPUT_ROOT": "/", "HIVE_LOG_DIR": "/"}, nowhere, "/w", "/", "/"),
        (
            {"HIVE_WORKSPACE": "/w", "HIVE_OUTPUT_ROOT": "", "HIVE_LOG_DIR": ""},
            nowhere,
            "/w",
            "/w/ext/hive-sessions",
            "/w/logs",
        ),
    ],
)
def test_three_variables_decide_where_everything_is(
    env: dict[str, str], exists: Callable[[str], bool], workspace: str, output_root: str, log_dir: str
) -> None:
    layout = resolve_layout(env, "/h", exists)
    assert (layout.workspace, layout.output_root, layout.log_dir) == (workspace, output_root, log_dir)


def test_a_workspace_that_is_named_is_not_looked_for() -> None:
    def untouched(path: str) -> bool:
        raise AssertionError(f"looked at {path}")

    assert default_workspace({"HIVE_WORKSPACE": "/w"}, "/h", untouched) == "/w"


def test_every_shared_path_lies_where_the_format_says() -> None:
    layout = Layout("/w", "/o", "/l")
    names = [name for name, value in vars(Layout).items() if isinstance(value, property)]
    assert {name: getattr(layout, name) for name in names} == {
        "swarm": "/w/.swarm",
        "sessions": "/w/.swarm/sessions",
        "index": "/w/.swarm/sessions/index.json",
        "index_lock": "/w/.swarm/sessions/.lock",
        "trash": "/w/.swarm/trash",
        "server_instance": "/w/.swarm/tcp-server-instance",
        "audit": "/w/.swarm/audit.jsonl",
        "reconciled": "/w/.swarm/reconcile.json",
        "slots": "/w/.swarm/slots",
        "shared_database": "/w/.swarm/memory.db",
    }


def test_every_path_of_a_session_lies_where_the_format_says() -> None:
    paths = Layout("/w", "/o", "/l").session(ID)
    names = [name for name, value in vars(SessionPaths).items() if isinstance(value, property)]
    inside = {
        "record": "session.json",
        "lock": "lock",
        "run_lock": "run.lock",
        "exit": "exit",
        "claude_exit": "claude.exit",
        "claude_stream": "claude.jsonl",
        "telemetry": "telemetry.jsonl",
        "stop_request": "stop",
        "task_file": "task.md",
        "env_file": "env.json",
        "log_base": "log.base",
        "bin": "bin",
        "database": ".swarm/memory.db",
    }
    outside = {"output": f"/o/{ID}", "log": f"/l/hive-{ID}.log"}
    expected = {**{name: f"/w/.swarm/sessions/{ID}/{file}" for name, file in inside.items()}, **outside}
    assert {name: getattr(paths, name) for name in names} == expected
    assert (paths.id, paths.dir, paths.at("x")) == (ID, f"/w/.swarm/sessions/{ID}", f"/w/.swarm/sessions/{ID}/x")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ID.upper(),
        ID[:-1],
        ID + "0",
        ID + "\n",
        ID.replace("-", ""),
        f"{{{ID}}}",
        f"urn:uuid:{ID}",
        "550e84000e29b-41d4-a716-446655440000",
        "550e8400-e29b-41d4-a7160446655440000",
        "550e8400-e29b-41d4-a716-44665544000g",
        "550e8400-e29b-41d4-a716-44665544000٣",
        "550e840-0e29b-41d4-a716-446655440000",
        "550e8400-e29b-41d4-a716-4466554400-0",
        "../../../etc/passwd-aaaa-bbbb-cccccc",
        "../../secret",
        "." * 36,
        "-" * 36,
    ],
)
def test_nothing_but_a_lower_case_uuid_names_a_session(text: str) -> None:
    assert not is_session_id(text)


@given(st.uuids())
def test_every_uuid_in_its_usual_form_names_a_session(each: uuid.UUID) -> None:
    assert is_session_id(str(each))


@given(st.text(alphabet="0123456789abcdefAF-./\n", min_size=30, max_size=40))
def test_what_names_a_session_is_a_uuid_in_its_usual_form(text: str) -> None:
    if is_session_id(text):
        assert str(uuid.UUID(text)) == text
