"""Peak memory of a chunk's media process, by the size of the source: the whole `standard` ladder in one process."""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.clips import looped
from benchmarks.ladder_cost import run_ours
from cluster.farm_settings import FarmSettings
from cluster.local import inspect_file
from ladders.catalog import load_preset
from pipelines.planner import make_plan

SECONDS = 4.0  # the look-ahead and the queues are full after two


def peaks(clips: dict[str, Path]) -> dict[str, Any]:
    """MB per source height; a portrait source's ladder is as wide as another's is high."""
    found: dict[str, Any] = {}
    for height, source in clips.items():
        with tempfile.TemporaryDirectory() as folder:
            clip = looped(source, SECONDS, Path(folder) / "clip.mp4")
            recipe = load_preset("standard")
            inspected = inspect_file(clip, settings=FarmSettings.load())
            plan, rows = make_plan(inspected.info, inspected.index, recipe, target_chunks=1)
            ours = run_ours(clip, plan, rows, 1, 1, Path(folder))
            found[height] = {
                "rungs": [r.name for r in plan.video.renditions] if plan.video else [],
                "peak_rss_mb": round(ours.cost.peak_rss_bytes / 1e6),
            }
    return found
