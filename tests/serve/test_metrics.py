"""What `/metrics` says, whatever else of the farm is away."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.errors import StoreUnavailable
from cluster.monitoring.counts import Wire
from cluster.monitoring.farm import FarmWatch
from serve import figures as figures_module
from serve.figures import hand_over_now_and_then
from serve.webhooks import deliver, http_client
from tests.serve.conftest import ApiFarm, MakeFarm
from tests.support.jobs import finish
from tests.support.receiver import receiving

COMPLETE = "/v1/media/{media_id}/complete"


def lines_of(farm: ApiFarm) -> list[str]:
    answer = farm.client().get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert list(text_string_to_metric_families(answer.text)), "Prometheus can read it"
    text: str = answer.text
    return text.splitlines()


def with_dispatcher(farm: ApiFarm) -> FarmWatch:
    """Give the farm a dispatcher, of which there is only what sums up."""
    watch = FarmWatch()

    def figures(counted: Wire) -> dict[str, Any]:
        watch.counts.merge(json.loads(json.dumps(counted)))
        told: dict[str, Any] = json.loads(json.dumps(watch.figures(3, {"capacity": 4, "busy": 3, "wanted": 9})))
        return told

    farm.deps = replace(farm.deps, dispatcher=figures)
    return watch


def test_the_queue_is_told_without_a_dispatcher_by_class_and_age(farm: ApiFarm) -> None:
    farm.accept(priority="interactive")
    running = farm.accept(priority="bulk")
    farm.start(running.id)
    lines = lines_of(farm)
    assert "farm_dispatcher_up 0.0" in lines
    assert "farm_store_up 1.0" in lines
    assert 'farm_queue_jobs{priority="bulk",status="processing"} 1.0' in lines
    assert 'farm_queue_oldest_seconds{priority="normal",status="queued"} 0.0' in lines
    (age,) = [line for line in lines if line.startswith('farm_queue_oldest_seconds{priority="bulk",status="proc')]
    assert 0 < float(age.split()[1]) < 60
    assert not [line for line in lines if line.startswith("farm_http")], "a part would look like a reset"


def test_a_job_store_that_is_away_is_a_figure_and_no_error(farm: ApiFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise StoreUnavailable("the job store cannot be reached")

    with_dispatcher(farm)
    monkeypatch.setattr(farm.store, "backlog", away)
    lines = lines_of(farm)
    assert "farm_store_up 0.0" in lines
    assert not [line for line in lines if line.startswith("farm_queue")]
    assert "farm_held_jobs 3.0" in lines


def test_calls_are_counted_by_route_and_refusals_by_code_whichever_replica_answers(make_farm: MakeFarm) -> None:
    farm, other = make_farm(), make_farm()
    watch = with_dispatcher(farm)
    other.deps = replace(other.deps, dispatcher=farm.deps.dispatcher)
    farm.accept("clip-1")
    client = other.client()
    client.post("/v1/media/clip-2/complete", json={"source": "file:///etc/passwd"})
    client.post("/v1/media/clip-2/complete", content="{", headers={"content-type": "application/json"})
    client.get("/nothing/here-42")
    other.client("192.0.2.1").get("/v1/jobs")
    assert lines_of(other)
    lines = lines_of(farm)
    for line in (
        f'farm_http_answers_total{{route="{COMPLETE}",status="202"}} 1.0',
        f'farm_http_answers_total{{route="{COMPLETE}",status="403"}} 1.0',
        f'farm_http_answers_total{{route="{COMPLETE}",status="400"}} 1.0',
        'farm_http_answers_total{route="none",status="404"} 1.0',
        f'farm_http_seconds_count{{route="{COMPLETE}"}} 3.0',
        'farm_refusals_total{code="forbidden_uri"} 1.0',
        'farm_refusals_total{code="malformed_json"} 1.0',
        'farm_refusals_total{code="not_found"} 1.0',
        'farm_refusals_total{code="not_authenticated"} 1.0',
        'farm_refusals_total{code="internal_error"} 0.0',
        'farm_slots{state="wanted"} 9.0',
    ):
        assert line in lines
    assert not any(word in "\n".join(lines) for word in ("clip-", "here-42", "passwd"))
    assert watch.counts.so_far()


def test_what_was_counted_while_the_dispatcher_was_away_is_told_when_it_is_back(
    farm: ApiFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm.accept()
    lines_of(farm)
    watch = with_dispatcher(farm)
    monkeypatch.setattr(figures_module, "HAND_OVER_S", 0.01)

    async def until_handed_over() -> None:
        handing = asyncio.create_task(hand_over_now_and_then(farm.deps))
        async with asyncio.timeout(10):
            while "farm_http_answers_total" not in {name for name, _, _ in watch.counts.so_far()}:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        handing.cancel()

    asyncio.run(until_handed_over())
    assert ["farm_http_answers_total", [COMPLETE, "202"], [1.0]] in watch.counts.so_far()


def test_callbacks_are_counted_by_outcome_and_the_lateness_of_those_owed_is_told(make_farm: MakeFarm) -> None:
    with receiving() as receiver:
        receiver.answer = lambda number: (503 if number == 0 else 204, {})
        farm = make_farm(callback_hosts=(receiver.host,), webhook_secrets=("whsec_" + "A" * 43 + "=",))
        with_dispatcher(farm)
        for number in range(2):
            job = farm.accept(f"clip-{number}", callback_url=receiver.url)
            finish(farm.store, farm.start(job.id), "cancelled")
        assert "farm_callbacks_owed 2.0" in lines_of(farm)

        async def send() -> None:
            async with http_client() as client:
                for delivery in farm.store.due_deliveries(2, 60.0):
                    await deliver(delivery, farm.deps, client, datetime.now(UTC))

        asyncio.run(send())
    lines = lines_of(farm)
    for line in (
        "farm_callbacks_owed 1.0",
        "farm_callback_lag_seconds 0.0",
        'farm_callback_tries_total{outcome="delivered"} 1.0',
        'farm_callback_tries_total{outcome="failed"} 1.0',
        "farm_callback_seconds_count 1.0",
    ):
        assert line in lines
