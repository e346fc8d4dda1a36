"""Where the real programs are found, and which agent `auto` means."""

from hive_session.programs import has_key


def test_an_empty_key_is_no_key() -> None:
    assert not has_key({"ANTHROPIC_API_KEY": ""})
