"""An engine with a GPU process, which has DALI on the processors or on a GPU: batches in, published media items out."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("nvidia.dali", reason="DALI is installed on GPU nodes and for development, on Linux only")

from cluster.farm_settings import FarmSettings
from cluster.images.engine import ImageEngine
from cluster.local import local_work
from cluster.settings import DatabaseSettings, StorageSettings
from cluster.storage import open_storage
from cluster.storage.sources import source_of
from cluster.work import Work
from ladders.catalog import load_preset
from tests.support.gpu import DEVICES, Place
from tests.support.image_speed import lying, misbehave, photo, save_record, truncated, with_alpha

Open = Callable[[], ImageEngine]
Outcomes = dict[str, dict[str, Any]]


@pytest.fixture(params=DEVICES)
def place(request: pytest.FixtureRequest) -> Place:
    """Where DALI works."""
    found: Place = request.param
    return found


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FarmSettings:
    monkeypatch.setenv("FARM_SCRATCH_DIR", str(tmp_path / "scratch"))
    monkeypatch.setenv("FARM_IMAGE_SPEED_FILE", str(tmp_path / "speed.json"))
    work = FarmSettings.load().work
    return FarmSettings(StorageSettings(data_dir=tmp_path / "data"), DatabaseSettings(data_dir=tmp_path), work)


@pytest.fixture
def opened(settings: FarmSettings, place: Place) -> Iterator[Open]:
    """Opens the engine, with two lanes, and DALI where the record says so."""
    engines = []

    def open_engine() -> ImageEngine:
        engines.append(ImageEngine(settings, 2, device_id=place.device_id))
        return engines[-1]

    yield open_engine
    for engine in engines:
        engine.close()


def asked(settings: FarmSettings, folder: Path, *paths: Path) -> list[Work]:
    recipe, out, scratch = load_preset("avatar"), (folder / "out").as_uri(), (folder / "scratch").as_uri()
    return [
        replace(
            local_work(source_of(str(path), settings.storage), recipe, out, scratch, settings),
            job_id=path.stem,
            media_id=path.stem,
            publish_prefix=None,
        )
        for path in paths
    ]


def turn(engine: ImageEngine, works: list[Work]) -> Outcomes:
    outcomes: Outcomes = {}

    def tell(job_id: str, outcome: dict[str, Any]) -> None:
        assert job_id not in outcomes, "told twice"
        outcomes[job_id] = outcome

    engine.turn(works, tell)
    assert outcomes.keys() == {work.job_id for work in works}
    return outcomes


def paths_of(outcomes: Outcomes, works: list[Work]) -> list[dict[str, str]]:
    return [outcomes[work.job_id]["result"]["report"]["path"] for work in works]


def test_good_photos_go_by_dali_odd_ones_by_the_processors_and_bad_ones_fail_alone(
    opened: Open, place: Place, settings: FarmSettings, tmp_path: Path
) -> None:
    save_record(tmp_path / "speed.json", device=place.device)
    good = asked(settings, tmp_path, *[photo(tmp_path / f"{n}.jpg") for n in range(3)])
    odd = [with_alpha(tmp_path / "alpha.png"), truncated(tmp_path / "cut.jpg"), lying(tmp_path / "lies.jpg")]
    alpha, cut, lies = asked(settings, tmp_path, *odd)
    (changed,) = asked(settings, tmp_path, photo(tmp_path / "changed.jpg"))
    with_alpha(tmp_path / "changed.jpg")

    outcomes = turn(opened(), [good[0], alpha, cut, good[1], changed, lies, good[2]])

    assert paths_of(outcomes, good) == [{"lane": "gpu", "engine": "dali", "why": "baseline sRGB JPEG"}] * 3
    assert paths_of(outcomes, [alpha]) == [
        {"lane": "cpu", "engine": "vips", "why": "PNG with alpha; not by DALI: not a JPEG"}
    ]
    assert outcomes[cut.job_id]["media_error"]["code"] == "truncated_media"
    assert outcomes[lies.job_id]["media_error"]["code"] == "corrupt_media"
    assert outcomes[changed.job_id]["infra_error"]["code"] == "source_changed"
    storage = open_storage(good[0].output_uri, settings.storage)
    result = outcomes[good[0].job_id]["result"]
    manifest = json.loads(storage.get_bytes(result["manifest_key"]))
    assert {one["path"] for one in manifest["artifacts"]} == {one["path"] for one in result["report"]["images"]}
    assert 0 < result["report"]["stages"]["image"]["cpu_s"] < 10
    assert not list((tmp_path / "scratch").glob("farm-*"))


@pytest.mark.parametrize("name", ["crash.jpg", "hang.jpg"])
def test_a_batch_whose_gpu_process_fails_is_turned_all_the_same(
    opened: Open, place: Place, settings: FarmSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    save_record(tmp_path / "speed.json", device=place.device)
    misbehave(tmp_path, monkeypatch)
    engine = opened()
    works = asked(settings, tmp_path, *[photo(tmp_path / each) for each in ("a.jpg", name, "b.jpg", "c.jpg")])
    if name == "hang.jpg":
        threading.Timer(1.0, _kill_gpu_process).start()

    found = paths_of(turn(engine, works), works)

    assert (found[1]["lane"], found[1]["engine"]) == ("cpu", "pillow")
    assert "8-bit sRGB JPEG without alpha; not by DALI: the GPU process failed" in found[1]["why"]
    again = turn(engine, works[:1])
    assert paths_of(again, works[:1])[0]["lane"] == "gpu"


def _kill_gpu_process() -> None:
    (process,) = [one for one in psutil.Process().children() if one.cmdline()[-1:] == ["images-gpu"]]
    process.kill()


def test_a_batch_that_finds_the_gpu_busy_and_one_that_is_too_small_go_to_the_processors(
    opened: Open, place: Place, settings: FarmSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_record(tmp_path / "speed.json", device=place.device, batch=2)
    misbehave(tmp_path, monkeypatch)
    engine = opened()
    slow = asked(settings, tmp_path, photo(tmp_path / "slow.jpg"), photo(tmp_path / "a.jpg"))
    others = asked(settings, tmp_path, photo(tmp_path / "b.jpg"), photo(tmp_path / "c.jpg"))
    outcomes: Outcomes = {}
    begun = threading.Event()

    def tell(job_id: str, outcome: dict[str, Any]) -> None:
        outcomes[job_id] = outcome
        begun.set()

    turning = threading.Thread(target=engine.turn, args=(slow, tell))
    turning.start()
    assert begun.wait(30)

    busy = paths_of(turn(engine, others), others)

    assert all(one["lane"] == "cpu" and "the GPU had another batch" in one["why"] for one in busy)
    (small,) = paths_of(turn(engine, others[:1]), others[:1])
    assert small["why"] == "8-bit sRGB JPEG without alpha; not by DALI: DALI pays from 2 pictures on"
    assert outcomes.keys() == {"a"}
    (tmp_path / "go").touch()
    turning.join(30)
    assert [one["lane"] for one in paths_of(outcomes, slow)] == ["gpu", "gpu"]


def test_a_cancelled_picture_ends_at_once_and_the_others_are_turned(
    opened: Open, place: Place, settings: FarmSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_record(tmp_path / "speed.json", device=place.device)
    misbehave(tmp_path, monkeypatch)
    engine = opened()
    works = asked(settings, tmp_path, *[photo(tmp_path / name) for name in ("slow.jpg", "a.jpg", "b.jpg")])
    outcomes: Outcomes = {}
    told = threading.Event()

    def tell(job_id: str, outcome: dict[str, Any]) -> None:
        outcomes[job_id] = outcome
        if job_id == "slow":
            told.set()
        elif len(outcomes) == 2:
            engine.cancel("slow")

    turning = threading.Thread(target=engine.turn, args=(works, tell))
    turning.start()
    assert told.wait(30), "it is told of while the process still works on it"
    (tmp_path / "go").touch()
    turning.join(30)

    assert outcomes["slow"]["infra_error"]["code"] == "worker_lost"
    assert [one["lane"] for one in paths_of(outcomes, works[1:])] == ["gpu", "gpu"]
    assert not list((tmp_path / "scratch").glob("farm-*"))


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"device": "NVIDIA L4"}, "measured with other device: NVIDIA L4"),
        ({"batch": 32}, "DALI pays from 32 pictures on, and batches have 16 (FARM_IMAGE_BATCH"),
        (None, "FARM_IMAGE_SPEED_FILE"),
    ],
)
def test_without_a_record_that_holds_here_the_processors_turn_all_and_the_log_says_why(
    opened: Open,
    place: Place,
    settings: FarmSettings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    record: dict[str, Any] | None,
    says: str,
) -> None:
    caplog.set_level(logging.INFO)
    if record is not None:
        save_record(tmp_path / "speed.json", **{"device": place.device, **record})
    works = asked(settings, tmp_path, photo(tmp_path / "a.jpg"), photo(tmp_path / "b.jpg"))

    outcomes = turn(opened(), works)

    expected = {"lane": "cpu", "engine": "pillow", "why": "8-bit sRGB JPEG without alpha"}
    assert paths_of(outcomes, works) == [expected] * 2
    assert "the processors turn all pictures" in caplog.text
    assert says in caplog.text
