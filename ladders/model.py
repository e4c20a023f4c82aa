"""What a recipe can say. Every class refuses unknown keys; units stand in the names."""

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """A frozen piece of a recipe that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class H264(Part):
    """H.264 by x264: plays everywhere."""

    name: Literal["h264"] = "h264"
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower"] = "fast"


class Hevc(Part):
    """HEVC by x265: about 40 % fewer bits than H.264; Safari, phones and TVs."""

    name: Literal["hevc"] = "hevc"
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"] = "fast"


class Av1(Part):
    """AV1 by SVT-AV1, 10 bit: the fewest bits."""

    name: Literal["av1"] = "av1"
    preset: Annotated[int, Field(ge=2, le=13)] = 8


Codec = Annotated[H264 | Hevc | Av1, Field(discriminator="name")]


class Rung(Part):
    """One wanted rendition: the picture is fitted inside a box, never enlarged.

    `width` × `height` is the landscape box in pixels; a portrait source uses it turned by 90 degrees.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
    width: Annotated[int, Field(ge=16, le=8192, multiple_of=2)]
    height: Annotated[int, Field(ge=16, le=8192, multiple_of=2)]
    crf: Annotated[float, Field(ge=0, le=63)]
    max_bitrate_bps: Annotated[int, Field(ge=50_000, le=200_000_000)] | None = None


class VideoPart(Part):
    """The video ladder of a recipe."""

    codec: Codec = H264()
    rungs: Annotated[tuple[Rung, ...], Field(min_length=1, max_length=15)]
    gop_seconds: Annotated[float, Field(gt=0, le=10)] = 2.0
    max_frame_rate: Annotated[int, Field(ge=1, le=240)] = 60
    timing: Literal["constant", "source"] = "constant"
    """constant: one global frame map onto a constant rate (players seek exactly, chunks agree); source: the source's
    own timestamps, for download files of variable-rate sources."""
    dynamic_range: Literal["sdr", "source"] = "sdr"
    """sdr: PQ and HLG are tone-mapped; source: HDR stays HDR (10-bit codecs only)."""


class AudioRendition(Part):
    """One AAC-LC rendition of every audio track."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
    bitrate_bps: Annotated[int, Field(ge=16_000, le=512_000)]
    channels: Literal[1, 2] = 2
    sample_rate_hz: Literal[44_100, 48_000] = 48_000


class AudioPart(Part):
    """The audio of a recipe: every source track is kept, with its language, once per rendition."""

    renditions: Annotated[tuple[AudioRendition, ...], Field(min_length=1, max_length=4)]


class Packaging(Part):
    """What players are given."""

    hls: bool = True
    dash: bool = True
    segment_seconds: Annotated[float, Field(gt=0, le=30)] = 6.0
    mp4: tuple[str, ...] = ()
    """Names of rungs that are also published as one fast-start MP4 with the first audio track; when the source is too
    small for a named rung, the best rendition below it stands in."""


class Stills(Part):
    """Pictures cut from the video."""

    poster: bool = True
    sprites: bool = True


class Recipe(Part):
    """Everything a job makes of one source."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    description: str = ""
    video: VideoPart | None = None
    audio: AudioPart | None = None
    packaging: Packaging = Packaging()
    stills: Stills = Stills()
    vmaf: Literal["off", "sampled", "full"] = "sampled"


class SourceShape(Part):
    """The few facts of a source that decide which rungs suit it."""

    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    """Upright, in square pixels; may be odd."""
    frame_rate: Fraction
    hdr: bool = False


class SelectedRung(Part):
    """A rung fitted to one source: even sizes, in pixels."""

    name: str
    width: int
    height: int
    crf: float
    max_bitrate_bps: int | None
