"""Who plays in a rehearsed hive: roles, each agent's slot of the run, and the price of its tokens; pure."""

from __future__ import annotations

import random
from collections.abc import Iterable
from math import isqrt

# Plain classes with __slots__: importing dataclasses alone would cost 1.6 MB in each of a hundred processes.

Usage = tuple[int, int, int, int]  # tokens: input, output, cache read, cache write

FAILING_SEEDS = 0.35  # share of hives in which one worker fails
SUBAGENT_SHARE = 0.3  # share of workers that call a sub-agent

QUEEN_MODEL = "rehearsal-large"
WORKER_MODEL = "rehearsal-small"
# US dollars per million tokens, in the order of Usage
PRICES = {QUEEN_MODEL: (5.0, 25.0, 0.5, 6.25), WORKER_MODEL: (1.0, 5.0, 0.1, 1.25)}

# role, what it is sent to do, the tools it uses in turn, the role of its sub-agent (an index)
ROLES = (
    ("researcher", "Find out what is known about", ("WebSearch", "Grep", "Read"), 6),
    ("architect", "Draw the structure of", ("Read", "Grep", "Read"), 0),
    ("coder", "Write the code of", ("Read", "Edit", "Bash", "Edit"), 4),
    ("tester", "Write the tests of", ("Bash", "Read", "Edit", "Bash"), 2),
    ("reviewer", "Doubt what was done for", ("Read", "Grep", "Bash"), 3),
    ("documenter", "Describe the use of", ("Read", "Edit"), 0),
    ("analyst", "Measure what matters in", ("Bash", "Grep", "Read"), 0),
    ("optimizer", "Speed up the slow part of", ("Bash", "Read", "Edit", "Bash"), 6),
)
# Claude Code's counters of tool uses, and the tool that each counts
STATS = {
    "readCount": "Read",
    "searchCount": "Grep",
    "bashCount": "Bash",
    "editFileCount": "Edit",
    "linesAdded": "",
    "linesRemoved": "",
    "otherToolCount": "",
}


class Agent:
    """One member of the hive: who it is, when it works (fractions of the run), what it has spent so far."""

    __slots__ = (
        "child",
        "context",
        "depth",
        "description",
        "end",
        "fails",
        "last",
        "model",
        "name",
        "prompt",
        "role",
        "spent",
        "start",
        "stats",
        "task_id",
        "tool_use_id",
        "tool_uses",
    )

    def __init__(self, name: str, role: int, depth: int, start: float = 0.0, end: float = 1.0) -> None:
        self.name = name
        self.role = role  # index into ROLES; without meaning for the queen
        self.depth = depth  # 0 queen, 1 worker, 2 sub-agent of a worker
        self.start = start
        self.end = end
        self.fails = False
        self.child: Agent | None = None
        self.model = WORKER_MODEL if depth else QUEEN_MODEL
        # Given when it is spawned: what the call that makes it says.
        self.tool_use_id = self.task_id = self.description = self.prompt = ""
        self.context = 0  # tokens in its prompt cache
        self.last: Usage = (0, 0, 0, 0)  # of its latest message
        self.spent: Usage = (0, 0, 0, 0)  # of all its messages
        self.tool_uses = 0
        self.stats = dict.fromkeys(STATS, 0)  # uses of its tools under Claude Code's own names

    @property
    def kind(self) -> str:
        """Its role in words, which is also Claude Code's subagent_type."""
        return ROLES[self.role][0] if self.depth else "queen"

    def count(self, tool: str) -> None:
        """One more use of `tool`."""
        self.tool_uses += 1
        counter = next((name for name, counted in STATS.items() if counted == tool), "otherToolCount")
        self.stats[counter] += 1


def make_uuid(rng: random.Random) -> str:
    """A UUID of version 4 from `rng`, lower case (RFC 9562 5.4)."""
    bits = rng.getrandbits(128) & ~(0xF << 76 | 0b11 << 62) | (4 << 76 | 0b10 << 62)
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def plan_waves(seed: int, workers: int) -> list[list[Agent]]:
    """The workers in the waves in which the queen sends them, each with its slot and perhaps a sub-agent.

    A wave is a few workers in parallel: three at most, or the square root of all where that is more.
    """
    rng = random.Random(f"{seed}/plan")
    count = -(-workers // max(3, isqrt(workers)))
    failing = rng.randrange(workers) if rng.random() < FAILING_SEEDS else -1
    length = 0.8 / count  # the queen plans before the first wave, and sums up after the last
    waves = []
    for wave in range(count):
        members = range(wave * workers // count, (wave + 1) * workers // count)
        begin = 0.1 + wave * length
        step = 0.06 * length / len(members)  # one message spawns them all, block after block
        waves.append([_plan_worker(rng, n, begin + at * step, length, n == failing) for at, n in enumerate(members)])
    return waves


def _plan_worker(rng: random.Random, number: int, start: float, length: float, fails: bool) -> Agent:
    worker = Agent(f"worker-{number}", number % len(ROLES), 1, start, start + length * rng.uniform(0.6, 0.9))
    worker.fails = fails
    if rng.random() < SUBAGENT_SHARE and not fails:
        worker.child = Agent(f"sub-{number}", ROLES[worker.role][3], 2)  # its slot is its parent's to give
    return worker


def add(one: Usage, other: Usage) -> Usage:
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3])


def usage_by_model(agents: Iterable[Agent]) -> dict[str, Usage]:
    """The tokens that `agents` have spent so far; a model appears once it has been used."""
    total: dict[str, Usage] = {}
    for agent in agents:
        if any(agent.spent):
            total[agent.model] = add(total.get(agent.model, (0, 0, 0, 0)), agent.spent)
    return total


def cost_usd(model: str, usage: Usage) -> float:
    """What `usage` would cost at the invented price of `model`."""
    return round(sum(n * price for n, price in zip(usage, PRICES[model], strict=True)) / 1e6, 6)
