"""A batch of many tiny pictures through a whole farm on this machine: speed, and its processes' memory over time."""

import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import SecretStr

from benchmarks import resources
from serve.batch_results import batch_table
from serve.client import FarmClient
from serve.embedded import EmbeddedFarm, free_port
from serve.settings import ClientSettings

DIFFERENT = 100  # pictures; the others are links to them
SIDE = 48  # px
SAMPLE_S = 5.0
RECIPE = """
name: tiny
image:
  variants:
    - {name: t, fit: inside, width: 32, formats: [{name: jpeg, quality: 70}]}
"""


def through_the_farm(items: int) -> dict[str, Any]:
    """Items a second of the whole batch, and megabytes of each kind of process at ten moments of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder, items)
        before, kept = Path.cwd(), dict(os.environ)
        os.chdir(folder)  # an embedded farm reads what lies below the folder it was started in
        os.environ["FARM_RECIPES_DIR"] = str(folder / "recipes")
        try:
            with EmbeddedFarm(port=free_port(), data_dir=folder / "data") as farm:
                return _measured(ClientSettings(url=farm.url, api_key=SecretStr("")), folder, items)
        finally:
            os.chdir(before)
            os.environ.clear()
            os.environ.update(kept)


def _write(folder: Path, items: int) -> None:
    (folder / "recipes").mkdir()
    (folder / "recipes" / "tiny.yaml").write_text(RECIPE)
    pictures = folder / "in"
    pictures.mkdir()
    with (folder / "list.jsonl").open("w") as manifest:
        for number in range(items):
            path = pictures / f"{number:07d}.jpg"
            if number < DIFFERENT:
                Image.effect_noise((SIDE, SIDE), 40).convert("RGB").save(path)
            else:
                path.hardlink_to(pictures / f"{number % DIFFERENT:07d}.jpg")
            manifest.write(json.dumps({"source": path.as_uri(), "media_id": f"p{number}"}) + "\n")


def _measured(settings: ClientSettings, folder: Path, items: int) -> dict[str, Any]:
    samples: list[tuple[float, dict[str, float]]] = []
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_S):
            samples.append((time.monotonic(), {kind: of["rss_mb"] for kind, of in resources.held().items()}))

    sampling = threading.Thread(target=sample, daemon=True)
    body = {"source": (folder / "list.jsonl").as_uri(), "recipe": "tiny", "kind": "image"}
    began = time.monotonic()
    with FarmClient(settings) as client:
        batch = client.create_batch(body)
        sampling.start()
        while batch["finished_at"] is None:
            time.sleep(1.0)
            batch = client.batch(batch["batch_id"])
    took_s = time.monotonic() - began
    ended.set()
    table = batch_table(batch["batch_id"], settings)
    step = max(1, len(samples) // 10)
    return {
        "items": items,
        "seconds": round(took_s, 1),
        "items_per_s": round(items / took_s, 1),
        "counts": batch["counts"],
        "rows": table.num_rows,
        "rss_mb": [{"at_s": round(at - began)} | rss for at, rss in samples[::step]],
    }
