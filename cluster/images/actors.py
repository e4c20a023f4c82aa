"""Engines as Ray actors: one on every node that has lanes, kept ready while the dispatcher lives.

They hold no lane of Ray's: a batch takes one of the dispatcher's slots instead, so that lanes stay free for chunks
while no picture comes.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.errors import WorkerLost
from cluster.farm_settings import FarmSettings
from cluster.images.batches import Told
from cluster.images.engine import ImageEngine
from cluster.work import Work
from pipelines.wire import from_wire, to_wire

HEARTBEAT_S = 5.0
SILENCE_S = 60.0  # twelve missed heartbeats: the node hangs, or is cut off
START_S = 120.0  # of an engine on a node that just came up
OTHER_CALLS = 2  # a cancel must get through while every lane is busy

log = logging.getLogger(__name__)


class EngineActor:
    """The body of the actor."""

    def __init__(self, lanes: int) -> None:
        self._engine = ImageEngine(FarmSettings.load(), lanes)

    def turn(self, works: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Turn a batch in a thread; yield each outcome, and a heartbeat when there is none."""
        events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

        def do() -> None:
            try:
                self._engine.turn(
                    [from_wire(Work, work) for work in works],
                    lambda job_id, outcome: events.put({"job_id": job_id, "outcome": outcome}),
                )
                events.put({"done": True})
            except BaseException as error:  # noqa: BLE001 - handed to the consumer, which raises it
                events.put({"bug": error})

        threading.Thread(target=do, name="batch", daemon=True).start()
        yield {"started": True}
        while True:
            try:
                event = events.get(timeout=HEARTBEAT_S)
            except queue.Empty:
                event = {"alive": True}
            if "bug" in event:
                raise event["bug"]
            yield event
            if "done" in event:
                return

    def ready(self) -> None:
        """Answered once the constructor is done."""

    def cancel(self, job_id: str) -> None:
        """End what is done for that job."""
        self._engine.cancel(job_id)


@dataclass(slots=True)
class Engine:
    """One node's engine, as the dispatcher sees it."""

    actor: Any
    lanes: int
    started: Any  # the reference of its first answer
    batches: int = 0
    _ready: bool = False

    def is_ready(self) -> bool:
        """Whether its media processes stand ready, or never will: who asks it then is told."""
        self._ready = self._ready or bool(ray.wait([self.started], timeout=0)[0])
        return self._ready


class Engines:
    """The engines of the cluster; they end with the process that holds this object."""

    def __init__(self, lane: str) -> None:
        """`lane` is the resource that says how many batches a node can turn at once."""
        self._lane = lane
        self._of_node: dict[str, Engine] = {}
        self._has: dict[str, list[Engine]] = {}

    def refresh(self) -> None:
        """Have an engine on every node that is there now, and forget those of nodes that are gone."""
        lanes = {
            node["NodeID"]: int(node["Resources"].get(self._lane, 0))
            for node in ray.nodes()  # type: ignore[no-untyped-call]
            if node["Alive"]
        }
        for node in [node for node in self._of_node if not lanes.get(node)]:
            del self._of_node[node]
        for node, count in lanes.items():
            if count and node not in self._of_node:
                actor = _start(node, count)
                self._of_node[node] = Engine(actor, count, actor.ready.remote())

    async def turn(self, works: Sequence[Work], tell: Told) -> None:
        """Turn a batch on the engine that has most room. WorkerLost when it is lost meanwhile."""
        engine = self._roomiest()
        engine.batches += 1
        mine = [engine]
        self._has |= {work.job_id: mine for work in works}
        try:
            await _follow(
                engine.actor.turn.options(num_returns="streaming").remote([to_wire(work) for work in works]), tell
            )
        except WorkerLost:
            self._give_up(engine)
            raise
        finally:
            engine.batches -= 1
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

    def _roomiest(self) -> Engine:
        if not self._of_node:
            self.refresh()
        if not self._of_node:
            raise WorkerLost("no node of the cluster can turn pictures now")
        ready = [engine for engine in self._of_node.values() if engine.is_ready()]
        return max(ready or self._of_node.values(), key=lambda engine: engine.lanes - engine.batches)


def _start(node: str, lanes: int) -> Any:
    # Never restarted by Ray: one whose constructor fails would be kept as a corpse, and pictures be sent to it.
    actor = ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)(EngineActor)
    return actor.options(
        max_concurrency=lanes + OTHER_CALLS,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
    ).remote(lanes)


async def _follow(events: Any, tell: Told) -> None:
    wait_s = START_S
    try:
        while True:
            ref = await asyncio.wait_for(events.__anext__(), wait_s)
            event: dict[str, Any] = await ref
            wait_s = SILENCE_S
            if "outcome" in event:
                tell(event["job_id"], event["outcome"])
            elif "done" in event:
                return
    except TimeoutError:
        raise WorkerLost(f"nothing was heard from the pictures' engine for {wait_s:.0f} s") from None
    except StopAsyncIteration:
        raise WorkerLost("the pictures' engine ended without an answer") from None
    except ray.exceptions.RayTaskError:
        raise  # a bug in the engine itself
    except ray.exceptions.RayError as error:
        raise WorkerLost("the pictures' engine was lost", detail={"ray": str(error)[:500]}) from None
