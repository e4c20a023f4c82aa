"""One batch on its way: read on, make jobs, note how they end, write the results; one small step at a time.

Nothing is kept that is not in the store: whoever holds the lease next goes on from the cursor. The command that asks
for a batch does not feed it, because it may be killed; nor is it fed at once, because ten million queued rows would
slow every claim.
"""

import logging
import time
from dataclasses import dataclass, field
from typing import Any

from cluster.batches.counting import Count
from cluster.batches.examining import Examiner
from cluster.batches.reading import Entry, Origin, Read, entries
from cluster.batches.results import write_results
from cluster.errors import IllegalMove, InfraError
from cluster.farm_settings import FarmSettings
from cluster.jobs import Batch, BatchStatus, ItemStatus, JobStore, NewItem
from cluster.jobs.batch_model import Outcome
from ladders.errors import FarmError

log = logging.getLogger(__name__)

LEAST_WINDOW = 256  # open jobs: some seconds of tiny pictures on two cores
WINDOW_PER_SLOT = 32  # two full batches of pictures
GROUP = 128  # items of one commit
GROUPS_A_STEP = 8  # then others have their turn, and what has ended is noted
LISTING_S = 2.0  # of a step, and as long for the count: a sparse glob goes by millions of names
READ_TRIES = 5


@dataclass(slots=True)
class Feed:
    """A batch whose lease is held; `step` is called until it says that the batch has ended."""

    batch: Batch
    store: JobStore
    settings: FarmSettings
    moved_at: float = field(default_factory=time.monotonic)  # when it last got on, or was told to
    _reading: Read | None = None
    _failed_reads: int = 0
    _until: float = 0.0  # when this step has read enough
    _count: Count = field(init=False)
    _is_counted: bool = field(init=False)
    _examiner: Examiner = field(init=False)

    def __post_init__(self) -> None:
        self._count, self._is_counted = Count.of(self.batch, self.settings.storage), self.batch.total is not None
        self._examiner = Examiner.of(self.batch, self.store.batches, self.settings)

    def step(self, slots: int) -> bool:
        """Do what there is to do now, for a cluster of `slots`; whether the batch has ended.

        FenceLost when somebody else has it; InfraError when something around it is away.
        """
        self.move()
        self._until = time.monotonic() + LISTING_S
        batch = self.store.batches.settle(self.batch.id, self.batch.fence, self._lease_s)
        if batch.cancel_requested:
            self._cancel_open()
        window = max(LEAST_WINDOW, WINDOW_PER_SLOT * slots)
        for _ in range(GROUPS_A_STEP):
            if window - batch.open < GROUP:  # few large commits instead of one for every item that ends
                break
            if batch.waiting:
                batch = self._repeat(batch, GROUP)
            elif batch.ending is None:
                batch = self._read_on(batch, GROUP)
            else:
                break
            self.move()
            if time.monotonic() >= self._until:
                break
        if batch.ending is None:
            self._count_on(batch)
        if batch.ending is not None and not batch.open and not batch.waiting:
            return self._end().finished_at is not None
        return False

    def move(self) -> None:
        """Note that it gets on: whoever holds the lease meanwhile goes by that."""
        self.moved_at = time.monotonic()

    @property
    def _lease_s(self) -> float:
        return self.settings.work.lease_s

    def _read_on(self, batch: Batch, most: int) -> Batch:
        """Items for the next entries, and jobs for those that need one; without entries too the cursor goes on."""
        try:
            found, cursor, is_last = self._next(batch, most)
        except FarmError as error:
            self._reading = None
            if isinstance(error, InfraError) and error.retryable:
                raise
            self._failed_reads += 1
            if error.retryable and self._failed_reads < READ_TRIES:
                raise
            return self._feed(batch, [], batch.cursor, BatchStatus.FAILED, error.to_wire() | {"detail": {}})
        self._failed_reads = 0
        try:
            items = self._examiner.examined(found)
            items = self._examiner.named_once(range(batch.items, batch.items + len(items)), items)
        except InfraError:
            self._reading = None  # what was read from it is read again
            raise
        ending = BatchStatus.READY if is_last else None
        if batch.on_error == "stop":
            refused = [place for place, item in enumerate(items) if item.status is ItemStatus.REFUSED]
            if refused:
                items, ending = items[: refused[0] + 1], BatchStatus.STOPPED
                cursor = found[refused[0]].cursor
                self._reading = None
        return self._feed(batch, items, cursor, ending)

    def _next(self, batch: Batch, most: int) -> tuple[list[Entry], dict[str, Any], bool]:
        """Entries, `most` or what the step has time for, the cursor behind them, and whether no more will come."""
        if self._reading is None:
            origin = Origin(batch.source_uri, batch.source_etag, batch.org, batch.cursor)
            total, self._reading = entries(origin, self.settings, count=batch.total is None)
            if total is not None:
                bounded = total if batch.max_items is None else min(total, batch.max_items)
                self.store.batches.note_total(batch.id, batch.fence, bounded)
        found: list[Entry] = []
        cursor, left = batch.cursor, self._left(batch)
        while len(found) < min(most, left):
            one = next(self._reading, None)
            if one is None:
                return found, cursor, True
            self.move()
            cursor = one.cursor
            if isinstance(one, Entry):
                found.append(one)
            if time.monotonic() >= self._until:
                break
        return found, cursor, len(found) == left

    def _count_on(self, batch: Batch) -> None:
        """A piece of the count of a prefix, after the piece of work: nothing waits until all is counted."""
        if self._is_counted and batch.total is None:  # it was retried meanwhile, which forgets how many there were
            self._count, self._is_counted = Count.of(batch, self.settings.storage), False
        if self._count.is_over:
            return
        total = self._count.go_on(time.monotonic() + LISTING_S, self.move)
        if total is not None:
            self.store.batches.note_total(self.batch.id, self.batch.fence, total)
            self._is_counted = True

    @staticmethod
    def _left(batch: Batch) -> int:
        """How many items may still come; more than any step takes when nobody has said."""
        return batch.max_items - batch.items if batch.max_items is not None else 1 << 62

    def _feed(
        self,
        batch: Batch,
        items: list[NewItem],
        cursor: dict[str, Any],
        ending: BatchStatus | None,
        error: dict[str, Any] | None = None,
    ) -> Batch:
        try:
            fed = self.store.batches.feed(batch.id, batch.fence, items, cursor=cursor, ending=ending, error=error)
        except InfraError:
            self._reading = None
            raise
        if fed.cursor != cursor:  # cancelled meanwhile: nothing of it was kept
            self._reading = None
        return fed

    def _repeat(self, batch: Batch, most: int) -> Batch:
        """Another try for items that wait for one."""
        outcomes = self.store.batches.waiting(batch.id, most)
        if not outcomes:
            raise IllegalMove("items wait that are not there")
        numbers = [outcome.item.number for outcome in outcomes]
        items = self._examiner.examined([_entry_of(outcome) for outcome in outcomes])
        items = self._examiner.named_once(numbers, items)
        again = [_same_job(outcome, item) for outcome, item in zip(outcomes, items, strict=True)]
        return self.store.batches.repeat(batch.id, batch.fence, list(zip(numbers, again, strict=True)))

    def _cancel_open(self) -> None:
        for job_id in self.store.batches.open_jobs(self.batch.id):
            try:
                self.store.request_cancel(job_id)
            except IllegalMove:  # it ended meanwhile
                log.debug("job %s of a cancelled batch has ended", job_id)

    def _end(self) -> Batch:
        """Results first, then the status: who sees a batch that has ended finds them."""
        batch = self.store.batches.get(self.batch.id)
        error = None
        try:
            write_results(batch, self.store.batches, self.settings, self._hold)
        except FarmError as failure:
            if failure.retryable:
                raise
            error = failure.to_wire() | {"detail": {}}
        return self.store.batches.finish(self.batch.id, self.batch.fence, error)

    def _hold(self) -> None:
        self.move()
        self.store.batches.settle(self.batch.id, self.batch.fence, self._lease_s)


def _entry_of(outcome: Outcome) -> Entry:
    item, job = outcome.item, outcome.job
    asked: dict[str, Any] = item.asked if job is None else {"kind": job.kind, "metadata": job.metadata}
    return Entry(
        line=item.line,
        cursor={},
        source_uri=item.source_uri,
        media_id=item.media_id,
        kind=asked.get("kind"),
        metadata=dict(asked.get("metadata", {})),
    )


def _same_job(outcome: Outcome, item: NewItem) -> NewItem:
    """The item with the job that it had, when that is of the same source: its finished chunks are found."""
    job = outcome.job
    if item.job is None or job is None or job.source_etag != item.job.source_etag:
        return item
    return NewItem(line=item.line, source_uri=item.source_uri, media_id=item.media_id, asked=item.asked, job_id=job.id)
