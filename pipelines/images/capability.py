"""Whether a GPU is worth it for pictures, on this machine: what was measured here says so, and nothing else does.

`python -m benchmarks images-gpu` measures both ways end to end, from the file to the encoded variants, and writes the
record. Without a record, or with one of another machine, pictures are turned on the processors.

An H100 beside 16 cores does not pay: of 12 MP it turns 33 a second and they 41, in 350 and 365 ms of CPU each, because
it is encoding that takes the time.
"""

import json
import os
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

LEAST_GAIN = 1.1
"""How many times as fast DALI must have been: below that a measurement is noise, and the CPU way has fewer parts."""
REACH = 2.0
"""How far below the smallest and above the largest measured picture a measurement holds, as a factor."""
LEAST_SSIM = 0.98
"""How alike the pictures of both ways must have been."""
PACKAGES = ("nvidia-dali-cuda130", "nvidia-nvimgcodec-cu13", "pillow-simd", "av")


@dataclass(frozen=True, slots=True)
class Speed:
    """One measurement, end to end."""

    engine: Literal["dali", "cpu"]  # cpu: a process on every core
    megapixels: float  # of the source pictures
    batch: int  # pictures; 1 for the CPU way, which forms none
    images_per_s: float
    cores_used: float  # CPU seconds a second


@dataclass(frozen=True, slots=True)
class ImageSpeed:
    """The record of a machine."""

    device: str  # the GPU's name
    cores: int
    recipe: str  # of which all pictures were made
    measured_at: str  # ISO 8601
    versions: dict[str, str]
    batch: int  # with which DALI was fastest
    lowest_ssim: float  # between the pictures of both ways
    speeds: tuple[Speed, ...]

    def cpu(self, megapixels: float) -> float | None:
        """Images a second of the CPU way for sources of a measured size."""
        found = [one.images_per_s for one in self.speeds if (one.engine, one.megapixels) == ("cpu", megapixels)]
        return max(found, default=None)

    def dali(self, megapixels: float, batch: int) -> float | None:
        """Images a second by DALI, with the largest measured batch that is not larger than `batch`."""
        measured = [
            (one.batch, one.images_per_s)
            for one in self.speeds
            if (one.engine, one.megapixels) == ("dali", megapixels) and one.batch <= batch
        ]
        return max(measured)[1] if measured else None


def dali_pays(record: ImageSpeed | None, megapixels: float, batch: int) -> bool:
    """Whether `batch` pictures of so many megapixels are turned faster by DALI.

    The measured sizes on both sides must say so; beyond the smallest and the largest one, that one alone, as far as it
    reaches.
    """
    if record is None or record.lowest_ssim < LEAST_SSIM:
        return False
    sizes = sorted({one.megapixels for one in record.speeds})
    if not sizes or not sizes[0] / REACH <= megapixels <= sizes[-1] * REACH:
        return False
    below = max((size for size in sizes if size <= megapixels), default=sizes[0])
    above = min((size for size in sizes if size >= megapixels), default=sizes[-1])
    return all(_pays(record, size, batch) for size in {below, above})


def least_batch(record: ImageSpeed) -> int | None:
    """How many pictures there must be for DALI to pay, if all are of the measured size that suits it best; None where
    it never does."""
    sizes = {one.megapixels for one in record.speeds}
    batches = sorted({one.batch for one in record.speeds if one.engine == "dali"})
    return next((batch for batch in batches if any(dali_pays(record, size, batch) for size in sizes)), None)


def _pays(record: ImageSpeed, megapixels: float, batch: int) -> bool:
    dali, cpu = record.dali(megapixels, batch), record.cpu(megapixels)
    return dali is not None and cpu is not None and dali >= cpu * LEAST_GAIN


def versions_here() -> dict[str, str]:
    """Of what the speed depends on; what is not installed is not in it."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def save(record: ImageSpeed, path: Path) -> None:
    """Write the record, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(asdict(record), indent=1) + "\n")
    beside.replace(path)


def load(path: Path) -> ImageSpeed:
    """Read a record. OSError when there is none, ValueError when it is not one."""
    try:
        stored = json.loads(path.read_text())
        speeds = tuple(Speed(**_of(Speed, one)) for one in stored["speeds"])
        return ImageSpeed(**_of(ImageSpeed, stored) | {"speeds": speeds})
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no record of image speeds: {error!r}") from error


def _of(kind: type[Speed | ImageSpeed], stored: dict[str, Any]) -> dict[str, Any]:
    return {field.name: stored[field.name] for field in fields(kind)}


def record_here(path: Path | None, device: str, cores: int) -> tuple[ImageSpeed | None, str]:
    """The record that holds on this machine, and what it says; or None, and why."""
    if path is None:
        return None, "no record is configured"
    try:
        record = load(path)
    except FileNotFoundError:
        return None, f"nothing was measured yet: {path} is not there"
    except (OSError, ValueError) as error:
        return None, str(error)
    for what, then, now in (
        ("device", record.device, device),
        ("cores", record.cores, cores),
        ("versions", record.versions, versions_here()),
    ):
        if then != now:
            return None, f"it was measured with other {what}: {_text(then)}, here {_text(now)}"
    return record, verdict(record)


def verdict(record: ImageSpeed) -> str:
    """What a record says, in words."""
    said = []
    for size in sorted({one.megapixels for one in record.speeds}):
        dali, cpu = record.dali(size, record.batch), record.cpu(size)
        if dali is None or cpu is None:
            continue
        chosen = "DALI" if dali_pays(record, size, record.batch) else "CPU"
        said.append(f"{size:g} MP: {dali:,.0f} images/s by DALI, {cpu:,.0f} on the CPU → {chosen}")
    alike = "" if record.lowest_ssim >= LEAST_SSIM else f"; the pictures differ (SSIM {record.lowest_ssim:.3f})"
    return f"in batches of {record.batch}: {'; '.join(said)}{alike}"


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items()) or "none"
    return str(value)
