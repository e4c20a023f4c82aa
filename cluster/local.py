"""Jobs on this machine alone, in threads: `farm transcode`, tests and benchmarks. No Ray, no database."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cluster.farm_settings import FarmSettings
from cluster.images.batches import Told
from cluster.images.engine import ImageEngine
from cluster.job import JobRun, OnStep
from cluster.media_process import Watch, run_media
from cluster.progress import JobProgress
from cluster.scratch import sweep_dead, workdir
from cluster.slots import Slots
from cluster.steps import run_step
from cluster.storage.sources import SourceObject, source_of
from cluster.tools import Tools, process_limits
from cluster.work import Step, Work
from ladders.model import Recipe
from pipelines.images.look import Looked, LookRequest
from pipelines.inspect import Inspected, InspectRequest


class LocalRunner:
    """Runs steps in threads of this process; each thread watches one media process."""

    def __init__(self, tools_for: Callable[[Work], Tools], settings: FarmSettings) -> None:
        self._tools_for = tools_for
        self._settings = settings
        self._engine: ImageEngine | None = None

    async def is_picture(self, work: Work) -> bool:
        """See `Runner`."""
        return await asyncio.to_thread(self._tools_for(work).is_picture, work)

    async def turn_images(self, works: Sequence[Work], node: str, tell: Told) -> None:
        """See `cluster.images.batches.ImageRunner`; the engine is started by the first picture."""
        loop = asyncio.get_running_loop()
        if self._engine is None:
            # Whoever works alone has one picture at a time: no GPU process is worth its start.
            self._engine = ImageEngine(self._settings, 1, most=1)
        engine = self._engine

        def heard(job_id: str, outcome: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(tell, job_id, outcome)

        await asyncio.shield(asyncio.ensure_future(asyncio.to_thread(engine.turn, works, heard)))

    async def cancel_image(self, job_id: str) -> None:
        """See `cluster.images.batches.ImageRunner`."""
        if self._engine is not None:
            self._engine.cancel(job_id)

    def close(self) -> None:
        """End the engine."""
        if self._engine is not None:
            self._engine.close()

    async def run(self, work: Work, step: Step, node: str, on_progress: OnStep) -> dict[str, Any]:
        """One step; a cancelled call ends the media process before it returns."""
        loop = asyncio.get_running_loop()
        cancelled = threading.Event()

        def heard(data: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(on_progress, data)

        doing = asyncio.ensure_future(
            asyncio.to_thread(run_step, work, step, self._tools_for(work), Watch(heard, cancelled))
        )
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            cancelled.set()
            await asyncio.gather(doing, return_exceptions=True)
            raise


def inspect_file(path: Path, *, settings: FarmSettings) -> Inspected:
    """The facts and the frame index of a local file; raises the MediaError that refuses it."""
    asked = InspectRequest(source_path=str(path.resolve()), limits=settings.work.limits, kind="auto")
    limits = process_limits(settings.work, "inspect", size_bytes=path.stat().st_size)
    return run_media("inspect", asked, Inspected, limits, Watch()).result


def look_at_file(path: Path, *, settings: FarmSettings) -> Looked:
    """The facts of a local picture; raises the MediaError that refuses it."""
    asked = LookRequest(source_path=str(path.resolve()), limits=settings.work.image_limits)
    limits = process_limits(settings.work, "look", size_bytes=path.stat().st_size)
    return run_media("look", asked, Looked, limits, Watch()).result


def run_local(
    source: str,
    recipe: Recipe,
    output_uri: str,
    *,
    settings: FarmSettings,
    on_progress: Callable[[JobProgress], None] = lambda _: None,
) -> dict[str, Any]:
    """Turn the file or URI `source` by `recipe` and publish it exactly at `output_uri`; the manifest comes back.

    Raises MediaError for the input, InfraError for storage. Ctrl-C ends every media process before it propagates.
    """
    found = source_of(source, settings.storage)
    sweep_dead(settings.work.scratch_dir)
    with workdir(settings.work.scratch_dir) as folder:
        work = local_work(found, recipe, output_uri, folder.as_uri(), settings)
        tools = Tools.open(work, settings)
        runner, slots = LocalRunner(lambda _: tools, settings), Slots(settings.work.slots)
        try:
            return asyncio.run(JobRun(work, runner, slots, on_change=on_progress).run())
        finally:
            runner.close()


def local_work(
    source: SourceObject,
    recipe: Recipe,
    output_uri: str,
    scratch_uri: str,
    settings: FarmSettings,
    job_id: str = "local",
) -> Work:
    """A job of this machine alone, published exactly at `output_uri`."""
    return Work(
        job_id=job_id,
        org="local",
        media_id=Path(source.uri).stem or "media",
        source_uri=source.uri,
        source_etag=source.etag,
        recipe=recipe.model_dump(mode="json"),
        recipe_digest=recipe.digest,
        kind="auto",
        output_uri=output_uri,
        scratch_uri=scratch_uri,
        publish_prefix="",
        slots=settings.work.slots,
    )
