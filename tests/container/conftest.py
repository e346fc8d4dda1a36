"""One engine and one image for all tests here."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container.engine import CannotStart, Engine, what_lacks
from tests.container.image import BUILD_S, make_image


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test is the first builds the image."""
    for item in items:
        if "engine" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(2 * BUILD_S))
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A Docker engine with the image built; skips, with the reason, where there can be none."""
    if reason := what_lacks():
        pytest.skip(reason)
    home = Path(sys.prefix, "docker")
    try:
        with Engine(home, own_network=False) as builder:
            make_image(builder, tmp_path_factory.mktemp("build"))
        with Engine(home, own_network=True) as engine:
            yield engine
    except CannotStart as exc:
        pytest.skip(str(exc))
