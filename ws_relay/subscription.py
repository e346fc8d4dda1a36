"""What a viewer asks for, in its own words, made into a Subscription in which equal meanings are equal; pure.

Every wrong word is answered: BadWords has a code for programs, the field, and one sentence for people. null is as good as
leaving a field out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from hive_session.ondisk.agent_figures import agent_type
from hive_session.ondisk.events import MAX_INT
from hive_session.ondisk.layout import is_session_id

if TYPE_CHECKING:
    from hive_session.ondisk.cards import Card
    from hive_session.ondisk.fold import Agent

SLOWEST_HZ, FASTEST_HZ = 0.1, 60.0  # above a screen's own rate nothing is seen
LEAST_BYTES_PER_S, MOST_BYTES_PER_S = 1_000, 1_000_000_000  # below, one snapshot would take minutes
MOST_NAMES = 64  # labels, and agent types
MOST_CURSORS = 10_000
LONGEST_TEXT = 256  # characters of an id, a label, an agent type

FILTERS = ("include_performance", "include_topology", "include_neural", "update_frequency_hz", "agent_types")
SUBSCRIBE = (
    "action",
    "type",
    "id",
    "session_id",
    "swarm_id",
    "labels",
    "events",
    "from",
    "snapshot",
    "max_bytes_per_s",
    "filters",
)
ACTIONS = ("subscribe", "unsubscribe", "ping")

Words = Mapping[str, Any]


class BadWords(Exception):
    """Why a message cannot be followed: a code, one sentence, the field that is wrong, and the message's own id."""

    def __init__(self, code: str, message: str, field: str | None = None, message_id: Any = None) -> None:
        super().__init__(message)
        self.code = code  # bad_json, not_an_object, unknown_action, wrong_type, unknown_filter, contradiction, …
        self.message = message
        self.field = field  # None where it is the message as a whole
        self.id = message_id  # as the viewer gave it; None where it gave none


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What is to be sent. Equal ones mean the same, so their viewers are one group; hashable."""

    session_id: str | None = None  # None: every session; it need not exist yet
    labels: tuple[tuple[str, str], ...] = ()  # a session must have all of them; sorted
    roles: frozenset[str] | None = None  # roles and types of agents; None: all
    performance: bool = True
    topology: bool = True
    neural: bool = False
    hz: float | None = None  # at most so many updates a second for each session; None: as they come
    events: bool = False  # the lines of telemetry.jsonl themselves too

    @property
    def key(self) -> Subscription:
        """What a group goes by."""
        return self

    def wants(self, card: Card) -> bool:
        """True for a session that is to be told of."""
        if self.session_id is not None and card.id != self.session_id:
            return False
        return all(card.labels.get(name) == value for name, value in self.labels)

    def wants_agent(self, agent: Agent) -> bool:
        """True for an agent that is to be told of: by its role, or by the type that it is shown with."""
        return self.roles is None or agent.role in self.roles or agent_type(agent) in self.roles


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A `subscribe`: the subscription, and what is this viewer's alone."""

    subscription: Subscription
    cursors: dict[str, int] = field(default_factory=dict)  # session id -> byte offset its events go on from
    snapshot: bool = True  # the whole state first
    max_bytes_per_s: int | None = None  # None: the server's own limit
    id: Any = None  # echoed; None: none was given


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """An `unsubscribe`."""

    id: Any = None


@dataclass(frozen=True, slots=True)
class Ping:
    """A `ping`."""

    id: Any = None


Message = Request | Unsubscribe | Ping


# -- reading -----------------------------------------------------------------------------------------------------------


def decode(frame: str | bytes) -> dict[str, Any]:
    """The JSON object in a frame, of whichever dialect. Raises: BadWords with bad_json or not_an_object."""
    try:
        document = orjson.loads(frame)
    except orjson.JSONDecodeError as exc:
        raise BadWords("bad_json", f"the frame is not one JSON document: {exc}") from None
    return _object(document)


def _object(document: Any) -> dict[str, Any]:
    if type(document) is not dict:
        raise BadWords("not_an_object", f"a message is a JSON object, not {_kind(document)}")
    return document


def parse(document: Any) -> Message:
    """What a message of the telemetry dialect asks for. Raises: BadWords, and nothing else, whatever JSON it is."""
    words = _object(document)
    message_id = _message_id(words)
    try:
        return _message(words, message_id)
    except BadWords as bad:
        bad.id = message_id
        raise


def _message(document: Words, message_id: Any) -> Message:
    name = "action" if document.get("action") is not None else "type"
    action = document.get(name)
    if action is None:
        raise BadWords("unknown_action", f'"action" is missing; it is one of {", ".join(ACTIONS)}', "action")
    if action == "subscribe":
        return _request(document, message_id)
    if action == "unsubscribe":
        return Unsubscribe(message_id)
    if action == "ping":
        return Ping(message_id)
    if type(action) is not str:
        raise _wrong(name, "a text", action)
    raise BadWords("unknown_action", f"{_quote(action)} is no action; there are {', '.join(ACTIONS)}", name)


def _request(document: Words, message_id: Any) -> Request:
    filters = _filters(document)
    session_id = _session_id(document)
    return Request(
        subscription=Subscription(
            session_id=session_id,
            labels=_labels(document.get("labels")),
            roles=_roles(filters.get("agent_types")),
            performance=_flag(filters, "include_performance", True),
            topology=_flag(filters, "include_topology", True),
            neural=_flag(filters, "include_neural", False),
            hz=_hz(filters.get("update_frequency_hz")),
            events=_flag(document, "events", False),
        ),
        cursors=_cursors(document.get("from"), session_id),
        snapshot=_flag(document, "snapshot", True),
        max_bytes_per_s=_bytes_per_s(document.get("max_bytes_per_s")),
        id=message_id,
    )


# -- the fields --------------------------------------------------------------------------------------------------------


def _message_id(document: Words) -> Any:
    """What the answer is to be told by."""
    message_id = document.get("id")
    if message_id is not None and type(message_id) not in (str, int, float):
        raise _wrong("id", "a text or a number", message_id)
    if type(message_id) is str and len(message_id) > LONGEST_TEXT:
        raise BadWords("too_large", f"id has {len(message_id)} characters; at most {LONGEST_TEXT} are echoed", "id")
    return message_id


def _filters(document: Words) -> dict[str, Any]:
    """All filters, whether they stand in `filters` or beside it."""
    inside = document.get("filters")
    if inside is None:
        inside = {}
    if type(inside) is not dict:
        raise _wrong("filters", "an object", inside)
    for name in inside:
        if name not in FILTERS:
            raise _unknown(name, "no filter", FILTERS)
    found = {name: value for name, value in inside.items() if value is not None}
    for name, value in document.items():
        if name in FILTERS:
            if value is not None and found.setdefault(name, value) != value:
                raise _contradiction(name, "it stands in filters and beside it, and differs")
        elif name not in SUBSCRIBE:
            raise _unknown(name, "nothing to subscribe with", (*SUBSCRIBE, *FILTERS))
    return found


def _session_id(document: Words) -> str | None:
    """The session that is meant; the swarm of a session has the session's id."""
    named = {name: _uuid(document[name], name) for name in ("session_id", "swarm_id") if document.get(name) is not None}
    session_id, swarm_id = named.get("session_id"), named.get("swarm_id")
    if session_id and swarm_id and session_id != swarm_id:
        raise _contradiction("swarm_id", "it is not session_id, and the swarm of a session has the session's id")
    return session_id or swarm_id


def _uuid(value: Any, name: str) -> str:
    if type(value) is not str or not is_session_id(value.lower()):
        raise _wrong(name, "a UUID, as hive-session create prints it", value)
    return value.lower()


def _labels(value: Any) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if type(value) is not dict or not all(type(text) is str for text in value.values()):
        raise _wrong("labels", "an object of texts", value)
    _bound("labels", len(value), MOST_NAMES, "entries")
    for text in (*value, *value.values()):
        _bound("labels", len(text), LONGEST_TEXT, "characters in one text")
    return tuple(sorted(value.items()))


def _roles(value: Any) -> frozenset[str] | None:
    """None, for all, of an empty list too."""
    if value is None or value == []:
        return None
    if type(value) is not list or not all(type(text) is str for text in value):
        raise _wrong("agent_types", "a list of texts", value)
    _bound("agent_types", len(value), MOST_NAMES, "entries")
    for text in value:
        _bound("agent_types", len(text), LONGEST_TEXT, "characters in one text")
    return frozenset(value)


def _flag(words: Words, name: str, default: bool) -> bool:
    value = words.get(name)
    if value is None:
        return default
    if type(value) is not bool:
        raise _wrong(name, "true or false", value)
    return value


def _hz(value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float):
        raise _wrong("update_frequency_hz", "a number", value)
    _within("update_frequency_hz", value, SLOWEST_HZ, FASTEST_HZ)
    return float(value)


def _bytes_per_s(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is not int:
        raise _wrong("max_bytes_per_s", "a whole number", value)
    _within("max_bytes_per_s", value, LEAST_BYTES_PER_S, MOST_BYTES_PER_S)
    return value


def _cursors(value: Any, session_id: str | None) -> dict[str, int]:
    """Where the events of each session go on. An offset alone is that of the one session that is subscribed to."""
    if value is None:
        return {}
    if type(value) is int:
        if session_id is None:
            raise BadWords("bad_cursor", "from is an offset alone, and no session_id says of which session", "from")
        return {session_id: _offset(value)}
    if type(value) is not dict:
        raise _wrong("from", "an offset, or an object of offsets by session", value)
    _bound("from", len(value), MOST_CURSORS, "entries")
    found: dict[str, int] = {}
    for name, offset in value.items():
        known = _uuid(name, "from")
        if session_id not in (None, known):
            raise _contradiction("from", f"it names session {known}, and session_id another one")
        if found.setdefault(known, _offset(offset)) != offset:
            raise _contradiction("from", f"it names session {known} twice")
    return found


def _offset(value: Any) -> int:
    if type(value) is not int:
        raise _wrong("from", "made of whole numbers", value)
    if not 0 <= value <= MAX_INT:
        raise BadWords("bad_cursor", f"from: {value} is no byte offset in a file", "from")
    return value


# -- refusals ----------------------------------------------------------------------------------------------------------


def _bound(name: str, found: int, most: int, what: str) -> None:
    if found > most:
        raise BadWords("too_large", f"{name} has {found} {what}; at most {most} are taken", name)


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise BadWords("out_of_range", f"{name} must be from {least:g} to {most:g}, not {_quote(value)}", name)


def _unknown(name: str, what: str, known: tuple[str, ...]) -> BadWords:
    return BadWords("unknown_filter", f"{_quote(name)} is {what}; there are {', '.join(known)}", name[:LONGEST_TEXT])


def _wrong(name: str, expected: str, value: Any) -> BadWords:
    shown = _quote(value) if type(value) in (str, int, float) else _kind(value)
    return BadWords("wrong_type", f"{name} must be {expected}, not {shown}", name)


def _contradiction(name: str, why: str) -> BadWords:
    return BadWords("contradiction", f"{name}: {why}", name)


def _quote(value: Any) -> str:
    text = ascii(value[:60] if type(value) is str else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _kind(value: Any) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    return {dict: "an object", list: "a list", bool: str(value).lower(), str: "a text"}.get(type(value), "a number")
