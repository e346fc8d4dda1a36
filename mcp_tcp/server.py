"""The program mcp-tcp: tells any MCP client the truth about sessions, read from their files, on a TCP port."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import orjson

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
from hive_session.ondisk.version import VERSION
from mcp_tcp import http
from mcp_tcp.asking import Asking
from mcp_tcp.client import Client
from mcp_tcp.connection import Connection
from mcp_tcp.door import Door
from mcp_tcp.jsonrpc import REFUSED, error_line
from mcp_tcp.machine import Machine
from mcp_tcp.methods import Methods
from mcp_tcp.metrics import Latencies, exposition
from mcp_tcp.service import Service
from mcp_tcp.settings import Settings, resolve_settings
from mcp_tcp.subscriptions import Subscriptions
from mcp_tcp.tools import ServerFacts

log = logging.getLogger(__name__)

PROGRAM = "mcp-tcp"
SERVER_INFO = {"name": "hive-suite", "title": "Hive sessions", "version": VERSION}
LEAVE_S = 4.0  # for answers that are pending when the end comes; supervisors wait 5 s and more
BACKLOG = 512  # connections that wait to be accepted


class Server:
    """What all connections share; `run` serves until SIGTERM or SIGINT."""

    def __init__(self, settings: Settings, layout: Layout) -> None:
        loop = asyncio.get_running_loop()
        self.settings = settings
        self.sessions = Sessions(layout)
        self.subscriptions = Subscriptions(self.sessions, loop.call_later, loop.time)
        self.sessions.on_change = self.subscriptions.changed
        self.latencies = Latencies()
        self.limit_bytes = settings.max_request_bytes
        self.linger_s = settings.linger_s
        self.refused = 0
        self.ready = False
        self._loop = loop
        self._machine = Machine()
        self._started_ms = time.time_ns() // 1_000_000
        self._connections: set[Connection] = set()
        self._empty = asyncio.Event()  # no connection is open
        self._catching_up = False
        self._asking = Asking(self.sessions, self._facts())
        self._methods = _methods(settings)(self._asking, self.subscriptions, SERVER_INFO)
        door = Door(settings.token)
        self.admits_all = door.open
        self.service = Service(
            self._methods.table(),
            call_tool=self._methods.call_by_name,
            cancelled=self._methods.cancelled,
            door=door,
            server_info=SERVER_INFO,
        )

    # -- what connections need (connection.House) ----------------------------------------------------------------------

    def freshen(self) -> None:
        """Take in what changed on disk before now; where that is much, go on with it between other work."""
        if self.sessions.refresh() and not self._catching_up:
            self._catching_up = True
            self._loop.call_soon(self._catch_up)

    def _catch_up(self) -> None:
        self._catching_up = False
        self.freshen()

    def greet(self, connection: Connection) -> bytes:
        """Count a connection in; the line that refuses it where there are too many."""
        limit = self.settings.max_connections
        if len(self._connections) >= limit:
            self.refused += 1
            log.warning("refused a connection from %s: there are %d", connection.client.address, limit)
            return error_line(None, REFUSED, f"Too many connections: there are {limit}; close one or try again later")
        self._connections.add(connection)
        self._empty.clear()
        self._asking.facts = self._facts()
        return b""

    def part(self, connection: Connection) -> None:
        """Count it out, and forget what it wanted to hear of."""
        self._connections.discard(connection)
        self.forget(connection.client)
        self._asking.facts = self._facts()
        if not self._connections:
            self._empty.set()

    def forget(self, client: Client) -> None:
        """It wants to hear of nothing any more."""
        self._methods.leave(client)

    # -- running -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve. Raises: OSError where an address cannot be had."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, stop.set)
        self.sessions.open()
        settings = self.settings
        listener = await self._loop.create_server(
            lambda: Connection(self), settings.host, settings.port, backlog=BACKLOG
        )
        health = None
        if settings.health_port >= 0:
            health = await http.serve_http(settings.host, settings.health_port, self._routes())
        self._announce(listener, health)
        self._loop.set_exception_handler(Reporter())
        self._loop.add_reader(self.sessions.fileno(), self.freshen)
        async with asyncio.TaskGroup() as group:
            chores = [group.create_task(self._sweep()), group.create_task(self._warm())]
            await stop.wait()
            log.info("asked to end: no new connections")
            listener.close()
            await self._take_leave()
            for chore in chores:
                chore.cancel()
        if health is not None:
            health.close()
        self.sessions.close()

    def _announce(self, listener: asyncio.Server, health: asyncio.Server | None) -> None:
        settings = self.settings
        where = listener.sockets[0].getsockname()
        leave_host(PROGRAM, where)
        say(PROGRAM, f"listening on {address_of(where)}")
        if health is not None:
            say(PROGRAM, f"health on http://{address_of(health.sockets[0].getsockname())}/healthz")
        if settings.host != settings.bind:
            log.warning(
                "no token is set, so only this machine is served, not %s; set TCP_AUTH_TOKEN, or give --insecure",
                settings.bind,
            )
        elif settings.insecure and not settings.token:
            log.warning("--insecure: whoever reaches %s is served, without a token", settings.host)

    async def _sweep(self) -> None:
        deaf = False
        while True:
            await asyncio.sleep(self.sessions.pause_s)
            if self.sessions.deaf and not deaf:
                deaf = True
                log.warning("inotify has no more watches (fs.inotify.max_user_watches): some changes are seen late")
            if self.sessions.sweep():
                self._machine.look()
                self._asking.facts = self._facts()

    async def _warm(self) -> None:
        """Have the telemetry of all live sessions in memory before somebody asks."""
        for session in self.sessions.live():
            await self._asking.load(session)
        self.ready = True

    async def _take_leave(self) -> None:
        """Answer what was asked by now, end the subscriptions, close."""
        for connection in list(self._connections):
            connection.take_leave()
        if self._connections:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), LEAVE_S)
        for connection in list(self._connections):
            connection.abort()

    # -- figures -------------------------------------------------------------------------------------------------------

    def _facts(self) -> ServerFacts:
        return ServerFacts(
            started_ms=self._started_ms,
            version=VERSION,
            clients=len(self._connections),
            cpu_percent=self._machine.cpu_percent,
            memory_mb=self._machine.memory_mb,
        )

    def _routes(self) -> http.Routes:
        return {"/healthz": self._healthz, "/health": self._healthz, "/readyz": self._readyz, "/metrics": self._metrics}

    def _healthz(self) -> http.Response:
        found = {"status": "ok", "version": VERSION, "clients": len(self._connections)}
        return http.Response(200, http.JSON, orjson.dumps(found) + b"\n")

    def _readyz(self) -> http.Response:
        """Ready once the telemetry of what runs is in memory."""
        found = {"ready": self.ready, "sessions": len(self.sessions.by_id)}
        return http.Response(200 if self.ready else 503, http.JSON, orjson.dumps(found) + b"\n")

    def _metrics(self) -> http.Response:
        self.freshen()
        text = exposition(
            sessions=count_statuses(self.sessions),
            requests=self.service.requests,
            errors=self.service.errors,
            latencies=self.latencies,
            clients=len(self._connections),
            refused=self.refused,
            subscriptions=len(self.subscriptions),
            deaf=self.sessions.deaf,
        )
        return http.Response(200, CONTENT_TYPE, text)


def _methods(settings: Settings) -> type[Methods]:
    if settings.conformance:
        from mcp_tcp.conformance_methods import FixtureMethods

        return FixtureMethods
    return Methods


# -- the program -------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `mcp-tcp`; returns its exit code."""
    try:
        settings = read_settings(sys.argv[1:] if argv is None else argv)
    except (BadSetting, OSError) as exc:
        return _fail(*refusal(exc))
    layout = resolve_layout(os.environ, acting_home(os.environ), os.path.isdir)
    start_log(PROGRAM)
    settle(layout)
    try:
        asyncio.run(serve(settings, layout))
    except OSError as exc:
        return _fail(
            no_address(exc),
            f"cannot listen on {settings.host}: {exc.strerror}; name another port with --port or --health-port",
        )
    return 0


async def serve(settings: Settings, layout: Layout) -> None:
    """Run one server to its end."""
    await Server(settings, layout).run()


def read_settings(argv: Sequence[str]) -> Settings:
    """The settings of this call; `--help` ends the program. Raises: BadSetting, OSError."""
    flags = _read_flags(argv) if argv else {}  # the suite gives none, and argparse would stay in memory: 0.8 MB
    return resolved(PROGRAM, lambda text, path: resolve_settings(flags, os.environ, text, path))


def _read_flags(argv: Sequence[str]) -> dict[str, Any]:
    from argparse import SUPPRESS  # here, not above: whoever imports the server needs no flags

    parser = flag_parser(
        PROGRAM,
        description="Tells MCP clients, on a TCP port, what the sessions of this workspace do. It changes nothing.",
        epilog='try:  echo \'{"jsonrpc":"2.0","id":1,"method":"agent_list"}\' | nc localhost 9500\n'
        "A token is read from TCP_AUTH_TOKEN. Flags win over the environment, that over [mcp_tcp] in the file of HIVE_CONFIG.\n"
        "exit codes: 0 ended by SIGTERM | 2 usage | 74, 75, 77 cannot listen | 78 a setting is wrong",
    )
    add = parser.add_argument
    add("--port", metavar="N", help="where to listen (MCP_TCP_PORT, 9500); 0 takes a free one")
    add("--health-port", metavar="N", help="/healthz, /readyz, /metrics over HTTP (MCP_HEALTH_PORT, 9501); -1: none")
    add("--bind", metavar="HOST", help="address to listen on (HIVE_BIND, 127.0.0.1)")
    add("--max-connections", metavar="N", help="at once (TCP_MAX_CONNECTIONS, 50)")
    add("--max-request-bytes", metavar="N", help="of one message (MAX_REQUEST_SIZE, 1048576)")
    add("--linger-s", metavar="S", help="seconds until piped netcat calls are ended (MCP_LINGER_S, 2); 0: never")
    add("--insecure", action="store_true", help="serve other machines without a token")
    add("--conformance", action="store_true", help=SUPPRESS)
    return vars(parser.parse_args(argv))


def _fail(code: int, what: str) -> int:
    say(PROGRAM, what, "error")
    return code
