"""The peer in Python: the official SDK's lowlevel server on TCP, with one tool; run it with -P, as bench/mcp.py has its name."""

import sys

import anyio
import mcp_types as types
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.message import SessionMessage

MAX_LINE_BYTES = 1 << 20
STATUS = (
    '"status":"running","agents":4,"active_agents":3,"tokens":55152,"cost_usd":0.19211,"headline":"coder: Bash",'
    '"task":"Build the importer and show that it keeps every byte"'
)
TOOL = types.Tool(name="session_status", description="The state of one session.", input_schema={"type": "object"})


async def list_tools(
    context: ServerRequestContext[object], params: types.PaginatedRequestParams | None
) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[TOOL])


async def call_tool(context: ServerRequestContext[object], params: types.CallToolRequestParams) -> types.CallToolResult:
    session_id = (params.arguments or {})["session_id"]
    return types.CallToolResult(content=[types.TextContent(text=f'{{"session_id":"{session_id}",{STATUS}}}')])


async def serve(stream: SocketStream) -> None:
    """One client, from its first line to its last."""
    server = Server[object]("sdk-peer", on_list_tools=list_tools, on_call_tool=call_tool)
    received, to_read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    to_write, sent = anyio.create_memory_object_stream[SessionMessage](0)

    async def read() -> None:
        lines = BufferedByteReceiveStream(stream)
        async with received:
            try:
                while True:
                    line = await lines.receive_until(b"\n", MAX_LINE_BYTES)
                    await received.send(
                        SessionMessage(types.jsonrpc_message_adapter.validate_json(line, by_name=False))
                    )
            except (anyio.IncompleteRead, anyio.BrokenResourceError):
                return  # the client has gone

    async def write() -> None:
        async with sent:
            async for each in sent:
                await stream.send(each.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")

    async with stream, anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(write)
        await server.run(to_read, to_write, server.create_initialization_options())
        tasks.cancel_scope.cancel()


async def main() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    print(f"listening on 127.0.0.1:{listener.extra(SocketAttribute.local_port)}", file=sys.stderr, flush=True)
    await listener.serve(serve)


anyio.run(main)
