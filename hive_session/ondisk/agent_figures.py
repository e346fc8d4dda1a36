"""What hives say of agents and tasks, as the plain objects that the tools answer with; pure. The rules stand in figures.py."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import TYPE_CHECKING

from hive_session.ondisk.figures import (
    MOST_SWARMS,
    Object,
    active_agents,
    agent_status,
    cpu_percent,
    memory_mb,
    moment,
    success_rate,
    sum_counts,
    swarm_id,
    task_counts,
)
from hive_session.ondisk.fold import Agent

if TYPE_CHECKING:
    from hive_session.ondisk.cards import Card
    from hive_session.ondisk.sessions import Session

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
ROLE_LAYER = {"queen": 0, "worker": 1, "subagent": 2}  # where the parent is not known


# -- the tree of agents ----------------------------------------------------------------------------------


def layers(agents: Mapping[str, Agent]) -> dict[str, int]:
    """How deep each agent stands beneath the queen, who is at 0. A parent nobody knows, or a circle, is no obstacle."""
    depths: dict[str, int] = {}
    for agent in agents.values():
        path: dict[str, Agent] = {}
        above: Agent | None = agent
        while above is not None and above.agent not in depths and above.agent not in path:
            path[above.agent] = above
            above = agents.get(above.parent or "")
        if not path:
            continue
        way = list(path.values())
        top = way[-1].parent or ""
        depth = depths[top] + 1 if top in depths else ROLE_LAYER.get(way[-1].role, 0)
        for each in reversed(way):
            depths[each.agent] = depth
            depth += 1
    return depths


def topology(session: Session) -> Object:
    """The shape of a session's tree of agents: "hierarchical", "single" with one agent, null with none."""
    hive = session.hive
    total = len(hive.agents) if hive else 0
    return {
        "topology_type": topology_type(total),
        "total_agents": total,
        "active_agents": active_agents(session) or 0,
        "coordination_layers": len(set(layers(hive.agents).values())) if hive else 0,
    }


def swarm_shapes(sessions: list[Session]) -> Object:
    """How the agents of these sessions are organised, together and swarm by swarm, of which at most MOST_SWARMS are listed."""
    shapes = [topology(session) for session in sessions]
    return {
        "topology_type": topology_type(max((shape["total_agents"] for shape in shapes), default=0)),
        "total_agents": sum(shape["total_agents"] for shape in shapes),
        "active_agents": sum(shape["active_agents"] for shape in shapes),
        "coordination_layers": max((shape["coordination_layers"] for shape in shapes), default=0),
        "tasks": sum_counts(sessions),
        "total_swarms": len(sessions),
        "swarms": [
            {
                "swarm_id": swarm_id(session.card),
                "session_id": session.card.id,
                "status": session.card.status,
                **shape,
                "tasks": task_counts(session),
            }
            for session, shape in zip(sessions[:MOST_SWARMS], shapes, strict=False)
        ],
    }


def topology_type(agents: int) -> str | None:
    """Agents call for agents, so several of them are a hierarchy."""
    return "hierarchical" if agents > 1 else "single" if agents else None


def _neighbours(agents: Mapping[str, Agent]) -> dict[str, list[str]]:
    """Bare ids of whom each agent speaks with: its parent first, then those it called for."""
    found: dict[str, list[str]] = {name: [] for name in agents}
    for name, agent in agents.items():
        parent = agent.parent
        if parent is not None and parent in agents and parent != name:
            found[name].insert(0, parent)
            found[parent].append(name)
    return found


# -- agents ----------------------------------------------------------------------------------------------


def global_id(session_id: str, agent: str) -> str:
    """An agent's id that is unique over all sessions."""
    return f"{session_id}/{agent}"


def agent_type(agent: Agent) -> str:
    """What it is in the words of the known clients: "coordinator" for the queen, else its kind, such as "coder"."""
    return "coordinator" if agent.role == "queen" else agent.kind or "worker"


def run_ms(card: Card, agent: Agent, now_ms: int) -> int:
    """How long it has worked, in milliseconds: to its end, to its session's, or to now."""
    if agent.duration_ms is not None:
        return agent.duration_ms
    until = card.ended_ms if card.terminal else now_ms
    return max(0, (now_ms if until is None else until) - agent.started_ms)


def agent_objects(session: Session, now_ms: int) -> list[Object]:
    """The agents of the last attempt in the order of their appearance."""
    if session.hive is None:
        return []
    agents = session.hive.agents
    near = _neighbours(agents)
    return [agent_object(session.card, agent, near[name], now_ms) for name, agent in agents.items()]


def agent_object(card: Card, agent: Agent, neighbours: list[str], now_ms: int) -> Object:
    """One agent. Where it stands in a room is not known, so there is no position."""
    status = agent_status(card, agent)
    known_id = global_id(card.id, agent.agent)
    return {
        "agent_id": known_id,
        "id": known_id,
        "agent": agent.agent,
        "session_id": card.id,
        "parent_id": None if agent.parent is None else global_id(card.id, agent.parent),
        "name": "queen" if agent.role == "queen" else agent_type(agent),
        "type": agent_type(agent),
        "role": agent.role,
        "status": status,
        "tool": agent.tool if status == agent.status else None,
        "current_task": agent.task or None if status in ("working", "waiting") else None,
        "task": agent.task,
        "summary": agent.summary,
        "model": agent.model,
        "connections": [global_id(card.id, name) for name in neighbours],
        "started": moment(agent.started_ms),
        "ended": moment(agent.ended_ms),
        "duration_ms": run_ms(card, agent, now_ms),
        "tokens": agent.tokens,
        **_token_parts(agent),
        "tool_uses": agent.tool_uses,
        "cost_usd": agent.cost_usd,
    }


def _token_parts(agent: Agent) -> Object:
    """The parts of its tokens; None where only their sum was told."""
    parts = {
        "input_tokens": agent.input_tokens,
        "output_tokens": agent.output_tokens,
        "cache_read_tokens": agent.cache_read_tokens,
        "cache_write_tokens": agent.cache_write_tokens,
    }
    return parts if any(parts.values()) or not agent.tokens else dict.fromkeys(parts)


def agent_performance(session: Session, agent: Agent, now_ms: int) -> Object:
    """How an agent does. Processor and memory are measured for the session's process tree as a whole."""
    status = agent_status(session.card, agent)
    done, failed, ran_ms = int(status == "done"), int(status == "failed"), run_ms(session.card, agent, now_ms)
    return {
        "cpu_usage": cpu_percent(session),
        "memory_usage": memory_mb(session),
        "scope": "session",
        "tasks_active": 1 - done - failed,
        "tasks_completed": done,
        "tasks_failed": failed,
        "success_rate": success_rate(done, failed),
        "tasks_per_hour": round(done * HOUR_MS / ran_ms, 3) if ran_ms else 0.0,
        "average_task_duration_ms": float(ran_ms),
        "token_usage": agent.tokens,
        "token_rate": round(agent.tokens * MINUTE_MS / ran_ms, 1) if ran_ms else None,
    }


def agent_metrics(session: Session, agent: Agent, now_ms: int) -> Object:
    """The figures of one agent, in the shape that agent_metrics and session_metrics share."""
    performance = agent_performance(session, agent, now_ms)
    return {
        "agent_id": global_id(session.card.id, agent.agent),
        "agent": agent.agent,
        "session_id": session.card.id,
        "type": agent_type(agent),
        "status": agent_status(session.card, agent),
        "performance": performance,
        "resources": {
            "cpu_usage": performance["cpu_usage"] or 0.0,
            "memory_mb": performance["memory_usage"] or 0.0,
            "scope": "session",
        },
        "neural_state": None,
    }


def listed_agents(session: Session, now_ms: int) -> list[Object]:
    """The agents with what agent_list says of them beyond `agent_objects`: their figures and their place in the tree."""
    return list(walk_agents(session, now_ms))


def walk_agents(session: Session, now_ms: int, statuses: Container[str] | None = None) -> Iterator[Object]:
    """`listed_agents` one by one, each made when it is asked for; those with one of these statuses, with None all."""
    if session.hive is None:
        return
    card, agents = session.card, session.hive.agents
    depths, near = layers(agents), _neighbours(agents)
    taken: dict[int, int] = {}
    for name, agent in agents.items():
        layer = depths[name]
        index = taken[layer] = taken.get(layer, -1) + 1
        if statuses is None or agent_status(card, agent) in statuses:
            made = agent_object(card, agent, near[name], now_ms)
            yield made | _listed(session, agent, made, layer, index, now_ms)


def _listed(session: Session, agent: Agent, made: Object, layer: int, index: int, now_ms: int) -> Object:
    performance = agent_performance(session, agent, now_ms)
    return {
        "swarm_id": swarm_id(session.card),
        "capabilities": [],
        "createdAt": made["started"],
        "age": max(0, now_ms - agent.started_ms),
        "cpu_usage": performance["cpu_usage"],
        "memory_usage": performance["memory_usage"],
        "performance": performance,
        "metadata": {
            "session_id": session.card.id,
            "parent_id": made["parent_id"],
            "coordination_role": agent.role,
            "topology_position": {
                "layer": layer,
                "index_in_layer": index,
                "connections": made["connections"],
                "is_coordinator": agent.role == "queen",
            },
        },
    }


# -- tasks -----------------------------------------------------------------------------------------------


def agent_task(card: Card, agent: Agent, now_ms: int) -> Object:
    """What one agent was told to do, and how that stands."""
    known_id = global_id(card.id, agent.agent)
    return _task(card, known_id, agent_status(card, agent), agent.task) | {
        "agent_id": known_id,
        "started": moment(agent.started_ms),
        "ended": moment(agent.ended_ms),
        "duration_ms": run_ms(card, agent, now_ms),
        "result": agent.summary,
    }


def session_task(session: Session, now_ms: int) -> Object:
    """What a session was told to do, and how that stands."""
    card = session.card
    until = now_ms if card.live else card.ended_ms
    told = session.hive.result if session.hive else None
    return _task(card, card.id, card.status, card.task) | {
        "agent_id": None,
        "started": moment(card.started_ms),
        "ended": moment(card.ended_ms),
        "duration_ms": None if card.started_ms is None or until is None else max(0, until - card.started_ms),
        "result": told.text if told else None,
    }


def _task(card: Card, task_id: str, status: str, task: str) -> Object:
    return {"task_id": task_id, "taskId": task_id, "session_id": card.id, "status": status, "task": task}
