"""How OpenAPI describes refusals, and the page behind a problem's `type`."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter

from serve.api.schemas import ProblemType
from serve.errors import NotFound
from serve.problems import MEDIA_TYPE, ROWS

router = APIRouter(prefix="/problems", tags=["problems"])


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation that may answer with these statuses."""
    return {status: _described(status) for status in statuses}


def accepted(what: str) -> dict[int | str, dict[str, Any]]:
    """The answer of an operation that has stored a `what`, for `responses`."""
    return {
        HTTPStatus.ACCEPTED.value: {
            "description": f"Accepted: the {what} is stored durably.",
            "headers": {
                "Location": {"description": f"The {what}.", "schema": {"type": "string"}},
                "Retry-After": {"description": "Seconds until it is worth asking.", "schema": {"type": "integer"}},
            },
        }
    }


def _described(status: int) -> dict[str, Any]:
    titles = sorted({title for row_status, title in ROWS.values() if row_status == status})
    described: dict[str, Any] = {
        "description": "; ".join(titles) or HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        described["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return described


@router.get(
    "/{code}",
    operation_id="getProblem",
    summary="What a problem's type means",
    responses=problems(401, 404, 422),
)
async def get_problem(code: str) -> ProblemType:
    """The meaning of one code."""
    for error, (status, title) in ROWS.items():
        if getattr(error, "code", None) == code:
            meaning = " ".join((error.__doc__ or title).split())
            return ProblemType(
                code=code,
                title=title,
                status=status,
                meaning=meaning,
                retryable=bool(getattr(error, "retryable", False)),
            )
    raise NotFound("there is no problem of this code")
