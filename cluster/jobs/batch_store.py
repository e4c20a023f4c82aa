"""What a job store promises about batches, whichever database it is; its methods are as those of `JobStore`."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from cluster.jobs.batch_model import Batch, BatchStatus, Failures, Item, ItemStatus, NewBatch, NewItem, Outcome


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

        IllegalMove while it is being cancelled, and while another batch of the same request is open.
        """
        ...

    def newest_ready(self, org: str, media_ids: list[str]) -> dict[str, Any]:
        """By media id, of its newest ready job: id, kind, source_uri, source_etag, recipe_digest, manifest_key."""
        ...

    def claim(self, owner: str, lease_s: float, limit: int, but: Collection[str] = ()) -> list[Batch]:
        """Lease up to `limit` batches that have not ended and are nobody's, none of the ids `but`; never one twice."""
        ...

    def renew(self, leases: Collection[tuple[str, int]], lease_s: float) -> None:
        """Hold these batches, each with the fence of its lease, for `lease_s` from now; somebody else's stay theirs."""
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
