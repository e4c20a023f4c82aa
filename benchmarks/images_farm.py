"""200 photos through the API of a whole farm on this machine, beside the engine's media processes alone."""

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from benchmarks.images_lanes import Lanes
from benchmarks.photos import write_photos
from cluster.farm_settings import FarmSettings
from cluster.images.local import turn_here
from cluster.local import local_work
from cluster.storage.sources import source_of
from ladders.catalog import load_preset
from serve.client import FarmClient
from serve.embedded import EmbeddedFarm, free_port
from serve.settings import ClientSettings

CLIENTS = 8
RECIPE = "social"  # four sizes, each as WebP and JPEG
REACH = 0.7  # of the engine's speed, by whole jobs
PHOTOS = {12: 10, 2: 10}  # megapixels → different ones
JOBS = 200


def whole_jobs() -> dict[str, Any]:
    """Images per second of the engine alone, with publishing, and of whole jobs; and how long one takes when idle."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = [Path(path) for megapixels, many in PHOTOS.items() for path in write_photos(folder, megapixels, many)]
        photos = [made[number % len(made)] for number in range(JOBS)]
        settings = FarmSettings.load()
        engine = _engine_alone(photos, folder / "engine", settings)
        published = _with_publishing(photos, folder / "published", settings)
        found = _through_the_api(photos, folder / "farm", folder)
    return {
        "photos": JOBS,
        "reach": REACH,
        "clients": CLIENTS,
        "engine_per_s": round(JOBS / engine, 2),
        "engine_and_publishing_per_s": round(JOBS / published, 2),
        "jobs_per_s": round(JOBS / found["all_s"], 2),
        "ratio": round(engine / found["all_s"], 3),
        "ratio_to_engine_and_publishing": round(published / found["all_s"], 3),
        "idle_job_s": found["idle_job_s"],
    }


def _engine_alone(photos: Sequence[Path], folder: Path, settings: FarmSettings) -> float:
    """Seconds that the media processes take, as many as there are slots; nothing is fetched or published."""
    image = load_preset(RECIPE).model_dump(mode="json")["image"]
    with Lanes(settings.work.slots, settings.work.image_batch, settings) as lanes:
        wall_s = lanes.run([str(photo) for photo in photos], folder, image)["wall_s"]
    shutil.rmtree(folder)
    return wall_s


def _with_publishing(photos: Sequence[Path], folder: Path, settings: FarmSettings) -> float:
    works = []
    for number, path in enumerate(photos):
        place = (folder / str(number)).as_uri()
        found = source_of(str(path), settings.storage)
        works.append(local_work(found, load_preset(RECIPE), place, place, settings, job_id=str(number)))
    began = time.monotonic()
    failed: list[Any] = []
    turn_here(works, settings, lambda _, outcome: None if "result" in outcome else failed.append(outcome))
    assert not failed, failed[0]
    return time.monotonic() - began


def _through_the_api(photos: Sequence[Path], data: Path, folder: Path) -> dict[str, float]:
    before = Path.cwd()
    os.chdir(folder)  # an embedded farm reads what lies below the folder it was started in
    try:
        with EmbeddedFarm(port=free_port(), data_dir=data, isolated=True) as farm:
            settings = ClientSettings(url=farm.url, api_key=SecretStr(""))
            with FarmClient(settings) as client:
                _wait(client, [_submit(client, photos[0])])  # the engine is up now
                idle = [_job_s(_wait(client, [_submit(client, photo)])[0]) for photo in photos[:5]]
            began = time.monotonic()

            def submit(number: int) -> list[str]:
                with FarmClient(settings) as client:
                    return [_submit(client, photo) for photo in photos[number::CLIENTS]]

            with ThreadPoolExecutor(CLIENTS) as pool:
                jobs = [job for mine in pool.map(submit, range(CLIENTS)) for job in mine]
            _until_idle(farm.url)
            all_s = time.monotonic() - began
            with FarmClient(settings) as client:
                _wait(client, jobs)
    finally:
        os.chdir(before)
    return {"all_s": all_s, "idle_job_s": round(sorted(idle)[len(idle) // 2], 3)}


def _submit(client: FarmClient, path: Path) -> str:
    body = {"source": path.as_uri(), "recipe": RECIPE, "kind": "image"}
    return str(client.complete(f"photo-{uuid.uuid4().hex}", body)["job_id"])


def _wait(client: FarmClient, jobs: Sequence[str]) -> list[dict[str, Any]]:
    done = []
    for job_id in jobs:
        job = client.job(job_id)
        while job["status"] in ("queued", "processing"):
            time.sleep(0.25)
            job = client.job(job_id)
        assert job["status"] == "ready", job["error"]
        done.append(job)
    return done


def _until_idle(url: str) -> None:
    """Asked for all jobs at once: each client following its own would be measured instead of the jobs."""
    with httpx.Client(base_url=url) as client:
        while any(
            client.get("/v1/jobs", params={"status": status, "limit": 1}).json()["jobs"]
            for status in ("queued", "processing")
        ):
            time.sleep(0.2)


def _job_s(job: dict[str, Any]) -> float:
    return (datetime.fromisoformat(job["finished_at"]) - datetime.fromisoformat(job["created_at"])).total_seconds()
