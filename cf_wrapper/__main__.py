"""The `claude-flow` command: finds out what `plan` needs to know, obeys it, becomes the real claude-flow."""

from __future__ import annotations

import errno
import os
import pwd
import sys

from cf_wrapper.plan import (
    EXIT_CANNOT_CREATE,
    EXIT_NOT_EXECUTABLE,
    EXIT_NOT_FOUND,
    EXIT_NOT_PERMITTED,
    Account,
    ExecPlan,
    Facts,
    Program,
    Refusal,
    candidate_programs,
    choose_account,
    choose_program,
    default_workspace,
    interpreter,
    is_usable,
    plan,
    relative_paths,
    relocation_directories,
    search_path,
    session_directory,
    shared_places,
)

TYPE_CHECKING = False  # see plan.py
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator, Mapping
    from typing import NoReturn
else:
    import _signal as signal  # what `signal` dresses in enums, which would be a quarter of the start-up time

HEAD_BYTES = 1024  # enough for a console script's import line, even below pip's long-path preamble


class CannotObey(Exception):
    """A step of the plan failed; carries the refusal to show for it."""

    def __init__(self, what: str, exc: OSError, cure: str, exit_code: int) -> None:
        super().__init__(what)
        self.refusal = Refusal(f"{what}: {exc.strerror} ({cure})", exit_code)


def main() -> int:
    """Becomes claude-flow and does not return; otherwise says why on stderr and gives the exit code."""
    decision = plan(gather_facts(os.environ, tuple(sys.argv[1:])))
    refusal = decision if isinstance(decision, Refusal) else obey(decision)
    say(refusal.why)
    return refusal.exit_code


def say(line: str) -> None:
    """Write one line to stderr; a stderr that is closed or broken keeps nobody from working."""
    visible = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)  # a path may hold a line feed
    try:
        os.write(2, f"claude-flow wrapper: {visible}\n".encode())
    except OSError:
        pass


def gather_facts(env: Mapping[str, str], args: tuple[str, ...]) -> Facts:
    """What `plan` depends on, looked up on this machine."""
    workspace = default_workspace(env, os.path.expanduser("~"), os.path.isdir)
    session = session_directory(workspace, env)
    return Facts(
        uid=os.geteuid(),
        cwd=current_directory(),
        args=args,
        env=env,
        workspace=workspace,
        shared=tuple(real_path(place) for place in shared_places(workspace)),
        session=session and real_path(session),
        targets=relocation_directories(env, real_path),
        existing=tuple(path for path in relative_paths(args) if os.path.lexists(path)),
        account=choose_account(env, find_account),
        program=find_program(env),
        process=process_identity(),
    )


def current_directory() -> str:
    """The real path of the current directory; "" when it has been removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def real_path(path: str) -> str:
    """`path` absolute and without symlinks; unchanged where it is relative to a removed directory."""
    try:
        return os.path.realpath(path)
    except FileNotFoundError:
        return path


def find_account(name: str) -> Account | None:
    """The user called `name`, or None."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)


def process_identity() -> str:
    """The id of this process and the clock ticks from boot to its start: kept by exec, never used twice."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return f"{os.getpid()}:{int(fields[19])}"


def find_program(env: Mapping[str, str]) -> str | Refusal:
    """The absolute path of the real claude-flow."""
    candidates = candidate_programs(env, sys.prefix)
    if isinstance(candidates, Refusal):
        return candidates
    return choose_program(env, probe_until_usable(candidates, env))


def probe_until_usable(candidates: tuple[str, ...], env: Mapping[str, str]) -> Iterator[Program]:
    """Those of `candidates` that are files, up to the first one that can be run."""
    for path in candidates:
        program = probe(path, env)
        if program:
            yield program
            if is_usable(program):
                return


def probe(path: str, env: Mapping[str, str]) -> Program | None:
    """What the file at `path` is, seen from here; None if there is no file."""
    if not os.path.isfile(path):
        return None
    head = read_head(path)
    return Program(
        path,
        executable=os.access(path, os.X_OK),
        ours=b"cf_wrapper" in head or real_path(path) == real_path(sys.argv[0]),
        missing_interpreter=missing_interpreter(interpreter(head), env),
    )


def read_head(path: str) -> bytes:
    """The first bytes of a file; none of one that may only be executed."""
    try:
        with open(path, "rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def missing_interpreter(name: str, env: Mapping[str, str]) -> str:
    """`name` if neither that path nor a program of that name on PATH exists, else ""."""
    places = [name] if "/" in name else [f"{entry or '.'}/{name}" for entry in search_path(env)]
    return "" if not name or any(os.access(place, os.X_OK) for place in places) else name


def obey(orders: ExecPlan) -> Refusal:
    """Carry out a plan; returns only where a step fails, with the reason."""
    for warning in orders.warnings:
        say(f"warning: {warning}")
    try:
        for directory in orders.directories:
            make_directory(directory, orders.account)
        if orders.account:
            become(orders.account)
        if orders.cwd:
            enter(orders.cwd)
        execute(orders)
    except CannotObey as exc:
        return exc.refusal


def make_directory(path: str, account: Account | None) -> None:
    """Make `path` for `account` where it is missing; what exists keeps its owner."""
    parent, name = os.path.split(path)
    try:
        if os.path.isdir(path):
            return
        os.makedirs(parent, exist_ok=True)
        # The workspace may belong to someone who swaps its parts for links: root follows none of them.
        at = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        os.mkdir(name, dir_fd=at)
        if account:
            os.chown(name, account.uid, account.gid, dir_fd=at, follow_symlinks=False)
        os.close(at)
    except FileExistsError:
        pass  # another claude-flow was faster
    except OSError as exc:
        cure = "make it yourself, or set HIVE_WORKSPACE to a place that can be written"
        raise CannotObey(f"cannot make {path}", exc, cure, EXIT_CANNOT_CREATE) from exc


def become(account: Account) -> None:
    """Give up root for good."""
    try:
        os.initgroups(account.name, account.gid)
        os.setgid(account.gid)
        os.setuid(account.uid)
    except OSError as exc:
        cure = "HIVE_USER=root stays root"
        raise CannotObey(f"cannot become {account.name}", exc, cure, EXIT_NOT_PERMITTED) from exc


def enter(cwd: str) -> None:
    """Go to `cwd` as the user that one has become, who must be able to write there."""
    try:
        os.chdir(cwd)
        if not os.access(cwd, os.W_OK):
            raise PermissionError(errno.EACCES, "not writable")
    except OSError as exc:
        cure = "chown it, or set HIVE_WORKSPACE to a place which that user can reach"
        raise CannotObey(f"uid {os.geteuid()} cannot use {cwd}", exc, cure, EXIT_NOT_PERMITTED) from exc


def execute(orders: ExecPlan) -> NoReturn:
    """Become the program."""
    # Python ignores these two, and what is ignored stays so across exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    program = orders.argv[0]
    try:
        os.execve(program, orders.argv, orders.env)
    except OSError as exc:
        code = EXIT_NOT_FOUND if isinstance(exc, FileNotFoundError) else EXIT_NOT_EXECUTABLE
        cure = f"try it as uid {os.geteuid()}, or set HIVE_CLAUDE_FLOW_BIN to one that runs"
        raise CannotObey(f"cannot run {program}", exc, cure, code) from exc


if __name__ == "__main__":
    sys.exit(main())
