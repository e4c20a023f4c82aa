"""A batch of a running farm from Python: run to its end, and its results as an Arrow table.

from serve.batch_results import batch_table, run_batch
table = run_batch({"source": "s3://uploads/acme/2019.parquet"})  # FARM_URL and FARM_API_KEY say where the farm is
table = batch_table("0198c2f0-…")
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.settings import load
from serve.client import FarmClient
from serve.errors import ApiError, BatchFailed, FarmRefused, FarmUnreachable, UsageError
from serve.settings import ClientSettings

if TYPE_CHECKING:
    import pyarrow as pa

POLL_S = 1.0
PATIENCE_S = 300.0  # with a farm that does not answer: the batch goes on without whoever watches it
OPEN = ("listing", "running")


def run_batch(request: Mapping[str, Any], settings: ClientSettings | None = None) -> "pa.Table":
    """Turn what `request`, a body of POST /v1/batches, names, and wait for the end; rows as `batch_table` has them.

    The batch is the farm's: called again with the same request after it was broken off, it goes on with the same one
    while that is open. A stopped (`on_error`) or cancelled one gives the rows of what it had taken by then.
    BatchFailed where the list could not be read to its end, or no results be written; FarmRefused, FarmUnreachable.
    """
    settings = settings or load(ClientSettings)
    with FarmClient(settings) as farm:
        batch = follow(farm, farm.create_batch(dict(request)), lambda _: None)
    if batch["status"] == "failed":
        raise _failed(batch)
    return batch_table(batch["batch_id"], settings)


def follow(farm: FarmClient, batch: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The batch once it has ended; `tell` hears how it stands every second. FarmRefused, FarmUnreachable."""
    while batch["status"] in OPEN:
        tell(batch)
        time.sleep(POLL_S)
        batch = _patiently(batch["batch_id"], farm.batch)
    return batch


def batch_table(batch_id: str, settings: ClientSettings | None = None) -> "pa.Table":
    """All rows, one for each input and output; raises as `download`."""
    import pyarrow.parquet as pq

    with FarmClient(settings or load(ClientSettings)) as farm, tempfile.TemporaryDirectory() as folder:
        paths = download(farm, batch_id, Path(folder))
        return pq.read_table(folder) if len(paths) > 1 else pq.read_table(paths[0])


def download(farm: FarmClient, batch_id: str, folder: Path) -> list[Path]:
    """Every Parquet file of the batch, into `folder`.

    Raises UsageError before it has ended, BatchFailed where it has and no results could be written; FarmRefused,
    FarmUnreachable.
    """
    batch = _patiently(batch_id, farm.batch)  # asked first: results are written before a batch has ended
    found = _patiently(batch_id, farm.batch_results)
    if not found["complete"]:
        if batch["status"] not in OPEN:
            raise _failed(batch)
        raise UsageError(f"batch {batch_id} has not ended ({batch['status']}): its results are written when it has")
    paths = []
    for part in found["parts"]:
        path = folder / f"part-{part['part']:05d}.parquet"
        _patiently(batch_id, partial(farm.download_results, part=part["part"], path=path))
        paths.append(path)
    return paths


def _patiently[T](batch_id: str, ask: Callable[[str], T]) -> T:
    """What the farm answers of the batch, which may be away for a while; an error of it names the batch."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask(batch_id)
        except (FarmUnreachable, FarmRefused) as error:
            if not error.retryable or time.monotonic() > give_up_at:
                raise _named(error, batch_id) from None
        time.sleep(POLL_S)


def _named(error: FarmUnreachable | FarmRefused, batch_id: str) -> ApiError:
    message = f"batch {batch_id}: {error.public_message}"
    if isinstance(error, FarmRefused):
        return FarmRefused(message, status=error.status, code=error.code, retryable=error.retryable)
    return FarmUnreachable(message)


def _failed(batch: dict[str, Any]) -> BatchFailed:
    why = batch["error"] or {"code": "results_missing", "message": "its results are not there"}
    detail = {"batch_id": batch["batch_id"], "code": why["code"]}
    return BatchFailed(f"batch {batch['batch_id']} is {batch['status']}: {why['message']}", detail=detail)
