"""What `/metrics` shows: the queue out of the job store, and what the dispatcher has summed up."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from cluster.errors import InfraError, StoreError
from cluster.jobs import JobStore
from cluster.monitoring import metrics
from cluster.monitoring.counts import Gauge, exposition
from cluster.monitoring.farm import counts_of, gauges_of
from cluster.policy import PRIORITIES

if TYPE_CHECKING:
    from serve.api.deps import Deps

HAND_OVER_S = 10.0  # a replica that ends takes what it counted since with it

log = logging.getLogger(__name__)


def figures(deps: "Deps") -> bytes:
    """Everything, as Prometheus reads it: the same from every replica. What is away is said to be, and left out."""
    try:
        gauges = [(metrics.STORE_UP, (), 1.0), *_of_store(deps.store)]
    except StoreError as error:
        log.warning("the queue is not shown: %s: %s", error.code, error.public_message)
        gauges = [(metrics.STORE_UP, (), 0.0)]
    told = hand_over(deps)
    gauges.append((metrics.DISPATCHER_UP, (), 0.0 if told is None else 1.0))
    if told is None:
        return exposition(gauges, None)
    return exposition([*gauges, *gauges_of(told)], counts_of(told))


def _of_store(store: JobStore) -> list[Gauge]:
    gauges: list[Gauge] = []  # of what is open: to count a year's jobs at every scrape would take seconds
    # Named also when nothing waits: an alert cannot tell 0 from a figure that went missing.
    waiting = {(priority, stands): (0, 0.0) for priority in PRIORITIES for stands in metrics.STANDS}
    for one in store.backlog():
        jobs, oldest_s = waiting[one.priority, one.status]
        waiting[one.priority, one.status] = (jobs + one.jobs, max(oldest_s, one.oldest_s))
    for labels, (jobs, oldest_s) in waiting.items():
        gauges += [(metrics.QUEUE_JOBS, labels, jobs), (metrics.QUEUE_OLDEST, labels, oldest_s)]
    owed, lag_s = store.callbacks_owed()
    return [*gauges, (metrics.CALLBACKS_OWED, (), owed), (metrics.CALLBACK_LAG, (), lag_s)]


def hand_over(deps: "Deps") -> dict[str, Any] | None:
    """Give the dispatcher what this process counted; what it says of everybody's figures, None when it is away."""
    counted = deps.counts.taken()
    try:
        return deps.dispatcher(counted)
    except InfraError as error:
        deps.counts.merge(counted)
        log.debug("figures wait: %s", error.public_message)
        return None


async def hand_over_now_and_then(deps: "Deps") -> None:
    """Hand over every ten seconds, until cancelled."""
    while True:
        await asyncio.sleep(HAND_OVER_S)
        await asyncio.to_thread(hand_over, deps)
