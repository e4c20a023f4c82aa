"""What failed in batches, grouped: kept for a while, because everybody who follows a batch asks each second."""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from cluster.jobs import Batch, BatchStore
from cluster.jobs.batch_model import Failures

MOST = 256  # batches
OLDEST_S = 60.0
SHARE = 1 / 20  # of the time is spent on grouping one batch anew, or more; 200,000 failed items took SQLite 1.7 s


@dataclass(slots=True)
class _Known:
    lock: threading.Lock = field(default_factory=threading.Lock)  # one groups, the others wait for that
    batch: Batch | None = None
    found: list[Failures] = field(default_factory=list)
    until: float = 0.0  # monotonic: when it is grouped again, if the batch is another one by then


class KnownFailures:
    """The failures of batches, asked of the store once for all calls of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def of(self, batch: Batch, store: BatchStore) -> list[Failures]:
        """The failures of `batch`: exact once it has ended; before, up to 20 times their query or a minute old."""
        if not batch.failed + batch.refused:
            return []
        with self._lock:
            known = self._known.setdefault(batch.id, _Known())
            self._known.move_to_end(batch.id)
            while len(self._known) > MOST:
                self._known.popitem(last=False)
        with known.lock:
            if known.batch != batch and (_changed(known.batch, batch) or time.monotonic() >= known.until):
                began = time.monotonic()
                known.found, known.batch = store.failures(batch.id), batch
                ended = time.monotonic()
                known.until = ended + min(OLDEST_S, (ended - began) / SHARE)
            return known.found


def _changed(before: Batch | None, now: Batch) -> bool:
    """Whether it must be told exactly: at the end, which programs go by, and once it is tried again."""
    return before is None or before.finished_at != now.finished_at
