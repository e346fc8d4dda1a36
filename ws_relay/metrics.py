"""Figures of the relay for Prometheus, pure; never a session's id among them."""

from __future__ import annotations

from collections.abc import Mapping

from hive_session.ondisk.exposition import family, labelled, sessions_family
from hive_session.ondisk.version import VERSION
from ws_relay.counters import Counters

# name: counter, what it says
COUNTED = {
    "hive_relay_messages_sent_total": ("frames_sent", "Messages sent, once for each viewer."),
    "hive_relay_messages_encoded_total": ("frames_encoded", "Messages encoded, once for all viewers of a group."),
    "hive_relay_sent_bytes_total": ("bytes_sent", "Bytes sent, compressed and with the heads of frames."),
    "hive_relay_writes_total": ("writes", "Writes to connections."),
    "hive_relay_deflate_in_bytes_total": ("deflate_in_bytes", "Bytes compressed for whole groups."),
    "hive_relay_deflate_out_bytes_total": ("deflate_out_bytes", "What they were compressed to."),
    "hive_relay_deflate_resets_total": ("deflate_resets", "Beginnings of shared compression contexts."),
    "hive_relay_events_read_bytes_total": ("events_read_bytes", "Bytes of new events, once for all viewers."),
    "hive_relay_events_replayed_bytes_total": ("events_replayed_bytes", "Bytes of events read for one viewer."),
    "hive_relay_events_dropped_bytes_total": ("events_dropped_bytes", "Bytes of events that slow viewers did not get."),
    "hive_relay_gaps_sent_total": ("gaps_sent", "Messages that name what was dropped."),
    "hive_relay_held_total": ("held", "Times that a viewer fell behind."),
    "hive_relay_messages_received_total": ("messages_received", "Messages of viewers."),
    "hive_relay_messages_refused_total": ("messages_refused", "Messages of viewers that were answered with an error."),
}


def exposition(*, sessions: Mapping[str, int], clients: int, refused: int, counters: Counters, deaf: bool) -> bytes:
    """The text format 0.0.4 of Prometheus."""
    closed = {"stuck": counters.closed_stuck, "overflow": counters.closed_overflow, "full": refused}
    dropped = {"conflated": counters.states_conflated}
    lines = [
        *sessions_family(sessions),
        *family("hive_relay_clients", "gauge", "Viewers that are connected.", [("", clients)]),
        *family("hive_relay_turned_away_total", "counter", "Viewers refused or closed.", labelled("reason", closed)),
        *family(
            "hive_relay_messages_dropped_total", "counter", "States newer ones replaced.", labelled("reason", dropped)
        ),
        *family("hive_relay_polling", "gauge", "1 when inotify has no more watches to give.", [("", int(deaf))]),
        *family("hive_build_info", "gauge", "The version that runs.", [(f'{{version="{VERSION}"}}', 1)]),
    ]
    for name, (field, text) in COUNTED.items():
        lines += family(name, "counter", text, [("", getattr(counters, field))])
    return ("\n".join(lines) + "\n").encode()
