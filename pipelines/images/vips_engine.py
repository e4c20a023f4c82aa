"""The careful way: every colour model, profile, depth and container that is accepted, alpha included.

libvips reads sequentially and shrinks while it reads, so that 100 megapixels never lie in memory at once. One picture
of the largest size wanted is made here, in its final colours; the smaller ones are made of it like everywhere else.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import CorruptMedia, LimitExceeded, RejectedMedia, TruncatedMedia
from pipelines.images.cascade import as_stored, cascade
from pipelines.images.engine import Color, Rendered, Size, StillSpec, Stopwatch, decode_size, jpeg_shrink
from pipelines.images.facts import Header
from pipelines.images.heif_engine import opened_heic
from pipelines.images.jpeg_end import ends_early
from pipelines.images.libraries import pillow, vips

if TYPE_CHECKING:
    from PIL.Image import Image

PROFILE = {"srgb": "srgb", "display-p3": "p3"}  # libvips has both built in
LOADERS = {"png": "pngload", "webp": "webpload", "gif": "gifload", "tiff": "tiffload", "avif": "heifload"}
WEBP_KEPT = 1.5  # times the wanted size
PROFILE_FIELD = "icc-profile-data"

# How libvips says that a file ended early, over all its loaders.
OUT_OF_MEMORY = ("out of memory", "creating thread")  # whose stack found no room
ENDS_EARLY = ("truncated", "premature", "unexpected end", "end of file", "not enough data", "eof")


class VipsEngine:
    """libvips; HEIC pixels come from libheif, which alone here can decode HEVC."""

    def __init__(self, profile: bytes | None, *, strict: bool = False) -> None:
        """`profile` is ICC: what the source's numbers mean; None for sRGB and for what says nothing.

        `strict` refuses also what a decoder only warns of.
        """
        self._profile = profile
        self._fail_on = "warning" if strict else "error"

    def render(self, path: str, header: Header, wanted: Sequence[StillSpec]) -> Rendered:
        """See `ImageEngine`. Decoding and the first shrinking are one pass, and count as decode."""
        clock = Stopwatch()
        stills: dict[StillSpec, Image] = {}
        for color in dict.fromkeys(spec.color for spec in wanted):
            specs = [spec for spec in wanted if spec.color == color]
            with clock.stage("decode"):
                size = as_stored(decode_size(header, specs), header.orientation)
                root = self._root(path, header, size, color)
            with clock.stage("resize"):
                stills |= cascade(root, header.orientation, specs)
        return Rendered(stills, clock.stages_s)

    def _root(self, path: str, header: Header, size: Size, color: Color) -> "Image":
        """The stored picture in `size` and `color`, as 8-bit RGB or RGBA."""
        try:
            if header.format == "jpeg":
                # That the data ended early is but a warning; so are a hundred things that nobody can see.
                try:
                    return self._computed(path, header, size, color, "warning")
                except vips().Error as error:
                    if self._fail_on == "warning" or ends_early(error, path):
                        raise
            return self._computed(path, header, size, color, self._fail_on)
        except vips().Error as error:
            raise typed(error, path, header) from error

    def _computed(self, path: str, header: Header, size: Size, color: Color, fail_on: str) -> "Image":
        image = without_extra(_opened(path, header, size, fail_on), header)
        return pil_of(in_colors(shrunk(image, size), self._profile, color))


@dataclass(frozen=True, slots=True)
class Frames:
    """An animation: its frames as stored, each with how long it is shown in ms; `loop` 0 is for ever."""

    pictures: Iterator[tuple["Image", int]]
    loop: int


def frames_of(path: str, header: Header, profile: bytes | None, color: Color) -> Frames:
    """The frames of a GIF or WebP one after the other, as 8-bit RGB or RGBA in `color`."""
    try:
        options = {"access": "sequential", "fail_on": "error", "n": -1}
        load = vips().Image.gifload if header.format == "gif" else vips().Image.webpload
        image = load(os.fsencode(path), **options)
        height = image.get("page-height") if image.get_typeof("page-height") else image.height
        delays = image.get("delay") if image.get_typeof("delay") else []
        loop = image.get("loop") if image.get_typeof("loop") else 0
        _require_frames(path, header, image, height)
        image = in_colors(image, profile, color)
    except vips().Error as error:
        raise typed(error, path, header) from error
    return Frames(_pictures(path, header, image, height, delays), loop)


def _require_frames(path: str, header: Header, image: Any, height: int) -> None:
    """Limits were checked by the header: what is not as it says is not decoded."""
    pages = image.get("n-pages") if image.get_typeof("n-pages") else 1
    if (image.width, height, pages) == (header.width, header.height, header.frames):
        return
    if pages < header.frames and _is_cut_off(Path(path), header):
        raise TruncatedMedia("the animation ends before all of it was read")
    raise CorruptMedia("the animation is not of the size or of as many frames as its header says")


def _pictures(
    path: str, header: Header, image: Any, height: int, delays: Sequence[int]
) -> Iterator[tuple["Image", int]]:
    """libvips shows an animation as one tall picture, the frames below each other; it is read downwards, once."""
    try:
        region = vips().Region.new(image)
        for number in range(image.height // height):
            data = bytes(region.fetch(0, number * height, image.width, height))
            picture = pillow().frombytes("RGBA" if image.bands == 4 else "RGB", (image.width, height), data)
            yield picture, delays[number] if number < len(delays) else 0
    except vips().Error as error:
        raise typed(error, path, header) from error


def _opened(path: str, header: Header, size: Size, fail_on: str) -> Any:
    """The stored picture, shrunk as far as its loader can do that cheaply: never below `size`."""
    options: dict[str, Any] = {"access": "sequential", "fail_on": fail_on}
    name = os.fsencode(path)  # which need not be text
    fits = min(header.width / size[0], header.height / size[1])
    shrink: float = 1
    if header.format == "heif":
        image = opened_heic(path)
    elif header.format == "jpeg":
        shrink = jpeg_shrink(fits)
        image = vips().Image.jpegload(name, shrink=shrink, **options)
    elif header.format == "webp" and fits > WEBP_KEPT:
        # libwebp averages areas while it decodes: 100 MP need 170 MB instead of 850 MB. The rest is for Lanczos.
        shrink = fits / WEBP_KEPT
        image = vips().Image.webpload(name, scale=1 / shrink, **options)
    else:
        image = getattr(vips().Image, LOADERS[header.format])(name, **options)
    if abs(image.width - header.width / shrink) > 1 or abs(image.height - header.height / shrink) > 1:
        raise CorruptMedia("the picture is not of the size that its header says")
    return image


def without_extra(image: Any, header: Header) -> Any:
    """Without a channel that is no alpha by the header: libvips takes every one behind the colours for it."""
    if header.has_alpha or not image.hasalpha():
        return image
    if image.bands == 2 or header.color_model == "grey":
        return image[0]
    return image[: 4 if header.color_model == "cmyk" else 3]


def shrunk(image: Any, size: Size) -> Any:
    """Resized as it is stored: in its own gamma, where Lanczos looks right to eyes that know every other resizer."""
    if (image.width, image.height) == size:
        return image
    scale, vscale = size[0] / image.width, size[1] / image.height
    if not image.hasalpha():
        return image.resize(scale, vscale=vscale)
    # Transparent pixels have colours too; weighted by alpha they do not bleed into the visible ones.
    return image.premultiply().resize(scale, vscale=vscale).unpremultiply().cast(image.format)


def in_colors(image: Any, profile: bytes | None, color: Color) -> Any:
    """8-bit RGB or RGBA in `color`.

    Relative colorimetric, because it keeps every colour that both spaces have; black point compensation, because
    without it the blacks of print (L* 10 to 15) come out as grey, and prints were made to be seen as black.
    """
    options = {"intent": "relative", "black_point_compensation": True, "depth": 8}
    if profile is not None:
        image = image.copy()
        image.set_type(vips().GValue.blob_type, PROFILE_FIELD, profile)
        image = image.icc_transform(PROFILE[color], embedded=True, **options)
    elif image.interpretation == "cmyk":
        # libvips has a profile of common offset printing for those that come without.
        image = image.icc_transform(PROFILE[color], input_profile="cmyk", **options)
    image = image.colourspace("srgb")
    return (image[:4] if image.bands > 4 else image).cast("uchar")


def pil_of(image: Any) -> "Image":
    """Computes the picture: all of libvips' work happens here."""
    mode = "RGBA" if image.bands == 4 else "RGB"
    made: Image = pillow().frombytes(mode, (image.width, image.height), image.write_to_memory())
    return made


def typed(error: Exception, path: str, header: Header) -> RejectedMedia:
    """What a libvips error says about the file."""
    said = str(error).replace(path, Path(path).name)[:300]
    if any(word in said.lower() for word in OUT_OF_MEMORY):
        return LimitExceeded("the picture needs more memory than a media process may use", detail={"decoder": said})
    if any(word in said.lower() for word in ENDS_EARLY) or _is_cut_off(Path(path), header):
        return TruncatedMedia("the picture ends before all of it was read", detail={"decoder": said})
    return CorruptMedia("the picture cannot be decoded", detail={"decoder": said})


def _is_cut_off(path: Path, header: Header) -> bool:
    """True where the container says so; libpng and libwebp have one word for everything that is wrong."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if header.format == "webp":
            return int.from_bytes(file.read(8)[4:], "little") + 8 > size
        file.seek(max(0, size - 4_096))
        return header.format == "png" and b"IEND" not in file.read()
