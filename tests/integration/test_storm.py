"""Two hundred sessions, and SIGKILL at random moments for their CLIs, runners, witnesses, taps and agents."""

import json
import os
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hive_session.ondisk.liveness import run_is_alive
from tests.integration.hive import Hive, children, kill, read_bytes, stat_fields

ROUNDS = 200
SIDE_BY_SIDE = 6
REHEARSALS = 0.25  # their share; the other agents are shell scripts
LONGEST_DELAY_S = 0.9  # of a shot at the CLI after `start`, of one at the run after its runner is there
AGENT_S = 0.6
PATIENCE_S = 4.0  # for one round; what takes longer goes on beside the next ones
ZOMBIE_S = 5.0  # longer than anybody needs to collect a child
LOOK_S = 0.25  # of the time between two looks no more counts: the machine may have stood still
CODE = 3  # of the scripts
VICTIMS = ("cli", "runner", "witness", "tap", "agent")
SCRIPTS = (
    f"sleep {AGENT_S}; exit {CODE}",
    f"trap '' TERM; (setsid sleep 30 &); sleep {AGENT_S}; exit {CODE}",
    f"for i in 1 2 3; do (sleep 0.1); done; sleep {AGENT_S / 2}; exit {CODE}",
)


@dataclass(frozen=True, slots=True)
class Round:
    """One session, and who is shot when: (seconds after the shot before or as LONGEST_DELAY_S says, victim)."""

    session_id: str
    words: tuple[str, ...]
    shots: tuple[tuple[float, str], ...]


@dataclass(slots=True)
class Storm:
    """The rounds, and what readers see meanwhile."""

    hive: Hive
    rounds: list[Round]
    hits: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    reads: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def rage(self) -> None:
        """Play all rounds, a few side by side, with readers beside them."""
        readers = [self._begin(self._repeat, read) for read in (self.read_index, self.call_list, self.find_zombies())]
        players = [self._begin(self._play, self.rounds[at::SIDE_BY_SIDE]) for at in range(SIDE_BY_SIDE)]
        for player in players:
            player.join()
        self.over.set()
        for reader in readers:
            reader.join()

    def _begin(self, work: Callable[[Any], None], argument: Any) -> threading.Thread:
        def do() -> None:
            try:
                work(argument)
            except (AssertionError, ValueError, KeyError, OSError) as exc:
                self.faults.append(repr(exc))

        thread = threading.Thread(target=do)
        thread.start()
        return thread

    def _play(self, rounds: list[Round]) -> None:
        for each in rounds:
            # Into a pipe that nobody reads a rehearsal's lines fit or not, by how many of them are written at once.
            call = self.hive.begin("start", each.session_id, *each.words, stdout=subprocess.DEVNULL)
            runs = False
            for delay_s, victim in each.shots:
                runs = runs or (victim != "cli" and self._await_runner(call, each.session_id))
                time.sleep(delay_s)
                pid = call.pid if victim == "cli" else self.victim(each.session_id, victim)
                if pid and (victim != "cli" or call.poll() is None):
                    kill([pid])
                    self.hits[victim] += 1
            ends = time.monotonic() + PATIENCE_S
            lock = self.hive.paths(each.session_id).run_lock
            while (call.poll() is None or run_is_alive(lock)) and time.monotonic() < ends:
                time.sleep(0.02)

    def _await_runner(self, call: subprocess.Popen[bytes], session_id: str) -> bool:
        """Return once there is somebody to shoot at, or never will be: how long a start takes is the machine's affair."""
        while call.poll() is None and not self.hive.runner(session_id):
            time.sleep(0.01)
        return True

    def victim(self, session_id: str, name: str) -> int:
        """The pid of a victim, where there is one by now; else 0. The agent is the lowest of the chain below the tap."""
        runner = self.hive.runner(session_id)
        own = read_bytes(f"/proc/{runner}/cmdline")
        below = {pid: read_bytes(f"/proc/{pid}/cmdline") for pid in (children(runner) if runner else ())}
        witness = next((pid for pid, words in below.items() if words == own), 0)
        if name in ("runner", "witness"):
            return runner if name == "runner" else witness
        found = below if not witness else children(witness)
        pid = next((pid for pid in found if read_bytes(f"/proc/{pid}/cmdline") not in (own, b"")), 0)
        while name == "agent" and pid and (further := children(pid)):
            pid = further[0]
        return pid

    # -- readers -------------------------------------------------------------------------------------------------------

    def _repeat(self, read: Callable[[], None]) -> None:
        while not self.over.wait(0.01):
            read()

    def read_index(self) -> None:
        self._check(Path(self.hive.layout.index).read_bytes())

    def call_list(self) -> None:
        self._check(self.hive.answer("list"))

    def _check(self, raw: bytes) -> None:
        rows = json.loads(raw)["sessions"]
        lost = [each.session_id for each in self.rounds if each.session_id not in rows]
        assert not lost, f"lost: {lost}"
        self.reads += 1

    def find_zombies(self) -> Callable[[], None]:
        ages: dict[tuple[int, str], float] = {}
        last = time.monotonic()

        def find() -> None:
            nonlocal last
            now, ours = time.monotonic(), set(self.hive.processes())
            passed_s, last = min(now - last, LOOK_S), now
            found, parents = {}, {}
            for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
                fields = stat_fields(pid)
                if fields[:1] == ["Z"] and int(fields[1]) in ours:
                    found[pid, fields[19]] = ages.get((pid, fields[19]), -passed_s) + passed_s
                    parents[pid] = read_bytes(f"/proc/{fields[1]}/cmdline")
            ages.clear()
            ages.update(found)
            old = [f"{pid} of {parents[pid]!r}" for (pid, _), age_s in found.items() if age_s > ZOMBIE_S]
            assert not old, f"zombies: {old}"

        return find


def plan(hive: Hive, dice: random.Random) -> list[Round]:
    """Sessions, and one to three shots at each."""
    agents = [hive.shell(script) for script in SCRIPTS]
    rounds = []
    for _ in range(ROUNDS):
        agent = "rehearsal" if dice.random() < REHEARSALS else dice.choice(agents)
        shots = [(dice.uniform(0, LONGEST_DELAY_S), dice.choice(VICTIMS)) for _ in range(dice.choice((1, 1, 2, 3)))]
        words = ("--seconds", "2") if agent == "rehearsal" else ()
        rounds.append(Round(hive.create(agent), words, tuple(shots)))
    return rounds


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_hundred_sessions_survive_whatever_is_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("STORM_SEED") or random.SystemRandom().randrange(2**32))
    said = f"seed {seed}: STORM_SEED={seed} plays it again"
    with Hive(tmp_path / "hive", HIVE_STOP_GRACE_S="0.5") as hive:
        storm = Storm(hive, plan(hive, random.Random(seed)))
        storm.rage()
        assert storm.faults == [], said
        assert storm.reads > ROUNDS / 2, said
        assert sum(storm.hits.values()) >= ROUNDS / 2, f"{said}: {storm.hits}"
        assert set(storm.hits) == set(VICTIMS), said

        alive = {each.session_id for each in storm.rounds if run_is_alive(hive.paths(each.session_id).run_lock)}
        hive.answer("reconcile")
        # What still runs by right are agents of which both keepers are gone; each may end by itself from here on.
        stopped = [each for each, row in hive.index().items() if row["status"] in ("starting", "running")]
        assert alive.issuperset(stopped), said
        for session_id in stopped:
            hive.answer("stop", session_id)
        hive.all_gone()
        rows = hive.index()
        assert rows.keys() == {each.session_id for each in storm.rounds}, said
        for each in storm.rounds:
            record = hive.on_disk(each.session_id)
            assert not run_is_alive(hive.paths(each.session_id).run_lock), said
            assert record["status"] in ("created", "completed", "failed"), f"{said}: {record}"
            assert rows[each.session_id]["status"] == record["status"], f"{said}: {record}"
            if each.session_id not in stopped:
                assert_true_end(record, [victim for _, victim in each.shots], f"{said}: {each.shots}")
            hive.events(each.session_id)  # every line is whole


def assert_true_end(record: dict[str, Any], shot_at: list[str], said: str) -> None:
    """A script that only its keepers were shot away from ended as it does, or nobody saw its end."""
    if record["agent"] == "rehearsal" or record["status"] == "created" or {"agent", "tap"} & {*shot_at}:
        return
    assert record["reason"] in ("exit", "lost"), f"{said}: {record}"
    assert record.get("exit_code") in (CODE, None), f"{said}: {record}"
    if shot_at in (["cli"], ["runner"]) and record["reason"] == "lost":
        assert record.get("pid") is None, f"{said}: the agent was running, and its witness lived: {record}"
