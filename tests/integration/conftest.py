"""What the tests of the command line share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.console import Console


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    """A workspace of the test's own and the installed commands to work on it."""
    with Console(tmp_path / "console") as console:
        yield console
