"""What the processes of a farm on this machine hold and use, by what they are: memory, open files, CPU, scratch."""

from collections import defaultdict
from pathlib import Path

import psutil

NAMES = {
    "ray::Dispatch": "dispatcher",
    "ray::ServeRep": "api",
    "ray::Proxy": "proxy",
    "ray::ServeContr": "controller",
    "ray::Engine": "engine",
    "pipelines": "media",
    "raylet": "raylet",
    "gcs_server": "gcs",
    "ray::DashboardAgent": "agents",
    "ray::RuntimeEnvAgent": "agents",
    "ray::": "workers",  # of Ray's tasks, idle or named as the step that they run
}


def held() -> dict[str, dict[str, float]]:
    """Megabytes, open files and CPU seconds so far of each kind of process below this one."""
    found: dict[str, dict[str, float]] = defaultdict(lambda: {"rss_mb": 0.0, "files": 0, "cpu_s": 0.0})
    for process in psutil.Process().children(recursive=True):
        try:
            with process.oneshot():
                kind = _kind(process)
                mb, files, cpu = process.memory_info().rss / 1e6, process.num_fds(), process.cpu_times()
        except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
            continue
        found[kind]["rss_mb"] += mb
        found[kind]["files"] += files
        # With what its children used that have ended: a batch of pictures has a process of its own.
        found[kind]["cpu_s"] += cpu.user + cpu.system + cpu.children_user + cpu.children_system
    return {
        kind: {name: round(value, 2 if name == "cpu_s" else 0) for name, value in of.items()}
        for kind, of in sorted(found.items())
    }


def _kind(process: psutil.Process) -> str:
    command = process.cmdline()
    # Ray's workers have one word for a name; a media process is `python -s -m pipelines …`.
    shown = process.name() + " ".join(command[:1] if "pipelines" not in command[:5] else command[:5])
    return next((kind for part, kind in NAMES.items() if part in shown), "others")


def files_below(folder: Path) -> int:
    """How many files there are."""
    return sum(1 for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0


def megabytes_below(*paths: Path) -> float:
    """What the files have together; one that goes meanwhile has nothing."""
    total = 0
    for path in paths:
        for found in path.rglob("*") if path.is_dir() else [path]:
            try:
                total += found.stat(follow_symlinks=False).st_size
            except OSError:
                continue
    return round(total / 1e6, 1)
