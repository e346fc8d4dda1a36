"""`create --key`: the same key and request give the same session, however often and however many at once."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.console import SCRIPT, Console, error_line


def test_a_retry_gives_the_same_session_and_changes_nothing(console: Console) -> None:
    words = ("--key", "build-42", "--label", "a=b", "--env", "X=1", "--timeout", "9", "the task", "high", '{"n": 1.0}')
    first = console.do("create", *words)
    before = console.snapshot()
    second = console.do("create", *words)
    assert (first.returncode, second.returncode) == (0, 0)
    assert (first.stdout, first.stderr) == (second.stdout, second.stderr)
    assert console.snapshot() == before
    assert list(console.index()) == [first.stdout.decode().strip()]


def test_a_retry_after_the_session_has_moved_on_gives_it_as_it_is(console: Console) -> None:
    session_id = console.move(console.new("--key", "k", "task"), "starting", "failed")
    done = console.do("create", "--key", "k", "task")
    assert done.stdout.decode().strip() == session_id
    assert json.loads(done.stderr)["status"] == "failed"


@pytest.mark.parametrize(
    "words",
    [
        ("another task",),
        ("task", "high"),
        ("task", "medium", '{"a":1}'),
        ("--agent", "rehearsal", "task"),
        ("--timeout", "5", "task"),
        ("--label", "a=b", "task"),
        ("--env", "A=b", "task"),
    ],
)
def test_the_same_key_with_another_request_is_refused(console: Console, words: tuple[str, ...]) -> None:
    session_id = console.new("--key", "k", "task")
    before = console.snapshot()
    done = console.do("create", "--key", "k", *words)
    assert (done.returncode, done.stdout) == (1, b"")
    assert session_id in error_line(done) and "another key" in error_line(done)
    assert console.snapshot() == before


def test_the_order_of_labels_and_of_metadata_makes_no_other_request(console: Console) -> None:
    first = console.new("--key", "k", "--label", "a=1", "--label", "b=2", "task", "low", '{"x":1,"y":{"a":1,"b":2}}')
    again = console.new("--key", "k", "--label", "b=2", "--label", "a=1", "task", "low", '{"y":{"b":2,"a":1},"x":1}')
    assert first == again


def test_other_keys_and_none_make_other_sessions(console: Console) -> None:
    ids = {
        console.new(*words, "task")
        for words in ((), (), ("--key", "a"), ("--key", "b"), ("--key", "a b"), ("--key", b"\xff"))
    }
    assert len(ids) == 6


def test_another_workspace_has_keys_of_its_own(console: Console, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    here = console.new("--key", "k", "task")
    other = {
        "HIVE_WORKSPACE": str(tmp_path / "other"),
        "HIVE_OUTPUT_ROOT": str(tmp_path / "out"),
        "HIVE_LOG_DIR": str(tmp_path / "log"),
    }
    assert console.new("--key", "k", "task", env=other) != here
    link = tmp_path / "link"
    link.symlink_to(console.layout.workspace)
    assert console.new("--key", "k", "task", env={"HIVE_WORKSPACE": str(link)}) == here


def test_the_id_is_a_uuid_of_version_4_and_works_like_any_other(console: Console) -> None:
    session_id = console.new("--key", "k", "task")
    assert session_id[14] == "4" and session_id[19] in "89ab"
    console.move(session_id, "starting", "running", "completed")
    console.answer("cleanup", "0")
    assert console.new("--key", "k", "another request is fine now") == session_id


def at_once(console: Console, *requests: tuple[str, ...]) -> list[subprocess.CompletedProcess[bytes]]:
    """All these creates, held at a gate until each of them has started."""
    reading, writing = os.pipe()
    gated = 'read go; exec "$0" create "$@"'
    calls = [
        subprocess.Popen(
            ["/bin/sh", "-c", gated, SCRIPT, *words],
            env=console.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=reading,
        )
        for words in requests
    ]
    os.close(reading)
    os.write(writing, b"go\n" * len(calls))
    os.close(writing)
    ended = [(call, *call.communicate(timeout=50)) for call in calls]
    return [subprocess.CompletedProcess(call.args, call.returncode, out, err) for call, out, err in ended]


@pytest.mark.timeout(120)
def test_sixteen_at_once_make_one_session(console: Console) -> None:
    for round_ in range(2):
        done = at_once(console, *[("--key", f"k{round_}", "task")] * 16)
        assert [each.returncode for each in done] == [0] * 16, done
        assert len({each.stdout for each in done}) == 1
    assert len(console.index()) == 2
    assert len(os.listdir(console.layout.output_root)) == len(os.listdir(console.layout.log_dir)) == 2
    assert [name for name in os.listdir(console.layout.sessions) if name.startswith(".new-")] == []


def test_of_two_requests_with_one_key_at_once_one_wins(console: Console) -> None:
    done = at_once(console, *[("--key", "k", "one"), ("--key", "k", "two")] * 6)
    winner = console.on_disk(next(iter(console.index())))["task"]
    codes: dict[str, set[int]] = {"one": set(), "two": set()}
    for each in done:
        codes[str(each.args[-1])].add(each.returncode)
    assert codes == {winner: {0}, ({"one", "two"} - {winner}).pop(): {1}}
    assert len(console.index()) == 1
