"""Each command's help: two examples first, then what it does, its options, its exit codes."""

import re

import pytest

from hive_session.cli.app import app
from tests.integration.console import Console

COMMANDS = sorted(str(info.name or getattr(info.callback, "__name__", "")) for info in app.registered_commands)
PROMISED = (
    "create start status get list output-dir log update-status cleanup init stop resume wait logs run ls watch top telemetry emit "
    "vacuum reconcile reindex doctor"
)
THE_AGENT_S = ("--max-workers", "--model")  # options in examples that are not hive-session's


def test_the_table_of_commands_is_whole_and_each_has_a_whole_sentence(console: Console) -> None:
    table = console.answer("--help").decode().partition("Commands:\n")[2]
    assert sorted(re.findall(r"^  ([a-z][a-z-]+) ", table, re.MULTILINE)) == COMMANDS == sorted(PROMISED.split())
    sentences = re.split(r"^  [a-z][a-z-]+ ", table, flags=re.MULTILINE)[1:]
    assert all(sentence.rstrip().endswith(".") for sentence in sentences)
    assert not re.search(r"\bindex\.$|docs/format\.$", table, re.MULTILINE)  # cut within the name of a file


@pytest.mark.parametrize("command", COMMANDS)
def test_help_leads_with_two_examples_and_lists_the_exit_codes(console: Console, command: str) -> None:
    done = console.do(command, "--help", env={"COLUMNS": "80"})
    assert (done.returncode, done.stderr) == (0, b"")
    lines = [line.strip() for line in done.stdout.decode().splitlines() if line.strip()]
    assert lines[0].startswith(f"Usage: hive-session {command}")
    assert lines[1] == "Examples:"
    assert all("hive-session " in example for example in lines[2:4])
    assert any(f"hive-session {command}" in example for example in lines[2:4])
    codes = lines[lines.index("Exit codes:") + 1 : lines.index("Options:")]
    numbers = [int(line.split()[0]) for line in codes if re.match(r"\d+ ", line)]
    assert numbers[0] == 0 and len(numbers) > 1 and numbers == sorted(set(numbers))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_example_names_commands_and_options_that_exist(console: Console, command: str) -> None:
    text = console.do(command, "--help", env={"COLUMNS": "200"}).stdout.decode()
    options = text.partition("Options:")[2]
    for example in text.partition("Examples:\n")[2].splitlines()[:2]:
        for call in re.findall(r"hive-session ([^|;&)]+)", example):
            name, *words = call.split()
            assert name in COMMANDS, example
            for word in words if name == command else ():
                if re.match("--?[a-z]", word) and word not in THE_AGENT_S:
                    assert re.search(rf"^ .*{word}\b", options, re.MULTILINE), (example, word)


def test_the_short_flag_and_the_version(console: Console) -> None:
    assert console.answer("-h") == console.answer("--help")
    assert console.answer("create", "-h") == console.answer("create", "--help")
    assert re.fullmatch(rb"hive-session \d+\.\d+\.\d+\n", console.answer("--version"))


def test_a_trace_comes_with_debug_alone(console: Console) -> None:
    plain = console.do("status", "zz").stderr.decode()
    assert len(plain.splitlines()) == 1
    with_trace = console.do("--debug", "status", "zz").stderr.decode()
    assert with_trace.startswith("Traceback") and with_trace.endswith(plain)
