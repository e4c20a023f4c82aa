"""A job's events as they happen, as server-sent events: what a page shows. Programs poll the job instead."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse

from cluster.jobs import Event, Job
from cluster.jobs.model import ENDED
from serve.api.deps import Deps, Farm, Who
from serve.api.jobs import JobId, job_of
from serve.api.problem_docs import problems
from serve.api.views import job_view
from serve.errors import TooManyWatchers

POLL_S = 0.5
PING_S = 15.0  # proxies close what is silent for a minute
BATCH = 100
# Each open stream holds one of the replica's requests and asks the store twice a second: uploads go first. A client
# whose stream ends before its job resumes with Last-Event-ID, as browsers do by themselves.
STREAMS_MAX = 32
STREAM_S = 600.0
MEDIA_TYPE = "text/event-stream"
# Of one event of the stream.
EVENT_SCHEMA = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["event", "data"],
}

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get(
    "/{job_id}/events",
    operation_id="watchJob",
    summary="A job's events as they happen",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Until the job ends. Events have an id to resume from; `progress` and `end` carry the job.",
            "content": {MEDIA_TYPE: {"schema": EVENT_SCHEMA}},
        },
        **problems(401, 404, 422, 500, 503),
    },
)
async def watch_job(
    job_id: JobId,
    farm: Farm,
    caller: Who,
    last_event_id: Annotated[
        int, Header(alias="Last-Event-ID", ge=0, lt=2**63, description="Events after this one only.")
    ] = 0,
) -> StreamingResponse:
    """Replays what has happened, then follows; a comment is sent every 15 s while nothing happens."""
    job = await job_of(job_id, farm, caller)
    if len(farm.watching) >= STREAMS_MAX:
        raise TooManyWatchers(f"{STREAMS_MAX} event streams are open here: poll the job, or come back")
    # X-Accel-Buffering: nginx would keep events until its buffer is full.
    return StreamingResponse(
        _pinged(job, farm, last_event_id), media_type=MEDIA_TYPE, headers={"X-Accel-Buffering": "no"}
    )


async def _pinged(job: Job, farm: Deps, after_seq: int) -> AsyncIterator[str]:
    began = said = time.monotonic()
    me = object()
    farm.watching.add(me)
    try:
        async for text in _told(job, farm, after_seq):
            now = time.monotonic()
            if text:
                said = now
                yield text
            elif now - began >= STREAM_S:
                return
            elif now - said >= PING_S:
                said = now
                yield ": ping\n\n"
    finally:
        farm.watching.discard(me)


async def _told(job: Job, farm: Deps, after_seq: int) -> AsyncIterator[str]:
    """Everything there is to say, and "" whenever there was nothing."""
    shown: dict[str, Any] = {}
    while True:
        if job.progress and job.progress != shown:
            shown = job.progress
            yield _message("progress", job_view(job).model_dump_json())
        while batch := await asyncio.to_thread(farm.store.events, job.id, after_seq, BATCH):
            for event in batch:
                yield _event(event)
            after_seq = batch[-1].seq
        # The job was read before its events: an ended job's last event is among those already told.
        if job.status in ENDED:
            yield _message("end", job_view(job).model_dump_json())
            return
        yield ""
        await asyncio.sleep(POLL_S)
        job = await asyncio.to_thread(farm.store.get, job.id)


def _event(event: Event) -> str:
    data = {"job_id": event.job_id, "at": event.at.isoformat(), "kind": event.kind, "data": event.data}
    return f"id: {event.seq}\n" + _message(event.kind, json.dumps(data))


def _message(kind: str, data: str) -> str:
    """One event; JSON has no line breaks of its own, so one data line holds it."""
    return f"event: {kind}\ndata: {data}\n\n"
