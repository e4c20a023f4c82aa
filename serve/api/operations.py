"""For whoever operates the farm: is it up, can it accept jobs, how much is queued."""

import asyncio

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from cluster.errors import StoreUnavailable
from serve.api.deps import Farm
from serve.api.problem_docs import problems
from serve.api.schemas import Health

PING_S = 5.0

router = APIRouter(tags=["operations"])


@router.get("/healthz", operation_id="getHealth", summary="The process answers", openapi_extra={"security": []})
async def get_health() -> Health:
    """Nothing else is looked at: a farm whose database is away must not be restarted for it."""
    return Health(status="ok")


@router.get(
    "/readyz",
    operation_id="getReadiness",
    summary="Jobs can be accepted",
    responses=problems(503),
    openapi_extra={"security": []},
)
async def get_readiness(farm: Farm) -> Health:
    """The job store answers and its tables are of this version."""
    try:
        async with asyncio.timeout(PING_S):
            await asyncio.to_thread(farm.store.ping)
    except TimeoutError:
        raise StoreUnavailable(f"the job store gave no answer within {PING_S:.0f} s") from None
    return Health(status="ok")


@router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Jobs by status, for Prometheus",
    response_class=PlainTextResponse,
    responses=problems(401, 500, 503),
)
async def get_metrics(farm: Farm) -> PlainTextResponse:
    """The job store's own count, the same from every replica."""
    counts = await asyncio.to_thread(farm.store.counts)
    lines = ["# HELP farm_jobs Jobs by status.", "# TYPE farm_jobs gauge"]
    lines += [f'farm_jobs{{status="{status.value}"}} {count}' for status, count in sorted(counts.items())]
    return PlainTextResponse("\n".join(lines) + "\n")
