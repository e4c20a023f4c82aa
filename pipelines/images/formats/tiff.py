"""The header of a TIFF (TIFF 6.0): its first page, which is the picture; others are not counted."""

from typing import BinaryIO

from pipelines.errors import UnsupportedMedia
from pipelines.images.facts import ColorModel
from pipelines.images.formats.found import MAX_PROFILE_BYTES, Found, Reader, check_size
from pipelines.images.limits import ImageLimits
from pipelines.images.tiff_tags import Directory, TiffTags

SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
STRIPS, SAMPLES, SUB_IFDS, TILES, EXTRA, FORMAT = 273, 277, 330, 324, 338, 339
PROFILE, DNG_VERSION = 34675, 50706
# Fax, LZW, JPEG, Deflate, PackBits, Zstandard, WebP: what libtiff has here and pictures use.
COMPRESSIONS = (1, 2, 3, 4, 5, 7, 8, 32773, 32946, 50000, 50001)
MODELS: dict[int, ColorModel] = {
    0: "grey", 1: "grey", 2: "rgb", 3: "indexed", 5: "cmyk", 6: "rgb", 8: "lab", 9: "lab",
}  # fmt: skip
CHANNELS: dict[ColorModel, int] = {"grey": 1, "indexed": 1, "rgb": 3, "lab": 3, "cmyk": 4}
DEPTHS = (1, 2, 4, 8, 16, 32)
UNSIGNED = (1, 4)  # of FORMAT: whole numbers without a sign, and what is not said; others are floats and the like
DEEPEST = 16  # bits of a channel
REDUCED = 1  # bit of SUBFILE: a small version of another picture in the file


def read(file: BinaryIO, size: int, limits: ImageLimits) -> Found:
    """The header of the TIFF in `file`, which has `size` bytes."""
    reader = Reader(file, size, "TIFF")
    tags = TiffTags(file, size)
    page = tags.directory(tags.first)
    if not page.entries:
        raise reader.corrupt("its first page has no readable header")
    if DNG_VERSION in page or (page.number(SUBFILE) & REDUCED and SUB_IFDS in page):
        raise UnsupportedMedia("the file is a raw camera file: upload a JPEG, HEIC or TIFF made of it")
    width, height = page.number(WIDTH), page.number(HEIGHT)
    check_size(reader, limits, width, height)
    model, bits, channels = _samples(reader, page)
    _check_data(reader, page)
    return Found(
        format="tiff",
        width=width,
        height=height,
        color_model=model,
        bits=bits,
        has_alpha=channels > CHANNELS[model] and page.number(EXTRA, 1) in (1, 2),
        profile=page.data(PROFILE, MAX_PROFILE_BYTES) or None,
    )


def _samples(reader: Reader, page: Directory) -> tuple[ColorModel, int, int]:
    """Colour model, bits of a channel, number of channels."""
    compression, photometric = page.number(COMPRESSION, 1), page.number(PHOTOMETRIC, -1)
    if compression not in COMPRESSIONS:
        raise UnsupportedMedia(f"the TIFF is packed in a way that cannot be read here (compression {compression})")
    if photometric == -1:
        raise reader.corrupt("it does not say what its colours are")
    if photometric not in MODELS:
        raise UnsupportedMedia(f"the TIFF has colours that cannot be read here (photometric {photometric})")
    depths = set(page.numbers(BITS)) or {1}
    bits, channels, model = max(depths), page.number(SAMPLES, 1), MODELS[photometric]
    if bits not in DEPTHS or len(depths) > 1:
        raise UnsupportedMedia(f"the TIFF has {', '.join(map(str, sorted(depths)))} bits a channel")
    # Lab says in numbers what it is; of other floats, signed and 32-bit numbers nothing says what is white.
    if model != "lab" and (bits > DEEPEST or set(page.numbers(FORMAT)) - set(UNSIGNED)):
        raise UnsupportedMedia("the TIFF's samples are not plain whole numbers of at most 16 bits")
    if not CHANNELS[model] <= channels <= CHANNELS[model] + 4:
        raise reader.corrupt(f"it has {channels} channels of colour")
    return model, bits, channels


def _check_data(reader: Reader, page: Directory) -> None:
    """Refuse a page whose picture is nowhere, or has more parts than the file has bytes for."""
    parts = page.count(STRIPS) or page.count(TILES)
    if not parts or parts > reader.size:
        raise reader.corrupt("there is no picture in it")
