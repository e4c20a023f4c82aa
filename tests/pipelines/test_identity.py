"""What gives a rendition another identity, and what does not."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from fractions import Fraction
from typing import Any

import pytest

from ladders.catalog import load_preset
from pipelines import version
from pipelines.identity import identities
from pipelines.inspect import InspectRequest, inspect
from pipelines.limits import Limits
from pipelines.plan import Plan
from pipelines.planner import make_plan
from tests.support.media import Sound, clip

SOURCE = ("s3://uploads/a.mp4", "etag")


@pytest.fixture(scope="module")
def plan() -> Plan:
    path = clip(audio=(Sound(),))
    found = inspect(InspectRequest(str(path), Limits(), "auto"), lambda _: None)
    return make_plan(found.info, found.index, load_preset("standard"), target_chunks=2)[0]


def variants(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """(where, `value` with another value there) for everything in it; of a tuple only its first item."""
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            for path, other in variants(getattr(value, field.name), f"{at}.{field.name}" if at else field.name):
                yield path, replace(value, **{field.name: other})
    elif isinstance(value, dict):
        for key in value:
            yield f"{at}[{key}]", value | {key: f"{value[key]}x"}
    elif isinstance(value, tuple):
        for path, other in variants(value[0], at) if value else ():
            yield path, (other, *value[1:])
    elif isinstance(value, bool):
        yield at, not value
    elif isinstance(value, int | float | Fraction):
        yield at, value + 1
    else:
        yield at, f"{value}x"


def first(plan: Plan, kind: str) -> str:
    """The identity of the first rendition or track, whatever it is called."""
    return next(name for folder, name in identities(plan, SOURCE).items() if folder.startswith(f"{kind}/"))


def test_everything_that_the_plan_decides_of_a_rendition_is_in_its_identity(plan: Plan) -> None:
    before = first(plan, "video")
    unchanged = {path for path, other in variants(plan) if first(other, "video") == before}
    every = {path for path, _ in variants(plan)}
    assert {path for path in unchanged if path.startswith("video.") and not path.startswith("video.chunks.")} == {
        "video.renditions.name", "video.renditions.mp4",
    }  # fmt: skip
    assert {path for path in every - unchanged if not path.startswith("video.")} == set()
    assert {"video.frames_sha256", "video.gop_frames", "video.renditions.options[crf]"} <= every - unchanged


def test_everything_that_the_plan_decides_of_a_track_is_in_its_identity(plan: Plan) -> None:
    before = first(plan, "audio")
    assert {path for path, other in variants(plan) if first(other, "audio") != before} == {
        "start_s", "duration_s", "audio.stream_index", "audio.language", "audio.bitrate_bps", "audio.channels",
        "audio.sample_rate_hz",
    }  # fmt: skip


def test_another_source_or_engine_is_another_identity(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    before = identities(plan, SOURCE)
    for other in (("s3://uploads/a.mp4", "etag 2"), ("s3://uploads/b.mp4", "etag")):
        assert not set(before.values()) & set(identities(plan, other).values())
    monkeypatch.setattr(version, "ENGINE", version.ENGINE + 1)
    assert not set(before.values()) & set(identities(plan, SOURCE).values())
