"""What is known of a source before anything is decoded for output."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Range = Literal["limited", "full"]
FieldOrder = Literal["progressive", "top", "bottom"]
DynamicRange = Literal["sdr", "pq", "hlg"]

# What channels without names are taken for, by their number (FFmpeg's names).
USUAL_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """One video stream as it is stored; `display_*` is what a viewer should see."""

    stream_index: int
    codec: str  # FFmpeg's codec name: h264, hevc, vp9 …
    profile: str | None
    width: int  # stored, in pixels
    height: int
    sample_aspect_ratio: Fraction  # of one pixel; 1 when unset
    rotation_deg: int  # 0, 90, 180 or 270: clockwise turn that makes the stored picture upright
    mirrored: bool  # flip left-right AFTER that turn
    pixel_format: str  # FFmpeg's name: yuv420p, yuv420p10le …
    bit_depth: int
    field_order: FieldOrder
    color_primaries: str  # FFmpeg's names: bt709, smpte170m, bt2020 …; "unknown" when unset
    color_transfer: str
    color_space: str
    color_range: Range
    frame_rate: Fraction  # frames per second, the best estimate from the container; > 0
    time_base: Fraction  # seconds per pts tick
    start_s: float
    duration_s: float
    bitrate_bps: int  # 0 when unknown
    mastering_display: str | None = None  # x265 syntax "G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min)"
    content_light: str | None = None  # "max_cll,max_fall" in nits

    @property
    def dynamic_range(self) -> DynamicRange:
        """sdr, pq or hlg, by the transfer function alone."""
        return {"smpte2084": "pq", "arib-std-b67": "hlg"}.get(self.color_transfer, "sdr")  # type: ignore[return-value]

    @property
    def display_size(self) -> tuple[int, int]:
        """(width, height) in square pixels after the turn; may be odd."""
        sar = self.sample_aspect_ratio
        width, height = self.width, self.height
        if sar > 1:
            width = round(width * sar)
        elif sar < 1:
            height = round(height / sar)
        return (height, width) if self.rotation_deg in (90, 270) else (width, height)


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """One audio stream of the source."""

    stream_index: int
    codec: str
    channels: int
    layout: str  # FFmpeg's name: mono, stereo, 5.1(side) …
    sample_rate_hz: int
    language: str  # ISO 639-2 such as "eng"; "und" when unset
    title: str | None
    default: bool
    start_s: float
    duration_s: float  # 0.0 when unknown
    bitrate_bps: int


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """The facts of one source file."""

    container: str  # FFmpeg's demuxer name: "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm" …
    size_bytes: int
    duration_s: float
    video: VideoFacts | None  # the stream that is shown; never a cover picture
    audio: tuple[AudioFacts, ...]
    has_cover: bool
    other_streams: tuple[str, ...]  # "subtitle:subrip", "data:none" … ; never copied to an output
