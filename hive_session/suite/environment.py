"""What supervisord and its programs are told: one table of variables and how each gets its value; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from hive_session.ondisk.layout import resolve_layout

# Variable -> (default, table and key of the configuration file that set it too)
PORTS: dict[str, tuple[int, str, str]] = {
    "MCP_TCP_PORT": (9500, "mcp_tcp", "port"),
    "MCP_HEALTH_PORT": (9501, "mcp_tcp", "health_port"),
    "MCP_BRIDGE_PORT": (3002, "ws_relay", "port"),
    "CLAUDE_FLOW_TCP_PORT": (9502, "", ""),
    "CLAUDE_FLOW_HEALTH_PORT": (9503, "", ""),
}
NO_PORT = -1  # MCP_HEALTH_PORT alone: no health over HTTP
STEP, STEPS = 10, 30  # where a default is taken: 9510, 9520 … 9800, below all that the kernel gives out by itself

SOCKET = "supervisor.sock"
# sun_path holds 107 bytes and a NUL, and supervisord first makes its socket under this name with .PID behind it.
SOCKET_MAX_BYTES = 107 - len(".4194304")

# What would mark the suite as a part of the session that it was started from.
OF_A_SESSION = (
    "HIVE_SESSION_ID", "HIVE_SESSION_DIR", "HIVE_OUTPUT_DIR", "HIVE_ATTEMPT", "HIVE_MIND_SESSION_ID",
    "HIVE_MIND_OUTPUT_DIR", "HIVE_TAPPED", "CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT",
)  # fmt: skip
# They stand inside double quotes in the files of supervisord, or are expanded twice by it.
UNQUOTABLE = {
    "HIVE_USER": '"%\\\n',
    "HIVE_USER_HOME": '"%\\\n',
    "HIVE_MCP_LOG_DIR": "%\n",
    "HIVE_SUPERVISOR_LOG_DIR": "%\n",
}


class BadValue(ValueError):
    """One sentence: which variable is wrong, and what it must be."""


def resolve_environment(
    env: Mapping[str, str],
    *,
    user: str,
    uid: int,
    home: str,
    bin_dir: str,
    checkout: str,
    claude_flow: bool,
    exists: Callable[[str], bool],
) -> dict[str, str]:
    """The variables of the suite but for its ports, in the order of docs/operations.md; `env` wins over every default.

    `user` with `uid` and `home` is who runs the programs, `checkout` the real path of what this is an installation of,
    `claude_flow` whether that is installed. Raises: BadValue.
    """
    layout = resolve_layout(env, home, exists)
    values = {
        "HIVE_WORKSPACE": layout.workspace,
        "HIVE_LOG_DIR": layout.log_dir,
        "HIVE_OUTPUT_ROOT": layout.output_root,
        "HIVE_USER": user,
        "HIVE_USER_HOME": env.get("HIVE_USER_HOME") or home,
        "HIVE_BIN": env.get("HIVE_BIN") or bin_dir,
        "HIVE_RUN_DIR": env.get("HIVE_RUN_DIR") or _run_dir(layout.workspace, checkout, uid),
        "HIVE_MCP_LOG_DIR": env.get("HIVE_MCP_LOG_DIR") or f"{layout.log_dir}/mcp",
        "HIVE_SUPERVISOR_LOG_DIR": env.get("HIVE_SUPERVISOR_LOG_DIR") or f"{layout.log_dir}/supervisor",
        "HIVE_LOG_FORMAT": env.get("HIVE_LOG_FORMAT") or "json",
        "HIVE_CLEANUP_HOURS": env.get("HIVE_CLEANUP_HOURS") or "24",
        "HIVE_SUITE_CLAUDE_FLOW": env.get("HIVE_SUITE_CLAUDE_FLOW") or ("true" if claude_flow else "false"),
    }
    _check(values)
    return values


def _run_dir(workspace: str, checkout: str, uid: int) -> str:
    """Below the workspace; where a socket's path would be too long there, in /tmp."""
    inside = f"{workspace}/.supervisor/{_digest(checkout)}"
    return inside if _fits(inside) else f"/tmp/hive-suite-{uid}-{_digest(checkout, workspace)}"


def _digest(*words: str) -> str:
    return sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _fits(run_dir: str) -> bool:
    return len(f"{run_dir}/{SOCKET}".encode("utf-8", "surrogateescape")) <= SOCKET_MAX_BYTES


def _check(values: Mapping[str, str]) -> None:
    for name, value in values.items():
        path = name.endswith(("_DIR", "_ROOT", "_HOME", "_BIN", "_WORKSPACE"))
        if path and not value.startswith("/"):
            raise BadValue(f"{name}: {value!r} is not an absolute path")
        if any(each in value for each in UNQUOTABLE.get(name, "")):
            raise BadValue(f"{name}: {value!r} holds a character that supervisord's files cannot carry; name another")
    if not _fits(values["HIVE_RUN_DIR"]):
        raise BadValue(f"HIVE_RUN_DIR: {values['HIVE_RUN_DIR']!r} is too long for a socket; name a shorter one")
    if not _is_hours(values["HIVE_CLEANUP_HOURS"]):
        raise BadValue(f"HIVE_CLEANUP_HOURS: {values['HIVE_CLEANUP_HOURS']!r} is not a number of hours from 0")
    if values["HIVE_SUITE_CLAUDE_FLOW"] not in ("true", "false"):
        raise BadValue(f"HIVE_SUITE_CLAUDE_FLOW: {values['HIVE_SUITE_CLAUDE_FLOW']!r} is not true or false")


def _is_hours(text: str) -> bool:
    """True for what `hive-session cleanup` takes, written in plain digits."""
    return text.isascii() and text.replace(".", "", 1).isdigit() and float(text) <= 1e6


def programs_environment(env: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """All that supervisord is started with: the caller's variables, the suite's, and its own scripts first on PATH."""
    kept = {name: value for name, value in env.items() if name not in OF_A_SESSION}
    who = {"HOME": values["HIVE_USER_HOME"], "USER": values["HIVE_USER"], "LOGNAME": values["HIVE_USER"]}
    path = f"{values['HIVE_BIN']}:{env.get('PATH') or '/usr/bin:/bin'}"
    return {**kept, **values, **who, "PATH": path}


# -- ports -------------------------------------------------------------------------------------------------------------


def given_ports(env: Mapping[str, str], document: Mapping[str, Any]) -> dict[str, int]:
    """The ports that the user set, by variable or in the configuration file; 0 stands for any free one. Raises: BadValue."""
    given = {}
    for name, (_, table, key) in PORTS.items():
        in_file = document.get(table)
        value = env.get(name) or (in_file.get(key) if isinstance(in_file, Mapping) else None)
        if value is not None:
            given[name] = _port(name, value)
    return given


def _port(name: str, value: object) -> int:
    try:
        port = int(value) if isinstance(value, str | int) else NO_PORT - 1
    except ValueError:
        port = NO_PORT - 1
    least = NO_PORT if name == "MCP_HEALTH_PORT" else 0
    if not least <= port <= 65535:
        raise BadValue(f"{name}: {str(value)[:40]!r} must be a whole number from {least} to 65535")
    return port


def plan_ports(
    given: Mapping[str, int], remembered: Mapping[str, int], is_free: Callable[[int], bool], any_free: Callable[[], int]
) -> dict[str, int]:
    """A port for each of PORTS: what the user set, never another; else the last one, the default, one nearby, any."""
    chosen: dict[str, int] = {}
    for name, (default, _, _) in PORTS.items():
        if given.get(name):
            chosen[name] = given[name]
            continue
        wanted = [] if name in given else [default + STEP * step for step in range(STEPS)]
        candidates = [remembered[name], *wanted] if name in remembered else wanted
        taken = {*chosen.values(), *given.values()}
        free = (port for port in candidates if port not in taken and is_free(port))
        chosen[name] = next(free, 0) or any_free()
    return chosen
