"""Jobs on this machine alone, in threads: `farm transcode`, tests and benchmarks. No Ray, no database."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.farm_settings import FarmSettings
from cluster.job import JobRun, OnStep
from cluster.media_process import Watch, run_media
from cluster.progress import JobProgress
from cluster.scratch import sweep_dead, workdir
from cluster.slots import Slots
from cluster.steps import run_step
from cluster.storage.sources import source_of
from cluster.tools import Tools, process_limits
from cluster.work import Step, Work
from ladders.model import Recipe
from pipelines.inspect import Inspected, InspectRequest


class LocalRunner:
    """Runs steps in threads of this process; each thread watches one media process."""

    def __init__(self, tools_for: Callable[[Work], Tools]) -> None:
        self._tools_for = tools_for

    async def run(self, work: Work, step: Step, on_progress: OnStep) -> dict[str, Any]:
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
        work = Work(
            job_id="local",
            org="local",
            media_id=Path(source).stem or "media",
            source_uri=found.uri,
            source_etag=found.etag,
            recipe=recipe.model_dump(mode="json"),
            recipe_digest=recipe.digest,
            kind="auto",
            output_uri=output_uri,
            scratch_uri=folder.as_uri(),
            publish_prefix="",
            slots=settings.work.slots,
        )
        tools = Tools.open(work, settings)
        run = JobRun(work, LocalRunner(lambda _: tools), Slots(settings.work.slots), on_change=on_progress)
        return asyncio.run(run.run())
