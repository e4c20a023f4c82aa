"""Blocking work of many calls, done as the work of few."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

MOST = 256  # calls that share one run


class Together[Asked, Answer]:
    """Runs `work` on a thread of its own, each time for all that was asked for while it ran before.

    A turn of a thread and a commit cost more than what one call has to do there: under load they are shared, and a
    call that comes alone waits for nobody.
    """

    def __init__(self, work: Callable[[Sequence[Asked]], Sequence[Answer | Exception]]) -> None:
        """`work` answers in the order of what was asked for; an exception in the place of an answer is raised."""
        self._work = work
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="together")
        self._lock = threading.Lock()
        self._waiting: list[tuple[Asked, asyncio.Future[Answer]]] = []
        self._running = False

    async def __call__(self, asked: Asked) -> Answer:
        """The answer of `work`."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        with self._lock:
            self._waiting.append((asked, answer))
            starts, self._running = not self._running, True
        if starts:
            loop.call_soon(self._thread.submit, self._run)  # behind the calls that are at hand
        return await answer

    def _run(self) -> None:
        while several := self._next():
            try:
                answers = self._work([asked for asked, _ in several])
            except Exception as error:  # noqa: BLE001 - raised by everybody who waits for it
                answers = [error] * len(several)
            told: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Answer], Answer | Exception]]] = {}
            for (_, future), answer in zip(several, answers, strict=True):
                told.setdefault(future.get_loop(), []).append((future, answer))
            for loop, theirs in told.items():
                with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
                    loop.call_soon_threadsafe(_tell, theirs)

    def _next(self) -> list[tuple[Asked, asyncio.Future[Answer]]]:
        with self._lock:
            several, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            self._running = bool(several)
        return several


def _tell[Answer](answers: Sequence[tuple[asyncio.Future[Answer], Answer | Exception]]) -> None:
    for future, answer in answers:
        if future.done():
            continue  # whoever asked is gone
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
