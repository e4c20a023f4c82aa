"""How much of each node is in use.

Ray's own `memory` is not asked for: it would count when a task is at the head of its queue, where one that does not fit
holds up all others. Ray still guards the lanes, because a step of a dispatcher that just died keeps its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from cluster.needs import Need
from cluster.nodes import Node

HERE = "here"
"""The node of a process that works alone."""


@dataclass(slots=True)
class _Room:
    node: Node
    lanes: int = 0  # in use, as the others
    memory_bytes: int = 0
    scratch_bytes: int = 0
    is_there: bool = True

    @property
    def free_lanes(self) -> int:
        return self.node.lanes - self.lanes if self.is_there and not self.node.is_draining else 0

    def fits(self, need: Need) -> bool:
        """A node that does not say how much it has, has enough."""
        return (
            self.free_lanes > 0
            and (not self.node.memory_bytes or self.memory_bytes + need.memory_bytes <= self.node.memory_bytes)
            and (not self.node.scratch_bytes or self.scratch_bytes + need.scratch_bytes <= self.node.scratch_bytes)
        )

    def could_ever(self, need: Need) -> bool:
        return (not self.node.memory_bytes or need.memory_bytes <= self.node.memory_bytes) and (
            not self.node.scratch_bytes or need.scratch_bytes <= self.node.scratch_bytes
        )


class Rooms:
    """The nodes, and what is in use on them."""

    def __init__(self) -> None:
        self._rooms: dict[str, _Room] = {}
        self._kept: tuple[object, str] | None = None  # a node that is emptied for somebody

    def follow(self, nodes: Iterable[Node]) -> None:
        """These are the nodes now."""
        there = {node.id: node for node in nodes if node.lanes > 0}
        for name, room in list(self._rooms.items()):
            room.is_there = name in there
            if not room.is_there and not room.lanes:
                del self._rooms[name]
        for name, node in there.items():
            self._rooms.setdefault(name, _Room(node)).node = node
        if self._kept is not None and not self._is_there(self._kept[1]):
            self._kept = None

    @property
    def lanes(self) -> int:
        """Of all nodes that take steps."""
        return sum(room.node.lanes for room in self._rooms.values() if room.is_there and not room.node.is_draining)

    @property
    def has_lane(self) -> bool:
        """Whether one is free."""
        return any(room.free_lanes > 0 for room in self._rooms.values())

    @property
    def largest(self) -> str:
        """What the node with most memory has, for a message."""
        node = max((room.node for room in self._rooms.values()), key=lambda node: node.memory_bytes)
        return Need(node.memory_bytes, node.scratch_bytes).text

    def best(self, need: Need, homes: set[str], who: object, only: str | None = None) -> str | None:
        """The node to put it on: one that it knows, else the one with most lanes free; None while there is none.

        `only` is the one node that is asked about.
        """
        kept = self._kept[1] if self._kept is not None and self._kept[0] is not who else None
        names = self._rooms if only is None else self._rooms.keys() & {only}
        fitting = [name for name in names if name != kept and self._rooms[name].fits(need)]
        return max(fitting, key=lambda name: (name in homes, self._rooms[name].free_lanes, name), default=None)

    def never(self, need: Need) -> bool:
        """Whether no node could hold it even if it were empty; a cluster without nodes may get some."""
        rooms = [room for room in self._rooms.values() if room.is_there and not room.node.is_draining]
        return bool(rooms) and not any(room.could_ever(need) for room in rooms)

    def keep_for(self, who: object, need: Need) -> None:
        """Put nothing else on the node that is likely to have room for it first; for one at a time."""
        if self._kept is None and not self.never(need):
            could = {name: room for name, room in self._rooms.items() if self._is_there(name) and room.could_ever(need)}
            self._kept = (
                who,
                max(could, key=lambda name: (could[name].node.memory_bytes - could[name].memory_bytes, name)),
            )

    def forget(self, who: object) -> None:
        """It does not wait any more."""
        if self._kept is not None and self._kept[0] is who:
            self._kept = None

    def take(self, need: Need, name: str) -> None:
        """A step begins there."""
        self._change(need, name, 1)

    def give_back(self, need: Need, name: str) -> None:
        """It has ended."""
        self._change(need, name, -1)

    def _change(self, need: Need, name: str, by: int) -> None:
        room = self._rooms[name]
        room.lanes += by
        room.memory_bytes += by * need.memory_bytes
        room.scratch_bytes += by * need.scratch_bytes
        if not room.is_there and not room.lanes:
            del self._rooms[name]

    def _is_there(self, name: str) -> bool:
        room = self._rooms.get(name)
        return room is not None and room.is_there and not room.node.is_draining
