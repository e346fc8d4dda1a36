"""How a server is told what to do: by flag, then environment, then its table of the configuration file; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

DEFAULT_FILE = "/etc/hive/hive.toml"

Read = Callable[[Any], Any]  # a value as it was given -> as it is used. Raises: ValueError that says what it must be
Known = Mapping[
    str, tuple[str, Read]
]  # the key in the file, which with dashes is the flag -> the variable, and the rest


class BadSetting(ValueError):
    """One sentence: which setting from where is wrong, and what it must be."""


class BadFlag(BadSetting):
    """The same, of a flag."""


def is_loopback(host: str) -> bool:
    """True for an address that only this machine reaches."""
    address = host.isascii() and host.replace(".", "").isdecimal()  # and no name that begins like one
    return host in ("localhost", "::1") or (address and host.startswith("127."))


def address_to_serve(bind: str, *, token: str, trusted: bool) -> str:
    """The address to listen on: without a token or a reason to trust who comes loopback alone, whatever `bind` says."""
    return bind if token or trusted or is_loopback(bind) else "127.0.0.1"


def whole(least: int, most: int) -> Callable[[Any], int]:
    """How a whole number from `least` to `most` is read."""

    def read(value: Any) -> int:
        try:
            number = int(value) if isinstance(value, str) else value
        except ValueError:
            number = None
        if type(number) is not int or not least <= number <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return number

    return read


def text(value: Any) -> str:
    """How a text is read."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text")
    return value


def switch(value: Any) -> bool:
    """How something that is on or off is read."""
    if isinstance(value, bool):
        return value
    if value not in ("true", "false"):
        raise ValueError("must be true or false")
    return bool(value == "true")


def seconds(value: Any) -> float:
    """How a time is read."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if isinstance(value, bool) or not 0 <= number < 1e6:
        raise ValueError("must be a number of seconds from 0")
    return number


def resolve(
    table: str, known: Known, flags: Mapping[str, Any], env: Mapping[str, str], file_text: str | None, file_path: str
) -> dict[str, Any]:
    """What was given, by key; flags that were not given are None. The key `token` is never told. Raises: BadSetting."""
    in_file = _table(table, file_text, file_path)
    values: dict[str, Any] = {}
    for name, (variable, read) in known.items():
        given = [
            (in_file.pop(name, None), f"{file_path}: {table}.{name}"),
            (env.get(variable) or None, variable),
            (flags.get(name), f"--{name.replace('_', '-')}"),
        ]
        for value, source in given:
            if value is not None:
                values[name] = _read(read, value, source, secret=name == "token")
    if in_file:
        raise BadSetting(f"{file_path}: no such key: {table}.{min(in_file)}; known keys: {', '.join(known)}")
    return values


def _read(read: Read, value: Any, source: str, *, secret: bool) -> Any:
    try:
        return read(value)
    except ValueError as exc:
        shown = "" if secret else f" {ascii(value)[:40]}"
        kind = BadFlag if source.startswith("--") else BadSetting
        raise kind(f"{source}:{shown} {exc}") from None


def _table(name: str, file_text: str | None, path: str) -> dict[str, Any]:
    if file_text is None:
        return {}
    import tomllib  # here, not above: most starts have no file

    try:
        table = tomllib.loads(file_text).get(name, {})
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as exc:
        raise BadSetting(f"{path}: not TOML: {exc}") from None
    if not isinstance(table, dict):
        raise BadSetting(f"{path}: {name} is not a table; write [{name}]")
    return dict(table)
