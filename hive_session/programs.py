"""Where the real claude-flow and Claude Code are on this machine, and whether somebody is logged in."""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from hive_session.config import Config

CLAUDE_FLOW_ENTRIES = ("bin/cli.js", "bin/claude-flow.js")  # 3.x, 2.x
LOGIN_VARIABLES = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Absolute paths, None where there is none."""

    claude_flow: str | None
    claude: str | None
    rehearsal: str
    tap: str
    wrapper: str
    claude_flow_major: int = 3


def find_programs(config: Config, env: Mapping[str, str]) -> Programs:
    """Look where HIVE_CLAUDE_FLOW_BIN and HIVE_CLAUDE_BIN say, then where bin/setup installs, then on PATH."""
    scripts = f"{sys.prefix}/bin"
    wrapper, tap = f"{scripts}/claude-flow", f"{scripts}/hive-tap"
    package = f"{sys.prefix}/node/node_modules/claude-flow"
    installed = [f"{package}/{entry}" for entry in CLAUDE_FLOW_ENTRIES]
    claude_flow = config.claude_flow_bin or _first([*installed, *_on_path("claude-flow", env)], not_this=wrapper)
    claude = config.claude_bin or _first(_on_path("claude", env), not_this=tap)
    return Programs(
        claude_flow=claude_flow,
        claude=claude,
        rehearsal=f"{scripts}/hive-rehearsal",
        tap=tap,
        wrapper=wrapper,
        claude_flow_major=_major(claude_flow),
    )


def _on_path(name: str, env: Mapping[str, str]) -> list[str]:
    return [f"{entry}/{name}" for entry in env.get("PATH", "").split(":") if entry.startswith("/")]


def _first(candidates: list[str], *, not_this: str) -> str | None:
    """The first executable that is not our own stand-in for it."""
    own = os.path.realpath(not_this)
    for path in candidates:
        if os.access(path, os.X_OK) and os.path.isfile(path) and os.path.realpath(path) != own and not _is_ours(path):
            return path
    return None


def _is_ours(path: str) -> bool:
    """True for another installation's console script of the wrapper or the tap, which everybody may read."""
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError:
        return False
    return b"cf_wrapper" in head or b"hive_session" in head


def _major(claude_flow: str | None) -> int:
    """The major version in the package.json beside the program; 3 where that cannot be told."""
    if claude_flow is None:
        return 3
    package = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(claude_flow))), "package.json")
    try:
        with open(package, encoding="utf-8") as file:
            found = re.search(r'"version"\s*:\s*"(\d+)\.', file.read())
    except (OSError, UnicodeDecodeError):
        return 3
    return int(found[1]) if found else 3


def choose_agent(programs: Programs, *, logged_in: bool, is_root: bool) -> tuple[str, str]:
    """(agent, why) for `--agent auto`: claude-flow where all it takes is there, else the rehearsal. `why` is for people."""
    lacks = []
    if programs.claude_flow is None:
        lacks.append("claude-flow    install npm, then run bin/setup again")
    if programs.claude is None:
        lacks.append("Claude Code    npm install -g @anthropic-ai/claude-code")
    if not logged_in:
        lacks.append("a login        run claude once, or set ANTHROPIC_API_KEY")
    if is_root:
        lacks.append("another user   Claude Code refuses root: set HIVE_USER, or do not be root")
    if not lacks:
        return "claude-flow", "claude-flow with Claude Code does the work"
    played = "No model is involved: the embedded rehearsal plays a hive. What the real thing lacks here:"
    return "rehearsal", "\n  ".join([played, *lacks])


def has_key(env: Mapping[str, str]) -> bool:
    """True when the environment alone lets Claude Code reach a model."""
    return any(env.get(name) for name in LOGIN_VARIABLES)


def has_login(env: Mapping[str, str], home: str) -> bool:
    """True when somebody is logged in to Claude Code: by environment, or in its configuration directory."""
    return has_key(env) or os.path.exists(f"{env.get('CLAUDE_CONFIG_DIR') or home + '/.claude'}/.credentials.json")
