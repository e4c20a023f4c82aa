"""An engine: the prepared media processes of one machine, and the turning of batches in them."""

import queue
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from cluster.errors import InfraError
from cluster.farm_settings import FarmSettings
from cluster.images.gpu_lane import GpuLane
from cluster.images.picture import Picture, Tell
from cluster.images.process import ImageProcess
from cluster.scratch import sweep_dead, workdir
from cluster.work import Work
from pipelines.errors import MediaError

MOST_EARLY = 1000  # cancels that came before their pictures, or long after; one that is kept too long costs a retry
PUBLISHERS = 4  # beside each media process: publishing waits for disks and networks, not for the CPU


class ImageEngine:
    """`lanes` batches at once, each in a process of its own; one of them on the GPU where that was measured to pay."""

    def __init__(
        self, settings: FarmSettings, lanes: int, *, most: int | None = None, device_id: int | None = 0
    ) -> None:
        """`most`: pictures of one batch, as the settings say unless given. `device_id`: the GPU, of those that
        the container shows; None has DALI run on the processors, for tests."""
        self._settings = settings
        self._idle: queue.SimpleQueue[ImageProcess] = queue.SimpleQueue()
        self._pictures: dict[str, Picture] = {}
        self._cancelled: set[str] = set()
        self._publishers = ThreadPoolExecutor(PUBLISHERS * lanes, thread_name_prefix="publish")
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="start")
        self._processes = [ImageProcess(self._starter) for _ in range(lanes)]
        sweep_dead(settings.work.scratch_dir)
        with ThreadPoolExecutor(lanes) as starting:  # together: hundreds one after the other would take minutes
            list(starting.map(ImageProcess.start, self._processes))
        for process in self._processes:
            self._idle.put(process)
        most = settings.work.image_batch if most is None else most
        self._gpu = GpuLane.open(settings.work, lanes, most, self._starter, device_id)

    def turn(self, works: Sequence[Work], tell: Tell) -> None:
        """Turn the pictures of `works`; `tell` is called from several threads.

        One bad picture never fails another: whatever goes wrong with it is told of it alone.
        """
        pictures = [Picture(work, self._settings, tell) for work in works]
        for picture in pictures:
            self._pictures[picture.work.job_id] = picture
            if picture.work.job_id in self._cancelled:  # it was heard of before the picture
                self._cancelled.discard(picture.work.job_id)
                picture.watch.cancelled.set()
        try:
            with ExitStack() as held:
                left: Sequence[Picture] = pictures
                publishing: list[Future[None]] = []
                if self._gpu is not None:
                    left, publishing = self._gpu.turn(pictures, held, self._publishers)
                self._by_processors(left)
                for done in publishing:
                    done.result()
        finally:
            for picture in pictures:
                if self._pictures.get(picture.work.job_id) is picture:  # not the same job's next try
                    del self._pictures[picture.work.job_id]

    def cancel(self, job_id: str) -> None:
        """End what is done for that job; at once, whatever it is."""
        picture = self._pictures.get(job_id)
        if picture is not None:
            picture.watch.cancelled.set()
        elif len(self._cancelled) < MOST_EARLY:
            self._cancelled.add(job_id)

    def close(self) -> None:
        """End the media processes."""
        self._publishers.shutdown()
        for process in self._processes:
            process.close()
        if self._gpu is not None:
            self._gpu.close()
        self._starter.shutdown()

    def _by_processors(self, pictures: Sequence[Picture]) -> None:
        """One after the other; each is published beside the next one's turning."""
        if not pictures:
            return
        process = self._idle.get()
        try:
            # One for all: to make, lock and remove a folder costs as much as to publish a small picture.
            with workdir(self._settings.work.scratch_dir) as folder:
                self._one_by_one(pictures, process, folder)
        except (MediaError, InfraError) as error:
            for picture in pictures:
                picture.failed(error)
        finally:
            process.end_batch()
            self._idle.put(process)

    def _one_by_one(self, pictures: Sequence[Picture], process: ImageProcess, folder: Path) -> None:
        publishing: list[Future[None]] = []
        org = None
        for number, picture in enumerate(pictures):
            # Pictures of one batch and org share a process; a stranger's never comes before another one's.
            left_to_do = picture.turn(process, folder / str(number), fresh=picture.work.org != org)
            publishing.append(self._publishers.submit(left_to_do))
            org = picture.work.org
        for done in publishing:
            done.result()
