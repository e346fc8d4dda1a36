"""Who may import whom, read from the syntax trees; and constants that two packages hold, which must be equal."""

from cf_wrapper import plan
from hive_session.ondisk import layout


def test_the_wrapper_and_the_layout_name_the_same_places() -> None:
    assert plan.SWARM == layout.SWARM
