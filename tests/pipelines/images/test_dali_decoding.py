"""What a JPEG may be like, for the decoders that DALI has on processors and on a GPU."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.photos import picture
from benchmarks.ssim import ssim

pytest.importorskip("nvidia.dali", reason="DALI is installed on GPU nodes and for development, on Linux only")

from pipelines.images.dali_batch import Refused, Task
from pipelines.images.dali_engine import DaliEngine
from pipelines.images.engine import Rendered
from pipelines.images.pillow_engine import PillowEngine
from tests.support.dali import ALIKE, jpeg, one, rendered, task, whole

SIZE = (1_024, 768)
THUMBNAIL = (256, 192)


@pytest.fixture(scope="module")
def landscape() -> Image.Image:
    return picture(SIZE, seed=7)


CODINGS: dict[str, dict[str, Any]] = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "restart markers": {"subsampling": 2, "restart_marker_blocks": 7},
    "restart markers in each row": {"subsampling": 1, "restart_marker_rows": 1},
    "its own Huffman tables": {"subsampling": 2, "optimize": True},
    "hardly compressed": {"subsampling": 0, "quality": 100},
    "very small": {"subsampling": 2, "quality": 20},
}


@pytest.mark.parametrize("coding", CODINGS)
def test_however_a_jpeg_is_coded_its_picture_is_the_one_of_the_engine_for_single_ones(
    engine: DaliEngine, landscape: Image.Image, tmp_path: Path, coding: str
) -> None:
    asked = task(tmp_path / "a.jpg", jpeg(landscape, **CODINGS[coding]), whole((512, 384), THUMBNAIL))

    outcomes = one(engine, asked, asked, asked)

    theirs = PillowEngine().render(asked.path, asked.header, asked.wanted).stills
    for outcome in outcomes:
        for spec, still in rendered(outcome).stills.items():
            assert ssim(still, theirs[spec]) >= ALIKE


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (17, 33), (1_023, 767), (4_001, 31), (31, 4_001), (5_000, 4_000)])
def test_a_picture_may_have_any_size(engine: DaliEngine, landscape: Image.Image, tmp_path: Path, size: Any) -> None:
    content = jpeg(landscape.resize(size), subsampling=2)
    small = tuple(max(1, side // 4) for side in size)
    asked = task(tmp_path / "a.jpg", content, whole(size, (small[0], small[1])))

    (outcome,) = one(engine, asked)

    for spec, still in rendered(outcome).stills.items():
        assert still.size == spec.size
        if min(spec.size) >= 8:
            expected = Image.open(BytesIO(content)).resize(spec.size, Image.Resampling.LANCZOS)
            assert ssim(still, expected) >= ALIKE


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_picture_that_lacks_data_is_refused_however_it_is_coded(
    engine: DaliEngine, landscape: Image.Image, tmp_path: Path, subsampling: int
) -> None:
    content = jpeg(landscape, subsampling=subsampling)
    parts = [content, *(broken(content, f"ends after {percent} %") for percent in (5, 50, 90, 99))]

    outcomes = one(engine, *[task(tmp_path / f"{n}.jpg", part, whole(THUMBNAIL)) for n, part in enumerate(parts)])

    assert [type(outcome) for outcome in outcomes] == [Rendered, *[Refused] * 4]


def pixels(outcome: Rendered | Refused) -> list[np.ndarray] | None:
    return None if isinstance(outcome, Refused) else [np.asarray(still) for still in outcome.stills.values()]


def broken(content: bytes, how: str) -> bytes:
    scan = content.index(b"\xff\xda")
    if how == "a part is zeros":
        middle = (scan + len(content)) // 2
        return content[:middle] + bytes(len(content) // 20) + content[middle + len(content) // 20 :]
    if how == "a part is gone":
        middle = (scan + len(content)) // 2
        return content[:middle] + content[middle + len(content) // 20 :]
    if how == "bits are turned":
        random = np.random.default_rng(3)
        data = bytearray(content)
        for place in random.integers(scan + 20, len(content) - 2, 40):
            data[place] ^= 1 << int(random.integers(8))
        return bytes(data).replace(b"\xff\xd9", b"\xff\x00") + b"\xff\xd9"
    share = float(how.removeprefix("ends after ").removesuffix(" %")) / 100
    return content[: scan + int((len(content) - scan) * share)] + b"\xff\xd9"


BREAKS = ["a part is zeros", "a part is gone", "bits are turned", *(f"ends after {n} %" for n in (5, 30, 60, 90, 99))]


@pytest.mark.parametrize("how", BREAKS)
def test_where_data_is_missing_nothing_of_another_picture_is_seen(
    engine: DaliEngine, landscape: Image.Image, tmp_path: Path, how: str
) -> None:
    wanted = whole((512, 384), THUMBNAIL)
    bad = task(tmp_path / "bad.jpg", broken(jpeg(landscape, subsampling=2), how), wanted)
    before: list[Task] = [
        task(tmp_path / f"{color}.jpg", jpeg(Image.new("RGB", SIZE, color), subsampling=2), wanted)
        for color in ("red", "blue")
    ]

    found = []
    for other in before:
        for _ in range(3):
            one(engine, *[other] * 8)
        found.append(one(engine, other, bad, other, bad))

    after_red, after_blue = found
    for outcomes, color in ((after_red, (254, 0, 0)), (after_blue, (0, 0, 254))):
        for place in (0, 2):  # the good ones
            (still, _) = rendered(outcomes[place]).stills.values()
            assert still.getpixel((100, 100)) == pytest.approx(color, abs=3)
    for place in (1, 3):
        one_way, other_way = pixels(after_red[place]), pixels(after_blue[place])
        assert (one_way is None) == (other_way is None)
        assert one_way is None or other_way is None or all(map(np.array_equal, one_way, other_way))
