"""A relay without sockets: wires that take what they are told to, clients that read frames as RFC 6455 and 7692 say."""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import orjson

Document = dict[str, Any]


def frames(data: bytes) -> Iterator[tuple[bool, bytes]]:
    """Each whole unmasked text frame in `data`: whether it is compressed, and its payload."""
    at = 0
    while at < len(data):
        first, length = data[at], data[at + 1]
        at += 2
        assert first in (0x81, 0xC1), hex(first)
        if length == 126:
            length, at = int.from_bytes(data[at : at + 2]), at + 2
            assert length >= 126
        elif length == 127:
            length, at = int.from_bytes(data[at : at + 8]), at + 8
            assert length >= 1 << 16
        payload = data[at : at + length]
        assert len(payload) == length
        yield first == 0xC1, payload
        at += length


class Client:
    """The far end of a connection. Its inflater remembers all that came compressed, as a browser's does."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(-15)
        self.compressed = self.plain = 0  # frames

    def read(self, data: bytes) -> list[Document]:
        """The documents in whole frames."""
        found = []
        for deflated, payload in frames(data):
            if deflated:
                self.compressed += 1
                payload = self._inflater.decompress(payload + b"\x00\x00\xff\xff")
                assert not self._inflater.unconsumed_tail and not self._inflater.eof
            else:
                self.plain += 1
            found.append(orjson.loads(payload))
        return found


class FakeWire:
    """A connection whose peer takes bytes at once, or none while `stalled`, or `drain` so many."""

    def __init__(self, deflate: bool = False) -> None:
        self.deflate = deflate
        self.stalled = False
        self.closed: tuple[int, str] | None = None
        self.writes = 0
        self.sent = bytearray()  # what has arrived and was not read
        self.kept = bytearray()
        self.client = Client()

    def write(self, data: bytes) -> None:
        assert self.closed is None
        self.writes += 1
        (self.kept if self.stalled else self.sent).extend(data)

    def unsent(self) -> int:
        return len(self.kept)

    def close(self, code: int, reason: str) -> None:
        self.closed = code, reason

    def let_go(self) -> None:
        """The peer reads again, and takes all that waited in the transport."""
        self.stalled = False
        self.sent += self.kept
        self.kept.clear()

    def heard(self, *types: str) -> list[Document]:
        """The documents that arrived since the last call, those of the given types where there are any."""
        data, self.sent = bytes(self.sent), bytearray()
        found = self.client.read(data)
        return [each for each in found if each["type"] in types] if types else found


class Clock:
    """Time that only the tests move, and what is to be called when."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def __call__(self) -> float:
        return self.now_s

    def schedule(self, after_s: float, call: Callable[[], None]) -> None:
        assert after_s >= 0
        self._count += 1
        heapq.heappush(self._due, (self.now_s + after_s, self._count, call))

    def turn(self) -> None:
        """Call what is due by now; what that schedules for now is for the next turn."""
        now, due = self.now_s, []
        while self._due and self._due[0][0] <= now:
            due.append(heapq.heappop(self._due)[2])
        for call in due:
            call()

    def settle(self) -> None:
        """Call what is due by now until nothing is."""
        while self._due and self._due[0][0] <= self.now_s:
            self.turn()

    def wait(self, seconds: float) -> None:
        """Let time pass, and call what becomes due at its time."""
        until = self.now_s + seconds
        self.settle()
        while self._due and self._due[0][0] <= until:
            self.now_s = max(self.now_s, self._due[0][0])
            self.turn()
        self.now_s = until
        self.settle()
