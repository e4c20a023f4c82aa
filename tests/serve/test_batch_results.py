"""A batch from Python: its table, or an error that says how it ended."""

import pickle
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from cluster.jobs import BatchStatus
from serve import problems
from serve.api import create_api
from serve.batch_results import batch_table, run_batch
from serve.cli.exits import ExitCode, exit_code
from serve.errors import BatchFailed, FarmRefused, NotServing, UsageError
from tests.serve.conftest import ApiFarm, fed, listed
from tests.support.asgi_server import served


def test_a_batch_is_run_from_python_to_an_arrow_table(running: ApiFarm) -> None:
    with fed(running):
        table = run_batch({"source": listed(running, "a", "b").as_uri(), "recipe": "web"})
    assert table.column("media_id").to_pylist() == ["a", "b"]
    assert table.column("status").to_pylist() == ["ready", "ready"]


def test_a_list_that_cannot_be_read_is_an_error_that_names_the_batch_and_why(running: ApiFarm) -> None:
    running.upload("list.csv", b"uri,media_id\nx,y\n")
    with fed(running), pytest.raises(BatchFailed) as raised:
        run_batch({"source": (running.uploads / "list.csv").as_uri(), "recipe": "web"})

    (one,), _ = running.store.batches.list_batches()
    assert one.error is not None
    assert str(raised.value) == f"batch {one.id} is failed: {one.error['message']}"
    assert raised.value.detail == {"batch_id": one.id, "code": one.error["code"]}
    copy = pickle.loads(pickle.dumps(raised.value))  # as Ray carries it from a task
    assert (str(copy), copy.detail) == (str(raised.value), raised.value.detail)


def test_a_batch_that_is_stopped_gives_the_rows_of_what_it_had_taken(running: ApiFarm) -> None:
    lines = [f"{running.upload('a.jpg')},a", "not a uri,b", f"{running.upload('c.jpg')},c"]
    running.upload("list.csv", "\n".join(["source,media_id", *lines, ""]).encode())
    with fed(running):
        table = run_batch({"source": (running.uploads / "list.csv").as_uri(), "recipe": "web", "on_error": "stop"})

    assert table.column("status").to_pylist() == ["ready", "refused"]


def test_a_batch_that_is_cancelled_gives_the_rows_of_what_it_had_taken(running: ApiFarm) -> None:
    request = {"source": listed(running, "a").as_uri(), "recipe": "web"}
    batch_id = running.client().post("/v1/batches", json=request).json()["batch_id"]
    running.store.batches.request_cancel(batch_id)
    with fed(running):
        table = run_batch(request)

    assert running.store.batches.get(batch_id).status is BatchStatus.CANCELLED
    assert (table.num_rows, "media_id" in table.column_names) == (0, True)


def begun(farm: ApiFarm) -> str:
    request = {"source": listed(farm, "a").as_uri(), "recipe": "web"}
    return str(farm.client().post("/v1/batches", json=request).json()["batch_id"])


def test_before_its_end_a_batch_has_no_table_and_says_where_it_stands(running: ApiFarm) -> None:
    batch_id = begun(running)
    with pytest.raises(UsageError, match=rf"batch {batch_id} has not ended \(listing\)"):
        batch_table(batch_id)


def test_of_a_batch_whose_results_could_not_be_written_it_is_not_said_that_it_has_not_ended(running: ApiFarm) -> None:
    batch_id, batches = begun(running), running.store.batches
    (claimed,) = batches.claim("test", 60, 1)
    batches.feed(batch_id, claimed.fence, [], cursor={}, ending=BatchStatus.READY)
    error = {"code": "storage_refused", "message": "no place", "retryable": False, "detail": {}}
    batches.finish(batch_id, claimed.fence, error)

    with pytest.raises(BatchFailed, match=f"batch {batch_id} is failed: no place") as raised:
        batch_table(batch_id)
    assert exit_code(raised.value) is ExitCode.INFRASTRUCTURE


def test_an_api_that_is_away_for_a_moment_does_not_cost_the_table(
    running: ApiFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call is told once to come again."""
    api, told = create_api(running.deps), set[str]()

    async def away_at_first(scope: Scope, receive: Receive, send: Send) -> None:
        away = scope["type"] == "http" and scope["method"] == "GET" and scope["path"] not in told
        answer: Any = problems.response(NotServing("it starts"), {}) if away else api
        told.add(scope.get("path", ""))
        await answer(scope, receive, send)

    with served(away_at_first) as url, fed(running):
        monkeypatch.setenv("FARM_URL", url)
        table = run_batch({"source": listed(running, "a", "b").as_uri(), "recipe": "web"})

    assert table.column("media_id").to_pylist() == ["a", "b"]
    assert {path.rpartition("/")[2] for path in told if "results" in path} == {"results", "0"}


def test_a_refusal_names_the_batch(running: ApiFarm) -> None:
    nobodys = "0198c2f0-0000-7000-8000-000000000000"
    with pytest.raises(FarmRefused, match=f"^batch {nobodys}: "):
        batch_table(nobodys)
