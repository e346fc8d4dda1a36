"""Workspaces as they are found: several filesystems, read-only ones, one of a plain user's own, paths with odd characters."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.integration.console import CALL_S, Console, error_line, reachable_script
from tests.integration.hive import is_alive, until

ARTEFACT = 'echo done; echo text > "$HIVE_OUTPUT_DIR/artefact"'


@contextmanager
def mounted(place: Path, *options: str) -> Iterator[None]:
    """`place` under a mount of these options; only root can."""
    subprocess.run(["mount", *options, place], check=True, timeout=CALL_S)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True, timeout=CALL_S)


def live_through(console: Console) -> None:
    """A session from its creation to its removal."""
    session_id = console.create(console.shell(ARTEFACT))
    started = console.do("start", session_id)
    assert started.returncode == 0, started
    assert console.do("status", session_id).stdout == b"completed\n"
    assert Path(console.answer("output-dir", session_id).decode().strip(), "artefact").read_bytes() == b"text\n"
    assert console.answer("logs", session_id).endswith(b"\ndone\n")
    assert b"Cleaned up 1 " in console.answer("cleanup", "0", "--outputs", "--logs")
    assert os.listdir(console.layout.output_root) == os.listdir(console.layout.log_dir) == []
    assert console.index() == {}


@pytest.mark.root
def test_registry_outputs_and_logs_may_lie_on_three_filesystems(console: Console) -> None:
    console.answer("init")
    with ExitStack() as stack:
        for place in (console.layout.workspace, console.layout.output_root, console.layout.log_dir):
            stack.enter_context(mounted(Path(place), "-t", "tmpfs", "-o", "size=4m", "tmpfs"))
        assert (
            len({os.stat(path).st_dev for path in (console.root, console.layout.workspace, console.layout.log_dir)})
            == 3
        )
        live_through(console)


@pytest.mark.parametrize("name", ["with blanks", 'quote\'d "$(touch PWNED)"', "日本語 🐝", "-dash", "new\nline", "a:b"])
def test_a_workspace_may_have_any_name(tmp_path: Path, name: str) -> None:
    with Console(tmp_path / name) as console:
        live_through(console)
        assert list(tmp_path.rglob("PWNED")) == []


@pytest.mark.root
def test_a_plain_user_needs_nobody_s_help(console: Console, tmp_path: Path) -> None:
    console.program = reachable_script(tmp_path / "venv", "nobody")
    agent = console.shell("id -un; exit 7")
    subprocess.run(["chown", "-R", "nobody", console.root], check=True, timeout=CALL_S)

    def call(*words: str) -> bytes:
        done = console.do(*words, user="nobody")
        assert done.returncode == 0 and b"root" not in done.stderr, done
        return done.stdout

    session_id = call("create", "--agent", agent, "work").decode().strip()
    done = console.do("start", session_id, user="nobody")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (7, b"nobody")
    assert call("status", session_id) == b"failed\n"
    assert json.loads(call("list"))["sessions"][session_id]["status"] == "failed"
    call("reconcile")
    assert b"Cleaned up 1 " in call("cleanup", "0", "--outputs", "--logs")
    owners = {path.owner() for path in Path(console.layout.workspace).rglob("*")}
    assert owners == {"nobody"}


@pytest.mark.root
def test_a_read_only_workspace_still_tells_the_truth(console: Console) -> None:
    lost = console.launch(console.shell("exec sleep 60"))
    waiting, over = console.new("waiting"), console.move(console.new("over"), "failed")
    run = console.run(lost)
    for pid in (run.witness, run.runner, run.agent):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(is_alive(pid) for pid in (run.runner, run.witness, run.agent)), "their end")
    with open(
        console.paths(lost).telemetry, "ab"
    ) as file:  # a tap that was killed, whose telemetry nobody may complete
        file.write(b'{"ts":1,"type":"tap_started","at":0}\n')
    index = Path(console.layout.index)
    workspace = Path(console.layout.workspace)
    with mounted(workspace, "--bind", str(workspace)):
        subprocess.run(["mount", "-o", "remount,ro,bind", workspace], check=True, timeout=CALL_S)
        before = console.snapshot()
        assert console.do("status", lost).stdout == b"failed\n"
        assert json.loads(console.answer("get", lost))["reason"] == "lost"
        truth = {lost: "failed", waiting: "created", over: "failed"}
        assert {each: row["status"] for each, row in console.index().items()} == truth
        assert b"failed: lost" in console.answer("ls")
        assert console.do("wait", lost).returncode == 1
        for words in (("create", "x"), ("update-status", waiting, "starting"), ("cleanup", "0"), ("reindex",)):
            done = console.do(*words)
            assert done.returncode == 77 and "Read-only" in error_line(done), (words, done)
        assert console.snapshot() == before
        assert json.loads(index.read_bytes())["sessions"][lost]["status"] == "running"
    assert console.do("status", lost).stdout == b"failed\n"
    assert console.on_disk(lost)["status"] == "failed"


def test_a_workspace_behind_a_link_is_the_same_workspace(console: Console, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(console.layout.workspace)
    there = {"HIVE_WORKSPACE": str(link)}
    session_id = console.new("work")
    assert console.do("status", session_id, env=there).stdout == b"created\n"
    assert console.do("update-status", session_id, "failed", env=there).returncode == 0
    assert console.index()[session_id]["status"] == "failed"
    assert console.do("cleanup", "0", env=there).stdout.endswith(b"Cleaned up 1 old sessions\n")
