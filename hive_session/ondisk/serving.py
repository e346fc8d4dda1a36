"""What every server of a workspace does at its start: read its file, be who may read the sessions, say why it cannot."""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from hive_session.ondisk.home import acting_user
from hive_session.ondisk.journal import entry, secrets_in, wants_json
from hive_session.ondisk.settings import DEFAULT_FILE, BadFlag, BadSetting
from hive_session.ondisk.version import VERSION

if TYPE_CHECKING:
    import argparse
    import asyncio
    from collections.abc import Callable
    from types import TracebackType

    from hive_session.ondisk.layout import Layout

# Exit codes as hive-session has them.
USAGE, IO_FAILED, BUSY, NOT_PERMITTED, BAD_CONFIG = 2, 74, 75, 77, 78

QUIET_S = 60.0
SHORTAGES = {
    errno.EMFILE: "no file descriptor is left",
    errno.ENFILE: "no file descriptor of the machine is left",
    errno.ENOBUFS: "no memory for a connection is left",
    errno.ENOMEM: "no memory for a connection is left",
}

log = logging.getLogger(__name__)

Settings = TypeVar("Settings")


def read_config() -> tuple[str | None, str]:
    """The text of the configuration file, None where there is none, and its path. Raises: BadSetting, OSError."""
    path = os.environ.get("HIVE_CONFIG") or DEFAULT_FILE
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(), path
    except FileNotFoundError:
        return None, path
    except UnicodeDecodeError:
        raise BadSetting(f"{path}: not UTF-8") from None


def resolved(program: str, resolve: Callable[[str | None, str], Settings]) -> Settings:
    """What `resolve` makes of the configuration file and its path. Raises: BadSetting, OSError.

    Under the suite, of the file as it was when the program last started well, where it is wrong now: a file that somebody
    is editing must not keep a server away that was killed.
    """
    directory = os.environ.get("HIVE_RUN_DIR")
    kept = f"{directory}/{program}.toml" if directory else ""
    try:
        text, path = read_config()
        found = resolve(text, path)
    except BadFlag:
        raise
    except (BadSetting, OSError) as exc:
        if (before := _kept_text(kept)) is None:
            raise
        found = resolve(before, kept)
        say(program, f"{refusal(exc)[1]}; it goes on with what it last started with: {kept}", "error")
        return found
    if kept:
        _keep(kept, text or "")
    return found


def _kept_text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError):
        return None


def leave_host(program: str, sockname: tuple[str, int]) -> None:
    """Under the suite, leave the address that the program listens on to those who ask whether it answers (suite/probes.py)."""
    if directory := os.environ.get("HIVE_RUN_DIR"):
        _keep(f"{directory}/{program}.host", f"{sockname[0]}\n")


def _keep(path: str, text: str) -> None:
    """The user's alone, as it may hold a token. That it cannot be kept keeps nobody from serving."""
    if _kept_text(path) == text:
        return
    with suppress(OSError):
        with open(os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(f"{path}.new", path)


def settle(layout: Layout) -> None:
    """Be who may read the sessions, where servers work. Root has no business here but to become somebody else."""
    if user := acting_user(os.environ):
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    try:
        os.makedirs(layout.server_instance, exist_ok=True)
        os.chdir(layout.server_instance)
    except OSError as exc:
        log.warning("works elsewhere than in %s: %s", layout.server_instance, exc.strerror)


def refusal(exc: BadSetting | OSError) -> tuple[int, str]:
    """The exit code and the sentence of a server that cannot even read its settings."""
    if isinstance(exc, OSError):
        return BAD_CONFIG, f"{exc.filename}: {exc.strerror}"
    return USAGE if isinstance(exc, BadFlag) else BAD_CONFIG, str(exc)


def no_address(exc: OSError) -> int:
    """The exit code of a server that cannot listen where it shall."""
    return {errno.EACCES: NOT_PERMITTED, errno.EADDRINUSE: BUSY}.get(exc.errno or 0, IO_FAILED)


def flag_parser(program: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """A parser that knows --help and --version, and raises BadFlag for words that it does not know."""
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise BadFlag(f"{message}; {program} --help lists the flags")

    lines = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog=program, description=description, epilog=epilog, formatter_class=lines)
    parser.add_argument("--version", action="version", version=f"{program} {VERSION}")
    return parser


def start_log(program: str) -> None:
    """Log from now on, a line an event: as text to stderr, or as JSON, crashes of ours included, where HIVE_LOG_FORMAT says so.

    JSON is for a supervisor with a file for each stream: what is in order goes to stdout, what is not to stderr.
    """
    if not wants_json(os.environ):
        logging.basicConfig(format=f"%(asctime)s {program}: %(message)s", level=logging.INFO, stream=sys.stderr)
        return
    well, amiss = logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.stderr)
    well.addFilter(lambda record: record.levelno < logging.WARNING)
    amiss.setLevel(logging.WARNING)
    for handler in (well, amiss):
        handler.setFormatter(_JsonLines(program))
        handler.terminator = ""
    logging.basicConfig(level=logging.INFO, handlers=[well, amiss])

    def crashed(kind: type[BaseException], exc: BaseException, at: TracebackType | None) -> None:
        log.critical("crashed: %s", kind.__name__, exc_info=(kind, exc, at))

    sys.excepthook = crashed


class _JsonLines(logging.Formatter):
    """An event as `entry` puts it."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program
        self._secrets = secrets_in(os.environ)

    def format(self, record: logging.LogRecord) -> str:
        return entry(
            self._program,
            record.getMessage(),
            now_s=record.created,
            pid=record.process or os.getpid(),
            level=record.levelname,
            exception=self.formatException(record.exc_info) if record.exc_info else record.stack_info,
            secrets=self._secrets,
        )


class Reporter:
    """An exception handler for the event loop of a server: of a shortage that keeps it from accepting it says one line a minute.

    asyncio tells it of each attempt, hundreds a second. With `peers_go` nothing is said of other trouble with a connection.
    """

    def __init__(self, *, peers_go: bool = False) -> None:
        self._peers_go = peers_go
        self._quiet_until_s = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        exc = context.get("exception")
        if not isinstance(exc, OSError):
            loop.default_exception_handler(context)
        elif exc.errno in SHORTAGES:
            now_s = time.monotonic()
            if now_s >= self._quiet_until_s:
                self._quiet_until_s = now_s + QUIET_S
                log.error(
                    "%s: who connects now has to wait; ulimit -n says how many there may be", SHORTAGES[exc.errno]
                )
        elif not self._peers_go:
            loop.default_exception_handler(context)


def say(program: str, what: str, level: str = "info") -> None:
    """One line for whoever started the program, in the format of its log and where that goes."""
    line, stream = f"{program}: {what}\n", sys.stderr
    if wants_json(os.environ):
        stream = sys.stdout if level == "info" else sys.stderr
        secrets = secrets_in(os.environ)
        line = entry(program, what, now_s=time.time(), pid=os.getpid(), level=level, secrets=secrets)
    stream.write(line)
    stream.flush()


def address_of(sockname: tuple[str, int]) -> str:
    """HOST:PORT as a URL has it; `sockname` begins with both."""
    host, port = sockname[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
