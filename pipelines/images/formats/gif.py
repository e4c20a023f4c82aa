"""The header of a GIF (GIF89a): its screen, and the frames counted without unpacking one."""

import struct
from typing import BinaryIO

from pipelines.errors import TruncatedMedia
from pipelines.images.formats.found import Found, Reader, check_frames, check_size
from pipelines.images.limits import ImageLimits

EXTENSION, FRAME, TRAILER, CONTROL = 0x21, 0x2C, 0x3B, 0xF9
MAX_BLOCKS = 2_000_000  # pieces of at most 255 bytes: a file of 200 MB has 800,000, and these take half a second
SHORTEST_S, SHOWN_S = 0.02, 0.1  # browsers show what claims a shorter time for a tenth of a second


class _Walk:
    """The blocks of one file."""

    def __init__(self, reader: Reader, data: bytes, limits: ImageLimits) -> None:
        self.reader = reader
        self.data = data
        self.limits = limits
        self.width, self.height, flags = struct.unpack_from("<HHB", data, 6)
        self.offset = 13 + _table(flags)
        self.blocks = 0
        self.frames = 0
        self.duration_s = 0.0
        self.has_alpha = False
        self.transparent, self.delay_s = False, SHOWN_S  # of the next frame

    def run(self) -> None:
        """All blocks; a file that is cut counts with what is there of it."""
        while self.offset < len(self.data) and (kind := self.data[self.offset]) != TRAILER:
            self._count()
            if kind == EXTENSION:
                self._extension()
            elif kind == FRAME and self.offset + 10 < len(self.data):
                self._frame()
            elif kind != 0:  # a zero too many stands between blocks of many files
                break
            else:
                self.offset += 1

    def _extension(self) -> None:
        if self.data[self.offset + 1 : self.offset + 3] == bytes((CONTROL, 4)) and self.offset + 6 < len(self.data):
            flags, hundredths = struct.unpack_from("<BH", self.data, self.offset + 3)
            self.transparent = bool(flags & 1)
            self.delay_s = hundredths / 100 if hundredths / 100 >= SHORTEST_S else SHOWN_S
        self._skip_blocks(self.offset + 2)

    def _frame(self) -> None:
        left, top, width, height, flags = struct.unpack_from("<HHHHB", self.data, self.offset + 1)
        right, bottom = left + width, top + height
        if self.frames == 0:  # viewers enlarge a screen that is smaller than what is first shown on it
            self.width, self.height = max(self.width, right), max(self.height, bottom)
            self.has_alpha = (width, height) != (self.width, self.height)
        # Some decoders let every frame enlarge the screen.
        check_size(self.reader, self.limits, max(self.width, right), max(self.height, bottom))
        self.frames += 1
        check_frames(self.limits, self.frames, self.width * self.height)
        self.has_alpha = self.has_alpha or self.transparent
        self.duration_s += self.delay_s
        self.transparent, self.delay_s = False, SHOWN_S
        self._skip_blocks(self.offset + 10 + _table(flags) + 1)

    def _count(self) -> None:
        self.blocks += 1
        if self.blocks > MAX_BLOCKS:
            raise self.reader.corrupt("it consists of too many pieces")

    def _skip_blocks(self, offset: int) -> None:
        while offset < len(self.data) and self.data[offset]:
            self._count()
            offset += 1 + self.data[offset]
        self.offset = offset + 1


def read(file: BinaryIO, size: int, limits: ImageLimits) -> Found:
    """The header of the GIF in `file`, which has `size` bytes."""
    reader = Reader(file, size, "GIF")
    walk = _Walk(reader, reader.at(0, 13), limits)
    if walk.width and walk.height:
        check_size(reader, limits, walk.width, walk.height)
    walk.data = reader.at(0, size)
    walk.run()
    if not walk.frames:
        raise TruncatedMedia("the GIF file ends before its first picture")
    return Found(
        format="gif",
        width=walk.width,
        height=walk.height,
        color_model="indexed",
        bits=8,
        has_alpha=walk.has_alpha,
        frames=walk.frames,
        duration_s=walk.duration_s if walk.frames > 1 else 0.0,
    )


def _table(flags: int) -> int:
    """Bytes of a table of colours, as the flags before it say."""
    return 3 << (1 + (flags & 7)) if flags & 0x80 else 0
