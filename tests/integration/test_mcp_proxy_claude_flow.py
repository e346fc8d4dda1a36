"""The real claude-flow behind the proxy: two clients at once, each with a claude-flow that keeps its state to itself."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.chain import AS_USER, USER, check_user
from tests.integration.hive import SCRIPTS, until
from tests.integration.mcp_proxy import Client, Proxy
from tests.npm import CLAUDE_FLOW_VERSION

pytestmark = pytest.mark.npm

INITIALIZE = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A directory of the user's, with a home and a workspace in it."""
    check_user()
    base = tmp_path / "base"
    for path in (base, base / "home", base / "workspace", base / "workspace" / ".swarm"):
        path.mkdir()
        os.chown(path, USER.pw_uid, USER.pw_gid)
    return base


@pytest.fixture
def proxy(tmp_path: Path, base: Path) -> Iterator[Proxy]:
    command = [f"{SCRIPTS}/claude-flow", "mcp", "start"]
    places = {"HOME": str(base / "home"), "HIVE_WORKSPACE": str(base / "workspace")}
    with Proxy(tmp_path, command, "--cwd-each", str(directories(base)), caller=AS_USER, **places) as proxy:
        yield proxy


def directories(base: Path) -> Path:
    return base / "workspace" / ".swarm" / "claude-flow-tcp"


def introduced(client: Client) -> dict[str, Any]:
    """What the server says of itself."""
    client.send(json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": INITIALIZE}).encode() + b"\n")
    answer = client.line()
    client.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
    assert answer["id"] == 0
    info: dict[str, Any] = answer["result"]["serverInfo"]
    return info


def call(client: Client, request_id: object, tool: str, **arguments: object) -> dict[str, Any]:
    """What a tool answers."""
    result = client.ask(request_id, "tools/call", name=tool, arguments=arguments)["result"]
    found: dict[str, Any] = json.loads(result["content"][0]["text"])
    return found


def state_of(place: Path) -> set[str]:
    """The agents that a claude-flow which runs there has registered."""
    return set(json.loads((place / ".claude-flow" / "agents" / "store.json").read_text(encoding="utf-8"))["agents"])


def test_two_clients_have_a_claude_flow_each_which_keeps_to_its_own_directory(proxy: Proxy, base: Path) -> None:
    before = {path for path in base.rglob("*") if directories(base) not in path.parents}
    with proxy.client() as one, proxy.client() as other:
        clients = {"one": one, "other": other}
        places: dict[str, Path] = {}
        for name, client in clients.items():
            assert introduced(client)["name"]
            (new,) = set(directories(base).iterdir()) - set(places.values())
            places[name] = new
        for client in clients.values():  # at once
            client.send(b'{"jsonrpc":"2.0","id":"tools","method":"tools/list"}\n')
        for client in clients.values():
            answer = client.line()
            assert answer["id"] == "tools" and len(answer["result"]["tools"]) > 100
        for name, client in clients.items():
            spawned = call(client, 1, "agent_spawn", agentType="coder", agentId=f"agent-of-{name}")
            assert spawned["agentId"] == f"agent-of-{name}"
        for name, client in clients.items():
            listed = call(client, "list", "agent_list")
            assert [agent["agentId"] for agent in listed["agents"]] == [f"agent-of-{name}"]
            assert state_of(places[name]) == {f"agent-of-{name}"}
        after = {path for path in base.rglob("*") if directories(base) not in path.parents}
        assert after - before <= {base / "home" / ".npm"}, after - before
    until(lambda: not list(directories(base).iterdir()), "no directory")
    proxy.wait_for_no_process()


def test_netcat_gets_the_tools_of_claude_flow(proxy: Proxy) -> None:
    with proxy.client() as client:
        client.send(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n')
        (answer,) = client.finish()
        assert len(answer["result"]["tools"]) > 100, CLAUDE_FLOW_VERSION
