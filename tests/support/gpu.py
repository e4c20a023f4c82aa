"""Where the tests of DALI run it: on the processors everywhere, and on the GPU where there is one."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.images.gpu import find_gpu
from pipelines.images.gpu_server import NO_GPU

HAS_DRIVER = Path("/dev/nvidiactl").exists()
NEEDS_GPU = pytest.mark.skipif(not HAS_DRIVER, reason="no NVIDIA driver on this machine")
NEEDS_NO_GPU = pytest.mark.skipif(
    HAS_DRIVER, reason="shows what is said without an NVIDIA driver, and this machine has one"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where DALI works."""

    device_id: int | None

    @property
    def device(self) -> str:
        """Its name in a record."""
        return NO_GPU if self.device_id is None else find_gpu(self.device_id).name


DEVICES = [
    pytest.param(Place(None), id="on-processors"),
    pytest.param(Place(0), id="on-a-GPU", marks=(pytest.mark.gpu, NEEDS_GPU)),
]
