"""Are the sessions as they should be: apart from each other, alive where they say so, readable, and listed?"""

import os
from collections.abc import Iterator

from hive_session import proctree
from hive_session.cleanup import carries_our_marker
from hive_session.doctor.finding import Finding, Patient
from hive_session.errors import HiveError
from hive_session.ondisk.layout import SWARM
from hive_session.ondisk.liveness import run_is_alive
from hive_session.reconcile import find_halves, find_orphaned, find_strays, remove_halves
from hive_session.stop import end_strays
from hive_session.store import Store


def holders(patient: Patient) -> Iterator[Finding]:
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


def shared_database(patient: Patient) -> Iterator[Finding]:
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


def database_links(patient: Patient) -> Iterator[Finding]:
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


def foreign_files(patient: Patient) -> Iterator[Finding]:
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


def strays(patient: Patient) -> Iterator[Finding]:
    for session_id, pids in find_strays(patient.store).items():
        yield Finding(
            check="orphans",
            level="problem",
            what=f"processes {', '.join(map(str, pids))} of session {session_id} outlived its run",
            mend=f"hive-session reconcile, or: kill {' '.join(map(str, pids))}",
            fix=lambda session_id=session_id: end_strays(session_id, 2.0),  # type: ignore[misc]
        )


def orphaned(patient: Patient) -> Iterator[Finding]:
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


def records(patient: Patient) -> Iterator[Finding]:
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


def index(patient: Patient) -> Iterator[Finding]:
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


def halves(patient: Patient) -> Iterator[Finding]:
    for path in find_halves(patient.store.layout):
        yield Finding(
            check="leftovers",
            level="warning",
            what=f"{path} was left by a create that was killed",
            mend="hive-session reconcile",
            fix=lambda: remove_halves(patient.store.layout),
        )


def database_health(patient: Patient) -> Iterator[Finding]:
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
