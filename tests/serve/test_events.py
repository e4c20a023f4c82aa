"""The event stream over a real connection, because only there it can be watched while it grows, and be cut."""

import threading
import time
from collections.abc import Callable
from functools import partial

import httpx
import pytest

from serve.api import create_api, events
from tests.serve.conftest import PROGRESS, ApiFarm
from tests.support.asgi_server import served


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "POLL_S", 0.02)
    monkeypatch.setattr(events, "PING_S", 0.1)


def _told(lines: list[str], text: str) -> bool:
    return any(text in line for line in list(lines))


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_progress_is_told_while_the_job_runs_and_the_stream_ends_with_it(farm: ApiFarm) -> None:
    job = farm.start(farm.accept().id)
    lines: list[str] = []

    def watch(url: str) -> None:
        with httpx.stream("GET", f"{url}/v1/jobs/{job.id}/events", timeout=20, trust_env=False) as answer:
            for line in answer.iter_lines():
                lines.append(line)  # one by one, so that the test sees it grow

    with served(create_api(farm.deps)) as url:
        watcher = threading.Thread(target=watch, args=(url,))
        watcher.start()
        for done in (30, 90):
            progress = PROGRESS | {"renditions": {"360p": {"frames_done": done, "frames": 120}}}
            farm.store.renew(job.id, job.fence, 60.0, progress)
            assert until(partial(_told, lines, f'"frames_done":{done}'))
        farm.store.finish(job.id, job.fence, status="cancelled")
        watcher.join(10)
    assert not watcher.is_alive()
    assert lines[-3] == "event: end"


def test_a_silent_stream_is_kept_open_by_comments(farm: ApiFarm) -> None:
    job = farm.accept()
    with (
        served(create_api(farm.deps)) as url,
        httpx.stream("GET", f"{url}/v1/jobs/{job.id}/events", timeout=20, trust_env=False) as answer,
    ):
        for line in answer.iter_lines():
            if line == ": ping":
                break
        else:
            pytest.fail("the stream ended")


def test_a_watcher_that_goes_away_costs_nothing_any_more(farm: ApiFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    job = farm.accept()
    asked: list[float] = []
    get = farm.store.get

    def counted(job_id: str) -> object:
        asked.append(time.monotonic())
        return get(job_id)

    monkeypatch.setattr(farm.store, "get", counted)
    with served(create_api(farm.deps)) as url:
        with httpx.stream("GET", f"{url}/v1/jobs/{job.id}/events", timeout=20, trust_env=False) as answer:
            next(answer.iter_lines())
        assert until(lambda: time.monotonic() - asked[-1] > 0.5), "the job is still looked up"
