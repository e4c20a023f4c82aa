"""Estimates: what it would take to turn many sources."""

import asyncio
from dataclasses import asdict

from fastapi import APIRouter

from cluster.batches.estimating import Estimate, estimate, lanes_of
from cluster.batches.forms import Alike
from pipelines.rates import Misses
from pipelines.shapes import Shape
from serve.api.deps import Deps, Farm, Who
from serve.api.estimate_schemas import EstimateRequest, EstimateView, PastView, RangeView
from serve.api.problem_docs import problems

router = APIRouter(prefix="/v1/estimates", tags=["batches"])


@router.post(
    "",
    operation_id="createEstimate",
    summary="What it would take to turn sources of such forms",
    responses=problems(400, 401, 413, 415, 422, 500, 503),
)
async def create_estimate(body: EstimateRequest, farm: Farm, caller: Who) -> EstimateView:
    """Reckoned from what this farm measured of its own work, on the lanes that it has now. Nothing is stored."""
    return await asyncio.to_thread(_estimate, body, farm)


def _estimate(body: EstimateRequest, farm: Deps) -> EstimateView:
    recipe = farm.recipes.get(body.recipe)
    if body.vmaf is not None:
        recipe = recipe.model_copy(update={"vmaf": body.vmaf})
    sources = [Alike(Shape(**one.model_dump(exclude={"items"})), one.items) for one in body.sources]
    return _view(recipe.name, estimate(sources, recipe, farm.store.history(), lanes_of(farm.nodes())))


def _view(recipe: str, found: Estimate) -> EstimateView:
    def past(what: str) -> PastView | None:
        misses: Misses | None = found.past.get(what)
        return PastView(**asdict(misses)) if misses is not None else None

    return EstimateView(
        recipe=recipe,
        items=found.items,
        unsuited=found.unsuited,
        cpu_hours=RangeView(**asdict(found.cpu_s.times(1 / 3600))),
        gpu_hours=found.gpu_s / 3600,
        lanes=dict(found.lanes),
        wall_s=RangeView(**asdict(found.wall_s)) if found.wall_s is not None else None,
        output_bytes=RangeView(**asdict(found.output_bytes)),
        cost=RangeView(**asdict(found.cost)) if found.cost is not None else None,
        storage_month=RangeView(**asdict(found.storage_month)) if found.storage_month is not None else None,
        currency=found.currency,
        known_share=found.known,
        history_jobs=found.history_jobs,
        past_cpu=past("cpu"),
        past_bytes=past("bytes"),
    )
