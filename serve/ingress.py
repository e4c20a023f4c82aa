"""What Serve's own proxy, and behind HAProxy each replica's own HTTP server, does with calls before Serve does."""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any

from ray import serve as ray_serve
from ray.serve._private.constants import RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD
from ray.serve.exceptions import RayServeException
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve import problems
from serve.crossing import Answers, Call, Crossing, Full
from serve.errors import ApiError, NotServing, Overloaded
from serve.haproxy import DETAIL
from serve.switching import switch_sooner

APP = "farm"  # the application's name in Serve
FIND_S = 10.0  # for the application; Serve's controller answers at once, or is being started again
UPLOAD = re.compile(r"/v1/media/[^/]+/complete")
CALL_BYTES_MAX = 100_000  # what is larger is left to Serve, which asks for it bit by bit
ANSWER_S = 30.0  # callers hardly wait for longer, and without a replica nothing else would end it
TELL_S = 10.0  # between two lines of the log on uploads that were not answered
CLIENT_GONE = 499  # Serve's word for itself: nobody reads that answer

log = logging.getLogger(__name__)


def prepare_proxy() -> list[Middleware]:
    """What Serve calls in each proxy that it starts: RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH names this.

    Behind HAProxy replicas listen themselves and call it too.
    """
    switch_sooner()
    try:
        ray_serve.get_replica_context()
    except RayServeException:
        return [Middleware(OwnWords), Middleware(Uploads)]
    # Where Serve runs the API in a loop of its own, a call has to go over to it.
    return [] if RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD else [Middleware(Straight)]


class OwnWords:
    """Says in the API's words, and with a Retry-After, what the proxy itself answers instead of a replica.

    Serve says 404 for every path until it knows of the API, as after its head was lost, which to a client means
    "never"; for what a replica had in hand that died it says nothing, and the HTTP server 500.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call."""
        if scope["type"] != "http" or scope["path"].startswith("/-/"):  # Serve's own paths: /-/healthz, /-/routes
            await self._app(scope, receive, send)
            return
        started = instead = False

        async def in_our_words(message: Message) -> None:
            nonlocal started, instead
            if message["type"] == "http.response.start":
                started, instead = True, _is_serves_own(message)
                if instead:
                    await _not_serving(scope, receive, send)
            if not instead:
                await send(message)

        await self._app(scope, receive, in_our_words)
        if not started:
            await _not_serving(scope, receive, send)


class Straight:
    """Hands uploads to the API of its own replica, past what Serve does around a call.

    That is two tasks, its metrics, its X-Request-ID and its bounds, for which the API has its own. Serve does not count
    these calls: a replica that is to end answers them while it drains (RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S,
    30 s), then its HTTP server waits for them as long as `graceful_shutdown_timeout_s` has not passed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call."""
        # Serve tells of it once the HTTP server is up.
        api = ray_serve.get_replica_context().servable_object if _is_upload(scope) else None
        await (api or self._app)(scope, receive, send)


class Uploads:
    """Hands uploads to a replica whole, and together.

    Serve does not count these calls: a proxy that is drained ends once load balancers have had
    RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S (30 s) to leave it, also with some in hand. What is in hand when that begins
    has been answered by then (ANSWER_S); who came later may get no answer, and sends the call again.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._crossing = Crossing(self._send)
        self._finding: asyncio.Task[Any] | None = None
        self._failed, self._told_at = 0, -TELL_S

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call."""
        if not _is_small_upload(scope):
            await self._app(scope, receive, send)
            return
        try:
            body = await _body(receive)
        except ClientDisconnect:
            return
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await self._crossing(Call.of(scope, body))
        except Full:
            await _refuse(Overloaded("as many uploads as may wait for a replica: come back"), scope, receive, send)
            return
        except Exception as error:  # noqa: BLE001 - Ray's and Serve's are many: no replica took it, or died with it
            self._tell(error)
            await _not_serving(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _tell(self, error: Exception) -> None:
        self._failed += 1
        if time.monotonic() - self._told_at >= TELL_S:
            log.warning("%d uploads were not answered, the last one because:", self._failed, exc_info=error)
            self._failed, self._told_at = 0, time.monotonic()

    async def _send(self, calls: Sequence[Call]) -> AsyncIterator[Answers]:
        async for answers in (await self._replicas()).answer.remote(calls):
            yield answers

    async def _replicas(self) -> Any:
        """The handle of the application, looked for by one call at a time until it is found."""
        if self._finding is None or (self._finding.done() and self._finding.exception() is not None):
            self._finding = asyncio.create_task(_find())
        return await asyncio.shield(self._finding)


async def _find() -> Any:
    looking = asyncio.to_thread(ray_serve.get_app_handle, APP)  # asks Serve's controller, and waits for it
    return (await asyncio.wait_for(looking, FIND_S)).options(stream=True)


def _is_upload(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] == "POST" and UPLOAD.fullmatch(scope["path"]) is not None


def _is_small_upload(scope: Scope) -> bool:
    if not _is_upload(scope):
        return False
    declared = Headers(scope=scope).get("content-length", "")
    if not (declared.isascii() and declared.isdigit() and len(declared) < 10):
        return False
    head = len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(n) + len(v) for n, v in scope["headers"])
    return head + int(declared) <= CALL_BYTES_MAX


async def _body(receive: Receive) -> bytes:
    """All of it; ClientDisconnect."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        body += bytes(message.get("body", b""))
        if not message.get("more_body", False):
            return body


def _is_serves_own(start: MutableMapping[str, Any]) -> bool:
    """Whether an answer begins as no refusal of the API does: those are all problem documents."""
    if start["status"] < HTTPStatus.BAD_REQUEST or start["status"] == CLIENT_GONE:
        return False
    return any(name == b"content-type" and value.startswith(b"text/plain") for name, value in start["headers"])


async def _not_serving(scope: Scope, receive: Receive, send: Send) -> None:
    await _refuse(NotServing(DETAIL), scope, receive, send)


async def _refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    await problems.response(error, {})(scope, receive, send)
