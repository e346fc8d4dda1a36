"""A supervisord of a test's own with the listener, real servers, and servers that misbehave as they are told."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import xmlrpc.client
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-untyped]  # it has no types

from tests.integration.hive import DEADLINE_S, SCRIPTS, Hive, kill, until

MCP, RELAY, PROXY, HEALTH = "mcp-tcp-server", "mcp-ws-bridge", "claude-flow-tcp", "health"

# Answers, or not, as the word that follows the port says.
ACTOR = """
import os, socket, sys, time
port, mode = int(sys.argv[1]), sys.argv[2]
if mode == "dies":
    print("actor: one line", file=sys.stderr)
    print("actor: the cause \\x1b[31m", file=sys.stderr, flush=True)
    if os.path.exists(sys.argv[3]):
        sys.exit(7)
    mode = "hangs"
listener = socket.create_server(("127.0.0.1", port), backlog=100)
while mode == "hangs":
    time.sleep(600)
while True:
    peer, _ = listener.accept()
    if mode == "garbage":
        peer.sendall(b"\\x1b[2J\\xff garbage\\r\\n" * 9)
    while mode == "drips":
        try:
            peer.sendall(b"H")
        except OSError:
            break
        time.sleep(0.05)
    peer.close()
"""

CONF = """
[unix_http_server]
file={root}/supervisor.sock
[supervisord]
nodaemon=true
logfile={root}/supervisord.log
loglevel=info
pidfile={root}/supervisord.pid
{user}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[eventlistener:health]
command={scripts}/hive-health
events=TICK_5,PROCESS_STATE_FATAL,PROCESS_STATE_RUNNING,REMOTE_COMMUNICATION
buffer_size=10
stderr_logfile={root}/health.log
autorestart=true
{programs}
"""

PROGRAM = """
[program:{name}]
command={command}
startsecs=1
startretries=0
autorestart=true
stopasgroup=true
killasgroup=true
stopwaitsecs=1
stdout_logfile={root}/{name}.out
stderr_logfile={root}/{name}.err
"""

# Quick, for tests.
QUICK = {
    "HIVE_HEALTH_EVERY_S": "0.2",
    "HIVE_HEALTH_LIMIT_S": "0.5",
    "HIVE_HEALTH_GRACE_S": "10",
    "HIVE_HEALTH_RESTART_AFTER_S": "0.5,1,600",
    "HIVE_HEALTH_RETRY_AFTER_S": "0.5,600",
}


def reserved_port() -> socket.socket:
    """A port that refuses, until a server that is told of it listens there; nobody else is given it before this closes."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


class Listened:
    """supervisord over the workspace of `hive`, with `programs` by name and command; ends with the `with` block."""

    def __init__(self, hive: Hive, programs: Mapping[str, str], env: Mapping[str, str] | None = None) -> None:
        self.hive = hive
        self.root = Path(hive.root)
        names = (
            "MCP_TCP_PORT",
            "MCP_HEALTH_PORT",
            "MCP_BRIDGE_PORT",
            "CLAUDE_FLOW_TCP_PORT",
            "CLAUDE_FLOW_HEALTH_PORT",
        )
        self._reserved = [reserved_port() for _ in names]
        self.ports = {name: str(held.getsockname()[1]) for name, held in zip(names, self._reserved, strict=True)}
        self.env = {**hive.env, **self.ports, **QUICK, "HIVE_RUN_DIR": str(self.root), **(env or {})}
        (self.root / "actor.py").write_text(ACTOR, encoding="utf-8")
        told = {"root": str(self.root), "scripts": SCRIPTS}
        listed = "".join(
            PROGRAM.format(name=name, command=command.format(**told, **self.ports), **told)
            for name, command in programs.items()
        )
        user = "user=root" if os.geteuid() == 0 else ""
        self.conf = self.root / "supervisord.conf"
        self.conf.write_text(CONF.format(programs=listed, user=user, **told), encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.conf)],
            env=self.env,
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until(self._listens, "supervisord's socket")
        except AssertionError:
            self._end()
            raise
        return self

    def _listens(self) -> bool:
        assert self.process and self.process.poll() is None, "supervisord ended; its configuration is wrong"
        return (self.root / "supervisor.sock").exists()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self.process
        for held in self._reserved:
            held.close()
        if self.process.poll() is None:
            kill(pid for name, pid in self.pids().items() if name != HEALTH)  # one that is stopped would take its time
            self._end()

    def _end(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    # -- what supervisord says -----------------------------------------------------------------------------------------

    def call(self, method: str, *words: object) -> Any:
        """Ask supervisord, as supervisorctl does."""
        transport = SupervisorTransport(None, None, f"unix://{self.root}/supervisor.sock")
        try:
            proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
            return getattr(proxy.supervisor, method)(*words)
        finally:
            transport.close()

    def infos(self) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in self.call("getAllProcessInfo")}

    def pids(self) -> dict[str, int]:
        """The pid of each program that has one."""
        return {name: info["pid"] for name, info in self.infos().items() if info["pid"]}

    def pid(self, name: str) -> int:
        """The pid of a program, once it runs."""
        return until(lambda: self.pids().get(name), f"{name} runs")

    def signal(self, name: str, number: signal.Signals) -> int:
        """The pid that was signalled."""
        pid = self.pid(name)
        os.kill(pid, number)
        return pid

    # -- what the listener says ----------------------------------------------------------------------------------------

    def lines(self, event: str = "", about: str = "") -> list[dict[str, Any]]:
        """The lines of its log, of one event or about one program where that is named."""
        path = self.root / "health.log"
        raw = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []  # without half a line
        found = [json.loads(line) for line in raw]
        return [each for each in found if event in ("", each["event"]) and about in ("", each.get("about", ""))]

    def state(self, name: str) -> dict[str, Any]:
        """What health.json says of a program; empty where it does not know it."""
        path = self.root / "health.json"
        found: dict[str, Any] = json.loads(path.read_bytes())["programs"].get(name, {}) if path.exists() else {}
        return found

    def becomes(self, name: str, health: str) -> dict[str, Any]:
        """What is known of a program once its health is this."""
        until(lambda: self.state(name).get("health") == health, f"{name} is {health}: {self.state(name)}")
        return self.state(name)

    def check(self, **env: str) -> tuple[int, list[str]]:
        """Exit code and lines of `hive-health --check`."""
        done = subprocess.run(
            [f"{SCRIPTS}/hive-health", "--check"], env={**self.env, **env}, capture_output=True, timeout=DEADLINE_S
        )
        assert done.stderr == b""
        return done.returncode, done.stdout.decode().splitlines()


def servers(**more: str) -> dict[str, str]:
    """The commands of the real servers, and others in place of them."""
    return {MCP: f"{SCRIPTS}/mcp-tcp", RELAY: f"{SCRIPTS}/ws-relay", **more}


def actor(port: str, mode: str, *words: str) -> str:
    """The command of a server that behaves as `mode` says, on the port of a variable."""
    return " ".join((sys.executable, "{root}/actor.py", f"{{{port}}}", mode, *words))
