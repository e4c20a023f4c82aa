"""Posters and sprite sheets: the right frames, in the right colours, where the map says."""

import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from pipelines.errors import EncodeFailed
from pipelines.pictures import fitted
from pipelines.stills import StillsRequest, StillsResult, make_stills
from tests.support.joined import moving_bars, plain, write_video
from tests.support.media import clip

Pixels = NDArray[np.uint8]


def cut(path: Path, out_dir: Path, *, poster: bool = True, sprites: bool = True) -> StillsResult:
    request = StillsRequest(str(path) if poster else None, str(path) if sprites else None, str(out_dir))
    return make_stills(request, lambda _: None)


def files(path: Path, out_dir: Path, **asked: bool) -> dict[str, bytes]:
    """What is cut of a video, by its name."""
    cut(path, out_dir, **asked)
    return {file.relative_to(out_dir).as_posix(): file.read_bytes() for file in out_dir.rglob("*.*")}


def picture(path: Path) -> Pixels:
    """(height, width, 3) uint8 RGB of a still picture."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        full = path.suffix == ".jpg"
        # what the formats themselves define: BT.601, full range in JFIF and limited in WebP
        rgb = frame.reformat(
            format="rgb24",
            src_colorspace="ITU601",
            src_color_range="JPEG" if full else "MPEG",
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
        )
        return np.asarray(rgb.to_ndarray())


def color_of(number: int) -> Sequence[int]:
    """A colour for each second of 30 frames."""
    return [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (200, 120, 40), (16, 90, 200)][number // 30 % 6]


Cue = tuple[float, float, str, tuple[int, int, int, int]]


def cues(vtt: Path) -> list[Cue]:
    """(start s, end s, sheet, (x, y, width, height)) of every cue of a thumbnail map."""
    text = vtt.read_text()
    assert text.startswith("WEBVTT\n\n")
    clock = r"(\d\d):(\d\d):(\d\d\.\d{3})"
    found = []
    for match in re.finditer(rf"^{clock} --> {clock}\n(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)$", text, re.MULTILINE):
        h, m, s, h2, m2, s2, sheet, *area = match.groups()
        start, end = int(h) * 3600 + int(m) * 60 + float(s), int(h2) * 3600 + int(m2) * 60 + float(s2)
        found.append((start, end, sheet, (int(area[0]), int(area[1]), int(area[2]), int(area[3]))))
    assert len(found) == text.count("-->")
    return found


def tile(folder: Path, cue: Cue) -> Pixels:
    x, y, width, height = cue[3]
    return picture(folder / cue[2])[y : y + height, x : x + width]


def test_every_tile_shows_what_plays_then(tmp_path: Path) -> None:
    path = write_video(tmp_path / "colors.mp4", width=320, height=180, frames=360, picture=plain(320, 180, color_of))
    cut(path, tmp_path, poster=False)
    mapped = cues(tmp_path / "sprites/sprites.vtt")
    assert [cue[0] for cue in mapped] == list(range(12)), "the key frames alone"
    assert {cue[2:3] + cue[3][2:] for cue in mapped} == {("sheet-001.jpg", 160, 90)}
    assert [cue[1] for cue in mapped] == list(range(1, 13))
    assert picture(tmp_path / "sprites/sheet-001.jpg").shape == (180, 1600, 3)
    for second, cue in enumerate(mapped):
        assert tile(tmp_path / "sprites", cue).mean(axis=(0, 1)) == pytest.approx(color_of(second * 30), abs=4)


def test_a_short_video_still_has_ten_tiles(tmp_path: Path) -> None:
    path = write_video(tmp_path / "short.mp4", frames=60, gop=60)
    cut(path, tmp_path)
    mapped = cues(tmp_path / "sprites/sprites.vtt")
    assert len(mapped) == 10
    assert [cue[0] for cue in mapped] == pytest.approx([number * 0.2 for number in range(10)])
    assert mapped[-1][1] == 2.0
    tiles = [tile(tmp_path / "sprites", cue) for cue in mapped]
    assert all(np.abs(a.astype(int) - b).mean() > 5 for a, b in pairwise(tiles))


def test_a_video_of_one_frame_has_a_poster_and_one_tile(tmp_path: Path) -> None:
    path = write_video(tmp_path / "one.mp4", frames=1)
    assert cut(path, tmp_path).poster_s == 0.0
    (cue,) = cues(tmp_path / "sprites/sprites.vtt")
    assert cue[:2] == pytest.approx((0.0, 0.033))
    assert picture(tmp_path / "poster/poster.jpg").shape == (90, 160, 3)


def test_a_long_video_fills_four_sheets_at_most(tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.mp4", width=64, height=36, frames=1000, gop=1, picture=moving_bars(64, 36))
    cut(path, tmp_path, poster=False)
    mapped = cues(tmp_path / "sprites/sprites.vtt")
    assert len(mapped) == 334  # every third key frame of 1000
    assert {cue[2] for cue in mapped} == {f"sheet-00{number}.jpg" for number in (1, 2, 3, 4)}
    assert [cue[1] for cue in mapped[:-1]] == [cue[0] for cue in mapped[1:]]
    assert mapped[-1][1] == pytest.approx(1000 / 30, abs=0.002)
    assert picture(tmp_path / "sprites/sheet-001.jpg").shape == (360, 640, 3)
    assert picture(tmp_path / "sprites/sheet-004.jpg").shape == (36 * 4, 640, 3)


def test_the_poster_is_neither_the_black_beginning_nor_a_plain_frame(tmp_path: Path) -> None:
    bars = moving_bars(160, 90)

    def film(number: int) -> Pixels:
        if number < 45:
            return np.zeros((90, 160, 3), np.uint8)
        return bars(number) if 100 <= number < 130 else np.full((90, 160, 3), 200, np.uint8)

    found = cut(write_video(tmp_path / "film.mp4", frames=180, gop=60, picture=film), tmp_path)
    assert found.poster_s is not None
    assert 100 / 30 <= found.poster_s < 130 / 30
    assert picture(tmp_path / "poster/poster.jpg").std() > 40


def test_a_black_video_has_a_black_poster(tmp_path: Path) -> None:
    path = write_video(tmp_path / "black.mp4", frames=30, picture=plain(160, 90, lambda _: (0, 0, 0)))
    assert cut(path, tmp_path).poster_s == 0.0
    assert picture(tmp_path / "poster/poster.webp").max() < 5


@pytest.mark.parametrize("rgb", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (180, 40, 90)])
def test_poster_colors_are_those_of_the_video(tmp_path: Path, rgb: tuple[int, int, int]) -> None:
    cut(write_video(tmp_path / "color.mp4", frames=2, picture=plain(160, 90, lambda _: rgb)), tmp_path)
    for name in ("poster.jpg", "poster.webp"):
        assert picture(tmp_path / "poster" / name).mean(axis=(0, 1)) == pytest.approx(rgb, abs=4)


def test_an_hdr_video_gets_pictures_that_an_ordinary_screen_shows(tmp_path: Path) -> None:
    # PQ code 0.58 is 203 cd/m², the white of a diffuse surface; taken for SDR it would be a mid grey
    level = round(64 + 876 * 0.58)
    path = clip(
        codec="hevc", pix_fmt="yuv420p10le", frames=12, flat=(level // 4, 128, 128), primaries=9, transfer=16, matrix=9,
    )  # fmt: skip
    cut(path, tmp_path)
    for name in ("poster/poster.jpg", "poster/poster.webp", "sprites/sheet-001.jpg"):
        mean = picture(tmp_path / name)[:90, :160].mean(axis=(0, 1))
        assert mean.min() > 170, name
        assert mean.max() - mean.min() < 6, name


@pytest.mark.parametrize(
    ("width", "height", "tile_size", "poster_size"),
    [
        (1920, 1080, (160, 90), (1280, 720)),
        (1080, 1920, (160, 284), (720, 1280)),
        (128, 96, (128, 96), (128, 96)),
        (64, 2048, (10, 320), (40, 1280)),
        (4096, 16, (160, 2), (1280, 4)),
    ],
)
def test_pictures_keep_their_shape_and_are_never_enlarged(
    width: int, height: int, tile_size: tuple[int, int], poster_size: tuple[int, int]
) -> None:
    assert fitted(width, height, (160, 320)) == tile_size
    tall = fitted(width, height, (1280, 1280))
    assert tall == poster_size


def test_a_portrait_video_has_portrait_tiles(tmp_path: Path) -> None:
    path = write_video(tmp_path / "portrait.mp4", width=90, height=160, frames=300)
    cut(path, tmp_path)
    assert {cue[3][2:] for cue in cues(tmp_path / "sprites/sprites.vtt")} == {(90, 160)}
    assert picture(tmp_path / "sprites/sheet-001.jpg").shape == (160, 900, 3)


def test_the_poster_may_come_from_a_larger_rendition_than_the_tiles(tmp_path: Path) -> None:
    small = write_video(tmp_path / "small.mp4", frames=90)
    large = write_video(tmp_path / "large.mp4", width=640, height=360, frames=90)
    found = make_stills(StillsRequest(str(large), str(small), str(tmp_path)), lambda _: None)
    assert picture(tmp_path / "poster/poster.jpg").shape == (360, 640, 3)
    assert cues(tmp_path / "sprites/sprites.vtt")[0][3][2] == 160
    with av.open(str(large)) as container:
        assert found.poster_s is not None
        shown = [frame for frame in container.decode(video=0) if frame.time <= found.poster_s + 0.001][-1]
        wanted = shown.to_ndarray(format="rgb24")
    assert np.abs(picture(tmp_path / "poster/poster.jpg").astype(int) - wanted).mean() < 6


@pytest.mark.parametrize("codec", ["libx265", "libsvtav1"])
def test_other_codecs_give_stills_too(tmp_path: Path, codec: str) -> None:
    path = write_video(tmp_path / "new.mp4", codec=codec, width=160, height=96, frames=120, gop=10)
    cut(path, tmp_path)
    mapped = cues(tmp_path / "sprites/sprites.vtt")
    assert [cue[0] for cue in mapped] == pytest.approx([number / 3 for number in range(12)], abs=0.001)
    tiles = [tile(tmp_path / "sprites", cue) for cue in mapped]
    assert all(np.abs(a.astype(int) - b).mean() > 5 for a, b in pairwise(tiles))


def test_only_what_is_asked_for_is_made(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", frames=10)
    assert files(path, tmp_path / "a", sprites=False).keys() == {"poster/poster.jpg", "poster/poster.webp"}
    assert files(path, tmp_path / "b", poster=False).keys() == {"sprites/sprites.vtt", "sprites/sheet-001.jpg"}
    with pytest.raises(EncodeFailed):
        cut(path, tmp_path / "c", poster=False, sprites=False)


def test_the_same_video_gives_the_same_bytes_and_nothing_of_ours_is_in_them(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", frames=90)
    made = files(path, tmp_path / "a")
    assert made == files(path, tmp_path / "b")
    for content in made.values():
        assert b"Lavc" not in content
        assert str(tmp_path).encode() not in content


def test_the_first_tile_of_a_constant_rate_of_twenty_nine_ninety_seven_starts_at_zero(tmp_path: Path) -> None:
    path = write_video(tmp_path / "ntsc.mp4", frames=330, rate=Fraction(30_000, 1001))
    cut(path, tmp_path, poster=False)
    starts = [cue[0] for cue in cues(tmp_path / "sprites/sprites.vtt")]
    assert starts == pytest.approx([number * 1.001 for number in range(11)], abs=0.0006)
