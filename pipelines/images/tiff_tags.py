"""The directories of a TIFF file, or of an EXIF block, which is one (TIFF 6.0, BigTIFF).

Nothing here raises on what a directory says: a value that cannot be is as if it were not there.
"""

import struct
from dataclasses import dataclass, field
from typing import BinaryIO

MAX_ENTRIES = 2000  # of one directory; cameras write about a hundred
MAX_VALUE_BYTES = 65_536  # of one value that is looked at
# type -> bytes of one value, its letter in `struct`
TYPES = {
    1: (1, "B"), 2: (1, "s"), 3: (2, "H"), 4: (4, "I"), 5: (8, "II"), 6: (1, "b"), 7: (1, "s"), 8: (2, "h"),
    9: (4, "i"), 10: (8, "ii"), 13: (4, "I"), 16: (8, "Q"), 17: (8, "q"), 18: (8, "Q"), 129: (1, "s"),
}  # fmt: skip
INTEGERS = (1, 3, 4, 6, 8, 9, 13, 16, 17, 18)
RATIONALS = (5, 10)
TEXTS = (2, 7, 129)


@dataclass(frozen=True, slots=True)
class Entry:
    """One tag: how many values of which type, and where they are."""

    type: int
    count: int
    offset: int


@dataclass(frozen=True, slots=True)
class Directory:
    """The tags of one directory."""

    tags: "TiffTags"
    entries: dict[int, Entry] = field(default_factory=dict)

    def __contains__(self, tag: int) -> bool:
        return tag in self.entries

    def count(self, tag: int) -> int:
        """How many values the tag has, by its own word; 0 without it."""
        return self.entries[tag].count if tag in self.entries else 0

    def data(self, tag: int, most: int = MAX_VALUE_BYTES) -> bytes:
        """The bytes of the tag's value; none when there are more than `most`, or when they are not there."""
        entry = self.entries.get(tag)
        length = TYPES[entry.type][0] * entry.count if entry else 0
        return self.tags.read(entry.offset, length) if entry and length <= most else b""

    def numbers(self, tag: int) -> tuple[int, ...]:
        """The tag's whole numbers."""
        entry = self.entries.get(tag)
        data = self.data(tag) if entry and entry.type in INTEGERS else b""
        return self.tags.unpack(TYPES[entry.type], data) if entry else ()

    def number(self, tag: int, otherwise: int = 0) -> int:
        """The tag's first whole number."""
        return next(iter(self.numbers(tag)), otherwise)

    def fractions(self, tag: int) -> tuple[float, ...]:
        """The tag's fractions; none of them when one has no value."""
        entry = self.entries.get(tag)
        data = self.data(tag) if entry and entry.type in RATIONALS else b""
        values = self.tags.unpack(TYPES[entry.type], data) if entry else ()
        pairs = list(zip(values[::2], values[1::2], strict=False))
        return tuple(above / below for above, below in pairs) if all(below for _, below in pairs) else ()

    def text(self, tag: int) -> str:
        """The tag's text up to its end mark: UTF-8, or Latin-1 where it is not."""
        entry = self.entries.get(tag)
        data = self.data(tag).split(b"\0")[0] if entry and entry.type in TEXTS else b""
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data.decode("latin-1")


class TiffTags:
    """The directories in `file`, which has `size` bytes."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size
        head = self.read(0, 16) or self.read(0, 8)
        self.order = "<" if head[:2] == b"II" else ">"
        self.big = head[2:4] in (b"+\0", b"\0+")
        self.first = 0  # where the first directory is; 0 when this is no TIFF
        if head[:4] in (b"II*\0", b"MM\0*"):
            self.first = self._number(head[4:8])
        elif self.big and head[:2] in (b"II", b"MM"):
            self.first = self._number(head[8:16])

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`, or none."""
        if length <= 0 or offset < 0 or offset + length > self.size:
            return b""
        self.file.seek(offset)
        return self.file.read(length)

    def directory(self, offset: int) -> Directory:
        """The directory at `offset`; an empty one when there is none."""
        found = Directory(self)
        counter, width, inline = (8, 20, 8) if self.big else (2, 12, 4)
        count = self._number(self.read(offset, counter)) if offset >= 8 else 0
        table = self.read(offset + counter, min(count, MAX_ENTRIES) * width)
        for at in range(0, len(table), width):
            tag, kind = struct.unpack_from(f"{self.order}HH", table, at)
            values = self._number(table[at + 4 : at + 4 + inline])
            if kind in TYPES and values and tag not in found.entries:
                place = offset + counter + at + 4 + inline
                if TYPES[kind][0] * values > inline:
                    place = self._number(table[at + 4 + inline : at + width])
                found.entries[tag] = Entry(kind, values, place)
        return found

    def unpack(self, kind: tuple[int, str], data: bytes) -> tuple[int, ...]:
        """The numbers in `data`."""
        width, letters = kind
        return struct.unpack(f"{self.order}{letters * (len(data) // width)}", data) if data else ()

    def _number(self, data: bytes) -> int:
        return int.from_bytes(data, "little" if self.order == "<" else "big")
