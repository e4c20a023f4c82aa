"""The header of a JPEG (ITU-T T.81): the segments before the first scan.

What follows the picture (a film of a motion photo, the gain map of an Ultra HDR picture, further pictures of an MPO) is
never looked at: the file is the picture that comes first.
"""

import re
from dataclasses import dataclass, field
from typing import BinaryIO

from pipelines.errors import TruncatedMedia, UnsupportedMedia
from pipelines.images.facts import ColorModel
from pipelines.images.formats.found import MAX_PROFILE_BYTES, Found, Reader, check_size
from pipelines.images.limits import ImageLimits

FRAMES = range(0xC0, 0xD0)  # the markers that begin a frame, but for the next three
NOT_FRAMES = (0xC4, 0xC8, 0xCC)
DECODED = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # baseline, extended and progressive; Huffman and arithmetic coding
BASELINE = 0xC0
CODINGS = {0xC1: "extended", 0xC2: "progressive", 0xC9: "arithmetically coded", 0xCA: "arithmetically coded"}
ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length
START_OF_SCAN, END_OF_IMAGE, QUANTISATION, APP1, APP2, APP14 = 0xDA, 0xD9, 0xDB, 0xE1, 0xE2, 0xEE
MODELS: dict[int, ColorModel] = {1: "grey", 3: "rgb", 4: "cmyk"}
EXIF, ICC, ADOBE = b"Exif\0", b"ICC_PROFILE\0", b"Adobe"
TRANSFORM = 6  # where Adobe's segment says what the three channels are: 1 for YCbCr, 0 for RGB
MAX_TABLES_BYTES = 4 * 129
MAX_SEGMENTS = 4096  # before the picture; a profile and a depth map of 8 MB have 130
MARKER = re.compile(rb"\xff[^\x00\xff]")
WINDOW = 65_536  # bytes searched for the next marker where there is none


@dataclass(slots=True)
class _Segments:
    """What was found before the first scan."""

    frame: tuple[int, bytes] | None = None  # the marker and its content
    exif: bytes | None = None
    profile: dict[int, bytes] = field(default_factory=dict)  # its parts by number
    adobe: bytes = b""
    fine: bool = False  # a quantisation table has numbers of 16 bits

    def take(self, reader: Reader, limits: ImageLimits, marker: int, offset: int, length: int) -> None:
        """The segment whose length stands at `offset`."""
        if marker in FRAMES and marker not in NOT_FRAMES:
            if self.frame is not None:
                raise reader.corrupt("it begins twice")
            self.frame = (marker, reader.at(offset + 2, length - 2))
            _check(reader, limits, *self.frame)
        elif marker == APP1 and self.exif is None:
            self.exif = _content(reader, offset, length, EXIF, 1)
        elif marker == APP2:
            part = _content(reader, offset, length, ICC, 0)
            if part and len(part) > 2:
                self.profile.setdefault(part[0], part[2:])
        elif marker == APP14:
            self.adobe = _content(reader, offset, length, ADOBE, 0) or self.adobe
        elif marker == QUANTISATION:
            self.fine = self.fine or _is_fine(reader.at(offset + 2, min(length - 2, MAX_TABLES_BYTES)))


def read(file: BinaryIO, size: int, limits: ImageLimits) -> Found:
    """The header of the JPEG in `file`, which has `size` bytes."""
    reader = Reader(file, size, "JPEG")
    segments = _Segments()
    offset = 2
    for _ in range(MAX_SEGMENTS):
        marker, offset = _marker(reader, offset)
        if marker in (START_OF_SCAN, END_OF_IMAGE):
            break
        if marker in ALONE:
            continue
        length = int.from_bytes(reader.at(offset, 2), "big")
        if length < 2:
            raise reader.corrupt("a segment has no length")
        segments.take(reader, limits, marker, offset, length)
        offset += length
    if segments.frame is None:
        raise reader.corrupt("there is no picture in it")
    return _found(*segments.frame, segments)


def _marker(reader: Reader, offset: int) -> tuple[int, int]:
    """The next marker, and where its segment begins; bytes that belong to none are skipped, as every decoder does."""
    pair = reader.at(offset, 2)
    if pair[0] == 0xFF and pair[1] not in (0x00, 0xFF):
        return pair[1], offset + 2
    window = reader.at(offset, min(WINDOW, reader.size - offset))
    found = MARKER.search(window)
    if found:
        return window[found.end() - 1], offset + found.end()
    if len(window) < WINDOW:
        raise TruncatedMedia("the JPEG file ends before its picture")
    raise reader.corrupt("there is no picture in it")


def _content(reader: Reader, offset: int, length: int, magic: bytes, extra: int) -> bytes | None:
    """What follows `magic` and `extra` bytes in the segment; None when it is of another kind."""
    if length < 2 + len(magic) + extra or reader.at(offset + 2, len(magic)) != magic:
        return None
    skipped = 2 + len(magic) + extra
    return reader.at(offset + skipped, length - skipped)


def _check(reader: Reader, limits: ImageLimits, marker: int, frame: bytes) -> None:
    if len(frame) < 6 or len(frame) < 6 + 3 * frame[5]:
        raise reader.corrupt("its frame header is too short")
    check_size(reader, limits, int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big"))
    if marker not in DECODED:
        raise UnsupportedMedia("the JPEG is lossless or hierarchical, which no decoder here can read")
    if frame[0] != 8:
        raise UnsupportedMedia(f"the JPEG has {frame[0]} bits a channel: only 8 can be read")
    if frame[5] not in MODELS:
        raise reader.corrupt(f"it has {frame[5]} colour channels")


def _is_fine(tables: bytes) -> bool:
    """Whether one of the quantisation tables has numbers of 16 bits."""
    at = 0
    while at < len(tables):
        if tables[at] >> 4:
            return True
        at += 65
    return False


def _unusual(marker: int, frame: bytes, segments: _Segments) -> str:
    if marker != BASELINE:
        return CODINGS[marker]
    if segments.fine:
        return "extended"  # whatever its marker says; GPUs make noise of it
    channels = frame[6 : 6 + 3 * frame[5] : 3]
    transform = segments.adobe[TRANSFORM] if len(segments.adobe) > TRANSFORM else 1
    # Decoders do not agree what such a file is: libjpeg goes by more than these two, CUDA's by neither.
    return "RGB-coded" if len(channels) == 3 and (transform != 1 or channels == b"RGB") else ""


def _found(marker: int, frame: bytes, segments: _Segments) -> Found:
    parts = [part for _, part in sorted(segments.profile.items())]
    whole = b"".join(parts) if sum(map(len, parts)) <= MAX_PROFILE_BYTES else b""
    return Found(
        format="jpeg",
        width=int.from_bytes(frame[3:5], "big"),
        height=int.from_bytes(frame[1:3], "big"),
        color_model=MODELS[frame[5]],
        bits=frame[0],
        unusual=_unusual(marker, frame, segments),
        profile=whole or None,
        exif=segments.exif,
    )
