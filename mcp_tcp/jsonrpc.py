"""JSON-RPC 2.0 as bytes: what a decoded message is, and how answers, errors and notifications are written; pure."""

from __future__ import annotations

from typing import Any

import orjson

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
REFUSED = -32000  # token, connection limit, slow client
LEGACY_RESOURCE_NOT_FOUND = -32002  # protocol versions before 2026-07-28
UNSUPPORTED_VERSION = -32022  # 2026-07-28


ID_TYPES = (str, int, float)  # what a request's id may be; MCP allows no null


class RpcError(Exception):
    """What becomes the `error` of an answer."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


def is_request_id(value: Any) -> bool:
    """True for what an answer can be told by."""
    return type(value) in ID_TYPES


def result_line(request_id: Any, result: bytes) -> bytes:
    """The answer to a request, `result` being a JSON object as bytes; ends its line."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}\n' % (orjson.dumps(request_id), result)


def error_line(request_id: Any, code: int, message: str, data: Any = None) -> bytes:
    """An error as the answer to a request; `request_id` is None where it could not be read."""
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}) + b"\n"


def notification_line(method: str, params: dict[str, Any]) -> bytes:
    """A message that nobody answers."""
    return orjson.dumps({"jsonrpc": "2.0", "method": method, "params": params}) + b"\n"
