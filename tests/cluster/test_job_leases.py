"""Leases of many jobs at once: taken by what the jobs weigh, ended in one commit, and nobody ends another's."""

from typing import Any

import pytest

from cluster.claims import likely_weight
from cluster.jobs import Ending, JobStatus, SqlStore, leasing
from tests.support.jobs import claim, create, ending, new_job


def created(store: SqlStore, count: int, **changes: Any) -> list[str]:
    return [create(store, new_job(media_id=f"m{number}", **changes))[0].id for number in range(count)]


def test_sixteen_pictures_are_claimed_where_one_video_would_be(store: SqlStore) -> None:
    pictures = created(store, 40, kind="image")
    claimed = store.claim("me", 60, 2, ("normal", "acme"))
    assert [job.id for job in claimed] == pictures[:32]
    assert all((job.status, job.fence, job.attempts) == (JobStatus.PROCESSING, 1, 1) for job in claimed)
    assert [store.get(job.id) for job in claimed] == claimed, "what is claimed is what is stored"


def test_of_pictures_and_videos_the_oldest_are_claimed_whose_weights_fit(store: SqlStore) -> None:
    (first,) = created(store, 1, kind="image")
    videos = created(store, 2, kind="video")
    created(store, 1, kind="image")
    claimed = store.claim("me", 60, 2, ("normal", "acme"))
    assert [job.id for job in claimed] == [first, videos[0]], "a later picture does not pass the video that waits"


@pytest.mark.parametrize(
    ("kind", "uri", "weight"),
    [
        ("image", "s3://b/anything", 1 / 16),
        ("auto", "s3://b/a/IMG_1.JPG", 1 / 16),
        ("auto", "file:///a/b.png", 1 / 16),
        ("auto", "s3://b/clip.mp4", 1),
        ("auto", "s3://b/nothing-tells", 1),
        ("video", "s3://b/misnamed.jpg", 1),
    ],
)
def test_a_job_weighs_what_its_kind_or_its_sources_name_promise(kind: str, uri: str, weight: float) -> None:
    assert likely_weight(kind, uri) == weight


def test_the_ends_of_many_jobs_are_one_write_that_leaves_out_what_is_somebody_elses(store: SqlStore) -> None:
    created(store, 4)
    mine = claim(store, "me", 60, 3)
    (theirs,) = claim(store, "a zombie", -1, 1)
    (heirs,) = claim(store, "its heir", 60, 1)
    report = {"kind": "image"}
    lost = store.finish_all(
        [
            ending(mine[0], revision="r", manifest_key="k", report=report, progress={"stage": "done"}),
            ending(mine[1], JobStatus.FAILED, error={"code": "not_media", "message": "no", "detail": {"path": "/x"}}),
            ending(theirs),
            Ending("no-such-job", 1, JobStatus.READY),
        ]
    )
    assert lost == {(theirs.id, theirs.fence), ("no-such-job", 1)}
    ready, failed, open_, heir = (store.get(job.id) for job in (*mine, heirs))
    assert (ready.status, ready.revision, ready.manifest_key, ready.report) == (JobStatus.READY, "r", "k", report)
    assert (ready.progress, ready.error, ready.lease_owner) == ({"stage": "done"}, None, None)
    assert ready.finished_at is not None
    assert (failed.status, failed.error and failed.error["detail"]) == (JobStatus.FAILED, {"path": "/x"})
    assert [job.status for job in (open_, heir)] == [JobStatus.PROCESSING, JobStatus.PROCESSING]
    assert store.events(failed.id)[-1].data["error"] == {"code": "not_media", "message": "no", "detail": {}}


def test_an_end_that_was_written_already_is_written_once(store: SqlStore) -> None:
    created(store, 1)
    (job,) = claim(store, "me", 60, 1)
    assert store.finish_all([ending(job, revision="first")]) == set()
    assert store.finish_all([ending(job, revision="second")]) == set()
    assert store.finish_all([ending(job, JobStatus.FAILED)]) == {(job.id, job.fence)}, "it cannot become anything else"
    assert store.get(job.id).revision == "first"
    assert [event.kind for event in store.events(job.id)] == ["queued", "started", "ready"]


def test_each_job_that_ends_owes_its_own_callback(store: SqlStore) -> None:
    created(store, 2, callback_url="https://example.com/hook")
    created(store, 1)
    jobs = claim(store, "me", 60, 3)
    store.finish_all([ending(job, manifest_key=f"{job.media_id}/manifest.json") for job in jobs])
    owed = store.due_deliveries(10, 60)
    assert {one.job_id: one.body["manifest_key"] for one in owed} == {
        job.id: f"{job.media_id}/manifest.json" for job in jobs[:2]
    }


def test_a_job_that_kills_every_owner_is_not_forgiven_for_ever(store: SqlStore) -> None:
    created(store, 1)
    attempts = []
    for _ in range(leasing.MOST_FORGIVEN + 3):
        (job,) = claim(store, "dies of it", 60, 1)
        attempts.append(job.attempts)
        store.end_leases("dies of it")
    assert attempts == [1] * (leasing.MOST_FORGIVEN + 1) + [2, 3]


def test_a_lease_that_ended_with_its_owner_is_forgiven_once_however_often_the_next_ones_die(store: SqlStore) -> None:
    (job_id,) = created(store, 1)
    for _ in range(3):  # attempts that count: each lease runs out
        claim(store, "dies", -1, 1)
    assert [store.end_leases("dies") for _ in range(4)] == [1, 0, 0, 0]
    assert (store.get(job_id).attempts, store.get(job_id).lease_owner) == (2, None)
    (taken,) = claim(store, "lives", 60, 1)
    assert (taken.attempts, taken.fence, taken.taken_over) == (3, 4, True)
