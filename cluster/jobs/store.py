"""What a job store promises, whichever database it is.

All methods are synchronous and thread-safe, and each is one short transaction. They raise only
`cluster.errors.StoreError`; StoreUnavailable and StoreFull from any of them.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from cluster.errors import StoreError
from cluster.jobs.batch_store import BatchStore
from cluster.jobs.history import History
from cluster.jobs.model import (
    Backlog,
    Delivery,
    Ending,
    Event,
    Job,
    JobPage,
    JobStatus,
    Lease,
    NewJob,
    Renewal,
    Usage,
    Wish,
)
from cluster.policy import Policy


class JobStore(Protocol):
    """Jobs, their events, and the callbacks that are owed."""

    @property
    def batches(self) -> BatchStore:
        """Batches of jobs."""
        ...

    def create_all(self, several: Sequence[tuple[NewJob, str | None]]) -> list[tuple[Job, bool] | StoreError]:
        """The jobs, committed, in their order, and whether each is new: the same key gives the job that it gave before.

        An error stands in the place of its job: IdempotencyConflict when the org used the key for another request;
        InvalidJob; and in every place, when none could be stored, why.
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

    def backlog(self) -> list[Backlog]:
        """What has not ended, by org, class and where it stands."""
        ...

    def queued_weight(self, most: int) -> float:
        """How many lanes the jobs that `claim` would give now are likely to fill (`cluster.claims`), `most` at most."""
        ...

    def leases(self) -> list[Lease]:
        """What each dispatcher holds, by owner."""
        ...

    def waiting(self) -> set[tuple[str, str]]:
        """(class, org) of every job that `claim` would give now."""
        ...

    def claim(self, owner: str, lease_s: float, limit: int, of: tuple[str, str]) -> list[Job]:
        """Lease jobs of one (class, org) that are queued or whose lease ran out, the oldest first; never one twice.

        `limit` is what they may weigh together (`cluster.claims`): so many, or sixteen times as many pictures.
        """
        ...

    def end_leases(self, owner: str) -> int:
        """End all leases of `owner`, who is known to be dead: what it held can be claimed at once; how many.

        Each lease is ended once, and nobody owns it until it is claimed. The attempt is not counted, unless fifty of
        the job's leases were not, `release`d ones and those before a `retry` among them: it may kill its owners.
        """
        ...

    def renew_all(self, renewals: Sequence[Renewal], lease_s: float) -> set[str]:
        """Hold leases for `lease_s` from now; the ids of those that are somebody else's, or were given back."""
        ...

    def release(self, job_id: str, fence: int, delay_s: float = 0.0, error: dict[str, Any] | None = None) -> None:
        """Give the lease back: queued again, after `delay_s` (cancelled, when that was asked for); FenceLost.

        The job shows `error`, why it waits, until it ends or is retried; None leaves what it showed, and the attempt is
        not counted: nothing went wrong.
        """
        ...

    def finish_all(self, endings: Sequence[Ending]) -> set[tuple[str, int]]:
        """End jobs, and owe their callbacks; (job id, fence) of those that end nothing: the lease is somebody else's.

        Each lease is named once. A job may be named with several fences, of which one is its lease. The same end again
        with the same fence is no error.
        """
        ...

    def fold_figures(self) -> int:
        """Add what some ended jobs did to what the farm knows of its work, each job once; how many jobs."""
        ...

    def history(self) -> History:
        """What the farm knows of its work, and how far its estimates were off."""
        ...

    def request_cancel(self, job_id: str) -> Job:
        """Cancel a queued job now, ask the owner of a running one to; IllegalMove when it ended otherwise."""
        ...

    def prioritise(self, job_id: str, priority: str) -> Job:
        """Put a job that has not ended into another class; its owner sees it by `wishes`. IllegalMove, InvalidJob."""
        ...

    def wishes(self, job_ids: Iterable[str]) -> dict[str, Wish]:
        """What is wanted now of those of `job_ids` that run."""
        ...

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job anew, with its attempts counted from 0; IllegalMove.

        The item of a batch that it is the job of is open again, and so is the batch, which writes its results anew; not
        while another batch of the same request is open, which is IllegalMove too.
        """
        ...

    def events(self, job_id: str, after_seq: int = 0, limit: int = 100) -> list[Event]:
        """The job's events after `after_seq`, in order; a later call never finds one before those it gave."""
        ...

    def due_deliveries(self, limit: int, lease_s: float) -> list[Delivery]:
        """Callbacks to send now; nobody else is given them for `lease_s`."""
        ...

    def callbacks_owed(self) -> tuple[int, float]:
        """How many callbacks have not arrived and may still, and how many seconds the most overdue one is late."""
        ...

    def delivered(self, delivery_id: str, http_status: int) -> None:
        """The receiver has it."""
        ...

    def delivery_failed(self, delivery_id: str, http_status: int | None, retry_in_s: float | None) -> None:
        """It did not arrive; due again in `retry_in_s`, never when None."""
        ...

    def policy(self) -> Policy:
        """The policy that holds; the default one until somebody changes it."""
        ...

    def change_policy(self, policy: Policy) -> Policy:
        """Have `policy` hold from now on; PolicyChanged unless it was made from the one that holds (its `version`)."""
        ...

    def usage(self, org: str) -> Usage:
        """What an org's limits are held against: its uploads, not the jobs of its batches."""
        ...

    def ping(self) -> None:
        """Nothing, when the database answers and its tables are of this version; StoreOutdated."""
        ...

    def close(self) -> None:
        """Let go of all connections."""
        ...
