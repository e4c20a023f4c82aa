"""A farm's API over a real SQLite store and a real folder, without Ray and without a network."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from pydantic import SecretStr

from cluster.batches.feed import Feed
from cluster.farm_settings import FarmSettings, WorkSettings
from cluster.jobs import Job, Renewal, SqlStore, open_store
from cluster.settings import DatabaseSettings, StorageSettings, load
from cluster.storage import open_storage
from ladders.catalog import Recipes
from serve import batch_results
from serve.api import Deps, create_api
from serve.cli import batch_commands
from serve.intake import Intake
from serve.quotas import Quotas
from serve.settings import ServeSettings
from tests.support.asgi_server import served
from tests.support.jobs import claim, finish
from tests.support.media import Sound, clip


@dataclass
class ApiFarm:
    """Everything behind one API."""

    store: SqlStore
    storage: StorageSettings
    uploads: Path
    deps: Deps
    nudges: list[None] = field(default_factory=list)

    def upload(self, name: str = "clip.mp4", content: bytes = b"not really media") -> str:
        """A source that exists; its URI."""
        path = self.uploads / name
        path.write_bytes(content)
        return path.as_uri()

    def client(self, host: str = "127.0.0.1", base_url: str = "http://127.0.0.1:8000", **options: Any) -> TestClient:
        """A client that connects from `host`."""
        return TestClient(create_api(self.deps), base_url=base_url, client=(host, 50000), **options)

    def accept(self, media_id: str = "clip", **body: Any) -> Job:
        """A job as the API makes it."""
        answer = self.client().post(f"/v1/media/{media_id}/complete", json={"source": self.upload()} | body)
        assert answer.status_code == 202, answer.text
        return self.store.get(answer.json()["job_id"])

    def start(self, job_id: str, progress: dict[str, Any] | None = None) -> Job:
        """The job as a dispatcher holds it."""
        (job,) = [job for job in claim(self.store, "test", 60.0, 10) if job.id == job_id]
        if progress is not None:
            self.store.renew_all([Renewal(job.id, job.fence, progress)], 60.0)
        return job


ERROR: dict[str, Any] = {"code": "not_media", "message": "no media", "retryable": False, "detail": {}}
PROGRESS: dict[str, Any] = {
    "stage": "encoding",
    "percent": 50.0,
    "renditions": {"360p": {"frames_done": 60, "frames": 120}},
    "reused": ["180p"],
    "audio": "encoding",
    "chunks": {"done": 1, "total": 4},
}

MakeFarm = Callable[..., ApiFarm]


@pytest.fixture
def make_farm(tmp_path: Path) -> Iterator[MakeFarm]:
    """Makes an ApiFarm; keyword arguments are fields of ServeSettings."""
    stores = []

    def make(**settings: Any) -> ApiFarm:
        uploads = tmp_path / "uploads"
        uploads.mkdir(exist_ok=True)
        storage = StorageSettings(data_dir=tmp_path, source_prefixes=(uploads.as_uri(),))
        url = SecretStr(f"sqlite:///{tmp_path / 'farm.db'}")
        store = open_store(DatabaseSettings(data_dir=tmp_path, database_url=url))
        store.upgrade()
        stores.append(store)
        nudges: list[None] = []
        recipes = Recipes()
        deps = Deps(
            store=store,
            storage_settings=storage,
            output=open_storage(storage.storage_uri, storage),
            recipes=recipes,
            settings=ServeSettings(**({"embedded": True} | settings)),
            intake=Intake(store, storage, recipes, Quotas(store)),
            nudge=lambda: nudges.append(None),
        )
        return ApiFarm(store, storage, uploads, deps, nudges)

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def farm(make_farm: MakeFarm) -> ApiFarm:
    """A farm without keys, for its own machine."""
    return make_farm()


@pytest.fixture
def running(farm: ApiFarm, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiFarm]:
    """A farm that FARM_URL leads to."""
    monkeypatch.setattr(batch_results, "POLL_S", 0.02)
    monkeypatch.setattr(batch_commands, "LINE_S", 0.0)
    with served(create_api(farm.deps)) as url:
        monkeypatch.setenv("FARM_URL", url)
        yield farm


@contextmanager
def fed(farm: ApiFarm, failing: tuple[str, ...] = ()) -> Iterator[None]:
    """Batches end while this lasts; the items `failing` fail."""
    stop = threading.Event()
    settings = FarmSettings(farm.storage, load(DatabaseSettings), load(WorkSettings))

    def feed() -> None:
        while not stop.wait(0.02):
            for batch in farm.store.batches.claim("test", 60, 1):
                one = Feed(batch, farm.store, settings)
                while not one.step(slots=2):
                    for job in claim(farm.store, "test", 60, 100):
                        failed = job.media_id in failing
                        finish(farm.store, job, "failed" if failed else "ready", error=ERROR if failed else None)

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)


def listed(farm: ApiFarm, *names: str, more: str = "") -> Path:
    """A manifest of pictures that exist."""
    lines = [f"{farm.upload(f'{name}.jpg')},{name}\n" for name in names]
    farm.upload("list.csv", ("source,media_id\n" + "".join(lines) + more).encode())
    return farm.uploads / "list.csv"


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FARM_SCRATCH_DIR", str(tmp_path / "scratch"))


@pytest.fixture(scope="session")
def small() -> Path:
    """Two seconds that take a moment to encode."""
    return clip(width=160, height=90, frames=60, audio=(Sound(),))


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """A recipe of the user's own, as cheap as one can be."""
    path = tmp_path / "quick.yaml"
    rungs = [
        {"name": "low", "width": 128, "height": 72, "crf": 30},
        {"name": "high", "width": 160, "height": 90, "crf": 30},
    ]
    video = {"codec": {"name": "h264", "preset": "ultrafast"}, "rungs": rungs}
    audio = {"renditions": [{"name": "a", "bitrate_bps": 64_000}]}
    stills = {"poster": False, "sprites": False}
    recipe = {"name": "quick", "video": video, "audio": audio, "stills": stills, "vmaf": "off"}
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path
