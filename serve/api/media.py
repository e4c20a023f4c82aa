"""Uploads that are complete, and what has become of them."""

import asyncio
import logging
import re
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response

from cluster.jobs import JobStatus, NewJob
from cluster.monitoring.logs import trace_id_of
from serve.api.deps import Deps, Farm, Who
from serve.api.problem_docs import accepted, problems
from serve.api.quick_route import QuickRoute
from serve.api.schemas import (
    IDEMPOTENCY_KEY_PATTERN,
    MEDIA_ID_PATTERN,
    ORG_PATTERN,
    Accepted,
    CompleteRequest,
    MediaView,
)
from serve.api.views import media_view
from serve.errors import Forbidden, NotFound
from serve.intake import Upload, check_kind
from serve.webhooks import check_callback

POLL_AFTER_S = 2  # progress is written about once a second
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

log = logging.getLogger(__name__)

router = APIRouter(prefix="/v1/media", tags=["media"])
busy = APIRouter(prefix="/v1/media", tags=["media"], route_class=QuickRoute)
"""The one that a thousand calls a second may come for."""

MediaId = Annotated[
    str, Path(pattern=MEDIA_ID_PATTERN, description="The caller's own name for the item.", examples=["clip-1"])
]


@busy.post(
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
        new = _upload(org, media_id, body, span.traceparent, farm)
        job = await farm.intake.accept(Upload(new, idempotency_key))
        span.set(job_id=job.id, media_id=media_id, recipe=job.recipe_name)
    trace_id = trace_id_of(span.traceparent)
    log.debug("upload accepted", extra={"job_id": job.id, "org": org, "trace_id": trace_id})
    farm.nudge()
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    response.headers["Retry-After"] = str(POLL_AFTER_S)
    return Accepted(
        job_id=job.id, media_id=job.media_id, org=job.org, recipe=job.recipe_name, created_at=job.created_at
    )


def _upload(org: str, media_id: str, body: CompleteRequest, traceparent: str | None, farm: Deps) -> NewJob:
    order = farm.intake.order(body.recipe, body.vmaf)
    check_kind(order.recipe, body.kind)
    return NewJob(
        org=org,
        media_id=media_id,
        recipe_name=order.recipe.name,
        recipe=order.body,
        recipe_digest=order.digest,
        source_uri=body.source,
        source_etag="",
        source_bytes=0,
        kind=body.kind,
        priority=body.priority,
        callback_url=body.callback_url,
        metadata=dict(body.metadata),
        traceparent=traceparent,
    )


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
