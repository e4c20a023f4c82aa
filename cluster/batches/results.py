"""The results of a batch as Parquet: shards of so many rows, each whole or not there, and `_SUCCESS` when all are.

Written anew whenever the batch ends, also after a retry: the mark goes first, and what is left over of more shards. Not
appended to as jobs end, which would take a ledger of what was appended.

Storage knows no fences, so the lease is made sure of right before everything that overwrites or takes away: by `hold`,
after which it lasts for at least three quarters of its time, 22 s by default. What remains: a process that stands still
that long between the two, or a request that storage carries out that late, while an heir takes over and ends the batch.
Such a batch lacks `_SUCCESS`, or rows of a retry; running it again writes results of their own.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.batches.outputs import Row, rows_of
from cluster.farm_settings import FarmSettings
from cluster.jobs import Batch, BatchStore
from cluster.scratch import typed_disk_errors, workdir
from cluster.settings import StorageSettings
from cluster.storage import Storage, open_storage

if TYPE_CHECKING:
    import pyarrow as pa

SUCCESS = "_SUCCESS"
PARQUET = "application/vnd.apache.parquet"
ITEMS_AT_ONCE = 200  # a ladder's report has 20 to 100 KB
ROWS_AT_ONCE = 2000  # one row group: what is in memory


def schema() -> "pa.Schema":
    """The columns; new ones are only ever added, at the end."""
    import pyarrow as pa

    text, number, seconds = pa.string(), pa.int64(), pa.float64()
    texts = pa.map_(pa.string(), pa.string())
    return pa.schema(
        [
            ("batch_id", text),
            ("item", number),
            ("line", number),
            ("source", text),
            ("media_id", text),
            ("job_id", text),
            ("status", text),
            ("error_code", text),
            ("error_message", text),
            ("attempts", number),
            ("kind", text),
            ("source_bytes", number),
            ("source_etag", text),
            ("duration_s", seconds),
            ("output", text),
            ("output_kind", text),
            ("codec", text),
            ("width", number),
            ("height", number),
            ("bytes", number),
            ("vmaf_mean", pa.float64()),
            ("cpu_s", seconds),
            ("job_s", seconds),
            ("job_cpu_s", seconds),
            ("revision", text),
            ("manifest_key", text),
            ("key", text),
            ("recipe", text),
            ("recipe_digest", text),
            ("versions", texts),
            ("metadata", texts),
            ("cost", pa.float64()),
            ("job_cost", pa.float64()),
            ("currency", text),
        ]
    )


def results_place(batch: Batch) -> str:
    """The URI of the batch's own folder: nothing of anybody else's is ever written over."""
    return f"{batch.results_uri.rstrip('/')}/{batch.id}"


def shard_name(number: int) -> str:
    """The key of a shard within that folder."""
    return f"part-{number:05d}.parquet"


def open_results(batch: Batch, settings: StorageSettings) -> Storage:
    """The batch's folder."""
    return open_storage(results_place(batch), settings)


def write_results(batch: Batch, store: BatchStore, settings: FarmSettings, hold: Callable[[], None]) -> None:
    """Write all shards, then `_SUCCESS`; `hold` is called now and then, and raises when somebody else has the batch.

    Raises InfraError, ScratchFull.
    """
    storage = open_results(batch, settings.storage)
    hold()  # whoever was thought dead must not take away what its heir has written
    storage.delete(SUCCESS)
    rows = _rows(batch, store, hold)
    written: list[dict[str, Any]] = []
    with typed_disk_errors(settings.work.scratch_dir), workdir(settings.work.scratch_dir) as folder:
        while True:
            path = folder / "shard.parquet"
            count = _write_shard(path, rows, batch.shard_rows)
            if not count and written:
                break
            name = shard_name(len(written))
            hold()
            stored = storage.put_file(name, path, content_type=PARQUET)
            written.append({"name": name, "rows": count, "bytes": stored.bytes})
            path.unlink()
            if count < batch.shard_rows:
                break
    kept = {part["name"] for part in written}
    for found in list(storage.list()):
        if found.key.startswith("part-") and found.key not in kept:
            hold()
            storage.delete(found.key)
    counts = {name: getattr(batch, name) for name in ("items", "ready", "failed", "cancelled", "current", "refused")}
    body = {"batch_id": batch.id, "parts": written, **counts, "cost": batch.cost}
    hold()
    storage.put_bytes(SUCCESS, json.dumps(body, indent=1).encode(), content_type="application/json")


def _rows(batch: Batch, store: BatchStore, hold: Callable[[], None]) -> Iterator[Row]:
    after = -1
    while outcomes := store.outcomes(batch.id, after, ITEMS_AT_ONCE):
        for outcome in outcomes:
            yield from rows_of(outcome)
        after = outcomes[-1].item.number
        hold()


def _write_shard(path: Path, rows: Iterator[Row], most: int) -> int:
    """A file of up to `most` of the rows; how many they were."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = 0
    columns = schema()
    with pq.ParquetWriter(path, columns, compression="zstd") as writer:
        while count < most:
            some = list(itertools.islice(rows, min(ROWS_AT_ONCE, most - count)))
            if not some:
                break
            writer.write_table(pa.Table.from_pylist(some, schema=columns))
            count += len(some)
    return count
