"""The configuration: environment, then file, then default; anything wrong is named."""

from hive_session.config import resolve_config


def test_a_variable_wins_over_the_file() -> None:
    config = resolve_config({"HIVE_AGENT": "claude"}, 'default_agent = "rehearsal"', "f", "/home/a", lambda _: False)
    assert config.default_agent == "claude"
