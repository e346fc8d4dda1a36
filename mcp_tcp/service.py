"""What a client may say, and what is answered: one message in, bytes out. No socket is known here.

An answer is whole lines: at once where all it takes is in memory, else from a coroutine. b"": nothing is to be answered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from mcp_tcp.asking import Reply
from mcp_tcp.client import Client
from mcp_tcp.door import Door, token_of
from mcp_tcp.eras import MODERN, Era, check_envelope, envelope, finish, unsupported
from mcp_tcp.framing import Malformed, Oversized
from mcp_tcp.jsonrpc import (
    ID_TYPES,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    REFUSED,
    RpcError,
    error_line,
    result_line,
)

log = logging.getLogger(__name__)

NOTHING = b""
BUG = "Internal error: a bug of mcp-tcp; its log says where"
OTHER = "other"  # stands for the methods that there are not
BATCH_BYTES = 4 << 20  # of answers in one array: it is sent as a whole, so it is held as a whole
BEFORE_TOKEN = "a token is needed first: call authenticate with params.token"

Handler: TypeAlias = Callable[[Client, Any, dict[str, Any]], Reply]


class Line(bytes):
    """What a handler gives that is a whole line already, not a result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method of MCP. `fresh_for_ms` is set where 2026-07-28 wants to know how long a client may keep the answer."""

    handler: Handler
    handshake: bool = True  # there up to 2025-11-25
    modern: bool = True  # there from 2026-07-28 on
    fresh_for_ms: int | None = None


class Service:
    """Answers messages by a table of methods. `aliases` are names of tools that are called as if they were methods."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        *,
        call_tool: Callable[[str, dict[str, Any]], Reply | None],
        cancelled: Callable[[Client, Any], None],
        door: Door,
        server_info: Mapping[str, str],
    ) -> None:
        self._all = dict(methods)
        self._modern = {name: method for name, method in methods.items() if method.modern}
        self._handshake = {name: method for name, method in methods.items() if method.handshake}
        self._call_tool = call_tool
        self._cancelled = cancelled
        self._door = door
        self._server_info = orjson.dumps(server_info)
        self.requests = dict.fromkeys((*methods, OTHER), 0)  # by method
        self.errors: dict[int, int] = {}  # by code

    def answer(self, client: Client, message: Any) -> Reply:
        """The lines that answer `message`, which came out of a Framer."""
        if type(message) is dict:
            return self._answer_one(client, message)
        if type(message) is list:
            return self._answer_batch(client, message)
        if type(message) is Malformed:
            return self._error(None, RpcError(PARSE_ERROR, f"Parse error: {message.why}"))
        if type(message) is Oversized:
            too_long = f"Request too large: a message has at most {message.limit_bytes} bytes"
            return self._error(None, RpcError(INVALID_REQUEST, too_long))
        return self._error(None, RpcError(INVALID_REQUEST, "Invalid Request: a message is a JSON object"))

    # -- one message ---------------------------------------------------------------------------------------------------

    def _answer_one(self, client: Client, message: dict[str, Any]) -> Reply:
        method, request_id, params = message.get("method"), message.get("id"), message.get("params")
        if type(method) is not str or type(request_id) not in ID_TYPES or message.get("jsonrpc") != "2.0":
            return self._no_request(client, message)
        if params is None:
            params = {}
        elif type(params) is not dict:
            return self._error(request_id, RpcError(INVALID_PARAMS, "Invalid params: params must be an object"))
        if not client.admitted:
            return self._admit(client, request_id, method, params)
        return self._attempt(client, request_id, method, params)

    def _no_request(self, client: Client, message: dict[str, Any]) -> bytes:
        """Take what is to be answered by nothing, or by what is wrong with it."""
        method, request_id = message.get("method"), message.get("id")
        if type(method) is str and "id" not in message:
            self._hear(client, method, message.get("params"))
            return NOTHING
        if method is None and ("result" in message or "error" in message):
            return NOTHING  # an answer, and nothing was asked
        if type(request_id) not in ID_TYPES:
            return self._error(None, RpcError(INVALID_REQUEST, "Invalid Request: id must be a text or a number"))
        wrong = "method must be a text" if type(method) is not str else 'jsonrpc must be "2.0"'
        return self._error(request_id, RpcError(INVALID_REQUEST, f"Invalid Request: {wrong}"))

    def _attempt(self, client: Client, request_id: Any, method: str, params: dict[str, Any]) -> Reply:
        try:
            era = client.era
            if era.modern or not era.introduced:
                era = self._era(client, method, params)
            found = self._table(era).get(method)
            if found is None:
                return self._call_by_name(era, request_id, method, params)
            self.requests[method] += 1
            reply = found.handler(client, request_id, params)
            return self._finished(era, request_id, found.fresh_for_ms, reply, method)
        except RpcError as exc:
            return self._error(request_id, exc)
        except Exception:  # a bug of ours costs one answer, not the connection and everybody else's
            return self._bug(request_id, method)

    def _table(self, era: Era) -> dict[str, Method]:
        return self._modern if era.modern else self._handshake if era.introduced else self._all

    def _call_by_name(self, era: Era, request_id: Any, method: str, params: dict[str, Any]) -> Reply:
        """Old clients call tools as if they were methods. Raises: RpcError where there is none either."""
        reply = None if era.modern else self._call_tool(method, params)
        self.requests[OTHER if reply is None else "tools/call"] += 1
        if reply is None:
            raise RpcError(METHOD_NOT_FOUND, f"Method not found: {method[:100]}")
        return self._finished(era, request_id, None, reply, method)

    def _era(self, client: Client, method: str, params: dict[str, Any]) -> Era:
        """The era in which this request is to be answered; the first one that tells its version decides for good."""
        era = client.era
        if era.modern:
            if method == "initialize":
                raise unsupported(params.get("protocolVersion"))
            check_envelope(params)
        elif not era.introduced and envelope(params) is not None:
            check_envelope(params)
            era = client.era = MODERN
        return era

    def _finished(self, era: Era, request_id: Any, fresh_for_ms: int | None, reply: Reply, method: str) -> Reply:
        if type(reply) is bytes:
            if era.modern:
                reply = finish(reply, self._server_info, fresh_for_ms)
            return result_line(request_id, reply)
        if type(reply) is Line:
            return bytes(reply)
        assert not isinstance(reply, bytes)
        return self._later(era, request_id, fresh_for_ms, reply, method)

    async def _later(
        self, era: Era, request_id: Any, fresh_for_ms: int | None, reply: Coroutine[Any, Any, bytes], method: str
    ) -> bytes:
        try:
            found = await reply
        except RpcError as exc:
            return self._error(request_id, exc)
        except Exception:  # as above
            return self._bug(request_id, method)
        return result_line(request_id, finish(found, self._server_info, fresh_for_ms) if era.modern else found)

    def _hear(self, client: Client, method: str, params: Any) -> None:
        """Take a notification; those we know nothing of are passed over."""
        if method == "notifications/cancelled" and type(params) is dict:
            self._cancelled(client, params.get("requestId"))

    # -- several at once -----------------------------------------------------------------------------------------------

    def _answer_batch(self, client: Client, messages: list[Any]) -> Reply:
        if not client.era.batches:
            refusal = "Invalid Request: this protocol version has no batches; send one message a line"
            return self._error(None, RpcError(INVALID_REQUEST, refusal))
        if not messages:
            return self._error(None, RpcError(INVALID_REQUEST, "Invalid Request: the batch is empty"))
        return self._each(client, messages)

    async def _each(self, client: Client, messages: list[Any]) -> bytes:
        lines: list[bytes] = []
        room = BATCH_BYTES
        for message in messages:
            one = message if type(message) is dict else None
            reply = self.answer(client, one) if room > 0 or one is None else self._no_room(one)
            line = reply if isinstance(reply, bytes) else await reply
            if line:
                lines.append(line.rstrip())
                room -= len(line)
        return b"[%b]\n" % b",".join(lines) if lines else NOTHING

    def _no_room(self, message: dict[str, Any]) -> bytes:
        if type(message.get("id")) not in ID_TYPES:
            return NOTHING
        full = f"the answers to this batch have over {BATCH_BYTES} bytes; send this request by itself"
        return self._error(message["id"], RpcError(INVALID_REQUEST, full))

    # -- tokens --------------------------------------------------------------------------------------------------------

    async def _admit(self, client: Client, request_id: Any, method: str, params: dict[str, Any]) -> bytes:
        """Let a client in that brings the token; nothing else changes anything before."""
        token = token_of(method, params)
        if token is None:
            return self._error(request_id, RpcError(REFUSED, f"Authentication required: {BEFORE_TOKEN}"))
        if not await self._door.admit(client, token):
            return self._error(request_id, RpcError(REFUSED, "Authentication failed: that is not the token"))
        reply = self._attempt(client, request_id, method, params)
        return reply if isinstance(reply, bytes) else await reply

    # -- counting ------------------------------------------------------------------------------------------------------

    def _error(self, request_id: Any, error: RpcError) -> bytes:
        self.errors[error.code] = self.errors.get(error.code, 0) + 1
        return error_line(request_id, error.code, error.message, error.data)

    def outcome(self, answering: asyncio.Task[bytes], request_id: Any) -> bytes:
        """The lines of an answer that has come; where a bug of ours came instead, an error."""
        failure = answering.exception()
        if failure is None:
            return answering.result()
        log.error("a bug of ours", exc_info=failure)
        return self._error(request_id, RpcError(INTERNAL_ERROR, BUG))

    def _bug(self, request_id: Any, method: str) -> bytes:
        log.exception("a bug of ours in %s", method[:100])
        return self._error(request_id, RpcError(INTERNAL_ERROR, BUG))
