"""Uploads that reach a replica in one message are answered as any others."""

import asyncio
import contextvars
import pickle
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.api import create_api
from serve.auth import new_key
from serve.crossing import MOST_BYTES, MOST_HELD, Answer, Answers, Call, Crossing, Full, answer_all
from serve.ingress import APP, CALL_BYTES_MAX, Uploads
from tests.serve.conftest import ApiFarm, MakeFarm

ROOT = Path(__file__).parents[2]
PATH = "/v1/media/clip%2D1/complete?x=1"


class Replicas:
    """A handle of Serve's, without Ray: everything crosses pickled."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.answer = self
        self.messages: list[int] = []  # how many calls each had

    def options(self, **_: bool) -> "Replicas":
        return self

    async def remote(self, calls: Sequence[Call]) -> AsyncIterator[Answers]:
        self.messages.append(len(calls))
        async for answers in answer_all(self._app, pickle.loads(pickle.dumps(calls))):
            yield pickle.loads(pickle.dumps(answers))


class NoWay:
    """In the place of what Serve's proxy would do itself."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("by Serve's own way", 299)(scope, receive, send)


@pytest.fixture
def replicas(farm: ApiFarm, monkeypatch: pytest.MonkeyPatch) -> Replicas:
    found = Replicas(create_api(farm.deps))
    monkeypatch.setattr("serve.ingress.ray_serve.get_app_handle", lambda _: found)
    return found


def client(app: ASGIApp) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000))


def both(farm: ApiFarm, **request: Any) -> tuple[Any, Any]:
    """The answers to one request, without and with its crossing."""
    return client(create_api(farm.deps)).post(PATH, **request), client(Uploads(NoWay())).post(PATH, **request)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"json": {"recipe": "preview"}, "headers": {"Idempotency-Key": "k-1"}}, 202),
        ({"json": {"recipe": "of-nobody"}}, 422),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ({"content": b"{}", "headers": {"Content-Type": "text/html"}}, 415),
        ({"json": {}, "headers": {"Host": "farm.example.com"}}, 401),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
@pytest.mark.usefixtures("replicas")
def test_each_answer_is_the_same_to_the_byte(farm: ApiFarm, request_: dict[str, Any], status: int) -> None:
    if "json" in request_:
        request_ = request_ | {"json": request_["json"] | {"source": farm.upload()}}
    direct, crossed = both(farm, **request_)
    assert direct.status_code == status, direct.text
    assert (crossed.status_code, crossed.content) == (direct.status_code, direct.content)
    assert crossed.headers.multi_items() == direct.headers.multi_items()


def test_a_key_crosses_with_the_call(make_farm: MakeFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    key, line = new_key("acme")
    farm = make_farm(api_keys=line)
    monkeypatch.setattr("serve.ingress.ray_serve.get_app_handle", lambda _: Replicas(create_api(farm.deps)))
    request = {"json": {"source": farm.upload()}, "headers": {"Authorization": f"Bearer {key}", "Idempotency-Key": "k"}}
    direct, crossed = both(farm, **request)
    assert (direct.status_code, crossed.status_code) == (202, 202)
    assert direct.json() == crossed.json()
    assert farm.store.get(crossed.json()["job_id"]).media_id == "clip-1"


@pytest.mark.parametrize(
    "request_",
    [
        {"method": "GET", "url": PATH},
        {"method": "POST", "url": "/v1/jobs/1/cancel", "content": b""},
        {"method": "POST", "url": PATH, "content": bytes(CALL_BYTES_MAX)},
        {"method": "POST", "url": PATH, "content": iter([b"{}"])},
        {"method": "POST", "url": PATH, "content": b"{}", "headers": {"X": "x" * CALL_BYTES_MAX}},
    ],
    ids=["no upload", "another call", "large", "of a length that nobody declares", "with a large header"],
)
def test_everything_else_is_left_to_serve(replicas: Replicas, request_: dict[str, Any]) -> None:
    assert client(Uploads(NoWay())).request(**request_).status_code == 299
    assert not replicas.messages


def test_an_upload_is_told_to_come_again_until_there_is_an_api_and_then_is_taken(
    farm: ApiFarm, replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Replicas] = []

    def look(_: str) -> Replicas:
        if not found:
            raise RuntimeError("no application of that name")
        return found[0]

    monkeypatch.setattr("serve.ingress.ray_serve.get_app_handle", look)
    caller = client(Uploads(NoWay()))
    early = caller.post(PATH, json={"source": farm.upload()})
    assert (early.status_code, early.json()["code"]) == (503, "not_serving")
    assert int(early.headers["retry-after"]) >= 1
    found.append(replicas)
    assert caller.post(PATH, json={"source": farm.upload()}).status_code == 202


def test_an_upload_that_no_replica_takes_is_answered_in_time(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(calls: Sequence[Call]) -> AsyncIterator[Answers]:
        await asyncio.sleep(60)
        yield []

    monkeypatch.setattr(replicas, "remote", never)
    monkeypatch.setattr("serve.ingress.ANSWER_S", 0.1)
    assert client(Uploads(NoWay())).post(PATH, json={}).json()["code"] == "not_serving"


@pytest.mark.usefixtures("replicas")
def test_an_upload_beyond_those_that_may_wait_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.crossing.MOST_HELD", 0)
    answer = client(Uploads(NoWay())).post(PATH, json={})
    assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("name", ["serve-config.yaml", "ray-service.yaml"])
def test_the_application_is_deployed_where_the_proxy_looks_for_it(name: str) -> None:
    deployed = yaml.safe_load((ROOT / name).read_text())
    if "spec" in deployed:
        deployed = yaml.safe_load(deployed["spec"]["serveConfigV2"])
    assert [(one["name"], one["route_prefix"]) for one in deployed["applications"]] == [(APP, "/")]


def call(path: str, size: int = 0) -> Call:
    return Call("POST", path, path.encode(), b"", [], None, bytes(size))


def crossed(send: Any, count: int, *, apart_s: float = 0.0, size: int = 0) -> list[Answer | BaseException]:
    """What so many calls are answered, asked at once or each `apart_s` after the other."""

    async def run() -> list[Answer | BaseException]:
        crossing = Crossing(send)
        asked = []
        for number in range(count):
            asked.append(asyncio.ensure_future(crossing(call(f"/{number}", size))))
            if apart_s:
                await asyncio.sleep(apart_s)
        return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 10)

    return asyncio.run(run())


def test_calls_that_come_while_others_cross_cross_together_and_each_gets_its_own_answer() -> None:
    sizes = []

    async def send(calls: Sequence[Call]) -> AsyncIterator[Answers]:
        sizes.append(len(calls))
        await asyncio.sleep(0.005)
        for part in (range(0, len(calls), 2), range(1, len(calls), 2)):  # in another order than asked
            yield [(place, Answer(202, [], calls[place].path.encode())) for place in part]

    answers = crossed(send, 100)
    assert [isinstance(answer, Answer) and answer.body for answer in answers] == [b"/%d" % n for n in range(100)]
    assert len(sizes) < 10, sizes


def test_no_message_is_larger_than_a_replica_takes() -> None:
    sizes = []

    async def send(calls: Sequence[Call]) -> AsyncIterator[Answers]:
        sizes.append(sum(len(call.body) for call in calls))
        yield [(place, Answer(202, [], b"")) for place in range(len(calls))]

    assert len(crossed(send, 30, size=CALL_BYTES_MAX)) == 30
    assert sum(sizes) == 30 * CALL_BYTES_MAX
    assert max(sizes) <= MOST_BYTES


@pytest.mark.parametrize("apart_s", [0.0, 0.002])
def test_a_call_that_takes_long_holds_up_none_that_crosses_with_it_or_after_it(apart_s: float) -> None:
    slow, told = asyncio.Event(), []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["path"] == "/0":
            await slow.wait()
        told.append(scope["path"])
        if len(told) == 19:
            slow.set()  # only when all others are answered: were one held up, nobody would ever be
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    answers = crossed(lambda calls: answer_all(app, calls), 20, apart_s=apart_s)
    assert all(isinstance(answer, Answer) and answer.status == 202 for answer in answers)
    assert told[-1] == "/0"


def test_what_a_lost_replica_has_not_answered_is_an_error_and_the_next_call_crosses() -> None:
    sent = []

    async def send(calls: Sequence[Call]) -> AsyncIterator[Answers]:
        sent.append(len(calls))
        yield [(0, Answer(202, [], b""))]
        if len(sent) == 1:
            raise ConnectionError("the replica died")

    first, *others, last = crossed(send, 5) + crossed(send, 1)
    assert isinstance(first, Answer)
    assert {type(other) for other in others} == {ConnectionError}
    assert isinstance(last, Answer)
    assert sent == [5, 1]


def test_a_call_that_the_api_fails_on_costs_no_other_its_answer() -> None:
    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["path"] == "/1":
            raise ValueError("a bug")
        if scope["path"] != "/2":  # which says nothing at all
            await send({"type": "http.response.start", "status": 202, "headers": []})

    answers = crossed(lambda calls: answer_all(app, calls), 4)
    assert [isinstance(answer, Answer) and answer.status for answer in answers] == [202, 500, 500, 202]


def test_a_message_that_ray_cancels_is_an_error_and_no_endless_wait() -> None:
    async def send(calls: Sequence[Call]) -> AsyncIterator[Answers]:
        yield []
        raise asyncio.CancelledError

    assert {type(answer) for answer in crossed(send, 3)} == {EOFError}


def test_what_crosses_knows_nothing_of_the_call_that_began_it() -> None:
    said = contextvars.ContextVar("said", default="nothing")
    heard = []

    async def send(calls: Sequence[Call]) -> AsyncIterator[Answers]:
        heard.append(said.get())
        yield [(place, Answer(202, [], b"")) for place in range(len(calls))]

    async def run() -> None:
        said.set("an HTTP call of Serve's proxy")
        await Crossing(send)(call("/0"))

    asyncio.run(run())
    assert heard == ["nothing"]


def test_callers_that_left_cross_no_more_and_no_more_wait_than_may() -> None:
    sent: list[str] = []

    async def send(calls: Sequence[Call]) -> AsyncIterator[Answers]:
        sent.extend(call.path for call in calls)
        await asyncio.sleep(0.05)
        yield [(place, Answer(202, [], b"")) for place in range(len(calls))]

    async def run() -> None:
        crossing = Crossing(send)
        first = asyncio.ensure_future(crossing(call("/first")))
        await asyncio.sleep(0.005)
        rest = [asyncio.ensure_future(crossing(call(f"/{number}"))) for number in range(MOST_HELD - 1)]
        await asyncio.sleep(0)
        with pytest.raises(Full):
            await crossing(call("/beyond"))
        for one in rest:
            one.cancel()
        await asyncio.gather(first, crossing(call("/last")), *rest, return_exceptions=True)

    asyncio.run(run())
    assert sent == ["/first", "/last"]
