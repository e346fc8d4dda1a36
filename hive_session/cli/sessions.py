"""create, status, get, list, output-dir, log, update-status, init: the commands the original had, bytes and exit codes included."""

import os
import sys
from typing import Annotated

import typer

from hive_session import create as making
from hive_session import errors
from hive_session.agents import find_agent
from hive_session.cli.context import (
    Context,
    acting_context,
    answer,
    become_user,
    complete_id,
    help_text,
    open_context,
    reading_context,
    say,
)
from hive_session.durable import read_file
from hive_session.errors import NoSession, UsageError
from hive_session.ondisk.home import acting_home
from hive_session.ondisk.records import STATUSES, encode_session
from hive_session.programs import choose_agent, find_programs, has_login

Id = Annotated[
    str,
    typer.Argument(metavar="ID", autocompletion=complete_id, help="A session id, or a unique beginning of one."),
]
Words = Annotated[list[str] | None, typer.Argument(metavar="TASK [PRIORITY] [METADATA]", show_default=False)]
TaskFile = Annotated[str | None, typer.Option(metavar="FILE", help="Read the task from FILE; - is stdin.")]
AgentName = Annotated[
    str | None, typer.Option(help="claude-flow (default), claude, rehearsal, auto, or one of the configuration file.")
]
Timeout = Annotated[float | None, typer.Option(metavar="SECONDS", help="End the run after this time.")]
Labels = Annotated[list[str] | None, typer.Option(metavar="K=V", help="For `ls --label`; may be repeated.")]
Restart = Annotated[
    str,
    typer.Option(
        metavar="WHEN", help="on-interrupt: resume it at the next start, where the machine or container went down."
    ),
]
Variables = Annotated[list[str] | None, typer.Option(metavar="K=V", help="A variable for the agent; may be repeated.")]
WRITE_CODES = (0, 1, 2, 65, 73, 74, 75, 77, 78)


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command(**CREATE_HELP)(create)
    app.command(**STATUS_HELP)(status)
    app.command(**GET_HELP)(get)
    app.command("list", **LIST_HELP)(list_)
    app.command("output-dir", **OUTPUT_HELP)(output_dir)
    app.command(**LOG_HELP)(log)
    app.command("update-status", **UPDATE_HELP)(update_status)
    app.command(**INIT_HELP)(init)


CREATE_HELP = help_text(
    "Make a session and print its id. The task comes first, or from --task-file; then the priority (high, medium, low) and "
    "metadata, a JSON object. Nothing runs yet. The whole record goes to stderr. A task that begins with a dash comes after `--`.",
    [
        'hive-session create "Build the importer" high',
        "hive-session create --task-file task.md --label team=blue --key build-42",
    ],
    WRITE_CODES,
)


def create(
    words: Words = None,
    task_file: TaskFile = None,
    agent: AgentName = None,
    timeout: Timeout = None,
    key: Annotated[
        str | None, typer.Option(help="The same key and request give the same session, however often.")
    ] = None,
    label: Labels = None,
    env: Variables = None,
    restart: Restart = "no",
    json: Annotated[bool, typer.Option("--json", help="Print the whole record instead of the id.")] = False,
) -> None:
    context = open_context()
    request = create_request(context, words, task_file, agent, timeout, label, env, restart)
    if key is not None and not key:
        raise UsageError("--key is empty")
    become_user(context)
    record = making.create_session(context.store, request, key)
    raw = encode_session(record)
    if json:
        answer(raw)
        return
    answer(record.session_id.encode() + b"\n")
    sys.stderr.buffer.write(raw)


def create_request(
    context: Context,
    words: list[str] | None,
    task_file: str | None,
    agent: str | None,
    timeout_s: float | None,
    label: list[str] | None,
    env: list[str] | None,
    restart: str,
) -> making.CreateRequest:
    """The checked request behind the words of `create` and `run`. Raises: UsageError."""
    texts = _texts(words or [], task_file)
    chosen = agent or context.config.default_agent
    if chosen == "auto":
        chosen = _choose(context)
    find_agent(chosen, context.config.agents, 3)
    if timeout_s is not None and not 0 < timeout_s < 1e9:
        raise UsageError(f"--timeout {timeout_s:g} is not a number of seconds above 0")
    return making.CreateRequest(
        task=making.check_task(texts[0]),
        priority=making.check_priority(texts[1] if len(texts) > 1 else "medium"),
        metadata=making.decode_metadata(texts[2] if len(texts) > 2 else None),
        agent=chosen,
        timeout_s=timeout_s,
        restart=making.check_restart(restart),
        labels=making.parse_pairs(label or [], "--label"),
        env=making.parse_pairs(env or [], "--env"),
    )


def _choose(context: Context) -> str:
    """The agent behind `--agent auto`, with the reason on stderr."""
    programs = find_programs(context.config, os.environ)
    logged_in = has_login(os.environ, acting_home(os.environ))
    agent, why = choose_agent(programs, logged_in=logged_in, is_root=context.runs_as_root)
    say(why)
    return agent


def _texts(words: list[str], task_file: str | None) -> list[str]:
    """[task, priority, metadata] as far as given."""
    if task_file is not None:
        words = [_read_task(task_file), *words]
    if not words:
        raise UsageError("no task is given", 'write: hive-session create "what is to be done"')
    if len(words) > 3:
        raise UsageError(f"{len(words)} words where at most task, priority and metadata are taken", "quote the task")
    return words


def _read_task(path: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if path == "-" else read_file(path)
        return raw.decode()
    except OSError as exc:
        raise UsageError(f"--task-file {path}: {exc.strerror}") from None
    except UnicodeDecodeError as exc:
        raise UsageError(f"--task-file {path} is not UTF-8 text: {exc.reason} at byte {exc.start}") from None


STATUS_HELP = help_text(
    "Print the status of a session: created, starting, running, completed or failed; `not_found` where there is none. "
    "It is the truth at this moment: a run that died is never called running.",
    ["hive-session status 550e8400-e29b-41d4-a716-446655440000", "hive-session status 550e --json"],
    (0, 1, 2, 65),
)


def status(
    session: Id,
    json: Annotated[bool, typer.Option("--json", help="Print status, reason, exit code and more.")] = False,
) -> None:
    try:
        context, session_id = reading_context(session)
        record = context.store.settled(session_id)
    except NoSession:
        print("not_found")
        raise
    if json:
        import orjson

        fields = (
            "session_id",
            "status",
            "reason",
            "exit_code",
            "signal",
            "attempt",
            "started",
            "ended",
            "detail",
        )
        answer(orjson.dumps({name: getattr(record, name) for name in fields}) + b"\n")
        return
    print(record.status)


GET_HELP = help_text(
    "Print the record of a session, the bytes of its session.json.",
    ["hive-session get 550e8400-e29b-41d4-a716-446655440000", "hive-session get 550e | jq .output_dir"],
    (0, 1, 2, 65),
)


def get(session: Id) -> None:
    try:
        context, session_id = reading_context(session)
        record = context.store.settled(session_id)
    except NoSession:
        print('{"error": "Session not found"}')
        raise
    raw = read_file(context.store.paths(session_id).record)
    on_disk = context.store.read(session_id)
    answer(raw if on_disk == record else encode_session(record))


LIST_HELP = help_text(
    "Print the index of all sessions, the bytes of index.json, repaired first where a crash left a row behind. For people: `ls`.",
    ["hive-session list", "hive-session list | jq -r '.sessions|keys[]'"],
    (0, 2, 74, 78),
)


def list_() -> None:
    context, _ = acting_context()
    answer(context.store.index())


OUTPUT_HELP = help_text(
    "Print the directory of a session's artefacts; an empty line where there is no such session.",
    [
        "hive-session output-dir 550e8400-e29b-41d4-a716-446655440000",
        'cp -r "$(hive-session output-dir 550e)" results',
    ],
    (0, 1, 2, 65),
)


def output_dir(session: Id) -> None:
    _print_field(session, "output_dir")


LOG_HELP = help_text(
    "Print the path of a session's log file; an empty line where there is no such session. For its text: `logs`.",
    ["hive-session log 550e8400-e29b-41d4-a716-446655440000", 'tail -f "$(hive-session log 550e)"'],
    (0, 1, 2, 65),
)


def log(session: Id) -> None:
    _print_field(session, "log_file")


def _print_field(session: str, name: str) -> None:
    try:
        context, session_id = reading_context(session)
        record = context.store.read(session_id)
    except NoSession:
        print()
        raise
    print(getattr(record, name))


UPDATE_HELP = help_text(
    "Set the status of a session that something outside drives; the table of allowed changes is in docs/format.md. "
    "A session that hive-session runs itself keeps its own status.",
    [
        "hive-session update-status 550e8400-e29b-41d4-a716-446655440000 starting",
        "hive-session update-status 550e completed",
    ],
    WRITE_CODES,
)


def update_status(session: Id, status: Annotated[str, typer.Argument(metavar="STATUS")]) -> None:
    if status not in STATUSES:
        raise UsageError(f"no such status: {status!r}", f"one of: {', '.join(STATUSES)}")
    context, session_id = acting_context(session)
    context.store.set_status(session_id, status)


INIT_HELP = help_text(
    "Make the directories and the index where they are missing; harmless otherwise.",
    ["hive-session init", "HIVE_WORKSPACE=/srv/hive hive-session init"],
    (0, 2, 74, 77, 78),
)


def init() -> None:
    context, _ = acting_context(takes_all=True)
    try:
        making.make_roots(context.store.layout)
        context.store.index()
        if os.path.exists(context.store.layout.shared_database):
            say(f"hive-session: warning: {context.store.layout.shared_database} exists: see hive-session doctor")
    except OSError as exc:
        raise errors.from_os_error(exc, "making the workspace:") from None
