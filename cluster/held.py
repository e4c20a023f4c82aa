"""A job that the dispatcher holds the lease of."""

import asyncio
import time
from dataclasses import dataclass, field

from cluster.farm_settings import FarmSettings
from cluster.job import JobRun
from cluster.jobs import Job
from cluster.progress import JobProgress
from cluster.work import Work

PICTURE_WEIGHT = 1 / 16  # of a job's slot: a batch of sixteen takes as long as a short chunk


@dataclass(slots=True)
class Held:
    """One leased job and the task that drives it."""

    job: Job
    task: asyncio.Task[None]
    run: JobRun | None = None
    progress: JobProgress | None = None
    changed: bool = False
    renewed: float = field(default_factory=time.monotonic)
    cancel_wanted: bool = False
    ended: bool = False  # its end is being written, or is: the lease needs no renewing

    @property
    def weight(self) -> float:
        """How much of a slot it is likely to fill."""
        is_picture = self.job.kind == "image" or (self.run is not None and self.run.is_picture)
        return PICTURE_WEIGHT if is_picture else 1.0


def work_of(job: Job, settings: FarmSettings, slots: int) -> Work:
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
        slots=slots,
    )
