"""Callbacks from the end of a job to a receiver: a real outbox, a real HTTP server, and a clock that can be turned."""

import asyncio
import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from cluster.jobs import database
from serve import webhooks
from serve.webhooks import LEASE_S, WAITS_S, http_client
from tests.serve.conftest import ApiFarm, MakeFarm
from tests.support.jobs import finish
from tests.support.receiver import Receiver, receiving

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


class Clock:
    """The database's clock, moved by hand."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def text(self, later_s: float) -> str:
        return (self.now + timedelta(seconds=later_s)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    turned = Clock()
    monkeypatch.setattr(database, "_utc_text", turned.text)  # before a connection is made, which takes it over
    return turned


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def owing(make_farm: MakeFarm, receiver: Receiver, clock: Clock) -> ApiFarm:
    return make_farm(callback_hosts=receiver.host, webhook_secrets=SECRET)


def end_job(farm: ApiFarm, receiver: Receiver, status: str = "ready", media_id: str = "clip") -> str:
    job = farm.start(farm.accept(media_id, callback_url=receiver.url, metadata={"user": "u-17"}).id)
    error = {"code": "empty_file", "message": "empty", "retryable": False, "detail": {}} if status == "failed" else None
    key = "acme/clip/rev1/manifest.json" if status == "ready" else None
    finish(farm.store, job, status, revision="rev1", manifest_key=key, error=error)
    return job.id


def deliver(farm: ApiFarm) -> int:
    async def once() -> int:
        due = farm.store.due_deliveries(20, LEASE_S)
        async with http_client() as client:
            for one in due:
                await webhooks.deliver(one, farm.deps, client, datetime.now(UTC))
        return len(due)

    return asyncio.run(once())


@pytest.mark.parametrize("status", ["ready", "failed", "cancelled"])
def test_the_end_of_a_job_is_told_once_signed_and_with_the_job(
    owing: ApiFarm, receiver: Receiver, clock: Clock, status: str
) -> None:
    job_id = end_job(owing, receiver, status)
    assert deliver(owing) == 1
    (got,) = receiver.requests
    told: Any = Webhook(SECRET).verify(got.body, got.headers)
    assert told["type"] == f"job.{status}"
    assert told["id"] == got.headers["webhook-id"]
    assert (told["data"]["job_id"], told["data"]["status"]) == (job_id, status)
    assert told["data"]["metadata"] == {"user": "u-17"}
    where = f"{owing.storage.storage_uri}/acme/clip/rev1/manifest.json"
    assert told["data"]["manifest_url"] == (where if status == "ready" else None)
    clock.advance(10 * 86_400)
    assert deliver(owing) == 0, "what was delivered is not sent again"


def test_a_job_without_a_callback_owes_nothing(owing: ApiFarm) -> None:
    job = owing.start(owing.accept().id)
    finish(owing.store, job, "ready")
    assert deliver(owing) == 0


def test_a_receiver_that_is_down_is_tried_again_on_schedule_until_it_is_back(
    owing: ApiFarm, receiver: Receiver, clock: Clock
) -> None:
    receiver.answer = lambda number: (500 if number < 3 else 200, {})
    end_job(owing, receiver)
    for wait_s in WAITS_S[:3]:
        if wait_s:
            clock.advance(wait_s - 1)
            assert deliver(owing) == 0, "not before its time"
        clock.advance(wait_s * 0.1 + 2)
        assert deliver(owing) == 1
    clock.advance(WAITS_S[3] * 1.2)
    assert deliver(owing) == 1
    assert len(receiver.requests) == 4
    assert len({got.headers["webhook-id"] for got in receiver.requests}) == 1
    for got in receiver.requests:
        Webhook(SECRET).verify(got.body, got.headers)
    clock.advance(10 * 86_400)
    assert deliver(owing) == 0


def test_a_receiver_that_never_comes_back_is_given_up_after_three_days(
    owing: ApiFarm, receiver: Receiver, clock: Clock
) -> None:
    receiver.answer = lambda _: (503, {})
    end_job(owing, receiver)
    began = clock.now
    for wait_s in WAITS_S:
        clock.advance(wait_s * 1.1 + 1)
        assert deliver(owing) == 1
    assert timedelta(days=3) < clock.now - began < timedelta(days=4)
    clock.advance(30 * 86_400)
    assert deliver(owing) == 0
    assert len(receiver.requests) == len(WAITS_S)


def test_gone_means_gone(owing: ApiFarm, receiver: Receiver, clock: Clock) -> None:
    receiver.answer = lambda _: (410, {})
    end_job(owing, receiver)
    deliver(owing)
    clock.advance(10 * 86_400)
    assert deliver(owing) == 0
    assert len(receiver.requests) == 1


def test_a_receiver_that_asks_for_an_hour_gets_it(owing: ApiFarm, receiver: Receiver, clock: Clock) -> None:
    receiver.answer = lambda number: (429 if number == 0 else 204, {"retry-after": "3600"})
    end_job(owing, receiver)
    deliver(owing)
    clock.advance(3500)
    assert deliver(owing) == 0
    clock.advance(200)
    assert deliver(owing) == 1


def test_one_slow_receiver_does_not_hold_up_the_others(owing: ApiFarm, receiver: Receiver, clock: Clock) -> None:
    receiver.answer = lambda number: (500 if number == 0 else 204, {})
    for number in range(5):
        end_job(owing, receiver, media_id=f"clip{number}")
    assert deliver(owing) == 5
    clock.advance(6)
    assert deliver(owing) == 1, "the one that failed"
    ids = [json.loads(got.body)["data"]["job_id"] for got in receiver.requests]
    assert len(ids) == 6
    assert len(set(ids)) == 5


def test_a_sender_that_dies_loses_nothing(owing: ApiFarm, receiver: Receiver, clock: Clock) -> None:
    end_job(owing, receiver)
    assert owing.store.due_deliveries(10, lease_s=60.0), "taken by a sender that is never heard of again"
    assert deliver(owing) == 0
    clock.advance(61)
    assert deliver(owing) == 1
    assert len(receiver.requests) == 1
