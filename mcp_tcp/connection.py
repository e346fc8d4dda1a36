"""One TCP connection: bytes in, answers out in their order, with a bound on all that a peer can make us hold.

Cheap messages are answered inside the callback that brought them; a task exists only for an answer that has to wait. While there
is one, what comes after it waits too, so the answers keep the order of the requests.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any, Protocol, cast

from mcp_tcp.client import Client
from mcp_tcp.framing import Framer
from mcp_tcp.methods import listen_ended
from mcp_tcp.metrics import Latencies
from mcp_tcp.service import Service

log = logging.getLogger(__name__)

UNSENT_BYTES = 1 << 18  # beyond which no more is answered until the peer has read
SLOW_S = 30.0  # a peer that does not read for so long is let go
REFUSED_S = 2.0  # so long a refused peer has to take its refusal and leave
HELD_S = 1.0  # the start of a document over several lines waits so long for its end
WAITING = 256  # messages behind one that takes its time; then no more are read
PIPED_S = 1.0  # nobody types a request so soon after connecting; a pipe may be as slow as that on a busy machine
KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 3}  # a dead peer is noticed after two minutes


class House(Protocol):
    """What the connections of one server share."""

    service: Service
    latencies: Latencies
    limit_bytes: int
    linger_s: float

    def freshen(self) -> None:
        """Take in what changed on disk before now."""

    def greet(self, connection: Connection) -> bytes:
        """Count a new connection in; the line that refuses it where there are too many."""

    def part(self, connection: Connection) -> None:
        """Count it out."""

    def forget(self, client: Client) -> None:
        """It wants to hear of nothing any more."""

    @property
    def admits_all(self) -> bool:
        """True where no token is needed."""


class Connection(asyncio.Protocol):
    """Begins with `connection_made`; `farewell` ends it politely."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._framer = Framer(house.limit_bytes)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.client = Client(self.notify, self.cancel)
        self._waiting: deque[Any] = deque()  # messages that came while an answer was awaited or the peer did not read
        self._answering: asyncio.Task[bytes] | None = None
        self._awaited: Any = None  # id of the request it answers
        self._blocked = False  # the peer does not read
        self._put_off: dict[object, bytes] = {}  # notifications for when it reads again
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._began = self._loop.time()
        self._chunks = 0  # of input so far, 2 for more than one
        self._last = False  # the peer has sent all it wants to send
        self._refused = False  # nothing it says is heard

    # -- asyncio.Protocol ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=UNSENT_BYTES)
        peer = transport.get_extra_info("peername")
        self.client.address = peer[0] if peer else ""
        self.client.admitted = self._house.admits_all
        keep_alive(transport.get_extra_info("socket"))
        refusal = self._house.greet(self)
        if refusal:
            self._refuse(refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for timer in self._timers.values():
            timer.cancel()
        if self._answering is not None:
            self._answering.cancel()
        self._waiting.clear()
        self._put_off.clear()
        self._house.part(self)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._house.freshen()
        if self._chunks < 2:
            self._chunks += 1
        self._take(self._framer.feed(data))
        if self._framer.held and "held" not in self._timers:
            self._after("held", HELD_S, self._give_up_holding)

    def eof_received(self) -> bool:
        self._last = True
        if self._refused:
            return False
        self._take(self._framer.end())
        self._finish_if_done()
        return True  # answers may still be on their way

    def pause_writing(self) -> None:
        self._blocked = True
        self._pause_reading()
        self._after("slow", SLOW_S, self._let_go)

    def resume_writing(self) -> None:
        self._blocked = False
        self._cancel("slow")
        put_off, self._put_off = self._put_off, {}
        self._write(b"".join(put_off.values()))
        self._go_on()

    # -- answering -----------------------------------------------------------------------------------------------------

    def _take(self, messages: list[Any]) -> None:
        if self._answering is None and not self._waiting and not self._blocked:
            self._answer(messages)
            return
        for message in messages:
            if type(message) is dict and message.get("method") == "notifications/cancelled" and "id" not in message:
                self._house.service.answer(self.client, message)
            self._waiting.append(message)  # that one too: a subscriptions/listen that still waits ends in its turn
        if len(self._waiting) > WAITING:
            self._pause_reading()

    def _answer(self, messages: list[Any]) -> None:
        """Answer what can be answered now; the rest waits."""
        service, client, latencies = self._house.service, self.client, self._house.latencies
        lines: list[bytes] = []
        unsent = 0
        began = perf_counter()
        for at, message in enumerate(messages):
            reply = service.answer(client, message)
            if isinstance(reply, bytes):
                lines.append(reply)
                unsent += len(reply)
                now = perf_counter()
                latencies.observe(now - began)
                began = now
                if unsent < UNSENT_BYTES:
                    continue
            self._write(b"".join(lines))
            lines, unsent = [], 0
            if not isinstance(reply, bytes):
                self._await(reply, message)
            if self._answering is not None or self._blocked:
                self._waiting.extendleft(reversed(messages[at + 1 :]))
                return
        if lines:
            self._write(b"".join(lines))
        if not client.stays:
            self._linger()

    def _await(self, reply: Coroutine[Any, Any, bytes], message: Any) -> None:
        self._awaited = message.get("id") if type(message) is dict else None
        self._answering = self._loop.create_task(reply)
        self._answering.add_done_callback(partial(self._when_there, began=perf_counter()))

    def _when_there(self, answering: asyncio.Task[bytes], began: float) -> None:
        self._answering = None
        if not answering.cancelled():
            self._house.latencies.observe(perf_counter() - began)
            self._write(self._house.service.outcome(answering, self._awaited))
        if self._transport is not None:
            self._go_on()

    def _go_on(self) -> None:
        """Answer what has been waiting, as far as that goes."""
        if self._answering is None and not self._blocked:
            waiting = list(self._waiting)
            self._waiting.clear()
            self._answer(waiting)
        if self._transport is not None and not self._blocked and len(self._waiting) <= WAITING and not self._last:
            self._transport.resume_reading()
        self._finish_if_done()

    def cancel(self, request_id: Any) -> None:
        """The peer does not want that answer any more: none is sent."""
        # None is awaited where a batch is: that has no id to be cancelled by.
        if self._answering is not None and request_id is not None and request_id == self._awaited:
            self._answering.cancel()

    # -- sending -------------------------------------------------------------------------------------------------------

    def notify(self, key: object, line: bytes) -> None:
        """Send a notification; to a peer that does not read, later, and then only the last of each key."""
        if self._blocked:
            self._put_off[key] = line
        else:
            self._write(line)

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _refuse(self, line: bytes) -> None:
        """Send `line` and nothing else. What the peer has sent is read all the same: unread, it would cost it the line."""
        self._refused = True
        self._write(line)
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()
        self._after("refused", REFUSED_S, self.close)

    # -- its end -------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close once all that was written is sent."""
        if self._transport is not None:
            self._transport.close()

    def take_leave(self) -> None:
        """Hear nothing more, end the subscriptions, and close once all that was asked by now is answered."""
        self._last = True
        self._pause_reading()
        self._end_subscriptions()
        self._finish_if_done()

    def abort(self) -> None:
        """Close at once, whatever is unsent."""
        if self._transport is not None:
            self._transport.abort()

    def _finish_if_done(self) -> None:
        # Subscriptions end too: a peer that has gone looks like one that only has nothing more to say, and would stay for ever.
        if self._last and not self._answering and not self._waiting:
            self._end_subscriptions()
            self.close()

    def _end_subscriptions(self) -> None:
        for request_id in self.client.listens:
            self._write(listen_ended(request_id))
        self._house.forget(self.client)

    def _let_go(self) -> None:
        log.warning("closed: %s has not read for %g s", self.client.address, SLOW_S)
        self.abort()

    def _linger(self) -> None:
        """End a connection whose whole input was piped in at once, once it stays silent: netcat waits for that."""
        silent_s = self._house.linger_s
        if silent_s and self._chunks == 1 and self._framer.idle and self._loop.time() - self._began < PIPED_S:
            self._after("linger", silent_s, self._end_if_silent)

    def _end_if_silent(self) -> None:
        if self._chunks == 1 and not self.client.stays and not self._answering:
            self.close()

    # -- time ----------------------------------------------------------------------------------------------------------

    def _give_up_holding(self) -> None:
        self._take(self._framer.expire())
        if self._framer.held:
            self._after("held", HELD_S, self._give_up_holding)

    def _after(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        self._cancel(name)

        def due() -> None:
            self._timers.pop(name, None)
            call()

        self._timers[name] = self._loop.call_later(seconds, due)

    def _cancel(self, name: str) -> None:
        if timer := self._timers.pop(name, None):
            timer.cancel()

    def _pause_reading(self) -> None:
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()


def keep_alive(peer: Any) -> None:
    """Have the kernel ask a silent peer whether it is still there, and send small answers at once."""
    with suppress(OSError):  # it may be gone already
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
