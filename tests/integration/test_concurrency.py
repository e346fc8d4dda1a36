"""Many processes on one registry: nothing is lost, whoever reads always reads a whole document, nobody waits for long."""

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.integration.console import SCRIPT, Console

WRITER = """
import json, sys, time
from hive_session.create import CreateRequest, create_session
from hive_session.ondisk.layout import Layout
from hive_session.store import Store
store = Store(Layout(*sys.argv[1:4]), time.time)
request = CreateRequest(task="work", agent="claude-flow")
print("ready", flush=True)
sys.stdin.read()
for _ in range(int(sys.argv[4])):
    print(create_session(store, request).session_id, flush=True)
"""


class Reader(threading.Thread):
    """Reads index.json over and over; keeps what was not one JSON document."""

    def __init__(self, path: str) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.seen = 0
        self.bad: list[bytes] = []
        self.most = 0
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.is_set():
            raw = Path(self.path).read_bytes()
            try:
                rows = json.loads(raw)["sessions"]
            except (ValueError, KeyError):
                self.bad.append(raw)
                continue
            self.seen += 1
            if len(rows) < self.most:
                self.bad.append(raw)  # a session that was there has gone
            self.most = len(rows)


def expect_all_readers_content(readers: list[Reader]) -> None:
    for reader in readers:
        reader.stopping.set()
        reader.join(20)
    assert all(reader.bad == [] and reader.seen > 3 for reader in readers)


def start_readers(console: Console, count: int = 4) -> list[Reader]:
    console.answer("init")
    readers = [Reader(console.layout.index) for _ in range(count)]
    for reader in readers:
        reader.start()
    return readers


@pytest.mark.timeout(240)
def test_of_64_creates_at_once_none_is_lost_while_four_read(console: Console) -> None:
    readers = start_readers(console)
    gate, go = os.pipe()
    gated = ["/bin/sh", "-c", 'read go; exec "$0" create "$@"', SCRIPT]
    calls = [
        subprocess.Popen(
            [*gated, f"task {number}"], env=console.env, stdin=gate, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for number in range(64)
    ]
    os.close(gate)
    os.write(go, b"go\n" * 64)
    os.close(go)
    listers = [console.begin("list") for _ in range(4)]
    ids = [call.communicate(timeout=200)[0].decode().strip() for call in calls]
    assert [call.returncode for call in calls] == [0] * 64
    assert all(isinstance(json.loads(lister.communicate()[0])["sessions"], dict) for lister in listers)
    expect_all_readers_content(readers)
    rows = json.loads(Path(console.layout.index).read_bytes())["sessions"]
    assert len(set(ids)) == 64 and rows.keys() == set(ids)
    assert {rows[each]["task"] for each in ids} == {f"task {number}" for number in range(64)}
    assert console.answer("list") == Path(console.layout.index).read_bytes()


@pytest.mark.timeout(120)
def test_of_writers_that_never_pause_none_waits_for_seconds(console: Console) -> None:
    readers = start_readers(console)
    layout = console.layout
    argv = [sys.executable, "-c", WRITER, layout.workspace, layout.output_root, layout.log_dir, "25"]
    gate, go = os.pipe()
    writers = [subprocess.Popen(argv, stdin=gate, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(8)]
    os.close(gate)
    assert [writer.stdout and writer.stdout.readline() for writer in writers] == [b"ready\n"] * 8
    os.close(go)
    done = [writer.communicate(timeout=100) for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 8, done  # whoever waits for seconds ends with Busy
    ids = [each for out, _ in done for each in out.decode().split()]
    expect_all_readers_content(readers)
    assert len(set(ids)) == 200
    assert json.loads(Path(layout.index).read_bytes())["sessions"].keys() == set(ids)


def test_record_and_row_agree_whichever_of_two_ends_comes_first(console: Console) -> None:
    for session_id in console.seed(8):
        path = Path(console.paths(session_id).record)
        path.write_bytes(path.read_bytes().replace(b'"created"', b'"running"', 1))
        calls = [console.begin("update-status", session_id, status) for status in ("completed", "failed")]
        for call in calls:
            call.wait(30)
        assert sorted(call.returncode for call in calls) == [0, 1]  # the second is refused: the first was final
        won = "completed" if calls[0].returncode == 0 else "failed"
        record = console.on_disk(session_id)
        row = json.loads(Path(console.layout.index).read_bytes())["sessions"][session_id]
        assert record["status"] == row["status"] == won
        assert record["updated"] == row["updated"]
        ends = [event["status"] for event in console.events(session_id, "session")]
        assert ends == ["created", won]


def test_changes_of_many_sessions_at_once_are_all_in_the_index(console: Console) -> None:
    ids = console.seed(12)
    calls = [console.begin("update-status", session_id, "failed") for session_id in ids]
    listers = [console.begin("list") for _ in range(2)]
    assert [call.wait(40) for call in [*calls, *listers]] == [0] * 14
    rows = json.loads(Path(console.layout.index).read_bytes())["sessions"]
    assert {each: rows[each]["status"] for each in ids} == dict.fromkeys(ids, "failed")


@pytest.mark.timeout(120)
def test_lists_that_repair_lose_no_change_that_happens_meanwhile(console: Console) -> None:
    """What a list read before a change must not come back after it: the original lost its whole registry so (D6b)."""
    ids = console.seed(40)
    for number in range(15):
        extra = Path(console.layout.sessions, f"00000000-0000-4000-8000-{number:012d}")
        extra.mkdir()  # a session without a row: whoever lists now writes the index anew
        calls = [console.begin("list"), console.begin("update-status", ids[number], "starting"), console.begin("list")]
        assert [call.wait(30) for call in calls] == [0, 0, 0]
        extra.rmdir()
        rows = json.loads(Path(console.layout.index).read_bytes())["sessions"]
        assert rows[ids[number]]["status"] == "starting"
        assert rows.keys() >= set(ids)


# --- an index that somebody has edited ---


def edits() -> dict[str, object]:
    """Name -> what somebody's editor or script made of the index's text."""

    def pretty(text: str) -> str:
        return json.dumps(json.loads(text), indent=2) + "\n"

    def compact(text: str) -> str:
        return json.dumps(json.loads(text), separators=(",", ":"))

    def own_keys(text: str) -> str:
        document = json.loads(text)
        for row in document["sessions"].values():
            row["note"] = "mine"
        return json.dumps(document | {"mine": 1})

    def reordered(text: str) -> str:
        document = json.loads(text)
        return json.dumps({"sessions": dict(reversed(document["sessions"].items())), "created": document["created"]})

    return {
        "pretty": pretty,
        "compact": compact,
        "own keys": own_keys,
        "reordered": reordered,
        "dos": lambda text: text.replace("\n", "\r\n"),
        "no last line end": lambda text: text.rstrip("\n"),
        "blank lines": lambda text: text.replace("\n", "\n\n"),
        "escaped": lambda text: re.sub("work", r"\\u0077ork", text),
        "spaced": lambda text: text.replace(":", ": "),
    }


@pytest.mark.parametrize("name", edits())
def test_an_index_edited_by_hand_stays_usable(console: Console, name: str) -> None:
    ids = console.seed(3)
    path = Path(console.layout.index)
    edit = edits()[name]
    assert callable(edit)
    path.write_text(edit(path.read_text(encoding="utf-8")), encoding="utf-8", newline="")
    assert json.loads(console.answer("list"))["sessions"].keys() == set(ids)
    console.move(ids[1], "starting")
    new = console.new("fourth")
    console.move(ids[2], "failed")
    console.answer("cleanup", "0")
    rows = json.loads(path.read_bytes())["sessions"]
    assert {each: row["status"] for each, row in rows.items()} == {
        ids[0]: "created",
        ids[1]: "starting",
        new: "created",
    }
    assert rows == console.index()
    assert console.do("doctor", "--json").stdout.count(b'"index"') == 0


def test_a_row_that_was_edited_is_not_believed_where_it_matters(console: Console) -> None:
    gone, kept = console.seed(2)
    path = Path(console.layout.index)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"status":"created"', '"status":"completed"'), encoding="utf-8")
    console.move(gone, "failed")
    assert console.do("status", kept).stdout == b"created\n"
    assert b"Cleaned up 1 " in console.answer("cleanup", "0")
    assert os.path.isdir(console.paths(kept).dir)
