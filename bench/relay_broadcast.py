"""The peer in Python: `websockets.broadcast` of each whole line that a file grows by.

python relay_broadcast.py FILE [--deflate]
"""

import asyncio
import os
import sys

from websockets.asyncio.server import ServerConnection, broadcast, serve

from hive_session.ondisk.follow import Lines
from hive_session.ondisk.inotify import MODIFY, Inotify


async def main(path: str, compression: str | None) -> None:
    clients: set[ServerConnection] = set()
    lines = Lines(path, os.stat(path).st_size)
    changes = Inotify()
    changes.add_watch(path, MODIFY)

    async def hold(client: ServerConnection) -> None:
        clients.add(client)
        try:
            await client.wait_closed()
        finally:
            clients.discard(client)

    def follow() -> None:
        changes.read()
        while batch := lines.read():
            for line in batch:
                broadcast(clients, line[:-1].decode())

    asyncio.get_running_loop().add_reader(changes.fileno(), follow)
    async with serve(hold, "127.0.0.1", 0, compression=compression, ping_interval=None) as server:
        port = server.sockets[0].getsockname()[1]
        sys.stderr.write(f"listening on 127.0.0.1:{port}\n")
        sys.stderr.flush()
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], "deflate" if "--deflate" in sys.argv else None))
