"""The header of a HEIF or AVIF file: its primary picture, as its decoders give it.

They apply the file's own turning, mirroring and cutting, and no other: so the size is of the upright picture, whatever
EXIF says. Of a sequence the primary picture counts. Which of the two formats it is, the picture's own coding decides.
"""

from typing import BinaryIO

from pipelines.errors import TruncatedMedia, UnsupportedMedia
from pipelines.images.colors import Colors, coded_colors
from pipelines.images.facts import ImageFormat
from pipelines.images.formats.found import MAX_EXIF_BYTES, MAX_PROFILE_BYTES, Found, Reader, check_size
from pipelines.images.formats.heif_boxes import Item, Items, read_items
from pipelines.images.limits import ImageLimits

CODINGS: dict[bytes, ImageFormat] = {b"hvc1": "heif", b"hev1": "heif", b"av01": "avif"}
MADE_OF_OTHERS = (b"grid", b"iovl", b"iden")
MAX_DEPTH = 3  # a turned copy of a grid of tiles
ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")


def read(file: BinaryIO, size: int, limits: ImageLimits) -> Found:
    """The header of the HEIF or AVIF in `file`, which has `size` bytes."""
    reader = Reader(file, size, "HEIF")
    items = read_items(reader)
    if items is None:
        raise TruncatedMedia("the HEIF file ends before its index, or is a sequence without a picture of its own")
    primary = items.items.get(items.primary)
    if primary is None or not primary.type:
        raise reader.corrupt("its main picture is missing")
    stored = _stored_size(reader, primary)
    check_size(reader, limits, *stored)
    limits.check("max_heif_pixels", stored[0] * stored[1], f"the {reader.name} picture is {stored[0]}×{stored[1]}")
    width, height = _shown_size(primary, *stored)
    check_size(reader, limits, width, height)
    coded = _coded(reader, items, primary)
    bits, is_grey = _samples(reader, primary, coded)
    # A picture made of tiles may leave it to them to say what its colours are.
    told = primary if primary.property(b"colr") else coded
    profile = _profile(told)
    return Found(
        format=CODINGS[coded.type],
        width=width,
        height=height,
        color_model="grey" if is_grey else "rgb",
        bits=bits,
        has_alpha=_has_alpha(items),
        turns_itself=True,
        profile=profile,
        colors=None if profile else _colors(told),
        exif=_exif(reader, items),
    )


def _stored_size(reader: Reader, primary: Item) -> tuple[int, int]:
    ispe = primary.property(b"ispe") or b""
    if len(ispe) < 12:
        raise reader.corrupt("its main picture has no size")
    return int.from_bytes(ispe[4:8], "big"), int.from_bytes(ispe[8:12], "big")


def _shown_size(primary: Item, width: int, height: int) -> tuple[int, int]:
    """The size after what the file itself wants done, in its order."""
    for name, content in primary.properties:
        if name == b"clap" and len(content) >= 16:
            above_w, below_w, above_h, below_h = (int.from_bytes(content[at : at + 4], "big") for at in (0, 4, 8, 12))
            if below_w and below_h:
                width, height = min(width, above_w // below_w), min(height, above_h // below_h)
        elif name == b"irot" and content and content[0] & 1:
            width, height = height, width
    return width, height


def _coded(reader: Reader, items: Items, primary: Item) -> Item:
    """A picture as it is coded, of which the primary one consists. All of them must be in the file."""
    level = [primary]
    for _ in range(MAX_DEPTH):
        if level[0].type not in MADE_OF_OTHERS:
            break
        # Each once, or references would multiply from level to level.
        parts = dict.fromkeys(number for item in level for number in item.references.get(b"dimg", ()))
        level = [items.items[number] for number in parts if number in items.items]
        if not level:
            raise reader.corrupt("the parts of its main picture are missing")
    for item in level:
        if item.type not in CODINGS:
            coding = item.type.decode("latin-1")
            raise UnsupportedMedia(f"the HEIF file's picture is coded as {coding!a}, which no decoder here can read")
        if not item.inside and any(offset + length > reader.size for offset, length in item.extents):
            raise TruncatedMedia("the HEIF file ends before its picture does")
        if not any(length for _, length in item.extents):
            raise reader.corrupt("its main picture has no data")
    return level[0]


def _samples(reader: Reader, primary: Item, coded: Item) -> tuple[int, bool]:
    """Bits of a channel, and whether there is no colour."""
    pixi = primary.property(b"pixi") or coded.property(b"pixi") or b""
    hvcc, av1c = coded.property(b"hvcC") or b"", coded.property(b"av1C") or b""
    if len(pixi) > 5 and len(pixi) >= 5 + pixi[4]:
        bits = max(pixi[5 : 5 + pixi[4]], default=8)
        return bits, pixi[4] == 1
    if len(hvcc) >= 18:
        return (hvcc[17] & 7) + 8, hvcc[16] & 3 == 0
    if len(av1c) >= 3:
        bits = (12 if av1c[2] & 0x20 else 10) if av1c[2] & 0x40 else 8
        return bits, bool(av1c[2] & 0x10)
    raise reader.corrupt("its main picture does not say how it is coded")


def _has_alpha(items: Items) -> bool:
    for item in items.items.values():
        if items.primary in item.references.get(b"auxl", ()):
            kind = (item.property(b"auxC") or b"")[4:].split(b"\0")[0]
            if kind in ALPHA:
                return True
    return False


def _profile(item: Item) -> bytes | None:
    for name, content in item.properties:
        if name == b"colr" and content[:4] in (b"prof", b"rICC") and len(content) <= MAX_PROFILE_BYTES:
            return content[4:] or None
    return None


def _colors(item: Item) -> Colors | None:
    for name, content in item.properties:
        if name == b"colr" and content[:4] == b"nclx" and len(content) >= 10:
            return coded_colors(int.from_bytes(content[4:6], "big"), int.from_bytes(content[6:8], "big"))
    return None


def _exif(reader: Reader, items: Items) -> bytes | None:
    """The EXIF of the primary picture: an offset of four bytes, then the block."""
    for item in items.items.values():
        if item.type == b"Exif" and items.primary in item.references.get(b"cdsc", (items.primary,)):
            if sum(length for _, length in item.extents) > MAX_EXIF_BYTES:
                return None
            parts = []
            for offset, length in item.extents:
                if item.inside:
                    parts.append(items.idat[offset : offset + length])
                elif offset + length <= reader.size:
                    parts.append(reader.at(offset, length))
            data = b"".join(parts)
            return data[4 + int.from_bytes(data[:4], "big") :] or None
    return None
