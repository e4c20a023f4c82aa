"""How much memory a picture takes at its peak: by its header and the recipe, before a pixel is decoded.

Estimates, on the safe side, fitted to what processes took for pictures of 2 to 100 MP, made small and in their own size
(`python -m benchmarks images` has some of them).
"""

from collections.abc import Iterable, Sequence

from pipelines.images.engine import Size, StillSpec, decode_size, jpeg_shrink
from pipelines.images.facts import Header
from pipelines.images.gate import Engine
from pipelines.images.produce import Content
from pipelines.images.vips_engine import WEBP_KEPT

BASE_BYTES = 90_000_000  # a photo of a phone made small took 92 to 116 MB in all
# Of a pixel as stored, until the last row is decoded: libheif and libaom have planes and copies of them (14.8 found);
# interlaced PNGs are whole (3.2), and no header that is read here tells them from others; a TIFF may be one strip. Of a
# progressive JPEG it is the coefficients (2.6, twice that in 4:4:4).
STORED = {"avif": 15.5, "heif": 15.5, "gif": 8.0, "png": 5.0, "tiff": 4.0, "webp": 9.0, "jpeg": 0.0}
UNUSUAL_JPEG = 6.0
SCALED_WEBP = 5.0  # a lossless one is whole whatever it is shrunk to, others are not
ROWS_BYTES, ROWS = 40_000_000, 0.5  # libvips' rows on their way, and so much of a pixel as stored
IN_PILLOW = 4.0  # of a pixel of a picture, whatever its mode
IN_BOTH = 8.0  # where libvips has made it, and Pillow copies it (7.4 found)
# Of a pixel while it is encoded, without and with alpha (found: WebP 16 and 41, AVIF 22 and 44, PNG 6 and 9).
ENCODED = {"webp": (17.0, 43.0), "avif": (23.0, 46.0), "png": (7.0, 9.0), "jpeg": (1.0, 1.0)}
FRAMES_HELD = 3  # of an animation: the loader's, the one before, and this one
ANIMATED = 0.25  # bytes that a pixel of a frame becomes: all frames are kept until the last


def peak_bytes(header: Header, wanted: Sequence[StillSpec], contents: Iterable[Content], engine: Engine) -> int:
    """Resident bytes of the process that makes `contents`, by way of the stills `wanted`."""
    sizes = {spec.scaled for spec in wanted}
    root = decode_size(header, wanted)
    decoding = _stored(header, root) + _root(header, root, engine) + IN_PILLOW * sum(map(_pixels, sizes - {root}))
    if header.orientation > 1:
        decoding += IN_PILLOW * _pixels(root)
    encoding = IN_PILLOW * sum(map(_pixels, sizes)) + max(
        (_encoding(content, header) for content in contents), default=0.0
    )
    return BASE_BYTES + int(max(decoding, encoding))


def _stored(header: Header, root: Size) -> float:
    per_pixel = STORED[header.format]
    if header.format == "jpeg" and header.unusual:
        per_pixel = UNUSUAL_JPEG
    if header.format == "webp" and header.upright_size[0] > WEBP_KEPT * root[0]:
        per_pixel = SCALED_WEBP
    if header.format in ("png", "tiff") and header.bits > 8:
        per_pixel *= 2
    return per_pixel * header.width * header.height


def _root(header: Header, root: Size, engine: Engine) -> float:
    """What all stills are made of, and what it is made of."""
    if engine == "vips":
        whole = header.format in ("avif", "heif")
        rows = 0.0 if whole else ROWS_BYTES + ROWS * header.width * header.height
        return IN_BOTH * _pixels(root) + rows
    width, height = header.upright_size
    if header.format != "jpeg":  # decoded whole, as it is stored
        return 0.0 if root == (width, height) else IN_PILLOW * _pixels(root)
    shrink = jpeg_shrink(min(width / root[0], height / root[1]))
    decoded = (width // shrink, height // shrink)
    return IN_PILLOW * (_pixels(root) + (_pixels(decoded) if decoded != root else 0))


def _encoding(content: Content, header: Header) -> float:
    pixels, background = _pixels(content.spec.size), content.background
    held = ENCODED[content.format.name][header.has_alpha and background is None] * pixels
    if background is not None:
        held += IN_PILLOW * pixels
    if content.animated:
        held += FRAMES_HELD * IN_PILLOW * (header.width * header.height + pixels) + ANIMATED * header.frames * pixels
    return held


def _pixels(size: Size) -> int:
    return size[0] * size[1]
