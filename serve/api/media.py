"""Uploads that are complete, and what has become of them."""

import asyncio
import logging
import re
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response

from cluster.errors import SourceMissing
from cluster.jobs import Job, JobStatus, NewJob
from cluster.monitoring.logs import trace_id_of
from cluster.storage.sources import SourceObject, Sources
from cluster.storage.urls import AllowedSources
from ladders.model import Recipe
from pipelines.errors import EmptyFile
from serve.api.deps import Deps, Farm, Who
from serve.api.problem_docs import accepted, problems
from serve.api.schemas import (
    IDEMPOTENCY_KEY_PATTERN,
    MEDIA_ID_PATTERN,
    ORG_PATTERN,
    Accepted,
    CompleteRequest,
    MediaView,
)
from serve.api.views import media_view
from serve.errors import Forbidden, LimitReached, NotFound, UnsupportedKind
from serve.webhooks import check_callback

POLL_AFTER_S = 2  # progress is written about once a second
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

log = logging.getLogger(__name__)

router = APIRouter(prefix="/v1/media", tags=["media"])

MediaId = Annotated[
    str, Path(pattern=MEDIA_ID_PATTERN, description="The caller's own name for the item.", examples=["clip-1"])
]


@router.post(
    "/{media_id}/complete",
    operation_id="completeUpload",
    status_code=202,
    summary="An upload is complete: turn it",
    responses={
        **accepted("job"),
        **problems(400, 401, 403, 404, 413, 415, 422, 429, 500, 502, 503, 507),
    },
)
async def complete(
    media_id: MediaId,
    body: CompleteRequest,
    request: Request,
    response: Response,
    farm: Farm,
    caller: Who,
    idempotency_key: Annotated[
        str | None,
        Header(
            pattern=IDEMPOTENCY_KEY_PATTERN,
            description="The same key with the same request gives the same answer; with another request, 422.",
            examples=["upload-8c1f"],
        ),
    ] = None,
) -> Accepted:
    """Check the request and the source, commit the job, answer. Nothing on this path waits for the dispatcher."""
    caller.must_write()
    org = caller.org_or(body.org)
    if not caller.sees(org):
        raise Forbidden("this key may not act for that org")
    if body.callback_url is not None:
        check_callback(body.callback_url, farm.settings)
    # W3C Trace Context: a header that cannot be read is as good as none.
    header = request.headers.get("traceparent", "")
    with farm.tracing.span("complete", header if TRACEPARENT.fullmatch(header) else None, "server", org=org) as span:
        job = await asyncio.to_thread(_accept, org, media_id, body, idempotency_key, span.traceparent, farm)
        span.set(job_id=job.id, media_id=media_id, recipe=job.recipe_name)
    trace_id = trace_id_of(span.traceparent)
    log.debug("upload accepted", extra={"job_id": job.id, "org": org, "trace_id": trace_id})
    farm.nudge()
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    response.headers["Retry-After"] = str(POLL_AFTER_S)
    return Accepted(
        job_id=job.id, media_id=job.media_id, org=job.org, recipe=job.recipe_name, created_at=job.created_at
    )


def _accept(
    org: str, media_id: str, body: CompleteRequest, idempotency_key: str | None, traceparent: str | None, farm: Deps
) -> Job:
    """The committed job, or the one that the same key gave before."""
    recipe = farm.recipes.get(body.recipe)
    check_kind(recipe, body.kind)
    if body.vmaf is not None:
        recipe = recipe.model_copy(update={"vmaf": body.vmaf})
    asked = NewJob(
        org=org,
        media_id=media_id,
        recipe_name=recipe.name,
        recipe=recipe.model_dump(mode="json"),
        recipe_digest=recipe.digest,
        source_uri=body.source,
        source_etag="",
        source_bytes=0,
        kind=body.kind,
        priority=body.priority,
        callback_url=body.callback_url,
        metadata=dict(body.metadata),
        traceparent=traceparent,
    )
    try:
        source = _source(body.source, org, farm)
        farm.quotas.check(org, source.size_bytes)
    except (SourceMissing, EmptyFile, LimitReached):
        # Uploads are removed once they are turned, and limits are reached; who repeats a call still gets its answer.
        earlier = farm.store.created_before(asked, idempotency_key) if idempotency_key is not None else None
        if earlier is None:
            raise
        return earlier
    job, is_new = farm.store.create(
        replace(asked, source_etag=source.etag, source_bytes=source.size_bytes), idempotency_key
    )
    if is_new:
        farm.quotas.accepted(org, source.size_bytes)
    return job


def check_kind(recipe: Recipe, kind: str) -> None:
    """Say at once that a recipe makes nothing of a kind, where the kind is said."""
    if kind == "image" and recipe.image is None:
        raise UnsupportedKind(f"the recipe {recipe.name} makes no pictures: choose another recipe")
    if kind in ("video", "audio") and recipe.video is None and recipe.audio is None:
        raise UnsupportedKind(f"the recipe {recipe.name} makes nothing but pictures: choose another recipe")


def _source(uri: str, org: str, farm: Deps) -> SourceObject:
    allowed = AllowedSources(place.replace("{org}", org) for place in farm.storage_settings.source_prefixes)
    with Sources(farm.storage_settings, allowed) as sources:
        source = sources.open(uri)
    if source.size_bytes == 0:
        raise EmptyFile("the file has no bytes")
    return source


@router.get(
    "/{media_id}",
    operation_id="getMedia",
    summary="What has become of a media item",
    responses=problems(401, 404, 422, 500, 502, 503),
)
async def get_media(
    media_id: MediaId,
    farm: Farm,
    caller: Who,
    org: Annotated[str | None, Query(pattern=ORG_PATTERN, description="The key's own org when left out.")] = None,
) -> MediaView:
    """The newest job of the item, and what its newest successful one has published."""
    wanted = caller.org_or(org)
    if not caller.sees(wanted):
        raise NotFound("there is no media item of this name")
    return await asyncio.to_thread(_media, wanted, media_id, farm)


def _media(org: str, media_id: str, farm: Deps) -> MediaView:
    newest = farm.store.latest_for_media(org, media_id)
    if newest is None:
        raise NotFound("there is no media item of this name")
    published = newest
    if newest.status is not JobStatus.READY:
        published = farm.store.latest_for_media(org, media_id, JobStatus.READY) or newest
    return media_view(newest, published, farm.output)
