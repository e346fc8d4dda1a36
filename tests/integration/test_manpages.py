"""Every program and every command has a man page that says what its --help says, and that man shows without a warning."""

import os
import re
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import pytest

from hive_session import manpages
from tests.integration.console import CALL_S, REPOSITORY
from tests.integration.test_help import COMMANDS as OF_HIVE_SESSION

SCRIPTS = sysconfig.get_path("scripts")
PROGRAMS = sorted(tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"])
COMMANDS = [("hive-session", name) for name in OF_HIVE_SESSION]
COMMANDS += [("hive-suite", name) for name in ("start", "stop", "status", "ctl", "env", "check", "journal")]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
PAGES = [(name,) for name in PROGRAMS] + COMMANDS

pytestmark = pytest.mark.timeout(240)  # the first test waits for the help of all of them

each_page = pytest.mark.parametrize("words", PAGES, ids="-".join)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("venv") / "share/man/man1"
    manpages.write_pages(directory, SCRIPTS)
    return directory


def shown(page: Path) -> str:
    """What a reader sees, on lines that are long enough; any warning of groff fails."""
    call = ["groff", "-man", "-Tutf8", "-ww", "-rLL=2000n", "-P-cbou", str(page)]
    done = subprocess.run(call, capture_output=True, encoding="utf-8", timeout=CALL_S, check=True)
    assert done.stderr == ""
    return done.stdout


def test_there_is_a_page_for_each_program_and_command_and_for_nothing_else(pages: Path) -> None:
    assert sorted(path.stem for path in pages.iterdir()) == sorted("-".join(words) for words in PAGES)


@each_page
def test_a_page_is_shown_without_a_warning_and_holds_every_word_of_the_help(
    pages: Path, words: tuple[str, ...]
) -> None:
    text = shown(pages / f"{'-'.join(words)}.1")
    help_text = manpages.ask(SCRIPTS, *words)
    left_out = {
        "usage:",
        "examples:",
        "exit",
        "codes:",
        "options:",
        "arguments:",
        "positional",
        "commands:",
        "environment:",
    }
    said = {word for word in re.findall(r"\S+", help_text) if word.lower() not in left_out}
    assert {word for word in said if word not in text} == set()
    assert set(OPTION.findall(help_text)) <= set(OPTION.findall(text))


@each_page
def test_a_page_begins_with_its_name_and_leads_to_others(pages: Path, words: tuple[str, ...]) -> None:
    name = "-".join(words)
    text = shown(pages / f"{name}.1")
    assert re.search(rf"^NAME\n +{name} - \S", text, re.MULTILINE)
    named = set(re.findall(r"([a-z-]+)\(1\)", text.partition("SEE ALSO")[2]))
    assert named and all((pages / f"{each}.1").exists() for each in named)


@pytest.mark.parametrize("name", sorted(manpages.STAND_INS))
def test_what_stands_in_for_another_program_has_no_help_of_its_own(name: str) -> None:
    call = [f"{SCRIPTS}/{name}", "--help"]
    env = {"PATH": "/nonexistent", "HIVE_CLAUDE_BIN": "/bin/echo", "HIVE_CLAUDE_FLOW_BIN": "/bin/echo"}
    env |= {"HIVE_USER": "root"} if os.geteuid() == 0 else {}
    done = subprocess.run(call, env=env, cwd="/", capture_output=True, encoding="utf-8", timeout=CALL_S, check=False)
    assert "GNU coreutils" in done.stdout or done.stdout == "--help\n"


@pytest.mark.parametrize("path", [("hive-session",), ("hive-session", "create")], ids="-".join)
def test_man_finds_the_pages_once_the_programs_are_on_the_path(pages: Path, path: tuple[str, ...]) -> None:
    venv = pages.parents[2]
    (venv / "bin").mkdir(exist_ok=True)
    env = {"PATH": f"{venv / 'bin'}:/usr/bin:/bin"}
    done = subprocess.run(
        ["man", "-w", *path], env=env, capture_output=True, encoding="utf-8", timeout=CALL_S, check=False
    )
    assert done.stdout == f"{pages / '-'.join(path)}.1\n", done
