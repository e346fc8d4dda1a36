"""What docs/clients.md says to type, typed: each block against a data plane of its own port."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.hive import DEADLINE_S, SCRIPTS, Hive
from tests.integration.mcp_server import DataPlane, Stage, ending_piped_calls

DOCUMENT = Path(__file__).parents[2] / "docs/clients.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of one language, "" for those that name none."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return [code for name, code in found if name == language]


def block_with(language: str, words: str, port: int) -> str:
    """The one block that has `words` in it, for a server on `port`."""
    (found,) = (code for code in blocks(language) if words in code)
    assert "9500" in found
    return found.replace("9500", str(port))


def run_python(code: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-u", "-c", code]
    # No buffer on our side: of what is in one, select knows nothing.
    return subprocess.Popen(argv, bufsize=0, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def next_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout and process.stderr
    if not select.select([process.stdout], [], [], DEADLINE_S)[0]:
        process.kill()
        raise AssertionError(f"it says nothing: {process.stderr.read().decode()}")
    return process.stdout.readline().decode()


def test_python_with_nothing_prints_every_session(stage: Stage) -> None:
    process = run_python(block_with("python", "makefile", stage.plane.port), stage.hive.env)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err.decode()
    assert {line.split()[0] for line in out.decode().splitlines()} == stage.ids


def test_python_with_the_official_package_hears_of_changes_even_after_the_server_was_killed(plane: DataPlane) -> None:
    env = {**plane.hive.env, "PATH": f"{SCRIPTS}:{os.environ['PATH']}"}
    process = run_python(block_with("python", "mcp-stdio-bridge", plane.port), env)
    try:
        assert "'sessions': []" in next_line(process)
        plane.hive.create("rehearsal")
        assert "hive://sessions" in next_line(process)
        plane.kill()
        plane.start()
        assert "hive://sessions" in next_line(process)  # it may have missed something: read again
        plane.hive.create("rehearsal")
        assert "hive://sessions" in next_line(process)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(shutil.which("nc") is None, reason="needs netcat (apt install netcat-openbsd)")
def test_the_lines_for_netcat_are_answered(stage: Stage) -> None:
    with ending_piped_calls(stage.hive, 2.0) as plane:
        script = block_with("", "| nc localhost", plane.port)
        done = subprocess.run(["sh", "-c", script], capture_output=True, timeout=DEADLINE_S, check=True)
    tools, sessions = (json.loads(line)["result"] for line in done.stdout.splitlines())
    assert "session_list" in {tool["name"] for tool in tools["tools"]}
    assert [session["session_id"] for session in sessions["sessions"]] == [stage.live]


def test_the_first_line_of_a_connection_with_a_token_is_the_one_that_is_described(tmp_path: Path) -> None:
    (line,) = re.findall(r'`(\{"jsonrpc":"2.0","id":0,"method":"authenticate".*?\})`', TEXT)
    token = json.loads(line)["params"]["token"]
    with Hive(tmp_path / "hive") as hive, DataPlane(hive, env={"TCP_AUTH_TOKEN": token}) as plane:
        with plane.connect() as connection:
            connection.send(line.encode() + b"\n")
            assert connection.next()["id"] == 0
            assert "result" in connection.ask({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        refused = plane.ask({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        assert refused["error"]["code"] == -32000
        asked = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n'
        for shown, kind in ((token, b'"result"'), ("another", b"it refused the token"), ("", b'"error"')):
            bridge = [sys.executable, "-m", "mcp_tcp.bridge", f"127.0.0.1:{plane.port}"]
            env = {**hive.env, "TCP_AUTH_TOKEN": shown}
            with subprocess.Popen(bridge, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
                assert process.stdin and process.stdout
                process.stdin.write(asked)
                process.stdin.flush()
                assert kind in process.stdout.readline()  # before the end of its input, from which its time is short
                assert process.communicate(timeout=DEADLINE_S)[0] == b""
            assert process.returncode == 0


def test_the_configurations_name_the_bridge_and_its_token() -> None:
    servers = [json.loads(text)["mcpServers"]["hive"] for text in blocks("json")]
    assert [server["args"] for server in servers] == [["hive.example:9500"], ["127.0.0.1:9500"]]
    for server in servers:
        assert Path(server["command"]).name == "mcp-stdio-bridge"
        assert list(server["env"]) == ["TCP_AUTH_TOKEN"]


def test_no_example_puts_a_token_on_a_command_line() -> None:
    assert not re.search(r"^\S.*TOKEN=", TEXT, re.MULTILINE)


def test_the_bridge_s_words_are_those_of_its_help() -> None:
    done = subprocess.run([sys.executable, "-m", "mcp_tcp.bridge", "--help"], capture_output=True, check=True)
    usage = " ".join(done.stdout.decode().partition("\n\n")[0].split())
    assert "[--wait-s SECONDS] [HOST:PORT]" in usage
    assert "`mcp-stdio-bridge [HOST:PORT] [--wait-s SECONDS]`" in TEXT
    named = set(re.findall(r"`(MCP_\w+|TCP_\w+)`", TEXT)) - {"TCP_MAX_CONNECTIONS"}
    assert named == set(re.findall(r"\b(?:MCP|TCP)_[A-Z_]+\b", done.stdout.decode()))
