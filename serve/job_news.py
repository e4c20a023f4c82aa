"""What jobs do, as lines for the terminal that a farm was started in."""

from collections.abc import Iterator

from cluster.jobs import Job, JobStatus, JobStore

NEWEST_JOBS = 50  # looked at once a second


class JobNews:
    """What has become of jobs since the last look; those that had ended before the first are no news."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._known: dict[str, JobStatus] = {}
        self._first = True

    def lines(self) -> Iterator[str]:
        """A line for every job that began or ended."""
        newest = self._store.list_jobs(limit=NEWEST_JOBS).jobs
        for job in reversed(newest):
            before = self._known.get(job.id)
            self._known[job.id] = job.status
            waits_quietly = job.status is JobStatus.QUEUED and job.error is None
            if job.status is not before and not waits_quietly and not (self._first and job.finished_at):
                yield _news(job)
        self._first = False
        self._known = {job.id: job.status for job in newest}


def _news(job: Job) -> str:
    line = f"{job.media_id}: {job.status}"
    if job.status is JobStatus.PROCESSING:
        return f"{line} ({job.recipe_name}, job {job.id})"
    if job.status is JobStatus.QUEUED:
        line = f"{job.media_id}: waits to be tried again"
    if job.error is not None:
        line += f": {job.error['code']}: {job.error['message']}"
    if job.status is JobStatus.READY and job.finished_at and job.started_at:
        line += f" in {(job.finished_at - job.started_at).total_seconds():.1f} s"
    return line
