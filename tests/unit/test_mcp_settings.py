"""What mcp-tcp is told: flag before environment before file, and one sentence for whatever is wrong."""

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk.settings import BadSetting, is_loopback
from mcp_tcp.settings import SETTINGS, Settings, resolve_settings

FILE = "/etc/hive/hive.toml"
SECRET = "s3cret-of-the-hive"


def resolved(text: str | None = None, flags: dict[str, Any] | None = None, /, **env: str) -> Settings:
    return resolve_settings(flags or {}, env, text, FILE)


def refusal(text: str | None = None, flags: dict[str, Any] | None = None, /, **env: str) -> str:
    with pytest.raises(BadSetting) as caught:
        resolved(text, flags, **env)
    return str(caught.value)


def test_without_anything_everything_has_its_default() -> None:
    expected = Settings(
        port=9500,
        health_port=9501,
        bind="127.0.0.1",
        token="",
        max_connections=50,
        max_request_bytes=1_048_576,
        linger_s=2.0,
        insecure=False,
        conformance=False,
    )
    assert resolved() == resolved("") == resolved("[ws_relay]\nport = 1\n[mcp_tcp]") == expected


def test_every_field_is_a_setting_but_what_only_a_flag_can_say() -> None:
    assert {field.name for field in fields(Settings)} == {*SETTINGS, "insecure", "conformance"}


VALUES: dict[str, tuple[str, Any, str, Any, str, Any]] = {  # file, variable, flag: what is written, what it means
    "port": ("1", 1, "2", 2, "0", 0),
    "health_port": ("1", 1, "2", 2, "-1", -1),
    "bind": ('"a"', "a", "b", "b", "c", "c"),
    "trust_network": ("true", True, "false", False, "true", True),
    "token": ('"a"', "a", "b", "b", "c", "c"),
    "max_connections": ("1", 1, "100000", 100_000, "3", 3),
    "max_request_bytes": ("1024", 1024, "1073741824", 1 << 30, "2048", 2048),
    "linger_s": ("0", 0.0, "1.5", 1.5, "3", 3.0),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_flag_wins_over_the_environment_and_that_over_the_file(name: str) -> None:
    variable = SETTINGS[name][0]
    in_file, file_value, in_variable, variable_value, on_line, flag_value = VALUES[name]
    text = f"[mcp_tcp]\n{name} = {in_file}\n"
    assert getattr(resolved(text), name) == file_value
    assert getattr(resolved(text, **{variable: ""}), name) == file_value  # an empty variable is none
    assert getattr(resolved(text, {name: None}), name) == file_value
    assert getattr(resolved(text, **{variable: in_variable}), name) == variable_value
    assert getattr(resolved(text, {name: on_line}, **{variable: in_variable}), name) == flag_value
    assert getattr(resolved(None, {name: on_line}), name) == flag_value


@pytest.mark.parametrize("name", ["insecure", "conformance"])
def test_what_only_a_flag_can_say(name: str) -> None:
    assert getattr(resolved(None, {name: True}), name) is True
    assert getattr(resolved(None, {name: False}), name) is False
    assert refusal(f"[mcp_tcp]\n{name} = true").startswith(f"{FILE}: no such key: mcp_tcp.{name}; known keys: port, ")


PORT = "must be a whole number from 0 to 65535"
SECONDS = "must be a number of seconds from 0"


@pytest.mark.parametrize(
    ("text", "env", "flags", "words"),
    [
        ("mcp_tcp = 1", {}, {}, f"{FILE}: mcp_tcp is not a table; write [mcp_tcp]"),
        ("[[mcp_tcp]]", {}, {}, f"{FILE}: mcp_tcp is not a table; write [mcp_tcp]"),
        (
            "[mcp_tcp]\nPort = 1\nAlso = 2",
            {},
            {},
            f"{FILE}: no such key: mcp_tcp.Also; known keys: port, health_port, bind, trust_network, "
            "token, max_connections, max_request_bytes, linger_s",
        ),
        ("[mcp_tcp]\nport = -1", {}, {}, f"{FILE}: mcp_tcp.port: -1 {PORT}"),
        ("[mcp_tcp]\nport = 65536", {}, {}, f"{FILE}: mcp_tcp.port: 65536 {PORT}"),
        ("[mcp_tcp]\nport = 1.0", {}, {}, f"{FILE}: mcp_tcp.port: 1.0 {PORT}"),
        ("[mcp_tcp]\nport = true", {}, {}, f"{FILE}: mcp_tcp.port: True {PORT}"),
        ("[mcp_tcp]\nport = []", {}, {}, f"{FILE}: mcp_tcp.port: [] {PORT}"),
        (None, {"MCP_TCP_PORT": "http"}, {}, f"MCP_TCP_PORT: 'http' {PORT}"),
        (None, {"MCP_TCP_PORT": "9" * 5000}, {}, f"MCP_TCP_PORT: '{'9' * 39} {PORT}"),
        (None, {}, {"port": "95OO"}, f"--port: '95OO' {PORT}"),
        (None, {}, {"port": ""}, f"--port: '' {PORT}"),
        (None, {"MCP_HEALTH_PORT": "-2"}, {}, "MCP_HEALTH_PORT: '-2' must be a whole number from -1 to 65535"),
        (None, {}, {"health_port": "x"}, "--health-port: 'x' must be a whole number from -1 to 65535"),
        ("[mcp_tcp]\nbind = 5", {}, {}, f"{FILE}: mcp_tcp.bind: 5 must be a text"),
        ("[mcp_tcp]\nbind = ''", {}, {}, f"{FILE}: mcp_tcp.bind: '' must be a text"),
        (None, {}, {"bind": ""}, "--bind: '' must be a text"),
        ("[mcp_tcp]\ntrust_network = 1", {}, {}, f"{FILE}: mcp_tcp.trust_network: 1 must be true or false"),
        (None, {"HIVE_TRUST_NETWORK": "yes"}, {}, "HIVE_TRUST_NETWORK: 'yes' must be true or false"),
        ("[mcp_tcp]\ntoken = 123456789", {}, {}, f"{FILE}: mcp_tcp.token: must be a text"),
        ("[mcp_tcp]\ntoken = ''", {}, {}, f"{FILE}: mcp_tcp.token: must be a text"),
        (None, {"TCP_MAX_CONNECTIONS": "0"}, {}, "TCP_MAX_CONNECTIONS: '0' must be a whole number from 1 to 100000"),
        (None, {}, {"max_connections": "1e3"}, "--max-connections: '1e3' must be a whole number from 1 to 100000"),
        (None, {"MAX_REQUEST_SIZE": "9"}, {}, "MAX_REQUEST_SIZE: '9' must be a whole number from 1024 to 1073741824"),
        (None, {"MCP_LINGER_S": "2 s"}, {}, f"MCP_LINGER_S: '2 s' {SECONDS}"),
        ("[mcp_tcp]\nlinger_s = -0.1", {}, {}, f"{FILE}: mcp_tcp.linger_s: -0.1 {SECONDS}"),
        ("[mcp_tcp]\nlinger_s = nan", {}, {}, f"{FILE}: mcp_tcp.linger_s: nan {SECONDS}"),
        ("[mcp_tcp]\nlinger_s = inf", {}, {}, f"{FILE}: mcp_tcp.linger_s: inf {SECONDS}"),
        ("[mcp_tcp]\nlinger_s = true", {}, {}, f"{FILE}: mcp_tcp.linger_s: True {SECONDS}"),
        ("[mcp_tcp]\nlinger_s = []", {}, {}, f"{FILE}: mcp_tcp.linger_s: [] {SECONDS}"),
        (f"[mcp_tcp]\nlinger_s = 1{'0' * 400}", {}, {}, f"{FILE}: mcp_tcp.linger_s: 1{'0' * 39} {SECONDS}"),
        (None, {}, {"linger_s": "x\n\x1b[31m"}, f"--linger-s: 'x\\n\\x1b[31m' {SECONDS}"),
    ],
)
def test_whatever_is_wrong_is_named_with_its_source(
    text: str | None, env: dict[str, str], flags: dict[str, Any], words: str
) -> None:
    assert refusal(text, flags, **env) == words


def test_a_value_that_another_source_overrides_must_be_right_all_the_same() -> None:
    assert refusal("[mcp_tcp]\nport = 'x'", {"port": "1"}).startswith(f"{FILE}: mcp_tcp.port: ")


def test_a_file_that_is_not_toml_says_where() -> None:
    words = refusal("[mcp_tcp]\nport = 1\nport = 2\n")
    assert words.startswith(f"{FILE}: not TOML: ") and "line 3" in words


@pytest.mark.parametrize(
    "text",
    [
        f"[mcp_tcp]\ntoken = ['{SECRET}']",
        f"[mcp_tcp]\ntoken = {{ is = '{SECRET}' }}",
        f"[mcp_tcp]\ntoken = '{SECRET}'\ntoken = '{SECRET}'",
        f"[mcp_tcp]\ntoken = {SECRET}",
        f"[mcp_tcp]\ntoken = '{SECRET}",
        f"[mcp_tcp]\ntoken = '{SECRET}'\nport = 'x'",
        f"[mcp_tcp]\ntoken = '{SECRET}'\nother = 1",
    ],
)
def test_no_sentence_tells_the_token(text: str) -> None:
    words = refusal(text)
    assert SECRET not in words and SECRET[:6] not in words


@pytest.mark.parametrize(
    ("bind", "token", "insecure", "host"),
    [
        ("127.0.0.1", "", False, "127.0.0.1"),
        ("localhost", "", False, "localhost"),
        ("::1", "", False, "::1"),
        ("127.8.9.10", "", False, "127.8.9.10"),
        ("0.0.0.0", "", False, "127.0.0.1"),
        ("::", "", False, "127.0.0.1"),
        ("192.0.2.1", "", False, "127.0.0.1"),
        ("127.example.org", "", False, "127.0.0.1"),
        ("localhost.example.org", "", False, "127.0.0.1"),
        ("0.0.0.0", "", True, "0.0.0.0"),
        ("0.0.0.0", SECRET, False, "0.0.0.0"),
        ("127.0.0.1", SECRET, True, "127.0.0.1"),
    ],
)
def test_without_a_token_only_this_machine_is_served(bind: str, token: str, insecure: bool, host: str) -> None:
    assert Settings(bind=bind, token=token, insecure=insecure).host == host


@given(st.text(max_size=20))
def test_whatever_bind_says_without_a_token_the_host_is_loopback(bind: str) -> None:
    assert is_loopback(Settings(bind=bind).host)


@given(st.sampled_from(sorted(SETTINGS)), st.text(st.characters(codec="utf-8"), max_size=12))
def test_any_text_is_taken_or_named(name: str, text: str) -> None:
    variable = SETTINGS[name][0]
    sources: list[tuple[str, dict[str, Any], dict[str, str]]] = [
        (variable, {}, {variable: text}),
        (f"--{name.replace('_', '-')}", {name: text}, {}),
    ]
    for source, flags, env in sources:
        try:
            resolved(None, flags, **env)
        except BadSetting as exc:
            assert str(exc).startswith(f"{source}: ") and "\n" not in str(exc)
