"""A look at the track headers of a Matroska or WebM file (RFC 9559) for encryption, before FFmpeg parses it."""

from collections.abc import Iterator
from typing import BinaryIO

MAX_ELEMENTS = 10_000
SEGMENT, CLUSTER, TRACKS, TRACK_ENTRY = 0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE
CONTENT_ENCODINGS, CONTENT_ENCODING, CONTENT_ENCRYPTION = 0x6D80, 0x6240, 0x5035


class _Reader:
    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.left = MAX_ELEMENTS

    def children(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(id, start, end of the payload) of every element in a range; ends quietly where it makes no sense."""
        position = start
        while position < end and self.left:
            self.left -= 1
            self.file.seek(position)
            header = self.file.read(12)
            number = _number(header, 4)
            length = _number(header[number[1] :], 8) if number else None
            if number is None or length is None:
                return
            payload = position + number[1] + length[1]
            unknown = length[0] == (1 << 7 * length[1]) - 1
            stop = end if unknown else payload + length[0]
            yield number[0] | 1 << 7 * number[1], payload, min(stop, end)
            position = stop


def _number(data: bytes, longest: int) -> tuple[int, int] | None:
    """(value without its length marker, bytes) of the variable-size integer at the start of `data`."""
    if not data or not data[0]:
        return None
    length = 9 - data[0].bit_length()
    if length > longest or len(data) < length:
        return None
    return int.from_bytes(data[:length], "big") & (1 << 7 * length) - 1, length


def is_encrypted(file: BinaryIO, size: int) -> bool:
    """True when a track of the Matroska file in `file`, which has `size` bytes, says that its frames are encrypted."""
    reader = _Reader(file)
    return any(
        encryption
        for segment in _inside(reader, 0, size, SEGMENT)
        for tracks in _inside(reader, *segment, TRACKS)
        for entry in _inside(reader, *tracks, TRACK_ENTRY)
        for encodings in _inside(reader, *entry, CONTENT_ENCODINGS)
        for encoding in _inside(reader, *encodings, CONTENT_ENCODING)
        for encryption in _inside(reader, *encoding, CONTENT_ENCRYPTION)
    )


def _inside(reader: _Reader, start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    for kind, payload, stop in reader.children(start, end):
        if kind == wanted:
            yield payload, stop
        if kind == CLUSTER:  # the tracks are described before the first of these
            return
