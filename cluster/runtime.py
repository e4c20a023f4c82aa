"""Ray as this farm uses it: one local cluster for the embedded mode, one detached dispatcher for every mode."""

import asyncio
import logging
import os
import threading
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources

from cluster.batches.feeder import Feeder
from cluster.dispatcher import Dispatcher
from cluster.errors import SettingsInvalid, WorkerLost
from cluster.farm_settings import FarmSettings, require_token
from cluster.jobs import open_store
from cluster.monitoring import metrics
from cluster.monitoring.counts import Wire
from cluster.monitoring.farm import FarmWatch
from cluster.monitoring.logs import log_as_set_up
from cluster.node_offer import memory_bytes_here, memory_for_steps, scratch_bytes
from cluster.nodes import GB, LANE, SCRATCH_GB
from cluster.scratch import sweep_dead
from cluster.slots import Slots
from cluster.tasks import RayRunner

NAMESPACE = "farm"
DISPATCHER = "dispatcher"
FIGURES_S = 2.0  # what a scrape may wait for the dispatcher
SLOTS_EVERY_S = 1.0
STOP_S = 5.0  # what giving leases back may take before the process is ended anyway

log = logging.getLogger(__name__)


class DispatcherService:
    """The dispatcher on an event loop of its own thread; the body of the detached actor.

    A thread started by the constructor, because Ray restarts a killed actor by constructing it anew and by nothing
    else.
    """

    def __init__(self) -> None:
        settings = FarmSettings.load()
        log_as_set_up(settings)
        self._watch = FarmWatch()
        self._runner = RayRunner()
        self._store = open_store(settings.database)
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._dispatcher: Dispatcher | None = None
        self._task: asyncio.Task[None] | None = None
        self._slots = {"capacity": 0, "busy": 0, "wanted": 0}
        self._stopped = threading.Event()
        sweep_dead(settings.work.scratch_dir)
        threading.Thread(target=self._serve, name="dispatcher", daemon=True).start()

    def _serve(self) -> None:
        try:
            self._task = self._loop.create_task(self._run())
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            self._stopped.set()
        except BaseException:
            log.exception("the dispatcher ended; its actor is restarted")
            os._exit(1)

    async def _run(self) -> None:
        self._dispatcher = Dispatcher(
            self._store,
            self._runner,
            self._settings,
            ask_for_lanes,
            self._watch,
            # Ray constructs an actor anew only when its last process is dead or cut off, and its id stays.
            successor_of=f"dispatcher-{ray.get_runtime_context().get_actor_id()}",
        )
        slots = self._dispatcher.slots
        name = f"feeder-{ray.get_runtime_context().get_actor_id()}"
        feeder = Feeder(self._store, self._settings, lambda: slots.capacity, self._dispatcher.nudge, name)
        watching = (self._watch.beat(), self._watch.batches.follow(self._store), self._note_slots(slots))
        beside = [asyncio.create_task(work) for work in (*watching, feeder.run())]
        try:
            await self._dispatcher.run()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _note_slots(self, slots: Slots) -> None:
        """Keep for `figures`, which another thread asks for, what only this one may look at."""
        while True:
            self._slots = dict(zip(metrics.SLOT_STATES, (slots.capacity, slots.running, slots.demand), strict=True))
            await asyncio.sleep(SLOTS_EVERY_S)

    def nudge(self) -> None:
        """A job was accepted: look now."""
        if self._dispatcher is not None:
            self._loop.call_soon_threadsafe(self._dispatcher.nudge)

    def stop(self) -> None:
        """Give every lease back and end; a job that was running is claimed again at once by the next dispatcher."""
        if self._dispatcher is not None and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._stopped.wait(STOP_S)
        self._watch.close()

    def figures(self, counted: Wire) -> dict[str, Any]:
        """Add what another process counted; everything that was, and how the dispatcher stands."""
        self._watch.counts.merge(counted)
        return self._watch.figures(self._dispatcher.held if self._dispatcher else 0, self._slots)

    def alive(self) -> dict[str, Any]:
        """A sign of life: how many jobs are held."""
        return {"held": self._dispatcher.held if self._dispatcher else 0, "pid": os.getpid()}


def ensure_dispatcher(on_labels: dict[str, str] | None = None) -> Any:
    """The one dispatcher of the cluster, started when there is none, on a node with all of `on_labels`.

    SettingsInvalid on a cluster that asks for no token.
    """
    require_token(ray.get_runtime_context().gcs_address)
    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(DispatcherService)
    return actor.options(
        name=DISPATCHER, namespace=NAMESPACE, lifetime="detached", get_if_exists=True, label_selector=on_labels or {}
    ).remote()


def ask_for_lanes(lanes: int) -> None:
    """Have the autoscaler keep nodes with `lanes` in all; without one, as in the embedded mode, nothing happens.

    For the dispatcher alone: whoever asks last overrides everybody, and what was asked for stands until then.
    """
    try:
        request_resources(bundles=[{LANE: 1}] * lanes)
    except Exception:  # Ray raises many kinds here; the dispatcher goes on with the nodes that there are
        log.warning("the autoscaler was not reached", exc_info=True)


def nudge_quietly() -> None:
    """Tell the dispatcher that there is work; whatever goes wrong, it finds out by itself within a tick."""
    try:
        ray.get_actor(DISPATCHER, namespace=NAMESPACE).nudge.remote()
    except Exception:  # Ray raises many kinds here, and none of them matters to a caller whose job is committed
        log.debug("dispatcher not reached", exc_info=True)


def figures_of_dispatcher(counted: Wire) -> dict[str, Any] | None:
    """Hand over what this process counted, and hear what `DispatcherService.figures` says; None when that is late.

    WorkerLost when nothing was handed over.
    """
    try:
        actor: Any = ray.get_actor(DISPATCHER, namespace=NAMESPACE)
        figures: Any = ray.get(actor.figures.remote(counted), timeout=FIGURES_S)
        return dict(figures)
    except ray.exceptions.GetTimeoutError:  # the call is kept, and made once the actor is back
        return None
    except Exception as error:  # Ray raises many kinds here
        raise WorkerLost(f"the dispatcher was not reached: {type(error).__name__}") from error


def start_embedded(settings: FarmSettings) -> None:
    """Start Ray on this machine alone, and the dispatcher in it; after `prepare_ray_environment`."""
    if ray.is_initialized():
        raise SettingsInvalid("Ray is already running in this process")
    ray.init(
        address="local",
        resources={LANE: settings.work.slots, SCRATCH_GB: scratch_bytes(settings) // GB},
        # Of the machine, as other nodes offer it, and not what happens to be free now, which Ray would take.
        _memory=memory_for_steps(memory_bytes_here()),
        include_dashboard=False,
        namespace=NAMESPACE,
        log_to_driver=False,
        logging_level=logging.WARNING,
    )
    ensure_dispatcher()


def stop_embedded() -> None:
    """End the local Ray and everything it started; leases are given back first."""
    try:
        ray.get(ray.get_actor(DISPATCHER, namespace=NAMESPACE).stop.remote(), timeout=STOP_S + 1)
    except (ray.exceptions.RayError, ValueError):  # it is gone already: its leases run out by themselves
        log.debug("dispatcher not stopped", exc_info=True)
    ray.shutdown()
