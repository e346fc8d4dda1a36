"""The environment of one session: what it owns, what it is told, and what it must not see. Pure.

claude-flow's own switches are not here: cf_wrapper sets them, and everything that runs claude-flow goes through it.
"""

from collections.abc import Mapping

from hive_session.ondisk.layout import Layout, SessionPaths

# The suite's own secrets, and what a session started from inside another one would inherit from it.
WITHHELD = (
    "TCP_AUTH_TOKEN",
    "WS_AUTH_TOKEN",
    "CLAUDECODE",
    "CLAUDE_CODE_ENTRYPOINT",
    "HIVE_TAPPED",
)


def task_placeholder(session_id: str) -> str:
    """What stands for a task that is too long for an argument on its way through claude-flow into Claude's prompt."""
    return f"[[the task of session {session_id}]]"


def session_environment(
    base: Mapping[str, str],
    layout: Layout,
    paths: SessionPaths,
    *,
    attempt: int,
    programs: Mapping[str, str],
    agent_env: Mapping[str, str],
    own_env: Mapping[str, str],
    shares_login: bool,
) -> dict[str, str]:
    """The whole environment of the agent.

    `base` is the caller's, `programs` the HIVE_*_BIN variables, `agent_env` the agent table's, `own_env` from `create --env`
    (it wins over all but the variables that name the session). `shares_login`: Claude Code uses the login in the user's own
    configuration directory, which it then shares with other sessions; otherwise it gets a directory of the session's.
    """
    env = {key: value for key, value in base.items() if key not in WITHHELD}
    env.update(
        TMPDIR=paths.at("tmp"),
        CLAUDE_CODE_TMPDIR=paths.at("tmp"),
        XDG_CACHE_HOME=paths.at("cache"),
        XDG_STATE_HOME=paths.at("state"),
        DISABLE_AUTOUPDATER="1",
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
    )
    if not shares_login:
        env["CLAUDE_CONFIG_DIR"] = paths.at("claude")
    env.update(agent_env)
    env.update(own_env)
    env.update(programs)
    env.update(
        HIVE_WORKSPACE=layout.workspace,
        HIVE_OUTPUT_ROOT=layout.output_root,
        HIVE_LOG_DIR=layout.log_dir,
        HIVE_SESSION_ID=paths.id,
        HIVE_SESSION_DIR=paths.dir,
        HIVE_OUTPUT_DIR=paths.output,
        HIVE_ATTEMPT=str(attempt),
        HIVE_MIND_SESSION_ID=paths.id,  # the two names the original exported
        HIVE_MIND_OUTPUT_DIR=paths.output,
        PATH=f"{paths.bin}:{env.get('PATH') or '/usr/local/bin:/usr/bin:/bin'}",
    )
    return env
