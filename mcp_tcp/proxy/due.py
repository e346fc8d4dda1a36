"""What passes between a client and a stdio server, read as far as it tells which answers are due; pure."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import orjson

from mcp_tcp.jsonrpc import REFUSED, error_line, is_request_id

CANCELLED = "notifications/cancelled"
# Beyond these a request passes but is not remembered, so that memory stays bounded; the end of its connection is its answer.
MAX_DUE = 10_000
MAX_ID_CHARS = 1_000


class Due:
    """The ids of requests that are not answered yet, in their order."""

    __slots__ = ("_ids",)

    def __init__(self) -> None:
        self._ids: dict[Any, None] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def sent(self, line: bytes) -> None:
        """Note what the client sent, with or without its line end; what is no JSON is the server's to judge."""
        try:
            message = orjson.loads(line)
        except ValueError:
            return
        for each in message if type(message) is list else (message,):
            if type(each) is dict and "method" in each:
                self._note(each)

    def heard(self, line: bytes) -> bool:
        """Note what the server said. False: it is no JSON object, or batch of them, and so nothing for the client."""
        try:
            message = orjson.loads(line)
        except ValueError:
            message = _decode_leniently(line)
        if type(message) is dict:
            batch = [message]
        elif type(message) is list and message and all(type(each) is dict for each in message):
            batch = message
        else:
            return False
        for each in batch:
            if "method" not in each and is_request_id(request_id := each.get("id")):
                self._ids.pop(request_id, None)
        return True

    def take_errors(self, message: str) -> bytes:
        """An error line for each request that is due; afterwards none is."""
        lines = [error_line(request_id, REFUSED, message) for request_id in self._ids]
        self._ids.clear()
        return b"".join(lines)

    def _note(self, message: dict[str, Any]) -> None:
        request_id = message.get("id")
        if is_request_id(request_id):
            if len(self._ids) < MAX_DUE and not (type(request_id) is str and len(request_id) > MAX_ID_CHARS):
                self._ids[request_id] = None
        elif message["method"] == CANCELLED and type(params := message.get("params")) is dict:
            cancelled = params.get("requestId")
            if is_request_id(cancelled):
                self._ids.pop(cancelled, None)


def _decode_leniently(line: bytes) -> object:
    """The JSON value of a line that orjson refuses although it is JSON: lone surrogates, as Node.js writes them."""
    if line.lstrip()[:1] not in (b"{", b"["):
        return None
    try:
        value: object = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
