"""What goes over the wire. Separate from the job store's rows: a column may change without changing the API."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from serve.errors import UnsupportedKind

# Never "." or "..", nothing hidden, nothing that looks like an option: these names become folders.
MEDIA_ID_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"
ORG_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$"
JOB_ID_PATTERN = r"^[A-Za-z0-9-]{1,64}$"
RECIPE_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,63}$"
CURSOR_PATTERN = r"^[A-Za-z0-9_-]{22}$"
IDEMPOTENCY_KEY_PATTERN = r"^[!-~]{1,255}$"

Org = Annotated[str, Field(pattern=ORG_PATTERN, examples=["acme"])]
RecipeName = Annotated[str, Field(pattern=RECIPE_PATTERN, examples=["standard"])]
Priority = Literal["interactive", "normal", "bulk"]
# No NUL: PostgreSQL cannot store it.
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")],
        Annotated[Text, StringConstraints(max_length=512)],
    ],
    # Said outright, because the patterns alone would allow any other name.
    Field(max_length=32, json_schema_extra={"additionalProperties": False}),
]


def _known_kind(value: object) -> object:
    if isinstance(value, str) and value not in KINDS:
        raise PydanticCustomError(UnsupportedKind.code, "this farm turns the kinds auto, video, audio and image")
    return value


KINDS = ("auto", "video", "audio", "image")
Kind = Annotated[Literal["auto", "video", "audio", "image"], BeforeValidator(_known_kind)]


class Wire(BaseModel):
    """A piece of the API that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CompleteRequest(Wire):
    """An upload that is complete and wants to be turned."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "source": "s3://uploads/acme/clip-1.mov",
                    "recipe": "standard",
                    "callback_url": "https://media.example.com/hooks/farm",
                    "metadata": {"user": "u-17"},
                }
            ]
        }
    )

    source: Annotated[str, Field(pattern=r"^(s3|file)://[^\x00-\x20\x7f]+$", max_length=2048)]
    """Where the upload lies: a URI inside an allowed prefix."""
    org: Org | None = None
    """Whose it is; the key's own org when left out."""
    recipe: RecipeName = "standard"
    """What to make of it; see GET /v1/recipes."""
    vmaf: Literal["off", "sampled", "full"] | None = None
    """How much of the quality to measure; as the recipe says when left out."""
    kind: Kind = "auto"
    """What the sender says it is; `auto` looks. `audio` ignores pictures, `video` refuses a file without moving ones,
    `image` is a photo, a drawing or a short animation."""
    priority: Priority = "normal"
    """Which queue it waits in."""
    callback_url: Annotated[str, Field(pattern=r"^https?://[^\x00-\x20\x7f]+$", max_length=2048)] | None = None
    """Told when the job has ended, signed as Standard Webhooks says; its host must be allowed."""
    metadata: Metadata = {}
    """Carried along untouched and given back with the job: at most 32 short strings."""


class Accepted(Wire):
    """The job is stored: nothing that happens to the farm from here on loses it."""

    job_id: Annotated[str, Field(examples=["0198c2f0-8d2a-7c3e-9f10-5b2d6f0a1c3d"])]
    media_id: Annotated[str, Field(examples=["clip-1"])]
    org: Annotated[str, Field(examples=["acme"])]
    recipe: Annotated[str, Field(examples=["standard"])]
    created_at: datetime


class RenditionProgress(Wire):
    """How far one rendition is."""

    frames_done: int
    frames: int


class ChunkProgress(Wire):
    """How many of the pieces that a video is cut into are encoded."""

    done: int
    total: int


class ProgressView(Wire):
    """How far a job is."""

    stage: str
    percent: float
    renditions: dict[str, RenditionProgress]
    """Those that are made."""
    reused: list[str]
    """Renditions and audio tracks that the item's last revision has unchanged; they are not made again."""
    audio: str
    chunks: ChunkProgress


class ErrorView(Wire):
    """Why a job failed: a stable `code`, one line for a person, and whether trying again may help."""

    code: str
    message: str
    retryable: bool
    detail: dict[str, Any]


JobStatusName = Literal["queued", "processing", "ready", "failed", "cancelled"]


class JobView(Wire):
    """One job."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "job_id": "0198c2f0-8d2a-7c3e-9f10-5b2d6f0a1c3d",
                    "media_id": "clip-1",
                    "org": "acme",
                    "status": "processing",
                    "source": "s3://uploads/acme/clip-1.mov",
                    "recipe": "standard",
                    "kind": "auto",
                    "priority": "normal",
                    "attempts": 1,
                    "cancel_requested": False,
                    "progress": {
                        "stage": "encoding",
                        "percent": 41.5,
                        "renditions": {"720p": {"frames_done": 144, "frames": 347}},
                        "reused": ["360p"],
                        "audio": "done",
                        "chunks": {"done": 1, "total": 4},
                    },
                    "error": None,
                    "revision": None,
                    "metadata": {"user": "u-17"},
                    "created_at": "2026-11-21T09:00:00.000000Z",
                    "started_at": "2026-11-21T09:00:00.300000Z",
                    "finished_at": None,
                    "batch_id": None,
                }
            ]
        }
    )

    job_id: str
    media_id: str
    org: str
    status: JobStatusName
    source: str
    recipe: str
    kind: str
    priority: str
    attempts: int
    cancel_requested: bool
    progress: ProgressView | None
    error: ErrorView | None
    revision: str | None
    metadata: dict[str, str]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    batch_id: str | None
    """The batch that it is an item of."""


class JobList(Wire):
    """One page of jobs, newest first."""

    jobs: list[JobView]
    next_cursor: str | None
    """Give it as `cursor` for the next page; null on the last one."""


class ArtifactView(Wire):
    """One published file."""

    path: str
    """Relative to the item's folder."""
    key: str
    """In the output storage."""
    url: str
    """Where players get it."""
    content_type: str
    bytes: int
    sha256: str


class MediaView(Wire):
    """One media item: how its newest job stands, and what is published of it."""

    media_id: str
    org: str
    status: JobStatusName
    """Of the newest job."""
    job_id: str
    revision: str | None
    """Of the newest job that became ready; it stays published while another one runs, and if that fails."""
    artifacts: list[ArtifactView]
    """Of that revision."""
    report: dict[str, Any] | None
    """Of that revision."""
    error: ErrorView | None
    """Of the newest job."""


class RecipeSummary(Wire):
    """One thing that can be asked for."""

    name: str
    description: str


class RecipeList(Wire):
    """Everything that can be asked for."""

    recipes: list[RecipeSummary]


class Health(Wire):
    """An answer of the operations endpoints."""

    status: Literal["ok"]


class ProblemType(Wire):
    """What one problem code means."""

    code: str
    title: str
    status: int
    meaning: str
    retryable: bool


class ProblemPart(BaseModel):
    """One thing that is wrong: a JSON pointer into the body, or a parameter and where it stands."""

    model_config = ConfigDict(extra="forbid")

    detail: str
    code: str
    pointer: str | None = None
    parameter: str | None = None
    in_: Annotated[str | None, Field(alias="in")] = None


class Problem(BaseModel):
    """RFC 9457 problem document."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "/problems/source_missing",
                    "title": "The source does not exist",
                    "status": 404,
                    "detail": "there is no object at s3://uploads/acme/clip-1.mov",
                    "code": "source_missing",
                    "retryable": False,
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str
    code: str
    """Stable; what a program should look at."""
    retryable: bool
    error_id: str | None = None
    errors: list[ProblemPart] | None = None
