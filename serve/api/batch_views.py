"""Batches as the API shows them."""

import time

from cluster.batches.results import results_place
from cluster.errors import BatchMissing
from cluster.jobs import Batch, Item
from cluster.jobs.batch_model import Failures
from serve.api.batch_schemas import BatchCounts, BatchSummary, BatchView, Eta, FailureGroup, ItemView
from serve.api.views import error_view
from serve.auth import Caller

LEAST_SAMPLES = 3


def visible_batch(batch: Batch, caller: Caller) -> Batch:
    """`batch`, if it exists as far as `caller` is told; BatchMissing otherwise."""
    if not caller.sees(batch.org):
        raise BatchMissing("there is no such batch")
    return batch


def batch_view(batch: Batch, failures: list[Failures]) -> BatchView:
    """One batch."""
    now_s = time.time()
    pace = _pace(batch, now_s, 2)
    return BatchView(
        batch_id=batch.id,
        org=batch.org,
        status=batch.status.value,
        source=batch.source_uri,
        recipe=batch.recipe_name,
        kind=batch.kind,
        priority=batch.priority,
        on_error=batch.on_error,
        max_items=batch.max_items,
        shard_rows=batch.shard_rows,
        results=results_place(batch),
        cancel_requested=batch.cancel_requested,
        items=batch.items,
        total=batch.total,
        counts=_counts(batch),
        failures=[
            FailureGroup(
                status="failed" if one.status.value == "failed" else "refused",
                code=one.code,
                items=one.items,
                message=one.message,
            )
            for one in failures
        ],
        items_per_s=round(pace[0], 3) if pace is not None else None,
        eta=_eta(batch, pace, _pace(batch, now_s, 1)),
        cost=round(batch.cost, 6) if batch.cost is not None else None,
        currency=(batch.recipe.get("prices") or {}).get("currency"),
        error=error_view(batch.error),
        created_at=batch.created_at,
        finished_at=batch.finished_at,
    )


def batch_summary(batch: Batch) -> BatchSummary:
    """One batch of a listing."""
    return BatchSummary(
        batch_id=batch.id,
        org=batch.org,
        status=batch.status.value,
        source=batch.source_uri,
        recipe=batch.recipe_name,
        items=batch.items,
        total=batch.total,
        counts=_counts(batch),
        created_at=batch.created_at,
        finished_at=batch.finished_at,
    )


def item_view(item: Item) -> ItemView:
    """One item."""
    return ItemView(
        number=item.number,
        line=item.line,
        source=item.source_uri,
        media_id=item.media_id,
        status=item.status.value,
        job_id=item.job_id,
        error={name: item.error[name] for name in ("code", "message")} if item.error else None,
    )


def _counts(batch: Batch) -> BatchCounts:
    return BatchCounts(**{name: getattr(batch, name) for name in BatchCounts.model_fields})


type Pace = tuple[float, float, float]
"""Items a second of the last minutes: overall, at its slowest and at its quickest."""


def _pace(batch: Batch, now_s: float, place: int) -> Pace | None:
    """Of the jobs that ended (`place` 1) or of all items that were done with (2); None while there are few samples."""
    now = [[now_s, batch.turned, batch.settled]] if batch.finished_at is None else []
    # Those of two numbers are of a version that counted jobs alone.
    samples = [(sample[0], sample[place]) for sample in batch.pace + now if len(sample) > place]
    if len(samples) < LEAST_SAMPLES or samples[-1][0] <= samples[0][0]:
        return None
    step = max(1, len(samples) // 3)
    spans = zip(samples, samples[step:], strict=False)
    rates = [(later[1] - first[1]) / (later[0] - first[0]) for first, later in spans if later[0] - first[0] > 1]
    overall = (samples[-1][1] - samples[0][1]) / (samples[-1][0] - samples[0][0])
    return overall, min([overall, *rates]), max([overall, *rates])


def _eta(batch: Batch, settled: Pace | None, turned: Pace | None) -> Eta | None:
    """What is not read yet goes by at the pace of all items, current ones too; what has a job, at that of jobs."""
    if settled is None or turned is None or settled[0] <= 0 or batch.finished_at is not None or batch.total is None:
        return None
    unread, begun = max(0, batch.total - batch.items), batch.open + batch.waiting
    if turned[0] <= 0:  # no job has ended yet: what is said of them is no better
        turned = settled

    def left_s(of_all: float, of_jobs: float) -> float | None:
        parts = [(unread, of_all), (begun, of_jobs)]
        if any(count and pace <= 0 for count, pace in parts):
            return None
        return round(sum(count / pace for count, pace in parts if count), 1)

    likely, latest, earliest = (left_s(*paces) for paces in zip(settled, turned, strict=True))
    return Eta(likely_s=likely or 0.0, earliest_s=earliest or 0.0, latest_s=latest)
