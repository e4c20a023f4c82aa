"""Signs of life of long calls through Ray: given by the process that works, followed by the one that waits.

The call is a streaming one. Its first value says that it runs, later ones are what there is to tell, or that it lives;
then it ends.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import ray

from cluster.errors import WorkerLost

HEARTBEAT_S = 5.0
SILENCE_S = 60.0  # twelve missed heartbeats: the process hangs
LOOK_S = 1.0  # how often whoever waits in vain looks whether the node is still there

Event = dict[str, Any]


def with_heartbeats(do: Callable[[Callable[[Event], None]], None], name: str) -> Iterator[Event]:
    """Run `do` in a thread called `name`; yield that it began, then what it tells, or that it lives.

    What `do` raises is raised here.
    """
    events: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            do(events.put)
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, which raises it
            events.put(error)
        else:
            events.put(None)

    # A media process dies with the thread that started it, and this thread ends with what it does.
    threading.Thread(target=run, name=name, daemon=True).start()
    yield {"started": True}
    while True:
        try:
            event = events.get(timeout=HEARTBEAT_S)
        except queue.Empty:
            event = {"alive": True}
        if event is None:
            return
        if isinstance(event, BaseException):
            raise event
        yield event


async def follow[T](
    events: Any,
    hear: Callable[[Event], T | None],
    who: str,
    start_s: float,
    is_gone: Callable[[], bool],
) -> T:
    """Call `hear` with all that the streaming call `events` tells, until it gives an answer, and give that.

    WorkerLost, about `who`, when the call ends without one, does not begin within `start_s`, is silent for SILENCE_S,
    or is silent while its node `is_gone`: Ray tells nobody of a call to a node that was cut off without a word, also
    after it gave the node up itself (seen: 80 s without an error).
    """
    wait_s = start_s
    try:
        while True:
            ref = await _next(events, wait_s, is_gone)
            event = await ref
            wait_s = SILENCE_S
            answer = hear(event)
            if answer is not None:
                return answer
    except StopAsyncIteration:
        raise WorkerLost(f"{who} ended without an answer") from None
    except ray.exceptions.RayTaskError:
        raise  # a bug in what is done itself
    except TimeoutError:
        raise WorkerLost(f"{who} was not heard of for {wait_s:.0f} s") from None
    except _NodeGone:
        raise WorkerLost(f"{who} was lost with its node") from None
    except ray.exceptions.RayError as error:
        raise WorkerLost(f"{who} was lost", detail={"ray": str(error)[:500]}) from None


class _NodeGone(Exception):
    """Ray has given up the node that is waited for."""


async def _next(events: Any, wait_s: float, is_gone: Callable[[], bool]) -> Any:
    """The reference of what the call tells next; TimeoutError after `wait_s`, _NodeGone."""
    since = time.monotonic()
    coming = asyncio.ensure_future(events.__anext__())
    try:
        while not (await asyncio.wait({coming}, timeout=LOOK_S))[0]:
            silent_s = time.monotonic() - since
            if silent_s >= wait_s:
                raise TimeoutError
            if silent_s > HEARTBEAT_S and is_gone():
                raise _NodeGone
        return coming.result()
    finally:
        coming.cancel()
