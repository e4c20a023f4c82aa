"""Writing down how a job ended, while the job store may be away."""

import asyncio
import logging
from typing import Any

from cluster.errors import FenceLost, InfraError
from cluster.jobs import Job, JobStore

log = logging.getLogger(__name__)

SAVE_TRIES = 6  # a second apart and growing: the store may be restarting


async def save_ending(job: Job, ending: dict[str, Any], store: JobStore) -> bool:
    """Write the job's end (`JobStore.finish`); False when the store stays away, FenceLost."""
    for attempt in range(SAVE_TRIES):
        try:
            await asyncio.to_thread(store.finish, job.id, job.fence, **ending)
            return True
        except FenceLost:
            raise
        except InfraError as error:
            log.warning("job %s: its end could not be saved yet: %s", job.id, error.public_message)
            await asyncio.sleep(1.0 + attempt)
    return False  # the lease runs out, the job is claimed again, and finds what was done
