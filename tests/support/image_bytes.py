"""Picture files built from their parts, so that a test can say exactly what is in their headers."""

import io
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from pipelines.images.colors import P3_PRIMARIES, SRGB_PRIMARIES, Colors, made_profile
from pipelines.images.facts import Header
from pipelines.images.header import Examined, examine
from pipelines.images.libraries import vips
from pipelines.images.limits import ImageLimits

LIMITS = ImageLimits()
P3 = made_profile(Colors(P3_PRIMARIES), "rgb") or b""
SRGB = made_profile(Colors(SRGB_PRIMARIES), "rgb") or b""
NOTHING = b"\x02\x02\x4c\x01\x00"  # the packed data of a GIF frame


def seen(tmp_path: Path, data: bytes, limits: ImageLimits = LIMITS) -> Examined:
    """What is found in a file of these bytes, with a name that says nothing."""
    path = tmp_path / "upload"
    path.write_bytes(data)
    return examine(str(path), limits)


def header_of(tmp_path: Path, data: bytes) -> Header:
    """The header of a file of these bytes."""
    return seen(tmp_path, data).header


def drawn(width: int = 64, height: int = 48, bands: int = 3) -> Any:
    """A picture of libvips."""
    return vips().Image.black(width, height, bands=bands).copy(interpretation="srgb" if bands > 2 else "b-w")


def jpeg(size: tuple[int, int] = (64, 48), mode: str = "RGB", **options: object) -> bytes:
    """A JPEG by Pillow."""
    file = io.BytesIO()
    Image.new(mode, size).save(file, "JPEG", **options)
    return file.getvalue()


def with_segments(jpeg_bytes: bytes, *segments: tuple[int, bytes]) -> bytes:
    """The JPEG with more segments at its beginning, each a marker and a content."""
    extra = b"".join(struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data for marker, data in segments)
    return jpeg_bytes[:2] + extra + jpeg_bytes[2:]


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    size: tuple[int, int] = (2, 2), *, bits: int = 8, kind: int = 2, interlace: int = 0, extra: Iterable[bytes] = ()
) -> bytes:
    """A PNG whose picture data nobody could decode, with `extra` chunks before it."""
    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, kind, 0, 0, interlace))
    return b"\x89PNG\r\n\x1a\n" + ihdr + b"".join(extra) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def gif(screen: tuple[int, int], frames: Iterable[bytes]) -> bytes:
    """A GIF of two colours."""
    return b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + b"".join(frames) + b";"


def gif_frame(place: tuple[int, int, int, int], *, hundredths: int | None = None, transparent: bool = False) -> bytes:
    """One frame: left, top, width and height, and how long it is shown."""
    control = b""
    if hundredths is not None or transparent:
        control = b"!\xf9\x04" + struct.pack("<BHB", transparent, hundredths or 0, 0) + b"\0"
    return control + b"," + struct.pack("<HHHHB", *place, 0) + NOTHING


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP of these chunks."""
    body = b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def vp8x(size: tuple[int, int], flags: int) -> tuple[bytes, bytes]:
    """The header chunk of an extended WebP."""
    return b"VP8X", bytes((flags, 0, 0, 0)) + b"".join((side - 1).to_bytes(3, "little") for side in size)


def anmf(milliseconds: int) -> tuple[bytes, bytes]:
    """One frame of an animated WebP, without a picture."""
    return b"ANMF", bytes(12) + milliseconds.to_bytes(3, "little") + bytes(9)


def tiff(entries: dict[int, tuple[int, tuple[int, ...]]], *, order: str = "<", big: bool = False) -> bytes:
    """A TIFF of one directory: for each tag its type (3 short, 4 long, 7 bytes) and its values; then 64 zero bytes."""
    letters = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 7: "B", 16: "Q"}
    start, inline, width, counter = (16, 8, 20, "Q") if big else (8, 4, 12, "H")
    head = (b"II" if order == "<" else b"MM") + struct.pack(
        order + ("HHHQ" if big else "HI"), *((43, 8, 0, 16) if big else (42, 8))
    )
    offset = start + struct.calcsize(order + counter) + width * len(entries) + (8 if big else 4)
    table, body = struct.pack(order + counter, len(entries)), b""
    for tag in sorted(entries):
        kind, values = entries[tag]
        data = struct.pack(order + letters[kind] * len(values), *values)
        count = len(values) // 2 if kind == 5 else len(values)
        table += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, count)
        if len(data) <= inline:
            table += data.ljust(inline, b"\0")
        else:
            table += struct.pack(order + ("Q" if big else "I"), offset + len(body))
            body += data
    return head + table + bytes(8 if big else 4) + body + bytes(64)


def box(kind: bytes, *parts: bytes) -> bytes:
    """One box of a HEIF file."""
    data = b"".join(parts)
    return struct.pack(">I", len(data) + 8) + kind + data


def full_box(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    """One box with a version and flags."""
    return box(kind, bytes((version,)) + flags.to_bytes(3, "big"), *parts)


def ispe(width: int, height: int) -> bytes:
    """The size of an item, as a property."""
    return full_box(b"ispe", struct.pack(">II", width, height))


def heif_file(
    items: dict[int, tuple[bytes, list[bytes]]],
    references: Iterable[tuple[bytes, int, int]] = (),
    brand: bytes = b"heic",
) -> bytes:
    """A HEIF file whose main picture is item 1: for each item its type and its properties; each has 16 bytes."""
    properties = [prop for _, props in items.values() for prop in props]
    infos, links, index = b"", b"", 1
    for number, (kind, props) in items.items():
        infos += full_box(b"infe", struct.pack(">HH4sB", number, 0, kind, 0), version=2)
        links += struct.pack(">HB", number, len(props)) + bytes(range(index, index + len(props)))
        index += len(props)
    refs = b"".join(box(kind, struct.pack(">HHH", one, 1, other)) for kind, one, other in references)
    ftyp = box(b"ftyp", brand + bytes(4) + brand)

    def meta(start: int) -> bytes:
        places = b"".join(struct.pack(">HHHII", number, 0, 1, start + 16 * at, 16) for at, number in enumerate(items))
        return full_box(
            b"meta",
            full_box(b"pitm", struct.pack(">H", 1)),
            full_box(b"iinf", struct.pack(">H", len(items)), infos),
            full_box(b"iloc", b"\x44\0", struct.pack(">H", len(items)), places),
            full_box(b"iref", refs),
            box(b"iprp", box(b"ipco", *properties), full_box(b"ipma", struct.pack(">I", len(items)), links)),
        )

    start = len(ftyp) + len(meta(0)) + 8
    return ftyp + meta(start) + box(b"mdat", bytes(16 * len(items)))


EXIF_6 = b"Exif\0\0" + tiff({274: (3, (6,))})  # turned by a quarter
