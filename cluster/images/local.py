"""Many pictures on this machine alone: `farm resize`. No Ray, no database."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cluster.farm_settings import FarmSettings
from cluster.images.engine import ImageEngine
from cluster.work import Work

OnDone = Callable[[str, dict[str, Any]], None]


def turn_here(works: Sequence[Work], settings: FarmSettings, on_done: OnDone) -> None:
    """Turn the pictures of `works` on all slots of this machine; `on_done` is told of each, one at a time.

    Ctrl-C ends every media process before it propagates; what it cut off is not told. Errors are told, never raised,
    but for bugs.
    """
    if not works:
        return
    lanes = min(settings.work.slots, len(works))
    size = max(1, min(settings.work.image_batch, len(works) // lanes))
    engine = ImageEngine(settings, lanes, most=size)
    one_at_a_time, interrupted = threading.Lock(), threading.Event()

    def tell(job_id: str, outcome: dict[str, Any]) -> None:
        with one_at_a_time:
            if interrupted.is_set():
                return
            on_done(job_id, outcome)

    batches = [works[start : start + size] for start in range(0, len(works), size)]
    with ThreadPoolExecutor(lanes) as pool:
        try:
            for done in [pool.submit(engine.turn, batch, tell) for batch in batches]:
                done.result()
        except BaseException:
            interrupted.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for work in works:
                engine.cancel(work.job_id)
            raise
        finally:
            pool.shutdown()
            engine.close()
