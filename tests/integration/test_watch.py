"""`watch` as a person has it on a terminal, and as a pipe has it."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from hive_session.words import columns
from tests.integration.console import ABSENT, SCRIPT, Console, error_line
from tests.integration.hive import DEADLINE_S, stat_fields, until

HOME = b"\x1b[H"  # where rich begins to draw a picture
OPENED, CLOSED = b"\x1b[?1049h", b"\x1b[?1049l"  # the alternate screen
QUIET_S = 0.6  # many times the interval of the tests that look whether nothing is drawn


class Terminal:
    """A terminal of its own size with a command of hive-session in front of it; `raw` is all that was written to it."""

    def __init__(self, console: Console, words: tuple[str, ...], rows: int, wide: int, env: Mapping[str, str]) -> None:
        self._end, there = pty.openpty()
        self.raw = b""
        self.resize(rows, wide)
        self.before = termios.tcgetattr(self._end)
        self.process = subprocess.Popen(
            [SCRIPT, *words],
            env={**console.env, "TERM": "xterm-256color", **env},
            stdin=there,
            stdout=there,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        os.close(there)

    def resize(self, rows: int, wide: int) -> None:
        self._size = rows, wide
        fcntl.ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, wide, 0, 0))

    def read(self, timeout_s: float = 0.0) -> bool:
        """Take what was written. False: nothing came within that time."""
        if not select.select([self._end], [], [], timeout_s)[0]:
            return False
        try:
            self.raw += os.read(self._end, 1 << 16)
        except OSError:  # the other end is closed
            return False
        return True

    def picture(self) -> list[str]:
        """The lines of the last whole picture of the terminal's size, as text; none before the first."""
        while self.read():
            continue
        rows, wide = self._size
        for drawn in reversed(self.raw.split(HOME)[1:]):
            lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn.decode(errors="replace")).split("\r\n")
            if len(lines) == rows and columns(lines[-1]) == wide:  # each is drawn to the edge
                return [line.rstrip() for line in lines]
        return []

    def shows(self, text: str) -> list[str]:
        """A picture with this text."""

        def found() -> list[str]:
            lines = self.picture()
            return lines if any(text in line for line in lines) else []

        return until(found, f"{text!r} on the terminal")

    def says(self, text: bytes) -> None:
        """Return once this is among all that was written."""
        until(lambda: (self.read() or True) and text in self.raw, f"{text!r} on the terminal")

    def type(self, keys: bytes) -> None:
        os.write(self._end, keys)

    def ends(self) -> int:
        """The exit code; the terminal is then as it was before."""
        code = self.process.wait(DEADLINE_S)
        self.picture()
        assert self.raw.count(OPENED) == self.raw.count(CLOSED)
        assert self.raw.endswith(CLOSED)
        assert termios.tcgetattr(self._end) == self.before
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self._end)


@contextmanager
def watching(
    console: Console,
    *words: str,
    command: str = "watch",
    rows: int = 24,
    wide: int = 80,
    env: Mapping[str, str] | None = None,
) -> Iterator[Terminal]:
    terminal = Terminal(console, (command, *words), rows, wide, env or {})
    try:
        yield terminal
    finally:
        terminal.close()


def emit(console: Console, session_id: str, **event: object) -> None:
    console.answer("emit", session_id, json.dumps(event))


def spawn(console: Console, session_id: str, agent: str, kind: str, task: str = "Code") -> None:
    role = "queen" if agent == "queen" else "worker"
    emit(console, session_id, type="agent_spawned", agent=agent, role=role, kind=kind, task=task)


# -- a terminal --------------------------------------------------------------------------------------------------------


def test_what_happens_is_on_the_screen_at_once_and_q_ends_it(console: Console) -> None:
    (first,) = console.seed(1, task="Build the importer")
    with watching(console) as terminal:
        assert terminal.shows(first[:8])[0] == "hive   1 waiting"
        (second,) = console.seed(1, task="Fix login")
        assert "○ waiting" in "".join(terminal.shows(second[:8]))
        console.move(second, "starting", "running")
        spawn(console, second, "queen", "claude")
        terminal.shows("queen: planning · Fix login")
        assert terminal.shows("q quits")[-1].startswith("q quits; one session")
        terminal.type(b"q")
        assert terminal.ends() == 0


def test_one_session_by_the_beginning_of_its_id(console: Console) -> None:
    (session_id,) = console.seed(1)
    console.move(session_id, "starting", "running")
    with watching(console, session_id[:6]) as terminal:
        terminal.shows("no agents yet")
        spawn(console, session_id, "queen", "claude")
        spawn(console, session_id, "a", "coder", "Write the parser")
        emit(console, session_id, type="agent_status", agent="a", status="working", tool="Bash")
        emit(console, session_id, type="usage", agent="a", tokens=12_400, cost_usd=0.21)
        terminal.shows("12.4 k tok  $0.21")
        line = next(line for line in terminal.shows("coder  worker") if line.startswith("coder"))
        assert re.fullmatch(r"coder  worker  ● working  Bash  12\.4 k  \$0\.21   \d+ s  Write the parser", line)
        assert any(re.fullmatch(r"\d+ s +coder +starts: Write the parser", line) for line in terminal.picture())
        console.move(session_id, "completed")
        terminal.shows("✓ done")
        terminal.type(b"q")
        assert terminal.ends() == 0


def test_ctrl_c_ends_it_with_0_and_sigterm_as_a_signal_does(console: Console) -> None:
    console.seed(1)
    for number, code in ((signal.SIGINT, 0), (signal.SIGTERM, 143)):
        with watching(console) as terminal:
            terminal.shows("q quits")
            terminal.process.send_signal(number)
            assert terminal.ends() == code


def test_nothing_is_drawn_while_nothing_happens(console: Console) -> None:
    (session_id,) = console.seed(1)
    with watching(console, "--interval", "0.1") as terminal:
        terminal.shows(session_id[:8])
        while terminal.read(QUIET_S):
            continue
        drawn = len(terminal.raw)
        console.move(session_id, "starting")
        terminal.says(b"starting")
        # One picture, or two where one was drawn between record and telemetry. From then on its clock runs.
        assert terminal.raw[drawn:].partition(b"starting")[0].count(HOME) <= 2


def test_the_time_runs_while_a_session_does(console: Console) -> None:
    (session_id,) = console.seed(1)
    console.move(session_id, "starting", "running")
    with watching(console, "--interval", "0.1") as terminal:
        terminal.shows("● running")
        for _ in range(3):
            before = seconds(terminal)
            until(lambda before=before: seconds(terminal) > before, "a later second")  # type: ignore[misc]  # bound now


def seconds(terminal: Terminal) -> int:
    """For how long the one session has run, as the last picture has it."""
    found = re.search(r"running +(\d+) s", "\n".join(terminal.picture()))
    assert found
    return int(found[1])


def test_it_fills_a_terminal_that_changes_its_size(console: Console) -> None:
    console.seed(30, task="漢字 and a task that is wider than any terminal that people have" * 3)
    with watching(console, rows=24, wide=80) as terminal:
        for rows, wide in ((24, 80), (10, 132), (40, 41)):
            terminal.resize(rows, wide)
            terminal.process.send_signal(signal.SIGWINCH)  # the kernel tells the foreground of a session; this has none
            until(lambda rows=rows: len(terminal.picture()) == rows, f"{rows} lines")  # type: ignore[misc]  # bound now
            lines = terminal.shows("q quits")
            assert all(columns(line) <= wide for line in lines)
            assert max(map(columns, lines)) >= wide - 2  # a wide letter may not fit in the last column
        terminal.type(b"q")
        assert terminal.ends() == 0


def test_ctrl_z_gives_the_terminal_back_until_it_goes_on(console: Console) -> None:
    console.seed(1)
    with watching(console) as terminal:
        terminal.shows("q quits")
        terminal.process.send_signal(signal.SIGTSTP)
        until(lambda: stat_fields(terminal.process.pid)[0] == "T", "the stop")
        terminal.picture()
        assert terminal.raw.endswith(CLOSED)
        assert termios.tcgetattr(terminal._end) == terminal.before
        terminal.process.send_signal(signal.SIGCONT)
        terminal.raw = b""
        terminal.says(OPENED)
        terminal.shows("q quits")
        terminal.type(b"q")
        assert terminal.ends() == 0


def test_colors_are_left_out_where_nobody_wants_them(console: Console) -> None:
    console.seed(1)
    wishes: list[tuple[dict[str, str], bool]] = [({}, True), ({"NO_COLOR": "1"}, False)]
    for env, colored in wishes:
        with watching(console, env=env) as terminal:
            terminal.shows("waiting")
            assert (b"\x1b[90m" in terminal.raw) is colored


def test_one_picture_on_a_terminal_leaves_the_prompt_below_it(console: Console) -> None:
    (session_id,) = console.seed(1)
    ways: list[tuple[tuple[str, ...], dict[str, str]]] = [(("--once",), {}), ((), {"TERM": "dumb"})]
    for words, env in ways:
        with watching(console, *words, env=env) as terminal:
            terminal.says(session_id[:8].encode())
            assert terminal.process.wait(DEADLINE_S) == 0
            assert OPENED not in terminal.raw and HOME not in terminal.raw


def test_a_session_that_is_removed_is_said_to_be(console: Console) -> None:
    (session_id,) = console.seed(1)
    with watching(console, session_id) as terminal:
        terminal.shows("waiting")
        os.rename(console.paths(session_id).dir, console.root / "elsewhere")
        terminal.shows(f"{session_id} was removed")


# -- a pipe ------------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(180)
def test_a_pipe_gets_one_picture_of_plain_text(console: Console) -> None:
    (one, other) = console.seed(2, task="a \x1b[31mtask\x1b[0m with\ttabs and 漢字" * 9)
    console.move(one, "starting", "running")
    for number in range(20):
        spawn(console, one, f"a{number}", "coder", "a task\r\n" * 30)
    for words in ((), ("--once",), (one,), (other, "--once")):
        out = console.answer("watch", *words, env={"FORCE_COLOR": "1"}).decode()  # where it would go on, this fails
        assert all(line.isprintable() and columns(line) <= 80 for line in out.splitlines())
        assert not {"\x1b", "\r", "\t"} & set(out) and out.endswith("\n")
    everything = console.answer("watch", one).decode()
    assert everything.count("● working") == 20 and "more agents" not in everything


def test_an_empty_workspace_is_no_error_and_stays_empty(console: Console) -> None:
    assert console.answer("watch").decode().startswith("No sessions yet.")
    assert os.listdir(console.layout.workspace) == []


def test_a_session_that_is_not_there_is_refused(console: Console) -> None:
    done = console.do("watch", ABSENT)
    assert (done.returncode, done.stdout) == (1, b"")
    assert ABSENT in error_line(done)
    assert console.do("watch", "--interval", "0").returncode == 2


def test_a_reader_that_has_enough_is_no_error(console: Console) -> None:
    console.seed(3)
    done = console.do("-c", f"{SCRIPT} watch | head -n 1", program="sh")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hive   3 waiting\n", b"")
