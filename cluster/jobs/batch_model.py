"""A batch, its items, and what may become of them. No database here."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from cluster.errors import InvalidJob
from cluster.jobs.model import Job, Kind, NewJob, dumped, unstorable

OnError = Literal["skip", "stop"]
PACE_EVERY_S = 5.0
PACE_SAMPLES = 24  # two minutes of a quick batch, the last 24 endings of a slow one


class BatchStatus(StrEnum):
    """Where a batch stands."""

    LISTING = "listing"  # its manifest or prefix is being read, and jobs are made of what was read
    RUNNING = "running"  # no further item will come; some have not ended
    READY = "ready"  # every item has ended, whichever way, and the results are written
    STOPPED = "stopped"  # at the first item that failed, as was asked for
    CANCELLED = "cancelled"
    FAILED = "failed"  # the manifest could not be read to its end


class ItemStatus(StrEnum):
    """Where one item stands."""

    WAITING = "waiting"  # for another try
    OPEN = "open"  # its job is queued or runs
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CURRENT = "current"  # was made before, of this very source by this very recipe
    REFUSED = "refused"  # no job could be made of it


REPEATABLE = (ItemStatus.FAILED, ItemStatus.CANCELLED, ItemStatus.REFUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """A batch as it is asked for."""

    org: str
    source_uri: str  # a manifest, or a prefix with globs
    source_etag: str | None  # of the manifest
    recipe_name: str
    recipe: dict[str, Any]
    recipe_digest: str
    kind: Kind = "auto"
    priority: str = "bulk"
    on_error: OnError = "skip"
    max_items: int | None = None
    shard_rows: int = 100_000
    results_uri: str  # the folder that gets a folder for this batch

    def check(self) -> None:
        """InvalidJob when a value cannot be stored as it is."""
        if unstorable(dumped([getattr(self, name) for name in self.__dataclass_fields__])):
            raise InvalidJob("the batch has a NUL or half a character in it")

    def request_hash(self) -> str:
        """The same for the same request about the same manifest."""
        left_out = ("recipe", "recipe_digest")  # a farm that was updated meanwhile still knows its answer
        asked = [getattr(self, name) for name in self.__dataclass_fields__ if name not in left_out]
        return hashlib.sha256(dumped([*asked, self.recipe.get("vmaf")]).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch as it is stored; times are UTC, by the database's clock."""

    id: str
    org: str
    idem_key: str | None
    source_uri: str
    source_etag: str | None
    recipe_name: str
    recipe: dict[str, Any]
    recipe_digest: str
    kind: Kind
    priority: str
    on_error: OnError
    max_items: int | None
    shard_rows: int
    results_uri: str
    status: BatchStatus
    ending: BatchStatus | None  # how it will end, once no further item is to come
    cancel_requested: bool
    cursor: dict[str, Any]  # how far the manifest was read; empty at its beginning
    total: int | None  # items that there will be, where that is known
    items: int  # that there are
    waiting: int
    ready: int
    failed: int
    cancelled: int
    current: int
    refused: int
    pace: list[list[float]]  # [Unix time, jobs ended, items that were done with, those included] now and then
    cost: float | None  # of its jobs that became ready, in the currency of its recipe; None without prices
    lease_until: datetime | None
    lease_owner: str | None
    fence: int
    error: dict[str, Any] | None
    created_at: datetime
    finished_at: datetime | None

    @property
    def open(self) -> int:
        """Items whose jobs have not ended.

        Counts are kept by whoever settles the open items, a few hundred at most: counting a million jobs at each look
        would take seconds, and counting in each job's end would make them all wait for this one row.
        """
        return self.items - self.waiting - self.settled

    @property
    def turned(self) -> int:
        """Items whose jobs have ended."""
        return self.ready + self.failed + self.cancelled

    @property
    def settled(self) -> int:
        """Items that nothing more is to be done about."""
        return self.turned + self.current + self.refused

    def paced(self, now_s: float, turned: int, settled: int) -> list[list[float]]:
        """`pace` with what is known now, a sample every five seconds at most, the last few kept."""
        if self.pace and now_s - self.pace[-1][0] < PACE_EVERY_S:
            return self.pace
        return [*self.pace, [round(now_s, 3), turned, settled]][-PACE_SAMPLES:]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItem:
    """An item that was read, and what is to become of it: a job, or nothing for the reason that its status says."""

    line: int  # of the manifest, its header included; of a prefix the how-manieth object
    source_uri: str | None  # None where the line names none
    media_id: str | None
    asked: dict[str, Any] = field(default_factory=dict)
    status: ItemStatus = ItemStatus.OPEN
    job: NewJob | None = None  # exactly when it is open
    job_id: str | None = None  # that made it before, exactly when it is current
    error: dict[str, Any] | None = None  # exactly when it is refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of a batch as it is stored."""

    batch_id: str
    number: int  # from 0, in the order of the manifest
    line: int
    source_uri: str | None
    media_id: str | None
    asked: dict[str, Any]
    job_id: str | None
    status: ItemStatus
    error: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Failures:
    """Items of a batch that failed or were refused alike."""

    status: ItemStatus
    code: str
    items: int
    message: str  # of one of them


@dataclass(frozen=True, slots=True)
class Outcome:
    """An item and the job that was last made of it."""

    item: Item
    job: Job | None
