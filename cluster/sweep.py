"""Removing what failed jobs and dead writers have left in the farm's storage, and nothing that is somebody else's."""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cluster.errors import InfraError, JobMissing
from cluster.farm_settings import FarmSettings
from cluster.jobs import JobStore
from cluster.jobs.model import ENDED
from cluster.storage import Storage, open_storage
from cluster.tools import Tools
from cluster.work import SCRATCH, Work, scratch_prefix

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 3600.0
UNFINISHED_S = 24 * 3600.0  # an upload that was not finished within a day belongs to a writer that died

_JOB_FOLDER = re.compile(rf"{SCRATCH}/([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})/")
_REVISION_FOLDER = re.compile(rf"(?!{SCRATCH}/)[^/]+/[^/]+/[0-9a-f]{{16}}/")


def is_farms_key(key: str) -> bool:
    """Whether only this farm writes there: a job's scratch, or a revision ({org}/{media_id}/{16 hex digits}/…)."""
    return bool(_JOB_FOLDER.match(key) or _REVISION_FOLDER.match(key))


async def in_own_thread(sweep: Callable[[], None]) -> None:
    """Sweep on a thread of its own: storage that hangs must not hold up those that the dispatcher has for its store."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="sweep")
    try:
        await asyncio.get_running_loop().run_in_executor(pool, sweep)
    finally:
        pool.shutdown(wait=False)


def sweep_job(work: Work, settings: FarmSettings) -> None:
    """Remove what a job that has ended left for itself; what storage refuses to remove is swept by age."""
    try:
        Tools.open(work, settings).sweep(work)
    except InfraError as error:
        log.warning("job %s: scratch not swept: %s", work.job_id, error.public_message)


async def sweep_now_and_then(settings: FarmSettings, store: JobStore, swept: Callable[[], None]) -> None:
    """Sweep the farm's storage every hour, and tell, until cancelled."""
    while True:
        try:
            await in_own_thread(lambda: sweep_storage(settings, store))
            swept()
        except Exception:
            log.exception("storage was not swept")
        await asyncio.sleep(SWEEP_EVERY_S)


def sweep_storage(settings: FarmSettings, store: JobStore) -> None:
    """Sweep once. What storage refuses is logged: it may allow one kind of sweep and not the other."""

    def uploads() -> None:
        _storage(settings).sweep_unfinished(UNFINISHED_S, is_farms_key)

    def scratch() -> None:
        sweep_scratch(_storage(settings), store, settings.work.scratch_keep_s)

    sweeps: dict[str, Callable[[], None]] = {"unfinished uploads": uploads, "old scratch": scratch}
    for name, sweep in sweeps.items():
        try:
            sweep()
        except InfraError as error:
            log.warning("%s not swept: %s: %s", name, error.code, error.public_message)


def sweep_scratch(storage: Storage, store: JobStore, keep_s: float) -> None:
    """Remove the folders of jobs that are not open and have stored nothing for `keep_s` seconds.

    Folders go whole: chunks without the plan that cut them, or a plan without its frames, help no retry.
    """
    written_s: dict[str, float] = {}
    for found in storage.list(SCRATCH):
        folder = _JOB_FOLDER.match(found.key)
        if folder:
            written_s[folder[1]] = max(written_s.get(folder[1], 0.0), found.modified_s)
    oldest_s = time.time() - keep_s
    for job_id, last_s in written_s.items():
        if last_s < oldest_s and not _is_open(job_id, store):
            storage.delete_prefix(scratch_prefix(job_id))


def _is_open(job_id: str, store: JobStore) -> bool:
    try:
        return store.get(job_id).status not in ENDED
    except JobMissing:
        return False


def _storage(settings: FarmSettings) -> Storage:
    return open_storage(settings.storage.storage_uri, settings.storage)
