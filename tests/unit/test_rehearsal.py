"""The rehearsal's script and its arguments, without a process or a clock."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk.events import decode_event
from hive_session.ondisk.fold import Hive
from hive_session.rehearsal import (
    BadArguments,
    receive,
    report,
    seconds_of,
    session_of,
    split_arguments,
    whole,
)
from hive_session.rehearsal_lines import DISCLAIMER
from hive_session.rehearsal_plan import ROLES, plan_waves
from hive_session.rehearsal_script import CRASH_AT, Rehearsal
from hive_session.stream import Stream

Json = dict[str, Any]
UUID = "550e8400-e29b-41d4-a716-446655440000"

plays = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**63 - 1),
        "workers": st.integers(1, 40),
        "seconds": st.floats(0, 1e6),
        "retries": st.integers(0, 10),
    }
)


def play(**wishes: Any) -> list[tuple[float, Json]]:
    """(wait, line) of a whole play, each line as a reader gets it."""
    defaults: Json = {"seed": 1, "task": "Build the importer"}
    script = Rehearsal(**defaults | wishes)
    return [(wait, json.loads(json.dumps(line))) for wait, line in script.lines()]


def lines_of(**wishes: Any) -> list[Json]:
    return [line for _, line in play(**wishes)]


def blocks(line: Json) -> list[Json]:
    content = line["message"]["content"] if line["type"] in ("assistant", "user") else []
    assert isinstance(content, list)
    return content


def of_subtype(lines: list[Json], subtype: str) -> list[Json]:
    return [line for line in lines if line.get("subtype") == subtype]


def spawn_calls(lines: list[Json]) -> dict[str, str | None]:
    """id of each call that makes an agent -> the call that made its caller."""
    return {
        block["id"]: line["parent_tool_use_id"]
        for line in lines
        for block in blocks(line)
        if block["type"] == "tool_use" and block["name"] == "Agent"
    }


def messages(lines: list[Json]) -> Iterator[tuple[str, str | None, Json]]:
    """(model, caller, usage) of each message: once per id, and each sub-agent's last, which has no line."""
    seen = set()
    for line in lines:
        if line["type"] == "assistant" and line["message"]["id"] not in seen:
            seen.add(line["message"]["id"])
            yield line["message"]["model"], line["parent_tool_use_id"], line["message"]["usage"]
        answer = line.get("tool_use_result")
        if isinstance(answer, dict):
            yield answer["resolvedModel"], answer["agentId"], answer["usage"]


def test_the_same_seed_and_arguments_give_the_same_play() -> None:
    assert play(seed=7, workers=9) == play(seed=7, workers=9)


def test_another_seed_gives_another_play() -> None:
    assert play(seed=7) != play(seed=8)


def test_two_sessions_of_one_seed_share_no_id_but_do_the_same() -> None:
    def course(lines: list[Json]) -> list[object]:
        return [(line["type"], line.get("subtype"), line.get("usage"), line.get("timestamp")) for line in lines]

    one, other = lines_of(seed=7, session_id=UUID), lines_of(seed=7)
    assert course(one) == course(other)
    assert not {line["uuid"] for line in one} & {line["uuid"] for line in other}
    assert not spawn_calls(one).keys() & spawn_calls(other).keys()


def test_a_resumed_session_keeps_its_id_and_repeats_no_other() -> None:
    first, again = lines_of(session_id=UUID), lines_of(session_id=UUID, resumed=True)
    assert {line["session_id"] for line in first + again} == {UUID}
    assert not {line["uuid"] for line in first} & {line["uuid"] for line in again}


@given(plays)
def test_every_line_says_what_it_is_and_whose(wishes: Json) -> None:
    lines = lines_of(**wishes)
    assert all(line["type"] and line["session_id"] == lines[0]["session_id"] for line in lines)
    assert len({line["uuid"] for line in lines}) == len(lines)
    assert (lines[0]["subtype"], lines[-1]["type"]) == ("init", "result")


@given(plays)
def test_the_whole_takes_the_seconds_asked_for(wishes: Json) -> None:
    waits = [wait for wait, _ in play(**wishes)]
    assert min(waits) >= 0
    assert math.isclose(sum(waits), wishes["seconds"], rel_tol=1e-9, abs_tol=1e-9)


@given(plays)
def test_every_agent_was_called_for_before_it_appears(wishes: Json) -> None:
    known: set[str | None] = {None}
    for line in lines_of(**wishes):
        assert line.get("parent_tool_use_id") in known
        if line.get("subtype") == "task_started":
            assert line["tool_use_id"] in known
        known |= spawn_calls([line]).keys()


@given(plays)
def test_every_task_that_started_ends_once_and_answers_its_caller(wishes: Json) -> None:
    lines = lines_of(**wishes)
    started = [line["tool_use_id"] for line in of_subtype(lines, "task_started")]
    ended = [line["tool_use_id"] for line in of_subtype(lines, "task_notification")]
    callers = spawn_calls(lines)
    answers = {
        block["tool_use_id"]: line["parent_tool_use_id"]
        for line in lines
        for block in blocks(line)
        if block["type"] == "tool_result" and block["tool_use_id"] in callers
    }
    assert sorted(started) == sorted(ended) == sorted(callers)
    assert answers == callers


@given(plays)
def test_every_call_of_a_tool_gets_its_result_in_the_agent_that_called(wishes: Json) -> None:
    lines = lines_of(**wishes)
    calls, results = Counter[object](), Counter[object]()
    for line in lines:
        for block in blocks(line):
            if block["type"] == "tool_use":
                calls[block["id"], line["parent_tool_use_id"]] += 1
            elif block["type"] == "tool_result":
                results[block["tool_use_id"], line["parent_tool_use_id"]] += 1
                assert calls[block["tool_use_id"], line["parent_tool_use_id"]] == 1
    assert calls == results


@given(plays)
def test_the_result_is_the_sum_of_all_messages(wishes: Json) -> None:
    lines = lines_of(**wishes)
    result = lines[-1]
    by_model: dict[str, Counter[str]] = {}
    queen: Counter[str] = Counter()
    for model, caller, usage in messages(lines):
        counts = {name: count for name, count in usage.items() if name.endswith("_tokens")}
        by_model.setdefault(model, Counter()).update(counts)
        if caller is None:
            queen.update(counts)
    assert {name: result["usage"][name] for name in queen} == queen
    assert {
        model: (usage["inputTokens"], usage["outputTokens"], usage["cacheReadInputTokens"],
                usage["cacheCreationInputTokens"])
        for model, usage in result["modelUsage"].items()
    } == {
        model: (counts["input_tokens"], counts["output_tokens"], counts["cache_read_input_tokens"],
                counts["cache_creation_input_tokens"])
        for model, counts in by_model.items()
    }  # fmt: skip
    cost = sum(usage["costUSD"] for usage in result["modelUsage"].values())
    assert result["total_cost_usd"] == pytest.approx(cost, abs=1e-6)
    assert cost > 0


def test_the_lines_of_one_message_carry_one_usage() -> None:
    usages: dict[str, list[Json]] = {}
    for line in lines_of(workers=30):
        if line["type"] == "assistant":
            usages.setdefault(line["message"]["id"], []).append(line["message"]["usage"])
    assert max(map(len, usages.values())) > 1
    assert all(usage == same[0] for same in usages.values() for usage in same)


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 10, 100, 1000])
def test_the_queen_sends_as_many_workers_as_asked_in_cycled_roles(workers: int) -> None:
    lines = lines_of(workers=workers)
    callers = spawn_calls(lines)
    sent = [line for line in of_subtype(lines, "task_started") if callers[line["tool_use_id"]] is None]
    roles = [role[0] for role in ROLES]
    assert [line["subagent_type"] for line in sent] == [roles[n % len(roles)] for n in range(workers)]


def test_some_workers_call_a_subagent_of_their_own() -> None:
    callers = spawn_calls(lines_of(workers=30))
    assert 0 < sum(caller is not None for caller in callers.values()) < 30
    assert {callers[caller] for caller in callers.values() if caller} == {None}


def test_workers_of_a_wave_work_at_the_same_time() -> None:
    at_work, most = 0, 0
    for line in lines_of(workers=30):
        at_work += {"task_started": 1, "task_notification": -1}.get(line.get("subtype", ""), 0)
        most = max(most, at_work)
    assert most >= 3
    assert at_work == 0


def test_a_worker_fails_in_some_plays_and_no_play_fails_with_it() -> None:
    failures = []
    for seed in range(40):
        lines = lines_of(seed=seed, seconds=0.0)
        failed = [line["status"] for line in of_subtype(lines, "task_notification")].count("failed")
        errors = [block for line in lines for block in blocks(line) if block.get("is_error")]
        assert len(errors) == failed
        assert lines[-1]["is_error"] is False
        failures.append(failed)
    assert set(failures) == {0, 1}


@pytest.mark.parametrize("exit_code", [0, 1, 255])
def test_the_result_is_an_error_exactly_when_the_exit_code_is_one(exit_code: int) -> None:
    assert lines_of(exit_code=exit_code)[-1]["is_error"] is (exit_code != 0)


def test_a_crash_ends_the_lines_in_the_middle_without_a_result() -> None:
    whole_play, crashed = play(), play(crash=True)
    assert crashed == whole_play[: len(crashed)]
    assert CRASH_AT / 2 < sum(wait for wait, _ in crashed) / 8 <= CRASH_AT
    assert "result" not in {line["type"] for _, line in crashed}


def test_refusals_come_before_the_first_message_and_are_counted() -> None:
    lines = lines_of(retries=3)
    retries = of_subtype(lines, "api_retry")
    assert [line["attempt"] for line in retries] == [1, 2, 3]
    assert lines.index(retries[-1]) < [line["type"] for line in lines].index("assistant")


def test_it_says_at_once_and_at_the_end_that_no_model_is_involved() -> None:
    lines = lines_of()
    texts = [block["text"] for line in lines for block in blocks(line) if block["type"] == "text"]
    assert texts[0].startswith(DISCLAIMER)
    assert lines[-1]["result"].startswith(DISCLAIMER)


@given(st.text())
def test_any_task_can_be_played(task: str) -> None:
    task = task.encode("utf-8", "replace").decode()
    assert lines_of(task=task)[-1]["type"] == "result"


@given(st.integers(0, 2**63 - 1), st.integers(1, 1000))
def test_waves_follow_one_another_and_leave_the_queen_time_to_plan_and_sum_up(seed: int, workers: int) -> None:
    free = 0.1
    for wave in plan_waves(seed, workers):
        assert free <= wave[0].start
        assert all(one.start < next_one.start for one, next_one in pairwise(wave))
        assert all(wave[-1].start < agent.end for agent in wave)
        free = max(agent.end for agent in wave)
    assert free < 0.93


@pytest.mark.parametrize(
    ("argv", "positionals"),
    [
        (["-p", "--output-format", "stream-json", "--verbose", "task"], ["task"]),
        (["--dangerously-skip-permissions", "task", "--seed", "4"], ["task"]),
        (["--mcp-config=/a b.json", "--mcp-config", "/c.json", "task"], ["task"]),
        (["--model", "opus", "--session-id", UUID, "--new-flag", "task"], ["task"]),
        (["-p", "--", "--help"], ["--help"]),
        (["--", "-leading", "--", "$(id)"], ["-leading", "--", "$(id)"]),
        (["-p"], []),
    ],
)
def test_the_task_is_told_from_the_flags(argv: list[str], positionals: list[str]) -> None:
    assert split_arguments(argv)[1] == positionals


@given(st.lists(st.text()))
def test_any_arguments_are_split_or_refused(argv: list[str]) -> None:
    try:
        options, positionals = split_arguments(argv)
    except BadArguments:
        return
    assert all(name.startswith("-") for name in options)
    assert len(options) + len(positionals) <= len(argv)


@pytest.mark.parametrize("argv", [["--seed"], ["-p", "--session-id"], ["--workers="]])
def test_a_flag_without_its_value_is_refused(argv: list[str]) -> None:
    with pytest.raises(BadArguments):
        whole(split_arguments(argv)[0], "--workers", 1, 1, 9)


@pytest.mark.parametrize("text", ["", "x", "-1", "+1", "1.5", "1_0", "²", "٣", "0", "10", "9" * 5000])
def test_a_number_that_is_none_or_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(BadArguments, match="--workers"):
        whole({"--workers": text}, "--workers", 4, 1, 9)


@pytest.mark.parametrize("text", ["", "x", "-0.1", "nan", "inf", "1e99"])
def test_a_length_that_is_none_or_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(BadArguments, match="--seconds"):
        seconds_of({"--seconds": text})


def test_a_session_id_is_taken_in_any_case_and_written_in_lower_case() -> None:
    assert session_of({"--session-id": UUID.upper()}) == (UUID, False)
    assert session_of({"--session-id": UUID, "-r": UUID}) == (UUID, True)
    assert session_of({}) == ("", False)


@pytest.mark.parametrize("text", ["../../x", UUID[:-1], UUID + "\n", UUID.replace("-", "")])
def test_a_session_id_that_is_no_uuid_is_refused(text: str) -> None:
    with pytest.raises(BadArguments, match="not a UUID"):
        session_of({"--resume": text})


def test_a_task_passes_through_to_its_file_whatever_its_bytes(tmp_path: Path) -> None:
    chunks = [bytes(range(256)), b"\0" * 70_000, b"", b"\r\n\xff"]
    head, size, digest = receive(iter(chunks), str(tmp_path / "out"))
    assert (tmp_path / "out" / "task.txt").read_bytes() == b"".join(chunks)
    assert (head, size) == (b"".join(chunks)[:4096], 70_259)
    assert receive(iter([b"".join(chunks)]), None)[2] == digest


def test_an_empty_task_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(BadArguments, match="no task"):
        receive(iter([]), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_report_names_the_task_the_agents_and_the_missing_model() -> None:
    script = Rehearsal(seed=3, task="Build the importer", workers=5)
    list(script.lines())
    text = report(script, seed=3, head="Build the importer\n\x1b[31m\nthird", size=1234)
    assert DISCLAIMER in text
    assert "\x1b" not in text
    assert all(words in text for words in ("    Build the importer", "    third", "1234 bytes", "--seed 3"))
    assert len([line for line in text.splitlines() if "| worker-" in line]) == 5


def observed(lines: list[Json], *, exit_code: int) -> Hive:
    """What telemetry makes of the lines."""
    stream, hive, at = Stream(task="Build the importer"), Hive(), 0
    events = []
    for line in lines:
        raw = json.dumps(line).encode()
        at += len(raw) + 1
        events += stream.feed(raw, at=at, now_ms=at)
    events += stream.end(now_ms=at + 1, exit_code=exit_code)
    for event in events:
        hive.apply(decode_event(json.dumps(event).encode()))
    return hive


@given(plays)
def test_telemetry_sees_every_agent_its_tokens_and_its_end(wishes: Json) -> None:
    script = Rehearsal(task="Build the importer", **wishes)
    hive = observed([line for _, line in script.lines()], exit_code=0)
    played = {agent.tool_use_id or "queen": agent for agent in script.agents()}
    assert hive.agents.keys() == played.keys()
    for name, agent in played.items():
        seen = hive.agents[name]
        assert seen.role == ("queen", "worker", "subagent")[agent.depth]
        assert seen.status == ("failed" if agent.fails else "done")
        assert (seen.tokens, seen.tool_uses) == (sum(agent.spent), agent.tool_uses)
    assert not hive.active
    assert hive.result is not None
    assert hive.tokens == hive.result.tokens == sum(agent.tokens for agent in hive.agents.values())
    assert hive.api_retries == wishes["retries"]


def test_telemetry_closes_every_agent_of_a_crash_as_failed() -> None:
    hive = observed(lines_of(workers=9, crash=True), exit_code=70)
    assert hive.result is None
    assert not hive.active
    assert hive.agents["queen"].status == "failed"
