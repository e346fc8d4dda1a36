"""Checks of a workspace and its machine, each finding with the way to mend it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from hive_session import proctree
from hive_session.cleanup import carries_our_marker
from hive_session.config import Config
from hive_session.errors import BadConfig, HiveError
from hive_session.ondisk.home import acting_home
from hive_session.ondisk.layout import SWARM
from hive_session.ondisk.liveness import run_is_alive
from hive_session.programs import find_programs, has_login
from hive_session.reconcile import find_halves, find_orphaned, find_strays, remove_halves
from hive_session.rotate import can_collapse
from hive_session.stop import end_strays
from hive_session.store import Store

LOW_BYTES = 1 << 30
LOW_INODES = 10_000
PROBE = """
import fcntl, sys
file = open(sys.argv[1], "a")
try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(0)
sys.exit(1)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be. `level`: problem, or warning where work goes on all the same."""

    check: str
    level: str
    what: str
    mend: str
    fix: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined."""

    store: Store
    config: Config
    env: Mapping[str, str]


def examine(patient: Patient) -> Iterator[Finding]:
    """All findings of all checks."""
    for check in CHECKS:
        try:
            yield from check(patient)
        except BadConfig as exc:
            yield Finding(
                check=check.__name__.strip("_"), level="problem", what=exc.what, mend=exc.hint or "correct it"
            )
        except OSError as exc:
            yield Finding(
                check=check.__name__.strip("_"),
                level="problem",
                what=f"cannot be checked: {exc}",
                mend="run as the user who owns the workspace",
            )


def _directories(patient: Patient) -> Iterator[Finding]:
    layout = patient.store.layout
    for path in (layout.workspace, layout.sessions, layout.output_root, layout.log_dir):
        if not os.path.isdir(path):
            yield Finding(
                check="directories",
                level="problem",
                what=f"{path} does not exist",
                mend="hive-session init",
                fix=lambda path=path: os.makedirs(path, exist_ok=True),  # type: ignore[misc]
            )
        elif not os.access(path, os.W_OK):
            yield Finding(
                check="directories",
                level="problem",
                what=f"{path} is not writable for this user",
                mend=f"chown it to the user who runs sessions, or set HIVE_WORKSPACE (now {layout.workspace})",
            )


def _locks(patient: Patient) -> Iterator[Finding]:
    """Two processes, one lock: on some network filesystems both would get it."""
    directory = patient.store.layout.sessions
    if not os.path.isdir(directory) or not os.access(directory, os.W_OK):
        return
    import fcntl

    path = f"{directory}/.lock-probe-{os.getpid()}"
    with open(path, "a", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            done = subprocess.run([sys.executable, "-I", "-S", "-c", PROBE, path], check=False, timeout=30)
        finally:
            os.unlink(path)
    if done.returncode != 0:
        yield Finding(
            check="locks",
            level="problem",
            what=f"locks do not lock on the filesystem of {directory}: two processes got one lock",
            mend="move HIVE_WORKSPACE to a local filesystem, or mount this one with locking",
        )


def _holders(patient: Patient) -> Iterator[Finding]:
    layout = patient.store.layout
    paths = {layout.index_lock: "index lock"}
    paths |= {patient.store.paths(each).lock: f"record lock of {each}" for each in patient.store.session_ids()}
    holders = _flock_holders()
    for path, name in paths.items():
        try:
            info = os.stat(path)
        except FileNotFoundError:
            continue
        pid = holders.get((os.major(info.st_dev), os.minor(info.st_dev), info.st_ino))
        if pid is not None and _holds_for(pid, path):
            yield Finding(
                check="lock holders",
                level="warning",
                what=f"process {pid} holds the {name}",
                mend="a writer holds it for milliseconds; if it stays, look at that process and end it",
            )


def _flock_holders() -> dict[tuple[int, int, int], int]:
    """(major, minor, inode) -> pid of each flock on this machine (/proc/locks)."""
    found = {}
    for line in proctree.read_proc("/proc/locks").decode().splitlines():
        words = line.split()
        if len(words) > 5 and words[1] == "FLOCK" and words[4].isdigit():
            major, minor, inode = words[5].split(":")
            found[int(major, 16), int(minor, 16), int(inode)] = int(words[4])
    return found


def _holds_for(pid: int, path: str) -> bool:
    """Still there after a moment, so not just a writer at work."""
    import time

    time.sleep(0.2)
    info = os.stat(path)
    return _flock_holders().get((os.major(info.st_dev), os.minor(info.st_dev), info.st_ino)) == pid


def _shared_database(patient: Patient) -> Iterator[Finding]:
    path = patient.store.layout.shared_database
    if os.path.exists(path):
        yield Finding(
            check="isolation",
            level="problem",
            what=f"{path} exists: something ran claude-flow in the workspace itself, and everything there shares it",
            mend=f"find who starts claude-flow there; then: rm {path}*  (--fix moves it aside)",
            fix=lambda: _set_aside(path),
        )


def _set_aside(path: str) -> None:
    for end in ("", "-wal", "-shm", "-journal"):
        if os.path.exists(path + end):
            os.rename(path + end, f"{path}.set-aside{end}")


def _database_links(patient: Patient) -> Iterator[Finding]:
    seen: dict[tuple[int, int], str] = {}
    for session_id in patient.store.session_ids():
        paths = patient.store.paths(session_id)
        for path in (paths.dir, paths.at(SWARM), paths.database):
            if not os.path.lexists(path):
                continue
            info = os.lstat(path)
            twin = seen.setdefault((info.st_dev, info.st_ino), path)
            if os.path.islink(path) or twin != path:
                what = f"{path} is a link" if os.path.islink(path) else f"{path} and {twin} are one file"
                yield Finding(
                    check="isolation",
                    level="problem",
                    what=what,
                    mend="a session needs a directory and database of its own",
                )


def _foreign_files(patient: Patient) -> Iterator[Finding]:
    """A process of one session with a file of another one open."""
    root = patient.store.layout.sessions + "/"
    for pid, session_id in proctree.sessions_by_pid().items():
        try:
            targets = {os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")}
        except OSError:
            continue
        for target in sorted(targets):
            if target.startswith(root) and target.endswith(".db") and target[len(root) :].split("/")[0] != session_id:
                yield Finding(
                    check="isolation",
                    level="problem",
                    what=f"process {pid} of session {session_id} has {target} open, a database of another session",
                    mend=f"hive-session stop {session_id}",
                )


def _strays(patient: Patient) -> Iterator[Finding]:
    for session_id, pids in find_strays(patient.store).items():
        yield Finding(
            check="orphans",
            level="problem",
            what=f"processes {', '.join(map(str, pids))} of session {session_id} outlived its run",
            mend=f"hive-session reconcile, or: kill {' '.join(map(str, pids))}",
            fix=lambda session_id=session_id: end_strays(session_id, 2.0),  # type: ignore[misc]
        )


def _orphaned(patient: Patient) -> Iterator[Finding]:
    for session_id, pids in find_orphaned(patient.store, list(_running(patient.store))).items():
        yield Finding(
            check="orphans",
            level="warning",
            what=f"session {session_id} goes on without runner and witness (processes {', '.join(map(str, pids))})",
            mend=f"wait for its end, whose exit code nobody will know, or: hive-session stop {session_id}",
        )


def _running(store: Store) -> Iterator[str]:
    """Sessions whose run is alive; their rows are not asked, which would repair what is to be found."""
    for session_id in store.session_ids():
        if run_is_alive(store.paths(session_id).run_lock):
            yield session_id


def _zombies(patient: Patient) -> Iterator[Finding]:
    for name in os.listdir("/proc"):
        if name.isdigit() and proctree.is_zombie(int(name)) and _is_own(int(name)):
            parent = proctree.parent_of(int(name))
            yield Finding(
                check="zombies",
                level="warning",
                what=f"process {name} has ended and process {parent} has not noticed",
                mend=f"it goes when {parent} collects it or ends; as process 1 use an init that reaps (supervisord does)",
            )


def _is_own(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}").st_uid == os.geteuid()
    except FileNotFoundError:  # collected meanwhile
        return False


def _records(patient: Patient) -> Iterator[Finding]:
    store = patient.store
    for session_id in store.session_ids():
        try:
            record = store.read(session_id)
        except HiveError as exc:
            yield Finding(
                check="records",
                level="problem",
                what=exc.what,
                mend="restore session.json from a backup, or remove the directory",
            )
            continue
        dead = record.status in ("starting", "running") and not record.external
        if dead and not run_is_alive(store.paths(session_id).run_lock):
            yield Finding(
                check="records",
                level="problem",
                what=f"{session_id} says {record.status}, but nothing of it runs",
                mend="hive-session reconcile",
                fix=lambda session_id=session_id: store.settled(session_id),  # type: ignore[misc]
            )
        if not carries_our_marker(store.paths(session_id)):
            yield Finding(
                check="records",
                level="warning",
                what=f"{store.paths(session_id).dir} is not a directory that cleanup would remove",
                mend="look what put it there",
            )


def _index(patient: Patient) -> Iterator[Finding]:
    store = patient.store
    difference = store.compare_index()
    if difference:
        yield Finding(
            check="index",
            level="problem",
            what=f"index.json and the sessions are apart: {difference}",
            mend="hive-session reindex",
            fix=store.rebuild_index,
        )


def _halves(patient: Patient) -> Iterator[Finding]:
    for path in find_halves(patient.store.layout):
        yield Finding(
            check="leftovers",
            level="warning",
            what=f"{path} was left by a create that was killed",
            mend="hive-session reconcile",
            fix=lambda: remove_halves(patient.store.layout),
        )


def _programs(patient: Patient) -> Iterator[Finding]:
    programs = find_programs(patient.config, patient.env)
    missing = {
        "claude-flow": (programs.claude_flow, "bin/setup installs it where npm is; or set HIVE_CLAUDE_FLOW_BIN"),
        "Claude Code": (programs.claude, "npm install -g @anthropic-ai/claude-code; or set HIVE_CLAUDE_BIN"),
    }
    for name, (path, mend) in missing.items():
        if path is None:
            yield Finding(check="programs", level="warning", what=f"{name} is not installed", mend=mend)
        elif not os.access(path, os.X_OK):
            yield Finding(check="programs", level="problem", what=f"{name}: {path} is not executable", mend=mend)
    if not has_login(patient.env, acting_home(patient.env)):
        yield Finding(
            check="programs",
            level="warning",
            what="nobody is logged in to Claude Code and ANTHROPIC_API_KEY is not set",
            mend="run claude once and log in, or set ANTHROPIC_API_KEY; agent rehearsal needs neither",
        )
    if os.geteuid() == 0:
        yield Finding(
            check="programs",
            level="warning",
            what="agents would run as root, which Claude Code refuses",
            mend="set HIVE_USER to another user",
        )


def _supervision(patient: Patient) -> Iterator[Finding]:
    """What supervisord would refuse, or silently take, of its files."""
    from hive_session.suite.configuration import find_flaws
    from hive_session.suite.instance import last_ports, resolve_suite

    suite = resolve_suite(patient.env)
    for flaw in find_flaws(suite.conf, suite.environment(last_ports(suite))):
        yield Finding(check="supervision", level=flaw.level, what=f"{flaw.where}: {flaw.what}", mend=flaw.mend)


def _room(patient: Patient) -> Iterator[Finding]:
    layout = patient.store.layout
    for path in (layout.sessions, layout.output_root, layout.log_dir):
        if not os.path.isdir(path):
            continue
        stat = os.statvfs(path)
        free = stat.f_bavail * stat.f_frsize
        if free < LOW_BYTES:
            yield Finding(
                check="room",
                level="problem" if free < LOW_BYTES // 10 else "warning",
                what=f"{free >> 20} MiB are free at {path}",
                mend="hive-session cleanup --dry-run shows what could go",
            )
        if stat.f_files and stat.f_favail < LOW_INODES:
            yield Finding(
                check="room",
                level="warning",
                what=f"{stat.f_favail} inodes are free at {path}",
                mend="hive-session cleanup --dry-run shows what could go",
            )


def _log_filesystem(patient: Patient) -> Iterator[Finding]:
    path = patient.store.layout.log_dir
    if os.path.isdir(path) and os.access(path, os.W_OK) and not can_collapse(path):
        yield Finding(
            check="logs",
            level="warning",
            what=f"files at {path} cannot lose their head (tmpfs, network): each run gets a log pump, about 4 MB more",
            mend="set HIVE_LOG_DIR to an ext4 or xfs directory",
        )


def _database_health(patient: Patient) -> Iterator[Finding]:
    import sqlite3

    for session_id in patient.store.session_ids():
        path = patient.store.paths(session_id).database
        if not os.path.exists(path) or run_is_alive(patient.store.paths(session_id).run_lock):
            continue
        try:
            connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0.5)
            try:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            finally:
                connection.close()
        except sqlite3.Error as exc:
            yield Finding(
                check="databases", level="warning", what=f"{path}: {exc}", mend="restore it, or resume without it"
            )


CHECKS = (
    _directories,
    _locks,
    _holders,
    _shared_database,
    _database_links,
    _foreign_files,
    _strays,
    _orphaned,
    _zombies,
    _records,
    _index,
    _halves,
    _programs,
    _supervision,
    _room,
    _log_filesystem,
    _database_health,
)
