"""How figures read to people."""

from hive_session.words import duration


def test_a_duration_never_reads_as_negative() -> None:
    assert duration(-5) == "0 s"
