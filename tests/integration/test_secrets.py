"""Where a session's secrets are: with their owner and with the agent, and nowhere else."""

from pathlib import Path

from tests.integration.console import Console

AGENT = """
[agents.teller]
argv = ["sh", "-c", "env; sleep 0.1"]
"""
TOKENS = {"TCP_AUTH_TOKEN": "t0ken-of-mcp", "WS_AUTH_TOKEN": "t0ken-of-the-relay"}


def files_with(root: Path, secret: str) -> list[str]:
    """The names of all files below `root` that hold `secret`."""
    return [path.name for path in root.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_a_variable_of_a_session_is_in_its_own_file_alone(console: Console) -> None:
    session_id = (
        console.answer("create", "--agent", "rehearsal", "--env", "KEY=s3cret-of-a-session", "x").decode().strip()
    )
    assert console.do("start", session_id, "--seconds", "0").returncode == 0
    assert files_with(console.root, "s3cret-of-a-session") == ["env.json"]


def test_an_agent_does_not_find_the_suite_s_tokens_in_its_environment(console: Console) -> None:
    console.config.write_text(AGENT, encoding="utf-8")
    session_id = console.answer("create", "--agent", "teller", "x").decode().strip()
    done = console.do("start", session_id, env=TOKENS)
    assert f"HIVE_SESSION_ID={session_id}\n".encode() in done.stdout
    assert [secret for secret in TOKENS.values() if secret.encode() in done.stdout] == []
    assert [files_with(console.root, secret) for secret in TOKENS.values()] == [[], []]
