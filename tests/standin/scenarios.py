"""What the stand-in's model says: scenarios as data, and the choice of the turn that answers a request."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Json = dict[str, Any]
Role = Literal["queen", "worker", "side"]

# Claude Code 2.1 calls the tool that starts a subagent Agent; older ones call it Task.
SUBAGENT_TOOLS = ("Agent", "Task")
# The stand-in writes a worker's prompt itself, so this mark names a worker whatever the client's version.
WORKER_MARK = re.compile(r"\[hive worker (\d+)/(\d+)\] ")
# What the client itself puts among the user's words.
ASIDES = ("<system-reminder>", "<task-notification>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one turn, under the API's own names."""

    input_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Thinking:
    """A thinking block; left out of the answer when the request does not enable thinking."""

    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """A text block, streamed word by word with `pace_s` seconds before each word."""

    text: str
    pace_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call of a tool; the name Agent becomes Task where the request offers only that one."""

    name: str
    input: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One answer of the model; `wait_s` seconds pass before its first byte."""

    blocks: tuple[Thinking | Text | ToolUse, ...]
    usage: Usage
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An HTTP error in place of the first `times` answers of each session; None means all of them.

    `retry` goes out as x-should-retry; without that header the client would try a 401 ten times.
    """

    status: int
    error_type: str
    message: str
    retry: bool
    times: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What the queen says turn by turn, and each worker; the last turn repeats when asked again."""

    queen: tuple[Turn, ...]
    workers: tuple[tuple[Turn, ...], ...] = ()
    refusal: Refusal | None = None


def _worker_call(number: int, of: int, **options: object) -> ToolUse:
    return ToolUse(
        "Agent",
        {
            "description": f"Worker {number} writes its part",
            "prompt": f"[hive worker {number}/{of}] Write your part of the result to a file, then report.",
            "subagent_type": "general-purpose",
        }
        | options,
    )


def _write_call(number: int) -> ToolUse:
    """A Bash call that leaves worker-<number>.txt, naming the session, where the session's results belong."""
    out = "${HIVE_OUTPUT_DIR:-${HIVE_MIND_OUTPUT_DIR:-.}}"
    content = f"worker {number} of session ${{HIVE_MIND_SESSION_ID:-none}}"
    command = f'mkdir -p "{out}" && echo "{content}" > "{out}/worker-{number}.txt" && echo written'
    return ToolUse("Bash", {"command": command, "description": "Write the result"})


def _report(number: int) -> str:
    return f"Worker {number} has written worker-{number}.txt as it was asked to do."


def _worker_turns(number: int, *, pace_s: float = 0.0) -> tuple[Turn, ...]:
    return (
        Turn(
            blocks=(_write_call(number),),
            usage=Usage(input_tokens=300 + number, cache_creation_input_tokens=9_000, output_tokens=90),
        ),
        Turn(
            blocks=(Text(_report(number), pace_s),),
            usage=Usage(input_tokens=120 + number, cache_read_input_tokens=9_000, output_tokens=30),
        ),
    )


def _hive(workers: int, *, pace_s: float = 0.0) -> Scenario:
    """A queen that thinks, sends `workers` subagents out at once and sums up what they report."""
    numbers = range(1, workers + 1)
    calls = tuple(_worker_call(number, workers) for number in numbers)
    plan = Turn(
        blocks=(
            Thinking("The task splits into parts; a worker takes each."),
            Text("I send workers."),
            *calls,
        ),
        usage=Usage(input_tokens=2_000, cache_creation_input_tokens=16_000, output_tokens=150 * workers),
    )
    summary = Turn(
        blocks=(Text("The hive is done: every worker has written its part."),),
        usage=Usage(input_tokens=400, cache_read_input_tokens=18_000, output_tokens=60),
    )
    return Scenario(queen=(plan, summary), workers=tuple(_worker_turns(number, pace_s=pace_s) for number in numbers))


def slow(seconds: float) -> Scenario:
    """The hive of one worker, whose report takes `seconds` to stream: room to kill a run in the middle."""
    return _hive(1, pace_s=seconds / len(_report(1).split()))


def _nested() -> Scenario:
    """A worker that hands its part to a worker of its own."""
    hive = _hive(2)
    first, second = hive.workers
    return replace(
        hive,
        queen=(replace(hive.queen[0], blocks=(_worker_call(1, 2),)), hive.queen[1]),
        workers=((replace(first[0], blocks=(_worker_call(2, 2),)), first[1]), second),
    )


def _background() -> Scenario:
    """A queen that does not wait for her worker; it ends half a second after she answers."""
    hive = _hive(1)
    call = _worker_call(1, 1, run_in_background=True)
    write, report = hive.workers[0]
    return replace(
        hive,
        queen=(replace(hive.queen[0], blocks=(call,)), hive.queen[1]),
        workers=((write, replace(report, wait_s=0.5)),),
    )


def _background_shell() -> Scenario:
    """A queen that leaves a command behind her and answers; she answers again when it ends."""
    hive = _hive(0)
    call = ToolUse("Bash", {"command": "sleep 1", "description": "Wait", "run_in_background": True})
    return replace(hive, queen=(replace(hive.queen[0], blocks=(call,)), hive.queen[1]))


def _forever() -> Scenario:
    """A hive whose worker calls one tool after another, twice a second, and never reports."""
    tick = ToolUse("Bash", {"command": "date +%s >> ticks.txt", "description": "Work on"})
    usage = Usage(input_tokens=50, cache_read_input_tokens=9_000, output_tokens=20)
    return Scenario(
        queen=_hive(1).queen,
        workers=((_worker_turns(1)[0], Turn(blocks=(tick,), usage=usage, wait_s=0.5)),),
    )


_ANSWER = (
    Turn(
        blocks=(Text("Forty-two."),),
        usage=Usage(input_tokens=2_000, cache_creation_input_tokens=16_000, output_tokens=12),
    ),
)

SCENARIOS: dict[str, Scenario] = {
    "hive": _hive(1),
    "answer": Scenario(queen=_ANSWER),
    "two_workers": _hive(2),
    "overloaded_then_ok": Scenario(
        queen=_ANSWER,
        refusal=Refusal(status=529, error_type="overloaded_error", message="Overloaded", retry=True, times=2),
    ),
    "bad_key": Scenario(
        queen=_ANSWER,
        refusal=Refusal(status=401, error_type="authentication_error", message="invalid x-api-key", retry=False),
    ),
    "nested": _nested(),
    "background": _background(),
    "background_shell": _background_shell(),
    "forever": _forever(),
}


def scenario_named(name: str) -> Scenario:
    """The scenario called `name`; "slow:SECONDS" makes a slow one. Raises: ValueError."""
    if name.startswith("slow:"):
        return slow(float(name.removeprefix("slow:")))
    if name not in SCENARIOS:
        raise ValueError(f"no scenario {name!r} (there are {', '.join(SCENARIOS)} and slow:SECONDS)")
    return SCENARIOS[name]


def _text_blocks(message: Json) -> list[str]:
    content = message["content"]
    if isinstance(content, str):
        return [content]
    return [block["text"] for block in content if block["type"] == "text"]


def _prompt_text(message: Json) -> str:
    return "\n".join(text for text in _text_blocks(message) if not text.startswith(ASIDES))


def _has_tool_result(message: Json) -> bool:
    content = message["content"]
    return not isinstance(content, str) and any(block["type"] == "tool_result" for block in content)


def prompts_of(body: Json) -> list[str]:
    """All that the user asked in this conversation, oldest first, without what the client put in."""
    asked = (m for m in body["messages"] if m["role"] == "user" and not _has_tool_result(m))
    return [text for text in map(_prompt_text, asked) if text]


def steps_since_prompt(body: Json) -> int:
    """How many rounds of tool results follow the newest prompt."""
    rounds = 0
    for message in reversed(body["messages"]):
        if message["role"] != "user":
            continue  # assistant; or system, which newer clients put among the messages
        if _has_tool_result(message):
            rounds += 1
        elif _prompt_text(message):
            break
    return rounds


def _worker_number(body: Json) -> int | None:
    """Which worker asks, from 1; None when no worker does."""
    first = next((m for m in body["messages"] if m["role"] == "user"), None)
    marks = map(WORKER_MARK.match, _text_blocks(first) if first else [])
    return next((int(mark[1]) for mark in marks if mark), None)


def role_of(body: Json) -> Role:
    """Who asks: a worker by the prompt it was given, the queen by her tools, else the client itself."""
    if _worker_number(body) is not None:
        return "worker"
    names = {tool.get("name") for tool in body.get("tools", [])}
    return "queen" if "Bash" in names or names & set(SUBAGENT_TOOLS) else "side"


def select_turn(scenario: Scenario, body: Json) -> Turn:
    """The turn of `scenario` that answers the request `body`."""
    number = _worker_number(body)
    if number is not None and number <= len(scenario.workers):
        turns = scenario.workers[number - 1]
    elif role_of(body) == "queen":
        turns = scenario.queen
    else:
        turns = (Turn(blocks=(Text("A hive at work"),), usage=Usage(input_tokens=100, output_tokens=5)),)
    return turns[min(steps_since_prompt(body), len(turns) - 1)]


def _content_block(block: Thinking | Text | ToolUse, body: Json) -> Json:
    if isinstance(block, Thinking):
        return {"type": "thinking", "thinking": block.text, "signature": "c2lnbmVk"}
    if isinstance(block, Text):
        return {"type": "text", "text": block.text}
    offered = {tool.get("name") for tool in body.get("tools", [])}
    name = "Task" if block.name == "Agent" and "Agent" not in offered else block.name
    return {
        "type": "tool_use",
        "id": f"toolu_{uuid.uuid4().hex[:24]}",
        "name": name,
        "input": dict(block.input),
    }


def _spoken(turn: Turn, body: Json) -> list[Thinking | Text | ToolUse]:
    thinks = body.get("thinking", {}).get("type", "disabled") != "disabled"
    return [block for block in turn.blocks if thinks or not isinstance(block, Thinking)]


def _stop_reason(turn: Turn) -> str:
    return "tool_use" if any(isinstance(block, ToolUse) for block in turn.blocks) else "end_turn"


def encode_message(turn: Turn, body: Json) -> Json:
    """The whole answer, as a request without `stream` gets it."""
    return {
        "id": f"msg_{uuid.uuid4().hex[:24]}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [_content_block(block, body) for block in _spoken(turn, body)],
        "stop_reason": _stop_reason(turn),
        "stop_sequence": None,
        "usage": asdict(turn.usage),
    }


def _deltas(block: Json) -> Iterator[Json]:
    """The pieces in which a content block streams."""
    if block["type"] == "text":
        for word in re.findall(r"\S+\s*", block["text"]):
            yield {"type": "text_delta", "text": word}
    elif block["type"] == "thinking":
        yield {"type": "thinking_delta", "thinking": block["thinking"]}
        yield {"type": "signature_delta", "signature": block["signature"]}
    else:
        yield {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}


def stream_message(turn: Turn, body: Json) -> Iterator[tuple[float, Json]]:
    """The answer as server-sent events, each with the seconds to wait before it."""
    whole = encode_message(turn, body)
    opening = whole | {"content": [], "stop_reason": None, "usage": asdict(turn.usage) | {"output_tokens": 1}}
    yield turn.wait_s, {"type": "message_start", "message": opening}
    for index, (said, block) in enumerate(zip(_spoken(turn, body), whole["content"], strict=True)):
        empty = {"text": "", "thinking": "", "input": {}, "signature": ""}
        start = {key: empty.get(key, value) for key, value in block.items()}
        yield 0.0, {"type": "content_block_start", "index": index, "content_block": start}
        pace_s = said.pace_s if isinstance(said, Text) else 0.0
        for delta in _deltas(block):
            yield pace_s, {"type": "content_block_delta", "index": index, "delta": delta}
        yield 0.0, {"type": "content_block_stop", "index": index}
    ending = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield 0.0, {"type": "message_delta", "delta": ending, "usage": whole["usage"]}
    yield 0.0, {"type": "message_stop"}
