"""mcp-stdio-bridge: puts an MCP server on TCP (one JSON-RPC message a line) on stdio, over all its restarts."""

from __future__ import annotations

import os
import sys

from mcp_tcp.bridge.exchange import Exchange
from mcp_tcp.bridge.stdio import NAME, Address, Bridge, peer_name

TYPE_CHECKING = False  # typing costs each bridge a megabyte; mypy takes this name for typing's own
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 9500
DEFAULT_WAIT_S = 30.0


class BadUsage(ValueError):
    """The words or the environment of the call are wrong; the text says which and how."""


def parse_address(text: str) -> Address:
    """HOST:PORT as host and port; an IPv6 address stands in brackets. Raises: BadUsage."""
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise BadUsage(f"{text!r} is no HOST:PORT, such as {DEFAULT_HOST}:{DEFAULT_PORT}")
    return host, int(port)


def address_from(env: Mapping[str, str]) -> Address:
    """The server that MCP_HOST and MCP_TCP_PORT name. Raises: BadUsage."""
    host, port = env.get("MCP_HOST") or DEFAULT_HOST, env.get("MCP_TCP_PORT") or str(DEFAULT_PORT)
    return parse_address(f"[{host}]:{port}")


def token_from(env: Mapping[str, str]) -> str:
    """The token to show to the server, "" for none. Raises: BadUsage where JSON cannot hold it."""
    token = env.get("TCP_AUTH_TOKEN", "")
    if not token.isascii() and any("\ud800" <= char <= "\udfff" for char in token):
        raise BadUsage("TCP_AUTH_TOKEN is no UTF-8 text")
    return token


def parse_words(words: Sequence[str], env: Mapping[str, str]) -> tuple[Address, float]:
    """The server, and how long a request waits for a connection, in seconds. Raises: BadUsage."""
    if not words:
        return address_from(env), DEFAULT_WAIT_S
    import argparse

    parser = argparse.ArgumentParser(
        prog=NAME,
        description="Put an MCP server that listens on TCP on stdin and stdout, and keep it there over its restarts.",
        epilog="Environment: MCP_HOST, MCP_TCP_PORT: the server where none is named. TCP_AUTH_TOKEN: sent first on each "
        "connection. Exit codes: 0 stdin has ended, or a signal came; 2 the words of the call are wrong.",
        allow_abbrev=False,
    )
    parser.add_argument("address", metavar="HOST:PORT", nargs="?", help=f"default {DEFAULT_HOST}:{DEFAULT_PORT}")
    parser.add_argument(
        "--wait-s",
        type=float,
        default=DEFAULT_WAIT_S,
        metavar="SECONDS",
        help="how long a request waits for a connection before it gets an error; default %(default)g",
    )
    found = parser.parse_args(words)
    if not 0 <= found.wait_s <= 86_400:
        raise BadUsage(f"--wait-s {found.wait_s:g}: from 0 to 86400 seconds")
    return parse_address(found.address) if found.address else address_from(env), found.wait_s


def main() -> int:
    """The console script `mcp-stdio-bridge`."""
    try:
        address, wait_s = parse_words(sys.argv[1:], os.environ)
        token = token_from(os.environ)
    except BadUsage as exc:
        sys.stderr.write(f"{NAME}: {exc}\n")
        return 2
    _fill_gaps()
    exchange = Exchange(peer_name(address), nonce=os.urandom(4).hex(), token=token, wait_s=wait_s)
    Bridge(address, exchange).run()
    return 0


def _fill_gaps() -> None:
    """Where a caller closed one of 0, 1 and 2, the next file to be opened would be taken for it."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    sys.exit(main())
