"""States of sessions as documents: what changed, for a subscription."""

from __future__ import annotations

from collections.abc import Callable

from hive_session.ondisk.sessions import Sessions
from ws_relay import messages
from ws_relay.outbox import Dirty
from ws_relay.positions import Ground
from ws_relay.subscription import Subscription


class Scribe:
    """Writes down what sessions look like now."""

    def __init__(self, sessions: Sessions, now_ms: Callable[[], int]) -> None:
        self.sessions = sessions
        self.now_ms = now_ms
        self.ground = Ground()

    def loaded(self, session_id: str) -> bool:
        """False while telemetry has to be read first, of which one slice was read now; of one that is gone, True."""
        session = self.sessions.by_id.get(session_id)
        return session is None or session.hive is not None or self.sessions.loaded(session)

    def state(self, session_id: str, dirty: Dirty, subscription: Subscription) -> list[bytes]:
        """The newest state, as far as it changed; nothing of a session that is gone or that is not wanted any more."""
        session = self.sessions.by_id.get(session_id)
        if session is None or not subscription.wants(session.card):
            return []
        agents = session.hive.agents if session.hive else {}
        formation = self.ground.formation(session)
        changed = None if dirty.agents is None else [name for name in dirty.agents if name in agents]
        formation.follow(agents, agents if changed is None else changed)
        now_ms = self.now_ms()
        spawned, written = dirty.spawned, dirty.messages
        found = [messages.update(session, formation, changed, subscription, now_ms, spawned=spawned, messages=written)]
        shape = messages.topology(session, spawned, written, subscription, now_ms)
        return found if shape is None else [*found, shape]
