"""From a task to the argvs that carry it out."""

from hive_session.agents import fill


def test_an_unknown_placeholder_stays_as_it_is() -> None:
    assert fill("{nobody}", {"task": "x"}) == "{nobody}"
