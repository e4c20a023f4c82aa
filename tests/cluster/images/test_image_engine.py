"""An engine: batches in, published media items out, on a folder and on an S3 server."""

import errno
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cluster.farm_settings import FarmSettings
from cluster.images.engine import ImageEngine
from cluster.settings import DatabaseSettings, StorageSettings
from cluster.storage import open_storage
from cluster.storage.sources import Sources, file_uri
from cluster.work import Work
from ladders.catalog import load_preset
from tests.support.jobs import work_of
from tests.support.seaweed import Seaweed

AVATAR = load_preset("avatar")
MADE = {"images/s150.webp", "images/s150.jpg", "images/s300.webp", "images/s300.jpg"}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FarmSettings:
    monkeypatch.setenv("FARM_SCRATCH_DIR", str(tmp_path / "scratch"))
    work = FarmSettings.load().work
    return FarmSettings(StorageSettings(data_dir=tmp_path / "data"), DatabaseSettings(data_dir=tmp_path), work)


@pytest.fixture
def engine(settings: FarmSettings) -> Iterator[ImageEngine]:
    started = ImageEngine(settings, 1)
    yield started
    started.close()


def picture(path: Path, size: tuple[int, int] = (640, 480)) -> Path:
    Image.linear_gradient("L").resize(size).convert("RGB").save(path)
    return path


def asked(settings: FarmSettings, uri: str, output_uri: str, name: str, **changes: Any) -> Work:
    with Sources(settings.storage, allowed=None) as sources:
        found = sources.open(uri)
    return work_of(
        job_id=name,
        media_id=name,
        kind="image",
        source_uri=uri,
        source_etag=found.etag,
        recipe=AVATAR.model_dump(mode="json"),
        recipe_digest=AVATAR.digest,
        output_uri=output_uri,
        scratch_uri=output_uri,
        **changes,
    )


def turn(engine: ImageEngine, *works: Work) -> dict[str, dict[str, Any]]:
    outcomes: dict[str, dict[str, Any]] = {}
    engine.turn(works, lambda job_id, outcome: outcomes.update({job_id: outcome}))
    return outcomes


def test_a_picture_is_published_with_its_manifest_and_report(
    engine: ImageEngine, settings: FarmSettings, tmp_path: Path
) -> None:
    output = (tmp_path / "out").as_uri()
    work = asked(settings, file_uri(picture(tmp_path / "photo.jpg")), output, "photo")
    outcome = turn(engine, work)["photo"]
    storage = open_storage(output, settings.storage)
    manifest = json.loads(storage.get_bytes(outcome["result"]["manifest_key"]))
    assert {artifact["path"] for artifact in manifest["artifacts"]} == MADE
    report = manifest["report"]
    assert (report["kind"], report["source"]["format"], report["source"]["width"]) == ("image", "jpeg", 640)
    assert report["path"]["engine"] == "pillow"
    assert 0 < report["stages"]["image"]["cpu_s"] < 10
    assert {one["variant"] for one in report["images"]} == {"s150", "s300"}
    folder = outcome["result"]["manifest_key"].removesuffix("manifest.json")
    for made in report["images"]:
        with storage.local_path(folder + made["path"]).open("rb") as file:  # type: ignore[union-attr]
            assert len(file.read()) == made["bytes"]
    assert not list((tmp_path / "scratch").glob("farm-*"))


def test_a_picture_that_is_published_does_not_fail_by_its_statistics(
    engine: ImageEngine, settings: FarmSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.images.turn.picture_figures", lambda *_: 1 / 0)
    work = asked(settings, file_uri(picture(tmp_path / "photo.jpg")), (tmp_path / "out").as_uri(), "photo")
    result = turn(engine, work)["photo"]["result"]
    assert (result["figures"], bool(result["manifest_key"])) == (None, True)


def test_the_same_picture_twice_is_one_publication(engine: ImageEngine, settings: FarmSettings, tmp_path: Path) -> None:
    uri = file_uri(picture(tmp_path / "photo.jpg"))
    work = asked(settings, uri, (tmp_path / "out").as_uri(), "photo")
    first = turn(engine, work)["photo"]["result"]
    assert turn(engine, work)["photo"]["result"]["revision"] == first["revision"]


def test_what_is_wrong_with_one_picture_is_told_of_it_alone(
    engine: ImageEngine, settings: FarmSettings, tmp_path: Path
) -> None:
    output = (tmp_path / "out").as_uri()
    (tmp_path / "text.jpg").write_text("no picture at all, only words\n" * 20)
    (tmp_path / "empty.jpg").write_bytes(b"")
    good = [asked(settings, file_uri(picture(tmp_path / f"{n}.jpg")), output, f"good-{n}") for n in range(3)]
    text = asked(settings, file_uri(tmp_path / "text.jpg"), output, "text")
    empty = asked(settings, file_uri(tmp_path / "empty.jpg"), output, "empty")
    changed = asked(settings, file_uri(picture(tmp_path / "changed.jpg")), output, "changed")
    picture(tmp_path / "changed.jpg", (320, 240))
    no_part = replace(good[0], job_id="no-part", recipe={"name": "audio"})
    outcomes = turn(engine, good[0], text, good[1], empty, changed, no_part, good[2])
    assert all("result" in outcomes[f"good-{n}"] for n in range(3))
    assert outcomes["text"]["media_error"]["code"] == "not_media"
    assert outcomes["empty"]["media_error"]["code"] == "empty_file"
    assert outcomes["changed"]["infra_error"]["code"] == "source_changed"
    assert outcomes["no-part"]["media_error"]["code"] == "unsupported_media"
    assert "image part" in outcomes["no-part"]["media_error"]["message"]


def test_a_picture_that_needs_more_memory_than_it_was_given_is_left_to_who_asked_and_the_others_are_turned(
    settings: FarmSettings, tmp_path: Path
) -> None:
    output = (tmp_path / "out").as_uri()
    large = asked(settings, file_uri(picture(tmp_path / "large.png", (9000, 9000))), output, "large")
    small = asked(settings, file_uri(picture(tmp_path / "small.jpg")), output, "small")
    bounded = replace(settings, work=settings.work.model_copy(update={"image_memory_bytes": 500_000_000}))
    engine = ImageEngine(bounded, 1)
    try:
        given = [replace(work, memory_bytes=200_000_000) for work in (large, small)]
        outcomes = turn(engine, *given)
        # What it needs, but no more than its process may have.
        assert outcomes["large"] == {"needs_bytes": 500_000_000}
        assert "result" in outcomes["small"]
        assert "needs_bytes" not in turn(engine, large)["large"]
    finally:
        engine.close()


def test_storage_that_refuses_is_the_farms_error_and_the_next_picture_is_turned(
    engine: ImageEngine, settings: FarmSettings, tmp_path: Path
) -> None:
    uri = file_uri(picture(tmp_path / "photo.jpg"))
    closed = tmp_path / "closed"
    closed.write_text("a file, where a folder should be")
    outcomes = turn(
        engine,
        asked(settings, uri, closed.as_uri(), "refused"),
        asked(settings, uri, (tmp_path / "out").as_uri(), "good"),
    )
    assert "infra_error" in outcomes["refused"]
    assert "result" in outcomes["good"]


def test_a_cancelled_picture_is_told_of_and_the_others_are_turned(
    engine: ImageEngine, settings: FarmSettings, tmp_path: Path
) -> None:
    output = (tmp_path / "out").as_uri()
    uri = file_uri(picture(tmp_path / "photo.jpg", (6000, 4000)))
    works = [asked(settings, uri, output, f"j{n}") for n in range(4)]
    outcomes: dict[str, dict[str, Any]] = {}
    begun = threading.Event()

    def tell(job_id: str, outcome: dict[str, Any]) -> None:
        outcomes[job_id] = outcome
        begun.set()

    turning = threading.Thread(target=engine.turn, args=(works, tell))
    turning.start()
    begun.wait(30)
    engine.cancel("j3")
    turning.join(60)
    assert outcomes["j3"]["infra_error"]["code"] == "worker_lost"
    assert all("result" in outcomes[f"j{n}"] for n in range(3))


def test_a_disk_that_is_full_loses_nothing_and_is_named(
    engine: ImageEngine, settings: FarmSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = asked(settings, file_uri(picture(tmp_path / "photo.jpg")), (tmp_path / "out").as_uri(), "photo")

    def no_room(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", no_room)
        outcome = turn(engine, work)["photo"]
    assert outcome["media_error"]["code"] == "scratch_full"
    assert outcome["media_error"]["retryable"]
    assert "FARM_SCRATCH_DIR" in outcome["media_error"]["message"]
    assert "result" in turn(engine, work)["photo"]


@pytest.mark.s3
def test_source_and_outputs_may_lie_on_s3(
    seaweed: Seaweed, bucket: str, s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARM_SCRATCH_DIR", str(tmp_path / "scratch"))
    storage = seaweed.settings(source_cache_dir=tmp_path / "sources")
    settings = FarmSettings(storage, DatabaseSettings(data_dir=tmp_path), FarmSettings.load().work)
    key = f"{s3_uri.removeprefix(f's3://{bucket}/')}/uploads/photo.jpg"
    seaweed.client().upload_file(str(picture(tmp_path / "photo.jpg")), bucket, key)
    engine = ImageEngine(settings, 1)
    try:
        outcome = turn(engine, asked(settings, f"s3://{bucket}/{key}", s3_uri, "photo"))["photo"]
    finally:
        engine.close()
    output = open_storage(s3_uri, storage)
    manifest = json.loads(output.get_bytes(outcome["result"]["manifest_key"]))
    assert {artifact["path"] for artifact in manifest["artifacts"]} == MADE
