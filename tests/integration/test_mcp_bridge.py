"""mcp-stdio-bridge as a process between a client on stdio and servers that come, go, hang, refuse and are killed."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.integration.hive import stat_fields, until

WAIT_S = 20.0
BRIDGE = [sys.executable, "-m", "mcp_tcp.bridge"]
# The bridge with other times than its own: (name in mcp_tcp.bridge.stdio, seconds).
TIMED = "import mcp_tcp.bridge.stdio as s, mcp_tcp.bridge.__main__ as b\ns.{} = {}\nraise SystemExit(b.main())\n"
PATIENT = ("ENDING_S", 600)  # what is due at the end is waited for, however slow the machine
LOST = "was lost before the answer came; it may or may not have been carried out"
AGREED = {"protocolVersion": "2025-11-25", "capabilities": {"resources": {"subscribe": True}}}
INITIALIZE = {"id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}}


def encode(message: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"


def request(request_id: Any, method: str = "tools/call", **params: Any) -> dict[str, Any]:
    return {"id": request_id, "method": method, "params": params}


class Client:
    """A client of the bridge: its stdin, its stdout, its log. `timed` is one of the bridge's times, as TIMED has it."""

    def __init__(self, *words: str, timed: tuple[str, float] | None = None, **options: Any) -> None:
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("MCP_", "TCP_"))}
        self.env.update(options.pop("env", {}))
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        program = [sys.executable, "-c", TIMED.format(*timed)] if timed else BRIDGE
        self.process = subprocess.Popen([*program, *words], env=self.env, **options)
        self._buffer = b""

    def say(self, *messages: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(map(encode, messages)))
        self.process.stdin.flush()

    def hear_line(self) -> bytes:
        assert self.process.stdout is not None
        out = self.process.stdout.fileno()
        while b"\n" not in self._buffer:
            assert select.select([out], [], [], WAIT_S)[0], "the bridge says nothing"
            data = os.read(out, 1 << 16)
            assert data, f"the bridge has ended after {self._buffer!r}"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line + b"\n"

    def hear(self) -> Any:
        return json.loads(self.hear_line())

    def end(self) -> tuple[bytes, str]:
        """Close stdin; returns the rest of stdout, and the log. The exit code must be 0."""
        out, err = self.process.communicate(timeout=WAIT_S)
        assert self.process.returncode == 0, err.decode()
        return self._buffer + out, err.decode()

    def log_until(self, word: str) -> str:
        """The log up to the line with `word` in it."""
        assert self.process.stderr is not None
        found = ""
        while word not in found:
            assert select.select([self.process.stderr], [], [], WAIT_S)[0], f"no {word!r} in {found!r}"
            data = os.read(self.process.stderr.fileno(), 1 << 16)
            assert data, f"no {word!r} in {found!r}"
            found += data.decode()
        return found


class Peer:
    """One accepted connection, on the server's side."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(WAIT_S)
        self._file = sock.makefile("rb")

    def line(self) -> bytes:
        return self._file.readline()

    def hear(self) -> Any:
        line = self.line()
        assert line, "the bridge has closed the connection"
        return json.loads(line)

    def say(self, *messages: dict[str, Any]) -> None:
        self.sock.sendall(b"".join(map(encode, messages)))

    def answer(self, heard: Any, result: Any = None) -> None:
        self.say({"id": heard["id"], "result": result or {}})

    def drop(self, *, reset: bool = False) -> None:
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._file.close()
        self.sock.close()


class Server:
    """A place on TCP where the test itself is the server; it refuses until `listen`, and nobody else can have the port."""

    def __init__(self) -> None:
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._sock.bind(("127.0.0.1", 0))
        self._sock.settimeout(WAIT_S)
        self.port: int = self._sock.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.peers: list[Peer] = []

    def listen(self) -> None:
        self._sock.listen()

    def accept(self) -> Peer:
        self.peers.append(Peer(self._sock.accept()[0]))
        return self.peers[-1]

    def close(self) -> None:
        self._sock.close()
        for peer in self.peers:
            peer.drop()


@pytest.fixture
def server() -> Iterator[Server]:
    with closing(Server()) as server:
        server.listen()
        yield server


@pytest.fixture
def away() -> Iterator[Server]:
    """A server that does not listen yet."""
    with closing(Server()) as server:
        yield server


@pytest.fixture
def start() -> Iterator[Callable[..., Client]]:
    """Starts bridges; what still runs of them ends with the test."""
    clients: list[Client] = []

    def start_one(*words: str, **options: Any) -> Client:
        clients.append(Client(*words, **options))
        return clients[-1]

    yield start_one
    for client in clients:
        client.process.kill()
        client.process.wait()
        for pipe in (client.process.stdin, client.process.stdout, client.process.stderr):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue


Start = Callable[..., Client]


def set_up(client: Client, peer: Peer) -> None:
    """The handshake of a legacy client."""
    client.say(INITIALIZE)
    peer.answer(peer.hear(), AGREED)
    assert client.hear()["result"] == AGREED
    client.say({"method": "notifications/initialized"})
    assert peer.hear()["method"] == "notifications/initialized"


# -- both ways ---------------------------------------------------------------------------------------------------------


def test_lines_pass_unchanged_both_ways_and_stdout_carries_nothing_else(server: Server, start: Start) -> None:
    client = start(server.address)
    peer = server.accept()
    odd = b'{ "id":"\\u00e9", "jsonrpc":"2.0","method":"x" , "params":{"n":1.50}}\r\n'
    assert client.process.stdin is not None
    client.process.stdin.write(odd)
    client.process.stdin.flush()
    assert peer.line() == odd
    answer = '{"result":{"n" : 1.50}, "id":"é","jsonrpc":"2.0"}\r\n'.encode()
    peer.sock.sendall(b"Server is ready\n" + answer[:9])
    peer.sock.sendall(answer[9:])
    assert client.hear_line() == answer
    out, log = client.end()
    assert out == b""
    assert [line.partition(": ")[2] for line in log.splitlines()] == [
        f"connected to {server.address}",
        f"{server.address} sent a line that is no JSON-RPC message; it was dropped",
        f"ended the connection to {server.address}: the client has ended",
    ]


def test_big_messages_pass_whole_through_a_pipe(server: Server, start: Start) -> None:
    client = start(server.address)
    peer = server.accept()
    text = "é" * 1_000_000
    client.say(request(1, text=text))
    heard = peer.hear()
    assert heard["params"]["text"] == text
    peer.answer(heard, {"text": text})
    assert client.hear()["result"]["text"] == text


def test_a_slow_server_slows_the_client_down_and_nothing_is_lost(server: Server, start: Start) -> None:
    client = start(server.address)
    peer = server.accept()
    assert client.process.stdin is not None
    stdin = client.process.stdin.fileno()
    os.set_blocking(stdin, False)
    data = b"".join(encode({"method": "n", "params": {"i": i, "text": "x" * 10_000}}) for i in range(3000))
    sent = write_what_fits(stdin, data)
    assert sent < 25_000_000  # 30 MB were not swallowed
    os.set_blocking(stdin, True)
    pusher = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=stdin)
    assert pusher.stdin is not None
    seen = 0
    try:
        for i in range(3000):
            while sent < len(data) and sent - seen < 200_000:
                pusher.stdin.write(data[sent : sent + 65_536])
                pusher.stdin.flush()
                sent += 65_536
            line = peer.line()
            seen += len(line)
            assert json.loads(line)["params"]["i"] == i
    finally:
        pusher.stdin.close()
        pusher.wait()


def write_what_fits(fd: int, data: bytes) -> int:
    """Write to a non-blocking pipe until it has taken nothing for half a second; returns the bytes it took."""
    at = 0
    while at < len(data) and select.select([], [fd], [], 0.5)[1]:
        at += os.write(fd, data[at : at + 65_536])
    return at


def test_a_slow_client_slows_the_server_down_and_nothing_is_lost(server: Server, start: Start) -> None:
    client = start(server.address)
    peer = server.accept()
    peer.sock.setblocking(False)
    data = b"".join(encode({"method": "n", "params": {"i": i, "text": "x" * 10_000}}) for i in range(3000))
    sent = write_what_fits(peer.sock.fileno(), data)
    assert sent < 25_000_000
    assert rss_bytes(client.process.pid) < 40_000_000
    for i in range(3000):
        while sent < len(data) and select.select([], [peer.sock], [], 0)[1]:
            sent += peer.sock.send(data[sent : sent + 65_536])
        assert client.hear()["params"]["i"] == i


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_client_that_does_not_read_can_still_write(server: Server, start: Start) -> None:
    client = start(server.address)
    peer = server.accept()
    peer.sock.setblocking(False)
    line = encode({"method": "n", "params": {"text": "x" * 10_000}})
    write_what_fits(peer.sock.fileno(), line * 1000)
    peer.sock.settimeout(WAIT_S)
    client.say(request(1))
    assert peer.hear()["id"] == 1


# -- connections that come and go --------------------------------------------------------------------------------------


def test_the_client_may_start_before_the_server_and_after_its_first_requests(away: Server, start: Start) -> None:
    client = start(away.address)
    client.say(INITIALIZE, request(1))
    assert "refused; trying on" in client.log_until("trying on")
    away.listen()
    peer = away.accept()
    assert [peer.hear()["id"], peer.hear()["id"]] == [0, 1]
    peer.answer({"id": 0}, AGREED)
    assert client.hear()["result"] == AGREED


@pytest.mark.parametrize("reset", [False, True])
def test_after_a_lost_connection_the_handshake_is_replayed_and_one_error_tells_of_it(
    server: Server, start: Start, reset: bool
) -> None:
    client = start(server.address)
    peer = server.accept()
    set_up(client, peer)
    client.say(request(1, "resources/subscribe", uri="hive://sessions"))
    peer.answer(peer.hear())
    assert client.hear()["id"] == 1
    client.say(request("pending"))
    peer.hear()
    peer.drop(reset=reset)
    error = client.hear()
    assert error["id"] == "pending" and error["error"]["code"] == -32000
    assert error["error"]["message"] == f"the connection to {server.address} {LOST}"
    client.say(request("kept"))
    again = server.accept()
    first = again.hear()
    assert first["method"] == "initialize" and first["params"] == INITIALIZE["params"] and first["id"] != 0
    again.answer(first, AGREED)
    then = [again.hear() for _ in range(3)]
    assert [each["method"] for each in then] == ["notifications/initialized", "resources/subscribe", "tools/call"]
    again.answer(then[1])
    again.answer(then[2])
    assert client.hear()["params"] == {"uri": "hive://sessions"}  # read it again: it may have changed meanwhile
    assert client.hear()["id"] == "kept"


def test_a_line_of_which_a_part_was_sent_counts_as_sent(server: Server, start: Start) -> None:
    client = start(server.address)
    peer = server.accept()
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.say(request("partial", text="x" * 7_500_000))
    assert peer.sock.recv(10)
    client.say(request("behind"))
    peer.drop(reset=True)
    assert client.hear()["id"] == "partial"
    assert server.accept().hear()["id"] == "behind"


def test_answers_that_came_before_the_connection_broke_are_delivered(server: Server, start: Start) -> None:
    client = start(server.address)
    peer = server.accept()
    client.say(request(1), request(2))
    peer.hear()
    peer.hear()
    peer.sock.sendall(encode({"id": 1, "result": {}}) + encode({"id": 2, "result": {}})[:-1] + b"")
    peer.drop()
    assert [client.hear(), client.hear()] == [{"jsonrpc": "2.0", "id": each, "result": {}} for each in (1, 2)]


def test_a_torn_answer_is_no_answer(server: Server, start: Start) -> None:
    client = start(server.address)
    peer = server.accept()
    client.say(request(1))
    peer.hear()
    peer.sock.sendall(encode({"id": 1, "result": {}})[:-3])
    peer.drop()
    assert LOST in client.hear()["error"]["message"]


def test_an_open_listen_request_is_sent_again_and_its_acknowledgement_told_once(server: Server, start: Start) -> None:
    client = start(server.address)
    listen = request("listen-1", "subscriptions/listen", notifications={"resourceSubscriptions": ["hive://sessions"]})
    client.say(listen)
    acknowledged = {
        "method": "notifications/subscriptions/acknowledged",
        "params": {
            "_meta": {"io.modelcontextprotocol/subscriptionId": "listen-1"},
            "notifications": {"resourceSubscriptions": ["hive://sessions"]},
        },
    }
    methods = []
    for _ in range(3):
        peer = server.accept()
        assert peer.hear() == {"jsonrpc": "2.0", **listen}
        peer.say(acknowledged)
        methods.append(client.hear()["method"].rpartition("/")[2])
        peer.drop()
    assert methods == ["acknowledged", "updated", "updated"]


def test_a_client_that_waits_for_nothing_costs_the_server_no_connection(server: Server, start: Start) -> None:
    client = start(server.address)
    peer = server.accept()
    client.say(request(1, "server/discover"))
    peer.answer(peer.hear())
    assert client.hear()["id"] == 1
    peer.drop()
    client.log_until("lost")
    server._sock.settimeout(0.6)
    with pytest.raises(TimeoutError):
        server.accept()
    server._sock.settimeout(WAIT_S)
    client.say(request(2))
    assert server.accept().hear()["id"] == 2


SERVER_PROCESS = textwrap.dedent("""
    import json, socket, sys, threading
    def serve(conn):
        for line in conn.makefile("rb"):
            asked = json.loads(line)
            if "id" in asked and asked["method"] != "hang":
                result = {"protocolVersion": "2025-11-25", "capabilities": {}, "method": asked["method"]}
                conn.sendall(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode() + b"\\n")
    listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    print(listening.getsockname()[1], flush=True)
    while True:
        threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
""")


def start_server_process(port: int) -> tuple["subprocess.Popen[bytes]", int]:
    process = subprocess.Popen([sys.executable, "-c", SERVER_PROCESS, str(port)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_a_server_that_is_killed_and_comes_back_costs_one_error_for_what_was_pending(start: Start) -> None:
    process, port = start_server_process(0)
    try:
        client = start(f"127.0.0.1:{port}")
        client.say(INITIALIZE)
        assert client.hear()["id"] == 0
        client.say({"method": "notifications/initialized"})
        for attempt in range(3):
            client.say(request(f"fine {attempt}"))
            assert client.hear()["result"]["method"] == "tools/call"
            client.say(request(f"pending {attempt}", "hang"), request(f"sent {attempt}"))
            assert client.hear()["id"] == f"sent {attempt}"  # so the one before it was sent as well
            process.kill()
            process.communicate()
            error = client.hear()
            assert error["id"] == f"pending {attempt}" and LOST in error["error"]["message"]
            client.say(request(f"kept {attempt}"))
            process, _ = start_server_process(port)
            assert client.hear()["id"] == f"kept {attempt}"
        out, log = client.end()
        assert out == b""
        assert log.count("connected to") == 4
        assert log.count("lost the connection") == 3
    finally:
        process.kill()
        process.communicate()


def test_a_server_that_refuses_for_long_is_not_asked_too_often(server: Server, start: Start) -> None:
    client = start(server.address)
    client.say(INITIALIZE)
    full = encode({"id": None, "error": {"code": -32000, "message": "50 clients are connected"}})
    times = []
    for _ in range(5):
        sock = server._sock.accept()[0]
        times.append(time.monotonic())
        sock.sendall(full)
        sock.close()
    # Full jitter: the waits are anything up to 0.2, 0.4, 0.8 and 1.6 s; below 0.05 s in all in 1 of 400,000 runs.
    assert 0.05 < times[-1] - times[0] < 3.0 + WAIT_S
    peer = server.accept()
    assert peer.hear()["id"] == 0
    peer.answer({"id": 0}, AGREED)
    assert client.hear()["result"] == AGREED  # and of the errors before, the client has seen none
    assert "50 clients are connected" in client.end()[1]


# -- no connection -----------------------------------------------------------------------------------------------------


def test_a_request_gets_an_error_when_no_server_comes_in_time(away: Server, start: Start) -> None:
    client = start(away.address, "--wait-s", "0.3")
    client.log_until("trying on")  # else its time may be over before the first attempt is
    began = time.monotonic()
    client.say(request(1))
    message = f"no connection to {away.address}: refused; is mcp-tcp running?"
    assert client.hear()["error"] == {"code": -32000, "message": message}
    assert time.monotonic() - began >= 0.3


def test_in_an_outage_1000_requests_are_kept_and_more_are_answered_at_once(away: Server, start: Start) -> None:
    client = start(away.address)
    client.log_until("trying on")
    client.say(*(request(i) for i in range(1003)))
    assert [client.hear()["id"] for _ in range(3)] == [1000, 1001, 1002]
    away.listen()
    peer = away.accept()
    assert [peer.hear()["id"] for _ in range(1000)] == list(range(1000))


def test_a_server_that_does_not_answer_the_handshake_is_left_within_its_time(server: Server, start: Start) -> None:
    client = start(server.address, timed=("AUTHENTICATE_S", 0.3), env={"TCP_AUTH_TOKEN": "secret"})
    client.say(request(1))
    for _ in range(2):
        assert peer_that_is_spoken_to(server).hear()["method"] == "authenticate"
    client.log_until("no answer to the handshake")


def peer_that_is_spoken_to(server: Server) -> Peer:
    """The next connection on which something comes: a bridge that is held up may find its time over before it speaks."""
    while not (peer := server.accept()).sock.recv(1, socket.MSG_PEEK):
        continue
    return peer


# -- the token ---------------------------------------------------------------------------------------------------------


def test_the_token_goes_first_on_every_connection_and_never_onto_the_command_line(server: Server, start: Start) -> None:
    client = start(server.address, env={"TCP_AUTH_TOKEN": "s3cret"})
    client.say(INITIALIZE)
    for _ in range(2):
        peer = server.accept()
        first = peer.hear()
        assert (first["method"], first["params"]) == ("authenticate", {"token": "s3cret"})
        peer.answer(first, {"authenticated": True})
        assert peer.hear()["method"] == "initialize"
        peer.drop()
    peer = server.accept()
    peer.answer(peer.hear(), {"authenticated": True})
    peer.answer(peer.hear(), AGREED)
    assert client.hear()["result"] == AGREED
    out, log = client.end()
    assert out == b"" and "s3cret" not in log


def test_a_refused_token_is_told_at_once(server: Server, start: Start) -> None:
    client = start(server.address, env={"TCP_AUTH_TOKEN": "wrong"})
    client.say(request(1))
    peer = server.accept()
    peer.say({"id": peer.hear()["id"], "error": {"code": -32000, "message": "Authentication failed"}})
    error = client.hear()
    assert error["id"] == 1
    assert "it refused the token in TCP_AUTH_TOKEN: Authentication failed" in error["error"]["message"]


# -- the end -----------------------------------------------------------------------------------------------------------


def end_by(client: Client, how: str) -> None:
    if how == "EOF":
        assert client.process.stdin is not None
        client.process.stdin.close()
        client.process.stdin = None
    else:
        client.process.send_signal(getattr(signal, how))


@pytest.mark.parametrize("how", ["EOF", "SIGTERM", "SIGINT"])
def test_at_the_end_what_is_left_is_sent_and_what_is_due_is_waited_for(server: Server, start: Start, how: str) -> None:
    client = start(server.address, timed=PATIENT)
    peer = server.accept()
    client.say(request(1), request(2))
    assert peer.hear()["id"] == 1
    end_by(client, how)
    assert peer.hear()["id"] == 2
    assert peer.line() == b""  # half-closed
    assert client.process.poll() is None
    peer.answer({"id": 2})
    peer.answer({"id": 1})
    out, _ = client.end()
    assert [json.loads(line)["id"] for line in out.splitlines()] == [2, 1]


@pytest.mark.parametrize("how", ["EOF", "SIGTERM"])
def test_the_wait_at_the_end_is_bounded(server: Server, start: Start, how: str) -> None:
    client = start(server.address)
    peer = server.accept()
    client.say(request(1))
    peer.hear()
    began = time.monotonic()
    end_by(client, how)
    out, _ = client.end()
    assert time.monotonic() - began > 4.5
    assert "within 5 s of the end of the input" in json.loads(out)["error"]["message"]


def test_a_second_signal_ends_it_at_once(server: Server, start: Start) -> None:
    client = start(server.address, timed=PATIENT)
    peer = server.accept()
    client.say(request(1))
    peer.hear()
    client.process.terminate()
    assert peer.line() == b""
    client.process.terminate()
    client.end()


def test_an_open_listen_request_does_not_hold_up_the_end(server: Server, start: Start) -> None:
    client = start(server.address, timed=PATIENT)
    peer = server.accept()
    client.say(request(1, "subscriptions/listen"))
    peer.hear()
    client.end()


def test_nothing_to_do_and_no_server_is_an_end_at_once(away: Server, start: Start) -> None:
    client = start(away.address, timed=PATIENT, stdin=subprocess.DEVNULL)
    assert client.end()[0] == b""


def test_a_client_that_is_gone_ends_it_quietly(server: Server, start: Start) -> None:
    client = start(server.address)
    server.accept()
    client.log_until("connected")
    assert client.process.stdout is not None
    client.process.stdout.close()
    assert client.process.wait(WAIT_S) == 0
    assert client.process.stderr is not None
    assert client.process.stderr.read().decode().count("\n") == 1  # the end of the connection


def test_stdin_may_be_a_file_and_its_last_line_may_lack_its_end(server: Server, start: Start, tmp_path: Path) -> None:
    script = tmp_path / "requests"
    script.write_bytes(b"".join(encode(request(i)) for i in range(3000)) + encode(request("last"))[:-1])
    with script.open("rb") as file:
        client = start(server.address, timed=PATIENT, stdin=file)
    peer = server.accept()
    assert [peer.hear()["id"] for _ in range(3001)] == [*range(3000), "last"]
    for request_id in [*range(3000), "last"]:
        peer.answer({"id": request_id})
    out, _ = client.end()
    assert len(out.splitlines()) == 3001


def test_stdin_may_be_a_terminal(server: Server, start: Start) -> None:
    outer, inner = os.openpty()
    client = start(server.address, timed=PATIENT, stdin=inner)
    os.close(inner)
    peer = server.accept()
    os.write(outer, encode(request(1)))
    assert peer.hear()["id"] == 1
    os.close(outer)
    peer.answer({"id": 1})
    assert client.end()[0] == encode({"id": 1, "result": {}})


def test_stdin_and_stdout_may_be_sockets_as_node_makes_them(server: Server, start: Start) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client = start(server.address, stdin=theirs, stdout=theirs)
        theirs.close()
        peer = server.accept()
        big = request(1, text="x" * 1_000_000)
        ours.sendall(encode(big))
        peer.answer(peer.hear(), big["params"])
        with ours.makefile("rb") as file:
            assert json.loads(file.readline())["result"] == big["params"]
            ours.shutdown(socket.SHUT_WR)
            assert file.readline() == b""
    assert client.process.wait(WAIT_S) == 0


def test_a_stdin_that_was_never_there_is_an_end(server: Server) -> None:
    command = f"exec {sys.executable} -m mcp_tcp.bridge {server.address} <&- 2>&-"
    done = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, timeout=WAIT_S, check=False)
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_log_that_nobody_reads_stops_nothing(server: Server, start: Start) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    while True:
        try:
            os.write(write_end, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(write_end, True)
    client = start(server.address, stderr=write_end)
    os.close(write_end)
    peer = server.accept()
    client.say(request(1))
    peer.answer(peer.hear())
    assert client.hear()["id"] == 1
    os.close(read_end)


# -- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["nonsense"], ["--wait-s", "-1"], ["--wait-s", "x"], ["a:1", "b:2"], ["--token", "x"]]
)
def test_wrong_words_are_answered_with_exit_code_2(words: list[str]) -> None:
    done = subprocess.run([*BRIDGE, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=WAIT_S, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"mcp-stdio-bridge: " in done.stderr


def test_the_environment_names_the_server(server: Server, start: Start) -> None:
    start(env={"MCP_HOST": "localhost", "MCP_TCP_PORT": str(server.port)})
    server.accept()
    bad = subprocess.run(
        BRIDGE, env={**os.environ, "MCP_TCP_PORT": "x"}, capture_output=True, timeout=WAIT_S, check=False
    )
    assert bad.returncode == 2


def test_it_sleeps_while_nothing_happens(server: Server, start: Start) -> None:
    client = start(server.address)
    peer = server.accept()
    client.say(request(1))
    peer.answer(peer.hear())
    client.hear()  # the last that it had to do
    until(lambda: stat_fields(client.process.pid)[0] == "S", "the bridge to sleep")
    switches = Path(f"/proc/{client.process.pid}/status")

    def count() -> int:
        return sum(int(line.split()[1]) for line in switches.read_text().splitlines() if "ctxt_switches" in line)

    before = count()
    time.sleep(0.5)  # the claim is about a stretch of time in which nothing happens
    assert count() - before <= 2


def test_it_is_light(server: Server, start: Start) -> None:
    client = start(server.address)
    server.accept()
    client.log_until("connected")
    bare = subprocess.run(
        [sys.executable, "-c", "import socket, orjson; print(open('/proc/self/statm').read())"],
        capture_output=True,
        check=True,
    )
    bare_bytes = int(bare.stdout.split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert rss_bytes(client.process.pid) < bare_bytes + 4_000_000
