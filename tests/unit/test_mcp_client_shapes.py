"""The answers as the parsers of the known clients require them, field by field and type by type."""

from collections.abc import Iterator
from typing import Any

import pytest

from mcp_tcp.catalogue import TOOLS
from mcp_tcp.schemas import compile_schema
from mcp_tcp.tools import About
from tests.unit.hives import (
    BUSY,
    COLD,
    COMPLETED,
    CREATED,
    FAILED,
    LONG_AGO,
    OTHER,
    RESUMING,
    RUNNING,
    STATES,
    TORN,
    UNKNOWN,
    UNREADABLE,
    Answer,
    Known,
    ask,
    card,
    checked,
    question,
    session,
    session_id,
    workspace,
)
from tests.unit.test_fold import fold

U32: Answer = {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
U64: Answer = {"type": "integer", "minimum": 0}
F32: Answer = {"type": "number"}
TEXT: Answer = {"type": "string"}


def strict(**fields: Answer) -> Answer:
    return {"type": "object", "properties": fields, "required": list(fields)}


def lax(**fields: Answer) -> Answer:
    """Fields that a client reads where they are there, but of no other type."""
    return {"type": "object", "properties": fields}


def several(entry: Answer) -> Answer:
    return {"type": "array", "items": entry}


def both(*parts: Answer) -> Answer:
    return {
        "type": "object",
        "properties": {key: value for part in parts for key, value in part["properties"].items()},
        "required": [key for part in parts for key in part.get("required", ())],
    }


def or_null(schema: Answer) -> Answer:
    return schema | {"type": [schema["type"], "null"]}


TASKS_A = strict(total_tasks=U32, completed_tasks=U32, active_tasks=U32, total=U32, completed=U32, active=U32)
AGENT_A = both(
    strict(agent_id=TEXT, type=TEXT, role=TEXT, status=TEXT),
    lax(connections=several(TEXT), current_task=or_null(TEXT), position=strict(x=F32, y=F32, z=F32)),
)
METRICS_A = both(
    strict(
        agent_id=TEXT,
        performance=strict(tasks_per_hour=F32, success_rate=F32, average_task_duration_ms=F32),
        resources=strict(cpu_usage=F32, memory_mb=F32),
    ),
    lax(neural_state=or_null(strict(activation_pattern=several(F32), decision_confidence=F32))),
)
AGENT_B = both(
    strict(id=TEXT),
    lax(
        name=TEXT,
        type=TEXT,
        status=TEXT,
        swarm_id=TEXT,
        capabilities=several(TEXT),
        performance=lax(tasks_active=U32, tasks_completed=U32, tasks_failed=U32, success_rate=F32, token_usage=U64),
        metadata=lax(
            session_id=TEXT,
            parent_id=or_null(TEXT),
            topology_position=lax(
                layer=U32, index_in_layer=U32, connections=several(TEXT), is_coordinator={"type": "boolean"}
            ),
        ),
    ),
)
AGENT_D = both(
    strict(id=TEXT, name=TEXT, type=TEXT, status=TEXT),
    lax(cpu_usage=or_null(F32), memory_usage=or_null(F32), createdAt=TEXT, age=U64),
)

CLIENTS: dict[tuple[str, str], Answer] = {
    ("A", "session_status"): both(
        strict(session_id=TEXT, status=TEXT),
        lax(swarm_id=or_null(TEXT), uptime_seconds=or_null(U64), last_activity=or_null(TEXT)),
    ),
    ("A", "session_agents"): strict(agents=several(AGENT_A)),
    ("A", "session_metrics"): strict(
        swarm_id=TEXT,
        session_id=TEXT,
        agents=several(METRICS_A),
        tasks=TASKS_A,
        performance=strict(total_tasks=U32, completed_tasks=U32, active_agents=U32, memory_usage_mb=F32),
    ),
    ("A", "swarm_list"): strict(
        swarms=several(strict(swarm_id=TEXT, session_id=TEXT, status=TEXT, agents=U32, tasks=TASKS_A)),
        total_swarms=U32,
        total_agents=U32,
    ),
    ("A", "swarm_monitor"): strict(
        swarm_id=TEXT,
        status=TEXT,
        agents=several(AGENT_A),
        metrics=strict(total_tasks=U32, completed_tasks=U32, active_agents=U32, memory_usage_mb=F32),
    ),
    ("A", "agent_metrics"): METRICS_A,
    ("A", "performance_summary"): strict(
        total_swarms=U32,
        total_agents=U32,
        total_tasks=U32,
        completed_tasks=U32,
        system_cpu_usage=F32,
        system_memory_mb=F32,
    ),
    ("B", "agent_list"): strict(agents=several(AGENT_B)),
    ("B", "swarm_status"): lax(
        topology_type=or_null(TEXT), total_agents=U32, coordination_layers=U32, efficiency_score=or_null(F32)
    ),
    ("B", "server_info"): both(
        strict(
            server_id=TEXT,
            server_type={"type": "string", "enum": ["claude-flow", "ruv-swarm", "daa", "other"]},
            supported_tools=several(TEXT),
            agent_count=U32,
        )
    ),
    ("C", "task_status"): strict(tasks=several(strict(task_id=TEXT, status=TEXT))),
    ("D", "agent_list"): strict(agents=several(AGENT_D)),
}
SENT: dict[str, Answer] = {
    "agent_list": {"filter": "all", "include_metadata": True},
    "swarm_status": {"include_topology": True, "include_performance": True},
}


def hot() -> Known:
    """What the server makes of the workspace before it answers: the telemetry of what is asked for is in memory."""
    known = workspace()
    for number in (CREATED, COLD, UNREADABLE, LONG_AGO, OTHER):
        old = known.by_id[session_id(number)]
        known.add(session(old.card, fold()))
    return known


def asked_by_clients() -> Iterator[tuple[str, str, dict[str, Any], int | None]]:
    for client, tool in CLIENTS:
        if TOOLS[tool].about is About.ONE:
            key = "swarm_id" if tool == "swarm_monitor" else "session_id"
            yield from ((client, tool, {key: session_id(number)}, number) for number in STATES)
        elif tool == "agent_metrics":
            for number in (RUNNING, RESUMING, FAILED, COMPLETED, TORN):
                yield client, tool, {"agent_id": f"{session_id(number)}/queen"}, number
        else:
            yield client, tool, SENT.get(tool, {}), None


@pytest.mark.parametrize(("client", "tool", "args", "number"), list(asked_by_clients()))
def test_a_known_client_can_read_the_answer(client: str, tool: str, args: dict[str, Any], number: int | None) -> None:
    answer = ask(tool, hot(), number, **args)
    assert compile_schema(CLIENTS[client, tool], tool)(answer) is None
    assert "error" not in answer


def test_a_known_client_can_read_what_is_measured_before_anything_was() -> None:
    answer = checked("performance_summary", question(Known(), facts=UNKNOWN))
    assert compile_schema(CLIENTS["A", "performance_summary"])(answer) is None


def test_a_client_that_polls_after_a_start_finds_the_swarm() -> None:
    young = card(1, "starting", state="waiting", started_ms=None, attempt=1)
    known = Known(session(young, fold()), *(session(card(number), fold(*BUSY)) for number in range(2, 700)))
    assert ask("session_status", known, 1, session_id=young.id)["swarm_id"] == young.id
    ended = Known(session(card(1, "failed"), fold(*BUSY)))
    assert [row["session_id"] for row in ask("swarm_list", ended)["swarms"]] == [session_id(1)]
