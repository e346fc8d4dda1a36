"""Every test runs with a home and a workspace of its own, and without the caller's settings."""

import itertools
import os
import re
import shutil
import signal
import sysconfig
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.npm import PREFIXES, missing_programs

pytest_plugins = ("tests.leftout",)

# A slow machine is no failure of the code. In CI, Hypothesis has a profile of its own that says so too.
_given = settings.get_profile(settings.get_current_profile_name())
_patient = settings(_given, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("unhurried", _patient)
settings.register_profile("brisk", _patient, max_examples=10)  # for bin/check; bin/test takes its time
settings.load_profile("unhurried")

FOREIGN = ("HIVE_", "ANTHROPIC_", "CLAUDE", "RUFLO_", "XDG_", "MAX_CONCURRENT_SESSIONS")
PLACES = {
    "HOME": "home",
    "HIVE_WORKSPACE": "workspace",
    "HIVE_OUTPUT_ROOT": "outputs",
    "HIVE_LOG_DIR": "logs",
    "HIVE_CONFIG": "hive.toml",
}
_numbers = itertools.count()
PASSABLE = 0o755  # pytest makes its directories 0700, which no other user gets through


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give this run a directory of its own: the one that runs share is closed whenever another begins.

    It goes when the run ends; `--basetemp DIR` keeps it. And let signals arrive: a caller in the background ignores some,
    and whoever is started would ignore them too.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if config.option.basetemp is None:
        parent = Path(tempfile.mkdtemp(prefix="hive-tests-"))
        parent.chmod(PASSABLE)
        config.option.basetemp = str(parent / "tmp")
        config.add_cleanup(lambda: shutil.rmtree(parent, ignore_errors=True))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out, with the reason, what this machine or user cannot run."""
    reasons = {"npm": _npm_lacks(), "root": None if os.geteuid() == 0 else "needs to be run by root"}
    for item in items:
        for marker, reason in reasons.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def _npm_lacks() -> str | None:
    """Why the tests marked `npm` cannot run, in the words of bin/setup where it tried; None when they can."""
    if not missing_programs():
        return None
    notes = [prefix.with_name(f"{prefix.name}.left-out") for prefix in PREFIXES]
    said = [note.read_text(encoding="utf-8").strip() for note in notes if note.exists()]
    return "needs npm's programs: " + "; ".join(dict.fromkeys(said or missing_programs()))


@pytest.fixture(scope="session", autouse=True)
def _passable_base(tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.getbasetemp()
    base.chmod(PASSABLE)
    if "PYTEST_XDIST_WORKER" in os.environ:
        base.parent.chmod(PASSABLE)


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A directory of the test's own. pytest's looks through those of all tests before, for a number that is free."""
    name = re.sub(r"\W", "_", request.node.name)[:30]
    path = tmp_path_factory.getbasetemp() / f"{name}-{next(_numbers)}"
    path.mkdir()
    path.chmod(PASSABLE)
    return path


@pytest.fixture(autouse=True)
def _isolation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the caller's is seen. Places of its own are made for a test that asks for `tmp_path`; most need none."""
    for name in os.environ:
        if name.startswith(FOREIGN):
            monkeypatch.delenv(name)
    asks = "tmp_path" in request.fixturenames
    place = request.getfixturevalue("tmp_path") if asks else Path(f"/nonexistent/{next(_numbers)}")
    for variable, name in PLACES.items():
        monkeypatch.setenv(variable, str(place / name))
    if asks:
        (place / "home").mkdir()
        (place / "workspace").mkdir()
        (place / "hive.toml").touch()


@pytest.fixture(scope="session")
def scripts() -> Path:
    """The directory of the installed console scripts: hive-session, hive-tap and the others."""
    return Path(sysconfig.get_path("scripts"))
