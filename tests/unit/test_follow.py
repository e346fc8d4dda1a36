"""Whole lines of a file that grows."""

from pathlib import Path

from hive_session.ondisk.follow import Lines


def test_a_line_without_its_end_is_left_for_later(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"one\ntw")
    assert Lines(str(tmp_path / "f")).read() == [b"one\n"]
