"""Steps as Ray tasks. The tasks are thin: `cluster.steps` does the work in a media process below them.

Ray's own retries are off (they are endless for out-of-memory kills, and replay a generator from its start); the first
value a task yields says that it runs, later ones that it lives, the last one is the answer.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray

from cluster.errors import InfraError, WorkerLost
from cluster.farm_settings import FarmSettings
from cluster.images.actors import Engines
from cluster.images.batches import Told
from cluster.job import OnStep
from cluster.media_process import Watch
from cluster.steps import run_step
from cluster.tools import Tools
from cluster.work import Step, Work
from pipelines.errors import MediaError
from pipelines.wire import from_wire, to_wire

# A node's room for steps, declared when it starts. Not Ray's CPU: Serve replicas hold pieces of that, and on a small
# machine no whole one would be left.
LANE = "cpu_lane"

HEARTBEAT_S = 5.0
SILENCE_S = 60.0  # twelve missed heartbeats: the node hangs, or is cut off
LOOKS_AT_ONCE = 8  # first bytes of sources that are read at a time
REFRESH_S = 5.0  # how soon a node that came up turns pictures
PENDING_S = 300.0  # in Ray's queue although a slot was free: a node may just be coming up


def step_events(work_wire: dict[str, Any], step_wire: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Run one step in a thread; yield its progress, a heartbeat when there is none, and at last its answer."""
    settings = FarmSettings.load()
    work, step = from_wire(Work, work_wire), from_wire(Step, step_wire)
    events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    watch = Watch(on_progress=lambda data: events.put({"progress": data}))

    def do() -> None:
        try:
            result = run_step(work, step, Tools.open(work, settings), watch)
            events.put({"result": result})
        except MediaError as error:
            events.put({"media_error": error.to_wire()})
        except InfraError as error:
            events.put({"infra_error": error.to_wire()})
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, which raises it
            events.put({"bug": error})

    # A media process dies with the thread that started it, and this thread ends with the step.
    threading.Thread(target=do, name=str(step), daemon=True).start()
    yield {"started": True}
    while True:
        try:
            event = events.get(timeout=HEARTBEAT_S)
        except queue.Empty:
            yield {"alive": True}
            continue
        if "bug" in event:
            raise event["bug"]
        yield event
        if "progress" not in event:
            return


step_task = ray.remote(max_retries=0, num_returns="streaming", num_cpus=0, resources={LANE: 1})(step_events)


class RayRunner:
    """Runs steps as Ray tasks owned by the process that calls it."""

    def __init__(self) -> None:
        self._engines = Engines(LANE)
        # Not the loop's own threads: a storage that does not answer must not keep leases from being renewed.
        self._lookers = ThreadPoolExecutor(LOOKS_AT_ONCE, thread_name_prefix="look")
        self._refreshed = -REFRESH_S

    async def is_picture(self, work: Work) -> bool:
        """See `Runner`."""

        def look() -> bool:
            return Tools.open(work, FarmSettings.load()).is_picture(work)

        return await asyncio.get_running_loop().run_in_executor(self._lookers, look)

    async def turn_images(self, works: Sequence[Work], tell: Told) -> None:
        """See `cluster.images.batches.ImageRunner`."""
        await self._engines.turn(works, tell)

    async def cancel_image(self, job_id: str) -> None:
        """See `cluster.images.batches.ImageRunner`."""
        await self._engines.cancel(job_id)

    def capacity(self) -> int:
        """Steps that the nodes of the cluster could run at once; engines follow the nodes."""
        if time.monotonic() - self._refreshed >= REFRESH_S:
            self._refreshed = time.monotonic()
            self._engines.refresh()
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return int(resources.get(LANE, 0))

    async def run(self, work: Work, step: Step, on_progress: OnStep) -> dict[str, Any]:
        """One step; a cancelled call kills the worker that does it, and its media process with it."""
        events: Any = step_task.options(name=f"{step} of {work.job_id}").remote(to_wire(work), to_wire(step))
        answered = False
        wait_s = PENDING_S
        try:
            while True:
                ref = await asyncio.wait_for(events.__anext__(), wait_s)
                event: dict[str, Any] = await ref
                wait_s = SILENCE_S
                if "progress" in event:
                    on_progress(event["progress"])
                elif "result" in event:
                    answered = True
                    return dict(event["result"])
                elif "media_error" in event:
                    answered = True
                    raise MediaError.from_wire(event["media_error"])
                elif "infra_error" in event:
                    answered = True
                    raise InfraError.from_wire(event["infra_error"])
        except TimeoutError:
            raise WorkerLost(f"{step}: nothing was heard from its worker for {wait_s:.0f} s") from None
        except StopAsyncIteration:
            raise WorkerLost(f"{step}: its worker ended without an answer") from None
        except ray.exceptions.RayTaskError:
            raise  # a bug in the step itself
        except ray.exceptions.RayError as error:
            raise WorkerLost(f"{step}: its worker was lost", detail={"ray": str(error)[:500]}) from None
        finally:
            if not answered:
                # By force, at once: a soft cancel does not reach a thread that waits for a child.
                ray.cancel(events, force=True)
