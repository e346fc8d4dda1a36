"""The protocol versions of MCP that are spoken here, and how one tells which of them a client speaks; pure.

Up to 2025-11-25 a client introduces itself with `initialize`, and the version holds for the connection. From 2026-07-28 on each
request carries its version in `params._meta`. Whoever does neither types by hand: that is taken for 2024-11-05.
Source: facts/protocols.md A; the specification's pages on versioning, lifecycle and transports.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mcp_tcp.jsonrpc import INVALID_PARAMS, UNSUPPORTED_VERSION, RpcError

HANDSHAKE_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN_VERSIONS = ("2026-07-28",)
SUPPORTED_VERSIONS = (*HANDSHAKE_VERSIONS, *MODERN_VERSIONS)

META = "io.modelcontextprotocol/"
VERSION_KEY = f"{META}protocolVersion"
CAPABILITIES_KEY = f"{META}clientCapabilities"
SERVER_INFO_KEY = f"{META}serverInfo"
SUBSCRIPTION_KEY = f"{META}subscriptionId"

FRESH_MS = 0  # answers that may be different at once
STABLE_MS = 3_600_000  # what only another version of this program changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Era:
    """The rules of one protocol version."""

    version: str
    modern: bool = False  # stateless: each request tells its version
    introduced: bool = True  # false for whoever never said what they speak
    batches: bool = False  # several messages in one array
    tool_faults: bool = False  # arguments that do not fit are a result for the model to read, not a protocol error


BARE = Era(version="2024-11-05", introduced=False)
MODERN = Era(version="2026-07-28", modern=True, tool_faults=True)
LEGACY = {
    "2024-11-05": Era(version="2024-11-05"),
    "2025-03-26": Era(version="2025-03-26", batches=True),
    "2025-06-18": Era(version="2025-06-18"),
    "2025-11-25": Era(version="2025-11-25", tool_faults=True),
}


def negotiate(asked: Any) -> Era:
    """The era for an `initialize` that asks for that version: the same where we speak it, else one that it will understand.

    Known clients ask for "1.0.0", or for an object; they get the oldest. A version of the future gets the newest.
    """
    if isinstance(asked, str):
        if asked in LEGACY:
            return LEGACY[asked]
        if asked > HANDSHAKE_VERSIONS[-1] and asked[:2] == "20":
            return LEGACY[HANDSHAKE_VERSIONS[-1]]
    return LEGACY[HANDSHAKE_VERSIONS[0]]


def envelope(params: Any) -> dict[str, Any] | None:
    """`_meta` of a request that tells its version; None when it does not."""
    meta = params.get("_meta") if type(params) is dict else None
    return meta if type(meta) is dict and VERSION_KEY in meta else None


def check_envelope(params: Any) -> None:
    """Accept a request of 2026-07-28 in silence. Raises: RpcError."""
    meta = params.get("_meta") if type(params) is dict else None
    if type(meta) is dict and meta.get(VERSION_KEY) in MODERN_VERSIONS and type(meta.get(CAPABILITIES_KEY)) is dict:
        return
    missing = [key for key in (VERSION_KEY, CAPABILITIES_KEY) if type(meta) is not dict or key not in meta]
    if missing:
        raise RpcError(INVALID_PARAMS, f"params._meta lacks {' and '.join(missing)}")
    assert type(meta) is dict
    version = meta[VERSION_KEY]
    if type(version) is not str:
        raise RpcError(INVALID_PARAMS, f"{VERSION_KEY} is not a text")
    if version not in MODERN_VERSIONS:
        raise unsupported(version)
    if type(meta[CAPABILITIES_KEY]) is not dict:
        raise RpcError(INVALID_PARAMS, f"{CAPABILITIES_KEY} is not an object")


def unsupported(version: Any) -> RpcError:
    """The refusal of a version, which names those that can be asked for."""
    data = {"supported": list(MODERN_VERSIONS), "requested": version if isinstance(version, str) else ""}
    return RpcError(UNSUPPORTED_VERSION, "Unsupported protocol version", data)


def finish(result: bytes, server_info: bytes, fresh_for_ms: int | None) -> bytes:
    """`result` (a JSON object) with what 2026-07-28 puts into every one; `fresh_for_ms` is None for what is never cached."""
    cache = b'"ttlMs":%d,"cacheScope":"private",' % fresh_for_ms if fresh_for_ms is not None else b""
    comma = b"," if len(result) > 2 else b""
    return b'%b%b%b"resultType":"complete","_meta":{"%b":%b}}' % (result[:-1], comma, cache, _SERVER_INFO, server_info)


_SERVER_INFO = SERVER_INFO_KEY.encode()
