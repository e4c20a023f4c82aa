"""The GPU of a node as the engine uses it: which batches go there, and what becomes of them."""

import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self

from cluster.errors import InfraError
from cluster.farm_settings import WorkSettings
from cluster.images.gpu_process import GpuOutcome, GpuProcess
from cluster.images.picture import Picture
from cluster.images.turn import limits_of_picture
from cluster.media_process import Answer
from cluster.scratch import workdir
from pipelines.errors import MediaError
from pipelines.images.capability import least_batch, load
from pipelines.images.request import GpuSetup, ImageRequest, NotDone

BUSY = "the GPU had another batch"

log = logging.getLogger(__name__)


class GpuLane:
    """One batch at a time.

    A batch that finds the GPU busy does not wait for it. It holds a slot, one core's worth, on which a chunk of a video
    could be encoded meanwhile; while the GPU decodes, the cores wait for it, and the other way round, so that there
    is room for both; and a GPU that hangs would hold up everybody.
    """

    def __init__(self, process: GpuProcess, least: int, scratch_dir: Path) -> None:
        """`least`: a batch of fewer pictures is not worth the GPU's while."""
        self._process = process
        self._least = least
        self._scratch_dir = scratch_dir
        self._free = threading.Lock()

    @classmethod
    def open(
        cls, settings: WorkSettings, lanes: int, most: int, starter: Executor, device_id: int | None
    ) -> Self | None:
        """What the settings ask for; None where the processors are to turn all pictures. The log has the reason."""
        file = settings.image_speed_file
        if file is None:
            return None
        try:
            least = least_batch(load(file))
        except (OSError, ValueError) as error:
            log.warning("the processors turn all pictures (FARM_IMAGE_SPEED_FILE): %s", error)
            return None
        if least is None or least > most:
            why = "pays for no picture" if least is None else f"pays from {least} pictures on, and batches have {most}"
            log.info("the processors turn all pictures: DALI %s (FARM_IMAGE_BATCH, %s)", why, file)
            return None
        limits = limits_of_picture(settings)
        # All lanes' pictures are in this one process.
        limits = replace(limits, memory_bytes=limits.memory_bytes * lanes)
        setup = GpuSetup(str(file.absolute()), device_id, len(os.sched_getaffinity(0)), limits, os.getpid())
        process = GpuProcess(setup, starter)
        return cls(process, least, settings.scratch_dir) if process.start() else None

    def turn(
        self, pictures: Sequence[Picture], held: ExitStack, publishers: Executor
    ) -> tuple[list[Picture], list[Future[None]]]:
        """Those that the processors are to turn; and the publishing of the others, for which `held` keeps a folder."""
        if self._process.given_up or len(pictures) < self._least:
            return _left(pictures, self._process.given_up or f"DALI pays from {self._least} pictures on"), []
        if self._free.locked():
            return _left(pictures, BUSY), []
        try:
            folder = held.enter_context(workdir(self._scratch_dir))
        except (MediaError, InfraError) as error:  # each picture will tell of it
            return _left(pictures, error.public_message), []
        folders = [folder / str(number) for number in range(len(pictures))]
        requests = publishers.map(Picture.fetched, pictures, folders)
        asked = [(picture, request) for picture, request in zip(pictures, requests, strict=True) if request]
        if not self._free.acquire(blocking=False):
            return _left([picture for picture, _ in asked], BUSY), []
        try:
            return self._ask(asked, publishers)
        finally:
            self._free.release()

    def close(self) -> None:
        """End the process."""
        self._process.close()

    def _ask(
        self, asked: Sequence[tuple[Picture, ImageRequest]], publishers: Executor
    ) -> tuple[list[Picture], list[Future[None]]]:
        left: list[Picture] = []
        publishing: list[Future[None]] = []

        def told(number: int, outcome: GpuOutcome) -> None:
            picture, request = asked[number]
            if isinstance(outcome, NotDone):
                left.extend(_left([picture], str(outcome)))
            elif isinstance(outcome, Answer):
                publishing.append(publishers.submit(picture.made, outcome, Path(request.out_dir)))
            else:
                picture.failed(outcome)

        self._process.turn([request for _, request in asked], [picture.watch for picture, _ in asked], told)
        return left, publishing


def _left(pictures: Sequence[Picture], why: str) -> list[Picture]:
    for picture in pictures:
        picture.not_by_dali = why
    return list(pictures)
