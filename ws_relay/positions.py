"""Where sessions and agents stand before any spring pulls at them; pure, and the same whenever it is reckoned again.

The rules of this file:
- Sessions stand on a sunflower spiral, and their ids say where: a place that is taken gives way to the next one.
- The queen stands in the middle of her session, workers on rings around her, subagents as near to their parent as can be.
- All stand on one hexagonal grid, one on a point, so no two are nearer than SPACING.
- Who stands does not move: others come, a parent is told late, a session goes. Only a new attempt begins anew.
- Heights are small, by depth in the tree: most viewers look from above.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import count, takewhile
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from hive_session.ondisk.events import QUEEN

if TYPE_CHECKING:
    from hive_session.ondisk.fold import Agent
    from hive_session.ondisk.folding import Fold
    from hive_session.ondisk.sessions import Session

SPACING = 10.0  # between neighbours on the grid; the unit of all lengths here is the viewer's own
RING = 2  # points of the grid from one ring of workers to the next: room for subagents in between
LAYER = 2.0  # height from an agent to those it called for
DEEPEST = 10  # whoever stands deeper stands no higher
CLUSTER = 420.0  # between the middles of neighbouring sessions: 330 workers keep clear of those next door
FEWEST_PLACES = 8  # on the spiral, while there are few sessions; tried before twice as many are
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
SUNFLOWER = CLUSTER / 1.5  # neighbours on a sunflower of scale 1 are at least 1.5 apart

Cell = tuple[int, int]  # a point of the hexagonal grid, in axial coordinates
MIDDLE = (0, 0)
AROUND: tuple[Cell, ...] = ((1, 0), (0, 1), (-1, 1), (-1, 0), (0, -1), (1, -1))  # the six neighbours, in order


class Point(NamedTuple):
    """A place in the room."""

    x: float
    y: float
    z: float


class Formation:
    """The agents of one session: where each stands, and whom it speaks with. `follow` keeps it up to date."""

    __slots__ = (
        "_cells",
        "_centre",
        "_children",
        "_first",
        "_parents",
        "_searches",
        "_taken",
        "_turn",
        "points",
    )

    def __init__(self, session_id: str, centre: Point) -> None:
        self.points: dict[str, Point] = {}  # by the agent's bare id, in the order of their appearance
        self._centre = centre
        self._turn = _number(session_id, "turn") / 2**64 * math.tau  # so that not all sessions point the same way
        self._begin(None)

    def _begin(self, first: Agent | None) -> None:
        self._first = first  # of whom each attempt has another; to hold them all would keep hives in memory
        self.points = {}
        self._cells: dict[str, Cell] = {}
        self._taken: set[Cell] = {MIDDLE}  # it waits for the queen
        self._parents: dict[str, str | None] = {}
        self._children: dict[str | None, dict[str, None]] = {}
        self._searches: dict[str | None, Iterator[Cell]] = {}  # each goes on where the last of its search stood

    # -- who there is --------------------------------------------------------------------------------------------------

    def follow(self, agents: dict[str, Agent], changed: Iterable[str] = ()) -> None:
        """Give each new agent its place. Another attempt begins anew.

        `agents` are those of a hive: in the order of their appearance, and none ever goes. `changed` are bare ids of those of
        whom something was told since.
        """
        first = next(iter(agents.values()), None)
        if first is not self._first:
            self._begin(first)
        for name in changed:
            # One that was seen at work before anybody introduced it has got another parent.
            if name in self._parents and self._parents[name] != agents[name].parent:
                self._children[self._parents[name]].pop(name, None)
                self._adopt(agents[name])
        new = list(takewhile(lambda name: name not in self.points, reversed(agents)))
        for name in reversed(new):
            self._adopt(agents[name])
            self._stand(agents[name])

    def neighbours(self, agent: Agent) -> list[str]:
        """Bare ids of whom it speaks with: its parent first, then those it called for."""
        name, parent = agent.agent, agent.parent
        above = [parent] if parent is not None and parent in self.points and parent != name else []
        return [*above, *(child for child in self._children.get(name, ()) if child != name)]

    def _adopt(self, agent: Agent) -> None:
        self._parents[agent.agent] = agent.parent
        self._children.setdefault(agent.parent, {})[agent.agent] = None

    # -- where they stand ----------------------------------------------------------------------------------------------

    def _stand(self, agent: Agent) -> None:
        cell = self._free_cell(agent)
        self._taken.add(cell)
        self._cells[agent.agent] = cell
        self.points[agent.agent] = self._point(cell, self._depth(agent))

    def _free_cell(self, agent: Agent) -> Cell:
        if agent.agent == QUEEN:
            return MIDDLE
        host = agent.parent if agent.role == "subagent" and agent.parent in self._cells else None
        search = self._searches.get(host)
        if search is None:
            search = _rings() if host is None else _nearby(self._cells[host])
            self._searches[host] = search
        return next(cell for cell in search if cell not in self._taken)

    def _depth(self, agent: Agent) -> int:
        depth, seen = 0, {agent.agent}
        parent = agent.parent
        while parent is not None and parent in self._parents and parent not in seen and depth < DEEPEST:
            seen.add(parent)
            depth += 1
            parent = self._parents[parent]
        return depth

    def _point(self, cell: Cell, depth: int) -> Point:
        along, up = cell
        x, y = SPACING * (along + up / 2), SPACING * up * math.sqrt(3) / 2
        cos, sin = math.cos(self._turn), math.sin(self._turn)
        return Point(
            round(self._centre.x + x * cos - y * sin, 3),
            round(self._centre.y + x * sin + y * cos, 3),
            round(self._centre.z + depth * LAYER, 3),
        )


class Ground:
    """The formations of all sessions that anybody looks at. The same sessions in the same order give the same ground.

    A session keeps its place until it leaves. Its formation is kept as long as its telemetry is in memory.
    """

    __slots__ = ("_formations", "_places", "_taken")

    def __init__(self) -> None:
        self._formations: WeakKeyDictionary[Fold, tuple[int, Formation]] = WeakKeyDictionary()  # each with its place
        self._places: dict[str, int] = {}  # by session
        self._taken: set[int] = set()

    def formation(self, session: Session) -> Formation:
        """The formation of a session, which gets a place where it has none."""
        session_id, fold = session.card.id, session.fold
        place = self._place(session_id)
        kept = None if fold is None else self._formations.get(fold)
        if kept is not None and kept[0] == place:
            return kept[1]
        made = Formation(session_id, sunflower(place))
        if fold is not None:
            self._formations[fold] = place, made
        return made

    def _place(self, session_id: str) -> int:
        place = self._places.get(session_id)
        if place is None:
            place = next(each for each in _places(session_id) if each not in self._taken)
            self._places[session_id] = place
            self._taken.add(place)
        return place

    def leave(self, session_id: str) -> None:
        """Let another session have the place of this one."""
        self._taken.discard(self._places.pop(session_id, -1))


def sunflower(place: int) -> Point:
    """The middle of place 0, 1, 2, … on the spiral, from the inside out."""
    radius, angle = SUNFLOWER * math.sqrt(place + 0.5), place * GOLDEN_ANGLE
    return Point(radius * math.cos(angle), radius * math.sin(angle), 0.0)


def _places(session_id: str) -> Iterator[int]:
    """The places that an id asks for, one after the other, without end: each time among twice as many."""
    for attempt in count():
        yield _number(session_id, f"place {attempt}") % (FEWEST_PLACES << attempt)


def _number(session_id: str, what: str) -> int:
    """A number below 2^64 that an id stands for; another one for each purpose."""
    return int.from_bytes(blake2b(f"{session_id} {what}".encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _hexagon(centre: Cell, radius: int) -> list[Cell]:
    """The points of the grid that are `radius` steps away, in turning order."""
    along, up = centre[0] + radius * AROUND[4][0], centre[1] + radius * AROUND[4][1]
    cells = []
    for step_along, step_up in AROUND:
        for _ in range(radius):
            cells.append((along, up))
            along, up = along + step_along, up + step_up
    return cells


def _nearby(centre: Cell) -> Iterator[Cell]:
    """The points around one, the nearest first, without end."""
    radius = 1
    while True:
        yield from _hexagon(centre, radius)
        radius += 1


def _rings() -> Iterator[Cell]:
    """Where workers stand: every RING-th point of every RING-th hexagon, without end; few of them stand far apart."""
    radius = RING
    while True:
        seats = _hexagon(MIDDLE, radius)[::RING]
        yield from (seats[place] for place in _spread(len(seats)))
        radius += RING


def _spread(seats: int) -> list[int]:
    """The numbers below `seats`, a multiple of six, in an order of which any beginning is spread evenly."""
    sixth = seats // 6
    offsets = sorted(range(sixth), key=lambda offset: offset * GOLDEN_ANGLE % 1)
    return [corner * sixth + offset for offset in offsets for corner in (0, 2, 4, 1, 3, 5)]
