"""A client whose network is cut for a while: it comes back and misses nothing, over the bridge and over WebSocket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.integration.hive import SCRIPTS, Hive, is_alive, kill, read_bytes, until
from tests.integration.mcp_disk import append, message_event
from tests.integration.mcp_server import request
from tests.integration.test_fault_storm import Clients

pytestmark = pytest.mark.root  # only root can make network namespaces

SERVER = "10.9.8.1"  # in a namespace of its own: nobody else sees it
CABLES = (("10.9.8.1", "10.9.8.2"), ("10.9.7.1", "10.9.7.2"))  # of the servers, and of the clients, to the router
PORTS = {"MCP_TCP_PORT": 9500, "MCP_BRIDGE_PORT": 3002}


class Network:
    """Three network namespaces: that of the servers, that of the clients, and a router between them."""

    def __init__(self) -> None:
        self._holders = [subprocess.Popen(["unshare", "--net", "sleep", "600"]) for _ in range(3)]
        pids = [each.pid for each in self._holders]
        until(lambda: len({_network(pid) for pid in (os.getpid(), *pids)}) == 4, "the namespaces")
        self.servers, self.clients, self._router = (["nsenter", "--net", "--target", str(pid), "--"] for pid in pids)
        for number, (own, gate) in enumerate(CABLES):
            at, name = (self.servers, self.clients)[number], f"cable{number}"
            ends = ("netns", str(pids[number]), "type", "veth", "peer", name, "netns", str(pids[2]))
            run("ip", "link", "add", name, *ends)
            for where, address in ((at, own), (self._router, gate)):
                run(*where, "ip", "address", "add", f"{address}/24", "dev", name)
                run(*where, "ip", "link", "set", name, "up")
            run(*at, "ip", "route", "add", "default", "via", gate)
            run(*at, "ip", "link", "set", "lo", "up")
        self._forward("1")

    def _forward(self, word: str) -> None:
        run(*self._router, "sh", "-c", f"echo {word} >/proc/sys/net/ipv4/ip_forward")

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Within the block the router drops every packet, and tells nobody."""
        self._forward("0")
        try:
            yield
        finally:
            self._forward("1")

    def close(self) -> None:
        for each in self._holders:
            each.kill()
            each.wait()


def _network(pid: int) -> str:
    with suppress(OSError):
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    return ""


def run(*words: str) -> None:
    subprocess.run(words, check=True, timeout=50, capture_output=True)


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    try:
        yield network
    finally:
        network.close()


@pytest.fixture
def hive(tmp_path: Path) -> Iterator[Hive]:
    with Hive(tmp_path / "h", HOME=str(tmp_path), HIVE_BIND=SERVER, WS_PING_S="1") as hive:
        yield hive


@contextmanager
def serving(hive: Hive, network: Network) -> Iterator[None]:
    """Both servers within the block, at their address, for everybody who gets there; SIGKILL at its end."""
    words = (("mcp_tcp", "--health-port", "-1"), ("ws_relay",))
    said = [hive.root / f"{module}.log" for module, *_ in words]
    processes = []
    with ExitStack() as logs:
        for (module, *more), path in zip(words, said, strict=True):
            argv = [*network.servers, sys.executable, "-m", module, "--insecure", *more]
            log = logs.enter_context(path.open("wb"))
            processes.append(subprocess.Popen(argv, env=hive.env, stderr=log, stdin=subprocess.DEVNULL))
        try:
            until(lambda: all(b"listening on 10." in read_bytes(str(path)) for path in said), "both servers")
            yield
        finally:
            kill(each.pid for each in processes)
            for each in processes:
                each.wait()


class Bridged:
    """An MCP client behind mcp-stdio-bridge that reads one session's events on from its cursor."""

    def __init__(self, network: Network, hive: Hive, session_id: str) -> None:
        self.texts: list[str] = []
        self._session_id = session_id
        self._cursor = 0
        self.log = hive.root / "bridge.log"
        with self.log.open("wb") as log:
            argv = [*network.clients, f"{SCRIPTS}/mcp-stdio-bridge", f"{SERVER}:9500"]
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(argv, env=hive.env, stdin=pipe, stdout=pipe, stderr=log)
        hello = request("initialize", 0, protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "c"})
        self.say(hello)
        assert "result" in self.hear()
        self.say({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def say(self, message: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def ask(self) -> None:
        """Ask for what comes next; the answer may take as long as the network is away."""
        arguments = {"session_id": self._session_id, "cursor": self._cursor}
        self.say(request("tools/call", 1, name="session_events", arguments=arguments))

    def take(self) -> bool:
        """The answer to `ask`; an error, which says that the connection was lost, has the client ask again. True: there is more."""
        while "error" in (answer := self.hear()):
            self.ask()
        page = answer["result"]
        assert page["from"] == self._cursor
        self.texts += [event["text"] for event in page["events"] if event["type"] == "message"]
        self._cursor = page["cursor"]
        return bool(page["more"])

    def read(self) -> list[str]:
        """All that it was told so far, with what there is now."""
        self.ask()
        while self.take():
            self.ask()
        return self.texts

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_client_behind_a_cut_network_comes_back_and_misses_nothing(
    network: Network, hive: Hive, tmp_path: Path
) -> None:
    """Once while the servers stay, and once while they are killed and started anew behind the cut."""
    session_id = hive.create("rehearsal")
    path = hive.paths(session_id).telemetry
    numbers = iter(range(10**6))

    def write(many: int = 10) -> None:
        for _ in range(many):
            append(path, message_event(str(next(numbers))))

    def all_at_work() -> bool:
        write(1)  # who is told nothing for two seconds begins anew
        return clients.at_work() == 6

    with ExitStack() as open_things:
        servers = open_things.enter_context(ExitStack())
        servers.enter_context(serving(hive, network))
        bridged = Bridged(network, hive, session_id)
        open_things.callback(bridged.close)
        clients = Clients(PORTS, [session_id], 3, tmp_path, host=SERVER, silent_s=2.0, within=network.clients)
        open_things.callback(clients.close)
        until(all_at_work, "all clients at work", 40)
        assert bridged.read() == texts_in(path)
        for restarted in (False, True):
            with network.cut():
                write()
                bridged.ask()
                until(lambda: clients.at_work() == 0, "clients that have noticed")
                if restarted:
                    servers.close()
                    servers.enter_context(serving(hive, network))
                write()
            until(all_at_work, "all clients at work again", 40)
            bridged.take()
            assert bridged.read() == texts_in(path)
        assert min(clients.finish({session_id: read_bytes(path)})) >= 3
        assert is_alive(bridged.process.pid)


def texts_in(path: str) -> list[str]:
    """What all messages so far say, in their order."""
    return [json.loads(line)["text"] for line in read_bytes(path).splitlines() if b'"message"' in line]
