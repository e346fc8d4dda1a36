"""Everything that can be configured, resolved once from the environment and one TOML file into a frozen Config."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hive_session.errors import BadConfig
from hive_session.ondisk.layout import Layout, resolve_layout
from hive_session.words import one_line

DEFAULT_FILE = "/etc/hive/hive.toml"
LOG_MAX_BYTES = 50 * 1024 * 1024
LOG_BACKUPS = 5
STOP_GRACE_S = 8.0  # below the 10 s that Docker gives a container to stop


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandAgent:
    """An agent from the file: `[agents.NAME]`. `{…}` is replaced inside its one argv element; no shell sees it."""

    name: str
    argv: tuple[str, ...]
    stdin: str = "null"  # "null", or "task": the task comes on standard input
    env: Mapping[str, str] = field(default_factory=dict)
    runs_claude: bool = False  # its outcome is that of the Claude Code it runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What hive-session goes by; each value from environment, then file, then default."""

    layout: Layout
    user: str | None = None  # HIVE_USER, never from a file: it decides where everything is. None: `dev` where it exists
    default_agent: str = "claude-flow"
    max_concurrent: int = 0  # sessions that run at once; 0: no limit
    stop_grace_s: float = STOP_GRACE_S
    log_max_bytes: int = LOG_MAX_BYTES
    log_backups: int = LOG_BACKUPS
    claude_bin: str | None = None
    claude_flow_bin: str | None = None
    agents: Mapping[str, CommandAgent] = field(default_factory=dict)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("is not a text")
    return value


def _absolute(value: Any) -> str:
    if not _text(value).startswith("/"):
        raise ValueError("is not an absolute path")
    return str(value)


def _count(value: Any) -> int:
    number = int(value) if isinstance(value, str) else value
    if type(number) is not int or number < 0:
        raise ValueError("is not a whole number from 0")
    return number


def _seconds(value: Any) -> float:
    number = float(value) if not isinstance(value, bool) else -1.0
    if not 0 <= number < 1e9:
        raise ValueError("is not a number of seconds from 0")
    return number


NEIGHBOURS = ("mcp_tcp", "ws_relay")  # tables of the same file that other programs of the suite read
PATHS = ("HIVE_WORKSPACE", "HIVE_OUTPUT_ROOT", "HIVE_LOG_DIR")  # session.json promises absolute ones

# field of Config -> (environment variable, key in the file, how a value is read)
SETTINGS: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "default_agent": ("HIVE_AGENT", "default_agent", _text),
    "max_concurrent": ("MAX_CONCURRENT_SESSIONS", "max_concurrent_sessions", _count),
    "stop_grace_s": ("HIVE_STOP_GRACE_S", "stop_grace_s", _seconds),
    "log_max_bytes": ("HIVE_LOG_MAX_BYTES", "log_max_bytes", _count),
    "log_backups": ("HIVE_LOG_BACKUPS", "log_backups", _count),
    "claude_bin": ("HIVE_CLAUDE_BIN", "claude_bin", _absolute),
    "claude_flow_bin": ("HIVE_CLAUDE_FLOW_BIN", "claude_flow_bin", _absolute),
}


def resolve_config(
    env: Mapping[str, str], file_text: str | None, file_path: str, home: str, exists: Callable[[str], bool]
) -> Config:
    """The Config that `env` and the TOML text describe. Raises: BadConfig, naming key and source, for anything wrong."""
    for variable in PATHS:
        if env.get(variable):
            _read(_absolute, env[variable], variable)
    document = _parse(file_text, file_path)
    agents = _read_agents(document.pop("agents", {}), file_path)
    for table in NEIGHBOURS:
        document.pop(table, None)
    values: dict[str, Any] = {}
    for name, (variable, key, read) in SETTINGS.items():
        if key in document:
            values[name] = _read(read, document.pop(key), f"{file_path}: {key}")
        if env.get(variable):
            values[name] = _read(read, env[variable], variable)
    if document:
        known = ", ".join(sorted(key for _, key, _ in SETTINGS.values()))
        raise BadConfig(f"{file_path}: no such key: {sorted(document)[0]}", f"known keys: {known}, [agents.NAME]")
    return Config(user=env.get("HIVE_USER") or None, layout=resolve_layout(env, home, exists), agents=agents, **values)


def _parse(text: str | None, path: str) -> dict[str, Any]:
    if text is None:
        return {}
    import tomllib

    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as exc:
        raise BadConfig(f"{path}: not TOML: {exc}") from None


def _read(read: Callable[[Any], Any], value: Any, source: str) -> Any:
    try:
        return read(value)
    except (ValueError, TypeError, OverflowError) as exc:
        reason = str(exc) if str(exc).startswith("is ") else "is not a number"
        raise BadConfig(f"{source}: {one_line(repr(value), 40)} {reason}") from None


def _read_agents(table: Any, path: str) -> dict[str, CommandAgent]:
    if not isinstance(table, dict):
        raise BadConfig(f"{path}: agents is not a table", "write [agents.NAME]")
    return {name: _read_agent(name, value, f"{path}: agents.{name}") for name, value in table.items()}


def _read_agent(name: str, value: Any, where: str) -> CommandAgent:
    if not isinstance(value, dict):
        raise BadConfig(f"{where} is not a table")
    if unknown := sorted(set(value) - {"argv", "stdin", "env", "runs_claude"}):
        raise BadConfig(f"{where}: no such key: {unknown[0]}", "known keys: argv, stdin, env, runs_claude")
    argv = value.get("argv")
    if not isinstance(argv, list) or not all(map(_passes_exec, argv)) or not argv or not argv[0]:
        raise BadConfig(f"{where}: argv is not a list of texts", 'write argv = ["prog", "{task}"]')
    env = value.get("env", {})
    if not isinstance(env, dict) or not all(_passes_exec(text) for pair in env.items() for text in pair):
        raise BadConfig(f"{where}: env is not a table of texts")
    if wrong := [key for key in env if not key or "=" in key]:
        raise BadConfig(f"{where}: env: {wrong[0]!r} is not the name of a variable")
    stdin, runs_claude = value.get("stdin", "null"), value.get("runs_claude", False)
    if stdin not in ("null", "task"):
        raise BadConfig(f"{where}: stdin is {stdin!r}", 'write "null" or "task"')
    if not isinstance(runs_claude, bool):
        raise BadConfig(f"{where}: runs_claude is not true or false")
    return CommandAgent(name=name, argv=tuple(argv), stdin=stdin, env=env, runs_claude=runs_claude)


def _passes_exec(value: Any) -> bool:
    """True for a text that execve(2) takes."""
    return isinstance(value, str) and "\0" not in value
