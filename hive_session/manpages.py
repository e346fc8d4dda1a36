"""Man pages of every program, made from what it says to --help; `python -m hive_session.manpages DIR` writes them to DIR."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hive_session.ondisk.version import VERSION

# Every console script, and what it is in half a sentence.
SUMMARIES = {
    "hive-session": "run AI-agent sessions side by side, each in a directory of its own",
    "hive-suite": "start, stop and ask the core suite under supervisord",
    "hive-health": "restart servers that hang, and tell whether all can do their work",
    "hive-rehearsal": "play a hive of agents without a model",
    "hive-tap": "stand in for Claude Code inside a session, and turn its stream into telemetry",
    "claude-flow": "run claude-flow as the right user and in a directory of its own",
    "mcp-tcp": "tell MCP clients on a TCP port what the sessions do",
    "mcp-tcp-proxy": "put any stdio MCP server on a TCP port, a process for each connection",
    "mcp-stdio-bridge": "put an MCP server that listens on TCP on stdin and stdout",
    "ws-relay": "stream what the sessions do over WebSocket, and serve the page that shows it",
}
# Their --help is that of the program which they stand in for.
STAND_INS = {
    "claude-flow": """\
usage: claude-flow [WORD…]

Becomes the real claude-flow with the same words, whose help claude-flow --help shows. Before that it sees to three things:
root becomes HIVE_USER (dev, where there is such a user), root works in .swarm/root-cli-instance of the workspace, and no
database comes to be that everything in the workspace would share: it refuses to run where one would.

Environment:
  HIVE_CLAUDE_FLOW_BIN  the real claude-flow, by absolute path; else that of bin/setup, else the first on PATH
  HIVE_USER             whom root becomes
  HIVE_WORKSPACE        the workspace

Exit codes: claude-flow's own | 73 a directory cannot be made | 77 not permitted | 78 a forbidden place or a wrong setting |
126 the program cannot be run | 127 there is none.""",
    "hive-tap": """\
usage: bin/claude [WORD…]

Is bin/claude in each session, where claude-flow calls it. In stream-json mode it runs the real Claude Code, keeps its stream in
claude.jsonl, passes it on to stdout and appends events to telemetry.jsonl. With any other words, and beneath another tap, it
becomes the real Claude Code.

Environment:
  HIVE_CLAUDE_BIN  the real Claude Code, by absolute path; the session sets it

Exit codes: Claude Code's own | 126 it cannot be run | 127 there is none.""",
}
HEADING = re.compile(r"( *)([A-Za-z][A-Za-z ]{2,24}):$")
ENTRY = re.compile(r"(\S.*?) {2,}(\S.*)$")
TITLES = {"positional arguments": "ARGUMENTS", "exit codes": "EXIT STATUS"}
ORDER = ("SYNOPSIS", "DESCRIPTION", "COMMANDS", "ARGUMENTS", "OPTIONS", "ENVIRONMENT", "EXIT STATUS", "EXAMPLES")
VERBATIM = ("SYNOPSIS", "EXAMPLES")


# -- text to text ------------------------------------------------------------------------------------------------------


def page(name: str, summary: str, text: str, also: Iterable[str] = ()) -> str:
    """The man(7) page of a program or command whose --help says `text`; `also` are further pages."""
    lines = [f'.TH "{escape(name.upper())}" 1 "" "hive-suite {VERSION}" "hive-suite"', ".SH NAME"]
    lines.append(f"{escape(name)} \\- {escape(summary)}")
    found = sections(name, text)
    for title in ORDER:
        if title in found:
            lines += [f".SH {title}", *(_verbatim if title in VERBATIM else _flowing)(found[title])]
    if names := sorted(set(also) - {name}):
        lines += [".SH SEE ALSO", " ,\n".join(f".BR {escape(each)} (1)" for each in names)]
    return "\n".join(lines) + "\n"


def sections(name: str, text: str) -> dict[str, list[str]]:
    """The lines of a help by the title of the section they go to; what has no heading is its description."""
    found: dict[str, list[str]] = {}
    title, margin = "DESCRIPTION", -1
    for line in text.rstrip().split("\n"):
        depth = len(line) - len(line.lstrip())
        if (line and depth <= margin) or (not line and title == "SYNOPSIS"):
            title, margin = "DESCRIPTION", -1
        if line.lower().startswith("usage: "):
            title, margin, line = "SYNOPSIS", 0, f"{'':7}{line[len('usage: ') :]}"
        elif line.startswith(f"  {name} ") and title == "DESCRIPTION":
            title, margin = "EXAMPLES", 0
        elif heading := HEADING.match(line):
            title, margin = TITLES.get(heading[2].lower(), heading[2].upper()), depth
            continue
        elif line.lower().startswith("exit codes: "):
            title, margin, line = "EXIT STATUS", -1, line[len("exit codes: ") :]
        found.setdefault(title, []).append(line)
    return {title: lines for title, lines in found.items() if any(lines)}


def commands_of(text: str) -> dict[str, str]:
    """The commands that a program's help lists, and what it says of each."""
    after = re.split(r"^(?:Commands:|  COMMAND)\n", text, flags=re.MULTILINE)[1:]
    listed = after[0].split("\n\n")[0] if after else ""
    words = re.split(r"^ {2,4}([a-z][a-z-]*) {2,}", listed, flags=re.MULTILINE)[1:]
    return {name: " ".join(said.split()) for name, said in zip(words[::2], words[1::2], strict=True)}


def escape(text: str) -> str:
    """`text` as roff takes it for what it is; at the beginning of a line too."""
    marks = {"\\": "\\(rs", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti", '"': "\\(dq"}
    written = "".join(marks.get(char, char if char < "\x7f" else f"\\[u{ord(char):04X}]") for char in text)
    return f"\\&{written}" if written.startswith(".") else written


def _verbatim(lines: list[str]) -> list[str]:
    kept = textwrap.dedent("\n".join(lines)).strip("\n").split("\n")
    return [".nf", *map(escape, kept), ".fi"]


def _flowing(lines: list[str]) -> Iterator[str]:
    """Paragraphs, and entries with a term; what is indented below either belongs to it."""
    rest = textwrap.dedent("\n".join(lines)).split("\n")
    in_paragraph = False
    while rest:
        line = rest.pop(0)
        if not line.strip():
            in_paragraph = False
            continue
        deeper = _take_deeper(rest)
        if (entry := ENTRY.match(line)) or (deeper and not line.endswith(":")):
            in_paragraph = False
            yield from _entry(entry[1] if entry else line, [entry[2]] if entry else [], deeper)
            continue
        if not in_paragraph:
            yield ".PP"
        in_paragraph = not deeper
        yield escape(line)
        if deeper:
            yield from (".RS", *_flowing(deeper), ".RE")


def _take_deeper(rest: list[str]) -> list[str]:
    """Take from `rest` the indented lines at its beginning."""
    count = 0
    while count < len(rest) and rest[count].startswith(" "):
        count += 1
    taken, rest[:] = rest[:count], rest[count:]
    return taken


def _entry(term: str, said: list[str], deeper: list[str]) -> Iterator[str]:
    yield ".TP"
    yield f"\\fB{escape(term)}\\fP"
    if not said and any(ENTRY.match(line.strip()) for line in deeper):
        yield from ("\\&", ".RS", *_flowing(deeper), ".RE")
    else:
        yield from (escape(line.strip()) for line in [*said, *deeper])


# -- programs to files -------------------------------------------------------------------------------------------------


def write_pages(directory: Path, bin_dir: str) -> None:
    """A page for each program in `bin_dir` and for each of its commands. Raises: OSError, CalledProcessError."""
    directory.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        helps = dict(zip(SUMMARIES, pool.map(lambda name: ask(bin_dir, name), SUMMARIES), strict=True))
        commands = [(name, word, said) for name in helps for word, said in commands_of(helps[name]).items()]
        said_by = list(pool.map(lambda each: ask(bin_dir, each[0], each[1]), commands))
    pages = {name: page(name, SUMMARIES[name], helps[name], _related(name, commands)) for name in helps}
    for (name, word, summary), text in zip(commands, said_by, strict=True):
        pages[f"{name}-{word}"] = page(f"{name}-{word}", summary.rstrip("."), text, (name,))
    _write(directory, pages)


def ask(bin_dir: str, program: str, *words: str) -> str:
    """What a program says to --help. Raises: OSError, CalledProcessError."""
    if program in STAND_INS:
        return STAND_INS[program]
    command = [f"{bin_dir}/{program}", *words, "--help"]
    env = {**os.environ, "COLUMNS": "500", "LC_ALL": "C.UTF-8"}  # argparse cuts words at their hyphens
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=60, check=True)
    return done.stdout.decode()


def _related(name: str, commands: Iterable[tuple[str, str, str]]) -> list[str]:
    return [*SUMMARIES, *(f"{program}-{word}" for program, word, _ in commands if program == name)]


def _write(directory: Path, pages: Mapping[str, str]) -> None:
    for name, text in pages.items():
        (directory / f"{name}.1").write_text(text, encoding="ascii")


def main() -> int:
    """Entry point of `python -m hive_session.manpages DIR`; returns its exit code."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m hive_session.manpages DIR\n")
        return 2
    write_pages(Path(sys.argv[1]), f"{sys.prefix}/bin")
    return 0


if __name__ == "__main__":
    sys.exit(main())
