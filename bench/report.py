"""What every bench has around its figures: the caller's words, the machine, the table for people or the JSON."""

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Sequence

from measure import Line


def begin() -> None:
    """Free this process of what would falsify figures or leave something running; the first thing that a bench does."""
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]  # such as PYTHONDONTWRITEBYTECODE: every program would compile its modules anew
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of every `finally`: nothing that it started stays


def parser_of(description: str) -> argparse.ArgumentParser:
    """The options that every bench has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--dir", help="make the workspaces in this directory, on its filesystem")
    return parser


def parse_sections(parser: argparse.ArgumentParser, known: Sequence[str]) -> argparse.Namespace:
    """What was chosen; `names` are the sections, all where none was named."""
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"measure this alone: {', '.join(known)}")
    chosen = parser.parse_args()
    if unknown := set(chosen.names).difference(known):
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    chosen.names = chosen.names or known
    return chosen


class Report:
    """The figures of one run. As JSON they are told at the end, for people as they come."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._begun, self._load = time.monotonic(), os.getloadavg()[0]
        self._told: list[dict[str, object]] = []

    def add(self, name: str, lines: list[Line], print_more: Callable[[], None] | None = None) -> None:
        """A section; `print_more` prints for people what stands behind it."""
        self._told += [{"section": name, **line.as_json()} for line in lines]
        if self._as_json:
            return
        if lines:
            print_lines(name, lines)
        if print_more:
            print_more()

    def end(self, directory: str, **more: object) -> None:
        """Tell of the machine, whose filesystem is that of `directory`; and, as JSON, everything."""
        about = {**describe_machine(directory), "load_before": round(self._load, 2)}
        about |= {"load_after": round(os.getloadavg()[0], 2), "seconds": round(time.monotonic() - self._begun)}
        if self._as_json:
            print(json.dumps({"machine": about, "lines": self._told, **more}, indent=2))
        else:
            print("\n" + ", ".join(f"{key} {value}" for key, value in about.items()))


def describe_machine(directory: str) -> dict[str, object]:
    """The class of machine in general terms."""
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "kernel": platform.release().split("-")[0],
        "filesystem": filesystem_of(directory),
    }


def filesystem_of(directory: str) -> str:
    """The type of the filesystem that `directory` lies on."""
    with open("/proc/self/mounts", encoding="utf-8") as file:
        mounts = [line.split()[1:3] for line in file]
    inside = [(len(point), kind) for point, kind in mounts if f"{directory}/".startswith(f"{point.rstrip('/')}/")]
    return max(inside)[1]


def print_lines(name: str, lines: list[Line]) -> None:
    """A section of the table: verdict, name, measured, target; then the figures behind it."""
    words = {True: "pass", False: "FAIL", None: ""}
    print(f"\n{name}")
    for line in lines:
        measured = f"{line.measured:,.{0 if line.measured >= 1000 else 2}f} {line.unit}"
        print(f"  {words[line.passed]:<5}{line.name:<50}{measured:>18}  {line.target}".rstrip())
        if line.beside:
            print(f"       {line.beside}")
    sys.stdout.flush()


def run(program: str, main: Callable[[], int]) -> None:
    """End with main's exit code, or with 1 and the reason where it cannot measure."""
    try:
        sys.exit(main())
    except (RuntimeError, OSError) as exc:
        print(f"bench/{program}: cannot measure: {exc}", file=sys.stderr)
        sys.exit(1)
