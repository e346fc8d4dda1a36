"""What is remembered of one client between its messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mcp_tcp.eras import BARE, Era


@dataclass(frozen=True, slots=True)
class Listen:
    """What one subscriptions/listen was granted."""

    uris: tuple[str, ...]
    list_changes: bool  # to hear of sessions that come and go


@dataclass(eq=False, slots=True)
class Client:
    """One connection as the methods see it.

    `notify` sends it a line when it can (see subscriptions.Listener), `cancel` gives up the answer to a request.
    """

    notify: Callable[[object, bytes], None]
    cancel: Callable[[Any], None]
    address: str = ""
    admitted: bool = True  # no token is needed, or it was right
    era: Era = BARE
    uris: set[str] = field(default_factory=set)  # subscribed to, up to 2025-11-25
    listens: dict[Any, Listen] = field(default_factory=dict)  # open requests of 2026-07-28 by id

    @property
    def stays(self) -> bool:
        """True when it has said what it speaks, or waits for news: no passing netcat."""
        return self.era.introduced or bool(self.uris)

    def subscriptions(self) -> int:
        """How much it wants to hear of."""
        return len(self.uris) + sum(len(listen.uris) + 1 for listen in self.listens.values())
