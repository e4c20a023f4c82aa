"""A look at the boxes of an MP4 or MOV file (ISO/IEC 14496-12) before FFmpeg parses it.

Only headers and the few entries that decide are read, a bounded number of them; boxes that contradict themselves end
the walk and are left to the demuxer. What is looked for: samples that lie in another file, samples that are encrypted,
and whether the file ends before its boxes do.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_BOXES = 20_000  # of which a header is read; a 6 h file of 2 s fragments has 11,000 at its top level
MAX_ENTRIES = 64  # of one dref or stsd
ENCRYPTED = {b"encv", b"enca", b"enct", b"encs", b"encm", b"drmi", b"drms", b"drmt"}
SELF_CONTAINED = 1  # flag of a data reference: the samples are in this file
PAYLOAD_OFFSET = 8  # of a full box with an entry count: version, flags, count


@dataclass(frozen=True, slots=True)
class Box:
    """One box; `start` and `end` bound its payload in the file."""

    type: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class BoxFacts:
    """What the walk found."""

    has_moov: bool
    has_fragments: bool
    cut: str | None  # the type of the box that is longer than the file
    external: bool
    encrypted: bool


class _Walk:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size
        self.left = MAX_BOXES

    def children(self, start: int, end: int) -> Iterator[Box]:
        position = start
        while position + 8 <= end and self.left:
            self.left -= 1
            self.file.seek(position)
            header = self.file.read(16)
            length, kind = int.from_bytes(header[:4], "big"), header[4:8]
            payload = position + 8
            if length == 1 and len(header) == 16:
                length, payload = int.from_bytes(header[8:16], "big"), position + 16
            elif length == 0:  # to the end of the file; only sound at the top level
                length = end - position
            if length < payload - position:
                return
            yield Box(kind, payload, position + length)
            position += length


def look(file: BinaryIO, size: int) -> BoxFacts:
    """The facts of the MP4 in `file`, which has `size` bytes."""
    walk = _Walk(file, size)
    moovs: list[Box] = []
    fragments, cut = False, None
    for box in walk.children(0, size):
        if box.type == b"moov":
            moovs.append(box)
        fragments = fragments or box.type in (b"moof", b"styp")
        cut = box.type.decode("latin-1") if box.end > size else None
    external = encrypted = False
    for moov in moovs:
        for minf in _descend(walk, moov, (b"trak", b"mdia", b"minf")):
            external = external or any(_external(walk, dref) for dref in _descend(walk, minf, (b"dinf", b"dref")))
            encrypted = encrypted or any(_encrypted(walk, stsd) for stsd in _descend(walk, minf, (b"stbl", b"stsd")))
    return BoxFacts(bool(moovs), fragments, cut, external, encrypted)


def _descend(walk: _Walk, box: Box, path: tuple[bytes, ...]) -> Iterator[Box]:
    for child in walk.children(box.start, min(box.end, walk.size)):
        if child.type == path[0]:
            if len(path) == 1:
                yield child
            else:
                yield from _descend(walk, child, path[1:])


def _entries(walk: _Walk, box: Box) -> Iterator[Box]:
    end = min(box.end, walk.size)
    for number, entry in enumerate(walk.children(box.start + PAYLOAD_OFFSET, end)):
        if number == MAX_ENTRIES:
            return
        yield entry


def _external(walk: _Walk, dref: Box) -> bool:
    for entry in _entries(walk, dref):
        walk.file.seek(entry.start)
        flags = int.from_bytes(walk.file.read(4)[1:], "big")
        # Some muxers forget the flag but name no place either: those samples are here.
        if not flags & SELF_CONTAINED and entry.end - entry.start > 4:
            return True
    return False


def _encrypted(walk: _Walk, stsd: Box) -> bool:
    return any(entry.type in ENCRYPTED for entry in _entries(walk, stsd))
