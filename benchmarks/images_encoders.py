"""The encoders that the recipes could have used, at equal SSIM: bytes and CPU time of one still."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
import pyvips

from benchmarks.clips import OWN
from benchmarks.images_quality import light_of_vips
from benchmarks.photos import SIZES, picture
from benchmarks.ssim import light_of, light_ssim
from pipelines.images.cascade import vips_of
from pipelines.images.encode_avif import PRESET, avif
from pipelines.images.encode_webp import METHOD, webp
from pipelines.images.libraries import pillow

Encode = Callable[[Any, int], bytes]
"""A still at a quality from 1 to 100."""

SIZE = (800, 600)
QUALITY = {"webp": 80, "avif": 60}  # of the recipes: what ours reaches with it, the others must reach
EFFORTS = {"webp": (0, 2, 4, 6), "avif": (0, 1, 2, 4)}  # of libvips
TIMES = 3  # the fastest counts


def at_equal_ssim() -> dict[str, Any]:
    """Each encoder at the lowest quality that is not worse than ours; bytes and time as multiples of ours."""
    os.environ.setdefault("SVT_LOG", "1")  # errors alone
    stills = {"photo with grain": picture(SIZES[2], 1).resize(SIZE), "frame of a film": _frame().resize(SIZE)}
    return {name: {kind: list(_rows(kind, still)) for kind in QUALITY} for name, still in stills.items()}


def _rows(kind: str, still: Any) -> Iterator[dict[str, Any]]:
    """One of each encoder."""
    light = light_of(still)
    first: dict[str, Any] = {}
    for name, encode in _encoders(kind):
        chosen = _lowest(encode, still, light, first["ssim"]) if first else QUALITY[kind]
        data = encode(still, chosen)
        row = {"ssim": _ssim(light, data), "bytes": len(data), "cpu_ms": _cpu_ms(encode, still, chosen)}
        first = first or row
        yield {
            "encoder": name,
            "quality": chosen,
            "ssim": round(row["ssim"], 4),
            "bytes": row["bytes"],
            "cpu_ms": round(row["cpu_ms"], 1),
            "bytes_ratio": round(row["bytes"] / first["bytes"], 2),
            "cpu_ratio": round(row["cpu_ms"] / first["cpu_ms"], 2),
        }


def _frame() -> Any:
    with av.open(str(OWN)) as container:
        return pillow().fromarray(next(container.decode(video=0)).to_ndarray(format="rgb24"))


def _encoders(kind: str) -> Iterator[tuple[str, Encode]]:
    """Ours first."""
    if kind == "webp":
        yield f"PyAV libwebp method {METHOD}", webp
    else:
        yield f"PyAV libsvtav1 preset {PRESET}", lambda still, quality: avif(still, quality)[0]
    for effort in EFFORTS[kind]:
        yield f"libvips {'libwebp' if kind == 'webp' else 'libaom'} effort {effort}", _by_vips(kind, effort)


def _by_vips(kind: str, effort: int) -> Encode:
    def encode(still: Any, quality: int) -> bytes:
        image = vips_of(still)
        if kind == "webp":
            return bytes(image.webpsave_buffer(Q=quality, effort=effort, keep="none"))
        return bytes(image.heifsave_buffer(compression="av1", Q=quality, effort=effort, keep="none"))

    return encode


def _lowest(encode: Encode, still: Any, light: np.ndarray, goal: float) -> int:
    """The lowest quality that reaches `goal`, 100 where none does."""
    low, high = 1, 100
    while low < high:
        middle = (low + high) // 2
        if _ssim(light, encode(still, middle)) >= goal:
            high = middle
        else:
            low = middle + 1
    return low


def _ssim(light: np.ndarray, data: bytes) -> float:
    return light_ssim(light, light_of_vips(pyvips.Image.new_from_buffer(data, "")))


def _cpu_ms(encode: Encode, still: Any, quality: int) -> float:
    """Of all threads."""
    took = []
    for _ in range(TIMES):
        before = time.process_time()
        encode(still, quality)
        took.append(time.process_time() - before)
    return 1000 * min(took)
