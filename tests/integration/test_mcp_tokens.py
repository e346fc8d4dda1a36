"""Who is let in: with a token set nothing happens before it, guessing is slow, and without one only this machine is served."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.hive import DEADLINE_S, Hive, read_bytes, until
from tests.integration.mcp_disk import MODERN, VERSIONS, assert_quiet, said_in
from tests.integration.mcp_server import DataPlane, Json, Line, modern, request, running_first

TOKEN = "s3cret-Tök€n"
GUESS = "gu3ss-of-a-t0ken"
PING = request("ping", "ping")
PONG = {"jsonrpc": "2.0", "id": "ping", "result": {}}
LISTENING = re.compile(r"mcp-tcp: listening on (\S+):(\d+)")
FREE = 10  # bad tokens from one address that are answered at once


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[DataPlane]:
    with Hive(tmp_path / "hive") as hive, DataPlane(hive, env={"TCP_AUTH_TOKEN": TOKEN}) as plane:
        yield plane


def authenticate(token: object, request_id: object = "auth", method: str = "authenticate") -> Json:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": {"token": token}}


def initialize(version: str, **more: object) -> Json:
    return request("initialize", "hello", protocolVersion=version, capabilities={}, clientInfo={"name": "test"}, **more)


def assert_kept_out(answer: Json, request_id: object) -> None:
    assert set(answer) == {"jsonrpc", "id", "error"}, answer
    assert (answer["error"]["code"], answer["id"]) == (-32000, request_id), answer


class Caller(Line):
    """A connection that comes from another address of this machine."""

    def __init__(self, port: int, address: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), DEADLINE_S, source_address=(address, 0))
        self._file = self._socket.makefile("rb")


# -- with a token ----------------------------------------------------------------------------------------------------------


def test_before_the_token_every_request_is_refused_with_its_id_and_changes_nothing(guarded: DataPlane) -> None:
    session_id = guarded.hive.create("rehearsal")
    uri = f"hive://session/{session_id}/telemetry"
    before = (
        initialize("2025-03-26"),
        request("tools/list", 0),
        request("agent_list", 7),
        request("tools/call", "a", name="session_list", arguments={}),
        request("resources/subscribe", "", uri=uri),
        request("no/such/method", 1.5),
        request("auth", "auth"),
        modern("server/discover", "m"),
        modern("subscriptions/listen", "sub", notifications={"resourceSubscriptions": [uri]}),
        PING,
    )
    with guarded.connect() as line:
        for message in before:
            assert_kept_out(line.ask(message), message["id"])
        for notification in ("initialized", "cancelled", "x"):
            line.send({"jsonrpc": "2.0", "method": f"notifications/{notification}", "params": {"requestId": "sub"}})
        guarded.hive.answer("emit", session_id, '{"type":"note","text":"nobody hears this"}')
        assert line.ask(authenticate(TOKEN))["result"] == {"authenticated": True}
        # The version of the refused initialize was not agreed on, nor that of 2026-07-28: there is no batch, no envelope.
        line.send([PING])
        assert line.next()["error"]["code"] == -32600
        assert line.ask(PING) == PONG
        guarded.hive.answer("emit", session_id, '{"type":"note","text":"nor this"}')
        assert line.ask(PING) == PONG
    assert_quiet(guarded)


@pytest.mark.parametrize("method", ["authenticate", "auth"])
@pytest.mark.parametrize("version", VERSIONS)
def test_after_the_token_everything_is_answered(guarded: DataPlane, version: str, method: str) -> None:
    with guarded.connect() as line:
        assert_kept_out(line.ask(said_in(version, "tools/list")), 1)
        answer = line.ask(said_in(version, method, "auth", token=TOKEN))
        assert (answer["id"], answer["result"]["authenticated"]) == ("auth", True)
        if version != MODERN:
            assert line.ask(initialize(version))["result"]["protocolVersion"] == version
        assert line.ask(said_in(version, "tools/list", 2))["result"]["tools"]
        assert "result" in line.ask(said_in(version, method, 3, token=TOKEN))  # once more does no harm


@pytest.mark.parametrize("version", [version for version in VERSIONS if version != MODERN])
def test_the_token_may_come_with_initialize(guarded: DataPlane, version: str) -> None:
    with guarded.connect() as line:
        for wrong in ({}, {"token": None}, {"Token": TOKEN}, {"token": GUESS}, {"token": [TOKEN]}, TOKEN):
            assert_kept_out(line.ask(initialize(version, _meta=wrong)), "hello")
        assert line.ask(initialize(version, _meta={"token": TOKEN}))["result"]["protocolVersion"] == version
        assert line.ask(PING) == PONG


@pytest.mark.parametrize(
    "token",
    [GUESS, "", TOKEN[:-1], TOKEN + " ", TOKEN.upper(), 5, None, True, [TOKEN], {"token": TOKEN}, "x" * 100_000],
)
def test_what_is_not_the_token_does_not_let_in(guarded: DataPlane, token: object) -> None:
    with guarded.connect() as line:
        assert_kept_out(line.ask(authenticate(token)), "auth")
        assert_kept_out(line.ask(PING), "ping")
        assert_kept_out(line.ask({"jsonrpc": "2.0", "id": 3, "method": "authenticate"}), 3)
        assert "result" in line.ask(authenticate(TOKEN))
        assert line.ask(PING) == PONG


def test_the_token_of_one_connection_lets_in_no_other(guarded: DataPlane) -> None:
    with guarded.connect() as line, guarded.connect() as other:
        line.ask(authenticate(TOKEN))
        assert_kept_out(other.ask(PING), "ping")
        assert line.ask(PING) == PONG


# A door that tells each delay, and in which none is over while there is a bar: what is quick shows without a clock.
DOOR = """
import asyncio, os, sys
from types import SimpleNamespace
import mcp_tcp.door
async def sleep(seconds):
    print("waits", seconds, file=sys.stderr, flush=True)
    await asyncio.sleep(seconds)
    while os.path.exists({bar!r}):
        await asyncio.sleep(0.01)
mcp_tcp.door.asyncio = SimpleNamespace(sleep=sleep)
"""


def test_ten_bad_tokens_cost_their_address_a_growing_delay_and_no_other(tmp_path: Path) -> None:
    bar = tmp_path / "bar"
    env = {"TCP_AUTH_TOKEN": TOKEN, **running_first(tmp_path / "door", DOOR.format(bar=str(bar)))}
    with (
        Hive(tmp_path / "hive") as hive,
        DataPlane(hive, env=env) as plane,
        Caller(plane.port, "127.0.0.2") as guesser,
        Caller(plane.port, "127.0.0.3") as other,
    ):
        for _ in range(FREE):
            assert_kept_out(guesser.ask(authenticate(GUESS)), "auth")
        assert delays_s(plane) == []
        assert _takes_s(guesser, GUESS) > 0.9
        bar.touch()
        began = time.monotonic()
        guesser.send(authenticate(GUESS, "waits"))
        until(lambda: delays_s(plane) == [1, 2], "the guesser to wait")
        for _ in range(5):  # others are not kept waiting
            assert_kept_out(other.ask(authenticate(GUESS)), "auth")
        assert "result" in other.ask(authenticate(TOKEN))
        assert other.ask(PING) == PONG
        bar.unlink()
        assert_kept_out(guesser.next(), "waits")
        assert time.monotonic() - began > 1.9
        # Another connection of the same address waits too, and the right token is not told sooner than a wrong one.
        with Caller(plane.port, "127.0.0.2") as again:
            began = time.monotonic()
            assert "result" in again.ask(authenticate(TOKEN))
            assert time.monotonic() - began > 3.9
        assert_kept_out(guesser.ask(authenticate(GUESS)), "auth")
        assert delays_s(plane) == [1, 2, 4]  # whoever knows the token is forgiven


def delays_s(plane: DataPlane) -> list[float]:
    return [float(found) for found in re.findall(r"^waits (\S+)\n", plane.log, re.MULTILINE)]


def _takes_s(line: Line, token: str) -> float:
    began = time.monotonic()
    assert_kept_out(line.ask(authenticate(token)), "auth")
    return time.monotonic() - began


def test_no_token_is_in_the_log_or_in_the_command_line(guarded: DataPlane) -> None:
    assert guarded.process
    with guarded.connect() as line:
        line.ask(authenticate(GUESS))
        line.ask(initialize("2025-06-18", _meta={"token": GUESS}))
        line.send(b'{"jsonrpc":"2.0","id":1,"method":"authenticate","params":{"token":"%b"\n' % TOKEN.encode())
        line.next()
        line.ask(request(TOKEN, token=TOKEN))
        line.ask(authenticate(TOKEN))
        line.ask(request("tools/call", name=TOKEN, arguments={"session_id": TOKEN}))
    assert "a bad token from 127.0.0.1" in guarded.log
    command = read_bytes(f"/proc/{guarded.process.pid}/cmdline").decode()
    guarded.process.send_signal(signal.SIGTERM)
    assert guarded.process.wait(DEADLINE_S) == 0
    for secret in (TOKEN, GUESS):
        assert secret not in guarded.log and secret not in command


# -- without a token -------------------------------------------------------------------------------------------------------


@contextmanager
def serving(hive: Hive, *words: str, **env: str) -> Iterator[tuple[str, int, Path]]:
    """A server with these flags on a free port: the address it says it listens on, the port, and its log."""
    said = Path(hive.root, "server.log")
    argv = [sys.executable, "-m", "mcp_tcp", "--port", "0", "--health-port", "0", *words]
    with said.open("wb") as log:
        process = subprocess.Popen(argv, env={**hive.env, **env}, cwd=hive.root, stdin=subprocess.DEVNULL, stderr=log)
    try:
        found = until(lambda: LISTENING.search(said.read_text(encoding="utf-8")), "the server to listen")
        until(lambda: "health on" in said.read_text(encoding="utf-8"), "the server to serve")
        yield found[1], int(found[2]), said
    finally:
        process.terminate()
        assert process.wait(DEADLINE_S) == 0


def listeners() -> dict[int, str]:
    """The IPv4 address that is listened on, in the kernel's hexadecimal digits, by port."""
    rows = [line.split() for line in read_bytes("/proc/net/tcp").decode().splitlines()[1:]]
    return {int(row[1].split(":")[1], 16): row[1].split(":")[0] for row in rows if row[3] == "0A"}


LOOPBACK, EVERYWHERE = "0100007F", "00000000"


@pytest.mark.parametrize(
    "words, token, expected, warns_of",
    [
        ([], "", LOOPBACK, "no token is set"),
        (["--insecure"], "", EVERYWHERE, "--insecure"),
        ([], TOKEN, EVERYWHERE, ""),
    ],
)
def test_only_a_token_or_insecure_opens_it_to_other_machines_and_its_log_says_so(
    tmp_path: Path, words: list[str], token: str, expected: str, warns_of: str
) -> None:
    env = {"HIVE_BIND": "0.0.0.0", **({"TCP_AUTH_TOKEN": token} if token else {})}
    with Hive(tmp_path / "hive") as hive, serving(hive, *words, **env) as (address, port, said):
        assert listeners()[port] == expected
        health = int(re.findall(r"health on http://[^:]+:(\d+)", said.read_text(encoding="utf-8"))[0])
        assert listeners()[health] == expected
        assert address == ("127.0.0.1" if expected == LOOPBACK else "0.0.0.0")
        with Line(port) as line:
            answer = line.ask(PING)
            assert_kept_out(answer, "ping") if token else _assert_pong(answer)
        warnings = [row for row in said.read_text(encoding="utf-8").splitlines() if "token" in row]
        assert len(warnings) == bool(warns_of) and warns_of in "".join(warnings)


def _assert_pong(answer: Json) -> None:
    assert answer == PONG, json.dumps(answer)


def test_an_address_of_loopback_needs_no_token_and_no_warning(tmp_path: Path) -> None:
    with Hive(tmp_path / "hive") as hive, serving(hive, "--bind", "127.0.0.2") as (address, port, said):
        assert (address, listeners()[port]) == ("127.0.0.2", "0200007F")
        assert "token" not in said.read_text(encoding="utf-8")
