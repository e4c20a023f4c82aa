"""Batches from the files to the files, by DALI on the processors and on a GPU; and what is left for other processes."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
import pyvips
from PIL import Image

from benchmarks.photos import picture
from benchmarks.ssim import ssim

pytest.importorskip("nvidia.dali", reason="DALI is installed on GPU nodes and for development, on Linux only")

from pipelines.errors import CorruptMedia, MediaError, MediaProcessFailed
from pipelines.images import turn_batch
from pipelines.images.capability import ImageSpeed, Speed
from pipelines.images.dali_engine import DaliEngine
from pipelines.images.engine import Rendered
from pipelines.images.limits import ImageLimits
from pipelines.images.request import ImageRequest, ImageResult, NotDone
from pipelines.images.turn import Opened, finish, turn_image
from pipelines.images.turn_batch import BatchTurner
from tests.support.gpu import HAS_DRIVER

SIZE = (1_200, 900)
MEGAPIXELS = SIZE[0] * SIZE[1] / 1e6
ALWAYS = ImageSpeed(
    device="none",
    cores=2,
    recipe="web",
    measured_at="2026-11-26T12:00:00+00:00",
    versions={},
    batch=4,
    lowest_ssim=1.0,
    speeds=(Speed("cpu", MEGAPIXELS, 1, 1.0, 1.0), Speed("dali", MEGAPIXELS, 1, 2.0, 1.0)),
)
PART = {
    "variants": [
        {"name": "large", "width": 800, "formats": [{"name": "webp"}, {"name": "jpeg"}]},
        {"name": "small", "width": 200, "formats": [{"name": "webp"}]},
        {"name": "square", "fit": "cover", "width": 160, "height": 160, "formats": [{"name": "jpeg"}]},
    ]
}


@pytest.fixture(scope="module")
def photo() -> bytes:
    file = BytesIO()
    picture(SIZE, seed=5).save(file, "JPEG", quality=90)
    return file.getvalue()


def request(folder: Path, name: str, content: bytes) -> ImageRequest:
    path = folder / name
    path.write_bytes(content)
    return ImageRequest(str(path), str(folder / f"{name}-out"), PART, ImageLimits())


def png(size: tuple[int, int]) -> bytes:
    file = BytesIO()
    picture(size, seed=6).save(file, "PNG")
    return file.getvalue()


def turned(turner: BatchTurner, *requests: ImageRequest) -> list[ImageResult | MediaError | NotDone]:
    found = dict(turner.turn(requests))
    return [found[number] for number in range(len(requests))]


def opened(path: Path) -> Image.Image:
    """By libvips: this Pillow reads no WebP."""
    picture = pyvips.Image.new_from_file(str(path)).colourspace("srgb")
    return Image.frombytes("RGB", (picture.width, picture.height), picture.write_to_memory())


def test_dali_makes_the_same_pictures_as_the_engine_for_single_ones(
    engine: DaliEngine, photo: bytes, tmp_path: Path
) -> None:
    single = request(tmp_path, "single.jpg", photo)
    expected = turn_image(single)

    results = turned(BatchTurner(engine, ALWAYS, threads=2), request(tmp_path, "a.jpg", photo))

    (result,) = results
    assert isinstance(result, ImageResult)
    assert (result.engine, expected.engine) == ("dali", "pillow")
    assert result.facts == replace(expected.facts, looks=result.facts.looks)
    assert [one.path for one in result.images] == [one.path for one in expected.images]
    for made, wanted in zip(result.images, expected.images, strict=True):
        ours, theirs = opened(tmp_path / "a.jpg-out" / made.path), opened(tmp_path / "single.jpg-out" / wanted.path)
        assert ours.size == theirs.size == (made.width, made.height)
        # Two encodings of grain differ more than what was encoded: see the test of the engine.
        assert ssim(ours, theirs) >= 0.9


def test_a_batch_of_all_kinds_gives_each_its_own_outcome(engine: DaliEngine, photo: bytes, tmp_path: Path) -> None:
    requests = [request(tmp_path, f"{number}.jpg", photo) for number in range(9)]
    Path(requests[3].source_path).write_bytes(photo[: len(photo) // 2])  # cut off
    Path(requests[5].source_path).write_bytes(png(SIZE))  # not for DALI
    Path(requests[6].source_path).write_bytes(b"no picture")

    results = turned(BatchTurner(engine, ALWAYS, threads=2), *requests)

    assert [one.engine if isinstance(one, ImageResult) else type(one) for one in results] == [
        *["dali"] * 3,
        NotDone,  # whether it is rejected is for the others to say
        "dali",
        NotDone,
        NotDone,
        *["dali"] * 2,
    ]
    assert "DALI" in str(results[3])
    assert str(results[5]) == "not a JPEG"


def test_nothing_but_what_passed_the_gate_is_decoded_here(
    engine: DaliEngine, photo: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded(*_: object, **__: object) -> None:
        raise AssertionError("a picture was opened by another engine than DALI")

    for single in ("pipelines.images.pillow_engine.PillowEngine", "pipelines.images.vips_engine.VipsEngine"):
        monkeypatch.setattr(f"{single}.render", decoded)
    alpha = BytesIO()
    Image.new("RGBA", (64, 64)).save(alpha, "PNG")
    requests = [request(tmp_path, "a.jpg", photo), request(tmp_path, "alpha.png", alpha.getvalue())]
    requests += [request(tmp_path, "cut.jpg", photo[: len(photo) // 2])]

    results = turned(BatchTurner(engine, ALWAYS, threads=2), *requests)

    assert [type(one) for one in results] == [ImageResult, NotDone, NotDone]
    assert str(results[1]) == "not a JPEG"
    assert [path.name for path in sorted(tmp_path.glob("*-out"))] == ["a.jpg-out"]


def test_what_was_not_measured_to_pay_is_left_to_the_processors(
    engine: DaliEngine, photo: bytes, tmp_path: Path
) -> None:
    built = engine.built

    (result,) = turned(BatchTurner(engine, None, threads=1), request(tmp_path, "a.jpg", photo))

    assert isinstance(result, NotDone)
    assert str(result) == "no measurement says that DALI would be faster"
    assert engine.built == built


def test_what_nobody_foresaw_costs_the_other_pictures_nothing(
    engine: DaliEngine, photo: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(opened: Opened, rendered: Rendered) -> ImageResult:
        if "odd" in opened.request.source_path:
            raise MemoryError
        if "bad" in opened.request.source_path:
            raise CorruptMedia("bad")
        return finish(opened, rendered)

    monkeypatch.setattr(turn_batch, "finish", fails)
    requests = [request(tmp_path, name, photo) for name in ("a.jpg", "odd.jpg", "bad.jpg", "b.jpg")]

    results = turned(BatchTurner(engine, ALWAYS, threads=2), *requests)

    assert [type(one) for one in results] == [ImageResult, NotDone, CorruptMedia, ImageResult]


def test_a_gpu_that_does_not_work_is_no_picture_s_error(photo: bytes, tmp_path: Path) -> None:
    if HAS_DRIVER:
        pytest.skip("this machine has an NVIDIA driver")
    broken = BatchTurner(DaliEngine(device_id=0, threads=1), ALWAYS, threads=1)
    requests = [request(tmp_path, "odd.png", png(SIZE)), request(tmp_path, "a.jpg", photo)]

    turning = broken.turn(requests)

    number, left = next(turning)
    assert (number, type(left)) == (0, NotDone)
    with pytest.raises(MediaProcessFailed, match="DALI does not work here"):
        next(turning)
