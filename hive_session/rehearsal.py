"""The embedded `rehearsal` agent: stands where Claude Code would be and plays a hive, without any model."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from hive_session.rehearsal_lines import DISCLAIMER, VERSION
from hive_session.rehearsal_plan import Agent, cost_usd, usage_by_model
from hive_session.rehearsal_script import RETRIES_MAX, Rehearsal

HELP = f"""\
Examples:
  hive-rehearsal -p --output-format stream-json "Build the importer"
  hive-rehearsal -p --seed 7 --workers 20 --seconds 60 < task.txt

Plays a hive of a queen and workers in Claude Code's stream-json format, in real time. No model is involved.
The task is the last argument, or else stdin. Claude Code's other arguments are ignored; its own are:
  --seed N          which play: same seed and arguments, same bytes (default: a hash of the task)
  --workers N       how many the queen sends, 1 to 1000 (default 4)
  --seconds S       how long it takes; 0 = at once (default 8)
  --exit-code N     fail on purpose with this code, 0 to 255 (default 0)
  --retries N       refusals of the model's server at the start, 0 to {RETRIES_MAX} (default 0)
  --crash           die after three fifths, without a result (exit 70)
  --ignore-sigterm  only SIGKILL ends it
  --noise           lines that are not JSON in between
With HIVE_OUTPUT_DIR set, task.txt (the task, byte for byte) and report.md are written there.

Exit codes: 0 played, N from --exit-code, 2 bad arguments, 70 --crash, 74 cannot write, 130 SIGINT,
141 reader gone, 143 SIGTERM.
"""

VALUE_FLAGS = frozenset(
    "--output-format --session-id --resume -r --model --mcp-config "
    "--seed --workers --seconds --exit-code --retries".split()
)
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SEED_MAX = 2**63 - 1
SECONDS_MAX = 31 * 86_400.0  # a month; more is a slip of the hand
HEAD_BYTES = 4096  # of the task, kept for display; the rest only passes through
HEAD_LINES = 5  # of the task, quoted by the report
CHUNK_BYTES = 65_536
NOISE_SHARE = 0.3  # of the lines come after a line of noise
NOISE = (
    "╭──────────────────────────────╮\n│  🐝 Hive Mind is spawning…  │\n".encode(),
    b"\n",
    b"{not json at all\n",
    b'{"an": "object", "without": "the key that counts"}\n',
    b'["type", "result"]\n',
    b"\xff\xfe bytes that are no UTF-8 \x80\n",
    b"\x1b[32mINFO\x1b[0m colours\r\n",
    b"a line longer than a pipe's buffer " + b"." * 70_000 + b"\n",
)
CRASHED, CANNOT_WRITE, READER_GONE = 70, 74, 141

Options = dict[str, str]


class BadArguments(ValueError):
    """What is wrong with the command line, in one line."""


def split_arguments(argv: Iterable[str]) -> tuple[Options, list[str]]:
    """(flags with their values, "" where they take none; positional arguments). Unknown flags are kept too.

    Raises: BadArguments when a value is missing.
    """
    options: Options = {}
    positionals: list[str] = []
    rest = iter(argv)
    for word in rest:
        if word == "--":
            positionals.extend(rest)
        elif not word.startswith("-"):
            positionals.append(word)
        else:
            name, equals, value = word.partition("=")
            if name in VALUE_FLAGS and not equals:
                value = next(rest, "")
                if not value:
                    raise BadArguments(f"{name} needs a value")
            options[name] = value
    return options, positionals


def whole(options: Options, name: str, default: int, low: int, high: int) -> int:
    """The value of a flag as a whole number. Raises: BadArguments."""
    text = options.get(name, str(default))
    if text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high:
        return int(text)
    raise BadArguments(f"{name}: {text[:40]!r} is not a whole number from {low} to {high}")


def seconds_of(options: Options) -> float:
    """How long to play. Raises: BadArguments."""
    text = options.get("--seconds", "8")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= SECONDS_MAX:  # also when it is not a number at all
        raise BadArguments(f"--seconds: {text[:40]!r} is not a number from 0 to {SECONDS_MAX:.0f}")
    return seconds


def session_of(options: Options) -> tuple[str, bool]:
    """(the session's UUID or "", whether it is resumed). Raises: BadArguments."""
    resume = options.get("--resume", options.get("-r"))
    text = options.get("--session-id", "") if resume is None else resume
    if text and not UUID.fullmatch(text.lower()):
        raise BadArguments(f"{text[:40]!r} is not a UUID")
    return text.lower(), resume is not None


def cast(options: Options, *, seed: int, task: str, cwd: str) -> Rehearsal:
    """The play that the arguments ask for. Raises: BadArguments."""
    session_id, resumed = session_of(options)
    return Rehearsal(
        seed=whole(options, "--seed", seed, 0, SEED_MAX),
        task=task,
        workers=whole(options, "--workers", 4, 1, 1000),
        seconds=seconds_of(options),
        session_id=session_id,
        resumed=resumed,
        cwd=cwd,
        exit_code=whole(options, "--exit-code", 0, 0, 255),
        retries=whole(options, "--retries", 0, 0, RETRIES_MAX),
        crash="--crash" in options,
    )


def report(play: Rehearsal, *, seed: int, head: str, size: int) -> str:
    """report.md: what the task was and what was played, once it has been."""
    models = usage_by_model(play.agents())
    cost = sum(cost_usd(model, usage) for model, usage in models.items())
    tokens = sum(sum(usage) for usage in models.values())
    rows = [_row(agent) for agent in play.agents()]
    quoted = ["    " + _printable(line[:200]) for line in head.splitlines()[:HEAD_LINES]]
    return "\n".join(
        [
            "# Rehearsal",
            "",
            f"**{DISCLAIMER}**",
            "",
            f"## The task ({size} bytes)",
            "",
            *quoted,
            "",
            "## What was played",
            "",
            "| agent | role | tools used | tokens | end |",
            "|---|---|---:|---:|---|",
            *rows,
            "",
            f"{len(rows)} agents, {tokens} tokens, ${cost:.4f}, {play.seconds:g} s, all of it invented.",
            f"To see it again: `--seed {seed} --workers {play.workers} --seconds {play.seconds:g}`",
            "",
        ]
    )


def _row(agent: Agent) -> str:
    end = "failed" if agent.fails else "done"
    return f"| {agent.name} | {agent.kind} | {agent.tool_uses} | {sum(agent.spent)} | {end} |"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "·" for char in text)


def receive(chunks: Iterator[bytes], folder: str | None) -> tuple[bytes, int, int]:
    """(beginning, size, hash) of the task, which is kept as task.txt in `folder`, made when it is missing.

    Raises: BadArguments, with nothing written, when the task is empty.
    """
    first = next(chunks, b"")
    if not first:
        raise BadArguments("no task (give it as the last argument, or on stdin)")
    if folder:
        os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "task.txt") if folder else os.devnull, "wb") as sink:
        head, size, digest = b"", 0, 0
        for chunk in chain([first], chunks):
            head += chunk[: HEAD_BYTES - len(head)]
            size += len(chunk)
            digest = zlib.crc32(chunk, digest)
            sink.write(chunk)
    return head, size, digest


def task_chunks(positionals: list[str]) -> Iterator[bytes]:
    """The task's bytes: the last argument, or stdin to its end. Raises: BadArguments at a terminal."""
    if positionals:
        return iter([os.fsencode(positionals[-1])])
    if os.isatty(0):
        raise BadArguments("no task (give it as the last argument, or on stdin)")
    return iter(lambda: os.read(0, CHUNK_BYTES), b"")


def write_all(fd: int, data: bytes) -> None:
    """One write; more only where the kernel took less."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def perform(play: Rehearsal, noise: random.Random | None, before_result: Callable[[], None]) -> None:
    """Write the lines of `play` to stdout, each when its time has come."""
    due = time.monotonic()
    for wait, line in play.lines():
        due += wait
        time.sleep(max(0.0, due - time.monotonic()))
        if line["type"] == "result":
            before_result()
        if noise and noise.random() < NOISE_SHARE:
            write_all(1, noise.choice(NOISE))
        write_all(1, json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")


def obey_signals(ignore_sigterm: bool) -> None:
    """SIGTERM and SIGINT end the process at once, in the middle of a wait or a blocked write too."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # Nothing is buffered, so there is nothing to lose by leaving without a goodbye.
        signal.signal(number, lambda received, _frame: os._exit(128 + received))
    if ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def rehearse(options: Options, positionals: list[str]) -> int:
    """Play what is asked for; the exit code. Raises: BadArguments, OSError."""
    cwd = os.fsencode(os.getcwd()).decode("utf-8", "replace")
    cast(options, seed=0, task="", cwd=cwd)  # refuse bad arguments before anything is read or written
    folder = os.environ.get("HIVE_OUTPUT_DIR")
    head, size, digest = receive(task_chunks(positionals), folder)
    seed = whole(options, "--seed", digest, 0, SEED_MAX)
    task = head.decode("utf-8", "replace")
    play = cast(options, seed=seed, task=task, cwd=cwd)

    def write_report() -> None:
        if folder:
            with open(os.path.join(folder, "report.md"), "w", encoding="utf-8") as file:
                file.write(report(play, seed=seed, head=task, size=size))

    perform(play, random.Random(f"{seed}/noise") if "--noise" in options else None, write_report)
    return CRASHED if "--crash" in options else whole(options, "--exit-code", 0, 0, 255)


def main() -> int:
    """The console script `hive-rehearsal`; its exit code."""
    try:
        options, positionals = split_arguments(sys.argv[1:])
        if "--version" in options or "-v" in options:
            write_all(1, f"{VERSION} (hive rehearsal)\n".encode())
            return 0
        if "--help" in options or "-h" in options:
            write_all(1, HELP.encode())
            return 0
        obey_signals("--ignore-sigterm" in options)
        return rehearse(options, positionals)
    except BadArguments as wrong:
        print(f"hive-rehearsal: {wrong}", file=sys.stderr)  # noqa: T201 -- the program's own error message
        return 2
    except BrokenPipeError:
        return READER_GONE
    except OSError as error:
        print(f"hive-rehearsal: {error}", file=sys.stderr)  # noqa: T201 -- the program's own error message
        return CANNOT_WRITE


if __name__ == "__main__":
    sys.exit(main())
