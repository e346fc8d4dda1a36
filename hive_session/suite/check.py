"""Whether the core of the suite can do its work at this moment, asked without supervisord: for a container's HEALTHCHECK."""

import os
import signal
import sys

from hive_session.ondisk.home import acting_home, acting_user
from hive_session.ondisk.layout import Layout, resolve_layout
from hive_session.suite.probes import LOADING, PROXY, SILENT, Answer, Question, ask_all, worst

TYPE_CHECKING = False  # it runs every few seconds for ever: what it does not import need not be read
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType

ALL_S = 3  # for everything, whatever hangs
WRITTEN_BYTES = 4096  # room for a record
PROBE = ".health"  # the file that is written, in .swarm
BAD = (LOADING, SILENT)  # what we could not find out is no failure of a program


def check(env: "Mapping[str, str]", asked: "Mapping[str, Sequence[Question]]", limit_s: float) -> int:
    """Print one line for each program that cannot do its work; the exit code, 1 where there is one."""
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.alarm(ALL_S)
    wanted = {name: found for name, found in asked.items() if name != PROXY or _is_true(env, "HIVE_SUITE_CLAUDE_FLOW")}
    problems = [f"{name}: {why}" for name, why in ask(wanted, limit_s).items()]
    become_user(env)
    layout = resolve_layout(env, acting_home(env), os.path.isdir)
    if why := unwritable(layout):
        problems.append(f"workspace: {why}")
    sys.stdout.write("\n".join(problems or ["all can do their work"]) + "\n")
    return 1 if problems else 0


def ask(asked: "Mapping[str, Sequence[Question]]", limit_s: float) -> dict[str, str]:
    """The programs that cannot do their work, and why not."""
    pairs = [(name, question) for name, found in asked.items() for question in found]
    answers = ask_all([question for _, question in pairs], limit_s)
    given: dict[str, list[Answer]] = {}
    for (name, question), answer in zip(pairs, answers, strict=True):
        given.setdefault(name, []).append(Answer(answer.health, f"{answer.detail} ({question.place})"))
    found = {name: worst(each) for name, each in given.items()}
    return {name: answer.detail for name, answer in found.items() if answer.health in BAD}


def unwritable(layout: Layout) -> str:
    """Why the control plane could not put down a record now; "" when it could."""
    directory = layout.swarm if os.path.isdir(layout.swarm) else layout.workspace
    path = f"{directory}/{PROBE}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, bytes(WRITTEN_BYTES))
        finally:
            os.close(fd)
            os.unlink(path)
    except FileNotFoundError:
        return "" if os.path.isdir(directory) else f"{directory} is missing"  # another check was faster
    except OSError as exc:
        return f"{directory} cannot be written: {(exc.strerror or str(exc)).lower()}"
    return ""


def become_user(env: "Mapping[str, str]") -> None:
    """Root becomes whom the programs run as: it is they who have to be able to write."""
    user = acting_user(env)
    if user is None:
        return
    try:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    except PermissionError:
        return  # a root without capabilities stays what it is


def _is_true(env: "Mapping[str, str]", name: str) -> bool:
    return env.get(name, "").lower() in ("true", "1", "yes", "on")


def _out_of_time(_number: int, _frame: "FrameType | None") -> None:
    os.write(1, b"hive-health: no end within %d s\n" % ALL_S)
    os._exit(1)
