"""What `create` accepts: tasks, metadata, NAME=VALUE words, keys."""

from hive_session.create import decode_metadata


def test_no_metadata_is_none() -> None:
    assert decode_metadata(None) is None
