"""What the bridge owes each side: lines kept until there is a connection, answers still due, errors for what was lost; pure.

The rules of this file:
- A line counts as sent with its first byte. What was not sent is kept, in its order, for the next connection.
- Sent and not answered when the connection breaks: an error says that it may or may not have been carried out. But what
  changes nothing when it is done twice (REPEATABLE) is sent again instead.
- What a client cancels before it was sent is never sent, and nothing is due for it.
- A client's answer belongs to the connection that asked; it goes to no other.
"""

from __future__ import annotations

from collections import deque

import orjson

from mcp_tcp.bridge.handshake import (
    ACKNOWLEDGED,
    INITIALIZE,
    INITIALIZED,
    INITIALIZED_LINE,
    LISTEN,
    SET_LEVEL,
    SUBSCRIBE,
    Handshake,
    as_dict,
    id_key,
)

TYPE_CHECKING = False  # typing costs each bridge a megabyte; mypy takes this name for typing's own
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Json = dict[str, Any]

MAX_KEPT_LINES = 1_000
MAX_KEPT_BYTES = 8 << 20
SERVER_ERROR = -32000  # what MCP servers and clients use where the connection is at fault
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601

AUTHENTICATE = "authenticate"
CANCELLED = "notifications/cancelled"
REPEATABLE = frozenset({INITIALIZE, "server/discover", SUBSCRIBE, SET_LEVEL})

DOWN, AUTHENTICATING, INITIALIZING, OPEN = "down", "authenticating", "initializing", "open"


class Line:
    """One line of the client: its bytes, and what they mean as far as the bridge must know."""

    __slots__ = ("asks", "data", "is_answer", "is_batch", "method", "since_s", "target")

    def __init__(self, data: bytes, since_s: float) -> None:
        """Reads `data`; what is no JSON, or none of JSON-RPC, has neither method nor ids, and is the server's to judge."""
        message = decode(data)
        messages = message if isinstance(message, list) else [message]
        self.data = data
        self.since_s = since_s
        self.is_batch = isinstance(message, list)
        self.asks = [id_key(each["id"]) for each in map(as_dict, messages) if "method" in each and "id" in each]
        single = as_dict(message)
        self.method = str(single.get("method", ""))
        self.is_answer = "id" in single and not self.method
        self.target = b""  # of an answer the id it answers, of a cancellation the id it cancels
        if self.is_answer:
            self.target = id_key(single["id"])
        elif self.method == CANCELLED:
            self.target = id_key(as_dict(single.get("params")).get("requestId"))


def decode(data: bytes) -> object:
    """The JSON value of a line; None for what is none."""
    try:
        value: object = orjson.loads(data)
    except ValueError:
        return None
    return value


def encode_error(key: bytes, code: int, message: str) -> bytes:
    """An error answer without its line feed; `key` as id_key gives it."""
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (key, orjson.dumps({"code": code, "message": message}))


class Exchange:
    """The state between one client and one server, over all connections. Times are seconds of one monotonic clock.

    `peer` is HOST:PORT as it stands in messages; `token` is sent first on each connection where it is not empty;
    a request waits `wait_s` for a connection. The shell empties `to_client` (bytes) and `notes` (sentences for stderr).
    """

    def __init__(self, peer: str, *, nonce: str, token: str = "", wait_s: float = 30.0) -> None:
        self._peer = peer
        self._token = token
        self._wait_s = wait_s
        self._handshake = Handshake(nonce)
        self._kept: deque[Line] = deque()
        self._kept_bytes = 0
        self._own: deque[bytes] = deque()  # lines of ours, which go before the client's
        self._due: dict[bytes, Line] = {}  # id -> the request that was sent and is not answered
        self._asked: set[bytes] = set()  # ids of what the server of this connection asks the client
        self._heard = False  # this connection has said something
        self._illegible = False  # this connection was sent something that can only be answered without an id
        self.why = "not tried yet"  # there is no connection
        self.outage = (
            False  # an attempt has failed or a connection broke; else the shell reads no more than it gets rid of
        )
        self.phase = DOWN
        self.refusal: str | None = None  # why this connection is of no use; the shell ends it
        self._token_refused = False
        self.to_client = bytearray()
        self.notes: list[str] = []

    # -- what the shell asks -------------------------------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """True when nothing is kept and no answer is due."""
        return not self._kept and not self._due

    @property
    def all_sent(self) -> bool:
        return self.phase == OPEN and not self._kept and not self._own

    @property
    def wants_connection(self) -> bool:
        """True if somebody would miss one: a client that introduced itself, a subscription, a line that waits.

        A refused token is not tried again by itself: servers make an address that guesses wait ever longer.
        """
        return bool(self._kept) or (self._handshake.stands and not self._token_refused)

    @property
    def kept_bytes(self) -> int:
        """Bytes of the client's lines that wait to be sent."""
        return self._kept_bytes

    def deadline_s(self) -> float | None:
        """When `expire` has something to do next; None when nothing waits for a connection."""
        return self._kept[0].since_s + self._wait_s if self._kept and self.phase != OPEN else None

    # -- the client ----------------------------------------------------------------------------------------------------

    def from_client(self, data: bytes, now_s: float) -> None:
        """Take one line of the client, with its line feed."""
        if not data.strip():
            return
        line = Line(data, now_s)
        if self._is_needless(line):
            return
        if self.outage and self._is_full(len(data)):
            limit = f"{MAX_KEPT_LINES:,} requests or {MAX_KEPT_BYTES >> 20} MiB wait for a connection already"
            self._fail(line, line.asks, f"no connection to {self._peer}: {self.why}; {limit}")
            return
        self._keep(line)

    def line_too_long(self, limit_bytes: int) -> None:
        """Answer for a line that was dropped unread."""
        message = f"a line of more than {limit_bytes} bytes; nothing of it was sent"
        self.to_client += encode_error(b"null", INVALID_REQUEST, message) + b"\n"

    def _is_full(self, more_bytes: int) -> bool:
        return len(self._kept) >= MAX_KEPT_LINES or self._kept_bytes + more_bytes > MAX_KEPT_BYTES

    def _is_needless(self, line: Line) -> bool:
        """True for what is seen to without being sent."""
        if line.method == INITIALIZED:
            self._handshake.initialized = True
            return self.phase != OPEN and self._handshake.agreed  # the replay says it
        if line.method == CANCELLED:
            return self._cancel(line.target)
        if line.is_answer:
            known = line.target in self._asked
            self._asked.discard(line.target)
            return not known
        return False

    def _cancel(self, key: bytes) -> bool:
        unsent = [line for line in self._kept if line.asks == [key] and not line.is_batch]
        for line in unsent:
            self._kept.remove(line)
            self._kept_bytes -= len(line.data)
        self._due.pop(key, None)
        self._handshake.note_cancelled(key)
        return bool(unsent) or self.phase != OPEN  # a connection that is gone has nothing left to cancel

    def _keep(self, line: Line) -> None:
        self._kept.append(line)
        self._kept_bytes += len(line.data)

    # -- the connection ------------------------------------------------------------------------------------------------

    def connected(self) -> None:
        """A new connection stands; what it must hear before the client's lines comes first."""
        self._heard = self._illegible = self._token_refused = self.outage = False
        self.why = "it has not answered the handshake"
        self._first = self._handshake.first()
        if self._token:
            self.phase = AUTHENTICATING
            self._own.append(self._handshake.make_request(AUTHENTICATE, {"token": self._token}))
        else:
            self._introduce()

    def _introduce(self) -> None:
        if self._first is None:
            self._open()
        else:
            self.phase = INITIALIZING
            self._own.append(self._first)

    def _open(self) -> None:
        self.phase = OPEN
        self._own.extend(self._handshake.then())

    def next_line(self) -> bytes | None:
        """What to send next; it stays the next until `line_begun`."""
        if self._own:
            return self._own[0]
        return self._kept[0].data if self.phase == OPEN and self._kept else None

    def line_begun(self) -> None:
        """The first byte of `next_line` is sent: from here on nobody can say what the server saw of it."""
        if self._own:
            self._own.popleft()
            return
        line = self._kept.popleft()
        self._kept_bytes -= len(line.data)
        self._illegible |= b"null" in line.asks or not (line.method or line.is_answer)
        for key in line.asks:
            self._handshake.note_sent(line.method, key, line.data)
        if line.method != LISTEN:  # its answer is its end, which the handshake sees to
            self._due.update(dict.fromkeys(line.asks, line))

    def lost(self, why: str) -> None:
        """The connection is gone, or an attempt to make one failed; `why` in a few words."""
        self.outage = True
        self.why = self.refusal or why
        self.refusal = None
        self.phase = DOWN
        self._own.clear()
        self._asked.clear()
        message = (
            f"the connection to {self._peer} was lost before the answer came; it may or may not have been carried out"
        )
        again = [line for line in self._overdue(message, REPEATABLE) for line in self._with_what_follows(line)]
        self._kept = deque([*again, *(line for line in self._kept if not line.is_answer)])
        self._kept_bytes = sum(len(line.data) for line in self._kept)
        if self._token_refused:  # waiting does not make it right
            self._give_up(f"no connection to {self._peer}: {self.why}")

    def _with_what_follows(self, line: Line) -> list[Line]:
        """A client in a hurry says `initialized` before it has the answer; that has to be said again too."""
        waits = any(kept.method == INITIALIZED for kept in self._kept)
        if line.method == INITIALIZE and self._handshake.initialized and not waits:
            return [line, Line(INITIALIZED_LINE, line.since_s)]
        return [line]

    def _overdue(self, message: str, but: frozenset[str] = frozenset()) -> list[Line]:
        """Answer what is due with an error; returns, once each, the requests with a method in `but` instead."""
        due, self._due = self._due, {}
        spared = []
        for line in dict.fromkeys(due.values()):
            if line.method in but:
                spared.append(line)
            else:
                self._fail(line, [key for key in line.asks if due.get(key) is line], message)
        return spared

    def expire(self, now_s: float) -> None:
        """Answer what has waited too long for a connection."""
        while (at := self.deadline_s()) is not None and at <= now_s:
            line = self._kept.popleft()
            self._kept_bytes -= len(line.data)
            self._fail(line, line.asks, f"no connection to {self._peer}: {self.why}; is mcp-tcp running?")

    def give_up(self, after_s: float) -> None:
        """The client has ended and its time is over: answer everything that is still due or kept."""
        self._overdue(
            f"no answer from {self._peer} within {after_s:g} s of the end of the input; "
            "it may or may not have been carried out"
        )
        self._give_up(f"no connection to {self._peer}: {self.why}; is mcp-tcp running?")

    def _give_up(self, message: str) -> None:
        for line in self._kept:
            self._fail(line, line.asks, message)
        self._kept.clear()
        self._kept_bytes = 0

    def _fail(self, line: Line, keys: Iterable[bytes], message: str) -> None:
        errors = [encode_error(key, SERVER_ERROR, message) for key in keys]
        if errors:
            self.to_client += (b"[%b]\n" if line.is_batch else b"%b\n") % b",".join(errors)

    # -- the server ----------------------------------------------------------------------------------------------------

    def from_server(self, data: bytes) -> None:
        """Take one line of the server, with its line feed; what is the client's passes as it is."""
        if not data.strip():
            return
        message = decode(data)
        first, self._heard = not self._heard, True
        if first and self._is_refusal(message):
            self.refusal = _words_of(as_dict(message))
        elif isinstance(message, list):
            for each in message:
                self._is_for_client(as_dict(each))
            self.to_client += data
        elif not isinstance(message, dict):
            self.notes.append(f"{self._peer} sent a line that is no JSON-RPC message; it was dropped")
        elif self._is_for_client(message):
            self.to_client += data

    def _is_refusal(self, message: object) -> bool:
        """True for an error that answers nothing that was sent, such as that of a server which is full."""
        fields = as_dict(message)
        return "error" in fields and fields.get("id") is None and "method" not in fields and not self._illegible

    def _is_for_client(self, message: Json) -> bool:
        if message.get("method") == ACKNOWLEDGED:
            changes = self._handshake.changes_instead(message)
            self.to_client += b"".join(changes or [])
            return changes is None
        if "id" not in message:
            return True
        key = id_key(message["id"])
        if "method" in message:
            self._asked.add(key)
            return True
        own = self._handshake.take_own(key)
        if own is not None:
            self._own_answered(*own, message)
            return False
        line = self._due.pop(key, None)
        method, sent = (line.method, line.data) if line is not None else ("", b"")
        self._handshake.note_answered(method, key, sent, message)
        return True

    def _own_answered(self, method: str, uri: str, answer: Json) -> None:
        if method == AUTHENTICATE:
            code = as_dict(answer.get("error")).get("code")
            if "error" in answer and code != METHOD_NOT_FOUND:  # a server that knows no tokens needs none
                self._token_refused = True
                self.refusal = f"it refused the token in TCP_AUTH_TOKEN: {_words_of(answer)}"
            else:
                self._introduce()
            return
        if method == INITIALIZE:
            if "error" in answer:
                self.refusal = f"it refused the client's initialize: {_words_of(answer)}"
                return
            note = self._handshake.version_note(answer)
            self.notes += [note] if note else []
            self._open()
        self.to_client += b"".join(self._handshake.changes(method, uri, answer))


def _words_of(answer: Json) -> str:
    error = answer.get("error")
    text = str(as_dict(error).get("message", "")) if isinstance(error, dict) else str(error)
    return "".join(char if char.isprintable() else "?" for char in text[:200]) or "no reason given"
