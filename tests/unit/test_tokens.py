"""The check of a token, and what bad ones cost the address they come from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_session.ondisk.tokens import FORGET_AFTER_S, MAX_ADDRESSES, Failures, token_matches

HOUSE, NEIGHBOUR = "192.0.2.7", "192.0.2.8"


def failed(times: int, address: str = HOUSE, now_s: float = 100.0) -> Failures:
    failures = Failures()
    for _ in range(times):
        failures.failed(address, now_s)
    return failures


@pytest.mark.parametrize("token", ["secret", "x", "é€😀", "a" * 10_000, "\udcff"])
def test_the_token_itself_matches(token: str) -> None:
    assert token_matches(token, token)


@pytest.mark.parametrize("given_", ["", "secre", "secret ", "Secret", "secrets", "secret\x00", "\ud800"])
def test_any_other_string_does_not_match(given_: str) -> None:
    assert not token_matches(given_, "secret")


@pytest.mark.parametrize("given_", [None, True, 0, 1.5, b"secret", ["secret"], {"token": "secret"}, {}, object()])
def test_what_is_no_string_never_matches(given_: object) -> None:
    assert not token_matches(given_, "secret")


@pytest.mark.parametrize("given_", ["", None, False, 0])
def test_nothing_matches_a_token_that_is_not_set(given_: object) -> None:
    assert not token_matches(given_, "")


@given(st.text(), st.text())
def test_tokens_match_when_they_are_equal_and_only_then(one: str, other: str) -> None:
    assert token_matches(one, other) is (one == other and other != "")


def test_an_address_without_failures_does_not_wait() -> None:
    assert Failures().delay_s(HOUSE, 0.0) == 0


def test_nine_bad_tokens_cost_nothing_and_from_the_tenth_on_the_delay_doubles_to_a_minute() -> None:
    failures, delays = Failures(), []
    for _ in range(20):
        failures.failed(HOUSE, 100.0)
        delays.append(failures.delay_s(HOUSE, 100.0))
    assert delays == [0] * 9 + [1, 2, 4, 8, 16, 32] + [60] * 5


def test_any_number_of_bad_tokens_costs_no_more_than_a_minute() -> None:
    assert failed(5000).delay_s(HOUSE, 100.0) == 60


def test_other_addresses_do_not_wait() -> None:
    assert failed(50).delay_s(NEIGHBOUR, 100.0) == 0


def test_a_good_token_clears_its_address_alone() -> None:
    failures = failed(12)
    for _ in range(12):
        failures.failed(NEIGHBOUR, 100.0)
    failures.succeeded(HOUSE)
    assert (failures.delay_s(HOUSE, 100.0), failures.delay_s(NEIGHBOUR, 100.0)) == (0, 4)
    failures.failed(HOUSE, 100.0)
    assert failures.delay_s(HOUSE, 100.0) == 0


def test_a_good_token_from_an_address_without_failures_changes_nothing() -> None:
    failures = Failures()
    failures.succeeded(HOUSE)
    assert failures.delay_s(HOUSE, 0.0) == 0


def test_an_address_is_forgotten_15_minutes_after_its_last_failure() -> None:
    assert FORGET_AFTER_S == 900
    failures = failed(12)
    assert failures.delay_s(HOUSE, 999.9) == 4
    assert failures.delay_s(HOUSE, 1000.0) == 0
    failures.failed(HOUSE, 1000.0)
    assert failures.delay_s(HOUSE, 1000.0) == 0


def test_each_failure_begins_the_15_minutes_anew() -> None:
    failures = failed(9)
    failures.failed(HOUSE, 900.0)
    failures.failed(NEIGHBOUR, 1500.0)
    assert failures.delay_s(HOUSE, 1799.0) == 1


def test_the_table_is_bounded_and_forgets_the_oldest_first() -> None:
    failures = failed(10, now_s=0.0)
    for number in range(MAX_ADDRESSES - 1):
        failures.failed(f"198.51.100.{number}", 1.0)
    assert failures.delay_s(HOUSE, 1.0) == 1
    failures.failed(HOUSE, 1.0)  # no longer the oldest
    failures.failed(NEIGHBOUR, 1.0)
    assert failures.delay_s(HOUSE, 1.0) == 2
    for number in range(MAX_ADDRESSES - 1):
        failures.failed(f"203.0.113.{number}", 2.0)
    assert failures.delay_s(HOUSE, 2.0) == 0
