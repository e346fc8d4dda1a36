"""The MCP Inspector's command line, a client by others in TypeScript, on the data plane through socat."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.integration.mcp_server import Json, Stage
from tests.npm import INSPECTOR_MAIN, NODE_BIN

pytestmark = pytest.mark.npm


def inspect(stage: Stage, *words: str) -> Json:
    """What the Inspector prints for `--method WORDS…`."""
    server = ["socat", "-", f"TCP:127.0.0.1:{stage.plane.port}"]
    done = subprocess.run(
        [NODE_BIN, INSPECTOR_MAIN, "--cli", *server, "--method", *words],
        env={**stage.hive.env, "PATH": f"{NODE_BIN.parent}:{os.environ['PATH']}"},
        capture_output=True,
        timeout=50,
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    answer: Json = json.loads(done.stdout)
    return answer


def test_the_inspector_lists_the_tools(stage: Stage) -> None:
    tools = {tool["name"]: tool for tool in inspect(stage, "tools/list")["tools"]}
    assert {"session_list", "session_status", "agent_list", "performance_summary"} <= tools.keys()
    assert all(tool["inputSchema"]["type"] == "object" and tool["description"] for tool in tools.values())


def test_the_inspector_calls_a_tool(stage: Stage) -> None:
    answer = inspect(stage, "tools/call", "--tool-name", "session_status", "--tool-arg", f"session_id={stage.live}")
    told = answer["structuredContent"]
    assert (told["session_id"], told["status"]) == (stage.live, "running")
    assert json.loads(answer["content"][0]["text"]) == told


def test_the_inspector_lists_and_reads_resources(stage: Stage) -> None:
    uri = f"hive://session/{stage.live}"
    assert uri in [resource["uri"] for resource in inspect(stage, "resources/list")["resources"]]
    (content,) = inspect(stage, "resources/read", "--uri", uri)["contents"]
    assert content["uri"] == uri
    templates = inspect(stage, "resources/templates/list")["resourceTemplates"]
    assert all(template["uriTemplate"].startswith("hive://session/{") for template in templates)


def test_the_inspector_lists_the_prompt(stage: Stage) -> None:
    assert [prompt["name"] for prompt in inspect(stage, "prompts/list")["prompts"]] == ["diagnose_session"]
