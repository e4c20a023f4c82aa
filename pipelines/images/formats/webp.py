"""The header of a WebP (RFC 9649): its canvas, and the frames counted without unpacking one."""

from typing import BinaryIO

from pipelines.errors import TruncatedMedia
from pipelines.images.formats.found import (
    MAX_EXIF_BYTES,
    MAX_PROFILE_BYTES,
    Found,
    Reader,
    check_frames,
    check_size,
)
from pipelines.images.limits import ImageLimits

HAS_ALPHA, IS_ANIMATED = 0x10, 0x02  # flags of a VP8X chunk
FRAME_HEADER = 16  # of an ANMF chunk
MAX_OTHERS = 1000  # chunks that are no frames
SHORTEST_S, SHOWN_S = 0.02, 0.1  # as for GIF


def read(file: BinaryIO, size: int, limits: ImageLimits) -> Found:
    """The header of the WebP in `file`, which has `size` bytes."""
    reader = Reader(file, size, "WebP")
    # What lies behind the RIFF is not part of it to any decoder.
    reader.size = min(size, int.from_bytes(reader.at(4, 4), "little") + 8)
    kind, length = _chunk(reader, 12)
    if kind == b"VP8X":
        return _extended(reader, limits, length)
    width, height, has_alpha = _bitstream(reader, 12)
    check_size(reader, limits, width, height)
    return Found("webp", width, height, "rgb", 8, has_alpha=has_alpha)


def _chunk(reader: Reader, offset: int) -> tuple[bytes, int]:
    head = reader.at(offset, 8)
    return head[:4], int.from_bytes(head[4:], "little")


def _bitstream(reader: Reader, offset: int) -> tuple[int, int, bool]:
    """Width, height and whether there is alpha, of the VP8 or VP8L chunk at `offset`."""
    kind, _ = _chunk(reader, offset)
    if kind == b"VP8 ":
        head = reader.at(offset + 8, 10)
        if head[0] & 1 or head[3:6] != b"\x9d\x01\x2a":
            raise reader.corrupt("its picture does not begin as one")
        return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:], "little") & 0x3FFF, False
    if kind == b"VP8L":
        head = reader.at(offset + 8, 5)
        fields = int.from_bytes(head[1:], "little")
        if head[0] != 0x2F or fields >> 29:
            raise reader.corrupt("its picture does not begin as one")
        return (fields & 0x3FFF) + 1, (fields >> 14 & 0x3FFF) + 1, bool(fields >> 28 & 1)
    raise reader.corrupt("there is no picture in it")


def _extended(reader: Reader, limits: ImageLimits, length: int) -> Found:
    if length < 10:
        raise reader.corrupt("its header is too short")
    head = reader.at(20, 10)
    width, height = int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    check_size(reader, limits, width, height)
    animated = bool(head[0] & IS_ANIMATED)
    kept: dict[bytes, bytes] = {}
    frames, others, duration_s = 0, 0, 0.0
    offset = 20 + length + length % 2
    while offset + 8 <= reader.size:
        kind, length = _chunk(reader, offset)
        if kind == b"ANMF" and animated:
            frames += 1
            check_frames(limits, frames, width * height)
            duration_s += _shown_s(reader, offset, length)
        elif kind in (b"VP8 ", b"VP8L") and not animated and not frames:
            frames = 1
            if _bitstream(reader, offset)[:2] != (width, height):
                raise reader.corrupt("its picture is not as large as it claims")
        else:
            others += 1
            if others > MAX_OTHERS:
                raise reader.corrupt("it consists of too many pieces")
            most = {b"ICCP": MAX_PROFILE_BYTES, b"EXIF": MAX_EXIF_BYTES}.get(kind, 0)
            if length <= most and kind not in kept and offset + 8 + length <= reader.size:
                kept[kind] = reader.at(offset + 8, length)
        offset += 8 + length + length % 2
    if not frames:
        raise TruncatedMedia("the WebP file ends before its picture")
    return Found(
        format="webp",
        width=width,
        height=height,
        color_model="rgb",
        bits=8,
        has_alpha=bool(head[0] & HAS_ALPHA),
        frames=frames,
        duration_s=duration_s if frames > 1 else 0.0,
        profile=kept.get(b"ICCP"),
        exif=kept.get(b"EXIF", b"").removeprefix(b"Exif\0\0") or None,
    )


def _shown_s(reader: Reader, offset: int, length: int) -> float:
    """How long the frame at `offset` is shown."""
    if length < FRAME_HEADER + 8 or offset + 8 + FRAME_HEADER > reader.size:
        return SHOWN_S
    shown_s = int.from_bytes(reader.at(offset + 20, 3), "little") / 1000
    return shown_s if shown_s >= SHORTEST_S else SHOWN_S
