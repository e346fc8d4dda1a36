"""Everything of the suite killed at once, again and again under load: no event, record or exit code is lost."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import pytest

from hive_session.ondisk.events import BadEvent, decode_event
from tests.integration.hive import Hive, is_alive, kill, read_bytes, until
from tests.integration.supervised import Supervised

ROUNDS = 20
SESSIONS = 20
REHEARSALS = 4  # of them; the others are scripts
CLIENTS = 50  # of each kind
BACK_S = 90.0  # for all of them to be told something again, on two busy cores
CALL_S = 120.0
CLIENT_PROGRAM = Path(__file__).with_name("reconnecting.py")

# Speaks once a second as long as there is no file `gate`, and then ends with a code of its own.
SPEAKER = """
n=0
while [ ! -e {gate} ]; do
    echo "{{\\"type\\":\\"message\\",\\"from\\":\\"queen\\",\\"to\\":\\"w\\",\\"text\\":\\"$n\\"}}"
    n=$((n + 1)); sleep 1
done | hive-session emit "$HIVE_SESSION_ID" -
exit $1
"""


def begin_sessions(hive: Hive, gate: Path) -> dict[str, int]:
    """Sessions that run, each with the exit code that it will have; they are started side by side."""
    codes = {}
    speaker = hive.shell(SPEAKER.format(gate=gate))
    for number in range(SESSIONS):
        agent = "rehearsal" if number < REHEARSALS else speaker
        codes[hive.create(agent, task=str(100 + number))] = number if number < REHEARSALS else 100 + number
    calls = [
        hive.begin("start", "--detach", each, *(("--seconds", "30", "--exit-code", str(code)) if code < 100 else ()))
        for each, code in codes.items()
    ]
    assert [call.wait(CALL_S) for call in calls] == [0] * SESSIONS
    return codes


class Clients:
    """The clients of `reconnecting.py`, as a process beside the test; `within` is a command that becomes it elsewhere."""

    def __init__(
        self,
        ports: Mapping[str, int],
        ids: list[str],
        many: int,
        place: Path,
        *,
        host: str = "127.0.0.1",
        silent_s: float = 15.0,
        within: Sequence[str] = (),
    ) -> None:
        self._status = place / "clients.json"
        told = [host, silent_s, ports["MCP_TCP_PORT"], ports["MCP_BRIDGE_PORT"], many, many, self._status, *ids]
        argv = [*within, sys.executable, str(CLIENT_PROGRAM), *map(str, told)]
        self._log = (place / "clients.log").open("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )

    def at_work(self) -> int:
        """How many are connected and have been told something on the connection that they have."""
        assert self.process.poll() is None, self.log
        found = json.loads(read_bytes(str(self._status)) or b"{}")
        return int(found.get("at_work", 0))

    @property
    def log(self) -> str:
        return Path(self._log.name).read_text(encoding="utf-8")

    def finish(self, files: dict[str, bytes]) -> list[int]:
        """How often each of them connected, once each holds every event of these `files` once. Raises: AssertionError."""
        sizes = {each: len(data) for each, data in files.items()}
        whole = {each: sha256(events_of(data)).hexdigest() for each, data in files.items()}
        try:
            out, _ = self.process.communicate(json.dumps(sizes) + "\n", timeout=CALL_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not everything of {sizes}: {self._status.read_text()}\n{self.log}") from None
        assert self.process.returncode == 0, self.log
        found = json.loads(out)
        assert [number for number, client in enumerate(found) if client["held"] != whole] == []
        return [client["connections"] for client in found]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self._log.close()


def events_of(data: bytes) -> bytes:
    """The lines of a telemetry file that are events, without those that a full disk tore."""
    found = []
    for line in data.splitlines(keepends=True):
        with suppress(BadEvent):
            decode_event(line)
            found.append(line)
    return b"".join(found)


@contextmanager
def following(suite: Supervised, ids: list[str], many: int, place: Path) -> Iterator[Clients]:
    """So many clients of each kind that follow all of these sessions, until the block ends; `place` is theirs."""
    clients = Clients(suite.ports, ids, many, place)
    try:
        yield clients
    finally:
        clients.close()


def everything(suite: Supervised) -> list[int]:
    """supervisord and all that it has started, whatever their state."""
    return [suite.supervisord(), *(each.pid for each in suite.programs() if each.pid)]


def least_said(suite: Supervised, codes: dict[str, int]) -> int:
    """How many messages the script has written that wrote fewest."""
    scripts = [each for each, code in codes.items() if code >= 100]
    return min(read_bytes(suite.paths(each).telemetry).count(b'"message"') for each in scripts)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_everything_killed_at_once_20_times_under_load_costs_no_event_no_record_and_no_exit_code(
    tmp_path: Path,
) -> None:
    """Each time one of the runners is killed too: its witness goes on in its place."""
    gate = tmp_path / "gate"
    with Supervised(tmp_path / "h") as suite:
        codes = begin_sessions(suite, gate)
        ids = list(codes)
        suite.up()
        ports = suite.ports
        with following(suite, ids, CLIENTS, tmp_path) as clients:
            for number in range(ROUNDS):
                until(lambda: clients.at_work() == 2 * CLIENTS, f"all clients at work, {number}", BACK_S)
                until(lambda number=number: least_said(suite, codes) > number, f"a word of each, {number}", BACK_S)  # type: ignore[misc]
                victims = everything(suite)
                assert len(victims) >= 6
                kill([*victims, suite.run(ids[number]).runner] if codes[ids[number]] >= 100 else victims)
                until(lambda victims=victims: not any(map(is_alive, victims)), "their end")  # type: ignore[misc]
                until(lambda: clients.at_work() == 0, f"clients that have noticed, {number}", BACK_S)
                suite.up()
                assert suite.ports == ports
            gate.touch()
            records = {each: suite.ended(each, CALL_S) for each in ids}
            for each in ids:
                suite.all_gone(each)  # the last event comes after the record
            files = {each: read_bytes(suite.paths(each).telemetry) for each in ids}
            connections = clients.finish(files)
    assert {each: record["exit_code"] for each, record in records.items()} == codes
    assert {record["reason"] for record in records.values()} == {"exit"}
    for each, code in codes.items():
        said = [json.loads(line) for line in files[each].splitlines()]
        assert [e["status"] for e in said if e["type"] == "session"][-1] == ("completed" if code == 0 else "failed")
        if code >= 100:
            texts = [int(event["text"]) for event in said if event["type"] == "message"]
            assert texts == list(range(len(texts))) and len(texts) >= ROUNDS
    assert len(connections) == 2 * CLIENTS and min(connections) > ROUNDS
