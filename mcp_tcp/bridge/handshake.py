"""What a client has set up at its server, and what is said to the next connection so that it stands there too; pure.

The rules of this file:
- Legacy eras: the answered `initialize` is repeated under an id of our own and its answer is swallowed; then come
  `notifications/initialized`, the last `logging/setLevel` and each `resources/subscribe` that was answered well.
- 2026-07-28 has no handshake: only the open `subscriptions/listen` requests are sent again, byte for byte, so under
  their own ids. Of each, the client sees one acknowledgement, the first.
- Whatever changed while there was no connection was told to nobody. So each subscription that stands again is followed
  by one notification of change, which asks the client to read again; where nothing changed, that costs one read.
"""

from __future__ import annotations

import orjson

TYPE_CHECKING = False  # typing costs each bridge a megabyte; mypy takes this name for typing's own
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

INITIALIZE = "initialize"
INITIALIZED = "notifications/initialized"
SUBSCRIBE = "resources/subscribe"
UNSUBSCRIBE = "resources/unsubscribe"
SET_LEVEL = "logging/setLevel"
LISTEN = "subscriptions/listen"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
UPDATED = "notifications/resources/updated"
SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"
LISTS = {"toolsListChanged": "tools", "promptsListChanged": "prompts", "resourcesListChanged": "resources"}

INITIALIZED_LINE = b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'


def encode_line(message: Json) -> bytes:
    """One JSON-RPC message as a line."""
    return orjson.dumps({"jsonrpc": "2.0", **message}, option=orjson.OPT_APPEND_NEWLINE)


def as_dict(value: object) -> Json:
    """`value` where it is an object, else {}: peers send anything."""
    return value if isinstance(value, dict) else {}


def id_key(value: object) -> bytes:
    """A JSON-RPC id such that 1, "1" and 1.0 stay three, and ready to be put into an answer; no id at all is null."""
    return orjson.dumps(value if isinstance(value, str | int | float) else None)


class Handshake:
    """What stands between one client and its server, over all connections.

    `nonce` is random text; with it, the ids made here meet none of the client's.
    """

    def __init__(self, nonce: str) -> None:
        self._nonce = nonce
        self._made = 0
        self._asked: dict[bytes, tuple[str, str]] = {}  # our own requests under way -> method, URI
        self._initialize: orjson.Fragment | None = None  # the params, once answered
        self._version: object = None  # the protocol version that was agreed
        self.initialized = False  # the client has said so
        self._standing: dict[tuple[str, str], orjson.Fragment] = {}  # method, URI -> params
        self._listening: dict[bytes, bytes] = {}  # id -> the line of the request
        self._acknowledged: set[bytes] = set()  # those of them of which the client has seen the acknowledgement

    @property
    def agreed(self) -> bool:
        """True once an `initialize` was answered well."""
        return self._initialize is not None

    @property
    def stands(self) -> bool:
        """True if the server may have something to say that was not asked for just now."""
        return self.agreed or bool(self._listening)

    def make_request(self, method: str, params: object, uri: str = "") -> bytes:
        """The line of a request of our own, whose answer the client does not see."""
        self._made += 1
        own_id = f"mcp-stdio-bridge-{self._nonce}-{self._made}"
        self._asked[id_key(own_id)] = (method, uri)
        return encode_line({"id": own_id, "method": method, "params": params})

    # -- what the client does ------------------------------------------------------------------------------------------

    def note_sent(self, method: str, key: bytes, line: bytes) -> None:
        """A request of the client is on its way."""
        if method == LISTEN:
            self._listening[key] = line

    def note_cancelled(self, key: bytes) -> None:
        """The client wants no more of the request `key`."""
        self._listening.pop(key, None)
        self._acknowledged.discard(key)

    def note_answered(self, method: str, key: bytes, line: bytes, answer: Json) -> None:
        """The request `line` of the client is answered; an open `subscriptions/listen` ends with that."""
        self.note_cancelled(key)
        if "result" not in answer or method not in (INITIALIZE, SUBSCRIBE, UNSUBSCRIBE, SET_LEVEL):
            return
        params = as_dict(as_dict(orjson.loads(line)).get("params"))
        uri = str(params.get("uri", ""))
        if method == UNSUBSCRIBE:
            self._standing.pop((SUBSCRIBE, uri), None)
            return
        try:
            repeated = orjson.Fragment(orjson.dumps(params))
        except orjson.JSONEncodeError:
            return  # nested more deeply than orjson writes: the server took it once, we cannot say it again
        if method == INITIALIZE:
            self._initialize = repeated
            self._version = as_dict(answer["result"]).get("protocolVersion")
        else:
            self._standing[method, uri] = repeated

    # -- what the next connection is told ------------------------------------------------------------------------------

    def first(self) -> bytes | None:
        """The `initialize` to say again, whose answer is waited for; None where there is none."""
        self._asked.clear()  # what a connection before was asked is answered by no other
        return self.make_request(INITIALIZE, self._initialize) if self.agreed else None

    def then(self) -> list[bytes]:
        """What to say once the `initialize` is answered: everything else that stood before."""
        lines = [INITIALIZED_LINE] if self.agreed and self.initialized else []
        lines += [self.make_request(method, params, uri) for (method, uri), params in self._standing.items()]
        return lines + list(self._listening.values())

    # -- what it says to that ------------------------------------------------------------------------------------------

    def take_own(self, key: bytes) -> tuple[str, str] | None:
        """Method and URI of the request of our own that `key` answers; None for an answer that is the client's."""
        return self._asked.pop(key, None)

    def version_note(self, answer: Json) -> str | None:
        """A sentence when the server now agrees to another protocol version than the client knows of."""
        version = as_dict(answer.get("result")).get("protocolVersion")
        if version == self._version:
            return None
        return f"the server now speaks MCP {version!s:.40}, and this client was told {self._version!s:.40}"

    def changes(self, method: str, uri: str, answer: Json) -> list[bytes]:
        """What the client is told when the server has answered a request of our own.

        A subscription that is refused now is told of as well: reading again says what became of it.
        """
        if method == SUBSCRIBE:
            return [encode_line({"method": UPDATED, "params": {"uri": uri}})]
        if method != INITIALIZE:
            return []
        offers = as_dict(as_dict(answer.get("result")).get("capabilities"))
        names = [name for name in LISTS.values() if as_dict(offers.get(name)).get("listChanged") is True]
        return [encode_line({"method": f"notifications/{name}/list_changed"}) for name in names]

    def changes_instead(self, notification: Json) -> list[bytes] | None:
        """What the client is told in place of a second acknowledgement; None: it is the first, and passes."""
        params = as_dict(notification.get("params"))
        meta = {SUBSCRIPTION_ID: as_dict(params.get("_meta")).get(SUBSCRIPTION_ID)}
        key = id_key(meta[SUBSCRIPTION_ID])
        if key not in self._listening:
            return None
        if key not in self._acknowledged:
            self._acknowledged.add(key)
            return None
        honoured = as_dict(params.get("notifications"))
        uris = honoured.get("resourceSubscriptions")
        told: list[tuple[str, Json]] = [
            (f"notifications/{name}/list_changed", {}) for flag, name in LISTS.items() if honoured.get(flag) is True
        ]
        told += [(UPDATED, {"uri": uri}) for uri in (uris if isinstance(uris, list) else []) if isinstance(uri, str)]
        return [encode_line({"method": method, "params": {**fields, "_meta": meta}}) for method, fields in told]
