"""The console script mcp-tcp-proxy: a stdio MCP server on a TCP port, with a process of its own for each connection."""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import anyio
import orjson

from hive_session.ondisk.journal import entry, secrets_in, wants_json
from hive_session.ondisk.serving import leave_host, say, start_log
from hive_session.ondisk.settings import address_to_serve
from mcp_tcp.http import JSON, Response, serve_http
from mcp_tcp.proxy.child import Command, adopt_orphans, remove_leftovers
from mcp_tcp.proxy.connection import Connection, Sessions

if TYPE_CHECKING:
    import argparse
    import asyncio

PROGRAM = "mcp-tcp-proxy"

# As hive_session.errors has them.
EXIT_USAGE = 2
EXIT_CANNOT_CREATE = 73
EXIT_IO = 74
EXIT_BUSY = 75
EXIT_NOT_PERMITTED = 77
EXIT_CONFIG = 78

BACKLOG = 128
TICK_S = 1.0
STOP_LIMIT_S = 4.0  # whoever sent SIGTERM waits 5 s

# The suite's own secrets, and what would mark the command as part of a session that the proxy was started from.
WITHHELD = ("TCP_AUTH_TOKEN", "WS_AUTH_TOKEN", "CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "HIVE_TAPPED")
# They move part of claude-flow's state out of its current directory, which is what --cwd-each gives each child of its own.
RELOCATIONS = ("CLAUDE_FLOW_CWD", "CLAUDE_FLOW_DB_PATH", "CLAUDE_FLOW_MEMORY_PATH")

USAGE = """\
mcp-tcp-proxy [options] -- COMMAND [WORD…]

  mcp-tcp-proxy -- claude-flow mcp start
  mcp-tcp-proxy --port 9502 --health-port 9503 --cwd-each /workspace/.swarm/claude-flow -- claude-flow mcp start"""
EPILOG = """\
Each connection gets a process of its own, which ends with it. There is no password: whoever reaches the port runs COMMAND.
Exit codes: 0 ended by a signal, 2 usage, 73 DIR cannot be made, 74 I/O error, 75 the port is taken, 77 not permitted,
78 a variable is wrong."""


class CannotServe(Exception):
    """Why there is no proxy: what is wrong, what to do, and the exit code."""

    def __init__(self, what: str, cure: str, exit_code: int) -> None:
        super().__init__(f"{what}; {cure}")
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Config:
    """What the proxy was told."""

    host: str
    port: int  # 0: a free one
    health_port: int | None  # None: no health over HTTP
    max_sessions: int
    command: Command


def main() -> int:
    """Entry point of `mcp-tcp-proxy`; returns its exit code."""
    try:
        if wants_json(os.environ):
            start_log(PROGRAM)  # for crashes, and what asyncio has to say
        return run(read_config(sys.argv[1:], os.environ))
    except CannotServe as exc:
        say(PROGRAM, str(exc), "error")
        return exc.exit_code


def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. Raises: CannotServe."""
    cwd_each = config.command.cwd_each
    if cwd_each is not None:
        _prepare_directory(cwd_each)
    with _listen(config.host, config.port) as listener:
        adopt_orphans()
        anyio.run(serve, config, listener, backend_options={"use_uvloop": True})
    return 0


async def serve(config: Config, listener: socket.socket) -> None:
    """Serve connections that come to `listener`."""
    import asyncio

    host, port = listener.getsockname()[:2]
    sessions = Sessions(config.command, config.max_sessions, log)
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        health = await _serve_health(config, host, port, sessions)
        server = await asyncio.get_running_loop().create_server(lambda: Connection(sessions), sock=listener)
        leave_host(PROGRAM, (host, port))
        log(_describe(config, port, health))
        gc.freeze()  # what is here stays: a keeper, which is a fork, shares it as long as nobody touches it
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_tick, sessions)
            async for number in signals:
                log(f"ends by {number.name}")
                break
            server.close()
            sessions.stop()
            with anyio.move_on_after(STOP_LIMIT_S):
                await sessions.childless.wait()
            tasks.cancel_scope.cancel()
        if health is not None:
            health.close()


def log(text: str) -> None:
    """Write one line, with the time, to stderr; as JSON to stdout. A stream that is gone keeps nobody from working."""
    now_s = time.time()
    if in_json := wants_json(os.environ):
        line = entry(PROGRAM, text, now_s=now_s, pid=os.getpid(), secrets=secrets_in(os.environ))
    else:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_s))
        line = f"{stamp}.{int(now_s % 1 * 1000):03}Z {PROGRAM}: {text}\n"
    try:
        os.write(1 if in_json else 2, line.encode("utf-8", "backslashreplace"))
    except OSError:
        pass


async def _tick(sessions: Sessions) -> None:
    while True:
        await anyio.sleep(TICK_S)
        sessions.tick()


async def _serve_health(config: Config, host: str, port: int, sessions: Sessions) -> asyncio.Server | None:
    if config.health_port is None:
        return None

    def tell() -> Response:
        figures = {"active_sessions": len(sessions.active), "max_sessions": config.max_sessions, "port": port}
        return Response(200, JSON, orjson.dumps(figures) + b"\n")

    try:
        return await serve_http(host, config.health_port, dict.fromkeys(("/", "/health", "/healthz"), tell))
    except OSError as exc:
        raise _cannot_listen(host, config.health_port, exc) from exc


def _describe(config: Config, port: int, health: asyncio.Server | None) -> str:
    """The line that says where this proxy is to be had."""
    words = " ".join(config.command.argv)
    where = f"listening on {config.host}:{port}"
    if health is not None:
        where += f", health on {config.host}:{health.sockets[0].getsockname()[1]}"
    return f"{where}, at most {config.max_sessions} sessions of: {words}"


# -- configuration -----------------------------------------------------------------------------------------------------


def read_config(argv: Sequence[str], env: Mapping[str, str]) -> Config:
    """The configuration: flags, then the environment, then defaults. Raises: CannotServe; SystemExit after --help."""
    words = list(argv)
    end = words.index("--") if "--" in words else len(words)
    options = _parser().parse_args(words[:end])
    command = words[end + 1 :]
    if not command:
        raise CannotServe("there is no command", "put it last, after --", EXIT_USAGE)
    return Config(
        host=options.bind or _trusted_bind(env),
        port=_number(options.port, "--port", env, "CLAUDE_FLOW_TCP_PORT", 9502, 0, 65535),
        health_port=None if options.health_port is None else _checked(options.health_port, "--health-port", 0, 65535),
        max_sessions=_number(options.max_sessions, "--max-sessions", env, "CLAUDE_FLOW_MAX_SESSIONS", 10, 1, 10_000),
        command=_command(command, env, options.cwd_each),
    )


def _trusted_bind(env: Mapping[str, str]) -> str:
    """The servers' common address where it needs no password, which there is none of here; else loopback."""
    bind = env.get("HIVE_BIND") or "127.0.0.1"
    return address_to_serve(bind, token="", trusted=env.get("HIVE_TRUST_NETWORK") == "true")


def _parser() -> argparse.ArgumentParser:
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise CannotServe(message, "see mcp-tcp-proxy --help", EXIT_USAGE)

    form = argparse.RawDescriptionHelpFormatter
    parser = Parser("mcp-tcp-proxy", usage=USAGE, epilog=EPILOG, formatter_class=form, allow_abbrev=False)
    parser.add_argument("--port", metavar="N", help="where clients connect (CLAUDE_FLOW_TCP_PORT, 9502); 0: a free one")
    parser.add_argument("--health-port", metavar="M", help="serve GET /health there")
    parser.add_argument(
        "--bind", metavar="HOST", help="the address of both (127.0.0.1; with HIVE_TRUST_NETWORK=true HIVE_BIND)"
    )
    parser.add_argument("--cwd-each", metavar="DIR", help="each process works in a directory of its own in DIR")
    parser.add_argument("--max-sessions", metavar="N", help="connections at once (CLAUDE_FLOW_MAX_SESSIONS, 10)")
    return parser


def _number(
    flag: str | None, name: str, env: Mapping[str, str], variable: str, default: int, low: int, high: int
) -> int:
    if flag is not None:
        return _checked(flag, name, low, high)
    if env.get(variable):
        return _checked(env[variable], variable, low, high)
    return default


def _checked(text: str, name: str, low: int, high: int) -> int:
    if text.isascii() and text.isdigit() and low <= int(text) <= high:
        return int(text)
    code = EXIT_USAGE if name.startswith("--") else EXIT_CONFIG
    raise CannotServe(f"{name}: {text!r} is no number", f"give one from {low} to {high}", code)


def _command(argv: Sequence[str], env: Mapping[str, str], cwd_each: str | None) -> Command:
    """What to start: a program named by a relative path is that of the proxy's directory, also where children have their own."""
    program = os.path.abspath(argv[0]) if "/" in argv[0] else argv[0]
    left_out = WITHHELD if cwd_each is None else WITHHELD + RELOCATIONS
    own_env = {name: value for name, value in env.items() if name not in left_out}
    return Command((program, *argv[1:]), own_env, None if cwd_each is None else os.path.abspath(cwd_each))


# -- the world ---------------------------------------------------------------------------------------------------------


def _prepare_directory(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
        remove_leftovers(path)
        usable = os.access(path, os.W_OK | os.X_OK)
    except OSError as exc:
        raise CannotServe(f"--cwd-each {path}: {exc.strerror}", "name another", EXIT_CANNOT_CREATE) from exc
    if not usable:
        raise CannotServe(f"--cwd-each {path}: not writable", "chown it, or name another", EXIT_NOT_PERMITTED)


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. Made before the event loop, because looking up a name there would take a thread."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as exc:
        raise CannotServe(f"{host}: {exc.strerror}", "give an address of this machine", EXIT_CONFIG) from exc
    try:
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as exc:
        raise _cannot_listen(host, port, exc) from exc


def _cannot_listen(host: str, port: int, exc: OSError) -> CannotServe:
    where = f"cannot listen on {host}:{port}"
    if exc.errno == errno.EADDRINUSE:
        return CannotServe(f"{where}: the port is taken", "end who has it, or give another", EXIT_BUSY)
    if exc.errno in (errno.EACCES, errno.EPERM):
        return CannotServe(f"{where}: not permitted", "give a port from 1024 on", EXIT_NOT_PERMITTED)
    if exc.errno == errno.EADDRNOTAVAIL:
        return CannotServe(f"{where}: not an address of this machine", "give another with --bind", EXIT_CONFIG)
    return CannotServe(f"{where}: {exc.strerror}", "give another address", EXIT_IO)


if __name__ == "__main__":
    sys.exit(main())
