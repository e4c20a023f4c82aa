"""Small jobs through a whole farm on this machine for minutes, and what its processes hold more of afterwards."""

import itertools
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import SecretStr

from benchmarks import resources
from benchmarks.clips import OWN
from serve.client import FarmClient
from serve.embedded import EmbeddedFarm, free_port
from serve.settings import ClientSettings

SAMPLE_S = 20.0
WARM_UP = 0.3  # of the time: engines start, caches fill, pools grow to what they are
OPEN_JOBS = 8
END_S = 120.0  # of the last jobs: small ones take seconds
PICTURES = 9  # for each video
RECIPE = """
name: small
description: As little as a job can be.
video:
  codec: {name: h264, preset: ultrafast}
  gop_seconds: 1.0
  rungs: [{name: 180p, width: 320, height: 180, crf: 32, max_bitrate_bps: 300_000}]
image:
  variants: [{name: t, fit: inside, width: 64, formats: [{name: jpeg}]}]
packaging: {hls: false, dash: false, mp4: [180p]}
stills: {poster: false, sprites: false}
vmaf: "off"
"""


def soak(minutes: float) -> dict[str, Any]:
    """Jobs done, and for each kind of process the growth of its memory and open files after the warm-up.

    `not_ended` names the jobs that hung.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before, kept = Path.cwd(), dict(os.environ)
        os.chdir(folder)  # an embedded farm reads what lies below the folder it was started in
        (folder / "small.yaml").write_text(RECIPE)
        Image.effect_noise((200, 150), 40).convert("RGB").save(folder / "picture.jpg")
        shutil.copy(OWN, folder / "clip.mp4")
        os.environ |= {"FARM_SCRATCH_DIR": str(folder / "scratch"), "FARM_RECIPES_DIR": str(folder)}
        try:
            with EmbeddedFarm(port=free_port(), data_dir=folder / "data") as farm:
                return soaked(ClientSettings(url=farm.url, api_key=SecretStr("")), folder, minutes)
        finally:
            os.chdir(before)
            os.environ.clear()
            os.environ.update(kept)


def soaked(settings: ClientSettings, folder: Path, minutes: float) -> dict[str, Any]:
    """`soak` of the farm that `settings` lead to, with sources below `folder`."""
    samples: list[tuple[float, dict[str, dict[str, float]]]] = []
    began = time.monotonic()
    with FarmClient(settings) as client:
        numbers, open_jobs, done, failed = itertools.count(), set[str](), 0, 0
        until_s = 60 * minutes
        while (past_s := time.monotonic() - began) < until_s or (open_jobs and past_s < until_s + END_S):
            while len(open_jobs) < OPEN_JOBS and past_s < until_s:
                open_jobs.add(_submit(client, folder, next(numbers)))
            for job_id in list(open_jobs):
                job = client.job(job_id)
                if job["finished_at"] is not None:
                    open_jobs.remove(job_id)
                    done += 1
                    failed += job["status"] != "ready"
            if past_s >= SAMPLE_S * (len(samples) + 1):
                samples.append((past_s, resources.held()))
            time.sleep(0.2)
    time.sleep(1.0)  # the last job's scratch is swept after its end
    return {
        "minutes": minutes,
        "jobs": done,
        "not_ready": failed,
        "not_ended": sorted(open_jobs),
        "scratch_files": resources.files_below(folder / "scratch")
        + resources.files_below(folder / "data" / "media" / "scratch"),
        "growth": _growth([held for at_s, held in samples if at_s >= WARM_UP * 60 * minutes]),
        "at_the_end": samples[-1][1] if samples else {},
    }


def _submit(client: FarmClient, folder: Path, number: int) -> str:
    source = folder / ("picture.jpg" if number % (PICTURES + 1) else "clip.mp4")
    body = {"source": source.as_uri(), "recipe": "small", "org": "soak"}
    return str(client.complete(f"m{number}", body)["job_id"])


def _growth(samples: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Per kind: the last third's median less the first third's."""
    third = max(1, len(samples) // 3)
    found: dict[str, dict[str, float]] = {}
    for kind in sorted({kind for sample in samples for kind in sample}):
        for name in ("rss_mb", "files"):
            series = [sample[kind][name] for sample in samples if kind in sample]
            grown = statistics.median(series[-third:]) - statistics.median(series[:third])
            found.setdefault(kind, {})[name] = round(grown, 1)
    return found
