"""A session's log read by log offset over its rotated parts."""

from hive_session.ondisk.log import Base, decode_base


def test_what_is_no_base_is_that_of_a_log_never_rotated() -> None:
    found = decode_base(b"nonsense")
    assert (found.moved, found.leaving, found.mark) == (Base().moved, Base().leaving, Base().mark)
