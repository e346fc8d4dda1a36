"""What the programs of a running suite do not have in memory, and that what was left out is told of, or comes when it is used."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.hive import DEADLINE_S, read_bytes, until
from tests.integration.supervised import SERVERS, Supervised

OPENSSL = ("libssl", "libcrypto", "_ssl.", "_hashlib.")
ERROR_LOGS = {
    "mcp-tcp-server": "mcp/tcp-server-error.log",
    "mcp-ws-bridge": "mcp/ws-bridge-error.log",
    "claude-flow-tcp": "mcp/claude-flow-tcp-error.log",
    "health": "supervisor/health-error.log",
}
ABSENT = {
    "mcp-tcp-server": {"argparse", "shutil", "sqlite3", "email", "importlib.metadata"},
    "mcp-ws-bridge": {"argparse", "shutil", "sqlite3", "email.message", "zipfile", "importlib.metadata"},
    "claude-flow-tcp": {"sqlite3", "email", "importlib.metadata"},
    "health": {"asyncio", "typing", "dataclasses", "logging", "subprocess", "inspect", "hashlib", "argparse"},
}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    """A suite of which every server has answered and whose programs tell what they import."""
    with Supervised(tmp_path_factory.mktemp("lean") / "h") as suite:
        suite.up(PYTHONPROFILEIMPORTTIME="1")
        yield suite


def imported(suite: Supervised, program: str) -> set[str]:
    """The modules that a program has looked for."""
    told = Path(suite.layout.log_dir, ERROR_LOGS[program]).read_text(encoding="utf-8")
    return set(re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", told, re.MULTILINE))


@pytest.mark.parametrize("program", ABSENT)
def test_a_program_loads_nothing_that_serves_only_other_ways_of_starting_it(suite: Supervised, program: str) -> None:
    until(lambda: "hive_session.ondisk" in imported(suite, program), "it tells what it imports, else nothing is proven")
    assert imported(suite, program) & ABSENT[program] == set()


def test_none_but_the_proxy_has_openssl_in_memory(suite: Supervised) -> None:
    pids = {"supervisord": suite.supervisord(), **suite.pids()}

    def has_it(pid: int) -> bool:
        maps = read_bytes(f"/proc/{pid}/maps").decode("utf-8", "replace")
        assert "libc" in maps
        return any(name in maps for name in OPENSSL)

    assert {name for name, pid in pids.items() if has_it(pid)} == {"claude-flow-tcp"}  # uvloop brings it


def test_without_openssl_every_server_answers(suite: Supervised) -> None:
    assert [suite.answers(name) for name in SERVERS] == [True] * len(SERVERS)


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=DEADLINE_S)


def test_whoever_needs_tls_in_a_program_without_it_is_told_so() -> None:
    done = python("from hive_session.ondisk.lean import leave_out_tls as f; f()\nimport asyncio, ssl")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ModuleNotFoundError: import of ssl halted")


def test_hashes_are_the_same_without_openssl() -> None:
    code = "import hashlib\nprint([hashlib.new(n, b'hive').hexdigest() for n in ('sha1', 'sha256', 'blake2b')])"
    lean = python(f"from hive_session.ondisk.lean import leave_out_tls as f; f()\n{code}")
    assert (lean.returncode, lean.stderr) == (0, "")
    assert lean.stdout == python(code).stdout


def test_a_module_that_is_loaded_when_used_is_the_module_once_it_is_used() -> None:
    code = """
import sys
from hive_session.ondisk.lean import load_when_used
load_when_used("importlib.metadata")
import importlib.metadata
assert "zipfile" not in sys.modules
importlib.metadata.version("websockets")
assert "zipfile" in sys.modules
from importlib.metadata import EntryPoint
import importlib.metadata as again
assert again is sys.modules["importlib.metadata"] and again.EntryPoint is EntryPoint and again.__file__
try:
    again.no_such_thing
except AttributeError:
    print("well")
"""
    done = python(code)
    assert (done.stdout, done.stderr) == ("well\n", "")
