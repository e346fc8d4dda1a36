"""Claude Code's stream-json as telemetry: real streams, the shapes they take, and what else may stand in the file."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session import stream_agents, stream_fields
from hive_session.ondisk.events import MAX_INT, decode_event, encode_event
from hive_session.ondisk.fold import Hive
from hive_session.stream import MAX_CALLERS, Stream

Json = dict[str, Any]
FIXTURES = Path(__file__).parents[1] / "fixtures" / "claude-stream"
REAL = sorted(path.stem for path in FIXTURES.glob("*.jsonl"))
EXIT_CODES = {"killed": 143, "bad_key": 1, "not_logged_in": 1}


class Run:
    """A stream being fed, with all the events it has given and the state they add up to."""

    def __init__(self, *lines: bytes | Json) -> None:
        self.stream = Stream(task="Build it")
        self.events: list[Json] = []
        self.hive = Hive()
        self.at = 0
        self.feed(*lines)

    def feed(self, *lines: bytes | Json) -> list[Json]:
        """The events of these lines alone, each of which can be written and read back."""
        fresh: list[Json] = []
        for each in lines:
            line = each if isinstance(each, bytes) else json.dumps(each).encode()
            self.at += len(line) + 1
            found = self.stream.feed(line, at=self.at, now_ms=1000 + self.at)
            assert all((event["ts"], event["at"]) == (1000 + self.at, self.at) for event in found)
            fresh += found
        return self._take(fresh)

    def end(self, exit_code: int | None = 0) -> list[Json]:
        return self._take(self.stream.end(now_ms=2000 + self.at, exit_code=exit_code))

    def _take(self, fresh: list[Json]) -> list[Json]:
        for event in fresh:
            assert decode_event(encode_event(event)) == event
            self.hive.apply(event)
        self.events += fresh
        return fresh


def told(events: Iterable[Json], kind: str, *names: str) -> list[tuple[Any, ...]]:
    """The named fields of the events of that type, in order."""
    return [tuple(event.get(name) for name in names) for event in events if event["type"] == kind]


def statuses(events: Iterable[Json], agent: str) -> list[tuple[Any, ...]]:
    return [(s, t) for a, s, t in told(events, "agent_status", "agent", "status", "tool") if a == agent]


# -- lines as Claude Code 2.1.197 writes them, without what is not read ---------------------------------


def says(*blocks: Json, of: str | None = None, message: str = "m1", usage: tuple[int, ...] = (10, 1, 0, 0)) -> Json:
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    body = {"id": message, "model": "opus", "content": list(blocks), "usage": dict(zip(names, usage, strict=True))}
    return {"type": "assistant", "message": body, "parent_tool_use_id": of}


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def call(name: str, tool: str = "Bash", **arguments: object) -> Json:
    return {"type": "tool_use", "id": name, "name": tool, "input": arguments}


def agent_call(name: str, tool: str = "Agent") -> Json:
    return call(name, tool, description=f"run {name}", prompt=f"do {name}", subagent_type="coder")


def answers(
    name: str, words: object = "ok", *, of: str | None = None, detail: object = None, is_error: bool = False
) -> Json:
    block = {"type": "tool_result", "tool_use_id": name, "content": words, "is_error": is_error}
    line: Json = {"type": "user", "message": {"role": "user", "content": [block]}, "parent_tool_use_id": of}
    return line if detail is None else line | {"tool_use_result": detail}


def system(subtype: str, **fields: object) -> Json:
    return {"type": "system", "subtype": subtype, **fields}


def starts(name: str, **fields: object) -> Json:
    """Task t-NAME starts for the Agent call NAME."""
    usual = {"task_id": f"t-{name}", "tool_use_id": name, "description": f"run {name}", "task_type": "local_agent"}
    return system("task_started", **{**usual, "subagent_type": "coder", "prompt": f"do {name}", **fields})


def progresses(name: str, tool: str, *, tokens: int = 0, doing: str = "", took_ms: int = 5, uses: int = 1) -> Json:
    usage = {"total_tokens": tokens, "tool_uses": uses, "duration_ms": took_ms}
    return system("task_progress", task_id=f"t-{name}", description=doing, usage=usage, last_tool_name=tool)


def updates(name: str, status: str) -> Json:
    return system("task_updated", task_id=f"t-{name}", patch={"status": status, "end_time": 1})


def notifies(name: str, status: str = "completed", summary: str | None = None, **fields: object) -> Json:
    words = f"run {name}" if summary is None else summary
    return system("task_notification", task_id=f"t-{name}", status=status, summary=words, **fields)


def result(words: str = "Done.", **fields: object) -> Json:
    return {"type": "result", "subtype": "success", "is_error": False, "result": words, **fields}


def completed(words: str, **fields: object) -> Json:
    return {"status": "completed", "content": [text(words)], **fields}


INIT = system("init", session_id="c1", model="opus[1m]", claude_code_version="2.1.197", tools=["Bash"], mcp_servers=[])


# -- real streams ---------------------------------------------------------------------------------------


def real(name: str) -> list[bytes]:
    return (FIXTURES / f"{name}.jsonl").read_bytes().splitlines()


def test_the_real_streams_are_there() -> None:
    assert len(REAL) >= 10 and EXIT_CODES.keys() <= set(REAL)


@pytest.mark.parametrize("name", REAL)
def test_a_real_stream_ends_with_every_agent_ended_once(name: str) -> None:
    run = Run(*real(name))
    run.end(EXIT_CODES.get(name, 0))
    spawned = {agent for (agent,) in told(run.events, "agent_spawned", "agent")}
    ended = [agent for (agent,) in told(run.events, "agent_ended", "agent")]
    assert sorted(ended) == sorted(spawned) and ended[-1] == "queen"
    assert not run.hive.active
    assert run.end() == []


@pytest.mark.parametrize("name", REAL)
def test_the_totals_of_a_real_stream_are_those_of_claude_code(name: str) -> None:
    run = Run(*real(name))
    run.end(EXIT_CODES.get(name, 0))
    results = [line for line in map(json.loads, real(name)) if line["type"] == "result"]
    for used in results[-1]["modelUsage"].values() if results else ():
        keys = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")
        assert run.hive.tokens == sum(used[key] for key in keys)
        assert run.hive.cost_usd == results[-1]["total_cost_usd"]


@pytest.mark.parametrize("name", REAL)
def test_a_replay_completes_what_a_killed_tap_left_out(name: str) -> None:
    whole = Run(*real(name)).events
    for last in {event["at"] for event in whole}:
        again = Run(*real(name)).events
        assert [e for e in whole if e["at"] <= last] + [e for e in again if e["at"] > last] == whole


def test_a_real_worker_is_seen_from_its_call_to_its_answer() -> None:
    run = Run(*real("hive"))
    ((worker, parent, role, kind, task),) = told(
        run.events, "agent_spawned", "agent", "parent", "role", "kind", "task"
    )[1:]
    assert (parent, role, kind, task) == ("queen", "worker", "general-purpose", "Worker 1 writes its part")
    assert statuses(run.events, worker) == [("working", "Bash"), ("working", None), ("done", None)]
    assert statuses(run.events, "queen") == [
        ("working", None),
        ("waiting", "Agent"),
        ("working", None),
        ("done", None),
    ]
    assert told(run.events, "message", "from", "to", "text") == [
        ("queen", worker, "[hive worker 1/1] Write your part of the result to a file, then report."),
        (worker, "queen", "Worker 1 has written worker-1.txt as it was asked to do."),
    ]
    # Its first message is 301 + 9000 + 1, its last, which has no line, 121 + 9000 + 30.
    assert told(run.events, "agent_ended", "agent", "status", "tokens", "tool_uses") == [(worker, "done", 18453, 1)]
    assert 0 < (run.hive.agents[worker].duration_ms or 0) < 60_000
    parts = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "model")
    assert told(run.events, "usage", "agent", *parts)[-1] == ("queen", 2400, 210, 18000, 16000, "claude-opus-4-8")


def test_real_workers_side_by_side_keep_apart() -> None:
    run = Run(*real("two_workers"))
    first, second = list(run.hive.agents)[1:]
    assert [run.hive.agents[name].tokens for name in (first, second)] == [18453, 18455]
    assert statuses(run.events, "queen")[1:] == [("waiting", "Agent"), ("working", None), ("done", None)]
    conversation = json.loads(real("two_workers")[0])["session_id"]
    assert told(run.events, "claude_started", "model", "version", "tools", "conversation") == [
        ("claude-opus-4-8[1m]", "2.1.197", 24, conversation)
    ]


def test_a_real_agent_below_a_worker_is_a_subagent_of_its_caller() -> None:
    run = Run(*real("nested"))
    worker, subagent = list(run.hive.agents.values())[1:]
    assert (worker.parent, worker.role, worker.status) == ("queen", "worker", "done")
    assert (subagent.parent, subagent.role, subagent.status) == (worker.agent, "subagent", "done")
    assert statuses(run.events, worker.agent)[0] == ("waiting", "Agent")
    assert statuses(run.events, subagent.agent) == [("working", "Bash"), ("done", None)]
    talk = [("queen", worker.agent), (worker.agent, subagent.agent)]
    assert told(run.events, "message", "from", "to") == talk + [(to, asker) for asker, to in reversed(talk)]


def test_a_real_agent_in_the_background_outlives_the_turn_that_called_it() -> None:
    run = Run(*real("background"))
    assert len(told(run.events, "result", "text")) == 2
    worker = list(run.hive.agents.values())[1]
    assert (worker.status, run.hive.agents["queen"].status) == ("done", "done")
    assert told(run.events, "agent_ended", "agent") == [(worker.agent,)]
    assert [sender for sender, _ in told(run.events, "message", "from", "to")] == ["queen", worker.agent]


def test_a_real_command_in_the_background_is_no_agent() -> None:
    run = Run(*real("background_shell"))
    assert list(run.hive.agents) == ["queen"]
    assert statuses(run.events, "queen")[-1] == ("done", None)
    assert ("waiting", None) in statuses(run.events, "queen")


def test_a_real_stream_that_was_killed_ends_in_failure() -> None:
    run = Run(*real("killed"))
    run.end(143)
    assert [agent.status for agent in run.hive.agents.values()] == ["failed", "failed"]
    assert told(run.events, "agent_ended", "agent", "summary")[-1] == (
        "queen",
        "Claude Code gave no result (exit code 143)",
    )


@pytest.mark.parametrize("name", ["bad_key", "not_logged_in"])
def test_an_error_that_calls_itself_a_success_is_a_failure(name: str) -> None:
    run = Run(*real(name))
    assert told(run.events, "result", "is_error", "subtype") == [(True, "success")]
    assert told(run.end(1), "agent_ended", "agent", "status") == [("queen", "failed")]
    assert run.hive.agents["queen"].model == "claude-opus-4-8[1m]"  # and not "<synthetic>"


def test_the_real_retries_are_told_in_whole_milliseconds() -> None:
    delays = [line["retry_delay_ms"] for line in map(json.loads, real("retry")) if "retry_delay_ms" in line]
    fields = ("agent", "attempt", "max_retries", "delay_ms", "error_status", "error")
    assert told(Run(*real("retry")).events, "api_retry", *fields) == [
        ("queen", 1, 10, round(delays[0]), 529, "overloaded"),
        ("queen", 2, 10, round(delays[1]), 529, "overloaded"),
    ]


# -- the queen ------------------------------------------------------------------------------------------


def test_the_first_line_brings_the_queen_with_her_task() -> None:
    first = Run().feed(INIT)
    assert [event["type"] for event in first] == ["agent_spawned", "claude_started", "agent_status"]
    assert told(first, "agent_spawned", "agent", "parent", "role", "kind", "task") == [
        ("queen", None, "queen", "claude", "Build it")
    ]


def test_the_start_is_told_again_only_when_it_says_something_new() -> None:
    run = Run(INIT)
    assert run.feed(INIT) == []
    assert told(run.feed(INIT | {"model": "sonnet"}), "claude_started", "model") == [("sonnet",)]


def test_usage_counts_once_for_each_message() -> None:
    run = Run(says(text("a"), usage=(100, 1, 20, 3)), says(text("b"), usage=(100, 1, 20, 3)))
    assert told(run.events, "usage", "tokens") == [(124,)]
    run.feed(says(text("c"), usage=(100, 9, 20, 3)))
    assert told(run.events, "usage", "tokens")[-1] == (132,)
    run.feed(says(text("d"), message="m2", usage=(1, 1, 1, 1)), says(text("e"), usage=(100, 9, 20, 3)))
    assert told(run.events, "usage", "tokens")[-1] == (136,)


def test_a_message_without_an_id_is_not_counted() -> None:
    assert told(Run(says(text("a"), message="")).events, "usage", "tokens", "model") == [(0, "opus")]


def test_only_the_newest_messages_are_remembered() -> None:
    many = stream_agents.MAX_COUNTED + 3
    run = Run(*(says(message=f"m{n}", usage=(1, 0, 0, 0)) for n in range(many)))
    assert run.hive.tokens == many


def test_of_parallel_tools_the_last_started_that_is_open_is_shown() -> None:
    run = Run(says(call("a", "Read")), says(call("b", "Bash")))
    assert statuses(run.events, "queen") == [("working", "Read"), ("working", "Bash")]
    assert statuses(run.feed(answers("b")), "queen") == [("working", "Read")]
    assert statuses(run.feed(answers("a")), "queen") == [("working", None)]
    assert run.feed(answers("a"), answers("never")) == []


def test_a_call_that_is_repeated_counts_once() -> None:
    run = Run(says(call("a")), says(call("a")), says(call("")))
    assert told(run.events, "usage", "tool_uses") == [(1,)]


def test_a_tool_whose_answer_was_lost_ends_with_the_next_message() -> None:
    run = Run(says(call("a")))
    assert statuses(run.feed(says(text("on"), message="m2")), "queen") == [("working", None)]
    assert run.feed(answers("a")) == []


def test_a_call_without_a_name_is_a_tool() -> None:
    block = {"type": "tool_use", "id": "a"}
    assert statuses(Run(says(block)).events, "queen") == [("working", "tool")]


def test_the_result_tells_the_exact_usage_of_its_turn() -> None:
    usage = {"input_tokens": 10, "output_tokens": 99, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    run = Run(says(text("a")))
    events = run.feed(result(usage=usage, total_cost_usd=0.5, num_turns=1, duration_ms=7, duration_api_ms=5.6))
    assert [event["type"] for event in events] == ["usage", "result", "agent_status"]
    assert told(events, "usage", "input_tokens", "output_tokens") == [(10, 99)]
    fields = ("cost_usd", "tokens", "turns", "duration_ms", "api_duration_ms", "models", "text")
    assert told(events, "result", *fields) == [(0.5, 109, 1, 7, 6, {}, "Done.")]
    run.feed(says(text("b"), message="m2"), result(usage={**usage, "output_tokens": 1}))
    assert told(run.events, "usage", "input_tokens", "output_tokens")[-1] == (20, 100)


def test_the_result_sums_up_all_models() -> None:
    usage = {
        "opus": {"inputTokens": 1, "outputTokens": 2, "cacheReadInputTokens": 3, "cacheCreationInputTokens": 4},
        "haiku": {"inputTokens": 10, "costUSD": 0.25},
        "broken": 7,
    }
    assert told(Run(result(modelUsage=usage)).events, "result", "tokens", "input_tokens", "models") == [
        (
            20,
            11,
            {
                "opus": {"tokens": 10, "cost_usd": None},
                "haiku": {"tokens": 10, "cost_usd": 0.25},
                "broken": {"tokens": 0, "cost_usd": None},
            },
        )
    ]


@pytest.mark.parametrize(
    ("fields", "is_error"),
    [
        ({"subtype": "success", "is_error": True}, True),
        ({"subtype": "error_max_turns", "is_error": True}, True),
        ({"subtype": "error_max_turns"}, True),
        ({"subtype": "success"}, False),
        ({"subtype": "success", "is_error": "yes"}, False),
    ],
)
def test_is_error_decides_whatever_the_subtype_says(fields: Json, is_error: bool) -> None:
    run = Run({"type": "result", "errors": ["too", 1, "many"], **fields})
    assert told(run.events, "result", "is_error", "text") == [(is_error, "too\nmany")]
    assert told(run.end(), "agent_ended", "status") == [("failed",) if is_error else ("done",)]


@pytest.mark.parametrize(("exit_code", "status"), [(0, "done"), (7, "failed"), (None, "failed")])
def test_a_queen_without_a_result_ends_as_the_exit_code_says(exit_code: int | None, status: str) -> None:
    run = Run(INIT)
    assert told(run.end(exit_code), "agent_ended", "agent", "status", "summary") == [
        ("queen", status, f"Claude Code gave no result (exit code {exit_code})")
    ]


def test_a_queen_with_a_result_ends_as_it_says() -> None:
    assert told(Run(says(text("Fine.")), result()).end(143), "agent_ended", "status", "summary") == [("done", "Fine.")]


def test_a_run_that_said_nothing_has_nothing_to_end() -> None:
    assert Run(b"banner").end(1) == []


def test_events_that_no_line_made_have_no_offset() -> None:
    assert ["at" in event for event in Run(INIT).end()] == [False]


# -- agents ---------------------------------------------------------------------------------------------


def test_an_agent_is_there_when_its_task_starts_and_not_when_it_is_called() -> None:
    run = Run()
    assert told(run.feed(says(agent_call("a"))), "agent_spawned", "agent") == [("queen",)]
    fields = ("agent", "parent", "role", "kind", "task")
    assert told(run.feed(starts("a")), "agent_spawned", *fields) == [("a", "queen", "worker", "coder", "run a")]


def test_a_call_that_is_refused_makes_no_agent() -> None:
    run = Run(says(agent_call("a")), answers("a", "no such type", is_error=True, detail="Error: no such type"))
    assert list(run.hive.agents) == ["queen"]
    assert statuses(run.events, "queen") == [("waiting", "Agent"), ("working", None)]


def test_before_there_were_tasks_an_agent_shows_itself_by_its_lines() -> None:
    run = Run(says(agent_call("a", "Task")), says(text("I begin."), of="a", message="m2", usage=(7, 1, 0, 0)))
    assert told(run.events, "agent_spawned", "agent", "kind", "task") == [
        ("queen", "claude", "Build it"),
        ("a", "coder", "run a"),
    ]
    assert told(run.events, "message", "from", "to", "text") == [("queen", "a", "do a")]
    run.feed(answers("a", "All done."))
    assert told(run.events, "agent_ended", "agent", "status", "summary") == [("a", "done", "All done.")]


def test_an_agent_that_shows_nothing_but_its_answer_was_there() -> None:
    run = Run(says(agent_call("a")), answers("a", "x", detail=completed("Done.", totalTokens=50, totalDurationMs=9)))
    assert told(run.events, "agent_ended", "agent", "tokens", "duration_ms", "summary") == [("a", 50, 9, "Done.")]


def test_an_agent_of_an_unknown_call_is_the_queens() -> None:
    line = says(call("b"), of="a", message="m2") | {"subagent_type": "tester", "task_description": "Test it"}
    fields = ("agent", "parent", "role", "kind", "task")
    assert told(Run(line).events, "agent_spawned", *fields)[1] == ("a", "queen", "worker", "tester", "Test it")
    assert told(Run(says(of="z")).events, "agent_spawned", *fields)[1] == ("z", "queen", "worker", "agent", "")


def test_the_last_message_of_an_agent_is_counted_with_its_answer() -> None:
    last = {"input_tokens": 20, "output_tokens": 5}
    begun = Run(says(agent_call("a")), starts("a"), says(call("b"), of="a", message="m2", usage=(10, 1, 0, 0)))
    begun.feed(answers("b", of="a"), answers("a", detail=completed("x", usage=last)))
    assert begun.hive.agents["a"].tokens == 36


def test_the_last_message_of_an_agent_that_was_seen_is_not_counted_twice() -> None:
    last = {"input_tokens": 20, "output_tokens": 5}
    run = Run(says(agent_call("a")), starts("a"), says(text("x"), of="a", message="m2", usage=(20, 1, 0, 0)))
    run.feed(answers("a", detail=completed("x", usage=last)))
    assert run.hive.agents["a"].tokens == 25


def test_an_agent_below_a_worker_finds_its_parent_before_its_call_is_seen() -> None:
    run = Run(says(agent_call("a")), starts("a"), progresses("a", "Agent", doing="run b"), starts("b"))
    assert told(run.events, "agent_spawned", "agent", "parent", "role")[1:] == [
        ("a", "queen", "worker"),
        ("b", "a", "subagent"),
    ]
    run.feed(says(agent_call("b"), of="a", message="m2"), progresses("b", "Agent", doing="run c"), starts("c"))
    assert told(run.events, "agent_spawned", "agent", "parent", "role")[3:] == [("c", "b", "subagent")]


def test_agents_without_lines_live_by_their_tasks() -> None:
    run = Run(says(agent_call("a")), starts("a"), progresses("a", "Agent", doing="run b"), starts("b"))
    run.feed(says(agent_call("b"), of="a", message="m2"), progresses("b", "Agent", doing="run c"), starts("c"))
    assert statuses(run.events, "b") == [("waiting", "Agent")]
    assert statuses(run.feed(progresses("c", "Bash", tokens=21)), "c") == [("working", "Bash")]
    ended = run.feed(updates("c", "completed"), notifies("c", usage={"total_tokens": 23}))
    assert statuses(ended, "b") == [("working", None)]
    assert told(ended, "agent_ended", "agent", "status", "tokens", "summary") == [("c", "done", 23, None)]
    run.feed(updates("b", "completed"), notifies("b"))
    assert told(run.events, "agent_ended", "agent") == [("c",)]  # a waits for the answer of b
    ended = run.feed(answers("b", [text("B says."), text("agentId: t-b")], of="a"))
    assert told(ended, "agent_ended", "agent", "summary") == [("b", "B says.")]
    assert told(ended, "message", "from", "to", "text") == [("b", "a", "B says.")]


def test_a_task_that_names_its_parent_task_is_believed() -> None:
    run = Run(says(agent_call("a")), starts("a"), starts("b", parent_task_id="t-a"))
    assert told(run.events, "agent_spawned", "agent", "parent")[2:] == [("b", "a")]


def test_a_parent_that_was_guessed_is_corrected_by_the_call() -> None:
    run = Run(says(agent_call("a")), starts("a"), starts("b"))
    assert told(run.events, "agent_spawned", "agent", "parent")[2:] == [("b", "queen")]
    assert told(run.feed(says(agent_call("b"), of="a", message="m2")), "agent_spawned", "parent", "role") == [
        ("a", "subagent")
    ]
    assert run.hive.agents["b"].parent == "a"


def test_nobody_becomes_the_child_of_its_own_child() -> None:
    run = Run(starts("a"), starts("b"), says(agent_call("b"), of="a", message="m2"))
    assert told(run.feed(says(agent_call("a"), of="b", message="m3")), "agent_spawned", "agent") == []
    assert [run.hive.agents[name].parent for name in ("a", "b")] == ["queen", "a"]


def test_announced_calls_that_never_start_are_forgotten() -> None:
    run = Run(says(agent_call("a")), starts("a"))
    run.feed(*(progresses("a", "Agent", doing=f"run x{n}") for n in range(MAX_CALLERS + 1)), starts("x0"), starts("x1"))
    assert [run.hive.agents[name].parent for name in ("x0", "x1")] == ["queen", "a"]


def test_an_agent_in_the_background_ends_with_its_task_and_says_its_last_words() -> None:
    launched = {"isAsync": True, "status": "async_launched", "agentId": "t-a"}
    run = Run(INIT, says(agent_call("a")), starts("a"), answers("a", "launched", detail=launched))
    assert statuses(run.events, "queen")[-1] == ("working", None)
    run.feed(says(text("A says."), of="a", message="m2"), says(text("I wait."), message="m3"), result("I wait."))
    assert statuses(run.events, "queen")[-1] == ("waiting", None)
    ended = run.feed(updates("a", "completed"), notifies("a", summary='Agent "run a" finished'))
    assert told(ended, "agent_ended", "agent", "status", "summary") == [("a", "done", "A says.")]
    assert told(ended, "message", "from", "to", "text") == [("a", "queen", "A says.")]
    assert statuses(ended, "queen") == [("done", None)]
    assert statuses(run.feed(INIT), "queen") == [("working", None)]


def test_an_agent_in_the_background_without_lines_says_what_its_summary_says() -> None:
    run = Run(says(agent_call("a")), starts("a"), answers("a", "launched", detail={"status": "async_launched"}))
    assert told(run.feed(notifies("a", summary="DONE-A")), "message", "from", "text") == [("a", "DONE-A")]


def test_a_launch_by_a_subagent_is_no_answer_though_nothing_marks_it() -> None:
    run = Run(says(agent_call("a")), starts("a"), says(agent_call("b"), of="a", message="m2"), starts("b"))
    run.feed(answers("b", [text("Async agent launched successfully.")], of="a"))
    assert run.hive.agents["b"].status == "working"
    assert statuses(run.events, "a")[-1] == ("working", None)


@pytest.mark.parametrize(("updated", "notified"), [("killed", "stopped"), ("failed", "failed")])
def test_an_agent_that_is_stopped_has_failed_and_stays_so(updated: str, notified: str) -> None:
    run = Run(says(agent_call("a")), starts("a"), answers("a", "on", detail={"status": "async_launched"}))
    run.feed(says(call("b"), of="a", message="m2"), updates("a", updated))
    assert statuses(run.events, "a") == [("working", "Bash"), ("failed", None)]
    run.feed(answers("b", "rejected", of="a", is_error=True), says(text("late"), of="a", message="m4"))
    ended = run.feed(
        notifies("a", notified, "It was stopped."), notifies("a", notified, "Twice."), updates("a", updated)
    )
    assert told(ended, "agent_ended", "status", "summary") == [("failed", "It was stopped.")]
    assert [event["type"] for event in ended] == ["message", "agent_ended"]


def test_an_agent_whose_answer_is_an_error_has_failed() -> None:
    run = Run(says(agent_call("a")), starts("a"), answers("a", "It broke.", is_error=True, detail="Error: It broke."))
    assert told(run.events, "agent_ended", "agent", "status", "summary") == [("a", "failed", "It broke.")]


def test_an_agent_that_has_ended_can_be_resumed_by_its_task() -> None:
    done = completed("First.", totalDurationMs=100, totalToolUseCount=1)
    run = Run(says(agent_call("a")), starts("a"), answers("a", detail=done))
    again = run.feed(says(call("s", "SendMessage"), message="m2"), starts("a", tool_use_id="s", prompt="do more"))
    assert statuses(again, "a") == [("working", None)]
    assert told(again, "message", "from", "to", "text") == [("queen", "a", "do more")]
    assert run.feed(starts("a", tool_use_id="s")) == []
    run.feed(says(text("Second."), of="a", message="m3"), updates("a", "completed"))
    ended = run.feed(notifies("a", usage={"duration_ms": 29, "tool_uses": 0}, tool_use_id="s"))
    assert told(ended, "agent_ended", "agent", "duration_ms", "tool_uses", "summary") == [("a", 129, 1, "Second.")]
    assert list(run.hive.agents) == ["queen", "a"]


def test_an_agent_whose_answer_was_lost_ends_with_the_next_message_of_its_parent() -> None:
    run = Run(says(agent_call("a"), agent_call("b")), starts("a"), starts("b"), updates("a", "completed"))
    ended = run.feed(says(text("on"), message="m2"))
    assert told(ended, "agent_ended", "agent", "status") == [("a", "done")]
    assert run.hive.agents["b"].status == "working"


def test_the_tools_of_a_visible_agent_are_its_own_lines_not_its_task() -> None:
    run = Run(says(agent_call("a")), starts("a"), progresses("a", "Bash"), says(call("b"), of="a", message="m2"))
    assert statuses(run.events, "a") == [("working", "Bash")]
    assert statuses(run.feed(answers("b", of="a"), progresses("a", "Read", took_ms=9)), "a") == [("working", None)]


def test_the_totals_of_a_task_stand_where_the_messages_say_less() -> None:
    run = Run(says(agent_call("a")), starts("a"), progresses("a", "Bash", tokens=300, took_ms=16))
    fields = ("tokens", "input_tokens", "tool_uses", "duration_ms")
    assert told(run.events, "usage", *fields)[-1] == (300, None, 1, 16)
    run.feed(says(call("b"), of="a", message="m2", usage=(299, 1, 0, 0)), progresses("a", "", tokens=200, took_ms=4))
    assert told(run.events, "usage", *fields)[-1] == (300, 299, 1, 16)


@pytest.mark.parametrize("kind", ["local_bash", "remote_agent", "local_workflow", None])
def test_tasks_of_other_types_are_no_agents_but_keep_the_queen_waiting(kind: str | None) -> None:
    run = Run(INIT, says(call("a")), starts("a", task_type=kind), answers("a"))
    assert run.feed(says(text("inside"), of="a", message="m2"), answers("x", of="a"), progresses("a", "Bash")) == []
    assert statuses(run.feed(result()), "queen") == [("waiting", None)]
    assert run.feed(updates("a", "running")) == []
    assert statuses(run.feed(updates("a", "completed"), notifies("a")), "queen") == [("done", None)]
    assert list(run.hive.agents) == ["queen"]


def test_a_task_of_no_type_is_an_agent_where_an_agent_was_called() -> None:
    assert list(Run(says(agent_call("a")), starts("a", task_type=None)).hive.agents) == ["queen", "a"]


def test_a_task_without_a_call_is_an_agent_of_its_own_and_one_without_an_id_is_nothing() -> None:
    run = Run(starts("a", tool_use_id=None), starts("b", task_id=None))
    assert list(run.hive.agents) == ["queen", "t-a"]


def test_what_is_open_when_claude_code_ends_has_failed_the_deepest_first() -> None:
    run = Run(says(agent_call("a")), starts("a"), says(agent_call("b"), of="a", message="m2"), starts("b"))
    run.feed(says(text("Nearly."), of="b", message="m3"), updates("b", "completed"))
    assert told(run.end(137), "agent_ended", "agent", "status", "summary") == [
        ("b", "done", "Nearly."),
        ("a", "failed", "Claude Code ended before it did"),
        ("queen", "failed", "Claude Code gave no result (exit code 137)"),
    ]


# -- whatever else may stand in the file ----------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"   ",
        "╭── 🐝 Hive Mind ──╮".encode(),
        b'[{"type":"result"}]',
        b'"text"',
        b'{"type":"result","is_err',
        b'{"type":"result"} trailing',
        b'{"type":"of_tomorrow","message":{}}',
        b'{"type":"system","subtype":"compact_boundary"}',
        b'{"type":["result"]}',
        b'{"type":"system","subtype":{"init":1}}',
        b'{"a":' * 200_000,
        b'{"type":"result","num_turns":' + b"9" * 5000 + b"}",
        b'{"type":"result","pad":"' + b"p" * stream_fields.MAX_LINE_BYTES + b'"}',
    ],
    ids=range(14),
)
def test_a_line_that_says_nothing_gives_nothing(line: bytes) -> None:
    assert Run().feed(line) == []


def test_text_that_no_utf8_can_carry_is_mended() -> None:
    half = b'{"type":"result","result":"cut \\ud83d","subtype":"bad \xff byte"}'
    assert told(Run().feed(half), "result", "text", "subtype") == [("cut ?", "bad � byte")]


@pytest.mark.parametrize("strange", [-1, 2**53, "7", None, True, [1], {"a": 1}])
def test_strange_figures_count_as_nothing(strange: object) -> None:
    usage = {"input_tokens": strange, "output_tokens": 1}
    line = says(text("a"))
    line["message"]["usage"] = usage
    run = Run(line, result(usage=usage, total_cost_usd=strange, duration_ms=strange, modelUsage={"m": strange}))
    assert told(run.events, "usage", "tokens") == [(1,)]
    assert told(run.events, "result", "cost_usd", "duration_ms", "tokens") == [(None, None, 0)]


def test_figures_beyond_measure_stay_exact() -> None:
    run = Run(*(says(message=f"m{n}", usage=(MAX_INT,) * 4) for n in range(3)), result(modelUsage={"m": {}}))
    assert told(run.events, "usage", "tokens")[-1] == (MAX_INT // 4 * 4,)
    nan = b'{"type":"result","total_cost_usd":NaN,"duration_ms":Infinity}'
    assert told(run.feed(nan), "result", "cost_usd", "duration_ms") == [(None, None)]


def test_long_texts_are_cut_and_the_largest_event_fits_its_line() -> None:
    wide = "\x00" * 5000
    servers = [{"name": wide, "status": wide}] * 100
    run = Run(INIT | {"mcp_servers": servers, "model": wide, "session_id": wide, "claude_code_version": wide})
    run.feed(result(wide, subtype=wide, modelUsage={f"{n:03}{wide}": {"inputTokens": MAX_INT} for n in range(100)}))
    (said,) = [event for event in run.events if event["type"] == "result"]
    assert (len(said["text"]), len(said["subtype"]), len(said["models"])) == (2048, 256, 16)


def test_nobody_else_can_be_the_queen() -> None:
    run = Run(INIT, says(agent_call("queen")), starts("queen"), says(text("x"), of="queen", message="m2"))
    assert [agent for (agent,) in told(run.events, "agent_spawned", "agent")] == ["queen", "t-queen"]
    assert told(run.events, "agent_spawned", "agent", "role")[0] == ("queen", "queen")


ids = st.sampled_from(["a", "b", "c", "queen", "t-a", "t-b", "", "x" * 300])
junk = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.text(max_size=4) | ids,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
blocks = st.one_of(
    st.builds(call, ids, st.sampled_from(["Bash", "Agent", "Task", ""])),
    st.builds(agent_call, ids),
    st.builds(text, st.text(max_size=4)),
    junk,
)
messages = st.one_of(
    st.just(INIT),
    st.builds(lambda b, of, m: says(b, of=of, message=m), blocks, st.none() | ids, st.sampled_from(["m1", "m2", "m3"])),
    st.builds(lambda n, of, d, e: answers(n, of=of, detail=d, is_error=e), ids, st.none() | ids, junk, st.booleans()),
    st.builds(lambda n, of, s: answers(n, of=of, detail={"status": s}), ids, st.none() | ids, junk),
    st.builds(lambda n, k: starts(n, task_type=k), ids, st.sampled_from(["local_agent", "local_bash", None])),
    st.builds(lambda n, of: starts(n, tool_use_id=of), ids, ids),
    st.builds(lambda n, t, d: progresses(n, t, doing=f"run {d}"), ids, st.sampled_from(["Agent", "Bash", ""]), ids),
    st.builds(updates, ids, st.sampled_from(["completed", "failed", "killed", "running"])),
    st.builds(notifies, ids, st.sampled_from(["completed", "stopped", "other"])),
    st.builds(lambda e: result(is_error=e), junk),
    st.just(system("api_retry", attempt=1)),
)
damaged = st.builds(
    lambda message, key, value: message | {key: value},
    messages,
    st.sampled_from(
        [
            "type",
            "subtype",
            "message",
            "parent_tool_use_id",
            "usage",
            "modelUsage",
            "task_id",
            "tool_use_id",
            "patch",
            "status",
        ]
    ),
    junk,
)


@given(st.lists(st.binary(max_size=60) | st.binary(max_size=60).map(lambda raw: b'{"type":' + raw), max_size=5))
def test_any_bytes_give_events(lines: list[bytes]) -> None:
    Run(*lines).end()


@given(st.lists(messages | damaged, max_size=25), st.none() | st.integers(-15, 255))
def test_any_lines_give_events_and_an_end_that_leaves_nobody_open(lines: list[Json], code: int | None) -> None:
    run = Run(*lines)
    run.end(code)
    spawned = {agent for (agent,) in told(run.events, "agent_spawned", "agent")}
    assert not run.hive.active
    assert run.hive.agents.keys() == spawned
    assert {event["agent"] for event in run.events if "agent" in event} <= spawned
    assert run.end() == []


@given(st.lists(messages | damaged, max_size=15))
def test_the_same_lines_always_give_the_same_events(lines: list[Json]) -> None:
    assert Run(*lines).events == Run(*lines).events


@given(st.lists(messages, max_size=25))
def test_figures_only_grow_and_parents_form_a_tree(lines: list[Json]) -> None:
    run = Run(*lines)
    seen: dict[str, int] = {}
    for agent, tokens in told(run.events, "usage", "agent", "tokens"):
        assert tokens >= seen.get(agent, 0)
        seen[agent] = tokens
    for agent in run.hive.agents.values():
        above, steps = agent, 0
        while above.parent is not None:
            above, steps = run.hive.agents[above.parent], steps + 1
            assert steps <= len(run.hive.agents)
        assert above.agent == "queen"
