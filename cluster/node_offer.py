"""What a node offers the cluster: measured on the node when it starts, and for engines proven by using them."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.errors import SettingsInvalid
from cluster.farm_settings import FarmSettings, WorkSettings
from cluster.nodes import GB, LANE, SCRATCH_GB

# A chunk decodes in one thread and encodes each rung in one; the top rung is more than half of the work, so that a
# chunk fills about 2 cores. One of the 2160p ladder peaks at about 2 GB; a lane without room for it is worth nothing.
CORES_PER_LANE = 2
MEMORY_PER_LANE_BYTES = 3 * GB
CORES_THAT_FEED_A_GPU = 2
# The raylet, its agents, idle workers and the object store (1 GB in ray-cluster.yaml).
RESERVED_BYTES = 2 * GB
RESERVED_SHARE = 0.1

# No driver counts them; of other GPUs one is offered where it works.
ENCODERS = {"NVIDIA L4": 2}
PROBE_S = 60.0  # a driver that is woken takes seconds; one that hangs must not keep the node from starting

CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Offer:
    """What the node declares to Ray when it starts."""

    memory_bytes: int
    resources: dict[str, int]  # Ray's names; an engine that does not work is there with 0
    labels: dict[str, str]
    why: dict[str, str]  # what is missing, and the reason

    def ray_arguments(self) -> list[str]:
        """As `ray start` takes them, no one with a blank or anything that a shell would change."""
        labels = ",".join(f"{name}={value}" for name, value in sorted(self.labels.items()))
        resources = json.dumps(self.resources, separators=(",", ":"), sort_keys=True)
        return [f"--memory={self.memory_bytes}", f"--resources={resources}", f"--labels={labels}"]


def offer_of_this_node(settings: FarmSettings) -> Offer:
    """Measure and try what this machine has; SettingsInvalid where the working disk cannot be used."""
    engines = ask_for_engines()
    credits = {kind: _credits(kind, engines) for kind in ("nvenc", "nvdec", "nvjpg")}
    memory_bytes = memory_for_steps(memory_bytes_here())
    has_gpu = any(credits.values())
    labels = {"pool": "gpu" if has_gpu else "cpu"}
    for kind in ("nvenc", "nvdec"):
        labels |= {f"{kind}-{codec}": "yes" for codec in engines[kind]}
    return Offer(
        memory_bytes,
        {LANE: lanes(settings.work, memory_bytes, has_gpu), SCRATCH_GB: scratch_bytes(settings) // GB, **credits},
        labels,
        engines["why"],
    )


def lanes(work: WorkSettings, memory_bytes: int, has_gpu: bool) -> int:
    """How many steps at once: FARM_SLOTS where it is set, else as many as cores and memory carry."""
    if "slots" in work.model_fields_set:
        return work.slots
    return lanes_for(usable_cores(), memory_bytes, has_gpu)


def lanes_for(cores: float, memory_bytes: int, has_gpu: bool) -> int:
    """How many steps at once so many cores and so much memory carry; at least one."""
    free = cores - (CORES_THAT_FEED_A_GPU if has_gpu else 0)
    return max(1, min(int(free / CORES_PER_LANE), memory_bytes // MEMORY_PER_LANE_BYTES))


def usable_cores() -> float:
    """Cores that this process may use, by its affinity and its container's quota."""
    cores = float(len(os.sched_getaffinity(0)))
    try:
        quota, period = (CGROUP / "cpu.max").read_text().split()
        return min(cores, int(quota) / int(period))
    except (OSError, ValueError):  # no container, or `max`
        return cores


def memory_bytes_here() -> int:
    """Memory of this machine, or of the container that this process is in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int((CGROUP / "memory.max").read_text()))
    except (OSError, ValueError):
        return total


def memory_for_steps(total: int) -> int:
    """Bytes that all steps together may use, of `total` that the machine has."""
    return total - min(total // 2, max(RESERVED_BYTES, int(total * RESERVED_SHARE)))


def scratch_bytes(settings: FarmSettings) -> int:
    """Bytes of the working disk for all steps together: what is free, less what the source cache there may yet take."""
    work, cache = settings.work.scratch_dir, settings.storage.source_cache_dir
    try:
        for folder in (work, cache):
            folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(work).free
        if work.stat().st_dev != cache.stat().st_dev:
            return free
        cached = sum(file.stat().st_blocks * 512 for file in cache.rglob("*") if file.is_file())
    except OSError as error:
        raise SettingsInvalid(f"FARM_SCRATCH_DIR, FARM_SOURCE_CACHE_DIR: {error.filename}: {error.strerror}") from error
    # On a small disk the cache, which gives way to what is needed, must not take all.
    return max(free - max(0, settings.storage.source_cache_bytes - cached), free // 2)


def ask_for_engines() -> dict[str, Any]:
    """What `python -m pipelines.engines` finds, in a process of its own: a driver can hang, or crash it."""
    command = [sys.executable, "-m", "pipelines.engines"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_S)
    except subprocess.TimeoutExpired:
        return _no_engines(f"the GPU's driver did not answer within {PROBE_S:.0f} s")
    try:
        answer: dict[str, Any] = json.loads(asked.stdout)
    except ValueError:
        return _no_engines(f"the process that tried the GPU ended with {asked.returncode}")
    return answer


def _no_engines(why: str) -> dict[str, Any]:
    none: dict[str, Any] = {"name": None, "nvenc": [], "nvdec": [], "nvjpg": False, "counts": {}}
    return none | {"why": dict.fromkeys(("nvenc", "nvdec", "nvjpg"), why)}


def _credits(kind: str, engines: dict[str, Any]) -> int:
    if not engines[kind]:
        return 0
    known = ENCODERS.get(engines["name"], 1) if kind == "nvenc" else engines["counts"].get(kind, 1)
    return int(known)
