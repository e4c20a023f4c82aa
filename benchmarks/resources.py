"""What the processes of a farm on this machine hold, by what they are: memory, open files, scratch."""

from collections import defaultdict
from pathlib import Path

import psutil

NAMES = {"ray::Dispatch": "dispatcher", "ray::ServeRep": "api", "ray::Engine": "engine", "raylet": "raylet"}


def held() -> dict[str, dict[str, float]]:
    """Megabytes and open files of each kind of process below this one."""
    found: dict[str, dict[str, float]] = defaultdict(lambda: {"rss_mb": 0.0, "files": 0})
    for process in psutil.Process().children(recursive=True):
        try:
            name = process.name() + " ".join(process.cmdline()[:1])
            mb, files = process.memory_info().rss / 1e6, process.num_fds()
        except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
            continue
        kind = next((kind for part, kind in NAMES.items() if part in name), "others")
        found[kind]["rss_mb"] += round(mb, 1)
        found[kind]["files"] += files
    return {kind: {name: round(value) for name, value in of.items()} for kind, of in sorted(found.items())}


def files_below(folder: Path) -> int:
    """How many files there are."""
    return sum(1 for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0
