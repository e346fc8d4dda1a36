"""The table of methods: tools, resources, prompts and completion, subscriptions, and the handshake of each era."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, ClassVar

import orjson

from mcp_tcp import resources
from mcp_tcp.asking import Asking, Fault, Reply, answer, cards, fault_result, invalid
from mcp_tcp.catalogue import COMMANDS, TOOLS
from mcp_tcp.client import Client, Listen
from mcp_tcp.door import AUTHENTICATE
from mcp_tcp.eras import FRESH_MS, STABLE_MS, SUBSCRIPTION_KEY, SUPPORTED_VERSIONS, Era, negotiate
from mcp_tcp.jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    LEGACY_RESOURCE_NOT_FOUND,
    RpcError,
    notification_line,
    result_line,
)
from mcp_tcp.prompts import DIAGNOSE, EVENT_TYPES, EVENTS, LOG_LINES, PROMPTS, diagnose_session
from mcp_tcp.service import Line, Method
from mcp_tcp.subscriptions import Subscriptions
from mcp_tcp.tools import Tool

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
MAX_SUBSCRIPTIONS = 4096  # of one client
PAGE = 100  # rows of resources/list
INSTRUCTIONS = (
    "Tells the truth about AI-agent sessions on this machine, read from their files; it changes nothing. Start with session_list "
    "or swarm_list; session_status and session_agents say what one session does now; session_events and session_logs say what it "
    "did; the prompt diagnose_session gathers why one failed. To create, start or stop sessions use the command hive-session."
)


class Methods:
    """The handlers, over what can be asked and who has subscribed."""

    TOOLS: ClassVar[Mapping[str, Tool]] = TOOLS
    TEMPLATES: ClassVar[Sequence[dict[str, Any]]] = resources.TEMPLATES
    PROMPTS: ClassVar[Sequence[dict[str, Any]]] = PROMPTS

    def __init__(self, ask: Asking, subscriptions: Subscriptions, server_info: Mapping[str, str]) -> None:
        self.ask = ask
        self.subscriptions = subscriptions
        self.server_info = server_info
        self._tools_list = orjson.dumps({"tools": [describe_tool(tool) for tool in self.TOOLS.values()]})
        self._templates_list = orjson.dumps({"resourceTemplates": self.TEMPLATES})
        self._prompts_list = orjson.dumps({"prompts": self.PROMPTS})

    def table(self) -> dict[str, Method]:
        """All methods by name."""
        return {
            "initialize": Method(handler=self.initialize, modern=False),
            "ping": Method(handler=_nothing, modern=False),
            "server/discover": Method(handler=self.discover, handshake=False, fresh_for_ms=STABLE_MS),
            **{name: Method(handler=_authenticated) for name in AUTHENTICATE},
            "tools/list": Method(handler=self.list_tools, fresh_for_ms=STABLE_MS),
            "tools/call": Method(handler=self.call),
            "resources/list": Method(handler=self.list_resources, fresh_for_ms=FRESH_MS),
            "resources/templates/list": Method(handler=self.list_templates, fresh_for_ms=STABLE_MS),
            "resources/read": Method(handler=self.read_resource, fresh_for_ms=FRESH_MS),
            "resources/subscribe": Method(handler=self.subscribe, modern=False),
            "resources/unsubscribe": Method(handler=self.unsubscribe, modern=False),
            "subscriptions/listen": Method(handler=self.listen, handshake=False),
            "prompts/list": Method(handler=self.list_prompts, fresh_for_ms=STABLE_MS),
            "prompts/get": Method(handler=self.get_prompt),
            "completion/complete": Method(handler=self.complete),
        }

    # -- the handshakes ------------------------------------------------------------------------------------------------

    def initialize(self, client: Client, _id: Any, params: dict[str, Any]) -> bytes:
        """Agree on a version. Known clients send capabilities of any form; they are not looked at."""
        client.era = negotiate(params.get("protocolVersion"))
        return orjson.dumps(
            {
                "protocolVersion": client.era.version,
                "capabilities": {"tools": {}, "resources": {"subscribe": True}, "prompts": {}, "completions": {}},
                "serverInfo": self.server_info,
                "instructions": INSTRUCTIONS,
            }
        )

    def discover(self, _client: Client, _id: Any, _params: dict[str, Any]) -> bytes:
        """What 2026-07-28 has in the place of `initialize`."""
        offered = {"subscribe": True, "listChanged": True}
        return orjson.dumps(
            {
                "supportedVersions": SUPPORTED_VERSIONS,
                "capabilities": {"tools": {}, "resources": offered, "prompts": {}, "completions": {}},
                "instructions": INSTRUCTIONS,
            }
        )

    # -- tools ---------------------------------------------------------------------------------------------------------

    def list_tools(self, _client: Client, _id: Any, params: dict[str, Any]) -> bytes:
        _refuse_cursor(params)
        return self._tools_list

    def call(self, client: Client, _id: Any, params: dict[str, Any]) -> Reply:
        name, args = params.get("name"), params.get("arguments")
        tool = self.TOOLS.get(name) if type(name) is str else None
        if tool is None:
            if type(name) is str and name in COMMANDS:
                return fault_result(COMMANDS[name])
            raise RpcError(INVALID_PARAMS, f"Unknown tool: {name!r:.100}" if name else "params.name is missing")
        try:
            reply = self.ask.ask(tool, {} if args is None else args)
        except Fault as fault:
            return _told(client.era, fault)
        return reply if isinstance(reply, bytes) else _once_there(client.era, reply)

    def call_by_name(self, name: str, params: dict[str, Any]) -> Reply | None:
        """The tool of that name called as if it were a method, as old clients do; None when there is none."""
        if name in COMMANDS:
            return fault_result(COMMANDS[name])
        tool = self.TOOLS.get(name)
        if tool is None:
            return None
        try:
            reply = self.ask.ask(tool, params)
        except Fault as fault:
            raise invalid(fault) from None
        return reply if isinstance(reply, bytes) else _valid(reply)

    # -- resources -----------------------------------------------------------------------------------------------------

    def list_resources(self, _client: Client, _id: Any, params: dict[str, Any]) -> Reply:
        """The list of sessions, then each session; what a session shows besides is in the templates."""
        args = {"limit": PAGE, "cursor": params.get("cursor")}

        def shape(found: dict[str, Any]) -> bytes:
            rows = [resources.describe(self.ask.sessions.by_id[row["session_id"]].card) for row in found["sessions"]]
            first = [] if args["cursor"] else [resources.LIST_RESOURCE]
            more = {"nextCursor": found["next_cursor"]} if found["next_cursor"] else {}
            return orjson.dumps({"resources": first + rows, **more})

        return self._ask("session_list", {key: value for key, value in args.items() if value is not None}, shape)

    def list_templates(self, _client: Client, _id: Any, params: dict[str, Any]) -> bytes:
        _refuse_cursor(params)
        return self._templates_list

    def read_resource(self, client: Client, _id: Any, params: dict[str, Any]) -> Reply:
        uri = _text(params, "uri")
        if uri == resources.SESSIONS:
            return self._ask(resources.LIST_TOOL, resources.LIST_ARGS, _contents(uri, resources.JSON))
        session_id, part = self._locate(client, uri)
        return self._ask(part.tool, {"session_id": session_id, **part.args}, _contents(uri, part.mime_type))

    def subscribe(self, client: Client, _id: Any, params: dict[str, Any]) -> bytes:
        uri = _text(params, "uri")
        if uri != resources.SESSIONS:
            self._locate(client, uri)
        if client.subscriptions() >= MAX_SUBSCRIPTIONS:
            raise RpcError(INVALID_REQUEST, f"a connection has at most {MAX_SUBSCRIPTIONS} subscriptions")
        client.uris.add(uri)
        self.subscriptions.add(client, uri)
        return b"{}"

    def unsubscribe(self, client: Client, _id: Any, params: dict[str, Any]) -> bytes:
        uri = _text(params, "uri")
        client.uris.discard(uri)
        self.subscriptions.remove(client, uri)
        return b"{}"

    def _locate(self, client: Client, uri: str) -> tuple[str, resources.Part]:
        found = resources.parse_uri(uri)
        if found is None or found[0] not in self.ask.sessions.by_id:
            code = INVALID_PARAMS if client.era.modern else LEGACY_RESOURCE_NOT_FOUND
            raise RpcError(code, f"Resource not found: {uri[:200]}", {"uri": uri})
        return found

    # -- subscriptions of 2026-07-28 -----------------------------------------------------------------------------------

    def listen(self, client: Client, request_id: Any, params: dict[str, Any]) -> bytes:
        """Begin to tell of changes under this request's id; what is granted is acknowledged before anything else."""
        wanted = params.get("notifications")
        if type(wanted) is not dict:
            raise RpcError(INVALID_PARAMS, "params.notifications must be an object")
        uris = wanted.get("resourceSubscriptions") or []
        if type(uris) is not list or not all(type(uri) is str for uri in uris):
            raise RpcError(INVALID_PARAMS, "resourceSubscriptions must be a list of texts")
        if request_id in client.listens:
            raise RpcError(INVALID_REQUEST, f"the id {request_id!r} is in use by an open subscriptions/listen")
        if client.subscriptions() + len(uris) >= MAX_SUBSCRIPTIONS:
            raise RpcError(INVALID_REQUEST, f"a connection has at most {MAX_SUBSCRIPTIONS} subscriptions")
        granted = tuple(dict.fromkeys(uri for uri in uris if uri == resources.SESSIONS or resources.parse_uri(uri)))
        listen = client.listens[request_id] = Listen(granted, wanted.get("resourcesListChanged") is True)
        for uri in listen.uris:
            self.subscriptions.add(client, uri, request_id)
        if listen.list_changes:
            self.subscriptions.add_list(client, request_id)
        honoured: dict[str, Any] = {"resourceSubscriptions": granted} if granted else {}
        if listen.list_changes:
            honoured["resourcesListChanged"] = True
        meta = {SUBSCRIPTION_KEY: request_id}
        return Line(notification_line(ACKNOWLEDGED, {"notifications": honoured, "_meta": meta}))

    def cancelled(self, client: Client, request_id: Any) -> None:
        """The client wants no (more) answer to that request."""
        client.cancel(request_id)
        self.end_listen(client, request_id)

    def end_listen(self, client: Client, request_id: Any) -> None:
        """Forget one subscriptions/listen: nothing more is sent for it."""
        try:
            listen = client.listens.pop(request_id, None)
        except TypeError:  # an id that no request can have
            return
        if listen is None:
            return
        for uri in listen.uris:
            self.subscriptions.remove(client, uri, request_id)
        if listen.list_changes:
            self.subscriptions.remove_list(client, request_id)

    def leave(self, client: Client) -> None:
        """Forget all that a client wanted to hear of."""
        for uri in client.uris:
            self.subscriptions.remove(client, uri)
        client.uris.clear()
        for request_id in list(client.listens):
            self.end_listen(client, request_id)

    # -- prompts and completion ----------------------------------------------------------------------------------------

    def list_prompts(self, _client: Client, _id: Any, params: dict[str, Any]) -> bytes:
        _refuse_cursor(params)
        return self._prompts_list

    def get_prompt(self, _client: Client, _id: Any, params: dict[str, Any]) -> Reply:
        name, args = _text(params, "name"), params.get("arguments") or {}
        if name != DIAGNOSE:
            raise RpcError(INVALID_PARAMS, f"Unknown prompt: {name[:100]!r}; there is {DIAGNOSE}")
        if type(args) is not dict or type(args.get("session_id")) is not str:
            raise RpcError(INVALID_PARAMS, f"{DIAGNOSE}: session_id is missing")
        return _valid(self._diagnose(args["session_id"]))

    async def _diagnose(self, session_id: str) -> bytes:
        session = self.ask.session(session_id)
        await self.ask.load(session)
        about = {"session_id": session_id}
        log = await self._read("session_logs", {**about, "tail": LOG_LINES})
        told = await self._read("session_events", {**about, "tail": EVENTS, "types": list(EVENT_TYPES)})
        messages = diagnose_session(session.card, session.hive, log["lines"], told["events"])
        return orjson.dumps({"description": f"Why did session {session_id} end as it did?", "messages": messages})

    async def _read(self, tool: str, args: dict[str, Any]) -> dict[str, Any]:
        """What a tool that reads files answers."""
        found = self.TOOLS[tool]
        question = self.ask.question(found, args)
        return await self.ask.in_thread(lambda: answer(found, question))

    def complete(self, _client: Client, _id: Any, params: dict[str, Any]) -> bytes:
        """Ids of sessions that begin with what is there so far."""
        ref, argument = params.get("ref"), params.get("argument")
        if type(ref) is not dict or type(argument) is not dict or type(argument.get("value")) is not str:
            raise RpcError(INVALID_PARAMS, "params must hold ref and argument with name and value")
        kind, name = ref.get("type"), argument.get("name")
        template = kind == "ref/resource" and name == "id" and str(ref.get("uri")).startswith(resources.PREFIX)
        prompt = kind == "ref/prompt" and name == "session_id" and ref.get("name") == DIAGNOSE
        found = cards(self.ask.sessions) if template or prompt else []
        return orjson.dumps({"completion": resources.complete_id(argument["value"], found, ended_badly_first=prompt)})

    def _ask(self, tool: str, args: dict[str, Any], shape: Any) -> Reply:
        """What a tool of ours says, in another shape. Raises: RpcError."""
        try:
            reply = self.ask.shaped(self.TOOLS[tool], args, shape)
        except Fault as fault:
            raise invalid(fault) from None
        return reply if isinstance(reply, bytes) else _valid(reply)


def describe_tool(tool: Tool) -> dict[str, Any]:
    """A tool as tools/list shows it."""
    shown: dict[str, Any] = {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": tool.input_schema,
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    }
    if tool.output_schema:
        shown["outputSchema"] = tool.output_schema
    return shown


def listen_ended(request_id: Any) -> bytes:
    """The answer that ends a subscriptions/listen in good order."""
    return result_line(request_id, orjson.dumps({"resultType": "complete", "_meta": {SUBSCRIPTION_KEY: request_id}}))


def _nothing(_client: Client, _id: Any, _params: dict[str, Any]) -> bytes:
    return b"{}"


def _authenticated(_client: Client, _id: Any, _params: dict[str, Any]) -> bytes:
    return b'{"authenticated":true}'


def _text(params: Mapping[str, Any], key: str) -> str:
    value = params.get(key)
    if type(value) is not str:
        raise RpcError(INVALID_PARAMS, f"params.{key} must be a text")
    return value


def _refuse_cursor(params: Mapping[str, Any]) -> None:
    if params.get("cursor") is not None:
        raise RpcError(INVALID_PARAMS, "no such cursor: this list has one page")


def _contents(uri: str, mime_type: str) -> Any:
    def shape(found: dict[str, Any]) -> bytes:
        text = orjson.dumps(found).decode() if mime_type == resources.JSON else "\n".join(found["lines"])
        return orjson.dumps({"contents": [{"uri": uri, "mimeType": mime_type, "text": text}]})

    return shape


def _told(era: Era, fault: Fault) -> bytes:
    """A fault in the way of the era. Raises: RpcError where it is a protocol error."""
    if era.tool_faults:
        return fault_result(str(fault))
    raise invalid(fault) from None


async def _once_there(era: Era, reply: Coroutine[Any, Any, bytes]) -> bytes:
    try:
        return await reply
    except Fault as fault:
        return _told(era, fault)


async def _valid(reply: Coroutine[Any, Any, bytes]) -> bytes:
    try:
        return await reply
    except Fault as fault:
        raise invalid(fault) from None
