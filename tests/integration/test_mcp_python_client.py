"""The official Python client, in both eras of the protocol, on the data plane of a workspace where sessions run."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import mcp.client.session
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.subscriptions import ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage
from mcp_types import (
    BlobResourceContents,
    CallToolResult,
    ResourceTemplateReference,
    ResourceUpdatedNotification,
    TextContent,
    TextResourceContents,
)
from mcp_types.jsonrpc import jsonrpc_message_adapter

from tests.integration.mcp_server import Stage

DEADLINE_S = 20
LINE_MAX_BYTES = 16 << 20

Test = Callable[[Client], Awaitable[None]]


def over_socat(port: int) -> StdioServerParameters:
    return StdioServerParameters(command="socat", args=["-", f"TCP:127.0.0.1:{port}"])


@asynccontextmanager
async def over_tcp(port: int) -> AsyncIterator[Any]:
    """A transport of the SDK's that is a TCP connection."""
    to_client, read = anyio.create_memory_object_stream[SessionMessage | Exception](100)
    write, from_client = anyio.create_memory_object_stream[SessionMessage](100)

    async def receive() -> None:
        lines = BufferedByteReceiveStream(stream)
        with to_client:
            try:
                while True:
                    line = await lines.receive_until(b"\n", LINE_MAX_BYTES)
                    await to_client.send(SessionMessage(jsonrpc_message_adapter.validate_json(line)))
            except (anyio.IncompleteRead, anyio.ClosedResourceError, anyio.BrokenResourceError):
                return

    async def send() -> None:
        async for message in from_client:
            await stream.send(message.message.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n")

    async with await anyio.connect_tcp("127.0.0.1", port) as stream, anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        tasks.start_soon(send)
        with read, write, from_client:
            yield read, write
            tasks.cancel_scope.cancel()


def run(server: Any, mode: str, test: Test, **options: Any) -> None:
    """Run `test` with a connected client; it fails after DEADLINE_S."""

    async def session() -> None:
        with anyio.fail_after(DEADLINE_S):
            async with Client(server, mode=mode, **options) as client:
                await test(client)

    anyio.run(session)


@pytest.fixture(params=["2024-11-05", "2025-06-18", "2025-11-25", "2026-07-28"])
def connected(request: pytest.FixtureRequest, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Callable[[Test], None]:
    """Runs a test with a client of one version, through socat."""
    version = request.param
    if version == "2026-07-28":
        return functools.partial(run, over_socat(stage.plane.port), version)
    # What the handshake asks for; by itself the client always asks for the newest that has one.
    monkeypatch.setattr(mcp.client.session, "LATEST_HANDSHAKE_VERSION", version)

    def check(test: Test) -> None:
        async def of_this_version(client: Client) -> None:
            assert client.protocol_version == version
            await test(client)

        run(over_socat(stage.plane.port), "legacy", of_this_version)

    return check


def text_of(result: CallToolResult) -> Any:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return json.loads(content.text)


def test_every_tool_answers_with_content_that_fits_its_schema(connected: Callable[[Test], None], stage: Stage) -> None:
    async def test(client: Client) -> None:
        agents = (await client.call_tool("session_agents", {"session_id": stage.live})).structured_content
        assert agents
        agent_id = agents["agents"][0]["agent_id"]
        for tool in (await client.list_tools()).tools:
            assert tool.description
            assert tool.output_schema, tool.name
            arguments = {"session_id": stage.live, "swarm_id": stage.live, "agent_id": agent_id}
            known = tool.input_schema["properties"]
            given = {name: value for name, value in arguments.items() if name in known}
            if "agent_id" in given:
                given = {"agent_id": agent_id}
            result = await client.call_tool(tool.name, given)  # checks structured content by the output schema
            assert not result.is_error, (tool.name, result)
            assert text_of(result) == result.structured_content

    connected(test)


def test_a_refused_call_says_why(connected: Callable[[Test], None], stage: Stage) -> None:
    async def test(client: Client) -> None:
        for name, arguments in (("session_status", {"session_id": "nonsense"}), ("swarm_init", {"topology": "mesh"})):
            try:
                result = await client.call_tool(name, arguments)
            except MCPError as error:
                assert error.code == -32602  # until 2025-06-18 a refused argument was an error of the protocol
                continue
            assert result.is_error
            assert isinstance(result.content[0], TextContent)
            assert "session" in result.content[0].text

    connected(test)


def test_every_resource_can_be_read(connected: Callable[[Test], None], stage: Stage) -> None:
    async def test(client: Client) -> None:
        listed = {resource.uri for resource in (await client.list_resources()).resources}
        assert "hive://sessions" in listed
        assert {f"hive://session/{session_id}" for session_id in stage.ids} <= listed
        templates = (await client.list_resource_templates()).resource_templates
        assert len(templates) >= 4
        for template in templates:
            start, _, rest = template.uri_template.partition("{")
            uri = f"{start}{stage.live}{rest.partition('}')[2]}"
            contents = (await client.read_resource(uri)).contents
            assert contents, uri
            assert all(isinstance(part, TextResourceContents | BlobResourceContents) for part in contents)
        with pytest.raises(MCPError) as caught:
            await client.read_resource("hive://session/../../etc/passwd")
        assert caught.value.code == (-32602 if client.protocol_version == "2026-07-28" else -32002)

    connected(test)


def test_ids_are_completed(connected: Callable[[Test], None], stage: Stage) -> None:
    async def test(client: Client) -> None:
        for template in (await client.list_resource_templates()).resource_templates:
            name = template.uri_template.partition("{")[2].partition("}")[0]
            ref = ResourceTemplateReference(uri=template.uri_template)
            found = await client.complete(ref, {"name": name, "value": stage.live[:8]})
            assert found.completion.values == [stage.live]
            everything = await client.complete(ref, {"name": name, "value": ""})
            assert stage.ids <= set(everything.completion.values)

    connected(test)


def test_the_prompt_tells_why_a_session_failed(connected: Callable[[Test], None], stage: Stage) -> None:
    async def test(client: Client) -> None:
        (prompt,) = (await client.list_prompts()).prompts
        assert prompt.name == "diagnose_session"
        got = await client.get_prompt(prompt.name, {"session_id": stage.failed})
        told = "\n".join(message.content.text for message in got.messages if message.content.type == "text")
        assert stage.failed in told
        assert "7" in told

    connected(test)


# The client calls it deprecated, as the newest version has it no more; the older ones it is for do.
@pytest.mark.filterwarnings("ignore:resources/.*subscribe is removed:mcp.shared.exceptions.MCPDeprecationWarning")
@pytest.mark.parametrize("version", ["2024-11-05", "2025-11-25"])
def test_a_subscriber_hears_of_a_change(stage: Stage, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(mcp.client.session, "LATEST_HANDSHAKE_VERSION", version)
    uri = "hive://sessions"
    heard = anyio.Event()

    async def listen(message: object) -> None:
        if isinstance(message, ResourceUpdatedNotification) and message.params.uri == uri:
            heard.set()

    async def test(client: Client) -> None:
        await client.subscribe_resource(uri)
        assert not heard.is_set()
        session_id = await anyio.to_thread.run_sync(stage.hive.create, "rehearsal")
        await heard.wait()
        (content,) = (await client.read_resource(uri)).contents
        assert isinstance(content, TextResourceContents)
        assert session_id in content.text
        await client.unsubscribe_resource(uri)

    run(over_socat(stage.plane.port), "legacy", test, message_handler=listen)


def test_a_listener_hears_of_a_change(stage: Stage) -> None:
    uri = f"hive://session/{stage.live}/telemetry"

    async def test(client: Client) -> None:
        async with client.listen(resource_subscriptions=[uri], resources_list_changed=True) as heard:
            assert heard.honored.resource_subscriptions == [uri]
            await anyio.to_thread.run_sync(stage.hive.answer, "emit", stage.live, '{"type":"note","text":"half way"}')
            assert await anext(heard) == ResourceUpdated(uri=uri)

    run(over_socat(stage.plane.port), "2026-07-28", test)


def test_the_client_finds_out_by_itself_that_the_server_is_of_the_newest_era(stage: Stage) -> None:
    async def test(client: Client) -> None:
        assert client.protocol_version == "2026-07-28"
        assert client.server_info
        assert client.server_info.name
        assert client.server_capabilities.resources
        assert client.server_capabilities.resources.subscribe

    run(over_socat(stage.plane.port), "auto", test)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_the_client_works_on_a_socket_too(stage: Stage, mode: str) -> None:
    async def test(client: Client) -> None:
        async def status() -> None:
            result = await client.call_tool("session_status", {"session_id": stage.live})
            assert result.structured_content
            assert result.structured_content["status"] == "running"

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(status)

    run(over_tcp(stage.plane.port), mode, test)
