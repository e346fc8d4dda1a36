"""Which sessions cleanup takes."""

import hive_session.cleanup


def test_the_module_says_what_it_is_for() -> None:
    assert hive_session.cleanup.__doc__
