"""What the header of a GIF says, animated or not."""

from pathlib import Path

import pytest

from pipelines.errors import (
    LimitExceeded,
    TruncatedMedia,
)
from pipelines.images.limits import ImageLimits
from tests.support.image_bytes import (
    gif,
    gif_frame,
    header_of,
    seen,
)


def test_a_gif_tells_its_frames_without_decoding_them(tmp_path: Path) -> None:
    frames = [gif_frame((0, 0, 8, 6), hundredths=hundredths) for hundredths in (50, 1, 0)]
    found = seen(tmp_path, gif((8, 6), frames))
    assert (found.header.format, found.header.width, found.header.height, found.header.frames) == ("gif", 8, 6, 3)
    assert (found.header.color_model, found.header.has_alpha) == ("indexed", False)
    assert found.duration_s == pytest.approx(0.5 + 0.1 + 0.1)  # as browsers show what claims to be too quick to be seen


def test_a_gif_of_one_frame_lasts_no_time(tmp_path: Path) -> None:
    found = seen(tmp_path, gif((8, 6), [gif_frame((0, 0, 8, 6), hundredths=500, transparent=True)]))
    assert (found.header.frames, found.duration_s, found.header.has_alpha) == (1, 0.0, True)


def test_a_first_frame_larger_than_the_screen_enlarges_it(tmp_path: Path) -> None:
    assert header_of(tmp_path, gif((5, 5), [gif_frame((3, 3, 5, 5))])).upright_size == (8, 8)


def test_a_gif_cut_in_the_middle_counts_what_is_there(tmp_path: Path) -> None:
    data = gif((8, 6), [gif_frame((0, 0, 8, 6))] * 3)
    assert header_of(tmp_path, data[:-4]).frames == 3
    with pytest.raises(TruncatedMedia):
        seen(tmp_path, data[:21])


def test_an_animation_is_limited_in_frames_and_in_all_their_pixels(tmp_path: Path) -> None:
    many = gif((10, 10), [gif_frame((0, 0, 1, 1))] * 30)
    with pytest.raises(LimitExceeded, match="frames") as caught:
        seen(tmp_path, many, ImageLimits(max_frames=29))
    assert caught.value.detail["limit"] == "max_frames"
    with pytest.raises(LimitExceeded, match="pixels") as caught:
        seen(tmp_path, many, ImageLimits(max_animation_pixels=2999))
    assert caught.value.detail["setting"] == "FARM_IMAGE_LIMITS__MAX_ANIMATION_PIXELS"
    assert seen(tmp_path, many, ImageLimits(max_frames=30, max_animation_pixels=3000)).header.frames == 30


def test_an_animation_is_limited_in_the_pixels_of_a_frame(tmp_path: Path) -> None:
    limits = ImageLimits(max_animation_frame_pixels=99)
    with pytest.raises(LimitExceeded, match="frame") as caught:
        seen(tmp_path, gif((10, 10), [gif_frame((0, 0, 1, 1))] * 2), limits)
    assert caught.value.detail["setting"] == "FARM_IMAGE_LIMITS__MAX_ANIMATION_FRAME_PIXELS"
    assert seen(tmp_path, gif((10, 10), [gif_frame((0, 0, 1, 1))]), limits).header.frames == 1


def test_a_small_file_of_three_huge_frames_is_refused_by_its_header(tmp_path: Path) -> None:
    with pytest.raises(LimitExceeded):
        seen(tmp_path, gif((10_000, 10_000), [gif_frame((0, 0, 1, 1))] * 3))


def test_a_later_frame_cannot_hide_a_larger_screen(tmp_path: Path) -> None:
    with pytest.raises(LimitExceeded):
        seen(tmp_path, gif((640, 480), [gif_frame((0, 0, 1, 1)), gif_frame((65535, 0, 65535, 65535))]))
