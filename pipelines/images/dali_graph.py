"""The DALI graph: JPEGs in, upright RGB pictures of several sizes out, each shrunk from the next larger one.

The sizes are inputs of the graph, not part of it: one built graph serves every picture that needs no more sizes than it
has. Without a GPU the same graph runs on the processors, which is how it is tested; it is slow there.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.errors import MediaProcessFailed
from pipelines.images.engine import Size
from pipelines.images.libraries import pillow

if TYPE_CHECKING:
    from PIL.Image import Image

IN_FLIGHT = 2
"""Batches that a graph works on at a time: one is decoded while the one before it is fetched and encoded."""
NO_SIZE = (1, 1)
"""What a graph makes in the places that a picture does not need."""
BATCHES = (1, 8, 32, 64, 128, 256)
"""The batch sizes that graphs are built for; the last is the largest batch there is."""

_DALI_ERRORS = (RuntimeError, ValueError, IndexError, MemoryError)  # what pybind11 makes of C++ exceptions


@dataclass(frozen=True, slots=True)
class Cascade:
    """The sizes of one picture: `chain` falls from step to step, `apart` are made from the whole picture."""

    chain: tuple[Size, ...]
    apart: tuple[Size, ...]

    @classmethod
    def of(cls, sizes: Iterable[Size]) -> "Cascade":
        """Largest first; what does not fit into the size before it (only another shape does not) stands apart."""
        chain: list[Size] = []
        apart: list[Size] = []
        for size in sorted(set(sizes), key=lambda size: (size[0] * size[1], size), reverse=True):
            fits = not chain or (size[0] <= chain[-1][0] and size[1] <= chain[-1][1])
            (chain if fits else apart).append(size)
        return cls(tuple(chain), tuple(apart))


@dataclass(frozen=True, slots=True)
class GraphShape:
    """What a graph is built for."""

    batch: int  # pictures, at most
    chain: int  # sizes
    apart: int

    @classmethod
    def for_batch(cls, cascades: Sequence[Cascade]) -> "GraphShape":
        """The least that takes a batch with these sizes. ValueError when no graph is built for so many pictures."""
        if len(cascades) > BATCHES[-1]:
            raise ValueError(f"a batch has at most {BATCHES[-1]} pictures, not {len(cascades)}")
        batch = next(bound for bound in BATCHES if bound >= len(cascades))
        chain = max((len(one.chain) for one in cascades), default=0)
        return cls(batch, chain, max((len(one.apart) for one in cascades), default=0))

    def takes(self, other: "GraphShape") -> bool:
        """Whether a graph of this shape can do the work of one of the other."""
        return self.batch >= other.batch and self.chain >= other.chain and self.apart >= other.apart


@dataclass(frozen=True, slots=True)
class GraphSettings:
    """How a graph decodes; the same for all graphs of an engine."""

    device_id: int | None  # None: on the processors
    threads: int


@dataclass(frozen=True, slots=True)
class Decoded:
    """One picture of a batch."""

    size: Size  # as it was decoded, upright
    pictures: "dict[Size, Image]"  # RGB, upright


class BatchFailed(Exception):
    """A picture of a batch could not be decoded. Nothing comes of it, of the others nor of the batch behind them, and
    the graph is of no use any more."""


class Graph:
    """A built graph that has shown that it works."""

    def __init__(self, shape: GraphShape, settings: GraphSettings) -> None:
        """Raises MediaProcessFailed where DALI does not work, whatever the pictures."""
        self.shape = shape
        self._failure: BatchFailed | None = None
        try:
            self._pipeline = _built(shape, settings)
            self._prove()
        except (ImportError, *_DALI_ERRORS) as error:
            raise MediaProcessFailed(f"DALI does not work here: {plain_reason(error)}") from error

    def _prove(self) -> None:
        # The first schedule_run() runs as many batches as may be in flight. A picture of our own does for them, and
        # shows a broken installation here, where it cannot be taken for a broken picture.
        for _ in range(IN_FLIGHT):
            self._feed([_probe()], [Cascade((), ())])
        self._pipeline.schedule_run()
        for _ in range(IN_FLIGHT):
            self._pipeline.share_outputs()
            self._pipeline.release_outputs()

    def start(self, jpegs: Sequence[np.ndarray], cascades: Sequence[Cascade]) -> None:
        """Begin a batch and come back at once; at most IN_FLIGHT are begun and not collected."""
        try:
            self._feed(jpegs, cascades)
            self._pipeline.schedule_run()
        except _DALI_ERRORS as error:  # perhaps of the batch before it: `collect` tells whoever asks first
            self._failure = BatchFailed(plain_reason(error))

    def collect(self, cascades: Sequence[Cascade], pool: Executor) -> list[Decoded]:
        """Wait for the batch that was begun first; `cascades` are those it was begun with. Raises BatchFailed.

        The pictures are copied by `pool`: one thread would need 9 ms for all stills of one.
        """
        if self._failure:
            raise self._failure
        try:
            outputs = self._pipeline.share_outputs()
            decoded = list(pool.map(partial(self._decoded, outputs), range(len(cascades)), cascades))
            self._pipeline.release_outputs()
        except _DALI_ERRORS as error:
            raise BatchFailed(plain_reason(error)) from error
        return decoded

    def _decoded(self, outputs: Sequence[Any], place: int, cascade: Cascade) -> Decoded:
        shapes, *pictures = outputs
        height, width, _ = (int(side) for side in shapes.at(place))
        made = {
            size: pillow().fromarray(pictures[output].at(place))
            for output, size in self._places(cascade)
            if size is not None
        }
        return Decoded((width, height), made)

    def _feed(self, jpegs: Sequence[np.ndarray], cascades: Sequence[Cascade]) -> None:
        self._pipeline.feed_input("jpegs", list(jpegs))
        places = [self._places(cascade) for cascade in cascades]
        for output in range(self.shape.chain + self.shape.apart):
            sizes = [one[output][1] or NO_SIZE for one in places]
            self._pipeline.feed_input(f"size{output}", [np.array([h, w], np.float32) for w, h in sizes])

    def _places(self, cascade: Cascade) -> list[tuple[int, Size | None]]:
        """Which output makes which size of a picture."""
        chain = [*cascade.chain, *[None] * (self.shape.chain - len(cascade.chain))]
        apart = [*cascade.apart, *[None] * (self.shape.apart - len(cascade.apart))]
        return list(enumerate([*chain, *apart]))


def plain_reason(error: Exception) -> str:
    """What DALI says, without where and without what it always says."""
    said = str(error).partition("encountered:")[2] or str(error)
    lines = [line.strip() for line in said.splitlines()]
    return " ".join(line for line in lines if line and "no longer valid" not in line)[:200]


def _built(shape: GraphShape, settings: GraphSettings) -> Any:
    dali = _dali()
    fn, types = dali.fn, dali.types
    pipeline = dali.Pipeline(
        batch_size=shape.batch,
        num_threads=settings.threads,
        device_id=settings.device_id,
        prefetch_queue_depth=IN_FLIGHT,
    )
    with pipeline:
        jpegs = fn.external_source(name="jpegs", dtype=types.UINT8, ndim=1)
        sizes = [
            fn.external_source(name=f"size{output}", dtype=types.FLOAT, ndim=1)
            for output in range(shape.chain + shape.apart)
        ]
        whole = fn.decoders.image(jpegs, output_type=types.RGB, adjust_orientation=True, **_decoder(settings))
        outputs: list[Any] = []
        for output, size in enumerate(sizes):
            larger = outputs[-1] if 0 < output < shape.chain else whole
            # The filter of the CPU engine, so that a picture does not tell which engine made it.
            outputs.append(fn.resize(larger, size=size, antialias=True, interp_type=types.INTERP_LANCZOS3))
        pipeline.set_outputs(whole.shape(device="cpu"), *(output.cpu() for output in outputs))
    pipeline.build()
    return pipeline


def _dali() -> Any:
    """The module; a second to load, so only by whoever turns pictures with it."""
    import nvidia.dali.backend
    import nvidia.dali.fn
    import nvidia.dali.types

    return nvidia.dali


def stored_size(jpeg: np.ndarray) -> Size | None:
    """The size that DALI's parser finds, before anything is turned upright; None where it is no JPEG of our kind.

    Ask before every decoding: whatever DALI 2.4 cannot parse is a segmentation fault in a batch of 32 and more (in a
    smaller one it is an error, and so is always what breaks behind the header).
    """
    import nvidia.nvimgcodec

    try:
        stream: Any = nvidia.nvimgcodec.CodeStream(jpeg)
        clean = stream.codec_name == "jpeg" and stream.precision == 8 and stream.num_channels in (1, 3)
        return (stream.width, stream.height) if clean else None
    except _DALI_ERRORS:
        return None


def release_memory() -> None:
    """Give back what graphs that are gone had; DALI's pools keep it for the next one otherwise."""
    _dali().backend.ReleaseUnusedMemory()


def _decoder(settings: GraphSettings) -> dict[str, Any]:
    if settings.device_id is None:
        return {"device": "cpu"}
    return {
        "device": "mixed",
        # Never by the JPEG engine: where a file's data ends early it leaves what was in the memory, somebody else's
        # picture, and says nothing. Of 135 damaged files in which libjpeg found no fault 43 came out differently after
        # a red and after a blue picture, on an H100; by CUDA none.
        "hw_decoder_load": 0.0,
        "affine": False,  # its threads share the processors with the encoders, so none may be tied to one
    }


def _probe() -> np.ndarray:
    file = BytesIO()
    pillow().new("RGB", (16, 16), "grey").save(file, "JPEG")
    return np.frombuffer(file.getvalue(), np.uint8)
