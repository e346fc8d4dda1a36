"""How the known clients read what they are answered: as Rust programs, with serde, into their structs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# A parse raises AssertionError for what is not there or of another type.
Parse = Callable[[Any], None]
MISSING = object()


def string(value: Any) -> None:
    assert type(value) is str, f"no string: {value!r}"


def boolean(value: Any) -> None:
    assert type(value) is bool, f"no bool: {value!r}"


def unsigned(bits: int) -> Parse:
    def parse(value: Any) -> None:
        assert type(value) is int and 0 <= value < 1 << bits, f"no u{bits}: {value!r}"

    return parse


def f32(value: Any) -> None:
    assert type(value) in (int, float), f"no number: {value!r}"


def vec(parse: Parse) -> Parse:
    def parse_all(value: Any) -> None:
        assert type(value) is list, f"no array: {value!r}"
        for entry in value:
            parse(entry)

    return parse_all


def option(parse: Parse) -> Parse:
    """`Option`: null and absent will do."""

    def parse_some(value: Any) -> None:
        if value is not None and value is not MISSING:
            parse(value)

    return parse_some


def default(parse: Parse) -> Parse:
    """`#[serde(default)]`: absent will do, null will not."""

    def parse_present(value: Any) -> None:
        if value is not MISSING:
            parse(value)

    return parse_present


def struct(**fields: Parse) -> Parse:
    def parse(value: Any) -> None:
        assert type(value) is dict, f"no object: {value!r}"
        for name, parse_field in fields.items():
            try:
                parse_field(value.get(name, MISSING))
            except AssertionError as exc:
                raise AssertionError(f"{name}: {exc}") from None

    return parse


u32, u64 = unsigned(32), unsigned(64)

# -- client A --------------------------------------------------------------------------------------------------------------

TASKS = struct(total_tasks=u32, completed_tasks=u32, active_tasks=u32)
AGENT_INFO = struct(
    agent_id=string,
    type=string,
    role=string,
    status=string,
    position=default(struct(x=f32, y=f32, z=f32)),
    connections=default(vec(string)),
    current_task=option(string),
)
AGENT_METRICS = struct(
    agent_id=string,
    performance=struct(tasks_per_hour=f32, success_rate=f32, average_task_duration_ms=f32),
    resources=struct(cpu_usage=f32, memory_mb=f32),
    neural_state=option(struct(activation_pattern=vec(f32), decision_confidence=f32)),
)
TOTALS = struct(total_tasks=u32, completed_tasks=u32, active_agents=u32, memory_usage_mb=f32)
RESULTS_OF_A: dict[str, Parse] = {
    "tools/list": struct(tools=vec(struct(name=string, description=string))),
    "ping": lambda result: None,
    "session_status": struct(
        session_id=string,
        status=string,
        swarm_id=option(string),
        uptime_seconds=option(u64),
        last_activity=option(string),
    ),
    "session_agents": struct(agents=vec(AGENT_INFO)),
    "session_metrics": struct(
        swarm_id=string, session_id=string, agents=default(vec(AGENT_METRICS)), tasks=TASKS, performance=TOTALS
    ),
    "swarm_list": struct(
        swarms=vec(struct(swarm_id=string, session_id=string, status=string, agents=u32, tasks=TASKS)),
        total_swarms=u32,
        total_agents=u32,
    ),
    "swarm_monitor": struct(swarm_id=string, status=string, agents=vec(AGENT_INFO), metrics=TOTALS),
    "agent_metrics": AGENT_METRICS,
    "performance_summary": struct(
        total_swarms=u32,
        total_agents=u32,
        total_tasks=u32,
        completed_tasks=u32,
        system_cpu_usage=f32,
        system_memory_mb=f32,
    ),
}

# -- clients B and D, which read JSON in content[0].text -------------------------------------------------------------------

AGENT_OF_B = struct(
    id=string,
    name=option(string),
    type=option(string),
    status=option(string),
    swarm_id=option(string),
    capabilities=option(vec(string)),
    performance=option(
        struct(
            **{
                name: option(f32)
                for name in (
                    "cpu_usage memory_usage health_score activity_level success_rate token_rate response_time_ms throughput"
                ).split()
            },
            **{name: option(u64) for name in ("tasks_active", "tasks_completed", "tasks_failed", "token_usage")},
        )
    ),
    metadata=option(
        struct(
            session_id=option(string),
            parent_id=option(string),
            topology_position=option(
                struct(
                    layer=option(u32),
                    index_in_layer=option(u32),
                    connections=option(vec(string)),
                    is_coordinator=option(boolean),
                    coordination_level=option(u32),
                )
            ),
            coordination_role=option(string),
            task_queue_size=option(u32),
            error_count=option(u32),
            warning_count=option(u32),
            tags=option(vec(string)),
        )
    ),
    neural=option(struct(model_type=option(string), learning_rate=option(f32), knowledge_domains=option(vec(string)))),
)
RESULTS_OF_B: dict[str, Parse] = {
    "agent_list": struct(agents=vec(AGENT_OF_B)),
    "swarm_status": struct(
        topology_type=option(string), total_agents=u32, coordination_layers=option(u32), efficiency_score=option(f32)
    ),
    "server_info": struct(server_id=string, server_type=string, supported_tools=vec(string), agent_count=u32),
}
AGENT_OF_D = struct(
    id=string,
    name=string,
    type=string,
    status=string,
    **{name: option(f32) for name in ("x", "y", "z", "cpu_usage", "health", "workload", "memory_usage", "age")},
    createdAt=option(string),
)
