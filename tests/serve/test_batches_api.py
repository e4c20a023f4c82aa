"""Batches over HTTP, on a real store and a real folder; what feeds them is tested by itself."""

import io
import json
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cluster.batches.feed import Feed
from cluster.farm_settings import FarmSettings, WorkSettings
from cluster.jobs import Batch
from cluster.settings import DatabaseSettings, load
from serve.api.batch_views import batch_view
from serve.auth import new_key
from tests.serve.conftest import ApiFarm, MakeFarm
from tests.support.jobs import claim, finish

KEY, ENTRY = new_key("acme", "acme")
READER, READ_ENTRY = new_key("reader", "acme", "read")
OTHER, OTHER_ENTRY = new_key("other", "other")


def settings_of(farm: ApiFarm) -> FarmSettings:
    return FarmSettings(farm.storage, load(DatabaseSettings), load(WorkSettings))


def listed(farm: ApiFarm, count: int = 2) -> str:
    lines = [json.dumps({"source": farm.upload(f"{n}.jpg"), "media_id": f"m{n}"}) for n in range(count)]
    return farm.upload("list.jsonl", "\n".join([*lines, "{"]).encode())


def posted(farm: ApiFarm, **changes: Any) -> dict[str, Any]:
    answer = farm.client().post("/v1/batches", json={"source": listed(farm)} | changes)
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"/v1/batches/{body['batch_id']}"
    return body


def run(farm: ApiFarm, failing: str = "") -> Batch:
    """Feed the one batch to its end."""
    (batch,) = farm.store.batches.claim("test", 60, 1)
    feed = Feed(batch, farm.store, settings_of(farm))
    error = {"code": "not_media", "message": "no media", "retryable": False, "detail": {}}
    while not feed.step(slots=2):
        for job in claim(farm.store, "test", 60, 100):
            failed = job.media_id == failing
            status, why = ("failed", error) if failed else ("ready", None)
            finish(farm.store, job, status, error=why, manifest_key=None if failed else "a/m")
    return farm.store.batches.get(batch.id)


def test_a_batch_is_stored_before_the_answer_as_it_was_asked_for(farm: ApiFarm) -> None:
    body = posted(farm, recipe="web", kind="image", max_items=9, on_error="stop", org="acme")
    batch = farm.store.batches.get(body["batch_id"])
    assert (batch.recipe_name, batch.kind, batch.max_items, batch.on_error) == ("web", "image", 9, "stop")
    assert (batch.org, batch.priority, batch.source_etag is not None) == ("acme", "bulk", True)
    assert body["results"] == f"{farm.storage.storage_uri}/acme/batches/{batch.id}"
    assert (body["status"], body["items"], body["total"], body["eta"]) == ("listing", 0, None, None)


def test_the_same_request_is_the_same_batch_and_a_name_keeps_it(farm: ApiFarm) -> None:
    source, client = listed(farm), farm.client()
    body = {"source": source}
    first = client.post("/v1/batches", json=body).json()["batch_id"]
    assert client.post("/v1/batches", json=body).json()["batch_id"] == first
    named = {"headers": {"Idempotency-Key": "spring"}}
    second = client.post("/v1/batches", json=body, **named).json()["batch_id"]
    assert second != first
    assert client.post("/v1/batches", json=body, **named).json()["batch_id"] == second
    answer = client.post("/v1/batches", json=body | {"recipe": "web"}, **named)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_conflict")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"source": "file:///etc/passwd.csv"}, 403, "forbidden_uri"),
        ({"source": "file:///etc/**/*.jpg"}, 403, "forbidden_uri"),
        ({"source": "s3://elsewhere/"}, 403, "forbidden_uri"),
        ({"source": "UPLOADS/clip.mp4"}, 403, "forbidden_uri"),
        ({"source": "UPLOADS/gone.csv"}, 404, "source_missing"),
        ({"results": "file:///etc/results"}, 403, "forbidden_uri"),
        ({"recipe": "nope"}, 422, "unknown_recipe"),
        ({"recipe": "audio", "kind": "image"}, 422, "unsupported_kind"),
        ({"max_items": 0}, 422, "invalid_request"),
        ({"sauce": "x"}, 422, "invalid_request"),
    ],
)
def test_what_cannot_be_is_refused_with_its_code(farm: ApiFarm, body: dict[str, Any], status: int, code: str) -> None:
    asked = {"source": listed(farm)} | body
    asked["source"] = asked["source"].replace("UPLOADS", farm.uploads.as_uri())
    answer = farm.client().post("/v1/batches", json=asked)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert farm.store.batches.list_batches()[0] == []


def test_results_may_go_to_the_places_that_the_farm_lists(
    make_farm: MakeFarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARM_RESULT_PREFIXES", f"{tmp_path.as_uri()}/{{org}}")
    farm = make_farm()
    place = f"{tmp_path.as_uri()}/acme/spring"
    body = posted(farm, org="acme", results=f"{place}/")
    assert body["results"] == f"{place}/{body['batch_id']}"
    answer = farm.client().post("/v1/batches", json={"source": listed(farm), "org": "other", "results": place})
    assert answer.status_code == 403
    assert "FARM_RESULT_PREFIXES" in answer.json()["detail"]


def test_a_batch_tells_its_counts_its_failures_and_its_items(farm: ApiFarm) -> None:
    batch_id = posted(farm)["batch_id"]
    run(farm, failing="m1")
    client = farm.client()
    body = client.get(f"/v1/batches/{batch_id}").json()
    assert (body["status"], body["items"], body["total"]) == ("ready", 3, 3)
    assert body["counts"] == {
        "waiting": 0, "open": 0, "ready": 1, "failed": 1, "cancelled": 0, "current": 0, "refused": 1,
    }  # fmt: skip
    assert {(one["status"], one["code"], one["items"]) for one in body["failures"]} == {
        ("failed", "not_media", 1),
        ("refused", "invalid_item", 1),
    }
    page = client.get(f"/v1/batches/{batch_id}/items", params={"limit": 2}).json()
    rest = client.get(f"/v1/batches/{batch_id}/items", params={"cursor": page["next_cursor"]}).json()
    assert [(one["line"], one["status"]) for one in page["items"] + rest["items"]] == [
        (1, "ready"),
        (2, "failed"),
        (3, "refused"),
    ]
    failed = client.get(f"/v1/batches/{batch_id}/items", params={"status": "failed"}).json()["items"]
    assert [one["error"]["code"] for one in failed] == ["not_media"]
    assert client.get(f"/v1/jobs/{failed[0]['job_id']}").json()["batch_id"] == batch_id
    summaries = client.get("/v1/batches").json()["batches"]
    assert [one["batch_id"] for one in summaries] == [batch_id]


def test_retry_tries_the_failed_ones_again_and_cancel_ends_a_batch(farm: ApiFarm) -> None:
    batch_id = posted(farm)["batch_id"]
    run(farm, failing="m1")
    client = farm.client()
    assert client.post(f"/v1/batches/{batch_id}/cancel").status_code == 409
    body = client.post(f"/v1/batches/{batch_id}/retry").json()
    assert (body["status"], body["counts"]["waiting"]) == ("running", 1)
    assert run(farm).ready == 2
    other = posted(farm, recipe="web")["batch_id"]
    body = client.post(f"/v1/batches/{other}/cancel").json()
    assert (body["status"], body["cancel_requested"]) == ("running", True)
    assert client.post(f"/v1/batches/{other}/cancel").json() == body
    assert client.post(f"/v1/batches/{other}/retry").status_code == 409
    run(farm)
    assert client.get(f"/v1/batches/{other}").json()["status"] == "cancelled"


def test_results_are_there_once_the_batch_has_ended_and_come_over_http(farm: ApiFarm) -> None:
    batch_id = posted(farm, shard_rows=2)["batch_id"]
    client = farm.client()
    assert not client.get(f"/v1/batches/{batch_id}/results").json()["complete"]
    run(farm)
    parts = client.get(f"/v1/batches/{batch_id}/results").json()["parts"]
    assert [(part["name"], part["rows"]) for part in parts] == [("part-00000.parquet", 2), ("part-00001.parquet", 1)]
    answer = client.get(f"/v1/batches/{batch_id}/results/{parts[0]['part']}")
    assert int(answer.headers["Content-Length"]) == parts[0]["bytes"] == len(answer.content)
    rows = pq.read_table(io.BytesIO(answer.content)).to_pylist()
    assert [row["media_id"] for row in rows] == ["m0", "m1"]
    assert client.get(f"/v1/batches/{batch_id}/results/9").status_code == 404
    assert client.get(f"/v1/batches/{batch_id}/results/_SUCCESS").status_code == 422


def test_a_batch_is_its_orgs_own(make_farm: MakeFarm) -> None:
    farm = make_farm(embedded=False, api_keys=f"{ENTRY},{OTHER_ENTRY},{READ_ENTRY}")
    mine, reader, other = (farm.client(headers={"Authorization": f"Bearer {key}"}) for key in (KEY, READER, OTHER))
    batch_id = mine.post("/v1/batches", json={"source": listed(farm)}).json()["batch_id"]
    assert reader.get(f"/v1/batches/{batch_id}").status_code == 200
    assert reader.post("/v1/batches", json={"source": listed(farm)}).status_code == 403
    assert reader.post(f"/v1/batches/{batch_id}/cancel").status_code == 403
    assert mine.post("/v1/batches", json={"source": listed(farm), "org": "other"}).status_code == 403
    for path in ("", "/items", "/results", "/results/0"):
        answer = other.get(f"/v1/batches/{batch_id}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "batch_missing")
    for path in ("/cancel", "/retry"):
        assert other.post(f"/v1/batches/{batch_id}{path}").status_code == 404
    assert other.get("/v1/batches").json()["batches"] == []
    assert other.get("/v1/batches", params={"org": "acme"}).json()["batches"] == []


def test_speed_and_end_are_told_with_a_range_once_enough_has_ended(farm: ApiFarm) -> None:
    batch = farm.store.batches.get(posted(farm)["batch_id"])
    now = time.time()
    running: dict[str, Any] = {"items": 400, "ready": 200, "total": 1000}
    samples = [[now - 60.0, 0, 0], [now - 40.0, 100, 100], [now - 20.0, 150, 150], [now, 200, 200]]
    values = {name: getattr(batch, name) for name in batch.__dataclass_fields__} | running
    view = batch_view(Batch(**values | {"pace": samples}), [])
    assert view.items_per_s == pytest.approx(200 / 60, rel=0.05)
    assert view.eta is not None
    assert view.eta.likely_s == pytest.approx(800 * 60 / 200, rel=0.05)
    assert view.eta.earliest_s == pytest.approx(800 / 5, rel=0.05)
    assert view.eta.latest_s is None or view.eta.latest_s > view.eta.likely_s
    earlier = [[at, jobs] for at, jobs, _ in samples]  # as a version wrote them that counted jobs alone
    lacking: list[dict[str, Any]] = [{"pace": samples[:1]}, {"pace": []}, {"pace": samples, "total": None}]
    lacking += [{"pace": earlier}, {"pace": earlier, "finished_at": batch.created_at}]
    for less in lacking:
        assert batch_view(Batch(**values | less), []).eta is None


def test_the_end_of_a_batch_that_is_mostly_current_is_told_by_how_fast_that_is_seen(farm: ApiFarm) -> None:
    batch = farm.store.batches.get(posted(farm)["batch_id"])
    now = time.time()
    # Of a million items 99 in 100 are current: a thousand a second are looked at, ten a second are made.
    running = {"items": 60_200, "current": 59_400, "ready": 600, "total": 1_000_200}
    pace = [[now - 60.0, 0, 0], [now - 40.0, 200, 20_000], [now - 20.0, 400, 40_000], [now, 600, 60_000]]
    values = {name: getattr(batch, name) for name in batch.__dataclass_fields__} | running | {"pace": pace}
    view = batch_view(Batch(**values), [])
    assert view.items_per_s == pytest.approx(1000, rel=0.05)
    assert view.eta is not None
    assert view.eta.likely_s == pytest.approx(940_000 / 1000 + 200 / 10, rel=0.05)
    none_made = [[at, 0, settled] for at, _, settled in pace]
    view = batch_view(Batch(**values | {"pace": none_made, "ready": 0, "current": 60_000}), [])
    assert view.eta is not None
    assert view.eta.likely_s == pytest.approx(940, rel=0.05)
