"""RFC 6455 text frames and the deflate context that many clients share; pure.

A server does not mask, so one frame's bytes are right for every client. With permessage-deflate (RFC 7692) each client's
inflater remembers the last 32 KiB that it was sent compressed. A compressor may therefore be shared by those who get every
frame of it, from its first one on. That first one refers to nothing before it, so it does not matter what they got earlier.
"""

from __future__ import annotations

import zlib

TEXT = 0x81  # FIN and the opcode of text
TEXT_DEFLATED = 0xC1  # and RSV1: the payload is deflated (RFC 7692, 6)
WINDOW_BITS = -15  # raw deflate with the window that is negotiated where nobody asks for another
LEVEL = 9  # each frame is compressed once for all, so what it saves on the wire is worth it
EMPTY_BLOCK = b"\x00\x00\xff\xff"  # ends each flush; RFC 7692, 7.2.1 has it left out
WORTH_DEFLATING_BYTES = 256  # shorter ones gain nothing from a compressor of their own


def text_frame(payload: bytes) -> bytes:
    """A whole text message in one unmasked frame; `payload` is UTF-8."""
    return _head(TEXT, len(payload)) + payload


def deflated_frame(payload: bytes) -> bytes:
    """The same, compressed by itself: every client that takes deflate with a 15-bit window can read it, whatever it got before."""
    return SharedDeflate().compress(payload)


def lone_frame(payload: bytes, deflate: bool) -> bytes:
    """The frame for one client: compressed by itself where the client takes that and it is worth it."""
    return deflated_frame(payload) if deflate and len(payload) >= WORTH_DEFLATING_BYTES else text_frame(payload)


class SharedDeflate:
    """One compressor for all clients that have got each of its frames since `fresh`."""

    def __init__(self) -> None:
        self.fresh()

    def fresh(self) -> None:
        """Begin anew, so that anybody can join with the next frame."""
        self._compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, WINDOW_BITS)

    def compress(self, payload: bytes) -> bytes:
        """The next frame."""
        body = self._compressor.compress(payload) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        body = body.removesuffix(EMPTY_BLOCK)
        return _head(TEXT_DEFLATED, len(body)) + body


def _head(first: int, length: int) -> bytes:
    """The head of a frame (RFC 6455, 5.2)."""
    if length < 126:
        return bytes((first, length))
    if length < 1 << 16:
        return bytes((first, 126)) + length.to_bytes(2)
    return bytes((first, 127)) + length.to_bytes(8)
