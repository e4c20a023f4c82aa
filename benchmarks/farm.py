"""What the farm adds to the media processes of a job: Ray, the dispatcher, the store, storage.

The same clip goes through a running embedded farm over HTTP. The critical path is what its media processes and the
publishing took at least: inspection, the encoding phase at perfect use of the slots, join, packaging. What the job
took beyond that is the farm's.
"""

import contextlib
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from benchmarks.clips import looped
from serve.client import FarmClient
from serve.embedded import EmbeddedFarm, free_port
from serve.settings import ClientSettings


def critical_path_s(stages: dict[str, Any], slots: int) -> float:
    """A lower bound of what the media processes alone need, from the report's stages.

    The longest chunk and the longest measurement may be two chunks', so their sum would be no bound.
    """
    encoding = [stages[name] for name in ("chunk", "vmaf", "audio") if name in stages]
    busy = sum(stage["wall_s"] for stage in encoding)
    longest = stages["chunk"]["longest_s"]
    after = max(stages["package"]["wall_s"], stages.get("stills", {}).get("wall_s", 0.0))
    return float(
        stages["inspect"]["wall_s"] + max(longest, busy / slots) + stages["join"]["wall_s"] + after
        + stages["publish"]["wall_s"]
    )  # fmt: skip


def overhead(source: Path, seconds: float, slots: int) -> dict[str, Any]:
    """One job on a farm that is warm: a first small job has started its workers."""
    with tempfile.TemporaryDirectory() as folder:
        clip = looped(source, seconds, Path(folder) / "clip.mp4")
        warm = looped(source, 3, Path(folder) / "warm.mp4")
        with (
            contextlib.chdir(folder),  # an embedded farm reads what lies below the folder it was started in
            EmbeddedFarm(port=free_port(), data_dir=Path(folder) / "data", isolated=True) as farm,
            FarmClient(ClientSettings(url=farm.url, api_key=SecretStr(""))) as client,
        ):
            _job(client, warm, "warm")
            job = _job(client, clip, "clip")
            media = client.media("clip", "bench")
    stages = media["report"]["stages"]
    wall_s = _seconds(job["finished_at"]) - _seconds(job["created_at"])
    critical_s = critical_path_s(stages, slots)
    return {
        "clip_s": seconds,
        "job_wall_s": round(wall_s, 2),
        "critical_path_s": round(critical_s, 2),
        "overhead_s": round(wall_s - critical_s, 2),
        "allowed_s": round(2.0 + 0.03 * critical_s, 2),
        "vmaf_cpu_ratio": round(stages["vmaf"]["cpu_s"] / stages["chunk"]["cpu_s"], 3),
        "stills_cpu_ratio": round(stages["stills"]["cpu_s"] / stages["chunk"]["cpu_s"], 3),
        "stages": stages,
    }


def _job(client: FarmClient, clip: Path, media_id: str) -> dict[str, Any]:
    body = {"source": clip.as_uri(), "org": "bench", "recipe": "standard"}
    job_id = client.complete(media_id, body)["job_id"]
    while True:
        job = client.job(job_id)
        if job["status"] == "ready":
            return job
        if job["status"] in ("failed", "cancelled"):
            raise RuntimeError(f"the job is {job['status']}: {job['error']}")
        time.sleep(0.2)


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
