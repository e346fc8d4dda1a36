"""Hostile words, whichever way they come in: they stay data of their session, and reach no shell, log line, terminal or page.

Ways in that are tested where they belong: tasks byte for byte (test_tasks_intact), ids on the command line and in tools
(test_bad_input, test_mcp_bad_input), what clients say to programs that log JSON (test_logs_all), what a child of the proxy prints
(test_mcp_proxy), prompts that quote a session (unit/test_mcp_prompts), the page in a browser (test_page).
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.integration.console import Console, error_line
from tests.integration.hive import DEADLINE_S, Hive, read_bytes, until
from tests.integration.mcp_disk import append
from tests.integration.mcp_server import DataPlane, request
from tests.integration.ws_server import RelayProcess, ask

PAGE = Path(__file__).parents[2] / "ws_relay/page"
OURS = ("--env", "HIVE_SESSION_ID=x", "--env", "HIVE_WORKSPACE=/")
MARK = "touched-by-an-injection"
# A terminal's orders in 7 and 8 bits, line ends of all kinds, what turns text around, quotes and orders of shell, HTML and TOML.
NASTY = (
    "\x1b[2J\x1b]0;owned\x07\x9b31m \r\nforged line\x0b\x0c\x85\u2028\u2029 \u202egnp.exe\u2066 \x7f"
    f"$(touch {MARK}) `touch {MARK}` ; touch {MARK} #' \" \\ ${{IFS}} %s %(ENV_PATH)s {{task}} <script>alert(1)</script> ]]>"
)
SECRET = "nobody-is-to-read-this"
LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?:mcp-tcp|ws-relay): |(?:mcp-tcp|ws-relay): (?:listening|health) on "
)


def assert_harmless(text: str, what: object) -> None:
    """Lines of characters that a terminal shows and does not obey; nothing began a line of its own."""
    odd = sorted({char for char in text if not char.isprintable() and char != "\n"})
    assert odd == [], (what, odd)
    assert not any(line.startswith("forged") for line in text.splitlines()), what


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Console, str]]:
    """A workspace and a session that is hostile in all that its maker and its agent decide."""
    root = tmp_path_factory.mktemp("hostile")
    root.chmod(0o755)
    with Console(root / "h", HOME=str(root)) as console:
        agent = console.python("import sys, time; print(sys.argv[1], flush=True); time.sleep(1000)")
        words = ("--label", f"{NASTY}={NASTY}", "--label", "plain=1", "--env", f"NASTY={NASTY}", *OURS)
        session_id = console.create(agent, *words, task=NASTY)
        console.start(session_id)
        path = console.paths(session_id).telemetry
        for event in events():
            append(path, json.dumps({"ts": 1, **event}, ensure_ascii=False).encode() + b"\n")
        yield console, session_id


def events() -> Iterator[dict[str, Any]]:
    """Telemetry that is hostile in each text that it may hold."""
    yield {"type": "agent_spawned", "agent": "queen", "parent": None, "role": "queen", "kind": NASTY, "task": NASTY}
    yield {"type": "agent_spawned", "agent": NASTY, "parent": "queen", "role": "worker", "kind": NASTY, "task": NASTY}
    yield {"type": "agent_status", "agent": NASTY, "status": "working", "tool": NASTY}
    yield {"type": "claude_started", "agent": "queen", "model": NASTY, "conversation": NASTY, "version": NASTY}
    yield {"type": "message", "from": "queen", "to": NASTY, "text": NASTY}
    yield {"type": "api_retry", "agent": "queen", "attempt": 1, "max_retries": 9, "delay_ms": 5, "error": NASTY}
    yield {"type": NASTY, "text": NASTY}


# -- task, labels, environment, telemetry: on the terminal -----------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("ls",),
        ("ls", "--label", "plain=1"),
        ("watch", "--once"),
        ("watch", "--once", "{id}"),
        ("top", "--once"),
        ("logs", "--all"),
        ("doctor",),
        ("reconcile",),
        ("cleanup", "0", "--dry-run"),
        ("status", "{id}"),
        ("log", "{id}"),
        ("output-dir", "{id}"),
    ],
    ids=" ".join,
)
def test_no_command_has_the_terminal_obey_a_session(hostile: tuple[Console, str], words: tuple[str, ...]) -> None:
    console, session_id = hostile
    done = console.do(*(session_id if word == "{id}" else word for word in words))
    assert done.returncode in (0, 1), done
    assert_harmless(done.stdout.decode() + done.stderr.decode(), words)


@pytest.mark.parametrize(
    "words", [("get", "{id}"), ("list",), ("ls", "--json"), ("doctor", "--json"), ("telemetry", "{id}")]
)
def test_what_is_for_programs_is_json_without_control_characters(
    hostile: tuple[Console, str], words: tuple[str, ...]
) -> None:
    """Beyond those of ASCII it is UTF-8 as it was given: the bytes of the files, as the original printed them."""
    console, session_id = hostile
    out = console.do(*(session_id if word == "{id}" else word for word in words)).stdout
    assert not any(octet < 0x20 and octet != 0x0A for octet in out), words
    for document in [out] if words[0] in ("get", "list") else out.splitlines():
        json.loads(document)


@pytest.mark.timeout(180)
def test_words_of_a_call_that_are_told_back_are_harmless_too(hostile: tuple[Console, str]) -> None:
    console, session_id = hostile
    for words in (
        ("status", NASTY),
        ("logs", NASTY),
        ("update-status", session_id, NASTY),
        ("create", "task", NASTY),
        ("create", "--agent", NASTY, "task"),
        ("create", "--env", f"{NASTY}=1", "task"),
        ("create", "--timeout", NASTY, "task"),
        ("create", "--task-file", f"/{NASTY}"),
        ("emit", session_id, NASTY),
        ("emit", session_id, json.dumps({"type": "usage", NASTY: 1, "agent": NASTY, "tokens": NASTY})),
        ("cleanup", NASTY),
        (NASTY,),
        (f"--{NASTY}",),
    ):
        done = console.do(*words)
        assert done.returncode not in (0, 70), (words, done)
        assert_harmless(done.stderr.decode(), words)
        assert len(done.stderr.decode().splitlines()) <= 8, done.stderr


def test_no_shell_was_reached_and_the_agent_got_every_byte(hostile: tuple[Console, str]) -> None:
    console, session_id = hostile
    until(lambda: NASTY.encode() in console.output(session_id), "the task, as the agent printed it")
    environment = [read_bytes(f"/proc/{pid}/environ") for pid in console.processes(session_id)]
    (own,) = (words for each in environment if f"NASTY={NASTY}".encode() in (words := each.split(b"\0")))
    assert f"HIVE_SESSION_ID={session_id}".encode() in own, "what names the session is ours to say"
    assert f"HIVE_WORKSPACE={console.layout.workspace}".encode() in own
    assert [path for path in Path(console.root).rglob("*") if MARK in path.name] == []
    assert not Path(MARK).exists()


@pytest.mark.parametrize("name", ["A\nB", "A B", "A;B", "$(id)", "", "1A", "A-B", "BASH_FUNC_x%%", "é"])
def test_a_variable_of_a_session_is_a_plain_name(hostile: tuple[Console, str], name: str) -> None:
    console, _ = hostile
    before = console.index().keys()
    done = console.do("create", "--env", f"{name}=x", "task")
    assert done.returncode == 2, done
    assert error_line(done) and console.index().keys() == before


# -- ids, in the paths of the relay ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def servers(hostile: tuple[Console, str]) -> Iterator[tuple[DataPlane, RelayProcess]]:
    console, _ = hostile
    with DataPlane(console) as plane, RelayProcess(console) as relay:
        yield plane, relay
        for server in (plane, relay):
            assert_log_is_ours(server.log)


def assert_log_is_ours(log: str) -> None:
    """Each line of a log in text begins as ours do, and is harmless."""
    for line in log.splitlines():
        assert LINE.match(line), line
    assert_harmless(log, "the log")
    assert SECRET not in log


def secrets(hive: Hive) -> None:
    """Files outside the sessions that look like a session's."""
    for place in ("secret", "ws/secret", "ws/.swarm/secret"):
        path = hive.root / place
        path.mkdir(exist_ok=True)
        for name in ("session.json", "telemetry.jsonl", "log"):
            (path / name).write_text(json.dumps({"ts": 1, "type": SECRET, "task": SECRET}) + "\n", encoding="utf-8")


def test_no_path_in_the_place_of_an_id_leads_the_relay_out_of_the_sessions(
    hostile: tuple[Console, str], servers: tuple[DataPlane, RelayProcess]
) -> None:
    console, session_id = hostile
    secrets(console)
    _, relay = servers
    ups = [
        "..",
        "../..",
        "../secret",
        "../../secret",
        f"{session_id}/../../secret",
        "/etc/passwd",
        ".",
        "",
        "\0",
        NASTY,
    ]
    shapes = [each for up in ups for each in (up, quote(up), quote(up, safe=""), quote(quote(up, safe=""), safe=""))]
    for each in shapes:
        for path in (f"/api/sessions/{each}", f"/api/sessions/{each}/events", f"/api/sessions/{each}/log", f"/{each}"):
            status, body = raw_get(relay.port, path)
            assert SECRET.encode() not in body and b"root:" not in body, path
            assert status in (200, 400, 404), (path, status)
            assert status != 200 or each in ("", ".", quote(".")) or path == "/", (path, body[:200])


def raw_get(port: int, path: str) -> tuple[int, bytes]:
    """Status and all bytes of the answer to a path as it is written, which no client library would send so."""
    target = "".join(char if " " < char < "\x7f" else "".join(f"%{b:02x}" for b in char.encode()) for char in path)
    return exchange(port, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())


def exchange(port: int, data: bytes) -> tuple[int, bytes]:
    """The status (0: none) and all bytes of an answer."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as peer:
        peer.sendall(data)
        try:
            while not answer.startswith(b"HTTP/1.1 101 ") and (
                chunk := peer.recv(65536)
            ):  # a viewer is let in, and leaves
                answer += chunk
        except ConnectionResetError:
            pass
    words = answer.split(b" ", 2)
    return (int(words[1]) if words[0].startswith(b"HTTP/") else 0), answer


def test_no_id_in_a_subscription_leads_out_of_the_sessions(
    hostile: tuple[Console, str], servers: tuple[DataPlane, RelayProcess]
) -> None:
    console, _ = hostile
    secrets(console)
    for wrong in ("../secret", "../../secret", "/etc", "..", "\0", NASTY):
        with servers[1].connect() as viewer:
            for words in (
                {"session_id": wrong, "events": True, "from": 0},
                {"events": True, "from": {wrong: 0}},
                {"swarm_id": wrong},
            ):
                answer = ask(viewer, action="subscribe", **words)
                assert answer["type"] == "error" or wrong not in answer.get("cursors", {}), answer
                assert SECRET not in str(answer)


# -- headers, paths and frames, in answers and in logs of words --------------------------------------------------------------

SPLIT = "x\r\nSet-Cookie: a=b\r\n\r\n<script>"


@pytest.mark.parametrize(
    "header", ["Host", "Origin", "User-Agent", "Cookie", "X-Forwarded-For", "Sec-WebSocket-Protocol", "Upgrade"]
)
def test_nothing_of_a_header_comes_back_as_a_header_or_goes_into_the_log(
    servers: tuple[DataPlane, RelayProcess], header: str
) -> None:
    _, relay = servers
    upgrade = "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    for value in (
        NASTY.replace("\r\n", " "),
        "\x1b[2J",
        "a\rSet-Cookie: a=b",
        "a\nSet-Cookie: a=b",
        "x" * 5000,
        "\0",
        "é\x80",
    ):
        for more in ("", f"Upgrade: websocket\r\n{upgrade}"):
            head = f"GET /ws HTTP/1.1\r\nHost: localhost\r\n{header}: {value}\r\n{more}\r\n"
            status, answer = exchange(relay.port, head.encode())
            assert status in (0, 101, 200, 400, 403, 404, 426, 431), (status, answer[:200])
            assert b"set-cookie" not in answer.lower() and b"\x1b" not in answer and b"<script>" not in answer
    assert_log_is_ours(relay.log)


@pytest.mark.parametrize(
    "more", [b"\x88\x80\0\0\0\0", b"\xff" * 200, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"x" * 100_000]
)
@pytest.mark.parametrize("piece", [1 << 20, 1], ids=["at once", "byte by byte"])
def test_what_follows_a_head_too_soon_is_passed_over_and_not_logged(
    servers: tuple[DataPlane, RelayProcess], more: bytes, piece: int
) -> None:
    """As a request in the body of another would: the parser behind it is made for frames."""
    _, relay = servers
    head = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
    data = head + more
    with socket.create_connection(("127.0.0.1", relay.port), timeout=DEADLINE_S) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(head) + 4, piece):
            peer.sendall(data[at : at + piece])
        assert peer.recv(12) == b"HTTP/1.1 404"
    assert_log_is_ours(relay.log)


PATHS = (
    quote(SPLIT),
    quote(NASTY),
    f"ws?token={quote(SPLIT)}",
    f"?x={quote(NASTY)}",
    "%0d%0aSet-Cookie:%20a=b",
    "\x1b[2J\x07",
    "x\rSet-Cookie: a=b",
)


@pytest.mark.parametrize("of", ["mcp-tcp", "ws-relay"])
def test_nothing_of_a_path_comes_back_as_a_header_or_goes_into_the_log(
    servers: tuple[DataPlane, RelayProcess], of: str
) -> None:
    plane, relay = servers
    port = relay.port if of == "ws-relay" else health_port(plane)
    for path in PATHS:
        request_bytes = f"GET /{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        _, answer = exchange(port, request_bytes)
        head = answer.partition(b"\r\n\r\n")[0].lower()
        assert not head or head.startswith(b"http/1.1 "), path  # what is no HTTP may be closed without a word
        assert b"set-cookie" not in head and b"\x1b" not in answer, path
        assert b"<script>" not in answer or b"content-type: text/html" not in head
    assert_log_is_ours(relay.log if of == "ws-relay" else plane.log)


def health_port(plane: DataPlane) -> int:
    """It is told right after the port that a start waits for."""
    found = until(lambda: re.search(r"health on http://127\.0\.0\.1:(\d+)/", plane.log), "where its health is told")
    return int(found[1])


def test_no_frame_of_mcp_puts_a_line_or_an_order_into_the_log(servers: tuple[DataPlane, RelayProcess]) -> None:
    plane, _ = servers
    for message in (
        request(NASTY),
        request("tools/call", name=NASTY, arguments={NASTY: NASTY}),
        request("resources/read", uri=f"hive://session/{NASTY}"),
        request(
            "initialize", protocolVersion=NASTY, capabilities={NASTY: 1}, clientInfo={"name": NASTY, "version": NASTY}
        ),
        {"jsonrpc": NASTY, "id": NASTY, "method": NASTY, "params": {"token": NASTY}},
    ):
        with plane.connect() as line:
            answer = line.ask(message)
            assert answer["jsonrpc"] == "2.0"
    with plane.connect() as line:
        line.send(NASTY.encode() + b"\n")
        assert line.next()["error"]["code"] == -32700
    assert_log_is_ours(plane.log)


# -- /metrics ----------------------------------------------------------------------------------------------------------------

SAMPLE = re.compile(
    r'[a-z_]+(?:\{[a-z_]+="[ -~]*"(?:,[a-z_]+="[ -~]*")*\})? [0-9.e+-]+|[a-z_]+(?:\{.*\})? \+Inf|# (?:HELP|TYPE) [ -~]+'
)


def test_metrics_hold_no_word_of_a_session_or_a_client(servers: tuple[DataPlane, RelayProcess]) -> None:
    plane, relay = servers
    plane.ask(request(NASTY))
    for port in (health_port(plane), relay.port):
        status, answer = exchange(port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        body = answer.partition(b"\r\n\r\n")[2].decode()
        assert status == 200 and body.count("\n") > 5
        assert "forged" not in body and MARK not in body
        assert [line for line in body.splitlines() if not SAMPLE.fullmatch(line)] == []


# -- the page ----------------------------------------------------------------------------------------------------------------

# What makes a document, a script or an address of a text.
MAKERS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|srcdoc|\beval\(|new Function|"
    r"setAttribute\(\s*[\"']on|javascript:|setTimeout\(\s*[\"'`]|setHTMLUnsafe"
)


def test_the_page_makes_text_of_text_and_nothing_else_and_may_run_no_other_script(
    servers: tuple[DataPlane, RelayProcess],
) -> None:
    scripts = sorted((PAGE / "js").rglob("*.js"))
    assert len(scripts) > 10
    assert [path.name for path in scripts if MAKERS.search(path.read_text(encoding="utf-8"))] == []
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"\son[a-z]+=", html) and not re.search(r"<script(?![^>]*\bsrc=)", html)
    _, headers, _ = servers[1].get("/")
    policy = {each.split()[0]: each.split()[1:] for each in headers["Content-Security-Policy"].split(";")}
    assert policy["default-src"] == ["'none'"]
    assert policy["script-src"] == ["'self'"] and "'unsafe-inline'" not in policy.get("style-src", [])
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_what_a_session_says_comes_as_json_alone(
    hostile: tuple[Console, str], servers: tuple[DataPlane, RelayProcess]
) -> None:
    _, session_id = hostile
    for path in (
        "/api/sessions",
        f"/api/sessions/{session_id}",
        f"/api/sessions/{session_id}/events",
        f"/api/sessions/{session_id}/log",
    ):
        status, headers, body = servers[1].get(path)
        assert (status, headers["Content-Type"].split(";")[0]) == (200, "application/json"), path
        assert headers["X-Content-Type-Options"] == "nosniff"
        json.loads(body)


# -- a session and its neighbours ----------------------------------------------------------------------------------------------


def test_a_hostile_session_is_in_nobody_s_way(
    hostile: tuple[Console, str], servers: tuple[DataPlane, RelayProcess]
) -> None:
    console, session_id = hostile
    other = console.create("rehearsal", task="calm")
    console.answer("start", other, "--seconds", "0")
    assert console.ended(other)["status"] == "completed"
    assert [event for event in console.events(other) if "forged" in str(event)] == []
    plane, relay = servers
    rows = plane.call("session_list")["sessions"]
    assert {row["session_id"] for row in rows} >= {other, session_id}
    (row,) = (row for row in rows if row["session_id"] == session_id)
    assert row["task"] == NASTY[:256] or row["task"].startswith(NASTY[:80])
    assert {row["session_id"] for row in relay.json("/api/sessions")["sessions"]} == console.index().keys()
