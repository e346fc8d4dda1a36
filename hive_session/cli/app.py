"""The application: all commands under one name, and the one place where an exception becomes an exit code."""

import os
import sys
import traceback
from typing import Annotated

import typer

from hive_session.cli import running, sessions, top, upkeep, watching
from hive_session.errors import HiveError, from_os_error
from hive_session.ondisk.version import VERSION

INTERRUPTED = 130  # 128 + SIGINT
SOFTWARE = 70  # EX_SOFTWARE: our own bug

app = typer.Typer(
    name="hive-session",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Runs AI-agent sessions side by side, each in a directory of its own.\n\n\b\nExamples:\n"
    '  hive-session run "Build the importer"\n  hive-session ls --status running\n\n'
    "Paths come from HIVE_WORKSPACE, HIVE_OUTPUT_ROOT and HIVE_LOG_DIR; settings from HIVE_CONFIG (docs/format.md).",
)
for group in (sessions, running, watching, top, upkeep):
    group.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"hive-session {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")] = False,
) -> None:
    """Options of every command."""
    if debug:
        os.environ["HIVE_DEBUG"] = "1"
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(2)


def main() -> int:
    """Run the command line; returns the exit code."""
    try:
        returned = app(standalone_mode=False, prog_name="hive-session")
        sys.stdout.flush()
        return returned if isinstance(returned, int) else 0
    except HiveError as exc:
        return _fail(exc.what, exc.hint, exc.exit_code)
    except BrokenPipeError:
        return _reader_gone()
    except SystemExit as exc:
        if isinstance(exc.__context__, BrokenPipeError):  # typer makes an exit 1 of it, which here means "no"
            return _reader_gone()
        raise
    except OSError as exc:
        error = from_os_error(exc, "system call failed:")
        return _fail(error.what, error.hint, error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as exc:
        return _unexpected(exc)


def _reader_gone() -> int:
    """The reader of stdout has what it wanted."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0


def _fail(what: str, hint: str, code: int) -> int:
    if os.environ.get("HIVE_DEBUG"):
        traceback.print_exc()
    line = f"{what}; {hint}" if hint else what
    print("hive-session: " + "".join(c if c.isprintable() else repr(c)[1:-1] for c in line), file=sys.stderr)
    return code


def _unexpected(exc: Exception) -> int:
    """A wrong call, as typer puts it (its classes are private, their fields are not), or a bug of ours."""
    code = getattr(exc, "exit_code", None)
    message = getattr(exc, "format_message", None)
    if isinstance(code, int) and message is not None:
        context = getattr(exc, "ctx", None)
        command = context.command_path if context is not None else "hive-session"
        return _fail(message().rstrip("."), f"see: {command} --help", code)
    return _fail(f"bug: {exc!r}", "run it again with --debug before the command, and report what it prints", SOFTWARE)
