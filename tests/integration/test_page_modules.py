"""The pure modules of the page, by the tests beside them in tests/page, under Node's own test runner."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.npm import NODE_BIN

TESTS = Path(__file__).parents[1] / "page"


@pytest.mark.npm  # for its Node.js alone
def test_the_pure_modules_of_the_page_do_what_they_say() -> None:
    files = sorted(TESTS.rglob("*.test.mjs"))
    done = subprocess.run(
        [NODE_BIN, "--test", "--test-reporter=tap", *files],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=50,
    )
    told = done.stdout.decode()
    passed = re.search(r"^# pass (\d+)$", told, re.MULTILINE)
    assert files, "there is nothing in tests/page"
    assert done.returncode == 0 and passed and int(passed[1]) > 0, told
