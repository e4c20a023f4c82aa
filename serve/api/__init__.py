"""The HTTP API: FastAPI alone, without Ray, so that it runs under any ASGI server and in a test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from serve import problems
from serve.api import batches, estimates, events, jobs, media, operations, policy, problem_docs, recipes
from serve.api.deps import Deps
from serve.api.gate import Gate
from serve.api.quick_route import Shortcut
from serve.api.schemas import Problem
from serve.background import forever

API_VERSION = "1"
THREADS = 64

Background = Callable[[], Awaitable[None]]

__all__ = ["Deps", "create_api"]


class FarmApi(FastAPI):
    """FastAPI with its OpenAPI document completed by what only we know."""

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if not self.openapi_schema:
            self.openapi_schema = _completed(super().openapi(), self.state.deps.recipes.names)
        return self.openapi_schema


def create_api(deps: Deps, background: Sequence[Background] = ()) -> FarmApi:
    """The application; everything that it needs from outside is in `deps`. `background` runs while it serves."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        # The default is a few threads per core; ours only wait for the database and for storage.
        with ThreadPoolExecutor(THREADS, thread_name_prefix="api") as pool:
            loop.set_default_executor(pool)
            running = [asyncio.create_task(forever(work)) for work in background]
            yield
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    api = FarmApi(
        title="Transcoding farm",
        version=API_VERSION,
        docs_url=None,  # pages that load scripts from other people's servers
        redoc_url=None,
        redirect_slashes=False,  # to another path than was asked for, on whatever host the caller names
        lifespan=lifespan,
    )
    api.state.deps = deps
    parts = (media, jobs, events, batches, estimates, recipes, policy, operations, problem_docs)
    routers = [media.busy, *(part.router for part in parts)]
    for router in routers:
        api.include_router(router)
    problems.install(api, [route for router in routers for route in router.routes])
    api.add_middleware(Shortcut, routes=media.busy.routes)
    api.add_middleware(Gate, settings=deps.settings, counts=deps.counts)
    return api


def _completed(document: dict[str, Any], recipes: Sequence[str]) -> dict[str, Any]:
    schemas = document["components"]["schemas"]
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"))
    schemas["Problem"] = problem
    for asked in ("CompleteRequest", "BatchRequest", "EstimateRequest"):
        schemas[asked]["properties"]["recipe"]["enum"] = list(recipes)
    document["components"]["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "`mf_…`, made with `farm keys new`."}
    }
    document["security"] = [{"key": []}]
    return document
