from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import StoreUnavailable
from cluster.jobs import JobStatus
from ladders.catalog import Recipes
from serve.auth import new_key
from serve.intake import Intake
from serve.quotas import Quotas
from tests.serve.conftest import ApiFarm, MakeFarm
from tests.support.jobs import counts

SECRET = "whsec_" + "A" * 43 + "="
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def post(farm: ApiFarm, media_id: str = "clip", headers: dict[str, str] | None = None, **body: Any) -> Any:
    if "source" not in body:
        body["source"] = farm.upload()
    return farm.client().post(f"/v1/media/{media_id}/complete", json=body, headers=headers or {})


def test_an_accepted_upload_is_a_stored_job_before_the_answer(farm: ApiFarm) -> None:
    answer = post(farm, recipe="preview", kind="video", priority="interactive", metadata={"user": "u-17"})
    assert answer.status_code == 202
    job = farm.store.get(answer.json()["job_id"])
    assert answer.headers["location"] == f"/v1/jobs/{job.id}"
    assert int(answer.headers["retry-after"]) > 0
    assert (job.status, job.recipe_name, job.kind, job.priority) == (
        JobStatus.QUEUED,
        "preview",
        "video",
        "interactive",
    )
    assert job.metadata == {"user": "u-17"}
    assert job.recipe["name"] == "preview", "the whole recipe travels, so that a change of it changes no accepted job"
    assert job.source_bytes == len(b"not really media")


def test_the_dispatcher_is_told_of_an_accepted_job_and_of_nothing_else(farm: ApiFarm) -> None:
    post(farm)
    post(farm, kind="archive")
    assert len(farm.nudges) == 1


def test_the_same_idempotency_key_gives_the_same_answer_and_one_job(farm: ApiFarm) -> None:
    first = post(farm, headers={"Idempotency-Key": "k-1"})
    again = post(farm, headers={"Idempotency-Key": "k-1"})
    assert again.status_code == 202
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert counts(farm.store)[JobStatus.QUEUED] == 1


def test_the_same_idempotency_key_with_another_request_is_refused(farm: ApiFarm) -> None:
    post(farm, headers={"Idempotency-Key": "k-1"})
    for changed in ({"media_id": "other"}, {"recipe": "preview"}, {"metadata": {"a": "b"}}):
        answer = post(farm, headers={"Idempotency-Key": "k-1"}, **changed)
        assert answer.status_code == 422
        assert answer.json()["code"] == "idempotency_conflict"


def test_a_repeated_call_is_answered_although_its_upload_is_gone_by_now(farm: ApiFarm) -> None:
    source = farm.upload()
    first = post(farm, headers={"Idempotency-Key": "k-1"}, source=source)
    (farm.uploads / "clip.mp4").unlink()
    again = post(farm, headers={"Idempotency-Key": "k-1"}, source=source)
    assert (again.status_code, again.json()) == (202, first.json())
    assert post(farm, headers={"Idempotency-Key": "k-2"}, source=source).status_code == 404
    assert post(farm, source=source).status_code == 404
    other = post(farm, headers={"Idempotency-Key": "k-1"}, source=source, recipe="preview")
    assert other.json()["code"] == "idempotency_conflict"


def test_fifty_equal_calls_at_once_are_one_job(farm: ApiFarm) -> None:
    source = farm.upload()
    client = farm.client()

    def call(_: int) -> Any:
        return client.post("/v1/media/clip/complete", json={"source": source}, headers={"Idempotency-Key": "storm"})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(call, range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["job_id"] for answer in answers}) == 1


@pytest.mark.parametrize(
    ("uri", "status", "code"),
    [
        ("file:///etc/passwd", 403, "forbidden_uri"),
        ("file:///no/such/place.mp4", 403, "forbidden_uri"),
        ("s3://somebody-elses/clip.mp4", 403, "forbidden_uri"),
        ("{uploads}/../farm.db", 403, "forbidden_uri"),
        ("{uploads}/%2e%2e/farm.db", 403, "forbidden_uri"),
        ("{uploads}/link", 403, "forbidden_uri"),
        ("{uploads}-private/clip.mp4", 403, "forbidden_uri"),
        ("{uploads}/missing.mp4", 404, "source_missing"),
        ("{uploads}/empty.mp4", 422, "empty_file"),
        ("{uploads}/", 403, "forbidden_uri"),
        ("http://127.0.0.1/clip.mp4", 422, "invalid_request"),
        ("/etc/passwd", 422, "invalid_request"),
        ("", 422, "invalid_request"),
    ],
)
def test_a_source_that_may_not_be_read_or_is_not_there_is_refused_with_its_reason(
    farm: ApiFarm, uri: str, status: int, code: str
) -> None:
    farm.upload("empty.mp4", b"")
    (farm.uploads / "link").symlink_to("/etc/passwd")
    answer = post(farm, source=uri.format(uploads=farm.uploads.as_uri()))
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert counts(farm.store)[JobStatus.QUEUED] == 0


def test_kinds_that_nobody_turns_are_refused_by_a_code_that_says_so(farm: ApiFarm) -> None:
    answer = post(farm, kind="document")
    assert (answer.status_code, answer.json()["code"]) == (422, "unsupported_kind")


@pytest.mark.parametrize(("kind", "recipe"), [("image", "audio"), ("video", "web"), ("audio", "avatar")])
def test_a_recipe_that_makes_nothing_of_the_kind_is_refused_at_once(farm: ApiFarm, kind: str, recipe: str) -> None:
    answer = post(farm, kind=kind, recipe=recipe)
    assert (answer.status_code, answer.json()["code"]) == (422, "unsupported_kind")
    assert recipe in answer.json()["detail"]
    assert counts(farm.store)[JobStatus.QUEUED] == 0


def test_a_picture_is_accepted_as_a_video_is(farm: ApiFarm) -> None:
    answer = post(farm, kind="image", recipe="web")
    assert answer.status_code == 202
    assert farm.store.get(answer.json()["job_id"]).kind == "image"


def test_an_unknown_recipe_is_refused_and_a_file_name_is_no_recipe(farm: ApiFarm, tmp_path: Path) -> None:
    assert post(farm, recipe="standrd").json()["code"] == "unknown_recipe"
    assert post(farm, recipe=str(tmp_path / "mine.yaml")).json()["code"] == "invalid_request"


@pytest.mark.parametrize("media_id", [".", "..", "%2e%2e", "a%2fb", ".hidden", "-rf", "a b", "a" * 129, "ä"])
def test_a_media_id_that_is_no_safe_folder_name_is_refused(farm: ApiFarm, media_id: str) -> None:
    answer = post(farm, media_id=media_id)
    assert answer.status_code in (404, 405, 422)
    assert counts(farm.store)[JobStatus.QUEUED] == 0


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"sauce": "x"}, "/sauce"),
        ({"priority": "urgent"}, "/priority"),
        ({"org": "../other"}, "/org"),
        ({"metadata": {"a": 1}}, "/metadata/a"),
        ({"metadata": {"a": "x" * 513}}, "/metadata/a"),
        ({"metadata": {"a": "nul\x00"}}, "/metadata/a"),
        ({"metadata": {str(n): "x" for n in range(33)}}, "/metadata"),
        ({"source": "s3://bucket/" + "x" * 2048}, "/source"),
        ({"a/b~c": 1}, "/a~1b~0c"),
    ],
)
def test_a_wrong_field_is_named_by_its_pointer(farm: ApiFarm, body: dict[str, Any], pointer: str) -> None:
    answer = post(farm, **body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_a_plain_path_is_told_what_a_source_is(farm: ApiFarm) -> None:
    (part,) = post(farm, source="/srv/uploads/clip.mp4").json()["errors"]
    assert part["detail"] == "must be a URI: file:///folder/file or s3://bucket/key"


def test_a_callback_may_only_go_to_a_listed_host(make_farm: MakeFarm) -> None:
    farm = make_farm(callback_hosts="media.example.com", webhook_secrets=SECRET)
    refused = post(farm, callback_url="https://evil.example.com/hook")
    assert (refused.status_code, refused.json()["code"]) == (403, "callback_refused")
    accepted = post(farm, callback_url="https://media.example.com/hook")
    assert farm.store.get(accepted.json()["job_id"]).callback_url == "https://media.example.com/hook"


def test_a_key_of_one_org_gives_that_org_and_no_other(make_farm: MakeFarm) -> None:
    key, entry = new_key("acme", org="acme")
    farm = make_farm(api_keys=entry)
    headers = {"Authorization": f"Bearer {key}"}
    assert post(farm, headers=headers).json()["org"] == "acme"
    refused = post(farm, headers=headers, org="other")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


def test_a_key_that_may_only_read_cannot_hand_in_work(make_farm: MakeFarm) -> None:
    key, entry = new_key("viewer", scope="read")
    farm = make_farm(api_keys=entry)
    assert post(farm, headers={"Authorization": f"Bearer {key}"}).status_code == 403


def test_a_place_can_belong_to_the_org_that_asks(make_farm: MakeFarm) -> None:
    key, entry = new_key("ci", org="acme")
    farm = make_farm(api_keys=entry)
    for org in ("acme", "other"):
        (farm.uploads / org).mkdir()
        (farm.uploads / org / "clip.mp4").write_bytes(b"x")
    places = (f"{farm.uploads.as_uri()}/{{org}}/",)
    storage = farm.storage.model_copy(update={"source_prefixes": places})
    intake = Intake(farm.store, storage, farm.deps.recipes, Quotas(farm.store))
    client = replace(farm, deps=replace(farm.deps, intake=intake)).client(headers={"Authorization": f"Bearer {key}"})
    answers = [
        client.post("/v1/media/clip/complete", json={"source": f"{farm.uploads.as_uri()}/{org}/clip.mp4"})
        for org in ("acme", "other")
    ]
    assert [answer.status_code for answer in answers] == [202, 403]


def test_a_farm_offers_its_own_recipes(farm: ApiFarm, tmp_path: Path) -> None:
    text = "name: mine\naudio: {renditions: [{name: a, bitrate_bps: 64000}]}\n"
    (tmp_path / "mine.yaml").write_text(text)
    recipes = Recipes(tmp_path)
    intake = Intake(farm.store, farm.storage, recipes, Quotas(farm.store))
    farm = replace(farm, deps=replace(farm.deps, recipes=recipes, intake=intake))
    assert "mine" in [one["name"] for one in farm.client().get("/v1/recipes").json()["recipes"]]
    job = farm.store.get(post(farm, recipe="mine").json()["job_id"])
    assert job.recipe["audio"]["renditions"][0]["bitrate_bps"] == 64_000
    document = farm.client().get("/openapi.json").json()
    assert "mine" in document["components"]["schemas"]["CompleteRequest"]["properties"]["recipe"]["enum"]


def test_quality_can_be_measured_in_full_on_request(farm: ApiFarm) -> None:
    plain, full = (farm.store.get(post(farm, vmaf=asked).json()["job_id"]) for asked in (None, "full"))
    assert (plain.recipe["vmaf"], full.recipe["vmaf"]) == ("sampled", "full")
    assert plain.recipe_digest != full.recipe_digest
    assert post(farm, headers={"Idempotency-Key": "k"}, vmaf="full").status_code == 202
    assert post(farm, headers={"Idempotency-Key": "k"}, vmaf="off").json()["code"] == "idempotency_conflict"
    assert post(farm, vmaf="most").status_code == 422


def test_a_trace_is_carried_along_and_a_broken_one_is_ignored(farm: ApiFarm) -> None:
    for sent, stored in ((TRACE, TRACE), ("nonsense", None)):
        answer = post(farm, headers={"traceparent": sent})
        assert farm.store.get(answer.json()["job_id"]).traceparent == stored


def test_a_job_store_that_is_away_is_said_to_be_and_worth_another_try(
    farm: ApiFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("the job store cannot be reached")

    monkeypatch.setattr(farm.store, "create_all", away)
    answer = post(farm)
    assert answer.status_code == 503
    assert answer.json()["retryable"] is True
    assert int(answer.headers["retry-after"]) > 0
