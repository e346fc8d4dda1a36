"""An echo server of `websockets` alone: what it fails is no fault of the relay's.

It says where it listens, and ends with its stdin. To renew expected_failures.json after an update of `websockets`:

    python -m tests.autobahn.suite --own-echo
"""

import asyncio
import logging
import sys

from websockets.asyncio.server import ServerConnection, serve


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def main() -> None:
    logging.getLogger("websockets").addHandler(logging.NullHandler())  # it tells of each broken frame, with a traceback
    async with serve(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        sys.stderr.write(f"listening on 127.0.0.1:{port}\n")
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
