"""What is checked of a joined rendition before anybody may see it.

Pure functions over numbers and bytes; `pipelines.join` gathers them from the files.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

NAL_SEI = {"h264": {6}, "hevc": {39, 40}}
NAL_DELIMITER = {"h264": 9, "hevc": 35}


def parameter_sets(codec: str, extradata: bytes) -> tuple[bytes, ...]:
    """The parameter sets in `extradata`, as start-code stream or as configuration record, without SEI.

    H.264: SPS and PPS; HEVC: VPS, SPS and PPS; AV1: the sequence header and what stands beside it.
    """
    if codec == "av1":
        return (extradata[4:] if extradata[:1] == b"\x81" else extradata,)  # after av1C's marker, version and flags
    if extradata[:3] == b"\x00\x00\x01" or extradata[:4] == b"\x00\x00\x00\x01":
        units = [part.rstrip(b"\x00") for part in extradata.split(b"\x00\x00\x01")]
    elif codec == "h264":
        units = list(_avcc(extradata))
    else:
        units = list(_hvcc(extradata))
    dropped = NAL_SEI[codec] | {NAL_DELIMITER[codec]}
    return tuple(unit for unit in units if unit and _nal_type(codec, unit) not in dropped)


def _nal_type(codec: str, unit: bytes) -> int:
    return unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63


def _avcc(data: bytes) -> Iterator[bytes]:
    """NAL units of an avcC record (ISO/IEC 14496-15 §5.3.3.1)."""
    position = 5
    for mask in (31, 255):  # numOfSequenceParameterSets, numOfPictureParameterSets
        count = data[position] & mask if position < len(data) else 0
        position += 1
        for _ in range(count):
            size = int.from_bytes(data[position : position + 2])
            yield data[position + 2 : position + 2 + size]
            position += 2 + size


def _hvcc(data: bytes) -> Iterator[bytes]:
    """NAL units of an hvcC record (ISO/IEC 14496-15 §8.3.3.1)."""
    position = 23
    for _ in range(data[22] if len(data) > 22 else 0):
        count = int.from_bytes(data[position + 1 : position + 3])
        position += 3
        for _ in range(count):
            size = int.from_bytes(data[position : position + 2])
            yield data[position + 2 : position + 2 + size]
            position += 2 + size


def decode_times(pts: Sequence[int], coded: Sequence[int]) -> list[int]:
    """The dts of packets whose pts, in coded order, are `coded`; `pts` are the same in rising order.

    A packet is due when the frame of its place is shown, put off by the smallest delay with which none is due after it
    is shown; before the first frame time runs on at the quickest frames' pace, so that a first picture that stands for
    long does not make the track longer. Right for constant and variable rates.
    """
    place = {value: number for number, value in enumerate(pts)}
    delay = max((number - place[value] for number, value in enumerate(coded)), default=0)
    step = min((b - a for a, b in pairwise(pts)), default=1)
    return [pts[n - delay] if n >= delay else pts[0] - (delay - n) * step for n in range(len(coded))]


def vbv_replay(
    sizes_bits: Sequence[int], removed_s: Sequence[float], rate_bps: int, buffer_bits: int, *, start: float
) -> tuple[int, int]:
    """(underflows, worst bits missing) of the decoder's buffer when frame n, in coded order, leaves at `removed_s`[n].

    The buffer starts `start` full (0 … 1) and fills at `rate_bps`; a frame that is not wholly there when it is due is
    an underflow, after which playback has waited for it.
    """
    level, underflows, worst = buffer_bits * start, 0, 0.0
    before = removed_s[0] if removed_s else 0.0
    for size, at in zip(sizes_bits, removed_s, strict=True):
        level = min(buffer_bits, level + (at - before) * rate_bps) - size
        before = at
        if level < -1:  # times are floats: less than a bit is no underflow
            underflows += 1
            worst = max(worst, -level)
            level = 0.0
    return underflows, round(worst)


def peak_bitrate(sizes_bits: Sequence[int], shown_s: Sequence[float]) -> int:
    """The most bits of any second of playback; frames in the order they are shown."""
    total = best = 0
    first = 0
    for size, at in zip(sizes_bits, shown_s, strict=True):
        total += size
        while at - shown_s[first] >= 1 - 1e-9:
            total -= sizes_bits[first]
            first += 1
        best = max(best, total)
    return best


def keys_on_grid(keys: Sequence[int], pts: Sequence[int], gop_frames: int) -> bool:
    """True when exactly every `gop_frames`-th frame of `pts` is a key frame; `keys` are the key frames' pts, rising."""
    return list(keys) == list(pts[::gop_frames])


def same_times(found: Sequence[int], tick_s: Fraction, planned: Sequence[int], planned_tick_s: Fraction) -> bool:
    """True when both are the same moments, exactly, each counted in ticks of its own length."""
    scale = planned_tick_s / tick_s
    # Whole numbers on both sides: a film has a million frames, and fractions cost ten times as much.
    return [at * scale.denominator for at in found] == [at * scale.numerator for at in planned]


def times_in_order(dts: Sequence[int], pts: Sequence[int]) -> bool:
    """True when packets are due strictly one after the other, and none after its frame is shown."""
    return all(a < b for a, b in pairwise(dts)) and all(due <= at for due, at in zip(dts, pts, strict=True))
