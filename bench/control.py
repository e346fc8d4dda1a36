"""Measures hive-session against its targets on this machine: a table for people, or JSON with --json.

    .venv/bin/python bench/control.py [--json] [--only SECTION]... [--dir DIR]

It measures the hive-session that is installed beside the Python that runs it, in workspaces of its own that are removed at
the end. Ratios are taken in one run, turn by turn with their peer. Exit code: 0 whatever the figures, 1 when it cannot measure.
"""

import argparse
import compileall
import json
import os
import platform
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import commands
import crowd
import runs
from measure import Line, Workspace, workspaces

SECTIONS = ("status", "growth", "cold", "creates", "updates", "idle", "tapped", "wait")


def main() -> int:
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]  # such as PYTHONDONTWRITEBYTECODE: every command would compile its modules anew
    parser = argparse.ArgumentParser(description="Measures hive-session on this machine.")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="measure this section; may be repeated")
    parser.add_argument("--dir", help="make the workspaces in this directory, on its filesystem")
    chosen = parser.parse_args()
    _compile()
    begun, load = time.monotonic(), os.getloadavg()[0]
    report: dict[str, list[Line]] = {}
    with workspaces(chosen.dir) as make:
        machine = describe_machine(make().root)
        for name, lines in sections(make, chosen.only or SECTIONS):
            report[name] = list(lines)
            if not chosen.json:
                print_lines(name, report[name])
    about = {**machine, "load_before": round(load, 2), "load_after": round(os.getloadavg()[0], 2)}
    about["seconds"] = round(time.monotonic() - begun)
    if chosen.json:
        told = [{"section": name, **line.as_json()} for name, found in report.items() for line in found]
        print(json.dumps({"machine": about, "lines": told}, indent=2))
    else:
        print("\n" + ", ".join(f"{key} {value}" for key, value in about.items()))
    return 0


def sections(
    make: Callable[[], Workspace], chosen: tuple[str, ...] | list[str]
) -> Iterator[tuple[str, Iterator[Line]]]:
    """The chosen sections, each with the workspaces it needs."""
    if not {"growth", "cold"}.isdisjoint(chosen):
        few, many = make(), make()
        few.seed(commands.FEW)
        many.seed(commands.MANY)
        if "growth" in chosen:
            yield "growth", commands.growth(few, many)
        if "cold" in chosen:
            yield "cold", commands.cold(few, many)
    if "updates" in chosen:
        thousand = make()
        thousand.seed(1000)
        yield "updates", crowd.index_updates(thousand)
    if "creates" in chosen:
        yield "creates", crowd.concurrent_creates(make())
        yield "locks", crowd.lock_waits(make())
    table = (
        ("status", commands.status_against_jq),
        ("idle", runs.idle_sessions),
        ("tapped", runs.tapped_sessions),
        ("wait", runs.wakes),
    )
    for name, measure in table:
        if name in chosen:
            yield name, measure(make())


def _compile() -> None:
    """Bytecode first: an installation has it, a checkout that was just changed has not."""
    for name in ("hive_session", "cf_wrapper"):
        spec = find_spec(name)
        assert spec is not None and spec.origin is not None
        compileall.compile_dir(os.path.dirname(spec.origin), quiet=2)
    compileall.compile_dir(sysconfig.get_path("purelib"), quiet=2)


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


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, OSError) as exc:
        print(f"bench/control.py: cannot measure: {exc}", file=sys.stderr)
        sys.exit(1)
