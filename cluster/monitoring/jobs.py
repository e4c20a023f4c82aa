"""What one job's run tells, counted, logged and traced: its steps, and what they report of their nodes."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cluster.monitoring import metrics
from cluster.monitoring.counts import Counts
from cluster.monitoring.logs import about
from cluster.monitoring.tracing import Span, Tracing
from cluster.work import Step

log = logging.getLogger(__name__)

SHOWN = ("codec", "frames", "pixels", "reused", "engine", "lane", "cpu_s", "published_bytes")  # of a step's result


@dataclass(slots=True)
class StepSeen:
    """One try of a step, filled in as it goes."""

    asked_s: float = field(default_factory=time.time)
    began_s: float | None = None  # when it had its slot
    facts: dict[str, Any] = field(default_factory=dict)  # see cluster.monitoring.facts; {} when its worker was lost
    result: dict[str, Any] = field(default_factory=dict)

    def begins(self) -> None:
        """It has its slot."""
        self.began_s = time.time()

    def heard(self, data: dict[str, Any]) -> None:
        """What its worker says while it works."""
        self.facts = data.get("facts", self.facts)


class JobWatch:
    """Sees the steps of one run of one job."""

    def __init__(
        self,
        counts: Counts | None = None,
        tracing: Tracing | None = None,
        span: Span | None = None,
        priority: str = "normal",
    ) -> None:
        """Without arguments nobody hears of it."""
        self._counts = Counts() if counts is None else counts
        self._tracing = tracing
        self._span = Span(None) if span is None else span
        self._priority = priority
        self.nodes: dict[str, tuple[float, float]] = {}
        """Free part of the working disk by node, and when that was heard."""

    @property
    def traceparent(self) -> str | None:
        """What the steps' workers are told of the trace."""
        return self._span.traceparent

    @contextmanager
    def step(self, step: Step) -> Iterator[StepSeen]:
        """Around one try of `step`, the waiting for its slot included."""
        seen = StepSeen()
        with about(step=str(step)):
            try:
                yield seen
            except BaseException as error:
                self._note(step, seen, getattr(error, "code", type(error).__name__))
                raise
            self._note(step, seen, None)

    def retried(self, step: Step, code: str) -> None:
        """The step is tried again."""
        self._counts.add(metrics.RETRIES, step.kind, code)

    def _note(self, step: Step, seen: StepSeen, failure: str | None) -> None:
        try:
            self._trace(step, seen, failure)
            if failure is None:
                self._count(step, seen)
        except Exception:  # a worker of another version may report other facts: no reason for a job to fail
            log.warning("the step's figures cannot be read", exc_info=True)

    def _trace(self, step: Step, seen: StepSeen, failure: str | None) -> None:
        facts = seen.facts
        if "scratch_free" in facts:
            self.nodes[facts["node"]] = (facts["scratch_free"], time.monotonic())
        if self._tracing is None or not self._tracing.on:
            return
        span = self._tracing.begin(str(step), self.traceparent, since_s=seen.asked_s)
        waited_s = None if seen.began_s is None else round(seen.began_s - seen.asked_s, 3)
        told = {name: seen.result.get(name) for name in SHOWN}
        span.set(waited_s=waited_s, node=facts.get("node"), node_kind=facts.get("node_kind"), **told)
        for process in facts.get("processes", ()):
            began_s = process["began_s"]
            media = self._tracing.begin(f"media {process['command']}", span.traceparent, since_s=began_s)
            media.set(
                cpu_s=process["cpu_s"], peak_rss_bytes=process["peak_rss_bytes"], frames=seen.result.get("frames")
            )
            media.end(began_s + process["wall_s"])
        if failure is not None:
            span.fail(failure)
        span.end()

    def _count(self, step: Step, seen: StepSeen) -> None:
        began_s = seen.asked_s if seen.began_s is None else seen.began_s
        facts, result, seconds = seen.facts, seen.result, time.time() - began_s
        counts = self._counts
        counts.observe(metrics.STEP_SECONDS, seconds, step.kind)
        if seen.began_s is not None:
            counts.observe(metrics.SLOT_SECONDS, seen.began_s - seen.asked_s, self._priority)
        counts.add(metrics.SOURCE_BYTES, amount=result.get("source_bytes", 0))
        counts.add(metrics.PUBLISHED_BYTES, amount=result.get("published_bytes", 0))
        if facts and "codec" in result:
            self._count_chunk(facts, result)
        if "engine" in result:
            counts.observe(metrics.PICTURE_SECONDS, result["wall_s"], result["engine"], result["lane"])
        log.info(
            "step done",
            extra={"seconds": round(seconds, 3), "frames": result.get("frames")}
            | {name: facts[name] for name in ("node", "node_kind") if name in facts},
        )

    def _count_chunk(self, facts: dict[str, Any], result: dict[str, Any]) -> None:
        labels = (result["codec"], facts["node_kind"])
        self._counts.observe(metrics.CHUNK_SECONDS, facts["wall_s"], *labels)
        self._counts.observe(metrics.CHUNK_REALTIME, result["media_s"] / max(facts["wall_s"], 1e-3), *labels)
        self._counts.add(metrics.CHUNK_PIXELS, *labels, amount=result["pixels"])
        self._counts.add(metrics.CHUNK_CPU, *labels, amount=sum(p["cpu_s"] for p in facts["processes"]))
