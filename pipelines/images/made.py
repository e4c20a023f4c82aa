"""What was made of a picture."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class MadeImage:
    """One file that was made."""

    variant: str
    path: str  # relative to out_dir
    format: Literal["webp", "jpeg", "avif", "png"]
    width: int
    height: int
    frames: int
    bytes: int
    encoder: str  # "libjpeg-turbo", "libwebp", "libsvtav1", "libaom", "libvips"
