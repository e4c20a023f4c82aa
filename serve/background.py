"""What a replica of the API does beside answering: waking the dispatcher, keeping one alive, sending callbacks.

All of it may run in every replica at once, and none of it is waited for by a request.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cluster.errors import InfraError
from cluster.jobs import Delivery
from serve.webhooks import LEASE_S, deliver, http_client

if TYPE_CHECKING:
    from serve.api.deps import Deps

NUDGES_S = 0.05  # finding the dispatcher costs a replica a millisecond or two: a burst of uploads pays it once
CALLBACK_POLL_S = 1.0
CALLBACKS_AT_ONCE = 64
STORE_AWAY_S = 5.0
SUPERVISE_S = 10.0

log = logging.getLogger(__name__)


class Nudger:
    """Calls `wake` soon, on a thread of its own: Ray may take its time to answer, an upload may not."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._wanted = threading.Event()
        threading.Thread(target=self._run, name="nudger", daemon=True).start()

    def __call__(self) -> None:
        """Ask for one call; many at once are one."""
        self._wanted.set()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            self._wake()
            time.sleep(NUDGES_S)


async def send_callbacks(deps: "Deps") -> None:
    """Send what is owed, until cancelled. Each goes by itself: a receiver that hangs holds up no other."""
    async with http_client() as client, asyncio.TaskGroup() as sending:
        room = asyncio.Semaphore(CALLBACKS_AT_ONCE)

        async def send(delivery: Delivery) -> None:
            try:
                await deliver(delivery, deps, client, datetime.now(UTC))
            except InfraError as error:
                log.warning("callback %s waits: %s: %s", delivery.id, error.code, error.public_message)
            finally:
                room.release()

        while True:
            await room.acquire()
            try:
                due = await asyncio.to_thread(deps.store.due_deliveries, 1, LEASE_S)
            except InfraError as error:
                room.release()
                log.warning("callbacks wait: %s: %s", error.code, error.public_message)
                await asyncio.sleep(STORE_AWAY_S)
                continue
            for delivery in due:
                sending.create_task(send(delivery))
            if not due:
                room.release()
                await asyncio.sleep(CALLBACK_POLL_S)


async def supervise(ensure: Callable[[], object]) -> None:
    """Call `ensure` now and again, until cancelled; its failures are the dispatcher's, never the API's."""
    while True:
        try:
            await asyncio.to_thread(ensure)
        except Exception:
            log.exception("the dispatcher could not be started; tried again in %.0f s", SUPERVISE_S)
        await asyncio.sleep(SUPERVISE_S)


async def forever(work: Callable[[], Awaitable[None]]) -> None:
    """Run endless `work`; should a bug end it, log that and run it again."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("background work broke off; started again in %.0f s", STORE_AWAY_S)
        await asyncio.sleep(STORE_AWAY_S)
