"""What a job store promises, whichever database it is.

All methods are synchronous and thread-safe, and each is one short transaction. They raise only
`cluster.errors.StoreError`; StoreUnavailable and StoreFull from any of them.
"""

from collections.abc import Iterable
from typing import Any, Protocol

from cluster.jobs.model import Delivery, Event, Job, JobPage, JobStatus, NewJob


class JobStore(Protocol):
    """Jobs, their events, and the callbacks that are owed."""

    def create(self, new: NewJob, idem_key: str | None = None) -> tuple[Job, bool]:
        """The job, committed, and whether it is new: the same key with the same request gives the job it gave before.

        IdempotencyConflict when the org used the key for another request; InvalidJob.
        """
        ...

    def created_before(self, new: NewJob, idem_key: str) -> Job | None:
        """The job that the same request got for the key, None when the key is new; IdempotencyConflict.

        For a request that is repeated after its source is gone: `new` needs no facts of the source.
        """
        ...

    def get(self, job_id: str) -> Job:
        """The job; JobMissing."""
        ...

    def latest_for_media(self, org: str, media_id: str, status: JobStatus | None = None) -> Job | None:
        """The newest job of a media item; with `status`, the newest that stands there."""
        ...

    def list_jobs(
        self,
        *,
        status: JobStatus | None = None,
        org: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> JobPage:
        """Jobs, newest first, without their reports (a page of those is megabytes); `cursor` is the last page's.

        InvalidCursor.
        """
        ...

    def counts(self) -> dict[JobStatus, int]:
        """How many jobs stand where; every status is named."""
        ...

    def claim(self, owner: str, lease_s: float, limit: int, worst: str = "bulk") -> list[Job]:
        """Lease up to `limit` jobs that are queued or whose lease ran out, by class, then age; never one twice.

        None of a class below `worst`.
        """
        ...

    def renew(self, job_id: str, fence: int, lease_s: float, progress: dict[str, Any] | None = None) -> None:
        """Hold the lease for `lease_s` from now, and note `progress`; FenceLost."""
        ...

    def release(self, job_id: str, fence: int, delay_s: float = 0.0, error: dict[str, Any] | None = None) -> None:
        """Give the lease back: queued again, after `delay_s` (cancelled, when that was asked for); FenceLost.

        The job shows `error`, why it waits, until it ends or is retried; None leaves what it showed.
        """
        ...

    def finish(
        self,
        job_id: str,
        fence: int,
        *,
        status: JobStatus | str,
        revision: str | None = None,
        manifest_key: str | None = None,
        report: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
        progress: dict[str, Any] | None = None,
    ) -> Job:
        """End the job as ready, failed or cancelled, and owe its callback; again with the same fence is no error.

        FenceLost when somebody else took the lease over: nothing was changed.
        """
        ...

    def request_cancel(self, job_id: str) -> Job:
        """Cancel a queued job now, ask the owner of a running one to; IllegalMove when it ended otherwise."""
        ...

    def cancel_wanted(self, job_ids: Iterable[str]) -> set[str]:
        """Those of the running jobs `job_ids` that shall be cancelled."""
        ...

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job anew, with its attempts counted from 0; IllegalMove."""
        ...

    def events(self, job_id: str, after_seq: int = 0, limit: int = 100) -> list[Event]:
        """The job's events after `after_seq`, in order; a later call never finds one before those it gave."""
        ...

    def due_deliveries(self, limit: int, lease_s: float) -> list[Delivery]:
        """Callbacks to send now; nobody else is given them for `lease_s`."""
        ...

    def delivered(self, delivery_id: str, http_status: int) -> None:
        """The receiver has it."""
        ...

    def delivery_failed(self, delivery_id: str, http_status: int | None, retry_in_s: float | None) -> None:
        """It did not arrive; due again in `retry_in_s`, never when None."""
        ...

    def ping(self) -> None:
        """Nothing, when the database answers and its tables are of this version; StoreOutdated."""
        ...

    def close(self) -> None:
        """Let go of all connections."""
        ...
