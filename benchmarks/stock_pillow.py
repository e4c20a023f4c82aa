"""Stock Pillow, in one thread: run by a Python of its own that has no pillow-simd and nothing of this project.

Reads a line of JSON for each run, {"photos", "out", "sizes", "formats", "quality", "method", "way"}, and answers with
what it took. Photo number N becomes OUT/N/SIZE.FORMAT.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import PIL
from PIL import Image, features


def main() -> None:
    """Answer until there are no more lines."""
    _say({"versions": {"pillow": PIL.__version__, "webp": features.version("webp")}})
    for line in sys.stdin:
        run = json.loads(line)
        started, used_s = time.monotonic(), time.process_time()
        for number, photo in enumerate(run["photos"]):
            folder = Path(run["out"]) / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            WAYS[run["way"]](photo, folder, run)
        _say({"wall_s": time.monotonic() - started, "cpu_s": time.process_time() - used_s})


def plain(photo: str, folder: Path, run: dict[str, Any]) -> None:
    """As its manual shows: each size of the full picture."""
    with Image.open(photo) as opened:
        picture = opened.convert("RGB")
    for size in run["sizes"]:
        _save(picture.resize(_within(picture, size), Image.Resampling.LANCZOS), folder, size, run)


def best(photo: str, folder: Path, run: dict[str, Any]) -> None:
    """As fast as it can: decoded at a half where that is enough, each size of the next larger one, bicubic."""
    with Image.open(photo) as opened:
        largest = _within(opened, max(run["sizes"]))
        full = opened.size
        opened.draft("RGB", largest)
        larger: Image.Image = opened.convert("RGB")
    for size in sorted(run["sizes"], reverse=True):
        larger = larger.resize(_within_size(full, size), Image.Resampling.BICUBIC)
        _save(larger, folder, size, run)


WAYS = {"plain": plain, "best": best}


def _within(picture: Image.Image, side: int) -> tuple[int, int]:
    return _within_size(picture.size, side)


def _within_size(full: tuple[int, int], side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(full))
    return int(full[0] * scale + 0.5), int(full[1] * scale + 0.5)


def _save(still: Image.Image, folder: Path, size: int, run: dict[str, Any]) -> None:
    for name in run["formats"]:
        path = folder / f"{size}.{name}"
        if name == "jpeg":  # 4:2:0, and like the others' with Huffman tables of its own
            still.save(path, "JPEG", quality=run["quality"], optimize=True)
        else:
            still.save(path, "WEBP", quality=run["quality"], method=run["method"])


def _say(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
