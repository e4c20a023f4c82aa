"""Which batch stands still, by looking at all that have not ended now and then."""

import asyncio
import logging
import time
from collections.abc import Mapping

from cluster.errors import InfraError
from cluster.jobs import JobStore

LOOK_S = 30.0

log = logging.getLogger(__name__)


class BatchWatch:
    """Remembers how every open batch stood and since when, whoever feeds it or does not."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, float]] = {}

    async def follow(self, store: JobStore) -> None:
        """Look until cancelled; what a job store that is away did not say has not changed."""
        while True:
            try:
                self.look(await asyncio.to_thread(store.batches.standing), time.monotonic())
            except InfraError as error:
                log.debug("batches are not looked at: %s", error.public_message)
            except Exception:
                log.exception("batches are not looked at")
            await asyncio.sleep(LOOK_S)

    def look(self, standing: Mapping[str, str], now: float) -> None:
        """`standing` is what `BatchStore.standing` says, `now` in seconds of the monotonic clock."""
        before = self._seen
        self._seen = {
            batch_id: before[batch_id] if before.get(batch_id, ("",))[0] == stands else (stands, now)
            for batch_id, stands in standing.items()
        }

    def still_s(self) -> float:
        """How long the batch that stands longest has not changed, in seconds; 0 when every batch has ended."""
        return max((time.monotonic() - since for _, since in self._seen.values()), default=0.0)
