"""How long a batch stands still, as the dispatcher tells it."""

import asyncio
import time
from typing import Any

import pytest

from cluster.errors import StoreUnavailable
from cluster.monitoring import batches
from cluster.monitoring.batches import BatchWatch
from cluster.monitoring.farm import FarmWatch, gauges_of


def told(watch: FarmWatch) -> float:
    (still_s,) = [value for metric, _, value in gauges_of(watch.figures(0, {})) if "batch_still" in metric.name]
    return still_s


def test_the_batch_that_stands_longest_is_told_and_none_when_all_have_ended() -> None:
    watch, now = FarmWatch(), time.monotonic()
    assert told(watch) == 0.0
    watch.batches.look({"one": "a", "two": "a"}, now - 300)
    watch.batches.look({"one": "b", "two": "a"}, now - 200)
    watch.batches.look({"one": "b", "two": "a", "three": "a"}, now - 100)
    assert told(watch) == pytest.approx(300, abs=5)
    watch.batches.look({"one": "b", "three": "a"}, now)
    assert told(watch) == pytest.approx(200, abs=5)
    watch.batches.look({}, now)
    assert told(watch) == 0.0


def test_a_store_that_is_away_is_asked_again_and_what_it_did_not_say_has_not_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "LOOK_S", 0.01)
    answers: list[Any] = [{"one": "a"}, StoreUnavailable("away"), RuntimeError("a bug"), {"one": "a"}, {"one": "a"}]

    class Store:
        batches: Any = None

        def standing(self) -> Any:
            if len(answers) == 1:
                return answers[0]
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                time.sleep(0.2)
                raise answer
            return answer

    async def scenario() -> float:
        watch, store = BatchWatch(), Store()
        store.batches = store
        following = asyncio.create_task(watch.follow(store))  # type: ignore[arg-type]
        async with asyncio.timeout(10):
            while len(answers) > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        following.cancel()
        return watch.still_s()

    assert asyncio.run(scenario()) >= 0.4
