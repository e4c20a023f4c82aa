"""Engines as Ray actors: one on every node that has lanes, kept ready while the dispatcher lives.

They hold no lane of Ray's: a batch takes one of the dispatcher's slots instead, so that lanes stay free for chunks
while no picture comes. But Ray lets no node go that has an actor (with one on each of two nodes an empty queue let none
go within three minutes): on nodes that an autoscaler started, an engine ends when no picture has come for a while, and
is started again when the others have no room.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.errors import WorkerLost
from cluster.farm_settings import FarmSettings
from cluster.heartbeat import Event, follow, with_heartbeats
from cluster.images.batches import Told
from cluster.images.engine import ImageEngine
from cluster.monitoring.logs import log_as_set_up
from cluster.nodes import Node
from cluster.work import Work
from pipelines.wire import from_wire, to_wire

START_S = 120.0  # of an engine on a node that just came up
OTHER_CALLS = 2  # a cancel must get through while every lane is busy
REST_S = 30.0  # without a picture; a start costs the next one about 1.5 s, a node that is kept for nothing much more
NODE_GROUP = "ray.io/node-group"  # Ray's label for nodes that its autoscaler or KubeRay started, and may give back

log = logging.getLogger(__name__)


class EngineActor:
    """The body of the actor."""

    def __init__(self, lanes: int) -> None:
        settings = FarmSettings.load()
        log_as_set_up(settings)
        self._engine = ImageEngine(settings, lanes)

    def turn(self, works: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Turn a batch; yield each outcome, signs of life, and that it is done."""

        def do(put: Callable[[Event], None]) -> None:
            self._engine.turn(
                [from_wire(Work, work) for work in works],
                lambda job_id, outcome: put({"job_id": job_id, "outcome": outcome}),
            )
            put({"done": True})

        yield from with_heartbeats(do, "batch")

    def ready(self) -> None:
        """Answered once the constructor is done."""

    def cancel(self, job_id: str) -> None:
        """End what is done for that job."""
        self._engine.cancel(job_id)


@dataclass(slots=True)
class Engine:
    """One node's engine, as the dispatcher sees it."""

    node: str
    actor: Any
    lanes: int
    started: Any  # the reference of its first answer
    batches: int = 0
    used: float = field(default_factory=time.monotonic)
    _ready: bool = False

    def is_ready(self) -> bool:
        """Whether its media processes stand ready, or never will: who asks it then is told."""
        self._ready = self._ready or bool(ray.wait([self.started], timeout=0)[0])
        return self._ready


class Engines:
    """The engines of the cluster; they end with the process that holds this object."""

    def __init__(self, is_gone: Callable[[str], bool]) -> None:
        """`is_gone` says whether Ray has given up a node."""
        self._is_gone = is_gone
        self._nodes: dict[str, Node] = {}  # that an engine may be on
        self._of_node: dict[str, Engine] = {}
        self._ending: list[Engine] = []  # get nothing new, and end with their last batch
        self._resting: set[str] = set()  # nodes whose engine ended for want of pictures
        self._has: dict[str, list[Engine]] = {}

    def follow(self, nodes: Iterable[Node]) -> None:
        """Have an engine on every node that is there now and has lanes, and forget those of nodes that are gone.

        One on a node that is drained ends with its last batch, so that the node can leave.
        """
        there = {node.id: node for node in nodes}
        self._nodes = {name: node for name, node in there.items() if node.lanes and not node.is_draining}
        for name in [name for name in self._of_node if name not in self._nodes]:
            engine = self._of_node.pop(name)
            if name in there:
                self._ending.append(engine)
        self._let_rest()
        self._start_missing()
        for engine in [engine for engine in self._ending if not engine.batches]:
            self._ending.remove(engine)
            ray.kill(engine.actor)

    def _start_missing(self) -> None:
        for name, node in self._nodes.items():
            if name not in self._of_node and name not in self._resting:
                actor = _start(name, node.lanes)
                self._of_node[name] = Engine(name, actor, node.lanes, actor.ready.remote())

    def _let_rest(self) -> None:
        """End engines that no picture comes to, where they would keep an autoscaler from giving their node back."""
        self._resting &= self._nodes.keys()
        now = time.monotonic()
        # One stands ready all the same, on a node as ray-cluster.yaml always has one.
        always = next((name for name in self._of_node if _is_kept(self._nodes[name].labels)), None)
        for name, engine in list(self._of_node.items()):
            is_idle = not engine.batches and now - engine.used > REST_S
            if is_idle and name != always and NODE_GROUP in self._nodes[name].labels:
                self._ending.append(self._of_node.pop(name))
                self._resting.add(name)

    async def turn(self, works: Sequence[Work], node: str, tell: Told) -> None:
        """Turn a batch on `node`; while that is not ready, where there is most room, unless the batch may take what it
        needs: that was looked for on `node` alone. WorkerLost when it is lost.
        """

        def hear(event: Event) -> bool | None:
            if "outcome" in event:
                tell(event["job_id"], event["outcome"])
            return event.get("done")

        is_placed = any(work.memory_bytes is None for work in works)
        engine = self._own_engine_of(node) if is_placed else self._engine_of(node)
        engine.batches += 1
        mine = [engine]
        self._has |= {work.job_id: mine for work in works}
        try:
            events = engine.actor.turn.options(num_returns="streaming").remote([to_wire(work) for work in works])
            await follow(events, hear, "the pictures' engine", START_S, lambda: self._is_gone(engine.node))
        except WorkerLost:
            self._give_up(engine)
            raise
        finally:
            engine.batches -= 1
            engine.used = time.monotonic()
            for work in works:
                if self._has.get(work.job_id) is mine:  # not the same job's next try
                    del self._has[work.job_id]

    async def cancel(self, job_id: str) -> None:
        """End what is done for that job, wherever it is."""
        for engine in self._has.get(job_id, ()):
            engine.actor.cancel.remote(job_id)

    def _give_up(self, lost: Engine) -> None:
        """End an engine that does not answer; its node gets another one."""
        for node, engine in list(self._of_node.items()):
            if engine is lost:
                del self._of_node[node]
                ray.kill(lost.actor)

    def _own_engine_of(self, node: str) -> Engine:
        self._resting.discard(node)
        self._start_missing()
        if node not in self._of_node:
            raise WorkerLost("the node that was to turn a large picture is leaving")
        return self._of_node[node]

    def _engine_of(self, node: str) -> Engine:
        has_room = any(engine.lanes > engine.batches for engine in self._of_node.values())
        if not has_room:  # a few pictures are no reason to keep another node from leaving
            self._resting.discard(node)
            self._start_missing()
        if not self._of_node:
            raise WorkerLost("no node of the cluster can turn pictures now")
        wanted = self._of_node.get(node)
        if wanted is not None and wanted.is_ready():
            return wanted
        # More than its lanes would queue within it unheard of, and be taken for lost.
        others = [one for one in self._of_node.values() if one.lanes > one.batches and one.is_ready()]
        if others or wanted is None:
            return max(others or self._of_node.values(), key=lambda engine: engine.lanes - engine.batches)
        return wanted  # as soon as it has started


def _is_kept(labels: dict[str, str]) -> bool:
    return (labels.get("market"), labels.get("pool")) == ("on-demand", "cpu")


def _start(node: str, lanes: int) -> Any:
    # Never restarted by Ray: one whose constructor fails would be kept as a corpse, and pictures be sent to it.
    actor = ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)(EngineActor)
    return actor.options(
        max_concurrency=lanes + OTHER_CALLS,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
    ).remote(lanes)
