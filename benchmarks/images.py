"""`images`: the farm's CPU path for pictures beside sharp and stock Pillow, its memory, its encoders, and whole jobs.

12 and 2 megapixel JPEGs become four sizes, as JPEG, as WebP and as both. All sides write the same files, at the same
quality and effort; what they look like and weigh is in `quality`.
"""

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks import images_encoders, images_farm, images_memory, images_quality
from benchmarks.images_lanes import Lanes, part_of
from benchmarks.photos import write_photos
from benchmarks.rivals import NoRival, Rival, sharp, stock_pillow
from cluster.farm_settings import FarmSettings
from pipelines.images.encode_webp import METHOD

SIZES = (1600, 800, 400, 150)  # px, of the longer side
FORMATS = (("jpeg",), ("webp",), ("jpeg", "webp"))
MEGAPIXELS = (12, 2)
QUALITY = 80
JPEG = "baseline, 4:2:0, Huffman tables of its own below 1 MP"
BATCH = 8
DISTINCT = 6  # photos of each size, taken by turns
PER_CORE = 16  # pictures of a run: two batches
ALONE = 8  # pictures of a run in one thread
JUDGED = 2  # of the photos, for SSIM: a float64 Lanczos of 12 megapixels takes seconds
REACH = {"sharp": {"jpeg": 1.3, "webp": 1.0}, "plain Pillow": {"jpeg": 2.0}}  # how many times as fast ours is to be

Side = Callable[[Sequence[str], Path, Sequence[str]], dict[str, float]]
"""Turns photos, into a folder, as formats: {"wall_s", "cpu_s"}."""


def compare(rounds: int) -> dict[str, Any]:
    """All figures of pictures on CPUs."""
    cores = len(os.sched_getaffinity(0))
    settings = {
        "sizes": SIZES,
        "quality": QUALITY,
        "webp_method": METHOD,
        "jpeg": JPEG,
        "batch": BATCH,
        "malloc": "keeps memory",
    }
    found: dict[str, Any] = {"cores": cores, "settings": settings}
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as opened:
        folder = Path(scratch)
        say(f"making {DISTINCT} photos of {' and '.join(map(str, MEGAPIXELS))} megapixels")
        photos = {size: write_photos(folder, size, DISTINCT) for size in MEGAPIXELS}
        sides: dict[str, Side] = {}
        starts: dict[str, Callable[[], Rival]] = {"sharp": lambda: sharp(cores), "pillow": stock_pillow}
        for name, start in starts.items():
            try:
                rival = opened.enter_context(start())
            except NoRival as error:
                found[name] = {"missing": str(error)}
                say(f"no {name}: {error}")
                continue
            found["settings"][name] = rival.versions
            if name == "sharp":
                found["settings"]["sharp_in_flight"] = flying = in_flight(rival, cores, photos[12], folder)
                sides |= {f"sharp {kernel}": by_sharp(rival, kernel, flying) for kernel in ("cubic", "lanczos3")}
            else:
                sides |= {f"{way} Pillow": by_pillow(rival, way) for way in ("plain", "best")}
        found |= _measured(sides, photos, folder, cores, rounds)
    found["memory"] = images_memory.peaks()
    found["encoders"] = images_encoders.at_equal_ssim()
    found["whole_jobs"] = images_farm.whole_jobs()
    return found


def _measured(
    sides: Mapping[str, Side], photos: Mapping[int, Sequence[str]], folder: Path, cores: int, rounds: int
) -> dict[str, Any]:
    """What ours and the other sides take, and what comes out."""
    settings = FarmSettings.load()
    found: dict[str, Any] = {}
    for rival, count, images in (("sharp", cores, PER_CORE * cores), ("Pillow", 1, ALONE)):
        others = {name: side for name, side in sides.items() if rival in name}
        if not others:
            continue
        with Lanes(count, BATCH, settings) as lanes:
            both = {"ours": by_us(lanes)} | others
            found[rival.lower()] = [
                {"megapixels": size} | faster(both, list(islice(cycle(photos[size]), images)), formats, folder, rounds)
                for size in photos
                for formats in FORMATS
            ]
    with Lanes(1, BATCH, settings) as lanes:
        all_sides = {"ours": by_us(lanes), **sides}
        found["quality"] = {size: _quality(all_sides, photos[size], folder) for size in photos}
    return found


def faster(
    sides: Mapping[str, Side], photos: Sequence[str], formats: Sequence[str], folder: Path, rounds: int
) -> dict[str, Any]:
    """Medians of each side, and by how much ours is faster than each other: by the wall clock, and by CPU time."""
    took: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for name in sides:
        _run(sides[name], photos[:2], formats, folder)  # first allocations
    for number in range(rounds):
        for name in _rotated(list(sides), number):
            took[name].append(_run(sides[name], photos, formats, folder))
    found: dict[str, Any] = {"formats": list(formats), "images": len(photos), "load": round(os.getloadavg()[0], 1)}
    for name, runs in took.items():
        found[name] = {
            "images_per_s": round(statistics.median(len(photos) / run["wall_s"] for run in runs), 2),
            "cpu_ms": round(statistics.median(1000 * run["cpu_s"] / len(photos) for run in runs), 1),
        }
        if name != "ours":
            pairs = list(zip(took["ours"], runs, strict=True))
            found[name]["ratio"] = round(statistics.median(b["wall_s"] / a["wall_s"] for a, b in pairs), 2)
            found[name]["cpu_ratio"] = round(statistics.median(b["cpu_s"] / a["cpu_s"] for a, b in pairs), 2)
            found[name]["reach"] = _reach(name, formats)
    say(f"{found}")
    return found


def _reach(name: str, formats: Sequence[str]) -> float | None:
    """What the ratio to that side should be at least; None where nothing was set."""
    of_rival: dict[str, float] = next((REACH[rival] for rival in REACH if name.startswith(rival)), {})
    return of_rival.get(formats[0]) if len(formats) == 1 else None


def _rotated(names: Sequence[str], by: int) -> Iterator[str]:
    """Each round begins with another side."""
    return islice(cycle(names), by % len(names), by % len(names) + len(names))


def _run(side: Side, photos: Sequence[str], formats: Sequence[str], folder: Path) -> dict[str, float]:
    out = folder / "out"
    took = side(photos, out, formats)
    shutil.rmtree(out)
    return took


def _quality(sides: Mapping[str, Side], photos: Sequence[str], folder: Path) -> dict[str, Any]:
    formats = FORMATS[-1]
    out = {name: folder / "judged" / name for name in sides}
    for name, side in sides.items():
        side(photos, out[name], formats)
    found = images_quality.compare(photos, out, SIZES, formats, JUDGED)
    shutil.rmtree(folder / "judged")
    return found


def by_us(lanes: Lanes) -> Side:
    """The farm's way."""
    return lambda photos, out, formats: lanes.run(photos, out, part_of(SIZES, formats, QUALITY))


def by_sharp(rival: Rival, kernel: str, flying: int) -> Side:
    """sharp, with `flying` pictures at once."""
    return partial(_asked, rival, {"kernel": kernel, "in_flight": flying})


def by_pillow(rival: Rival, way: str) -> Side:
    """Stock Pillow: see `stock_pillow`."""
    return partial(_asked, rival, {"way": way})


def _asked(
    rival: Rival, options: Mapping[str, Any], photos: Sequence[str], out: Path, formats: Sequence[str]
) -> dict[str, float]:
    asked = {"photos": photos, "out": str(out), "sizes": SIZES, "formats": formats, "quality": QUALITY}
    return rival.run(asked | {"method": METHOD, **options})


def in_flight(rival: Rival, cores: int, photos: Sequence[str], folder: Path) -> int:
    """With how many pictures at once sharp is fastest."""
    many = list(islice(cycle(photos), 8 * cores))
    choices = (cores, cores + 1, 2 * cores)
    took = dict.fromkeys(choices, float("inf"))
    for _ in range(2):
        for count in choices:
            wall_s = _run(by_sharp(rival, "cubic", count), many, ("jpeg",), folder)["wall_s"]
            took[count] = min(took[count], wall_s)
    return min(choices, key=lambda count: took[count])


def say(line: str) -> None:
    """To a person who waits; the figures go to stdout."""
    print(line, file=sys.stderr, flush=True)
