"""Looks at the first bytes of sources, which tell pictures from videos before anything is planned.

A look has a thread of its own: a file share that hangs keeps that thread for as long as it hangs, and must hold up
neither the leases nor the looks at what lies elsewhere.
"""

import asyncio
import os
import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from cluster.errors import StorageUnavailable
from cluster.storage.urls import parse_place

AT_ONCE = 8  # at one share or bucket; a look takes milliseconds, and some tens where storage is far away
PATIENCE_S = 5.0  # after that it lets the next one begin
LOOK_S = 60.0  # after that its job waits: a source that can be read is read by then
MOST_SLOW = 8  # threads; with so many that have had no answer there, another one would not have one either

MOUNTS = Path("/proc/self/mounts")  # no share is asked for that, so that none can hang


@dataclass(slots=True)
class _Share:
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    slow: int = 0


class Looks:
    """Of each share or bucket some at a time, and slow ones beside them. For one event loop."""

    def __init__(self) -> None:
        self._shares: dict[str, _Share] = {}

    async def at(self, uri: str, look: Callable[[], bool]) -> bool:
        """What `look` says of the source; StorageUnavailable when it says nothing for a minute, and what it raises.

        ForbiddenUri when the URI is none.
        """
        share = self._shares.setdefault(share_of(uri), _Share())
        async with share.places:
            if share.slow >= MOST_SLOW:
                raise StorageUnavailable(f"{share.slow} sources beside this one were looked at and have not answered")
            pool = ThreadPoolExecutor(1, thread_name_prefix="look")
            answer = pool.submit(look)
            pool.shutdown(wait=False)
            told = asyncio.wrap_future(answer)
            # Else asyncio complains of an error that nobody waited for, because the job was cancelled.
            told.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            try:
                await asyncio.wait([told], timeout=PATIENCE_S)
            finally:
                if not answer.done():
                    _note_slow(share, answer)
        try:
            async with asyncio.timeout(LOOK_S - PATIENCE_S):
                return await told
        except TimeoutError as error:
            raise StorageUnavailable(f"the source has not answered for {LOOK_S:.0f} s") from error


def share_of(uri: str) -> str:
    """What may hang as one: a bucket, or the file system that the source's path is on by its name alone: a link is
    not followed, because that may hang. Raises ForbiddenUri.
    """
    place = parse_place(uri)
    if place.scheme == "s3":
        return f"s3://{place.bucket}"
    mounts = (_unescaped(line.split(" ", 2)[1]) for line in os.fsdecode(MOUNTS.read_bytes()).splitlines())
    return max((one for one in mounts if f"{place.path}/".startswith(f"{one.rstrip('/')}/")), key=len, default="/")


def _unescaped(name: str) -> str:
    """proc(5): blanks and backslashes are octal there."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), name)


def _note_slow(share: _Share, answer: "Future[bool]") -> None:
    """Count it until it ends, however late."""
    loop = asyncio.get_running_loop()
    share.slow += 1

    def ended() -> None:
        share.slow -= 1

    answer.add_done_callback(lambda _: None if loop.is_closed() else loop.call_soon_threadsafe(ended))
