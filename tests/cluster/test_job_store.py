"""What every job store promises: the same tests on SQLite and on a real PostgreSQL server."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cluster.errors import FenceLost, IdempotencyConflict, IllegalMove, InvalidCursor, InvalidJob, JobMissing
from cluster.jobs import Ending, Job, JobStatus, Prepared, Renewal, SqlStore, Wish, open_store
from cluster.settings import DatabaseSettings
from tests.support.jobs import claim, counts, create, ending, finish, new_job

NOBODY = "00000000-0000-7000-8000-000000000000"


@contextmanager
def stores(database: DatabaseSettings, count: int) -> Iterator[list[SqlStore]]:
    """Stores that share nothing but the database, as those of different processes do."""
    opened = [open_store(database) for _ in range(count)]
    try:
        yield opened
    finally:
        for one in opened:
            one.close()


def created(store: SqlStore, **changes: Any) -> Job:
    return create(store, new_job(**changes))[0]


def claimed(store: SqlStore, lease_s: float = 60, **changes: Any) -> Job:
    job = created(store, **changes)
    (mine,) = claim(store, "me", lease_s, 1)
    assert mine.id == job.id
    return mine


def kinds(store: SqlStore, job: Job) -> list[str]:
    return [event.kind for event in store.events(job.id)]


def test_a_created_job_is_found_as_it_was_asked_for(store: SqlStore) -> None:
    asked = new_job(
        callback_url="https://a.example/hook", metadata={"é": [1, None, 1.5, "😀"], "n": 2**70}, priority="bulk"
    )
    job, is_new = create(store, asked, "key")
    assert is_new
    assert store.get(job.id) == job == store.latest_for_media("acme", "m1")
    for name in asked.__dataclass_fields__:
        assert getattr(job, name) == getattr(asked, name)
    assert (job.status, job.fence, job.attempts, job.idem_key) == (JobStatus.QUEUED, 0, 0, "key")
    assert abs(job.created_at - datetime.now(UTC)) < timedelta(seconds=30)
    assert job.created_at.utcoffset() == timedelta(0)
    assert kinds(store, job) == ["queued"]


def test_a_repeated_request_gets_the_job_that_it_got_before(store: SqlStore) -> None:
    first, _ = create(store, new_job(), "key")
    claim(store, "me", 60, 1)
    again, is_new = create(store, new_job(source_etag="later"), "key")
    assert not is_new
    assert (again.id, again.status, again.source_etag) == (first.id, JobStatus.PROCESSING, "e1")
    assert create(store, new_job(org="other"), "key")[1], "keys are an org's own"
    assert create(store, new_job())[1]
    assert create(store, new_job())[1], "without a key every request is a new one"
    with pytest.raises(IdempotencyConflict) as caught:
        create(store, new_job(media_id="m2"), "key")
    without_its_source = new_job(source_etag="", source_bytes=0)
    assert store.created_before(without_its_source, "key") == again
    assert store.created_before(without_its_source, "new key") is None
    with pytest.raises(IdempotencyConflict):
        store.created_before(new_job(media_id="m2"), "key")
    assert caught.value.detail["job_id"] == first.id
    assert store.latest_for_media("acme", "m2") is None


def test_many_jobs_made_together_answer_each_as_it_would_alone(store: SqlStore) -> None:
    first, _ = create(store, new_job(), "taken")
    asked = [
        (new_job(media_id="a"), "new"),
        (new_job(media_id="b", metadata={"a": "\0"}), None),
        (new_job(media_id="a"), "new"),
        (new_job(), "taken"),
        (new_job(media_id="other"), "taken"),
        (new_job(media_id="c"), None),
    ]
    made = store.create_all(asked)
    assert isinstance(made[1], InvalidJob)
    assert isinstance(made[4], IdempotencyConflict)
    one, again, taken, other = (made[number] for number in (0, 2, 3, 5))
    assert isinstance(one, tuple)
    assert again == (store.get(one[0].id), False), "the same key twice in one go is one job"
    assert taken == (first, False)
    assert isinstance(other, tuple)
    assert [job.media_id for job in store.list_jobs().jobs] == ["c", "a", "m1"]
    assert kinds(store, one[0]) == kinds(store, other[0]) == ["queued"]
    assert store.create_all([]) == []


def test_what_goes_into_many_jobs_unchanged_is_stored_like_anything_else(store: SqlStore) -> None:
    recipe = {"é": ["😀", 1.5], "name": "r"}
    job, _ = create(store, new_job(recipe=Prepared(recipe)))
    assert store.get(job.id).recipe == recipe
    with pytest.raises(ValueError, match="half a character"):
        Prepared({"a": "\ud800"})


def test_fifty_requests_with_one_key_at_once_make_one_job(database: DatabaseSettings, store: SqlStore) -> None:
    with stores(database, 5) as several, ThreadPoolExecutor(50) as pool:
        together = threading.Barrier(50)

        def ask(number: int) -> tuple[str, bool]:
            together.wait(30)
            job, is_new = create(several[number % 5], new_job(), "the key")
            return job.id, is_new

        answers = list(pool.map(ask, range(50)))
    assert len({job_id for job_id, _ in answers}) == 1
    assert [is_new for _, is_new in answers].count(True) == 1
    assert counts(store)[JobStatus.QUEUED] == 1
    assert len(store.events(answers[0][0])) == 1


def test_a_job_that_no_database_could_keep_is_refused_and_leaves_nothing(store: SqlStore) -> None:
    with pytest.raises(InvalidJob):
        create(store, new_job(metadata={"a": "\0"}))
    assert sum(counts(store).values()) == 0


@pytest.mark.parametrize("job_id", [NOBODY, "", "x", "a\0b", "\ud800", "x" * 100_000, "' OR 1=1 --"])
def test_an_id_that_is_no_jobs_is_missing_in_every_way(store: SqlStore, job_id: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.get(job_id),
        lambda: store.request_cancel(job_id),
        lambda: store.retry(job_id),
        lambda: store.release(job_id, 1),
    ]
    for call in calls:
        with pytest.raises(JobMissing) as caught:
            call()
        assert len(str(caught.value.detail)) < 200
    assert store.finish_all([Ending(job_id, 1, JobStatus.READY)]) == {(job_id, 1)}
    assert store.renew_all([Renewal(job_id, 1, None)], 60) == {job_id}


def test_the_newest_job_of_a_media_item_is_the_latest(store: SqlStore) -> None:
    created(store)
    newest = created(store, recipe_name="hevc")
    created(store, org="other")
    created(store, media_id="m2")
    assert store.latest_for_media("acme", "m1") == newest
    assert store.latest_for_media("nobody", "m1") is None


def test_pages_are_newest_first_and_stand_still_while_jobs_arrive(store: SqlStore) -> None:
    ids = [created(store, media_id=f"m{number}").id for number in range(25)]
    seen: list[str] = []
    cursor = None
    for size in (10, 10, 5):
        page = store.list_jobs(limit=10, cursor=cursor)
        created(store, media_id="later")
        seen += [job.id for job in page.jobs]
        assert len(page.jobs) == size
        cursor = page.next_cursor
    assert cursor is None
    assert seen == ids[::-1]


def test_a_listing_can_be_of_one_status_and_one_org(store: SqlStore) -> None:
    mine, other = created(store), created(store, org="other")
    store.request_cancel(other.id)
    assert [job.id for job in store.list_jobs(org="other").jobs] == [other.id]
    assert [job.id for job in store.list_jobs(status=JobStatus.QUEUED).jobs] == [mine.id]
    assert store.list_jobs(status=JobStatus.QUEUED, org="other").jobs == ()
    assert counts(store) == dict.fromkeys(JobStatus, 0) | {JobStatus.QUEUED: 1, JobStatus.CANCELLED: 1}


def test_a_listing_leaves_the_reports_out(store: SqlStore) -> None:
    job = created(store)
    (claimed,) = claim(store, "me", 60, 1)
    finish(store, claimed, "ready", report={"large": "x" * 1000})
    assert store.get(job.id).report == {"large": "x" * 1000}
    assert [listed.report for listed in store.list_jobs().jobs] == [None]


@pytest.mark.parametrize("cursor", ["", "x", "!!!!", "é", "A" * 500, "AAAA\0"])
def test_a_made_up_cursor_is_refused(store: SqlStore, cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        store.list_jobs(cursor=cursor)


def test_the_jobs_of_a_class_are_claimed_by_age(store: SqlStore) -> None:
    for number, priority in enumerate(["bulk", "normal", "bulk", "interactive", "bulk"]):
        created(store, media_id=str(number), priority=priority)
    assert [job.media_id for job in store.claim("me", 60, 2, ("bulk", "acme"))] == ["0", "2"]
    assert [job.media_id for job in store.claim("me", 60, 2, ("bulk", "acme"))] == ["4"]
    assert store.claim("me", 60, 2, ("bulk", "acme")) == []


def test_a_claimed_job_is_leased_to_its_owner_by_the_databases_clock(store: SqlStore) -> None:
    job = claimed(store, lease_s=100)
    assert (job.status, job.fence, job.attempts, job.lease_owner) == (JobStatus.PROCESSING, 1, 1, "me")
    assert job.lease_until is not None
    assert job.started_at is not None
    assert timedelta(seconds=99) < job.lease_until - job.started_at < timedelta(seconds=101)
    assert store.get(job.id) == job
    assert kinds(store, job) == ["queued", "started"]


def test_claimers_never_get_the_same_job(database: DatabaseSettings, store: SqlStore) -> None:
    wanted = {created(store, media_id=str(number)).id for number in range(60)}
    with stores(database, 6) as several, ThreadPoolExecutor(6) as pool:

        def claim_all(mine: SqlStore) -> list[str]:
            got: list[str] = []
            idle = 0
            while idle < 3:
                batch = claim(mine, "somebody", 60, 3)
                got += [job.id for job in batch]
                idle = 0 if batch else idle + 1
            return got

        shares = list(pool.map(claim_all, several))
    assert sorted(job_id for share in shares for job_id in share) == sorted(wanted)
    assert {store.get(job_id).fence for job_id in wanted} == {1}


def test_a_lease_that_ran_out_is_taken_over_and_its_old_owner_changes_nothing(store: SqlStore) -> None:
    zombie = claimed(store, lease_s=-1, callback_url="https://a.example/")
    (heir,) = claim(store, "heir", 60, 1)
    assert (heir.id, heir.fence, heir.attempts) == (zombie.id, 2, 2)
    before, events = store.get(zombie.id), store.events(zombie.id)
    for late in (ending(zombie, manifest_key="wrong"), ending(zombie, "failed", error={"code": "x"})):
        assert store.finish_all([late]) == {(zombie.id, zombie.fence)}
    assert store.renew_all([Renewal(zombie.id, zombie.fence, {"percent": 99})], 60) == {zombie.id}
    with pytest.raises(FenceLost):
        store.release(zombie.id, zombie.fence)
    assert store.get(zombie.id) == before
    assert store.events(zombie.id) == events
    assert store.due_deliveries(10, 60) == []
    assert finish(store, heir, "ready").status is JobStatus.READY
    assert store.finish_all([ending(zombie)]) == {(zombie.id, zombie.fence)}


def test_what_a_dead_owner_held_is_claimed_at_once_and_what_others_hold_is_not(store: SqlStore) -> None:
    for number in range(3):
        created(store, media_id=f"m{number}")
    dead, ended = claim(store, "dead", 60, 2)
    (living,) = claim(store, "living", 60, 1)
    finish(store, ended, "ready")
    assert store.end_leases("dead") == 1
    (heir,) = claim(store, "dead", 60, 5)
    assert (heir.id, heir.fence, heir.attempts) == (dead.id, 2, 1), "its owner's death is not the job's fault"
    assert store.get(living.id) == living
    assert store.renew_all([Renewal(dead.id, dead.fence, None)], 60) == {dead.id}
    assert store.end_leases("nobody") == 0


def test_a_lease_that_is_renewed_is_nobody_elses(store: SqlStore) -> None:
    job = claimed(store, lease_s=0.5)
    assert store.renew_all([Renewal(job.id, job.fence, {"percent": 10})], 60) == set()
    time.sleep(0.6)
    assert claim(store, "other", 60, 1) == []
    assert store.renew_all([Renewal(job.id, job.fence, None)], 60) == set()
    assert store.get(job.id).progress == {"percent": 10}


def test_a_lease_ends_by_itself_after_its_seconds(store: SqlStore) -> None:
    job = claimed(store, lease_s=2)  # a commit may take half a second where the disk is busy
    assert claim(store, "other", 60, 1) == []
    time.sleep(2)
    (taken,) = claim(store, "other", 60, 1)
    assert (taken.id, taken.fence, taken.taken_over, job.taken_over) == (job.id, 2, True, False)
    assert store.events(job.id)[-1].data == {"attempt": 2, "taken_over": True}


def test_a_job_given_back_without_an_error_waits_its_delay_and_the_attempt_is_not_counted(store: SqlStore) -> None:
    job = claimed(store)
    store.release(job.id, job.fence, delay_s=2)  # as above
    given_back = store.get(job.id)
    assert (given_back.status, given_back.lease_owner, given_back.lease_until) == (JobStatus.QUEUED, None, None)
    assert claim(store, "me", 60, 1) == []
    assert store.finish_all([ending(job)]) == {(job.id, job.fence)}
    assert store.renew_all([Renewal(job.id, job.fence, None)], 60) == {job.id}
    time.sleep(2)
    (again,) = claim(store, "me", 60, 1)
    assert (again.fence, again.attempts) == (2, 1)


AWAY = {"code": "storage_unavailable", "message": "no answer", "retryable": True, "detail": {"uri": "s3://b"}}


def test_a_waiting_job_shows_why_it_waits_and_so_does_its_event(store: SqlStore) -> None:
    job = claimed(store)
    store.release(job.id, job.fence, 0.0, AWAY)
    assert store.get(job.id).error == AWAY
    (event,) = [event for event in store.events(job.id) if event.kind == "released"]
    assert event.data["error"] == {"code": "storage_unavailable", "message": "no answer"}
    (again,) = claim(store, "me", 60, 1)
    store.release(again.id, again.fence)
    assert store.get(job.id).error == AWAY, "a dispatcher that stops knows nothing better"
    assert store.events(job.id)[-1].data["error"] is None


@pytest.mark.parametrize("how", ["ready", "cancelled", "cancelled while it waits", "retried"])
def test_why_a_job_waited_is_forgotten_when_it_ends_or_is_retried(store: SqlStore, how: str) -> None:
    job = claimed(store, callback_url="https://a.example/")
    store.release(job.id, job.fence, 0.0, AWAY)
    if how == "cancelled while it waits":
        assert store.request_cancel(job.id).error is None
        assert store.due_deliveries(1, 60)[0].body["error"] is None
        return
    (again,) = claim(store, "me", 60, 1)
    if how == "retried":
        finish(store, again, "failed", error=AWAY)
        assert store.retry(again.id).error is None
    else:
        assert finish(store, again, how).error is None


def test_a_finished_job_keeps_what_it_became(store: SqlStore) -> None:
    job = claimed(store)
    ended = finish(store, job, "ready", revision="r1", manifest_key="acme/m1/r1/manifest.json", report={"vmaf": 95.5})
    assert store.get(job.id) == ended
    assert (ended.status, ended.revision, ended.report) == (JobStatus.READY, "r1", {"vmaf": 95.5})
    assert (ended.manifest_key, ended.lease_until, ended.fence) == ("acme/m1/r1/manifest.json", None, 1)
    assert ended.finished_at is not None
    assert kinds(store, job) == ["queued", "started", "ready"]


def test_what_an_error_says_of_the_farms_inside_stays_with_the_job(store: SqlStore) -> None:
    job = claimed(store, callback_url="https://a.example/")
    error = AWAY | {"detail": {"uri": "s3://inner", "limit": "max_pixels"}}
    finish(store, job, "failed", error=error)
    assert store.get(job.id).error == error
    told = AWAY | {"detail": {"limit": "max_pixels"}}
    assert store.events(job.id)[-1].data == {"attempt": 1, "error": told}
    assert store.due_deliveries(1, 60)[0].body["error"] == told


def test_ending_a_job_twice_is_one_ending(store: SqlStore) -> None:
    job = claimed(store, callback_url="https://a.example/")
    first = finish(store, job, "failed", error={"code": "corrupt_media"})
    assert finish(store, job, "failed", error={"code": "other"}) == first
    assert kinds(store, job) == ["queued", "started", "failed"]
    assert len(store.due_deliveries(10, 60)) == 1
    assert store.finish_all([ending(job)]) == {(job.id, job.fence)}
    assert store.get(job.id) == first


def test_a_queued_job_is_cancelled_at_once(store: SqlStore) -> None:
    job = created(store, callback_url="https://a.example/")
    cancelled = store.request_cancel(job.id)
    assert (cancelled.status, cancelled.finished_at is not None) == (JobStatus.CANCELLED, True)
    assert store.request_cancel(job.id) == cancelled
    assert claim(store, "me", 60, 1) == []
    assert kinds(store, job) == ["queued", "cancelled"]
    assert [delivery.event for delivery in store.due_deliveries(10, 60)] == ["job.cancelled"]


def test_the_owner_of_a_running_job_learns_that_it_shall_stop(store: SqlStore) -> None:
    job = claimed(store)
    other = claimed(store, media_id="m2")
    nothing = Wish(cancel=False, priority="normal")
    assert store.wishes([job.id, other.id]) == {job.id: nothing, other.id: nothing}
    asked = store.request_cancel(job.id)
    assert (asked.status, asked.cancel_requested) == (JobStatus.PROCESSING, True)
    assert store.request_cancel(job.id) == asked
    assert store.wishes([job.id, other.id]) == {job.id: Wish(cancel=True, priority="normal"), other.id: nothing}
    assert store.wishes([]) == {}
    assert finish(store, job, "cancelled").status is JobStatus.CANCELLED
    assert store.wishes([job.id]) == {}
    assert kinds(store, job) == ["queued", "started", "cancel_requested", "cancelled"]


def test_a_job_moves_to_another_class_while_it_waits_and_while_it_runs(store: SqlStore) -> None:
    first, second = created(store, media_id="m1"), created(store, media_id="m2")
    assert store.prioritise(second.id, "interactive").priority == "interactive"
    (running,) = claim(store, "me", 60, 1)
    assert running.id == second.id, "it goes first now"
    store.prioritise(second.id, "bulk")
    assert store.wishes([second.id]) == {second.id: Wish(cancel=False, priority="bulk")}
    assert store.prioritise(second.id, "bulk").fence == running.fence, "twice is once"
    assert kinds(store, second) == ["queued", "prioritised", "started", "prioritised"]
    with pytest.raises(InvalidJob):
        store.prioritise(first.id, "urgent")
    store.request_cancel(first.id)
    with pytest.raises(IllegalMove):
        store.prioritise(first.id, "bulk")


def test_a_job_that_was_ready_before_the_cancel_arrived_is_ready(store: SqlStore) -> None:
    job = claimed(store)
    store.request_cancel(job.id)
    assert finish(store, job, "ready").status is JobStatus.READY
    with pytest.raises(IllegalMove):
        store.request_cancel(job.id)


def test_a_cancelled_job_whose_owner_died_is_cancelled_and_not_begun_anew(store: SqlStore) -> None:
    died = claimed(store, lease_s=-1, callback_url="https://a.example/")
    store.request_cancel(died.id)
    given_back = claimed(store, media_id="m2") if claim(store, "heir", 60, 1) == [] else None
    assert store.get(died.id).status is JobStatus.CANCELLED
    assert len(store.due_deliveries(10, 60)) == 1
    assert given_back is not None
    store.request_cancel(given_back.id)
    store.release(given_back.id, given_back.fence)
    assert store.get(given_back.id).status is JobStatus.CANCELLED


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_a_job_that_ended_badly_can_be_asked_for_again(store: SqlStore, how: str) -> None:
    job = claimed(store)
    store.request_cancel(job.id)
    finish(store, job, how, error={"code": "x"})
    again = store.retry(job.id)
    assert (again.status, again.attempts, again.error, again.cancel_requested) == (JobStatus.QUEUED, 0, None, False)
    assert (again.finished_at, again.progress) == (None, {})
    assert store.finish_all([ending(job)]) == {(job.id, job.fence)}
    (mine,) = claim(store, "me", 60, 1)
    assert (mine.fence, mine.attempts) == (2, 1)
    assert store.finish_all([ending(job, how)]) == {(job.id, job.fence)}
    assert kinds(store, job)[-2:] == ["retried", "started"]


def test_what_a_status_does_not_allow_is_refused_and_changes_nothing(store: SqlStore) -> None:
    queued = created(store)
    with pytest.raises(IllegalMove):
        store.retry(queued.id)
    running = claim(store, "me", 60, 1)[0]
    with pytest.raises(IllegalMove):
        store.retry(running.id)
    ready = finish(store, running, "ready")
    for call in (store.retry, store.request_cancel):
        with pytest.raises(IllegalMove):
            call(ready.id)
    assert store.get(ready.id) == ready
    assert kinds(store, ready) == ["queued", "started", "ready"]


def test_events_are_read_on_from_where_a_reader_stopped(store: SqlStore) -> None:
    job, other = created(store), created(store, media_id="m2")
    for attempt in range(3):
        mine, others = claim(store, "me", 60, 2)
        store.release(mine.id, mine.fence, error=AWAY | {"message": f"try {attempt}"})
        store.release(others.id, others.fence)
    first = store.events(job.id, limit=3)
    rest = store.events(job.id, after_seq=first[-1].seq)
    assert [event.kind for event in first + rest] == ["queued"] + ["started", "released"] * 3
    assert [event.data["error"]["message"] for event in rest[1::2]] == ["try 1", "try 2"]
    assert [event.seq for event in first + rest] == sorted(event.seq for event in first + rest)
    assert len(store.events(other.id)) == 7
    assert all(event.job_id == job.id and event.at.utcoffset() == timedelta(0) for event in first + rest)


def test_a_reader_of_events_never_misses_one_that_committed_late(database: DatabaseSettings, store: SqlStore) -> None:
    job = created(store)
    writers, each = 4, 25
    with stores(database, writers) as several, ThreadPoolExecutor(writers) as pool:

        def write(mine: SqlStore) -> None:
            for _ in range(each):
                mine.request_cancel(job.id)
                with suppress(IllegalMove):  # another writer has retried it already
                    mine.retry(job.id)

        writing = [pool.submit(write, mine) for mine in several]
        seen: list[int] = [event.seq for event in store.events(job.id)]
        done, before = False, 0
        while not done or len(seen) > before:
            done, before = all(future.done() for future in writing), len(seen)
            seen += [event.seq for event in store.events(job.id, after_seq=seen[-1])]
        for future in writing:
            future.result()
    assert len(seen) > 2 * each
    assert seen == [event.seq for event in store.events(job.id, limit=1000)]


def test_what_media_put_into_messages_does_not_break_the_store(store: SqlStore) -> None:
    job = claimed(store)
    odd: dict[Any, Any] = {"title": "a\0b\udcff", "ratio": float("nan"), "list": (1, float("inf")), 5: "number as key"}
    store.renew_all([Renewal(job.id, job.fence, odd)], 60)
    kept = {"title": "a\ufffdb?", "ratio": None, "list": [1, None], "5": "number as key"}
    assert store.get(job.id).progress == kept
    assert finish(store, job, "failed", error=odd).error == kept
    assert store.events(job.id)[-1].data["error"] == kept | {"detail": {}}


def test_a_callback_is_owed_from_the_moment_the_job_ends(store: SqlStore) -> None:
    job = claimed(store, callback_url="https://a.example/hook", metadata={"ref": 7})
    assert store.due_deliveries(10, 60) == []
    finish(store, job, "ready", revision="r1", manifest_key="k")
    (owed,) = store.due_deliveries(10, 60)
    assert (owed.job_id, owed.event, owed.url, owed.attempts) == (job.id, "job.ready", "https://a.example/hook", 1)
    assert owed.body["metadata"] == {"ref": 7}
    assert (owed.body["status"], owed.body["manifest_key"], owed.body["media_id"]) == ("ready", "k", "m1")
    assert store.due_deliveries(10, 60) == [], "it is with the sender"
    store.delivered(owed.id, 204)
    store.delivery_failed(owed.id, 500, 0)
    assert store.due_deliveries(10, 60) == [], "it arrived, whatever a slower try says"


def test_callbacks_that_are_owed_are_counted_with_the_lateness_of_the_one_that_is_due_longest(store: SqlStore) -> None:
    assert store.callbacks_owed() == (0, 0.0)
    for name in ("a", "b", "c"):
        store.request_cancel(created(store, media_id=name, callback_url="https://a.example/").id)
    first, second, third = store.due_deliveries(10, 60)
    store.delivered(first.id, 204)
    store.delivery_failed(second.id, 503, 3600)
    count, late_s = store.callbacks_owed()
    assert count == 2
    assert 0 < late_s < 60
    store.delivery_failed(third.id, 410, None)
    assert store.callbacks_owed() == (1, 0.0)


def test_a_job_without_a_callback_owes_none(store: SqlStore) -> None:
    job = claimed(store)
    finish(store, job, "ready")
    assert store.due_deliveries(10, 60) == []


def test_a_callback_is_tried_again_when_it_is_due_until_it_is_given_up(store: SqlStore) -> None:
    job = claimed(store, callback_url="https://a.example/hook")
    finish(store, job, "failed", error={"code": "x"})
    (first,) = store.due_deliveries(10, 60)
    store.delivery_failed(first.id, 503, 0.4)
    assert store.due_deliveries(10, 60) == []
    time.sleep(0.5)
    (second,) = store.due_deliveries(10, 0.4)
    assert (second.id, second.attempts) == (first.id, 2)
    time.sleep(0.5)  # the sender died: its lease on the delivery runs out
    (third,) = store.due_deliveries(10, 60)
    assert (third.id, third.attempts) == (first.id, 3)
    store.delivery_failed(third.id, None, None)
    assert store.due_deliveries(10, -60) == store.due_deliveries(10, 60) == []


def test_senders_never_get_the_same_delivery(database: DatabaseSettings, store: SqlStore) -> None:
    for number in range(20):
        store.request_cancel(created(store, media_id=str(number), callback_url="https://a.example/").id)
    with stores(database, 4) as several, ThreadPoolExecutor(4) as pool:
        shares = list(pool.map(lambda one: [d.id for _ in range(4) for d in one.due_deliveries(3, 60)], several))
    taken = [delivery_id for share in shares for delivery_id in share]
    assert len(taken) == len(set(taken)) == 20


CREATE_FOREVER = """
import sys
from cluster.jobs import open_store
from cluster.settings import DatabaseSettings
from tests.support.jobs import create, new_job
store = open_store(DatabaseSettings(database_url=sys.argv[1]))
number = 0
while True:
    job, _ = create(store, new_job(media_id=str(number)), f"key {number}")
    number += 1
    print(job.id, flush=True)
"""


def test_a_writer_that_is_killed_loses_no_job_that_it_acknowledged(database: DatabaseSettings, store: SqlStore) -> None:
    url = database.database_url.get_secret_value()
    writer = subprocess.Popen([sys.executable, "-c", CREATE_FOREVER, url], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    acknowledged = [writer.stdout.readline().strip() for _ in range(50)]
    writer.send_signal(signal.SIGKILL)
    acknowledged += [line.strip() for line in writer.stdout if line.endswith("\n")]
    writer.stdout.close()
    writer.wait(10)
    for job_id in acknowledged:
        assert kinds(store, store.get(job_id)) == ["queued"]
    assert counts(store)[JobStatus.QUEUED] - len(acknowledged) in (0, 1)
    create(store, new_job())


def test_a_store_answers_a_ping_when_its_tables_are_of_this_version(store: SqlStore) -> None:
    store.ping()
