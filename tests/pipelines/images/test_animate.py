"""Animations keep their frames, times and loops."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips

from pipelines.errors import CorruptMedia
from pipelines.images.header import NO_LIMITS, examine
from pipelines.images.limits import ImageLimits
from pipelines.images.turn import ImageRequest, turn_image
from pipelines.images.vips_engine import frames_of as opened_frames
from tests.support.still_sources import Pixels, frame_delays_ms, loop_count, photo, riff_chunks, turned

ANIMATED = {"name": "a", "width": 40, "formats": ["webp"], "animation": "keep"}


def film(path: Path, frames: list[Pixels], delays_ms: list[int], loop: int, **options: Any) -> Path:
    """An animated GIF or WebP of RGB or RGBA frames."""
    image = pyvips.Image.new_from_array(np.concatenate(frames)).copy(interpretation="srgb")
    image.set_type(pyvips.GValue.gint_type, "page-height", frames[0].shape[0])
    image.set_type(pyvips.GValue.array_int_type, "delay", delays_ms)
    image.set_type(pyvips.GValue.gint_type, "loop", loop)
    image.write_to_file(str(path), **options)
    return path


def moving(count: int, channels: int = 3) -> list[Pixels]:
    """A square that moves over a photo; over nothing where there is alpha."""
    frames = []
    for number in range(count):
        frame = np.zeros((60, 80, channels), np.uint8)
        if channels == 3:
            frame[:] = photo(80, 60)
        frame[20:40, 5 * number : 5 * number + 20] = [255, 40, 40, 255][:channels]
        frames.append(frame)
    return frames


def frames_of(data: bytes) -> list[Pixels]:
    image = pyvips.Image.new_from_buffer(data, "", n=-1)
    height = image.get("page-height")
    pixels = image.numpy()
    return [pixels[at : at + height] for at in range(0, len(pixels), height)]


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_every_frame_is_there_as_long_and_as_often_as_before(tmp_path: Path, kind: str) -> None:
    delays = [50, 100, 70, 500, 40, 90]
    source = film(tmp_path / f"film.{kind}", moving(6), delays, 3)
    result = turned(source, tmp_path, [ANIMATED])
    data = (tmp_path / "images/a.webp").read_bytes()
    assert frame_delays_ms(data) == delays
    assert loop_count(data) == 3
    assert (result.images[0].width, result.images[0].height, result.images[0].frames) == (40, 30, 6)
    assert result.facts.is_animated
    assert result.facts.duration_s == pytest.approx(0.85)
    for number, frame in enumerate(frames_of(data)):
        middle = frame[15, int(2.5 * number + 5)].astype(int)
        assert np.abs(middle[:3] - [255, 40, 40]).max() < 40, f"frame {number} shows another one"


@pytest.mark.parametrize(("loop", "shown"), [(65_535, 65_535), (65_534, 65_534), (0, 0)])
def test_an_animation_may_be_shown_as_often_as_can_be_said(tmp_path: Path, loop: int, shown: int) -> None:
    data = bytearray(film(tmp_path / "film.gif", moving(2), [50, 50], 7).read_bytes())
    at = data.index(b"NETSCAPE2.0") + 11
    data[at + 2 : at + 4] = loop.to_bytes(2, "little")
    source = tmp_path / "often.gif"
    source.write_bytes(data)
    turned(source, tmp_path, [ANIMATED])
    assert loop_count((tmp_path / "images/a.webp").read_bytes()) in (shown, min(shown + 1, 65_535))


@pytest.mark.parametrize("kind", ["gif", "webp"])
@pytest.mark.parametrize("claimed", [{"frames": 2}, {"frames": 4}, {"height": 61}, {"width": 79}], ids=str)
def test_an_animation_that_is_not_what_its_header_says_is_not_decoded(
    tmp_path: Path, kind: str, claimed: dict[str, Any]
) -> None:
    source = film(tmp_path / f"film.{kind}", moving(3), [50, 50, 50], 0)
    header = replace(examine(str(source), ImageLimits()).header, **claimed)
    with pytest.raises(CorruptMedia):
        opened_frames(str(source), header, None, "srgb")


def test_as_many_frames_as_an_operator_allows_are_kept(tmp_path: Path) -> None:
    frames = [np.full((2, 2, 3), 40 * (number % 2), np.uint8) for number in range(2_001)]
    source = film(tmp_path / "film.webp", frames, [50] * 2_001, 0, lossless=True, mixed=False)
    assert examine(str(source), NO_LIMITS).header.frames == 2_001
    part = {"variants": [ANIMATED | {"formats": [{"name": "webp"}]}]}
    made = turn_image(ImageRequest(str(source), str(tmp_path), part, ImageLimits(max_frames=5_000)))
    assert made.images[0].frames == 2_001


@pytest.mark.parametrize("changes", [[0, 0, 1, 1, 1, 0], [0, 0, 0]], ids=["some", "none"])
def test_frames_that_change_nothing_are_kept(tmp_path: Path, changes: list[int]) -> None:
    # Written frame by frame, because every encoder at hand would join them.
    from PIL import Image

    frames = [Image.fromarray(moving(2)[number]).quantize(32) for number in changes]
    source = tmp_path / "film.gif"
    delays = [100 + 10 * number for number in range(len(frames))]
    _write_gif(source, frames, delays)
    turned(source, tmp_path, [ANIMATED])
    data = (tmp_path / "images/a.webp").read_bytes()
    assert frame_delays_ms(data) == delays
    assert len(frames_of(data)) == len(frames)


def _write_gif(path: Path, frames: list[Any], delays_ms: list[int]) -> None:
    """A GIF in which every frame is whole."""
    from PIL import GifImagePlugin

    with path.open("wb") as file:
        for number, (frame, delay) in enumerate(zip(frames, delays_ms, strict=True)):
            head, _ = GifImagePlugin.getheader(frame)
            if number == 0:
                file.write(b"GIF89a" + b"".join(head)[6:])
            control = b"\x21\xf9\x04\x04" + (delay // 10).to_bytes(2, "little") + b"\0\0"
            file.write(control + b"".join(GifImagePlugin.getdata(frame, include_color_table=True)))
        file.write(b";")


def test_what_was_transparent_is_so_again_in_the_next_frame(tmp_path: Path) -> None:
    source = film(tmp_path / "film.webp", moving(6, channels=4), [100] * 6, 0, lossless=True)
    turned(source, tmp_path, [ANIMATED | {"width": 80}])
    for number, frame in enumerate(frames_of((tmp_path / "images/a.webp").read_bytes())):
        alpha = np.zeros((60, 80), int)
        alpha[20:40, 5 * number : 5 * number + 20] = 255
        assert np.abs(frame[..., 3] - alpha).max() < 8, f"something of another frame is left in frame {number}"


def test_a_background_lies_below_every_frame(tmp_path: Path) -> None:
    source = film(tmp_path / "film.webp", moving(3, channels=4), [100] * 3, 0, lossless=True)
    turned(source, tmp_path, [ANIMATED | {"alpha": "flatten", "background": "#0000ff"}])
    for frame in frames_of((tmp_path / "images/a.webp").read_bytes()):
        assert frame.shape[2] == 3 or frame[..., 3].min() == 255
        assert frame[2, 30, 2] > 240


def test_only_what_changed_is_stored(tmp_path: Path) -> None:
    source = film(tmp_path / "film.webp", moving(6), [100] * 6, 0, lossless=True)
    turned(source, tmp_path, [ANIMATED | {"width": 80}])
    bodies = [body for name, body in riff_chunks((tmp_path / "images/a.webp").read_bytes()) if name == "ANMF"]
    assert int.from_bytes(bodies[0][6:9], "little") + 1 == 80
    assert all(int.from_bytes(body[6:9], "little") + 1 <= 26 for body in bodies[1:])


def test_an_attentive_crop_does_not_follow(tmp_path: Path) -> None:
    source = film(tmp_path / "film.webp", moving(6), [100] * 6, 0, lossless=True)
    variant = ANIMATED | {"fit": "cover", "width": 30, "height": 60, "crop": "attention"}
    turned(source, tmp_path, [variant])
    frames = frames_of((tmp_path / "images/a.webp").read_bytes())
    assert np.abs(frames[0][50:].astype(int) - frames[5][50:]).max() < 8


def test_other_formats_and_other_variants_have_the_first_frame(tmp_path: Path) -> None:
    source = film(tmp_path / "film.gif", moving(6), [100] * 6, 0)
    still = {"name": "s", "width": 40, "formats": ["webp", "png"]}
    result = turned(source, tmp_path, [ANIMATED | {"formats": ["webp", "jpeg"]}, still])
    assert [(one.path, one.frames) for one in result.images] == [
        ("images/a.webp", 6),
        ("images/a.jpg", 1),
        ("images/s.webp", 1),
        ("images/s.png", 1),
    ]
    assert frame_delays_ms((tmp_path / "images/s.webp").read_bytes()) == []


def test_an_animation_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    from pipelines.errors import RejectedMedia

    source = film(tmp_path / "film.webp", moving(6), [100] * 6, 0)
    source.write_bytes(source.read_bytes()[:-40])
    with pytest.raises(RejectedMedia):
        turned(source, tmp_path, [ANIMATED])
