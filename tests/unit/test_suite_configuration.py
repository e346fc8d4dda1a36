"""What is found in supervisord's files, and that our own are without fault."""

import shutil
from pathlib import Path

import pytest

from hive_session.suite.configuration import Flaw, find_flaws, known_keys, read_entries
from hive_session.suite.environment import PORTS, programs_environment, resolve_environment

OURS = Path(__file__).parents[2] / "etc/supervisor"
BARE = """
[supervisord]
logfile={place}/supervisord.log
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """What supervisord would get here; its directories do not exist yet."""
    values = resolve_environment(
        {"HIVE_WORKSPACE": "/nowhere", "HIVE_RUN_DIR": "/nowhere/run"},
        user="root",
        uid=0,
        home="/root",
        bin_dir=str(tmp_path / "bin"),
        checkout="/src",
        claude_flow=True,
        exists=lambda path: False,
    )
    for name in ("mcp-tcp", "ws-relay", "mcp-tcp-proxy", "hive-session", "hive-suite", "hive-health"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.touch(0o755)
    values |= {name: str(default) for name, (default, _, _) in PORTS.items()}
    return programs_environment({"PATH": "/usr/bin:/bin"}, values)


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A copy of our own files; 90-more.conf beside them is for the test to write."""
    shutil.copytree(OURS, tmp_path / "supervisor")
    return tmp_path / "supervisor/supervisord.conf"


def add(conf: Path, text: str) -> str:
    more = conf.parent / "conf.d/90-more.conf"
    more.write_text(text, encoding="utf-8")
    return str(more)


def the_one(flaws: list[Flaw]) -> Flaw:
    (flaw,) = flaws
    return flaw


def test_our_own_files_have_no_flaw(env: dict[str, str]) -> None:
    assert find_flaws(str(OURS / "supervisord.conf"), env) == []


def test_the_documented_programs_are_there_and_in_no_group() -> None:
    entries = read_entries(str(OURS / "conf.d/10-core.conf"))
    sections = [entry.section for entry in entries if not entry.key]
    assert sections == [
        "program:reconcile",
        "program:mcp-tcp-server",
        "program:mcp-ws-bridge",
        "program:claude-flow-tcp",
        "program:cleanup",
        "eventlistener:health",
    ]


def test_there_is_no_port_to_supervisord() -> None:
    kinds = {entry.kind for file in OURS.rglob("*.conf") for entry in read_entries(str(file))}
    assert "inet_http_server" not in kinds


def test_the_keys_are_those_that_supervisord_itself_asks_for() -> None:
    known = known_keys()
    assert {"command", "autorestart", "stdout_logfile_maxbytes", "stopasgroup", "environment"} <= known["program"]
    assert "autorestrat" not in known["program"]
    assert {"events", "buffer_size", "command"} <= known["eventlistener"]
    assert {"file", "chmod", "chown"} <= known["unix_http_server"]
    assert {"serverurl", "history_file"} <= known["supervisorctl"]
    assert {"nodaemon", "pidfile", "minfds"} <= known["supervisord"]
    assert known["group"] == {"programs", "priority"} and known["include"] == {"files"}


def test_a_misspelt_key_is_found_with_its_line_and_the_one_that_was_meant(conf: Path, env: dict[str, str]) -> None:
    more = add(conf, "; a comment\n[program:x]\ncommand=/bin/true\nautorestrat=true\n")
    flaw = the_one(find_flaws(str(conf), env))
    assert (flaw.where, flaw.mend) == (f"{more}:4", "did you mean autorestart?")


def test_a_section_of_no_kind_is_found(conf: Path, env: dict[str, str]) -> None:
    more = add(conf, "[programm:x]\ncommand=/bin/true\n")
    assert the_one(find_flaws(str(conf), env)).where == f"{more}:1"


@pytest.mark.parametrize("mark", [";", "#"])
def test_a_value_that_is_cut_short_between_its_quotes_is_a_problem(conf: Path, env: dict[str, str], mark: str) -> None:
    add(conf, f"[program:x]\ncommand=/bin/sh -c 'sleep 1 {mark} true'\n")
    flaws = find_flaws(str(conf), env)
    assert [flaw.level for flaw in flaws if "comment" in flaw.what] == ["problem"]
    assert any("words" in flaw.what or "quot" in flaw.what for flaw in flaws if "comment" not in flaw.what)


def test_a_comment_behind_a_value_is_only_a_warning_and_a_semicolon_without_a_blank_is_nothing(
    conf: Path, env: dict[str, str]
) -> None:
    add(conf, "[program:x]\ncommand=/bin/sh -c 'true; true'\npriority=5 ; early\n")
    assert the_one(find_flaws(str(conf), env)).level == "warning"


def test_of_variables_only_the_one_that_is_missing_is_named(conf: Path, env: dict[str, str]) -> None:
    more = add(conf, "[program:x]\ncommand=/bin/echo %(ENV_MISSING)s %(ENV_HOME)s\n")
    env["ANOTHER_ONE"] = "another-value"
    flaw = the_one(find_flaws(str(conf), env))
    assert flaw.where == f"{more}:2" and "MISSING" in flaw.what
    assert "ANOTHER" not in str(flaw) and "another-value" not in str(flaw)


def test_a_variable_that_the_file_itself_sets_is_set(conf: Path, env: dict[str, str]) -> None:
    add(conf, '[program:x]\nenvironment=DEEP="/x y",OTHER=1\ncommand=/bin/echo %(ENV_DEEP)s %(ENV_LOGNAME)s\n')
    del env["LOGNAME"]
    assert find_flaws(str(conf), env) == []


def test_a_section_without_a_command_is_supervisord_s_own_complaint(conf: Path, env: dict[str, str]) -> None:
    add(conf, "[program:x]\npriority=1\n")
    assert "does not specify a command" in the_one(find_flaws(str(conf), env)).what


@pytest.mark.parametrize("line", ["autostart=maybe", "user=no-such-user", "startsecs=soon", "stopsignal=STOPP"])
def test_a_bad_value_is_supervisord_s_own_complaint(conf: Path, env: dict[str, str], line: str) -> None:
    add(conf, f"[program:x]\ncommand=/bin/true\n{line}\n")
    assert the_one(find_flaws(str(conf), env)).level == "problem"


def test_no_secret_is_told_where_supervisord_quotes_a_value(conf: Path, env: dict[str, str]) -> None:
    env["TCP_AUTH_TOKEN"] = "very-secret"
    add(conf, "[program:x]\ncommand=/bin/true\nenvironment=A=%(ENV_TCP_AUTH_TOKEN)s,B\n")
    flaws = find_flaws(str(conf), env)
    assert flaws and "very-secret" not in str(flaws)


def test_two_programs_must_not_have_one_log_file(conf: Path, env: dict[str, str]) -> None:
    add(conf, "[program:x]\ncommand=/bin/true\nstderr_logfile=%(ENV_HIVE_MCP_LOG_DIR)s/tcp-server.log\n")
    flaw = the_one(find_flaws(str(conf), env))
    assert "stdout of mcp-tcp-server" in flaw.what and "stderr of x" in flaw.what


def test_a_program_that_is_not_there_is_missed_only_where_it_would_be_started(conf: Path, env: dict[str, str]) -> None:
    add(conf, "[program:x]\ncommand=no-such-program\n[program:y]\ncommand=neither-this\nautostart=false\n")
    assert "no-such-program" in the_one(find_flaws(str(conf), env)).what


def test_what_is_no_file_of_supervisord_is_one_finding(tmp_path: Path, env: dict[str, str]) -> None:
    conf = tmp_path / "x.conf"
    assert the_one(find_flaws(str(conf), env)).where == str(conf)
    conf.write_text("no section\n", encoding="utf-8")
    assert find_flaws(str(conf), env)
    conf.write_bytes(b"\xff\xfe")
    assert find_flaws(str(conf), env)


def test_a_file_without_includes_is_judged_by_itself(tmp_path: Path, env: dict[str, str]) -> None:
    conf = tmp_path / "x.conf"
    conf.write_text(BARE.format(place=tmp_path), encoding="utf-8")
    assert find_flaws(str(conf), env) == []
