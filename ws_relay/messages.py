"""The documents that viewers get, each as the bytes of one JSON object; pure.

What they say of sessions and agents is made in hive_session.ondisk.figures and agent_figures; here come what only viewers
need: where an agent stands, how it does in three figures, and who is connected with whom. cpu_usage is in percent of one core.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from hive_session.ondisk.agent_figures import agent_object, global_id
from hive_session.ondisk.figures import Object, cpu_percent, memory_mb, session_row, swarm_id
from hive_session.ondisk.records import format_time

if TYPE_CHECKING:
    from hive_session.ondisk.fold import Agent
    from hive_session.ondisk.sessions import Session
    from ws_relay.positions import Formation
    from ws_relay.subscription import BadWords, Request, Subscription

PARENT, MESSAGE = "parent", "message"  # kinds of connection
STRENGTH = {PARENT: 1.0, MESSAGE: 0.5}  # how hard a spring along it should pull: who called whom shapes the picture
AT_REST = {"x": 0.0, "y": 0.0, "z": 0.0}

Message = tuple[str, str]  # bare ids of the agent that says something and of the agent that is told
Connection = tuple[str, str, str]  # bare ids from and to, and the kind


# -- state -------------------------------------------------------------------------------------------------------------


def update(
    session: Session,
    formation: Formation,
    changed: Collection[str] | None,
    subscription: Subscription,
    now_ms: int,
    *,
    spawned: Iterable[str] = (),
    messages: Iterable[Message] = (),
) -> bytes:
    """A telemetry_update: the agents with these bare ids; with None all of them, as a snapshot with the whole tree.

    `formation` is this session's and has followed its hive's agents. `spawned` and `messages` are what came since the last
    update; a snapshot needs neither. Agents that the subscription does not want, or that are gone, are left out.
    """
    hive = session.hive
    agents: Mapping[str, Agent] = hive.agents if hive else {}
    snapshot = changed is None
    shown = agents if changed is None else changed
    ties = _connections(agents, agents if snapshot else spawned, messages, subscription)
    return orjson.dumps(
        {
            "type": "telemetry_update",
            "timestamp": timestamp(now_ms),
            "session_id": session.card.id,
            "swarm_id": swarm_id(session.card),
            "snapshot": snapshot,
            "cursor": session.offset,
            "session": session_row(session),
            "agents": _agents(
                session, formation, [agents[name] for name in shown if name in agents], subscription, now_ms
            ),
            "topology_changes": [
                {"type": "connection_added", **_ends(session, tie), "strength": STRENGTH[tie[2]]} for tie in ties
            ],
        }
    )


def _agents(
    session: Session, formation: Formation, agents: Iterable[Agent], subscription: Subscription, now_ms: int
) -> list[Object]:
    """The objects of those that are wanted."""
    card, found = session.card, []
    cpu_usage, memory = cpu_percent(session), memory_mb(session)
    for agent in agents:
        if not subscription.wants_agent(agent):
            continue
        made = agent_object(card, agent, formation.neighbours(agent), now_ms)
        x, y, z = formation.points[agent.agent]
        made["position"] = {"x": x, "y": y, "z": z}
        made["velocity"] = AT_REST
        if subscription.performance:
            done = int(made["status"] == "done")
            made["performance"] = {
                "cpu_usage": cpu_usage,
                "memory_mb": memory,
                "scope": "session",
                "tasks_completed": done,
            }
        if subscription.neural:
            made["neural_state"] = None  # nobody measures any
        found.append(made)
    return found


def topology(
    session: Session,
    spawned: Iterable[str],
    messages: Iterable[Message],
    subscription: Subscription,
    now_ms: int,
) -> bytes | None:
    """A topology_change: agents that appeared, with the connection to their parent, and connections that messages made.

    None where there is nothing in it that the subscription wants.
    """
    if not subscription.topology or session.hive is None:
        return None
    agents = session.hive.agents
    new = [agents[name] for name in spawned if name in agents and subscription.wants_agent(agents[name])]
    changes = [_spawned(session, agent) for agent in new]
    changes += [
        {"action": "connection_established", **_ends(session, tie), "connection_type": tie[2]}
        for tie in _connections(agents, [agent.agent for agent in new], messages, subscription)
    ]
    if not changes:
        return None
    return orjson.dumps(
        {
            "type": "topology_change",
            "timestamp": timestamp(now_ms),
            "session_id": session.card.id,
            "changes": changes,
        }
    )


def _spawned(session: Session, agent: Agent) -> Object:
    parent = None if agent.parent is None else global_id(session.card.id, agent.parent)
    return {"action": "agent_spawned", "agent_id": global_id(session.card.id, agent.agent), "parent_id": parent}


def _ends(session: Session, tie: Connection) -> Object:
    return {"from": global_id(session.card.id, tie[0]), "to": global_id(session.card.id, tie[1])}


def _connections(
    agents: Mapping[str, Agent], spawned: Iterable[str], messages: Iterable[Message], subscription: Subscription
) -> list[Connection]:
    """From parent to child and from sender to receiver, each once; both ends exist and are wanted."""
    if not subscription.topology:
        return []
    parents = ((agents[name].parent or "", name, PARENT) for name in spawned if name in agents)
    told = ((sender, receiver, MESSAGE) for sender, receiver in messages)
    found = dict.fromkeys((*parents, *told))

    def fits(name: str) -> bool:
        return name in agents and subscription.wants_agent(agents[name])

    return [tie for tie in found if tie[0] != tie[1] and fits(tie[0]) and fits(tie[1])]


# -- events ------------------------------------------------------------------------------------------------------------


def events(session_id: str, start: int, end: int, lines: Sequence[bytes]) -> bytes:
    """The events in the bytes from `start` to before `end` of a session's telemetry.jsonl, as they are on disk.

    `lines` are joined as they are, with or without their LF: all of them must be lines that `decode_event` takes.
    """
    head = b'{"type":"events","session_id":%b,"from":%d,"to":%d,"events":[' % (orjson.dumps(session_id), start, end)
    return b"%b%b]}" % (head, b",".join([line.rstrip(b"\n") for line in lines]))


def gap(session_id: str, start: int, end: int) -> bytes:
    """What was dropped: events in these bytes, which `from` can ask for again."""
    return orjson.dumps({"type": "gap", "session_id": session_id, "from": start, "to": end})


def removed(session_id: str) -> bytes:
    """The session is gone."""
    return orjson.dumps({"type": "session_removed", "session_id": session_id})


# -- answers -----------------------------------------------------------------------------------------------------------


def subscribed(request: Request, session_ids: Sequence[str], cursors: Mapping[str, int]) -> bytes:
    """What was understood, the sessions that fit now, and from which byte on the events of each will come."""
    said = {"type": "subscribed", **_id(request.id), "subscription": described(request)}
    return orjson.dumps(said | {"sessions": session_ids, "cursors": cursors})


def described(request: Request) -> Object:
    """A subscription in the words that ask for it, with all that was left out."""
    asked = request.subscription
    return {
        "session_id": asked.session_id,
        "swarm_id": asked.session_id,
        "labels": dict(asked.labels),
        "events": asked.events,
        "snapshot": request.snapshot,
        "max_bytes_per_s": request.max_bytes_per_s,
        "filters": {
            "include_performance": asked.performance,
            "include_topology": asked.topology,
            "include_neural": asked.neural,
            "update_frequency_hz": asked.hz,
            "agent_types": None if asked.roles is None else sorted(asked.roles),
        },
    }


def unsubscribed(message_id: Any) -> bytes:
    """Nothing more will come."""
    return orjson.dumps({"type": "unsubscribed", **_id(message_id)})


def pong(message_id: Any, now_ms: int) -> bytes:
    """The answer to a ping; the time is Unix time in milliseconds."""
    return orjson.dumps({"type": "pong", **_id(message_id), "timestamp": now_ms})


def error(bad: BadWords) -> bytes:
    """Why a message was not followed."""
    said = {"type": "error", "code": bad.code, "message": bad.message, "field": bad.field}
    return orjson.dumps(said | _id(bad.id))


def _id(message_id: Any) -> Object:
    return {} if message_id is None else {"id": message_id}


def timestamp(now_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds and a Z, which is what the original's clients were promised."""
    return format_time(now_ms / 1000, millis=True).replace("+00:00", "Z")
