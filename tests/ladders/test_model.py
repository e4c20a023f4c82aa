import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from ladders.catalog import load_preset
from ladders.model import H264, AudioPart, AudioRendition, Av1, Hevc, Packaging, Recipe, Rung, VideoPart

SMALL = Rung(name="360p", width=640, height=360, crf=23)
LARGE = Rung(name="720p", width=1280, height=720, crf=23)
VIDEO = VideoPart(rungs=(SMALL, LARGE))
SOUND = AudioPart(renditions=(AudioRendition(name="128k", bitrate_bps=128_000),))


def test_rungs_stand_smallest_first() -> None:
    with pytest.raises(ValidationError, match="smallest first, but 360p is not larger than 720p"):
        VideoPart(rungs=(LARGE, SMALL))


def test_two_rungs_of_one_size_are_refused() -> None:
    with pytest.raises(ValidationError, match="smallest first"):
        VideoPart(rungs=(SMALL, SMALL.model_copy(update={"name": "again"})))


def test_two_rungs_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="the name 360p stands there 2 times"):
        VideoPart(rungs=(SMALL, LARGE.model_copy(update={"name": "360p"})))


def test_two_audio_renditions_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="the name 128k stands there 2 times"):
        AudioPart(renditions=SOUND.renditions * 2)


@pytest.mark.parametrize("bitrate_bps", [128_000, 128_999])
def test_two_audio_renditions_that_players_could_not_tell_apart_are_refused(bitrate_bps: int) -> None:
    mono = AudioRendition(name="mono", bitrate_bps=bitrate_bps, channels=1)
    with pytest.raises(ValidationError, match="128k and mono both have 128 kbit/s"):
        AudioPart(renditions=(*SOUND.renditions, mono))
    AudioPart(renditions=(*SOUND.renditions, mono.model_copy(update={"bitrate_bps": 127_999})))


def test_hdr_is_not_kept_in_8_bit_h264() -> None:
    with pytest.raises(ValidationError, match="needs the codec hevc or av1"):
        VideoPart(codec=H264(), rungs=(SMALL,), dynamic_range="source")
    assert VideoPart(codec=Hevc(), rungs=(SMALL,), dynamic_range="source").dynamic_range == "source"


@pytest.mark.parametrize("codec", [H264(), Hevc()])
def test_a_crf_above_the_encoders_scale_is_refused(codec: H264 | Hevc) -> None:
    with pytest.raises(ValidationError, match="crf 55 of 360p is above 51"):
        VideoPart(codec=codec, rungs=(SMALL.model_copy(update={"crf": 55.0}),))
    VideoPart(codec=Av1(), rungs=(SMALL.model_copy(update={"crf": 55.0}),))


def test_a_broken_crf_is_refused_for_av1_which_would_round_it() -> None:
    with pytest.raises(ValidationError, match="whole number"):
        VideoPart(codec=Av1(), rungs=(SMALL.model_copy(update={"crf": 30.5}),))


def test_an_audio_bitrate_beyond_aac_is_refused() -> None:
    with pytest.raises(ValidationError, match="at most 288000"):
        AudioRendition(name="loud", bitrate_bps=320_000, channels=1)


def test_a_recipe_needs_video_audio_or_pictures() -> None:
    with pytest.raises(ValidationError, match="video, audio, image: a recipe needs at least one of the three"):
        Recipe(name="empty")


def test_a_recipe_that_publishes_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="nothing would be published"):
        Recipe(name="mute", audio=SOUND, packaging=Packaging(hls=False, dash=False))


def test_an_mp4_of_a_rung_that_is_not_there_is_refused_with_the_rungs_that_are() -> None:
    with pytest.raises(ValidationError, match=r"packaging\.mp4: 1080p is not a rung; rungs: 360p, 720p"):
        Recipe(name="x", video=VIDEO, packaging=Packaging(mp4=("1080p",)))


def test_a_variable_rate_is_for_files_only() -> None:
    variable = VIDEO.model_copy(update={"timing": "source"})
    with pytest.raises(ValidationError, match=r"video\.timing: source is for files"):
        Recipe(name="x", video=variable, packaging=Packaging(mp4=("360p",)))
    Recipe(name="x", video=variable, packaging=Packaging(hls=False, dash=False, mp4=("360p",)))


def test_segments_hold_whole_gops() -> None:
    with pytest.raises(ValidationError, match=r"5 is not a multiple of video\.gop_seconds 2"):
        Recipe(name="x", video=VIDEO, packaging=Packaging(segment_seconds=5.0))
    tenth = VIDEO.model_copy(update={"gop_seconds": 0.1})  # 0.3 / 0.1 is not 3 in binary fractions
    Recipe(name="x", video=tenth, packaging=Packaging(segment_seconds=0.3))
    Recipe(name="x", video=VIDEO, packaging=Packaging(hls=False, dash=False, mp4=("720p",), segment_seconds=5.0))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_are_finite(value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        Rung(name="x", width=640, height=360, crf=value)


def test_the_digest_changes_with_everything_but_name_and_description() -> None:
    standard = load_preset("standard")
    assert standard.video is not None
    renamed = standard.model_copy(update={"name": "other", "description": "another"})
    sharper = (*standard.video.rungs[:-1], standard.video.rungs[-1].model_copy(update={"crf": 22.5}))
    changed = [
        standard.model_copy(update={"video": standard.video.model_copy(update={"rungs": sharper})}),
        standard.model_copy(update={"video": standard.video.model_copy(update={"codec": H264(preset="slow")})}),
        standard.model_copy(update={"packaging": Packaging(mp4=("360p",))}),
        standard.model_copy(update={"audio": None}),
        standard.model_copy(update={"vmaf": "off"}),
    ]

    assert renamed.digest == standard.digest
    assert len({recipe.digest for recipe in [standard, *changed]}) == 1 + len(changed)
    assert len(standard.digest) == 64


def test_the_digest_of_a_recipe_without_pictures_is_that_of_the_first_manifests() -> None:
    assert Recipe(name="x", audio=SOUND).digest == "da60780c699b1dc4c52a619581025dad76a10080b4c26a460fcdb5f7842862c9"


def test_the_digest_is_the_same_in_every_process() -> None:
    code = "from ladders.catalog import load_preset; print(load_preset('standard').digest)"
    answers = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }

    assert answers == {load_preset("standard").digest}
