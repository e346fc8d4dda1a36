"""What mcp-tcp can be told: by flag, then environment, then the table [mcp_tcp] of the configuration file; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hive_session.ondisk.settings import Known, address_to_serve, resolve, seconds, switch, text, whole

TABLE = "mcp_tcp"
MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one server runs. Port 0 takes a free one; a health port of -1 is none."""

    port: int = 9500
    health_port: int = 9501
    bind: str = "127.0.0.1"
    token: str = ""  # "" lets everybody in, from this machine
    max_connections: int = 50
    max_request_bytes: int = MIB
    linger_s: float = 2.0  # of a connection that never said what it speaks, after its last answer; 0: for ever
    trust_network: bool = False  # whoever comes to `bind` comes from this machine, such as through a container's port
    insecure: bool = False  # without a token, and not on loopback alone
    conformance: bool = False  # serves the fixtures of the conformance suite

    @property
    def host(self) -> str:
        """The address to listen on: without a token loopback alone, whatever `bind` says."""
        return address_to_serve(self.bind, token=self.token, trusted=self.trust_network or self.insecure)


SETTINGS: Known = {
    "port": ("MCP_TCP_PORT", whole(0, 65535)),
    "health_port": ("MCP_HEALTH_PORT", whole(-1, 65535)),
    "bind": ("HIVE_BIND", text),
    "trust_network": ("HIVE_TRUST_NETWORK", switch),
    "token": ("TCP_AUTH_TOKEN", text),
    "max_connections": ("TCP_MAX_CONNECTIONS", whole(1, 100_000)),
    "max_request_bytes": ("MAX_REQUEST_SIZE", whole(1024, 1 << 30)),
    "linger_s": ("MCP_LINGER_S", seconds),
}


def resolve_settings(
    flags: Mapping[str, Any], env: Mapping[str, str], file_text: str | None, file_path: str
) -> Settings:
    """The settings of one start; flags that were not given are None. Raises: BadSetting."""
    values = resolve(TABLE, SETTINGS, flags, env, file_text, file_path)
    return Settings(insecure=bool(flags.get("insecure")), conformance=bool(flags.get("conformance")), **values)
