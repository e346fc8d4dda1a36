"""Who is let in: the token of a request compared in constant time, and those who guess kept waiting."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from hive_session.ondisk.tokens import Failures, token_matches
from mcp_tcp.client import Client

log = logging.getLogger(__name__)

AUTHENTICATE = ("authenticate", "auth")


class Door:
    """Admits clients. Without a token everybody is in."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._failures = Failures()

    @property
    def open(self) -> bool:
        """True where no token is needed."""
        return not self._token

    async def admit(self, client: Client, token: Any) -> bool:
        """True, and the client is in, when the token is right. After ten bad ones its address waits for each answer."""
        delay_s = self._failures.delay_s(client.address, time.monotonic())
        if delay_s:
            await asyncio.sleep(delay_s)
        if self.open or token_matches(token, self._token):
            self._failures.succeeded(client.address)
            client.admitted = True
        else:
            self._failures.failed(client.address, time.monotonic())
            log.warning("a bad token from %s", client.address)
        return client.admitted


def token_of(method: str, params: Mapping[str, Any]) -> Any:
    """The token that a request brings: in params of `authenticate`, else in `_meta`; None when it brings none."""
    if method in AUTHENTICATE:
        return params.get("token")
    meta = params.get("_meta")
    return meta.get("token") if type(meta) is dict else None
