"""A batch of many tiny pictures through a whole farm on this machine: speed, what an item costs, and what grows.

A farm that keeps something of every job shows it here: after the warm-up memory, open files, the store's log of changes
and working folders must be what they were, however many items there are.
"""

import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
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
WARM_UP = 0.3  # of the time: engines start, caches fill, pools grow to what they are
MOMENTS = 10  # that are shown
TOLD_EVERY = 12  # samples: a hundred thousand pictures take a quarter of an hour
RECIPE = """
name: tiny
image:
  variants:
    - {name: t, fit: inside, width: 32, formats: [{name: jpeg, quality: 70}]}
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment of the batch."""

    at_s: float
    done: int  # items
    held: dict[str, dict[str, float]]
    on_disk: dict[str, float]


def through_the_farm(items: int) -> dict[str, Any]:
    """Items a second of the whole batch, CPU per item by kind of process, and what each kind held at ten moments."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder, items)
        before, kept = Path.cwd(), dict(os.environ)
        os.chdir(folder)  # an embedded farm reads what lies below the folder it was started in
        os.environ |= {"FARM_RECIPES_DIR": str(folder / "recipes"), "FARM_SCRATCH_DIR": str(folder / "scratch")}
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
    samples: list[Sample] = []
    ended = threading.Event()
    before = resources.held()

    def sample(done: int) -> None:
        samples.append(Sample(time.monotonic() - began, done, resources.held(), _on_disk(folder)))
        if len(samples) % TOLD_EVERY == 0:
            print(json.dumps(_shown(samples[-1])), file=sys.stderr, flush=True)

    def sample_now_and_then() -> None:
        while not ended.wait(SAMPLE_S):
            sample(int(batch["counts"]["ready"]))

    body = {"source": (folder / "list.jsonl").as_uri(), "recipe": "tiny", "kind": "image"}
    sampling = threading.Thread(target=sample_now_and_then, daemon=True)
    began = time.monotonic()
    with FarmClient(settings) as client:
        batch = client.create_batch(body)
        sampling.start()
        while batch["finished_at"] is None:
            time.sleep(1.0)
            batch = client.batch(batch["batch_id"])
    took_s = time.monotonic() - began
    ended.set()
    sampling.join()
    sample(items)
    return {
        "items": items,
        "seconds": round(took_s, 1),
        "items_per_s": round(items / took_s, 1),
        "counts": batch["counts"],
        "rows": batch_table(batch["batch_id"], settings).num_rows,
        "cpu_ms_an_item": _cpu_ms(before, samples[-1].held, items),
        # Results are written at the very end, by a library that has not been loaded until then: 40 MB, once.
        "growth": _growth([one for one in samples if one.at_s >= WARM_UP * took_s and one.done < items]),
        "over_time": [_shown(one) for one in samples[:: max(1, len(samples) // MOMENTS)]],
    }


def _on_disk(folder: Path) -> dict[str, float]:
    """What is neither pictures nor the store itself: the store's log of changes, working folders, Ray's own logs."""
    import ray  # which reads its environment when it is imported: after the farm has set it

    here = ray.get_runtime_context()
    return {
        "wal_mb": resources.megabytes_below(folder / "data" / "farm.db-wal"),
        "scratch_files": resources.files_below(folder / "scratch")
        + resources.files_below(folder / "data" / "media" / "scratch"),
        "ray_logs_mb": resources.megabytes_below(Path(here.get_temp_dir()) / here.get_session_name() / "logs"),
    }


def _cpu_ms(before: dict[str, dict[str, float]], after: dict[str, dict[str, float]], items: int) -> dict[str, float]:
    """By kind of process, and of all together; a kind that is gone is left out."""
    used = {kind: of["cpu_s"] - before.get(kind, {"cpu_s": 0.0})["cpu_s"] for kind, of in after.items()}
    shown = {kind: round(1000 * cpu_s / items, 2) for kind, cpu_s in used.items()}
    return shown | {"all": round(1000 * sum(used.values()) / items, 2)}


def _growth(samples: Sequence[Sample]) -> dict[str, dict[str, float]]:
    """The last third's median less the first third's, of each kind of process and of what is on the disk."""
    third = max(1, len(samples) // 3)

    def grown(series: list[float]) -> float:
        return round(statistics.median(series[-third:]) - statistics.median(series[:third]), 1)

    kinds = sorted(set.intersection(*(set(one.held) for one in samples)))
    found = {
        kind: {name: grown([one.held[kind][name] for one in samples]) for name in ("rss_mb", "files")} for kind in kinds
    }
    return found | {"on_disk": {name: grown([one.on_disk[name] for one in samples]) for name in samples[0].on_disk}}


def _shown(one: Sample) -> dict[str, Any]:
    rss = {kind: of["rss_mb"] for kind, of in one.held.items()}
    return {"at_s": round(one.at_s), "done": one.done} | one.on_disk | {"rss_mb": rss}
