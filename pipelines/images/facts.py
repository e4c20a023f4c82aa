"""What is known of a picture: from its header before anything is decoded, and for the record afterwards."""

from dataclasses import dataclass
from typing import Literal

ImageFormat = Literal["jpeg", "png", "webp", "gif", "tiff", "avif", "heif"]
ColorModel = Literal["rgb", "grey", "cmyk", "lab", "indexed"]


@dataclass(frozen=True, slots=True)
class Header:
    """What the gate decides by; nothing of it needed a pixel."""

    format: ImageFormat
    width: int  # px, as stored
    height: int
    orientation: int  # of EXIF, 1 to 8: what must be done to the stored pixels; 1 where a decoder turns by itself
    color_model: ColorModel
    bits: int  # of one channel
    has_alpha: bool
    frames: int  # of an animation; pages of a document count as one
    profile: str | None  # the embedded ICC profile's own name, "" when it has none
    is_srgb: bool  # no profile, or one that means sRGB
    unusual: str  # "progressive" and the like: a coding of a JPEG that GPUs do not know or get wrong; "" for nearly all

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height as a viewer sees it."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picture was taken, in degrees; north and east are positive."""

    latitude_deg: float
    longitude_deg: float


@dataclass(frozen=True, slots=True)
class ExifFacts:
    """What the camera wrote, cleaned of control characters, at most 80 characters each."""

    camera: str | None = None
    lens: str | None = None
    taken_at: str | None = None  # ISO 8601; with an offset only where the camera wrote one
    artist: str | None = None
    copyright: str | None = None
    location: Place | None = None  # only where the recipe allows it


@dataclass(frozen=True, slots=True)
class Looks:
    """What a picture looks like, computed from a small one of it."""

    palette: tuple[str, ...]  # "#rrggbb", most frequent first, at most six
    thumbhash: str  # base64, about 25 bytes: the placeholder until a picture is loaded
    perceptual_hash: str  # 16 hex digits: pictures that differ in at most 10 of its bits look alike


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """The record of one picture."""

    format: ImageFormat
    width: int  # px, upright
    height: int
    size_bytes: int
    sha256: str  # of the source file
    bits: int
    color_model: ColorModel
    profile: str | None
    has_alpha: bool
    is_animated: bool
    frames: int
    duration_s: float  # of an animation, else 0
    orientation: int
    exif: ExifFacts
    looks: Looks
