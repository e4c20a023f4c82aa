"""The items of a HEIF or AVIF file, as its `meta` box lists them (ISO/IEC 23008-12)."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from pipelines.images.formats.found import Reader

MAX_META_BYTES = 4_000_000  # a picture of 48 tiles has 3 kB
MAX_BOXES = 1000  # at the top level, before `meta`
MAX_ITEMS = 20_000  # tiles of a picture, mostly
MAX_ENTRIES = 200_000  # pieces, references and properties of all items together: six for each of so many tiles


@dataclass(slots=True)
class Item:
    """One item: a picture, a tile of one, EXIF …"""

    type: bytes = b""
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)  # type and content, in order
    references: dict[bytes, list[int]] = field(default_factory=dict)  # of which kind, to which items
    inside: bool = False  # its bytes lie in the `meta` box itself
    extents: list[tuple[int, int]] = field(default_factory=list)  # offset and length

    def property(self, kind: bytes) -> bytes | None:
        """The content of the first property of this kind."""
        return next((content for name, content in self.properties if name == kind), None)


@dataclass(slots=True)
class Items:
    """What `meta` says."""

    primary: int = 0
    items: dict[int, Item] = field(default_factory=dict)
    idat: bytes = b""
    entries: int = 0  # counted so far

    def item(self, number: int) -> Item:
        """The item of that number, made when first spoken of."""
        return self.items.setdefault(number, Item())

    def count(self, reader: Reader, more: int) -> None:
        """Before each list: its length is a number in the file, and may stand for entries that take no room there."""
        self.entries += more
        if self.entries > MAX_ENTRIES:
            raise reader.corrupt("its index lists too much")


class _Cursor:
    """Whole numbers one after the other, big-endian; beyond the end they are corrupt."""

    def __init__(self, reader: Reader, data: bytes) -> None:
        self.reader = reader
        self.data = data
        self.at = 0

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def take(self, width: int) -> bytes:
        self.at += width
        if self.at > len(self.data):
            raise self.reader.corrupt("its index ends too soon")
        return self.data[self.at - width : self.at]

    def full_box(self) -> tuple[int, int]:
        """Version and flags."""
        return self.number(1), self.number(3)


def read_items(reader: Reader) -> Items | None:
    """The items of the file, or None when it has no `meta` box."""
    offset = 0
    for _ in range(MAX_BOXES):
        if offset + 8 > reader.size:
            return None
        head = reader.at(offset, min(16, reader.size - offset))
        length, start = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, start = int.from_bytes(head[8:16], "big"), 16
        elif length == 0:
            length = reader.size - offset
        if length < start:
            raise reader.corrupt("its boxes contradict each other")
        if head[4:8] == b"meta":
            if length > MAX_META_BYTES:
                raise reader.corrupt("its index is too large to be one")
            return _meta(reader, reader.at(offset + start, length - start))
        offset += length
    return None


def _meta(reader: Reader, data: bytes) -> Items:
    found = Items()
    boxes = dict(_boxes(reader, data[4:]))
    if b"pitm" in boxes:
        cursor = _Cursor(reader, boxes[b"pitm"])
        version, _ = cursor.full_box()
        found.primary = cursor.number(4 if version else 2)
    found.idat = boxes.get(b"idat", b"")
    for name, parse in ((b"iinf", _names), (b"iloc", _locations), (b"iref", _references), (b"iprp", _properties)):
        if name in boxes:
            parse(_Cursor(reader, boxes[name]), found)
    if len(found.items) > MAX_ITEMS:
        raise reader.corrupt("it lists too many pictures")
    return found


def _boxes(reader: Reader, data: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = 0
    while offset + 8 <= len(data):
        length = int.from_bytes(data[offset : offset + 4], "big") or len(data) - offset
        if length < 8 or offset + length > len(data):
            raise reader.corrupt("its boxes contradict each other")
        yield data[offset + 4 : offset + 8], data[offset + 8 : offset + length]
        offset += length


def _names(cursor: _Cursor, found: Items) -> None:
    version, _ = cursor.full_box()
    cursor.number(4 if version else 2)
    for name, data in _boxes(cursor.reader, cursor.data[cursor.at :]):
        entry = _Cursor(cursor.reader, data)
        version, _ = entry.full_box()
        if name == b"infe" and version >= 2:
            number = entry.number(4 if version == 3 else 2)
            entry.number(2)
            found.item(number).type = entry.take(4)


def _locations(cursor: _Cursor, found: Items) -> None:
    version, _ = cursor.full_box()
    sizes, more = cursor.number(1), cursor.number(1)
    offset_bytes, length_bytes, base_bytes, index_bytes = sizes >> 4, sizes & 15, more >> 4, more & 15
    for _ in range(min(cursor.number(4 if version == 2 else 2), MAX_ITEMS)):
        item = found.item(cursor.number(4 if version == 2 else 2))
        item.inside = version > 0 and cursor.number(2) & 15 == 1
        cursor.number(2)
        base = cursor.number(base_bytes)
        extents = cursor.number(2)
        found.count(cursor.reader, extents)
        for _ in range(extents):
            if version > 0:
                cursor.number(index_bytes)
            item.extents.append((base + cursor.number(offset_bytes), cursor.number(length_bytes)))


def _references(cursor: _Cursor, found: Items) -> None:
    version, _ = cursor.full_box()
    width = 4 if version else 2
    for kind, data in _boxes(cursor.reader, cursor.data[cursor.at :]):
        entry = _Cursor(cursor.reader, data)
        item = found.item(entry.number(width))
        count = entry.number(2)
        found.count(cursor.reader, count)
        item.references.setdefault(kind, []).extend(entry.number(width) for _ in range(count))


def _properties(cursor: _Cursor, found: Items) -> None:
    boxes = list(_boxes(cursor.reader, cursor.data))
    known = [prop for name, data in boxes if name == b"ipco" for prop in _boxes(cursor.reader, data)]
    for name, data in boxes:
        if name != b"ipma":
            continue
        entry = _Cursor(cursor.reader, data)
        version, flags = entry.full_box()
        for _ in range(min(entry.number(4), MAX_ITEMS)):
            item = found.item(entry.number(4 if version else 2))
            links = entry.number(1)
            found.count(cursor.reader, links)
            for _ in range(links):
                index = entry.number(2) & 0x7FFF if flags & 1 else entry.number(1) & 0x7F
                if 0 < index <= len(known):
                    item.properties.append(known[index - 1])
