"""Where the real claude-flow and Claude Code are found, and which agent `auto` then means."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hive_session.config import Config, resolve_config
from hive_session.programs import LOGIN_VARIABLES, Programs, choose_agent, find_programs, has_key, has_login

NOBODY = 65534


def program(path: Path, text: str = "#!/bin/sh\n", mode: int = 0o755) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return str(path)


def configured(**env: str) -> Config:
    return resolve_config(env, None, "f", "/home/me", lambda path: False)


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which our own scripts and what bin/setup installs would be; nothing else is found."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    return tmp_path / "venv"


def found(*path: Path | str, **env: str) -> Programs:
    return find_programs(configured(**env), {"PATH": ":".join(map(str, path))})


def test_on_a_bare_machine_there_are_only_our_own_programs(prefix: Path) -> None:
    assert found("/nowhere") == Programs(
        claude_flow=None,
        claude=None,
        rehearsal=f"{prefix}/bin/hive-rehearsal",
        tap=f"{prefix}/bin/hive-tap",
        wrapper=f"{prefix}/bin/claude-flow",
    )
    assert find_programs(configured(), {}).claude is None


def test_what_a_variable_names_is_taken_as_it_is(prefix: Path, tmp_path: Path) -> None:
    program(tmp_path / "path/claude")
    programs = found(tmp_path / "path", HIVE_CLAUDE_BIN="/a/claude", HIVE_CLAUDE_FLOW_BIN="/a/flow")
    assert (programs.claude, programs.claude_flow) == ("/a/claude", "/a/flow")


@pytest.mark.parametrize("entry", ["bin/cli.js", "bin/claude-flow.js"])
def test_what_setup_installed_wins_over_path(prefix: Path, tmp_path: Path, entry: str) -> None:
    program(tmp_path / "path/claude-flow")
    installed = program(prefix / "node/node_modules/claude-flow" / entry)
    assert found(tmp_path / "path").claude_flow == installed


def test_the_first_on_path_is_taken(prefix: Path, tmp_path: Path) -> None:
    first, second = program(tmp_path / "a/claude"), program(tmp_path / "b/claude")
    assert found("/nowhere", tmp_path / "a", tmp_path / "b").claude == first
    assert found(tmp_path / "b", tmp_path / "a").claude == second


def test_a_relative_entry_of_path_is_passed_over(prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "claude")
    monkeypatch.chdir(tmp_path)
    assert found("", ".", "..").claude is None


def test_what_cannot_be_run_is_passed_over(prefix: Path, tmp_path: Path) -> None:
    program(tmp_path / "plain/claude", mode=0o644)
    (tmp_path / "directory/claude").mkdir(parents=True)
    (tmp_path / "dangling").mkdir()
    (tmp_path / "dangling/claude").symlink_to("nothing")
    real = program(tmp_path / "real/claude")
    assert found(tmp_path / "plain", tmp_path / "directory", tmp_path / "dangling", tmp_path / "real").claude == real


def test_our_stand_ins_are_never_taken_for_what_they_stand_for(prefix: Path, tmp_path: Path) -> None:
    for directory in ("session", "elsewhere"):
        (tmp_path / directory).mkdir()
    # Another installation's wrapper, and links to this one's as a session's bin/ has them.
    program(tmp_path / "elsewhere/claude-flow", "#!/x/bin/python\nfrom cf_wrapper.__main__ import main\n")
    program(tmp_path / "elsewhere/claude", "#!/x/bin/python\nfrom hive_session.tap import main\n")
    for name, script in (("claude", "hive-tap"), ("claude-flow", "claude-flow")):
        program(prefix / "bin" / script)
        (tmp_path / "session" / name).symlink_to(prefix / "bin" / script)
    programs = found(prefix / "bin", tmp_path / "session", tmp_path / "elsewhere")
    assert (programs.claude, programs.claude_flow) == (None, None)


@contextmanager
def as_anybody() -> Iterator[None]:
    """Without root's right to read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_program_that_may_be_run_but_not_read_is_taken(prefix: Path, tmp_path: Path) -> None:
    secret = program(tmp_path / "path/claude", mode=0o711)
    if os.geteuid() != 0:
        Path(secret).chmod(0o311)
    with as_anybody():
        assert found(tmp_path / "path").claude == secret


@pytest.mark.parametrize(
    ("package", "major"),
    [
        ('{"name": "claude-flow", "version": "3.43.0"}', 3),
        ('{"version":"2.7.0-alpha.14"}', 2),
        ('{"version" : "10.0.0"}', 10),
        ('{"version": "next"}', 3),
        ("\udcff", 3),
        (None, 3),
    ],
)
def test_the_version_is_that_of_the_package_around_it(
    prefix: Path, tmp_path: Path, package: str | None, major: int
) -> None:
    real = program(tmp_path / "lib/claude-flow/bin/cli.js")
    if package is not None:
        (tmp_path / "lib/claude-flow/package.json").write_bytes(package.encode("utf-8", "surrogateescape"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/claude-flow").symlink_to(real)  # as npm installs it
    programs = found(tmp_path / "bin")
    assert programs.claude_flow == f"{tmp_path}/bin/claude-flow"
    assert programs.claude_flow_major == major


# -- which agent -------------------------------------------------------------------------------------------------------


def programs(claude_flow: str | None = "/a/flow", claude: str | None = "/a/claude") -> Programs:
    return Programs(claude_flow=claude_flow, claude=claude, rehearsal="", tap="", wrapper="")


@pytest.mark.parametrize(
    ("there", "logged_in", "is_root", "agent", "lacking"),
    [
        (programs(), True, False, "claude-flow", ()),
        (programs(claude_flow=None), True, False, "rehearsal", ("claude-flow ",)),
        (programs(claude=None), True, False, "rehearsal", ("Claude Code ",)),
        (programs(), False, False, "rehearsal", ("a login ",)),
        (programs(), True, True, "rehearsal", ("another user ",)),
        (programs(None, None), False, True, "rehearsal", ("claude-flow ", "Claude Code ", "a login ", "another user ")),
    ],
)
def test_auto_means_claude_flow_only_where_all_it_takes_is_there(
    there: Programs, logged_in: bool, is_root: bool, agent: str, lacking: tuple[str, ...]
) -> None:
    chosen, why = choose_agent(there, logged_in=logged_in, is_root=is_root)
    assert chosen == agent
    assert [line.strip().startswith(lack) for line, lack in zip(why.split("\n")[1:], lacking, strict=True)] == [
        True
    ] * len(lacking)
    assert ("No model is involved" in why) == (chosen == "rehearsal")


# -- logins ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOGIN_VARIABLES)
def test_a_key_in_the_environment_is_a_login_wherever_home_is(name: str) -> None:
    assert has_key({name: "x"}) and has_login({name: "x"}, "/nowhere")
    assert not has_key({name: ""}) and not has_login({name: ""}, "/nowhere")


def test_a_login_is_found_in_the_directory_that_claude_code_would_use(tmp_path: Path) -> None:
    (tmp_path / ".claude").mkdir()
    assert not has_login({}, str(tmp_path))
    (tmp_path / ".claude/.credentials.json").touch()
    assert has_login({}, str(tmp_path))
    assert has_login({"CLAUDE_CONFIG_DIR": ""}, str(tmp_path))
    assert not has_login({"CLAUDE_CONFIG_DIR": str(tmp_path)}, str(tmp_path))
    assert has_login({"CLAUDE_CONFIG_DIR": str(tmp_path / ".claude")}, "/nowhere")
