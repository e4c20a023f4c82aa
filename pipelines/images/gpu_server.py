"""The media process for pictures on a GPU: prepared once, kept warm, one batch after the other.

It never forks: CUDA does not survive that. So it outlives what it is given, and a stranger's bytes get to a decoder
here only where DALI is measured to pay and the gate lets them pass; everything else goes back, to be decoded by the
processors in a process of its own.
"""

import json
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipelines.confine import confine_warm
from pipelines.errors import MediaError, MediaProcessFailed
from pipelines.images.capability import least_batch, record_here
from pipelines.images.dali_batch import Refused, Task
from pipelines.images.dali_engine import CPU_MEMORY_BYTES, DaliEngine
from pipelines.images.gpu import NoGpu, find_gpu
from pipelines.images.limits import ImageLimits
from pipelines.images.request import GpuSetup, ImageRequest, ImageResult, NotDone
from pipelines.images.turn import FIRST, finish, open_image
from pipelines.images.turn_batch import BatchTurner
from pipelines.wire import from_wire, to_wire

NO_GPU = "no GPU"
"""The device of a record for DALI on the processors, which only tests want."""
GPU_SHARE = 0.7
"""Of its memory that the pictures of a batch may take: as it was measured."""
HOST_SHARE = 0.75
"""Of what this process may take: the rest is CUDA's and the libraries'."""


class Unable(Exception):
    """This process is of no use here; says why."""


def serve(requests: IO[bytes], output: IO[str]) -> None:
    """Set up by the first line of `requests`, answer each further one until there are no more.

    Lines out: ``{"ready": …}`` or, and that is the end, ``{"unable": …}``. Then for each batch of requests one
    ``{"picture": …}`` each, as they get ready, with their number and a result, an error, or the reason why the
    processors are to turn it; and ``{"done": …}``.
    """
    setup = from_wire(GpuSetup, json.loads(requests.readline()))
    confine_warm(setup.limits, setup.parent_pid)
    try:
        turner, verdict = prepare(setup)
        _say(output, "ready", {"verdict": verdict})
        for line in iter(requests.readline, b""):
            _turn([from_wire(ImageRequest, one) for one in json.loads(line)["requests"]], turner, setup, output)
    except (Unable, NoGpu, MediaProcessFailed) as error:
        _say(output, "unable", {"reason": str(error)})


def prepare(setup: GpuSetup) -> tuple[BatchTurner, str]:
    """What turns the batches, proven to work, and what its record says. Raises Unable, NoGpu or MediaProcessFailed."""
    name, memory_bytes = NO_GPU, CPU_MEMORY_BYTES
    if setup.device_id is not None:
        gpu = find_gpu(setup.device_id)
        name, memory_bytes = gpu.name, int(gpu.memory_bytes * GPU_SHARE)
    record, says = record_here(Path(setup.record), name, len(os.sched_getaffinity(0)))
    if record is None:
        raise Unable(says)
    if least_batch(record) is None:
        raise Unable(f"DALI does not pay here: {says}")
    engine = DaliEngine(
        device_id=setup.device_id,
        threads=setup.threads,
        memory_bytes=memory_bytes,
        host_bytes=int(setup.limits.memory_bytes * HOST_SHARE),
    )
    _prove(engine)
    return BatchTurner(engine, record, setup.threads), says


def _prove(engine: DaliEngine) -> None:
    """Turn a picture of our own; what is done for the first time is done then."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grey.jpg"
        Image.new("RGB", (256, 256), "grey").save(path, "JPEG")
        opened = open_image(ImageRequest(str(path), folder, FIRST, ImageLimits()), dali=True)
        ((outcome,),) = engine.run([[Task(str(path), opened.found.header, opened.wanted)]])
        if isinstance(outcome, Refused):
            raise Unable(f"a picture of our own was not decoded: {outcome.reason}")
        finish(opened, outcome)


def _turn(requests: Sequence[ImageRequest], turner: BatchTurner, setup: GpuSetup, output: IO[str]) -> None:
    costs = Costs(len(requests), time.process_time())
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(costs.began_s) + setup.limits.cpu_s * len(requests), hard))
    for number, outcome in turner.turn(requests):
        cost = costs.of_next(outcome)
        match outcome:
            case NotDone():
                said: dict[str, Any] = {"cpu": str(outcome)}
            case MediaError():
                said = {"error": outcome.to_wire()}
            case _:
                said = {"result": to_wire(outcome), "cost": cost}
        _say(output, "picture", {"number": number} | said)
    _say(output, "done", {})


@dataclass(slots=True)
class Costs:
    """What each picture cost: its own stages, and a share of what was done for all. All shares are the whole."""

    left: int  # pictures
    began_s: float
    counted_s: float = 0.0

    def of_next(self, outcome: ImageResult | MediaError | NotDone) -> dict[str, Any]:
        """Of the picture that is ready now."""
        own_s = 0.0
        if isinstance(outcome, ImageResult):
            own_s = sum(seconds for stage, seconds in outcome.stages_s.items() if stage != "batch_wall")
        common_s = max(0.0, time.process_time() - self.began_s - self.counted_s - own_s)
        cpu_s = own_s + common_s / self.left
        self.left -= 1
        self.counted_s += cpu_s
        return {"cpu_s": cpu_s, "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def _say(output: IO[str], kind: str, value: dict[str, Any]) -> None:
    output.write(json.dumps({kind: value}, separators=(",", ":")) + "\n")
