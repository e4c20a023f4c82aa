"""Batches: many sources that are turned alike."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import StreamingResponse

from cluster.batches.listing import is_manifest, parse_prefix
from cluster.batches.results import PARQUET, SUCCESS, open_results, results_place, shard_name
from cluster.errors import ForbiddenUri, ObjectMissing
from cluster.jobs import Batch, ItemStatus, NewBatch
from cluster.storage import Storage
from cluster.storage.sources import Sources
from cluster.storage.urls import AllowedSources
from serve.api.batch_schemas import (
    BATCH_ID,
    ITEM_CURSOR_PATTERN,
    BatchList,
    BatchRequest,
    BatchView,
    ItemList,
    ItemStatusName,
    ResultsPart,
    ResultsView,
)
from serve.api.batch_views import batch_summary, batch_view, item_view, visible_batch
from serve.api.deps import Deps, Farm, Who
from serve.api.problem_docs import accepted, problems
from serve.api.schemas import CURSOR_PATTERN, IDEMPOTENCY_KEY_PATTERN, JOB_ID_PATTERN, ORG_PATTERN
from serve.auth import Caller
from serve.errors import Forbidden, NotFound
from serve.intake import check_kind

PAGE = 50
PAGE_MAX = 200
POLL_AFTER_S = 5
PIECE_BYTES = 1 << 20  # of a file that is sent

router = APIRouter(prefix="/v1/batches", tags=["batches"])

BatchId = Annotated[str, Path(pattern=JOB_ID_PATTERN, examples=[BATCH_ID])]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX, description="How many at most.")]


@router.post(
    "",
    operation_id="createBatch",
    status_code=202,
    summary="Turn everything that a manifest or a prefix names",
    responses={
        **accepted("batch"),
        **problems(400, 401, 403, 404, 409, 413, 415, 422, 500, 502, 503, 507),
    },
)
async def create_batch(
    body: BatchRequest,
    response: Response,
    farm: Farm,
    caller: Who,
    idempotency_key: Annotated[
        str | None,
        Header(
            pattern=IDEMPOTENCY_KEY_PATTERN,
            description="The same key with the same request and manifest gives the same batch, also once that has "
            "ended. Without a key the same request gives the same batch until that has ended.",
            examples=["back-catalogue-2019"],
        ),
    ] = None,
) -> BatchView:
    """Its items are read, and jobs made of them, bit by bit."""
    caller.must_write()
    org = caller.org_or(body.org)
    if not caller.sees(org):
        raise Forbidden("this key may not act for that org")
    batch = await asyncio.to_thread(_accept, org, body, idempotency_key, farm)
    farm.nudge()
    response.headers["Location"] = f"/v1/batches/{batch.id}"
    response.headers["Retry-After"] = str(POLL_AFTER_S)
    return await _view(batch, farm)


def _accept(org: str, body: BatchRequest, idempotency_key: str | None, farm: Deps) -> Batch:
    recipe = farm.recipes.get(body.recipe)
    check_kind(recipe, body.kind)
    if body.vmaf is not None:
        recipe = recipe.model_copy(update={"vmaf": body.vmaf})
    etag = _etag(body.source, org, farm)
    new = NewBatch(
        org=org,
        source_uri=body.source,
        source_etag=etag,
        recipe_name=recipe.name,
        recipe=recipe.model_dump(mode="json"),
        recipe_digest=recipe.digest,
        kind=body.kind,
        priority=body.priority,
        on_error=body.on_error,
        max_items=body.max_items,
        shard_rows=body.shard_rows,
        results_uri=_results_uri(body.results, org, farm),
    )
    if body.resume and (last := farm.store.batches.newest_like(new)) is not None:
        goes_on = last.finished_at is None and not last.cancel_requested
        return last if goes_on else farm.store.batches.retry(last.id)
    return farm.store.batches.create(new, idempotency_key)[0]


def _etag(source: str, org: str, farm: Deps) -> str | None:
    """Of a manifest, which must be there; a prefix must be an allowed one."""
    allowed = AllowedSources(place.replace("{org}", org) for place in farm.storage_settings.source_prefixes)
    if is_manifest(source):
        with Sources(farm.storage_settings, allowed) as sources:
            return sources.open(source).etag
    parse_prefix(source)
    allowed.check(f"{source.partition('*')[0].rpartition('/')[0]}/_")  # whatever lies in its folder
    return None


def _results_uri(asked: str | None, org: str, farm: Deps) -> str:
    if asked is None:
        return f"{farm.storage_settings.storage_uri.rstrip('/')}/{org}/batches"
    places = [place.replace("{org}", org) for place in farm.storage_settings.result_prefixes]
    place = asked.rstrip("/")
    try:
        AllowedSources(places).check(f"{place}/_")
    except ForbiddenUri as error:
        why = "results may not go there" if "not in a place" in error.public_message else error.public_message
        raise ForbiddenUri(f"results: {why}; FARM_RESULT_PREFIXES of the farm lists the places that they may") from None
    return place


@router.get("", operation_id="listBatches", summary="Batches, newest first", responses=problems(401, 422, 500, 503))
async def list_batches(
    farm: Farm,
    caller: Who,
    org: Annotated[str | None, Query(pattern=ORG_PATTERN, description="Only this org's.")] = None,
    limit: Limit = PAGE,
    cursor: Annotated[
        str | None, Query(pattern=CURSOR_PATTERN, description="`next_cursor` of the page before.")
    ] = None,
) -> BatchList:
    """One page."""
    wanted = caller.org if caller.org is not None else org
    if org is not None and not caller.sees(org):
        return BatchList(batches=[], next_cursor=None)

    def page() -> tuple[list[Batch], str | None]:
        return farm.store.batches.list_batches(org=wanted, limit=limit, cursor=cursor)

    found, following = await asyncio.to_thread(page)
    return BatchList(batches=[batch_summary(one) for one in found], next_cursor=following)


async def _view(batch: Batch, farm: Deps) -> BatchView:
    return batch_view(batch, await asyncio.to_thread(farm.failures.of, batch, farm.store.batches))


async def _batch(batch_id: str, farm: Deps, caller: Caller) -> Batch:
    return visible_batch(await asyncio.to_thread(farm.store.batches.get, batch_id), caller)


@router.get("/{batch_id}", operation_id="getBatch", summary="One batch", responses=problems(401, 404, 422, 500, 503))
async def get_batch(batch_id: BatchId, farm: Farm, caller: Who) -> BatchView:
    """Counts, speed, when it is likely to end, and what failed, grouped by code."""
    return await _view(await _batch(batch_id, farm, caller), farm)


@router.get(
    "/{batch_id}/items",
    operation_id="listBatchItems",
    summary="Items of a batch, in their order",
    responses=problems(401, 404, 422, 500, 503),
)
async def list_items(
    batch_id: BatchId,
    farm: Farm,
    caller: Who,
    status: Annotated[ItemStatusName | None, Query(description="Only items that stand there.")] = None,
    limit: Limit = PAGE,
    cursor: Annotated[
        str | None, Query(pattern=ITEM_CURSOR_PATTERN, description="`next_cursor` of the page before.")
    ] = None,
) -> ItemList:
    """One page."""
    await _batch(batch_id, farm, caller)
    wanted = ItemStatus(status) if status else None

    def page() -> tuple[Any, str | None]:
        return farm.store.batches.items(batch_id, status=wanted, limit=limit, cursor=cursor)

    found, following = await asyncio.to_thread(page)
    return ItemList(items=[item_view(one) for one in found], next_cursor=following)


@router.post(
    "/{batch_id}/cancel",
    operation_id="cancelBatch",
    summary="Stop a batch",
    responses=problems(401, 403, 404, 409, 413, 415, 422, 500, 503),
)
async def cancel_batch(batch_id: BatchId, farm: Farm, caller: Who) -> BatchView:
    """No further item is taken and its jobs are cancelled; what is made stays. Again is no error."""
    caller.must_write()
    await _batch(batch_id, farm, caller)
    return await _view(await asyncio.to_thread(farm.store.batches.request_cancel, batch_id), farm)


@router.post(
    "/{batch_id}/retry",
    operation_id="retryBatch",
    summary="Try what failed again, and go on where the batch broke off",
    responses=problems(401, 403, 404, 409, 413, 415, 422, 500, 503),
)
async def retry_batch(batch_id: BatchId, farm: Farm, caller: Who) -> BatchView:
    """Items that failed, were cancelled or refused; lines that name no source stay refused."""
    caller.must_write()
    await _batch(batch_id, farm, caller)
    return await _view(await asyncio.to_thread(farm.store.batches.retry, batch_id), farm)


@router.get(
    "/{batch_id}/results",
    operation_id="getBatchResults",
    summary="The results of a batch",
    responses=problems(401, 404, 422, 500, 502, 503),
)
async def get_results(batch_id: BatchId, farm: Farm, caller: Who) -> ResultsView:
    """Its Parquet files, one row for each input and output, once it has ended."""
    batch = await _batch(batch_id, farm, caller)

    def parts() -> list[dict[str, Any]] | None:
        try:
            return list(json.loads(open_results(batch, farm.storage_settings).get_bytes(SUCCESS))["parts"])
        except ObjectMissing:
            return None

    found = await asyncio.to_thread(parts)
    return ResultsView(
        results=results_place(batch),
        complete=found is not None,
        parts=[ResultsPart(part=number, **part) for number, part in enumerate(found or ())],
    )


@router.get(
    "/{batch_id}/results/{part}",
    operation_id="getBatchResultsPart",
    summary="One Parquet file of a batch's results",
    response_class=Response,
    responses={
        200: {"description": "The file.", "content": {PARQUET: {"schema": {"type": "string", "format": "binary"}}}},
        **problems(401, 404, 422, 500, 502, 503),
    },
)
async def get_part(
    batch_id: BatchId,
    part: Annotated[int, Path(ge=0, le=99_999, examples=[0])],
    farm: Farm,
    caller: Who,
) -> StreamingResponse:
    """The bytes, as they are stored."""
    batch = await _batch(batch_id, farm, caller)
    storage = await asyncio.to_thread(open_results, batch, farm.storage_settings)
    name = shard_name(part)
    found = await asyncio.to_thread(storage.stat, name)
    if found is None:
        raise NotFound("the batch has no results of that number")
    headers = {"Content-Length": str(found.bytes)}
    return StreamingResponse(_pieces(storage, name, found.bytes), media_type=PARQUET, headers=headers)


async def _pieces(storage: Storage, name: str, size: int) -> AsyncIterator[bytes]:
    for start in range(0, size, PIECE_BYTES):
        piece = partial(storage.get_bytes, name, start=start, length=min(PIECE_BYTES, size - start))
        yield await asyncio.to_thread(piece)
