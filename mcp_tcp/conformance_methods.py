"""The methods with the fixtures of the official conformance suite among what they offer: the hidden flag --conformance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

from mcp_tcp import conformance
from mcp_tcp.asking import Reply
from mcp_tcp.client import Client
from mcp_tcp.jsonrpc import INVALID_PARAMS, RpcError
from mcp_tcp.methods import Methods
from mcp_tcp.tools import Tool


class FixtureMethods(Methods):
    """Looks for a fixture first, then for what is ours."""

    TOOLS: ClassVar[Mapping[str, Tool]] = {**Methods.TOOLS, **conformance.TOOLS}
    TEMPLATES = (*Methods.TEMPLATES, *conformance.TEMPLATES)
    PROMPTS = (*Methods.PROMPTS, *conformance.PROMPTS)

    def list_resources(self, _client: Client, _id: Any, _params: dict[str, Any]) -> Reply:
        return orjson.dumps({"resources": conformance.RESOURCES})

    def read_resource(self, client: Client, request_id: Any, params: dict[str, Any]) -> Reply:
        found = conformance.read_resource(str(params.get("uri")))
        return orjson.dumps({"contents": [found]}) if found else super().read_resource(client, request_id, params)

    def subscribe(self, client: Client, request_id: Any, params: dict[str, Any]) -> bytes:
        found = conformance.read_resource(str(params.get("uri")))
        return b"{}" if found else super().subscribe(client, request_id, params)

    def get_prompt(self, client: Client, request_id: Any, params: dict[str, Any]) -> Reply:
        try:
            found = conformance.get_prompt(str(params.get("name")), params.get("arguments") or {})
        except KeyError as exc:
            raise RpcError(INVALID_PARAMS, f"the argument {exc} is missing") from None
        return orjson.dumps(found) if found else super().get_prompt(client, request_id, params)

    def complete(self, client: Client, request_id: Any, params: dict[str, Any]) -> bytes:
        ref, argument = params.get("ref") or {}, params.get("argument") or {}
        values = conformance.complete(str(ref.get("name")), str(argument.get("name")), str(argument.get("value")))
        if values is None:
            return super().complete(client, request_id, params)
        return orjson.dumps({"completion": {"values": values, "total": len(values), "hasMore": False}})
