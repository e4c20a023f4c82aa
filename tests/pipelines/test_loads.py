"""How much there is to do, by a header and a recipe."""

from dataclasses import replace

import pytest

from ladders.catalog import load_preset
from ladders.model import Recipe
from pipelines.loads import loads_of
from pipelines.shapes import Shape

FULL_HD = Shape("video", width=1920, height=1080, codec="h264", frame_rate=30, duration_s=60, tracks=1)
PHOTO = Shape("image", width=4000, height=3000, codec="jpeg")


def units(shape: Shape, recipe: str | Recipe) -> dict[str, tuple[float, float]]:
    """Processes and units of each kind of work."""
    found: dict[str, tuple[float, float]] = {}
    for load in loads_of(shape, load_preset(recipe) if isinstance(recipe, str) else recipe, 16) or ():
        before = found.get(load.what, (0.0, 0.0))
        found[load.what] = (before[0] + load.processes, before[1] + load.units)
    return found


def test_a_video_is_encoded_in_the_pixels_of_the_rungs_that_suit_it() -> None:
    rungs = 640 * 360 + 960 * 540 + 1280 * 720 + 1920 * 1080
    found = units(FULL_HD, "standard")
    assert found["cpu encode h264 medium"] == pytest.approx((0, 60 * 30 * rungs))
    assert found["cpu decode h264"][1] == pytest.approx(60 * 30 * 1920 * 1080)
    assert found["cpu vmaf sampled"][1] == pytest.approx(60 * 30 * rungs)
    assert found["cpu chunk"][0] == 15, "of 4 s and more"
    assert "cpu vmaf sampled" not in units(FULL_HD, load_preset("standard").model_copy(update={"vmaf": "off"}))


def test_a_source_that_is_small_or_fast_is_less_work_than_its_rungs_or_frames_say() -> None:
    small = Shape("video", width=640, height=360, codec="h264", frame_rate=120, duration_s=10)
    found = units(small, "standard")
    assert found["cpu encode h264 medium"][1] == pytest.approx(10 * 60 * 640 * 360), "60 frames a second of one rung"
    assert found["cpu decode h264"][1] == pytest.approx(10 * 120 * 640 * 360)
    assert not any(what.startswith("cpu sound") for what in found)


def test_what_is_published_twice_is_counted_twice() -> None:
    found = units(FULL_HD, "standard")
    once, twice = found["bytes h264 crf23 1448"][1], found["bytes h264 crf23 1024"][1]
    assert once == pytest.approx(60 * 30 * 1920 * 1080)
    assert twice == pytest.approx(2 * 60 * 30 * 1280 * 720), "segments, and the file for download"
    assert found["bytes sound"][1] == pytest.approx(2 * 128_000 / 8 * 60)


def test_hdr_that_is_mapped_is_cut_into_longer_chunks_and_is_work_of_its_own() -> None:
    hdr = Shape("video", width=1920, height=1080, codec="hevc", frame_rate=30, duration_s=65, is_hdr=True)
    assert units(hdr, "standard")["cpu chunk tone-mapped"][0] == 2
    kept = load_preset("hevc")
    assert kept.video is not None
    kept = kept.model_copy(update={"video": kept.video.model_copy(update={"dynamic_range": "source"})})
    assert "cpu chunk tone-mapped" not in units(hdr, kept)


def test_equal_files_of_a_picture_are_encoded_once_and_stored_each() -> None:
    tiny = Shape("image", width=100, height=50, codec="jpeg")
    found = units(tiny, "web")
    assert found["cpu picture to jpeg+webp"][1] == 2 * 100 * 50, "all five sizes are the source's own"
    assert found["bytes webp q80 64"][1] == 5 * 100 * 50
    assert units(PHOTO, "web")["cpu picture jpeg"] == (1, 12_000_000)


def test_an_animation_is_all_of_its_frames_where_they_are_kept() -> None:
    moving = Shape("image", width=100, height=100, codec="gif", frames=20)
    assert units(moving, "web")["cpu picture to jpeg+webp moving"][1] == 20 * 10_000 + 10_000
    assert units(moving, "preview")["cpu picture to jpeg+webp"][1] < 4 * 10_000


@pytest.mark.parametrize(
    ("shape", "recipe"),
    [(PHOTO, "audio"), (FULL_HD, "web"), (Shape("audio", duration_s=9, tracks=1), "preview")],
)
def test_a_recipe_that_makes_nothing_of_a_source_is_no_work(shape: Shape, recipe: str) -> None:
    assert loads_of(shape, load_preset(recipe), 16) is None


def test_sound_alone_is_no_picture() -> None:
    found = units(Shape("audio", duration_s=100, tracks=2), "standard")
    assert found["cpu sound"] == pytest.approx((1, 200))
    assert not any(what.startswith(("cpu encode", "cpu chunk", "cpu vmaf")) for what in found)


def test_a_frame_rate_of_next_to_nothing_is_none() -> None:
    clip = Shape("video", width=1280, height=720, codec="h264", duration_s=60, tracks=1)
    assert (
        units(replace(clip, frame_rate=1e-9), "preview")["cpu encode h264 veryfast"]
        == units(clip, "preview")["cpu encode h264 veryfast"]
    )
