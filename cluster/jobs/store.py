"""What a job store promises, whichever database it is.

All methods are synchronous and thread-safe, and each is one short transaction. They raise only
`cluster.errors.StoreError`; StoreUnavailable and StoreFull from any of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from cluster.errors import StoreError
from cluster.jobs.batch_model import Batch, BatchStatus, Failures, Item, ItemStatus, NewBatch, NewItem, Outcome
from cluster.jobs.history import History
from cluster.jobs.model import Backlog, Delivery, Ending, Event, Job, JobPage, JobStatus, NewJob, Renewal, Usage, Wish
from cluster.policy import Policy


class BatchStore(Protocol):
    """Batches and their items. Methods with a `fence` are for whoever holds the batch's lease, and raise FenceLost."""

    def create(self, new: NewBatch, idem_key: str | None = None) -> tuple[Batch, bool]:
        """The batch, committed, and whether it is new: the same key with the same request gives the same batch.

        Without a key the same request gives the batch that it gave before until that one has ended.
        IdempotencyConflict when the org used the key for another request; InvalidJob.
        """
        ...

    def standing(self) -> dict[str, str]:
        """Of every batch that has not ended: its id, and a text that is another one whenever it has moved."""
        ...

    def newest_like(self, new: NewBatch) -> Batch | None:
        """The newest batch of the same request and recipe about the same manifest, whether it has ended or not."""
        ...

    def get(self, batch_id: str) -> Batch:
        """The batch; BatchMissing."""
        ...

    def list_batches(
        self, *, org: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> tuple[list[Batch], str | None]:
        """Batches, newest first, and the cursor of the next page; InvalidCursor."""
        ...

    def items(
        self, batch_id: str, *, status: ItemStatus | None = None, limit: int = 50, cursor: str | None = None
    ) -> tuple[list[Item], str | None]:
        """Items in their order, and the cursor of the next page; InvalidCursor."""
        ...

    def failures(self, batch_id: str) -> list[Failures]:
        """What failed or was refused, by status and code, most first; a hundred codes at most."""
        ...

    def request_cancel(self, batch_id: str) -> Batch:
        """Have no more items come, and open ones cancelled; IllegalMove when it ended otherwise."""
        ...

    def retry(self, batch_id: str) -> Batch:
        """Have every item that failed, was cancelled or refused tried again, and go on reading where that broke off.

        IllegalMove while it is being cancelled.
        """
        ...

    def newest_ready(self, org: str, media_ids: list[str]) -> dict[str, Any]:
        """By media id, of its newest ready job: id, kind, source_uri, source_etag, recipe_digest, manifest_key."""
        ...

    def claim(self, owner: str, lease_s: float, limit: int) -> list[Batch]:
        """Lease up to `limit` batches that have not ended and are nobody's; never one twice."""
        ...

    def end_leases(self, owner: str) -> None:
        """End all leases of `owner`, who is known to be dead; they can be claimed at once."""
        ...

    def release(self, batch_id: str, fence: int) -> None:
        """Give the lease back."""
        ...

    def settle(self, batch_id: str, fence: int, lease_s: float) -> Batch:
        """Note how items ended whose jobs have, and hold the lease for at least three quarters of `lease_s`."""
        ...

    def feed(
        self,
        batch_id: str,
        fence: int,
        items: Sequence[NewItem],
        *,
        cursor: Mapping[str, Any],
        ending: BatchStatus | None = None,
        error: dict[str, Any] | None = None,
    ) -> Batch:
        """Add items with their jobs, and move the cursor behind them; with `ending` they are the last.

        All of it or, when the batch was cancelled meanwhile, nothing.
        """
        ...

    def named(self, batch_id: str, media_ids: list[str]) -> dict[str, int]:
        """By media id, the number of the first item of the batch that has a job, of this batch or an earlier one."""
        ...

    def note_total(self, batch_id: str, fence: int, total: int) -> None:
        """Say how many items there will be."""
        ...

    def waiting(self, batch_id: str, limit: int) -> list[Outcome]:
        """Items that wait for another try, with the job of the last one."""
        ...

    def repeat(self, batch_id: str, fence: int, items: Sequence[tuple[int, NewItem]]) -> Batch:
        """Try waiting items, by their numbers, again: an open one with a `job_id` queues that job anew."""
        ...

    def open_jobs(self, batch_id: str) -> list[str]:
        """The jobs of open items that have not ended and were not asked to."""
        ...

    def outcomes(self, batch_id: str, after: int, limit: int) -> list[Outcome]:
        """Items with numbers above `after`, in order, with their jobs."""
        ...

    def finish(self, batch_id: str, fence: int, error: dict[str, Any] | None = None) -> Batch:
        """End the batch as it was to end, or failed by `error`; nothing when items were asked for again meanwhile."""
        ...


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

        The item of a batch that it is the job of is open again, and so is the batch, which writes its results anew.
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
