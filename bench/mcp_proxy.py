"""The proxy beside socat: what each adds to a round trip, how much passes through, and who outlives 200 lost clients."""

import os
import shutil
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from statistics import median

from mcp_load import ask
from mcp_peers import HERE, MANY_CLIENTS, Cell, Server, Variant, calls, interleaved, script, serving
from measure import PYTHON, Line, Workspace

from hive_session import proctree

ROUNDS, SECONDS = 7, 0.7
TEN = 10
LOST, AT_ONCE = 200, 10
GONE_S = 10.0  # what a client leaves behind must be gone by then
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST, as a client that dies with unread data does


def against_socat(workspace: Workspace, table: list[Cell]) -> Iterator[Line]:
    """The same tiny child on pipes, behind our proxy and behind socat; the raw cells are added to `table`."""
    child = (PYTHON, f"{HERE}/mcp_child.py")
    requests = calls(["any"], modern=False)
    with serving(_socat(child), workspace.env, workspace.root) as peer, _proxy(workspace, *child) as own:
        ours = Variant(name="proxy", requests=requests, opening=[], port=own.port, pid=own.pid)
        socat = Variant(name="socat", requests=requests, opening=[], port=peer.port)
        bare = Variant(name="child alone", requests=requests, opening=[], command=child)
        single = interleaved([ours, socat, bare], [1], ROUNDS, SECONDS)
        ten = interleaved([ours, socat], [TEN], ROUNDS, SECONDS)
    table += [*single.values(), *ten.values()]
    yield _added(single)
    yield Line(
        name=f"requests/s at {TEN} connections, proxy / socat",
        measured=ten["proxy", TEN].times(ten["socat", TEN], "per_s"),
        unit="x",
        limit=0.65,
        at_least=True,
    )


def _added(cells: dict[tuple[str, int], Cell]) -> Line:
    own, socat, alone = (cells[name, 1].each("p50_ms") for name in ("proxy", "socat", "child alone"))
    added = [a - c for a, c in zip(own, alone, strict=True)]
    peers = [b - c for b, c in zip(socat, alone, strict=True)]
    return Line(
        name="added to the median round trip, proxy / socat",
        measured=median(a / b for a, b in zip(added, peers, strict=True)),
        unit="x",
        limit=1.5,
        beside=f"{1e3 * median(added):.0f} us / {1e3 * median(peers):.0f} us, on {1e3 * median(alone):.0f} us",
    )


def _proxy(workspace: Workspace, *command: str) -> AbstractContextManager[Server]:
    argv = [script("mcp-tcp-proxy"), "--port", "0", "--", *command]
    return serving(argv, workspace.env | MANY_CLIENTS, workspace.root)


def _socat(command: tuple[str, ...]) -> list[str]:
    program = shutil.which("socat")
    if program is None:
        raise RuntimeError("there is no socat on PATH")
    # -d -d: it says where it listens. The options are those of the figures that the goals come from.
    return [program, "-d", "-d", "TCP-LISTEN:0,bind=127.0.0.1,fork,reuseaddr", f"EXEC:{' '.join(command)},pipes"]


def lost_clients(workspace: Workspace) -> Iterator[Line]:
    """200 clients that vanish, half of them before they have an answer; their children outlive their stdin, beneath a shell."""
    mark = f"{workspace.root}/lost"
    inner = f"'{PYTHON}' '{HERE}/mcp_child.py' stay '{mark}'; exit 0"
    message = calls(["any"], modern=False)[0].encode() + b"\n"
    most, slowest_s = 0, 0.0
    try:
        with _proxy(workspace, "/bin/sh", "-c", inner) as server:
            for _ in range(LOST // AT_ONCE):
                most = max(most, _come_and_go(server, message, mark))
                if slowest_s < GONE_S:  # where nothing is ever cleaned up, waiting once is enough
                    slowest_s = max(slowest_s, _time_until_gone(mark, server.pid))
            orphans = len(_marked(mark, server.pid))
    finally:
        proctree.send(_marked(mark, 0), signal.SIGKILL)
    yield Line(
        name=f"orphans after {LOST} abrupt disconnects",
        measured=orphans,
        unit="processes",
        limit=0,
        beside=f"{AT_ONCE} clients at a time, {most} processes; at worst all were gone after {slowest_s:.2f} s",
    )


def _come_and_go(server: Server, message: bytes, mark: str) -> int:
    """Clients come, and vanish; how many processes there were for them."""
    clients = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(AT_ONCE)]
    for client in clients:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    for client in clients[1::2]:
        client.sendall(message)
    for client in clients[::2]:
        ask((client.fileno(), client.fileno()), message)
    count = len(_marked(mark, server.pid))
    for client in clients:
        client.close()
    return count


def _time_until_gone(mark: str, proxy: int) -> float:
    """Seconds until nothing is left behind the proxy, GONE_S at most."""
    begun = time.monotonic()
    while _marked(mark, proxy) and time.monotonic() < begun + GONE_S:
        time.sleep(0.01)
    return time.monotonic() - begun


def _marked(mark: str, proxy: int) -> list[int]:
    """The pids of all processes with `mark` in their command line, but for the proxy itself."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if pid != proxy and mark.encode() in proctree.read_proc(f"/proc/{pid}/cmdline")]
