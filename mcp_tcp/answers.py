"""Encoded answers about one session, kept for as long as they are true."""

from __future__ import annotations

from hive_session.ondisk.sessions import Session

MAX_BYTES = 6 << 20
TICK_MS = 100  # what is said of a session that runs holds for so long: it tells how long something has lasted


class Answers:
    """Answers by tool and session. What does not run has no clock: its answer holds until something changes on disk."""

    __slots__ = ("_bytes", "_kept")

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[Session, int, int, bytes]] = {}  # with its revision and its tick
        self._bytes = 0

    def get(self, tool: str, session: Session, now_ms: int) -> bytes | None:
        """The answer, where it would be the same if it were made now; but for a tenth of a second of running time."""
        kept = self._kept.get((tool, session.card.id))
        if kept is None or kept[0] is not session or kept[1] != session.revision:
            return None
        return kept[3] if kept[2] == _tick(session, now_ms) else None

    def put(self, tool: str, session: Session, now_ms: int, answer: bytes) -> None:
        """Keep an answer; the oldest ones go where there are too many."""
        key = tool, session.card.id
        before = self._kept.pop(key, None)
        self._bytes += len(answer) - (len(before[3]) if before else 0)
        self._kept[key] = (session, session.revision, _tick(session, now_ms), answer)
        while self._bytes > MAX_BYTES:
            self._bytes -= len(self._kept.pop(next(iter(self._kept)))[3])


def _tick(session: Session, now_ms: int) -> int:
    return now_ms // TICK_MS if session.card.live else -1
