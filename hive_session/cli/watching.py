"""ls, watch, logs, telemetry, emit: the commands that show what sessions do, and the one that lets others add to it."""

import os
import shutil
import sys
from itertools import islice
from typing import Annotated, Any

import orjson
import typer

from hive_session.cli.context import acting_context, answer, complete_id, help_text, reading_context, warn
from hive_session.cli.sessions import Id
from hive_session.create import parse_pairs
from hive_session.durable import append_line
from hive_session.ending import follow_log, follow_telemetry
from hive_session.errors import UsageError
from hive_session.listing import Filter, format_table, list_sessions, parse_age
from hive_session.ondisk.events import BadEvent, encode_event
from hive_session.ondisk.follow import Lines
from hive_session.ondisk.log import read_log
from hive_session.ondisk.records import STATUSES
from hive_session.table import ansi, plain

RESERVED = "session"  # the one type that only hive-session itself writes
CHUNK_BYTES = 1 << 20
LINES = 200  # written in one go


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command(**LS_HELP)(ls)
    app.command(**WATCH_HELP)(watch)
    app.command(**LOGS_HELP)(logs)
    app.command(**TELEMETRY_HELP)(telemetry)
    app.command(**EMIT_HELP)(emit)


LS_HELP = help_text(
    "List sessions, newest first: status, age, agents, tokens, cost, task. --json prints one object a line.",
    [
        "hive-session ls --status running --status failed",
        "hive-session ls --label team=blue --newer 24h --json",
    ],
    (0, 2, 78),
)


def ls(
    status: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="Only with this label; may be repeated.")
    ] = None,
    newer: Annotated[str | None, typer.Option(metavar="AGE", help="Only created within AGE: 30m, 24h, 7d.")] = None,
    older: Annotated[str | None, typer.Option(metavar="AGE", help="Only created longer ago than AGE.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    for word in status or []:
        if word not in STATUSES:
            raise UsageError(f"no such status: {word!r}", f"one of: {', '.join(STATUSES)}")
    wanted = Filter(
        statuses=tuple(status or ()),
        labels=parse_pairs(label or [], "--label"),
        newer_s=parse_age(newer, "--newer"),
        older_s=parse_age(older, "--older"),
    )
    found = list_sessions(reading_context()[0].store, wanted)
    if json:
        answer(b"".join(orjson.dumps(each, option=orjson.OPT_APPEND_NEWLINE) for each in found))
        return
    print(format_table(found, _width(), color=_has_color()))


def _width() -> int:
    return shutil.get_terminal_size((80, 24)).columns


def _has_color() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


WATCH_HELP = help_text(
    "Show live what all sessions do, or one with its agents and last events; q or Ctrl-C ends it. Where stdout is no terminal "
    "it is one picture of this moment.",
    ["hive-session watch", "hive-session watch 550e --once"],
    (0, 1, 2, 65, 78),
)


def watch(
    session: Annotated[
        str | None, typer.Argument(metavar="[ID]", autocompletion=complete_id, help="Show this one alone.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print one picture and end.")] = False,
    interval: Annotated[
        float,
        typer.Option(metavar="S", min=0.1, max=3600, help="Draw running times every S seconds; changes come at once."),
    ] = 1.0,
) -> None:
    from hive_session.cli import live  # here, not above: no other command reads all sessions

    context, session_id = reading_context(session)
    if session_id:
        context.store.read(session_id)
    layout = context.store.layout
    if once or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        lines = live.picture(layout, session_id or None, _width())
        print("\n".join(map(ansi if _has_color() else plain, lines)))
        return
    try:
        live.follow(layout, session_id or None, interval)
    except KeyboardInterrupt:  # before the first picture; later Ctrl-C is a key like q
        return


LOGS_HELP = help_text(
    "Print a session's log from its beginning, across rotations; with -f go on until the session ends. With --all: the logs of "
    "all sessions, programs and supervisord as one, by time, each line after the name of its program or the first eight digits "
    "of its session; with -f go on until Ctrl-C.",
    ["hive-session logs -f 550e8400-e29b-41d4-a716-446655440000", "hive-session logs --all --since 1h -f"],
    (0, 1, 2, 65),
)
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the session has ended.")]
From = Annotated[int, typer.Option("--from", metavar="OFFSET", min=0, help="Begin at this byte.")]
Since = Annotated[
    str | None, typer.Option(metavar="AGE", help="With --all: only lines not older than AGE: 30m, 24h, 7d.")
]


def logs(
    session: Annotated[str | None, typer.Argument(metavar="[ID]", autocompletion=complete_id)] = None,
    follow: Follow = False,
    start: From = 0,
    all_: Annotated[bool, typer.Option("--all", help="All logs of the suite, merged by time.")] = False,
    since: Since = None,
) -> None:
    if all_:
        if session is not None or start:
            raise UsageError("--all takes neither an ID nor --from", "leave them out, or leave --all out")
        return _print_all_logs(follow, parse_age(since, "--since"))
    if session is None or since is not None:
        raise UsageError("no session is named" if session is None else "--since goes with --all", "or give --all")
    context, session_id = reading_context(session)
    context.store.read(session_id)
    paths = context.store.paths(session_id)
    if follow:
        for chunk in follow_log(paths, start):
            answer(chunk)
        return
    data, offset = read_log(paths, start, CHUNK_BYTES)
    while data:
        answer(data)
        data, offset = read_log(paths, offset, CHUNK_BYTES)


def _print_all_logs(follow: bool, age_s: float | None) -> None:
    from hive_session.all_logs import AllLogs, log_directories  # here, not above: inotify takes ctypes
    from hive_session.merged_log import shown

    context, _ = reading_context()
    layout = context.store.layout
    since_ms = 0 if age_s is None else int((context.store.now() - age_s) * 1000)
    found = AllLogs(layout, log_directories(layout, os.environ), warn, since_ms=since_ms)
    try:
        lines = map(shown, found.past(whole=not follow))
        while batch := b"".join(islice(lines, LINES)):
            answer(batch)
        for coming in found.coming() if follow else ():
            answer(b"".join(map(shown, coming)))
    finally:
        found.close()


TELEMETRY_HELP = help_text(
    "Print a session's telemetry, one JSON event a line (docs/format.md); a byte offset is a cursor: --from goes on there.",
    [
        "hive-session telemetry 550e8400-e29b-41d4-a716-446655440000",
        "hive-session telemetry -f 550e --from 20480",
    ],
    (0, 1, 2, 65),
)


def telemetry(session: Id, follow: Follow = False, start: From = 0) -> None:
    context, session_id = reading_context(session)
    context.store.read(session_id)
    paths = context.store.paths(session_id)
    if follow:
        for batch in follow_telemetry(paths, start):
            answer(b"".join(batch))
        return
    lines = Lines(paths.telemetry, start)
    while batch := lines.read():
        answer(b"".join(batch))


EMIT_HELP = help_text(
    "Add events to a session's telemetry: one JSON object, or with - one a line from stdin. `type` is needed; `ts` (Unix time in "
    "milliseconds) is added where it is missing. The type `session` is ours.",
    [
        """hive-session emit 550e '{"type":"note","text":"half way"}'""",
        "my-agent --events | hive-session emit 550e8400-e29b-41d4-a716-446655440000 -",
    ],
    (0, 1, 2, 65, 74, 77),
)


def emit(session: Id, event: Annotated[str, typer.Argument(metavar="EVENT|-")]) -> None:
    context, session_id = acting_context(session)
    record = context.store.read(session_id)
    path = context.store.paths(record.session_id).telemetry
    if event != "-":
        append_line(path, _encode(event.encode("utf-8", "surrogateescape"), context.store.now()))
        return
    for number, line in enumerate(sys.stdin.buffer, 1):
        if line.strip():
            append_line(path, _encode(line, context.store.now(), f"line {number}: "))


def _encode(raw: bytes, now: float, where: str = "") -> bytes:
    """One event as a telemetry line. Raises: UsageError."""
    try:
        found: Any = orjson.loads(raw)
        if not isinstance(found, dict):
            raise UsageError(f"{where}the event is not a JSON object", """write for example '{"type":"note"}'""")
        if found.get("type") == RESERVED:
            raise UsageError(
                f"{where}events of type {RESERVED!r} are written by hive-session alone",
                "use a type of your own",
            )
        return encode_event({"ts": int(now * 1000), **found})
    except orjson.JSONDecodeError as exc:
        raise UsageError(f"{where}the event is not JSON: {exc}") from None
    except BadEvent as exc:
        raise UsageError(f"{where}{exc}", "the fields of each type are in docs/format.md") from None
