"""For whoever operates the farm: is it up, can it accept jobs, how much is queued."""

import asyncio

from fastapi import APIRouter, Response

from cluster.errors import StoreUnavailable
from cluster.monitoring.counts import CONTENT_TYPE
from serve.api.deps import Farm
from serve.api.problem_docs import problems
from serve.api.schemas import Health
from serve.figures import figures

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
    summary="The farm's figures, for Prometheus",
    response_class=Response,
    responses={
        200: {"content": {CONTENT_TYPE.partition(";")[0]: {"schema": {"type": "string"}}}},
        **problems(401, 500),
    },
)
async def get_metrics(farm: Farm) -> Response:
    """The same from every replica; `farm_store_up` and `farm_dispatcher_up` say whose figures are missing."""
    return Response(await asyncio.to_thread(figures, farm), media_type=CONTENT_TYPE)
