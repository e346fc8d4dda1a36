"""cleanup, vacuum, reconcile, reindex, doctor: the commands that keep a workspace in order."""

import math
import os
from typing import Annotated

import orjson
import typer

from hive_session import errors
from hive_session.cleanup import Limits, clean_up
from hive_session.cli.context import acting_context, answer, help_text, reading_context, say
from hive_session.cli.sessions import WRITE_CODES
from hive_session.create import make_roots
from hive_session.doctor.examine import examine
from hive_session.doctor.finding import Finding, Patient
from hive_session.errors import UsageError
from hive_session.reconcile import reconcile as reconcile_all
from hive_session.reconcile import record_report
from hive_session.recovery import resume_interrupted
from hive_session.vacuum import Vacuumed, vacuum_session

HOUR_S = 3600.0
HOURS_MAX = 1e6


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command(**CLEANUP_HELP)(cleanup)
    app.command(**VACUUM_HELP)(vacuum)
    app.command(**RECONCILE_HELP)(reconcile)
    app.command(**REINDEX_HELP)(reindex)
    app.command(**DOCTOR_HELP)(doctor)


CLEANUP_HELP = help_text(
    "Remove sessions that ended at least HOURS ago (24). Output directories and logs stay unless asked for. "
    "Each removal is a line in .swarm/audit.jsonl.",
    ["hive-session cleanup 24", "hive-session cleanup 1.5 --keep-failed 168 --dry-run"],
    WRITE_CODES,
)


def cleanup(
    hours: Annotated[str, typer.Argument(metavar="[HOURS]", help="Age of the end, exact to the second.")] = "24",
    keep_failed: Annotated[str | None, typer.Option(metavar="HOURS", help="Keep failed sessions this long.")] = None,
    outputs: Annotated[bool, typer.Option("--outputs", help="Remove their output directories too.")] = False,
    logs: Annotated[bool, typer.Option("--logs", help="Remove their logs too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a removed session.")] = False,
) -> None:
    limits = Limits(
        max_age_s=_hours(hours, "HOURS"),
        keep_failed_s=None if keep_failed is None else _hours(keep_failed, "--keep-failed"),
    )
    context, _ = acting_context()
    count = 0
    try:
        for record in clean_up(context.store, limits, dry_run=dry_run, outputs=outputs, logs=logs):
            count += 1
            if json:
                shown = {
                    "session_id": record.session_id,
                    "status": record.status,
                    "ended": record.ended,
                    "dry_run": dry_run,
                }
                answer(orjson.dumps(shown) + b"\n")
            else:
                print(
                    f"{'Would clean' if dry_run else 'Cleaning'} up session: {record.session_id} (status: {record.status})"
                )
    except OSError as exc:
        raise errors.from_os_error(exc, "cleaning up:") from None
    if not json:
        print(f"{'Would clean' if dry_run else 'Cleaned'} up {count} old sessions")


def _hours(text: str, name: str) -> float:
    """Seconds. Raises: UsageError."""
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 <= hours <= HOURS_MAX:
        raise UsageError(f"{name} {text!r} is not a number of hours from 0", "write for example 24, or 0.5")
    return hours * HOUR_S


VACUUM_HELP = help_text(
    "Make the databases of ended sessions small again: of all, or of the one named. Running sessions are left alone.",
    ["hive-session vacuum", "hive-session vacuum 550e8400-e29b-41d4-a716-446655440000"],
    (0, (1, "a database could not be vacuumed"), 2, 77),
)


def vacuum(session: Annotated[str | None, typer.Argument(metavar="[ID]")] = None) -> int:
    context, session_id = acting_context(session)
    done: list[Vacuumed] = []
    for each in [session_id] if session_id else context.store.session_ids():
        try:
            done += vacuum_session(context.store, each)
        except errors.HiveError as exc:
            print(f"{each[:8]}  skipped: {exc.what}")
    for one in done:
        print(
            f"{one.session_id[:8]}  {one.before_bytes:>12,} -> {one.after_bytes:>12,} bytes  {one.problem or one.path}"
        )
    return 1 if any(one.problem for one in done) else 0


RECONCILE_HELP = help_text(
    "Put right what a crash or reboot left: mark runs that did not survive, end their strays, remove halves, rebuild the index; "
    "leave the report in .swarm/reconcile.json. Harmless at any time. With --resume, meant for each start of the machine or "
    "container, go on with the sessions made with --restart on-interrupt that were interrupted; one that is interrupted six "
    "times in a row within ten minutes is given up.",
    ["hive-session reconcile", "hive-session reconcile --resume --json"],
    (0, 2, 74, 77, 78),
)


def reconcile(
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what was interrupted and wants it.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    context, _ = acting_context(takes_all=True)
    store = context.store
    try:
        make_roots(store.layout)
        report = reconcile_all(store, context.config.stop_grace_s)
        if resume:
            report.resume = resume_interrupted(store, context.config, os.environ)
        record_report(store, report)
    except OSError as exc:
        raise errors.from_os_error(exc, "reconciling:") from None
    if json:
        answer(orjson.dumps(report.plain()) + b"\n")
    else:
        print("\n".join(report.lines()))


REINDEX_HELP = help_text(
    "Write index.json anew from the session files; prints how many sessions it has.",
    ["hive-session reindex", "hive-session reindex && hive-session list | jq '.sessions|length'"],
    (0, 2, 74, 77, 78),
)


def reindex() -> None:
    context, _ = acting_context()
    try:
        make_roots(context.store.layout)
        context.store.rebuild_index()
    except OSError as exc:
        raise errors.from_os_error(exc, "writing the index:") from None
    print(len(context.store.session_ids()))


DOCTOR_HELP = help_text(
    "Check the workspace and the machine: isolation, locks, orphans, zombies, index, programs, room; says how to mend each.",
    ["hive-session doctor", "hive-session doctor --fix"],
    ((0, "nothing is wrong (warnings may be shown)"), (1, "there are problems"), 2, 78),
)


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended without a decision of yours.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a finding.")] = False,
) -> int:
    context = (acting_context(takes_all=True) if fix else reading_context())[0]
    problems = 0
    found = list(examine(Patient(context.store, context.config, os.environ)))
    for finding in found:
        mended = fix and _mend(finding)
        problems += finding.level == "problem" and not mended
        _show(finding, mended, json)
    if not found and not json:
        print("all is well")
    return 1 if problems else 0


def _mend(finding: Finding) -> bool:
    """True when there was a way to mend it, and it worked."""
    if finding.fix is None:
        return False
    try:
        finding.fix()
    except (OSError, errors.HiveError) as exc:
        say(f"hive-session: {finding.check}: cannot be mended: {exc}")
        return False
    return True


def _show(finding: Finding, mended: bool, json: bool) -> None:
    if json:
        fields = {
            "check": finding.check,
            "level": finding.level,
            "what": finding.what,
            "mend": finding.mend,
            "mended": mended,
        }
        answer(orjson.dumps(fields) + b"\n")
        return
    print(f"{'mended' if mended else finding.level:<8} {finding.check}: {finding.what}")
    if not mended:
        print(f"{'':<8} to mend it: {finding.mend}")
