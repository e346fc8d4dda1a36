"""All logs of the suite as one stream: what real programs write under a real supervisord, across its rotations."""

import json
import mmap
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.integration.console import Console
from tests.integration.hive import DEADLINE_S, read_bytes, until

SESSION = "550e8400-e29b-41d4-a716-446655440000"
SUPERVISORD = """
[supervisord]
nodaemon=true
user={user}
logfile={supervisor}/supervisord.log
logfile_maxbytes=2KB
logfile_backups=5
loglevel=info
pidfile={root}/supervisord.pid
childlogdir={supervisor}
{programs}
"""
PROGRAM = """
[program:{name}]
command={python} -u {code}
startsecs=0
autorestart=false
stdout_logfile={mcp}/{name}.log
stdout_logfile_maxbytes=20KB
stdout_logfile_backups=5
redirect_stderr=true
"""
# One write a line, as programs log; so no part of a log begins within a line.
NUMBERS = """
import os, sys, time
for n in range({count}):
    sys.stdout.write(f"{{n}} {{'x' * 60}}\\n")
    sys.stdout.flush()
    time.sleep({pause})
"""
LONG_S = 60.0  # for what takes seconds when all is well


def place(console: Console, name: str) -> Path:
    """A directory of logs below that of the sessions, where the suite puts them by default."""
    path = Path(console.layout.log_dir, name)
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def supervised(console: Console, **programs: str) -> Iterator[subprocess.Popen[bytes]]:
    """A real supervisord that runs these pieces of Python, with small logs."""
    dirs = {"root": str(console.root), "supervisor": place(console, "supervisor"), "mcp": place(console, "mcp")}
    sections = []
    for name, code in programs.items():
        path = Path(console.root, f"{name}.py")
        path.write_text(code, encoding="utf-8")
        sections.append(PROGRAM.format(name=name, code=path, python=sys.executable, **dirs))
    settings = Path(console.root, "supervisord.conf")
    user = "root" if os.geteuid() == 0 else os.environ.get("USER", str(os.geteuid()))
    settings.write_text(SUPERVISORD.format(user=user, programs="".join(sections), **dirs), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(settings)],
        env=console.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=20)


@contextmanager
def following(console: Console, *words: str) -> Iterator[Path]:
    """The file that `hive-session logs --all -f` writes to meanwhile; it follows already."""
    out = Path(console.root, "followed")
    mark = place(console, "mcp") / "mark.log"
    mark.write_text("the past\n", encoding="utf-8")
    with out.open("wb") as file:
        call = console.begin("logs", "--all", "-f", *words, stdout=file.fileno())
        until(lambda: b"mark: the past\n" in out.read_bytes(), "the past")
        with mark.open("a", encoding="utf-8") as more:
            more.write("now\n")
        until(lambda: b"mark: now\n" in out.read_bytes(), "a line that was just written")
        yield out
        assert call.poll() is None
        call.send_signal(signal.SIGINT)
        _, said = call.communicate(timeout=DEADLINE_S)
        assert (call.returncode, said) == (130, b"")


def of(label: str, output: bytes) -> list[bytes]:
    """The lines of one program or session, without its name."""
    head = f"{label}: ".encode()
    return [line.removeprefix(head) for line in output.splitlines() if line.startswith(head)]


def numbers(label: str, output: bytes) -> list[int]:
    return [int(line.split()[0]) for line in of(label, output)]


# -- rotation ----------------------------------------------------------------------------------------------------------


def in_step(out: Path) -> str:
    """More for the loop of NUMBERS, whose lines have 74 bytes in `out`: all but the last 60 KB were followed, or it waits."""
    return f"    while n * 74 > os.stat({str(out)!r}).st_size + 60_000: time.sleep(0.01)\n"


@pytest.mark.timeout(180)
def test_no_line_is_missed_or_told_twice_across_rotations_of_supervisord(console: Console) -> None:
    count = 4000
    code = NUMBERS.format(count=count, pause=0.0005)
    with following(console) as out, supervised(console, writer=code + in_step(out)):
        until(lambda: f"writer: {count - 1} x".encode() in out.read_bytes(), "the last line", LONG_S)
        expected = {"writer.log"} | {f"writer.log.{number}" for number in range(1, 6)}
        until(
            lambda: {path.name for path in place(console, "mcp").glob("writer.log*")} == expected, "the last rotation"
        )
        kept = b"".join(path.read_bytes() for path in place(console, "mcp").glob("writer.log*"))
        assert len(kept) < count * 66, "supervisord dropped nothing, so nothing was proven"
    assert numbers("writer", out.read_bytes()) == list(range(count))


def test_all_that_supervisord_kept_is_told_afterwards_in_order(console: Console) -> None:
    count = 6000  # 390 KB: a supervisord that comes late takes 64 KB at once, and rotates only then
    with supervised(console, writer=NUMBERS.format(count=count, pause=0)):
        log = str(place(console, "supervisor") / "supervisord.log")
        until(lambda: b"exited: writer" in read_bytes(log), "its end", LONG_S)
    parts = [str(place(console, "mcp") / f"writer.log{end}") for end in (".5", ".4", ".3", ".2", ".1", "")]
    kept = [int(line.split()[0]) for part in parts for line in read_bytes(part).splitlines()]
    assert sum(map(os.path.exists, parts)) >= 4 and kept[-1] == count - 1
    output = console.answer("logs", "--all")
    assert numbers("writer", output) == kept == list(range(kept[0], count))
    said = of("supervisord", output)
    assert any(b"INFO spawned: 'writer'" in line for line in said)
    assert output.index(b"spawned: 'writer'") < output.index(b"writer: %d x" % kept[0])


@pytest.mark.timeout(180)
def test_supervisord_s_own_log_is_followed_across_its_rotations(console: Console) -> None:
    code = "raise SystemExit(0)"
    with following(console) as out, supervised(console, **{f"short{number}": code for number in range(30)}):
        until(lambda: len(re.findall(rb"exited: short\d+", out.read_bytes())) == 30, "the end of 30 programs", LONG_S)
        until((place(console, "supervisor") / "supervisord.log.1").exists, "a rotation")
    assert sorted(set(re.findall(rb"spawned: 'short(\d+)'", out.read_bytes())), key=int) == [
        b"%d" % number for number in range(30)
    ]


def test_a_log_that_was_cleared_or_emptied_in_place_is_followed_on(console: Console) -> None:
    log = place(console, "mcp") / "tcp-server.log"
    log.write_text("one\n", encoding="utf-8")
    with following(console) as out:
        log.unlink()
        log.write_text("two\n", encoding="utf-8")
        until(lambda: b"tcp-server: two\n" in out.read_bytes(), "what came after it was cleared")
        os.truncate(log, 0)
        with log.open("a", encoding="utf-8") as file:
            file.write("3\n")
        until(lambda: b"tcp-server: 3\n" in out.read_bytes(), "what came after it was emptied")
    assert of("tcp-server", out.read_bytes()) == [b"one", b"two", b"3"]


@pytest.mark.timeout(180)
def test_sessions_are_followed_across_their_rotations_new_ones_too(tmp_path: Path) -> None:
    code = NUMBERS.format(count=3000, pause=0.0005)
    with Console(tmp_path / "console", HIVE_LOG_MAX_BYTES="20000") as console, following(console) as out:
        ids = [console.launch(console.python(code)) for _ in range(2)]
        for each in ids:
            until(lambda each=each: f"{each[:8]}: 2999 x".encode() in out.read_bytes(), "the last line", LONG_S)  # type: ignore[misc]
            until(lambda each=each: os.path.exists(f"{console.paths(each).log}.1"), "a rotation")  # type: ignore[misc]
            lines = of(each[:8], out.read_bytes())
            assert [int(line.split()[0]) for line in lines if not line.startswith(b"[SESSION")] == list(range(3000))


# Writes to a log for ever, and is always so far ahead of its follower that there is more to read, but does not fill the disk.
FLOOD = """
import os, time
data, written = ("y" * 1000 + "\\n").encode() * 100, 0
with open({log!r}, "ab", buffering=0) as file:
    while True:
        written += file.write(data)
        while written > os.stat({out!r}).st_size + 8_000_000: time.sleep(0.001)
"""


def test_a_flood_of_one_log_keeps_no_other_waiting(console: Console) -> None:
    log, flood = Path(console.layout.log_dir, "supervisor", "supervisord.log"), place(console, "mcp") / "flood.log"
    with following(console) as out:
        writer = subprocess.Popen([sys.executable, "-c", FLOOD.format(log=str(flood), out=str(out))])
        try:
            until(lambda: holds(out, b"flood: yyy"), "the flood")
            place(console, "supervisor")
            log.write_text("heard\n", encoding="utf-8")
            until(lambda: holds(out, b"supervisord: heard\n"), "a log in a directory that was not there before")
        finally:
            writer.kill()
            writer.wait()
            flood.unlink()


def holds(path: Path, text: bytes) -> bool:
    """True when `text` is somewhere in a file that may be large."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as found:
        return found.find(text) >= 0


# -- the past ----------------------------------------------------------------------------------------------------------


def json_line(second: int, message: str) -> str:
    moment = f"2026-11-22T09:{second // 60:02}:{second % 60:02}.000+00:00"
    return f'{{"time":"{moment}","level":"info","message":"{message}"}}\n'


def local(second: int) -> str:
    """A moment as supervisord writes it, in local time."""
    moment = time.localtime(1_795_338_000 + second)  # 2026-11-22T09:00:00Z
    return time.strftime("%Y-%m-%d %H:%M:%S,000", moment)


def test_logs_of_all_sorts_are_merged_by_time(console: Console) -> None:
    mcp, supervisor = place(console, "mcp"), place(console, "supervisor")
    entrypoint = Path(console.layout.log_dir, "entrypoint.log")
    entrypoint.write_text("2026-11-22T09:00:00+00:00 up\nwithout a time\n", encoding="utf-8")
    (supervisor / "supervisord.log").write_text(
        f"{local(1)} INFO spawned\n{local(1809)} INFO stopped\n", encoding="utf-8"
    )
    (mcp / "tcp-server.log.2").write_text(json_line(2, "first"), encoding="utf-8")
    (mcp / "tcp-server.log.1").write_text(json_line(4, "second"), encoding="utf-8")
    (mcp / "tcp-server.log").write_text(json_line(1806, "third") + "Traceback\n  File\n", encoding="utf-8")
    (mcp / "ws-bridge-error.log").write_text("2026-11-22T09:30:05.500Z refused", encoding="utf-8")
    Path(console.layout.log_dir, f"hive-{SESSION}.log").write_text("[2026-11-22T09:00:03Z] working\n", encoding="utf-8")
    for number, second in ((2, 2), (1, 4)):
        os.utime(mcp / f"tcp-server.log.{number}", (1_795_338_000 + second,) * 2)
    output = console.answer("logs", "--all").decode()
    heads = [line.partition(": ")[0] for line in output.splitlines()]
    assert heads == [
        "entrypoint", "entrypoint", "supervisord", "tcp-server", "550e8400", "tcp-server", "ws-bridge-error",
        "tcp-server", "tcp-server", "tcp-server", "supervisord",
    ]  # fmt: skip
    assert "ws-bridge-error: 2026-11-22T09:30:05.500Z refused\n" in output, "though its line has not ended yet"
    # Half an hour lies between what is older than that and what is not: the call takes its time.
    since = console.answer("logs", "--all", "--since", f"{time.time() - 1_795_338_000 - 4.5}s").decode()
    assert since.splitlines() == output.splitlines()[6:]


def test_what_a_session_says_stands_where_its_attempt_began(console: Console) -> None:
    session_id = console.launch(console.shell("echo working; echo 'Error: SQLITE_BUSY: database is locked'"))
    console.ended(session_id)
    earlier = place(console, "mcp") / "earlier.log"
    earlier.write_text(json_line(0, "long ago"), encoding="utf-8")
    lines = console.answer("logs", "--all").splitlines()
    assert lines[0].startswith(b"earlier: ")
    head = session_id[:8].encode()
    assert lines[1].startswith(head + b": [SESSION-MGR] Starting session:")
    assert head + b": Error: SQLITE_BUSY: database is locked" in lines


def test_an_agent_cannot_forge_the_line_of_a_program(console: Console) -> None:
    forged = 'print("\\rtcp-server: all is well\\x1b[1A\\x1b[2K\\x85tcp-server: forged\\u2028x")'
    session_id = console.launch(console.python(forged))
    console.ended(session_id)
    output = console.answer("logs", "--all")
    assert of("tcp-server", output) == [] and not re.search(rb"[\x00-\x08\x0b-\x1f]", output)
    assert f"{session_id[:8]}: \\rtcp-server: all is well".encode() in output


def test_a_link_or_a_pipe_in_the_place_of_a_log_is_not_read(console: Console, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret\n", encoding="utf-8")
    mcp = place(console, "mcp")
    (mcp / "linked.log").symlink_to(secret)
    Path(console.layout.log_dir, f"hive-{SESSION}.log").symlink_to(secret)
    os.mkfifo(mcp / "pipe.log")
    assert console.answer("logs", "--all") == b""


def test_gigabytes_would_not_fill_the_memory(console: Console) -> None:
    mcp = place(console, "mcp")
    block = "".join(json_line(number % 60, "x" * 400) for number in range(2000))
    for name in ("one.log", "two.log", "two.log.1"):
        with (mcp / name).open("w", encoding="utf-8") as file:
            for _ in range(40):
                file.write(block)
    (mcp / "endless.log").write_bytes(b"z" * (60 << 20))
    code = (
        "import resource, subprocess, sys\n"
        "lines = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)\n"
        "total = sum(len(chunk) for chunk in iter(lambda: lines.stdout.read1(1 << 20), b''))\n"
        "assert lines.wait() == 0\n"
        "print(total, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    done = console.do("-c", code, console.program, "logs", "--all", program=sys.executable)
    assert done.returncode == 0, done.stderr
    total, rss_kib = map(int, done.stdout.split())
    assert total > 3 * 40 * len(block) + (60 << 20)
    assert rss_kib < 60 << 10, "it holds more than its programs and a piece of each log"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ([], b"no session is named"),
        (["--all", SESSION], b"--all takes neither"),
        (["--all", "--from", "5"], b"--all takes neither"),
        (["--since", "1h", SESSION], b"--since goes with --all"),
        (["--all", "--since", "yesterday"], b"is not an age"),
    ],
)
def test_words_that_do_not_fit_together_are_refused(console: Console, words: list[str], what: bytes) -> None:
    done = console.do("logs", *words)
    assert done.returncode == 2 and what in done.stderr and done.stdout == b""


def test_without_any_log_nothing_is_told(console: Console) -> None:
    assert console.answer("logs", "--all") == b""


# -- what the programs log ---------------------------------------------------------------------------------------------

TOKEN = "a-token-of-the-suite-0123456789"


def events(stream: IO[bytes]) -> list[dict[str, object]]:
    """All that a program said until its end: JSON, one event a line."""
    return [json.loads(line) for line in stream.read().decode().splitlines()]


@contextmanager
def program(console: Console, *argv: str) -> Iterator[tuple[subprocess.Popen[bytes], int, list[dict[str, object]]]]:
    """(process, port, events) of a server that logs JSON; the events are there once the block has ended."""
    env = {**console.env, "HIVE_LOG_FORMAT": "json", "TCP_AUTH_TOKEN": TOKEN, "WS_AUTH_TOKEN": TOKEN}
    process = subprocess.Popen(
        [f"{os.path.dirname(console.program)}/{argv[0]}", *argv[1:]],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said: list[dict[str, object]] = []
    try:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        found = re.match(r"listening on 127\.0\.0\.1:(\d+)", first["message"])
        assert found and (first["program"], first["level"], first["pid"]) == (argv[0], "info", process.pid)
        yield process, int(found[1]), said
        process.terminate()
        said += [first, *events(process.stdout)]
        assert process.wait(timeout=DEADLINE_S) == 0
    finally:
        process.kill()
        process.communicate()


def exchange(port: int, data: bytes) -> bytes:
    """What a server answers to `data` until it or we end the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as peer:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := peer.recv(65536):
            answer += chunk
        return answer


HOSTILE = [
    b'{"jsonrpc":"2.0","id":1,"method":"a\\nb\\u001b[2J","params":{"auth_token":"%b"}}\n' % TOKEN.encode(),
    b"\x1b]0;owned\x07\r\nnot json " + TOKEN.encode() + b"\n",
    b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"token":"wrong\\r\\n{}"}}\n',
]
REQUESTS = [
    b"GET /api/x%0a%1b?token=" + TOKEN.encode() + b"x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    b"GET /\x1b[2J HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer wrong" + TOKEN.encode() + b"\r\n\r\n",
    b"GET /?token=wrong-token-of-somebody HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
]


@pytest.mark.parametrize(
    ("argv", "frames"),
    [
        (("mcp-tcp", "--port", "0", "--health-port", "-1"), HOSTILE),
        (("ws-relay", "--port", "0"), REQUESTS),
        (("mcp-tcp-proxy", "--port", "0", "--", "sh", "-c", "head -n 1 >&2"), HOSTILE),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_whatever_a_client_sends_a_program_logs_one_event_a_line_and_no_token(
    console: Console, argv: tuple[str, ...], frames: list[bytes]
) -> None:
    with program(console, *argv) as (_, port, said):
        for each in frames:
            exchange(port, each)
    assert len(said) > 1
    for event in said:
        assert list(event)[:5] == ["time", "level", "program", "pid", "message"]
        assert str(event["message"]).isprintable() and TOKEN not in str(event)
    assert "wrong-token-of-somebody" not in str(said)


def test_a_program_that_cannot_start_says_so_in_one_event(console: Console) -> None:
    done = console.do(
        "--port", "x", program=f"{os.path.dirname(console.program)}/mcp-tcp", env={"HIVE_LOG_FORMAT": "json"}
    )
    (event,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (event["level"], event["program"]) == ("error", "mcp-tcp") and "--port" in event["message"]
