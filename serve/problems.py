"""Errors as RFC 9457 problem documents. The one place that knows which error has which HTTP status."""

import logging
import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route

from cluster import errors as cluster
from ladders import errors as ladders
from pipelines import errors as media
from serve import errors as api

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5  # long enough for a database fail-over to be worth the second try, short enough for an upload

# What to say of a field instead of the pattern that it does not match.
PLAIN = {
    ("source", "string_pattern_mismatch"): "must be a URI: file:///folder/file or s3://bucket/key",
    ("callback_url", "string_pattern_mismatch"): "must be a URL that begins with https://",
}

log = logging.getLogger(__name__)

# error class -> (HTTP status, title); a class that is not named here has its nearest named ancestor's row.
ROWS: dict[type[Exception], tuple[int, str]] = {
    # The request
    api.MalformedJson: (400, "The body is not JSON"),
    api.NotAuthenticated: (401, "No known API key"),
    api.Forbidden: (403, "Not allowed with this key"),
    api.CallbackRefused: (403, "Callbacks may not go there"),
    api.NotFound: (404, "Not found"),
    api.MethodNotAllowed: (405, "Method not allowed"),
    api.BodyTooLarge: (413, "The body is too large"),
    api.UnsupportedBody: (415, "The body must be JSON"),
    api.InvalidRequest: (422, "The request is not valid"),
    api.UnsupportedKind: (422, "This kind of media is not turned here"),
    api.TooManyWatchers: (503, "Too many event streams"),
    api.Overloaded: (503, "Too many calls at once"),
    api.NotServing: (503, "The API does not serve yet"),
    api.LimitReached: (429, "The org has reached its limit"),
    api.HttpError: (400, "The request was refused"),
    api.InternalError: (500, "The farm failed"),
    # The media
    media.MediaError: (422, "The media cannot be turned"),
    media.EmptyFile: (422, "The file is empty"),
    media.NotMedia: (422, "The file is not media"),
    media.PlaylistRefused: (422, "The file points at other files"),
    media.CorruptMedia: (422, "The file is corrupt"),
    media.TruncatedMedia: (422, "The file is cut off"),
    media.EncryptedMedia: (422, "The file is encrypted"),
    media.NoDecodableStream: (422, "Nothing in the file can be decoded"),
    media.UnsupportedCodec: (422, "The codec is not supported"),
    media.UnsupportedMedia: (422, "This form of media is not supported"),
    media.LimitExceeded: (422, "The media exceeds a limit"),
    media.DecoderCrashed: (422, "The media crashes its decoder"),
    media.MediaTimeout: (422, "The media takes too long"),
    media.InvalidManifest: (422, "The manifest of the batch cannot be read"),
    media.InvalidItem: (422, "The item of the batch cannot be used"),
    media.ProofFailed: (500, "An output failed its proof"),
    media.EncodeFailed: (500, "Encoding failed"),
    media.ScratchFull: (507, "No room on the working disk"),
    media.NeedsMemory: (503, "Not begun with the memory that was set aside"),
    media.MediaProcessFailed: (500, "A media process failed"),
    # What is asked for
    ladders.UnknownRecipe: (422, "There is no such recipe"),
    ladders.InvalidRecipe: (422, "The recipe cannot be used"),
    # The farm
    cluster.InfraError: (500, "The farm failed"),
    cluster.StorageUnavailable: (503, "Storage does not answer"),
    cluster.StorageRefused: (502, "Storage refused the farm"),
    cluster.StorageFull: (507, "Storage is full"),
    cluster.ObjectMissing: (404, "The object does not exist"),
    cluster.ObjectExists: (409, "The object exists already"),
    cluster.ObjectChanged: (409, "The object was replaced meanwhile"),
    cluster.ChecksumMismatch: (502, "Storage returned other bytes than were written"),
    cluster.ResultsDamaged: (502, "Storage lost what was stored between two steps"),
    cluster.InvalidKey: (422, "The name cannot be stored"),
    cluster.ForbiddenUri: (403, "Sources may not come from there"),
    cluster.SourceMissing: (404, "The source does not exist"),
    cluster.SourceChanged: (409, "The source was replaced"),
    cluster.StoreUnavailable: (503, "The job store does not answer"),
    cluster.StoreFull: (507, "The job store is full"),
    cluster.StoreOutdated: (503, "The job store must be upgraded"),
    cluster.JobMissing: (404, "There is no such job"),
    cluster.BatchMissing: (404, "There is no such batch"),
    cluster.InvalidJob: (422, "The job cannot be stored"),
    cluster.InvalidCursor: (422, "The cursor is not one of ours"),
    cluster.IdempotencyConflict: (422, "The idempotency key was used for another request"),
    cluster.IllegalMove: (409, "The job's status does not allow it"),
    cluster.FenceLost: (409, "Somebody else owns the job now"),
    cluster.PolicyChanged: (409, "The policy was changed meanwhile"),
    cluster.ClusterUnreachable: (503, "The cluster does not answer"),
    cluster.NodeMissing: (404, "There is no such node"),
    cluster.DrainRefused: (409, "The node cannot be taken out"),
    cluster.WorkerLost: (503, "A worker was lost"),
    cluster.NoRoom: (503, "No node has room for this"),
    cluster.SettingsInvalid: (500, "The farm is not set up"),
}


def row(error: type[Exception]) -> tuple[int, str] | None:
    """(status, title) of an error class, None for one that nobody foresaw."""
    for cls in error.__mro__:
        if cls in ROWS:
            return ROWS[cls]
    return None


def response(error: Exception, state: dict[str, Any], headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The problem document of any error; one that nobody foresaw is logged and gets an error_id.

    The request's `state` is told its code, as `refused`, for whoever counts.
    """
    if isinstance(error, RequestValidationError):
        error = from_validation(error)
    elif isinstance(error, HTTPException):
        error = from_http(error)
    found = row(type(error))
    state["refused"] = api.InternalError.code if found is None else getattr(error, "code", "")
    if found is None:
        error_id = uuid.uuid4().hex[:12]
        log.error("error %s", error_id, exc_info=error)
        message = f"the farm failed in a way nobody foresaw; its log has error {error_id}"
        return _document(api.InternalError(message), *ROWS[api.InternalError], {"error_id": error_id}, headers)
    return _document(error, *found, {}, headers)


def _document(
    error: Any, status: int, title: str, extra: dict[str, Any], headers: Mapping[str, str] | None
) -> JSONResponse:
    code: str = error.code
    body: dict[str, Any] = {
        "type": f"/problems/{code}",
        "title": title,
        "status": status,
        "detail": error.public_message,
        "code": code,
        "retryable": error.retryable,
        **extra,
    }
    if getattr(error, "errors", None):
        body["errors"] = error.errors
    all_headers = dict(headers or {})
    if status == HTTPStatus.UNAUTHORIZED:
        all_headers["WWW-Authenticate"] = "Bearer"
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        all_headers["Connection"] = "close"  # or the server would go on reading, and throw away, what is still coming
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        all_headers["Retry-After"] = str(getattr(error, "retry_after_s", RETRY_AFTER_S))
    return JSONResponse(body, status, all_headers, MEDIA_TYPE)


def install(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Make `app`, of these `routes`, answer every error with a problem document, its framework's own included."""

    async def typed(request: Request, error: Exception) -> JSONResponse:
        return response(error, request.scope["state"])

    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        headers = error.headers
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:  # the framework names those of one route, of several
            headers = {**(headers or {}), "Allow": ", ".join(_methods(request, routes))}
        return response(error, request.scope["state"], headers)

    app.add_exception_handler(ladders.FarmError, typed)
    app.add_exception_handler(RequestValidationError, typed)
    app.add_exception_handler(HTTPException, refused)


def _methods(request: Request, routes: Sequence[BaseRoute]) -> list[str]:
    """Every method that the path of the request knows."""
    known: set[str] = set()
    for route in routes:
        if isinstance(route, Route) and route.path_regex.match(request.url.path):
            known |= route.methods or set()
    return sorted(known)


def from_http(error: HTTPException) -> api.ApiError:
    """What the framework refuses, in our words."""
    by_status: dict[int, api.ApiError] = {
        400: api.MalformedJson("the body is not valid JSON"),
        404: api.NotFound("there is nothing at this path"),
        405: api.MethodNotAllowed("this path does not know that method; see the Allow header"),
        413: api.BodyTooLarge("the body is larger than this API reads"),
        415: api.UnsupportedBody("send the body as application/json"),
    }
    return by_status.get(error.status_code) or api.HttpError(str(error.detail))


def from_validation(error: RequestValidationError) -> api.ApiError:
    """Every field that is wrong, each with a JSON pointer (body) or the parameter's name."""
    parts = [_part(one) for one in error.errors()]
    if any(part["code"] == "json_invalid" for part in parts):
        return api.MalformedJson("the body is not valid JSON", errors=parts)
    if {part["code"] for part in parts} == {api.UnsupportedKind.code}:
        return api.UnsupportedKind(parts[0]["detail"], errors=parts)
    places = [part.get("pointer", part.get("parameter")) or "the body" for part in parts[:5]]
    return api.InvalidRequest(f"not valid: {', '.join(places)}", errors=parts)


def _part(error: Mapping[str, Any]) -> dict[str, Any]:
    source, *path = error["loc"]
    detail = PLAIN.get((str(path[-1]) if path else "", error["type"]), str(error["msg"]))
    part = {"detail": detail, "code": str(error["type"])}
    if source == "body":
        if error["type"] == "json_invalid":
            return part | {"pointer": "", "detail": f"not valid JSON at character {path[0] if path else 0}"}
        return part | {"pointer": "".join("/" + _escape(str(step)) for step in path)}
    return part | {"parameter": ".".join(str(step) for step in path), "in": str(source)}


def _escape(step: str) -> str:
    """One step of a JSON pointer (RFC 6901); bounded, because an unknown field's name is the caller's text."""
    return step[:100].replace("~", "~0").replace("/", "~1")
