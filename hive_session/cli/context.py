"""What every command needs: the configuration, the store, the user it acts as, and how its help is laid out."""

import os
import pwd
import re
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict

from hive_session import errors, identity
from hive_session.config import DEFAULT_FILE, Config, resolve_config
from hive_session.errors import BadConfig
from hive_session.ondisk.home import acting_home
from hive_session.store import Store

CODES = {
    0: "done",
    1: "the answer is no: no such session, or its state forbids it",
    2: "the words of the call are wrong",
    65: "a file on disk is not what it should be",
    73: "a file or directory cannot be made",
    74: "reading or writing failed, such as a full disk; nothing was changed",
    75: "busy; trying again is right",
    77: "not permitted",
    78: "the configuration is wrong",
}


class Help(TypedDict):
    """What typer is told of a command."""

    help: str
    short_help: str


@dataclass(frozen=True, slots=True)
class Context:
    """A store to work on, and the configuration behind it."""

    store: Store
    config: Config
    user: pwd.struct_passwd | None  # whom root becomes before it writes or runs anything; None: nobody

    @property
    def runs_as_root(self) -> bool:
        """True when an agent of this call would be root's."""
        return os.geteuid() == 0 and (self.user is None or self.user.pw_uid == 0)


def open_context() -> Context:
    """The configuration and store of this call; nothing is touched yet. Raises: BadConfig."""
    config = read_config()
    user = identity.target_user(config.user) if os.geteuid() == 0 else None
    return Context(Store(config.layout, time.time), config, user)


def acting_context(session: str | None = None, *, takes_all: bool = False) -> tuple[Context, str]:
    """For commands that write: root becomes HIVE_USER first. Gives the full id of `session`, or '' where none is named.

    With `takes_all`, whatever root owns in any session is handed over: the original left records that root alone can read.
    Raises: NoSession, BadFile: before anything is touched.
    """
    context = open_context()
    session_id = context.store.find(session) if session is not None else ""
    if session_id:
        context.store.read(session_id)
    become_user(context, context.store.session_ids() if takes_all else [session_id] if session_id else [])
    return context, session_id


def reading_context(session: str | None = None) -> tuple[Context, str]:
    """For commands that read; the same, as what they repair on the way must be HIVE_USER's too. Makes no directories."""
    context = open_context()
    session_id = context.store.find(session) if session is not None else ""
    if os.path.isdir(context.store.layout.sessions):
        become_user(context, [session_id] if session_id else [])
    return context, session_id


def become_user(context: Context, sessions: Iterable[str] = ()) -> None:
    """Root becomes HIVE_USER, to whom these sessions are handed over; anybody else stays who they are."""
    if context.user is None or context.user.pw_uid == 0:
        return
    try:
        identity.become(context.user, context.config.layout, sessions, os.environ)
    except OSError as exc:
        raise errors.from_os_error(exc, f"becoming {context.user.pw_name}:") from None


def warn_if_root(context: Context) -> None:
    """Say that an agent was started by root for lack of anybody else."""
    if os.geteuid() == 0 and context.user is None:
        warn("root acts as root: there is no user dev, and HIVE_USER names no other")


def read_config() -> Config:
    """The configuration of this call. Raises: BadConfig."""
    path = os.environ.get("HIVE_CONFIG") or DEFAULT_FILE
    try:
        with open(path, encoding="utf-8") as file:
            text: str | None = file.read()
    except FileNotFoundError:
        if os.environ.get("HIVE_CONFIG"):
            raise BadConfig(f"{path}: no such file", "HIVE_CONFIG names it") from None
        text = None
    except (OSError, UnicodeDecodeError) as exc:
        raise BadConfig(f"{path}: cannot be read: {exc}") from None
    return resolve_config(os.environ, text, path, acting_home(os.environ), os.path.isdir)


def say(text: str) -> None:
    """One line to stderr: everything that is not the answer."""
    print(text, file=sys.stderr)


def warn(text: str) -> None:
    say(f"hive-session: warning: {text}")


def answer(data: bytes) -> None:
    """The answer, to stdout, as the bytes it is."""
    sys.stdout.flush()
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def complete_id(incomplete: str) -> list[tuple[str, str]]:
    """Shell completion of session ids, each with its status and the start of its task."""
    try:
        rows = reading_context()[0].store.rows()
    except (errors.HiveError, OSError):
        return []
    return [(each, f"{row['status']}: {row['task'][:40]}") for each, row in rows.items() if each.startswith(incomplete)]


def help_text(summary: str, examples: Iterable[str], codes: Iterable[int | tuple[int, str]] = (0, 1, 2)) -> Help:
    """The help of a command: two examples first, then what it does, then its exit codes; its first sentence for lists."""
    shown = "\n".join(f"  {example}" for example in examples)
    listed = "\n".join(f"  {code:<4}{text}" for code, text in map(_code, codes))
    text = f"\b\nExamples:\n{shown}\n\n{summary}\n\n\b\nExit codes:\n{listed}"
    return {"help": text, "short_help": re.split(r"[.;:](?:\s|$)", summary)[0] + "."}


def _code(code: int | tuple[int, str]) -> tuple[int, str]:
    return code if isinstance(code, tuple) else (code, CODES[code])
