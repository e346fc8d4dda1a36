"""top: the programs of the suite, the sessions, their pace and the room on disk, in one screen."""

import os
import shutil
import sys
import time
from typing import Annotated

import typer

from hive_session.cli.context import help_text, reading_context

SECOND_LOOK_S = 0.25  # one picture needs two looks: CPU is what was used between them


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(**TOP_HELP)(top)


TOP_HELP = help_text(
    "Show live the programs of the suite, how they are and what they use, what the sessions do, and the room on disk; q or Ctrl-C "
    "ends it. Where stdout is no terminal it is one picture of this moment.",
    ["hive-session top", "hive-session top --once"],
    (0, 2, 78),
)


def top(
    once: Annotated[bool, typer.Option("--once", help="Print one picture and end.")] = False,
    interval: Annotated[float, typer.Option(metavar="S", min=0.1, max=3600, help="Draw every S seconds.")] = 2.0,
) -> None:
    from hive_session.cli import live, suite_view  # here, not above: no other command needs what they import
    from hive_session.suite.instance import resolve_suite
    from hive_session.table import ansi, plain

    values = resolve_suite(os.environ).values  # before root becomes somebody whose home is another
    layout = reading_context()[0].store.layout
    view = suite_view.SuiteView(layout, values)
    try:
        view.open()
        if once or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
            view.lines(80, None)
            time.sleep(SECOND_LOOK_S)
            shown = ansi if sys.stdout.isatty() and "NO_COLOR" not in os.environ else plain
            print("\n".join(map(shown, view.lines(shutil.get_terminal_size((80, 24)).columns, None))))
            return
        live.show(view, live.FOOT, interval)
    except KeyboardInterrupt:  # before the first picture; later Ctrl-C is a key like q
        return
    finally:
        view.sessions.close()
