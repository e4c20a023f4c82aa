"""What the colour tags of a source can be believed to say, and what an output says of itself.

Names are FFmpeg's, numbers are those of ISO/IEC 23091-2, which FFmpeg and the bitstreams share.
"""

import re

from pipelines.facts import VideoFacts
from pipelines.plan import ColorTags

PRIMARIES = {
    "bt709": 1, "bt470m": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "film": 8, "bt2020": 9, "smpte428": 10,
    "smpte431": 11, "smpte432": 12, "ebu3213": 22,
}  # fmt: skip
TRANSFERS = {
    "bt709": 1, "bt470m": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "linear": 8, "iec61966-2-4": 11,
    "bt1361e": 12, "iec61966-2-1": 13, "bt2020-10": 14, "bt2020-12": 15, "smpte2084": 16, "arib-std-b67": 18,
}  # fmt: skip
MATRICES = {"gbr": 0, "bt709": 1, "fcc": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "bt2020nc": 9}
RANGES = {"limited": 1, "full": 2}

SD_PRIMARIES = ("bt709", "bt470bg", "smpte170m", "smpte240m", "ebu3213")  # shown right, or nearly, without conversion
SAME_CURVE = {"bt2020-10": "bt709", "bt2020-12": "bt709"}  # the same function under another number
SD_MAX_HEIGHT = 576  # lines of the tallest standard-definition format; untagged pictures below it use BT.601

_POINT = r"\((\d+),(\d+)\)"
_MASTERING = re.compile(rf"G{_POINT}B{_POINT}R{_POINT}WP{_POINT}L{_POINT}")


def is_rgb(pixel_format: str) -> bool:
    """True for FFmpeg pixel formats that hold red, green and blue, also through a palette."""
    return pixel_format.startswith(("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "x2rgb", "x2bgr", "pal8"))


def true_tags(video: VideoFacts) -> ColorTags:
    """The colours that the source's pixels are really in.

    A tag that is missing, unknown to the scaler or impossible (a GBR matrix on 4:2:0) is replaced by what players
    assume: BT.2020 for PQ and HLG, BT.601 up to 576 lines, BT.709 above.
    """
    short_side = min(video.width, video.height)
    if video.dynamic_range != "sdr":
        guess = ColorTags("bt2020", video.color_transfer, "bt2020nc")
    elif short_side <= SD_MAX_HEIGHT and max(video.width, video.height) <= 1024:
        primaries = "bt470bg" if short_side == SD_MAX_HEIGHT else "smpte170m"
        guess = ColorTags(primaries, "smpte170m", "smpte170m")
    else:
        guess = ColorTags("bt709", "bt709", "bt709")
    if is_rgb(video.pixel_format):
        space = "gbr"
    elif video.color_space in MATRICES and video.color_space != "gbr":
        space = video.color_space
    else:
        space = guess.space
    return ColorTags(
        primaries=video.color_primaries if video.color_primaries in PRIMARIES else guess.primaries,
        transfer=video.color_transfer if video.color_transfer in TRANSFERS else guess.transfer,
        space=space,
        range="full" if space == "gbr" else video.color_range,
    )


def needs_mapping(source: ColorTags) -> bool:
    """True when an SDR output must bend brightness or gamut: PQ, HLG, linear light, or primaries wider than HDTV's."""
    return source.transfer in ("smpte2084", "arib-std-b67", "linear") or source.primaries not in SD_PRIMARIES


def sdr_tags(source: ColorTags) -> ColorTags:
    """What an SDR output says: BT.709 matrix, limited range, and the primaries and curve that its pixels have."""
    if needs_mapping(source):
        return ColorTags("bt709", "bt709", "bt709")
    return ColorTags(source.primaries, SAME_CURVE.get(source.transfer, source.transfer), "bt709")


def hdr_tags(source: ColorTags) -> ColorTags:
    """What an output that keeps PQ or HLG says: limited range, BT.2020 matrix, the rest as in `source`."""
    return ColorTags(source.primaries, source.transfer, "bt2020nc")


def mastering_numbers(text: str) -> list[int]:
    """The ten numbers of x265's mastering display: chromaticities × 50,000, luminances × 10,000 nits.

    Raises ValueError for any other text.
    """
    match = _MASTERING.fullmatch(text)
    if match is None:
        raise ValueError(f"not a mastering display: {text!r}")
    return [int(number) for number in match.groups()]


def svt_mastering(text: str) -> str:
    """The same for SVT-AV1, which takes decimal numbers."""
    *chroma, most, least = mastering_numbers(text)
    x = [f"{number / 50_000:.5f}" for number in chroma]
    light = f"L({most / 10_000:.4f},{least / 10_000:.4f})"
    return f"G({x[0]},{x[1]})B({x[2]},{x[3]})R({x[4]},{x[5]})WP({x[6]},{x[7]}){light}"
