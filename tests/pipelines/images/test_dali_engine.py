"""DALI's graph, on the processors and on a GPU."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.photos import picture
from benchmarks.ssim import ssim
from pipelines.images.engine import Rendered, StillSpec

pytest.importorskip("nvidia.dali", reason="DALI is installed on GPU nodes and for development, on Linux only")

from pipelines.errors import MediaProcessFailed
from pipelines.images.dali_batch import Refused, Task
from pipelines.images.dali_engine import BYTES_PER_PIXEL, BYTES_PER_STILL_PIXEL, FAILED_RUNS, DaliEngine
from pipelines.images.dali_graph import BATCHES, Cascade, GraphShape
from pipelines.images.pillow_engine import PillowEngine
from tests.support.dali import ALIKE, jpeg, one, rendered, task, whole
from tests.support.gpu import HAS_DRIVER


@pytest.fixture(scope="module")
def landscape() -> Image.Image:
    return picture((640, 480), seed=1)


def test_every_size_looks_like_one_resize_of_the_whole_picture(
    engine: DaliEngine, landscape: Image.Image, tmp_path: Path
) -> None:
    source = jpeg(landscape)
    sizes = ((480, 360), (320, 240), (160, 120), (80, 60))

    (outcome,) = one(engine, task(tmp_path / "a.jpg", source, whole(*sizes)))

    original = Image.open(BytesIO(source)).convert("RGB")
    for spec, still in rendered(outcome).stills.items():
        assert still.size == spec.size
        assert still.mode == "RGB"
        assert ssim(still, original.resize(spec.size, Image.Resampling.LANCZOS)) >= ALIKE


@pytest.mark.parametrize(("size", "sizes"), [((2_016, 1_512), ((800, 600), (400, 300))), ((640, 480), ((480, 360),))])
def test_its_pictures_are_those_of_the_engine_for_single_ones(
    engine: DaliEngine, tmp_path: Path, size: tuple[int, int], sizes: tuple[tuple[int, int], ...]
) -> None:
    asked = task(tmp_path / "a.jpg", jpeg(picture(size, seed=4)), whole(*sizes))

    (outcome,) = one(engine, asked)

    theirs = PillowEngine().render(asked.path, asked.header, asked.wanted).stills
    for spec, still in rendered(outcome).stills.items():
        assert ssim(still, theirs[spec]) >= ALIKE


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(
    engine: DaliEngine, landscape: Image.Image, tmp_path: Path, orientation: int
) -> None:
    # What a camera stores that is held so: the upright picture, turned back.
    back = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = landscape if back is None else landscape.transpose(back)

    (outcome,) = one(engine, task(tmp_path / "a.jpg", jpeg(stored, orientation), whole((320, 240))))

    (still,) = rendered(outcome).stills.values()
    assert ssim(still, landscape.resize((320, 240), Image.Resampling.LANCZOS)) >= ALIKE


def test_a_batch_may_mix_sizes_shapes_and_what_is_wanted(engine: DaliEngine, tmp_path: Path) -> None:
    portrait, wide, small = (picture(size, seed=2) for size in ((300, 500), (701, 203), (64, 64)))
    cover = StillSpec(scaled=(150, 250), size=(150, 150))
    squeezed = StillSpec(scaled=(100, 200), size=(100, 200))
    tasks = [
        task(tmp_path / "a.jpg", jpeg(portrait), [*whole((240, 400)), cover]),
        # Another shape, higher than the one before it: it is made from the whole picture.
        task(tmp_path / "b.jpg", jpeg(wide), [*whole((350, 101)), squeezed, *whole((70, 20))]),
        task(tmp_path / "c.jpg", jpeg(small.convert("L")), whole((64, 64))),
    ]

    outcomes = one(engine, *tasks)

    for source, wanted, outcome in zip(
        (portrait, wide, small.convert("L").convert("RGB")), tasks, outcomes, strict=True
    ):
        stills = rendered(outcome).stills
        assert list(stills) == list(wanted.wanted)
        for spec, still in stills.items():
            assert still.size == spec.size
            left, top = ((whole - part) // 2 for whole, part in zip(spec.scaled, spec.size, strict=True))
            expected = source.resize(spec.scaled, Image.Resampling.LANCZOS)
            assert ssim(still, expected.crop((left, top, left + spec.size[0], top + spec.size[1]))) >= 0.97


def test_graphs_are_kept_between_batches(landscape: Image.Image, tmp_path: Path) -> None:
    engine = DaliEngine(device_id=None, threads=2)
    source = jpeg(landscape)
    two = [task(tmp_path / f"{name}.jpg", source, whole((160, 120), (80, 60))) for name in range(5)]
    smaller = [task(tmp_path / "small.jpg", source, whole((40, 30)))]

    batches = list(engine.run([two, smaller, two[:2], smaller, two]))

    assert [len(outcomes) for outcomes in batches] == [5, 1, 2, 1, 5]
    assert all(isinstance(outcome, Rendered) for outcomes in batches for outcome in outcomes)
    assert engine.built == 1
    engine.close()


def test_the_next_batch_is_begun_before_a_batch_is_given_out(
    engine: DaliEngine, landscape: Image.Image, tmp_path: Path
) -> None:
    source = jpeg(landscape)
    asked: list[int] = []

    def batches() -> Iterator[list[Task]]:
        for number in range(3):
            asked.append(number)
            yield [task(tmp_path / f"{number}.jpg", source, whole((80, 60)))]

    given = engine.run(batches())
    next(given)
    assert asked == [0, 1]
    given.close()
    # A batch that nobody fetched does not come out as the next one's.
    (outcome,) = one(engine, task(tmp_path / "after.jpg", source, whole((64, 48))))
    assert [still.size for still in rendered(outcome).stills.values()] == [(64, 48)]


def png() -> bytes:
    file = BytesIO()
    Image.new("RGB", (640, 480)).save(file, "PNG")
    return file.getvalue()


def of_many_bits(source: bytes) -> bytes:
    """Its frame header says 161 bits a channel: DALI 2.4 dies of it in a batch of 32."""
    frame = source.index(b"\xff\xc0")
    return source[: frame + 4] + b"\xa1" + source[frame + 5 :]


BAD: dict[str, Callable[[bytes], bytes]] = {
    "cut in half": lambda source: source[: len(source) // 2],
    "cut in its header": lambda source: source[:100],
    "no picture at all": lambda _: b"GIF89a, or so it says" * 20,
    "of many bits": of_many_bits,
    "a PNG": lambda _: png(),
    "nothing": lambda _: b"",
}


@pytest.mark.parametrize("how", BAD)
def test_a_bad_picture_comes_back_refused_and_the_others_are_made(
    engine: DaliEngine, landscape: Image.Image, tmp_path: Path, how: str
) -> None:
    source = jpeg(landscape)
    tasks = [task(tmp_path / f"{place}.jpg", source, whole((160, 120), (80, 60))) for place in range(40)]
    Path(tasks[23].path).write_bytes(BAD[how](source))

    first, second = engine.run([tasks, tasks[:2]])

    assert [place for place, outcome in enumerate(first) if isinstance(outcome, Refused)] == [23]
    refused = first[23]
    assert isinstance(refused, Refused)
    assert "DALI" in refused.reason
    assert all(isinstance(outcome, Rendered) for outcome in second)  # the batch that was behind it


def test_a_picture_of_another_size_than_its_header_said_is_refused_alone(
    engine: DaliEngine, landscape: Image.Image, tmp_path: Path
) -> None:
    source = jpeg(landscape)
    honest = task(tmp_path / "a.jpg", source, whole((160, 120)))
    lying = task(tmp_path / "b.jpg", source, whole((160, 120)), size=(1_280, 960))

    outcomes = one(engine, honest, lying, honest)

    assert [isinstance(outcome, Refused) for outcome in outcomes] == [False, True, False]
    assert outcomes[1] == Refused("DALI finds 640×480 in it, and its header says 1280×960")


def test_many_bad_pictures_do_not_keep_it_busy_for_ever(
    engine: DaliEngine, landscape: Image.Image, tmp_path: Path
) -> None:
    source = jpeg(landscape)
    bad = task(tmp_path / "bad.jpg", source, whole((80, 60)))
    good = task(tmp_path / "good.jpg", source, whole((80, 60)))
    Path(bad.path).write_bytes(source[: len(source) // 2])
    built = engine.built

    outcomes = one(engine, *[bad] * 60, *[good] * 4)

    assert all(isinstance(outcome, Refused) for outcome in outcomes[:60])
    assert engine.built - built <= FAILED_RUNS + 2


def test_a_bad_picture_that_is_alone_is_refused(engine: DaliEngine, landscape: Image.Image, tmp_path: Path) -> None:
    source = jpeg(landscape)
    bad = task(tmp_path / "bad.jpg", source, whole((80, 60)))
    for content in (source[: len(source) // 2], b"\xff"):
        Path(bad.path).write_bytes(content)
        assert isinstance(one(engine, bad)[0], Refused)


def test_batches_are_bounded_by_count_and_by_memory(landscape: Image.Image, tmp_path: Path) -> None:
    pixels = landscape.width * landscape.height
    engine = DaliEngine(device_id=None, threads=1, memory_bytes=3 * pixels * BYTES_PER_PIXEL)
    small = task(tmp_path / "small.jpg", jpeg(landscape.resize((64, 48))), whole((8, 6)))
    large = task(tmp_path / "large.jpg", jpeg(landscape.resize((1_920, 1_440))), whole((8, 6)))
    medium = task(tmp_path / "medium.jpg", jpeg(landscape), whole((8, 6)))

    assert [len(batch) for batch in engine.batches([small] * 9, count=4)] == [4, 4, 1]
    assert [len(batch) for batch in engine.batches([medium] * 7)] == [3, 3, 1]
    assert [len(batch) for batch in engine.batches([small, large, small, small])] == [1, 1, 2]
    assert list(engine.batches([])) == []

    engine = DaliEngine(device_id=None, threads=1, host_bytes=2 * 8 * 6 * BYTES_PER_STILL_PIXEL)
    assert [len(batch) for batch in engine.batches([small] * 5)] == [2, 2, 1]


def test_a_gpu_that_is_not_there_is_no_bad_picture(landscape: Image.Image, tmp_path: Path) -> None:
    if HAS_DRIVER:
        pytest.skip("this machine has an NVIDIA driver")
    engine = DaliEngine(device_id=0, threads=1)

    with pytest.raises(MediaProcessFailed, match="DALI does not work here"):
        one(engine, task(tmp_path / "a.jpg", jpeg(landscape), whole((80, 60))))


def test_sizes_fall_from_step_to_step_and_what_does_not_fit_stands_apart() -> None:
    assert Cascade.of([(80, 60), (320, 240), (80, 60), (160, 120)]) == Cascade(((320, 240), (160, 120), (80, 60)), ())
    assert Cascade.of([(320, 240), (100, 300)]) == Cascade(((320, 240),), ((100, 300),))


def test_a_graph_takes_what_needs_no_more_than_it_has() -> None:
    shape = GraphShape.for_batch([Cascade(((2, 2), (1, 1)), ()), Cascade(((2, 2),), ((1, 3),))] * 5)

    assert shape == GraphShape(batch=32, chain=2, apart=1)
    assert shape.takes(GraphShape(8, 1, 0))
    assert not shape.takes(GraphShape(8, 3, 0))
    with pytest.raises(ValueError, match="not 257"):
        GraphShape.for_batch([Cascade((), ())] * (BATCHES[-1] + 1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_whose_data_ends_early_is_refused(
    engine: DaliEngine, landscape: Image.Image, tmp_path: Path, orientation: int
) -> None:
    source = jpeg(landscape, orientation)
    early = source[: int(len(source) * 0.7)] + b"\xff\xd9"
    wanted = whole((240, 180) if orientation < 5 else (180, 240))
    sound, refused = one(engine, task(tmp_path / "1.jpg", source, wanted), task(tmp_path / "2.jpg", early, wanted))
    assert (type(sound), type(refused)) == (Rendered, Refused)
