"""The configuration: environment, then file, then default; whatever is wrong is named with its source."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.config import SETTINGS, CommandAgent, Config, resolve_config
from hive_session.errors import BadConfig

FILE = "/etc/hive/hive.toml"


def resolved(text: str | None = None, **env: str) -> Config:
    return resolve_config(env, text, FILE, "/home/me", lambda path: False)


def refusal(text: str | None = None, **env: str) -> str:
    with pytest.raises(BadConfig) as caught:
        resolved(text, **env)
    return caught.value.what


def test_without_file_and_variables_everything_has_its_default() -> None:
    config = resolved()
    assert config == Config(layout=config.layout)
    assert config.layout.workspace == "/home/me/.local/state/hive"
    assert replace(resolved(""), layout=config.layout) == config


def test_every_field_but_layout_user_and_agents_is_a_setting() -> None:
    assert {field.name for field in fields(Config)} == {*SETTINGS, "layout", "user", "agents"}


VALUES: dict[str, tuple[str, Any, str, Any]] = {  # in the file, what it means, in the variable, what that means
    "default_agent": ('"claude"', "claude", "rehearsal", "rehearsal"),
    "max_concurrent": ("3", 3, "5", 5),
    "stop_grace_s": ("2.5", 2.5, "0", 0.0),
    "log_max_bytes": ("4096", 4096, "8192", 8192),
    "log_backups": ("0", 0, "9", 9),
    "claude_bin": ('"/a/claude"', "/a/claude", "/b/claude", "/b/claude"),
    "claude_flow_bin": ('"/a/flow"', "/a/flow", "/b/flow", "/b/flow"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_variable_wins_over_the_file_and_the_file_over_the_default(name: str) -> None:
    variable, key, _ = SETTINGS[name]
    in_file, file_value, in_variable, variable_value = VALUES[name]
    text = f"{key} = {in_file}"
    assert getattr(resolved(text), name) == file_value
    assert getattr(resolved(text, **{variable: ""}), name) == file_value  # an empty variable is none
    assert getattr(resolved(text, **{variable: in_variable}), name) == variable_value
    assert getattr(resolved(None, **{variable: in_variable}), name) == variable_value


@pytest.mark.parametrize(
    ("text", "env", "words"),
    [
        ("x = 1", {}, f"{FILE}: no such key: x"),
        ("Max_Concurrent_Sessions = 1", {}, f"{FILE}: no such key: Max_Concurrent_Sessions"),
        ("max_concurrent_sessions = -1", {}, f"{FILE}: max_concurrent_sessions: -1 is not a whole number from 0"),
        ("max_concurrent_sessions = 1.0", {}, f"{FILE}: max_concurrent_sessions: 1.0 is not a whole number from 0"),
        ("max_concurrent_sessions = true", {}, f"{FILE}: max_concurrent_sessions: True is not a whole number from 0"),
        ("max_concurrent_sessions = []", {}, f"{FILE}: max_concurrent_sessions: [] is not a whole number from 0"),
        (None, {"MAX_CONCURRENT_SESSIONS": "-1"}, "MAX_CONCURRENT_SESSIONS: '-1' is not a whole number from 0"),
        (None, {"MAX_CONCURRENT_SESSIONS": "many"}, "MAX_CONCURRENT_SESSIONS: 'many' is not a number"),
        (None, {"MAX_CONCURRENT_SESSIONS": "9" * 5000}, f"MAX_CONCURRENT_SESSIONS: '{'9' * 38}… is not a number"),
        ("stop_grace_s = -0.1", {}, f"{FILE}: stop_grace_s: -0.1 is not a number of seconds from 0"),
        ("stop_grace_s = nan", {}, f"{FILE}: stop_grace_s: nan is not a number of seconds from 0"),
        ("stop_grace_s = inf", {}, f"{FILE}: stop_grace_s: inf is not a number of seconds from 0"),
        ("stop_grace_s = [1]", {}, f"{FILE}: stop_grace_s: [1] is not a number"),
        (None, {"HIVE_STOP_GRACE_S": "8 s"}, "HIVE_STOP_GRACE_S: '8 s' is not a number"),
        ("user = 5", {}, f"{FILE}: no such key: user"),
        ("default_agent = 5", {}, f"{FILE}: default_agent: 5 is not a text"),
        ('default_agent = ""', {}, f"{FILE}: default_agent: '' is not a text"),
        ('claude_bin = "claude"', {}, f"{FILE}: claude_bin: 'claude' is not an absolute path"),
        (None, {"HIVE_CLAUDE_BIN": "./claude"}, "HIVE_CLAUDE_BIN: './claude' is not an absolute path"),
        (None, {"HIVE_WORKSPACE": "w"}, "HIVE_WORKSPACE: 'w' is not an absolute path"),
        (None, {"HIVE_OUTPUT_ROOT": "../o"}, "HIVE_OUTPUT_ROOT: '../o' is not an absolute path"),
        (None, {"HIVE_LOG_DIR": "~/l"}, "HIVE_LOG_DIR: '~/l' is not an absolute path"),
        ("agents = 1", {}, f"{FILE}: agents is not a table"),
        ("[agents]\nx = 1", {}, f"{FILE}: agents.x is not a table"),
        ("[agents.x]", {}, f"{FILE}: agents.x: argv is not a list of texts"),
        ("[agents.x]\nargv = []", {}, f"{FILE}: agents.x: argv is not a list of texts"),
        ('[agents.x]\nargv = "prog {task}"', {}, f"{FILE}: agents.x: argv is not a list of texts"),
        ("[agents.x]\nargv = [1]", {}, f"{FILE}: agents.x: argv is not a list of texts"),
        ('[agents.x]\nargv = ["a"]\nshell = true', {}, f"{FILE}: agents.x: no such key: shell"),
        ('[agents.x]\nargv = ["a"]\nstdin = "tty"', {}, f"{FILE}: agents.x: stdin is 'tty'"),
        ('[agents.x]\nargv = ["a"]\nenv = ["A=b"]', {}, f"{FILE}: agents.x: env is not a table of texts"),
        ('[agents.x]\nargv = ["a"]\nenv = {A = 1}', {}, f"{FILE}: agents.x: env is not a table of texts"),
        ('[agents.x]\nargv = ["a"]\nenv = {"A=B" = "c"}', {}, f"{FILE}: agents.x: env: 'A=B' is not the name of a variable"),
        ('[agents.x]\nargv = ["a"]\nenv = {"" = "c"}', {}, f"{FILE}: agents.x: env: '' is not the name of a variable"),
        ('[agents.x]\nargv = ["a"]\nenv = {A = "\\u0000"}', {}, f"{FILE}: agents.x: env is not a table of texts"),
        ('[agents.x]\nargv = ["a\\u0000"]', {}, f"{FILE}: agents.x: argv is not a list of texts"),
        ('[agents.x]\nargv = [""]', {}, f"{FILE}: agents.x: argv is not a list of texts"),
        ('[agents.x]\nargv = ["a"]\nruns_claude = 1', {}, f"{FILE}: agents.x: runs_claude is not true or false"),
    ],
)  # fmt: skip
def test_whatever_is_wrong_is_named_with_its_source(text: str | None, env: dict[str, str], words: str) -> None:
    assert refusal(text, **env) == words


def test_a_file_that_is_not_toml_says_where() -> None:
    words = refusal('user = "bee"\nuser = "wasp"\n')
    assert words.startswith(f"{FILE}: not TOML: ") and "line 2" in words


@pytest.mark.parametrize("table", ["mcp_tcp", "ws_relay"])
def test_the_tables_of_other_programs_are_left_to_them(table: str) -> None:
    text = f"max_concurrent_sessions = 3\n[{table}]\nport = 'not for us to judge'\nx = 1\n"
    config = resolved(text)
    assert config == Config(layout=config.layout, max_concurrent=3)
    assert refusal(f"[{table}s]\nport = 1") == f"{FILE}: no such key: {table}s"


def test_an_unknown_key_is_answered_with_those_there_are() -> None:
    with pytest.raises(BadConfig) as caught:
        resolved("x = 1")
    assert all(key in caught.value.hint for _, key, _ in SETTINGS.values() if key)


def test_an_agent_of_the_file_has_what_it_says_and_defaults_else() -> None:
    agents = resolved(
        '[agents.least]\nargv = ["prog"]\n'
        '[agents.most]\nargv = ["prog", "{task}"]\nstdin = "task"\nenv = {A = "b"}\nruns_claude = true\n'
    ).agents
    assert agents == {
        "least": CommandAgent(name="least", argv=("prog",)),
        "most": CommandAgent(name="most", argv=("prog", "{task}"), stdin="task", env={"A": "b"}, runs_claude=True),
    }


@given(st.sampled_from(sorted(SETTINGS)), st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12))
def test_any_text_in_a_variable_is_taken_or_named(name: str, text: str) -> None:
    variable = SETTINGS[name][0]
    try:
        resolved(None, **{variable: text})
    except BadConfig as exc:
        assert exc.what.startswith(f"{variable}: ")
