"""bin/up: the session and, beside it, a page and a data plane that are there for as long as it runs."""

import json
import re
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.hive import Hive, until

UP = Path(__file__).parents[2] / "bin/up"
PAGE = re.compile(r"^Watch it live:  (http://\S+/)$", re.MULTILINE)
LINE = re.compile(r"MCP on (\S+):(\d+); .*\n  (echo .* \| nc \S+ \d+)\n")


@pytest.fixture
def hive(tmp_path: Path) -> Iterator[Hive]:
    with Hive(tmp_path / "hive") as hive:
        yield hive


@contextmanager
def up(hive: Hive, **env: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """bin/up at work, and the file that takes what it says."""
    said = hive.root / "said"
    with said.open("wb") as out:
        call = subprocess.Popen(
            [UP, "Show it"],
            env={**hive.env, "MCP_HEALTH_PORT": "0", "MCP_BRIDGE_PORT": "0", **env},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
        try:
            yield call, said
        finally:
            call.terminate()
            call.wait()


def line_to_try(said: Path) -> re.Match[str]:
    return until(lambda: LINE.search(said.read_text(encoding="utf-8")), "the line to try")


def is_gone(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.slow
def test_the_line_it_prints_shows_the_running_agents_and_the_server_ends_with_the_session(hive: Hive) -> None:
    with up(hive, MCP_TCP_PORT="0") as (call, said):
        _, port, command = line_to_try(said).groups()

        def roles() -> set[str]:
            """Of the agents at work."""
            done = subprocess.run(["sh", "-c", command], capture_output=True, check=True, timeout=20)
            found = json.loads(done.stdout)["result"]["agents"]
            return {agent["role"] for agent in found if agent["status"] in ("working", "waiting")}

        page = PAGE.search(said.read_text(encoding="utf-8"))
        assert page
        with urllib.request.urlopen(page[1], timeout=5) as answered:
            assert b"<title>" in answered.read()
        until(lambda: roles() == {"queen", "worker"}, "a queen and a worker in the answer")
        assert call.wait(timeout=40) == 0
    until(lambda: is_gone(int(port)), "the end of the server")


def test_where_its_port_is_taken_another_is_named(hive: Hive) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with up(hive, MCP_TCP_PORT=port) as (_, said):
            other = line_to_try(said)[2]
            assert other != port
            assert not is_gone(int(other))
    until(lambda: is_gone(int(other)), "the end of the server")
