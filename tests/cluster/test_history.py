"""What a farm learns of its own work, in both databases."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from cluster.jobs import Job, JobStatus, SqlStore, history
from pipelines.loads import Load
from tests.support.jobs import claim, create, ending, finish, new_job

WHAT = "cpu encode h264 medium"


def figures(cpu_s: float = 4.0, pixels: float = 1e8, *, node_kind: str = "plain", **changes: Any) -> dict[str, Any]:
    """Of a job that encoded so many pixels."""
    done = [[WHAT, node_kind, 0, pixels, cpu_s], ["wall video", node_kind, 0, cpu_s, 2 * cpu_s]]
    expected = [[WHAT, 0, pixels], ["bytes h264 crf23 512", 0, pixels]]
    done.append(["bytes h264 crf23 512", "", 0, pixels, 1000])
    return {"kind": "video", "expected": expected, "done": done, "bytes": 1000} | changes


def held(store: SqlStore) -> Job:
    create(store, new_job())
    (job,) = claim(store, "me", 60, 1)
    return job


def ready(store: SqlStore, **changes: Any) -> Job:
    job = held(store)
    return finish(store, job, "ready", figures=figures(**changes))


def seconds(store: SqlStore, node_kind: str = "plain") -> float:
    return store.history().rates.of(Load(WHAT, 0, 1e8), node_kind).amount


def folded(store: SqlStore) -> int:
    return sum(iter(store.fold_figures, 0))


def test_what_ended_jobs_took_is_what_the_next_one_is_reckoned_to_take(store: SqlStore) -> None:
    ready(store, cpu_s=4.0)
    ready(store, cpu_s=6.0)
    ready(store, cpu_s=20.0, node_kind="slow")
    assert folded(store) == 3
    assert [seconds(store), seconds(store, "slow")] == pytest.approx([5.0, 20.0])
    assert store.history().jobs == 3


def test_a_job_counts_once_however_often_its_end_is_told_and_folded(store: SqlStore) -> None:
    job = held(store)
    for _ in range(3):  # the answer was lost
        finish(store, job, "ready", figures=figures())
    assert (folded(store), folded(store)) == (1, 0)
    assert store.history().jobs == 1


def test_an_end_that_is_refused_leaves_no_figures(store: SqlStore) -> None:
    job = held(store)
    late = replace(job, fence=job.fence - 1)
    assert store.finish_all([ending(late, figures=figures())]) == {(job.id, late.fence)}
    assert store.get(job.id).status is JobStatus.PROCESSING
    assert folded(store) == 0


def test_several_that_fold_at_once_count_each_job_once(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "FOLDED_AT_ONCE", 3)
    for _ in range(20):
        ready(store)
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda _: folded(store), range(4))) == 20
    assert store.history().jobs == 20


def test_old_work_fades_so_that_new_machines_are_soon_believed(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "REMEMBERED", 10.0)
    for cpu_s in [1.0] * 30 + [3.0] * 20:
        ready(store, cpu_s=cpu_s)
        folded(store)
    assert seconds(store) == pytest.approx(3.0, rel=0.3)
    known = store.history()
    assert known.jobs <= 11
    assert known.misses["cpu video"].jobs <= 11


def test_each_job_tells_how_far_off_the_estimate_was_that_was_made_without_it(store: SqlStore) -> None:
    ready(store, cpu_s=4.0)
    folded(store)
    assert store.history().misses == {}, "what goes by the table alone is no estimate of this farm's"
    ready(store, cpu_s=8.0)
    folded(store)
    missed = store.history().misses["cpu video"]
    assert [missed.jobs, missed.median, missed.high] == pytest.approx([1, 2.0, 2.0])
    assert store.history().misses["bytes video"].median == pytest.approx(1.0)


def test_a_job_that_took_a_part_from_an_earlier_revision_tells_no_miss(store: SqlStore) -> None:
    ready(store)
    folded(store)
    ready(store, cpu_s=9.0, expected=None)
    folded(store)
    known = store.history()
    assert (known.misses, known.jobs) == ({}, 2)


def test_figures_that_nobody_understands_are_left_out_alone(store: SqlStore) -> None:
    ready(store, cpu_s=4.0)
    folded(store)
    ready(store, cpu_s=8.0)
    ready(store, done=[[WHAT, "plain", 0, "many", 1.0]])
    ready(store, expected=[["cpu dream", 0, 1.0]])
    ready(store, done=[[WHAT, "plain", 0, 0.0, 0.0]])  # so short that nothing was counted
    assert folded(store) == 4
    assert seconds(store) == pytest.approx(6.0)
    assert store.history().misses["cpu video"].jobs == 1


def test_work_that_only_a_newer_version_does_is_no_part_of_an_estimate(store: SqlStore) -> None:
    ready(store, cpu_s=4.0, expected=None, done=[["cpu dream", "plain", 1, 1.0, 1.0], [WHAT, "plain", 0, 1e8, 4.0]])
    assert folded(store) == 1
    assert seconds(store) == pytest.approx(4.0)
