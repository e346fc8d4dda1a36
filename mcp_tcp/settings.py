"""What mcp-tcp can be told: by flag, then environment, then the table [mcp_tcp] of the configuration file; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT_FILE = "/etc/hive/hive.toml"
TABLE = "mcp_tcp"
MIB = 1 << 20


class BadSetting(ValueError):
    """One sentence: which setting from where is wrong, and what it must be."""


class BadFlag(BadSetting):
    """The same, of a flag."""


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
    insecure: bool = False  # without a token, and not on loopback alone
    conformance: bool = False  # serves the fixtures of the conformance suite

    @property
    def host(self) -> str:
        """The address to listen on: without a token loopback alone, whatever `bind` says."""
        return self.bind if self.token or self.insecure or is_loopback(self.bind) else "127.0.0.1"


def is_loopback(host: str) -> bool:
    """True for an address that only this machine reaches."""
    address = host.isascii() and host.replace(".", "").isdecimal()  # and no name that begins like one
    return host in ("localhost", "::1") or (address and host.startswith("127."))


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        try:
            number = int(value) if isinstance(value, str) else value
        except ValueError:
            number = None
        if type(number) is not int or not least <= number <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return number

    return read


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text")
    return value


def _seconds(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if isinstance(value, bool) or not 0 <= number < 1e6:
        raise ValueError("must be a number of seconds from 0")
    return number


# field -> (environment variable, how a value is read); the key in the file is the field's name
SETTINGS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "port": ("MCP_TCP_PORT", _whole(0, 65535)),
    "health_port": ("MCP_HEALTH_PORT", _whole(-1, 65535)),
    "bind": ("HIVE_BIND", _text),
    "token": ("TCP_AUTH_TOKEN", _text),
    "max_connections": ("TCP_MAX_CONNECTIONS", _whole(1, 100_000)),
    "max_request_bytes": ("MAX_REQUEST_SIZE", _whole(1024, 1 << 30)),
    "linger_s": ("MCP_LINGER_S", _seconds),
}


def resolve_settings(
    flags: Mapping[str, Any], env: Mapping[str, str], file_text: str | None, file_path: str
) -> Settings:
    """The settings of one start; flags that were not given are None. Raises: BadSetting."""
    table = _table(file_text, file_path)
    values: dict[str, Any] = {}
    for name, (variable, read) in SETTINGS.items():
        given = [
            (table.pop(name, None), f"{file_path}: {TABLE}.{name}"),
            (env.get(variable) or None, variable),
            (flags.get(name), f"--{name.replace('_', '-')}"),
        ]
        for value, source in given:
            if value is not None:
                values[name] = _read(read, value, source, secret=name == "token")
    if table:
        known = ", ".join(SETTINGS)
        raise BadSetting(f"{file_path}: no such key: {TABLE}.{min(table)}; known keys: {known}")
    return Settings(insecure=bool(flags.get("insecure")), conformance=bool(flags.get("conformance")), **values)


def _read(read: Callable[[Any], Any], value: Any, source: str, *, secret: bool) -> Any:
    try:
        return read(value)
    except ValueError as exc:
        shown = "" if secret else f" {ascii(value)[:40]}"
        kind = BadFlag if source.startswith("--") else BadSetting
        raise kind(f"{source}:{shown} {exc}") from None


def _table(text: str | None, path: str) -> dict[str, Any]:
    if text is None:
        return {}
    import tomllib  # here, not above: most starts have no file

    try:
        table = tomllib.loads(text).get(TABLE, {})
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as exc:
        raise BadSetting(f"{path}: not TOML: {exc}") from None
    if not isinstance(table, dict):
        raise BadSetting(f"{path}: {TABLE} is not a table; write [{TABLE}]")
    return dict(table)
