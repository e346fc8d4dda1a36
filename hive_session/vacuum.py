"""Each session's own databases made small again, one by one, none of them touched while anything could use it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from hive_session.durable import hold_run_lock
from hive_session.ondisk.layout import SessionPaths
from hive_session.store import Store

MAGIC = b"SQLite format 3\0"
PLACES = (".swarm", ".hive-mind", ".claude", ".")  # where claude-flow 2.x and 3.x keep databases, below the session


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """One database: its size before and after in bytes; `problem` where it could not be done."""

    session_id: str
    path: str
    before_bytes: int
    after_bytes: int
    problem: str | None = None


def vacuum_session(store: Store, session_id: str) -> Iterator[Vacuumed]:
    """Vacuum every database of an ended session; one that runs is left alone. run.lock is held meanwhile."""
    paths = store.paths(session_id)
    if not store.settled(session_id).terminal:
        return
    fd = hold_run_lock(paths.run_lock)
    if fd is None:
        return  # it was resumed just now
    try:
        for database in databases(paths):
            yield _vacuum(session_id, database)
    finally:
        os.close(fd)


def databases(paths: SessionPaths) -> list[str]:
    """The SQLite files of a session, known by their first bytes."""
    found = []
    for place in PLACES:
        directory = os.path.normpath(paths.at(place))
        names = os.listdir(directory) if os.path.isdir(directory) else []
        found += [f"{directory}/{name}" for name in sorted(names) if name.endswith(".db")]
    return [path for path in found if not os.path.islink(path) and _is_sqlite(path)]


def _is_sqlite(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _vacuum(session_id: str, path: str) -> Vacuumed:
    import sqlite3

    before = _size(path)
    try:
        connection = sqlite3.connect(path, timeout=1.0, isolation_level=None)
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("VACUUM")
        finally:
            connection.close()
    except sqlite3.Error as exc:
        return Vacuumed(session_id, path, before, _size(path), str(exc))
    return Vacuumed(session_id, path, before, _size(path))


def _size(path: str) -> int:
    """Bytes of a database with its write-ahead log."""
    return sum(os.path.getsize(path + end) for end in ("", "-wal") if os.path.exists(path + end))
