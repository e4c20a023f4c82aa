"""The loop that feeds batches: whom it serves, what it does when the store is away, what it leaves when it is ended."""

import asyncio
import json
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
