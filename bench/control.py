"""Measures hive-session against its targets on this machine: a table for people, or JSON with --json.

    .venv/bin/python bench/control.py [--json] [--only SECTION]... [--dir DIR]

It measures the hive-session that is installed beside the Python that runs it, in workspaces of its own that are removed at
the end. Ratios are taken in one run, turn by turn with their peer. Exit code: 0 whatever the figures, 1 when it cannot measure.
"""

import compileall
import os
import sysconfig
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import commands
import crowd
import runs
from measure import Line, Workspace, workspaces
from report import Report, begin, parser_of, run

SECTIONS = ("status", "growth", "cold", "creates", "updates", "idle", "tapped", "wait")


def main() -> int:
    begin()
    parser = parser_of("Measures hive-session on this machine.")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="measure this section; may be repeated")
    chosen = parser.parse_args()
    _compile()
    report = Report(as_json=chosen.json)
    with workspaces(chosen.dir) as make:
        for name, lines in sections(make, chosen.only or SECTIONS):
            report.add(name, list(lines))
        report.end(make().root)
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


if __name__ == "__main__":
    run("control.py", main)
