"""What an ICC profile says of itself: its name, what it is for, and whether it means sRGB (ICC.1:2022)."""

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.images.facts import ColorModel
from pipelines.text import cleaned

MAX_TAGS = 200
MAX_TAG_BYTES = 200_000  # of what is read of one; the longest curve has 131,084
SPACES: dict[ColorModel, bytes] = {
    "rgb": b"RGB ", "indexed": b"RGB ", "grey": b"GRAY", "cmyk": b"CMYK", "lab": b"Lab ",
}  # fmt: skip
# XYZ of sRGB's primaries in a profile, and how near a profile's own must be: they are written with 16 bits.
SRGB = {b"rXYZ": (0.4360, 0.2225, 0.0139), b"gXYZ": (0.3851, 0.7169, 0.0971), b"bXYZ": (0.1431, 0.0606, 0.7141)}
NEAR = 0.003
# A curve is compared at these values. A plain exponent of 2.2 is 0.008 off at 0.75, and six steps of 256 in the dark.
VALUES = (0.02, 0.1, 0.25, 0.5, 0.75)
CURVES = (b"rTRC", b"gTRC", b"bTRC")
READ = (b"desc", b"A2B0", b"kTRC", *SRGB, *CURVES)
Curve = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Profile:
    """What the gate needs to know of a profile."""

    name: str  # cleaned; "" when it has none
    space: bytes
    is_srgb: bool

    def suits(self, model: ColorModel) -> bool:
        """True when it is a profile of such pictures; one of another kind is ignored by every viewer."""
        return SPACES[model] == self.space


def read_profile(data: bytes) -> Profile | None:
    """The profile in `data`; None when it is not one."""
    if len(data) < 132 or data[36:40] != b"acsp":
        return None
    places: dict[bytes, slice] = {}
    for number in range(min(int.from_bytes(data[128:132], "big"), MAX_TAGS)):
        entry = data[132 + 12 * number : 144 + 12 * number]
        offset, length = int.from_bytes(entry[4:8], "big"), int.from_bytes(entry[8:12], "big")
        places.setdefault(entry[:4], slice(offset, offset + min(length, MAX_TAG_BYTES)))
    space = data[16:20]
    # Tags may lie over each other, so that all of them are many times as large as the profile: these alone are read.
    tags = {name: data[places[name]] for name in READ if name in places}
    return Profile(_name(tags.get(b"desc", b"")), space, _is_srgb(space, tags))


def _name(tag: bytes) -> str:
    if tag[:4] == b"desc":
        length = int.from_bytes(tag[8:12], "big")
        text = tag[12 : 12 + min(length, 512)].split(b"\0")[0].decode("latin-1")
    elif tag[:4] == b"mluc" and len(tag) >= 28:
        length, offset = int.from_bytes(tag[20:24], "big"), int.from_bytes(tag[24:28], "big")
        text = tag[offset : offset + min(length, 512)].decode("utf-16-be", "replace")
    else:
        text = ""
    return cleaned(text) or ""


def _is_srgb(space: bytes, tags: dict[bytes, bytes]) -> bool:
    """By the numbers and not by the name, which anybody may write; a profile of tables is taken for another."""
    if b"A2B0" in tags:
        return False
    if space == b"GRAY":
        return _is_srgb_curve(tags.get(b"kTRC", b""))
    if space != b"RGB ":
        return False
    for name, wanted in SRGB.items():
        tag = tags.get(name, b"")
        if len(tag) < 20:
            return False
        found = (int.from_bytes(tag[at : at + 4], "big", signed=True) / 65536 for at in (8, 12, 16))
        if any(abs(one - other) > NEAR for one, other in zip(found, wanted, strict=True)):
            return False
    return all(_is_srgb_curve(tags.get(name, b"")) for name in CURVES)


def _is_srgb_curve(tag: bytes) -> bool:
    curve = _parametric(tag) if tag[:4] == b"para" else _sampled(tag) if tag[:4] == b"curv" else None
    return curve is not None and all(abs(curve(value) - _srgb(value)) < NEAR for value in VALUES)


def _srgb(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


def _sampled(tag: bytes) -> Curve | None:
    count = int.from_bytes(tag[8:12], "big")
    if not 2 <= count <= 65536 or len(tag) < 12 + 2 * count:
        return None  # a plain exponent, or nothing

    def curve(value: float) -> float:
        position = value * (count - 1)
        low = int(position)
        one, other = (int.from_bytes(tag[12 + 2 * at : 14 + 2 * at], "big") for at in (low, min(low + 1, count - 1)))
        return (one + (other - one) * (position - low)) / 65535

    return curve


def _parametric(tag: bytes) -> Curve | None:
    """The kinds 3 and 4 of parametric curve: a line, then an exponent."""
    kind = int.from_bytes(tag[8:10], "big")
    count = {3: 5, 4: 7}.get(kind, 0)
    if not count or len(tag) < 12 + 4 * count:
        return None
    values = [int.from_bytes(tag[at : at + 4], "big", signed=True) / 65536 for at in range(12, 12 + 4 * count, 4)]
    gamma, a, b, c, d, e, f = (*values, 0.0, 0.0)[:7]

    def curve(value: float) -> float:
        return max(a * value + b, 0.0) ** gamma + e if value >= d else c * value + f

    return curve if 0 < gamma < 10 else None
