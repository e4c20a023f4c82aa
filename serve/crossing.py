"""How uploads cross from Serve's proxy to a replica: whole, and those that come at once in one message.

Serve's own way streams each: a replica asks the proxy for the body, then waits in a second call for the client to
leave, and the answer is a stream of messages. That takes the two 9 ms of CPU, of which the API needs 0.4; a message
for each upload took 4, for 32 at a time 0.8.
"""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Scope

from serve import problems

MOST = 256  # calls in one message
MOST_BYTES = 1_000_000  # of one message; Serve's gRPC takes 4 MB
MOST_HELD = 4096  # calls that wait for their answers: beyond, callers come back
PACE_S = 0.02  # after which the next ones are sent although nothing was answered: one slow source holds up nobody else


class Call(NamedTuple):
    """One HTTP call, whole."""

    method: str
    path: str
    raw_path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    client: tuple[str, int] | None
    body: bytes

    @classmethod
    def of(cls, scope: Scope, body: bytes) -> "Call":
        """That of an ASGI scope."""
        headers = [(bytes(name), bytes(value)) for name, value in scope["headers"]]
        raw_path, query = scope["raw_path"], scope["query_string"]
        return cls(scope["method"], scope["path"], raw_path, query, headers, scope.get("client"), body)

    @property
    def size(self) -> int:
        """Bytes, about."""
        held = (self.raw_path, self.raw_path, self.query, self.body)
        return sum(map(len, held)) + sum(len(name) + len(value) for name, value in self.headers)


class Answer(NamedTuple):
    """What it is answered, whole."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


type Answers = list[tuple[int, Answer]]
"""Some answers, each with the place of its call among those that crossed with it."""


class Full(Exception):
    """As many calls wait as may."""


class Crossing:
    """The proxy's side: calls that wait while others cross are sent in one message."""

    def __init__(self, send: Callable[[Sequence[Call]], AsyncIterator[Answers]]) -> None:
        """`send` hands calls to a replica and gives what is answered as it comes; what it raises, each call raises."""
        self._send = send
        self._held = 0
        self._waiting: list[tuple[Call, asyncio.Future[Answer]]] = []
        self._crossings: set[asyncio.Task[None]] = set()
        self._pacing: asyncio.Task[None] | None = None

    async def __call__(self, call: Call) -> Answer:
        """What the replica answers; Full, or what sending raised."""
        if self._held >= MOST_HELD:
            raise Full
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, answer))
        if self._pacing is None:
            # In a context of its own: that of a caller may say to Ray that it is Serve's proxy, which gets raw bytes.
            self._pacing = asyncio.create_task(self._pace(), context=contextvars.Context())
        self._held += 1
        try:
            return await answer
        finally:
            self._held -= 1

    async def _pace(self) -> None:
        try:
            while several := self._next():
                answered = asyncio.Event()
                crossing = asyncio.create_task(self._cross(several, answered))
                self._crossings.add(crossing)
                crossing.add_done_callback(self._crossings.discard)
                with suppress(TimeoutError):
                    await asyncio.wait_for(answered.wait(), PACE_S)
        finally:
            self._pacing = None

    def _next(self) -> list[tuple[Call, asyncio.Future[Answer]]]:
        waiting = [(call, answer) for call, answer in self._waiting if not answer.done()]  # some callers are gone
        count = size = 0
        for call, _ in waiting[:MOST]:
            size += call.size
            if count and size > MOST_BYTES:
                break
            count += 1
        several, self._waiting = waiting[:count], waiting[count:]
        return several

    async def _cross(self, several: Sequence[tuple[Call, asyncio.Future[Answer]]], answered: asyncio.Event) -> None:
        failure: Exception = EOFError("the replica ended its answers early")
        try:
            async for answers in self._send([call for call, _ in several]):
                answered.set()
                for place, answer in answers:
                    if not (future := several[place][1]).done():
                        future.set_result(answer)
        except Exception as error:  # noqa: BLE001 - raised by every call that it is the end of
            failure = error
        finally:  # also of what a replica says of a call that it cancelled: that is no Exception
            answered.set()
            for _, future in several:
                if not future.done():
                    future.set_exception(failure)


async def answer_all(app: ASGIApp, calls: Sequence[Call]) -> AsyncIterator[Answers]:
    """The replica's side: what the ASGI application `app` answers, as soon as it does."""
    places = {asyncio.ensure_future(_answer(app, call)): place for place, call in enumerate(calls)}
    try:
        while places:
            done, _ = await asyncio.wait(places, return_when=asyncio.FIRST_COMPLETED)
            yield [(places.pop(task), task.result()) for task in done]
    finally:
        for task in places:
            task.cancel()


async def _answer(app: ASGIApp, call: Call) -> Answer:
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "server": None,
        "root_path": "",
        "method": call.method,
        "path": call.path,
        "raw_path": call.raw_path,
        "query_string": call.query,
        "headers": call.headers,
        "client": call.client,
    }
    messages: list[Message] = []
    waiting = [{"type": "http.request", "body": call.body, "more_body": False}]

    async def receive() -> Message:
        return waiting.pop() if waiting else await asyncio.Future()  # nobody hears whether the client leaves

    async def send(message: Message) -> None:
        messages.append(message)

    try:
        await app(scope, receive, send)
        start, *parts = messages
    except Exception as error:  # noqa: BLE001 - the others of this message have their own answers
        refusal = problems.response(error, {})
        return Answer(refusal.status_code, list(refusal.raw_headers), bytes(refusal.body))
    body = b"".join(part.get("body", b"") for part in parts)
    return Answer(start["status"], [tuple(header) for header in start.get("headers", ())], body)
