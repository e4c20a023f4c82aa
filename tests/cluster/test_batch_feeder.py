"""The loop that feeds batches: whom it serves, what it does when the store is away, what it leaves when it is ended."""

import asyncio
import dataclasses
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cluster.batches import feeder as feeder_module
from cluster.batches.feed import Feed
from cluster.batches.feeder import Feeder
from cluster.errors import StoreUnavailable
from cluster.farm_settings import FarmSettings
from cluster.jobs import Batch, BatchStatus, SqlStore, open_store
from cluster.storage.local import fingerprint
from tests.support.batches import new_batch
from tests.support.jobs import claim, finish


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FarmSettings:
    monkeypatch.setenv("FARM_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("FARM_SCRATCH_DIR", str(tmp_path / "scratch"))
    monkeypatch.setenv("FARM_SOURCE_PREFIXES", tmp_path.as_uri())
    for name in ("LOOK_S", "STEP_S", "AWAY_S", "BROKEN_S"):
        monkeypatch.setattr(feeder_module, name, 0.02)
    return FarmSettings.load()


@pytest.fixture
def store(settings: FarmSettings) -> SqlStore:
    opened = open_store(settings.database)
    opened.upgrade()
    return opened


def batch_of(store: SqlStore, settings: FarmSettings, folder: Path, name: str) -> Batch:
    """A batch of one item, whose job nobody drives."""
    (folder / "a.jpg").write_bytes(b"x")
    manifest = folder / f"{name}.jsonl"
    manifest.write_text(json.dumps((folder / "a.jpg").as_uri()))
    results = f"{settings.storage.storage_uri}/results"
    etag = fingerprint(manifest.stat())
    return store.batches.create(new_batch(source_uri=manifest.as_uri(), source_etag=etag, results_uri=results))[0]


@asynccontextmanager
async def feeding(store: SqlStore, settings: FarmSettings) -> AsyncIterator[list[None]]:
    nudges: list[None] = []
    task = asyncio.create_task(Feeder(store, settings, lambda: 2, lambda: nudges.append(None)).run())
    try:
        yield nudges
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_fed(store: SqlStore, batch: Batch) -> Batch:
    async with asyncio.timeout(30):
        while True:
            found = await asyncio.to_thread(store.batches.get, batch.id)
            if found.items:
                return found
            await asyncio.sleep(0.02)


def test_every_batch_is_fed_to_its_end_and_the_dispatcher_told(
    store: SqlStore, settings: FarmSettings, tmp_path: Path
) -> None:
    async def scenario() -> list[BatchStatus]:
        batches = [batch_of(store, settings, tmp_path, name) for name in ("one", "two")]
        async with feeding(store, settings) as nudges, asyncio.timeout(30):
            while True:
                for job in await asyncio.to_thread(claim, store, "test", 60.0, 10):
                    await asyncio.to_thread(finish, store, job, "ready")
                found = [await asyncio.to_thread(store.batches.get, batch.id) for batch in batches]
                if all(batch.finished_at for batch in found):
                    assert nudges
                    return [batch.status for batch in found]
                await asyncio.sleep(0.02)

    assert asyncio.run(scenario()) == [BatchStatus.READY, BatchStatus.READY]


def test_an_ended_feeder_leaves_its_batches_to_the_next_at_once(
    store: SqlStore, settings: FarmSettings, tmp_path: Path
) -> None:
    async def scenario() -> None:
        batch = batch_of(store, settings, tmp_path, "one")
        async with feeding(store, settings):
            await until_fed(store, batch)
            assert store.batches.claim("other", 60, 1) == []
        assert [one.id for one in store.batches.claim("other", 60, 1)] == [batch.id]

    asyncio.run(scenario())


@pytest.mark.parametrize("failure", [StoreUnavailable("the job store cannot be reached"), RuntimeError("a bug")])
def test_a_step_that_fails_is_done_again(
    store: SqlStore, settings: FarmSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    real, failing = Feed.step, [failure, failure]

    def step(feed: Feed, slots: int) -> bool:
        if failing:
            raise failing.pop()
        return real(feed, slots)

    monkeypatch.setattr(Feed, "step", step)

    async def scenario() -> Batch:
        batch = batch_of(store, settings, tmp_path, "one")
        async with feeding(store, settings):
            return await until_fed(store, batch)

    assert asyncio.run(scenario()).open == 1


def test_a_step_that_outlasts_its_lease_is_the_only_one_and_goes_on(
    store: SqlStore, settings: FarmSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(settings, work=settings.work.model_copy(update={"lease_s": 2.0}))
    real, running, most = Feed.step, 0, 0

    def slow(feed: Feed, slots: int) -> bool:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            for _ in range(25):  # a listing that gets on
                time.sleep(0.2)
                feed.move()
            return real(feed, slots)
        finally:
            running -= 1

    monkeypatch.setattr(Feed, "step", slow)

    async def scenario() -> Batch:
        batch = batch_of(store, settings, tmp_path, "one")
        others: list[Batch] = []
        async with feeding(store, settings):
            while not (fed := await asyncio.to_thread(store.batches.get, batch.id)).items:
                await asyncio.sleep(0.05)
                if fed.fence:
                    others += await asyncio.to_thread(store.batches.claim, "other", 60.0, 1)
        assert others == [], "its lease is renewed meanwhile"
        return fed

    fed = asyncio.run(asyncio.wait_for(scenario(), 30))
    assert (fed.fence, fed.open, most) == (1, 1, 1)


def test_batches_whose_steps_hang_keep_no_other_from_being_fed(
    store: SqlStore, settings: FarmSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeder_module, "SILENT_S", 0.2)
    real, released, hung = Feed.step, threading.Event(), set()

    async def scenario() -> None:
        batches = [batch_of(store, settings, tmp_path, f"hung-{number}") for number in range(feeder_module.AT_ONCE)]
        names = {batch.id for batch in batches}

        def step(feed: Feed, slots: int) -> bool:
            if feed.batch.id in names:  # as on a file share that is away
                hung.add(feed.batch.id)
                released.wait(30)
            return real(feed, slots)

        monkeypatch.setattr(Feed, "step", step)
        async with feeding(store, settings):
            while hung != names:  # noqa: ASYNC110 - the steps are on threads
                await asyncio.sleep(0.02)
            await until_fed(store, batch_of(store, settings, tmp_path, "other"))

    try:
        asyncio.run(scenario())
    finally:
        released.set()


def test_a_step_that_hangs_loses_its_lease_to_others_and_is_not_doubled_by_its_own_process(
    store: SqlStore, settings: FarmSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(settings, work=settings.work.model_copy(update={"lease_s": 0.2}))
    monkeypatch.setattr(feeder_module, "SILENT_S", 0.1)
    released, steps = threading.Event(), 0

    def hangs(_feed: Feed, _slots: int) -> bool:
        nonlocal steps
        steps += 1
        return released.wait(20)

    monkeypatch.setattr(Feed, "step", hangs)

    async def scenario() -> None:
        batch = batch_of(store, settings, tmp_path, "one")
        async with feeding(store, settings):
            while not steps:  # noqa: ASYNC110 - the step is on a thread
                await asyncio.sleep(0.05)
            await asyncio.sleep(1.0)  # five leases
            assert (steps, store.batches.get(batch.id).fence) == (1, 1)
            assert [one.id for one in store.batches.claim("other", 60.0, 1)] == [batch.id]
            released.set()

    asyncio.run(scenario())
