"""Who runs next."""

import asyncio

import pytest

from cluster.slots import Slots


async def _order(waiting: list[tuple[str, float, str]], capacity: int = 1) -> list[str]:
    slots, served = Slots(capacity), []
    gate = asyncio.Event()

    async def blocker() -> None:
        async with slots.taken("bulk", 0.0):
            await gate.wait()

    async def one(priority: str, age: float, name: str) -> None:
        async with slots.taken(priority, age):
            served.append(name)

    first = [asyncio.create_task(blocker()) for _ in range(capacity)]
    await asyncio.sleep(0)
    rest = [asyncio.create_task(one(*row)) for row in waiting]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*first, *rest)
    return served


def test_an_interactive_step_goes_before_bulk_steps_that_waited_longer() -> None:
    order = asyncio.run(_order([("bulk", 1.0, "b"), ("normal", 2.0, "n"), ("interactive", 3.0, "i")]))
    assert order == ["i", "n", "b"]


def test_within_a_class_the_older_job_goes_first() -> None:
    assert asyncio.run(_order([("normal", 20.0, "young"), ("normal", 10.0, "old")])) == ["old", "young"]


def test_never_more_than_the_capacity_run_at_once() -> None:
    async def scenario() -> int:
        slots, running, most = Slots(3), 0, 0

        async def one() -> None:
            nonlocal running, most
            async with slots.taken("normal", 0.0):
                running += 1
                most = max(most, running)
                await asyncio.sleep(0.001)
                running -= 1

        await asyncio.gather(*(one() for _ in range(20)))
        return most

    assert asyncio.run(scenario()) == 3


@pytest.mark.parametrize("when", ["waiting", "just served"])
def test_a_cancelled_waiter_gives_its_slot_to_the_next(when: str) -> None:
    async def scenario() -> bool:
        slots = Slots(1)
        hold = asyncio.Event()

        async def holder() -> None:
            async with slots.taken("normal", 0.0):
                await hold.wait()

        async def waiter() -> bool:
            async with slots.taken("normal", 1.0):
                return True

        first = asyncio.create_task(holder())
        await asyncio.sleep(0)
        doomed, lucky = asyncio.create_task(waiter()), asyncio.create_task(waiter())
        await asyncio.sleep(0)
        if when == "waiting":
            doomed.cancel()
            hold.set()
        else:
            hold.set()
            await first  # the slot is already handed to `doomed`, which has not run since
            doomed.cancel()
        return await asyncio.wait_for(lucky, 1)

    assert asyncio.run(scenario())


def test_a_growing_cluster_lets_waiters_in_at_once() -> None:
    async def scenario() -> int:
        slots = Slots(1)
        stay = asyncio.Event()
        inside = 0

        async def one() -> None:
            nonlocal inside
            async with slots.taken("normal", 0.0):
                inside += 1
                await stay.wait()

        tasks = [asyncio.create_task(one()) for _ in range(4)]
        await asyncio.sleep(0.01)
        slots.resize(3)
        await asyncio.sleep(0.01)
        seen = inside
        stay.set()
        await asyncio.gather(*tasks)
        return seen

    assert asyncio.run(scenario()) == 3


def test_the_demand_is_what_runs_and_what_waits_and_not_what_was_given_up() -> None:
    async def scenario() -> list[int]:
        slots, stay = Slots(2), asyncio.Event()

        async def one() -> None:
            async with slots.taken("normal", 0.0):
                await stay.wait()

        seen = [slots.demand]
        tasks = [asyncio.create_task(one()) for _ in range(5)]
        await asyncio.sleep(0)
        seen.append(slots.demand)
        tasks[-1].cancel()
        await asyncio.sleep(0)
        seen.append(slots.demand)
        stay.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        return [*seen, slots.demand]

    assert asyncio.run(scenario()) == [0, 5, 4, 0]
