"""What clients hear from Serve's own proxy when no replica answers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from serve import problems
from serve.embedded import free_port
from serve.errors import NotFound
from serve.ingress import OwnWords

ROOT = Path(__file__).parents[2]
SERVE_WITHOUT_AN_API = """
import sys
from pathlib import Path
from serve.settings import prepare_embedded_environment
from cluster.farm_settings import prepare_ray_environment
prepare_embedded_environment(int(sys.argv[1]), Path(sys.argv[2]), True)
prepare_ray_environment()
import ray
from ray import serve
from ray.serve.config import HTTPOptions
ray.init(address="local", num_cpus=1, include_dashboard=False, namespace="farm", log_to_driver=False)
serve.start(http_options=HTTPOptions(host="127.0.0.1", port=int(sys.argv[1])))
print("started", flush=True)
sys.stdin.read()
serve.shutdown()
ray.shutdown()
"""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-c", SERVE_WITHOUT_AN_API, str(port), str(tmp_path_factory.mktemp("data"))]
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        while (line := process.stdout.readline()) != b"started\n":  # Serve writes there too
            assert line, "it ended"
        yield f"http://127.0.0.1:{port}"
        process.communicate(timeout=60)


def test_before_the_api_is_there_an_upload_is_told_to_come_again_and_not_that_its_path_is_unknown(proxy: str) -> None:
    answer = httpx.post(f"{proxy}/v1/media/clip-1/complete", json={"source": "file:///a.mp4"}, trust_env=False)
    assert (answer.status_code, answer.headers["content-type"]) == (503, problems.MEDIA_TYPE)
    assert answer.json()["code"] == "not_serving"
    assert answer.json()["retryable"]
    assert int(answer.headers["retry-after"]) >= 1


def test_the_proxy_s_own_paths_answer_as_serve_does(proxy: str) -> None:
    answer = httpx.get(f"{proxy}/-/routes", trust_env=False)
    assert (answer.status_code, answer.text) == (503, "Route table is not populated yet.")


def through_proxy(answer: Response) -> httpx.Response:
    """What a client gets of `answer`."""

    async def endpoint(_request: object) -> Response:
        return answer

    app = Starlette(routes=[Route("/{path}", endpoint)], middleware=[Middleware(OwnWords)])
    heard: httpx.Response = TestClient(app).get("/x")
    return heard


@pytest.mark.parametrize("status", [404, 408, 500, 503])
def test_what_serve_says_itself_is_said_without_its_inside(status: int) -> None:
    answer = through_proxy(PlainTextResponse("Traceback: ActorDiedError at 10.0.0.7", status))
    assert answer.status_code == 503
    assert answer.json()["code"] == "not_serving"
    assert "10.0.0.7" not in answer.text


class NoAnswer(Response):
    """As Serve's proxy gives for what a replica had in hand that died."""

    async def __call__(self, *_: object) -> None:
        return


def test_a_call_that_a_replica_died_with_is_answered_too() -> None:
    answer = through_proxy(NoAnswer())
    assert (answer.status_code, answer.json()["code"]) == (503, "not_serving")


def test_what_the_api_answers_passes_as_it_is() -> None:
    refusal = through_proxy(problems.response(NotFound("there is nothing at this path"), {}))
    assert (refusal.status_code, refusal.json()["code"]) == (404, "not_found")
    assert through_proxy(JSONResponse({"ok": True}, 202)).json() == {"ok": True}
    metrics = through_proxy(PlainTextResponse("farm_jobs 1"))
    assert (metrics.status_code, metrics.text) == (200, "farm_jobs 1")
