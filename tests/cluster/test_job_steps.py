"""A job as a list of steps, driven by a runner that only notes what it is asked."""

import asyncio
from typing import Any

import pytest

from cluster import job as job_module
from cluster.errors import ResultsDamaged, StorageUnavailable
from cluster.job import JobRun, OnStep
from cluster.slots import Slots
from cluster.work import Step, Work, names
from pipelines.errors import CorruptMedia, EncodeFailed
from tests.support.jobs import work_of as work
from tests.support.runners import NoPictures

PLANNED = {
    "frames": 300, "renditions": ["360p", "720p"], "chunk_frames": [120, 120, 60], "audio_tracks": ["und-128k"],
    "needs": {"chunk": {"memory_bytes": 500_000_000, "scratch_bytes": 1_000_000}},
    "reused": [],
}  # fmt: skip


class Noting(NoPictures):
    """Answers every step, or raises what it was told to."""

    def __init__(self, errors: dict[str, list[Exception]] | None = None) -> None:
        self.asked: list[str] = []
        self.cancelled: list[str] = []
        self._errors = errors or {}

    async def run(self, work: Work, step: Step, node: str, on_progress: OnStep) -> dict[str, Any]:
        self.asked.append(str(step))
        waiting = self._errors.get(str(step))
        if waiting:
            raise waiting.pop(0)
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.cancelled.append(str(step))
            raise
        if step.kind == "chunk":
            on_progress({"renditions": {"360p": 7, "720p": 5}})
        return PLANNED if step.kind == "inspect" else {"revision": "r"}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "BACKOFF_S", 0.0)


def test_a_job_looks_then_encodes_chunks_and_audio_together_then_finishes() -> None:
    runner = Noting()
    result = asyncio.run(JobRun(work(), runner, Slots(8)).run())
    assert runner.asked[0] == "inspect"
    assert set(runner.asked[1:-1]) == {"chunk 0", "chunk 1", "chunk 2", "audio"}
    assert runner.asked[-1] == "finish"
    assert result == {"revision": "r"}


def test_a_step_whose_storage_was_away_is_tried_again_and_the_others_are_not() -> None:
    runner = Noting({"chunk 1": [StorageUnavailable("away"), EncodeFailed("odd")]})
    asyncio.run(JobRun(work(), runner, Slots(8)).run())
    assert runner.asked.count("chunk 1") == 3
    assert runner.asked.count("chunk 0") == 1


def test_a_step_that_never_succeeds_ends_the_job_after_a_bounded_number_of_tries() -> None:
    runner = Noting({"chunk 1": [StorageUnavailable("away")] * 99})
    with pytest.raises(StorageUnavailable):
        asyncio.run(JobRun(work(), runner, Slots(8)).run())
    assert runner.asked.count("chunk 1") == job_module.ATTEMPTS


def test_bad_media_is_not_tried_again_and_its_error_keeps_its_type() -> None:
    runner = Noting({"chunk 2": [CorruptMedia("frame 7 is gone")]})
    with pytest.raises(CorruptMedia, match="frame 7"):
        asyncio.run(JobRun(work(), runner, Slots(8)).run())
    assert runner.asked.count("chunk 2") == 1
    assert "finish" not in runner.asked


def test_results_found_damaged_at_the_end_are_made_again_by_the_steps_that_made_them() -> None:
    runner = Noting({"finish": [ResultsDamaged("1 of 6"), ResultsDamaged("facts")]})
    run = JobRun(work(), runner, Slots(8))
    assert asyncio.run(run.run()) == {"revision": "r"}
    assert runner.asked.count("inspect") == 3, "what must be made is asked anew: something reused may be missing"
    assert [runner.asked.count(step) for step in ("chunk 0", "chunk 1", "chunk 2", "audio", "finish")] == [3] * 5
    assert run.progress.snapshot()["chunks"] == {"done": 3, "total": 3}


def test_results_that_are_damaged_however_often_they_are_made_end_the_run() -> None:
    runner = Noting({"finish": [ResultsDamaged("1 of 6")] * 99})
    with pytest.raises(ResultsDamaged):
        asyncio.run(JobRun(work(), runner, Slots(8)).run())
    assert runner.asked.count("finish") == job_module.ROUNDS


def test_the_first_failing_chunk_ends_the_running_ones() -> None:
    runner = Noting({"chunk 0": [CorruptMedia("bad")]})
    with pytest.raises(CorruptMedia):
        asyncio.run(JobRun(work(), runner, Slots(8)).run())
    assert set(runner.cancelled) <= {"chunk 1", "chunk 2", "audio"}
    assert runner.cancelled, "the others were stopped, not waited for"


def test_progress_counts_frames_per_rendition_and_ends_at_all_of_them() -> None:
    seen: list[dict[str, Any]] = []
    run = JobRun(work(), Noting(), Slots(8), on_change=lambda progress: seen.append(progress.snapshot()))
    asyncio.run(run.run())
    percents = [snapshot["percent"] for snapshot in seen]
    assert percents == sorted(percents)
    assert seen[-1]["renditions"] == {name: {"frames_done": 300, "frames": 300} for name in ("360p", "720p")}
    assert {snapshot["stage"] for snapshot in seen} == {"encoding", "packaging", "done"}


def test_another_source_recipe_or_kind_gets_other_names_so_that_no_stale_chunk_is_joined() -> None:
    bases = {
        names(work(**change)).base
        for change in (
            {},
            {"source_etag": "e2"},
            {"recipe_digest": "d2"},
            {"kind": "audio"},
            {"source_uri": "file:///b"},
        )
    }
    assert len(bases) == 5
    assert names(work()).base == names(work(slots=64, output_uri="file:///elsewhere")).base
