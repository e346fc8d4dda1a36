"""What the tests of the command line share, and those of the data plane."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.console import Console
from tests.integration.hive import Hive
from tests.integration.mcp_server import DataPlane, Stage, staged


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    """A workspace of the test's own and the installed commands to work on it."""
    with Console(tmp_path / "console") as console:
        yield console


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A data plane and one session of every sort, for all tests of a module; do not end what is on it."""
    root = tmp_path_factory.mktemp("stage")
    root.chmod(0o755)  # agents may run as another user
    home = root / "home"
    home.mkdir()
    with Hive(root / "hive", HOME=str(home)) as hive, DataPlane(hive) as plane:
        yield staged(plane)


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[DataPlane]:
    """A data plane of the test's own over an empty workspace."""
    with Hive(tmp_path / "hive") as hive, DataPlane(hive) as plane:
        yield plane
