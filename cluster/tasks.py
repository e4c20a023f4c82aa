"""Steps as Ray tasks. The tasks are thin: `cluster.steps` does the work in a media process below them.

The dispatcher owns all of them, because a task dies with its owner. Ray's own retries are off: they are endless for
out-of-memory kills, and replay a generator from its start.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.errors import InfraError
from cluster.farm_settings import FarmSettings
from cluster.heartbeat import Event, follow, with_heartbeats
from cluster.images.actors import Engines
from cluster.images.batches import Told
from cluster.job import OnStep
from cluster.looks import Looks
from cluster.media_process import Watch
from cluster.monitoring.facts import step_facts
from cluster.monitoring.logs import about_step, log_as_set_up
from cluster.node_list import nodes
from cluster.nodes import LANE, Node
from cluster.steps import run_step
from cluster.tools import Tools
from cluster.work import Step, Work
from pipelines.errors import MediaError
from pipelines.wire import from_wire, to_wire

PENDING_S = 300.0  # in Ray's queue although a slot was free: a node may just be coming up


def step_events(work_wire: dict[str, Any], step_wire: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Run one step; yield its progress, signs of life, and at last its answer."""
    settings = FarmSettings.load()
    log_as_set_up(settings)
    work, step = from_wire(Work, work_wire), from_wire(Step, step_wire)

    def do(tell: Callable[[Event], None]) -> None:
        began_s = time.time()
        watch = Watch(on_progress=lambda data: tell({"progress": data}))
        with about_step(work, str(step)):
            answer = _answer(work, step, settings, watch)
        tell({"progress": {"facts": step_facts(watch, began_s, settings.work.scratch_dir, *_here())}})
        tell(answer)

    yield from with_heartbeats(do, str(step))


def _answer(work: Work, step: Step, settings: FarmSettings, watch: Watch) -> Event:
    try:
        return {"result": run_step(work, step, Tools.open(work, settings), watch)}
    except MediaError as error:
        return {"media_error": error.to_wire()}
    except InfraError as error:
        return {"infra_error": error.to_wire()}


def _here() -> tuple[str, dict[str, str]]:
    """This node's address and labels."""
    labels: Any = ray.get_runtime_context().get_node_labels()
    return str(ray.util.get_node_ip_address()), labels  # type: ignore[no-untyped-call]


step_task = ray.remote(max_retries=0, num_returns="streaming", num_cpus=0, resources={LANE: 1})(step_events)


class RayRunner:
    """Runs steps as Ray tasks owned by the process that calls it."""

    def __init__(self) -> None:
        self._seen: set[str] = set()  # the nodes that were there when Ray was asked last
        self._engines = Engines(self._is_gone)
        self._looks = Looks()

    async def is_picture(self, work: Work) -> bool:
        """See `Runner`."""

        def look() -> bool:
            return Tools.open(work, FarmSettings.load()).is_picture(work)

        return await self._looks.at(work.source_uri, look)

    async def turn_images(self, works: Sequence[Work], node: str, tell: Told) -> None:
        """See `cluster.images.batches.ImageRunner`."""
        await self._engines.turn(works, node, tell)

    async def cancel_image(self, job_id: str) -> None:
        """See `cluster.images.batches.ImageRunner`."""
        await self._engines.cancel(job_id)

    def nodes(self) -> list[Node]:
        """See `cluster.surroundings.ClusterRunner`."""
        return nodes()

    def keep_ready(self, nodes: list[Node]) -> None:
        """See `cluster.surroundings.ClusterRunner`: engines for pictures."""
        self._seen = {node.id for node in nodes}
        self._engines.follow(nodes)

    def _is_gone(self, node: str) -> bool:
        return node not in self._seen

    async def run(self, work: Work, step: Step, node: str, on_progress: OnStep) -> dict[str, Any]:
        """One step; a cancelled call kills the worker that does it, and its media process with it."""
        events: Any = step_task.options(
            name=f"{step} of {work.job_id}",
            # Where it was planned to fit; when that node is gone, the step fails and is planned anew.
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        ).remote(to_wire(work), to_wire(step))
        answered = False

        def hear(event: Event) -> dict[str, Any] | None:
            nonlocal answered
            if "progress" in event:
                on_progress(event["progress"])
            answered = not event.keys().isdisjoint(("result", "media_error", "infra_error"))
            if "media_error" in event:
                raise MediaError.from_wire(event["media_error"])
            if "infra_error" in event:
                raise InfraError.from_wire(event["infra_error"])
            return event.get("result")

        try:
            return await follow(events, hear, f"the worker of {step}", PENDING_S, lambda: self._is_gone(node))
        finally:
            if not answered:
                # By force, at once: a soft cancel does not reach a thread that waits for a child.
                ray.cancel(events, force=True)
