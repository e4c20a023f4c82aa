"""How far a job is, from what its steps report."""

from cluster.progress import JobProgress


def test_frames_of_all_chunks_add_up_and_a_chunk_that_starts_over_counts_anew() -> None:
    progress = JobProgress()
    progress.planned(100, ("low", "high"), 2, has_audio=False)
    progress.chunk(0, {"low": 50, "high": 20})
    progress.chunk(1, {"low": 10, "high": 0})
    progress.chunk(0, {"low": 30, "high": 10})
    shown = progress.snapshot()
    assert {name: done["frames_done"] for name, done in shown["renditions"].items()} == {"low": 40, "high": 10}
    assert shown["percent"] == 25.0


def test_a_rendition_that_was_never_planned_is_not_shown() -> None:
    progress = JobProgress()
    progress.planned(100, ("low",), 1, has_audio=False)
    progress.chunk(0, {"low": 50, "<script>": 7})
    assert list(progress.snapshot()["renditions"]) == ["low"]
    assert "<script>" not in str(progress)
