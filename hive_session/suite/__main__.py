"""The console script hive-suite: the core suite under supervisord, as the calling user."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from hive_session import errors
from hive_session.errors import BadConfig, HiveError, NotPermitted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from hive_session.suite.instance import Suite
    from hive_session.suite.probes import Answer

NOT_READY, NOT_RUNNING = 69, 3  # sysexits' EX_UNAVAILABLE; LSB's, as supervisorctl has it
EPILOG = """\
examples:
  hive-suite start --detach      what bin/up does; a second call finds the first one's suite and uses it
  hive-suite ctl tail -f mcp-tcp-server stderr
  hive-suite start               in the foreground: process 1 of a container

Variables decide the rest: hive-suite env shows them. Root becomes HIVE_USER before anything starts.

Exit codes: 0 done | 2 usage | 3 status: something that should run does not | 69 a server does not answer |
73 a directory cannot be made | 75 the suite runs already, or is being started | 77 not permitted |
78 a variable or file is wrong."""


def main() -> int:
    """Entry point of `hive-suite`; returns its exit code."""
    words = _parser().parse_args()
    try:
        code: int = COMMANDS[words.command](words)
        return code
    except HiveError as exc:
        say(f"{exc.what}; {exc.hint}" if exc.hint else exc.what)
        return exc.exit_code
    except OSError as exc:
        refused = errors.from_os_error(exc, "working with")
        say(refused.what)
        return refused.exit_code


def _parser() -> argparse.ArgumentParser:
    import argparse

    from hive_session.ondisk.version import VERSION

    lines = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("hive-suite", description=__doc__, epilog=EPILOG, formatter_class=lines)
    parser.add_argument("--version", action="version", version=f"hive-suite {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    begin = commands.add_parser("start", help="start it; in the foreground, where not told otherwise")
    begin.add_argument("--detach", action="store_true", help="leave it running, and return once its servers answer")
    commands.add_parser("stop", help="end it, within 10 s; sessions go on")
    commands.add_parser("status", help="supervisorctl's lines; 0 when all runs that should")
    control = commands.add_parser("ctl", help="supervisorctl for this suite: hive-suite ctl restart mcp-tcp-server")
    control.add_argument("words", nargs=argparse.REMAINDER, metavar="WORD")
    commands.add_parser("env", help="its variables, in words for a shell; no secrets")
    commands.add_parser("check", help="look through supervisord's files for what would go wrong, silently too")
    told = commands.add_parser("journal", help="run a command, and say each of its lines as an event of the log")
    told.add_argument("words", nargs=argparse.REMAINDER, metavar="PROGRAM COMMAND [WORD…]")
    return parser


def say(text: str) -> None:
    """One line for people."""
    print(f"hive-suite: {text}", file=sys.stderr)  # noqa: T201 -- a program for people


def _tell(text: str) -> None:
    print(text)  # noqa: T201 -- the answer


def _suite(*, starts: bool = False) -> Suite:
    """The suite of the caller, who is HIVE_USER by then if it was root. Raises: HiveError."""
    from hive_session.suite.instance import resolve_suite

    if os.geteuid() == 0:
        _become_user(starts)
    try:
        return resolve_suite(os.environ)
    except BadConfig as exc:
        if starts:
            raise
        found = resolve_suite(os.environ, without_file=True)
        say(f"{exc.what}; what runs is seen and stopped all the same")
        return found


def _become_user(starts: bool) -> None:
    from hive_session import identity
    from hive_session.ondisk.home import acting_home
    from hive_session.ondisk.layout import resolve_layout

    user = identity.target_user(os.environ.get("HIVE_USER"))
    layout = resolve_layout(os.environ, acting_home(os.environ), os.path.isdir)
    if user is None or user.pw_uid == 0 or not (starts or os.path.isdir(layout.sessions)):
        return
    try:
        identity.become(user, layout, (), os.environ)
    except OSError as exc:
        raise errors.from_os_error(exc, f"becoming {user.pw_name}:") from None


# -- commands ----------------------------------------------------------------------------------------------------------


def start(words: argparse.Namespace) -> int:
    """Start it, unless it runs."""
    from hive_session.suite import instance

    suite = _suite(starts=True)
    instance.prepare(suite)
    _refuse_out_of_reach(suite)
    _refuse_flaws(suite)
    if not words.detach:
        instance.run_in_foreground(suite)
    pid = instance.running_pid(suite)
    if pid:
        say(f"it runs already: supervisord is process {pid}")
    answers, chosen = instance.start_detached(suite)
    return _tell_ready(suite, answers, suite.environment(chosen))


def _refuse_out_of_reach(suite: Suite) -> None:
    """Whoever root became may not get at what root has installed."""
    if not os.access(f"{suite.values['HIVE_BIN']}/supervisord", os.X_OK):
        what = f"{suite.values['HIVE_USER']} cannot run {suite.values['HIVE_BIN']}/supervisord"
        raise NotPermitted(what, "put the checkout where every user can read, or set HIVE_USER")


def _refuse_flaws(suite: Suite) -> None:
    from hive_session.suite.configuration import find_flaws
    from hive_session.suite.environment import PORTS

    ports = {**{name: default for name, (default, _, _) in PORTS.items()}, **suite.given}
    flaws = find_flaws(suite.conf, suite.environment(ports))
    wrong = [flaw for flaw in flaws if flaw.level == "problem"]
    for flaw in wrong[1:]:
        say(f"{flaw.where}: {flaw.what}; {flaw.mend}")
    if wrong:
        raise BadConfig(f"{wrong[0].where}: {wrong[0].what}", wrong[0].mend)


def _tell_ready(suite: Suite, answers: Mapping[str, Answer], env: Mapping[str, str]) -> int:
    from hive_session.suite.probes import FULL, MCP_SERVER, OK, RELAY, questions

    asked = questions(env)
    good = {name for name, answer in answers.items() if answer.health in (OK, FULL)}
    if RELAY in good:
        _tell(f"Watch it live:  http://{asked[RELAY][0].place.removesuffix('/readyz')}/")
    if MCP_SERVER in good:
        host, _, port = asked[MCP_SERVER][0].place.rpartition(":")
        token = " (with TCP_AUTH_TOKEN)" if env.get("TCP_AUTH_TOKEN") else ""
        line = '{"jsonrpc":"2.0","id":1,"method":"agent_list"}'
        _tell(f"MCP on {host}:{port}{token}; try in another terminal:\n  echo '{line}' | nc {host} {port}")
    if not answers:
        say("supervisord does not answer; hive-suite stop ends what is left of it")
    for name, answer in answers.items():
        if name not in good:
            say(f"{name} does not answer: {answer.detail}")
    return 0 if good == answers.keys() and {MCP_SERVER, RELAY} <= good else NOT_READY


def stop(words: argparse.Namespace) -> int:
    """End it."""
    from hive_session.suite import instance

    if not instance.stop(_suite()):
        say("it does not run")
    return 0


def status(words: argparse.Namespace) -> int:
    """supervisorctl's lines, and for what is amiss why."""
    from hive_session.ondisk.journal import escape
    from hive_session.suite import instance
    from hive_session.suite.watch import last_line

    suite = _suite()
    if not instance.running_pid(suite):
        say("it does not run; hive-suite start --detach starts it")
        return NOT_RUNNING
    subprocess.run([*_supervisorctl(suite), "status"], env=_ctl_environment(suite), check=False, timeout=30)
    wrong = instance.amiss(suite)
    for program in wrong:
        say(f"{program.name}: {program.why}: {escape(last_line(program.error_log))}")
    return NOT_RUNNING if wrong else 0


def ctl(words: argparse.Namespace) -> int:
    """Become supervisorctl, which otherwise would have to be told where this suite is."""
    suite = _suite()
    if words.words[:1] == ["reload"]:
        _refuse_flaws(suite)  # it would end all programs, and supervisord too
    command = [*_supervisorctl(suite), *words.words]
    os.execve(command[0], command, _ctl_environment(suite))


def _supervisorctl(suite: Suite) -> list[str]:
    return [f"{suite.values['HIVE_BIN']}/supervisorctl", "-c", suite.conf]


def _ctl_environment(suite: Suite) -> dict[str, str]:
    from hive_session.suite.instance import last_ports

    return suite.environment(last_ports(suite))


def journal(words: argparse.Namespace) -> int:
    """A command of the suite's upkeep, which speaks to people, as a program whose log is like the others'."""
    from hive_session.ondisk.journal import wants_json

    if len(words.words) < 2:
        raise errors.UsageError("journal: a program's name and a command are needed", "hive-suite --help")
    name, *command = words.words
    if not wants_json(os.environ):
        os.execvp(command[0], command)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    for stream, level, said in ((sys.stdout, "info", done.stdout), (sys.stderr, "error", done.stderr)):
        for line in filter(None, said.decode("utf-8", "replace").split("\n")):
            stream.write(_event(name, line, level))
    if done.returncode:
        sys.stderr.write(_event(name, f"{command[0]}: exit {done.returncode}", "error"))
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


def _event(program: str, text: str, level: str) -> str:
    from hive_session.ondisk.journal import entry, secrets_in

    return entry(program, text, now_s=time.time(), pid=os.getpid(), level=level, secrets=secrets_in(os.environ))


def env(words: argparse.Namespace) -> int:
    """The variables, in the words of a shell."""
    from hive_session.suite import instance

    suite = _suite()
    place = {"HIVE_SUPERVISOR_CONF": suite.conf}
    for name, value in {**suite.values, **place, **instance.last_ports(suite)}.items():
        _tell(f"{name}={shlex.quote(str(value))}")
    return 0


def check(words: argparse.Namespace) -> int:
    """What is wrong with supervisord's files."""
    from hive_session.suite.configuration import find_flaws
    from hive_session.suite.instance import last_ports

    suite = _suite()
    flaws = find_flaws(suite.conf, suite.environment(last_ports(suite)))
    for flaw in flaws:
        _tell(f"{flaw.level:<8} {flaw.where}: {flaw.what}; {flaw.mend}")
    return BadConfig.exit_code if any(flaw.level == "problem" for flaw in flaws) else 0


COMMANDS = {
    "start": start,
    "stop": stop,
    "status": status,
    "ctl": ctl,
    "env": env,
    "check": check,
    "journal": journal,
}

if __name__ == "__main__":
    sys.exit(main())
