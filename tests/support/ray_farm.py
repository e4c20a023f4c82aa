"""A farm on a real Ray cluster of several nodes on this machine, in processes of its own: Ray keeps its first token.

A test runs a scenario, a piece of code, in a fresh process whose settings and token belong to it alone; the scenario
uses `RayFarm` and prints what the test looks at.
"""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cluster.farm_settings import FarmSettings
from cluster.jobs import Job, SqlStore, open_store
from cluster.node_list import busy_lanes
from cluster.storage.sources import Sources
from ladders.catalog import load_preset
from ladders.model import H264, Packaging, Recipe, Rung, Stills, VideoPart
from tests.support.jobs import create, new_job

ROOT = Path(__file__).parents[2]
SCENARIO_S = 500.0  # and the run of all tests ends when one takes 600
PATIENCE_S = 180.0  # on a machine that is busy with other things

# Chunks of a few seconds each on one core: long enough to be caught running.
SLOW = Recipe(
    name="slow",
    video=VideoPart(
        codec=H264(preset="slower"),
        rungs=(Rung(name="180p", width=320, height=180, crf=20), Rung(name="360p", width=640, height=360, crf=20)),
        gop_seconds=2.0,
    ),
    packaging=Packaging(segment_seconds=4.0, mp4=("360p",)),
    stills=Stills(poster=False, sprites=False),
    vmaf="off",
)

QUICK = Recipe(
    name="quick",
    video=VideoPart(codec=H264(preset="ultrafast"), rungs=(Rung(name="180p", width=320, height=180, crf=30),)),
    packaging=Packaging(mp4=("180p",)),
    stills=Stills(poster=False, sprites=False),
    vmaf="off",
)


def run_scenario(code: str, folder: Path, arguments: Sequence[str] = (), **variables: str) -> list[str]:
    """The lines that `code` printed; AssertionError with all that it said where it failed."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "FARM_DATA_DIR": str(folder),
        "FARM_SCRATCH_DIR": str(folder / "scratch"),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    } | variables
    command = [sys.executable, "-c", code, *arguments]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, cwd=folder, **pipes) as process:
        try:
            out, err = process.communicate(timeout=SCENARIO_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # it ends the cluster that it started
            out, err = process.communicate(timeout=60)
    assert process.returncode == 0, f"{out}\n{err}"
    # Ray prints what its nodes warn of to every driver, `log_to_driver` or not: of a node that is long in coming.
    return [line for line in out.splitlines() if "(raylet)" not in line]


def until(condition: Callable[[], Any], seconds: float = PATIENCE_S) -> None:
    """Wait for it; AssertionError when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {condition}"
        time.sleep(0.1)


class RayFarm:
    """The job store and the state of the cluster, as a scenario sees them."""

    def __init__(self) -> None:
        self.settings = FarmSettings.load()
        self.store: SqlStore = open_store(self.settings.database)
        self.store.upgrade()

    def submit(self, source: Path, recipe: Recipe = SLOW, **changes: Any) -> str:
        """A job of that source; its id."""
        with Sources(self.settings.storage, allowed=None) as sources:
            found = sources.open(source.as_uri())
        new = new_job(
            media_id=f"{source.stem}-{secrets.token_hex(4)}",
            source_uri=source.as_uri(),
            source_etag=found.etag,
            source_bytes=found.size_bytes,
            recipe_name=recipe.name,
            recipe=recipe.model_dump(mode="json"),
            recipe_digest=recipe.digest,
            **changes,
        )
        return create(self.store, new)[0].id

    def submit_picture(self, source: Path) -> str:
        """A job of that picture; its id."""
        return self.submit(source, load_preset("avatar"), kind="image")

    def ended(self, job_id: str) -> Job:
        """The job, once it has ended."""
        until(lambda: self.store.get(job_id).finished_at is not None)
        return self.store.get(job_id)


def steps_on(node_id: str) -> int:
    """How many steps run on the node now."""
    return busy_lanes().get(node_id, 0)


def logged(words: str) -> bool:
    """Whether a process of this cluster's said so in its log."""
    import ray

    logs = Path(ray._private.worker._global_node.get_logs_dir_path())  # type: ignore[attr-defined]
    return any(words in file.read_text(errors="replace") for file in logs.glob("worker-*.err"))
