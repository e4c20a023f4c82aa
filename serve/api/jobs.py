"""Jobs: how they stand, and stopping or repeating them."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query

from cluster.jobs import Job, JobPage, JobStatus
from serve.api.deps import Deps, Farm, Who
from serve.api.problem_docs import problems
from serve.api.schemas import (
    CURSOR_PATTERN,
    JOB_ID_PATTERN,
    ORG_PATTERN,
    JobList,
    JobStatusName,
    JobView,
    Priority,
    Wire,
)
from serve.api.views import job_view, visible
from serve.auth import Caller

PAGE = 50
PAGE_MAX = 200

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


class PriorityRequest(Wire):
    """The class that a job shall be of."""

    priority: Priority


JobId = Annotated[str, Path(pattern=JOB_ID_PATTERN, examples=["0198c2f0-8d2a-7c3e-9f10-5b2d6f0a1c3d"])]


@router.get("", operation_id="listJobs", summary="Jobs, newest first", responses=problems(401, 422, 500, 503))
async def list_jobs(
    farm: Farm,
    caller: Who,
    status: Annotated[JobStatusName | None, Query(description="Only jobs that stand there.")] = None,
    org: Annotated[str | None, Query(pattern=ORG_PATTERN, description="Only this org's.")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX, description="How many at most.")] = PAGE,
    cursor: Annotated[
        str | None, Query(pattern=CURSOR_PATTERN, description="`next_cursor` of the page before.")
    ] = None,
) -> JobList:
    """One page."""
    wanted = caller.org if caller.org is not None else org
    if org is not None and not caller.sees(org):
        return JobList(jobs=[], next_cursor=None)

    def page() -> JobPage:
        return farm.store.list_jobs(
            status=JobStatus(status) if status else None, org=wanted, limit=limit, cursor=cursor
        )

    found = await asyncio.to_thread(page)
    return JobList(jobs=[job_view(job) for job in found.jobs], next_cursor=found.next_cursor)


async def job_of(job_id: str, farm: Deps, caller: Caller) -> Job:
    """The job, if the caller may know of it; JobMissing."""
    return visible(await asyncio.to_thread(farm.store.get, job_id), caller)


@router.get("/{job_id}", operation_id="getJob", summary="One job", responses=problems(401, 404, 422, 500, 503))
async def get_job(job_id: JobId, farm: Farm, caller: Who) -> JobView:
    """Status, progress per rendition, attempts, error."""
    return job_view(await job_of(job_id, farm, caller))


@router.post(
    "/{job_id}/cancel",
    operation_id="cancelJob",
    summary="Stop a job",
    responses=problems(401, 403, 404, 409, 413, 415, 422, 500, 503),
)
async def cancel_job(job_id: JobId, farm: Farm, caller: Who) -> JobView:
    """A queued job is cancelled at once, a running one within two seconds; again is no error."""
    caller.must_write()
    await job_of(job_id, farm, caller)
    job = await asyncio.to_thread(farm.store.request_cancel, job_id)
    farm.nudge()
    return job_view(job)


@router.post(
    "/{job_id}/priority",
    operation_id="prioritiseJob",
    summary="Put a job into another class",
    responses=problems(400, 401, 403, 404, 409, 413, 415, 422, 500, 503),
)
async def prioritise_job(job_id: JobId, body: PriorityRequest, farm: Farm, caller: Who) -> JobView:
    """Queued or running; what of it runs already runs on."""
    caller.must_write()
    await job_of(job_id, farm, caller)
    job = await asyncio.to_thread(farm.store.prioritise, job_id, body.priority)
    farm.nudge()
    return job_view(job)


@router.post(
    "/{job_id}/retry",
    operation_id="retryJob",
    summary="Queue a failed or cancelled job anew",
    responses=problems(401, 403, 404, 409, 413, 415, 422, 500, 503),
)
async def retry_job(job_id: JobId, farm: Farm, caller: Who) -> JobView:
    """What was finished before it failed is not done again."""
    caller.must_write()
    await job_of(job_id, farm, caller)
    job = await asyncio.to_thread(farm.store.retry, job_id)
    farm.nudge()
    return job_view(job)
