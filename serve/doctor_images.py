"""Which engines for pictures this machine has, and the reason for every no."""

import json
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipelines.images.capability import record_here
from serve.findings import Finding

LOADERS = ("jpegload", "pngload", "webpload", "gifload", "tiffload", "heifload")  # the last one reads AVIF
DALI = "nvidia-dali-cuda130"
RECORD_SETTING = "FARM_IMAGE_SPEED_FILE"
GPU_TIMEOUT_S = 30.0  # a driver that is woken takes seconds; one that hangs must not hang the doctor
# VPMOVZXBW from memory or register to a 256-bit register, with which pillow-simd widens pixels when built for AVX2.
_AVX2_CODE = re.compile(rb"\xc4[\xe2\xc2\x62\x42]\x7d\x30")


def image_findings(record: Path | None) -> list[Finding]:
    """The engines in the order in which the gate asks for them; `record`: where the measured speeds are kept."""
    return [_pillow(), _vips(), _heif(), *_dali(record)]


def _pillow() -> Finding:
    try:
        from PIL import _imaging, features
    except ImportError as error:
        return Finding("pillow", False, f"does not load: {error}")
    brought_by = packages_distributions().get("PIL", [])
    if "pillow-simd" not in brought_by:
        reason = f"{', '.join(brought_by)} is installed, not pillow-simd: slower, else alike"
        return Finding("pillow", False, reason, needed=False)
    found = f"pillow-simd {version('pillow-simd')}, libjpeg-turbo {features.version('libjpeg_turbo') or 'missing'}"
    if len(brought_by) > 1:
        return Finding("pillow", False, f"{found}, but {' and '.join(sorted(brought_by))} overwrite each other's files")
    if platform.machine() != "x86_64":
        return Finding("pillow", True, f"{found}; without SIMD, which it has for x86 only", needed=False)
    if _AVX2_CODE.search(Path(str(_imaging.__file__)).read_bytes()):
        return Finding("pillow", True, f"{found}, built for AVX2")
    if "avx2" not in Path("/proc/cpuinfo").read_text().split():
        return Finding("pillow", True, f"{found}, built for SSE4: this processor has no AVX2")
    return Finding("pillow", False, f"{found}, built for SSE4 though there is AVX2: `make setup`", needed=False)


def _vips() -> Finding:
    try:
        import pyvips
    except (ImportError, OSError) as error:
        return Finding("libvips", False, f"does not load: {error}")
    found = f"libvips {'.'.join(str(pyvips.version(part)) for part in range(3))}"
    missing = [name for name in LOADERS if not pyvips.type_find("VipsForeignLoad", name)]
    if missing:
        return Finding("libvips", False, f"{found} lacks {', '.join(missing)}")
    return Finding("libvips", True, f"{found} reads JPEG, PNG, WebP, GIF, TIFF and AVIF")


def _heif() -> Finding:
    try:
        import pillow_heif
    except (ImportError, OSError) as error:
        return Finding("heif", False, f"pillow-heif does not load: {error}")
    about = pillow_heif.libheif_info()
    decoders = ", ".join(about["decoders"].values())
    if "HEVC" not in decoders:
        return Finding("heif", False, f"libheif {about['libheif']} has no decoder for HEVC")
    return Finding("heif", True, f"libheif {about['libheif']} with {decoders}")


def _dali(record: Path | None) -> list[Finding]:
    try:
        found = f"DALI {version(DALI)}"
    except PackageNotFoundError:
        return [Finding("dali", False, "not installed; GPU nodes get it from requirements-gpu.lock", needed=False)]
    if find_spec("nvidia.nvimgcodec") is None:
        return [Finding("dali", False, f"{found} without nvImageCodec", needed=False)]
    gpu = ask_for_gpu()
    if gpu.get("name") is None:
        reason = f"{found} has no GPU to work on ({gpu['why']}); pictures are turned on the processors"
        return [Finding("dali", False, reason, needed=False)]
    said = f"{found} on {gpu['name']}, {gpu['memory_bytes'] / 1e9:.0f} GB, CUDA {gpu['cuda']}"
    return [Finding("dali", True, said, needed=False), _speed(record, gpu["name"])]


def _speed(record: Path | None, device: str) -> Finding:
    held, says = record_here(record, device, len(os.sched_getaffinity(0)))
    if held is not None:
        return Finding("image speed", True, says, needed=False)
    advice = f"; until `python -m benchmarks images-gpu` has measured ({RECORD_SETTING}), the processors turn pictures"
    return Finding("image speed", False, says + advice, needed=False)


def ask_for_gpu() -> dict[str, Any]:
    """What `python -m pipelines.images.gpu` finds, in a process of its own: a driver can hang, or crash it."""
    command = [sys.executable, "-m", "pipelines.images.gpu"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=GPU_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return {"why": f"its driver did not answer within {GPU_TIMEOUT_S:.0f} s"}
    try:
        answer: dict[str, Any] = json.loads(asked.stdout)
    except ValueError:
        return {"why": f"the process that asked its driver ended with {asked.returncode}"}
    return answer
