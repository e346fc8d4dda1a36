"""One TCP connection: websockets' own, with bounds on what a silent, a flooding or an unreading peer can hold.

The rules of this file:
- Data frames are ours and go straight to the transport: websockets' compressor would break the context that a group shares.
  Control frames stay websockets' own.
- Whatever was begun ends: a head within HEAD_S, a closing handshake within CLOSE_S.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, cast

from websockets.asyncio.server import ServerConnection
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.protocol import State

from ws_relay.web import plain

HEAD_S = 5.0  # from the connection to the end of the request's head
CLOSE_S = 3.0  # for the peer to answer a close frame; supervisors wait 5 s and more
LINGER_S = 2.0  # a refused peer has so long to take its refusal
UNSENT_BYTES = 128 << 10  # in the kernel: what waits longer shall wait where it can still be conflated
LINE_BYTES = 8192  # of a request's first line; the parser refuses longer ones
WINDOW_BITS = 15  # of the context that a group shares
METHOD = re.compile(rb"[A-Z]{1,20} ")
HEARD = (b"GET ", b"HEAD ")


class House(Protocol):
    """What the connections of one relay share."""

    def greet(self, connection: RelayConnection) -> bool:
        """Count a connection in; False where there are too many."""

    def part(self, connection: RelayConnection) -> None:
        """Count it out."""


class RelayConnection(ServerConnection):
    """A connection that may become a viewer's. `drained` is called each time that all was sent after some had to wait."""

    def __init__(self, house: House, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._house = house
        self._beginning: bytes | None = b""  # of the request, until its method is known
        self._last = b""  # of its head so far, where the end of that may have begun
        self._refused = False
        self._end: asyncio.TimerHandle | None = None
        self.drained: Callable[[], None] | None = None
        self.is_viewer = False
        self.sends_no_more = False  # and did so before it was answered

    @property
    def address(self) -> str:
        """The peer's."""
        peer = self.remote_address
        return str(peer[0]) if peer else ""

    # -- asyncio.Protocol ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        with suppress(OSError):  # it may be gone already
            peer = transport.get_extra_info("socket")
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self._end_after(HEAD_S)
        if not self._house.greet(self):
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._house.part(self)
        if self._end:
            self._end.cancel()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._beginning is not None:
            data = self._request_line(data)
        if self.state is State.CONNECTING:
            data = self._head_alone(data)
        if data:
            super().data_received(data)
        if self.state is State.CLOSING and self._end is None:
            self._end_after(CLOSE_S)  # a peer that goes on sending would keep a failed connection for ever

    def eof_received(self) -> bool | None:  # type: ignore[override]  # True keeps it open, says asyncio; websockets never does
        """Answer a client that sends no more once it has asked, as netcat does; it may still listen."""
        if self.state is State.CONNECTING and self.request is not None and not self.protocol.eof_sent:
            self.sends_no_more = True
            return True
        super().eof_received()
        return None

    def send_data(self) -> None:
        super().send_data()
        if self.sends_no_more and self.protocol.eof_sent:
            self.transport.close()  # nobody else would: to asyncio the peer's end lies behind us

    def process_event(self, event: Any) -> None:
        if self.request is None and self._end:
            self._end.cancel()
            self._end = None
        super().process_event(event)

    def resume_writing(self) -> None:
        super().resume_writing()
        # Not at once: asyncio is in the middle of writing here. A write of ours that fails would end the connection, and
        # Python 3.11 then ends it once more, with a traceback.
        self.loop.call_soon(self._drain)

    def _drain(self) -> None:
        if self.drained:
            self.drained()

    # -- turning away --------------------------------------------------------------------------------------------------

    def _request_line(self, data: bytes) -> bytes:
        """What the parser behind us shall get of a request's beginning: nothing until its first line is whole.

        Whatever is neither GET nor HEAD we answer ourselves, where the parser would drop it in silence; and it knows
        HTTP/1.1 alone, though answers that end with the connection suit HTTP/1.0 as well.
        """
        assert self._beginning is not None
        begun = self._beginning = self._beginning + data
        if not any(begun.startswith(method[: len(begun)]) for method in HEARD):
            self._turn_away(begun)
            return b""
        line, end, rest = begun.partition(b"\r\n")
        if not end and len(begun) < LINE_BYTES:
            return b""
        self._beginning = None
        return (line.removesuffix(b"1.0") + b"1.1" if line.endswith(b" HTTP/1.0") else line) + end + rest

    def _head_alone(self, data: bytes) -> bytes:
        """What of `data` belongs to the head of the request. More comes only after the answer; the parser would stumble over it."""
        if self.request is not None:
            return b""
        seen = self._last + data
        end = seen.find(b"\r\n\r\n")
        head = data if end < 0 else data[: end + 4 - len(self._last)]
        self._last = seen[-3:]
        return head

    def _turn_away(self, begun: bytes) -> None:
        if METHOD.match(begun[:32]):
            answer = plain(405, "only GET and HEAD are answered here", [("Allow", "GET, HEAD")])
        else:
            answer = plain(400, "this port speaks HTTP and WebSocket")
        self._refused = True
        self.transport.write(answer.serialize())
        with suppress(OSError, RuntimeError):
            self.transport.write_eof()
        self._end_after(LINGER_S)

    def _end_after(self, seconds: float) -> None:
        if self._end:
            self._end.cancel()
        self._end = self.loop.call_later(seconds, self.transport.abort)


class ViewerWire:
    """How the hub reaches one viewer (hub.Wire)."""

    __slots__ = ("_closing", "_connection", "_protocol", "_transport", "deflate")

    def __init__(self, connection: RelayConnection) -> None:
        self._connection = connection
        self._protocol = connection.protocol
        self._transport = connection.transport
        self._closing: asyncio.Task[None] | None = None
        self.deflate = _shares_context(connection)

    def write(self, data: bytes) -> None:
        """Send whole frames; to a connection that closes nothing more may be sent."""
        if self._protocol.state is State.OPEN and not self._transport.is_closing():
            self._transport.write(data)

    def unsent(self) -> int:
        """Bytes that the kernel has not taken. Above 0, `drained` will come."""
        return self._transport.get_write_buffer_size()

    def close(self, code: int, reason: str) -> None:
        """Close, and be done with it after CLOSE_S whatever the peer does."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(close(self._connection, code, reason))


async def close(connection: ServerConnection, code: int, reason: str) -> None:
    """The closing handshake; a peer that takes no part in it is cut off after CLOSE_S."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await connection.close(code, reason)
    except TimeoutError:
        connection.transport.abort()


def _shares_context(connection: RelayConnection) -> bool:
    """True where frames can be compressed in a context that several viewers share."""
    for extension in connection.protocol.extensions:
        if isinstance(extension, PerMessageDeflate):
            if extension.local_no_context_takeover:
                return False
            del extension.encoder  # 260 kB that nobody would use: the group has its own
            return extension.local_max_window_bits == WINDOW_BITS
    return False


def connections_of(house: House) -> type[ServerConnection]:
    """What `websockets.asyncio.server.serve` makes its connections with."""

    def make(*args: Any, **options: Any) -> RelayConnection:
        return RelayConnection(house, *args, **options)

    return cast(type[ServerConnection], make)  # it takes a wrapper too, says its documentation
