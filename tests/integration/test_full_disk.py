"""A full disk at every step of a create and of a change of status: the index and all records stay whole."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.console import Console, error_line

pytestmark = pytest.mark.root  # only root can mount a small filesystem
IO = 74


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 128 pages and 500 inodes; only root can make one."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k,nr_inodes=500", "tmpfs", place], check=True, timeout=50)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True, timeout=50)


def fill(place: Path, keep_pages: int) -> Path:
    """Leave `keep_pages` free pages on the filesystem of `place`; gives the file that takes the rest."""
    ballast = place / "ballast"
    free = os.statvfs(place).f_bavail - keep_pages
    with ballast.open("wb") as file:
        file.write(bytes(max(0, free) * 4096))
    assert os.statvfs(place).f_bavail <= keep_pages
    return ballast


def whole(console: Console) -> dict[str, str]:
    """Id -> status, after a look at every byte: the index is one JSON document, each record is whole."""
    raw = Path(console.layout.index).read_bytes()
    rows = json.loads(raw)["sessions"]
    records = {each: json.loads(Path(console.paths(each).record).read_bytes()) for each in rows}
    on_disk = {name for name in os.listdir(console.layout.sessions) if len(name) == 36}
    assert on_disk == rows.keys()
    assert all(record["session_id"] == each for each, record in records.items())
    left = [name for name in os.listdir(console.layout.sessions) if name.endswith(".tmp") or name.startswith(".new-")]
    assert left == []
    return {each: record["status"] for each, record in records.items()}


@pytest.mark.timeout(300)
def test_a_create_on_a_full_disk_leaves_nothing_at_whichever_step_it_fails(small_disk: Path) -> None:
    console = Console(small_disk / "console")
    first = console.new("x" * 5000)
    outcomes = []
    for pages in range(13):
        before = console.snapshot()
        ballast = fill(small_disk, pages)
        done = console.do("create", "y" * 5000)
        ballast.unlink()
        outcomes.append(done.returncode)
        if done.returncode != 0:
            assert (done.returncode, done.stdout) == (IO, b"")
            assert "No space left" in error_line(done) and "cleanup" in error_line(done)
            assert console.snapshot() == before
        assert set(whole(console).values()) == {"created"}
    assert outcomes[0] == IO and outcomes[-1] == 0
    assert first in whole(console)


@pytest.mark.timeout(300)
def test_a_change_of_status_on_a_full_disk_happens_whole_or_not_at_all(small_disk: Path) -> None:
    console = Console(small_disk / "console")
    console.seed(20, "x" * 256)  # the index then needs more room than a record
    outcomes = []
    for pages in range(9):
        session_id = console.new("work")
        ballast = fill(small_disk, pages)
        done = console.do("update-status", session_id, "starting")
        on_disk = whole(console)[session_id]
        full = console.do("list")
        ballast.unlink()
        outcomes.append(done.returncode)
        if done.returncode == 0:
            assert on_disk == "starting"
        else:
            assert done.returncode == IO and "No space left" in error_line(done)
            assert on_disk == "created"
        assert full.returncode == 0
        assert console.index()[session_id]["status"] == on_disk  # once there is room, `list` is true again
        console.move(session_id, "starting", "failed")
        assert b"Cleaned up 1 " in console.answer("cleanup", "0", "--outputs", "--logs")
    assert outcomes[0] == IO and outcomes[-1] == 0


def test_a_disk_without_inodes_is_a_full_disk(small_disk: Path) -> None:
    console = Console(small_disk / "console")
    console.new("first")
    before = console.snapshot()
    (small_disk / "many").mkdir()
    number = 0
    while os.statvfs(small_disk).f_ffree > 2:
        (small_disk / "many" / str(number)).touch()
        number += 1
    done = console.do("create", "second")
    assert done.returncode == IO and "No space left" in error_line(done)
    assert console.snapshot() == before
    assert len(whole(console)) == 1
