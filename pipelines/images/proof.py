"""What was written is what was promised: each output's own bytes are read back before anybody is told of it."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.errors import ProofFailed, RejectedMedia
from pipelines.images.exif import read_exif
from pipelines.images.header import NO_LIMITS, examine
from pipelines.images.made import MadeImage


def prove(made: Sequence[MadeImage], folder: str, *, keeps_copyright: bool) -> None:
    """ProofFailed unless every file is of its format, size and frame count, upright, and says nothing of its source.

    Of the source's metadata only what the recipe keeps may be there: never where it was taken, nor with what.
    """
    for one in made:
        try:
            _prove(one, Path(folder) / one.path, keeps_copyright)
        except RejectedMedia as error:
            raise ProofFailed(f"{one.path} cannot be read back: {error.public_message}") from error


def _prove(one: MadeImage, path: Path, keeps_copyright: bool) -> None:
    examined = examine(str(path), NO_LIMITS)
    found = examined.header
    promised = (one.format, one.width, one.height, one.frames, 1)
    actual = (found.format, found.width, found.height, found.frames, found.orientation)
    if actual != promised:
        raise ProofFailed(f"{one.path} is {actual} instead of {promised}")
    exif = read_exif(str(path), examined, with_location=True)
    if (
        exif.location
        or exif.camera
        or exif.lens
        or exif.taken_at
        or ((exif.artist or exif.copyright) and not keeps_copyright)
    ):
        raise ProofFailed(f"{one.path} tells of its source")
