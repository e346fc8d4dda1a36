"""The console script hive-health: an event listener of supervisord that asks the servers, and restarts one that hangs.

It stays in memory for ever, so it is stdlib only and imports little.
"""

import json
import os
import select
import sys
import time

from hive_session.ondisk import journal
from hive_session.suite.control import Control, socket_of
from hive_session.suite.deaths import Deaths
from hive_session.suite.misses import Rules
from hive_session.suite.probes import Beside, questions
from hive_session.suite.watch import STATE_FILE, Watch

TYPE_CHECKING = False  # typing stays out of the lean listener
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

PROGRAM = "hive-health"
READY = b"READY\n"
HANDLED = b"RESULT 2\nOK"
USAGE, CONFIG = 2, 78  # as hive_session.errors has them

# What happened, for people; the fields of an event stand beside it too.
MESSAGES = {
    "runs": "{about} runs as process {process}",
    "silent": "{about} does not answer: {detail}",
    "answers-again": "{about} answers again, after {misses} misses",
    "restart": "{about} has missed {misses} times in a row: process {process} is killed, for supervisord to start another",
    "full": "{about} takes no more connections: {detail}",
    "unknown": "{about} could not be asked: {detail}",
    "fatal": "{about} is FATAL: supervisord tries no more, we do in {retry_in_s} s; {detail}; it said last: {last_line}",
    "fatal-tried-again": "{about} is FATAL and started once more, try {tries}",
    "not-obeyed": "supervisord did not see to {about}: {detail}",
    "no-supervisord": "supervisord cannot be asked: {detail}",
    "not-written": "the state is not written: {detail}",
    "not-resumed": "we begin anew: {detail}",
}

HELP = """\
usage: hive-health            an event listener of supervisord (TICK_5, PROCESS_STATE_FATAL, PROCESS_STATE_RUNNING)
       hive-health --check    asks the servers now; for the HEALTHCHECK of a container

At each tick it asks every server that runs whether it answers: MCP's ping, /readyz, /health. One that does not so many times
in a row is killed, and supervisord starts it again: rarer and rarer, until it has been well for a while. A program that is
FATAL is told once, and tried again from time to time. It says each event as one JSON object on stderr, and keeps
HIVE_RUN_DIR/health.json for `hive-session top`.

--check names each program that cannot do its work: mcp-tcp-server, mcp-ws-bridge, claude-flow-tcp where
HIVE_SUITE_CLAUDE_FLOW is true, and the workspace if it cannot be written. It needs no supervisord, and takes 3 s at most.

Variables, with what they are by default:
  HIVE_HEALTH_MISSES=3                           in a row, and it is restarted
  HIVE_HEALTH_LIMIT_S=2                          for all answers of a tick
  HIVE_HEALTH_GRACE_S=30                         for a process to answer for the first time
  HIVE_HEALTH_RESTART_AFTER_S=30,60,120,300,600  at least, from one restart of a program to the next
  HIVE_HEALTH_RETRY_AFTER_S=60,300,900           from one try to start a FATAL program to the next
  HIVE_HEALTH_SETTLED_S=300                      well for so long, and both lists begin anew
  HIVE_HEALTH_EVERY_S                            ask so often, not at each tick
  MCP_TCP_PORT, MCP_HEALTH_PORT, MCP_BRIDGE_PORT, CLAUDE_FLOW_HEALTH_PORT   where the servers are
  HIVE_RUN_DIR                                   where each left the address that it listens on

exit codes: 0 supervisord is gone; all can work | 1 something cannot | 2 usage | 78 a variable is wrong"""


class Settings:
    """What the variables say. Raises: ValueError that names one."""

    __slots__ = ("every_s", "limit_s", "rules")

    def __init__(self, env: "Mapping[str, str]") -> None:
        self.limit_s: float = _read(env, "HIVE_HEALTH_LIMIT_S", "2", _seconds)
        self.every_s: float | None = _read(env, "HIVE_HEALTH_EVERY_S", "0", _seconds) or None
        self.rules = Rules(
            misses=_read(env, "HIVE_HEALTH_MISSES", "3", _misses),
            grace_s=_read(env, "HIVE_HEALTH_GRACE_S", "30", _seconds),
            restart_after_s=_read(env, "HIVE_HEALTH_RESTART_AFTER_S", "30,60,120,300,600", _times),
            retry_after_s=_read(env, "HIVE_HEALTH_RETRY_AFTER_S", "60,300,900", _times),
            settled_s=_read(env, "HIVE_HEALTH_SETTLED_S", "300", _seconds),
        )


def _read(env: "Mapping[str, str]", name: str, default: str, read: "Callable[[str], Any]") -> "Any":
    try:
        return read(env.get(name) or default)
    except ValueError as exc:
        raise ValueError(f"{name}: {env[name][:40]!a} {exc}") from None


def _misses(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1000):
        raise ValueError("must be a whole number from 1 to 1000")
    return int(text)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e6:
        raise ValueError("must be a number of seconds from 0")
    return number


def _times(text: str) -> tuple[float, ...]:
    return tuple(map(_seconds, text.split(",")))


# -- supervisord's events ----------------------------------------------------------------------------------------------


class Events:
    """Splits what supervisord sends to a listener into the names of the events; what else they say is passed over."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The names of the events that `data` completes. Raises: ValueError for what supervisord never sends."""
        self._rest += data
        names = []
        while (end := self._rest.find(b"\n")) >= 0:
            header = dict(word.split(":", 1) for word in self._rest[:end].decode("ascii").split() if ":" in word)
            try:
                name, end = header["eventname"], end + 1 + int(header["len"])
            except KeyError as exc:
                raise ValueError(f"an event without {exc}") from None
            if len(self._rest) < end:
                break
            names.append(name)
            self._rest = self._rest[end:]
        return names


# -- the program -------------------------------------------------------------------------------------------------------


class Listener:
    """The protocol with supervisord: every event is answered at once, whatever else is going on."""

    def __init__(self) -> None:
        self._events = Events()
        self._ticked = self._moved = False
        self.beside = Beside(0, self.take)

    def take(self) -> None:
        """Answer what has come, and remember it. Raises: SystemExit when supervisord is gone."""
        data = os.read(0, 1 << 16)
        if not data:
            raise SystemExit(0)
        for name in self._events.feed(data):
            os.write(1, HANDLED + READY)
            self._ticked = self._ticked or name.startswith("TICK")
            self._moved = True

    def run(self, watch: Watch, every_s: float | None) -> None:
        """Until supervisord is gone."""
        os.write(1, READY)
        poll = select.poll()
        poll.register(0, select.POLLIN)
        deaths = Deaths(poll)
        due_s = time.monotonic()
        while True:
            deaths.follow(watch.processes)
            wait_s = max(0.0, due_s - time.monotonic()) if every_s else None
            ready = [] if self._moved else [fd for fd, _ in poll.poll(None if wait_s is None else wait_s * 1000)]
            if 0 in ready:
                self.take()
            if ended := deaths.ended(ready):
                watch.hurry(ended)
            ticked = time.monotonic() >= due_s if every_s else self._ticked
            self._ticked = self._moved = False
            if ticked:
                due_s = time.monotonic() + (every_s or 0.0)
                watch.ask()
            else:
                watch.look()


def teller(env: "Mapping[str, str]") -> "Callable[..., None]":
    """Says an event, with its further fields, as one JSON object on one line of stderr. Secrets in `env` are left out."""
    secrets = journal.secrets_in(env)

    def shown(value: object) -> object:
        return journal.conceal(value, secrets) if isinstance(value, str) else value

    def tell(level: str, event: str, **fields: "Any") -> None:
        told = {"time": journal.timestamp(time.time()), "level": level, "program": PROGRAM, "pid": os.getpid()}
        told |= {"message": journal.escape(MESSAGES[event].format(**fields)), "event": event, **fields}
        line = json.dumps({name: shown(value) for name, value in told.items()}) + "\n"
        try:
            os.write(2, line.encode())
        except OSError:
            pass  # nobody is there to be told

    return tell


def main() -> int:
    """Entry point of `hive-health`; returns its exit code."""
    words = sys.argv[1:]
    if words in (["--help"], ["-h"]):
        return _say(1, HELP, 0)
    if words == ["--version"]:
        from hive_session.ondisk.version import VERSION

        return _say(1, f"{PROGRAM} {VERSION}", 0)
    if words not in ([], ["--check"]):
        return _say(2, f"{PROGRAM}: {' '.join(words)[:100]!a} is nothing it knows; see {PROGRAM} --help", USAGE)
    try:
        settings, asked = Settings(os.environ), questions(os.environ)
    except ValueError as exc:
        return _say(2, f"{PROGRAM}: {exc}", CONFIG)
    if words:
        from hive_session.suite.check import check

        return check(os.environ, asked, settings.limit_s)
    path = socket_of(os.environ.get("SUPERVISOR_SERVER_URL", ""))
    if not path:
        return _say(
            2, f"{PROGRAM}: it is to be started by supervisord, with a unix socket; see {PROGRAM} --help", USAGE
        )
    listener = Listener()
    directory = os.environ.get("HIVE_RUN_DIR") or os.path.dirname(path)
    control = Control(path, listener.beside)
    tell, state = teller(os.environ), f"{directory}/{STATE_FILE}"
    watch = Watch(
        control, lambda: questions(os.environ), settings.rules, settings.limit_s, tell, state, listener.beside
    )
    listener.run(watch, settings.every_s)
    return 0


def _say(fd: int, text: str, code: int) -> int:
    os.write(fd, f"{text}\n".encode())
    return code


if __name__ == "__main__":
    sys.exit(main())
