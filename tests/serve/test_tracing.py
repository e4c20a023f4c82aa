"""Spans of the API, sent to a real collector, to none, and to one that is not there."""

import asyncio
import time
from datetime import UTC, datetime

import pytest

from serve.webhooks import deliver, http_client
from tests.serve.conftest import MakeFarm
from tests.support.collector import Collector, collecting
from tests.support.ports import free_ports
from tests.support.receiver import receiving

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = CALLER[:-1] + "0"


def turned_on(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")


def names(collector: Collector) -> list[str]:
    return sorted(span.name for span in collector.spans)


def test_a_call_without_a_trace_begins_one_and_the_callback_is_part_of_it(
    make_farm: MakeFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector, receiving() as receiver:
        turned_on(monkeypatch, collector.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "our-farm")
        receiver.answer = lambda _: (503, {})
        farm = make_farm(callback_hosts=(receiver.host,), webhook_secrets=("whsec_" + "A" * 43 + "=",))
        job = farm.accept(callback_url=receiver.url)
        farm.store.request_cancel(job.id)

        async def send() -> None:
            async with http_client() as client:
                (delivery,) = farm.store.due_deliveries(1, 60.0)
                await deliver(delivery, farm.deps, client, datetime.now(UTC))

        asyncio.run(send())
        spans = collector.wait_for(lambda found: {"complete", "callback"} <= set(found))
    call, callback = spans["complete"], spans["callback"]
    assert job.traceparent is not None
    assert job.traceparent.startswith(f"00-{call.trace_id}-{call.span_id}-")
    assert call.parent_id == ""
    assert (callback.trace_id, callback.parent_id) == (call.trace_id, call.span_id)
    assert (callback.attributes["farm.http_status"], callback.failure) == (503, "answered 503")
    assert call.service == callback.service == "our-farm"


def test_a_caller_that_does_not_sample_is_not_traced_and_its_refused_calls_are_failures_of_their_own(
    make_farm: MakeFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        turned_on(monkeypatch, collector.url)
        farm = make_farm()
        client = farm.client()
        for trace, source in ((UNSAMPLED, farm.upload()), (CALLER, "file:///etc/passwd")):
            client.post("/v1/media/m/complete", json={"source": source}, headers={"traceparent": trace})
        collector.wait_for(lambda found: "complete" in found)
    assert names(collector) == ["complete"]
    (refused,) = collector.spans
    assert (refused.failure, f"00-{refused.trace_id}-{refused.parent_id}-01") == ("forbidden_uri", CALLER)


def test_a_collector_that_is_away_holds_nothing_up(make_farm: MakeFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    turned_on(monkeypatch, f"http://127.0.0.1:{free_ports(1)[0]}")
    farm = make_farm()
    job = farm.accept()
    assert job.traceparent is not None
    began = time.monotonic()
    farm.deps.tracing.flush()
    assert time.monotonic() - began < 5, "the end of a process waits for a second"


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
)
def test_what_switches_opentelemetry_off_switches_spans_off_and_keeps_the_callers_trace(
    make_farm: MakeFarm, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    turned_on(monkeypatch, "http://127.0.0.1:1")
    monkeypatch.setenv(name, value)
    farm = make_farm()
    assert not farm.deps.tracing.on
    body = {"source": farm.upload()}
    answer = farm.client().post("/v1/media/m/complete", json=body, headers={"traceparent": CALLER})
    assert farm.store.get(answer.json()["job_id"]).traceparent == CALLER
