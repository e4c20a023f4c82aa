"""What a recipe can say. Every class refuses unknown keys; units stand in the names."""

import hashlib
import json
from fractions import Fraction
from itertools import combinations, pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ladders.images import ImagePart
from ladders.part import Part, unique
from ladders.prices import Prices


class H264(Part):
    """H.264 by x264: plays everywhere."""

    name: Literal["h264"] = "h264"
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower"] = "medium"


class Hevc(Part):
    """HEVC by x265: about 40 % fewer bits than H.264; Safari, phones and TVs."""

    name: Literal["hevc"] = "hevc"
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"] = "fast"


class Av1(Part):
    """AV1 by SVT-AV1, 10 bit: the fewest bits."""

    name: Literal["av1"] = "av1"
    preset: Annotated[int, Field(ge=2, le=9)] = 8
    """Low is slow; the encoder itself warns of visible artefacts from 10 on."""


Codec = Annotated[H264 | Hevc | Av1, Field(discriminator="name")]


class Rung(Part):
    """One wanted rendition: the picture is fitted inside a box, never enlarged.

    `width` × `height` is the landscape box in pixels; a portrait source uses it turned by 90 degrees.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
    width: Annotated[int, Field(ge=16, le=8192, multiple_of=2)]
    height: Annotated[int, Field(ge=16, le=4320, multiple_of=2)]
    crf: Annotated[float, Field(ge=1, le=63)]
    """Constant quality, each encoder's own scale, less is better: up to 51 for H.264 and HEVC; whole numbers for AV1.
    Never 0, which is lossless in x264 (a profile that players refuse) and "not set" in SVT-AV1."""
    max_bitrate_bps: Annotated[int, Field(ge=50_000, le=150_000_000)] | None = None
    """The most that players must be able to download, held over two seconds; AV1 holds it only roughly."""


class VideoPart(Part):
    """The video ladder of a recipe."""

    codec: Codec = H264()
    rungs: Annotated[tuple[Rung, ...], Field(min_length=1, max_length=15)]
    gop_seconds: Annotated[float, Field(gt=0, le=10)] = 2.0
    max_frame_rate: Annotated[int, Field(ge=1, le=120)] = 60
    """Of every rendition, in frames per second. With either timing a faster source loses frames evenly: of 120 every
    second one is left, of 240 every fourth."""
    timing: Literal["constant", "source"] = "constant"
    """constant: one global frame map onto a constant rate (players seek exactly, chunks agree); source: the source's
    own timestamps, for download files of variable-rate sources; frames are left out only above max_frame_rate."""
    dynamic_range: Literal["sdr", "source"] = "sdr"
    """sdr: PQ and HLG are tone-mapped; source: HDR stays HDR (10-bit codecs only)."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        unique("rungs", (rung.name for rung in self.rungs))
        for smaller, larger in pairwise(self.rungs):
            grows = larger.width >= smaller.width and larger.height >= smaller.height
            if not grows or (larger.width, larger.height) == (smaller.width, smaller.height):
                raise ValueError(f"rungs: smallest first, but {larger.name} is not larger than {smaller.name}")
        if self.dynamic_range == "source" and self.codec.name == "h264":
            raise ValueError("dynamic_range: source needs the codec hevc or av1; H.264 is made in 8 bits: use sdr")
        for rung in self.rungs:
            if self.codec.name != "av1" and rung.crf > 51:
                raise ValueError(f"rungs: crf {rung.crf:g} of {rung.name} is above 51, the most of {self.codec.name}")
            if self.codec.name == "av1" and rung.crf != int(rung.crf):
                raise ValueError(f"rungs: crf {rung.crf:g} of {rung.name} must be a whole number for av1")
        return self


class AudioRendition(Part):
    """One AAC-LC rendition of every audio track."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
    bitrate_bps: Annotated[int, Field(ge=16_000, le=512_000)]
    channels: Literal[1, 2] = 2
    sample_rate_hz: Literal[44_100, 48_000] = 48_000

    @model_validator(mode="after")
    def _encodable(self) -> Self:
        most = 6 * self.sample_rate_hz * self.channels  # AAC: 6144 bits a channel in a frame of 1024 samples
        if self.bitrate_bps > most:
            raise ValueError(f"bitrate_bps should be at most {most}, the most of AAC at this rate and channel count")
        return self


class AudioPart(Part):
    """The audio of a recipe: every source track is kept, with its language, once per rendition."""

    renditions: Annotated[tuple[AudioRendition, ...], Field(min_length=1, max_length=4)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        unique("renditions", (rendition.name for rendition in self.renditions))
        for first, second in combinations(self.renditions, 2):
            # A playlist groups the tracks of each rendition under its rate; in one group their names would repeat.
            if first.bitrate_bps // 1000 == second.bitrate_bps // 1000:
                raise ValueError(
                    f"renditions: {first.name} and {second.name} both have {first.bitrate_bps // 1000} kbit/s, by "
                    "which players tell them apart; give them different values of bitrate_bps"
                )
        return self


class Packaging(Part):
    """What players of video and audio are given."""

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
    image: ImagePart | None = None
    packaging: Packaging = Packaging()
    stills: Stills = Stills()
    vmaf: Literal["off", "sampled", "full"] = "sampled"
    prices: Prices | None = None
    """What estimates and results reckon costs by."""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all that decides the output: everything but the name, the description and the prices."""
        # Recipes without pictures are named in manifests from before there were any, by a digest that knew no `image`.
        left_out = {"name", "description", "prices"} | (set() if self.image else {"image"})
        facts = self.model_dump(mode="json", exclude=left_out)
        return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.video is None and self.audio is None:
            if self.image is None:
                raise ValueError("video, audio, image: a recipe needs at least one of the three")
            return self  # packaging is of video and audio
        packaging = self.packaging
        if not (packaging.hls or packaging.dash or packaging.mp4):
            raise ValueError("packaging: nothing would be published; set hls or dash, or name a rung in mp4")
        unique("packaging.mp4", packaging.mp4)
        rungs = [rung.name for rung in self.video.rungs] if self.video else []
        for name in packaging.mp4:
            if name not in rungs:
                raise ValueError(f"packaging.mp4: {name} is not a rung; rungs: {', '.join(rungs) or 'none'}")
        if self.video and self.video.timing == "source" and (packaging.hls or packaging.dash):
            raise ValueError(
                "video.timing: source is for files: players of HLS and DASH need a constant rate; set packaging.hls "
                "and packaging.dash to false, and name a rung in packaging.mp4"
            )
        if self.video and (packaging.hls or packaging.dash):
            segment, gop = _exact(packaging.segment_seconds), _exact(self.video.gop_seconds)
            if segment % gop:
                raise ValueError(
                    f"packaging.segment_seconds: {segment} is not a multiple of video.gop_seconds {gop}; a segment "
                    "begins with a key frame and holds whole GOPs"
                )
        return self


class SourceShape(Part):
    """The size of a source decides which rungs and pictures suit it: upright, in square pixels; may be odd."""

    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]


class SelectedRung(Part):
    """A rung fitted to one source: even sizes, in pixels."""

    name: str
    width: int
    height: int
    crf: float
    max_bitrate_bps: int | None


def _exact(seconds: float) -> Fraction:
    """The decimal number that was written, not its nearest binary fraction: 0.3 is a multiple of 0.1."""
    return Fraction(repr(seconds))
