"""Ray as this farm uses it: one local cluster for the embedded mode, one detached dispatcher for every mode."""

import asyncio
import logging
import os
import threading
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources

from cluster.dispatcher import Dispatcher
from cluster.errors import SettingsInvalid
from cluster.farm_settings import FarmSettings
from cluster.jobs import open_store
from cluster.scratch import sweep_dead
from cluster.slots import Slots
from cluster.tasks import LANE, RayRunner

NAMESPACE = "farm"
DISPATCHER = "dispatcher"
STOP_S = 5.0  # what giving leases back may take before the process is ended anyway

log = logging.getLogger(__name__)


class DispatcherService:
    """The dispatcher on an event loop of its own thread; the body of the detached actor.

    A thread started by the constructor, because Ray restarts a killed actor by constructing it anew and by nothing
    else.
    """

    def __init__(self) -> None:
        settings = FarmSettings.load()
        self._runner = RayRunner()
        self._store = open_store(settings.database)
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._dispatcher: Dispatcher | None = None
        self._task: asyncio.Task[None] | None = None
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
            self._store, self._runner, Slots(1), self._settings, self._runner.capacity, ask_for_lanes
        )
        await self._dispatcher.run()

    def nudge(self) -> None:
        """A job was accepted: look now."""
        if self._dispatcher is not None:
            self._loop.call_soon_threadsafe(self._dispatcher.nudge)

    def stop(self) -> None:
        """Give every lease back and end; a job that was running is claimed again at once by the next dispatcher."""
        if self._dispatcher is not None and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._stopped.wait(STOP_S)

    def alive(self) -> dict[str, Any]:
        """A sign of life: how many jobs are held."""
        return {"held": self._dispatcher.held if self._dispatcher else 0, "pid": os.getpid()}


def ensure_dispatcher(on_labels: dict[str, str] | None = None) -> Any:
    """The one dispatcher of the cluster, started when there is none, on a node with all of `on_labels`."""
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


def start_embedded(settings: FarmSettings) -> None:
    """Start Ray on this machine alone, and the dispatcher in it; after `prepare_ray_environment`."""
    if ray.is_initialized():
        raise SettingsInvalid("Ray is already running in this process")
    ray.init(
        address="local",
        resources={LANE: settings.work.slots},
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
