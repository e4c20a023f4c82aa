"""What a dispatcher at work counts."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cluster import job as job_module
from cluster.dispatcher import Dispatcher
from cluster.errors import WorkerLost
from cluster.farm_settings import FarmSettings
from cluster.job import OnStep
from cluster.jobs import JobStore, open_store
from cluster.monitoring.counts import exposition
from cluster.monitoring.facts import node_kind, step_facts
from cluster.monitoring.farm import FarmWatch, counts_of, gauges_of
from cluster.nodes import Node
from cluster.work import Step, Work
from pipelines.errors import CorruptMedia
from tests.support.jobs import claim, create, new_job
from tests.support.runners import NoPictures

ROOT = Path(__file__).parents[3]
PLANNED = {
    "source_bytes": 900,
    "frames": 10,
    "renditions": ["a"],
    "chunk_frames": [10],
    "audio_tracks": [],
    "needs": {},
    "reused": [],
}
CHUNK = {"reused": False, "codec": "av1", "frames": 10, "media_s": 0.5, "pixels": 4000}
PUBLISHED = {"manifest_key": "k", "revision": "r", "published_bytes": 700, "report": {}}
COST = {"command": "chunk", "began_s": 5.0, "wall_s": 1.5, "cpu_s": 1.25, "peak_rss_bytes": 9}
FACTS = {"node": "10.0.0.5", "node_kind": "gpu_l4", "wall_s": 2.0, "processes": [COST], "scratch_free": 0.25}


class Worker(NoPictures):
    """Does each step at once; the first chunk is lost, and bad media are known by their name."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self._facts = facts
        self._lost = False

    def nodes(self) -> list[Node]:
        return [Node("n1", "10.0.0.5", 2, 0, 0)]

    def keep_ready(self, nodes: list[Node]) -> None:
        pass

    async def run(self, work: Work, step: Step, node: str, on_progress: OnStep) -> dict[str, Any]:
        if work.media_id == "bad":
            raise CorruptMedia("no frame can be decoded")
        if step.kind == "chunk" and not self._lost:
            self._lost = True
            raise WorkerLost("its node is gone")
        if step.kind == "chunk":
            on_progress({"facts": self._facts})
        return {"inspect": PLANNED, "chunk": CHUNK, "finish": PUBLISHED}[step.kind]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FarmSettings:
    monkeypatch.setenv("FARM_DATA_DIR", str(tmp_path))
    return FarmSettings.load()


@pytest.fixture
def store(settings: FarmSettings) -> JobStore:
    opened = open_store(settings.database)
    opened.upgrade()
    return opened


def counted(store: JobStore, settings: FarmSettings, facts: dict[str, Any], *media_ids: str) -> str:
    """What `/metrics` shows once these items, and what is in the store already, are ready or failed."""
    watch = FarmWatch()

    async def scenario() -> str:
        dispatcher = Dispatcher(store, Worker(facts), settings, watch=watch)
        slots = dispatcher.slots
        running = asyncio.create_task(dispatcher.run())
        beating = asyncio.create_task(watch.beat())
        async with asyncio.timeout(30):
            while store.backlog() or dispatcher.held:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        slot_counts = {"capacity": slots.capacity, "busy": slots.running, "wanted": slots.demand}
        told = watch.figures(dispatcher.held, slot_counts)
        for task in (running, beating):
            task.cancel()
        await asyncio.gather(running, beating, return_exceptions=True)
        return exposition(gauges_of(told), counts_of(told)).decode()

    for media_id in media_ids:
        create(store, new_job(media_id=media_id))
    return asyncio.run(scenario())


def test_a_dispatcher_counts_steps_chunks_retries_ends_bytes_and_take_overs(
    store: JobStore, settings: FarmSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "BACKOFF_S", 0.01)
    create(store, new_job(media_id="taken"))
    assert claim(store, "a dispatcher that dies", 0.01, 10)
    time.sleep(0.05)
    lines = counted(store, settings, FACTS, "good", "bad").splitlines()
    for line in (
        "farm_take_overs_total 1.0",
        'farm_leases_total{priority="normal"} 3.0',
        'farm_retries_total{code="worker_lost",step="chunk"} 1.0',
        'farm_jobs_ended_total{code="corrupt_media",status="failed"} 1.0',
        'farm_jobs_ended_total{code="",status="ready"} 2.0',
        'farm_step_seconds_count{step="inspect"} 2.0',
        'farm_chunk_seconds_bucket{codec="av1",le="3.0",node_kind="gpu_l4"} 2.0',
        'farm_chunk_seconds_sum{codec="av1",node_kind="gpu_l4"} 4.0',
        'farm_chunk_realtime_factor_bucket{codec="av1",le="0.3",node_kind="gpu_l4"} 2.0',
        'farm_chunk_pixels_total{codec="av1",node_kind="gpu_l4"} 8000.0',
        'farm_chunk_cpu_seconds_total{codec="av1",node_kind="gpu_l4"} 2.5',
        "farm_source_bytes_total 1800.0",
        "farm_published_bytes_total 1400.0",
        'farm_scratch_free_ratio{node="10.0.0.5"} 0.25',
        'farm_slots{state="capacity"} 2.0',
        "farm_held_jobs 0.0",
    ):
        assert line in lines, [one for one in lines if one.startswith(line.partition("{")[0].split()[0])]
    text = "\n".join(lines)
    assert not any(secret in text for secret in ("acme", "good", "s3://")), "no caller's word is a label"


def test_a_worker_of_another_version_fails_no_job(store: JobStore, settings: FarmSettings) -> None:
    assert 'status="ready"} 1.0' in counted(store, settings, {"node_sort": "of tomorrow"}, "good")


def test_a_loop_that_hangs_is_seen_while_it_hangs() -> None:
    watch = FarmWatch()

    async def hang() -> None:
        beating = asyncio.create_task(watch.beat())
        await asyncio.sleep(0)
        time.sleep(0.6)  # noqa: ASYNC251 - the loop hangs
        beating.cancel()

    asyncio.run(hang())
    (lag,) = [value for name, _, value in watch.figures(0, {})["gauges"] if name == "farm_dispatcher_loop_lag_seconds"]
    assert lag >= 0.3


def test_a_nodes_kind_is_its_group_in_the_cluster_or_the_pool_that_it_was_started_for(tmp_path: Path) -> None:
    from cluster.media_process import Watch

    assert node_kind({"ray.io/node-group": "gpu_l4_spot", "pool": "gpu"}) == "gpu_l4_spot"
    assert node_kind({"pool": "gpu"}) == "gpu"
    assert node_kind({}) == "plain"
    facts = step_facts(Watch(), time.time() - 2, tmp_path / "not" / "made" / "yet", "10.0.0.5", {})
    assert 2 <= facts["wall_s"] < 60
    assert 0 < facts["scratch_free"] <= 1


def test_without_a_place_for_spans_nothing_that_could_send_them_is_loaded() -> None:
    script = (
        # FastAPI itself loads the interface where it is installed: names without anything behind them.
        "import sys; from cluster.monitoring.tracing import Tracing; import cluster.dispatcher, serve.api; "
        "span = Tracing('x').begin('job', None); span.set(a=1); span.end(); "
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stderr
