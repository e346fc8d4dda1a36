"""The pure modules of the page, by the tests beside them in tests/page, under Node's own test runner."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.npm import NODE_BIN

TESTS = Path(__file__).parents[1] / "page"
PAGE = Path(__file__).parents[2] / "ws_relay" / "page"


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


def test_the_page_names_every_module_that_it_begins_with() -> None:
    """Else the browser learns of each only from the one that imports it, which is a chain of requests."""
    named = re.findall(
        r'rel="modulepreload" fetchpriority="low" href="js/(\w+\.js)"', (PAGE / "index.html").read_text()
    )
    later = {"graph.js"}  # the GPU comes after the first picture
    files = {path.name for path in (PAGE / "js").glob("*.js")}
    assert named == sorted(files - later - {"main.js"})
