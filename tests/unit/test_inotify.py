"""The kernel's inotify by three calls: what is told, by which name, and what is said when a watch is refused."""

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from hive_session.ondisk.inotify import CREATE, DELETE, IGNORED, MODIFY, MOVED_TO, Inotify


@pytest.fixture
def inotify() -> Iterator[Inotify]:
    instance = Inotify()
    yield instance
    instance.close()


def test_what_happens_in_a_directory_is_told_by_name(inotify: Inotify, tmp_path: Path) -> None:
    watch = inotify.add_watch(str(tmp_path), CREATE | DELETE | MOVED_TO)
    assert not inotify.pending()
    (tmp_path / "one").touch()
    (tmp_path / "one").rename(tmp_path / "ein Umlaut: ü")
    (tmp_path / "ein Umlaut: ü").unlink()
    assert inotify.pending()
    assert inotify.read() == [
        (watch, CREATE, "one"),
        (watch, MOVED_TO, "ein Umlaut: ü"),
        (watch, DELETE, "ein Umlaut: ü"),
    ]
    assert not inotify.pending() and inotify.read() == []


def test_a_file_is_told_of_without_a_name(inotify: Inotify, tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.touch()
    watch = inotify.add_watch(str(file), MODIFY)
    file.write_text("x", encoding="utf-8")
    assert (watch, MODIFY, "") in inotify.read()


def test_a_name_that_is_no_text_comes_as_the_system_gives_it(inotify: Inotify, tmp_path: Path) -> None:
    watch = inotify.add_watch(str(tmp_path), CREATE)
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    [(number, mask, name)] = inotify.read()
    assert (number, mask & CREATE, os.fsencode(name)) == (watch, CREATE, b"\xff")


def test_a_watch_that_ends_says_so_and_cannot_be_ended_again(inotify: Inotify, tmp_path: Path) -> None:
    watch = inotify.add_watch(str(tmp_path), CREATE)
    inotify.rm_watch(watch)
    assert inotify.read() == [(watch, IGNORED, "")]
    with pytest.raises(OSError, match="Invalid argument"):
        inotify.rm_watch(watch)


def test_what_is_not_there_cannot_be_watched(inotify: Inotify, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        inotify.add_watch(str(tmp_path / "absent"), CREATE)


def test_it_wakes_whoever_waits_for_it(inotify: Inotify, tmp_path: Path) -> None:
    inotify.add_watch(str(tmp_path), CREATE)
    assert select.select([inotify], [], [], 0)[0] == []
    (tmp_path / "one").touch()
    assert select.select([inotify], [], [], 5)[0] == [inotify]
