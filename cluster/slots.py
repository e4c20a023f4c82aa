"""Who may run next: slots are given in order of class, then of age."""

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# Classes of work; a lower number is served first.
PRIORITIES = {"interactive": 0, "normal": 1, "bulk": 2}


class Slots:
    """A bounded number of running steps; waiters are served by (class, job age, arrival).

    The window of submitted tasks is kept at the number of free slots because Ray has no priorities: what is handed to
    it early is run in the order of handing.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._running = 0
        self._waiting: list[tuple[int, float, int, asyncio.Future[None]]] = []
        self._arrival = itertools.count()

    @property
    def capacity(self) -> int:
        """How many steps may run at once."""
        return self._capacity

    @property
    def demand(self) -> int:
        """How many steps run, or would if there were slots."""
        return self._running + sum(not turn.done() for *_, turn in self._waiting)

    def resize(self, capacity: int) -> None:
        """Follow the cluster as nodes come and go; running steps are left alone."""
        self._capacity = capacity
        self._serve()

    @asynccontextmanager
    async def taken(self, priority: str, age: float) -> AsyncIterator[None]:
        """Hold one slot; `age` is the job's time of creation in seconds, older first."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (PRIORITIES[priority], age, next(self._arrival), turn))
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()
            raise
        try:
            yield
        finally:
            self._release()

    def _release(self) -> None:
        self._running -= 1
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._running < self._capacity:
            *_, turn = heapq.heappop(self._waiting)
            if not turn.cancelled():
                self._running += 1
                turn.set_result(None)
