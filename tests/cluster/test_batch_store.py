"""What every store promises of batches: the same tests on SQLite and on a real PostgreSQL server."""

from typing import Any

import pytest

from cluster.errors import BatchMissing, FenceLost, IdempotencyConflict, IllegalMove, InvalidCursor
from cluster.jobs import Batch, BatchStatus, ItemStatus, Job, JobStatus, SqlStore
from tests.support.batches import new_batch, new_item
from tests.support.jobs import claim, create, finish, new_job

ERROR: dict[str, Any] = {"code": "not_media", "message": "no media", "retryable": False, "detail": {"native": "x"}}
NOBODY = "00000000-0000-7000-8000-000000000000"


def claimed(store: SqlStore, **changes: Any) -> Batch:
    store.batches.create(new_batch(**changes))
    (batch,) = store.batches.claim("me", 60, 1)
    return batch


def fed(store: SqlStore, count: int = 3, ending: BatchStatus | None = BatchStatus.READY, **changes: Any) -> Batch:
    batch = claimed(store, **changes)
    items = [new_item(number) for number in range(count)]
    return store.batches.feed(batch.id, batch.fence, items, cursor={"offset": 9}, ending=ending)


def ended(store: SqlStore, *statuses: str) -> list[Job]:
    """The jobs that are due, ended in their order."""
    jobs = claim(store, "worker", 60, len(statuses))
    for job, status in zip(jobs, statuses, strict=True):
        finish(store, job, status, error=ERROR if status == "failed" else None)
    return jobs


def settled(store: SqlStore, batch: Batch) -> Batch:
    return store.batches.settle(batch.id, batch.fence, 60)


def test_a_batch_is_found_as_it_was_asked_for(store: SqlStore) -> None:
    asked = new_batch(on_error="stop", max_items=7, kind="image")
    batch, is_new = store.batches.create(asked, "key")
    assert is_new
    assert store.batches.get(batch.id) == batch
    for name in asked.__dataclass_fields__:
        assert getattr(batch, name) == getattr(asked, name)
    assert (batch.status, batch.items, batch.cursor, batch.open) == (BatchStatus.LISTING, 0, {}, 0)
    with pytest.raises(BatchMissing):
        store.batches.get(NOBODY)
    with pytest.raises(BatchMissing):
        store.batches.retry("x' OR 1=1 --")


def test_a_key_names_one_batch_for_good(store: SqlStore) -> None:
    first, _ = store.batches.create(new_batch(), "key")
    again, is_new = store.batches.create(new_batch(recipe={"name": "standard", "updated": True}), "key")
    assert (again.id, is_new) == (first.id, False)
    assert store.batches.create(new_batch(org="other"), "key")[1], "keys are an org's own"
    with pytest.raises(IdempotencyConflict):
        store.batches.create(new_batch(source_etag="the manifest was edited"), "key")


def test_without_a_key_the_same_request_is_the_same_batch_until_that_ended(store: SqlStore) -> None:
    first, _ = store.batches.create(new_batch())
    assert store.batches.create(new_batch())[0].id == first.id
    assert store.batches.create(new_batch(priority="normal"))[1]
    assert store.batches.create(new_batch(recipe_digest="e" * 64))[1], "a recipe that was edited is another command"
    store.batches.request_cancel(first.id)
    held = {batch.id: batch for batch in store.batches.claim("me", 60, 5)}[first.id]
    assert store.batches.finish(held.id, held.fence).status is BatchStatus.CANCELLED
    assert store.batches.create(new_batch())[1]


def test_a_batch_stands_otherwise_whenever_it_was_read_on_or_an_item_ended_until_it_has_ended_itself(
    store: SqlStore,
) -> None:
    batch = claimed(store)
    seen = [store.batches.standing()[batch.id]]
    store.batches.claim("other", 0.001, 1)
    assert store.batches.standing() == {batch.id: seen[0]}, "a lease is no progress"
    items = [new_item(number) for number in range(2)]
    store.batches.feed(batch.id, batch.fence, [], cursor={"offset": 9})
    seen.append(store.batches.standing()[batch.id])
    store.batches.feed(batch.id, batch.fence, items, cursor={"offset": 9}, ending=BatchStatus.READY)
    seen.append(store.batches.standing()[batch.id])
    ended(store, "ready")
    settled(store, batch)
    seen.append(store.batches.standing()[batch.id])
    ended(store, "failed")
    settled(store, batch)
    seen.append(store.batches.standing()[batch.id])
    assert len(set(seen)) == len(seen)
    store.batches.finish(batch.id, batch.fence, None)
    assert store.batches.standing() == {}


def test_items_their_jobs_and_the_cursor_are_one_commit(store: SqlStore) -> None:
    batch = fed(store, ending=None)
    assert (batch.items, batch.open, batch.cursor, batch.status) == (3, 3, {"offset": 9}, BatchStatus.LISTING)
    with pytest.raises(FenceLost):
        store.batches.feed(batch.id, batch.fence - 1, [new_item(3)], cursor={"offset": 12})
    assert store.batches.get(batch.id).cursor == {"offset": 9}
    jobs = claim(store, "worker", 60, 10)
    assert [job.media_id for job in jobs] == ["m0", "m1", "m2"]
    assert {job.batch_id for job in jobs} == {batch.id}
    assert [event.kind for event in store.events(jobs[0].id)] == ["queued", "started"]


def test_every_job_of_a_batch_shows_the_recipe_that_the_batch_holds_once(store: SqlStore) -> None:
    batch = fed(store, 1)
    (job,) = claim(store, "worker", 60, 1)
    other, _ = create(store, new_job(recipe={"name": "its own"}))
    for seen in (job, store.get(job.id), store.latest_for_media("acme", "m0"), store.request_cancel(job.id)):
        assert seen is not None
        assert seen.recipe == batch.recipe
    listed = {one.id: one for one in store.list_jobs().jobs}
    assert (listed[job.id].recipe, listed[other.id].recipe) == (batch.recipe, {"name": "its own"})


def test_a_batch_that_somebody_holds_is_nobody_elses_until_its_lease_ends(store: SqlStore) -> None:
    batch = claimed(store)
    assert store.batches.claim("other", 60, 5) == []
    store.batches.release(batch.id, batch.fence)
    with pytest.raises(FenceLost):  # else a step that runs on would have the lease again, for nobody
        store.batches.settle(batch.id, batch.fence, 60)
    (taken,) = store.batches.claim("other", 0.0, 5)
    assert taken.fence == batch.fence + 1
    with pytest.raises(FenceLost):
        store.batches.settle(batch.id, batch.fence, 60)
    assert store.batches.claim("third", 60, 5)[0].fence == taken.fence + 1, "its lease had run out"


def test_leases_are_renewed_by_their_fences_and_what_is_held_is_not_claimed_by_its_holder(store: SqlStore) -> None:
    first, second = (store.batches.create(new_batch(source_etag=etag))[0] for etag in ("a", "b"))
    held = {batch.id: batch for batch in store.batches.claim("me", 0.0, 5)}
    store.batches.renew([(first.id, held[first.id].fence), (second.id, held[second.id].fence - 1)], 60)
    assert store.batches.claim("me", 60, 5, [second.id]) == []
    assert [batch.id for batch in store.batches.claim("other", 60, 5)] == [second.id]


def test_settling_counts_each_end_once(store: SqlStore) -> None:
    batch = fed(store)
    failed, *_ = ended(store, "failed", "ready")
    batch = settled(store, batch)
    assert (batch.ready, batch.failed, batch.open, batch.status) == (1, 1, 1, BatchStatus.RUNNING)
    assert settled(store, batch) == batch
    (item,) = store.batches.items(batch.id, status=ItemStatus.FAILED)[0]
    assert (item.number, item.job_id) == (0, failed.id)
    assert item.error == ERROR | {"detail": {}}, "a decoder's last words are for operators"
    (failure,) = store.batches.failures(batch.id)
    assert (failure.code, failure.items, failure.message) == ("not_media", 1, "no media")


def test_items_that_need_no_job_are_in_the_pace_of_a_batch_too(store: SqlStore) -> None:
    batch = claimed(store)
    current = [new_item(number, job=None, job_id=NOBODY, status=ItemStatus.CURRENT) for number in range(5)]
    batch = store.batches.feed(batch.id, batch.fence, [*current, new_item(5)], cursor={})
    (sample,) = batch.pace
    assert sample[1:] == [0, 5]


def test_a_batch_that_stops_at_the_first_failure_is_fed_no_more(store: SqlStore) -> None:
    batch = fed(store, ending=None, on_error="stop")
    ended(store, "failed")
    batch = settled(store, batch)
    assert (batch.ending, batch.open) == (BatchStatus.STOPPED, 2)
    assert store.batches.feed(batch.id, batch.fence, [new_item(3)], cursor={"offset": 12}).items == 3
    assert store.batches.finish(batch.id, batch.fence).finished_at is None, "two jobs still run"
    ended(store, "ready", "ready")
    settled(store, batch)
    assert store.batches.finish(batch.id, batch.fence).status is BatchStatus.STOPPED


def test_retrying_queues_what_failed_anew_and_goes_on_where_reading_broke_off(store: SqlStore) -> None:
    batch = fed(store, ending=None, on_error="stop")
    failed, *_ = ended(store, "failed", "ready", "ready")
    store.batches.finish(batch.id, settled(store, batch).fence)
    batch = store.batches.retry(batch.id)
    assert (batch.status, batch.ending, batch.waiting, batch.failed) == (BatchStatus.LISTING, None, 1, 0)
    (batch,) = store.batches.claim("me", 60, 1)
    (outcome,) = store.batches.waiting(batch.id, 10)
    assert outcome.job is not None
    assert outcome.job.id == failed.id
    again = new_item(0, job=None, job_id=failed.id)
    batch = store.batches.repeat(batch.id, batch.fence, [(outcome.item.number, again)])
    assert (batch.waiting, batch.open) == (0, 1)
    ended(store, "ready")
    assert settled(store, batch).ready == 3
    assert [event.kind for event in store.events(failed.id)].count("retried") == 1


def test_a_retried_batch_in_which_nothing_failed_stays_as_it_is(store: SqlStore) -> None:
    batch = fed(store, 1)
    ended(store, "ready")
    done = store.batches.finish(batch.id, settled(store, batch).fence)
    assert done.status is BatchStatus.READY
    assert store.batches.retry(batch.id) == done
    with pytest.raises(IllegalMove):
        store.batches.request_cancel(batch.id)


def test_a_batch_that_is_retried_is_its_commands_again(store: SqlStore) -> None:
    batch = fed(store, 1)
    (job,) = ended(store, "failed")
    for retry in (lambda: store.batches.retry(batch.id), lambda: store.retry(job.id)):
        store.batches.finish(batch.id, settled(store, store.batches.get(batch.id)).fence)
        retry()
        assert store.batches.create(new_batch()) == (store.batches.get(batch.id), False)
        (held,) = store.batches.claim("me", 60, 1)
        for outcome in store.batches.waiting(batch.id, 1):
            again = new_item(0, job=None, job_id=job.id)
            store.batches.repeat(batch.id, held.fence, [(outcome.item.number, again)])
        ended(store, "failed")


def test_a_batch_is_not_retried_beside_another_one_of_its_command(store: SqlStore) -> None:
    batch = fed(store, 1)
    (job,) = ended(store, "failed")
    done = store.batches.finish(batch.id, settled(store, batch).fence)
    twin, is_new = store.batches.create(new_batch())
    assert is_new
    for retry in (lambda: store.batches.retry(batch.id), lambda: store.retry(job.id)):
        with pytest.raises(IllegalMove, match=twin.id) as refused:
            retry()
        assert refused.value.detail == {"batch_id": twin.id}
        assert store.batches.get(batch.id) == done
    assert store.get(job.id).status is JobStatus.FAILED


def test_a_line_that_names_no_source_is_not_tried_again(store: SqlStore) -> None:
    batch = claimed(store)
    bad = new_item(1, job=None, source_uri=None, media_id=None, status=ItemStatus.REFUSED, error=ERROR)
    gone = new_item(2, job=None, status=ItemStatus.REFUSED, error=ERROR, asked={"kind": "image"})
    batch = store.batches.feed(batch.id, batch.fence, [bad, gone], cursor={}, ending=BatchStatus.READY)
    store.batches.finish(batch.id, batch.fence)
    batch = store.batches.retry(batch.id)
    assert (batch.refused, batch.waiting) == (1, 1)
    (outcome,) = store.batches.waiting(batch.id, 10)
    assert (outcome.item.number, outcome.item.asked, outcome.job) == (1, {"kind": "image"}, None)


def test_cancelling_lets_nothing_more_come_and_names_the_jobs_to_stop(store: SqlStore) -> None:
    batch = fed(store, ending=None)
    running, *_ = claim(store, "worker", 60, 1)
    asked = store.batches.request_cancel(batch.id)
    assert (asked.ending, asked.cancel_requested) == (BatchStatus.CANCELLED, True)
    assert len(store.batches.open_jobs(batch.id)) == 3
    for job_id in store.batches.open_jobs(batch.id):
        store.request_cancel(job_id)
    assert store.batches.open_jobs(batch.id) == []
    with pytest.raises(IllegalMove):
        store.batches.retry(batch.id)
    finish(store, running, "cancelled")
    batch = settled(store, batch)
    assert (batch.cancelled, batch.open) == (3, 0)
    assert store.batches.finish(batch.id, batch.fence).status is BatchStatus.CANCELLED


def test_what_was_made_before_is_told_by_its_newest_ready_job(store: SqlStore) -> None:
    for etag in ("e1", "e2"):
        create(store, new_job(source_etag=etag))
        ended(store, "ready")
    create(store, new_job(source_etag="e3"))
    found = store.batches.newest_ready("acme", ["m1", "m2"])
    assert set(found) == {"m1"}
    assert found["m1"].source_etag == "e2"
    assert store.batches.newest_ready("other", ["m1"]) == {}


def test_the_newest_batch_of_a_request_is_found_also_when_it_has_ended(store: SqlStore) -> None:
    assert store.batches.newest_like(new_batch()) is None
    first, _ = store.batches.create(new_batch(), "a")
    second, _ = store.batches.create(new_batch(), "b")
    assert store.batches.newest_like(new_batch()) == second
    (batch, *_) = [one for one in store.batches.claim("me", 60, 2) if one.id == second.id]
    store.batches.feed(batch.id, batch.fence, [], cursor={}, ending=BatchStatus.READY)
    ended = store.batches.finish(batch.id, batch.fence)
    assert store.batches.newest_like(new_batch()) == ended != first
    assert store.batches.newest_like(new_batch(source_etag="another")) is None
    assert store.batches.newest_like(new_batch(org="other")) is None
    assert store.batches.newest_like(new_batch(recipe_digest="e" * 64)) is None, "it would make other outputs"


def test_items_and_batches_come_in_pages(store: SqlStore) -> None:
    batch = fed(store, 5)
    page, cursor = store.batches.items(batch.id, limit=3)
    rest, none = store.batches.items(batch.id, limit=3, cursor=cursor)
    assert ([item.number for item in page + rest], none) == ([0, 1, 2, 3, 4], None)
    store.batches.create(new_batch(), "second")
    _, cursor = store.batches.list_batches(limit=1)
    second, none = store.batches.list_batches(limit=1, cursor=cursor)
    assert ([one.id for one in second], none) == ([batch.id], None)
    assert store.batches.list_batches(org="other") == ([], None)
    assert [outcome.item.number for outcome in store.batches.outcomes(batch.id, 1, 2)] == [2, 3]
    for wrong in ("!", "YWJj", "9" * 200):
        with pytest.raises(InvalidCursor):
            store.batches.items(batch.id, cursor=wrong)
