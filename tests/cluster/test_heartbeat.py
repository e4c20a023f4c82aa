"""Signs of life: what the worker yields, and what whoever waits makes of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import ray

from cluster import heartbeat
from cluster.errors import WorkerLost
from cluster.heartbeat import Event, follow, with_heartbeats

TIMED_OUT = TimeoutError("of the step itself")
GONE = ray.exceptions.NodeDiedError("gone")  # type: ignore[no-untyped-call]
A_BUG = ray.exceptions.RayTaskError("step", "trace", TIMED_OUT).as_instanceof_cause()  # type: ignore[no-untyped-call]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(heartbeat, "SILENCE_S", 0.3)
    monkeypatch.setattr(heartbeat, "LOOK_S", 0.05)


def test_what_works_in_silence_is_said_to_live_and_its_words_come_in_order() -> None:
    def do(tell: Callable[[Event], None]) -> None:
        tell({"progress": 1})
        time.sleep(0.3)
        tell({"result": {}})

    told = list(with_heartbeats(do, "step"))
    assert told[:2] == [{"started": True}, {"progress": 1}]
    assert told[-1] == {"result": {}}
    assert {"alive": True} in told[2:-1]


def test_what_breaks_raises_where_it_is_read() -> None:
    def do(tell: Callable[[Event], None]) -> None:
        tell({"progress": 1})
        raise ZeroDivisionError

    told = with_heartbeats(do, "step")
    assert [next(told), next(told)] == [{"started": True}, {"progress": 1}]
    with pytest.raises(ZeroDivisionError):
        next(told)


async def call(*events: Event | Exception, pause_s: float = 0.0) -> AsyncIterator[Awaitable[Event]]:
    """A streaming call of Ray, as its owner sees it: references that are awaited, or an error in their place."""

    async def value(event: Event | Exception) -> Event:
        if isinstance(event, Exception):
            raise event
        return event

    for event in events:
        yield value(event)
        await asyncio.sleep(pause_s)


def followed(events: AsyncIterator[Any], *, gone: bool = False) -> dict[str, Any]:
    return asyncio.run(follow(events, lambda event: event.get("result"), "the worker of chunk 1", 5.0, lambda: gone))


def test_the_answer_ends_the_following_even_when_it_is_empty() -> None:
    assert followed(call({"started": True}, {"alive": True}, {"result": {}}, {"result": {"not": "read"}})) == {}


@pytest.mark.parametrize(
    ("events", "says"),
    [
        (call({"started": True}), "ended without an answer"),
        (call({"started": True}, {"alive": True}, pause_s=1.0), "was not heard of for"),
        (call({"started": True}, GONE), "was lost"),
    ],
    ids=["ended", "silent", "node died"],
)
def test_a_worker_that_is_gone_is_lost_and_named(events: AsyncIterator[Any], says: str) -> None:
    with pytest.raises(WorkerLost, match=f"the worker of chunk 1 {says}"):
        followed(events)


def test_a_silent_worker_is_waited_for_only_while_its_node_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "SILENCE_S", 60.0)
    began = time.monotonic()
    with pytest.raises(WorkerLost, match="lost with its node"):
        followed(call({"started": True}, {"alive": True}, pause_s=10.0), gone=True)
    assert time.monotonic() - began < 5
    assert followed(call({"started": True}, {"result": {}}, pause_s=0.3)) == {}


def test_a_bug_of_the_step_is_no_lost_worker_even_when_it_is_a_timeout() -> None:
    with pytest.raises(ray.exceptions.RayTaskError):
        followed(call({"started": True}, A_BUG))
