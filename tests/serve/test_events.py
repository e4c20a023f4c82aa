"""The event stream over a real connection, because only there it can be watched while it grows, and be cut."""

import threading
import time
from collections.abc import Callable
from functools import partial

import httpx
import pytest
from pydantic import SecretStr

from cluster.jobs import Renewal
from pipelines.errors import MediaError
from serve import client
from serve.api import create_api, events
from serve.client import FarmClient
from serve.embedded import free_port
from serve.errors import FarmRefused
from serve.settings import ClientSettings
from tests.serve.conftest import PROGRESS, ApiFarm
from tests.support.asgi_server import served
from tests.support.jobs import finish


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
            farm.store.renew_all([Renewal(job.id, job.fence, progress)], 60.0)
            assert until(partial(_told, lines, f'"frames_done":{done}'))
        finish(farm.store, job, "cancelled")
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


def test_a_long_stream_is_ended_by_the_farm_and_the_client_goes_on_to_the_jobs_end(
    farm: ApiFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "STREAM_S", 0.05)
    job = farm.start(farm.accept().id)
    heard: list[str] = []

    def follow(url: str) -> None:
        with FarmClient(ClientSettings(url=url, api_key=SecretStr(""))) as follower:
            heard.extend(kind for kind, _ in follower.events(job.id))

    with served(create_api(farm.deps)) as url:
        thread = threading.Thread(target=follow, args=(url,))
        thread.start()
        time.sleep(0.5)  # ten streams long
        finish(farm.store, job, "failed", error=MediaError("over").to_wire())
        thread.join(10)
    assert heard[-1] == "end"
    assert heard.count("started") == 1, "what was told is not told again"


def test_a_client_takes_a_broken_stream_up_again(farm: ApiFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RESUME_S", 0.02)
    job = farm.start(farm.accept().id)
    heard: list[str] = []

    def follow(url: str) -> None:
        with FarmClient(ClientSettings(url=url, api_key=SecretStr(""))) as follower:
            heard.extend(kind for kind, _ in follower.events(job.id))

    port = free_port()
    with served(create_api(farm.deps), port) as url:
        thread = threading.Thread(target=follow, args=(url,))
        thread.start()
        assert until(lambda: bool(farm.deps.watching))
        time.sleep(0.2)
    finish(farm.store, job, "cancelled")
    with served(create_api(farm.deps), port):
        thread.join(10)
    assert heard.count("started") == 1, "what was told is not told again"
    assert heard[-2:] == ["cancelled", "end"]


def test_a_client_waits_while_others_watch(farm: ApiFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RESUME_S", 0.02)
    monkeypatch.setattr(events, "STREAMS_MAX", 0)
    job = farm.start(farm.accept().id)
    finish(farm.store, job, "cancelled")
    with (
        served(create_api(farm.deps)) as url,
        FarmClient(ClientSettings(url=url, api_key=SecretStr(""))) as follower,
    ):
        threading.Timer(0.2, monkeypatch.setattr, (events, "STREAMS_MAX", 1)).start()
        assert [kind for kind, _ in follower.events(job.id)][-1] == "end"
        monkeypatch.setattr(events, "STREAMS_MAX", 0)
        monkeypatch.setattr(client, "PATIENCE_S", 0.1)
        with pytest.raises(FarmRefused, match="event streams are open"):
            list(follower.events(job.id))


def test_what_only_operators_may_know_of_an_error_is_not_in_the_stream(farm: ApiFarm) -> None:
    job = farm.start(farm.accept().id)
    error = MediaError("over", detail={"native": "/var/lib/secret", "ray": "10.0.0.7", "limit": "frames"})
    finish(farm.store, job, "failed", error=error.to_wire())
    text = farm.client().get(f"/v1/jobs/{job.id}/events").text
    assert "/var/lib/secret" not in text
    assert "10.0.0.7" not in text
    assert '"limit": "frames"' in text


def test_pages_that_watch_leave_room_for_uploads(farm: ApiFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "STREAMS_MAX", 1)
    job = farm.start(farm.accept().id)
    with served(create_api(farm.deps)) as url:
        address = f"{url}/v1/jobs/{job.id}/events"
        with httpx.stream("GET", address, timeout=20, trust_env=False) as first:
            lines = first.iter_lines()  # kept: a collected iterator closes its stream
            assert next(lines)
            second = httpx.get(address, timeout=20, trust_env=False)
        assert (second.status_code, second.json()["code"]) == (503, "too_many_watchers")
        assert until(lambda: not farm.deps.watching), "a stream that was left is not counted"
