"""The relay as a process: who is let in, what it serves over HTTP, how it stands bad peers, and how it ends."""

import gzip
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.sync.client import ClientConnection

from hive_session.ondisk.layout import SessionPaths
from tests.integration.hive import DEADLINE_S, Hive, until
from tests.integration.mcp_disk import append, message_event
from tests.integration.mcp_server import rehearse
from tests.integration.stopwatch import Stopwatch
from tests.integration.ws_server import RelayProcess, ask, heard

TOKEN = "s3cret&of the=hive"
QUOTED = "s3cret%26of%20the%3Dhive"
FAR = "http://evil.example"
HELD = 228  # connections that a relay has at once: of a hundred viewers, and of so many others


@pytest.fixture(scope="module")
def hive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hive]:
    root = tmp_path_factory.mktemp("relay")
    root.chmod(0o755)
    with Hive(root / "hive", HOME=str(root)) as hive:
        yield hive


@pytest.fixture(scope="module")
def done(hive: Hive) -> SessionPaths:
    """A rehearsal that has ended."""
    session_id = rehearse(hive, "--seconds", "0")
    hive.ended(session_id)
    hive.all_gone(session_id)  # its telemetry ends after its record
    return hive.paths(session_id)


@pytest.fixture(scope="module")
def relay(hive: Hive, done: SessionPaths) -> Iterator[RelayProcess]:
    with RelayProcess(hive) as relay:
        until(lambda: relay.get("/readyz")[0] == 200, "the relay to be ready")
        yield relay
        assert "Traceback" not in relay.log, relay.log


def refused(relay: RelayProcess, path: str = "/ws", **options: Any) -> int:
    """The status of a handshake that must fail."""
    with pytest.raises(InvalidStatus) as caught:
        relay.connect(path, **options)
    return caught.value.response.status_code


def close_code(viewer: ClientConnection) -> int | None:
    """What the relay closed with."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            viewer.recv(DEADLINE_S)
    return None if caught.value.rcvd is None else caught.value.rcvd.code


def well(relay: RelayProcess) -> bool:
    """A new viewer is heard."""
    with relay.connect() as viewer:
        return bool(ask(viewer, action="ping", id=7)["type"] == "pong")


# -- the handshake -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/ws", "/any/path?x=1", "/api/sessions", "/metrics"])
def test_any_path_is_a_websocket_to_who_asks_for_one(relay: RelayProcess, path: str) -> None:
    with relay.connect(path) as viewer:
        pong = ask(viewer, action="ping", id="a")
    assert pong["type"] == "pong" and pong["id"] == "a" and abs(pong["timestamp"] / 1000 - time.time()) < 60


def test_a_foreign_page_is_refused_and_our_own_is_not(relay: RelayProcess) -> None:
    assert refused(relay, origin=FAR) == 403
    assert refused(relay, origin="null") == 403
    with relay.connect(origin=f"http://127.0.0.1:{relay.port}") as viewer:
        assert ask(viewer, type="ping")["type"] == "pong"
    status, _, body = relay.get("/api/sessions", {"Origin": FAR})
    assert status == 403 and b"WS_ALLOWED_ORIGINS" in body


def test_a_name_that_leads_here_from_elsewhere_is_no_way_in(relay: RelayProcess) -> None:
    host = {"Host": f"evil.example:{relay.port}"}
    assert relay.get("/api/sessions", host)[0] == 403
    assert relay.get("/healthz", host)[0] == 200
    assert refused(relay, additional_headers={"Host": "evil.example"}) in (400, 403)


@pytest.mark.parametrize(
    ("offer", "shared"),
    [
        (ClientPerMessageDeflateFactory(), True),
        (ClientPerMessageDeflateFactory(server_max_window_bits=15), True),
        (ClientPerMessageDeflateFactory(server_max_window_bits=10), False),
        (ClientPerMessageDeflateFactory(server_no_context_takeover=True), False),
    ],
)
def test_who_offers_compression_gets_it_and_can_read_what_comes(
    relay: RelayProcess, done: SessionPaths, offer: ClientPerMessageDeflateFactory, shared: bool
) -> None:
    with relay.connect(compression=None, extensions=[offer]) as viewer:
        assert [each.name for each in viewer.protocol.extensions] == ["permessage-deflate"]
        seen = compressed(viewer)
        assert ask(viewer, action="subscribe", session_id=done.id)["type"] == "subscribed"
        assert heard(viewer)["type"] == "telemetry_update"
        assert any(seen) is shared


def compressed(viewer: ClientConnection) -> list[bool]:
    """Whether each data frame that comes from now on was compressed."""
    seen: list[bool] = []
    extension = viewer.protocol.extensions[0]
    decode = extension.decode

    def note(frame: Frame, **options: Any) -> Frame:
        seen.append(frame.rsv1)
        return decode(frame, **options)

    extension.decode = note  # type: ignore[method-assign]  # to look at what goes by
    return seen


def test_too_many_viewers_are_told_to_come_again_and_one_that_leaves_makes_room(hive: Hive) -> None:
    with RelayProcess(hive, "--max-connections", "2") as relay, relay.connect():
        with relay.connect():
            assert refused(relay) == 503
            assert relay.get("/healthz")[0] == 200
        until(lambda: relay.json("/healthz")["clients"] == 1, "the viewer to be counted out")
        assert well(relay)
        assert b'turned_away_total{reason="full"} 1\n' in relay.get("/metrics")[2]


# -- the token ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(hive: Hive, done: SessionPaths) -> Iterator[RelayProcess]:
    env = {"WS_AUTH_TOKEN": TOKEN, "WS_ALLOWED_ORIGINS": "https://graph.example"}
    with RelayProcess(hive, env=env) as relay:
        yield relay
        assert "Traceback" not in relay.log, relay.log
        assert TOKEN not in relay.log and QUOTED not in relay.log and "wrong-one" not in relay.log, relay.log


@pytest.mark.parametrize(
    "options",
    [
        {"additional_headers": {"Authorization": f"Bearer {TOKEN}"}},
        {"path": f"/ws?token={QUOTED}"},
        {"subprotocols": [f"bearer.{QUOTED}", "hive"]},
        {"subprotocols": [f"bearer.{QUOTED}"]},
    ],
)
def test_the_token_lets_in_wherever_it_stands(guarded: RelayProcess, options: dict[str, Any]) -> None:
    with guarded.connect(**options) as viewer:
        assert ask(viewer, action="ping")["type"] == "pong"
        assert viewer.subprotocol == ("hive" if len(options.get("subprotocols", ())) > 1 else None)
        assert viewer.response is not None and QUOTED not in str(viewer.response.headers)


def test_without_the_token_only_the_page_and_health_are_told(guarded: RelayProcess) -> None:
    assert refused(guarded) == 401
    assert refused(guarded, "/ws?token=wrong-one") == 401
    for path in ("/api/sessions", "/api/sessions/x", "/api/sessions/x/events", "/api/sessions?token=wrong-one"):
        status, headers, _ = guarded.get(path)
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer"), path
    for path in ("/", "/js/api.js", "/healthz", "/readyz", "/metrics"):
        assert guarded.get(path)[0] == 200, path
    assert guarded.json("/api/sessions", {"Authorization": f"Bearer {TOKEN}"})["total"] >= 1
    assert guarded.json(f"/api/sessions?token={QUOTED}")["total"] >= 1


def test_an_allowed_page_may_read_with_the_token_and_not_without(guarded: RelayProcess) -> None:
    origin = {"Origin": "https://graph.example"}
    status, headers, _ = guarded.get(f"/api/sessions?token={QUOTED}", origin)
    assert (status, headers["Access-Control-Allow-Origin"]) == (200, "https://graph.example")
    assert guarded.get("/api/sessions", origin)[0] == 401
    assert refused(guarded, f"/ws?token={QUOTED}", origin=FAR) == 403
    with guarded.connect(f"/ws?token={QUOTED}", origin="https://graph.example") as viewer:
        assert ask(viewer, action="ping")["type"] == "pong"


def test_who_guesses_waits_and_who_has_the_token_does_not(hive: Hive) -> None:
    with RelayProcess(hive, env={"WS_AUTH_TOKEN": TOKEN}) as relay:
        for _ in range(9):
            assert relay.get("/api/sessions?token=wrong-one")[0] == 401
        began = time.monotonic()
        assert relay.get("/api/sessions?token=wrong-one")[0] == 401
        assert time.monotonic() - began >= 1
        with Stopwatch() as watch:
            assert relay.get(f"/api/sessions?token={QUOTED}")[0] == 200
        assert watch.seconds < 1


# -- HTTP --------------------------------------------------------------------------------------------------------------


def test_health_and_readiness_and_figures(relay: RelayProcess) -> None:
    assert relay.json("/healthz")["status"] == "ok"
    assert relay.json("/readyz")["ready"] is True
    with relay.connect() as viewer:
        ask(viewer, action="ping")
        status, headers, body = relay.get("/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = dict(line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#"))
    assert float(found["hive_relay_clients"]) >= 1
    assert float(found["hive_relay_messages_sent_total"]) >= 1
    assert float(found['hive_sessions{state="completed"}']) >= 1


@pytest.mark.parametrize(
    ("path", "name", "kind"),
    [
        ("/", "index.html", "text/html"),
        ("/js/api.js", "js/api.js", "text/javascript"),
        ("/icon.svg", "icon.svg", "image/svg+xml"),
    ],
)
def test_a_file_of_the_page_comes_packed_and_not_again(relay: RelayProcess, path: str, name: str, kind: str) -> None:
    source = Path(__file__).parents[2].joinpath("ws_relay/page", name).read_bytes()
    plain = relay.get(path)
    packed = relay.get(path, {"Accept-Encoding": "br, gzip;q=0.5"})
    assert plain[2] == source and "Content-Encoding" not in plain[1]
    if "Content-Encoding" in packed[1]:
        assert gzip.decompress(packed[2]) == source and len(packed[2]) < len(source)
    else:
        assert len(gzip.compress(source)) >= len(source) == len(packed[2])
    assert relay.get(path, {"Accept-Encoding": "gzip;q=0"})[2] == source
    status, headers, body = relay.get(path, {"If-None-Match": plain[1]["ETag"]})
    assert (status, body, headers["ETag"]) == (304, b"", plain[1]["ETag"])
    assert plain[1]["Content-Type"].partition(";")[0] == kind
    assert plain[1]["Cache-Control"] == "no-cache"


def test_a_page_may_do_nothing_that_it_need_not(relay: RelayProcess) -> None:
    _, headers, _ = relay.get("/")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "://" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path",
    [
        "/../server.py",
        "/js/../../server.py",
        "/js/..%2f..%2fserver.py",
        "//etc/passwd",
        "/js/",
        "/js",
        "/.hidden.js",
        "/js/\\..\\server.py",
        "/nothing.html",
        "/server.py",
        "/js/api.js/",
        "/js/api.js%00.css",
        "http://127.0.0.1/js/api.js",
    ],
)
def test_nothing_else_is_served(relay: RelayProcess, path: str) -> None:
    assert relay.get(path)[0] == 404


def test_head_is_get_without_the_body_and_all_else_is_refused(relay: RelayProcess) -> None:
    for path in ("/js/api.js", "/api/sessions", "/healthz"):
        get, head = relay.get(path), relay.get(path, method="HEAD")
        assert head[2] == b"" and head[0] == get[0]
        assert head[1]["Content-Length"] == get[1]["Content-Length"] == str(len(get[2]))
    for method, body in (("POST", "x=1"), ("PUT", "x"), ("DELETE", None), ("OPTIONS", None)):
        status, headers, _ = relay.get("/api/sessions", method=method, body=body)
        assert (status, headers["Allow"]) == (405, "GET, HEAD"), method
    with relay.socket() as peer:
        peer.sendall(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
        assert peer.recv(64).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("path", ["/", "/readyz", "/api/sessions"])
def test_a_client_that_sends_no_more_after_its_request_is_answered(relay: RelayProcess, path: str) -> None:
    """As netcat does at the end of its input."""
    for _ in range(100):  # with what other paths leave, more than there may be at once
        with relay.socket() as peer:
            peer.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            peer.shutdown(socket.SHUT_WR)
            with peer.makefile("rb") as answer:
                assert answer.read().startswith(b"HTTP/1.1 200 ")


def test_a_viewer_that_sends_no_more_is_parted_from(relay: RelayProcess) -> None:
    with relay.socket() as peer:
        peer.send(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            socket.MSG_MORE,  # with its end in one segment: after the handshake, it would be another case
        )
        peer.shutdown(socket.SHUT_WR)
        with peer.makefile("rb") as answer:
            assert answer.read().endswith(b"\x88\x02\x03\xe8")  # closed with 1000, and then the end


@pytest.mark.parametrize("pieces", [1, 3, 400])
def test_a_client_that_speaks_http_1_0_is_answered(relay: RelayProcess, pieces: int) -> None:
    """As nginx does to what stands behind it, unless told otherwise."""
    request = b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n"
    size = -(-len(request) // pieces)
    with relay.socket() as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(request), size):
            peer.sendall(request[start : start + size])
        with peer.makefile("rb") as answer:
            assert answer.read().startswith(b"HTTP/1.1 200 ")


def test_sessions_come_page_by_page_the_newest_first(hive: Hive, relay: RelayProcess, done: SessionPaths) -> None:
    ids = [hive.create("rehearsal") for _ in range(5)]
    until(lambda: relay.json("/api/sessions")["total"] >= 6, "the relay to see them")
    rows, query = [], "limit=2"
    while query:
        page = relay.json(f"/api/sessions?{query}")
        assert len(page["sessions"]) <= 2
        rows += page["sessions"]
        query = f"limit=2&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    ages = [(row["created"], row["session_id"]) for row in rows]
    assert ages == sorted(ages, reverse=True) and {name for _, name in ages} == {*ids, done.id}
    assert page["total"] == 6 and page["by_status"]["completed"] == 1
    for wrong in ("limit=0", "limit=x", "cursor=1.x", "cursor=x"):
        assert relay.get(f"/api/sessions?{wrong}")[0] == 400, wrong


def test_one_session_comes_with_its_agents(relay: RelayProcess, done: SessionPaths) -> None:
    path = f"/api/sessions/{done.id}"
    until(lambda: relay.json(path)["cursor"] == os.path.getsize(done.telemetry), "the relay to have read all of it")
    found = relay.json(path)
    assert found["session"]["status"] == "completed" and found["session"]["agents"] == len(found["agents"]) > 1
    assert found["cursor"] == os.path.getsize(done.telemetry)
    assert {agent["agent_id"].partition("/")[0] for agent in found["agents"]} == {done.id}
    for wrong in ("00000000-0000-4000-8000-000000000000", "..", "x", f"{done.id}/memory", f"{done.id}/events/x"):
        status, _, body = relay.get(f"/api/sessions/{wrong}")
        assert (status, json.loads(body)["error"]["code"]) == (404, "not_found"), wrong


def test_pages_of_events_together_are_the_file(relay: RelayProcess, done: SessionPaths) -> None:
    with open(done.telemetry, "rb") as file:
        lines = [json.loads(line) for line in file]
    found, at = [], 0
    while True:
        page = relay.json(f"/api/sessions/{done.id}/events?from={at}&limit_bytes=700")
        assert page["from"] == at and page["end"] == os.path.getsize(done.telemetry)
        found += page["events"]
        if page["to"] == page["end"]:
            break
        assert page["to"] > at
        at = page["to"]
    assert found == lines
    for wrong in ("from=1", f"from={page['end'] + 1}", "from=-1", "from=x", "limit_bytes=0"):
        assert relay.get(f"/api/sessions/{done.id}/events?{wrong}")[0] == 400, wrong


def test_what_is_no_event_is_left_out_of_a_page_and_half_a_line_is_for_later(hive: Hive, relay: RelayProcess) -> None:
    paths = hive.paths(hive.create("rehearsal"))
    event = message_event("x")
    append(paths.telemetry, event + b'nonsense\n{"type":5}\n' + event + event[:9])
    until(lambda: paths.id in {row["session_id"] for row in relay.json("/api/sessions")["sessions"]}, "the session")
    page = relay.json(f"/api/sessions/{paths.id}/events", {"Accept-Encoding": "gzip;q=0"})
    whole = os.path.getsize(paths.telemetry) - 9
    assert page["events"][-2:] == [json.loads(event)] * 2 and "nonsense" not in str(page)
    assert page["to"] == page["end"] == whole


def test_the_end_of_a_log_is_told_in_lines(relay: RelayProcess, done: SessionPaths) -> None:
    found = relay.json(f"/api/sessions/{done.id}/log?tail=3")["lines"]
    everything = relay.json(f"/api/sessions/{done.id}/log?tail=100000")["lines"]
    assert len(found) == 3 and everything[-3:] == found and "\x1b" not in "".join(everything)


def test_a_large_answer_is_packed_for_who_takes_it(relay: RelayProcess, done: SessionPaths) -> None:
    path = f"/api/sessions/{done.id}/events"
    plain, packed = relay.get(path), relay.get(path, {"Accept-Encoding": "gzip"})
    assert gzip.decompress(packed[2]) == plain[2] and len(packed[2]) < len(plain[2]) / 2


# -- bad peers ---------------------------------------------------------------------------------------------------------


def test_a_binary_frame_is_closed_with_1003(relay: RelayProcess) -> None:
    with relay.connect() as viewer:
        viewer.send(b"\x00\x01")
        assert close_code(viewer) == 1003
    assert well(relay)


def test_what_is_no_utf8_is_closed_with_1007(relay: RelayProcess) -> None:
    with relay.connect() as viewer:
        viewer.send(b"\xff\xfe", text=True)
        assert close_code(viewer) == 1007
    assert well(relay)


def test_a_frame_of_100_mb_is_closed_with_1009_before_it_is_there(relay: RelayProcess) -> None:
    with relay.connect(compression=None) as viewer:
        # The head alone says how long it will be.
        viewer.socket.sendall(struct.pack("!BBQ4s", 0x81, 0x80 | 127, 100 << 20, b"mask") + b"x" * 1000)
        assert close_code(viewer) == 1009
    assert well(relay)


def test_a_bomb_is_closed_with_1009_once_it_passes_the_bound(relay: RelayProcess) -> None:
    packer = zlib.compressobj(9, wbits=-15)
    bomb = packer.compress(b"0" * (100 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    before = rss_bytes(relay)
    with relay.connect() as viewer:
        frame = bytearray(Frame(Opcode.TEXT, bomb[:-4]).serialize(mask=True))
        frame[0] |= 0x40  # RSV1: it is compressed
        viewer.socket.sendall(frame)
        assert close_code(viewer) == 1009
    assert rss_bytes(relay) - before < 16 << 20
    assert well(relay)


def rss_bytes(relay: RelayProcess) -> int:
    assert relay.process
    with open(f"/proc/{relay.process.pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_ten_thousand_subscribes_of_one_client_cost_the_others_little(relay: RelayProcess, done: SessionPaths) -> None:
    text = json.dumps({"action": "subscribe", "session_id": done.id, "snapshot": False}).encode()
    flood = Frame(Opcode.TEXT, text).serialize(mask=True) * 10_000
    with relay.connect(compression=None) as viewer, relay.connect(compression=None) as other, Stopwatch() as watch:
        viewer.socket.settimeout(0.01)
        left = memoryview(flood)
        longest = 0.0
        while left:
            try:
                left = left[viewer.socket.send(left[: 1 << 16]) :]
            except TimeoutError:  # it is not heard while it does not read
                pass
            began = watch.seconds
            assert ask(other, action="ping")["type"] == "pong"
            longest = max(longest, watch.seconds - began)
        assert longest < 0.5
        viewer.socket.settimeout(None)
        answers = sum(json.loads(viewer.recv(DEADLINE_S))["type"] == "subscribed" for _ in range(10_000))
        assert answers == 10_000


def test_a_client_that_asks_and_never_reads_is_heard_no_more_and_costs_nobody_else(
    relay: RelayProcess, done: SessionPaths
) -> None:
    text = json.dumps({"action": "subscribe", "session_id": done.id, "events": True, "from": 0}).encode()
    flood = Frame(Opcode.TEXT, text).serialize(mask=True) * 1000
    before = rss_bytes(relay)
    peer = handshaken(relay)
    peer.settimeout(0.5)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 256 << 20:
            sent += peer.send(flood)
    assert well(relay)
    assert rss_bytes(relay) - before < 32 << 20
    peer.close()


def handshaken(relay: RelayProcess) -> socket.socket:
    """A viewer that nobody reads for."""
    peer = relay.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.sendall(
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += peer.recv(1)
    assert b" 101 " in head
    return peer


def test_a_peer_that_answers_no_ping_is_dropped(hive: Hive) -> None:
    with RelayProcess(hive, "--ping-s", "1") as relay:
        silent = handshaken(relay)
        with relay.connect() as viewer:
            until(lambda: relay.json("/healthz")["clients"] == 1, "the silent one to be dropped")
            assert ask(viewer, action="ping")["type"] == "pong"
            while silent.recv(1 << 16):  # pings, and then the end of the connection
                continue
        silent.close()


def test_a_head_that_never_ends_and_too_many_connections_keep_nobody_out(relay: RelayProcess) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(_idle(relay, begins=number < 50)) for number in range(300)]
        until(lambda: _answers(relay), "an answer")
        left = [each for each in idle if not _is_parted(each)]
        assert len(left) < HELD, "they hold all there is, for five seconds at most"
    assert well(relay)


def _idle(relay: RelayProcess, *, begins: bool) -> socket.socket:
    """A connection on which no more comes than the beginning of a head."""
    peer = relay.socket()
    if begins:
        peer.sendall(b"GET /ws HTT")
    return peer


def _is_parted(peer: socket.socket) -> bool:
    """The relay has ended a connection."""
    peer.setblocking(False)
    try:
        peer.recv(1)
    except BlockingIOError:
        return False
    except OSError:  # in a hurry
        return True
    return True


def _answers(relay: RelayProcess) -> bool:
    connection = HTTPConnection("127.0.0.1", relay.port, timeout=1)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def test_clients_that_reset_leave_nothing_behind(relay: RelayProcess) -> None:
    for _ in range(50):
        peer = handshaken(relay)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
    until(lambda: relay.json("/healthz")["clients"] == 0, "all to be counted out")
    assert "Traceback" not in relay.log, relay.log


# -- its start and its end ---------------------------------------------------------------------------------------------


def test_sigterm_closes_everybody_with_1001_in_time_and_exits_0(hive: Hive, done: SessionPaths) -> None:
    with RelayProcess(hive) as relay, ExitStack() as stack:
        viewers = [stack.enter_context(relay.connect()) for _ in range(5)]
        for viewer in viewers:
            ask(viewer, action="subscribe", session_id=done.id)
        stuck, idle = handshaken(relay), relay.socket()
        watch = stack.enter_context(Stopwatch())
        assert relay.process
        relay.process.send_signal(signal.SIGTERM)
        assert [close_code(viewer) for viewer in viewers] == [1001] * 5
        assert relay.process.wait(DEADLINE_S) == 0
        assert watch.seconds < 5
        stuck.close()
        idle.close()
        assert "Traceback" not in relay.log, relay.log


def test_a_relay_whose_viewer_never_reads_ends_in_time_too(hive: Hive, done: SessionPaths) -> None:
    with RelayProcess(hive) as relay:
        peer = handshaken(relay)
        text = json.dumps({"action": "subscribe", "session_id": done.id, "events": True, "from": 0}).encode()
        peer.settimeout(0.3)
        with pytest.raises(TimeoutError):
            while True:
                peer.send(Frame(Opcode.TEXT, text).serialize(mask=True) * 100)
        with Stopwatch() as watch:
            assert relay.stop() == 0
        assert watch.seconds < 5
        peer.close()


def test_the_echo_is_there_for_who_asked_for_it_alone(hive: Hive, relay: RelayProcess) -> None:
    with relay.connect("/__echo") as viewer:
        assert ask(viewer, any="thing")["type"] == "error"
    with RelayProcess(hive, "--echo") as echoing, echoing.connect("/__echo") as viewer:
        for message in ("x", "é" * 1000, b"\x00\xff"):
            viewer.send(message)
            assert viewer.recv(DEADLINE_S) == message
        viewer.close()
        assert viewer.state is State.CLOSED


@pytest.mark.parametrize(
    ("words", "env", "code", "sentence"),
    [
        (["--nope"], {}, 2, "ws-relay: unrecognized arguments: --nope; ws-relay --help lists the flags"),
        (["--port", "x"], {}, 2, "ws-relay: --port: 'x' must be a whole number from 0 to 65535"),
        ([], {"WS_MAX_CONNECTIONS": "none"}, 78, "ws-relay: WS_MAX_CONNECTIONS: 'none' must be a whole number"),
        ([], {"WS_ALLOWED_ORIGINS": "*"}, 78, "ws-relay: WS_ALLOWED_ORIGINS: '*' holds '*', which is no origin"),
        (["--bind", "192.0.2.1", "--insecure"], {}, 74, "ws-relay: cannot listen on 192.0.2.1: "),
    ],
)
def test_what_is_wrong_at_the_start_is_one_line_and_a_code(
    hive: Hive, words: list[str], env: dict[str, str], code: int, sentence: str
) -> None:
    port = [] if "--port" in words else ["--port", "0"]
    command = [sys.executable, "-m", "ws_relay", *port, *words]
    ended = subprocess.run(command, env={**hive.env, **env}, capture_output=True, text=True, timeout=DEADLINE_S)
    last = ended.stderr.splitlines()[-1]
    assert (ended.returncode, last[: len(sentence)]) == (code, sentence), ended.stderr


def test_a_port_that_is_taken_is_75(hive: Hive, relay: RelayProcess) -> None:
    command = [sys.executable, "-m", "ws_relay", "--port", str(relay.port)]
    ended = subprocess.run(command, env=hive.env, capture_output=True, text=True, timeout=DEADLINE_S)
    assert ended.returncode == 75 and "name another port with --port" in ended.stderr


def test_without_a_token_other_machines_are_not_served_and_the_log_says_so(hive: Hive) -> None:
    with RelayProcess(hive, "--bind", "0.0.0.0") as relay:  # it says that it listens on 127.0.0.1
        warning = "no token is set, so only this machine is served, not 0.0.0.0; set WS_AUTH_TOKEN"
        until(lambda: warning in relay.log, "the warning")
