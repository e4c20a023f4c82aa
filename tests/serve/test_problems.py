import logging
import re
from typing import Any

import httpx
import pytest

from cluster import errors as cluster
from ladders import errors as ladders
from pipelines import errors as media
from serve import errors as api
from serve import problems
from serve.api import create_api, gate
from tests.serve.conftest import ApiFarm
from tests.support.asgi_server import served

OF_CLIENTS = {api.UsageError, api.BatchFailed, api.FarmRefused, api.FarmUnreachable}


def leaves(root: type[Exception]) -> list[type[Exception]]:
    below = root.__subclasses__()
    return [leaf for cls in below for leaf in leaves(cls)] if below else [root]


LEAVES = [
    leaf
    for root in (media.MediaError, cluster.InfraError, ladders.LadderError, api.ApiError)
    for leaf in leaves(root)
    if leaf not in OF_CLIENTS
]


@pytest.mark.parametrize("error", LEAVES, ids=lambda error: error.__name__)
def test_every_error_has_its_own_row_with_a_status_and_a_title(error: type[Exception]) -> None:
    assert error in problems.ROWS, f"{error.__module__}.{error.__name__} has no row in serve/problems.py"
    status, title = problems.ROWS[error]
    assert 400 <= status < 600
    assert title[0].isupper()


def test_no_two_errors_share_a_code() -> None:
    codes = [leaf.code for leaf in LEAVES]  # type: ignore[attr-defined]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch("[a-z][a-z0-9_]*", code) for code in codes)


def test_the_media_s_own_faults_are_the_sender_s_and_ours_are_ours() -> None:
    for error in leaves(media.RejectedMedia):
        assert problems.ROWS[error][0] == 422
    for error in (media.ProofFailed, media.EncodeFailed, media.MediaProcessFailed):
        assert problems.ROWS[error][0] >= 500


def test_an_error_that_nobody_foresaw_is_a_500_with_an_id_that_the_log_has(
    farm: ApiFarm, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("secret of the inside")

    monkeypatch.setattr(farm.store, "backlog", broken)
    with caplog.at_level(logging.ERROR):
        answer = farm.client().get("/metrics")
    assert answer.status_code == 500
    problem = answer.json()
    assert problem["code"] == "internal_error"
    assert "secret" not in answer.text
    assert problem["error_id"] in caplog.text
    assert "secret of the inside" in caplog.text


COMPLETE = "/v1/media/x/complete"
JSON = "application/json"


@pytest.mark.parametrize(
    ("method", "path", "content_type", "body", "status", "code"),
    [
        ("GET", "/nope", None, b"", 404, "not_found"),
        ("DELETE", "/v1/jobs", None, b"", 405, "method_not_allowed"),
        ("POST", COMPLETE, None, b"", 422, "invalid_request"),
        ("POST", COMPLETE, JSON, b"[]", 422, "invalid_request"),
        ("POST", COMPLETE, JSON, b"{}", 422, "invalid_request"),
        ("POST", COMPLETE, JSON, b'{"source": "\\ud800"}', 422, "invalid_request"),
        ("POST", COMPLETE, JSON, b"{", 400, "malformed_json"),
        ("POST", COMPLETE, JSON, b"\xff", 400, "malformed_json"),
        ("POST", COMPLETE, JSON, b"[" * 60_000, 400, "malformed_json"),
        ("POST", COMPLETE, JSON, b'{"metadata": ' + b"1" * 5000 + b"}", 400, "malformed_json"),
        ("POST", COMPLETE, JSON, b" " * 70_000, 413, "body_too_large"),
        ("POST", COMPLETE, "text/plain", b"source=x", 415, "unsupported_body"),
        ("POST", COMPLETE, None, b"{}", 415, "unsupported_body"),
        ("GET", "/v1/jobs?limit=0", None, b"", 422, "invalid_request"),
        ("GET", "/v1/jobs?cursor=%00", None, b"", 422, "invalid_request"),
        ("GET", "/v1/jobs/none", None, b"", 404, "job_missing"),
    ],
)
def test_every_refusal_is_a_problem_document_the_framework_s_own_included(
    farm: ApiFarm, method: str, path: str, content_type: str | None, body: bytes, status: int, code: str
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    answer = farm.client().request(method, path, content=body, headers=headers)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["type"] == f"/problems/{code}"
    assert isinstance(problem["retryable"], bool)


def test_a_body_without_a_declared_length_is_bounded_too(farm: ApiFarm) -> None:
    sent = 0

    def endless() -> Any:
        nonlocal sent
        while sent < 100_000_000:
            sent += 8192
            yield b" " * 8192

    with served(create_api(farm.deps)) as url:
        try:
            answer = httpx.post(f"{url}/v1/media/x/complete", content=endless(), timeout=20, trust_env=False)
        except httpx.HTTPError:  # it hung up while we were still sending, as it may
            pass
        else:
            assert answer.status_code == 413
    assert sent < 10_000_000


def test_a_problem_s_type_leads_to_its_meaning(farm: ApiFarm) -> None:
    problem = farm.client().get("/v1/jobs/none").json()
    meaning = farm.client().get(problem["type"]).json()
    assert (meaning["code"], meaning["status"]) == ("job_missing", 404)
    assert meaning["meaning"]


def test_a_replica_with_as_many_calls_as_it_may_have_says_when_to_come_back_and_is_alive(
    farm: ApiFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "IN_HAND_MAX", 0)
    client = farm.client()
    answer = client.get("/v1/jobs")
    assert (answer.status_code, answer.json()["code"], answer.json()["retryable"]) == (503, "overloaded", True)
    assert int(answer.headers["retry-after"]) > 0
    assert client.get("/healthz").status_code == 200
    monkeypatch.setattr(gate, "IN_HAND_MAX", 1)
    assert [client.get("/v1/jobs").status_code for _ in range(3)] == [200, 200, 200], "what has ended is not in hand"


def test_a_method_that_a_path_does_not_know_is_answered_with_all_that_it_does(farm: ApiFarm) -> None:
    allowed = {
        path: farm.client().delete(path).headers["allow"]
        for path in ("/v1/media/clip/complete", "/v1/batches", "/v1/jobs/1", "/healthz")
    }
    assert allowed == {
        "/v1/media/clip/complete": "POST",
        "/v1/batches": "GET, POST",
        "/v1/jobs/1": "GET",
        "/healthz": "GET",
    }
