"""session_memory: what agents stored in the databases of both generations of claude-flow, read without leaving a trace."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_tcp.memory import HIVE, MEMORY, Found, Wanted, read_memory
from mcp_tcp.tools import ToolError

# As claude-flow 3.43, claude-flow 2.7 and the hive-mind of 2.7 create them.
NEWER = """CREATE TABLE memory_entries (id TEXT PRIMARY KEY, key TEXT NOT NULL, namespace TEXT DEFAULT 'default',
 content TEXT NOT NULL, type TEXT DEFAULT 'semantic', embedding TEXT, embedding_model TEXT DEFAULT 'local', tags TEXT,
 metadata TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, expires_at INTEGER, status TEXT DEFAULT 'active');
 CREATE TABLE patterns (id TEXT PRIMARY KEY, name TEXT)"""
OLDER = """CREATE TABLE memory_entries (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, value TEXT NOT NULL,
 namespace TEXT NOT NULL DEFAULT 'default', metadata TEXT, created_at INTEGER, updated_at INTEGER, accessed_at INTEGER,
 access_count INTEGER DEFAULT 0, ttl INTEGER, expires_at INTEGER, UNIQUE(key, namespace))"""
COLLECTIVE = """CREATE TABLE swarms (id TEXT PRIMARY KEY); CREATE TABLE collective_memory (id TEXT PRIMARY KEY, swarm_id TEXT,
 key TEXT NOT NULL, value TEXT, type TEXT DEFAULT 'knowledge', confidence REAL DEFAULT 1.0, created_by TEXT,
 created_at DATETIME DEFAULT CURRENT_TIMESTAMP, accessed_at DATETIME)"""
AT_MS = 1_795_340_188_232
AT = "2026-11-22T09:36:28.232+00:00"


def database(directory: Path, name: str, schema: str) -> sqlite3.Connection:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(schema)
    return connection


def store(
    connection: sqlite3.Connection, key: str, content: object, namespace: str = "default", at: int = AT_MS
) -> None:
    connection.execute(
        "INSERT INTO memory_entries (id, key, namespace, content, embedding, created_at, updated_at) VALUES (?,?,?,?,?,?,?)",
        (f"{namespace}/{key}", key, namespace, content, "[0.25, 0.5]", at, at),
    )


def files(directory: Path) -> dict[str, tuple[int, int]]:
    """Everything in it, with size and time of the last change."""
    return {
        str(path.relative_to(directory)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in directory.rglob("*")
    }


def keys(found: Found) -> list[str]:
    return [entry["key"] for entry in found.entries]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "session"
    directory.mkdir()
    return directory


@pytest.fixture
def newer(home: Path) -> Iterator[sqlite3.Connection]:
    with closing(database(home, MEMORY, NEWER)) as connection:
        yield connection


# -- what is in them -----------------------------------------------------------------------------------------------------


def test_a_session_without_a_database_has_stored_nothing_and_gets_none(home: Path) -> None:
    assert read_memory(str(home), Wanted()) == Found()
    (home / ".swarm").mkdir()
    assert read_memory(str(home), Wanted()) == Found()
    assert list(files(home)) == [".swarm"]


def test_entries_of_claude_flow_3_are_read(home: Path, newer: sqlite3.Connection) -> None:
    store(newer, "k1", "hello world")
    found = read_memory(str(home), Wanted())
    assert (found.databases, found.namespaces, found.more) == ([MEMORY], {"default": 1}, False)
    assert found.entries == [
        {
            "source": MEMORY, "namespace": "default", "key": "k1", "value": "hello world", "cut": False, "withheld": False,
            "type": "semantic", "status": "active", "created": AT, "updated": AT, "expires": None,
        }
    ]  # fmt: skip


def test_entries_of_claude_flow_2_are_read_with_their_seconds(home: Path) -> None:
    with closing(database(home, MEMORY, OLDER)) as connection:
        connection.execute(
            "INSERT INTO memory_entries (key, value, namespace, created_at, expires_at) VALUES ('swarm-1', '{}', 'swarms', ?, ?)",
            (AT_MS // 1000, AT_MS // 1000),
        )
        (entry,) = read_memory(str(home), Wanted()).entries
    assert (entry["key"], entry["value"], entry["namespace"], entry["type"]) == ("swarm-1", "{}", "swarms", None)
    assert entry["created"] == entry["expires"] == "2026-11-22T09:36:28.000+00:00"


def test_the_collective_memory_of_a_hive_comes_with_it(home: Path, newer: sqlite3.Connection) -> None:
    store(newer, "k1", "one")
    with closing(database(home, HIVE, COLLECTIVE)) as connection:
        connection.execute(
            "INSERT INTO collective_memory (id, key, value, created_at) VALUES ('i', 'plan', 'two', '2026-11-22 09:36:28')"
        )
        found = read_memory(str(home), Wanted())
        assert [(entry["source"], entry["key"], entry["created"]) for entry in found.entries] == [
            (MEMORY, "k1", AT),
            (HIVE, "plan", "2026-11-22T09:36:28.000+00:00"),
        ]
        assert found.databases == [MEMORY, HIVE]
        assert keys(read_memory(str(home), Wanted(namespace="default"))) == ["k1"]
        assert read_memory(str(home), Wanted(limit=1)).more


def test_a_hive_without_a_collective_memory_is_no_error(home: Path) -> None:
    database(home, HIVE, "CREATE TABLE swarms (id TEXT)").close()
    assert read_memory(str(home), Wanted()) == Found(databases=[HIVE])


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), ["c_1", "b", "a%b", "a"]),
        (Wanted(limit=2), ["c_1", "b"]),
        (Wanted(namespace="notes"), ["b", "a"]),
        (Wanted(namespace="note"), []),
        (Wanted(prefix="a"), ["a%b", "a"]),
        (Wanted(prefix="a%"), ["a%b"]),
        (Wanted(prefix="c_"), ["c_1"]),
        (Wanted(prefix="_"), []),
        (Wanted(search="FAST"), ["b"]),
        (Wanted(search="C_"), ["c_1"]),
        (Wanted(search="%"), ["a%b"]),
        (Wanted(search="' OR 1=1 --"), []),
        (Wanted(namespace="notes", prefix="b", search="fast"), ["b"]),
    ],
)
def test_entries_are_selected_by_plain_texts_newest_first(
    home: Path, newer: sqlite3.Connection, wanted: Wanted, found: list[str]
) -> None:
    rows = [("a", "slow", "notes"), ("a%b", "x", "other"), ("b", "Fast", "notes"), ("c_1", "y", "other")]
    for at, (key, content, namespace) in enumerate(rows):
        store(newer, key, content, namespace, AT_MS + at)
    answer = read_memory(str(home), wanted)
    assert keys(answer) == found
    assert answer.more is (len(found) == wanted.limit)
    assert answer.namespaces == {"notes": 2, "other": 2}


def test_long_values_are_cut_with_a_mark_and_binary_ones_left_out(home: Path, newer: sqlite3.Connection) -> None:
    store(newer, "exact", "x" * 4096, at=4)
    store(newer, "long", "é" * 4096, at=3)
    store(newer, "blob", b"\x00\x01", at=2)
    newer.execute("UPDATE memory_entries SET content = CAST(x'ff41' AS TEXT) WHERE key = 'blob'")
    store(newer, "binary", b"\x00\x01", at=1)
    exact, long, broken, binary = read_memory(str(home), Wanted()).entries
    assert (exact["value"], exact["cut"]) == ("x" * 4096, False)
    assert (long["value"], long["cut"]) == ("é" * 2048 + "…", True)
    assert broken["value"] == "\ufffdA"
    assert (binary["value"], binary["cut"]) == (None, False)


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("hiveToken", "s3cret", "[withheld]"),
        ("github/api_key", "s3cret", "[withheld]"),
        ("token", "s3cret", "[withheld]"),
        ("x-token", "s3cret", "[withheld]"),
        ("token_usage", "12", "12"),
        ("tokens", "12", "12"),
        ("state", '{"a":1,"hiveToken":"s3cret","b":2}', '{"a":1,"hiveToken":"[withheld]","b":2}'),
        ("state", r'{"password" : "s3\"cret", "tokens":"7"}', r'{"password" : "[withheld]", "tokens":"7"}'),
        ("state", '{"hiveToken":"s3cret' + "x" * 5000, '{"hiveToken":"[withheld]"'),
    ],
)
def test_secrets_are_withheld(home: Path, newer: sqlite3.Connection, key: str, value: str, shown: str) -> None:
    store(newer, key, value)
    (entry,) = read_memory(str(home), Wanted()).entries
    assert entry["value"] == shown
    assert entry["withheld"] is (shown == "[withheld]")


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=8))
def test_whatever_is_stored_or_asked_for_gives_an_answer(
    tmp_path_factory: pytest.TempPathFactory, key: str, content: str, asked: str
) -> None:
    home = tmp_path_factory.mktemp("any")
    with closing(database(home, MEMORY, NEWER)) as connection:
        store(connection, key.encode("utf-8", "replace").decode(), content.encode("utf-8", "replace").decode())
        asked = asked.encode("utf-8", "replace").decode()
        read_memory(str(home), Wanted(namespace=asked, prefix=asked, search=asked))
        assert len(read_memory(str(home), Wanted()).entries) == 1


# -- how they are opened -------------------------------------------------------------------------------------------------


def test_a_path_with_signs_of_an_address_in_it_is_a_path(tmp_path: Path) -> None:
    home = tmp_path / "a?mode=rwc#b%20c"
    home.mkdir()
    with closing(database(home, MEMORY, NEWER)) as connection:
        store(connection, "k", "v")
        assert keys(read_memory(str(home), Wanted())) == ["k"]
    assert list(tmp_path.glob("a*")) == [home]


def test_a_database_in_wal_mode_that_is_closed_is_read_without_making_a_file(
    home: Path, newer: sqlite3.Connection
) -> None:
    newer.execute("PRAGMA journal_mode = WAL")
    store(newer, "k", "v")
    newer.close()
    before = files(home)
    assert list(before) == [".swarm", MEMORY]
    assert keys(read_memory(str(home), Wanted())) == ["k"]
    assert files(home) == before


def test_a_database_in_wal_mode_is_read_while_its_owner_writes(home: Path, newer: sqlite3.Connection) -> None:
    newer.execute("PRAGMA journal_mode = WAL")
    store(newer, "committed", "v")
    newer.execute("BEGIN IMMEDIATE")
    store(newer, "not committed", "v")
    before = files(home)
    assert keys(read_memory(str(home), Wanted())) == ["committed"]
    assert files(home).keys() == before.keys()
    newer.execute("COMMIT")
    assert len(read_memory(str(home), Wanted()).entries) == 2


def test_what_a_killed_owner_left_in_its_wal_is_read(home: Path, newer: sqlite3.Connection) -> None:
    newer.execute("PRAGMA journal_mode = WAL")
    newer.close()
    script = (
        "import os, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute(\"INSERT INTO memory_entries (id, key, content, created_at, updated_at) VALUES ('1','last','v',1,1)\")\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(home / MEMORY)], check=True)
    (home / f"{MEMORY}-shm").unlink()
    size = (home / f"{MEMORY}-wal").stat().st_size
    assert size > 0
    assert keys(read_memory(str(home), Wanted())) == ["last"]
    assert (home / f"{MEMORY}-wal").stat().st_size == size


def test_what_is_written_while_a_closed_database_is_read_makes_the_answer_void(
    home: Path, newer: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer.execute("PRAGMA journal_mode = WAL")
    newer.close()

    def meanwhile(*_args: object) -> None:
        with closing(sqlite3.connect(home / MEMORY, isolation_level=None)) as connection:
            store(connection, "k", "v")

    monkeypatch.setattr("mcp_tcp.memory._read_table", meanwhile)
    with pytest.raises(ToolError, match="written to while it was read; try again"):
        read_memory(str(home), Wanted())


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_a_database_that_another_process_has_locked_is_busy(home: Path, newer: sqlite3.Connection, mode: str) -> None:
    newer.execute(f"PRAGMA journal_mode = {mode}")
    newer.close()
    script = (
        "import sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute('PRAGMA locking_mode = EXCLUSIVE')\n"
        "db.execute('BEGIN EXCLUSIVE')\n"
        "db.execute(\"INSERT INTO memory_entries (id, key, content, created_at, updated_at) VALUES ('1','k','v',1,1)\")\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(home / MEMORY)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout and owner.stdout.readline() == b"locked\n"
        with pytest.raises(ToolError, match="busy: its owner holds a lock on it; try again"):
            read_memory(str(home), Wanted())
        assert owner.poll() is None
    assert owner.returncode == 0
    assert read_memory(str(home), Wanted()).entries == []


def test_a_change_that_its_owner_left_half_done_is_not_rolled_back_by_a_reader(
    home: Path, newer: sqlite3.Connection
) -> None:
    store(newer, "k", "v" * 100_000)
    newer.close()
    script = (
        "import os, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute('PRAGMA cache_size = 1')\n"
        "db.execute('BEGIN')\n"
        "db.execute(\"UPDATE memory_entries SET content = replace(content, 'v', 'w')\")\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(home / MEMORY)], check=True)
    before = files(home)
    assert before[f"{MEMORY}-journal"][0] > 0
    with pytest.raises(ToolError, match="without writing"):
        read_memory(str(home), Wanted())
    assert files(home) == before


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000] + b"\x00" * 100)


def encrypted(path: Path) -> None:
    path.write_bytes(os.urandom(8192))


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE tunes (title TEXT)")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (torn, "damaged"),
        (encrypted, "encrypted"),
        (foreign, "not claude-flow's"),
        (pipe, "not a file"),
        (directory, "not a file"),
        (dangling, "No such file"),
    ],
)
def test_what_is_no_whole_database_of_claude_flow_is_said_so(
    home: Path, newer: sqlite3.Connection, spoil: object, why: str
) -> None:
    newer.execute("BEGIN")
    for number in range(100):
        store(newer, f"k{number}", "v" * 200)
    newer.execute("COMMIT")
    newer.close()
    assert callable(spoil)
    spoil(home / MEMORY)
    before = files(home) if spoil is not dangling else {}
    with pytest.raises(ToolError, match=why):
        read_memory(str(home), Wanted())
    assert spoil is dangling or files(home) == before


def test_an_empty_file_is_a_database_in_which_nothing_was_stored(home: Path) -> None:
    (home / ".swarm").mkdir()
    (home / MEMORY).touch()
    assert read_memory(str(home), Wanted()) == Found(databases=[MEMORY])


def test_a_query_that_would_never_end_is_given_up(home: Path) -> None:
    database(
        home,
        MEMORY,
        "CREATE VIEW memory_entries AS WITH RECURSIVE n(key) AS (SELECT 1 UNION ALL SELECT key + 1 FROM n)"
        " SELECT key, 'text' AS content FROM n",
    ).close()
    began = time.process_time()
    with pytest.raises(ToolError, match="too large"):
        read_memory(str(home), Wanted())
    assert time.process_time() - began < 15.0
