"""The Autobahn TestSuite against the relay's echo: nothing fails that `websockets` itself does not fail."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.autobahn import suite
from tests.integration.hive import DEADLINE_S, Hive, until

LISTENING = re.compile(r"listening on 127\.0\.0\.1:(\d+)")
SECTIONS = {"1", "2", "3", "4", "5", "6", "7", "10", "12", "13"}
CASES = 463  # of autobahntestsuite 25.10.1 in these sections


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[str]:
    """The address of the echo of a relay over an empty workspace."""
    said = tmp_path / "relay.log"  # a pipe that nobody reads would fill up and stop it
    with Hive(tmp_path / "hive") as hive, said.open("wb") as log:
        relay = subprocess.Popen(
            [sys.executable, "-m", "ws_relay", "--port", "0", "--echo"],
            env=hive.env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            found = until(lambda: LISTENING.search(said.read_text(encoding="utf-8")), "the relay's port")
            yield f"ws://127.0.0.1:{found[1]}/__echo"
            assert relay.poll() is None, said.read_text(encoding="utf-8")[-2000:]
        finally:
            relay.terminate()
            relay.wait(DEADLINE_S)


@pytest.mark.slow
@pytest.mark.timeout(suite.SUITE_MAX_S + 60)
def test_the_relay_fails_no_case_that_websockets_passes(echo: str, tmp_path: Path) -> None:
    if reason := suite.missing():
        pytest.skip(reason)
    reports = tmp_path / "reports"
    reports.mkdir()
    results = suite.run(echo, reports)
    assert {number.partition(".")[0] for number in results} == SECTIONS
    assert len(results) == CASES
    assert set(suite.failures(results)) <= suite.expected_failures().keys(), suite.failures(results)
