"""The fast way: 8-bit sRGB JPEG and PNG without alpha, which is nearly every photo and screenshot."""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import CorruptMedia, RejectedMedia, TruncatedMedia
from pipelines.images.cascade import as_stored, cascade
from pipelines.images.engine import Rendered, Size, StillSpec, Stopwatch, decode_size, jpeg_shrink
from pipelines.images.facts import Header
from pipelines.images.jpeg_end import may_be_filled, refuse_filled
from pipelines.images.libraries import pillow

if TYPE_CHECKING:
    from PIL.Image import Image


class PillowEngine:
    """pillow-simd: JPEG is decoded at 1/2, 1/4 or 1/8 where that is enough."""

    def render(self, path: str, header: Header, wanted: Sequence[StillSpec]) -> Rendered:
        """See `ImageEngine`."""
        clock = Stopwatch()
        with clock.stage("decode"):
            root = _decoded(path, header, as_stored(decode_size(header, wanted), header.orientation))
        with clock.stage("resize"):
            stills = cascade(root, header.orientation, wanted)
            # A grey picture is resized as one band, and becomes three where it is small.
            stills = {spec: still if still.mode == "RGB" else still.convert("RGB") for spec, still in stills.items()}
        return Rendered(stills, clock.stages_s)


def _decoded(path: str, header: Header, at_least: Size) -> "Image":
    """The stored picture, not smaller than `at_least`."""
    try:
        with Path(path).open("rb") as file:
            # Their classes, and not `open`: that one would look for more pictures behind the first of a JPEG.
            picture = _reader(header.format)(file)
            if picture.size != (header.width, header.height):
                raise CorruptMedia("the picture is not of the size that its header says")
            if header.format == "jpeg":
                shrink = jpeg_shrink(min(header.width / at_least[0], header.height / at_least[1]))
                picture.draft(None, (header.width // shrink, header.height // shrink))
            picture.load()
        if header.format == "jpeg" and may_be_filled(picture):
            refuse_filled(path)
        picture.info.clear()  # comments and the like would go into the outputs
        made: Image = picture if picture.mode in ("RGB", "L") else picture.convert("RGB")
        return made
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error, EOFError) as error:
        raise _typed(error, path) from error


def _reader(kind: str) -> Any:
    pillow()  # sets the limits of the classes below
    if kind == "png":
        from PIL.PngImagePlugin import PngImageFile

        return PngImageFile
    from PIL.JpegImagePlugin import JpegImageFile

    return JpegImageFile


def _typed(error: Exception, path: str) -> RejectedMedia:
    said = str(error).replace(path, Path(path).name)[:200]
    if "truncated" in said.lower():
        return TruncatedMedia("the picture ends before all of it was read", detail={"decoder": said})
    return CorruptMedia("the picture cannot be decoded", detail={"decoder": said})
