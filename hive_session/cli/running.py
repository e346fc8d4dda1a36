"""run, start, stop, resume, wait: the commands that begin and end work."""

import os
import sys
from typing import Annotated

import typer

from hive_session import create as making
from hive_session.cli.context import (
    Context,
    acting_context,
    answer,
    become_user,
    help_text,
    open_context,
    reading_context,
    say,
    warn_if_root,
)
from hive_session.cli.sessions import (
    WRITE_CODES,
    AgentName,
    Id,
    Labels,
    Restart,
    TaskFile,
    Timeout,
    Variables,
    Words,
    create_request,
)
from hive_session.ending import follow_log, wait_until_ended
from hive_session.errors import UsageError
from hive_session.launch import Launched, launch
from hive_session.lifecycle import outcome_code
from hive_session.ondisk.records import SessionRecord, encode_session
from hive_session.ondisk.verdict import describe_end
from hive_session.progress import follow_progress
from hive_session.stop import stop_session

AGENT_CODE = (
    0,
    "the session completed; otherwise the agent's own code: 128 + n for signal n, 124 for a timeout, "
    "127 for an agent that cannot be started",
)
RUN_CODES = (AGENT_CODE, *WRITE_CODES[1:])
PASS_ON = {"allow_interspersed_args": False, "ignore_unknown_options": True}


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command(**RUN_HELP)(run)
    app.command(**START_HELP, context_settings=PASS_ON)(start)
    app.command(**RESUME_HELP, context_settings=PASS_ON)(resume)
    app.command(**STOP_HELP)(stop)
    app.command(**WAIT_HELP)(wait)


RUN_HELP = help_text(
    "Create a session, start it and follow it to its end; prints how it ended and where its output is. Ctrl-C leaves it running.",
    [
        'hive-session run "Build the importer"',
        'hive-session run --agent rehearsal --timeout 600 "Try it out"',
    ],
    RUN_CODES,
)


def run(
    words: Words = None,
    task_file: TaskFile = None,
    agent: AgentName = None,
    timeout: Timeout = None,
    label: Labels = None,
    env: Variables = None,
    restart: Restart = "no",
    json: Annotated[bool, typer.Option("--json", help="Print the final record instead.")] = False,
) -> int:
    context = open_context()
    request = create_request(context, words, task_file, agent, timeout, label, env, restart)
    become_user(context)
    record = making.create_session(context.store, request)
    launched = launch(context.store, context.config, os.environ, record.session_id, None, resume=False)
    warn_if_root(context)
    try:
        ended = follow_progress(context.store, launched.record, quiet=json)
    except KeyboardInterrupt:
        say(f"\n{record.session_id} goes on; end it: hive-session stop {record.session_id}")
        raise
    if json:
        answer(encode_session(ended))
    return outcome_code(ended)


START_HELP = help_text(
    "Start a session and follow its log to its end. What stands after the id goes to the agent as it is. "
    "Killing this command does not end the session.",
    [
        "hive-session start 550e8400-e29b-41d4-a716-446655440000",
        "hive-session start --detach 550e --max-workers 8",
    ],
    RUN_CODES,
)
Args = Annotated[list[str] | None, typer.Argument(metavar="[AGENT-ARGS]", show_default=False)]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Return once it runs (or waits in the queue).")]


def start(session: Id, args: Args = None, detach: Detach = False) -> int:
    words = _as_text(args or [])
    context, session_id = acting_context(session)
    launched = launch(context.store, context.config, os.environ, session_id, words, resume=False)
    warn_if_root(context)
    return _see_through(context, launched, detach)


RESUME_HELP = help_text(
    "Run an ended session again: same directory, same databases, attempt + 1; Claude Code goes on with its own conversation "
    "where its transcript is still there. Without agent arguments those of the last attempt are used.",
    [
        "hive-session resume 550e8400-e29b-41d4-a716-446655440000",
        "hive-session resume --detach 550e --model opus",
    ],
    RUN_CODES,
)


def resume(session: Id, args: Args = None, detach: Detach = False) -> int:
    words = _as_text(args) if args else None
    context, session_id = acting_context(session)
    launched = launch(context.store, context.config, os.environ, session_id, words, resume=True)
    warn_if_root(context)
    return _see_through(context, launched, detach)


def _as_text(args: list[str]) -> tuple[str, ...]:
    """Arguments that a record can hold. Raises: UsageError."""
    for word in args:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(f"the agent's argument {word!r} is not UTF-8 text") from None
    return tuple(args)


def _see_through(context: Context, launched: Launched, detach: bool) -> int:
    session_id = launched.record.session_id
    if detach:
        return _detach(context, launched)
    try:
        for chunk in follow_log(context.store.paths(session_id), launched.log_offset):
            answer(chunk)
    except (KeyboardInterrupt, BrokenPipeError):
        say(f"{session_id} goes on; end it: hive-session stop {session_id}")
        raise
    return _report(context.store.settled(session_id))


def _detach(context: Context, launched: Launched) -> int:
    word = os.read(launched.ready_fd, 64).decode().strip()
    if word:
        say(f"{launched.record.session_id} {word}")
        return 0
    return _report(wait_until_ended(context.store, launched.record.session_id))


def _report(record: SessionRecord) -> int:
    """Say on stderr why a session failed; gives its exit code."""
    if record.status != "completed":
        detail = f": {record.detail}" if record.detail else ""
        say(f"hive-session: {record.session_id} {describe_end(record)}{detail}")
    return outcome_code(record)


STOP_HELP = help_text(
    "End a session: SIGTERM to everything it started, SIGKILL after the grace. Prints `stopped`, or `already_stopped`.",
    ["hive-session stop 550e8400-e29b-41d4-a716-446655440000", "hive-session stop 550e --grace 1"],
    WRITE_CODES,
)


def stop(
    session: Id,
    grace: Annotated[float | None, typer.Option(metavar="SECONDS", min=0, help="Between SIGTERM and SIGKILL.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the final record.")] = False,
) -> None:
    context, session_id = acting_context(session)
    done = stop_session(context.store, session_id, context.config.stop_grace_s if grace is None else grace)
    if json:
        answer(encode_session(done.record))
    else:
        print(done.word)


WAIT_HELP = help_text(
    "Block until a session has ended, without polling, and exit with its agent's code. One not yet started is waited for too.",
    [
        "hive-session wait 550e8400-e29b-41d4-a716-446655440000",
        "hive-session start -d 550e && hive-session wait 550e",
    ],
    (AGENT_CODE, 1, 2, 65),
)


def wait(session: Id, json: Annotated[bool, typer.Option("--json", help="Print the final record.")] = False) -> int:
    context, session_id = reading_context(session)
    record = wait_until_ended(context.store, session_id)
    if json:
        answer(encode_session(record))
    sys.stdout.flush()
    return outcome_code(record)
