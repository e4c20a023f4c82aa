import asyncio
import base64
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from serve import webhooks
from serve.errors import CallbackRefused
from serve.settings import ServeSettings
from serve.webhooks import WAITS_S, Event, Outcome, check_callback, next_wait_s, resolve, send
from tests.support.receiver import Receiver, receiving

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OLD_SECRET = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def settings(*hosts: str, embedded: bool = True, secrets: tuple[str, ...] = (SECRET,)) -> ServeSettings:
    values: dict[str, Any] = {
        "embedded": embedded,
        "callback_hosts": ",".join(hosts),
        "webhook_secrets": ",".join(secrets),
    }
    if not embedded:
        values["api_keys"] = f"k:{'0' * 64}"
    return ServeSettings(**values)


def event() -> Event:
    return Event("evt_1", "job.ready", datetime(2026, 5, 4, tzinfo=UTC), {"job_id": "j1", "status": "ready"})


def sent(url: str, how: ServeSettings, now: datetime | None = None) -> Outcome:
    async def once() -> Outcome:
        async with webhooks.http_client() as client:
            return await send(url, event(), how, client, now or datetime.now(UTC))

    return asyncio.run(once())


def test_a_callback_carries_a_signature_that_the_standard_library_of_the_receiver_accepts(receiver: Receiver) -> None:
    assert sent(receiver.url, settings(receiver.host)) == Outcome(True, 204)
    (got,) = receiver.requests
    body = Webhook(SECRET).verify(got.body, got.headers)
    assert body == {
        "id": "evt_1",
        "type": "job.ready",
        "timestamp": "2026-05-04T00:00:00+00:00",
        "data": {"job_id": "j1", "status": "ready"},
    }
    assert got.headers["webhook-id"] == "evt_1"
    assert got.headers["host"] == receiver.host


def test_a_changed_body_does_not_verify(receiver: Receiver) -> None:
    sent(receiver.url, settings(receiver.host))
    (got,) = receiver.requests
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(got.body.replace(b"ready", b"roady"), got.headers)


def test_while_secrets_rotate_both_the_old_and_the_new_one_verify(receiver: Receiver) -> None:
    sent(receiver.url, settings(receiver.host, secrets=(SECRET, OLD_SECRET)))
    (got,) = receiver.requests
    for secret in (SECRET, OLD_SECRET):
        Webhook(secret).verify(got.body, got.headers)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 500, 503])
def test_anything_but_success_is_a_failed_try(receiver: Receiver, status: int) -> None:
    receiver.answer = lambda _: (status, {"location": receiver.url})
    outcome = sent(receiver.url, settings(receiver.host))
    assert not outcome.delivered
    assert outcome.problem == f"answered {status}"
    assert len(receiver.requests) == 1, "a redirect is not followed"


def test_a_receiver_that_is_gone_for_good_is_not_tried_again(receiver: Receiver) -> None:
    receiver.answer = lambda _: (410, {})
    outcome = sent(receiver.url, settings(receiver.host))
    assert outcome.gone
    assert next_wait_s(1, outcome) is None


def test_a_receiver_may_ask_for_more_time_in_seconds_or_as_a_date(receiver: Receiver) -> None:
    now = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
    asked = {0: "600", 1: "Mon, 04 May 2026 12:20:00 GMT", 2: "soon", 3: "99999999"}
    receiver.answer = lambda number: (503, {"retry-after": asked[number]})
    waits = [sent(receiver.url, settings(receiver.host), now).retry_after_s for _ in asked]
    assert waits == [600.0, 1200.0, 0.0, webhooks.MAX_RETRY_AFTER_S]
    assert next_wait_s(1, Outcome(False, retry_after_s=600.0)) == 600.0


def test_tries_are_spread_over_three_days_and_then_end() -> None:
    waits = []
    tries = 1
    while (wait_s := next_wait_s(tries, Outcome(False))) is not None:
        waits.append(wait_s)
        tries += 1
    assert len(waits) == len(WAITS_S) - 1
    assert all(want <= wait <= want * 1.1 for want, wait in zip(WAITS_S[1:], waits, strict=True))
    assert timedelta(days=3) < timedelta(seconds=sum(WAITS_S)) < timedelta(days=4)


def test_a_receiver_that_never_answers_costs_one_bounded_wait(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        outcome = sent(f"http://{host}/", settings(host))
    assert not outcome.delivered
    assert "no answer" in outcome.problem


def test_a_refused_connection_is_a_failed_try() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host = f"127.0.0.1:{taken.getsockname()[1]}"
    outcome = sent(f"http://{host}/", settings(host))
    assert not outcome.delivered
    assert "ConnectError" in outcome.problem


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.com/hook",
        "https://media.example.com.evil.org/hook",
        "https://media.example.com@evil.org/hook",
        "https://user:pass@media.example.com/hook",
        "https://media.example.com:8443/hook",
        "https://media.example.com/hook#part",
        "http://media.example.com/hook",
        "ftp://media.example.com/hook",
        "https:///hook",
        "https://10.0.0.1/hook",
        "https://[::1]/hook",
        "https://2130706433/hook",
        "https://0x7f.1/hook",
        "not a url",
    ],
)
def test_a_callback_to_a_host_that_is_not_listed_is_refused(url: str) -> None:
    with pytest.raises(CallbackRefused):
        check_callback(url, settings("media.example.com", "10.0.0.0/8", embedded=False))


def test_a_listed_host_is_accepted_in_any_case_and_with_its_port() -> None:
    allowed = settings("media.example.com", "hooks.example.com:8443", embedded=False)
    check_callback("https://MEDIA.example.com/hook", allowed)
    check_callback("https://hooks.example.com:8443/hook", allowed)


def test_plain_http_is_for_this_machine_in_embedded_mode_only() -> None:
    check_callback("http://127.0.0.1:9000/", settings("127.0.0.1:9000"))
    with pytest.raises(CallbackRefused, match="https"):
        check_callback("http://127.0.0.1:9000/", settings("127.0.0.1:9000", embedded=False))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "::1",
        "fd00::1",
        "::ffff:10.0.0.1",
        "224.0.0.1",
    ],
)
def test_a_listed_name_that_resolves_to_a_private_address_is_refused(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _names_resolve_to(address, monkeypatch)
    with pytest.raises(CallbackRefused, match="not on the public internet"):
        asyncio.run(resolve(httpx.URL("https://media.example.com/"), settings("media.example.com", embedded=False)))


def test_a_listed_name_may_resolve_to_a_private_network_that_is_listed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    _names_resolve_to("10.1.2.3", monkeypatch)
    allowed = settings("media.example.com", "10.1.0.0/16", embedded=False)
    assert str(asyncio.run(resolve(httpx.URL("https://media.example.com/"), allowed))) == "10.1.2.3"


def test_the_connection_goes_to_the_address_that_was_checked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = receiver.host.partition(":")[2]
    _names_resolve_to("127.0.0.1", monkeypatch, then="203.0.113.9")
    outcome = sent(f"http://localhost:{port}/hook", settings(f"localhost:{port}"))
    assert outcome.delivered, "the second answer of the name server was never asked for"
    assert receiver.requests[0].headers["host"] == f"localhost:{port}"


def _names_resolve_to(address: str, monkeypatch: pytest.MonkeyPatch, then: str | None = None) -> None:
    answers = [address]

    async def getaddrinfo(_: object, host: str, port: int, **__: object) -> list[Any]:
        answer = answers[0]
        if then is not None:
            answers[0] = then
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answer, port))]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("secret", ["abc", "whsec_abc", "whsec_" + base64.b64encode(bytes(8)).decode()])
def test_a_weak_webhook_secret_stops_the_start_and_is_not_printed(secret: str) -> None:
    with pytest.raises(ValidationError, match="24 to 64 random bytes") as failure:
        settings("media.example.com", secrets=(secret,))
    assert secret not in str(failure.value)


def test_callbacks_without_a_secret_stop_the_start() -> None:
    with pytest.raises(ValidationError, match="FARM_WEBHOOK_SECRETS"):
        settings("media.example.com", secrets=())


def test_the_body_is_the_same_on_every_try(receiver: Receiver) -> None:
    receiver.answer = lambda number: (500 if number == 0 else 204, {})
    for _ in range(2):
        sent(receiver.url, settings(receiver.host))
    first, second = receiver.requests
    assert first.body == second.body
    assert json.loads(first.body)["id"] == first.headers["webhook-id"] == second.headers["webhook-id"]
