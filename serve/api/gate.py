"""What every request passes before anything reads it: a key, a bound on its body, a declared content type.

Plain ASGI around the whole application, so that nothing is open unless it is named here: an unknown path, the OpenAPI
document and an endpoint that somebody adds tomorrow are all closed.
"""

import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cluster.monitoring import metrics
from cluster.monitoring.counts import Counts
from serve import problems
from serve.auth import Caller, identify, owner_of_this_machine
from serve.errors import BodyTooLarge, Overloaded, UnsupportedBody
from serve.settings import ServeSettings

# A second's worth of uploads: more would wait for longer than their callers do. Refused here and not by Ray Serve,
# whose refusal says neither why nor when to come back. Streams of events have a bound of their own.
IN_HAND_MAX = 1024
OPEN_PATHS = frozenset({"/healthz", "/readyz"})

log = logging.getLogger(__name__)


class Gate:
    """Authenticates, bounds and answers for what escapes from the application."""

    def __init__(self, app: ASGIApp, settings: ServeSettings, counts: Counts) -> None:
        self._app = app
        self._counts = counts
        self._keys = settings.keys
        self._limit = settings.body_limit_bytes
        self._in_hand = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        asked = time.monotonic()
        scope.setdefault("state", {})

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._count(scope, message["status"], time.monotonic() - asked)
                headers = MutableHeaders(scope=message)
                # Never guessed into a script, never shown from a cache to somebody else.
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        weight = 0 if scope["path"].endswith("/events") else 1
        self._in_hand += weight
        try:
            if scope["path"] not in OPEN_PATHS:
                if self._in_hand > IN_HAND_MAX:
                    raise Overloaded(f"{IN_HAND_MAX} calls are in hand here: come back")
                scope["state"]["caller"] = self._caller(scope)
            await self._app(scope, await self._bounded(scope, receive), sending)
        except ClientDisconnect:
            return  # nobody is left to be told
        except Exception as error:
            if started:
                log.exception("the answer to %s %s broke off", scope["method"], scope["path"])
                raise
            await problems.response(error, scope["state"])(scope, receive, sending)
        finally:
            self._in_hand -= weight

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        # The pattern, never the path: that holds ids. What matches none is one route, whatever is asked for.
        route = getattr(scope.get("route"), "path", "none")
        self._counts.add(metrics.CALLS, route, str(status))
        self._counts.observe(metrics.CALL_SECONDS, seconds, route)
        if "refused" in scope["state"]:
            self._counts.add(metrics.REFUSALS, scope["state"]["refused"])

    def _caller(self, scope: Scope) -> Caller:
        headers = Headers(scope=scope)
        if self._keys:
            return identify(self._keys, headers.get("authorization"))
        client = scope.get("client")
        return owner_of_this_machine(client[0] if client else None, headers)

    async def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """The body, read here up to the limit: bodies are small, and a refusal can still be answered in full."""
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and (len(declared) > 15 or int(declared) > self._limit):
            raise BodyTooLarge(f"the body may have {self._limit} bytes")
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return _replay(message, receive)
            body += message.get("body", b"")
            if len(body) > self._limit:
                raise BodyTooLarge(f"the body may have {self._limit} bytes")
            if not message.get("more_body", False):
                break
        if body and headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedBody("send the body as application/json")
        return _replay({"type": "http.request", "body": body, "more_body": False}, receive)


def _replay(first: Message, receive: Receive) -> Receive:
    """`first`, then whatever else comes (the client's disconnect)."""
    waiting = [first]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed
