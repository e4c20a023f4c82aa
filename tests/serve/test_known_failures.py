"""Failures of a batch that many follow: asked of the store now and then, and exactly at the end."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cluster.jobs import Batch, BatchStatus, ItemStatus, SqlStore, open_store
from cluster.settings import DatabaseSettings
from serve.api.known_failures import KnownFailures
from tests.support.batches import new_batch, new_item

ERROR: dict[str, Any] = {"code": "source_missing", "message": "gone", "retryable": False, "detail": {}}


@pytest.fixture
def store(tmp_path: Path) -> SqlStore:
    opened = open_store(DatabaseSettings(database_url=f"sqlite:///{tmp_path / 'farm.db'}"))
    opened.upgrade()
    return opened


@pytest.fixture
def asked(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the store was asked to group; each time it takes a tenth of a second."""
    times: list[float] = []
    real = store.batches.failures

    def slow(batch_id: str) -> Any:
        times.append(time.monotonic())
        time.sleep(0.1)
        return real(batch_id)

    monkeypatch.setattr(store.batches, "failures", slow)
    return times


def refused(store: SqlStore, batch: Batch, line: int, ending: BatchStatus | None = None) -> Batch:
    item = new_item(line, job=None, status=ItemStatus.REFUSED, error=ERROR)
    return store.batches.feed(batch.id, batch.fence, [item], cursor={"line": line}, ending=ending)


def test_many_that_follow_a_batch_have_it_grouped_once_in_a_while_and_at_its_end(
    store: SqlStore, asked: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.api.known_failures.SHARE", 0.001)  # a while that the disk does not outlast
    store.batches.create(new_batch())
    (batch,) = store.batches.claim("me", 60, 1)
    known = KnownFailures()
    assert known.of(batch, store.batches) == []
    assert asked == [], "where nothing has failed there is nothing to group"
    batch = refused(store, batch, 0)
    gate = threading.Barrier(8)

    def follow(_: int) -> int:
        gate.wait()
        return sum(one.items for one in known.of(batch, store.batches))

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(follow, range(8))) == {1}
    assert len(asked) == 1
    for line in range(1, 20):  # it fails on, and is asked for each time
        batch = refused(store, batch, line)
        known.of(batch, store.batches)
    assert len(asked) == 1
    batch = refused(store, batch, 20, BatchStatus.READY)
    batch = store.batches.finish(batch.id, batch.fence)
    for _ in range(3):
        assert [one.items for one in known.of(batch, store.batches)] == [21]
    assert len(asked) == 2


def test_failures_of_a_running_batch_are_told_anew_after_a_while(
    store: SqlStore, asked: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.api.known_failures.SHARE", 1.0)
    store.batches.create(new_batch())
    (batch,) = store.batches.claim("me", 60, 1)
    known = KnownFailures()
    batch = refused(store, batch, 0)
    assert [one.items for one in known.of(batch, store.batches)] == [1]
    batch = refused(store, batch, 1)
    time.sleep(0.3)
    assert [one.items for one in known.of(batch, store.batches)] == [2]
