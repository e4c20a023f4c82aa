"""Batches while everything is killed: pictures, clips and lines that are wrong, and what their results say."""

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from tests.chaos.farm import BUCKET, SOURCES_URI, ChaosFarm
from tests.chaos.load import AcceptedBatch, Input

TERMINAL = {"ready", "failed", "cancelled"}
PICTURES = 12
FAULTS = ("not ended", "without _SUCCESS", "other rows than in peace", "items not made once")
# What of a row is the same whoever made it and when.
SAME = ("line", "media_id", "status", "error_code", "output", "output_kind", "bytes", "revision")

Row = dict[str, Any]
Events = Mapping[str, Sequence[tuple[str, float, Any]]]


def make_manifest(farm: ChaosFarm, clips: Sequence[Input], pictures: Sequence[Input]) -> tuple[str, dict[str, int]]:
    """The URI of the list, of the sources that there are, and how many of its items stand where in the end."""
    turned = [one for one in pictures if not one.is_bad]
    good = [turned[number % len(turned)] for number in range(PICTURES)] + [one for one in clips if not one.is_bad]
    bad = [one for one in (*clips, *pictures) if one.is_bad]
    lines: list[Any] = [
        {"source": one.source, "media_id": f"of-batch-{number}"} for number, one in enumerate((*good, *bad))
    ]
    refused = [
        {"source": f"{SOURCES_URI}/nowhere.jpg"},
        {"media_id": "without-source"},
        {"source": good[0].source, "media_id": "of-batch-0"},  # another line has that name
        {"source": good[0].source, "media_id": "of-another-org", "org": "initech"},
    ]
    lines[PICTURES // 2 : PICTURES // 2] = refused[:2]  # in the midst of what is right
    text = "".join(json.dumps(line) + "\n" for line in (*lines, *refused[2:]))
    s3 = farm.s3()
    s3.put_object(Bucket=BUCKET, Key="in/batch.jsonl", Body=text.encode())
    s3.close()
    return f"{SOURCES_URI}/batch.jsonl", {"ready": len(good), "failed": len(bad), "refused": len(refused)}


def judge_batches(
    farm: ChaosFarm, batches: Sequence[AcceptedBatch], peace: AcceptedBatch, events: Events
) -> dict[str, Any]:
    """What became of the batches beside the one that was made in peace, each of one list for an org of its own."""
    calm, _ = _results(farm, peace)
    told: dict[str, Any] = {
        "batches": len(batches),
        **dict.fromkeys(("items", "ready", "failed", "refused", "rows", "rows expected", "_SUCCESS"), 0),
        **{fault: [] for fault in FAULTS},
    }
    for batch in batches:
        found = farm.store.batches.get(batch.batch_id)
        rows, mark = _results(farm, batch)
        told["rows"] += len(rows)
        told["rows expected"] += len(calm)
        told["_SUCCESS"] += mark is not None
        counts = {name: getattr(found, name) for name in ("items", "ready", "failed", "refused")}
        for name, count in counts.items():
            told[name] += count
        for fault, is_so in (
            ("not ended", found.status != "ready"),
            ("without _SUCCESS", mark is None or {name: mark[name] for name in counts} != counts),
            ("other rows than in peace", _alike(rows) != _alike(calm)),
            ("items not made once", not _made_once(rows, jobs_of(farm, batch.org), events)),
        ):
            if is_so:
                told[fault].append(batch.batch_id)
    return told


def jobs_of(farm: ChaosFarm, org: str) -> list[tuple[str, str]]:
    """(media_id, job) of every job of the org."""
    with psycopg.connect(farm.postgres.url("farm")) as connection:
        return list(connection.execute("SELECT media_id, id FROM jobs WHERE org = %s", (org,)).fetchall())


def _made_once(rows: Sequence[Row], jobs: Sequence[tuple[str, str]], events: Events) -> bool:
    """Whether each item has a row for each output, and its job is the only one of its name and ended once."""
    outputs = Counter((row["item"], row["output"]) for row in rows)
    named = Counter(media_id for media_id, _ in jobs)
    return (
        {row["job_id"] for row in rows if row["job_id"]} == {job_id for _, job_id in jobs}
        and all(count == 1 for count in (*outputs.values(), *named.values()))
        and all(sum(kind in TERMINAL for kind, *_ in events[job_id]) == 1 for _, job_id in jobs)
    )


def _alike(rows: Sequence[Row]) -> list[str]:
    return sorted(json.dumps([row[name] for name in SAME]) for row in rows)


def _results(farm: ChaosFarm, batch: AcceptedBatch) -> tuple[list[Row], Any]:
    """The rows of all the Parquet files, and what `_SUCCESS` says; None without one."""
    s3, folder, mark = farm.s3(), f"farm/{batch.org}/batches/{batch.batch_id}/", None
    rows: list[Row] = []
    for item in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{folder}part-").get("Contents", []):
        body = s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
        rows += pq.read_table(io.BytesIO(body)).to_pylist()
    with suppress(ClientError):
        mark = json.loads(s3.get_object(Bucket=BUCKET, Key=f"{folder}_SUCCESS")["Body"].read())
    s3.close()
    return rows, mark
