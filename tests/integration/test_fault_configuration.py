"""A configuration file that somebody breaks while the suite runs takes nothing of it down, whatever is killed meanwhile."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.hive import is_alive, kill, until
from tests.integration.mcp_server import Line, request
from tests.integration.supervised import LASTING, SERVERS, Supervised

OURS = Path(__file__).parents[2] / "etc/supervisor"
TOKEN = "only-for-this-test"
GOOD = f"[mcp_tcp]\nmax_connections = 7\ntoken = '{TOKEN}'\n[ws_relay]\nping_s = 5\n"
BROKEN = ("[mcp_tcp\n", "\xff\n", "[mcp_tcp]\nmax_connections = 'many'\n[ws_relay]\nport = -1\n")


@pytest.fixture
def suite(tmp_path: Path) -> Iterator[Supervised]:
    shutil.copytree(OURS, tmp_path / "supervisor")
    conf = str(tmp_path / "supervisor/supervisord.conf")
    with Supervised(tmp_path / "h", HIVE_SUPERVISOR_CONF=conf) as suite:
        suite.config.write_text(GOOD, encoding="utf-8")
        yield suite


def error_log(suite: Supervised, name: str) -> str:
    return Path(suite.program(name).error_log).read_text(encoding="utf-8")


def errors(suite: Supervised, name: str) -> list[dict[str, str]]:
    """The errors in the log of a server, which supervisord may write after the server has answered."""
    said = error_log(suite, name).split("\n")[:-1]
    return [told for told in map(json.loads, said) if told["level"] == "error"]


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("text", BROKEN, ids=["no TOML", "no UTF-8", "wrong values"])
def test_a_server_killed_while_hive_toml_is_broken_comes_back_with_what_it_last_started_with(
    suite: Supervised, text: str
) -> None:
    gate = suite.root / "gate"
    live = suite.create(suite.shell(f"while [ ! -e {gate} ]; do sleep 0.05; done; exit 7"))
    suite.start(live)
    suite.up()
    good = suite.config.read_text(encoding="utf-8")
    suite.config.write_text(text, encoding="latin-1")
    pids = [suite.program(name).pid for name in SERVERS]
    kill(pids)
    until(lambda: not any(map(is_alive, pids)), "their end")
    until(lambda: all(suite.answers(name) for name in SERVERS), "all of them at work again")
    with Line(suite.ports["MCP_TCP_PORT"]) as line:
        refused = line.ask(request("tools/call", name="session_list"))
        assert "Authentication required" in refused["error"]["message"], "the token of the file still counts"
    for name in SERVERS[:2]:
        (error,) = until(lambda name=name: errors(suite, name), f"an error of {name}")  # type: ignore[misc]
        assert str(suite.config) in error["message"] and "last started with" in error["message"], error
        assert TOKEN not in error_log(suite, name)
    for kept in Path(suite.run_dir).glob("*.toml"):
        assert kept.stat().st_mode & 0o777 == 0o600
    status = suite.suite("status")
    assert status.stdout.count("\n") >= len(LASTING)
    assert str(suite.config) in status.stderr or text == BROKEN[2]  # values of a server's own table are its own affair
    gate.touch()
    assert suite.ended(live)["exit_code"] == 7  # what runs needs no file
    assert suite.call("create", "work").returncode == (0 if text == BROKEN[2] else 78)
    suite.config.write_text(good, encoding="utf-8")
    assert suite.suite("ctl", "restart", *SERVERS[:2]).returncode == 0
    until(lambda: all(suite.answers(name) for name in SERVERS), "all of them at work again")
    assert len(errors(suite, SERVERS[0])) == 1


def test_a_suite_with_a_broken_hive_toml_can_be_stopped(suite: Supervised) -> None:
    suite.up()
    suite.config.write_text(BROKEN[0], encoding="utf-8")
    done = suite.suite("stop")
    assert done.returncode == 0 and str(suite.config) in done.stderr
    assert suite.processes() == []
    assert suite.suite("start", "--detach").returncode == 78


def test_one_that_never_started_well_says_what_is_wrong_and_ends(suite: Supervised) -> None:
    os.makedirs(suite.run_dir, mode=0o700)
    suite.config.write_text(BROKEN[0], encoding="utf-8")
    done = suite.do("mcp-tcp", "--port", "0")
    assert done.returncode == 78 and len(done.stderr.splitlines()) == 1 and str(suite.config) in done.stderr
    assert os.listdir(suite.run_dir) == []


def test_a_reload_with_a_broken_file_of_supervisord_is_refused_and_ends_nothing(suite: Supervised) -> None:
    suite.up()
    pids, supervisord = suite.pids(), suite.supervisord()
    broken = Path(suite.conf).parent / "conf.d/90-more.conf"
    broken.write_text("[program:x]\npriority=1\n", encoding="utf-8")
    done = suite.ctl("reload")
    assert done.returncode == 78 and str(broken) in done.stderr
    assert (suite.supervisord(), suite.pids()) == (supervisord, pids)
