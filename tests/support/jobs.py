"""Jobs to put into a store."""

from typing import Any

from cluster.jobs import NewJob
from cluster.work import Work


def new_job(**changes: Any) -> NewJob:
    """A job that could be real, with some values changed."""
    values: dict[str, Any] = {
        "org": "acme",
        "media_id": "m1",
        "recipe_name": "standard",
        "recipe": {"name": "standard", "video": {"codec": "h264"}},
        "recipe_digest": "d" * 64,
        "source_uri": "s3://uploads/in/a.mp4",
        "source_etag": "e1",
        "source_bytes": 5_000_000_000,
    }
    return NewJob(**(values | changes))


def work_of(**changes: Any) -> Work:
    """What the steps of a job are told, with some values changed."""
    values: dict[str, Any] = {
        "job_id": "j1", "org": "acme", "media_id": "m1", "source_uri": "file:///a.mp4", "source_etag": "e1",
        "recipe": {"name": "standard"}, "recipe_digest": "d1", "kind": "auto", "output_uri": "file:///out",
        "scratch_uri": "file:///scratch", "publish_prefix": None, "slots": 2,
    }  # fmt: skip
    return Work(**(values | changes))
