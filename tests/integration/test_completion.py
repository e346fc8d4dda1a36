"""Completion of commands and session ids, asked for as bash asks for it."""

from tests.integration.console import DROP_IN, Console


def completed(console: Console, line: str, **env: str) -> list[str]:
    """What bash would offer at the end of `line`."""
    words = line.split(" ")
    asked = {"_HIVE_SESSION_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = console.do(env={**asked, **env})
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout.decode().split()


def test_ids_are_completed_for_every_command_that_takes_one(console: Console) -> None:
    ids = set(console.seed(3))
    for command in (
        "status",
        "get",
        "start",
        "stop",
        "resume",
        "wait",
        "watch",
        "logs",
        "telemetry",
        "emit",
        "update-status",
    ):
        assert set(completed(console, f"hive-session {command} ")) == ids, command


def test_only_ids_that_begin_so(console: Console) -> None:
    ids = console.seed(20)
    first = ids[0][:2]
    assert sorted(completed(console, f"hive-session status {first}")) == sorted(
        each for each in ids if each.startswith(first)
    )
    assert completed(console, "hive-session status zz") == []


def test_commands_are_completed_too(console: Console) -> None:
    assert completed(console, "hive-session out") == ["output-dir"]


def test_nothing_is_offered_and_nothing_said_where_there_is_nothing(console: Console) -> None:
    assert completed(console, "hive-session status ") == []
    console.config.write_text("no such key = ", encoding="utf-8")
    assert completed(console, "hive-session status ") == []


def test_completing_makes_no_files(console: Console) -> None:
    console.seed(1)
    before = console.snapshot()
    completed(console, "hive-session status ")
    assert console.snapshot() == before


def test_the_shell_script_is_to_be_had(console: Console) -> None:
    # typer asks which shell called it, so one has to: not the sh that may have called the tests
    done = console.do("-c", f"{console.program} --show-completion; exit $?", program="bash")
    assert done.returncode == 0
    assert b"_HIVE_SESSION_COMPLETE=complete_bash" in done.stdout
    assert console.program != DROP_IN
