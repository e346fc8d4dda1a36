"""What a session's agents have written into claude-flow's databases, read without writing, locking out or waiting for anybody."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hive_session.ondisk.records import format_time, parse_time
from mcp_tcp.tools import ToolError

if TYPE_CHECKING:
    from sqlite3 import Connection

MEMORY = ".swarm/memory.db"
HIVE = ".hive-mind/hive.db"
BUSY_S = 0.25  # a worker thread of the server waits no longer than this for the owner of a lock
MAX_VALUE_BYTES = 4096
MAX_NAME_CHARS = 512  # of a key, a namespace, a type
MAX_NAMESPACES = 100
STEPS = 100_000  # instructions of SQLite's machine between two looks at how many there were
MAX_LOOKS = 500  # some seconds: a database may hold more than it should, or a view that never ends
MAX_SECONDS = 1e11  # a time beyond it is in milliseconds: claude-flow 2 counts seconds, 3 milliseconds

SECRET = r"hive_?token|auth_?token|access_?token|refresh_?token|api_?key|secret|passw(?:or)?d|private_?key|credential"
SECRET_KEY = re.compile(rf"{SECRET}|\A(?:.*[^a-z])?token\Z", re.IGNORECASE | re.DOTALL)
SECRET_MEMBER = re.compile(
    rf'("(?:[^"\\]*(?:{SECRET})[^"\\]*|token)"\s*:\s*)"(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.IGNORECASE
)
WITHHELD = "[withheld]"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which entries are asked for; None: any. Texts are compared as they are, `search` without regard to ASCII case."""

    namespace: str | None = None
    prefix: str | None = None  # of the key
    search: str | None = None  # in key or value
    limit: int = 50


@dataclass(slots=True)
class Found:
    """What the databases of a session hold."""

    databases: list[str] = field(default_factory=list)  # those that exist, by their paths in the session's directory
    entries: list[Row] = field(default_factory=list)  # the newest of each database first
    namespaces: dict[str, int] = field(default_factory=dict)  # how many entries each has, wanted or not
    more: bool = False  # the limit left some out


def read_memory(directory: str, wanted: Wanted) -> Found:
    """The wanted entries of both generations' databases in a session's directory; no database is no error.

    Raises: ToolError for one that is locked, damaged, encrypted, foreign, or cannot be read without writing.
    """
    found = Found()
    for name, table in ((MEMORY, "memory_entries"), (HIVE, "collective_memory")):
        path = f"{directory}/{name}"
        if not os.path.lexists(path):
            continue
        with _reading(path, name) as database:
            found.databases.append(name)
            _read_table(database, name, table, wanted, found)
    return found


def _read_table(database: Connection, name: str, table: str, wanted: Wanted, found: Found) -> None:
    columns = {row[1].lower() for row in database.execute(f"PRAGMA table_info({table})")}
    value = next((column for column in ("content", "value") if column in columns), None)
    if "key" not in columns or value is None:
        if name == MEMORY and database.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            raise ToolError(
                f"{name} is a database, but not claude-flow's: it has no table {table} with keys and values"
            )
        return
    room = wanted.limit - len(found.entries)
    query, parameters = _select(table, value, columns, wanted, room + 1)
    rows = [_entry(name, row) for row in database.execute(query, parameters)]
    found.more = found.more or len(rows) > room
    found.entries += rows[:room]
    if "namespace" in columns:
        space = f"substr(CAST(namespace AS TEXT), 1, {MAX_NAME_CHARS})"
        count = f"SELECT {space}, count(*) FROM {table} GROUP BY 1 ORDER BY 2 DESC LIMIT {MAX_NAMESPACES}"
        found.namespaces.update((label or "", number) for label, number in database.execute(count))


def _select(table: str, value: str, columns: set[str], wanted: Wanted, limit: int) -> tuple[str, list[Any]]:
    """The query for the rows that `_entry` takes, and its parameters. Names come from here alone, never from outside."""

    def has(column: str) -> str:
        return column if column in columns else "NULL"

    def name(column: str) -> str:
        return f"substr(CAST({has(column)} AS TEXT), 1, {MAX_NAME_CHARS})"

    text = f"CASE typeof({value}) WHEN 'blob' THEN NULL ELSE CAST({value} AS TEXT) END"
    conditions: list[str] = []
    parameters: list[Any] = []
    if wanted.namespace is not None:
        conditions.append(f"{has('namespace')} = ?")
        parameters.append(wanted.namespace)
    if wanted.prefix is not None:
        conditions.append("substr(key, 1, length(?)) = ?")
        parameters += [wanted.prefix, wanted.prefix]
    if wanted.search is not None:
        conditions.append(f"(instr(lower(key), lower(?)) OR instr(lower({text}), lower(?)))")
        parameters += [wanted.search, wanted.search]
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    order = next((column for column in ("updated_at", "created_at") if column in columns), "key")
    return (
        f"SELECT {name('key')}, {name('namespace')}, substr({text}, 1, {MAX_VALUE_BYTES + 1}), {name('type')},"
        f" {name('status')}, {has('created_at')}, {has('updated_at')}, {has('expires_at')}"
        f" FROM {table} {where} ORDER BY {order} DESC LIMIT {limit}"
    ), parameters


def _entry(source: str, row: tuple[Any, ...]) -> Row:
    """One row as it is told: the value cut, secrets withheld, times in words."""
    key, namespace, value, kind, status, created, updated, expires = row
    withheld = value is not None and SECRET_KEY.search(key or "") is not None
    if withheld:
        value = WITHHELD
    cut = False
    if value is not None:
        raw = SECRET_MEMBER.sub(rf'\1"{WITHHELD}"', value).encode("utf-8", "replace")
        cut = len(raw) > MAX_VALUE_BYTES
        value = raw[:MAX_VALUE_BYTES].decode("utf-8", "ignore") + ("…" if cut else "")
    return {
        "source": source,
        "namespace": namespace,
        "key": key,
        "value": value,
        "cut": cut,
        "withheld": withheld,
        "type": kind,
        "status": status,
        "created": _time(created),
        "updated": _time(updated),
        "expires": _time(expires),
    }


def _time(value: Any) -> str | None:
    """A time of any generation: Unix seconds or milliseconds, or SQLite's text in UTC."""
    seconds = parse_time(value) if isinstance(value, str) else value
    if not isinstance(seconds, (int, float)):
        return None
    try:
        return format_time(seconds / 1000 if seconds > MAX_SECONDS else seconds, millis=True)
    except (OverflowError, ValueError, OSError):
        return None


# -- opening -------------------------------------------------------------------------------------------------------------


@contextmanager
def _reading(path: str, name: str) -> Iterator[Connection]:
    """A connection that cannot write. Raises: ToolError for all that SQLite may say, in words.

    A database in WAL mode whose owners have closed it has no -wal file. mode=ro makes one, and a -shm, and leaves both
    behind (SQLite 3.40): then the one file is all there is, and is read as immutable, which touches nothing. immutable
    also means no locks, so what was read counts only if the file is the same afterwards and still has no -wal. Where
    there is a -wal, its owner is at work or died: mode=ro reads it, and makes the -shm again if that is missing.
    """
    import sqlite3  # these two here, not above: 1 MB that a server may never need
    from urllib.parse import quote

    rest = _resting(path, name)
    uri = f"file:{quote(os.fsencode(path))}?mode=ro{'&immutable=1' if rest else ''}"
    try:
        database = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
        try:
            _tame(database)
            yield database
        finally:
            database.close()
    except sqlite3.Error as exc:
        raise ToolError(_words(name, getattr(exc, "sqlite_errorname", ""), str(exc))) from None
    if rest and rest != _resting(path, name):
        raise ToolError(f"{name} was written to while it was read; try again")


def _tame(database: Connection) -> None:
    """Let nothing in a foreign file act: no writing, no functions called from a view, no query without end."""
    looks = iter(range(MAX_LOOKS))
    database.set_progress_handler(lambda: int(next(looks, None) is None), STEPS)
    database.text_factory = lambda raw: raw.decode("utf-8", "replace")
    database.execute("PRAGMA query_only = ON")
    database.execute("PRAGMA trusted_schema = OFF")


def _resting(path: str, name: str) -> tuple[int, ...] | None:
    """What tells whether a database in WAL mode that nobody has open was changed; None for any other database."""
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):  # opening a pipe would wait for ever
            raise ToolError(f"{name} is not a file")
        with open(path, "rb") as file:
            header = file.read(20)
    except OSError as exc:
        raise ToolError(f"{name} cannot be read: {exc.strerror}") from None
    if header[18:20] != b"\x02\x02" or os.path.exists(f"{path}-wal"):  # both format versions say WAL
        return None
    return info.st_ino, info.st_size, info.st_mtime_ns


def _words(name: str, code: str, text: str) -> str:
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")):
        return f"{name} is busy: its owner holds a lock on it; try again"
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
        return f"{name} cannot be read without writing: its last writer has to open it once more ({text})"
    if code == "SQLITE_INTERRUPT":
        return f"{name} is too large to be searched like this; ask for a namespace or the beginning of a key"
    return f"{name} cannot be read: damaged, encrypted, no database, or just being rewritten ({text}); try again"
