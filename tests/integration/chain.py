"""The real chain: our commands around the real claude-flow and Claude Code, as a user who is not root, against a stand-in API."""

import os
import pwd
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from hive_session.ondisk import fold
from hive_session.stream import Stream
from tests.integration.hive import SCRIPTS, STARTED, Hive, is_same, read_bytes, stat_fields, until
from tests.npm import CLAUDE_BIN
from tests.standin.messages_api import MessagesApi, Request
from tests.standin.scenarios import SCENARIOS, Scenario, ToolUse, Turn, Usage, select_turn

BY_ROOT = os.geteuid() == 0
# Claude Code refuses to work for root: root's sessions run as another user.
USER = pwd.getpwnam("nobody") if BY_ROOT else pwd.getpwuid(os.geteuid())
AS_USER: dict[str, Any] = {"user": USER.pw_uid, "group": USER.pw_gid, "extra_groups": []} if BY_ROOT else {}
CHAIN_S = 60.0  # of every wait for something that Claude Code does: it takes seconds to start
TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")  # as telemetry calls them

Process = tuple[int, str]  # a pid and when it started: never used twice


def check_user() -> None:
    """Fail, with what to do, where the user of the sessions cannot run what they consist of."""
    for argv in ([f"{SCRIPTS}/python3", "-c", ""], [str(CLAUDE_BIN), "--version"]):
        try:
            subprocess.run(argv, check=True, capture_output=True, **AS_USER)
        except (OSError, subprocess.CalledProcessError) as exc:
            cure = "set it up where every user gets through, with HIVE_PYTHON naming a python that all may run"
            pytest.fail(f"{USER.pw_name} cannot run {argv[0]}: {exc}; {cure}")


class Chain(Hive):
    """A workspace whose sessions run the real programs against `api`; `by_root` False calls as a plain user even for root.

    `env` is for every call, like the settings of a Hive.
    """

    def __init__(
        self, root: Path, api: MessagesApi, *, by_root: bool = BY_ROOT, env: Mapping[str, str] | None = None
    ) -> None:
        (root / "home").mkdir(parents=True)
        super().__init__(root, HIVE_USER=USER.pw_name, HOME=str(root / "home"))
        self.env.update(ANTHROPIC_BASE_URL=api.base_url, ANTHROPIC_API_KEY="dummy", HIVE_CLAUDE_BIN=str(CLAUDE_BIN))
        self.env.update(env or {})
        self.home = Path(USER.pw_dir) if by_root else root / "home"  # root's sessions have the home of their user
        self._as_caller = {} if by_root else AS_USER
        for path in () if by_root else (root, root / "home", self.layout.workspace):
            os.chown(path, USER.pw_uid, USER.pw_gid)

    # -- processes -----------------------------------------------------------------------------------------------------

    def claude(self, session_id: str) -> int:
        """The pid of the session's real Claude Code, as soon as it is there."""
        return until(lambda: self._running(session_id, 0, str(CLAUDE_BIN)), f"the Claude Code of {session_id}", CHAIN_S)

    def tap(self, session_id: str) -> int:
        """The pid of the session's tap, beneath which its own fork is the witness of Claude Code."""
        link = f"{self.paths(session_id).bin}/claude"
        return until(lambda: self._running(session_id, 1, link), f"the tap of {session_id}", CHAIN_S)

    def _running(self, session_id: str, place: int, word: str) -> int:
        """The process of the session that has `word` at that place of its command line, 0 where none has.

        Its own forks look the same until they run something else: they are those whose parent has it too.
        """
        lines = {pid: read_bytes(f"/proc/{pid}/cmdline").split(b"\0") for pid in self.processes(session_id)}
        found = {pid: stat_fields(pid) for pid, words in lines.items() if words[place : place + 1] == [word.encode()]}
        return next((pid for pid, fields in found.items() if fields and int(fields[1]) not in found), 0)

    def tree(self, session_id: str) -> set[Process]:
        """All processes of the session, each with the time of its start."""
        pids = {self.runner(session_id), *self.processes(session_id)} - {0}
        return {(pid, fields[STARTED]) for pid in pids if (fields := stat_fields(pid))}

    # -- telemetry -----------------------------------------------------------------------------------------------------

    def state(self, session_id: str) -> fold.Hive:
        """What the whole telemetry adds up to."""
        state = fold.Hive()
        for event in self.events(session_id):
            state.apply(event)
        return state

    def has_event(self, session_id: str, **fields: object) -> bool:
        return any(fields.items() <= event.items() for event in self.events(session_id))

    def wait_for_event(self, session_id: str, **fields: object) -> None:
        until(lambda: self.has_event(session_id, **fields), f"an event with {fields}", CHAIN_S)

    def check_told_once(self, session_id: str) -> None:
        """All that Claude Code's stream says is in the telemetry, in its order, and nothing of it twice."""
        stream, at = Stream(), 0
        said = []
        for line in read_bytes(self.paths(session_id).claude_stream).splitlines(keepends=True):
            at += len(line)
            said += stream.feed(line, at=at, now_ms=0)
        told = [event for event in self.events(session_id) if "at" in event and event["type"] != "tap_started"]
        assert [{**event, "ts": 0} for event in told] == said
        assert said


def still_there(processes: Iterable[Process]) -> list[str]:
    """The command lines of those that live on."""
    left = [pid for pid, started in processes if is_same(pid, started)]
    return [f"{pid} {read_bytes(f'/proc/{pid}/cmdline')!r}" for pid in left]


# -- what the stand-in has served --------------------------------------------------------------------------------------


def asked(api: MessagesApi, session_id: str) -> list[Request]:
    """The requests of a session for an answer of the model, without those that were refused."""
    refusal = api.scenario.refusal
    refused = refusal.times if refusal else 0
    found = [request for request in tuple(api.requests) if request.role and request.session_id == session_id]
    return [] if refused is None else found[refused:]


def agent_of(request: Request) -> str:
    """Claude Code's own name of the subagent that asks; "" for the queen."""
    return request.headers.get("x-claude-code-agent-id", "")


def served(requests: Iterable[Request], scenario: Scenario) -> dict[str, int]:
    """The tokens in the answers to `requests`, by telemetry's names of the four parts."""
    total = dict.fromkeys(TOKENS, 0)
    for request in requests:
        assert request.body is not None
        usage = asdict(select_turn(scenario, request.body).usage)
        for name, key in zip(TOKENS, ("input", "output", "cache_read_input", "cache_creation_input"), strict=True):
            total[name] += usage[f"{key}_tokens"]
    return total


# -- scenarios of the tests' own ---------------------------------------------------------------------------------------


def queen_runs(command: str) -> Scenario:
    """A queen who runs a command herself, then answers."""
    return Scenario(queen=(_bash(command), SCENARIOS["answer"].queen[0]))


def worker_runs(command: str) -> Scenario:
    """The hive of one worker, whose tool is this command."""
    hive = SCENARIOS["hive"]
    return Scenario(queen=hive.queen, workers=((_bash(command), hive.workers[0][1]),))


def _bash(command: str) -> Turn:
    tool = ToolUse("Bash", {"command": command, "description": "Do the work"})
    return Turn(blocks=(tool,), usage=Usage(input_tokens=700, cache_creation_input_tokens=5_000, output_tokens=40))
