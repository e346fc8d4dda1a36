"""What becomes of a skip: a failure in CI unless it is listed, a line at the very end elsewhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPING = """
import pytest

@pytest.mark.parametrize("number", [1, 2])
def test_skips(number):
    pytest.skip("no second machine")

@pytest.mark.xfail
def test_is_expected_to_fail():
    assert False
"""
LISTED = '["tests/test_skipping.py::test_skips"]\nreason = "one machine"\n'


def run(root: Path, *, ci: bool, listed: str = "", source: str = SKIPPING) -> tuple[int, list[str]]:
    """Exit code and lines of a pytest run over one file, in a project of its own."""
    (root / "tests").mkdir()
    (root / "tests/skips.toml").write_text(listed, encoding="utf-8")
    (root / "tests/test_skipping.py").write_text(source, encoding="utf-8")
    (root / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    argv = [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "tests.leftout", "-p", "no:cacheprovider"]
    env = {**os.environ, "CI": "true" if ci else "false", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(argv, cwd=root, env=env, capture_output=True, text=True, timeout=50)
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_outside_ci_the_last_line_says_what_was_left_out_and_why(tmp_path: Path) -> None:
    code, lines = run(tmp_path, ci=False)
    assert code == 0
    assert lines[-2].startswith("2 skipped, 1 xfailed in ")
    assert lines[-1] == "left out: tests/test_skipping.py, 2 tests: no second machine"


def test_in_ci_an_unlisted_skip_is_a_failure_that_says_what_to_do(tmp_path: Path) -> None:
    code, lines = run(tmp_path, ci=True)
    assert code == 1
    assert "skipped in CI: no second machine" in lines
    assert any("name tests/test_skipping.py::test_skips[1] in tests/skips.toml" in line for line in lines)
    assert lines[-1].startswith("2 failed, 1 xfailed in ")


def test_in_ci_a_skip_of_a_whole_file_is_a_failure_too(tmp_path: Path) -> None:
    source = "import pytest\npytest.skip('not here', allow_module_level=True)\n"
    code, lines = run(tmp_path, ci=True, source=source)
    assert code != 0
    assert "skipped in CI: not here" in lines
    assert lines[-1].startswith("1 error in ")


def test_in_ci_a_listed_skip_passes_and_the_closing_line_stays_the_last(tmp_path: Path) -> None:
    code, lines = run(tmp_path, ci=True, listed=LISTED)
    assert code == 0
    assert lines[-1].startswith("2 skipped, 1 xfailed in ")


@pytest.mark.parametrize(
    ("listed", "complaint"),
    [
        ('["tests/test_skipping.py::test_skips"]\n', "lacks its reason"),
        ('["tests/test_skipping.py::test_gone"]\nreason = "x"\n', "there is no test"),
    ],
)
def test_an_entry_without_a_reason_or_without_a_test_stops_the_run(tmp_path: Path, listed: str, complaint: str) -> None:
    code, lines = run(tmp_path, ci=True, listed=listed)
    assert code == pytest.ExitCode.USAGE_ERROR
    assert any(complaint in line for line in lines)
