"""The header of a PNG (third edition): the chunks before the picture, and EXIF wherever it stands.

An animated PNG counts as the picture that viewers without animation show. Texts are never unpacked.
"""

import zlib
from typing import BinaryIO

from pipelines.images.colors import SRGB_PRIMARIES, Colors, coded_colors, colors
from pipelines.images.facts import ColorModel
from pipelines.images.formats.found import MAX_EXIF_BYTES, MAX_PROFILE_BYTES, Found, Reader, check_size
from pipelines.images.limits import ImageLimits

MODELS: dict[int, ColorModel] = {0: "grey", 2: "rgb", 3: "indexed", 4: "grey", 6: "rgb"}
BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
WANTED = {b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"tRNS", b"eXIf", b"PLTE"}
MAX_CHUNKS = 100_000  # 200 MB in chunks of 8 kB are 25,000
SMALL = 4096  # a chunk of a few fields; what is longer is not one


def read(file: BinaryIO, size: int, limits: ImageLimits) -> Found:
    """The header of the PNG in `file`, which has `size` bytes."""
    reader = Reader(file, size, "PNG")
    ihdr = reader.at(8, 25)
    if ihdr[:8] != b"\0\0\0\rIHDR" or zlib.crc32(ihdr[4:21]) != int.from_bytes(ihdr[21:], "big"):
        raise reader.corrupt("its first chunk is not a sound IHDR")
    width, height = int.from_bytes(ihdr[8:12], "big"), int.from_bytes(ihdr[12:16], "big")
    bits, kind, packing, filters, interlace = ihdr[16:21]
    if bits not in BITS.get(kind, ()) or packing or filters or interlace > 1:
        raise reader.corrupt("its IHDR says what no PNG can be")
    check_size(reader, limits, width, height)
    chunks = _chunks(reader)
    if kind == 3 and b"PLTE" not in chunks:
        raise reader.corrupt("it has no palette")
    profile = _profile(chunks.get(b"iCCP", b"")) if b"cICP" not in chunks else None
    return Found(
        format="png",
        width=width,
        height=height,
        color_model=MODELS[kind],
        bits=bits,
        has_alpha=kind >= 4 or b"tRNS" in chunks,
        profile=profile,
        colors=None if profile else _colors(chunks),
        exif=chunks.get(b"eXIf"),
    )


def _chunks(reader: Reader) -> dict[bytes, bytes]:
    """The wanted chunks, each kind once. Raises CorruptMedia when there is no picture data."""
    found: dict[bytes, bytes] = {}
    data = False
    offset = 33
    for _ in range(MAX_CHUNKS):
        if offset + 8 > reader.size:
            break
        head = reader.at(offset, 8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"IEND":
            break
        data = data or kind == b"IDAT"
        most = {b"iCCP": MAX_PROFILE_BYTES, b"eXIf": MAX_EXIF_BYTES}.get(kind, SMALL)
        # Behind the picture only EXIF is looked for, and an end that is missing is the decoder's to tell.
        if kind in WANTED and kind not in found and length <= most and (not data or kind == b"eXIf"):
            found[kind] = reader.at(offset + 8, length) if offset + 8 + length <= reader.size else b""
        offset += 12 + length
    if not data:
        raise reader.corrupt("there is no picture in it")
    return found


def _profile(chunk: bytes) -> bytes | None:
    _, _, packed = chunk[:81].partition(b"\0")
    name_bytes = len(chunk[:81]) - len(packed)
    try:
        return zlib.decompressobj().decompress(chunk[name_bytes + 1 :], MAX_PROFILE_BYTES) or None
    except zlib.error:
        return None


def _colors(chunks: dict[bytes, bytes]) -> Colors | None:
    cicp, gama, chrm = chunks.get(b"cICP", b""), chunks.get(b"gAMA", b""), chunks.get(b"cHRM", b"")
    if len(cicp) == 4:
        return coded_colors(cicp[0], cicp[1])
    if b"sRGB" in chunks:
        return None
    exponent = int.from_bytes(gama, "big") if len(gama) == 4 else 0
    primaries = SRGB_PRIMARIES
    if len(chrm) == 32:
        wx, wy, rx, ry, gx, gy, bx, by = (int.from_bytes(chrm[at : at + 4], "big") / 100_000 for at in range(0, 32, 4))
        primaries = (rx, ry, gx, gy, bx, by, wx, wy)
    return colors(primaries, 100_000 / exponent if exponent else None)
