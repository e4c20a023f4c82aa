"""A batch of a running farm from Python: run to its end, and its results as an Arrow table.

from serve.batch_results import batch_table, run_batch
table = run_batch({"source": "s3://uploads/acme/2019.parquet"})  # FARM_URL and FARM_API_KEY say where the farm is
table = batch_table("0198c2f0-…")
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.settings import load
from serve.client import FarmClient
from serve.errors import FarmRefused, FarmUnreachable, UsageError
from serve.settings import ClientSettings

if TYPE_CHECKING:
    import pyarrow as pa

POLL_S = 1.0
PATIENCE_S = 300.0  # with a farm that does not answer: the batch goes on without whoever watches it
OPEN = ("listing", "running")


def run_batch(request: Mapping[str, Any], settings: ClientSettings | None = None) -> "pa.Table":
    """Turn what `request`, a body of POST /v1/batches, names, and wait for the end; rows as `batch_table` has them.

    The batch is the farm's: called again with the same request after it was broken off, it goes on with the same one.
    FarmRefused, FarmUnreachable.
    """
    settings = settings or load(ClientSettings)
    with FarmClient(settings) as farm:
        batch = follow(farm, farm.create_batch(dict(request)), lambda _: None)
    return batch_table(batch["batch_id"], settings)


def follow(farm: FarmClient, batch: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The batch once it has ended; `tell` hears how it stands every second. FarmRefused, FarmUnreachable."""
    heard_at = time.monotonic()
    while batch["status"] in OPEN:
        tell(batch)
        time.sleep(POLL_S)
        try:
            batch, heard_at = farm.batch(batch["batch_id"]), time.monotonic()
        except (FarmUnreachable, FarmRefused) as error:
            if not error.retryable or time.monotonic() - heard_at > PATIENCE_S:
                raise
    return batch


def batch_table(batch_id: str, settings: ClientSettings | None = None) -> "pa.Table":
    """All rows, one for each input and output; UsageError before the batch has ended, FarmRefused, FarmUnreachable."""
    import pyarrow.parquet as pq

    with FarmClient(settings or load(ClientSettings)) as farm, tempfile.TemporaryDirectory() as folder:
        paths = download(farm, batch_id, Path(folder))
        return pq.read_table(folder) if len(paths) > 1 else pq.read_table(paths[0])


def download(farm: FarmClient, batch_id: str, folder: Path) -> list[Path]:
    """Every Parquet file of the batch, into `folder`; UsageError before it has ended."""
    found = farm.batch_results(batch_id)
    if not found["complete"]:
        raise UsageError("the batch has not ended: its results are written when it has")
    paths = []
    for part in found["parts"]:
        path = folder / f"part-{part['part']:05d}.parquet"
        farm.download_results(batch_id, part["part"], path)
        paths.append(path)
    return paths
