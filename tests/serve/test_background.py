import asyncio
import base64
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from cluster.errors import StoreUnavailable
from serve import background
from serve.api import create_api
from serve.background import Nudger, forever, send_callbacks, supervise
from tests.serve.conftest import MakeFarm
from tests.support.asgi_server import served
from tests.support.jobs import finish
from tests.support.receiver import Receiver, receiving

SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()


def until(condition: Callable[[], object], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(condition())


def ran(work: Callable[[], Awaitable[None]], condition: Callable[[], object]) -> bool:
    """Whether `condition` came true while `work` ran."""

    async def both() -> bool:
        running = asyncio.ensure_future(work())
        found = await asyncio.to_thread(until, condition)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return found

    return asyncio.run(both())


def test_waking_the_dispatcher_costs_a_request_nothing_even_when_ray_hangs() -> None:
    hanging, calls = threading.Event(), []

    def wake() -> None:
        calls.append(1)
        hanging.wait(10)

    nudge = Nudger(wake)
    started = time.monotonic()
    for _ in range(1000):
        nudge()
    assert time.monotonic() - started < 1.0
    assert until(lambda: calls)
    nudge()
    hanging.set()
    assert until(lambda: len(calls) == 2), "what came while it hung is not forgotten"
    time.sleep(0.1)
    assert len(calls) == 2, "and a thousand are one"


def test_a_dispatcher_that_cannot_be_started_is_tried_again_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "SUPERVISE_S", 0.01)
    tries: list[int] = []

    def ensure() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("no cluster yet")

    assert ran(partial(supervise, ensure), lambda: len(tries) >= 5)


def test_background_work_that_breaks_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "STORE_AWAY_S", 0.01)
    tries: list[int] = []

    async def work() -> None:
        tries.append(1)
        raise KeyError("a bug")

    assert ran(partial(forever, work), lambda: len(tries) >= 3)


def test_callbacks_wait_while_the_job_store_is_away(make_farm: MakeFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "STORE_AWAY_S", 0.01)
    monkeypatch.setattr(background, "CALLBACK_POLL_S", 0.01)
    farm = make_farm()
    asked: list[int] = []

    def due(limit: int, lease_s: float) -> list[object]:
        asked.append(1)
        if len(asked) < 3:
            raise StoreUnavailable("away")
        return []

    monkeypatch.setattr(farm.store, "due_deliveries", due)
    assert ran(partial(send_callbacks, farm.deps), lambda: len(asked) >= 5)


def test_a_receiver_that_hangs_holds_up_no_other(make_farm: MakeFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "CALLBACK_POLL_S", 0.02)
    answering = threading.Event()

    def late(_: int) -> tuple[int, dict[str, str]]:
        answering.wait(20)
        return 204, {}

    with receiving() as slow, receiving() as quick:
        slow.answer = late
        farm = make_farm(callback_hosts=f"{slow.host},{quick.host}", webhook_secrets=SECRET)

        def owe(media_id: str, receiver: Receiver) -> None:
            job = farm.start(farm.accept(media_id, callback_url=receiver.url).id)
            finish(farm.store, job, "ready")

        def one_more_while_the_slow_one_is_asked() -> bool:
            if slow.requests and len(quick.requests) == 1 and not later:
                owe("later", quick)
                later.append("later")
            return len(quick.requests) == 2

        owe("first", slow)
        owe("second", quick)
        later: list[str] = []
        try:
            assert ran(
                partial(send_callbacks, farm.deps),
                one_more_while_the_slow_one_is_asked,
            )
        finally:
            answering.set()


def test_a_serving_api_sends_the_callbacks_that_are_owed(make_farm: MakeFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "CALLBACK_POLL_S", 0.02)
    with receiving() as receiver:
        farm = make_farm(callback_hosts=receiver.host, webhook_secrets=SECRET)
        sender = partial(send_callbacks, farm.deps)
        with served(create_api(farm.deps, background=(sender,))):
            job = farm.start(farm.accept(callback_url=receiver.url).id)
            finish(farm.store, job, "ready")
            assert until(lambda: receiver.requests)
    assert len(receiver.requests) == 1
