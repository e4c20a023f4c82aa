"""What scheduling a chunk costs: the real store, dispatcher and Ray, with steps that do nothing."""

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

CHUNKS_PER_JOB = 200
LANES = 8


def do_nothing(work: dict[str, Any], step: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A step's task without its step."""
    yield {"started": True}
    if step["kind"] == "inspect":
        frames = [250] * CHUNKS_PER_JOB
        yield {
            "result": {
                "frames": sum(frames),
                "renditions": ["720p"],
                "chunk_frames": frames,
                "audio_tracks": [],
                "needs": {},
                "reused": [],
            }
        }
    else:
        yield {"result": {"manifest_key": "k", "revision": "r", "report": {}}}


def cost(chunks: int) -> dict[str, Any]:
    """Wall and CPU milliseconds for each chunk, from a queue of jobs to the last one's end."""
    from serve.settings import prepare_embedded_environment

    with tempfile.TemporaryDirectory() as folder:
        prepare_embedded_environment(8000, Path(folder), True)
        return asyncio.run(_cost(chunks))


async def _cost(chunks: int) -> dict[str, Any]:
    from cluster.farm_settings import FarmSettings, prepare_ray_environment
    from cluster.jobs import JobStatus, NewJob, open_store

    prepare_ray_environment()
    import ray

    from cluster import tasks
    from cluster.dispatcher import Dispatcher
    from cluster.images.actors import Engines
    from cluster.nodes import LANE

    settings = FarmSettings.load()
    store = open_store(settings.database)
    store.upgrade()
    count = chunks // CHUNKS_PER_JOB
    new = NewJob(
        org="bench", media_id="m", recipe_name="standard", recipe={}, recipe_digest="d", source_uri="file:///nothing",
        source_etag="e", source_bytes=1, kind="video",
    )  # fmt: skip
    store.create_all([(new, None)] * count)
    ray.init(address="local", resources={LANE: LANES}, include_dashboard=False, log_to_driver=False, namespace="farm")
    nothing = ray.remote(max_retries=0, num_returns="streaming", num_cpus=0, resources={LANE: 1})(do_nothing)
    began, cpu = time.monotonic(), time.process_time()
    try:
        with mock.patch.object(tasks, "step_task", nothing), mock.patch.object(Engines, "follow"):
            running = asyncio.create_task(Dispatcher(store, tasks.RayRunner(), settings).run())
            while await asyncio.to_thread(store.backlog):  # noqa: ASYNC110 - the store has no events
                await asyncio.sleep(0.1)
            took_s, used_s = time.monotonic() - began, time.process_time() - cpu
            assert not store.list_jobs(status=JobStatus.FAILED).jobs, "what does nothing cannot fail"
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    finally:
        ray.shutdown()
        store.close()
    return {
        "chunks": count * CHUNKS_PER_JOB,
        "lanes": LANES,
        "ms_per_chunk": round(1000 * took_s / (count * CHUNKS_PER_JOB), 2),
        "dispatcher_cpu_ms_per_chunk": round(1000 * used_s / (count * CHUNKS_PER_JOB), 2),
        "cores": os.cpu_count(),
    }
