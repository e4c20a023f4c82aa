"""An animation stays one: every frame resized, shown as long and as often as in the source.

libwebp's own animation encoder joins equal frames and makes a still of an animation that never changes; so the frames
are encoded one by one here, each only where it differs from the one before.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pipelines.images.cascade import cascade, cut_at, place_of
from pipelines.images.encode import flattened
from pipelines.images.encode_webp import ALPHA_FLAG, EXIF_FLAG, ICC_FLAG, chunk, picture_chunks, webp
from pipelines.images.engine import StillSpec
from pipelines.images.facts import Header
from pipelines.images.keeping import p3_profile
from pipelines.images.vips_engine import frames_of

if TYPE_CHECKING:
    from PIL.Image import Image

ANIMATION_FLAG = 0x02  # of VP8X
OVERWRITE = 0x02  # of ANMF: the frame replaces what was there, transparent parts too
LONGEST_MS = 0xFFFFFF
MOST_LOOPS = 0xFFFF  # libvips counts one more than a GIF says


@dataclass(frozen=True, slots=True)
class Animation:
    """One animated WebP that is wanted."""

    spec: StillSpec
    quality: int
    background: str | None  # "#rrggbb" below transparent parts; None keeps them


@dataclass(slots=True)
class _Film:
    """What was written of one animation so far."""

    wanted: Animation
    place: tuple[int, int] | None = None
    last: "Image | None" = None
    frames: list[bytes] = field(default_factory=list)

    def add(self, scaled: "Image", duration_ms: int) -> None:
        """Append one frame."""
        spec = self.wanted.spec
        if self.place is None:
            # What draws the eye in the first frame stays in view: a crop that follows would shake.
            self.place = place_of(scaled, spec)
        picture = cut_at(scaled, spec, self.place)
        if self.wanted.background:
            picture = flattened(picture, self.wanted.background)
        left, top, right, bottom = _changed(self.last, picture)
        part = picture.crop((left, top, right, bottom))
        place = b"".join(n.to_bytes(3, "little") for n in (left // 2, top // 2, part.width - 1, part.height - 1))
        head = place + min(duration_ms, LONGEST_MS).to_bytes(3, "little") + bytes([OVERWRITE])
        data = b"".join(chunk(kind, body) for kind, body in picture_chunks(webp(part, self.wanted.quality)))
        self.frames.append(chunk(b"ANMF", head + data))
        self.last = picture

    def file(self, loop: int, profile: bytes, exif: bytes) -> bytes:
        """The whole WebP."""
        assert self.last is not None
        flags = ANIMATION_FLAG | (ALPHA_FLAG if self.last.mode == "RGBA" else 0)
        flags |= (ICC_FLAG if profile else 0) | (EXIF_FLAG if exif else 0)
        canvas = b"".join((side - 1).to_bytes(3, "little") for side in self.wanted.spec.size)
        parts = [chunk(b"VP8X", bytes([flags, 0, 0, 0]) + canvas)]
        parts += [chunk(b"ICCP", profile)] if profile else []
        parts += [chunk(b"ANIM", bytes(4) + struct.pack("<H", min(loop, MOST_LOOPS))), *self.frames]
        parts += [chunk(b"EXIF", exif)] if exif else []
        body = b"WEBP" + b"".join(parts)
        return b"RIFF" + struct.pack("<I", len(body)) + body


def animated_webps(
    path: str, header: Header, source_profile: bytes | None, wanted: Sequence[Animation], exif: bytes
) -> list[bytes]:
    """Every animation of `wanted`, all of one colour space, from one pass over the frames."""
    films = [_Film(one) for one in wanted]
    color = wanted[0].spec.color
    frames = frames_of(path, header, source_profile, color)
    for picture, duration_ms in frames.pictures:
        uncut = {film.wanted.spec: replace(film.wanted.spec, size=film.wanted.spec.scaled) for film in films}
        scaled = cascade(picture, header.orientation, uncut.values())
        for film in films:
            film.add(scaled[uncut[film.wanted.spec]], duration_ms)
    profile = p3_profile() if color == "display-p3" else b""
    return [film.file(frames.loop, profile, exif) for film in films]


def _changed(before: "Image | None", now: "Image") -> tuple[int, int, int, int]:
    """The part that differs: left, top, right, bottom. Left and top are even, as WebP wants them."""
    from PIL import ImageChops

    if before is None:
        return (0, 0, *now.size)
    difference = ImageChops.difference(before, now)
    boxes = [box for band in difference.split() if (box := band.getbbox())]
    if not boxes:
        return (0, 0, 1, 1)  # a frame cannot be empty
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    return (left & ~1, top & ~1, max(box[2] for box in boxes), max(box[3] for box in boxes))
