"""`status ID` has two answerers, poll.py and the typer command: they say the same, byte for byte and code for code."""

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hive_session.ondisk.records import SessionRecord, encode_session
from hive_session.poll import read_status

SESSION = "9b2ac1f0-0d6c-4f0e-8d4e-0123456789ab"
POLL = "import sys; from hive_session.poll import main; sys.exit(main())"
TYPER = "import sys; from hive_session.cli.app import main; sys.exit(main())"
# Says on stderr when the quick way was left.
WATCHED = (
    "import sys; from hive_session.poll import main; code = main(); "
    "print('typer' if 'typer' in sys.modules else 'quick', file=sys.stderr); sys.exit(code)"
)

Answer = tuple[int, bytes, bytes]


def ask(program: str, *words: str) -> Answer:
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, timeout=30)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The directory of the one session."""
    directory = tmp_path / "workspace/.swarm/sessions" / SESSION
    directory.mkdir(parents=True)
    return directory


def record(status: str, **fields: object) -> bytes:
    """session.json of a session in that status, as it is written today."""
    base = SessionRecord(
        status=status,
        session_id=SESSION,
        task='x", "status": "failed',
        created="2026-11-22T09:31:07+00:00",
        working_dir="/w",
        output_dir="/o",
        database="/d",
        log_file="/l",
    )
    document = json.loads(encode_session(base)) | fields
    return json.dumps(document, indent=2).encode() + b"\n"


@contextmanager
def run_lock(place: Path, *, held: bool) -> Iterator[None]:
    with (place / "run.lock").open("w") as file:
        if held:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def expect_equal(place: Path, raw: bytes | None, *words: str, quick: bool) -> Answer:
    """Both answers to `status WORDS…`, which must be one, with the record put back before each."""
    answers = []
    for program in (TYPER, WATCHED):
        if raw is not None:
            (place / "session.json").write_bytes(raw)
        answers.append(ask(program, "status", *words))
    code, out, err = answers[1]
    said, _, way = err.rstrip(b"\n").rpartition(b"\n")
    assert answers[0] == (code, out, said + b"\n" if said else b"")
    assert way == (b"quick" if quick else b"typer")
    return answers[0]


@pytest.mark.parametrize("status", ["created", "completed", "failed"])
def test_a_status_that_needs_no_witness(place: Path, status: str) -> None:
    answer = expect_equal(place, record(status), SESSION, quick=True)
    assert answer == (0, f"{status}\n".encode(), b"")


@pytest.mark.parametrize("status", ["starting", "running"])
def test_a_live_run(place: Path, status: str) -> None:
    with run_lock(place, held=True):
        assert expect_equal(place, record(status), SESSION, quick=True) == (0, f"{status}\n".encode(), b"")


@pytest.mark.parametrize("status", ["starting", "running"])
@pytest.mark.parametrize("lock", ["free", "missing"])
def test_a_run_that_is_over(place: Path, status: str, lock: str) -> None:
    if lock == "free":
        with run_lock(place, held=False):
            pass
    assert expect_equal(place, record(status), SESSION, quick=False) == (0, b"failed\n", b"")
    if lock == "free":
        (place / "session.json").write_bytes(record(status))
        assert ask(POLL, "status", SESSION)[1] == b"failed\n"
        assert json.loads((place / "session.json").read_bytes())["status"] == "failed"  # and it is written down


def test_a_session_that_is_driven_from_outside(place: Path) -> None:
    for status in ("starting", "running"):
        raw = record(status, external=True)
        assert expect_equal(place, raw, SESSION, quick=False) == (0, f"{status}\n".encode(), b"")


LEGACY = {
    "session_id": SESSION,
    "task": "work",
    "priority": "medium",
    "created": "2025-10-05T19:45:00+00:00",
    "status": "completed",
    "working_dir": "/w",
    "output_dir": "/o",
    "database": "/d",
    "log_file": "/l",
    "metadata": None,
}


@pytest.mark.parametrize("indent", [2, None])
def test_a_file_of_the_original(place: Path, indent: int | None) -> None:
    raw = json.dumps(LEGACY, indent=indent).encode()
    assert expect_equal(place, raw, SESSION, quick=False) == (0, b"completed\n", b"")


def test_a_status_of_the_original_that_is_none_of_ours(place: Path) -> None:
    for status in ("banana", "", "paused"):
        assert expect_equal(place, json.dumps(LEGACY | {"status": status}).encode(), SESSION, quick=False)[:2] == (
            0,
            f"{status}\n".encode(),
        )


WHOLE = record("completed")


@pytest.mark.parametrize("cut", [0, 16, 26, 44, len(WHOLE) // 2, len(WHOLE) - 3, len(WHOLE) - 2])
def test_a_torn_record_is_never_believed(place: Path, cut: int) -> None:
    code, out, err = expect_equal(place, WHOLE[:cut], SESSION, quick=False)
    assert (code, out) == (65, b"")
    assert b"session.json" in err


@pytest.mark.parametrize(
    "raw", [bytes(500), b"\xff" * 500, b"[]", b"null", b'{"status":"completed"}', b'{\n  "status": "com']
)
def test_a_file_that_is_no_record(place: Path, raw: bytes) -> None:
    assert expect_equal(place, raw, SESSION, quick=False)[:2] == (65, b"")


def test_a_record_of_a_later_version_is_refused_by_both(place: Path) -> None:
    code, out, err = expect_equal(place, record("completed", schema=2), SESSION, quick=False)
    assert (code, out) == (65, b"") and b"newer" in err


@pytest.mark.parametrize(
    "words",
    [
        ("00000000-0000-4000-8000-000000000000",),
        (SESSION.upper(),),
        (SESSION[:8],),
        (SESSION + "0",),
        ("../" + SESSION,),
        ("",),
        (),
        (SESSION, SESSION),
        ("--json", SESSION),
        ("--help",),
    ],
)
def test_an_id_that_is_unknown_shortened_malformed_or_missing(place: Path, words: tuple[str, ...]) -> None:
    expect_equal(place, WHOLE, *words, quick=False)


def test_a_record_that_cannot_be_read(place: Path) -> None:
    (place / "session.json").mkdir()
    code, out, err = expect_equal(place, None, SESSION, quick=False)
    assert code not in (0, 1, 70) and out == b"" and b"session.json" in err


def test_an_answer_that_nobody_can_take(place: Path) -> None:
    (place / "session.json").write_bytes(WHOLE)
    for program in (TYPER, POLL):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [sys.executable, "-c", program, "status", SESSION], stdout=full, stderr=subprocess.PIPE, timeout=30
            )
        assert done.returncode == 74 and b"No space left" in done.stderr


def test_the_quick_answer_looks_where_the_configured_paths_say(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "session.json").write_bytes(WHOLE)
    assert read_status(SESSION) == "completed"
    monkeypatch.setenv("HIVE_WORKSPACE", f"{tmp_path}/workspace/")
    assert read_status(SESSION) == "completed"
    monkeypatch.setenv("HIVE_WORKSPACE", str(tmp_path / "other"))
    assert read_status(SESSION) is None


def test_the_quick_answer_loads_nothing_that_is_slow_to_load(place: Path) -> None:
    (place / "session.json").write_bytes(WHOLE)
    program = "import sys; from hive_session.poll import main; main(); print(*sys.modules, file=sys.stderr)"
    _, _, loaded = ask(program, "status", SESSION)
    slow = {"typer", "json", "orjson", "dataclasses", "typing", "re", "portalocker", "inspect", "enum", "pathlib"}
    extra = set(loaded.decode().split()) & slow
    _, _, bare = ask("import sys; print(*sys.modules, file=sys.stderr)")
    assert extra <= set(bare.decode().split())


def test_the_two_agree_on_how_many_bytes_a_status_takes() -> None:
    """poll.py reads 64 bytes: the longest status must fit with the schema after it."""
    assert WHOLE.index(b'"session_id"') <= 64
