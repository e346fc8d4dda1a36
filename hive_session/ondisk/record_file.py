"""Reads a session.json as a server does that others can put anything before: bounded, and only the session's own."""

import os

from hive_session.ondisk.follow import open_file
from hive_session.ondisk.layout import SessionPaths
from hive_session.ondisk.records import MAX_RECORD_BYTES, BadRecord, SessionRecord, decode_session


def read_record(paths: SessionPaths) -> SessionRecord:
    """The record of a session as it is on disk. Raises: OSError, BadRecord."""
    with open(paths.record, "rb", buffering=0, opener=open_file) as file:
        if (size := os.fstat(file.fileno()).st_size) > MAX_RECORD_BYTES:
            raise BadRecord(paths.record, f"{size} bytes; a record has at most {MAX_RECORD_BYTES}")
        record = decode_session(file.readall(), paths.record)
    if record.session_id != paths.id:
        raise BadRecord(paths.record, f"it is the record of {record.session_id}")
    return record
