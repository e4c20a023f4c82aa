"""The GPU as pictures need it: whether there is one, and whether it has a JPEG engine. Asked of the driver itself.

A driver can hang: ask from a process that somebody watches, as `python -m pipelines.images.gpu`, which answers in JSON.
"""

import ctypes
import json
import sys
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

_NAME_BYTES = 128


class NoGpu(Exception):
    """There is none, or not what was asked of it; says why."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """What the driver says of a device."""

    name: str
    memory_bytes: int
    cuda: str  # the highest version that the driver takes


def find_gpu(device_id: int = 0) -> Gpu:
    """The device, of those that this process may see. Raises NoGpu."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise NoGpu("no NVIDIA driver on this machine (libcuda.so.1)") from None
    _ask(driver, "cuInit", 0)
    device, version, memory = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    _ask(driver, "cuDeviceGet", ctypes.byref(device), device_id)
    _ask(driver, "cuDeviceGetName", name, _NAME_BYTES, device)
    _ask(driver, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    _ask(driver, "cuDriverGetVersion", ctypes.byref(version))
    return Gpu(name.value.decode(), memory.value, f"{version.value // 1000}.{version.value % 1000 // 10}")


def prove_jpeg_engine() -> None:
    """Have a JPEG decoded by the first GPU's unit for it and nothing else. Raises NoGpu when that does not work."""
    try:
        import nvidia.nvimgcodec

        codec: Any = nvidia.nvimgcodec
        only = [codec.Backend(codec.BackendKind.HW_GPU_ONLY)]
        decoded = codec.Decoder(device_id=0, backends=only).decode(codec.CodeStream(_jpeg()))
    except (ImportError, RuntimeError) as error:
        raise NoGpu(f"nvImageCodec does not work: {error}") from error
    if decoded is None:
        raise NoGpu("this GPU has none, or the container may not use it (NVIDIA_DRIVER_CAPABILITIES=video)")


def _ask(driver: ctypes.CDLL, function: str, *arguments: object) -> None:
    status = getattr(driver, function)(*arguments)
    if status != 0:
        name = ctypes.c_char_p()
        driver.cuGetErrorName(status, ctypes.byref(name))
        raise NoGpu(f"{function} says {(name.value or b'?').decode()} ({status})")


def _jpeg() -> bytes:
    from PIL import Image

    file = BytesIO()
    Image.new("RGB", (256, 256), "grey").save(file, "JPEG", subsampling=2)
    return file.getvalue()


def main() -> int:
    """Print name, memory_bytes and cuda of the GPU, or why there is none."""
    answer: dict[str, Any] = {"name": None, "why": ""}
    try:
        answer |= asdict(find_gpu())
    except NoGpu as error:
        answer["why"] = str(error)
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
