"""`images-gpu`: pictures by DALI against pictures by the processors of the same machine, end to end.

It makes its photos, checks that both ways make the same pictures, measures, and writes the record by which the farm
chooses (pipelines/images/capability.py). Without a GPU it checks the same graph on the processors, and writes nothing.

    python -m benchmarks images-gpu          or, where the farm's video part is not installed,
    python -m benchmarks.images_gpu [--record FILE] [--images 256] [--photos FOLDER]

With `--photos` it measures JPEGs of one's own, together those of about the same megapixels.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.nvimgcodec_limit import decode_rates
from benchmarks.photos import SIZES, photo, photos_for_dali
from benchmarks.ssim import ssim
from ladders.catalog import load_preset
from pipelines.images.capability import ImageSpeed, Speed, save, verdict, versions_here
from pipelines.images.dali_batch import Task
from pipelines.images.dali_engine import DaliEngine
from pipelines.images.engine import Rendered
from pipelines.images.gpu import Gpu, NoGpu, find_gpu, prove_jpeg_engine
from pipelines.images.limits import ImageLimits
from pipelines.images.pillow_engine import PillowEngine
from pipelines.images.turn import ImageRequest, ImageResult, open_image, turn_image
from pipelines.images.turn_batch import BatchTurner

RECIPE = "web"
BATCHES = (1, 32, 128)
DISTINCT = 8  # photos of each size, taken by turns
LEAST_IMAGES = 16  # of a measurement with batches of one
GPU_SHARE = 0.7  # of its memory that batches may take
HOST_BYTES_PER_CORE = 1_500_000_000  # as a farm gives it: three quarters of 4 GB for each lane of 2 cores
RECORD = Path(__file__).parent / "results" / "image-speed.json"


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run."""

    images_per_s: float
    cores_used: float  # CPU seconds a second


@dataclass(frozen=True, slots=True)
class Bench:
    """What all measurements share."""

    folder: Path
    photos: dict[int, list[Path]]  # by megapixels
    part: dict[str, Any]
    cores: int
    images: int  # of one measurement with large batches

    def requests(self, megapixels: int, count: int) -> Iterator[ImageRequest]:
        """`count` of them; each writes to a folder of its own."""
        for number, path in enumerate(islice(cycle(self.photos[megapixels]), count)):
            yield ImageRequest(str(path), str(self.folder / "out" / str(number)), self.part, ImageLimits())


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.images_gpu")
    parser.add_argument("--record", type=Path, default=record_path(), help="where to write: %(default)s")
    parser.add_argument("--images", type=int, default=512, help="pictures of one measurement: %(default)s")
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs, instead of photos that are made")
    asked = parser.parse_args()
    print(json.dumps(compare(asked.record, asked.images, asked.photos), indent=1))
    return 0


def record_path() -> Path:
    """Where the farm looks for it, else beside the other results."""
    return Path(os.environ.get("FARM_IMAGE_SPEED_FILE") or RECORD)


def compare(record: Path, images: int, own: Path | None = None) -> dict[str, Any]:
    """All figures, of made photos or those in the folder `own`. RuntimeError when DALI refuses one."""
    try:
        gpu = find_gpu()
    except NoGpu as error:
        say(f"no GPU: {error}. The graph is checked on the processors, and no record is written.")
        gpu = None
    part = load_preset(RECIPE).image
    assert part is not None, "the recipe is one of pictures"
    with tempfile.TemporaryDirectory() as folder:
        plain = part.model_dump(mode="json")
        if own is not None:
            photos = photos_for_dali(own, plain, say)
        else:
            photos = {size: _photos(Path(folder), size, DISTINCT if gpu else 3) for size in (SIZES if gpu else [2])}
        cores = len(os.sched_getaffinity(0))
        bench = Bench(Path(folder), photos, plain, cores, images if gpu else 6)
        found: dict[str, Any] = {"recipe": RECIPE, "cores": cores, "versions": versions_here()}
        found["gpu"] = asdict(gpu) | {"jpeg_engine": _jpeg_engine()} if gpu else None
        found["photo_bytes"] = {
            size: sum(path.stat().st_size for path in paths) // len(paths) for size, paths in photos.items()
        }
        found["ssim"] = alike = {size: agreement(bench, gpu, size) for size in photos}
        found["one_process_images_per_s"] = {size: by_processes(bench, size, 1).images_per_s for size in photos}
        speeds = list(measured(bench, gpu))
        found["speeds"] = [asdict(speed) for speed in speeds]
        if gpu is None:
            return found | {"record": None}
        found["decode_and_resize"] = [_graph_alone(bench, gpu, size, batch) for size in photos for batch in BATCHES]
        found["nvimagecodec"] = decode_rates(photos, BATCHES, cores)
        made = record_of(gpu, cores, min(alike.values()), speeds)
        save(made, record)
        say(f"{record}: {verdict(made)}")
        return found | {"record": str(record), "verdict": verdict(made)}


def record_of(gpu: Gpu, cores: int, lowest_ssim: float, speeds: Sequence[Speed]) -> ImageSpeed:
    """The record; DALI gets batches of the size that was fastest with the largest photos."""
    largest = max(speed.megapixels for speed in speeds)
    best = max(
        (speed for speed in speeds if speed.engine == "dali" and speed.megapixels == largest),
        key=lambda speed: speed.images_per_s,
    )
    return ImageSpeed(
        device=gpu.name,
        cores=cores,
        recipe=RECIPE,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions_here(),
        batch=best.batch,
        lowest_ssim=lowest_ssim,
        speeds=tuple(speeds),
    )


def measured(bench: Bench, gpu: Gpu | None) -> Iterator[Speed]:
    """End to end: from the file to the encoded variants."""
    for size in bench.photos:
        run = by_processes(bench, size, bench.cores)
        yield Speed("cpu", size, 1, run.images_per_s, run.cores_used)
        engine = _engine(bench, gpu)
        for batch in BATCHES if gpu else (4,):
            run = by_dali(bench, engine, size, batch)
            say(f"DALI {size} MP, batch {batch}: {run}")
            yield Speed("dali", size, batch, run.images_per_s, run.cores_used)
        engine.close()


def by_processes(bench: Bench, megapixels: int, processes: int) -> Run:
    """The CPU way: so many processes, each picture for itself."""
    requests = list(bench.requests(megapixels, bench.images if processes > 1 else min(bench.images, LEAST_IMAGES)))
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        list(pool.map(_turned_alone, requests[: 2 * processes]))  # imports, first allocations
        shutil.rmtree(bench.folder / "out")
        used: list[float] = []
        wall_s = _wall(lambda: used.extend(pool.map(_turned_alone, requests)))
    shutil.rmtree(bench.folder / "out")
    run = Run(len(requests) / wall_s, sum(used) / wall_s)
    say(f"CPU {megapixels} MP, {processes} processes: {run}")
    return run


def by_dali(bench: Bench, engine: DaliEngine, megapixels: int, batch: int) -> Run:
    """Batches by DALI, encoded by threads of the same process while the next batch is decoded."""
    count = bench.images if batch > 1 else min(bench.images, LEAST_IMAGES)
    # A record that sends everything to DALI, in batches of the size to be measured.
    speeds = (Speed("cpu", megapixels, 1, 1, 1), Speed("dali", megapixels, 1, 2, 1))
    always = ImageSpeed("", 0, RECIPE, "", {}, batch, 1.0, speeds)
    turner = BatchTurner(engine, always, bench.cores)
    _all_by_dali(turner, bench.requests(megapixels, min(count, 2 * batch)))
    shutil.rmtree(bench.folder / "out")
    before_s = time.process_time()
    wall_s = _wall(lambda: _all_by_dali(turner, bench.requests(megapixels, count)))
    shutil.rmtree(bench.folder / "out")
    return Run(count / wall_s, (time.process_time() - before_s) / wall_s)


def agreement(bench: Bench, gpu: Gpu | None, megapixels: int) -> float:
    """The lowest SSIM between DALI's and Pillow's stills. RuntimeError when DALI refuses a picture."""
    engine = _engine(bench, gpu)
    tasks = list(_tasks(bench, megapixels, len(bench.photos[megapixels])))
    (outcomes,) = engine.run([tasks])
    lowest = 1.0
    for task, outcome in zip(tasks, outcomes, strict=True):
        if not isinstance(outcome, Rendered):
            raise RuntimeError(outcome.reason)
        theirs = PillowEngine().render(task.path, task.header, task.wanted).stills
        lowest = min(lowest, *(ssim(still, theirs[spec]) for spec, still in outcome.stills.items()))
    engine.close()
    say(f"{megapixels} MP: SSIM between both ways at least {lowest:.4f}")
    return lowest


def _graph_alone(bench: Bench, gpu: Gpu, megapixels: int, batch: int) -> dict[str, Any]:
    """DALI without the encoders: what is left when they are not the limit."""
    engine = _engine(bench, gpu)
    count = max(2 * batch, LEAST_IMAGES)
    tasks = list(_tasks(bench, megapixels, count))
    _drain(engine.run(engine.batches(tasks[: 2 * batch], batch)))
    before_s = time.process_time()
    wall_s = _wall(lambda: _drain(engine.run(engine.batches(tasks, batch))))
    engine.close()
    used = (time.process_time() - before_s) / wall_s
    return {"megapixels": megapixels, "batch": batch, "images_per_s": count / wall_s, "cores_used": used}


def _engine(bench: Bench, gpu: Gpu | None) -> DaliEngine:
    if gpu is None:
        return DaliEngine(device_id=None, threads=bench.cores)
    memory, host = int(gpu.memory_bytes * GPU_SHARE), HOST_BYTES_PER_CORE * bench.cores
    return DaliEngine(device_id=0, threads=bench.cores, memory_bytes=memory, host_bytes=host)


def _tasks(bench: Bench, megapixels: int, count: int) -> Iterator[Task]:
    for request in bench.requests(megapixels, count):
        opened = open_image(request, dali=True)
        yield Task(request.source_path, opened.found.header, opened.wanted)


def _all_by_dali(turner: BatchTurner, requests: Iterable[ImageRequest]) -> None:
    for _, result in turner.turn(list(requests)):
        if not isinstance(result, ImageResult):
            raise result
        if result.engine != "dali":
            raise RuntimeError(result.why)


def _turned_alone(request: ImageRequest) -> float:
    """Seconds of this process that one picture took."""
    before_s = time.process_time()
    turn_image(request)
    return time.process_time() - before_s


def _photos(folder: Path, megapixels: int, count: int) -> list[Path]:
    """Made on all cores: one of 12 megapixels takes seconds."""
    say(f"making {count} photos of {megapixels} megapixels")
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        made = pool.map(partial(photo, megapixels), range(count))
        paths = [folder / f"{megapixels}-{number}.jpg" for number in range(count)]
        for path, content in zip(paths, made, strict=True):
            path.write_bytes(content)
    return paths


def _jpeg_engine() -> str:
    try:
        prove_jpeg_engine()
    except NoGpu as error:
        return str(error)
    return "decodes"


def _wall(do: Callable[[], object]) -> float:
    started = time.monotonic()
    do()
    return time.monotonic() - started


def _drain(outcomes: Iterable[object]) -> None:
    for _ in outcomes:
        pass


def say(line: str) -> None:
    """To a person who waits; the figures go to stdout."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
