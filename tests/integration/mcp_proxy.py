"""A running mcp-tcp-proxy with a command of the test's own, its clients, and a view of the processes that came of it."""

import json
import os
import re
import socket
import struct
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.integration.hive import DEADLINE_S, is_alive, kill, read_bytes, stat_fields, until
from tests.integration.stopwatch import within

MARK = "MCP_PROXY_TEST"  # in the environment of the proxy and of all that comes of it
OURS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z mcp-tcp-proxy: ")
READY = re.compile(r"listening on (?:127\.0\.0\.1|0\.0\.0\.0):(\d+)(?:, health on [\d.]+:(\d+))?")

# Answers each request with what it was asked and where it runs; obeys a few methods.
SERVER = """
import json, os, signal, subprocess, sys, time
for line in sys.stdin:
    try:
        message = json.loads(line)
    except ValueError:
        print(json.dumps({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "bad"}}), flush=True)
        continue
    method, params = message.get("method"), message.get("params") or {}
    if method == "exit":
        sys.exit(params["code"])
    if method == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if method == "junk":
        print(params["line"], file=sys.stderr if params.get("stderr") else sys.stdout, flush=True)
    if method == "raw":
        sys.stdout.write(params["text"]); sys.stdout.flush(); continue
    if method == "sleep":
        continue
    if method == "big":
        message["text"] = "x" * params["bytes"]
    if method == "count":
        message = {"id": message["id"], "bytes": len(line.encode())}
    if method == "write":
        with open(params["path"], "w") as file:
            file.write("x")
    if "id" in message:
        told = {"pid": os.getpid(), "cwd": os.getcwd(), "env": dict(os.environ), "got": message}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": told}), flush=True)
"""

# Ends neither at the end of its input nor by SIGTERM, and neither do what it starts: one in its group, one that left it.
STUBBORN = """
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
    while True:
        time.sleep(600)
for line in sys.stdin:
    print(json.dumps({"jsonrpc": "2.0", "id": json.loads(line)["id"], "result": {}}), flush=True)
while True:
    time.sleep(600)
"""


def request(request_id: object, method: str = "echo", **params: object) -> bytes:
    """One request with its line end."""
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}).encode() + b"\n"


class Client:
    """A connection to the proxy."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def line(self) -> Any:
        """The next message; None when the proxy has closed the connection."""
        line = self._file.readline()
        return json.loads(line) if line else None

    def rest(self) -> list[Any]:
        """All messages until the proxy closes the connection."""
        return list(iter(self.line, None))

    def ask(self, request_id: object, method: str = "echo", **params: object) -> Any:
        """A request's answer, which must be the next message."""
        self.send(request(request_id, method, **params))
        answer = self.line()
        assert answer is not None and answer["id"] == request_id, answer
        return answer

    def finish(self) -> list[Any]:
        """Send no more; all messages that still come."""
        self.socket.shutdown(socket.SHUT_WR)
        return self.rest()

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def reset(self) -> None:
        """Vanish without a goodbye: the peer gets an RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


class Proxy:
    """A proxy in front of `command`; it and all that came of it end with the `with` block.

    `caller` is what Popen is told of the user who runs it; `env` is added to its environment.
    """

    def __init__(
        self,
        root: Path,
        command: Sequence[str],
        *options: str,
        caller: Mapping[str, Any] | None = None,
        **env: str,
    ) -> None:
        self.command = list(command)
        self._mark = str(uuid.uuid4())
        self._log = root / f"proxy-{self._mark}.log"
        argv = [sys.executable, "-m", "mcp_tcp.proxy", "--port", "0", "--health-port", "0", *options, "--", *command]
        with self._log.open("wb") as log:
            own_env = {**os.environ, **env, MARK: self._mark}
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=own_env, **(caller or {})
            )
        try:
            ready = until(lambda: READY.search(self.log) or self.process.poll(), "the proxy listens")
            assert isinstance(ready, re.Match), self.log
        except BaseException:
            self.close()
            raise
        self.port, self.health_port = int(ready[1]), int(ready[2])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
        foreign = [line for line in self.log.splitlines() if not OURS.match(line)]
        assert not foreign, self.log  # a traceback, or a complaint of the event loop

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        until(self._nothing_left, "the end of all processes of the proxy")

    def _nothing_left(self) -> bool:
        left = self.processes()
        kill(left)
        return not left

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def wait_for_log(self, pattern: str) -> re.Match[str]:
        """The first place in the log that the pattern fits, as soon as there is one."""
        return until(lambda: re.search(pattern, self.log), f"{pattern!r} in the log")

    def client(self) -> Client:
        return Client(self.port)

    def health(self) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/health") as answer:
            return json.load(answer)

    def processes(self) -> list[int]:
        """All that came of the proxy, zombies left out: keepers, commands, and what those started."""
        return [pid for pid in self._marked() if pid != self.process.pid]

    def commands(self) -> list[int]:
        """Those of `processes` that are no keepers, which are forks of the proxy and look like it."""
        own = read_bytes(f"/proc/{self.process.pid}/cmdline")
        return [pid for pid in self.processes() if read_bytes(f"/proc/{pid}/cmdline") != own]

    def wait_for_commands(self, count: int) -> None:
        until(lambda: len(self.commands()) == count, f"{count} processes of commands")

    def zombies(self) -> list[int]:
        """The proxy's children that have ended and that it did not collect."""
        everyone = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        fields = {pid: stat_fields(pid)[:2] for pid in everyone}
        return [pid for pid, found in fields.items() if found == ["Z", str(self.process.pid)]]

    def wait_for_no_process(self, seconds: float = DEADLINE_S) -> None:
        within(seconds, lambda: not self.processes(), "the end of all children")

    def wait_for_no_session(self) -> None:
        until(lambda: self.health()["active_sessions"] == 0, "the end of all sessions")

    def ends_within(self, seconds: float) -> int:
        """The exit code of the proxy, which must end so soon."""
        within(seconds, lambda: self.process.poll() is not None, "the end of the proxy")
        return self.process.returncode

    def _marked(self) -> Iterator[int]:
        wanted = f"{MARK}={self._mark}".encode()
        for name in os.listdir("/proc"):
            if name.isdigit() and wanted in read_bytes(f"/proc/{name}/environ").split(b"\0") and is_alive(int(name)):
                yield int(name)
