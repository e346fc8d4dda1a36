"""What a server does whose configuration file is wrong: under the suite it goes on with what it last started with."""

import os
from pathlib import Path

import pytest

from hive_session.ondisk.serving import resolved
from hive_session.ondisk.settings import BadFlag, BadSetting

GOOD, BAD = "good = 1\n", "bad"


def resolve(text: str | None, path: str) -> str | None:
    if text == BAD:
        raise BadSetting(f"{path}: bad")
    return text


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration file, under the suite."""
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("HIVE_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("HIVE_CONFIG", str(tmp_path / "hive.toml"))
    return tmp_path / "hive.toml"


def test_a_good_file_counts_and_is_kept_for_its_user_alone(file: Path) -> None:
    file.write_text(GOOD, encoding="utf-8")
    assert resolved("x", resolve) == GOOD
    kept = file.parent / "run/x.toml"
    assert (kept.read_text(encoding="utf-8"), kept.stat().st_mode & 0o777) == (GOOD, 0o600)


def test_a_bad_one_leaves_what_was_and_is_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in (GOOD, BAD):
        file.write_text(text, encoding="utf-8")
        assert resolved("x", resolve) == GOOD
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{file}: bad" in line and "last started with" in line
    file.write_text("better = 1\n", encoding="utf-8")
    assert resolved("x", resolve) == "better = 1\n"


def test_a_file_that_came_later_and_is_bad_leaves_none(file: Path) -> None:
    file.unlink()
    assert resolved("x", resolve) is None
    file.write_text(BAD, encoding="utf-8")
    assert resolved("x", resolve) == ""


def test_without_one_to_go_on_with_it_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(BAD, encoding="utf-8")
    with pytest.raises(BadSetting, match=r"hive\.toml: bad"):
        resolved("x", resolve)
    monkeypatch.delenv("HIVE_RUN_DIR")
    with pytest.raises(BadSetting, match=r"hive\.toml: bad"):
        resolved("x", resolve)
    assert os.listdir(file.parent / "run") == []


def test_a_wrong_flag_is_refused_whatever_was(file: Path) -> None:
    def refuse(_text: str | None, _path: str) -> None:
        raise BadFlag("--port: many")

    file.write_text(GOOD, encoding="utf-8")
    resolved("x", resolve)
    with pytest.raises(BadFlag):
        resolved("x", refuse)


def test_where_nothing_can_be_kept_it_serves_all_the_same(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(GOOD, encoding="utf-8")
    monkeypatch.setenv("HIVE_RUN_DIR", str(file.parent / "nowhere"))
    assert resolved("x", resolve) == GOOD
