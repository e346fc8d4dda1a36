"""The program ws-relay: streams what sessions do to any number of viewers over WebSocket, and serves the page that shows it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import orjson
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.typing import Subprotocol

from hive_session.ondisk.exposition import CONTENT_TYPE
from hive_session.ondisk.figures import count_statuses
from hive_session.ondisk.home import acting_home
from hive_session.ondisk.layout import Layout, resolve_layout
from hive_session.ondisk.serving import (
    Reporter,
    address_of,
    flag_parser,
    leave_host,
    no_address,
    refusal,
    resolved,
    say,
    settle,
    start_log,
)
from hive_session.ondisk.sessions import Sessions
from hive_session.ondisk.settings import BadSetting
from hive_session.ondisk.tokens import Failures
from hive_session.ondisk.version import VERSION
from ws_relay.api import Api
from ws_relay.connection import CLOSE_S, RelayConnection, ViewerWire, close, connections_of
from ws_relay.door import Door, answered_subprotocol, shown_path
from ws_relay.hub import Hub
from ws_relay.metrics import exposition
from ws_relay.settings import Settings, resolve_settings
from ws_relay.static import Files
from ws_relay.web import JSON, Web, plain, refused

log = logging.getLogger(__name__)

PROGRAM = "ws-relay"
ECHO_PATH = "/__echo"
BACKLOG = 512  # connections that wait to be accepted
OTHERS = 128  # connections beside the viewers': requests over HTTP, and handshakes
ANSWER_S = 120.0  # for a slow peer to take an answer over HTTP
MESSAGE_BYTES = 1 << 20  # of one message of a viewer, inflated
MESSAGES = 16  # of one viewer that wait to be heard; then no more are read
CHUNK_BYTES = 16 << 10  # taken from one peer in one turn: its frames are parsed in one go
CHOKED_S = 0.05  # between two looks whether a viewer that does not read may be heard again
LEAVE_S = CLOSE_S + 0.5  # for closing handshakes and answers when the end comes; supervisors wait 5 s and more
BAD_TOKEN_S = 10.0  # longest wait for the answer to a bad token
GOING_AWAY, BINARY_REFUSED = 1001, 1003


class Relay:
    """What all connections share; `run` serves until SIGTERM or SIGINT."""

    def __init__(self, settings: Settings, layout: Layout) -> None:
        loop = asyncio.get_running_loop()
        self.settings = settings
        self.sessions = Sessions(layout)
        self.hub = Hub(self.sessions, loop.call_later, loop.time, max_bytes_per_s=settings.max_bytes_per_s)
        self.ready = False
        self.refused = 0  # viewers, because there were too many
        self._loop = loop
        self._connections: set[RelayConnection] = set()
        self._viewers = 0
        self._empty = asyncio.Event()  # no connection is open
        self._empty.set()
        self._catching_up = False
        self._gathering: asyncio.TimerHandle | None = None  # ends with the window in which news is gathered
        self._door = Door(settings)
        self._failures = Failures()
        routes = {
            "/healthz": self._healthz,
            "/health": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
        }
        self._web = Web(Api(self.sessions), Files(), self._door, routes)

    # -- what connections need (connection.House) ----------------------------------------------------------------------

    def greet(self, connection: RelayConnection) -> bool:
        self._connections.add(connection)
        self._empty.clear()
        return len(self._connections) <= self.settings.max_connections + OTHERS

    def part(self, connection: RelayConnection) -> None:
        self._connections.discard(connection)
        self._viewers -= connection.is_viewer
        if not self._connections:
            self._empty.set()

    # -- the disk ------------------------------------------------------------------------------------------------------

    def freshen(self) -> None:
        """Take in what changed on disk before now; where that is much, go on with it between other work."""
        if self.sessions.refresh() and not self._catching_up:
            self._catching_up = True
            self._loop.call_soon(self._catch_up)

    def _catch_up(self) -> None:
        self._catching_up = False
        self.freshen()

    def _listen_to_disk(self) -> None:
        self._loop.add_reader(self.sessions.fileno(), self._disk_changed)

    def _disk_changed(self) -> None:
        """Take it in at once, or with what follows in one go where news comes thick."""
        wait_s = self.hub.wait_s()
        if wait_s:
            self._loop.remove_reader(self.sessions.fileno())
            self._gathering = self._loop.call_later(wait_s, self._take_in)
        else:
            self._read_disk()

    def _take_in(self) -> None:
        self._read_disk()
        self._listen_to_disk()

    def _read_disk(self) -> None:
        self.freshen()
        self.hub.read_by_now()

    async def _sweep(self) -> None:
        told = False
        while True:
            await asyncio.sleep(self.sessions.pause_s)
            if self.sessions.deaf and not told:
                told = True
                log.warning("inotify has no more watches (fs.inotify.max_user_watches): some changes are seen late")
            self.sessions.sweep()

    async def _warm(self) -> None:
        """Have the telemetry of all live sessions in memory before somebody asks."""
        for session in self.sessions.live():
            # Nobody would tell: each look is a slice of the work.
            while not self.sessions.loaded(session):  # noqa: ASYNC110
                await asyncio.sleep(0)
        self.ready = True

    # -- running -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve. Raises: OSError where an address cannot be had."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, stop.set)
        self.sessions.open()
        server = await self._listen()
        self._announce(server)
        self._listen_to_disk()
        self._loop.set_exception_handler(Reporter(peers_go=True))  # asyncio may be writing to one: that is no news
        async with asyncio.TaskGroup() as group:
            chores = [group.create_task(self._sweep()), group.create_task(self._warm())]
            await stop.wait()
            log.info("asked to end: no new connections")
            server.close(close_connections=False)
            await self._take_leave()
            for chore in chores:
                chore.cancel()
        await server.wait_closed()
        self._loop.remove_reader(self.sessions.fileno())
        if self._gathering is not None:
            self._gathering.cancel()
        self.sessions.close()

    async def _listen(self) -> Server:
        quiet = logging.getLogger("ws_relay.websockets")
        quiet.setLevel(logging.ERROR)  # what it says in other moods repeats heads of requests, with their tokens
        server = await serve(
            self._serve_viewer,
            self.settings.host,
            self.settings.port,
            # A viewer says little: what unpacks its messages need not stay in memory between them.
            extensions=[ServerPerMessageDeflateFactory(client_no_context_takeover=True)],
            select_subprotocol=_select_subprotocol,
            process_request=self._receive,
            server_header=None,
            open_timeout=ANSWER_S,
            ping_interval=self.settings.ping_s,
            ping_timeout=self.settings.ping_s,
            close_timeout=CLOSE_S,
            max_size=MESSAGE_BYTES,
            max_queue=MESSAGES,
            write_limit=0,  # so that `drained` comes whenever something had to wait
            logger=quiet,
            create_connection=connections_of(self),
            backlog=BACKLOG,
            start_serving=False,
        )
        for each in server.sockets:
            _narrow(each)
        await server.start_serving()
        return server

    def _announce(self, server: Server) -> None:
        settings = self.settings
        where = next(iter(server.sockets)).getsockname()
        leave_host(PROGRAM, where)
        say(PROGRAM, f"listening on {address_of(where)}")
        if settings.host != settings.bind:
            log.warning(
                "no token is set, so only this machine is served, not %s; set WS_AUTH_TOKEN, or give --insecure",
                settings.bind,
            )
        elif settings.insecure and not settings.token:
            log.warning("--insecure: whoever reaches %s is served, without a token", settings.host)

    async def _take_leave(self) -> None:
        """Close every viewer's connection in good order, let answers be taken, then cut off who is left."""
        for connection in list(self._connections):
            if connection.request is None:
                connection.transport.abort()
        leaving = [close(each, GOING_AWAY, "the relay ends") for each in self._connections if each.is_viewer]
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await asyncio.gather(*leaving)
                await self._empty.wait()
        for connection in list(self._connections):
            connection.transport.abort()

    # -- requests ------------------------------------------------------------------------------------------------------

    async def _receive(self, connection: ServerConnection, request: Request) -> Response | None:
        """The response to a request over HTTP, or to a viewer that is refused; None lets a viewer in."""
        assert isinstance(connection, RelayConnection)
        upgrade = any("websocket" in value.lower() for value in request.headers.get_all("Upgrade"))
        if upgrade or self._web.needs_admission(request.path.partition("?")[0]):
            refusal = await self._refusal(connection, request)
            if refusal is not None:
                return refusal
        if upgrade:
            return self._take_place(connection, request)
        self.freshen()
        answer = await self._web.answer(request)
        if request.method == "HEAD":
            answer.body = b""
        return answer

    async def _refusal(self, connection: RelayConnection, request: Request) -> Response | None:
        """Why a request may not see sessions. After ten bad tokens of an address, it waits for each further answer."""
        found = self._door.judge(request.path, request.headers)
        if found is None:
            self._failures.succeeded(connection.address)
            return None
        log.warning("refused %s at %s: %s", connection.address, shown_path(request.path), found.sentence)
        if found.bad_token:
            self._failures.failed(connection.address, time.monotonic())
            delay_s = self._failures.delay_s(connection.address, time.monotonic())
            await asyncio.sleep(min(delay_s, BAD_TOKEN_S))
        return refused(found)

    def _take_place(self, connection: RelayConnection, request: Request) -> Response | None:
        if self._viewers >= self.settings.max_connections:
            self.refused += 1
            log.warning("refused %s: there are %d viewers", connection.address, self._viewers)
            sentence = f"there are {self._viewers} viewers, which is the most; try again later"
            return plain(503, sentence, [("Retry-After", "5")])
        if not connection.is_viewer and connection in self._connections:
            connection.is_viewer = True
            self._viewers += 1
        return None

    async def _serve_viewer(self, connection: ServerConnection) -> None:
        """Hear a viewer until it goes."""
        assert isinstance(connection, RelayConnection) and connection.request is not None
        target = connection.request.path
        if self.settings.echo and target.partition("?")[0] == ECHO_PATH:
            return await _echo(connection)
        if connection.sends_no_more:
            return None  # it cannot even subscribe
        wire = ViewerWire(connection)
        viewer = self.hub.join(wire)
        connection.drained = viewer.drained
        log.info("viewer from %s at %s: there are %d", connection.address, shown_path(target), self._viewers)
        try:
            async for message in connection:
                if isinstance(message, bytes):
                    await close(connection, BINARY_REFUSED, "only text frames are understood")
                    break
                self.freshen()
                viewer.hear(message)
                await asyncio.sleep(0)  # one message a turn, however many there are
                # It says nothing when it reads again: what waits for it may be held back by its budget too.
                while viewer.choked and connection.state is State.OPEN:  # noqa: ASYNC110
                    await asyncio.sleep(CHOKED_S)
        except ConnectionClosed:
            pass
        finally:
            connection.drained = None
            self.hub.leave(viewer)
            log.info("viewer from %s left: %s", connection.address, connection.protocol.close_code)

    # -- figures -------------------------------------------------------------------------------------------------------

    def _healthz(self) -> tuple[int, str, bytes]:
        return 200, JSON, orjson.dumps({"status": "ok", "version": VERSION, "clients": self._viewers}) + b"\n"

    def _readyz(self) -> tuple[int, str, bytes]:
        """Ready once the telemetry of what runs is in memory."""
        found = {"ready": self.ready, "sessions": len(self.sessions.by_id)}
        return 200 if self.ready else 503, JSON, orjson.dumps(found) + b"\n"

    def _metrics(self) -> tuple[int, str, bytes]:
        text = exposition(
            sessions=count_statuses(self.sessions),
            clients=self._viewers,
            refused=self.refused,
            counters=self.hub.counters,
            deaf=self.sessions.deaf,
        )
        return 200, CONTENT_TYPE, text


async def _echo(connection: RelayConnection) -> None:
    """What comes goes back, for suites that test the protocol alone."""
    with suppress(ConnectionClosed):
        async for message in connection:
            await connection.send(message)


def _select_subprotocol(_connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    name = answered_subprotocol(offered)
    return None if name is None else Subprotocol(name)


def _narrow(listener: socket.socket) -> None:
    """Have the sockets that it accepts take little at a time."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHUNK_BYTES)


# -- the program -------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `ws-relay`; returns its exit code."""
    try:
        settings = read_settings(sys.argv[1:] if argv is None else argv)
    except (BadSetting, OSError) as exc:
        return _fail(*refusal(exc))
    layout = resolve_layout(os.environ, acting_home(os.environ), os.path.isdir)
    start_log(PROGRAM)
    settle(layout)
    try:
        asyncio.run(relay(settings, layout))
    except OSError as exc:
        sentence = f"cannot listen on {settings.host}: {exc.strerror}; name another port with --port"
        return _fail(no_address(exc), sentence)
    return 0


async def relay(settings: Settings, layout: Layout) -> None:
    """Run one relay to its end."""
    await Relay(settings, layout).run()


def read_settings(argv: Sequence[str]) -> Settings:
    """The settings of this call; `--help` ends the program. Raises: BadSetting, OSError."""
    flags = _read_flags(argv) if argv else {}  # the suite gives none, and argparse would stay in memory: 0.8 MB
    return resolved(PROGRAM, lambda text, path: resolve_settings(flags, os.environ, text, path))


def _read_flags(argv: Sequence[str]) -> dict[str, Any]:
    from argparse import SUPPRESS  # here, not above: whoever imports the server needs no flags

    parser = flag_parser(
        PROGRAM,
        description="Streams what the sessions of this workspace do to viewers over WebSocket, and serves the page that shows it.",
        epilog="try:  open http://localhost:3002/ in a browser\n"
        "A token is read from WS_AUTH_TOKEN. Flags win over the environment, that over [ws_relay] in the file of HIVE_CONFIG.\n"
        "exit codes: 0 ended by SIGTERM | 2 usage | 74, 75, 77 cannot listen | 78 a setting is wrong",
    )
    add = parser.add_argument
    add("--port", metavar="N", help="where to listen (MCP_BRIDGE_PORT, 3002); 0 takes a free one")
    add("--bind", metavar="HOST", help="address to listen on (HIVE_BIND, 127.0.0.1)")
    add("--max-connections", metavar="N", help="viewers at once (WS_MAX_CONNECTIONS, 100)")
    add("--allowed-origins", metavar="LIST", help="of pages that may connect, with commas (WS_ALLOWED_ORIGINS)")
    add("--max-bytes-per-s", metavar="N", help="to each viewer (WS_MAX_BYTES_PER_S, no limit)")
    add("--ping-s", metavar="S", help="between pings that show whether a viewer is there (WS_PING_S, 20)")
    add("--insecure", action="store_true", help="serve other machines without a token")
    add("--echo", action="store_true", help=SUPPRESS)
    return vars(parser.parse_args(argv))


def _fail(code: int, what: str) -> int:
    say(PROGRAM, what, "error")
    return code
