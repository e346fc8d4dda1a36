"""Single commands: `status` against bash and jq, and how `create` and a status change grow with the number of sessions."""

import os
import shutil
from collections.abc import Callable, Iterator

from measure import COMMAND, PYTHON, TASK, Line, Series, Timing, Workspace, interleave, ratio_line, run

PEER = f"{os.path.dirname(os.path.abspath(__file__))}/status_with_jq.sh"
FEW, MANY = 10, 10_000  # sessions

STATUS_ROUNDS = 100
GROWTH_ROUNDS = 60
COLD_ROUNDS = 15


def status_against_jq(workspace: Workspace) -> Iterator[Line]:
    """`status` of a created and of a running session beside the script, jq alone and an empty Python."""
    bash, jq = shutil.which("bash"), shutil.which("jq")
    if bash is None or jq is None:
        raise RuntimeError("bash or jq is missing, and they are the measure")
    created, running = workspace.create(), workspace.create()
    if workspace.command("start", "--detach", running).code:
        raise RuntimeError("a session does not start")
    record, env = workspace.store.paths(created).record, workspace.env
    taken = interleave(
        {
            "status": lambda: workspace.command("status", created),
            "running": lambda: workspace.command("status", running),
            "peer": lambda: run([bash, PEER, "status", created], env),
            "jq": lambda: run([jq, "-r", ".status", record], env),
            "python": lambda: run([PYTHON, "-c", "pass"], env),
        },
        STATUS_ROUNDS,
    )
    yield ratio_line("status / bash + jq", taken["status"], taken["peer"], 0.65, "bash + jq")
    yield ratio_line("status of a running session / bash + jq", taken["running"], taken["peer"], 0.65, "bash + jq")
    for name, shown in (("peer", "bash + jq"), ("jq", "jq alone"), ("python", "python -c pass")):
        yield _told(shown, taken[name])
    workspace.end_runs()


def growth(few: Workspace, many: Workspace) -> Iterator[Line]:
    """Whole commands in a workspace of 10 sessions and in one of 10,000, turn by turn."""
    taken = interleave(
        {
            "create few": lambda: few.command("create", TASK),
            "create many": lambda: many.command("create", TASK),
            "change few": _status_changes(few),
            "change many": _status_changes(many),
        },
        GROWTH_ROUNDS,
    )
    sizes = f"at {MANY:,} / at {FEW}"
    yield ratio_line(f"create {sizes}", taken["create many"], taken["create few"], 1.1, f"at {FEW}")
    yield ratio_line(f"update-status {sizes}", taken["change many"], taken["change few"], 1.1, f"at {FEW}")


def _status_changes(workspace: Workspace) -> Callable[[], Timing]:
    """A status change of a session that had none so far, each time it is called."""
    fresh = iter([workspace.create() for _ in range(GROWTH_ROUNDS + 1)])
    return lambda: workspace.command("update-status", next(fresh), "starting")


def cold(few: Workspace, many: Workspace) -> Iterator[Line]:
    """What each command takes from a cold start, told beside an empty Python."""
    session_id = few.create()
    ids = iter([few.create() for _ in range(2 * COLD_ROUNDS + 2)])
    stopping: list[str] = []

    def start() -> Timing:
        stopping.append(next(ids))
        return few.command("start", "--detach", stopping[-1])

    def start_and_stop() -> Timing:
        start()
        return few.command("stop", stopping[-1])

    taken = interleave(
        {
            "python -c pass": lambda: run([PYTHON, "-c", "pass"], few.env),
            "status": lambda: few.command("status", session_id),
            "get": lambda: few.command("get", session_id),
            "list": lambda: few.command("list"),
            f"list at {MANY:,}": lambda: many.command("list"),
            "ls": lambda: few.command("ls"),
            f"ls at {MANY:,}": lambda: many.command("ls"),
            "create": lambda: few.command("create", TASK),
            "start --detach": start,
            "stop": start_and_stop,
            "--help": lambda: run([COMMAND, "--help"], few.env),
        },
        COLD_ROUNDS,
    )
    for name, series in taken.items():
        yield _told(name, series)
    few.end_runs()


def _told(name: str, series: Series) -> Line:
    return Line(name=name, measured=series.median_ms, unit="ms", beside=str(series))
