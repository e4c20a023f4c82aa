"""Jobs of pictures, from a real store through the dispatcher to an engine that is a switch."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster import job as job_module
from cluster.dispatcher import Dispatcher
from cluster.errors import StorageUnavailable, WorkerLost
from cluster.farm_settings import FarmSettings
from cluster.images.batches import Told
from cluster.job import OnStep
from cluster.jobs import Job, JobStatus, JobStore, open_store
from cluster.nodes import Node
from cluster.storage import open_storage
from cluster.work import Step, Work, scratch_prefix
from pipelines.errors import CorruptMedia
from tests.support.jobs import create, new_job

PUBLISHED = {"manifest_key": "acme/m/r/manifest.json", "revision": "r", "report": {"kind": "image"}}


class Pictures:
    """Every source is a picture; they are turned once the gate is open, but for those that fail."""

    def __init__(self, lanes: int = 2) -> None:
        self.lanes = lanes
        self.gate = asyncio.Event()
        self.gate.set()
        self.batches: list[list[str]] = []
        self.failing: dict[str, list[dict[str, Any]]] = {}
        self.looked: list[str] = []
        self.cancelled: list[str] = []

    def nodes(self) -> list[Node]:
        return [Node("n1", "10.0.0.1", self.lanes, 0, 0)]

    def keep_ready(self, nodes: list[Node]) -> None:
        pass

    async def is_picture(self, work: Work) -> bool:
        self.looked.append(work.media_id)
        return True

    async def turn_images(self, works: Sequence[Work], node: str, tell: Told) -> None:
        self.batches.append([work.media_id for work in works])
        await self.gate.wait()
        for work in works:
            failures = self.failing.get(work.media_id)
            tell(work.job_id, failures.pop(0) if failures else {"result": PUBLISHED})

    async def cancel_image(self, job_id: str) -> None:
        self.cancelled.append(job_id)
        self.gate.set()

    async def run(self, work: Work, step: Step, node: str, on_progress: OnStep) -> dict[str, Any]:
        raise AssertionError("a picture has no steps of its own")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FarmSettings:
    monkeypatch.setenv("FARM_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(job_module, "BACKOFF_S", 0.0)
    return FarmSettings.load()


@pytest.fixture
def store(settings: FarmSettings) -> JobStore:
    opened = open_store(settings.database)
    opened.upgrade()
    return opened


@asynccontextmanager
async def dispatching(store: JobStore, runner: Pictures, settings: FarmSettings) -> AsyncIterator[None]:
    task = asyncio.create_task(Dispatcher(store, runner, settings).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ended(store: JobStore, jobs: Sequence[Job], within_s: float = 15.0) -> list[Job]:
    async with asyncio.timeout(within_s):
        while True:
            found = [await asyncio.to_thread(store.get, job.id) for job in jobs]
            if all(job.status in (JobStatus.READY, JobStatus.FAILED, JobStatus.CANCELLED) for job in found):
                return found
            await asyncio.sleep(0.05)


def picture(store: JobStore, media_id: str, **changes: Any) -> Job:
    return create(store, new_job(media_id=media_id, **changes))[0]


def test_a_crowd_of_pictures_is_ready_in_a_few_batches_and_not_one_for_each_tick(
    store: JobStore, settings: FarmSettings
) -> None:
    async def scenario() -> tuple[list[Job], Pictures]:
        runner = Pictures()
        jobs = [picture(store, f"m{n}") for n in range(60)]
        async with dispatching(store, runner, settings):
            return await ended(store, jobs), runner

    jobs, runner = asyncio.run(scenario())
    assert {job.status for job in jobs} == {JobStatus.READY}
    assert all(job.report is not None and job.report["kind"] == "image" for job in jobs)
    assert sorted(name for batch in runner.batches for name in batch) == sorted(f"m{n}" for n in range(60))
    assert sorted(runner.looked) == sorted(f"m{n}" for n in range(60))


def test_who_says_image_is_believed_and_who_says_video_too(store: JobStore, settings: FarmSettings) -> None:
    async def scenario() -> tuple[list[Job], Pictures]:
        runner = Pictures()
        image, video = picture(store, "image", kind="image"), picture(store, "video", kind="video")
        async with dispatching(store, runner, settings):
            return await ended(store, [image, video]), runner

    (image, video), runner = asyncio.run(scenario())
    assert (image.status, runner.looked) == (JobStatus.READY, [])
    assert video.status == JobStatus.FAILED, "it went to the steps of a video, which this runner has not"


def test_a_bad_picture_fails_with_its_reason_and_a_passing_trouble_is_tried_again(
    store: JobStore, settings: FarmSettings
) -> None:
    async def scenario() -> list[Job]:
        runner = Pictures()
        runner.failing = {
            "bad": [{"media_error": CorruptMedia("no picture").to_wire()}],
            "unlucky": [{"infra_error": error.to_wire()} for error in (WorkerLost("gone"), StorageUnavailable("away"))],
        }
        jobs = [picture(store, name) for name in ("good", "bad", "unlucky")]
        async with dispatching(store, runner, settings):
            return await ended(store, jobs)

    good, bad, unlucky = asyncio.run(scenario())
    assert (good.status, unlucky.status) == (JobStatus.READY, JobStatus.READY)
    assert bad.status == JobStatus.FAILED
    assert bad.error is not None
    assert bad.error["code"] == "corrupt_media"


def test_a_cancelled_picture_is_ended_in_its_engine(store: JobStore, settings: FarmSettings) -> None:
    async def scenario() -> tuple[Job, Pictures]:
        runner = Pictures()
        runner.gate.clear()
        job = picture(store, "m1")
        async with dispatching(store, runner, settings):
            async with asyncio.timeout(5):
                while not runner.batches:  # noqa: ASYNC110 - the runner is no part of what is tested
                    await asyncio.sleep(0.01)
            await asyncio.to_thread(store.request_cancel, job.id)
            return (await ended(store, [job]))[0], runner

    job, runner = asyncio.run(scenario())
    assert (job.status, runner.cancelled) == (JobStatus.CANCELLED, [job.id])


def test_what_other_jobs_left_for_themselves_is_not_swept_by_a_picture(store: JobStore, settings: FarmSettings) -> None:
    storage = open_storage(settings.storage.storage_uri, settings.storage)

    async def scenario() -> Job:
        job = picture(store, "m1")
        storage.put_bytes(f"{scratch_prefix(job.id)}/kept", b"a listing of S3 that is not made")
        async with dispatching(store, Pictures(), settings):
            return (await ended(store, [job]))[0]

    job = asyncio.run(scenario())
    assert job.status == JobStatus.READY
    assert storage.stat(f"{scratch_prefix(job.id)}/kept") is not None
