"""What is swept out of the farm's storage by age, and what is not the farm's to touch."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from cluster.farm_settings import FarmSettings
from cluster.jobs import JobStore, open_store
from cluster.jobs.model import new_id
from cluster.settings import DatabaseSettings
from cluster.storage import Storage, open_storage
from cluster.sweep import sweep_now_and_then, sweep_scratch, sweep_storage
from tests.support.jobs import claim, create, finish, new_job
from tests.support.proxy import proxying
from tests.support.seaweed import Seaweed

ALL_IS_OLD_S = -60.0
DAY_S = 24 * 3600.0


@pytest.fixture
def jobs(tmp_path: Path) -> JobStore:
    opened = open_store(DatabaseSettings(database_url=f"sqlite:///{tmp_path / 'farm.db'}"))
    opened.upgrade()
    return opened


def failed(jobs: JobStore) -> str:
    job, _ = create(jobs, new_job())
    (mine,) = claim(jobs, "me", 60, 1)
    finish(jobs, mine, "failed", error={"code": "x"})
    return job.id


def keys(storage: Storage) -> set[str]:
    return {found.key for found in storage.list()}


def aged(storage: Storage, key: str, age_s: float) -> None:
    path = storage.local_path(key)
    assert path is not None
    os.utime(path, (time.time() - age_s,) * 2)


def test_only_folders_of_jobs_that_have_ended_are_swept(storage: Storage, jobs: JobStore) -> None:
    over, forgotten = failed(jobs), new_id()
    queued, _ = create(jobs, new_job())
    kept = {f"scratch/{queued.id}/n/plan.json", "scratch/renders/a.exr", "scratch/a.exr", "acme/m1/r/manifest.json"}
    for key in kept | {f"scratch/{over}/n/plan.json", f"scratch/{over}/n/a.mp4", f"scratch/{forgotten}/n/plan.json"}:
        storage.put_bytes(key, b"x")
    sweep_scratch(storage, jobs, DAY_S)
    assert len(keys(storage)) == len(kept) + 3, "nothing is that old yet"
    sweep_scratch(storage, jobs, ALL_IS_OLD_S)
    assert keys(storage) == kept


def test_a_jobs_folder_stays_whole_until_all_of_it_is_old(tmp_path: Path, jobs: JobStore) -> None:
    settings = FarmSettings.load().storage
    storage = open_storage((tmp_path / "storage").as_uri(), settings)
    folder = f"scratch/{failed(jobs)}/n"
    plan, chunk = f"{folder}/plan.json", f"{folder}/chunk.mp4"
    for key in (plan, chunk):
        storage.put_bytes(key, b"x")
    aged(storage, plan, 2 * DAY_S)
    sweep_scratch(storage, jobs, DAY_S)
    assert keys(storage) == {plan, chunk}
    aged(storage, chunk, 2 * DAY_S)
    sweep_scratch(storage, jobs, DAY_S)
    assert keys(storage) == set()


def test_a_sweeping_dispatcher_begins_at_once(tmp_path: Path, jobs: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_DATA_DIR", str(tmp_path))
    settings = FarmSettings.load()
    storage = open_storage(settings.storage.storage_uri, settings.storage)
    key = f"scratch/{failed(jobs)}/n/plan.json"
    storage.put_bytes(key, b"x")
    aged(storage, key, settings.work.scratch_keep_s + 60)

    async def scenario() -> None:
        told = asyncio.Event()
        sweeping = asyncio.create_task(sweep_now_and_then(settings, jobs, told.set))
        async with asyncio.timeout(5):
            while storage.stat(key) is not None:  # noqa: ASYNC110 - another thread removes it
                await asyncio.sleep(0.02)
            await told.wait()
        sweeping.cancel()

    asyncio.run(scenario())


@pytest.mark.s3
def test_scratch_is_swept_although_uploads_may_not_be_listed(
    seaweed: Seaweed,
    s3_uri: str,
    jobs: JobStore,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = FarmSettings.load().work.model_copy(update={"scratch_keep_s": ALL_IS_OLD_S})
    with proxying(seaweed.endpoint) as proxy:
        # A signature that does not fit is refused with 403, as a missing permission is.
        proxy.corrupt = lambda data: data.replace(b"?uploads", b"?uplxads")
        there = seaweed.settings(storage_uri=s3_uri, s3_endpoint=proxy.endpoint)
        settings = FarmSettings(there, DatabaseSettings(data_dir=tmp_path), work)
        storage = open_storage(s3_uri, seaweed.settings())
        storage.put_bytes(f"scratch/{failed(jobs)}/n/plan.json", b"x")
        sweep_storage(settings, jobs)
    assert keys(storage) == set()
    assert "unfinished uploads not swept: storage_refused" in caplog.text
