import json
from typing import Any

import pytest

from cluster.jobs import JobStatus
from serve.auth import new_key
from tests.serve.conftest import PROGRESS, ApiFarm, MakeFarm
from tests.support.jobs import finish

REPORT: dict[str, Any] = {"renditions": [], "audio": []}


def publish(farm: ApiFarm, media_id: str = "clip") -> str:
    """A job that ended well, with a manifest of one artifact; its id."""
    job = farm.start(farm.accept(media_id).id, PROGRESS)
    key = f"default/{media_id}/rev1/manifest.json"
    artifact = {"path": "hls/master.m3u8", "sha256": "0" * 64, "bytes": 7, "content_type": "text/plain"}
    farm.deps.output.put_bytes(key, json.dumps({"artifacts": [artifact]}).encode())
    finish(farm.store, job, "ready", revision="rev1", manifest_key=key, report=REPORT)
    return job.id


def test_a_running_job_shows_its_progress_per_rendition(farm: ApiFarm) -> None:
    job = farm.start(farm.accept().id, PROGRESS)
    shown = farm.client().get(f"/v1/jobs/{job.id}").json()
    assert shown["status"] == "processing"
    assert shown["progress"]["renditions"] == {"360p": {"frames_done": 60, "frames": 120}}
    assert shown["progress"]["reused"] == ["180p"]
    assert shown["attempts"] == 1


def test_a_failed_job_shows_why(farm: ApiFarm) -> None:
    job = farm.start(farm.accept().id)
    error = {"code": "truncated_media", "message": "the file is cut off", "retryable": False, "detail": {}}
    finish(farm.store, job, "failed", error=error)
    shown = farm.client().get(f"/v1/jobs/{job.id}").json()
    assert (shown["status"], shown["error"]) == ("failed", error)


def test_a_media_item_shows_its_artifacts_with_addresses_and_its_report(farm: ApiFarm) -> None:
    job_id = publish(farm)
    media = farm.client().get("/v1/media/clip").json()
    assert (media["status"], media["job_id"], media["revision"]) == ("ready", job_id, "rev1")
    (artifact,) = media["artifacts"]
    assert artifact["key"] == "default/clip/rev1/hls/master.m3u8"
    assert artifact["url"] == f"{farm.storage.storage_uri}/default/clip/rev1/hls/master.m3u8"
    assert media["report"] == REPORT


@pytest.mark.parametrize("then", ["queued", "failed", "cancelled"])
def test_what_is_published_stays_visible_while_and_after_it_is_made_anew(farm: ApiFarm, then: str) -> None:
    publish(farm)
    first = farm.client().get("/v1/media/clip").json()
    again = farm.accept("clip")
    if then != "queued":
        again = farm.start(again.id)
        error = {"code": "empty_file", "message": "empty", "retryable": False, "detail": {}}
        finish(farm.store, again, then, error=error if then == "failed" else None)
    media = farm.client().get("/v1/media/clip").json()
    assert (media["status"], media["job_id"]) == (then, again.id)
    assert media["revision"] == first["revision"]
    assert media["artifacts"] == first["artifacts"] != []
    assert media["report"] == first["report"]
    assert (media["error"] is not None) == (then == "failed")


def test_jobs_are_listed_newest_first_in_pages(farm: ApiFarm) -> None:
    ids = [farm.accept(f"clip{number}").id for number in range(5)]
    client, seen, cursor = farm.client(), [], None
    for _ in range(3):
        page = client.get("/v1/jobs", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [job["job_id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
    assert seen == ids[::-1]
    assert cursor is None


def test_jobs_are_listed_by_status_and_org(farm: ApiFarm) -> None:
    mine, other = farm.accept("a", org="mine").id, farm.accept("b", org="other").id
    farm.client().post(f"/v1/jobs/{other}/cancel")

    def listed(**query: str) -> list[str]:
        return [job["job_id"] for job in farm.client().get("/v1/jobs", params=query).json()["jobs"]]

    assert listed(org="mine") == [mine]
    assert listed(status="cancelled") == [other]
    assert listed(status="queued", org="other") == []


def test_a_queued_job_is_cancelled_at_once_and_again_is_no_error(farm: ApiFarm) -> None:
    job = farm.accept()
    for _ in range(2):
        answer = farm.client().post(f"/v1/jobs/{job.id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")


def test_a_running_job_is_asked_to_stop_and_the_dispatcher_is_woken(farm: ApiFarm) -> None:
    job = farm.start(farm.accept().id)
    farm.nudges.clear()
    answer = farm.client().post(f"/v1/jobs/{job.id}/cancel")
    assert answer.json()["cancel_requested"] is True
    assert farm.store.wishes([job.id])[job.id].cancel
    assert len(farm.nudges) == 1


def test_a_ready_job_can_neither_be_cancelled_nor_repeated(farm: ApiFarm) -> None:
    job_id = publish(farm)
    for action in ("cancel", "retry"):
        answer = farm.client().post(f"/v1/jobs/{job_id}/{action}")
        assert (answer.status_code, answer.json()["code"]) == (409, "illegal_move")


def test_a_failed_job_can_be_repeated(farm: ApiFarm) -> None:
    job = farm.start(farm.accept().id)
    finish(farm.store, job, "failed", error={"code": "x", "message": "", "retryable": True, "detail": {}})
    answer = farm.client().post(f"/v1/jobs/{job.id}/retry")
    assert (answer.status_code, answer.json()["status"], answer.json()["error"]) == (200, "queued", None)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs/{job}"),
        ("GET", "/v1/jobs/{job}/events"),
        ("POST", "/v1/jobs/{job}/cancel"),
        ("POST", "/v1/jobs/{job}/retry"),
        ("GET", "/v1/media/clip?org=acme"),
        ("GET", "/v1/media/clip"),
    ],
)
def test_what_belongs_to_another_org_does_not_exist(make_farm: MakeFarm, method: str, path: str) -> None:
    (mine, mine_entry), (_, other_entry) = new_key("acme", org="acme"), new_key("other", org="other")
    theirs, theirs_entry = new_key("other2", org="other")
    farm = make_farm(api_keys=",".join((mine_entry, other_entry, theirs_entry)))
    body = {"source": farm.upload()}
    client = farm.client()
    made = client.post("/v1/media/clip/complete", json=body, headers={"Authorization": f"Bearer {mine}"})
    other = {"Authorization": f"Bearer {theirs}"}
    answer = client.request(method, path.format(job=made.json()["job_id"]), headers=other)
    unknown = client.request(method, path.format(job="0" * 36).replace("clip", "clop"), headers=other)
    assert answer.status_code == unknown.status_code == 404
    assert answer.json() == unknown.json(), "not even the wording tells that it exists"
    assert client.get("/v1/jobs", headers=other).json()["jobs"] == []
    assert farm.store.get(made.json()["job_id"]).status is JobStatus.QUEUED


def test_recipes_can_be_listed_and_read(farm: ApiFarm) -> None:
    client = farm.client()
    names = [recipe["name"] for recipe in client.get("/v1/recipes").json()["recipes"]]
    assert "standard" in names
    recipe = client.get("/v1/recipes/standard").json()
    assert recipe["video"]["rungs"]
    missing = client.get("/v1/recipes/standrd")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


def test_metrics_count_open_jobs_by_class_and_status(farm: ApiFarm) -> None:
    farm.accept()
    text = farm.client().get("/metrics").text
    assert 'farm_queue_jobs{priority="normal",status="queued"} 1.0' in text.splitlines()
    assert 'farm_queue_jobs{priority="bulk",status="processing"} 0.0' in text.splitlines()


def test_a_farm_whose_job_store_is_away_is_healthy_but_not_ready(
    farm: ApiFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        from cluster.errors import StoreUnavailable

        raise StoreUnavailable("the job store cannot be reached")

    monkeypatch.setattr(farm.store, "ping", away)
    client = farm.client()
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503


def events_of(farm: ApiFarm, job_id: str, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
    found = []
    with farm.client().stream("GET", f"/v1/jobs/{job_id}/events", headers=headers or {}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for block in answer.read().decode().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if fields:
                found.append(fields | {"data": json.loads(fields["data"])})
    return found


def test_the_event_stream_tells_the_whole_story_and_ends_with_the_job(farm: ApiFarm) -> None:
    job_id = publish(farm)
    events = events_of(farm, job_id)
    kinds = [event["event"] for event in events]
    assert kinds == ["progress", "queued", "started", "ready", "end"]
    assert events[0]["data"]["progress"]["renditions"]["360p"]["frames_done"] == 60
    assert events[-1]["data"]["status"] == "ready"
    ids = [int(event["id"]) for event in events if "id" in event]
    assert ids == sorted(ids)


def test_the_event_stream_resumes_after_the_last_event_that_was_seen(farm: ApiFarm) -> None:
    job_id = publish(farm)
    seen = next(event["id"] for event in events_of(farm, job_id) if event["event"] == "queued")
    rest = [event["event"] for event in events_of(farm, job_id, {"Last-Event-ID": seen})]
    assert "queued" not in rest
    assert {"started", "ready", "end"} <= set(rest)
