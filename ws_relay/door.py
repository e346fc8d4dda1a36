"""Who is let in: the token of a request, the web page that it comes from, and the name that it calls us by; pure.

The rules of this file:
- A token comes as `Authorization: Bearer TOKEN`, as `?token=TOKEN`, or as the subprotocol `bearer.TOKEN` (percent-encoded
  where it has to be), which is the one header that a page can set. It is compared in constant time and never told.
- A page of another origin may not connect: whoever opens it would lend it their place in the network. No Origin means no
  browser, or a request of our own page.
- Where no token is asked for, because only this machine is served, we answer to names of this machine alone: a foreign page
  can have its own name lead here (DNS rebinding), and would then be of our origin.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl, unquote

from hive_session.ondisk.settings import is_loopback
from hive_session.ondisk.tokens import token_matches

if TYPE_CHECKING:
    from ws_relay.settings import Settings

BEARER = "bearer."  # begins the subprotocol that is a token
DEFAULT_PORTS = {"http": "80", "https": "443"}
MOST_FIELDS = 32  # of a query


class Headers(Protocol):
    """The headers of a request, whatever the case of their names."""

    def get_all(self, key: str, /) -> list[str]:
        """The values of all headers of this name."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a request is answered with instead."""

    status: int
    sentence: str
    bad_token: bool = False  # one was given, and it is wrong


class Door:
    """Judges requests by their heads."""

    def __init__(self, settings: Settings) -> None:
        self._token = settings.token
        self._origins = frozenset(settings.allowed_origins)
        self._names = {_host(origin.partition("://")[2]) for origin in settings.allowed_origins}
        self._any_name = bool(settings.token) or settings.insecure

    @property
    def open(self) -> bool:
        """True where no token is needed."""
        return not self._token

    def judge(self, target: str, headers: Headers) -> Refusal | None:
        """Why a request may not see sessions; None lets it in."""
        return self._judge_name(headers) or self._judge_origin(headers) or self._judge_token(target, headers)

    def allows_reading(self, origin: str) -> bool:
        """True for a foreign page that may read our answers."""
        return origin.lower() in self._origins

    def _judge_name(self, headers: Headers) -> Refusal | None:
        for host in headers.get_all("Host"):
            name = _host(host.lower())
            ours = is_loopback(name.strip("[]")) or name.endswith(".localhost") or name in self._names
            if not (self._any_name or ours):
                return Refusal(
                    403, f"without a token only this machine is served, not as {_shown(host)}; set WS_AUTH_TOKEN"
                )
        return None

    def _judge_origin(self, headers: Headers) -> Refusal | None:
        hosts = headers.get_all("Host")
        for origin in headers.get_all("Origin"):
            scheme, _, place = origin.lower().partition("://")
            ours = scheme in DEFAULT_PORTS and [_with_port(place, scheme)] == [
                _with_port(host.lower(), scheme) for host in hosts
            ]
            if not (ours or self.allows_reading(origin)):
                return Refusal(
                    403, f"pages of {_shown(origin)} may not connect; WS_ALLOWED_ORIGINS names those that may"
                )
        return None

    def _judge_token(self, target: str, headers: Headers) -> Refusal | None:
        if self.open:
            return None
        given = list(tokens_given(target, headers))
        # All are compared, so that the time tells nothing of which one was right.
        if sum(token_matches(token, self._token) for token in given):
            return None
        if given:
            return Refusal(401, "the token is wrong", bad_token=True)
        return Refusal(401, "a token is needed: Authorization: Bearer TOKEN, ?token=TOKEN, or subprotocol bearer.TOKEN")


def tokens_given(target: str, headers: Headers) -> Iterator[str]:
    """Every token that a request brings, wherever it stands."""
    for value in headers.get_all("Authorization"):
        scheme, _, token = value.strip().partition(" ")
        yield token.strip() if scheme.lower() == "bearer" else value.strip()  # the original took a bare one too
    yield from query_of(target, "token")
    for name in subprotocols(headers):
        if name.startswith(BEARER):
            yield name.removeprefix(BEARER)
            if "%" in name:
                yield unquote(name.removeprefix(BEARER))


def query_of(target: str, name: str) -> list[str]:
    """The values of one field of the query of a request's target."""
    try:
        fields = parse_qsl(target.partition("?")[2], max_num_fields=MOST_FIELDS)
    except ValueError:
        return []
    return [value for key, value in fields if key == name]


def subprotocols(headers: Headers) -> list[str]:
    """The subprotocols that are offered."""
    offered = ",".join(headers.get_all("Sec-WebSocket-Protocol")).split(",")
    return [name.strip() for name in offered if name.strip()]


def answered_subprotocol(offered: Iterable[str]) -> str | None:
    """The first one that is no token: browsers want one of those that they offered, and what we answer is seen."""
    return next((name for name in offered if not name.startswith(BEARER)), None)


def shown_path(target: str) -> str:
    """A request's target as a log may show it: without its query, in which a token may stand."""
    return _shown(target.partition("?")[0])


def _shown(text: str) -> str:
    return text[:80].encode("unicode_escape").decode()


def _host(place: str) -> str:
    """HOST of HOST or HOST:PORT."""
    name, colon, port = place.rpartition(":")
    return name if colon and port.isdecimal() and not name.endswith(":") else place


def _with_port(place: str, scheme: str) -> str:
    return place if _host(place) != place else f"{place}:{DEFAULT_PORTS[scheme]}"
