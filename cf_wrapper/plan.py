"""Decides how claude-flow runs: as whom, where, with which environment, or why it does not; touches nothing.

Rules for this file: it imports nothing, because it runs before every claude-flow; what it needs to know about
the world arrives as arguments (`Facts`), where a path is real when its symlinks are resolved.
The workspace rules repeat those of `hive_session.ondisk.layout`; a contract test holds both equal.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the milliseconds that importing typing costs
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

CONTAINER_WORKSPACE = "/workspace"  # taken where it exists: the container's mount point
SWARM = ".swarm"
ROOT_INSTANCE = "root-cli-instance"
DEFAULT_USER = "dev"
CONFIGURED_PROGRAM = "HIVE_CLAUDE_FLOW_BIN"

# What keeps claude-flow within its directory and still; each read in the sources of 3.43.0.
SWITCHES = {
    "RUFLO_DAEMON_AUTOSTART": "0",  # no daemon that detaches itself and outlives whoever stops claude-flow
    "RUFLO_FUNNEL": "0",  # no messages from, and no events to, its maker's server
    "CLAUDE_FLOW_AUTO_UPDATE": "false",  # no registry look-up, no update of itself
}
STATE_DIRECTORY = "RUFLO_STATE_DIR"  # ~/.ruflo unless set: shared by all sessions of a user
# They move only half of claude-flow's state away from its current directory, so they are never passed on.
RELOCATIONS = ("CLAUDE_FLOW_CWD", "CLAUDE_FLOW_DB_PATH", "CLAUDE_FLOW_MEMORY_PATH")
DATABASE_FILE = "CLAUDE_FLOW_DB_PATH"  # the one of them that names a file; the others name directories
PASSED_BY = "HIVE_CF_WRAPPER"  # the process that this wrapper last became claude-flow in: finds loops

EXIT_CANNOT_CREATE = 73  # EX_CANTCREAT
EXIT_NOT_PERMITTED = 77  # EX_NOPERM
EXIT_FORBIDDEN = 78  # EX_CONFIG: a forbidden place or a wrong setting
EXIT_NOT_EXECUTABLE = 126  # as a shell says it
EXIT_NOT_FOUND = 127


class Refusal:
    """Why claude-flow does not run, in one line that says what to do, and the exit code for it."""

    __slots__ = ("exit_code", "why")

    def __init__(self, why: str, exit_code: int) -> None:
        self.why = why
        self.exit_code = exit_code


class Account:
    """A user that claude-flow can run as: a line of the password database."""

    __slots__ = ("gid", "home", "name", "uid")

    def __init__(self, name: str, uid: int, gid: int, home: str) -> None:
        self.name = name
        self.uid = uid
        self.gid = gid
        self.home = home


class Program:
    """A file that may be the real claude-flow, as found on disk."""

    __slots__ = ("executable", "missing_interpreter", "ours", "path")

    def __init__(self, path: str, *, executable: bool, ours: bool, missing_interpreter: str) -> None:
        self.path = path
        self.executable = executable
        self.ours = ours  # this wrapper under another name, or a copy of it
        self.missing_interpreter = missing_interpreter  # what its first line asks for and nobody has, else ""


class ExecPlan:
    """What to do, in this order: warn, make `directories`, become `account`, go to `cwd`, exec `argv`."""

    __slots__ = ("account", "argv", "cwd", "directories", "env", "warnings")

    def __init__(
        self,
        argv: tuple[str, ...],
        env: dict[str, str],
        *,
        cwd: str | None = None,
        account: Account | None = None,
        directories: tuple[str, ...] = (),
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.argv = argv  # argv[0] is the absolute path of the program
        self.env = env  # the whole environment of claude-flow
        self.cwd = cwd  # None: stay
        self.account = account  # None: stay the caller
        self.directories = directories  # made where missing, outermost first, for `account`
        self.warnings = warnings  # one line each


class Facts:
    """All that the decision depends on; see the comments for what each one is."""

    __slots__ = (
        "account",
        "args",
        "cwd",
        "env",
        "existing",
        "process",
        "program",
        "session",
        "shared",
        "targets",
        "uid",
        "workspace",
    )

    def __init__(
        self,
        *,
        uid: int,
        cwd: str,
        args: tuple[str, ...],
        env: Mapping[str, str],
        workspace: str,
        shared: tuple[str, ...],
        session: str | None,
        targets: Mapping[str, str],
        existing: tuple[str, ...],
        account: Account | Refusal | None,
        program: str | Refusal,
        process: str,
    ) -> None:
        self.uid = uid
        self.cwd = cwd  # "" when the directory has been removed under the caller
        self.args = args  # without argv[0]
        self.env = env
        self.workspace = workspace  # as configured, symlinks and all
        self.shared = shared  # the real paths of `shared_places(workspace)`
        self.session = session  # the directory of the session that this process belongs to
        self.targets = targets  # for each of RELOCATIONS that is set: the directory where it puts state
        self.existing = existing  # those of `relative_paths(args)` that exist in cwd
        self.account = account  # from `choose_account`
        self.program = program  # from `choose_program`
        self.process = process  # identifies this process for as long as the machine is up


def default_workspace(env: Mapping[str, str], home: str, exists: Callable[[str], bool]) -> str:
    """The workspace directory: HIVE_WORKSPACE, else /workspace where it exists, else ~/.local/state/hive."""
    chosen = env.get("HIVE_WORKSPACE", "")
    if chosen:
        return chosen.rstrip("/") or "/"
    return CONTAINER_WORKSPACE if exists(CONTAINER_WORKSPACE) else f"{home}/.local/state/hive"


def root_instance(workspace: str) -> str:
    """The directory that root's claude-flow runs in."""
    return f"{workspace}/{SWARM}/{ROOT_INSTANCE}"


def shared_places(workspace: str) -> tuple[str, str]:
    """The two directories where nothing may keep a database, because everybody would share it."""
    return workspace, f"{workspace}/{SWARM}"


def session_directory(workspace: str, env: Mapping[str, str]) -> str | None:
    """The directory of the session that HIVE_SESSION_ID names; None without one."""
    session_id = env.get("HIVE_SESSION_ID", "")
    if not session_id or "/" in session_id or session_id.startswith("."):
        return None
    return f"{workspace}/{SWARM}/sessions/{session_id}"


def relocation_directories(env: Mapping[str, str], resolve: Callable[[str], str]) -> dict[str, str]:
    """For each of RELOCATIONS that is set, the directory in which claude-flow would keep state because of it.

    `resolve` makes a path absolute and real.
    """
    named = {name: resolve(env[name]) for name in RELOCATIONS if env.get(name, "").strip()}
    if DATABASE_FILE in named:
        named[DATABASE_FILE] = named[DATABASE_FILE].rpartition("/")[0] or "/"
    return named


def relative_paths(args: Sequence[str]) -> list[str]:
    """The arguments, or their parts after `=`, that would be relative paths if they are paths at all.

    A first argument that is no option is claude-flow's command, never a path.
    """
    rest = args if args and args[0].startswith("-") else args[1:]
    values = [arg.partition("=")[2] if arg.startswith("-") else arg for arg in rest]
    return [value for value in values if value and not value.startswith("/")]


def choose_account(env: Mapping[str, str], find: Callable[[str], Account | None]) -> Account | Refusal | None:
    """The user that root's claude-flow runs as: HIVE_USER, else `dev`; None where there is no `dev`."""
    wanted = env.get("HIVE_USER", "")
    account = find(wanted or DEFAULT_USER)
    if account is None and wanted:
        return Refusal(f"HIVE_USER: there is no user {wanted!r} (create it, or name one that exists)", EXIT_FORBIDDEN)
    return account


def candidate_programs(env: Mapping[str, str], prefix: str) -> tuple[str, ...] | Refusal:
    """Where the real claude-flow may be, best first; all absolute. `prefix` is Python's sys.prefix."""
    configured = env.get(CONFIGURED_PROGRAM, "")
    if configured and not configured.startswith("/"):
        return Refusal(f"{CONFIGURED_PROGRAM}: {configured!r} is not an absolute path", EXIT_FORBIDDEN)
    if configured:
        return (configured,)
    installed = f"{prefix}/node/node_modules/claude-flow/bin"  # by bin/setup; cli.js in 3.x, claude-flow.js in 2.x
    on_path = [f"{entry}/claude-flow" for entry in search_path(env) if entry.startswith("/")]
    return (f"{installed}/cli.js", f"{installed}/claude-flow.js", *on_path)


def search_path(env: Mapping[str, str]) -> list[str]:
    """The directories of PATH, in order."""
    return env.get("PATH", "/usr/bin:/bin").split(":")


def interpreter(head: bytes) -> str:
    """The program that a script's `#!` line asks for, by path, or by name after `env`; "" for no script."""
    if not head.startswith(b"#!"):
        return ""
    words = [word.decode("utf-8", "surrogateescape") for word in head[2:].partition(b"\n")[0].split()]
    if words and words[0].endswith("/env"):
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return words[0] if words else ""


def is_usable(program: Program) -> bool:
    """True for a program that ends the search."""
    return program.executable and not program.ours


def choose_program(env: Mapping[str, str], found: Iterable[Program]) -> str | Refusal:
    """The absolute path of the real claude-flow among `found`, which is in order of preference."""
    programs = list(found)
    for program in programs:
        if not is_usable(program):
            continue
        if program.missing_interpreter:
            needed = f"{program.path} needs {program.missing_interpreter}, which is not there"
            return Refusal(f"{needed} (install Node.js 20 or later, or put it on PATH)", EXIT_NOT_FOUND)
        return program.path
    return _no_program(env.get(CONFIGURED_PROGRAM, ""), programs)


def _no_program(configured: str, programs: list[Program]) -> Refusal:
    for program in programs:
        if not program.executable:
            return Refusal(f"{program.path} is not an executable file (chmod +x it)", EXIT_NOT_EXECUTABLE)
    if programs and configured:
        return Refusal(f"{CONFIGURED_PROGRAM}: {configured} is this wrapper (name the real program)", EXIT_FORBIDDEN)
    if configured:
        return Refusal(f"{CONFIGURED_PROGRAM}: {configured} does not exist", EXIT_NOT_FOUND)
    cure = f"run bin/setup with npm installed, or set {CONFIGURED_PROGRAM}"
    return Refusal(f"the real claude-flow is not installed ({cure})", EXIT_NOT_FOUND)


def plan(facts: Facts) -> ExecPlan | Refusal:
    """How to run claude-flow, or why not; `__main__` obeys.

    Root is moved to `root_instance` and becomes `facts.account`; everybody else runs where they stand, except
    in a shared place. Root inside its own session stays, too: who started that decided where and as whom.
    """
    if facts.env.get(PASSED_BY) == facts.process:
        cure = f"set {CONFIGURED_PROGRAM} to the real program"
        return Refusal(f"the claude-flow it found leads back to this wrapper ({cure})", EXIT_FORBIDDEN)
    if not facts.workspace.startswith("/"):
        return Refusal(f"HIVE_WORKSPACE: {facts.workspace!r} is not an absolute path", EXIT_FORBIDDEN)
    if facts.uid == 0 and not _is_inside(facts.cwd, facts.session):
        return _plan_for_root(facts)
    return _plan_in_place(facts)


def _is_inside(path: str, directory: str | None) -> bool:
    return directory is not None and f"{path}/".startswith(f"{directory}/")


def _plan_in_place(facts: Facts) -> ExecPlan | Refusal:
    if not facts.cwd:
        return Refusal("the current directory has been removed (cd into one that exists)", EXIT_FORBIDDEN)
    offence = _shared_place(facts)
    if offence:
        cure = "cd into a directory of your own below it, or use hive-session"
        return Refusal(f"{offence}, where everybody would share one database ({cure})", EXIT_FORBIDDEN)
    if isinstance(facts.program, Refusal):
        return facts.program
    env = _claude_flow_env(facts, facts.cwd)
    return ExecPlan((facts.program, *facts.args), env, warnings=_dropped_variables(facts))


def _shared_place(facts: Facts) -> str:
    """How the caller would put state into a shared place; "" when it would not."""
    if facts.cwd in facts.shared:
        return f"refusing to run in {facts.cwd}"
    for name, directory in facts.targets.items():
        if directory in facts.shared:
            return f"refusing to run with {name} pointing into {directory}"
    return ""


def _plan_for_root(facts: Facts) -> ExecPlan | Refusal:
    if isinstance(facts.account, Refusal):
        return facts.account
    if isinstance(facts.program, Refusal):
        return facts.program
    cwd = root_instance(facts.workspace)
    env = _claude_flow_env(facts, cwd)
    # Who runs claude-flow again from in there must find the same workspace, though HOME has changed.
    env.update({"HIVE_WORKSPACE": facts.workspace, "PWD": cwd})
    account = facts.account if facts.account and facts.account.uid != 0 else None
    if account:
        env.update({"HOME": account.home, "USER": account.name, "LOGNAME": account.name})
    return ExecPlan(
        (facts.program, *facts.args),
        env,
        cwd=cwd,
        account=account,
        # Not the real path of .swarm: root must not follow a link that somebody else may have put there.
        directories=(*shared_places(facts.shared[0]), root_instance(facts.shared[0])),
        warnings=_warnings_for_root(facts, cwd),
    )


def _warnings_for_root(facts: Facts, cwd: str) -> tuple[str, ...]:
    warnings = []
    if facts.account is None:
        warnings.append(f"there is no user {DEFAULT_USER!r}, so claude-flow runs as root (set HIVE_USER)")
    if facts.existing:
        named = ", ".join(repr(path) for path in facts.existing)
        warnings.append(f"root's claude-flow runs in {cwd}: {named} means another file there (give absolute paths)")
    return (*warnings, *_dropped_variables(facts))


def _dropped_variables(facts: Facts) -> tuple[str, ...]:
    reason = "it would move only a part of claude-flow's state away from its directory"
    return tuple(f"{name} is ignored: {reason}" for name in facts.targets)


def _claude_flow_env(facts: Facts, cwd: str) -> dict[str, str]:
    env = {name: value for name, value in facts.env.items() if name not in RELOCATIONS}
    env.update(SWITCHES)
    env.update({STATE_DIRECTORY: f"{cwd}/.ruflo", PASSED_BY: facts.process})
    return env
