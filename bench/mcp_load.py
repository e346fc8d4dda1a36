"""A closed-loop load client in a process of its own: a job as JSON on stdin, what it measured as JSON on stdout.

Every connection has one request on its way, always: its next one leaves when the answer to the last one is whole. It waits
with epoll and keeps to plain reads and writes, so that one core of it can ask more than the servers answer; the report says
what share of a core it used all the same.
"""

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import cycle, islice
from typing import Any, Literal, TypedDict

SILENCE_S = 10.0  # a server that answers nobody for so long is not measured
READ_BYTES = 1 << 18
CPUCLOCK_SCHED = 2
STRIDE = 7919  # where in the list each connection begins: a prime, so that they do not ask for the same at once

End = tuple[int, int]  # descriptors to read from and to write to


class Job(TypedDict):
    """What to ask of whom. Messages are lines without their LF; those of `opening` are sent once per connection."""

    port: int | None  # on 127.0.0.1; None: `command` is asked on pipes
    command: list[str]
    pid: int | None  # whose CPU time counts
    connections: int
    warmup_s: float
    seconds: float
    opening: list[str]
    requests: list[str]  # asked over and over


class Report(TypedDict):
    """What came of a job, over its measured seconds."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float  # of `pid`, per answer; 0 without one
    core: float  # CPU time of `pid` in cores
    client_core: float  # and of this process
    answer_bytes: float  # mean


Figure = Literal["per_s", "p50_ms", "p99_ms", "cpu_us", "core", "client_core", "answer_bytes"]


def cpu_ns(pid: int) -> int:
    """CPU time of a process, all its threads, past ones too: what stat's utime + stime say in ticks of 10 ms."""
    # clock_getcpuclockid(3) gives this clock; include/linux/posix-timers_types.h: MAKE_PROCESS_CPUCLOCK
    return time.clock_gettime_ns((~pid << 3) | CPUCLOCK_SCHED)


def ask(end: End, message: bytes) -> Mapping[str, Any]:
    """The result of one request. Raises: RuntimeError for anything else than a good answer to it."""
    os.write(end[1], message)
    raw = b""
    while not raw.endswith(b"\n"):
        raw += _read(end[0])
    answer = json.loads(raw)
    result = answer.get("result")
    if answer.get("id") != json.loads(message)["id"] or not isinstance(result, dict) or result.get("isError"):
        raise RuntimeError(f"not an answer to {message[:300]!r}: {raw[:300]!r}")
    return result


def _read(fd: int) -> bytes:
    if not select.select([fd], [], [], SILENCE_S)[0]:
        raise RuntimeError(f"no answer within {SILENCE_S:g} s")
    data = os.read(fd, READ_BYTES)
    if not data:
        raise RuntimeError("the connection was closed")
    return data


def open_ends(job: Job, stack: ExitStack) -> list[End]:
    """The connections of a job, open until `stack` closes."""
    if job["port"] is None:
        child = stack.enter_context(subprocess.Popen(job["command"], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert child.stdin is not None and child.stdout is not None
        return [(child.stdout.fileno(), child.stdin.fileno())]
    sockets = [
        stack.enter_context(socket.create_connection(("127.0.0.1", job["port"]), SILENCE_S))
        for _ in range(job["connections"])
    ]
    for each in sockets:
        each.setblocking(True)
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return [(each.fileno(), each.fileno()) for each in sockets]


class Loop:
    """The connections, each with its own walk through the requests."""

    def __init__(self, ends: Sequence[End], requests: Sequence[bytes]) -> None:
        self.writers = dict(ends)
        self.walks: dict[int, Iterator[bytes]] = {}
        self.sent_ns: dict[int, int] = {}
        self.poll = select.epoll()
        for number, (reader, writer) in enumerate(ends):
            self.walks[reader] = islice(cycle(requests), number * STRIDE % len(requests), None)
            self.poll.register(reader, select.EPOLLIN)
            self.sent_ns[reader] = time.perf_counter_ns()
            os.write(writer, next(self.walks[reader]))

    def run(self, for_s: float) -> tuple[list[int], int]:
        """Ask for so long: (nanoseconds from each request to its answer, bytes of all answers)."""
        read, write, now = os.read, os.write, time.perf_counter_ns  # looked up once: this is the hot loop
        wait, writers, walks, sent_ns = self.poll.poll, self.writers, self.walks, self.sent_ns
        taken_ns: list[int] = []
        size = 0
        at = now()
        end = at + int(for_s * 1e9)
        while at < end:
            ready = wait(SILENCE_S)
            if not ready:
                raise RuntimeError(f"no answer within {SILENCE_S:g} s")
            for fd, _ in ready:
                data = read(fd, READ_BYTES)
                size += len(data)
                if data[-1:] != b"\n":
                    if not data:
                        raise RuntimeError("the connection was closed")
                    continue
                at = now()
                taken_ns.append(at - sent_ns[fd])
                write(writers[fd], next(walks[fd]))
                sent_ns[fd] = at
        return taken_ns, size

    def settle(self) -> None:
        """Read the answers that are still on their way."""
        for fd in self.writers:
            while not _read(fd).endswith(b"\n"):
                pass


def run(job: Job) -> Report:
    """Do a job. Every request is asked once before it and once after it, and the answers are looked at."""
    requests = [each.encode() + b"\n" for each in job["requests"]]
    with ExitStack() as stack:
        ends = open_ends(job, stack)
        for end in ends:
            _open(end, job["opening"])
        for message in requests:
            ask(ends[0], message)
        loop = Loop(ends, requests)
        loop.run(job["warmup_s"])
        used_ns = cpu_ns(job["pid"]) if job["pid"] else 0
        own_ns, begun_ns = time.process_time_ns(), time.perf_counter_ns()
        taken_ns, size = loop.run(job["seconds"])
        took_ns, own_ns = time.perf_counter_ns() - begun_ns, time.process_time_ns() - own_ns
        used_ns = cpu_ns(job["pid"]) - used_ns if job["pid"] else 0
        loop.settle()
        for message in requests:
            ask(ends[0], message)
    return report(sorted(taken_ns), size, took_ns=took_ns, used_ns=used_ns, own_ns=own_ns)


def _open(end: End, opening: Sequence[str]) -> None:
    for message in opening:
        if "id" in json.loads(message):
            ask(end, message.encode() + b"\n")
        else:
            os.write(end[1], message.encode() + b"\n")


def report(taken_ns: Sequence[int], size: int, *, took_ns: int, used_ns: int, own_ns: int) -> Report:
    """The figures behind sorted latencies and what was used meanwhile."""
    count = len(taken_ns)
    return {
        "per_s": 1e9 * count / took_ns,
        "p50_ms": taken_ns[count // 2] / 1e6,
        "p99_ms": taken_ns[count * 99 // 100] / 1e6,
        "cpu_us": used_ns / count / 1e3,
        "core": used_ns / took_ns,
        "client_core": own_ns / took_ns,
        "answer_bytes": size / count,
    }


def take_a_core() -> None:
    """Have the last core for this process, where there are several: else it shares one with the server, as both wait in turn."""
    cores = os.sched_getaffinity(0)
    if len(cores) > 1:
        os.sched_setaffinity(0, {max(cores)})


if __name__ == "__main__":
    take_a_core()
    try:
        print(json.dumps(run(json.load(sys.stdin))))
    except (RuntimeError, OSError) as exc:
        sys.exit(f"mcp_load.py: {exc}")
