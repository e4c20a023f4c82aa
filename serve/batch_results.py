"""The results of a batch, from a running farm as an Arrow table.

from serve.batch_results import batch_table
table = batch_table("0198c2f0-…")          # FARM_URL and FARM_API_KEY say where the farm is
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.settings import load
from serve.client import FarmClient
from serve.errors import UsageError
from serve.settings import ClientSettings

if TYPE_CHECKING:
    import pyarrow as pa


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
