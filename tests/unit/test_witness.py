"""The witness beneath an agent, with real processes that end at once."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hive_session import witness
from hive_session.witness import EXIT_BYTES, Witness

DEADLINE_S = 25.0  # of every wait; less than it takes a witness that is not told of its parent's end to find out

# Where tests are spread over workers, these have threads; what is forked here runs no code of those.
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


class Parent:
    """Whoever asks a witness: starts it, and hears what it tells."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.exit_path = directory / "exit"
        self.null = os.open(os.devnull, os.O_RDWR)
        self.out = os.open(directory / "out", os.O_RDWR | os.O_CREAT | os.O_APPEND)

    def spawn(self, *steps: Sequence[str], orphaned: Callable[[int, int, int], None] | None = None) -> Witness:
        return witness.spawn(
            steps,
            env={"PATH": os.environ["PATH"], "WHO": "agent"},
            cwd=str(self.directory),
            stdin=self.null,
            stdout=self.out,
            stderr=self.out,
            exit_path=str(self.exit_path),
            attempt=3,
            new_group=True,
            orphaned=orphaned,
        )

    def told(self, found: Witness) -> list[list[str]]:
        """Everything a witness tells until it is gone, with pids left out."""
        lines = []
        while new := found.read():
            lines.extend(new)
        os.waitpid(found.pid, 0)
        os.close(found.fd)
        return [words if words[0] != "pid" else words[:2] for words in lines]

    def exit(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.exit_path.read_bytes())
        return found

    def output(self) -> str:
        return os.pread(self.out, 65536, 0).decode()

    def until_told(self, word: str) -> str:
        """The first line of out that begins so, once it is there."""
        end = time.monotonic() + DEADLINE_S
        while not (lines := [line for line in self.output().splitlines() if line.startswith(word)]):
            assert time.monotonic() < end, f"nobody said {word}: {self.output()}"
            time.sleep(0.005)
        return lines[0]

    def close(self) -> None:
        os.close(self.null)
        os.close(self.out)


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Parent]:
    found = Parent(tmp_path)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    yield found
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    found.close()


@pytest.mark.parametrize(
    ("script", "code", "number"),
    [
        ("exit 0", 0, None),
        ("exit 7", 7, None),
        ("exit 255", 255, None),
        ("exit 137", 137, None),
        ("kill -KILL $$", 137, 9),
        ("kill -TERM $$", 143, 15),
        ("kill -SEGV $$", 139, 11),
    ],
)
def test_the_end_is_told_and_written_down(parent: Parent, script: str, code: int, number: int | None) -> None:
    told = parent.told(parent.spawn(["sh", "-c", script]))
    assert told == [["pid", "0"], ["over", "0", str(code), str(number or 0)]]
    seen = parent.exit()
    assert (seen["attempt"], seen["exit_code"], seen["signal"]) == (3, code, number)
    assert abs(seen["ended_ms"] - time.time() * 1000) < 60_000


def test_steps_run_one_after_the_other(parent: Parent) -> None:
    told = parent.told(parent.spawn(["sh", "-c", "echo one"], ["sh", "-c", "echo two; exit 5"]))
    assert told == [["pid", "0"], ["ended", "0"], ["pid", "1"], ["over", "1", "5", "0"]]
    assert parent.output() == "one\ntwo\n"


def test_the_first_step_that_fails_ends_the_chain(parent: Parent) -> None:
    told = parent.told(parent.spawn(["sh", "-c", "exit 3"], ["sh", "-c", "echo never"]))
    assert told == [["pid", "0"], ["over", "0", "3", "0"]]
    assert parent.output() == ""
    assert parent.exit()["exit_code"] == 3


@pytest.mark.parametrize(("mode", "number", "code"), [(None, "2", 127), (0o644, "13", 126)])
def test_a_program_that_cannot_be_run_is_told_with_the_reason(
    parent: Parent, mode: int | None, number: str, code: int
) -> None:
    program = parent.directory / "program"
    if mode is not None:
        program.write_text("#!/bin/sh\n")
        program.chmod(mode)
    told = parent.told(parent.spawn([str(program)]))
    assert told == [["error", "0", number], ["over", "0", str(code), "0"]]


def test_the_agent_has_the_environment_directory_and_group_it_was_given(parent: Parent) -> None:
    code = "import os; print(os.getpid() == os.getpgrp(), os.getcwd(), os.environ['WHO'], 'HOME' in os.environ)"
    parent.told(parent.spawn([sys.executable, "-c", code]))
    assert parent.output() == f"True {parent.directory} agent False\n"


def test_the_agent_gets_its_signals_as_any_program_does(parent: Parent) -> None:
    parent.told(parent.spawn(["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]))
    ignored, blocked = (int(parent.until_told(word).split()[1], 16) for word in ("SigIgn", "SigBlk"))
    assert blocked == 0
    assert not ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))  # Python ignores these two itself


def test_room_for_the_exit_is_taken_before_anything_runs(parent: Parent) -> None:
    parent.told(parent.spawn(["sh", "-c", f"stat -c %s {parent.exit_path}.tmp"]))
    assert parent.output() == f"{EXIT_BYTES}\n"
    assert parent.exit_path.stat().st_size == EXIT_BYTES


def test_a_reservation_that_fails_is_told_to_the_caller(parent: Parent) -> None:
    parent.exit_path = parent.directory / "missing" / "exit"
    with pytest.raises(FileNotFoundError):
        parent.spawn(["true"])


def test_sigterm_to_the_witness_lets_the_step_end_and_begins_no_other(parent: Parent) -> None:
    os.mkfifo(parent.directory / "go")
    found = parent.spawn(["sh", "-c", "echo first; read go < go"], ["sh", "-c", "echo second"])
    parent.until_told("first")
    os.kill(found.pid, signal.SIGTERM)
    (parent.directory / "go").write_text("\n")
    assert parent.told(found)[-1] == ["over", "0", "0", "0"]
    assert parent.output() == "first\n"


def in_a_fork(work: Callable[[], None]) -> int:
    """The pid of a child of this process that does `work`."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(99)
    return pid


def orphan(parent: Parent, script: str, *, after: str) -> int:
    """Spawn `script` below a process that dies once `after` is in its output; gives the code with which that ended."""

    def take_over(step: int, pid: int, pipe: int) -> None:
        ended = os.waitpid(pid, 0)
        os.write(parent.out, f"took over {step} {ended[0] == pid} {os.waitstatus_to_exitcode(ended[1])}\n".encode())
        os._exit(0)

    def ask() -> None:
        parent.spawn(["sh", "-c", script], orphaned=take_over)
        parent.until_told(after)
        os.kill(os.getpid(), signal.SIGKILL)

    return os.waitstatus_to_exitcode(os.waitpid(in_a_fork(ask), 0)[1])


def test_an_orphaned_witness_takes_over_at_once(parent: Parent) -> None:
    os.mkfifo(parent.directory / "go")
    began = time.monotonic()
    assert orphan(parent, "echo first; read go < go; exit 6", after="first") == -signal.SIGKILL
    (parent.directory / "go").write_text("\n")
    assert parent.until_told("took over") == "took over 0 True 6"
    assert time.monotonic() - began < witness.ORPHAN_CHECK_S


def test_a_witness_orphaned_while_it_writes_down_the_end_takes_over_all_the_same(
    parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = witness.write_exit

    def slowly(*args: Any, **kwargs: Any) -> None:
        asked = os.getppid()
        os.write(parent.out, b"writing\n")
        while os.getppid() == asked:
            time.sleep(0.005)
        original(*args, **kwargs)

    monkeypatch.setattr(witness, "write_exit", slowly)
    assert orphan(parent, "exit 4", after="writing") == -signal.SIGKILL
    assert parent.until_told("took over") == "took over 0 True 4"
    assert parent.exit()["exit_code"] == 4


def test_a_full_disk_at_the_end_costs_the_file_and_nothing_else(
    parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    assert parent.told(parent.spawn(["sh", "-c", "exit 7"]))[-1] == ["over", "0", "7", "0"]
    assert not parent.exit_path.exists()
