"""What ws-relay can be told: by flag, then environment, then the table [ws_relay] of the configuration file; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hive_session.ondisk.settings import Known, address_to_serve, resolve, switch, text, whole

TABLE = "ws_relay"
ORIGIN = re.compile(r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")  # RFC 6454 6.2, as browsers write it


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one relay runs. Port 0 takes a free one."""

    port: int = 3002
    bind: str = "127.0.0.1"
    token: str = ""  # "" lets everybody in, from this machine
    max_connections: int = 100  # viewers; requests over HTTP are counted apart
    allowed_origins: tuple[str, ...] = ()  # of pages that are not ours, such as https://example.org
    max_bytes_per_s: int | None = (
        None  # to each viewer that asks for no limit of its own, or a higher one; None: no limit
    )
    ping_s: int = 20  # between pings, and to answer one: a viewer that does not is gone
    trust_network: bool = False  # whoever comes to `bind` comes from this machine, such as through a container's port
    insecure: bool = False  # without a token, and not on loopback alone
    echo: bool = False  # serves ECHO_PATH to the Autobahn test suite

    @property
    def host(self) -> str:
        """The address to listen on: without a token loopback alone, whatever `bind` says."""
        return address_to_serve(self.bind, token=self.token, trusted=self.trust_network or self.insecure)


def _origins(value: Any) -> tuple[str, ...]:
    """A list, or a text with commas."""
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise ValueError("must be origins with commas between them, such as https://example.org")
    origins = tuple(each.strip().rstrip("/").lower() for each in given if each.strip())
    for each in origins:
        if not ORIGIN.fullmatch(each):
            raise ValueError(f"holds {ascii(each)[:60]}, which is no origin; write it as https://example.org:8443")
    return origins


SETTINGS: Known = {
    "port": ("MCP_BRIDGE_PORT", whole(0, 65535)),
    "bind": ("HIVE_BIND", text),
    "trust_network": ("HIVE_TRUST_NETWORK", switch),
    "token": ("WS_AUTH_TOKEN", text),
    "max_connections": ("WS_MAX_CONNECTIONS", whole(1, 100_000)),
    "allowed_origins": ("WS_ALLOWED_ORIGINS", _origins),
    "max_bytes_per_s": ("WS_MAX_BYTES_PER_S", whole(1000, 1_000_000_000)),
    "ping_s": ("WS_PING_S", whole(1, 3600)),
}


def resolve_settings(
    flags: Mapping[str, Any], env: Mapping[str, str], file_text: str | None, file_path: str
) -> Settings:
    """The settings of one start; flags that were not given are None. Raises: BadSetting."""
    values = resolve(TABLE, SETTINGS, flags, env, file_text, file_path)
    return Settings(insecure=bool(flags.get("insecure")), echo=bool(flags.get("echo")), **values)
