"""What a session's agent finds in its environment, and what is withheld from it."""

from hive_session.isolation import task_placeholder


def test_the_placeholder_of_a_task_names_its_session() -> None:
    assert "abc" in task_placeholder("abc")
