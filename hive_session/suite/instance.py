"""One suite on this machine: what it is told, where it is, whether it runs; it is started, stopped and asked here."""

from __future__ import annotations

import fcntl
import os
import pwd
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hive_session.config import resolve_config
from hive_session.errors import BadConfig, Busy, CannotCreate, HiveError, NotPermitted
from hive_session.ondisk.home import acting_home, acting_user
from hive_session.ondisk.journal import escape
from hive_session.ondisk.serving import read_config
from hive_session.ondisk.settings import BadSetting
from hive_session.suite import ports
from hive_session.suite.control import SOCKET, Control, NoAnswer, Program
from hive_session.suite.environment import BadValue, given_ports, plan_ports, programs_environment, resolve_environment
from hive_session.suite.orphans import end_orphans
from hive_session.suite.probes import FULL, LOADING, OK, PROXY, Answer, Question, ask_all, questions, worst
from hive_session.suite.watch import last_line

READY_LIMIT_S = 30.0  # a workspace of many thousand sessions takes some seconds to read
STOP_LIMIT_S = 8.0  # of 10 s that Docker gives a container; supervisord kills what does not end within 5
KILL_LIMIT_S = 1.0
LOCK_LIMIT_S = READY_LIMIT_S + 15.0  # of a start that another one is underway with
ASK_LIMIT_S = 2.0
STEP_S = 0.05
CONF = "etc/supervisor/supervisord.conf"
CLAIM = ".suite"  # in HIVE_LOG_DIR: the run directory of the suite whose logs are there


@dataclass(frozen=True, slots=True)
class Suite:
    """Where one suite is and what it is told, before its ports are chosen."""

    conf: str  # of supervisord
    values: dict[str, str]  # the suite's own variables
    given: dict[str, int]  # ports that the user set
    env: dict[str, str]  # of the caller

    @property
    def run_dir(self) -> str:
        return self.values["HIVE_RUN_DIR"]

    @property
    def socket(self) -> str:
        return f"{self.run_dir}/{SOCKET}"

    @property
    def host(self) -> str:
        """Where its servers listen, as far as ports are concerned."""
        return self.env.get("HIVE_BIND") or "127.0.0.1"

    def environment(self, chosen: Mapping[str, int]) -> dict[str, str]:
        """What supervisord gets."""
        numbers = {name: str(port) for name, port in chosen.items()}
        return programs_environment(self.env, {**self.values, **numbers})


# -- what it is told ---------------------------------------------------------------------------------------------------


def resolve_suite(env: Mapping[str, str], *, without_file: bool = False) -> Suite:
    """The suite that a caller with `env` means; nothing is touched. Raises: BadConfig.

    `without_file`: as if there were no configuration file, which says nothing of where a suite is that runs.
    """
    from hive_session.programs import find_programs

    checkout = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    try:
        text, path = (None, "") if without_file else read_config()
        config = resolve_config(env, text, path, acting_home(env), os.path.isdir)
        who = acting_user(env) or _caller()
        values = resolve_environment(
            env,
            user=who.pw_name,
            uid=who.pw_uid,
            home=acting_home(env),
            bin_dir=f"{sys.prefix}/bin",
            checkout=checkout,
            claude_flow=find_programs(config, env).claude_flow is not None,
            exists=os.path.isdir,
        )
        given = given_ports(env, _document(text))
    except (BadSetting, BadValue) as exc:
        raise BadConfig(str(exc)) from None
    own = f"{checkout}/{CONF}"
    conf = env.get("HIVE_SUPERVISOR_CONF") or (own if os.path.exists(own) else f"/{CONF}")
    return _with_logs_of_its_own(Suite(conf, values, given, dict(env)))


def _caller() -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(os.geteuid())
    except KeyError:
        raise BadConfig(f"user {os.geteuid()} has no name, which supervisord needs", "add one to /etc/passwd") from None


def _document(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    import tomllib

    return tomllib.loads(text)  # resolve_config has read it before


def _with_logs_of_its_own(suite: Suite) -> Suite:
    """Another suite's logs are left to it: two programs that rotate one file lose lines."""
    log_dir = suite.values["HIVE_LOG_DIR"]
    owner = _read(f"{log_dir}/{CLAIM}").strip()
    if owner in ("", suite.run_dir) or not os.path.isdir(owner):
        return suite
    own = {
        name: f"{suite.values[name]}-{os.path.basename(suite.run_dir)}"
        for name in ("HIVE_MCP_LOG_DIR", "HIVE_SUPERVISOR_LOG_DIR")
        if not suite.env.get(name)
    }
    return Suite(suite.conf, {**suite.values, **own}, suite.given, suite.env)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def last_ports(suite: Suite) -> dict[str, int]:
    """The ports of the suite that runs; of one that does not, what a start would choose now."""
    remembered = ports.read_ports(suite.run_dir)
    return remembered if remembered and running_pid(suite) else _choose(suite, remembered)


def _choose(suite: Suite, remembered: Mapping[str, int]) -> dict[str, int]:
    host = suite.host
    return plan_ports(suite.given, remembered, lambda port: ports.is_free(host, port), lambda: ports.any_free(host))


# -- whether it runs ---------------------------------------------------------------------------------------------------


def running_pid(suite: Suite) -> int:
    """The pid of its supervisord; 0 when there is none."""
    return _answering_pid(suite) or _silent_pid(suite)


def _answering_pid(suite: Suite) -> int:
    try:
        return Control(suite.socket).pid()
    except NoAnswer:
        return 0


def _silent_pid(suite: Suite) -> int:
    """The pid in its file, of a supervisord that lives and does not answer."""
    text = _read(f"{suite.run_dir}/supervisord.pid").strip()
    if not text.isdigit() or int(text) == os.getpid():
        return 0
    command, env = (_read(f"/proc/{text}/{name}").split("\0") for name in ("cmdline", "environ"))
    ours = any("supervisord" in word for word in command) and f"HIVE_RUN_DIR={suite.run_dir}" in env
    return int(text) if ours else 0


# -- starting ----------------------------------------------------------------------------------------------------------


def prepare(suite: Suite) -> None:
    """Make the directories. Raises: HiveError."""
    log_dir = suite.values["HIVE_LOG_DIR"]
    try:
        for name in ("HIVE_WORKSPACE", "HIVE_LOG_DIR", "HIVE_MCP_LOG_DIR", "HIVE_SUPERVISOR_LOG_DIR"):
            os.makedirs(suite.values[name], exist_ok=True)
        os.makedirs(os.path.dirname(suite.run_dir), exist_ok=True)
        _make_private(suite.run_dir)
        if not os.path.isdir(_read(f"{log_dir}/{CLAIM}").strip()):
            with open(f"{log_dir}/{CLAIM}", "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(f"{suite.run_dir}\n")
    except OSError as exc:
        raise CannotCreate(f"{exc.filename}: {exc.strerror}", "give it to the user who runs the suite") from None


def _make_private(path: str) -> None:
    """A directory that is this user's alone: whoever could reach the socket in it could run anything as them."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    info = os.lstat(path)
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
        raise NotPermitted(f"{path} is not a directory of this user's", "remove it, or set HIVE_RUN_DIR")
    os.chmod(path, 0o700)


@contextmanager
def starting(suite: Suite) -> Iterator[None]:
    """While this is held nobody else starts this very suite. Raises: Busy."""
    end_s = time.monotonic() + LOCK_LIMIT_S
    with open(f"{suite.run_dir}/start.lock", "a", encoding="ascii") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end_s:
                    raise Busy(f"{file.name}: another start of this suite does not end", "look at it") from None
                time.sleep(STEP_S)
        yield


def run_in_foreground(suite: Suite) -> None:
    """Become supervisord. Raises: Busy when the suite runs already, HiveError; it does not return."""
    with starting(suite):
        if pid := running_pid(suite):
            raise Busy(f"the suite runs already: supervisord is process {pid}", "hive-suite stop ends it")
        _end_orphans(suite)
        with ports.one_at_a_time():
            chosen = _choose(suite, ports.read_ports(suite.run_dir))
            ports.write_ports(suite.run_dir, chosen)
        _write_sid(suite, os.getsid(0))
    env = suite.environment(chosen)
    sys.stderr.flush()
    command = _command(suite)
    os.execve(command[0], command, env)


def start_detached(suite: Suite) -> tuple[dict[str, Answer], dict[str, int]]:
    """Start it in a session of its own, unless it runs, and wait until its servers answer. Raises: HiveError.

    Gives how each server answered in the end, by program, and the ports.
    """
    with starting(suite):
        if running_pid(suite):
            chosen = ports.read_ports(suite.run_dir)
            return await_ready(suite, chosen, None), chosen
        _end_orphans(suite)
        with ports.one_at_a_time():
            chosen = _choose(suite, ports.read_ports(suite.run_dir))
            ports.write_ports(suite.run_dir, chosen)
            contested = not all(port < 0 or ports.is_free(suite.host, port) for port in chosen.values())
            process = _spawn(suite, chosen)
            return await_ready(suite, chosen, process, contested=contested), chosen


def _spawn(suite: Suite, chosen: Mapping[str, int]) -> subprocess.Popen[bytes]:
    """supervisord logs to its file; what it says before it has one goes to start.log."""
    with open(_start_log(suite), "wb") as log:
        process = subprocess.Popen(
            [*_command(suite), "--silent"],
            env=suite.environment(chosen),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
    _write_sid(suite, process.pid)
    return process


def _write_sid(suite: Suite, sid: int) -> None:
    """Remember the POSIX session of supervisord, by which its programs are found when it was killed."""
    with open(_sid_file(suite), "w", encoding="ascii") as file:
        file.write(f"{sid}\n")


def _sid_file(suite: Suite) -> str:
    return f"{suite.run_dir}/supervisord.sid"


def _end_orphans(suite: Suite) -> bool:
    """End what a killed supervisord has left running; True when there was something."""
    sid = _read(_sid_file(suite)).strip()
    return bool(end_orphans(suite.socket, int(sid))) if sid.isdigit() else False


def _command(suite: Suite) -> list[str]:
    # -P: a package that happens to be called so where the suite is started from is not ours.
    return [sys.executable, "-P", "-m", "hive_session.suite.supervisord", "--nodaemon", "--configuration", suite.conf]


def _start_log(suite: Suite) -> str:
    return f"{suite.run_dir}/start.log"


def await_ready(
    suite: Suite, chosen: Mapping[str, int], process: subprocess.Popen[bytes] | None, *, contested: bool = False
) -> dict[str, Answer]:
    """How each server answers, once all do or are given up, or READY_LIMIT_S have passed. Raises: HiveError.

    Where a port is `contested` it may be a stranger who answers, until supervisord says that our own server stays.
    """
    env = suite.environment(chosen)
    states = ("RUNNING",) if contested else ("STARTING", "RUNNING")
    end_s = time.monotonic() + READY_LIMIT_S
    while True:
        if process and process.poll() is not None:
            raise HiveError(f"supervisord ended at once: {_read(_start_log(suite)).strip()}", _logs_hint(suite))
        programs, asked = _programs(suite), questions(env)
        wanted = [name for name in asked if name != PROXY or suite.values["HIVE_SUITE_CLAUDE_FLOW"] == "true"]
        answers = {name: _answer(programs[name], asked[name], states) for name in wanted if name in programs}
        settled = programs and all(
            each.health in (OK, FULL) or _given_up(programs[n], fresh=process is not None)
            for n, each in answers.items()
        )
        if settled or time.monotonic() > end_s:
            return answers
        time.sleep(STEP_S)


def _programs(suite: Suite) -> dict[str, Program]:
    try:
        return {each.name: each for each in Control(suite.socket).programs()}
    except NoAnswer:
        return {}


def _given_up(program: Program, *, fresh: bool) -> bool:
    """supervisord will not start it. A fresh one calls STOPPED what it is about to start."""
    return program.state == "FATAL" or (program.state == "STOPPED" and not fresh)


def _answer(program: Program, asked: list[Question], states: tuple[str, ...]) -> Answer:
    """How a program answers that is in one of `states`; of others nobody else may answer in its place."""
    if program.state not in states:
        return Answer(LOADING, f"{program.state}: {escape(last_line(program.error_log)) or program.why}")
    return worst(ask_all(asked, ASK_LIMIT_S))


def _logs_hint(suite: Suite) -> str:
    return f"its log: {suite.values['HIVE_SUPERVISOR_LOG_DIR']}/supervisord.log"


# -- stopping and asking -----------------------------------------------------------------------------------------------


def stop(suite: Suite) -> bool:
    """End it within 10 s, whatever is left of it; True when there was something. Sessions go on."""
    pid, limit_s = _answering_pid(suite), STOP_LIMIT_S
    if not pid:
        pid, limit_s = _silent_pid(suite), 0.0
    try:
        watched = os.pidfd_open(pid) if pid else -1
    except ProcessLookupError:
        watched = -1
    if watched >= 0:
        with os.fdopen(watched):
            _end(suite, watched, limit_s)
    return _end_orphans(suite) or pid > 0


def _end(suite: Suite, watched: int, limit_s: float) -> None:
    """SIGTERM to the supervisord behind a pidfd, and SIGKILL after `limit_s`."""
    try:
        signal.pidfd_send_signal(watched, signal.SIGTERM)
        end_s = time.monotonic() + limit_s
        while not select.select([watched], [], [], STEP_S)[0]:
            if time.monotonic() > end_s:
                signal.pidfd_send_signal(watched, signal.SIGKILL)
                select.select([watched], [], [], KILL_LIMIT_S)
                return
            _answering_pid(suite)  # at each question it collects who has ended; by itself, a program a second
    except ProcessLookupError:
        return


def amiss(suite: Suite) -> list[Program]:
    """The programs that should run and do not. Raises: NoAnswer when supervisord does not answer."""
    return [each for each in Control(suite.socket).programs() if each.state in ("FATAL", "BACKOFF", "UNKNOWN")]
