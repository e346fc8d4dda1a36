"""What the relay has done since it started, for /metrics; plain numbers that only grow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Frames and bytes as they went to wires; events by the bytes they take in telemetry files."""

    frames_sent: int = 0
    bytes_sent: int = 0  # after compression, with the frames' heads
    writes: int = 0  # each of one frame or several
    frames_encoded: int = 0  # once for a group, however many get them
    deflate_in_bytes: int = 0  # into shared contexts
    deflate_out_bytes: int = 0
    deflate_resets: int = 0
    events_read_bytes: int = 0  # new ones, once for all viewers
    events_replayed_bytes: int = 0
    events_dropped_bytes: int = 0
    gaps_sent: int = 0
    states_conflated: int = 0
    held: int = 0  # times that a viewer fell behind
    closed_stuck: int = 0
    closed_overflow: int = 0
    messages_received: int = 0
    messages_refused: int = 0
