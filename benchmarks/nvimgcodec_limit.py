"""How fast nvImageCodec decodes, alone: nothing that decodes by it can be faster."""

import ctypes
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

REPEATS = 3  # the first is to warm up; the best counts


def decode_rates(photos: Mapping[int, Sequence[Path]], batches: Iterable[int], cores: int) -> list[dict[str, Any]]:
    """Images a second by megapixels, batch and what may decode, with the CPU seconds a second that it took."""
    import nvidia.nvimgcodec

    codec: Any = nvidia.nvimgcodec
    kinds = {
        "all": None,
        "JPEG engine": [codec.Backend(codec.BackendKind.HW_GPU_ONLY)],
        "CUDA": [codec.Backend(codec.BackendKind.GPU_ONLY), codec.Backend(codec.BackendKind.HYBRID_CPU_GPU)],
    }
    found = []
    for name, kind in kinds.items():
        decoder = codec.Decoder(device_id=0, max_num_cpu_threads=cores, backends=kind)
        for megapixels, paths in photos.items():
            files = [path.read_bytes() for path in paths]
            for batch in batches:
                streams = [codec.CodeStream(file) for file in islice(cycle(files), batch)]
                figures = _best(decoder, streams)
                found.append({"by": name, "megapixels": megapixels, "batch": batch} | figures)
    return found


def _best(decoder: Any, streams: Sequence[Any]) -> dict[str, Any]:
    best: dict[str, Any] = {"images_per_s": 0.0}
    images: Any = None
    for _ in range(REPEATS):
        started, used_s = time.monotonic(), time.process_time()
        images = decoder.decode(streams, images=images) if images else decoder.decode(streams)
        _wait()
        wall_s = time.monotonic() - started
        if any(image is None for image in images):
            return {"images_per_s": None}  # what may decode does not take these
        rate = len(streams) / wall_s
        if rate > best["images_per_s"]:
            best = {"images_per_s": rate, "cores_used": (time.process_time() - used_s) / wall_s}
    return best


def _wait() -> None:
    """Until the GPU has done all that was asked of it."""
    status = ctypes.CDLL("libcuda.so.1").cuCtxSynchronize()
    if status != 0:
        raise RuntimeError(f"cuCtxSynchronize says {status}")
