"""What goes over the wire about estimates."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StrictBool, field_validator

from cluster.batches.forms import MOST
from serve.api.schemas import RecipeName, Wire

Side = Annotated[int, Field(ge=0, le=1_000_000)]


class SourcesAlike(Wire):
    """So many sources of one form, as their headers tell it."""

    kind: Literal["video", "audio", "image"]
    items: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1
    width: Side = 0
    """Of pictures and video, which are left out without: upright, in square pixels."""
    height: Side = 0
    codec: Annotated[str, Field(pattern=r"^[a-z0-9_]{0,32}$")] = ""
    """FFmpeg's name of the video's codec; of a picture its format."""
    frame_rate: Annotated[float, Field(ge=0, le=100_000)] = 0.0
    duration_s: Annotated[float, Field(ge=0, le=10_000_000)] = 0.0
    """The mean of these sources."""
    tracks: Annotated[int, Field(ge=0, le=1000)] = 0
    """Of sound."""
    frames: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Of an animated picture."""
    is_hdr: StrictBool = False

    @field_validator("items", "width", "height", "frame_rate", "duration_s", "tracks", "frames", mode="before")
    @classmethod
    def _is_a_number(cls, value: object) -> object:
        if isinstance(value, bool | str):
            raise ValueError("should be a number")
        return value


class EstimateRequest(Wire):
    """What is to be made of which sources."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "recipe": "standard",
                    "sources": [
                        {
                            "kind": "video",
                            "items": 1200,
                            "width": 1920,
                            "height": 1080,
                            "codec": "h264",
                            "frame_rate": 29.97,
                            "duration_s": 94.5,
                            "tracks": 1,
                        },
                        {"kind": "image", "items": 50000, "width": 4032, "height": 3024, "codec": "jpeg"},
                    ],
                }
            ]
        }
    )

    recipe: RecipeName = "standard"
    """What to make of each; see GET /v1/recipes."""
    vmaf: Literal["off", "sampled", "full"] | None = None
    """How much of the quality to measure; as the recipe says when left out."""
    sources: Annotated[tuple[SourcesAlike, ...], Field(max_length=MOST)]


class RangeView(Wire):
    """The likely value, and what it may well be instead."""

    likely: float
    low: float
    high: float


class PastView(Wire):
    """How far off the estimates of past jobs were: what was measured by what was estimated just before."""

    jobs: float
    """The last thousand or two; older ones fade."""
    median: float
    """Half of them were off by this factor at most, up or down."""
    low: float
    """A tenth of them came to less than this times the estimate …"""
    high: float
    """… and a tenth to more than this."""


class EstimateView(Wire):
    """What it would take to make everything; what was made before, and is skipped by a batch, is not left out."""

    recipe: str
    items: int
    unsuited: int
    """Of them, of which the recipe makes nothing, or whose size is not told."""
    cpu_hours: RangeView
    gpu_hours: float
    lanes: dict[str, int]
    """That there are now, by kind of node."""
    wall_s: RangeView | None
    """On these lanes, if nothing else runs; null while there are none."""
    output_bytes: RangeView
    cost: RangeView | None
    """Null when the recipe has no prices."""
    storage_month: RangeView | None
    """What it costs to keep the outputs for a month."""
    currency: str | None
    known_share: float
    """Of the CPU hours, that rests on what this farm measured of just such work, 0 to 1; the rest goes by a table of
    what one machine took."""
    history_jobs: float
    """That the farm's figures are of."""
    past_cpu: PastView | None
    """Null while too few estimates could be compared: the ranges are then a factor of two, up and down."""
    past_bytes: PastView | None
