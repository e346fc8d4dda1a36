"""One client and the child that is its own: bytes pass both ways as they are, and neither outlives the other.

The rules of this file:
- The child starts with the client's first byte, so that who only looks whether the port is open costs nothing.
- What the client sends passes at once. What the child says passes by the line, once it is seen to be a message.
- Whoever reads slowly is waited for: the client's socket is not read while the child's input is full, nor the child's
  output while much is unsent. So memory is bounded by MAX_LINE_BYTES and UNSENT_BYTES for each direction.
- A connection is a session, and counts as one, until the client is gone and nothing of the child is left.
"""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from mcp_tcp.jsonrpc import INVALID_REQUEST, REFUSED, error_line
from mcp_tcp.lines import LineSplitter
from mcp_tcp.proxy.child import Command, kill_strays, reap
from mcp_tcp.proxy.due import Due
from mcp_tcp.proxy.log import ChildWords
from mcp_tcp.proxy.pipes import CHUNK_BYTES, Pipes

MAX_LINE_BYTES = 10 << 20
UNSENT_BYTES = 1 << 20  # of answers to a client that reads slowly, before its child's output waits

MAX_TURNED_AWAY = 64  # clients at once that are told there is no room; more are dropped without a word
LINGER_S = 2.0  # closing a socket with unread bytes in it resets the connection, so what still comes is read that long
FLUSH_S = 30.0  # for a client that is slow to read its last answers
HOLD_S = (
    10.0  # a client sends no more: its child does not see the end of its input before what is due has come, or so long
)
# Nothing is due, and a child does not end at the end of its input: it is ended
LULL_S = 1.0  # after it last said something
START_S = 10.0  # after the client's last byte where it has not said anything: it may still be starting

KEEPALIVE = (60, 15, 4)  # s idle, s between probes, probes: a dead peer is noticed after two minutes
KEEPALIVE_AT_END = (15, 5, 3)  # once it sends no more: one that is gone altogether looks the same until then
NOT_HTTP = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
USER_TIMEOUT_MS = 300_000  # for a peer that acknowledges nothing, or reads nothing


class Sessions:
    """All connections of one proxy. `log` takes one line of text."""

    def __init__(self, command: Command, max_sessions: int, log: Callable[[str], None]) -> None:
        self.command = command
        self.max_sessions = max_sessions
        self.log = log
        self.stopping = False
        self.active: set[Connection] = set()
        self.turned_away: set[Connection] = set()
        self.childless = asyncio.Event()
        self.childless.set()
        self._count = 0
        self._told_full = False

    def admit(self, connection: Connection) -> int:
        """A number for a connection that may stay; 0 where there is no room."""
        if len(self.active) >= self.max_sessions or self.stopping:
            return 0
        self.active.add(connection)
        self._told_full = False
        self._count += 1
        return self._count

    def turn_away(self, connection: Connection, peer: str) -> bool:
        """True when there is time to tell a connection that there is no room for it."""
        if not self._told_full:
            self._told_full = True
            self.log(f"{peer} is turned away, as all will be until one of {self.max_sessions} sessions has ended")
        if len(self.turned_away) >= MAX_TURNED_AWAY:
            return False
        self.turned_away.add(connection)
        return True

    def dismiss(self, connection: Connection) -> None:
        """Forget a connection that is over."""
        self.active.discard(connection)
        self.turned_away.discard(connection)

    def keepers(self) -> set[int]:
        """The pids of the processes that see to a child's end."""
        return {each.keeper for each in self.active if each.keeper}

    def child_began(self) -> None:
        self.childless.clear()

    def child_gone(self) -> None:
        """To be called when nothing is left of a child."""
        reap()
        kill_strays(self.keepers())
        if not self.keepers():
            self.childless.set()

    def tick(self) -> None:
        """See to what no event tells of; to be called each second."""
        reap()
        now_s = time.monotonic()
        for connection in (*self.active, *self.turned_away):
            connection.tick(now_s)

    def stop(self) -> None:
        """End all connections; afterwards wait for `childless`."""
        self.stopping = True
        for connection in tuple(self.active):
            connection.fail("the proxy is stopping")


class Connection(asyncio.BufferedProtocol):
    """A client, from its coming until nothing of its child is left; told what comes of the child (see Owner)."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._number = 0  # 0: it was turned away
        self._pipes: Pipes | None = None
        self._refusal = ""  # why the command could not be started
        self._buffer = memoryview(bytearray(CHUNK_BYTES))
        self._due = Due()
        self._requests = LineSplitter(MAX_LINE_BYTES)
        self._answers = LineSplitter(MAX_LINE_BYTES)
        self._requests_whole = self._answers_whole = True  # what has come ended with a line end
        self._sends_no_more = False
        self._spoke = False  # the child has said something
        self._gone = False  # the client is
        self._why = ""  # the connection ends
        self._child_pid = 0
        self._how = ""  # the child ended
        self._began_s = self._quiet_s = time.monotonic()
        self._half_closed_s = 0.0  # since when the client sends no more
        self._closing_s = 0.0  # since when; 0: it is open
        self._words = ChildWords(self._began_s)

    @property
    def keeper(self) -> int:
        """The pid of the process that sees to the child's end; 0 where there is no child."""
        return self._pipes.keeper if self._pipes else 0

    # -- the client ----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is none by its type
        self._transport = transport
        self._socket: socket.socket = transport.get_extra_info("socket")
        self._peer = _peer_of(transport)
        _tune(self._socket)
        transport.set_write_buffer_limits(high=UNSENT_BYTES)
        self._number = self._sessions.admit(self)
        if not self._number:
            limit = self._sessions.max_sessions
            text = f"Maximum concurrent sessions reached ({limit}); try again when one has ended"
            self._close("turned away", error_line(None, REFUSED, text))
            if not self._sessions.turn_away(self, self._peer):
                transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._closing_s:
            return
        data = bytes(self._buffer[:nbytes])
        if self._pipes is None and not self._refusal:
            if data[:1].isalpha():
                # No message begins so, but every HTTP request: any web page can have its reader's browser post here.
                self._close("that is HTTP, or no message at all", NOT_HTTP)
                return
            self._start()
        if self._pipes and not self._pipes.write(data):
            self._transport.pause_reading()
        self._note_requests(data)  # after the child has it: the two go on side by side
        if self._refusal:
            self._refuse_if_asked()

    def _start(self) -> None:
        try:
            self._pipes = Pipes(self._sessions.command, self)
        except OSError as exc:
            self._refusal = f"the command cannot be started: {exc.strerror}"
        else:
            self._sessions.child_began()

    def _note_requests(self, data: bytes) -> None:
        """Look through what the client sent for requests that are due from now on."""
        was_whole, self._requests_whole = self._requests_whole, data.endswith(b"\n")
        if was_whole and data.find(b"\n") == len(data) - 1:  # one whole line: the normal case
            self._due.sent(data)
            return
        for line in self._requests.feed(data):
            self._due.sent(line)
        if self._requests.too_long:
            text = f"a line of more than {MAX_LINE_BYTES} bytes"
            self.fail(text, error_line(None, INVALID_REQUEST, text))

    def eof_received(self) -> bool:
        """True while answers may still come."""
        self._sends_no_more = True
        if self._closing_s:
            return False
        rest = self._requests.rest()
        self._due.sent(rest)  # typed without its line end
        if self._refusal:
            self._refuse_if_asked()
            return False
        if self._pipes is None:
            return False
        if rest:
            self._pipes.write(b"\n")
        self._quiet_s = self._half_closed_s = time.monotonic()
        self._close_input_if_answered()
        _keep_alive(self._socket, KEEPALIVE_AT_END)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        if not self._closing_s:
            self._closing_s = time.monotonic()
            self._why = f"the client is gone: {exc}" if exc else "the client closed"
        if self._pipes:
            self._pipes.end()
        self._leave()

    def pause_writing(self) -> None:
        if self._pipes:
            self._pipes.pause_output()

    def resume_writing(self) -> None:
        if self._pipes:
            self._pipes.resume_output()

    # -- the child -----------------------------------------------------------------------------------------------------

    def child_started(self, pid: int) -> None:
        self._log(f"{self._peer} began: child {pid}")
        self._child_pid = pid

    def child_not_started(self, why: str) -> None:
        self._refusal = f"the command cannot be started: {why}"
        self._log(f"{self._peer}: {self._refusal}")
        self._refuse_if_asked()

    def child_said(self, data: bytes) -> None:
        self._spoke = True
        if self._sends_no_more:
            self._quiet_s = time.monotonic()
        was_whole, self._answers_whole = self._answers_whole, data.endswith(b"\n")
        if was_whole and data.find(b"\n") == len(data) - 1:  # one whole line: the normal case
            if self._is_message(data):
                self._transport.write(data)
        else:
            self._transport.write(b"".join([line for line in self._answers.feed(data) if self._is_message(line)]))
        if self._answers.too_long:
            self.fail(f"the command said more than {MAX_LINE_BYTES} bytes in one line")
        elif self._sends_no_more:
            self._close_input_if_answered()

    def child_complained(self, data: bytes) -> None:
        self._log_child(self._words.feed(data, time.monotonic()))

    def child_took_all(self) -> None:
        if not self._closing_s and not self._sends_no_more:
            self._transport.resume_reading()

    def child_ended(self, how: str) -> None:
        self._how = how
        if self._sends_no_more and not self._due:
            self._close("the client closed", b"")
        else:
            self.fail(f"the command ended: {how}")

    def child_note(self, text: str) -> None:
        self._log(text)

    def child_gone(self) -> None:
        self._log_child(self._words.end(time.monotonic()))
        self._pipes = None
        self._sessions.child_gone()
        self._leave()

    def _is_message(self, line: bytes) -> bool:
        if self._due.heard(line):
            return True
        self._log_child(self._words.line(line, time.monotonic()))
        return False

    def _log_child(self, lines: list[str]) -> None:
        for line in lines:
            self._log(f"child: {line}")

    # -- the end -------------------------------------------------------------------------------------------------------

    def fail(self, why: str, answer: bytes = b"") -> None:
        """Answer what is due with an error that says why, say `answer`, and end."""
        self._close(why, self._due.take_errors(why) + answer)

    def tick(self, now_s: float) -> None:
        """See to what no event tells of."""
        if self._gone:
            return
        if self._closing_s:
            patience_s = FLUSH_S if self._transport.get_write_buffer_size() else LINGER_S
            if now_s - self._closing_s > patience_s:
                self._transport.abort()
        elif _is_reset(self._socket):  # nobody tells while the socket is not read
            self._transport.abort()
        elif self._sends_no_more and self._pipes:
            if now_s - self._half_closed_s > HOLD_S:
                self._pipes.close_input()
            if not self._due and now_s - self._quiet_s > (LULL_S if self._spoke else START_S):
                self._close("the client closed", b"")

    def _close_input_if_answered(self) -> None:
        """Let the child see that the client sends no more; many end at once then, whether or not they have answered."""
        if self._pipes and not self._due:
            self._pipes.close_input()

    def _refuse_if_asked(self) -> None:
        """Say that the command cannot be started, once there is a request to say it to, or nothing more will come."""
        if self._due:
            self.fail(self._refusal)
        elif self._sends_no_more:
            self.fail(self._refusal, error_line(None, REFUSED, self._refusal))

    def _close(self, why: str, last_words: bytes) -> None:
        """Say a last thing, end the child, and close when the client has had the time to hear it."""
        if self._closing_s:
            return
        self._closing_s = time.monotonic()
        self._why = why
        self._transport.write(last_words)
        if self._sends_no_more:
            self._transport.close()
        else:
            with suppress(OSError):  # it is gone, of which `connection_lost` will tell
                self._transport.write_eof()
            self._transport.resume_reading()
        if self._pipes:
            self._pipes.end()

    def _leave(self) -> None:
        """Give up the place once the client is gone and nothing is left of the child."""
        if not self._gone or self._pipes:
            return
        self._sessions.dismiss(self)
        if self._child_pid:
            lasted_s = time.monotonic() - self._began_s
            self._log(f"{self._peer} ended after {lasted_s:.1f} s: {self._why}; child {self._child_pid}: {self._how}")

    def _log(self, text: str) -> None:
        self._sessions.log(f"[{self._number}] {text}")


def _peer_of(transport: asyncio.Transport) -> str:
    """The client's address; it may be gone already."""
    address = transport.get_extra_info("peername")
    return f"{address[0]}:{address[1]}" if address else "a client"


def _tune(client: socket.socket) -> None:
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    _keep_alive(client, KEEPALIVE)


def _keep_alive(client: socket.socket, times: tuple[int, int, int]) -> None:
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    for option, value in zip(options, times, strict=True):
        client.setsockopt(socket.IPPROTO_TCP, option, value)


def _is_reset(client: socket.socket) -> bool:
    """True when the peer has refused further bytes, or keepalive has given it up."""
    poll = select.poll()
    poll.register(client.fileno(), 0)
    return bool(poll.poll(0))
