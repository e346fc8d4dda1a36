"""Bytes in pieces of any size -> whole lines, byte for byte, with a limit on their length."""

from __future__ import annotations


class LineSplitter:
    """Splits a byte stream at its line feeds; performs no I/O and looks at no byte twice."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = bytearray()
        self._skipping = False
        self.too_long = 0  # lines dropped because they were longer than `max_bytes`

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, each with its line feed; one that is too long is dropped and counted."""
        *ended, rest = data.split(b"\n")
        lines = [line for piece in ended if (line := self._end(piece))]
        self._hold(rest)
        return lines

    def rest(self) -> bytes:
        """What came after the last line feed, for when the stream has ended; afterwards nothing is held."""
        rest = bytes(self._held)
        self._held.clear()
        return rest

    def _end(self, piece: bytes) -> bytes:
        self._hold(piece)
        if self._skipping:
            self._skipping = False
            return b""
        return self.rest() + b"\n"

    def _hold(self, piece: bytes) -> None:
        if self._skipping:
            return
        self._held += piece
        if len(self._held) > self._max_bytes:
            self._held.clear()
            self._skipping = True
            self.too_long += 1
