"""What conftest.py promises every test: a home and workspace of its own, through which another user can get."""

import os
import subprocess
from pathlib import Path

import pytest

NOBODY = 65534  # uid and gid of Debian's nobody and nogroup


def test_home_and_workspace_are_the_tests_own_and_nothing_is_inherited(tmp_path: Path) -> None:
    ours = {name: value for name, value in os.environ.items() if name.startswith(("HIVE_", "HOME"))}
    assert ours.keys() == {"HOME", "HIVE_WORKSPACE", "HIVE_OUTPUT_ROOT", "HIVE_LOG_DIR", "HIVE_CONFIG"}
    assert all(value.startswith(f"{tmp_path}/") for value in ours.values())
    assert not [name for name in os.environ if name.startswith(("ANTHROPIC_", "CLAUDE", "RUFLO_", "XDG_"))]


@pytest.mark.root
def test_another_user_gets_through_to_a_file_and_to_the_scripts(tmp_path: Path, scripts: Path) -> None:
    (tmp_path / "file").write_text("here", encoding="utf-8")
    argv = [str(scripts / "python3"), "-c", f"print(open({str(tmp_path / 'file')!r}).read())"]
    seen = subprocess.run(argv, user=NOBODY, group=NOBODY, capture_output=True, text=True, timeout=50)
    assert (seen.stdout, seen.stderr) == ("here\n", "")
