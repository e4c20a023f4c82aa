"""What the dispatcher tells, counted, logged and traced. One object; its hooks neither wait nor fail."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from cluster.jobs import Job
from cluster.monitoring import metrics
from cluster.monitoring.batches import BatchWatch
from cluster.monitoring.counts import Counts, Gauge, Wire
from cluster.monitoring.jobs import JobWatch
from cluster.monitoring.logs import about, trace_id_of
from cluster.monitoring.metrics import Metric
from cluster.monitoring.tracing import Span, Tracing

log = logging.getLogger(__name__)

BEAT_S = 0.25
LAG_KEPT_BEATS = 240  # a minute: longer than a scrape interval, so that a short delay is seen
NODE_KEPT_S = 900.0  # a node that ends no step for so long is idle or gone
# What alerts wait for: Prometheus sees no rise in a figure that appears with its first event.
ALERTED = (
    (metrics.ENDED, ("failed", "internal_error")),
    (metrics.REFUSALS, ("internal_error",)),
    (metrics.RETRIES, ("chunk", "worker_lost")),
    (metrics.CALLBACKS, ("given_up",)),
)


class FarmWatch:
    """Sees what the dispatcher does; figures of other processes are added here too."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.batches = BatchWatch()
        for metric, labels in ALERTED:
            self.counts.add(metric, *labels, amount=0)
        self._tracing = Tracing("dispatcher")
        self._spans: dict[tuple[str, int], Span] = {}
        self._nodes: dict[str, tuple[float, float]] = {}
        self._started_s = time.time()
        self._swept_s = 0.0
        self._beat = time.monotonic()
        self._lags: list[float] = []

    async def driven(self, job: Job, drive: Callable[[], Awaitable[None]]) -> None:
        """`drive`, the driving of `job` from its lease to its end, with everything it writes and calls about that."""
        span = self._tracing.begin("job", job.traceparent, since_s=(job.started_at or job.created_at).timestamp())
        span.set(
            job_id=job.id, org=job.org, kind=job.kind, recipe=job.recipe_name, attempt=job.attempts, fence=job.fence
        )
        self._spans[job.id, job.fence] = span
        told = {"job_id": job.id, "org": job.org, "attempt": job.attempts, "fence": job.fence}
        try:
            with about(**told, trace_id=trace_id_of(span.traceparent)):
                self._leased(job, span)
                await drive()
        finally:
            span.end()
            del self._spans[job.id, job.fence]

    def _leased(self, job: Job, span: Span) -> None:
        self.counts.add(metrics.LEASES, job.priority)
        if job.taken_over:
            self.counts.add(metrics.TAKE_OVERS)
            log.warning("job taken over: its last owner was silent for the time of its lease")
        else:
            log.info("job started")
        if job.attempts == 1 and not job.taken_over and job.started_at is not None:
            queued_s = (job.started_at - job.created_at).total_seconds()
            self.counts.observe(metrics.QUEUED_SECONDS, queued_s, job.priority)
            waiting = self._tracing.begin("queued", span.traceparent, since_s=job.created_at.timestamp())
            waiting.end(job.started_at.timestamp())

    def steps(self, job: Job) -> JobWatch:
        """What sees the steps of the present run of `job`."""
        watch = JobWatch(self.counts, self._tracing, self._spans.get((job.id, job.fence)), job.priority)
        watch.nodes = self._nodes
        return watch

    def ended(self, job: Job, ending: dict[str, Any]) -> None:
        """The job's end was written."""
        status, code = str(ending["status"]), (ending.get("error") or {}).get("code", "")
        self.counts.add(metrics.ENDED, status, code)
        log.info("job ended", extra={"status": status, "code": code or None})
        if (span := self._spans.get((job.id, job.fence))) is not None:
            span.set(status=status, code=code or None)
            if status == "failed":
                span.fail(code)

    def given_back(self, job: Job, code: str) -> None:
        """The job is queued again, for a reason that may pass."""
        self.counts.add(metrics.GIVEN_BACK, code)
        if (span := self._spans.get((job.id, job.fence))) is not None:
            span.set(status="queued")
            span.fail(code)

    def lease_lost(self, job: Job) -> None:
        """Somebody else has the job now."""
        self.counts.add(metrics.LEASES_LOST)
        log.warning("job %s: its lease is somebody else's now", job.id, extra={"job_id": job.id, "fence": job.fence})

    def swept(self) -> None:
        """Storage was swept."""
        self._swept_s = time.time()

    async def beat(self) -> None:
        """Notice how late the event loop is, until cancelled."""
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(BEAT_S)
            self._lags = [*self._lags[-LAG_KEPT_BEATS:], self._late_s()]

    def _late_s(self) -> float:
        return max(0.0, time.monotonic() - self._beat - BEAT_S)

    def figures(self, held: int, slots: dict[str, int]) -> dict[str, Any]:
        """Everything as plain values, for whoever answers `/metrics`; also while the event loop hangs."""
        now = time.monotonic()
        gauges: list[tuple[Metric, tuple[str, ...], float]] = [
            (metrics.DISPATCHER_STARTED, (), self._started_s),
            (metrics.LAST_SWEEP, (), self._swept_s),
            (metrics.BATCH_STILL, (), self.batches.still_s()),
            (metrics.LOOP_LAG, (), max([self._late_s(), *self._lags])),
            (metrics.HELD, (), held),
            *((metrics.SLOTS, (state,), count) for state, count in slots.items()),
            *(
                (metrics.SCRATCH_FREE, (node,), free)
                for node, (free, heard) in list(self._nodes.items())
                if now - heard < NODE_KEPT_S
            ),
        ]
        return {
            "gauges": [[metric.name, list(labels), value] for metric, labels, value in gauges],
            "counts": self.counts.so_far(),
        }

    def close(self) -> None:
        """Send the spans that are left."""
        self._tracing.flush()


def gauges_of(figures: dict[str, Any]) -> list[Gauge]:
    """The gauges of `FarmWatch.figures`, those that this version knows."""
    known = metrics.METRICS
    return [(known[name], tuple(labels), value) for name, labels, value in figures["gauges"] if name in known]


def counts_of(figures: dict[str, Any]) -> Wire:
    """The counters and histograms of `FarmWatch.figures`, those that this version knows."""
    counts = Counts()
    counts.merge(figures["counts"])
    return counts.so_far()
