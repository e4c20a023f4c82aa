"""What the endpoints work with, handed in by whoever makes the application."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

from fastapi import Depends, Request

from cluster.errors import WorkerLost
from cluster.jobs import JobStore
from cluster.monitoring.counts import Counts, Wire
from cluster.monitoring.tracing import Tracing
from cluster.nodes import Node
from cluster.settings import StorageSettings
from cluster.storage import Storage
from ladders.catalog import Recipes
from serve.api.known_failures import KnownFailures
from serve.auth import Caller
from serve.intake import Intake
from serve.settings import ServeSettings


def no_dispatcher(_: Wire) -> dict[str, Any] | None:
    """There is none."""
    raise WorkerLost("this API runs without a dispatcher")


def no_nodes() -> Sequence[Node]:
    """There are none."""
    return ()


@dataclass(frozen=True, slots=True)
class Deps:
    """Everything outside of the request."""

    store: JobStore
    storage_settings: StorageSettings
    output: Storage  # where artifacts are published
    settings: ServeSettings
    recipes: Recipes
    intake: Intake
    nudge: Callable[[], None]  # tells the dispatcher that there is work; never fails, never waits
    dispatcher: Callable[[Wire], dict[str, Any] | None] = no_dispatcher  # see runtime.figures_of_dispatcher
    nodes: Callable[[], Sequence[Node]] = no_nodes  # that steps may run on now
    counts: Counts = field(default_factory=Counts)  # of this process, until the dispatcher has them
    tracing: Tracing = field(default_factory=lambda: Tracing("api"))
    failures: KnownFailures = field(default_factory=KnownFailures)  # of batches, as this process knows them
    watching: set[object] = field(default_factory=set)  # the event streams that are open in this process


# Coroutines, although they wait for nothing: FastAPI would send a plain function through its thread pool, which took a
# seventh of an accepted call's time.
async def _deps(request: Request) -> Deps:
    return cast(Deps, request.app.state.deps)


async def _caller(request: Request) -> Caller:
    return cast(Caller, request.state.caller)


Farm = Annotated[Deps, Depends(_deps)]
Who = Annotated[Caller, Depends(_caller)]
