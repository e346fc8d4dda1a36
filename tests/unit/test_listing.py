"""Which rows `ls` shows, and what `list` repairs."""

import hive_session.listing


def test_the_module_says_what_it_is_for() -> None:
    assert hive_session.listing.__doc__
