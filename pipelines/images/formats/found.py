"""What a reader finds, and how it reads: bounded, in order, never past the end."""

from dataclasses import dataclass
from typing import BinaryIO

from pipelines.errors import CorruptMedia, TruncatedMedia
from pipelines.images.colors import Colors
from pipelines.images.facts import ColorModel, ImageFormat
from pipelines.images.limits import ImageLimits

MAX_PROFILE_BYTES = 8_000_000  # the largest profiles of printing presses have 3 MB
MAX_EXIF_BYTES = 1_000_000  # makers' notes and thumbnails; a JPEG has room for 64 kB


@dataclass(frozen=True, slots=True)
class Found:
    """The header of a picture, as its format tells it."""

    format: ImageFormat
    width: int  # px, as stored
    height: int
    color_model: ColorModel
    bits: int  # of one channel
    has_alpha: bool = False
    frames: int = 1
    duration_s: float = 0.0  # of an animation, shown once
    unusual: str = ""  # see Header
    turns_itself: bool = False  # its decoders give the upright picture whatever EXIF says
    profile: bytes | None = None  # ICC
    colors: Colors | None = None  # where there is no profile; None means sRGB
    exif: bytes | None = None  # a TIFF structure


class Reader:
    """A file read forwards and at offsets; what is not there raises TruncatedMedia."""

    def __init__(self, file: BinaryIO, size: int, name: str) -> None:
        self.file = file
        self.size = size
        self.name = name  # "PNG", for the error

    def at(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes from `offset`."""
        if offset + count > self.size:
            raise TruncatedMedia(f"the {self.name} file ends inside its header")
        self.file.seek(offset)
        return self.file.read(count)

    def corrupt(self, what: str) -> CorruptMedia:
        """The error that says what is wrong with the header."""
        return CorruptMedia(f"the {self.name} file is damaged: {what}")


def check_size(reader: Reader, limits: ImageLimits, width: int, height: int) -> None:
    """Raise CorruptMedia for a picture without pixels, LimitExceeded for one that is too large."""
    if width <= 0 or height <= 0:
        raise reader.corrupt(f"it claims to be {width}×{height}")
    limits.check("max_side", max(width, height), f"the picture is {width}×{height}")
    limits.check("max_pixels", width * height, f"the picture is {width}×{height} = {width * height:,} pixels")


def check_frames(limits: ImageLimits, frames: int, pixels: int) -> None:
    """Raise LimitExceeded for an animation of at least `frames`, each of `pixels`, that is too long."""
    limits.check("max_frames", frames, f"the animation has {frames:,} frames or more")
    if frames > 1:
        limits.check("max_animation_frame_pixels", pixels, f"each frame of the animation has {pixels:,} pixels")
        total = frames * pixels
        limits.check("max_animation_pixels", total, f"the animation has {total:,} pixels or more in all its frames")
