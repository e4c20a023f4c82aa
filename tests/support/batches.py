"""Batches to put into a store."""

from typing import Any

from cluster.jobs import NewBatch, NewItem
from tests.support.jobs import new_job


def new_batch(**changes: Any) -> NewBatch:
    """A batch that could be real, with some values changed."""
    values: dict[str, Any] = {
        "org": "acme",
        "source_uri": "s3://uploads/in/list.csv",
        "source_etag": "m1",
        "recipe_name": "standard",
        "recipe": {"name": "standard", "video": {"codec": "h264"}},
        "recipe_digest": "d" * 64,
        "results_uri": "s3://outputs/acme/batches",
    }
    return NewBatch(**(values | changes))


def new_item(number: int, **changes: Any) -> NewItem:
    """The item of line `number`, with a job of its own."""
    media_id = f"m{number}"
    job = new_job(media_id=media_id, priority="bulk")
    values: dict[str, Any] = {"line": number, "source_uri": job.source_uri, "media_id": media_id, "job": job}
    return NewItem(**(values | changes))
