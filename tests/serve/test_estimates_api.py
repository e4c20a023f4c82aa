"""Estimates over HTTP, by a real store's history."""

from dataclasses import replace
from typing import Any

import pytest

from cluster.nodes import Node
from serve.api import create_api
from serve.auth import new_key
from tests.serve.conftest import ApiFarm, MakeFarm
from tests.support.jobs import finish

CLIP = {"kind": "video", "width": 1280, "height": 720, "codec": "h264", "frame_rate": 30, "duration_s": 60, "tracks": 1}
PHOTO = {"kind": "image", "items": 10, "width": 4000, "height": 3000, "codec": "jpeg"}
PIXELS = 60 * 30 * 1280 * 720


def estimate(farm: ApiFarm, *sources: dict[str, Any], recipe: str = "preview") -> dict[str, Any]:
    answer = farm.client().post("/v1/estimates", json={"recipe": recipe, "sources": sources})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def encoded(farm: ApiFarm, cpu_s: float) -> None:
    """A job that took so long for such a clip."""
    job = farm.start(farm.accept(recipe="preview").id)
    what = "cpu encode h264 veryfast"
    done = [[what, "plain", 0, PIXELS, cpu_s], ["wall video", "plain", 0, cpu_s, cpu_s]]
    done.append(["bytes h264 crf28 1024", "", 0, PIXELS, 10_000_000])
    figures = {"kind": "video", "expected": [[what, 0, PIXELS]], "done": done, "bytes": 0}
    finish(farm.store, job, "ready", figures=figures)
    assert farm.store.fold_figures() == 1


def test_an_estimate_of_a_new_farm_says_that_it_rests_on_nothing_of_its_own(farm: ApiFarm) -> None:
    found = estimate(farm, CLIP, PHOTO)
    assert estimate(farm, {"kind": "video", "items": 3})["unsuited"] == 3, "of no size"
    assert (found["items"], found["unsuited"], found["known_share"], found["history_jobs"]) == (11, 0, 0, 0)
    assert (found["past_cpu"], found["past_bytes"], found["lanes"], found["wall_s"]) == (None, None, {}, None)
    assert found["cpu_hours"]["low"] < found["cpu_hours"]["likely"] < found["cpu_hours"]["high"]
    assert found["currency"] == "USD"
    assert found["cost"]["likely"] == pytest.approx(found["cpu_hours"]["likely"] * 0.045)


def test_an_estimate_follows_what_the_farm_measured_and_the_lanes_that_it_has(farm: ApiFarm) -> None:
    for _ in range(7):
        encoded(farm, cpu_s=3600.0)
    farm.deps = replace(farm.deps, nodes=lambda: [Node("a", "127.0.0.1", 2, 0, 0)])
    found = estimate(farm, CLIP | {"items": 4})
    assert found["cpu_hours"]["likely"] > 4
    assert found["known_share"] > 0.5
    assert (found["lanes"], found["history_jobs"]) == ({"plain": 2}, 7)
    assert found["wall_s"]["likely"] == pytest.approx(3600 * found["cpu_hours"]["likely"] / 2, rel=0.01)
    assert (found["past_cpu"]["jobs"], found["past_cpu"]["median"]) == (6, 1.0)
    assert found["cpu_hours"]["high"] == pytest.approx(found["cpu_hours"]["likely"])
    assert 40_000_000 < found["output_bytes"]["likely"] < 44_000_000, "with its sound"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"recipe": "nope", "sources": []}, "unknown_recipe"),
        ({"sources": [{"kind": "film", "items": 1}]}, "invalid_request"),
        ({"sources": [CLIP | {"width": -1}]}, "invalid_request"),
        ({"sources": [PHOTO] * 301}, "invalid_request"),
    ],
)
def test_what_cannot_be_estimated_is_refused_with_its_code(farm: ApiFarm, body: dict[str, Any], code: str) -> None:
    answer = farm.client().post("/v1/estimates", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text


def test_a_key_that_may_only_read_may_ask_and_nobody_may_without_one(make_farm: MakeFarm) -> None:
    key, entry = new_key("reader", "acme", "read")
    farm = make_farm(api_keys=entry, embedded=False)
    client = farm.client(base_url="http://farm.example.com")
    assert client.post("/v1/estimates", json={"sources": [CLIP]}).status_code == 401
    headers = {"Authorization": f"Bearer {key}"}
    assert client.post("/v1/estimates", json={"sources": [CLIP]}, headers=headers).status_code == 200
    assert create_api(farm.deps).openapi()["paths"]["/v1/estimates"]
