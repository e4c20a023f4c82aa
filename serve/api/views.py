"""Rows of the job store as the API shows them."""

import json
from typing import Any

from cluster.errors import JobMissing
from cluster.jobs import Job
from cluster.jobs.model import public_detail
from cluster.storage import Storage
from serve.api.schemas import (
    ArtifactView,
    ChunkProgress,
    ErrorView,
    JobView,
    MediaView,
    ProgressView,
    RenditionProgress,
)
from serve.auth import Caller


def visible(job: Job, caller: Caller) -> Job:
    """`job`, if it exists as far as `caller` is told; JobMissing otherwise."""
    if not caller.sees(job.org):
        raise JobMissing("there is no such job")
    return job


def job_view(job: Job) -> JobView:
    """One job."""
    return JobView(
        job_id=job.id,
        media_id=job.media_id,
        org=job.org,
        status=job.status.value,
        source=job.source_uri,
        recipe=job.recipe_name,
        kind=job.kind,
        priority=job.priority,
        attempts=job.attempts,
        cancel_requested=job.cancel_requested,
        progress=progress_view(job.progress),
        error=error_view(job.error),
        revision=job.revision,
        metadata=job.metadata,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        batch_id=job.batch_id,
    )


def progress_view(progress: dict[str, Any]) -> ProgressView | None:
    """How far a job is, from what its dispatcher noted; None before it began."""
    if not progress:
        return None
    return ProgressView(
        stage=progress["stage"],
        percent=progress["percent"],
        renditions={
            name: RenditionProgress(frames_done=one["frames_done"], frames=one["frames"])
            for name, one in progress["renditions"].items()
        },
        reused=progress.get("reused", []),
        audio=progress["audio"],
        chunks=ChunkProgress(done=progress["chunks"]["done"], total=progress["chunks"]["total"]),
    )


def error_view(error: dict[str, Any] | None) -> ErrorView | None:
    if error is None:
        return None
    detail = public_detail(error["detail"])
    return ErrorView(code=error["code"], message=error["message"], retryable=error["retryable"], detail=detail)


def media_view(newest: Job, published: Job, output: Storage) -> MediaView:
    """A media item by its newest job and the newest one that is published; reads the manifest when there is one."""
    artifacts: list[ArtifactView] = []
    if published.manifest_key is not None:
        folder = published.manifest_key.rpartition("/")[0]
        base = f"{folder}/" if folder else ""
        manifest = json.loads(output.get_bytes(published.manifest_key))
        artifacts = [
            ArtifactView(
                path=one["path"],
                key=base + one["path"],
                url=output.url(base + one["path"]),
                content_type=one["content_type"],
                bytes=one["bytes"],
                sha256=one["sha256"],
            )
            for one in manifest["artifacts"]
        ]
    return MediaView(
        media_id=newest.media_id,
        org=newest.org,
        status=newest.status.value,
        job_id=newest.id,
        revision=published.revision,
        artifacts=artifacts,
        report=published.report,
        error=error_view(newest.error),
    )
