"""A job that the dispatcher holds the lease of."""

import asyncio
import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from cluster.claims import PICTURE_WEIGHT, likely_weight
from cluster.errors import InfraError
from cluster.farm_settings import FarmSettings
from cluster.job import JobRun
from cluster.jobs import Job, JobStatus, JobStore, Renewal
from cluster.progress import JobProgress
from cluster.slots import Turn
from cluster.work import Work

# A job is cut as for so many slots, however many there are when it starts: nodes come and go, and cut elsewhere its
# bytes would be others. 30 s become 7 chunks, 10 minutes 16 of 37 s, and from 16 minutes on they have 60 s whatever is
# said here; a chunk more costs 0.3 to 0.5 s of CPU.
CUT_FOR_SLOTS = 16
PROGRESS_S = 1.0  # how often a running job's progress is written


@dataclass(slots=True)
class Held:
    """One leased job and the task that drives it."""

    job: Job
    turn: Turn  # its class may have changed since it was claimed
    task: asyncio.Task[None]
    earlier_manifest_key: str | None = None
    run: JobRun | None = None
    progress: JobProgress | None = None
    changed: bool = False
    renewed: float = field(default_factory=time.monotonic)
    cancel_wanted: bool = False
    seemed: float = field(init=False)  # its weight, as others were claimed beside it
    ended: bool = False  # its end is being written, or is

    def __post_init__(self) -> None:
        self.seemed = self.weight

    @property
    def weight(self) -> float:
        """How much of a slot it is likely to fill."""
        if self.run is not None and self.run.is_picture is not None:
            return PICTURE_WEIGHT if self.run.is_picture else 1.0
        return likely_weight(self.job.kind, self.job.source_uri)

    def cancel(self) -> None:
        """End the job as cancelled, unless its end is being written."""
        if not self.cancel_wanted and not self.ended:
            self.cancel_wanted = True
            self.task.cancel()

    def due_renewal(self, lease_s: float) -> Renewal | None:
        """What is to be written of the lease now, if anything; `note_renewal` when it was.

        Also while the job's end is being written: a store that was away for long may take renewals before it.
        """
        now = time.monotonic()
        due_s = PROGRESS_S if self.changed and not self.ended else lease_s / 4
        if now - self.renewed < due_s:
            return None
        told = None if self.ended or self.progress is None else self.progress.snapshot()
        return Renewal(self.job.id, self.job.fence, told)

    def note_renewal(self, began: float, written: Renewal) -> None:
        """The lease lasts from the monotonic time `began` on. Not before it is written: while the store is away every
        look tries again, and no lease that has run out passes for a fresh one, to be claimed a second time.
        """
        self.renewed = began
        self.changed = self.progress is not None and self.progress.snapshot() != written.progress


def turn_of(job: Job) -> Turn:
    """What waits for lanes in the job's name."""
    return Turn(job.id, job.org, job.priority, job.created_at.timestamp())


def last_revisions(jobs: Iterable[Job], store: JobStore) -> dict[str, str]:
    """The manifest keys of what was published last of these jobs' items, by job; none of pictures, turned whole.

    When the store does not answer there are fewer of them: the jobs are claimed by then, and make everything.
    """
    keys = {}
    with contextlib.suppress(InfraError):
        for job in jobs:
            if job.kind == "image":
                # All ten files of a 10 MP photo cost 0.20 s of CPU; encoding, all that could be saved, is 0.13 of it.
                continue
            last = store.latest_for_media(job.org, job.media_id, JobStatus.READY)
            if last is not None and last.manifest_key is not None:
                keys[job.id] = last.manifest_key
    return keys


def work_of(
    job: Job,
    settings: FarmSettings,
    *,
    earlier_manifest_key: str | None = None,
    traceparent: str | None = None,
) -> Work:
    """What the steps of `job` are told."""
    return Work(
        job_id=job.id,
        org=job.org,
        media_id=job.media_id,
        source_uri=job.source_uri,
        source_etag=job.source_etag,
        recipe=job.recipe,
        recipe_digest=job.recipe_digest,
        kind=job.kind,
        output_uri=settings.storage.storage_uri,
        scratch_uri=settings.storage.storage_uri,
        publish_prefix=None,
        slots=CUT_FOR_SLOTS,
        earlier_manifest_key=earlier_manifest_key,
        attempt=job.attempts,
        fence=job.fence,
        traceparent=traceparent,
    )
