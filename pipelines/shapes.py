"""What decides how much work a source is, by its header alone."""

from dataclasses import dataclass
from typing import Literal

from pipelines.facts import MediaInfo
from pipelines.images.facts import Header


@dataclass(frozen=True, slots=True)
class Shape:
    """The header of one source; zeros stand for what its kind does not have."""

    kind: Literal["video", "audio", "image"]
    width: int = 0  # upright, in square pixels
    height: int = 0
    codec: str = ""  # FFmpeg's name of the video's; of a picture its format
    frame_rate: float = 0.0
    duration_s: float = 0.0
    tracks: int = 0  # of sound
    frames: int = 1  # of a picture; an animation has more than one
    is_hdr: bool = False


def shape_of(info: MediaInfo) -> Shape:
    """Of a video or a sound."""
    video = info.video
    if video is None:
        return Shape("audio", duration_s=info.duration_s, tracks=len(info.audio))
    width, height = video.display_size
    return Shape(
        "video",
        width=width,
        height=height,
        codec=video.codec,
        frame_rate=float(video.frame_rate),
        duration_s=info.duration_s,
        tracks=len(info.audio),
        is_hdr=video.dynamic_range != "sdr",
    )


def shape_of_picture(header: Header) -> Shape:
    """Of a picture."""
    width, height = header.upright_size
    return Shape("image", width=width, height=height, codec=header.format, frames=header.frames)
