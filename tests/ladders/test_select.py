from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ladders.catalog import load_preset
from ladders.model import Rung, SelectedRung, SourceShape, VideoPart
from ladders.select import NEARLY, PLAYER_RATES, output_frame_rate, select_rungs

STANDARD = load_preset("standard").video
assert STANDARD is not None

sides = st.integers(1, 9000)
rates = st.fractions(Fraction(1, 100), 100_000, max_denominator=100_000)


def chosen(width: int, height: int) -> tuple[SelectedRung, ...]:
    assert STANDARD is not None
    return select_rungs(STANDARD, SourceShape(width=width, height=height))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ((3840, 2160), "360p:640x360 540p:960x540 720p:1280x720 1080p:1920x1080 1440p:2560x1440 2160p:3840x2160"),
        ((2160, 3840), "360p:360x640 540p:540x960 720p:720x1280 1080p:1080x1920 1440p:1440x2560 2160p:2160x3840"),
        ((1920, 1080), "360p:640x360 540p:960x540 720p:1280x720 1080p:1920x1080"),
        ((1920, 804), "360p:640x268 540p:960x402 720p:1280x536 1080p:1920x804"),  # cinema
        ((1024, 750), "360p:492x360 540p:738x540 720p:984x720"),
        ((1440, 1080), "360p:480x360 540p:720x540 720p:960x720 1080p:1440x1080"),
        ((1080, 1440), "360p:360x480 540p:540x720 720p:720x960 1080p:1080x1440"),
        ((642, 642), "360p:360x360 540p:540x540"),  # a square stands in the landscape box
        ((601, 338), "338p:600x338"),  # 600×338 with pixels of 676:675
        ((161, 121), "120p:160x120"),
        ((100, 60), "60p:100x60"),
        ((1, 1), "2p:2x2"),
        ((8192, 16), "360p:640x2 540p:960x2 720p:1280x2 1080p:1920x4 1440p:2560x6 2160p:3840x8"),
    ],
)
def test_a_source_gets_the_rungs_that_it_fills(source: tuple[int, int], expected: str) -> None:
    assert " ".join(f"{r.name}:{r.width}x{r.height}" for r in chosen(*source)) == expected


def test_a_source_that_nearly_reaches_a_rung_gets_it_at_its_own_size() -> None:
    names = {r.name: (r.width, r.height) for r in chosen(1906, 1072)}

    assert names["1080p"] == (1906, 1072)
    assert names["720p"] == (1280, 720)
    assert "1080p" not in {r.name for r in chosen(1800, 1012)}  # 94 %


def test_a_source_below_the_lowest_rung_keeps_that_rungs_settings() -> None:
    (only,) = chosen(256, 144)

    assert (only.name, only.width, only.height) == ("144p", 256, 144)
    assert STANDARD is not None
    assert (only.crf, only.max_bitrate_bps) == (STANDARD.rungs[0].crf, STANDARD.rungs[0].max_bitrate_bps)


def test_two_rungs_never_have_the_same_size() -> None:
    close = VideoPart(
        rungs=(
            Rung(name="low", width=1000, height=562, crf=23),
            Rung(name="high", width=1020, height=574, crf=23),
        )
    )

    found = select_rungs(close, SourceShape(width=1000, height=562))

    assert [rung.name for rung in found] == ["low"]


@given(sides, sides)
@example(1, 9000)
@example(9000, 1)
@example(3, 3)
def test_sizes_are_even_and_never_above_the_source_nor_the_box(width: int, height: int) -> None:
    assert STANDARD is not None
    boxes = {rung.name: (rung.width, rung.height) for rung in STANDARD.rungs}
    found = chosen(width, height)

    assert found
    for rung in found:
        assert rung.width % 2 == 0
        assert rung.height % 2 == 0
        assert 2 <= rung.width <= max(2, width)
        assert 2 <= rung.height <= max(2, height)
        if rung.name in boxes:
            box = boxes[rung.name] if width >= height else boxes[rung.name][::-1]
            assert rung.width <= box[0]
            assert rung.height <= box[1]


@given(sides, sides)
@example(8192, 16)
def test_the_picture_keeps_its_shape_to_within_a_pixel(width: int, height: int) -> None:
    assert STANDARD is not None
    boxes = {rung.name: (rung.width, rung.height) for rung in STANDARD.rungs}
    for rung in chosen(width, height):
        long, short = boxes.get(rung.name, (max(width, height), min(width, height)))
        scale = min(Fraction(1), Fraction(long, max(width, height)), Fraction(short, min(width, height)))
        assert abs(rung.width - width * scale) <= 1 or rung.width == 2
        assert abs(rung.height - height * scale) <= 1 or rung.height == 2


@given(sides, sides)
def test_rungs_grow_and_the_largest_is_the_best_that_the_source_reaches(width: int, height: int) -> None:
    assert STANDARD is not None
    found = chosen(width, height)

    for smaller, larger in pairwise(found):
        assert smaller.width * smaller.height < larger.width * larger.height
    reached = [
        rung.name
        for rung in STANDARD.rungs
        if max(Fraction(max(width, height), rung.width), Fraction(min(width, height), rung.height)) >= NEARLY
    ]
    if reached:
        assert found[-1].name == reached[-1]
    else:
        assert len(found) == 1


@given(sides, sides)
def test_a_portrait_source_gets_the_landscape_sizes_turned(width: int, height: int) -> None:
    turned = [(r.name, r.height, r.width) for r in chosen(height, width)]

    assert turned == [(r.name, r.width, r.height) for r in chosen(width, height)]


@pytest.mark.parametrize(
    ("source", "most", "expected"),
    [
        ("30", 60, "30"),
        ("25", 60, "25"),
        ("60000/1001", 60, "60000/1001"),
        ("29.9999", 60, "30"),
        ("2997/100", 60, "30000/1001"),
        ("90000/3003", 60, "30000/1001"),
        ("90000/1501", 60, "60000/1001"),
        ("23.976", 60, "24000/1001"),
        ("24.0001", 60, "24"),
        ("12.5", 60, "25/2"),
        ("1000/33", 60, "1000/33"),  # frames of 33 ms: none may be dropped
        ("600003/10000", 60, "60"),
        ("125/2", 60, "60"),  # frames of 16 ms: better to lose one of 25 than every second one
        ("120", 60, "60"),
        ("119.88", 60, "60000/1001"),
        ("240", 60, "60"),
        ("144", 60, "48"),
        ("75", 60, "75/2"),
        ("90000", 60, "60"),  # a time scale that was taken for a rate
        ("60", 30, "30"),
        ("60000/1001", 30, "30000/1001"),
        ("50", 30, "25"),
        ("1/10", 60, "1/10"),  # a slide every ten seconds
        ("1/100000", 60, "1/100000"),
    ],
)
def test_the_output_frame_rate_of_real_sources(source: str, most: int, expected: str) -> None:
    assert output_frame_rate(Fraction(source), most) == Fraction(expected)


@given(rates, st.integers(1, 120))
def test_an_output_rate_is_positive_and_never_above_the_highest(source: Fraction, most: int) -> None:
    assert 0 < output_frame_rate(source, most) <= most


@given(rates)
def test_a_source_within_the_limit_keeps_its_rate_to_within_a_two_thousandth(source: Fraction) -> None:
    if source <= 60:
        assert abs(output_frame_rate(source, 60) - source) <= source / 2000 + Fraction(1, 1001 * 1001)


@given(st.sampled_from(PLAYER_RATES), st.integers(-3, 3))
def test_a_standard_rate_survives_the_rounding_of_containers(rate: Fraction, noise: int) -> None:
    assert output_frame_rate(rate + Fraction(noise, 10_000), 120) == rate


@given(rates)
def test_time_scales_stay_small(source: Fraction) -> None:
    rate = output_frame_rate(source, 60)
    if source >= 1:
        assert rate.numerator <= 60_060
