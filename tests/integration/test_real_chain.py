"""Real sessions, from the command to the model and back: what becomes of the task, what is told of it, and what is shared."""

import contextlib
import json
import os
import re
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.chain import (
    BY_ROOT,
    TOKENS,
    USER,
    Chain,
    agent_of,
    asked,
    check_user,
    served,
    worker_runs,
)
from tests.integration.hive import read_bytes, until
from tests.standin.messages_api import MessagesApi
from tests.standin.scenarios import SCENARIOS, Scenario

pytestmark = [pytest.mark.npm, pytest.mark.timeout(150)]  # what is run here takes seconds to start

WORDS = ("-n", "3")  # claude-flow's number of workers
CALLERS = {"root": True, "a plain user": False} if BY_ROOT else {"a plain user": False}
TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")  # where programs leave things that no session should share
GONE = (FileNotFoundError, ProcessLookupError, PermissionError)  # what /proc says of what was closed or has ended
LEAVINGS = ("claude", ".claude", "ruflo", ".ruflo")


@pytest.fixture(scope="module", autouse=True)
def _the_user_can_run_it() -> None:
    check_user()


def places(chain: Chain) -> set[Path]:
    """Everything in the user's home, and what lies about of Claude Code's and claude-flow's in the common places."""
    found = set(chain.home.rglob("*"))
    for place in map(Path, TEMPORARY):
        left = {path for path in place.glob("*") if path.name.startswith(LEAVINGS)}
        # What Claude Code keeps for its user holds a directory for each project: those of this workspace count.
        shared = {path for path in left if path.name == f"claude-{USER.pw_uid}"}
        mine = re.sub(r"[^A-Za-z0-9]", "-", chain.layout.workspace)
        found |= (left - shared) | {path for each in shared for path in each.glob(f"{mine}*")}
    return found


@dataclass(frozen=True, slots=True)
class Finished:
    """A hive of a queen and a worker that has run to its end."""

    agent: str
    chain: Chain
    api: MessagesApi
    id: str
    start: subprocess.CompletedProcess[bytes]
    places_before: set[Path]


HIVES = [pytest.param(("claude-flow", who), id=f"claude-flow-by-{who}".replace(" ", "-")) for who in CALLERS]
HIVES.append(pytest.param(("claude", next(iter(CALLERS))), id="claude"))


@pytest.fixture(scope="module", params=HIVES)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    agent, caller = request.param
    base = tmp_path_factory.mktemp("chain")
    base.chmod(0o755)
    with MessagesApi("hive") as api, Chain(base / "hive", api, by_root=CALLERS[caller]) as chain:
        before = places(chain)
        session_id = chain.create(agent, task="Write the report, with workers.")
        start = chain.call("start", session_id, *(WORDS if agent == "claude-flow" else ()))
        yield Finished(agent, chain, api, session_id, start, before)


def test_start_follows_a_hive_to_its_end_and_exits_0(finished: Finished) -> None:
    assert finished.start.returncode == 0, finished.start.stderr
    assert b'"type":"result"' in finished.start.stdout
    record = finished.chain.on_disk(finished.id)
    assert (record["status"], record["reason"], record["exit_code"], record["attempt"]) == ("completed", "exit", 0, 1)
    assert record["conversation"] == finished.id
    assert finished.chain.call("wait", finished.id).returncode == 0
    assert finished.chain.index()[finished.id]["status"] == "completed"


def test_the_record_counts_the_agents_and_tokens_that_the_api_served(finished: Finished) -> None:
    usage = finished.chain.on_disk(finished.id)["usage"]
    requests = asked(finished.api, finished.id)
    assert len(requests) == 4  # the queen asks twice, and so does her worker
    assert usage["tokens"] == sum(served(requests, finished.api.scenario).values())
    assert usage["agents"] == len({agent_of(request) for request in requests}) == 2
    assert usage["cost_usd"] > 0


def test_telemetry_tells_of_the_queen_and_her_worker(finished: Finished) -> None:
    state = finished.chain.state(finished.id)
    queen, worker = state.agents.values()
    assert (queen.agent, queen.parent, queen.role, queen.status) == ("queen", None, "queen", "done")
    assert (worker.parent, worker.role, worker.status) == ("queen", "worker", "done")
    assert (worker.kind, worker.task) == ("general-purpose", "Worker 1 writes its part")
    assert "has written worker-1.txt" in (worker.summary or "")
    assert (queen.tool_uses, worker.tool_uses) == (1, 1)
    assert min(queen.duration_ms or 0, worker.duration_ms or 0) > 0
    assert finished.chain.has_event(finished.id, type="agent_status", agent="queen", status="waiting", tool="Agent")
    assert finished.chain.has_event(finished.id, type="agent_status", agent=worker.agent, tool="Bash")
    for agent, is_worker in ((queen, False), (worker, True)):
        requests = [r for r in asked(finished.api, finished.id) if bool(agent_of(r)) == is_worker]
        told = {name: getattr(agent, name) for name in TOKENS}
        # Of a message in the middle the stream does not say how much the model wrote; of the queen the result does.
        written = {} if agent is queen else {"output_tokens": told["output_tokens"]}
        assert told == {**served(requests, finished.api.scenario), **written}


def test_telemetry_tells_the_result_and_each_line_of_the_stream_once(finished: Finished) -> None:
    (result,) = finished.chain.events(finished.id, "result")
    record = finished.chain.on_disk(finished.id)
    assert (result["is_error"], result["text"]) == (False, "The hive is done: every worker has written its part.")
    assert (result["tokens"], result["cost_usd"]) == (record["usage"]["tokens"], record["usage"]["cost_usd"])
    (started,) = finished.chain.events(finished.id, "claude_started")
    assert started["conversation"] == finished.id
    statuses = [event["status"] for event in finished.chain.events(finished.id, "session")]
    assert statuses == ["created", "starting", "running", "completed"]
    finished.chain.check_told_once(finished.id)


def test_the_work_is_in_the_output_directory_and_belongs_to_the_user(finished: Finished) -> None:
    paths = finished.chain.paths(finished.id)
    work = Path(finished.chain.answer("output-dir", finished.id).decode().strip(), "worker-1.txt")
    assert work.read_text(encoding="utf-8") == f"worker 1 of session {finished.id}\n"
    owners = {os.lstat(path).st_uid for path in (work, paths.dir, paths.record, paths.claude_stream, paths.log)}
    assert owners == {USER.pw_uid}


def test_a_session_leaves_nothing_outside_its_own_directories(finished: Finished) -> None:
    layout = finished.chain.layout
    assert sorted(os.listdir(layout.workspace)) == [".swarm"]
    assert sorted(os.listdir(layout.swarm)) == ["sessions"]
    assert sorted(os.listdir(layout.sessions)) == sorted([finished.id, ".lock", "index.json"])
    assert places(finished.chain) == finished.places_before


def test_claude_flow_gets_its_arguments_and_keeps_its_hive_in_the_session(finished: Finished) -> None:
    hive = Path(finished.chain.paths(finished.id).dir, ".claude-flow")
    if finished.agent == "claude":
        assert not hive.exists()
        return
    assert (hive / "hive-mind" / "state.json").is_file()
    registered = json.loads((hive / "agents.json").read_text(encoding="utf-8"))["agents"]
    assert len(registered) == int(WORDS[1])


ODD = "'quotes\" `x` $(touch x) ${HOME} $& $1 %s {task} {session_id} \\n\nnew\r\nline\ttab \x1b[1m é 日本 👩‍👩‍👧 \u202ertl "
DASH = '--help -n 9 --claude=false "x"'
TASKS = {
    "odd": ODD,
    "leading dash": DASH,
    "leading slash": "/help me to tidy up",
    "100 kB": (ODD * 2000)[:100_000],
    "1 MB": (ODD * 20_000)[:1_000_000],
}
CARRIED = [("claude-flow", "odd"), ("claude-flow", "leading dash"), ("claude-flow", "100 kB")]
CARRIED += [("claude", "odd"), ("claude", "leading dash"), ("claude", "leading slash"), ("claude", "1 MB")]


@pytest.mark.parametrize(("agent", "name"), CARRIED)
def test_a_task_reaches_the_model_byte_for_byte(tmp_path: Path, agent: str, name: str) -> None:
    task = TASKS[name]
    with MessagesApi("answer") as api, Chain(tmp_path / "chain", api) as chain:
        if len(task) > 50_000:
            (tmp_path / "task.md").write_bytes(task.encode())
            created = chain.answer("create", "--agent", agent, "--task-file", str(tmp_path / "task.md"))
            session_id = created.decode().strip()
        else:
            session_id = chain.create(agent, task=task)
        done = chain.call("start", session_id)
        assert done.returncode == 0, done.stderr
        (prompt,) = api.asked_by("queen")[0].prompts
        assert chain.record(session_id)["task"] == task
    if agent == "claude":
        # One of Claude Code's own commands is made a task by a line feed before it.
        assert prompt == ("\n" if task.startswith("/") else "") + task
    else:  # claude-flow says it twice in a text of its own
        assert prompt.count(task) == 2
        assert session_id not in prompt.replace(task, "")


def test_run_creates_starts_and_prints_the_record(tmp_path: Path) -> None:
    with MessagesApi("overloaded_then_ok") as api, Chain(tmp_path / "chain", api) as chain:
        done = chain.call("run", "--agent", "claude-flow", "--json", "What is the answer?")
        assert done.returncode == 0, done.stderr
        record = json.loads(done.stdout)
        session_id = record["session_id"]
        retries = chain.events(session_id, "api_retry")
    assert (record["status"], record["exit_code"]) == ("completed", 0)
    assert record["usage"]["tokens"] == sum(served(asked(api, session_id), api.scenario).values()) > 0
    assert [(retry["attempt"], retry["error_status"], retry["error"]) for retry in retries] == [
        (1, 529, "overloaded"),
        (2, 529, "overloaded"),
    ]
    assert [retry["delay_ms"] > 0 for retry in retries] == [True, True]


# -- ten at once -------------------------------------------------------------------------------------------------------

MIXED: dict[str, Scenario] = {
    **{name: SCENARIOS[name] for name in ("two_workers", "nested", "background", "overloaded_then_ok", "bad_key")},
    "remember": worker_runs("claude-flow memory init"),
}
TEN = (
    *(("claude-flow", name) for name in ("remember", "remember", "two_workers", "background", "bad_key")),
    *(("claude", name) for name in ("remember", "nested", "overloaded_then_ok", "two_workers", "bad_key")),
)


@pytest.mark.timeout(300)
def test_ten_sessions_at_once_share_nothing_and_each_tells_the_truth(tmp_path: Path) -> None:
    gate = threading.Event()
    with contextlib.ExitStack() as stack:
        apis = {name: stack.enter_context(MessagesApi(scenario, gate=gate)) for name, scenario in MIXED.items()}
        chain = stack.enter_context(Chain(tmp_path / "chain", apis["remember"]))
        before = places(chain)
        ten = {chain.create(agent, task=f"Play {name}"): (agent, name) for agent, name in TEN}
        for session_id, (_, name) in ten.items():
            chain.begin("start", "--detach", session_id, env={"ANTHROPIC_BASE_URL": apis[name].base_url})
        until(lambda: askers(apis.values()) == set(ten), "the first question of all ten", 120)
        check_nothing_open_is_shared(chain, list(ten))
        gate.set()
        records = {session_id: chain.ended(session_id, 90) for session_id in ten}
        for session_id, (_, name) in ten.items():
            check_truth(chain, records[session_id], apis[name], has_database=name == "remember")
        assert chain.all_gone()  # a writer still replaces the index when its record is there
        check_no_file_is_shared(chain, list(ten))
        assert places(chain) == before


def askers(apis: Iterable[MessagesApi]) -> set[str]:
    return {request.session_id for api in apis for request in tuple(api.requests) if request.role}


def check_truth(chain: Chain, record: dict[str, Any], api: MessagesApi, *, has_database: bool) -> None:
    session_id = record["session_id"]
    requests = asked(api, session_id)
    refused = api.scenario.refusal is not None and api.scenario.refusal.times is None
    expected = ("failed", 1) if refused else ("completed", 0)
    assert (record["status"], record["exit_code"]) == expected, record
    assert record["usage"]["tokens"] == sum(served(requests, api.scenario).values()), record
    assert record["usage"]["agents"] == len({"", *(agent_of(request) for request in requests)})
    chain.check_told_once(session_id)
    stream = [json.loads(line) for line in read_bytes(chain.paths(session_id).claude_stream).splitlines()]
    assert {line["session_id"] for line in stream} == {session_id}
    database = chain.paths(session_id).database
    assert os.path.exists(database) == has_database
    if has_database:
        with contextlib.closing(sqlite3.connect(database)) as memory:
            assert memory.execute("SELECT count(*) FROM memory_entries").fetchone() == (0,)


def own_places(chain: Chain, session_id: str) -> tuple[str, ...]:
    paths = chain.paths(session_id)
    return (f"{paths.dir}/", f"{paths.output}/", paths.log)


def check_nothing_open_is_shared(chain: Chain, ids: list[str]) -> None:
    """While all work: each agent's processes write to files of their session alone, and have directories of their own."""
    owner: dict[tuple[int, int], str] = {}
    for session_id in ids:
        paths = chain.paths(session_id)
        environ = read_bytes(f"/proc/{chain.claude(session_id)}/environ").split(b"\0")
        env = dict(pair.decode().split("=", 1) for pair in environ if b"=" in pair)
        assert os.readlink(f"/proc/{chain.claude(session_id)}/cwd") == paths.dir
        assert [env[name] for name in ("CLAUDE_CONFIG_DIR", "TMPDIR")] == [f"{paths.dir}/claude", f"{paths.dir}/tmp"]
        written = dict(open_for_writing(chain, session_id))
        assert any(path == paths.claude_stream for path in written.values())
        for inode, path in written.items():
            assert path.startswith(own_places(chain, session_id)), f"{session_id} writes to {path}"
            assert owner.setdefault(inode, session_id) == session_id, f"{path} is shared"


def open_for_writing(chain: Chain, session_id: str) -> Iterator[tuple[tuple[int, int], str]]:
    """((device, inode), path) of each regular file that the agent's processes hold open for writing."""
    for pid in chain.processes(session_id):
        if b"\0HIVE_SESSION_DIR=" not in read_bytes(f"/proc/{pid}/environ"):
            continue  # the runner and its staff, whose business the index is, too
        with contextlib.suppress(*GONE):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(*GONE):
                    yield from written(pid, fd)


def written(pid: int, fd: str) -> Iterator[tuple[tuple[int, int], str]]:
    """The same of one descriptor; nothing where it is none of those, or became another while it was looked at."""
    link = f"/proc/{pid}/fd/{fd}"
    info = os.stat(link)
    flags = int(Path(f"/proc/{pid}/fdinfo/{fd}").read_text(encoding="ascii").split()[3], 8)
    path = os.readlink(link)
    writes = stat.S_ISREG(info.st_mode) and flags & os.O_ACCMODE != os.O_RDONLY
    if writes and os.path.samestat(info, os.stat(link)):
        yield (info.st_dev, info.st_ino), path


def check_no_file_is_shared(chain: Chain, ids: list[str]) -> None:
    """Afterwards: each file below the root is one session's alone, but for the index and its lock."""
    common = {chain.layout.index, chain.layout.index_lock, str(chain.config)}
    owners: dict[tuple[int, int], list[str]] = {}
    for directory, _, names in os.walk(chain.root):
        for path in (f"{directory}/{name}" for name in names):
            info = os.lstat(path)
            if path in common or stat.S_ISLNK(info.st_mode):
                continue
            found = [each for each in ids if path.startswith(own_places(chain, each))]
            assert len(found) == 1, f"{path} belongs to {found}"
            owners.setdefault((info.st_dev, info.st_ino), []).append(path)
    assert [paths for paths in owners.values() if len(paths) > 1] == []
    assert len(owners) > 10 * len(ids)
