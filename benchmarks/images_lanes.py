"""The farm's own way for pictures: a prepared process for each core, which forks for each batch of them."""

import queue
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import psutil

from cluster.farm_settings import FarmSettings
from cluster.images.process import ImageProcess
from cluster.images.turn import limits_of
from cluster.media_process import Answer, Watch
from cluster.storage import open_storage
from cluster.storage.sources import Sources
from cluster.tools import Tools
from ladders.images import ImagePart
from pipelines.images.limits import ImageLimits
from pipelines.images.turn import ImageRequest, ImageResult


def part_of(sizes: Sequence[int], formats: Sequence[str], quality: int) -> dict[str, Any]:
    """An image part that fits each picture into squares of `sizes`, in each of `formats`."""
    wanted = [{"name": name, "quality": quality} for name in formats]
    variants = [{"name": str(size), "width": size, "height": size, "formats": wanted} for size in sizes]
    return ImagePart.model_validate({"variants": variants}).model_dump(mode="json")


class Lanes:
    """`count` media processes, ready before anything is measured."""

    def __init__(self, count: int, batch: int, settings: FarmSettings) -> None:
        self._batch = batch
        place = open_storage(Path(tempfile.gettempdir()).as_uri(), settings.storage)  # nothing is stored or fetched
        self._limits = limits_of(Tools(place, place, Sources(settings.storage, allowed=None), settings))
        self._starter = ThreadPoolExecutor(1)  # lives as long as the processes: the kernel ends them with its thread
        self._pool = ThreadPoolExecutor(count)
        self._processes = [ImageProcess(self._starter) for _ in range(count)]
        for process in self._processes:
            process.start()

    def run(self, photos: Sequence[str], out: Path, part: dict[str, Any]) -> dict[str, float]:
        """{"wall_s", "cpu_s"} of all; photo number N becomes OUT/N/images/SIZE.SUFFIX."""
        batches: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
        for start in range(0, len(photos), self._batch):
            batches.put(list(range(start, min(start + self._batch, len(photos)))))

        def lane(process: ImageProcess) -> None:
            while True:
                try:
                    numbers = batches.get_nowait()
                except queue.Empty:
                    return
                for number in numbers:
                    self.one(process, photos[number], out / str(number), part, fresh=number == numbers[0])

        used_s, started = _used_s(), time.monotonic()
        list(self._pool.map(lane, self._processes))
        return {"wall_s": time.monotonic() - started, "cpu_s": _used_s() - used_s}

    def first(self, photo: str, out: Path, part: dict[str, Any]) -> Answer[ImageResult]:
        """One picture in a process that has seen no other."""
        return self.one(self._processes[0], photo, out, part, fresh=True)

    def one(
        self, process: ImageProcess, photo: str, out: Path, part: dict[str, Any], *, fresh: bool
    ) -> Answer[ImageResult]:
        """One picture; `fresh` begins a batch."""
        out.mkdir(parents=True, exist_ok=True)
        return process.turn(ImageRequest(photo, str(out), part, ImageLimits()), self._limits, Watch(), fresh=fresh)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.close()
        self._pool.shutdown()
        self._starter.shutdown()


def _used_s() -> float:
    """CPU seconds of this process and of all that it has started, ended ones of theirs included."""
    total = time.process_time()
    for child in psutil.Process().children(recursive=True):
        spent = child.cpu_times()
        total += spent.user + spent.system + spent.children_user + spent.children_system
    return total
