"""What the terminal of `farm up` says of jobs."""

from serve.job_news import JobNews
from tests.serve.conftest import MakeFarm
from tests.support.jobs import finish


def test_each_beginning_and_each_end_is_told_once_and_old_ones_are_not(make_farm: MakeFarm) -> None:
    farm = make_farm()
    old = farm.start(farm.accept("old").id)
    finish(farm.store, old, "ready")

    news = JobNews(farm.store)
    assert list(news.lines()) == []
    good = farm.start(farm.accept("good").id)
    assert list(news.lines()) == [f"good: processing (standard, job {good.id})"]
    assert list(news.lines()) == []

    finish(farm.store, good, "ready", report={"large": "x" * 1000})
    bad = farm.start(farm.accept("bad").id)
    error = {"code": "not_media", "message": "the file is text", "retryable": False, "detail": {}}
    finish(farm.store, bad, "failed", error=error)
    ready, failed = news.lines()
    assert ready.startswith("good: ready in ")
    assert failed == "bad: failed: not_media: the file is text", "also of one that ended between two looks"
    assert list(news.lines()) == []


def test_a_job_that_has_to_wait_says_why(make_farm: MakeFarm) -> None:
    farm = make_farm()
    news = JobNews(farm.store)
    job = farm.start(farm.accept("clip").id)
    list(news.lines())
    error = {"code": "storage_full", "message": "no room is left", "retryable": True, "detail": {}}
    farm.store.release(job.id, job.fence, 20.0, error)
    assert list(news.lines()) == ["clip: waits to be tried again: storage_full: no room is left"]
