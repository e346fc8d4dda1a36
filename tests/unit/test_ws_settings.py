"""What ws-relay is told: flag before environment before file, and one sentence for whatever is wrong."""

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk.settings import BadFlag, BadSetting, is_loopback
from ws_relay.settings import SETTINGS, Settings, resolve_settings

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
        port=3002,
        bind="127.0.0.1",
        token="",
        max_connections=100,
        allowed_origins=(),
        max_bytes_per_s=None,
        ping_s=20,
        insecure=False,
        echo=False,
    )
    assert resolved() == resolved("") == resolved("[mcp_tcp]\nport = 1\n[ws_relay]") == expected


def test_every_field_is_a_setting_but_what_only_a_flag_can_say() -> None:
    assert {field.name for field in fields(Settings)} == {*SETTINGS, "insecure", "echo"}


A, B, C = "https://a.example", "https://b.example:8443", "http://[::1]:3000"
VALUES: dict[str, tuple[str, Any, str, Any, str, Any]] = {  # file, variable, flag: what is written, what it means
    "port": ("1", 1, "2", 2, "0", 0),
    "bind": ('"a"', "a", "b", "b", "c", "c"),
    "trust_network": ("true", True, "false", False, "true", True),
    "token": ('"a"', "a", "b", "b", "c", "c"),
    "max_connections": ("1", 1, "100000", 100_000, "3", 3),
    "allowed_origins": (f'["{A}"]', (A,), f" {A}/ ,{B},", (A, B), C, (C,)),
    "max_bytes_per_s": ("1000", 1000, "1000000000", 10**9, "65536", 65536),
    "ping_s": ("1", 1, "3600", 3600, "5", 5),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_flag_wins_over_the_environment_and_that_over_the_file(name: str) -> None:
    variable = SETTINGS[name][0]
    in_file, file_value, in_variable, variable_value, on_line, flag_value = VALUES[name]
    text = f"[ws_relay]\n{name} = {in_file}\n"
    assert getattr(resolved(text), name) == file_value
    assert getattr(resolved(text, **{variable: ""}), name) == file_value  # an empty variable is none
    assert getattr(resolved(text, **{variable: in_variable}), name) == variable_value
    assert getattr(resolved(text, {name: on_line}, **{variable: in_variable}), name) == flag_value


@pytest.mark.parametrize("name", ["insecure", "echo"])
def test_what_only_a_flag_can_say(name: str) -> None:
    assert getattr(resolved(None, {name: True}), name) is True
    assert getattr(resolved(None, {name: False}), name) is False
    assert refusal(f"[ws_relay]\n{name} = true").startswith(f"{FILE}: no such key: ws_relay.{name}; known keys: port, ")


ORIGINS = "must be origins with commas between them, such as https://example.org"


@pytest.mark.parametrize(
    ("text", "env", "flags", "words"),
    [
        ("ws_relay = 1", {}, {}, f"{FILE}: ws_relay is not a table; write [ws_relay]"),
        ("[ws_relay]\nport = 65536", {}, {}, f"{FILE}: ws_relay.port: 65536 must be a whole number from 0 to 65535"),
        (None, {"WS_MAX_CONNECTIONS": "0"}, {}, "WS_MAX_CONNECTIONS: '0' must be a whole number from 1 to 100000"),
        (None, {"WS_PING_S": "0"}, {}, "WS_PING_S: '0' must be a whole number from 1 to 3600"),
        (
            None,
            {"WS_MAX_BYTES_PER_S": "0"},
            {},
            "WS_MAX_BYTES_PER_S: '0' must be a whole number from 1000 to 1000000000",
        ),
        ("[ws_relay]\nallowed_origins = 1", {}, {}, f"{FILE}: ws_relay.allowed_origins: 1 {ORIGINS}"),
        ("[ws_relay]\nallowed_origins = [1]", {}, {}, f"{FILE}: ws_relay.allowed_origins: [1] {ORIGINS}"),
        (
            None,
            {},
            {"allowed_origins": "example.org"},
            "--allowed-origins: 'example.org' holds 'example.org', which is no origin; "
            "write it as https://example.org:8443",
        ),
    ],
)
def test_whatever_is_wrong_is_named_with_its_source(
    text: str | None, env: dict[str, str], flags: dict[str, Any], words: str
) -> None:
    assert refusal(text, flags, **env) == words


@pytest.mark.parametrize("origin", ["*", "null", "https://", "https://a/b", "ftp://a", "https://a:b", "https://a b"])
def test_what_is_no_origin_of_a_page_cannot_be_allowed(origin: str) -> None:
    assert "which is no origin" in refusal(None, WS_ALLOWED_ORIGINS=origin)


def test_a_wrong_flag_is_told_from_a_wrong_setting() -> None:
    with pytest.raises(BadFlag):
        resolved(None, {"port": "x"})


def test_no_sentence_tells_the_token() -> None:
    assert SECRET not in refusal(f"[ws_relay]\ntoken = ['{SECRET}']")


@given(st.text(max_size=20))
def test_whatever_bind_says_without_a_token_the_host_is_loopback(bind: str) -> None:
    assert is_loopback(Settings(bind=bind).host)


@pytest.mark.parametrize("given", [{"token": SECRET}, {"insecure": True}, {"trust_network": True}])
def test_with_a_token_or_by_force_or_in_trust_other_machines_are_served(given: dict[str, Any]) -> None:
    assert Settings(bind="0.0.0.0", **given).host == "0.0.0.0"


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_list_of_origins_is_taken_or_named(text: str) -> None:
    try:
        found = resolved(None, {"allowed_origins": text}).allowed_origins
    except BadSetting as exc:
        assert str(exc).startswith("--allowed-origins: ") and "\n" not in str(exc)
    else:
        assert all(each.startswith(("http://", "https://")) for each in found)
