"""A writer killed at any step leaves whole documents, and what is between them is put right by whoever reads next."""

import json
import os
from pathlib import Path

import pytest

from tests.integration.console import Console

STEPS = 80  # more than any of these commands takes


def whole(console: Console) -> dict[str, str]:
    """Id -> status of every session, after `list` and each record were read and found to agree."""
    rows = json.loads(console.answer("list"))["sessions"]
    assert json.loads(Path(console.layout.index).read_bytes())["sessions"] == rows
    records = {each: console.on_disk(each) for each in rows}
    assert rows.keys() == {name for name in os.listdir(console.layout.sessions) if len(name) == 36}
    assert {each: row["status"] for each, row in rows.items()} == {
        each: record["status"] for each, record in records.items()
    }
    assert {each: row["updated"] for each, row in rows.items()} == {
        each: record["updated"] for each, record in records.items()
    }
    return {each: str(row["status"]) for each, row in rows.items()}


@pytest.mark.timeout(300)
def test_a_create_killed_at_any_step_made_a_whole_session_or_none(console: Console) -> None:
    (bystander,) = console.seed(1)
    for step in range(STEPS):
        before = whole(console)
        code = console.kill_at(step, "create", "--env", "A=b", "task")
        after = whole(console)
        assert len(after) - len(before) in ((0, 1) if code else (1,))
        for session_id in after.keys() - before.keys():
            assert console.on_disk(session_id)["task"] == "task"
            assert console.do("update-status", session_id, "failed").returncode == 0
        if code == 0:
            break
    assert code == 0 and step > 15
    console.answer("reconcile")
    assert [
        name for name in os.listdir(console.layout.sessions) if name.startswith(".new-") or name.endswith(".tmp")
    ] == []
    assert bystander in whole(console)


@pytest.mark.timeout(300)
def test_a_create_with_a_key_killed_at_any_step_is_completed_by_the_retry(console: Console) -> None:
    for step in range(STEPS):
        code = console.kill_at(step, "create", "--key", f"k{step}", "task")
        session_id = console.new("--key", f"k{step}", "task")
        assert console.new("--key", f"k{step}", "task") == session_id
        assert whole(console)[session_id] == "created"
        assert len(whole(console)) == step + 1
        if code == 0:
            break
    assert code == 0 and step > 10


@pytest.mark.parametrize(
    ("walk", "target"),
    [((), "starting"), (("starting",), "running"), (("starting", "running"), "completed"), ((), "failed")],
)
@pytest.mark.timeout(300)
def test_a_change_of_status_killed_at_any_step_has_happened_or_not(
    console: Console, walk: tuple[str, ...], target: str
) -> None:
    for step in range(STEPS):
        (session_id,) = console.seed(1)
        console.move(session_id, *walk)
        code = console.kill_at(step, "update-status", session_id, target)
        status = whole(console)[session_id]
        assert status in ((walk or ("created",))[-1], target)
        console.move(session_id, target)
        assert whole(console)[session_id] == target
        if code == 0:
            break
    assert code == 0 and step > 4


@pytest.mark.timeout(300)
def test_a_reindex_killed_at_any_step_leaves_the_old_index_or_the_new(console: Console) -> None:
    ids = console.seed(3)
    for step in range(STEPS):
        code = console.kill_at(step, "reindex")
        assert json.loads(Path(console.layout.index).read_bytes())["sessions"].keys() == set(ids)
        if code == 0:
            break
    assert code == 0 and step >= 2


def test_what_was_killed_leaves_no_lock_behind(console: Console) -> None:
    (session_id,) = console.seed(1)
    for step in range(4):
        console.kill_at(step, "update-status", session_id, "starting")
    assert console.do("update-status", session_id, "starting").returncode == 0
    assert console.do("create", "task").returncode == 0
