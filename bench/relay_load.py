"""Many viewers in one process: a job as JSON on stdin, what they received as JSON on stdout.

A process beside it appends lines to a file at an even rate, each with the monotonic time of its writing. The viewers read with
epoll, take frames apart, and keep them with the time of their coming; only when the measured time is over are they inflated
and looked through. So the client is light, and yet every line is accounted for at every viewer that keeps what it got.
"""

import base64
import hashlib
import json
import os
import re
import select
import signal
import socket
import sys
import time
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypedDict

from mcp_load import cpu_ns, take_a_core

SILENCE_S = 10.0
READ_BYTES = 1 << 18
DRAIN_S, DRAIN_MAX_S = 0.3, 3.0  # quiet for so long: all has come; and how long is waited for that at most
REOPEN_S = 30.0  # whoever never reads is closed by then, and replaced
NARROW_BYTES = 4096  # receive buffer of one that never reads
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
RSV1 = 0x40  # RFC 7692 6: the message is compressed
TAIL = b"\x00\x00\xff\xff"  # RFC 7692 7.2.2
STAMP = re.compile(rb'"seq":(\d+),"mono_ns":(\d+)')
LINE_BYTES = 200


class Job(TypedDict):
    """What to do. `subscribe` is sent once per viewer, and answered; "" where the server sends to everybody at once."""

    port: int  # on 127.0.0.1
    pid: int  # whose CPU time and memory count
    file: str  # that grows
    viewers: int
    stalled: int  # further ones that never read
    kept: int  # of the viewers, those whose frames are looked through
    deflate: bool
    subscribe: str
    per_s: float  # lines
    warmup_s: float
    seconds: float


class Report(TypedDict):
    """What came within the measured seconds. Lines are counted at each viewer."""

    offered: float  # lines written, times viewers
    delivered: float  # share of them that had come by the end, or within DRAIN_S of it
    missing: float  # lines that never came, at the viewers that keep what they got
    per_s: float  # lines that came
    cpu_us: float  # of `pid`, for each line that came
    core: float  # CPU time of `pid` in cores
    client_core: float  # and of this process
    wire_bytes: float  # for each line that came, frame headers included
    p50_ms: float  # from the write to the read
    p99_ms: float
    rss_mib: float  # of `pid`, at the end
    growth_mib: float  # since the beginning


Figure = Literal[
    "delivered", "missing", "per_s", "cpu_us", "core", "client_core", "wire_bytes", "p50_ms", "p99_ms", "rss_mib"
]
Frame = tuple[int, bool, bytes]  # monotonic nanoseconds of its coming, whether it is compressed, payload


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


# -- one viewer --------------------------------------------------------------------------------------------------------


class Viewer:
    """One WebSocket client, no more than it takes to receive."""

    def __init__(self, port: int, *, deflate: bool, narrow: bool = False, path: str = "/") -> None:
        self.socket = socket.socket()
        if narrow:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW_BYTES)
        self.socket.settimeout(SILENCE_S)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.keeps = True
        self.frames: list[Frame] = []
        self.bytes = self.count = 0  # of text frames, with their heads
        self._rest = b""
        self._inflate = zlib.decompressobj(wbits=-15)
        self._resets = False
        self._shake_hands(port, path, deflate)

    def _shake_hands(self, port: int, path: str, deflate: bool) -> None:
        key = base64.b64encode(os.urandom(16))
        head = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade"]
        head += [f"Sec-WebSocket-Key: {key.decode()}", "Sec-WebSocket-Version: 13"]
        head += ["Sec-WebSocket-Extensions: permessage-deflate"] * deflate
        self.socket.sendall("\r\n".join([*head, "", ""]).encode())
        while b"\r\n\r\n" not in self._rest:
            self._rest += self._receive()
        answer, _, self._rest = self._rest.partition(b"\r\n\r\n")
        accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
        lower = answer.lower()
        if not answer.startswith(b"HTTP/1.1 101 ") or accept not in answer:
            raise RuntimeError(f"no WebSocket: {answer[:300]!r}")
        if (b"permessage-deflate" in lower) is not deflate:
            raise RuntimeError(f"compression is not as asked for: {answer[:500]!r}")
        self._resets = b"server_no_context_takeover" in lower

    def _receive(self) -> bytes:
        data = self.socket.recv(READ_BYTES)
        if not data:
            raise RuntimeError("the connection was closed")
        return data

    def send(self, opcode: int, payload: bytes) -> None:
        """Send one frame of at most 64 KiB, masked with zeros."""
        size = len(payload)
        head = (
            bytes([0x80 | opcode, 0x80 | size]) if size < 126 else bytes([0x80 | opcode, 0xFE, size >> 8, size & 255])
        )
        self.socket.sendall(head + b"\0\0\0\0" + payload)

    def feed(self, data: bytes, at_ns: int) -> None:
        """Take the frames apart that `data` completes. Raises: RuntimeError for a close, and for what is no text."""
        data = self._rest + data if self._rest else data
        at, end = 0, len(data)
        while end - at >= 2:
            first, size, start = data[at], data[at + 1], at + 2
            if size > 125:
                start += 2 if size == 126 else 8
                if start > end:
                    break
                size = int.from_bytes(data[at + 2 : start])
            if start + size > end:
                break
            if first & 15 == TEXT and first & 0x80:
                self.count += 1
                self.bytes += start + size - at
                if self.keeps:
                    self.frames.append((at_ns, bool(first & RSV1), data[start : start + size]))
            else:
                self._control(first, data[start : start + size])
            at = start + size
        self._rest = data[at:]

    def _control(self, first: int, payload: bytes) -> None:
        if first & 15 == PING:
            self.send(PONG, payload)
        elif first & 15 != PONG:
            raise RuntimeError(f"a frame with opcode {first & 15}: {payload[:200]!r}")

    def text(self, frame: Frame) -> bytes:
        """The text of a frame; to be called once for each, in their order."""
        _, compressed, payload = frame
        if not compressed:
            return payload
        found = self._inflate.decompress(payload + TAIL)
        if self._resets:
            self._inflate = zlib.decompressobj(wbits=-15)
        return found

    def next(self, timeout_s: float) -> bytes | None:
        """The next text; None where nothing came within that time."""
        give_up = time.monotonic() + timeout_s
        while not self.frames:
            left_s = give_up - time.monotonic()
            if left_s <= 0 or not select.select([self.socket], [], [], left_s)[0]:
                return None
            self.feed(self._receive(), time.monotonic_ns())
        return self.text(self.frames.pop(0))

    def subscribe(self, words: str) -> None:
        """Ask, and return once that is granted. Raises: RuntimeError."""
        self.send(TEXT, words.encode())
        while (answer := self.next(SILENCE_S)) is not None:
            found = json.loads(answer)
            if found.get("type") == "subscribed":
                return
            if found.get("type") == "error":
                raise RuntimeError(f"refused: {found}")
        raise RuntimeError(f"no answer within {SILENCE_S:g} s to {words}")


# -- the writer --------------------------------------------------------------------------------------------------------


def line(number: int) -> bytes:
    """A line of telemetry of LINE_BYTES bytes, as a busy hive writes them; it holds its number and the time of now."""
    head = (
        b'{"ts":%d,"type":"agent_status","agent":"worker-%02d","status":"working","tool":"%s","seq":%d,"mono_ns":%d,'
        % (
            time.time_ns() // 1_000_000,
            number % 12,
            (b"Bash", b"Read", b"Edit", b"Grep")[number // 3 % 4],
            number,
            time.monotonic_ns(),
        )
    )
    note = (b"looks into src/importer/part_%03d.py and writes down what it finds there; " % (number % 200)) * 3
    room = LINE_BYTES - len(head) - len(b'"note":""}\n')
    return head + b'"note":"' + note[:room] + b'"}\n'


@contextmanager
def writing(path: str, per_s: float) -> Iterator[None]:
    """Meanwhile the file grows, from another process."""
    pid = os.fork()
    if not pid:
        parent = os.getppid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            _write(path, per_s, parent)
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def _write(path: str, per_s: float, parent: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    begun, number = time.monotonic(), 0
    while os.getppid() == parent:
        os.write(fd, line(number))
        number += 1
        # Each third one comes a little late: even gaps would fall in step with timers of those that are measured.
        pause_s = begun + (number + 0.3 * (number % 3 == 0)) / per_s - time.monotonic()
        if pause_s > 0:
            time.sleep(pause_s)


# -- the job -----------------------------------------------------------------------------------------------------------


class Crowd:
    """All viewers of a job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.poll = select.epoll()
        self.viewers: dict[int, Viewer] = {}
        for number in range(job["viewers"]):
            viewer = self._open()
            viewer.keeps = number < job["kept"]
            viewer.socket.setblocking(False)
            self.viewers[viewer.socket.fileno()] = viewer
            self.poll.register(viewer.socket, select.EPOLLIN)
        self.deaf = [self._open(narrow=True) for _ in range(job["stalled"])]
        self._reopen_s = time.monotonic() + REOPEN_S

    def _open(self, *, narrow: bool = False) -> Viewer:
        viewer = Viewer(self.job["port"], deflate=self.job["deflate"], narrow=narrow)
        if self.job["subscribe"]:
            viewer.subscribe(self.job["subscribe"])
        return viewer

    def run(self, for_s: float, quiet_s: float | None = None) -> None:
        """Receive for so long, or until nothing came for `quiet_s`."""
        wait, viewers, now = self.poll.poll, self.viewers, time.monotonic_ns  # looked up once: this is the hot loop
        end = now() + int(for_s * 1e9)
        while (left_ns := end - now()) > 0:
            ready = wait(min(left_ns / 1e9, quiet_s or 1.0))
            if not ready and quiet_s is not None:
                return
            for fd, _ in ready:
                viewer = viewers[fd]
                data = viewer.socket.recv(READ_BYTES)
                if not data:
                    raise RuntimeError("a viewer's connection was closed")
                viewer.feed(data, now())
            if self.deaf and now() / 1e9 > self._reopen_s:
                self._replace()

    def _replace(self) -> None:
        """New ones in the place of those that never read."""
        self._reopen_s += REOPEN_S
        for viewer in self.deaf:
            viewer.socket.close()
        self.deaf = [self._open(narrow=True) for _ in self.deaf]


class Received:
    """What one viewer received: the number and both times of each line, in nanoseconds."""

    def __init__(self, viewer: Viewer) -> None:
        self.numbers: list[int] = []
        self.came: list[int] = []
        self.taken: list[int] = []
        for frame in viewer.frames:
            for number, written in STAMP.findall(viewer.text(frame)):
                self.numbers.append(int(number))
                self.came.append(frame[0])
                self.taken.append(frame[0] - int(written))

    def between(self, begun_ns: int, ended_ns: int) -> slice:
        """Those that came within this time."""
        return slice(bisect_left(self.came, begun_ns), bisect_left(self.came, ended_ns))

    def written(self, begun_ns: int, ended_ns: int) -> set[int]:
        """The numbers of those that were written within this time."""
        pairs = zip(self.numbers, self.came, self.taken, strict=True)
        return {number for number, came, taken in pairs if begun_ns <= came - taken < ended_ns}


def run(job: Job) -> Report:
    """Do a job."""
    crowd = Crowd(job)
    started = os.stat(job["file"]).st_size
    with writing(job["file"], job["per_s"]):
        crowd.run(job["warmup_s"])
        before, rss_before = [(each.count, each.bytes) for each in crowd.viewers.values()], rss_mib(job["pid"])
        used_ns, own_ns, begun_ns = cpu_ns(job["pid"]), time.process_time_ns(), time.monotonic_ns()
        crowd.run(job["seconds"])
        ended_ns = time.monotonic_ns()
        used_ns, own_ns = cpu_ns(job["pid"]) - used_ns, time.process_time_ns() - own_ns
        rss = rss_mib(job["pid"])
        wire = [each.bytes - size for each, (_, size) in zip(crowd.viewers.values(), before, strict=True)]
    crowd.run(DRAIN_MAX_S, DRAIN_S)
    written = _written(job["file"], started, begun_ns, ended_ns)
    received = [Received(each) for each in crowd.viewers.values() if each.keeps]
    found = _figures(received, written, begun_ns, ended_ns)
    took_ns = ended_ns - begun_ns
    came = found["came"] / len(received) * job["viewers"]
    if not came:
        raise RuntimeError("not one line came")
    return {
        "offered": float(len(written) * job["viewers"]),
        "delivered": found["delivered"],
        "missing": found["missing"],
        "per_s": 1e9 * came / took_ns,
        "cpu_us": used_ns / came / 1e3,
        "core": used_ns / took_ns,
        "client_core": own_ns / took_ns,
        "wire_bytes": sum(wire) / came,
        "p50_ms": found["p50_ms"],
        "p99_ms": found["p99_ms"],
        "rss_mib": rss,
        "growth_mib": rss - rss_before,
    }


def _written(path: str, started: int, begun_ns: int, ended_ns: int) -> set[int]:
    """The numbers of the lines that were written within the measured time, as the file has them."""
    with open(path, "rb") as file:
        file.seek(started)
        stamps = STAMP.findall(file.read())
    return {int(number) for number, stamp in stamps if begun_ns <= int(stamp) < ended_ns}


def _figures(received: Sequence[Received], written: set[int], begun_ns: int, ended_ns: int) -> dict[str, float]:
    """Counts and latencies over the viewers that kept what they got."""
    taken: list[int] = []
    in_time = missing = 0
    for each in received:
        window = each.between(begun_ns, ended_ns)
        taken += each.taken[window]
        got = each.written(begun_ns, ended_ns)
        missing += len(written - got)
        late = each.between(ended_ns + int(DRAIN_S * 1e9), sys.maxsize)
        in_time += len(got) - len(written.intersection(each.numbers[late]))
    taken.sort()
    return {
        "came": float(len(taken)),
        "delivered": in_time / (len(written) * len(received)),
        "missing": float(missing),
        "p50_ms": taken[len(taken) // 2] / 1e6 if taken else 0.0,
        "p99_ms": taken[len(taken) * 99 // 100] / 1e6 if taken else 0.0,
    }


if __name__ == "__main__":
    take_a_core()
    try:
        print(json.dumps(run(json.load(sys.stdin))))
    except (RuntimeError, OSError) as exc:
        sys.exit(f"relay_load.py: {exc}")
