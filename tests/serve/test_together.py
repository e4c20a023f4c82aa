import asyncio
import threading
from collections.abc import Sequence

import pytest

from serve.together import MOST, Together

BREAKS = 1_000_001


class Work:
    """Doubles numbers, refuses negative ones, and waits until it may."""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.began = threading.Event()
        self.may = threading.Event()

    def __call__(self, asked: Sequence[int]) -> list[int | Exception]:
        self.began.set()
        self.may.wait(10)
        self.runs.append(len(asked))
        if BREAKS in asked:
            raise RuntimeError("broken")
        return [ValueError(str(one)) if one < 0 else 2 * one for one in asked]


def test_what_is_asked_for_while_a_run_goes_on_is_the_next_run() -> None:
    work = Work()
    together = Together(work)

    async def ask() -> list[int]:
        first = asyncio.create_task(together(0))
        await asyncio.to_thread(work.began.wait, 10)
        others = [asyncio.create_task(together(number)) for number in range(1, MOST + 2)]
        await asyncio.sleep(0)
        work.may.set()
        return await asyncio.gather(first, *others)

    assert asyncio.run(ask()) == [2 * number for number in range(MOST + 2)]
    assert work.runs == [1, MOST, 1]


def test_each_gets_its_own_answer_or_its_own_error() -> None:
    work = Work()
    work.may.set()
    together = Together(work)

    async def ask() -> list[int | BaseException]:
        return await asyncio.gather(*(together(number) for number in (1, -1, 2)), return_exceptions=True)

    one, wrong, two = asyncio.run(ask())
    assert (one, two) == (2, 4)
    assert isinstance(wrong, ValueError)


def test_a_run_that_breaks_is_everybody_s_error_and_the_next_one_goes_on() -> None:
    work = Work()
    work.may.set()
    together = Together(work)

    async def ask() -> list[int | BaseException]:
        broken = await asyncio.gather(together(1), together(BREAKS), return_exceptions=True)
        return [*broken, await together(3)]

    *broken, fine = asyncio.run(ask())
    assert [type(one) for one in broken] == [RuntimeError, RuntimeError]
    assert fine == 6


def test_who_leaves_takes_nobody_along() -> None:
    work = Work()
    together = Together(work)

    async def ask() -> int:
        leaving = asyncio.create_task(together(1))
        staying = asyncio.create_task(together(2))
        await asyncio.sleep(0.05)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        work.may.set()
        return await staying

    assert asyncio.run(ask()) == 4


def test_calls_of_several_loops_are_answered_each_in_its_own() -> None:
    work = Work()
    together = Together(work)
    answers: list[int] = []

    def ask(number: int) -> None:
        answers.append(asyncio.run(together(number)))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    work.may.set()
    for thread in threads:
        thread.join(10)
    assert sorted(answers) == [0, 2, 4, 6]
