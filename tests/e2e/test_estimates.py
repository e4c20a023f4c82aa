"""A farm on this machine learns from a batch what the next one will take."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cluster.jobs import open_store
from cluster.settings import DatabaseSettings
from serve.batch_results import batch_table
from serve.cli import run
from serve.embedded import EmbeddedFarm, free_port
from tests.support.media import Sound, clip

PICTURES, CLIPS = 24, 6  # of each more than an error of past estimates is told from


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("farm")


@pytest.fixture(scope="module")
def farm(data: Path) -> Iterator[EmbeddedFarm]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir("/")  # an embedded farm reads what lies below the folder it was started in
        with EmbeddedFarm(port=free_port(), data_dir=data, isolated=True) as started:
            yield started


def material(folder: Path) -> Path:
    """Some clips and pictures that no other call gives."""
    folder.mkdir()
    for number in range(PICTURES):
        Image.effect_noise((640, 480), 40 + number).convert("RGB").save(folder / f"{number}.jpg", quality=90)
    source = clip(width=320, height=180, frames=75, gop=30, audio=(Sound(),))
    for number in range(CLIPS):
        (folder / f"{number}.mp4").write_bytes(source.read_bytes())
    return folder


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert run(["batch", "run", *map(str, arguments), "--recipe", "standard", "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


@pytest.mark.slow
def test_after_one_batch_the_next_is_estimated_to_within_a_factor_of_two(
    farm: EmbeddedFarm, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FARM_URL", farm.url)
    first, second = material(tmp_path / "first"), material(tmp_path / "second")
    before = command(capsys, first, "--estimate")["estimate"]
    assert (before["known_share"], before["past_cpu"], sum(before["lanes"].values()) > 0) == (0, None, True)
    command(capsys, first)
    _learned(data, PICTURES + CLIPS)
    estimate = command(capsys, second, "--estimate")["estimate"]
    assert estimate["known_share"] == pytest.approx(1.0)
    assert estimate["history_jobs"] == PICTURES + CLIPS
    done = command(capsys, second)
    table = batch_table(done["batch_id"])
    jobs = {row["job_id"]: row for row in table.to_pylist()}
    cpu_hours = sum(row["job_cpu_s"] for row in jobs.values()) / 3600
    assert 0.5 < estimate["cpu_hours"]["likely"] / cpu_hours < 2
    made = sum(row["bytes"] for row in table.to_pylist())
    assert 0.5 < estimate["output_bytes"]["likely"] / made < 2
    assert sum(table.column("cost").to_pylist()) == pytest.approx(done["cost"], abs=1e-5)
    assert 0.5 < estimate["cost"]["likely"] / done["cost"] < 2
    assert done["cost"] == pytest.approx(cpu_hours * 0.045, rel=0.05)
    assert set(table.column("currency").to_pylist()) == {"USD"}
    assert done["currency"] == "USD"
    manifest = json.loads((data / "media" / table.column("manifest_key")[0].as_py()).read_text())
    assert "cost" not in manifest["report"], "a CDN shows it to everybody"
    _learned(data, 2 * (PICTURES + CLIPS))
    after = command(capsys, second, "--estimate")["estimate"]
    assert after["past_cpu"]["jobs"] >= 5
    assert after["past_cpu"]["median"] < 2


def _learned(data: Path, jobs: int) -> None:
    """Wait until the dispatcher has added what so many jobs did, each once."""
    store = open_store(DatabaseSettings(database_url=f"sqlite:///{data}/farm.db"))
    deadline = time.monotonic() + 30
    while store.history().jobs < jobs:
        assert time.monotonic() < deadline, store.history()
        time.sleep(0.3)
    assert (store.history().jobs, store.fold_figures()) == (jobs, 0)
    store.close()
