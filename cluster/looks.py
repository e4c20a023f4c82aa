"""Looks at the first bytes of sources, which tell pictures from videos before anything is planned.

A look has a thread of its own: a file share that hangs keeps that thread for as long as it hangs, and must hold up
neither the leases nor the looks at what lies elsewhere.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from cluster.errors import StorageUnavailable

AT_ONCE = 8  # a look takes milliseconds, and some tens where storage is far away
PATIENCE_S = 5.0  # after that it lets the next one begin
LOOK_S = 60.0  # after that its job waits: a source that can be read is read by then
MOST_SLOW = 64  # threads; with so many that have had no answer, another one would not have one either


class Looks:
    """Some at a time, and slow ones beside them. For one event loop."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)
        self._slow = 0

    async def at(self, look: Callable[[], bool]) -> bool:
        """What `look` says; StorageUnavailable when it says nothing for a minute, and what it raises."""
        async with self._places:
            if self._slow >= MOST_SLOW:
                raise StorageUnavailable(f"{self._slow} sources that were to be looked at have not answered")
            pool = ThreadPoolExecutor(1, thread_name_prefix="look")
            answer = pool.submit(look)
            pool.shutdown(wait=False)
            told = asyncio.wrap_future(answer)
            try:
                await asyncio.wait([told], timeout=PATIENCE_S)
            finally:
                if not answer.done():
                    self._note_slow(answer)
        try:
            async with asyncio.timeout(LOOK_S - PATIENCE_S):
                return await told
        except TimeoutError as error:
            raise StorageUnavailable(f"the source has not answered for {LOOK_S:.0f} s") from error

    def _note_slow(self, answer: "Future[bool]") -> None:
        """Count it until it ends, however late."""
        loop = asyncio.get_running_loop()
        self._slow += 1

        def ended() -> None:
            self._slow -= 1

        answer.add_done_callback(lambda _: None if loop.is_closed() else loop.call_soon_threadsafe(ended))
