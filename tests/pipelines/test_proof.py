"""The figures of a proof, on numbers made for them."""

import random
from fractions import Fraction
from itertools import pairwise

import pytest

from pipelines.proof import (
    decode_times,
    keys_on_grid,
    parameter_sets,
    peak_bitrate,
    same_times,
    times_in_order,
    vbv_replay,
)

SPS, PPS, SEI = b"\x67\x64\x00\x1f\xac", b"\x68\xee\x3c\x80", b"\x06\x05\x02\xaa\xbb"


def avcc(*units: bytes) -> bytes:
    sps = [unit for unit in units if unit[0] & 31 == 7]
    pps = [unit for unit in units if unit[0] & 31 == 8]
    lists = [bytes([0xE0 | len(sps)]), *_sized(sps), bytes([len(pps)]), *_sized(pps)]
    return b"\x01\x64\x00\x1f\xff" + b"".join(lists)


def _sized(units: list[bytes]) -> list[bytes]:
    return [len(unit).to_bytes(2) + unit for unit in units]


def test_parameter_sets_are_the_same_from_a_stream_and_from_a_configuration_record() -> None:
    stream = b"".join(b"\x00\x00\x00\x01" + unit for unit in (SPS, PPS, SEI))
    assert parameter_sets("h264", stream) == (SPS, PPS)
    assert parameter_sets("h264", avcc(SPS, PPS)) == (SPS, PPS)


def test_a_message_beside_the_parameter_sets_makes_no_difference_and_another_parameter_set_does() -> None:
    plain = b"".join(b"\x00\x00\x01" + unit for unit in (SPS, PPS))
    assert parameter_sets("h264", plain + b"\x00\x00\x01" + SEI) == parameter_sets("h264", plain)
    assert parameter_sets("h264", plain) != parameter_sets("h264", plain.replace(PPS, b"\x68\xee\x3c\x81"))


def test_hevc_configuration_records_are_read_without_their_messages() -> None:
    vps, sps, pps, sei = b"\x40\x01\x0c", b"\x42\x01\x01", b"\x44\x01\xc1", b"\x4e\x01\x05"
    arrays = b"".join(
        bytes([unit[0] >> 1]) + (1).to_bytes(2) + len(unit).to_bytes(2) + unit for unit in (vps, sps, pps, sei)
    )
    assert parameter_sets("hevc", bytes(22) + b"\x04" + arrays) == (vps, sps, pps)


def test_a_damaged_configuration_record_gives_other_parameter_sets_and_no_crash() -> None:
    whole = avcc(SPS, PPS)
    for cut in range(5, len(whole)):
        assert parameter_sets("h264", whole[:cut]) != (SPS, PPS)


def reordered(pts: list[int], depth: int, seed: int) -> list[int]:
    """A coded order in which no frame comes more than `depth` places early."""
    noise = random.Random(seed)
    coded, waiting = [], list(pts)
    while waiting:
        coded.append(waiting.pop(noise.randrange(min(depth + 1, len(waiting)))))
    return coded


@pytest.mark.parametrize("depth", [0, 1, 2, 5])
@pytest.mark.parametrize("seed", range(5))
def test_decode_times_rise_and_are_never_after_the_frame_is_shown(depth: int, seed: int) -> None:
    pts = sorted(random.Random(seed).sample(range(100_000), 300))
    coded = reordered(pts, depth, seed)
    dts = decode_times(pts, coded)
    assert all(a < b for a, b in pairwise(dts))
    assert all(due <= at for due, at in zip(dts, coded, strict=True))
    if depth == 0:
        assert dts == pts


def test_decode_times_of_one_frame_and_of_a_constant_rate() -> None:
    assert decode_times([7], [7]) == [7]
    assert decode_times([0, 1, 2, 3], [0, 2, 1, 3]) == [-1, 0, 1, 2]


def test_a_buffer_that_is_filled_as_fast_as_it_is_emptied_never_underflows() -> None:
    due = [number / 25 for number in range(100)]
    assert vbv_replay([40_000] * 100, due, 1_000_000, 500_000, start=1.0) == (0, 0)


def test_a_frame_larger_than_what_has_arrived_is_an_underflow_of_the_missing_bits() -> None:
    due = [number / 25 for number in range(4)]
    assert vbv_replay([40_000, 600_000, 40_000, 40_000], due, 1_000_000, 500_000, start=1.0) == (1, 100_000)


def test_a_buffer_never_holds_more_than_its_size() -> None:
    # A pause of a minute fills it once, not sixty times.
    assert vbv_replay([100, 600_000], [0.0, 60.0], 1_000_000, 500_000, start=1.0) == (1, 100_000)


def test_the_peak_is_the_busiest_second() -> None:
    shown = [number / 10 for number in range(40)]
    sizes = [10] * 40
    sizes[20:30] = [100] * 10
    assert peak_bitrate(sizes, shown) == 1000
    assert peak_bitrate([500], [0.0]) == 500


def test_key_frames_belong_on_every_place_of_the_grid_and_nowhere_else() -> None:
    pts = list(range(0, 100, 2))
    assert keys_on_grid([0, 20, 40, 60, 80], pts, 10)
    assert not keys_on_grid([0, 20, 40, 60], pts, 10), "one is missing"
    assert not keys_on_grid([0, 20, 30, 40, 60, 80], pts, 10), "one too many"


def test_times_are_the_same_only_when_every_one_is_whatever_the_clocks_count_in() -> None:
    coarse, fine = Fraction(1001, 30_000), Fraction(1, 30_000)
    assert same_times([0, 1001, 2002], fine, [0, 1, 2], coarse)
    assert not same_times([0, 1000, 2002], fine, [0, 1, 2], coarse), "one is a tick early"
    assert not same_times([0, 1001], fine, [0, 1, 2], coarse), "one is missing"
    assert not same_times([0, 33, 67], Fraction(1, 1000), [0, 1, 2], coarse), "rounded"


def test_packets_are_due_one_after_the_other_and_before_their_frames_are_shown() -> None:
    assert times_in_order([-1, 0, 1, 2], [0, 2, 1, 3])
    assert not times_in_order([-1, 0, 0, 2], [0, 2, 1, 3]), "two at once"
    assert not times_in_order([0, 1, 2, 3], [0, 2, 1, 3]), "one after its frame is shown"
