"""A job, what may become of it, and what is told about it. No database here."""

import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from cluster.errors import IllegalMove, InvalidJob
from cluster.policy import PRIORITIES
from cluster.work import SCRATCH

Kind = Literal["auto", "video", "audio", "image"]


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    PROCESSING = "processing"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"


_UNSTORABLE = re.compile(r"[\ud800-\udfff]|\\u0000")

ENDED = frozenset({JobStatus.READY, JobStatus.FAILED, JobStatus.CANCELLED})

# What may follow what. processing → processing is a lease taken over; back to queued is a lease given back, or an
# ended job that somebody asks for again. A ready job stays ready: its outputs are out.
MOVES: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.PROCESSING, JobStatus.CANCELLED}),
    JobStatus.PROCESSING: frozenset({JobStatus.PROCESSING, JobStatus.QUEUED, *ENDED}),
    JobStatus.READY: frozenset(),
    JobStatus.FAILED: frozenset({JobStatus.QUEUED}),
    JobStatus.CANCELLED: frozenset({JobStatus.QUEUED}),
}


def check_move(job: "Job", to: JobStatus) -> None:
    """IllegalMove unless `job` may become `to`."""
    if to not in MOVES[job.status]:
        detail = {"job_id": job.id, "status": job.status.value, "wanted": to.value}
        raise IllegalMove(f"the job is {job.status} and cannot become {to}", detail=detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job as it is asked for, with the facts of its source."""

    org: str
    media_id: str
    recipe_name: str
    recipe: dict[str, Any]
    recipe_digest: str
    source_uri: str
    source_etag: str
    source_bytes: int
    kind: Kind = "auto"
    priority: str = "normal"  # interactive, normal or bulk
    callback_url: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    traceparent: str | None = None

    def check(self) -> None:
        """InvalidJob when a value cannot be stored as it is: NUL, half a character, NaN, an unknown priority."""
        if self.org == SCRATCH:
            raise InvalidJob(f"no org can be called {SCRATCH}: the folder of that name is the farm's own")
        if self.priority not in PRIORITIES:
            raise InvalidJob(f"the priority is none of {', '.join(PRIORITIES)}")
        values = [getattr(self, name) for name in self.__dataclass_fields__]
        try:
            found = unstorable(dumped([value for value in values if not isinstance(value, Prepared)]))
        except ValueError:
            raise InvalidJob("the metadata or the recipe has a number that is not finite") from None
        if found:
            raise InvalidJob("the job has a NUL or half a character in it")

    def request_hash(self) -> str:
        """The same for the same request: what was asked for, not what was found or where it was traced."""
        asked = [
            self.org,
            self.media_id,
            self.kind,
            self.recipe_name,  # not its content: a farm that was updated meanwhile still knows its answer
            self.recipe.get("vmaf"),  # but what a request may change of it
            self.source_uri,
            self.priority,
            self.callback_url,
            self.metadata,
        ]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


class Prepared(dict[str, Any]):
    """What goes unchanged into many rows, like a recipe: its JSON text is made, and checked, once. ValueError."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        super().__init__(value)
        self.text = dumped(value)
        if unstorable(self.text):
            raise ValueError("there is a NUL or half a character in it")


def dumped(value: Any) -> str:
    """`value` as JSON text; ValueError for NaN and infinity, which JSON does not have."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def unstorable(text: str) -> bool:
    """Whether JSON text may hold what no database column can: NUL, or half a character."""
    return _UNSTORABLE.search(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job as it is stored; times are UTC, by the database's clock."""

    id: str  # uuid7: sorts by age
    org: str
    media_id: str
    kind: Kind
    recipe_name: str
    recipe: dict[str, Any]
    recipe_digest: str
    source_uri: str
    source_etag: str
    source_bytes: int
    priority: str
    callback_url: str | None
    metadata: dict[str, Any]
    idem_key: str | None
    status: JobStatus
    run_after: datetime  # not claimed before
    lease_until: datetime | None
    lease_owner: str | None
    fence: int  # grows with every lease; a write with an older one is refused
    attempts: int  # leases since it was queued or retried
    cancel_requested: bool
    progress: dict[str, Any]
    error: dict[str, Any] | None
    revision: str | None
    manifest_key: str | None
    report: dict[str, Any] | None
    traceparent: str | None
    created_at: datetime
    started_at: datetime | None  # of the present or last attempt
    finished_at: datetime | None
    batch_id: str | None
    taken_over: bool = field(default=False, compare=False)  # of a job just claimed: its last owner went silent


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, newest first; `next_cursor` is None on the last page."""

    jobs: tuple[Job, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """Jobs of one org and class that stand alike and have not ended: `queued`, `delayed` (before their run_after), or
    `processing`.
    """

    org: str
    priority: str
    status: str
    jobs: int
    oldest_s: float  # age of the oldest, from its creation, by the database's clock


@dataclass(frozen=True, slots=True)
class Lease:
    """The jobs that one dispatcher holds, by the database's clock."""

    owner: str
    jobs: int
    oldest_s: float  # since the oldest of its attempts began
    ends_in_s: float  # until the first is taken over, unless its owner renews it; below 0: it is silent


@dataclass(frozen=True, slots=True)
class Renewal:
    """A lease to be held longer; `progress` is noted unless None."""

    job_id: str
    fence: int
    progress: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a leased job ended: ready, failed or cancelled. `progress` is noted unless None.

    `figures` are what a job did that became ready (`cluster.figures`), kept once for `fold_figures`.
    """

    job_id: str
    fence: int
    status: JobStatus
    revision: str | None = None
    manifest_key: str | None = None
    report: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    progress: dict[str, Any] | None = None
    figures: dict[str, Any] | None = None

    def values(self) -> dict[str, Any]:
        """What is written, by its column."""
        names = ("revision", "manifest_key", "report", "error")
        written = {name: getattr(self, name) for name in names}
        return written if self.progress is None else written | {"progress": self.progress}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of a running job."""

    cancel: bool
    priority: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What an org has: jobs that have not ended, and bytes of the sources of the last 24 hours' jobs."""

    queued_jobs: int
    bytes_a_day: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job; `seq` grows with time within one job."""

    seq: int
    job_id: str
    at: datetime
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A callback that is due; `id` is the same on every try."""

    id: str
    job_id: str
    event: str  # job.ready, job.failed or job.cancelled
    url: str
    body: dict[str, Any]
    attempts: int  # this one included
    created_at: datetime


# Facts about the sender's own media. The rest of an error's detail (a native log, paths, addresses) is for operators.
PUBLIC_DETAIL = frozenset({"limit", "allowed", "found", "setting", "codec", "codecs", "stream", "time_s", "error_id"})


def public_detail(detail: dict[str, Any]) -> dict[str, Any]:
    """What of an error's detail may leave the farm."""
    return {name: value for name, value in detail.items() if name in PUBLIC_DETAIL}


def public_error(error: dict[str, Any]) -> dict[str, Any]:
    """An error as events and callbacks tell it."""
    return error | {"detail": public_detail(error.get("detail", {}))}


def callback_body(job: Job) -> dict[str, Any]:
    """What a callback says about an ended job."""
    return {
        "job_id": job.id,
        "org": job.org,
        "media_id": job.media_id,
        "kind": job.kind,
        "recipe": job.recipe_name,
        "status": job.status.value,
        "revision": job.revision,
        "manifest_key": job.manifest_key,
        "error": job.error and public_error(job.error),
        "metadata": job.metadata,
    }


def new_id() -> str:
    """A UUID of version 7 (RFC 9562): the time in milliseconds, its fraction in 12 bits, then chance."""
    now_ns = time.time_ns()
    now_ms, rest_ns = divmod(now_ns, 1_000_000)
    fraction = rest_ns * 4096 // 1_000_000
    chance = int.from_bytes(os.urandom(8)) >> 2
    return str(uuid.UUID(int=now_ms << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | chance))
