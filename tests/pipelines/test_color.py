"""What colour tags are believed, and what outputs say."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from pipelines.color import hdr_tags, needs_mapping, sdr_tags, true_tags
from pipelines.facts import VideoFacts
from pipelines.plan import ColorTags


def facts(**changes: Any) -> VideoFacts:
    plain = VideoFacts(
        stream_index=0,
        codec="h264",
        profile=None,
        width=1920,
        height=1080,
        sample_aspect_ratio=Fraction(1),
        rotation_deg=0,
        mirrored=False,
        pixel_format="yuv420p",
        bit_depth=8,
        field_order="progressive",
        color_primaries="unknown",
        color_transfer="unknown",
        color_space="unknown",
        color_range="limited",
        frame_rate=Fraction(30),
        time_base=Fraction(1, 90_000),
        start_s=0.0,
        duration_s=1.0,
        bitrate_bps=0,
    )
    return replace(plain, **changes)


@pytest.mark.parametrize(
    ("width", "height", "space"),
    [(1920, 1080, "bt709"), (1280, 720, "bt709"), (720, 576, "smpte170m"), (720, 480, "smpte170m"),
     (576, 1024, "smpte170m"), (720, 1280, "bt709"), (320, 240, "smpte170m")],
)  # fmt: skip
def test_untagged_pictures_are_taken_for_what_players_take_them_for(width: int, height: int, space: str) -> None:
    assert true_tags(facts(width=width, height=height)).space == space


def test_tags_that_can_be_true_are_believed() -> None:
    tagged = facts(color_primaries="bt470bg", color_transfer="smpte170m", color_space="bt470bg")
    assert true_tags(tagged) == ColorTags("bt470bg", "smpte170m", "bt470bg")


@pytest.mark.parametrize("space", ["gbr", "ycgco", "ictcp", "reserved", "unknown"])
def test_a_matrix_that_cannot_be_true_is_replaced(space: str) -> None:
    assert true_tags(facts(color_space=space)).space == "bt709"


def test_rgb_is_full_range_and_has_no_matrix() -> None:
    tags = true_tags(facts(pixel_format="gbrp", color_space="bt709"))
    assert (tags.space, tags.range) == ("gbr", "full")


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_hdr_without_other_tags_is_bt2020_and_is_mapped_for_sdr(transfer: str) -> None:
    tags = true_tags(facts(color_transfer=transfer))
    assert tags == ColorTags("bt2020", transfer, "bt2020nc")
    assert needs_mapping(tags)
    assert sdr_tags(tags) == ColorTags("bt709", "bt709", "bt709")
    assert hdr_tags(tags) == tags


def test_sdr_in_a_wide_gamut_is_mapped_and_in_a_television_gamut_is_not() -> None:
    assert needs_mapping(true_tags(facts(color_primaries="smpte432")))
    assert needs_mapping(true_tags(facts(color_primaries="bt2020", color_space="bt2020nc", color_transfer="bt2020-10")))
    assert not needs_mapping(true_tags(facts(width=720, height=576)))


def test_an_sdr_output_has_the_matrix_of_hd_and_says_which_primaries_its_pixels_have() -> None:
    tags = true_tags(facts(color_primaries="smpte170m", color_transfer="bt2020-12", color_space="smpte170m"))
    assert sdr_tags(replace(tags, range="full")) == ColorTags("smpte170m", "bt709", "bt709", "limited")
