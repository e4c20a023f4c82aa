"""What an accepted upload passes: its recipe, its source, its org's limits, the commit."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from cluster.errors import SourceMissing, StoreError
from cluster.jobs import Job, JobStore, NewJob, Prepared
from cluster.settings import StorageSettings
from cluster.storage.sources import SourceObject, Sources
from cluster.storage.urls import AllowedSources
from ladders.catalog import Recipes
from ladders.errors import FarmError
from ladders.model import Recipe
from pipelines.errors import EmptyFile
from serve.errors import UnsupportedKind
from serve.quotas import GiveBack, Quotas
from serve.together import Together

KEPT = 1024  # orders, and orgs' places

type Vmaf = Literal["off", "sampled", "full"]


@dataclass(frozen=True, slots=True)
class Order:
    """A recipe as jobs carry it."""

    recipe: Recipe
    body: Prepared
    digest: str


@dataclass(frozen=True, slots=True)
class Upload:
    """A job as it was asked for: without the facts of its source."""

    new: NewJob
    idempotency_key: str | None


class Intake:
    """Accepts uploads. Those that come at once share a thread and a commit.

    Of 1.33 ms of CPU for one, with 32 callers, 0.8 were a thread's turn, a transaction and three dumps of the recipe.
    """

    def __init__(self, store: JobStore, settings: StorageSettings, recipes: Recipes, quotas: Quotas) -> None:
        self._store = store
        self._settings = settings
        self._recipes = recipes
        self._quotas = quotas
        self._commit = Together(self._commit_all)
        # Beside the commits: a file may lie on a disk that hangs.
        self._look = Together(self._found_all)
        # There are few of either, and each is asked for a thousand times.
        self.order = lru_cache(KEPT)(self._order)
        self._allowed = lru_cache(KEPT)(self._allowed_sources)

    def _allowed_sources(self, org: str) -> AllowedSources:
        return AllowedSources(place.replace("{org}", org) for place in self._settings.source_prefixes)

    def _order(self, name: str, vmaf: Vmaf | None) -> Order:
        """The recipe `name`, with `vmaf` in the place of its own unless None; UnknownRecipe."""
        recipe = self._recipes.get(name)
        if vmaf is not None:
            recipe = recipe.model_copy(update={"vmaf": vmaf})
        return Order(recipe, Prepared(recipe.model_dump(mode="json")), recipe.digest)

    async def accept(self, upload: Upload) -> Job:
        """The committed job, or the one that the same key gave before; FarmError."""
        source: SourceObject | FarmError
        try:
            if upload.new.source_uri.startswith("file:"):
                source = await self._look(upload)
            else:  # storage takes its time to answer, for each source another one: nobody waits for somebody else's
                source = await asyncio.to_thread(self._found, upload)
        except FarmError as error:
            source = error  # the same call may have had its answer before
        return await self._commit((upload, source))

    def _found(self, upload: Upload) -> SourceObject:
        new = upload.new
        with Sources(self._settings, self._allowed(new.org)) as sources:
            source = sources.open(new.source_uri)
        if source.size_bytes == 0:
            raise EmptyFile("the file has no bytes")
        return source

    def _found_all(self, uploads: Sequence[Upload]) -> list[SourceObject | Exception]:
        found: list[SourceObject | Exception] = []
        for upload in uploads:
            try:
                found.append(self._found(upload))
            except Exception as error:  # noqa: BLE001 - of this one alone
                found.append(error)
        return found

    def _commit_all(self, several: Sequence[tuple[Upload, SourceObject | FarmError]]) -> list[Job | Exception]:
        answers: dict[int, Job | Exception] = {}
        counted: dict[tuple[str, str | int], GiveBack] = {}
        news: dict[int, NewJob] = {}
        for number, (upload, source) in enumerate(several):
            try:
                if (earlier := self._earlier(upload, source)) is not None:
                    answers[number] = earlier
                    continue
                news[number] = new = self._ready(upload, source)
                place = (new.org, upload.idempotency_key or number)
                if place not in counted:  # the same key twice is one job
                    counted[place] = self._quotas.take(new.org, new.source_bytes)
            except Exception as error:  # noqa: BLE001 - the answer of this one alone
                news.pop(number, None)
                answers[number] = error
        made = self._store.create_all([(new, several[number][0].idempotency_key) for number, new in news.items()])
        for (number, new), outcome in zip(news.items(), made, strict=True):
            if not isinstance(outcome, StoreError) and outcome[1]:
                counted.pop((new.org, several[number][0].idempotency_key or number))
            answers[number] = outcome if isinstance(outcome, StoreError) else outcome[0]
        for give_back in counted.values():
            give_back()
        return [answers[number] for number in range(len(several))]

    def _earlier(self, upload: Upload, source: SourceObject | FarmError) -> Job | None:
        """The job that the same request got, where it must not be refused now.

        Uploads are removed once they are turned, and limits are reached; who repeats a call still gets its answer.
        """
        key = upload.idempotency_key
        if key is None or not (isinstance(source, SourceMissing | EmptyFile) or self._quotas.limit(upload.new.org)):
            return None
        return self._store.created_before(upload.new, key)

    @staticmethod
    def _ready(upload: Upload, source: SourceObject | FarmError) -> NewJob:
        if isinstance(source, FarmError):
            raise source
        return replace(upload.new, source_etag=source.etag, source_bytes=source.size_bytes)


def check_kind(recipe: Recipe, kind: str) -> None:
    """Say at once that a recipe makes nothing of a kind, where the kind is said."""
    if kind == "image" and recipe.image is None:
        raise UnsupportedKind(f"the recipe {recipe.name} makes no pictures: choose another recipe")
    if kind in ("video", "audio") and recipe.video is None and recipe.audio is None:
        raise UnsupportedKind(f"the recipe {recipe.name} makes nothing but pictures: choose another recipe")
