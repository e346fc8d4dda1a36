"""Ports of this machine for one suite: which are free, which it had before, and that no two suites choose at once."""

from __future__ import annotations

import errno
import json
import os
import random
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from hive_session.suite.environment import PORTS

FILE = "ports.json"  # in HIVE_RUN_DIR: variable -> port
TURN_LIMIT_S = 20.0  # a start that is stuck, or a stranger with our name, must not keep everybody out
STEP_S = 0.05
TRIES = 100
# An abstract name: it exists in one network namespace, as ports do, is nobody's file, and goes with its process.
TURN = "\0hive-suite-ports"


def read_ports(run_dir: str) -> dict[str, int]:
    """The ports of the last start; none where there was none, or the file is damaged."""
    try:
        with open(f"{run_dir}/{FILE}", encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    known = found if isinstance(found, dict) else {}
    return {name: port for name, port in known.items() if name in PORTS and type(port) is int and -1 <= port <= 65535}


def write_ports(run_dir: str, ports: Mapping[str, int]) -> None:
    """Remember them, by replacement. Raises: OSError."""
    path = f"{run_dir}/{FILE}"
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(ports, file, indent=2)
        file.write("\n")
    os.replace(f"{path}.new", path)


def is_free(host: str, port: int) -> bool:
    """True unless somebody listens there; what cannot be told is left to the server, which says it better."""
    try:
        family, kind, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: one that ended is no hindrance
            probe.bind(where)
    except OSError as exc:
        return exc.errno != errno.EADDRINUSE
    return True


def any_free(host: str) -> int:
    """A port that nobody listens on, if possible none that an outgoing connection could sit on while a server restarts.

    Raises: OSError.
    """
    for port in random.sample(range(20_000, 32_768), TRIES):  # Linux gives 32768 and above to outgoing connections
        if is_free(host, port):
            return port
    family, kind, _, _, where = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.bind(where)
        return int(probe.getsockname()[1])


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """While this is held no other suite of this machine chooses ports: they are ours only once our servers listen."""
    end_s = time.monotonic() + TURN_LIMIT_S
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as turn:
        while True:
            try:
                turn.bind(TURN)
                break
            except OSError:
                if time.monotonic() > end_s:
                    break
                time.sleep(STEP_S)
        yield
