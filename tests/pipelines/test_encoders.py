"""The options of every recipe, in the encoders that they are for."""

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import pytest

from ladders.catalog import load_preset
from ladders.model import H264, Av1, Hevc
from pipelines.encoders import check_options, every_plan, gop_frames
from pipelines.errors import EncodeFailed, UnsupportedMedia
from pipelines.h264_levels import h264_level
from tests.support.encoding import CODECS, HDR10, RATE, encoded, plan_of, scenes, with_params

each_codec = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVT_LOG", "1")


@pytest.mark.parametrize("name", ["standard", "hevc", "av1", "preview"])
def test_every_option_of_every_recipe_is_taken_by_its_encoder(name: str) -> None:
    video = load_preset(name).video
    assert video is not None
    plans = list(every_plan(video))

    for plan, frame_rate in plans:
        if plan.height <= 1080 or plan is plans[-1][0]:  # one of 2160p is enough: x265 takes a second for it
            check_options(plan, frame_rate)
    assert len(plans) == len(video.rungs) * (2 if video.dynamic_range == "source" else 1)


@pytest.mark.parametrize("preset", ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower"])
def test_every_preset_of_x264_holds_its_level_at_1080p(preset: str) -> None:
    plan = plan_of(H264.model_validate({"preset": preset}), 1920, 1080, gop=60, max_bitrate_bps=7_800_000)

    check_options(plan, RATE)  # x264 warns of a picture buffer or bitrate above the level

    assert encoded(plan, scenes(1920, 1080, 1)).extradata[7] == 40


@each_codec
def test_an_option_that_an_encoder_does_not_know_is_named(codec: H264 | Hevc | Av1) -> None:
    plan = plan_of(codec)

    with pytest.raises(EncodeFailed, match="unknown option presett"):
        check_options(replace(plan, options=plan.options | {"presett": "fast"}), RATE)


@each_codec
def test_a_parameter_that_an_encoder_only_warns_of_is_refused(codec: H264 | Hevc | Av1) -> None:
    with pytest.raises(EncodeFailed, match="keyintt"):
        check_options(with_params(plan_of(codec), "keyintt=9"), RATE)


@pytest.mark.parametrize(
    ("codec", "params"),
    [(H264(), "vbv-init=half"), (Hevc(), "max-cll=bright"), (Av1(), "irefresh-type=9")],
    ids=["h264", "hevc", "av1"],
)
def test_a_value_that_an_encoder_cannot_read_is_refused(codec: H264 | Hevc | Av1, params: str) -> None:
    with pytest.raises(EncodeFailed):
        check_options(with_params(plan_of(codec), params), RATE)


def test_a_level_too_low_for_the_picture_is_refused() -> None:
    plan = plan_of(H264(), 1280, 720)

    with pytest.raises(EncodeFailed, match="level limit"):
        check_options(replace(plan, options=plan.options | {"level": "2.0"}), RATE)


def test_a_refusal_survives_as_a_retryable_error_with_its_reasons() -> None:
    with pytest.raises(EncodeFailed) as caught:
        check_options(with_params(plan_of(H264()), "keyintt=9"), RATE)

    assert caught.value.retryable
    assert any("keyintt" in reason for reason in caught.value.detail["reasons"])


def test_sdr_is_8_bit_but_in_av1() -> None:
    assert [plan_of(codec).pixel_format for codec in CODECS] == ["yuv420p", "yuv420p", "yuv420p10le"]


def test_a_mastering_display_that_is_none_is_refused() -> None:
    for codec in (Hevc(), Av1()):
        with pytest.raises(ValueError, match="not a mastering display"):
            plan_of(codec, color=HDR10, hdr=True, mastering_display="G(1,2):crf=0")


def test_a_rung_without_a_cap_promises_no_buffer() -> None:
    free = plan_of(H264())
    capped = plan_of(H264(), max_bitrate_bps=1_000_000)

    assert (free.max_bitrate_bps, free.buffer_bits) == (None, None)
    assert not {"maxrate", "bufsize"} & set(free.options)
    assert (capped.max_bitrate_bps, capped.buffer_bits) == (1_000_000, 2_000_000)
    assert int(capped.options["bufsize"]) < 2_000_000


def test_av1_has_a_ceiling_but_promises_no_buffer() -> None:
    plan = plan_of(Av1(), max_bitrate_bps=1_000_000)

    assert plan.options["maxrate"] == "1000000"
    assert (plan.max_bitrate_bps, plan.buffer_bits) == (None, None)


@pytest.mark.parametrize(
    ("size", "rate", "bitrate_bps", "level"),
    [
        ((640, 360), 30, 1_000_000, "3.0"),
        ((640, 360), 60, 1_000_000, "3.1"),
        ((1280, 720), 30, 4_500_000, "3.1"),
        ((1280, 720), 60, 4_500_000, "3.2"),
        ((1920, 1080), 30, 7_800_000, "4.0"),
        ((1080, 1920), 30, 7_800_000, "4.0"),
        ((1920, 1080), 30, 30_000_000, "4.1"),
        ((1920, 1080), 60, 7_800_000, "4.2"),
        ((2560, 1440), 30, 14_000_000, "5.0"),
        ((3840, 2160), 30, 26_000_000, "5.1"),
        ((3840, 2160), 60, 26_000_000, "5.2"),
        ((3840, 2), 30, 1_000_000, "4.0"),  # few macroblocks, but 240 in a row
        ((8192, 4320), 60, 100_000_000, "6.1"),
        ((2, 2), 1, 0, "3.0"),
    ],
)
def test_the_h264_level_is_the_lowest_that_holds(
    size: tuple[int, int], rate: int, bitrate_bps: int, level: str
) -> None:
    assert h264_level(*size, Fraction(rate), bitrate_bps, bitrate_bps * 2) == level


def test_a_picture_beyond_every_h264_level_is_refused() -> None:
    with pytest.raises(UnsupportedMedia, match="8192×4320 at 240 frames"):
        plan_of(H264(), 8192, 4320, frame_rate=Fraction(240))


@pytest.mark.parametrize(
    ("rate", "seconds", "frames"),
    [
        ("30", 2.0, 60),
        ("30000/1001", 2.0, 60),
        ("24000/1001", 2.0, 48),
        ("25/2", 2.0, 25),
        ("1/10", 2.0, 1),
        ("25", 0.12, 3),
    ],
)
def test_a_gop_is_a_whole_number_of_frames(rate: str, seconds: float, frames: int) -> None:
    assert gop_frames(Fraction(rate), seconds) == frames


def test_planning_loads_neither_a_media_library_nor_pydantic() -> None:
    """A media process imports this module for `configure`, once per chunk."""
    code = "import sys, pipelines.encoders; print({'av', 'pydantic', 'numpy'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "set()"
