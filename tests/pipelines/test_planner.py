"""Plans: what is made of which source, as data."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest

from ladders.catalog import load_preset
from ladders.model import Hevc, Recipe
from pipelines.errors import NoDecodableStream, UnsupportedMedia
from pipelines.facts import AudioFacts, MediaInfo, VideoFacts
from pipelines.plan import FrameIndex, FrameRow, Plan, VideoPlan
from pipelines.planner import make_plan
from pipelines.wire import from_wire, to_wire

TRACK = AudioFacts(1, "aac", 2, "stereo", 48_000, "eng", None, True, 0.0, 10.0, 128_000)
VIDEO = VideoFacts(
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
    color_primaries="bt709",
    color_transfer="bt709",
    color_space="bt709",
    color_range="limited",
    frame_rate=Fraction(30),
    time_base=Fraction(1, 90_000),
    start_s=1.0,
    duration_s=20.0,
    bitrate_bps=0,
)


def info(video: VideoFacts | None = VIDEO, audio: tuple[AudioFacts, ...] = (TRACK,)) -> MediaInfo:
    return MediaInfo("mov,mp4,m4a,3gp,3g2,mj2", 1000, 20.0, video, audio, False, ())


def index(rate: Fraction = Fraction(30), seconds: int = 20, **changes: Any) -> FrameIndex:
    pts = tuple(round(90_000 + n * 90_000 / rate) for n in range(int(seconds * rate)))
    found = FrameIndex(Fraction(1, 90_000), pts, pts[::60], "pts", True, None, round(90_000 / rate))
    return replace(found, **changes)


def recipe(name: str = "standard", **video: Any) -> Recipe:
    plain = load_preset(name)
    assert plain.video is not None
    return plain.model_copy(update={"video": plain.video.model_copy(update=video)}) if video else plain


def planned(source: VideoFacts = VIDEO, frames: FrameIndex | None = None, wanted: Recipe | None = None,
            chunks: int = 3) -> tuple[Plan, VideoPlan, list[FrameRow]]:  # fmt: skip
    plan, rows = make_plan(info(source), frames or index(), wanted or recipe(), target_chunks=chunks)
    assert plan.video is not None
    return plan, plan.video, rows


def test_a_plan_of_1080p_has_every_rung_up_to_it_at_the_source_s_rate() -> None:
    plan, video, rows = planned()
    assert [(r.name, r.width, r.height) for r in video.renditions] == [
        ("360p", 640, 360), ("540p", 960, 540), ("720p", 1280, 720), ("1080p", 1920, 1080)
    ]  # fmt: skip
    assert (video.frame_rate, video.time_base, video.gop_frames) == (Fraction(30), Fraction(1, 30), 60)
    assert (video.frame_count, len(rows), video.duration_s) == (600, 600, 20.0)
    assert plan.start_s == 1, "the first video frame is at 0 in every output"
    assert plan.duration_s == 20.0
    assert [r.name for r in video.renditions if r.mp4] == ["720p"]


def test_a_plan_is_plain_data_and_the_same_every_time() -> None:
    plan, _, _ = planned()
    assert from_wire(Plan, to_wire(plan)) == plan
    assert planned()[0] == plan


def test_chunks_of_a_plan_cover_its_frames_on_the_gop_grid() -> None:
    _, video, _ = planned()
    assert len(video.chunks) == 3
    assert [c.start_frame % video.gop_frames for c in video.chunks] == [0, 0, 0]
    assert all(a.end_frame == b.start_frame for a, b in pairwise(video.chunks))
    assert video.chunks[-1].end_frame == 600


def test_a_fast_source_is_divided_down_to_the_highest_rate() -> None:
    _, video, rows = planned(frames=index(Fraction(120)), source=replace(VIDEO, frame_rate=Fraction(120)))
    assert video.frame_rate == 60
    assert [row.source for row in rows[:3]] == [90_000, 91_500, 93_000]


@pytest.mark.parametrize("late_ticks", [1260, -1260, 2100, -2100])  # 14 ms; 23 ms, which no constant rate explains
def test_the_time_of_all_frames_but_a_first_one_off_the_grid_becomes_zero(late_ticks: int) -> None:
    regular = index()
    pts = (regular.pts[0], *(value + late_ticks for value in regular.pts[1:]))
    plan, _, rows = planned(frames=replace(regular, pts=pts, keys=pts[::60]))
    shown = [row for row in rows if row.source != pts[0]]
    assert len(shown) >= 598, "of two pictures within a third of a frame the first is shown"
    offsets = {Fraction(row.source, 90_000) - plan.start_s - Fraction(row.pts, 30) for row in shown}
    assert offsets == {Fraction(0)}
    assert plan.start_s != 1


def test_sound_stays_with_the_first_picture_of_a_slide_show() -> None:
    pts = tuple(90_000 * (1 + at_s) for at_s in (0, 7, 12, 17, 22))
    source = replace(VIDEO, frame_rate=Fraction(1, 5))
    plan, _, _ = planned(source, frames=index(pts=pts, keys=pts, last_duration=450_000))
    assert plan.start_s == 1


def test_source_timing_keeps_the_source_s_own_times_and_clock() -> None:
    pts = (90_000, 93_000, 99_000, 99_900)
    _, video, rows = planned(frames=index(pts=pts, keys=(90_000,), last_duration=3000), wanted=recipe(timing="source"))
    assert video.time_base == Fraction(1, 90_000)
    assert [row.pts for row in rows] == [0, 3000, 9000, 9900]
    assert video.duration_s == pytest.approx(12_900 / 90_000)


def test_source_timing_above_the_highest_rate_keeps_every_second_frame_at_its_own_time() -> None:
    fast = index(Fraction(120), 10)
    _, video, rows = planned(replace(VIDEO, frame_rate=Fraction(120)), fast, recipe(timing="source", max_frame_rate=60))
    assert [row.source for row in rows] == list(fast.pts[::2])
    assert [row.pts for row in rows] == [pts - fast.pts[0] for pts in fast.pts[::2]]
    assert (video.frame_rate, video.time_base, video.gop_frames) == (Fraction(60), Fraction(1, 90_000), 120)
    assert video.duration_s == pytest.approx(10), "the last frame kept is shown until the source ends"


def test_source_timing_takes_frames_only_from_where_a_variable_source_is_too_fast() -> None:
    slow, burst = [90_000 + 3000 * n for n in range(60)], [270_000 + 750 * n for n in range(120)]
    found = index(pts=(*slow, *burst), keys=(90_000,), last_duration=750)
    _, video, rows = planned(replace(VIDEO, frame_rate=Fraction(60)), found, recipe(timing="source", max_frame_rate=60))
    assert [row.source for row in rows if row.source < 270_000] == slow
    assert len([row for row in rows if row.source >= 270_000]) == pytest.approx(60, abs=1)
    assert video.duration_s == pytest.approx(3)
    unbound = planned(replace(VIDEO, frame_rate=Fraction(60)), found, recipe(timing="source", max_frame_rate=120))
    assert len(unbound[2]) == 180


def test_a_portrait_telephone_video_is_turned_and_fits_upright_rungs() -> None:
    _, video, _ = planned(replace(VIDEO, rotation_deg=90))
    assert (video.renditions[-1].width, video.renditions[-1].height) == (1080, 1920)
    assert (video.stage.rotation_deg, video.stage.mirrored) == (90, False)


def test_hdr_is_mapped_at_the_size_of_the_largest_rendition_as_it_is_stored() -> None:
    hdr = replace(VIDEO, width=3840, height=2160, rotation_deg=90, pixel_format="yuv420p10le", bit_depth=10,
                  color_primaries="bt2020", color_transfer="smpte2084", color_space="bt2020nc")  # fmt: skip
    largest = recipe().video
    assert largest is not None
    _, video, _ = planned(hdr, wanted=recipe(rungs=largest.rungs[:3]))
    assert video.stage.tone_map
    assert (video.renditions[-1].width, video.renditions[-1].height) == (720, 1280)
    assert (video.stage.width, video.stage.height) == (1280, 720)
    assert {r.color.transfer for r in video.renditions} == {"bt709"}


def test_hdr_stays_hdr_where_the_recipe_keeps_it() -> None:
    hdr = replace(VIDEO, pixel_format="yuv420p10le", bit_depth=10, color_primaries="bt2020",
                  color_transfer="smpte2084", color_space="bt2020nc",
                  mastering_display="G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)",
                  content_light="1000,400")  # fmt: skip
    _, video, _ = planned(hdr, wanted=recipe("hevc", dynamic_range="source", codec=Hevc()))
    top = video.renditions[-1]
    assert not video.stage.tone_map
    assert (top.pixel_format, top.color.transfer, top.color.space) == ("yuv420p10le", "smpte2084", "bt2020nc")
    assert "master-display=G(13250,34500)" in top.options["x265-params"]


def test_interlaced_sources_are_deinterlaced_and_others_are_not() -> None:
    assert planned(replace(VIDEO, field_order="top"))[1].stage.deinterlace
    assert not planned()[1].stage.deinterlace


def test_a_source_too_small_for_the_wanted_file_publishes_its_best_rendition_instead() -> None:
    _, video, _ = planned(replace(VIDEO, width=960, height=540))
    assert [(r.name, r.mp4) for r in video.renditions] == [("360p", False), ("540p", True)]


def test_every_audio_track_is_kept_with_its_language_under_a_name_of_its_own() -> None:
    tracks = (TRACK, replace(TRACK, stream_index=2, language="nor", default=False, title="Norsk"),
              replace(TRACK, stream_index=3, default=False),
              replace(TRACK, stream_index=4, language="../e"))  # fmt: skip
    plan, _ = make_plan(info(audio=tracks), index(), recipe(), target_chunks=1)
    assert [(t.name, t.stream_index, t.language, t.default) for t in plan.audio] == [
        ("eng-128k", 1, "eng", True), ("nor-128k", 2, "nor", False), ("eng-2-128k", 3, "eng", False),
        ("e-128k", 4, "../e", True),
    ]  # fmt: skip
    assert plan.audio[1].title == "Norsk"


def test_names_of_audio_tracks_differ_even_when_their_languages_look_the_same_as_paths() -> None:
    tracks = (replace(TRACK, language="eng2"), TRACK, replace(TRACK, stream_index=2), replace(TRACK, language="EN-G"))
    plan, _ = make_plan(info(audio=tracks), index(), recipe(), target_chunks=1)
    names = [track.name for track in plan.audio]
    assert len(set(names)) == 4


def test_sound_alone_is_planned_from_its_first_sample() -> None:
    plan, rows = make_plan(info(None, (replace(TRACK, start_s=0.5),)), None, load_preset("audio"), target_chunks=8)
    assert (plan.video, rows, plan.start_s, plan.duration_s) == (None, [], Fraction(1, 2), 10.0)
    assert not plan.poster
    assert not plan.sprites
    assert plan.vmaf == "off"


def test_a_source_of_which_the_recipe_makes_nothing_is_refused() -> None:
    with pytest.raises(NoDecodableStream):
        make_plan(info(audio=()), index(), load_preset("audio"), target_chunks=1)


@pytest.mark.parametrize("video", [VIDEO, None])
def test_a_recipe_of_pictures_alone_says_that_another_is_needed_for_a_video(video: VideoFacts | None) -> None:
    with pytest.raises(UnsupportedMedia, match="the recipe web has no video or audio part: choose another"):
        make_plan(info(video), index() if video else None, load_preset("web"), target_chunks=1)


def test_a_single_frame_is_a_plan_of_one_frame() -> None:
    _, video, rows = planned(frames=index(pts=(90_000,), keys=(90_000,)))
    assert rows == [FrameRow(90_000, 0)]
    assert len(video.chunks) == 1
    assert video.duration_s == pytest.approx(1 / 30)


@pytest.mark.parametrize("hls", [False, True])
def test_sound_alone_is_refused_by_a_recipe_that_only_makes_files_with_a_picture(hls: bool) -> None:
    preview = recipe("preview")
    wanted = preview.model_copy(update={"packaging": preview.packaging.model_copy(update={"hls": hls})})
    if hls:
        assert make_plan(info(None), None, wanted, target_chunks=1)[0].audio
    else:
        with pytest.raises(NoDecodableStream, match="preview"):
            make_plan(info(None), None, wanted, target_chunks=1)


@pytest.mark.parametrize("timing", ["constant", "source"])
def test_sound_that_outlasts_its_picture_is_kept_below_the_last_frame(timing: str) -> None:
    pts = (90_000, 93_000, 96_000)
    longer = index(pts=pts, keys=(90_000,), sound_end_s=1 + 60.01)
    _, video, rows = planned(frames=longer, wanted=recipe(timing=timing))
    assert len(rows) == 1800
    assert [row.source for row in rows] == [*pts, *[96_000] * 1797]
    assert video.duration_s == pytest.approx(60)
    assert all(a.pts < b.pts for a, b in pairwise(rows))
    assert video.chunks[-1].end_frame == 1800

    silent = recipe().model_copy(update={"audio": None})
    assert len(planned(frames=longer, wanted=silent)[2]) == 3
    assert len(planned(frames=replace(longer, sound_end_s=1 + 0.1 + 0.2))[2]) == 3, "a recorder's rounding is not sound"


def test_a_slide_show_of_one_picture_in_five_seconds_gets_a_rate_that_has_whole_gops() -> None:
    pts = tuple(90_000 * 5 * n for n in range(12))
    source = replace(VIDEO, frame_rate=Fraction(1, 5))
    _, video, rows = planned(source, frames=index(pts=pts, keys=pts, last_duration=450_000))
    assert video.frame_rate >= 1
    assert video.gop_frames / video.frame_rate == pytest.approx(2, abs=0.5)
    assert sorted({row.source for row in rows}) == list(pts)
    assert video.duration_s == pytest.approx(60, abs=1)
