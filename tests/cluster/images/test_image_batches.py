"""Pictures that wait for one another, and the batches they become."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from cluster import slots as slots_module
from cluster.errors import NoRoom, WorkerLost
from cluster.images.batches import ImageBatches, Told
from cluster.nodes import Node
from cluster.slots import Slots, Turn
from cluster.work import Work
from pipelines.errors import CorruptMedia, MediaError
from tests.support.jobs import work_of


class Engines:
    """Turns every picture but those it was told to fail; notes the batches."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.cancelled: list[str] = []
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.outcomes: dict[str, dict[str, Any]] = {}
        self.lost: Exception | None = None

    async def turn_images(self, works: Sequence[Work], node: str, tell: Told) -> None:
        self.batches.append([work.job_id for work in works])
        self.begun.set()
        await self.gate.wait()
        for work in works:
            if self.lost is not None:
                raise self.lost
            tell(work.job_id, self.outcomes.get(work.job_id, {"result": {"revision": work.job_id}}))

    async def cancel_image(self, job_id: str) -> None:
        self.cancelled.append(job_id)


def turned(
    batches: ImageBatches, name: str, priority: str = "normal", age: float = 0.0, org: str = "acme"
) -> asyncio.Task[dict[str, Any]]:
    return asyncio.create_task(
        batches.turned(work_of(job_id=name, org=org, kind="image"), Turn(name, org, priority, age))
    )


def run(test: Callable[[Engines], Any]) -> None:
    async def main() -> None:
        await asyncio.wait_for(test(Engines()), 10)

    asyncio.run(main())


def test_pictures_that_come_together_go_together() -> None:
    async def test(engines: Engines) -> None:
        batches = ImageBatches(engines, Slots(1), wait_s=0.05, most=16)
        results = await asyncio.gather(*(turned(batches, f"j{n}", age=n) for n in range(5)))
        assert engines.batches == [["j0", "j1", "j2", "j3", "j4"]]
        assert [result["revision"] for result in results] == ["j0", "j1", "j2", "j3", "j4"]

    run(test)


def test_a_picture_alone_waits_no_longer_than_it_may() -> None:
    async def test(engines: Engines) -> None:
        batches = ImageBatches(engines, Slots(4), wait_s=0.02, most=16)
        started = time.monotonic()
        await turned(batches, "j1")
        assert time.monotonic() - started < 1.0

    run(test)


def test_a_crowd_is_shared_out_over_the_slots_and_bounded() -> None:
    async def test(engines: Engines) -> None:
        batches = ImageBatches(engines, Slots(2), wait_s=0.05, most=4)
        await asyncio.gather(*(turned(batches, f"j{n:02}", age=n) for n in range(20)))
        sizes = [len(batch) for batch in engines.batches]
        assert max(sizes) == 4
        assert sorted(name for batch in engines.batches for name in batch) == [f"j{n:02}" for n in range(20)]

    run(test)


def test_an_urgent_picture_overtakes_a_queue_of_others() -> None:
    async def test(engines: Engines) -> None:
        engines.gate.clear()
        batches = ImageBatches(engines, Slots(1), wait_s=0.0, most=2)
        bulk = [turned(batches, f"bulk{n}", "bulk", age=n) for n in range(6)]
        await engines.begun.wait()
        urgent = turned(batches, "urgent", "interactive", age=99)
        await asyncio.sleep(0.05)
        engines.gate.set()
        await asyncio.gather(urgent, *bulk)
        assert engines.batches[1] == ["urgent"]

    run(test)


def test_a_bad_picture_fails_alone() -> None:
    async def test(engines: Engines) -> None:
        engines.outcomes["bad"] = {"media_error": CorruptMedia("no picture").to_wire()}
        batches = ImageBatches(engines, Slots(1), wait_s=0.05, most=16)
        good, bad = turned(batches, "good"), turned(batches, "bad")
        assert (await good)["revision"] == "good"
        with pytest.raises(CorruptMedia, match="no picture"):
            await bad
        assert len(engines.batches) == 1

    run(test)


def test_a_lost_engine_is_an_error_of_each_picture_that_it_still_had() -> None:
    async def test(engines: Engines) -> None:
        engines.lost = WorkerLost("gone")
        batches = ImageBatches(engines, Slots(1), wait_s=0.05, most=16)
        results = await asyncio.gather(turned(batches, "j1"), turned(batches, "j2"), return_exceptions=True)
        assert [type(result) for result in results] == [WorkerLost, WorkerLost]

    run(test)


def test_an_engine_that_forgets_a_picture_is_found_out() -> None:
    class Forgetful(Engines):
        async def turn_images(self, works: Sequence[Work], node: str, tell: Told) -> None:
            return None

    async def test(_: Engines) -> None:
        with pytest.raises(WorkerLost, match="without a word"):
            await turned(ImageBatches(Forgetful(), Slots(1), wait_s=0.0, most=16), "j1")

    run(test)


def test_a_cancelled_picture_leaves_the_queue_or_is_ended_where_it_is() -> None:
    async def test(engines: Engines) -> None:
        engines.gate.clear()
        batches = ImageBatches(engines, Slots(1), wait_s=0.0, most=1)
        running, queued = turned(batches, "running", age=1), turned(batches, "queued", age=2)
        await engines.begun.wait()
        queued.cancel()
        running.cancel()
        await asyncio.gather(running, queued, return_exceptions=True)
        assert engines.cancelled == ["running"]
        engines.gate.set()
        assert (await turned(batches, "next"))["revision"] == "next"
        assert engines.batches == [["running"], ["next"]]

    run(test)


class Scans(Engines):
    """Every picture but the small ones needs 600 MB, as is found out when it is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self.turning = 0

    async def turn_images(self, works: Sequence[Work], node: str, tell: Told) -> None:
        self.batches.append([work.job_id for work in works])
        for work in works:
            if "small" in work.job_id:
                tell(work.job_id, {"result": {"revision": work.job_id}})
            elif work.memory_bytes is not None and work.memory_bytes < 600_000_000:
                tell(work.job_id, {"needs_bytes": 600_000_000})
            else:
                self.turning += 1
                self.most = max(self.most, self.turning)
                await self.gate.wait()
                await asyncio.sleep(0.02)
                self.turning -= 1
                tell(work.job_id, {"result": {"revision": work.job_id}})


def room(memory_bytes: int) -> Slots:
    slots = Slots()
    slots.follow([Node("n1", "10.0.0.1", 8, memory_bytes, 0)])
    return slots


def test_large_pictures_run_side_by_side_only_where_their_memory_fits() -> None:
    async def test(_: Engines) -> None:
        engines = Scans()
        batches = ImageBatches(engines, room(1_300_000_000), wait_s=0.02, most=16)
        names = [*(f"scan{n}" for n in range(5)), *(f"small{n}" for n in range(5))]
        results = await asyncio.gather(*(turned(batches, name, age=n) for n, name in enumerate(names)))
        assert [result["revision"] for result in results] == names
        assert engines.most == 2

    run(test)


def test_small_pictures_do_not_wait_for_large_ones_that_wait_for_memory() -> None:
    async def test(_: Engines) -> None:
        engines = Scans()
        engines.gate.clear()
        batches = ImageBatches(engines, room(1_000_000_000), wait_s=0.0, most=16)
        scans = [turned(batches, f"scan{n}") for n in range(2)]
        while not engines.turning:  # noqa: ASYNC110 - the engines are no part of what is tested
            await asyncio.sleep(0.01)
        assert (await turned(batches, "small", age=9))["revision"] == "small"
        engines.gate.set()
        await asyncio.gather(*scans)

    run(test)


def test_a_large_picture_is_cancelled_while_it_waits_and_where_it_is_turned() -> None:
    async def test(_: Engines) -> None:
        engines = Scans()
        engines.gate.clear()
        batches = ImageBatches(engines, room(1_000_000_000), wait_s=0.0, most=16)
        first = turned(batches, "scan1")
        while not engines.turning:  # noqa: ASYNC110 - the engines are no part of what is tested
            await asyncio.sleep(0.01)
        second = turned(batches, "scan2")
        while not batches._large:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.01)
        for task in (first, second):
            task.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        assert engines.cancelled == ["scan1"]
        await asyncio.sleep(0.01)
        assert batches.slots.demand == 1  # nobody waits for the second one's memory
        engines.gate.set()
        assert (await turned(batches, "scan3"))["revision"] == "scan3"
        assert engines.batches.count(["scan2"]) == 1

    run(test)


def test_a_picture_that_no_node_has_memory_for_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots_module, "NO_ROOM_S", 0.0)

    async def test(_: Engines) -> None:
        slots = room(500_000_000)
        batches = ImageBatches(Scans(), slots, wait_s=0.0, most=16)
        task = turned(batches, "scan")
        while not task.done():
            await asyncio.sleep(0.01)
            slots.follow([Node("n1", "10.0.0.1", 8, 500_000_000, 0)])  # as every second
        with pytest.raises(NoRoom, match=r"0\.6 GB"):
            await task

    run(test)


def test_what_nobody_foresaw_is_raised_where_the_job_is_driven() -> None:
    async def test(engines: Engines) -> None:
        engines.lost = ZeroDivisionError("a bug")
        with pytest.raises(ZeroDivisionError):
            await turned(ImageBatches(engines, Slots(1), wait_s=0.0, most=1), "j1")
        assert not issubclass(ZeroDivisionError, MediaError)

    run(test)
