"""Who runs next."""

import asyncio
from typing import Any

import pytest

from cluster import slots as slots_module
from cluster.errors import NoRoom
from cluster.needs import Need
from cluster.nodes import Node
from cluster.policy import OrgPolicy, Policy
from cluster.slots import Slots, Turn


async def _order(waiting: list[tuple[str, float, str]], capacity: int = 1) -> list[str]:
    slots, served = Slots(capacity), []
    gate = asyncio.Event()

    async def blocker() -> None:
        async with slots.taken(Turn("b", "acme", "bulk"), "chunk"):
            await gate.wait()

    async def one(priority: str, age: float, name: str) -> None:
        async with slots.taken(Turn(name, "acme", priority, age), "chunk"):
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
            async with slots.taken(Turn("n", "acme"), "chunk"):
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
            async with slots.taken(Turn("n", "acme"), "chunk"):
                await hold.wait()

        async def waiter() -> bool:
            async with slots.taken(Turn("w", "acme", age=1.0), "chunk"):
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
            async with slots.taken(Turn("n", "acme"), "chunk"):
                inside += 1
                await stay.wait()

        tasks = [asyncio.create_task(one()) for _ in range(4)]
        await asyncio.sleep(0.01)
        slots.follow([Node("here", "", 3, 0, 0)])
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
            async with slots.taken(Turn("n", "acme"), "chunk"):
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


def node(name: str, lanes: int = 4, memory_gb: float = 0, scratch_gb: float = 0, **changes: Any) -> Node:
    return Node(name, "", lanes, int(memory_gb * 1e9), int(scratch_gb * 1e9), **changes)


def gigabytes(memory: float, scratch: float = 0) -> Need:
    return Need(int(memory * 1e9), int(scratch * 1e9))


HELD: list[Any] = []  # a context that nobody refers to any more is left by the garbage collector


async def placed(slots: Slots, turn: Turn, need: Need | None = None, kind: str = "chunk") -> tuple[str, Any]:
    """The node of a step that stays there until its context is left."""
    context = slots.taken(turn, kind, need)
    HELD.append(context)
    return (await asyncio.wait_for(context.__aenter__(), 1)).node, context


def test_a_step_is_put_where_its_memory_and_disk_fit() -> None:
    async def scenario() -> None:
        slots = Slots()
        slots.follow([node("small", memory_gb=2), node("large", memory_gb=8, scratch_gb=50)])
        assert (await placed(slots, Turn("a", "o"), gigabytes(3)))[0] == "large"
        assert (await placed(slots, Turn("b", "o"), gigabytes(3)))[0] == "large"
        assert (await placed(slots, Turn("d", "o"), gigabytes(1, 60)))[0] == "small", "it does not say what disk it has"

    asyncio.run(scenario())


def test_a_step_that_fits_nowhere_now_waits_and_lets_smaller_ones_pass_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slots_module, "PASSED_OVER_S", 0.3)

    async def scenario() -> None:
        slots = Slots()
        slots.follow([node("n", lanes=3, memory_gb=4)])
        _, first = await placed(slots, Turn("a", "o", age=1), gigabytes(2))
        large = asyncio.create_task(placed(slots, Turn("b", "o", age=2), gigabytes(4)))
        await asyncio.sleep(0.05)
        _, small = await placed(slots, Turn("c", "o", age=3), gigabytes(1))
        await small.__aexit__(None, None, None)
        await asyncio.sleep(0.4)
        late = asyncio.create_task(placed(slots, Turn("d", "o", age=4), gigabytes(1)))
        await asyncio.sleep(0.05)
        assert not late.done(), "the node is emptied for the large step"
        await first.__aexit__(None, None, None)
        _, done = await asyncio.wait_for(large, 1)
        await done.__aexit__(None, None, None)
        await asyncio.wait_for(late, 1)

    asyncio.run(scenario())


def test_a_step_that_no_node_could_ever_hold_is_refused_in_the_end_with_what_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slots_module, "NO_ROOM_S", 0.2)

    async def scenario() -> None:
        slots = Slots()
        slots.follow([node("n", memory_gb=4)])
        waits = asyncio.create_task(placed(slots, Turn("a", "o"), gigabytes(5)))
        await asyncio.sleep(0.05)
        assert not waits.done(), "a larger node may be on its way"
        await asyncio.sleep(0.2)
        slots.follow([node("n", memory_gb=4)])
        with pytest.raises(NoRoom, match=r"needs 5\.0 GB of memory .* the largest has 4\.0 GB"):
            await waits

    asyncio.run(scenario())


def test_a_draining_node_gets_nothing_new_and_what_runs_there_ends() -> None:
    async def scenario() -> None:
        slots = Slots()
        slots.follow([node("old", lanes=8), node("new", lanes=1)])
        name, running = await placed(slots, Turn("a", "o"))
        assert name == "old"
        slots.follow([node("old", lanes=8, is_draining=True), node("new", lanes=1)])
        assert slots.capacity == 1
        assert (await placed(slots, Turn("b", "o")))[0] == "new"
        waits = asyncio.create_task(placed(slots, Turn("c", "o")))
        await asyncio.sleep(0.05)
        assert not waits.done()
        await running.__aexit__(None, None, None)
        slots.follow([node("new", lanes=2)])
        assert (await asyncio.wait_for(waits, 1))[0] == "new"

    asyncio.run(scenario())


def test_a_job_goes_where_its_source_is_while_there_is_a_lane() -> None:
    async def scenario() -> None:
        slots, job = Slots(), Turn("a", "o")
        slots.follow([node("n1", lanes=2), node("n2", lanes=8)])
        job.homes.add("n1")
        assert [(await placed(slots, job))[0] for _ in range(3)] == ["n1", "n1", "n2"]

    asyncio.run(scenario())


def test_an_org_runs_no_more_steps_than_it_may_and_the_others_use_the_rest() -> None:
    async def scenario() -> None:
        slots = Slots(4, Policy(orgs={"o": OrgPolicy(running_steps=1)}))
        await placed(slots, Turn("a", "o"))
        over = asyncio.create_task(placed(slots, Turn("b", "o")))
        await asyncio.sleep(0.05)
        assert not over.done()
        await placed(slots, Turn("c", "other"))
        slots.obey(Policy())
        await asyncio.wait_for(over, 1)

    asyncio.run(scenario())


def test_a_jobs_next_step_gets_the_lane_that_its_last_one_left() -> None:
    async def scenario() -> None:
        slots, urgent = Slots(1), Turn("u", "o", "interactive")
        context = slots.taken(urgent, "inspect")
        place = await context.__aenter__()
        bulk = asyncio.create_task(placed(slots, Turn("b", "o", "bulk")))
        await asyncio.sleep(0.01)
        place.keep()
        await context.__aexit__(None, None, None)
        await asyncio.sleep(0)
        _, chunk = await placed(slots, urgent)
        assert not bulk.done()
        await chunk.__aexit__(None, None, None)
        await asyncio.wait_for(bulk, 1)

    asyncio.run(scenario())


def test_a_lane_that_was_kept_in_vain_is_given_to_others() -> None:
    async def scenario() -> None:
        slots = Slots(1)
        context = slots.taken(Turn("u", "o", "interactive"), "inspect")
        (await context.__aenter__()).keep()
        await context.__aexit__(None, None, None)
        assert (await placed(slots, Turn("b", "o", "bulk")))[0] == "here"
        assert slots.running == 1

    asyncio.run(scenario())


def test_a_job_that_waits_is_served_by_the_class_it_was_put_into() -> None:
    async def scenario() -> None:
        slots = Slots(1)
        _, running = await placed(slots, Turn("a", "o"))
        raised = Turn("r", "o", "bulk", age=9)
        waiting = [asyncio.create_task(placed(slots, turn)) for turn in (Turn("n", "o", "normal"), raised)]
        await asyncio.sleep(0.01)
        slots.prioritise(raised, "interactive")
        await running.__aexit__(None, None, None)
        await asyncio.wait_for(waiting[1], 1)
        assert not waiting[0].done()
        waiting[0].cancel()

    asyncio.run(scenario())


def test_a_node_that_was_emptied_for_a_step_that_is_cancelled_serves_everybody_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slots_module, "PASSED_OVER_S", 0.05)

    async def scenario() -> None:
        slots = Slots()
        slots.follow([node("n", lanes=3, memory_gb=4)])
        _, first = await placed(slots, Turn("a", "o", age=1), gigabytes(2))
        large = asyncio.create_task(placed(slots, Turn("b", "o", age=2), gigabytes(4)))
        await asyncio.sleep(0.1)
        small = asyncio.create_task(placed(slots, Turn("c", "o", age=3), gigabytes(1)))
        await asyncio.sleep(0.05)
        assert not small.done()
        large.cancel()
        await asyncio.wait_for(small, 1)
        await first.__aexit__(None, None, None)

    asyncio.run(scenario())


def test_no_lane_is_kept_from_a_better_class() -> None:
    async def scenario() -> None:
        slots, bulk = Slots(1), Turn("b", "o", "bulk")
        context = slots.taken(bulk, "inspect")
        place = await context.__aenter__()
        urgent = asyncio.create_task(placed(slots, Turn("u", "o", "interactive")))
        await asyncio.sleep(0.01)
        place.keep()
        await context.__aexit__(None, None, None)
        await asyncio.wait_for(urgent, 1)

    asyncio.run(scenario())
