"""From a task to the argvs that carry it out: in words of its own, whatever it holds."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hive_session.agents import (
    ARGUMENT_MAX_BYTES,
    BUILT_IN,
    CLAUDE,
    CLAUDE_FLOW_2,
    CLAUDE_FLOW_3,
    REHEARSAL,
    AgentSpec,
    Job,
    fill,
    find_agent,
    plan_job,
)
from hive_session.config import CommandAgent
from hive_session.errors import UsageError
from hive_session.isolation import task_placeholder

VALUES = {"session_id": "550e8400", "working_dir": "/w", "output_dir": "/o", "task_file": "/w/task.md"}


def planned(spec: AgentSpec, task: str = "Build", args: tuple[str, ...] = (), initialised: bool = False) -> Job:
    return plan_job(spec, task, args=args, values=VALUES, initialised=initialised)


def command(*argv: str, **fields: Any) -> AgentSpec:
    return AgentSpec(name="mine", steps=(argv,), **fields)


# -- placeholders ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "filled"),
    [
        ("{task}", "T"),
        ("--objective={task}", "--objective=T"),
        ("{task}{task}", "TT"),
        ("{nobody}", "{nobody}"),
        ("{ task }", "{ task }"),
        ("{}", "{}"),
        ("{{task}}", "{T}"),
        ("{task", "{task"),
        ("$task `task` %task%", "$task `task` %task%"),
        ("", ""),
    ],
)
def test_a_placeholder_is_a_known_name_in_braces(word: str, filled: str) -> None:
    assert fill(word, {"task": "T"}) == filled


pieces = st.lists(st.sampled_from(["{a}", "{b}", "{", "}", "a", "b", "\\1", "\\g<0>", "$", " "]), max_size=6).map(
    "".join
)


@given(pieces, pieces, pieces)
@example("{a}{b}", "{b}", "{a}")
def test_what_a_value_contains_is_never_looked_at(word: str, a: str, b: str) -> None:
    expected = "".join({"{a}": a, "{b}": b}.get(part, part) for part in _split(word))
    assert fill(word, {"a": a, "b": b}) == expected


def _split(word: str) -> list[str]:
    """`word` cut before and after each `{a}` and `{b}`."""
    for mark in ("{a}", "{b}"):
        word = word.replace(mark, f"\0{mark}\0")
    return word.split("\0")


# -- the built-in agents -----------------------------------------------------------------------------------------------


def test_claude_flow_gets_the_task_in_one_argument_after_its_init() -> None:
    job = planned(CLAUDE_FLOW_3, "x'; touch PWNED; echo 'y\n--help", args=("--max-workers", "8"))
    assert job.steps == (
        ("claude-flow", "hive-mind", "init"),
        (
            "claude-flow",
            "hive-mind",
            "spawn",
            "--objective=x'; touch PWNED; echo 'y\n--help",
            "--claude",
            "--non-interactive",
            "--max-workers",
            "8",
        ),
    )
    assert (job.stdin, job.runs_claude, job.settle_s) == ("null", True, 0.0)


def test_what_was_initialised_is_not_initialised_again() -> None:
    assert planned(CLAUDE_FLOW_3, initialised=True).steps == planned(CLAUDE_FLOW_3).steps[1:]
    assert planned(CLAUDE_FLOW_2, initialised=True).steps == planned(CLAUDE_FLOW_2).steps


def test_claude_flow_2_gets_the_task_as_a_word_and_is_ended_after_claude_code() -> None:
    job = planned(CLAUDE_FLOW_2)
    assert job.steps == (("claude-flow", "hive-mind", "spawn", "Build", "--claude", "--non-interactive"),)
    assert job.settle_s > 0


@pytest.mark.parametrize("spec", [CLAUDE, REHEARSAL], ids=lambda spec: spec.name)
def test_claude_code_takes_the_task_on_stdin_whatever_its_length(spec: AgentSpec) -> None:
    job = planned(spec, "{session_id}" + "x" * 2_000_000, args=("--resume", "c2f6"))
    assert job.stdin == "task" and job.runs_claude
    assert job.steps[0][0] == "claude" and job.steps[0][-2:] == ("--resume", "c2f6")
    assert not any("xxx" in word for word in job.steps[0])


@pytest.mark.parametrize(
    ("spec", "task", "passes"),
    [
        (CLAUDE_FLOW_3, "x" * 60_000, True),
        (CLAUDE_FLOW_3, "x" * 60_001, False),
        (CLAUDE_FLOW_3, "ü" * 30_001, False),  # bytes, not characters
        (CLAUDE_FLOW_3, "--help", True),  # it stands behind --objective=
        (CLAUDE_FLOW_2, "x" * 38_000, True),
        (CLAUDE_FLOW_2, "x" * 38_001, False),
        (CLAUDE_FLOW_2, "--help", False),  # it would be an option
        (CLAUDE_FLOW_2, "a --help", True),
    ],
)  # fmt: skip
def test_a_task_that_cannot_pass_claude_flow_is_replaced_by_a_placeholder(
    spec: AgentSpec, task: str, passes: bool
) -> None:
    argument = planned(spec, task).steps[-1][3].removeprefix("--objective=")
    assert argument == (task if passes else task_placeholder("550e8400"))


# -- agents of the configuration ---------------------------------------------------------------------------------------


def test_an_agent_of_the_configuration_gets_every_placeholder() -> None:
    spec = command(
        "run", "{task}", "{task_file}", "{session_id}", "{working_dir}", "{output_dir}", "{HOME}", env={"A": "b"}
    )
    job = planned(spec, "{output_dir}", args=("{task}",))
    assert job.steps == (("run", "{output_dir}", "/w/task.md", "550e8400", "/w", "/o", "{HOME}", "{task}"),)
    assert job.env == {"A": "b"}


@pytest.mark.parametrize("argv", [("run", "{task}"), ("run", "--do={task}")])
def test_a_task_beyond_one_argument_is_refused_with_the_way_out(argv: tuple[str, ...]) -> None:
    room = ARGUMENT_MAX_BYTES - len(argv[1].replace("{task}", ""))
    planned(command(*argv), "x" * room)
    with pytest.raises(UsageError) as caught:
        planned(command(*argv), "x" * (room + 1))
    assert str(room + 1) in caught.value.what and "{task_file}" in caught.value.hint


def test_a_long_task_passes_where_it_is_no_argument() -> None:
    assert planned(command("run", "{task_file}", stdin="task"), "x" * 2_000_000).steps == (("run", "/w/task.md"),)


def test_a_task_of_foreign_bytes_is_measured_in_bytes() -> None:
    assert planned(command("run", "{task}"), "\udcff").steps == (("run", "\udcff"),)


# -- finding -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_agent_is_found_by_its_name(name: str) -> None:
    assert find_agent(name, {}, 3) is BUILT_IN[name]
    assert BUILT_IN[name].name == name


def test_claude_flow_is_called_as_its_version_wants() -> None:
    assert [find_agent("claude-flow", {}, major) for major in (2, 3, 4)] == [
        CLAUDE_FLOW_2,
        CLAUDE_FLOW_3,
        CLAUDE_FLOW_3,
    ]
    assert find_agent("claude", {}, 2) is CLAUDE


def test_an_agent_of_the_configuration_wins() -> None:
    mine = CommandAgent(name="claude", argv=("mine",), stdin="task", env={"A": "b"}, runs_claude=True)
    found = find_agent("claude", {"claude": mine}, 3)
    assert (found.name, found.steps, found.stdin, found.env, found.runs_claude, found.programs) == (
        "claude",
        (("mine",),),
        "task",
        {"A": "b"},
        True,
        (),
    )


def test_an_unknown_agent_is_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        find_agent("gpt", {"mine": CommandAgent(name="mine", argv=("m",))}, 3)
    assert "'gpt'" in caught.value.what
    assert "claude, claude-flow, mine, rehearsal" in caught.value.hint
