"""The API as a Ray Serve deployment. With serve/app.py and serve/ingress.py all that knows Ray Serve."""

from collections.abc import AsyncIterator, Sequence
from functools import partial

from ray import serve as ray_serve

from cluster.farm_settings import FarmSettings
from cluster.jobs import open_store
from cluster.monitoring.logs import log_as_set_up
from cluster.node_list import nodes
from cluster.runtime import ensure_dispatcher, figures_of_dispatcher, nudge_quietly
from cluster.settings import load
from cluster.storage import open_storage
from serve.api import Deps, FarmApi, create_api
from serve.background import Nudger, send_callbacks, supervise
from serve.crossing import Answers, Call, answer_all
from serve.figures import hand_over_now_and_then
from serve.intake import Intake
from serve.quotas import Quotas
from serve.settings import ServeSettings, known_recipes
from serve.switching import switch_sooner


def build_api(dispatcher_on: dict[str, str]) -> FarmApi:
    """The API of one replica, from that replica's environment; the dispatcher runs on a node with these labels.

    A replica owns no task and no state: it may be killed or replaced at any time.
    """
    switch_sooner()
    settings, farm = load(ServeSettings), FarmSettings.load()
    log_as_set_up(farm, settings)
    store, recipes = open_store(farm.database), known_recipes()
    deps = Deps(
        store=store,
        storage_settings=farm.storage,
        output=open_storage(farm.storage.storage_uri, farm.storage),
        settings=settings,
        recipes=recipes,
        intake=Intake(store, farm.storage, recipes, Quotas(store)),
        nudge=Nudger(nudge_quietly),
        dispatcher=figures_of_dispatcher,
        nodes=nodes,
    )
    ensure = partial(ensure_dispatcher, dispatcher_on)
    works = (partial(supervise, ensure), partial(send_callbacks, deps), partial(hand_over_now_and_then, deps))
    return create_api(deps, background=works)


class Gateway:
    """The plain class that Ray Serve wraps around the API."""

    def __init__(self, dispatcher_on: dict[str, str]) -> None:
        self._dispatcher_on = dispatcher_on
        self._api: FarmApi | None = None

    def __serve_build_asgi_app__(self) -> FarmApi:
        """What Ray Serve calls in a new replica."""
        self._api = build_api(self._dispatcher_on)
        return self._api

    async def answer(self, calls: Sequence[Call]) -> AsyncIterator[Answers]:
        """What `serve.ingress` calls in Serve's own proxy for uploads."""
        assert self._api is not None, "Serve builds the API before it hands out calls"
        async for answers in answer_all(self._api, calls):
            yield answers


GatewayDeployment = ray_serve.deployment(name="Gateway")(ray_serve.ingress()(Gateway))
