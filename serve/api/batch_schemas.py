"""What goes over the wire about batches."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StrictBool

from serve.api.schemas import ErrorView, Kind, Org, Priority, RecipeName, Wire

ITEM_CURSOR_PATTERN = r"^[0-9]{1,15}$"

BatchStatusName = Literal["listing", "running", "ready", "stopped", "cancelled", "failed"]
ItemStatusName = Literal["waiting", "open", "ready", "failed", "cancelled", "current", "refused"]
Place = Annotated[str, Field(pattern=r"^(s3|file)://[^\x00-\x20\x7f]+$", max_length=2048)]

BATCH_ID = "0198c2f0-8d2a-7c3e-9f10-5b2d6f0a1c3d"


class BatchRequest(Wire):
    """Many sources that are to be turned alike."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"source": "s3://uploads/acme/2019.parquet", "recipe": "standard", "max_items": 1000}]
        }
    )

    source: Place
    """A manifest (.parquet, .jsonl, .csv) with a column `source`, or a prefix: it ends with / or has a * in it."""
    org: Org | None = None
    """Whose it is; the key's own org when left out."""
    recipe: RecipeName = "standard"
    """What to make of each; see GET /v1/recipes."""
    vmaf: Literal["off", "sampled", "full"] | None = None
    """How much of the quality to measure; as the recipe says when left out."""
    kind: Kind = "auto"
    """What every source is; a manifest's column `kind` says it for one."""
    priority: Priority = "bulk"
    """Which queue its jobs wait in."""
    on_error: Literal["skip", "stop"] = "skip"
    """`stop` takes no further item once one has failed or was refused; what runs then goes on."""
    max_items: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """How many items at most, from the beginning."""
    shard_rows: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """Rows of one Parquet file of the results."""
    resume: StrictBool = False
    """Go on with the newest batch of this very request, also when that has ended: what failed, was cancelled or refused
    in it, or was not read yet, is tried again. Without such a batch one begins."""
    results: Place | None = None
    """Where the results go, in a folder of the batch's own: a place that the farm allows; its storage when left out."""


class BatchCounts(Wire):
    """Items of a batch by where they stand."""

    waiting: int
    """For another try."""
    open: int
    """Their jobs are queued or run."""
    ready: int
    failed: int
    cancelled: int
    current: int
    """Made before, of the same source by the same recipe."""
    refused: int
    """No job could be made of them."""


class FailureGroup(Wire):
    """Items that failed or were refused alike."""

    status: Literal["failed", "refused"]
    code: str
    items: int
    message: str
    """Of one of them."""


class Eta(Wire):
    """Seconds until the last item ends, at the speed of the last minutes: likely, and at its best and worst."""

    likely_s: float
    earliest_s: float
    latest_s: float | None
    """Null when there was a time without any progress."""


class BatchView(Wire):
    """One batch."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "batch_id": BATCH_ID,
                    "org": "acme",
                    "status": "listing",
                    "source": "s3://uploads/acme/2019.parquet",
                    "recipe": "standard",
                    "kind": "auto",
                    "priority": "bulk",
                    "on_error": "skip",
                    "max_items": None,
                    "shard_rows": 100000,
                    "results": f"s3://outputs/acme/batches/{BATCH_ID}",
                    "cancel_requested": False,
                    "items": 1200,
                    "total": 100000,
                    "counts": {
                        "waiting": 0,
                        "open": 256,
                        "ready": 940,
                        "failed": 1,
                        "cancelled": 0,
                        "current": 0,
                        "refused": 3,
                    },
                    "failures": [
                        {"status": "refused", "code": "source_missing", "items": 3, "message": "there is no object"}
                    ],
                    "items_per_s": 2.4,
                    "eta": {"likely_s": 41100.0, "earliest_s": 38000.0, "latest_s": 47000.0},
                    "cost": 3.41,
                    "currency": "USD",
                    "error": None,
                    "created_at": "2026-11-26T09:00:00.000000Z",
                    "finished_at": None,
                }
            ]
        }
    )

    batch_id: str
    org: str
    status: BatchStatusName
    """`listing` while items are still read, `running` until the last of them has ended."""
    source: str
    recipe: str
    kind: str
    priority: str
    on_error: str
    max_items: int | None
    shard_rows: int
    results: str
    """The folder of its results: complete once it holds `_SUCCESS`."""
    cancel_requested: bool
    items: int
    """That have been read so far."""
    total: int | None
    """That there will be, where that is known."""
    counts: BatchCounts
    failures: list[FailureGroup]
    """Most frequent first; a hundred at most. Of a batch that runs and has very many, up to a minute old."""
    items_per_s: float | None
    """Of the last minutes, current and refused ones too; null when too few have ended."""
    eta: Eta | None
    cost: float | None
    """Of its jobs that became ready, by the prices of its recipe; null without them. What was current cost nothing."""
    currency: str | None
    error: ErrorView | None
    """Why the manifest could not be read to its end."""
    created_at: datetime
    finished_at: datetime | None


class BatchSummary(Wire):
    """One batch of a listing."""

    batch_id: str
    org: str
    status: BatchStatusName
    source: str
    recipe: str
    items: int
    total: int | None
    counts: BatchCounts
    created_at: datetime
    finished_at: datetime | None


class BatchList(Wire):
    """One page of batches, newest first."""

    batches: list[BatchSummary]
    next_cursor: str | None
    """Give it as `cursor` for the next page; null on the last one."""


class ItemView(Wire):
    """One item of a batch."""

    number: int
    line: int
    """Of the manifest."""
    source: str | None
    media_id: str | None
    status: ItemStatusName
    job_id: str | None
    error: dict[str, Any] | None
    """`code` and `message` of what failed or was refused."""


class ItemList(Wire):
    """One page of items, in their order."""

    items: list[ItemView]
    next_cursor: str | None
    """Give it as `cursor` for the next page; null on the last one."""


class ResultsPart(Wire):
    """One Parquet file of the results."""

    part: int
    """GET …/results/{part} gives it."""
    name: str
    """In the folder."""
    rows: int
    bytes: int


class ResultsView(Wire):
    """The results of a batch."""

    results: str
    """The folder that holds them."""
    complete: bool
    """They are written when the batch has ended."""
    parts: list[ResultsPart]
