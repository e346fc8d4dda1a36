"""The official conformance suite, both generations of it, through a bridge from HTTP to the data plane's TCP."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.hive import Hive, until
from tests.integration.mcp_server import DataPlane, Json, request
from tests.npm import CONFORMANCE_MAINS, NODE_BIN

REPOSITORY = Path(__file__).parents[2]
EXPECTED = REPOSITORY / "tests" / "conformance"

# Generation, what to run, the file of expected failures, how many scenarios pass at least.
RUNS = [
    pytest.param("0.1", ("--suite", "all"), "expected_failures_0_1.yml", 24, id="0.1"),
    pytest.param(
        "0.2",
        ("--requirements", "2025-11-25"),
        "expected_failures_0_2_2025_11_25.yml",
        24,
        id="0.2-2025-11-25",
    ),
    pytest.param(
        "0.2",
        ("--requirements", "2026-07-28"),
        "expected_failures_0_2_2026_07_28.yml",
        22,
        id="0.2-2026-07-28",
    ),
]


@pytest.fixture(scope="module")
def conforming(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataPlane]:
    """A data plane that serves the suite's fixtures too."""
    with Hive(tmp_path_factory.mktemp("conformance") / "hive") as hive, DataPlane(hive, "--conformance") as plane:
        yield plane


@pytest.fixture
def url(conforming: DataPlane, tmp_path: Path) -> Iterator[str]:
    """Where HTTP leads to that data plane."""
    said = tmp_path / "bridge"
    with said.open("wb") as out:
        bridge = subprocess.Popen(
            [sys.executable, "-m", "tests.conformance.bridge", str(conforming.port)],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=out,
        )
    try:
        yield until(lambda: re.search(r"^http://\S+(?=\n)", said.read_text(encoding="utf-8")), "the bridge's URL")[0]
    finally:
        bridge.kill()
        bridge.wait()


@pytest.mark.npm
@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("series", "what", "expected", "passing_min"), RUNS)
def test_only_what_is_expected_to_fail_fails(
    url: str, tmp_path: Path, series: str, what: tuple[str, ...], expected: str, passing_min: int
) -> None:
    done = subprocess.run(
        [
            NODE_BIN,
            CONFORMANCE_MAINS[series],
            "server",
            "--url",
            url,
            *what,
            "--expected-failures",
            EXPECTED / expected,
        ],
        cwd=tmp_path,  # where it leaves its results
        capture_output=True,
        timeout=170,
    )
    report = done.stdout.decode().partition("=== SUMMARY ===")[2]
    assert done.returncode == 0, f"{report or done.stdout.decode()}\n{done.stderr.decode()}"
    passed = re.findall(r"^✓ (\S+): [1-9]\d* passed", report, re.MULTILINE)
    assert len(passed) >= passing_min, report


# The suite takes an error for text; so that what passes there is what it asked for:
def test_the_fixtures_are_there_only_for_the_suite(conforming: DataPlane, plane: DataPlane) -> None:
    asked = request("tools/call", name="test_simple_text", arguments={})
    content = {"type": "text", "text": "This is a simple text response for testing."}
    answer = conforming.ask(asked)["result"]
    assert (answer["content"], answer["isError"]) == ([content], False)
    assert "error" in plane.ask(asked)
    assert not _named(plane, "tools") & _named(conforming, "tools", only_fixtures=True)
    assert not _named(plane, "prompts") & _named(conforming, "prompts", only_fixtures=True)


def test_the_fixtures_tell_errors_images_and_resources_apart(conforming: DataPlane) -> None:
    def call(name: str) -> Json:
        result: Json = conforming.ask(request("tools/call", name=name, arguments={}))["result"]
        return result

    assert call("test_error_handling")["isError"]
    kinds = [content["type"] for content in call("test_multiple_content_types")["content"]]
    assert kinds == ["text", "image", "resource"]
    (read,) = conforming.ask(request("resources/read", uri="test://static-binary"))["result"]["contents"]
    assert read["blob"] == call("test_image_content")["content"][0]["data"]


@pytest.mark.parametrize("expected", [run.values[2] for run in RUNS])
def test_every_expected_failure_has_its_reason(expected: str) -> None:
    lines = (EXPECTED / expected).read_text(encoding="utf-8").splitlines()
    entries = [line for line in lines if line.startswith("  - ")]
    assert entries
    assert all(re.fullmatch(r"  - [a-z0-9:-]+ # \S.{15,}", line) for line in entries)


def _named(plane: DataPlane, kind: str, *, only_fixtures: bool = False) -> set[str]:
    listed = {entry["name"] for entry in plane.ask(request(f"{kind}/list"))["result"][kind]}
    return {name for name in listed if name.startswith(("test_", "json_schema"))} if only_fixtures else listed
