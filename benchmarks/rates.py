"""What each kind of work costs on this machine: the figures that `pipelines.rates` holds for farms without a history.

    python -m benchmarks.rates

Real jobs of a natural clip and of photos, each in its media processes. Prints CPU seconds per process and per unit, and
bytes per pixel, as the table has them. What has both is taken from jobs of two lengths.
"""

import argparse
import sys
import tempfile
import typing
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.clips import looped, natural_clip
from benchmarks.photos import write_photos
from cluster.farm_settings import FarmSettings
from cluster.local import run_local
from ladders.catalog import load_preset
from ladders.model import H264, Av1, Hevc, Packaging, Recipe, Rung, VideoPart

SHORT_S, LONG_S = 2.0, 10.0
CRF = {"h264": 23, "hevc": 22, "av1": 30}  # as the packaged recipes
Found = dict[str, list[tuple[float, float, float]]]  # processes, units, amount of each job


def codecs() -> Iterator[H264 | Hevc | Av1]:
    """Every preset of every codec."""
    for kind in (H264, Hevc):
        for preset in typing.get_args(kind.model_fields["preset"].annotation):
            yield kind(preset=preset)
    for number in range(2, 10):
        yield Av1(preset=number)


def recipe_of(codec: H264 | Hevc | Av1, height: int, vmaf: Any) -> Recipe:
    """One rung of `height`, with sound and stills."""
    rung = Rung(name="one", width=height * 16 // 9, height=height, crf=CRF[codec.name])
    audio = load_preset("standard").audio
    return Recipe(name="x", video=VideoPart(codec=codec, rungs=(rung,)), audio=audio, packaging=Packaging(), vmaf=vmaf)


def measure(source: Path, recipe: Recipe, settings: FarmSettings, found: Found) -> None:
    """Run one job and note what it did."""
    with tempfile.TemporaryDirectory() as folder:
        published = run_local(str(source), recipe, (Path(folder) / "out").as_uri(), settings=settings)
    print(source.name, recipe.video.codec if recipe.video else recipe.name, file=sys.stderr, flush=True)
    for what, _, *numbers in published["figures"]["done"]:
        found[what].append(tuple(numbers))


def fitted(jobs: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """Cost of a process and of a unit, neither below 0: least squares, or all by the one of them that is left."""
    table = np.array(jobs)
    processes, units, amounts = table.T
    if processes.any():
        scale = units.max()
        (start, unit), *_ = np.linalg.lstsq(np.column_stack([processes, units / scale]), amounts)
        if start >= 0 and unit >= 0:
            return float(start), float(unit / scale)
        if unit < 0:
            return float(amounts.sum() / processes.sum()), 0.0
    return 0.0, float(amounts.sum() / max(1e-9, units.sum()))


def pictures(folder: Path) -> Iterator[Path]:
    """Photos of 2 and 12 megapixels, the smaller one in other formats too."""
    for megapixels in (2, 12):
        (path,) = write_photos(folder, megapixels, 1)
        yield Path(path)
        if megapixels == 2:
            for suffix in ("png", "tiff", "gif"):
                other = folder / f"photo.{suffix}"
                Image.open(path).save(other)
                yield other


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--clip", type=Path, default=natural_clip())
    asked = parser.parse_args()
    settings = FarmSettings.load()
    found: Found = defaultdict(list)
    with tempfile.TemporaryDirectory() as scratch:
        for picture in pictures(Path(scratch)):
            measure(picture, load_preset("standard"), settings, found)
            measure(picture, load_preset("archive"), settings, found)
        short, long = (looped(asked.clip, s, Path(scratch) / f"{s:g}.mp4") for s in (SHORT_S, LONG_S))
        for codec in codecs():
            measure(short, recipe_of(codec, 540, "off"), settings, found)
        for height in (360, 720):
            measure(short, recipe_of(H264(), height, "sampled"), settings, found)
            measure(long, recipe_of(H264(), height, "full"), settings, found)
    for what, jobs in sorted(found.items()):
        start, unit = fitted(jobs)
        print(f'    "{what}": ({start:.2g}, {unit:.2g}),  # {len(jobs)} jobs', flush=True)


if __name__ == "__main__":
    main()
