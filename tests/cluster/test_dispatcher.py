"""The dispatcher against a real store, with a runner whose steps are switches."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster import dispatcher as dispatcher_module
from cluster import ending as ending_module
from cluster import job as job_module
from cluster import surroundings
from cluster import sweep as sweep_module
from cluster.dispatcher import Dispatcher
from cluster.errors import StorageUnavailable, StoreUnavailable, WorkerLost
from cluster.farm_settings import FarmSettings
from cluster.job import OnStep
from cluster.jobs import Job, JobStatus, JobStore, NewJob, open_store
from cluster.nodes import Node
from cluster.storage import open_storage
from cluster.work import Step, Work
from ladders.errors import FarmError
from pipelines.errors import CorruptMedia, EncodeFailed, MediaError, MediaProcessFailed, ScratchFull
from tests.support.jobs import claim, create
from tests.support.runners import NoPictures

PLANNED = {"frames": 10, "renditions": ["360p"], "chunk_frames": [5, 5], "audio_tracks": [], "needs": {}, "reused": []}
PUBLISHED = {"manifest_key": "acme/m/r/manifest.json", "revision": "r", "report": {"renditions": []}}


class Switches(NoPictures):
    """Steps wait until let through; `failing` ones raise."""

    def __init__(self, lanes: int = 4) -> None:
        self.lanes = lanes
        self.gate = asyncio.Event()
        self.failing: dict[str, Exception] = {}
        self.running: list[str] = []
        self.ended: list[str] = []
        self.earlier: dict[str, str | None] = {}

    def nodes(self) -> list[Node]:
        return [Node("n1", "10.0.0.1", self.lanes, 0, 0)]

    def keep_ready(self, nodes: list[Node]) -> None:
        pass

    async def run(self, work: Work, step: Step, node: str, on_progress: OnStep) -> dict[str, Any]:
        name = f"{work.media_id}: {step}"
        self.earlier[work.job_id] = work.earlier_manifest_key
        self.running.append(name)
        try:
            if str(step) in self.failing:
                raise self.failing[str(step)]
            if step.kind == "chunk":
                on_progress({"renditions": {"360p": 3}})
                await self.gate.wait()
            answers: dict[str, dict[str, Any]] = {"inspect": PLANNED, "finish": PUBLISHED}
            return answers.get(step.kind, {})
        finally:
            self.ended.append(name)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FarmSettings:
    monkeypatch.setenv("FARM_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("FARM_LEASE_S", "1.5")
    return FarmSettings.load()


@pytest.fixture
def store(settings: FarmSettings) -> JobStore:
    opened = open_store(settings.database)
    opened.upgrade()
    return opened


def new(media_id: str, **changes: Any) -> NewJob:
    values: dict[str, Any] = {
        "org": "acme", "media_id": media_id, "recipe_name": "standard", "recipe": {"name": "standard"},
        "recipe_digest": "d", "source_uri": "file:///a.mp4", "source_etag": "e", "source_bytes": 5,
    }  # fmt: skip
    return NewJob(**(values | changes))


@asynccontextmanager
async def dispatching(
    store: JobStore,
    runner: Switches,
    settings: FarmSettings,
    ask_for: Callable[[int], None] = lambda _: None,
) -> AsyncIterator[Dispatcher]:
    dispatcher = Dispatcher(store, runner, settings, ask_for)
    task = asyncio.create_task(dispatcher.run())
    try:
        yield dispatcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def planned(dispatcher: Dispatcher, priority: str, within_s: float = 8.0) -> None:
    """Until a step of that class waits for a lane."""
    async with asyncio.timeout(within_s):
        while True:
            if any(waiting == priority for waiting, _ in dispatcher.slots._waiting):
                return
            await asyncio.sleep(0.01)


async def until(store: JobStore, job: Job, status: JobStatus, within_s: float = 8.0) -> Job:
    async with asyncio.timeout(within_s):
        while True:
            found = await asyncio.to_thread(store.get, job.id)
            if found.status == status:
                return found
            await asyncio.sleep(0.02)


async def running(runner: Switches, name: str) -> None:
    async with asyncio.timeout(5):
        while name not in runner.running:  # noqa: ASYNC110 - the runner is no part of what is tested
            await asyncio.sleep(0.01)


def test_a_queued_job_is_driven_to_ready_with_what_it_published(store: JobStore, settings: FarmSettings) -> None:
    async def scenario() -> Job:
        runner = Switches()
        runner.gate.set()
        job, _ = create(store, new("m1"))
        async with dispatching(store, runner, settings):
            return await until(store, job, JobStatus.READY)

    job = asyncio.run(scenario())
    assert (job.manifest_key, job.revision) == (PUBLISHED["manifest_key"], "r")
    assert job.report is not None
    assert {"inspect", "encode", "finish"} <= set(job.report["steps_s"])


def test_a_job_is_told_of_the_last_revision_of_its_own_item_and_of_no_other(
    store: JobStore, settings: FarmSettings
) -> None:
    async def scenario() -> list[str | None]:
        runner = Switches()
        runner.gate.set()
        async with dispatching(store, runner, settings):
            jobs = []
            for wanted in (new("m1"), new("m1"), new("m2"), new("m1", org="other")):
                job, _ = create(store, wanted)
                jobs.append(await until(store, job, JobStatus.READY))
            return [runner.earlier[job.id] for job in jobs]

    assert asyncio.run(scenario()) == [None, PUBLISHED["manifest_key"], None, None]


def test_a_job_whose_media_is_bad_fails_with_that_error(store: JobStore, settings: FarmSettings) -> None:
    async def scenario() -> Job:
        runner = Switches()
        runner.failing["inspect"] = CorruptMedia("no frame can be decoded")
        job, _ = create(store, new("m1"))
        async with dispatching(store, runner, settings):
            return await until(store, job, JobStatus.FAILED)

    error = asyncio.run(scenario()).error
    assert error is not None
    assert (error["code"], error["message"]) == ("corrupt_media", "no frame can be decoded")


def test_a_bug_fails_its_own_job_with_an_id_to_look_up_and_the_next_job_is_done(
    store: JobStore, settings: FarmSettings
) -> None:
    async def scenario() -> tuple[Job, Job]:
        runner = Switches()
        runner.gate.set()
        runner.failing["chunk 1"] = KeyError("oops")
        bad, _ = create(store, new("m1"))
        async with dispatching(store, runner, settings):
            failed = await until(store, bad, JobStatus.FAILED)
            runner.failing.clear()
            good, _ = create(store, new("m2"))
            return failed, await until(store, good, JobStatus.READY)

    failed, _ = asyncio.run(scenario())
    assert failed.error is not None
    assert failed.error["code"] == "internal_error"
    assert failed.error["detail"]["error_id"] in failed.error["message"]


def test_cancelling_ends_running_steps_within_two_seconds(store: JobStore, settings: FarmSettings) -> None:
    async def scenario() -> tuple[float, list[str]]:
        runner = Switches()
        job, _ = create(store, new("m1"))
        async with dispatching(store, runner, settings):
            await running(runner, "m1: chunk 1")
            asked = asyncio.get_running_loop().time()
            store.request_cancel(job.id)
            await until(store, job, JobStatus.CANCELLED)
            return asyncio.get_running_loop().time() - asked, runner.ended

    seconds, ended = asyncio.run(scenario())
    assert seconds < 2.0
    assert {"m1: chunk 0", "m1: chunk 1"} <= set(ended)


def test_a_successor_goes_on_at_once_with_what_the_dead_one_of_its_name_held(
    store: JobStore, settings: FarmSettings
) -> None:
    mine, _ = create(store, new("mine"))
    claim(store, "dispatcher-1", 600, 1)
    other, _ = create(store, new("other"))
    claim(store, "dispatcher-2", 600, 1)

    async def scenario() -> None:
        runner = Switches()
        runner.gate.set()
        successor = Dispatcher(store, runner, settings, successor_of="dispatcher-1")
        task = asyncio.create_task(successor.run())
        ready = await until(store, mine, JobStatus.READY)
        assert (ready.fence, ready.attempts) == (2, 1), "that its owner died is not the job's fault"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
    assert store.get(other.id).fence == 1


@pytest.mark.parametrize("slots", [1, 40])
def test_a_job_is_cut_the_same_however_many_slots_there_are(
    slots: int, store: JobStore, settings: FarmSettings
) -> None:
    class Noting(Switches):
        async def run(self, work: Work, step: Step, node: str, on_progress: OnStep) -> dict[str, Any]:
            told.append(work)
            return await super().run(work, step, node, on_progress)

    told: list[Work] = []

    async def scenario() -> None:
        runner = Noting(lanes=slots)
        runner.gate.set()
        job, _ = create(store, new("m1"))
        async with dispatching(store, runner, settings):
            await until(store, job, JobStatus.READY)

    asyncio.run(scenario())
    assert {work.slots for work in told} == {16}


def test_a_slow_job_keeps_its_lease_and_its_progress_is_stored(store: JobStore, settings: FarmSettings) -> None:
    async def scenario() -> tuple[Job, Job]:
        runner = Switches()
        job, _ = create(store, new("m1"))
        async with dispatching(store, runner, settings):
            await running(runner, "m1: chunk 1")
            await asyncio.sleep(2.5)  # longer than the lease of 1.5 s
            during = await asyncio.to_thread(store.get, job.id)
            runner.gate.set()
            return during, await until(store, job, JobStatus.READY)

    during, after = asyncio.run(scenario())
    assert during.progress["renditions"]["360p"]["frames_done"] == 6
    assert during.fence == after.fence, "nobody had to take it over"


def test_a_stopped_dispatcher_gives_its_jobs_back_at_once(store: JobStore, settings: FarmSettings) -> None:
    async def scenario() -> Job:
        first, second = Switches(), Switches()
        job, _ = create(store, new("m1"))
        async with dispatching(store, first, settings):
            await running(first, "m1: chunk 0")
        assert (await asyncio.to_thread(store.get, job.id)).status == JobStatus.QUEUED
        second.gate.set()
        async with dispatching(store, second, settings):
            return await until(store, job, JobStatus.READY, within_s=1.2)

    asyncio.run(scenario())


@pytest.mark.parametrize(("lingers_s", "status"), [(0.5, JobStatus.READY), (60.0, JobStatus.QUEUED)])
def test_a_stopped_dispatcher_writes_the_ends_of_jobs_that_are_done_unless_that_takes_long(
    store: JobStore, settings: FarmSettings, monkeypatch: pytest.MonkeyPatch, lingers_s: float, status: JobStatus
) -> None:
    monkeypatch.setattr(ending_module, "LINGER_S", lingers_s)

    async def scenario() -> None:
        runner = Switches()
        runner.gate.set()
        async with dispatching(store, runner, settings):
            await running(runner, "m1: finish")
            await asyncio.sleep(0.1)  # its end waits for others by now

    job, _ = create(store, new("m1", priority="bulk"))
    asyncio.run(scenario())
    assert store.get(job.id).status == status


def test_a_dispatcher_that_was_thought_dead_changes_nothing_when_it_comes_back(
    store: JobStore, settings: FarmSettings
) -> None:
    async def scenario() -> Job:
        job, _ = create(store, new("m1"))
        (lost,) = claim(store, "zombie", 0.05, 1)
        await asyncio.sleep(0.2)
        runner = Switches()
        async with dispatching(store, runner, settings):
            await running(runner, "m1: chunk 0")
            storage = open_storage(settings.storage.storage_uri, settings.storage)
            storage.put_bytes(f"scratch/{job.id}/chunk.mp4", b"of the new owner")
            done = Switches()
            done.gate.set()
            back = Dispatcher(store, done, settings)
            back.slots.follow(done.nodes())
            await back._drive(lost, None)
            assert (await asyncio.to_thread(store.get, job.id)).status == JobStatus.PROCESSING
            assert storage.stat(f"scratch/{job.id}/chunk.mp4") is not None
            runner.gate.set()
            return await until(store, job, JobStatus.READY)

    assert asyncio.run(scenario()).error is None


def test_a_job_cancelled_and_at_once_retried_is_driven_once_and_can_be_cancelled_again(
    store: JobStore, settings: FarmSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> tuple[list[str], list[str]]:
        runner = Switches()
        sweep = sweep_module.sweep_job

        def slowly(work: Work, settings: FarmSettings) -> None:
            time.sleep(1.0)
            sweep(work, settings)

        monkeypatch.setattr(dispatcher_module, "sweep_job", slowly)
        job, _ = create(store, new("m1"))
        async with dispatching(store, runner, settings):
            await running(runner, "m1: chunk 1")
            store.request_cancel(job.id)
            await until(store, job, JobStatus.CANCELLED)
            store.retry(job.id)
            runner.running.clear()
            runner.ended.clear()
            await running(runner, "m1: chunk 1")
            await asyncio.sleep(2.0)  # longer than the lease
            started = list(runner.running)
            store.request_cancel(job.id)
            await until(store, job, JobStatus.CANCELLED)
            return started, runner.ended

    started, ended = asyncio.run(scenario())
    assert started.count("m1: chunk 1") == 1
    assert {"m1: chunk 0", "m1: chunk 1"} <= set(ended)


def test_a_retried_job_that_is_cancelled_while_its_last_run_is_swept_ends_within_two_seconds(
    store: JobStore, settings: FarmSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARM_LEASE_S", "30")
    swept = threading.Event()

    async def scenario() -> None:
        runner = Switches()
        monkeypatch.setattr(dispatcher_module, "sweep_job", lambda _work, _settings: swept.wait(20))
        job, _ = create(store, new("m1"))
        async with dispatching(store, runner, FarmSettings.load()):
            await running(runner, "m1: chunk 1")
            store.request_cancel(job.id)
            await until(store, job, JobStatus.CANCELLED)
            store.retry(job.id)
            await until(store, job, JobStatus.PROCESSING)
            store.request_cancel(job.id)
            await until(store, job, JobStatus.CANCELLED, within_s=8.0)  # the lease is of 30 s
            swept.set()

    try:
        asyncio.run(scenario())
    finally:
        swept.set()


def test_a_store_that_takes_no_renewals_for_longer_than_a_lease_has_nothing_begun_twice(
    store: JobStore, settings: FarmSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> Job:
        runner = Switches()
        job, _ = create(store, new("m1"))
        renew_all, away_until = store.renew_all, time.monotonic() + 4

        def away(*arguments: Any) -> set[str]:
            if time.monotonic() < away_until:
                raise StoreUnavailable("the database is away")
            return renew_all(*arguments)

        monkeypatch.setattr(store, "renew_all", away)
        async with dispatching(store, runner, settings) as dispatcher:
            await running(runner, "m1: chunk 1")
            while time.monotonic() < away_until + 1:
                dispatcher.nudge()  # as every call and every ended job does
                await asyncio.sleep(0.05)
            assert runner.running.count("m1: chunk 1") == 1
            runner.gate.set()
            return await until(store, job, JobStatus.READY)

    assert asyncio.run(scenario()).attempts == 1


def test_a_job_whose_end_is_written_late_keeps_its_lease_until_then(
    store: JobStore, settings: FarmSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> Job:
        runner = Switches()
        runner.gate.set()
        finish_all, away_until = store.finish_all, time.monotonic() + 4

        def away(*arguments: Any) -> set[tuple[str, int]]:
            if time.monotonic() < away_until:
                raise StoreUnavailable("the database is away")
            return finish_all(*arguments)

        monkeypatch.setattr(store, "finish_all", away)
        job, _ = create(store, new("m1"))
        async with dispatching(store, runner, settings):
            ready = await until(store, job, JobStatus.READY, within_s=15)
        assert runner.running.count("m1: finish") == 1
        return ready

    assert asyncio.run(scenario()).attempts == 1


def test_a_lease_that_ran_out_unheard_of_ends_the_run_that_it_was_of(
    store: JobStore, settings: FarmSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        runner = Switches()
        renew_all = store.renew_all
        monkeypatch.setattr(store, "renew_all", lambda *_: set())  # as by a database whose clock is put forward
        job, _ = create(store, new("m1"))
        async with dispatching(store, runner, settings):
            await running(runner, "m1: chunk 1")
            async with asyncio.timeout(8):
                while runner.running.count("m1: chunk 1") < 2:  # noqa: ASYNC110 - the runner is no part of what is tested
                    await asyncio.sleep(0.01)
            monkeypatch.setattr(store, "renew_all", renew_all)
            assert runner.ended.count("m1: chunk 1") == 1
            runner.gate.set()
            await until(store, job, JobStatus.READY)
            assert runner.running.count("m1: finish") == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", [EncodeFailed, MediaProcessFailed])
def test_a_step_that_fails_alike_every_time_fails_the_job_at_its_first_attempt(
    store: JobStore, settings: FarmSettings, monkeypatch: pytest.MonkeyPatch, kind: type[MediaError]
) -> None:
    monkeypatch.setattr(job_module, "BACKOFF_S", 0.0)
    runner = Switches()
    runner.failing["inspect"] = kind("the encoder does not open")

    async def scenario() -> Job:
        job, _ = create(store, new("m1"))
        async with dispatching(store, runner, settings):
            return await until(store, job, JobStatus.FAILED)

    failed = asyncio.run(scenario())
    assert failed.error is not None
    assert (failed.error["code"], failed.error["message"]) == (kind.code, "the encoder does not open")
    assert failed.error["retryable"], "a person may try again"
    assert (failed.attempts, len(runner.running)) == (1, job_module.ATTEMPTS)


@pytest.mark.parametrize("kind", [StorageUnavailable, WorkerLost, ScratchFull])
def test_a_job_that_waits_for_the_farm_to_be_whole_again_says_what_is_broken(
    store: JobStore, settings: FarmSettings, monkeypatch: pytest.MonkeyPatch, kind: type[FarmError]
) -> None:
    monkeypatch.setattr(job_module, "BACKOFF_S", 0.0)
    monkeypatch.setattr(dispatcher_module, "FIRST_DELAY_S", 0.2)

    async def scenario() -> tuple[Job, Job]:
        runner = Switches()
        runner.gate.set()
        runner.failing["inspect"] = kind("it is away")
        job, _ = create(store, new("m1"))
        async with dispatching(store, runner, settings):
            async with asyncio.timeout(5):
                while (waiting := store.get(job.id)).error is None:  # noqa: ASYNC110 - the store tells nobody
                    await asyncio.sleep(0.02)
            runner.failing.clear()
            return waiting, await until(store, job, JobStatus.READY, within_s=15)

    waiting, done = asyncio.run(scenario())
    assert waiting.status is JobStatus.QUEUED
    assert waiting.error is not None
    assert (waiting.error["code"], waiting.error["message"]) == (kind.code, "it is away")
    assert (done.attempts, done.error) == (2, None)


def test_while_storage_is_away_jobs_wait_instead_of_failing(
    store: JobStore, settings: FarmSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "BACKOFF_S", 0.0)
    monkeypatch.setattr(dispatcher_module, "FIRST_DELAY_S", 0.1)

    async def scenario() -> Job:
        runner = Switches()
        runner.gate.set()
        runner.failing["inspect"] = StorageUnavailable("away")
        job, _ = create(store, new("m1"))
        async with dispatching(store, runner, settings):
            async with asyncio.timeout(5):
                while len(runner.ended) < job_module.ATTEMPTS + 1:  # noqa: ASYNC110 - a second attempt of the job has begun
                    await asyncio.sleep(0.02)
            runner.failing.clear()
            return await until(store, job, JobStatus.READY)

    assert asyncio.run(scenario()).attempts >= 2


def test_a_job_that_ends_whoever_drives_it_is_given_up_in_the_end(store: JobStore, settings: FarmSettings) -> None:
    async def scenario() -> Job:
        job, _ = create(store, new("m1"))
        for _ in range(dispatcher_module.MAX_ATTEMPTS):
            claim(store, "killed", 0.01, 1)
            await asyncio.sleep(0.03)
        async with dispatching(store, Switches(), settings):
            return await until(store, job, JobStatus.FAILED)

    error = asyncio.run(scenario()).error
    assert error is not None
    assert error["code"] == "worker_lost"


def test_an_upload_is_started_although_bulk_jobs_hold_every_slot(store: JobStore, settings: FarmSettings) -> None:
    async def scenario() -> None:
        runner = Switches(lanes=2)
        for number in range(6):
            create(store, new(f"bulk{number}", priority="bulk"))
        async with dispatching(store, runner, settings) as dispatcher:
            await running(runner, "bulk0: chunk 0")
            await running(runner, "bulk1: chunk 0")
            urgent, _ = create(store, new("urgent", priority="interactive"))
            dispatcher.nudge()
            await until(store, urgent, JobStatus.PROCESSING)
            await planned(dispatcher, "interactive")  # chunks that take no time would all be done before
            runner.gate.set()
            await running(runner, "bulk3: chunk 1")
            assert runner.running.index("urgent: chunk 0") < runner.running.index("bulk3: chunk 1")

    asyncio.run(scenario())


def test_a_job_that_is_put_into_another_class_changes_its_place_at_once(
    store: JobStore, settings: FarmSettings
) -> None:
    async def scenario() -> list[str]:
        runner = Switches(lanes=1)
        for number in range(3):
            create(store, new(f"m{number}", priority="bulk"))
        async with dispatching(store, runner, settings):
            await running(runner, "m0: chunk 0")
            last = await until(store, store.list_jobs(limit=1).jobs[0], JobStatus.PROCESSING)
            store.prioritise(last.id, "interactive")
            await asyncio.sleep(1.0)  # it is seen within a tick
            runner.gate.set()
            await running(runner, "m1: chunk 0")
            return runner.running

    order = asyncio.run(scenario())
    assert order.index("m2: finish") < order.index("m1: inspect")


def test_an_org_that_comes_later_is_not_kept_waiting_by_the_many_jobs_of_another(
    store: JobStore, settings: FarmSettings
) -> None:
    async def scenario() -> list[str]:
        runner = Switches(lanes=2)
        for number in range(20):
            create(store, new(f"a{number}", org="first"))
        async with dispatching(store, runner, settings):
            await running(runner, "a0: chunk 0")
            for number in range(2):
                create(store, new(f"b{number}", org="second"))
            await asyncio.sleep(1.0)
            runner.gate.set()
            await running(runner, "b1: chunk 1")
            return list(runner.running)

    order = asyncio.run(scenario())
    assert len([name for name in order if name.startswith("a") and name.endswith("chunk 1")]) < 8


def test_jobs_wait_in_the_store_not_in_the_dispatcher(store: JobStore, settings: FarmSettings) -> None:
    async def scenario() -> int:
        runner = Switches(lanes=2)
        for number in range(12):
            create(store, new(f"m{number}"))
        async with dispatching(store, runner, settings):
            await running(runner, "m0: chunk 0")
            await asyncio.sleep(0.6)
            return len([job for job in store.list_jobs(limit=50).jobs if job.status == JobStatus.PROCESSING])

    assert asyncio.run(scenario()) <= 4


def test_videos_named_like_pictures_take_the_room_of_videos_once_they_were_looked_at(
    store: JobStore, settings: FarmSettings
) -> None:
    async def scenario() -> int:
        runner = Switches(lanes=2)
        for number in range(4):
            create(store, new(f"m{number}", source_uri="file:///a.jpg"))
        async with dispatching(store, runner, settings):
            await running(runner, "m0: chunk 0")
            for number in range(4, 12):
                create(store, new(f"m{number}", source_uri="file:///a.jpg"))
            await asyncio.sleep(1.0)
            return len(store.list_jobs(status=JobStatus.PROCESSING).jobs)

    assert asyncio.run(scenario()) == 4


@pytest.mark.parametrize(("most", "told"), [(surroundings.LEAST_CAP, 7), (5, 5)])
def test_the_cluster_is_asked_for_room_for_all_that_waits_and_for_none_when_all_is_done(
    store: JobStore, settings: FarmSettings, monkeypatch: pytest.MonkeyPatch, most: int, told: int
) -> None:
    monkeypatch.setattr(surroundings, "DEMAND_EVERY_S", 0.02)
    monkeypatch.setattr(surroundings, "LEAST_CAP", most)
    asked: list[int] = []

    async def asked_at_last(number: int) -> None:
        async with asyncio.timeout(8):
            while asked[-1:] != [number]:  # noqa: ASYNC110 - a list tells nobody
                await asyncio.sleep(0.02)

    async def scenario() -> None:
        runner = Switches(lanes=2)
        for number in range(5):
            create(store, new(f"m{number}"))
        async with dispatching(store, runner, settings, ask_for=asked.append):
            # Two chunks of each of two jobs, the two others that are held, and the job that is not.
            await asked_at_last(told)
            runner.gate.set()
            await asked_at_last(0)

    asyncio.run(scenario())
    assert max(asked) == told
