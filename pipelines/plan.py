"""The plan of one job: everything that the media processes are told, decided once and stored before any work.

A plan is plain data (see wire.py). The frame map lies beside it as its own object, because a two-hour film has
400,000 rows and a chunk needs only its own.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from pipelines.facts import MediaInfo, VideoFacts

Matching = Literal["pts", "ordinal"]


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """The authoritative list of the frames that a decoder gives for the shown video stream."""

    time_base: Fraction
    pts: tuple[int, ...]  # presentation order, strictly rising; with matching="ordinal" these may be synthesised
    keys: tuple[int, ...]  # pts of the packets that a decoder can start at, rising
    matching: Matching  # how a worker recognises a frame: by its pts, or by its place in decode output
    chunkable: bool
    why_not_chunkable: str | None
    last_duration: int  # ticks that the last frame is shown for; >= 1
    sound_end_s: float = 0.0  # source time at which the last packet of any sound beside the video ends; 0 without sound


@dataclass(frozen=True, slots=True)
class FrameRow:
    """One output frame: which source frame it shows, and when."""

    source: int  # the source frame's pts, or its ordinal
    pts: int  # in VideoPlan.time_base, first frame of the output is 0


@dataclass(frozen=True, slots=True)
class ColorTags:
    """What the output says of its colours (FFmpeg's names)."""

    primaries: str
    transfer: str
    space: str
    range: Literal["limited", "full"] = "limited"


@dataclass(frozen=True, slots=True)
class SourceStage:
    """What happens to every source frame once, before it is scaled for each rendition."""

    deinterlace: bool
    rotation_deg: int  # clockwise
    mirrored: bool
    tone_map: bool
    matrix: str  # the matrix the source pixels are really in; overrides a tag that cannot be true
    width: int  # of the stored picture after a tone map, which also scales to what the largest rendition needs;
    height: int  # otherwise as the source has it


@dataclass(frozen=True, slots=True)
class RenditionPlan:
    """One rendition: the same encoder and options for all of its chunks."""

    name: str
    codec: Literal["h264", "hevc", "av1"]
    encoder: str  # FFmpeg's encoder name
    width: int
    height: int
    pixel_format: str
    options: dict[str, str]  # given to the encoder as they stand
    color: ColorTags
    max_bitrate_bps: int | None
    buffer_bits: int | None  # of the VBV; set together with max_bitrate_bps
    mp4: bool  # also published as a fast-start MP4


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """A frame range of the output, on the GOP grid."""

    number: int
    start_frame: int  # inclusive
    end_frame: int  # exclusive
    seek_pts: tuple[int, ...]  # key frames at or before the first frame needed, nearest last; () = from the top
    lead: tuple[int, ...]  # source frames before the range that a temporal filter must see
    tail: tuple[int, ...]  # source frames after it


@dataclass(frozen=True, slots=True)
class VideoPlan:
    """How the video of one source is turned."""

    source: VideoFacts
    stage: SourceStage
    matching: Matching
    frame_rate: Fraction
    time_base: Fraction  # of FrameRow.pts
    frame_count: int
    frames_sha256: str  # of the frame map as it is stored: every frame that is shown, and when
    duration_s: float
    gop_frames: int
    renditions: tuple[RenditionPlan, ...]
    chunks: tuple[ChunkPlan, ...]
    why_not_chunkable: str | None
    held_frames: int = 0  # of frame_count, at the end: the last picture again, below sound that goes on


@dataclass(frozen=True, slots=True)
class AudioTrackPlan:
    """One output audio track: one source stream at one rendition's settings."""

    name: str  # unique, safe as a file name: "eng-128k"
    stream_index: int
    language: str
    title: str | None
    default: bool
    bitrate_bps: int
    channels: int
    sample_rate_hz: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything one job does, as data."""

    info: MediaInfo
    video: VideoPlan | None
    audio: tuple[AudioTrackPlan, ...]
    # Source time that becomes 0 in every output: the first video frame, were it where the others put it (see
    # frames.phase_s), else the first audio sample.
    start_s: Fraction
    duration_s: float
    hls: bool
    dash: bool
    segment_seconds: float
    poster: bool
    sprites: bool
    vmaf: Literal["off", "sampled", "full"]
