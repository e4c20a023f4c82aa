"""An event loop whose clock jumps to the next timer instead of waiting for it: hours of a cluster in seconds."""

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any
from unittest import mock


class _Selector(selectors.SelectSelector):
    """Never waits; adds up how long it was asked to."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found:
            assert timeout is not None, "everybody waits for something that nobody will do"
            self.now_s += timeout
        return found


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: _Selector) -> None:
        super().__init__(clock)
        self._clock = clock

    def time(self) -> float:
        return self._clock.now_s


def run[T](work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end; `time.monotonic()` and the loop tell virtual seconds meanwhile."""
    clock = _Selector()
    loop = _Loop(clock)
    with mock.patch.object(time, "monotonic", new=loop.time):
        try:
            return loop.run_until_complete(work)
        finally:
            loop.close()
