"""What a start of the machine or container must put right: runs that did not survive, strays, and halves of things."""

import os
import shutil
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from hive_session import proctree
from hive_session.cleanup import empty_trash
from hive_session.durable import append_line, locked, remove_file, replace_file
from hive_session.errors import HiveError
from hive_session.ondisk.layout import Layout, is_session_id
from hive_session.ondisk.liveness import boot_identity, run_is_alive
from hive_session.ondisk.records import format_time
from hive_session.ondisk.verdict import describe_end
from hive_session.recovery import Resumed
from hive_session.stop import end_strays, runner_of
from hive_session.store import Store

NEW = ".new-"  # create builds in .new-UUID-PID and renames
ORPHANED_S = 2.0  # a run has no runner for a moment at its start, and while its witness takes a killed one's place
ORPHANED_STEP_S = 0.1
TEMPORARY = ".tmp"  # a file is replaced by way of NAME.PID.tmp


@dataclass(slots=True)
class Report:
    """What reconcile found and did."""

    sessions: int = 0
    running: list[str] = field(default_factory=list)
    ended: dict[str, str] = field(default_factory=dict)  # id -> what became of it
    unreadable: dict[str, str] = field(default_factory=dict)  # id -> why
    strays: dict[str, int] = field(default_factory=dict)  # id -> processes that were ended
    orphaned: dict[str, list[int]] = field(
        default_factory=dict
    )  # id -> processes that go on without runner and witness
    halves: list[str] = field(default_factory=list)  # half-made directories that were removed
    resume: Resumed | None = None  # where that was asked for

    @property
    def changed(self) -> bool:
        """True where something was put right or started."""
        resumed = self.resume is not None and bool(self.resume.resumed or self.resume.given_up)
        return bool(self.ended or self.strays or self.halves or resumed)

    def lines(self) -> list[str]:
        """The report for people."""
        found = [f"{each}  {state}" for each, state in self.ended.items()]
        found += [f"{each}  unreadable: {why}" for each, why in self.unreadable.items()]
        found += [f"{each}  {number} stray processes ended" for each, number in self.strays.items()]
        found += [f"{each}  orphaned: {_pids(pids)} without a runner" for each, pids in self.orphaned.items()]
        found += [f"{path}  half-made, removed" for path in self.halves]
        if self.resume is not None:
            found += [f"{each}  resumed" for each in self.resume.resumed]
            found += [f"{each}  not resumed any more: interrupted too often" for each in self.resume.given_up]
            found += [f"{each}  not resumed: {why}" for each, why in self.resume.not_resumed.items()]
        return [*found, f"{self.sessions} sessions, {len(self.running)} running, {len(self.ended)} marked as ended"]

    def plain(self) -> dict[str, Any]:
        """The report as JSON has it; docs/format.md, "reconcile.json"."""
        found = asdict(self)
        return {name: value for name, value in found.items() if name != "resume"} | (found["resume"] or {})


def reconcile(store: Store, grace_s: float) -> Report:
    """Settle every session that says it runs and does not, end strays, remove halves, rebuild the index."""
    report = Report()
    for session_id in store.session_ids():
        report.sessions += 1
        try:
            before = store.read(session_id)
            after = store.settled(session_id)
        except HiveError as exc:
            report.unreadable[session_id] = exc.what
            continue
        if after.status != before.status:
            report.ended[session_id] = describe_end(after)
        elif after.status in ("starting", "running"):
            report.running.append(session_id)
    report.orphaned = find_orphaned(store, report.running)
    for session_id in find_strays(store):
        report.strays[session_id] = end_strays(session_id, grace_s)
    report.halves = remove_halves(store.layout)
    empty_trash(store.layout, store.now())
    store.rebuild_index()
    return report


def record_report(store: Store, report: Report) -> None:
    """Leave the report in reconcile.json, and a line in the audit file where something was done. Raises: OSError."""
    told = {"reconciled": format_time(store.now(), millis=True), "boot": boot_identity(), **report.plain()}
    replace_file(store.layout.reconciled, orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    if report.changed:
        with locked(store.layout.audit):
            append_line(store.layout.audit, orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE))


def find_orphaned(store: Store, running: list[str]) -> dict[str, list[int]]:
    """Of the sessions that run, those whose runner and witness are gone while something of the run goes on (id -> pids).

    Nobody enforces their timeout, rotates their log or will know how they ended.
    """
    give_up_s = time.monotonic() + ORPHANED_S
    while (found := [each for each in running if _is_orphaned(store, each)]) and time.monotonic() < give_up_s:
        time.sleep(ORPHANED_STEP_S)
    return {each: sorted(proctree.marked(each)) for each in found}


def _is_orphaned(store: Store, session_id: str) -> bool:
    paths = store.paths(session_id)
    return runner_of(paths) is None and run_is_alive(paths.run_lock)


def _pids(pids: list[int]) -> str:
    return f"process{'es' if len(pids) != 1 else ''} {', '.join(map(str, pids))}"


def find_strays(store: Store) -> dict[str, list[int]]:
    """Processes of sessions of this workspace that have no run (id -> pids)."""
    found: dict[str, list[int]] = {}
    for pid, session_id in proctree.sessions_by_pid().items():
        if is_session_id(session_id) and os.path.isdir(store.paths(session_id).dir):
            found.setdefault(session_id, []).append(pid)
    return {each: pids for each, pids in found.items() if not run_is_alive(store.paths(each).run_lock)}


def remove_halves(layout: Layout) -> list[str]:
    """Remove what a `create` that was killed left of a session; gives the paths."""
    halves = find_halves(layout)
    for path in halves:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            remove_file(path)
    return halves


def find_halves(layout: Layout) -> list[str]:
    """What processes that were killed were making: a directory of `create`, a file of a replacement.

    What a process makes that still lives is not among them.
    """
    try:
        names = os.listdir(layout.sessions)
    except FileNotFoundError:
        return []
    halves = [f"{layout.sessions}/{name}" for name in names if _is_half(name)]
    for name in names:
        if is_session_id(name):
            halves += [entry.path for entry in os.scandir(f"{layout.sessions}/{name}") if _is_half(entry.name)]
    return halves


def _is_half(name: str) -> bool:
    maker = name.rpartition("-")[2] if name.startswith(NEW) else name.removesuffix(TEMPORARY).rpartition(".")[2]
    ours = name.startswith(NEW) or (name.endswith(TEMPORARY) and ".json." in name)
    return ours and maker.isdigit() and not os.path.exists(f"/proc/{maker}")
