"""The JSON Schemas of the objects that figures.py and agent_figures.py make, and of arguments that many tools take; pure.

Every field named is always there; one that may be unknown says null. More fields may come in later versions.
"""

from __future__ import annotations

from typing import Any

from hive_session.ondisk.cards import CARD_STATUSES
from hive_session.ondisk.events import AGENT_STATUSES

Schema = dict[str, Any]


def told(schema: Schema, description: str) -> Schema:
    """The same schema with words on what the value means."""
    return schema | {"description": description}


def nullable(schema: Schema) -> Schema:
    """The same, or null."""
    return schema | {"type": [schema["type"], "null"]}


def shape(**fields: Schema) -> Schema:
    """An object in which these fields are always there."""
    return {"type": "object", "properties": fields, "required": list(fields)}


def list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def arguments(*required: str, **fields: Schema) -> Schema:
    """The input of a tool; arguments that are not named here are ignored."""
    schema: Schema = {"type": "object", "properties": fields}
    return schema | {"required": list(required)} if required else schema


TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
MAYBE_TEXT, MAYBE_COUNT, MAYBE_NUMBER = nullable(TEXT), nullable(COUNT), nullable(NUMBER)
TIME = told(MAYBE_TEXT, "RFC 3339, UTC")

SESSION_STATUS: Schema = told(TEXT, ", ".join(CARD_STATUSES))
AGENT_STATUS: Schema = {"type": "string", "enum": list(AGENT_STATUSES)}

# -- arguments -------------------------------------------------------------------------------------------

SESSION_ID: Schema = told({"type": "string", "minLength": 1}, "Id of the session, as session_list gives it")
MAYBE_SESSION_ID = told(MAYBE_TEXT, "Only this session, live or ended; left out: all live ones")
OTHER_NAME = told(MAYBE_TEXT, "The same as session_id: a swarm has the id of its session")
SWARM_KEYS: dict[str, Schema] = {"session_id": MAYBE_SESSION_ID, "swarm_id": OTHER_NAME, "swarmId": OTHER_NAME}


def limit(default: int, most: int) -> Schema:
    """How many entries are wanted at most."""
    return {"type": "integer", "minimum": 1, "maximum": most, "default": default, "description": "Most entries to give"}


# -- sessions --------------------------------------------------------------------------------------------

TASK_COUNTS = shape(
    total_tasks=COUNT,
    completed_tasks=COUNT,
    active_tasks=COUNT,
    failed_tasks=COUNT,
    total=COUNT,
    completed=COUNT,
    active=COUNT,
    failed=COUNT,
)
SWARM_ID = told(MAYBE_TEXT, "The session's id; null while it was never started")

SESSION_ROW = shape(
    session_id=TEXT,
    swarm_id=SWARM_ID,
    status=SESSION_STATUS,
    state=told(TEXT, "The status in words, such as failed: exit 7"),
    task=told(TEXT, "The first 256 characters"),
    priority=TEXT,
    agent=told(TEXT, "The program that runs it"),
    attempt=told(COUNT, "Starts so far"),
    labels={"type": "object", "additionalProperties": TEXT},
    created=TIME,
    updated=TIME,
    started=TIME,
    ended=TIME,
    agents=told(MAYBE_COUNT, "Of the last attempt"),
    active_agents=MAYBE_COUNT,
    tokens=told(MAYBE_COUNT, "Of all attempts"),
    cost_usd=told(MAYBE_NUMBER, "Of all attempts"),
    headline=told(TEXT, "Who does what, or how it ended"),
)

RESULT = shape(
    text=TEXT,
    is_error=FLAG,
    subtype=TEXT,
    turns=MAYBE_COUNT,
    duration_ms=MAYBE_COUNT,
)


def extend(base: Schema, **fields: Schema) -> Schema:
    """An object with the fields of `base` and more."""
    return shape(**(base["properties"] | fields))


SESSION = extend(
    SESSION_ROW,
    uptime_seconds=told(MAYBE_COUNT, "From the start of the last attempt to its end or to now"),
    last_activity=told(TIME, "Last sign in telemetry or record, RFC 3339, UTC"),
    reason=told(MAYBE_TEXT, "exit, signal, timeout, cancelled, lost, interrupted or spawn_error"),
    exit_code=nullable({"type": "integer"}),
    signal=nullable({"type": "integer"}),
    detail=told(MAYBE_TEXT, "One sentence on how it ended or what is wrong"),
    pid=nullable({"type": "integer"}),
    tasks=nullable(TASK_COUNTS),
    cpu_percent=told(MAYBE_NUMBER, "Process tree, of one core; 0 when it does not run"),
    memory_mb=told(MAYBE_NUMBER, "Process tree, MiB; 0 when it does not run"),
    messages=told(MAYBE_COUNT, "Between agents"),
    api_retries=MAYBE_COUNT,
    result=told(nullable(RESULT), "The last word of the last attempt"),
)

SESSION_PERFORMANCE = shape(
    total_tasks=COUNT,
    completed_tasks=COUNT,
    active_tasks=COUNT,
    failed_tasks=COUNT,
    active_agents=COUNT,
    memory_usage_mb=told(NUMBER, "Process tree, MiB; 0 until measured, and when it does not run"),
    cpu_usage=told(NUMBER, "Process tree, percent of one core; 0 until measured, and when it does not run"),
    success_rate=told(NUMBER, "Percent of ended tasks that ended well; 100 until one has failed"),
    tokens=MAYBE_COUNT,
    cost_usd=MAYBE_NUMBER,
)

TOPOLOGY = shape(
    topology_type=told(MAYBE_TEXT, "hierarchical (a queen and others), single (one agent) or null (none)"),
    total_agents=COUNT,
    active_agents=COUNT,
    coordination_layers=told(COUNT, "Depth of the tree of agents"),
)

# -- agents ----------------------------------------------------------------------------------------------

AGENT = shape(
    agent_id=told(TEXT, "SESSION/AGENT, unique over all sessions"),
    id=told(TEXT, "The same as agent_id"),
    agent=told(TEXT, "Its id within the session"),
    session_id=TEXT,
    parent_id=told(MAYBE_TEXT, "agent_id of the one that called for it"),
    name=TEXT,
    type=told(TEXT, "coordinator for the queen, else what it is, such as coder"),
    role=told(TEXT, "queen, worker or subagent"),
    status=AGENT_STATUS,
    tool=told(MAYBE_TEXT, "The tool in use now"),
    current_task=told(MAYBE_TEXT, "What it works on; null once it has ended"),
    task=told(TEXT, "What it was told to do"),
    summary=told(MAYBE_TEXT, "Its last word"),
    model=MAYBE_TEXT,
    connections=told(list_of(TEXT), "agent_ids of its parent and of those it called for"),
    started=TIME,
    ended=TIME,
    duration_ms=told(COUNT, "So far"),
    tokens=COUNT,
    input_tokens=MAYBE_COUNT,
    output_tokens=MAYBE_COUNT,
    cache_read_tokens=MAYBE_COUNT,
    cache_write_tokens=MAYBE_COUNT,
    tool_uses=COUNT,
    cost_usd=MAYBE_NUMBER,
)

AGENT_PERFORMANCE = shape(
    cpu_usage=told(MAYBE_NUMBER, "Of the session's process tree, percent of one core"),
    memory_usage=told(MAYBE_NUMBER, "Of the session's process tree, MiB"),
    scope=told(TEXT, "session: processor and memory are measured for all agents of a session together"),
    tasks_active=COUNT,
    tasks_completed=COUNT,
    tasks_failed=COUNT,
    success_rate=told(NUMBER, "Percent of ended tasks that ended well; 100 until one has failed"),
    tasks_per_hour=NUMBER,
    average_task_duration_ms=told(NUMBER, "So far"),
    token_usage=COUNT,
    token_rate=told(MAYBE_NUMBER, "Tokens per minute since its start"),
)

AGENT_METRICS = shape(
    agent_id=TEXT,
    agent=TEXT,
    session_id=TEXT,
    type=TEXT,
    status=AGENT_STATUS,
    performance=AGENT_PERFORMANCE,
    resources=told(
        shape(cpu_usage=NUMBER, memory_mb=NUMBER, scope=TEXT),
        "As in performance, but 0 until it was measured",
    ),
    neural_state=told({"type": "null"}, "There is none"),
)

LISTED_AGENT = extend(
    AGENT,
    swarm_id=SWARM_ID,
    capabilities=list_of(TEXT),
    createdAt=TIME,
    age=told(COUNT, "Milliseconds since its start"),
    cpu_usage=MAYBE_NUMBER,
    memory_usage=MAYBE_NUMBER,
    performance=AGENT_PERFORMANCE,
    metadata=shape(
        session_id=TEXT,
        parent_id=MAYBE_TEXT,
        coordination_role=TEXT,
        topology_position=shape(layer=COUNT, index_in_layer=COUNT, connections=list_of(TEXT), is_coordinator=FLAG),
    ),
)

# -- tasks -----------------------------------------------------------------------------------------------

TASK = shape(
    task_id=told(TEXT, "SESSION/AGENT, or the session's id"),
    taskId=told(TEXT, "The same as task_id"),
    session_id=TEXT,
    status=told(TEXT, "Of an agent: working, waiting, done, failed; of a session: its status"),
    task=told(TEXT, "The first 256 characters"),
    agent_id=told(MAYBE_TEXT, "Who does it; null for a session as a whole"),
    started=TIME,
    ended=TIME,
    duration_ms=MAYBE_COUNT,
    result=told(MAYBE_TEXT, "The last word"),
)
