"""The poll loop of mcp-stdio-bridge: one client on stdin and stdout, one server on TCP.

One loop and no thread but that of an attempt to connect. Nothing in it blocks: stdout is written only where poll says
that there is room, so O_NONBLOCK, which every process that shares the file would feel, is never set.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time

from mcp_tcp.bridge.backoff import backoff_s
from mcp_tcp.bridge.exchange import AUTHENTICATING, OPEN, Exchange
from mcp_tcp.lines import LineSplitter

Address = tuple[str, int]

NAME = "mcp-stdio-bridge"
CONNECT_S = 5.0  # for one attempt
HANDSHAKE_S = 10.0  # a server that does not answer what we say first is taken for one that hangs
AUTHENTICATE_S = 75.0  # but to a token it may answer late: after bad ones mcp-tcp makes an address wait up to 60 s
LASTED_S = 5.0  # a connection that held this long was a good one: the next outage starts with short waits again
ENDING_S = 5.0  # for what is still due once stdin has ended
FLUSH_S = 1.0  # and then for stdout to take it
MAX_CLIENT_LINE_BYTES = 8 << 20
MAX_SERVER_LINE_BYTES = 64 << 20
CHUNK_BYTES = 1 << 16
STDOUT_PIECE_BYTES = select.PIPE_BUF  # what a pipe surely takes when poll says that it is writable
MUCH_BYTES = 1 << 18  # of what one side has not taken yet: then no more is read from the other
SIGNALS = (signal.SIGTERM, signal.SIGINT)
GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL
KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))  # seconds, seconds, times


def peer_name(address: Address) -> str:
    """HOST:PORT for people."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def words_of(error: OSError) -> str:
    """Why a connection failed, in a few words."""
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, TimeoutError):
        return "timed out"
    return error.strerror or str(error)


def chance() -> float:
    """A number evenly spread over [0, 1)."""
    return int.from_bytes(os.urandom(4), "big") / (1 << 32)  # the random module would cost more than all of the bridge


class Bridge:
    """One client on stdin and stdout, and one server, over as many connections as it takes."""

    def __init__(self, address: Address, exchange: Exchange, *, stdin: int = 0, stdout: int = 1) -> None:
        self._address = address
        self._peer = peer_name(address)
        self._exchange = exchange
        self._stdin = stdin
        self._stdout = stdout
        self._stdout_is_gone = False
        self._client_lines = LineSplitter(MAX_CLIENT_LINE_BYTES)
        self._ends_at_s: float | None = None  # since stdin ended or a signal came: when waiting is over
        self._gave_up = False
        self._signals = 0
        self._sock: socket.socket | None = None
        self._connecting = False
        self._outcome: socket.socket | OSError | None = None  # of the attempt that has just ended
        self._tried = False
        self._told_outage = False
        self._failures = 0
        self._next_try_s = 0.0
        self._wake_out, self._wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        """Serve until the client is gone and nothing is due any more."""
        self._catch_signals()
        while True:
            now_s = time.monotonic()
            self._keep_time(now_s)
            self._half_close()
            self._tell_notes()
            if self._is_over(now_s):
                self._lose("the client has ended")
                break
            self._serve(self._poll(now_s))
        for number in SIGNALS:  # one that comes while Python shuts down would still kill, and spoil the exit code
            signal.signal(number, signal.SIG_IGN)

    # -- time ----------------------------------------------------------------------------------------------------------

    def _keep_time(self, now_s: float) -> None:
        self._exchange.expire(now_s)
        if self._signals and self._ends_at_s is None:
            self._end_input(now_s)
        if self._ends_at_s is not None and now_s >= self._ends_at_s and not self._gave_up:
            self._gave_up = True
            self._exchange.give_up(ENDING_S)
        if now_s >= (self._handshake_ends_s() or now_s + 1):
            self._lose("no answer to the handshake")
        if self._sock is None and not self._connecting and now_s >= self._next_try_s and self._wants_connection():
            self._tried = self._connecting = True
            threading.Thread(target=self._connect, daemon=True).start()

    def _handshake_ends_s(self) -> float | None:
        if self._sock is None or self._exchange.phase == OPEN:
            return None
        return self._since_s + (AUTHENTICATE_S if self._exchange.phase == AUTHENTICATING else HANDSHAKE_S)

    def _wants_connection(self) -> bool:
        if self._ends_at_s is not None:
            return not self._exchange.settled
        return self._exchange.wants_connection or not self._tried

    def _is_over(self, now_s: float) -> bool:
        if self._stdout_is_gone or self._signals > 1:
            return True
        if self._ends_at_s is None:
            return False
        flushed = not self._exchange.to_client
        return (flushed and self._exchange.settled) or now_s >= self._ends_at_s + FLUSH_S

    def _timeout_ms(self, now_s: float) -> float | None:
        times = [self._exchange.deadline_s(), self._handshake_ends_s()]
        if self._ends_at_s is not None:
            times.append(self._ends_at_s + FLUSH_S if self._gave_up else self._ends_at_s)
        if self._sock is None and not self._connecting and self._wants_connection():
            times.append(self._next_try_s)
        due = [at_s for at_s in times if at_s is not None]
        # A millisecond more than needed: poll rounds down and would be called again and again just before.
        return max(0.0, min(due) - now_s) * 1000 + 1 if due else None

    # -- what is ready -------------------------------------------------------------------------------------------------

    def _poll(self, now_s: float) -> dict[int, int]:
        much_out = len(self._exchange.to_client) > MUCH_BYTES
        poller = select.poll()  # unlike epoll, it takes regular files too
        poller.register(self._wake_out, select.POLLIN)
        poller.register(self._stdout, select.POLLOUT if self._exchange.to_client else 0)
        much_in = not self._exchange.outage and self._exchange.kept_bytes > MUCH_BYTES
        # In an outage the client's own requests fill stdout, with errors; else its reading is its own affair.
        if self._ends_at_s is None and not much_in and not (much_out and self._exchange.outage):
            poller.register(self._stdin, select.POLLIN)
        if self._sock is not None:
            wants = select.POLLOUT if self._partial or self._exchange.next_line() is not None else 0
            wants |= 0 if much_out else select.POLLIN
            if wants:
                poller.register(self._sock, wants)
        return dict(poller.poll(self._timeout_ms(now_s)))

    def _serve(self, ready: dict[int, int]) -> None:
        sock = self._sock
        if ready.get(self._stdout, 0):
            self._write_stdout(ready[self._stdout])
        if sock is not None and (events := ready.get(sock.fileno(), 0)):
            if events & select.POLLOUT:
                self._send(sock)
            if events & ~select.POLLOUT and self._sock is sock:
                self._receive(sock)
        if ready.get(self._stdin, 0) and self._ends_at_s is None:
            self._read_stdin()
        if ready.get(self._wake_out, 0):
            self._wake_up()

    # -- the client ----------------------------------------------------------------------------------------------------

    def _read_stdin(self) -> None:
        now_s = time.monotonic()
        try:
            data = os.read(self._stdin, CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # closed before we began, or a terminal that hung up: an end all the same
        if not data:
            self._end_input(now_s)
            return
        for line in self._client_lines.feed(data):
            self._exchange.from_client(line, now_s)
        while self._client_lines.too_long:
            self._client_lines.too_long -= 1
            self._exchange.line_too_long(MAX_CLIENT_LINE_BYTES)

    def _end_input(self, now_s: float) -> None:
        self._ends_at_s = now_s + ENDING_S
        if rest := self._client_lines.rest():
            self._exchange.from_client(rest + b"\n", now_s)

    def _write_stdout(self, events: int) -> None:
        if not events & select.POLLOUT:
            self._stdout_is_gone = bool(events & GONE)
            return
        try:
            done = os.write(self._stdout, self._exchange.to_client[:STDOUT_PIECE_BYTES])
        except BlockingIOError:
            return
        except OSError:
            self._stdout_is_gone = True
            return
        del self._exchange.to_client[:done]

    # -- the server ----------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """One attempt, in a thread of its own, because looking a name up blocks."""
        try:
            sock = socket.create_connection(self._address, timeout=CONNECT_S)
            if sock.getsockname() == sock.getpeername():  # TCP's simultaneous open: nobody listens, we met ourselves
                sock.close()
                raise ConnectionRefusedError
            self._outcome = sock
        except OSError as exc:
            self._outcome = exc
        os.write(self._wake_in, b"\0")

    def _connected(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        self._sock = sock
        self._since_s = time.monotonic()
        self._partial = memoryview(b"")  # of the line that is being sent
        self._half_closed = self._told_outage = False
        self._server_lines = LineSplitter(MAX_SERVER_LINE_BYTES)
        self._tell(f"connected to {self._peer}")
        self._exchange.connected()

    def _send(self, sock: socket.socket) -> None:
        """Send what the socket takes; a line has begun with its first byte."""
        try:
            while True:
                if self._partial:
                    self._partial = self._partial[sock.send(self._partial) :]
                elif (line := self._exchange.next_line()) is not None:
                    done = sock.send(line)
                    self._exchange.line_begun()
                    self._partial = memoryview(line)[done:]
                else:
                    return
        except BlockingIOError:
            return
        except OSError as exc:
            self._read_what_is_left(sock)
            self._lose(words_of(exc))

    def _read_what_is_left(self, sock: socket.socket) -> None:
        """Answers that came before the connection broke are answers."""
        try:
            while data := sock.recv(CHUNK_BYTES):
                self._take(data)
        except OSError:
            return

    def _receive(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError as exc:
            self._lose(words_of(exc))
            return
        self._take(data)
        if self._exchange.refusal is not None:
            self._lose("refused")
        elif self._server_lines.too_long:
            self._lose(f"a line of more than {MAX_SERVER_LINE_BYTES} bytes")
        elif not data:
            self._take(self._server_lines.rest() + b"\n")  # a last line may lack its end; a torn one is no JSON
            self._lose("closed by the server")

    def _take(self, data: bytes) -> None:
        for line in self._server_lines.feed(data):
            self._exchange.from_server(line)

    def _half_close(self) -> None:
        if self._sock is None or self._ends_at_s is None or self._half_closed or self._partial:
            return
        if self._exchange.all_sent:
            self._half_closed = True
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError as exc:
                self._lose(words_of(exc))

    def _lose(self, why: str) -> None:
        if self._sock is None:
            return
        self._sock.close()
        self._sock = None
        why = self._exchange.refusal or why
        now_s = time.monotonic()
        wanted = self._ends_at_s is None or not self._exchange.settled
        self._tell(f"{'lost' if wanted else 'ended'} the connection to {self._peer}: {why}")
        self._failures = 0 if now_s - self._since_s >= LASTED_S else self._failures + 1
        self._no_connection(why, now_s)

    def _no_connection(self, why: str, now_s: float) -> None:
        self._exchange.lost(why)
        self._next_try_s = now_s + backoff_s(self._failures, chance())

    def _wake_up(self) -> None:
        os.read(self._wake_out, CHUNK_BYTES)
        outcome, self._outcome = self._outcome, None
        if outcome is None:
            return
        self._connecting = False
        if isinstance(outcome, OSError):
            if not self._told_outage:
                self._told_outage = True
                self._tell(f"no connection to {self._peer}: {words_of(outcome)}; trying on")
            self._failures += 1
            self._no_connection(words_of(outcome), time.monotonic())
        else:
            self._connected(outcome)

    # -- signals, and the log ------------------------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        for number in SIGNALS:
            signal.signal(number, self._note_signal)
        signal.set_wakeup_fd(self._wake_in, warn_on_full_buffer=False)

    def _note_signal(self, number: int, frame: object) -> None:
        self._signals += 1

    def _tell_notes(self) -> None:
        for note in self._exchange.notes:
            self._tell(note)
        self._exchange.notes.clear()

    def _tell(self, what: str) -> None:
        """One line to stderr, unless nobody empties it: a log is not worth standing still."""
        poller = select.poll()
        poller.register(2, select.POLLOUT)
        if poller.poll(0) == [(2, select.POLLOUT)]:
            try:
                os.write(2, f"{NAME}: {what}\n".encode(errors="replace"))
            except OSError:
                return
