"""libvmaf as FFmpeg's filter has it: two runs of frames in, one score a frame out."""

import gc
import json
import tempfile
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.filter
from av.video.frame import VideoFrame

UNSPECIFIED = 2  # of ITU-T H.273: no colour space, primaries or transfer function is named


def score(
    references: Sequence[VideoFrame], distorted: Iterable[VideoFrame], model: str, threads: int, work_dir: Path
) -> list[float]:
    """VMAF of each of `distorted`, enlarged to the size of `references`; the first has no motion, so scores lower."""
    # Not in the system's folder: what a killed process leaves in its working folder is swept.
    with tempfile.TemporaryDirectory(prefix="vmaf-", dir=work_dir) as folder:
        log = Path(folder) / "scores.json"
        _run(references, distorted, model, threads, log)
        gc.collect()  # the graph and its filters hold each other; libvmaf writes its log when they go
        report = json.loads(log.read_text())
    return [float(frame["metrics"]["vmaf"]) for frame in report["frames"]]


def _run(
    references: Sequence[VideoFrame], distorted: Iterable[VideoFrame], model: str, threads: int, log: Path
) -> None:
    graph: av.filter.Graph | None = None
    inputs: list[av.filter.context.FilterContext] = []
    for number, (reference, frame) in enumerate(zip(references, distorted, strict=True)):
        if graph is None:
            graph, inputs = _graph(reference, frame, model, threads, log)
        for source, picture in zip(inputs, (frame, reference), strict=True):
            picture.pts, picture.time_base = number, Fraction(1)
            _forget_colors(picture)
            source.push(picture)
        _drain(graph)
    assert graph is not None, "a window has at least one frame"
    for source in inputs:
        source.push(None)
    _drain(graph)


def _graph(
    reference: VideoFrame, frame: VideoFrame, model: str, threads: int, log: Path
) -> "tuple[av.filter.Graph, list[av.filter.context.FilterContext]]":
    graph = av.filter.Graph()
    graph.threads = 1
    size = f"{reference.width}:{reference.height}"
    pixel_format = reference.format.name
    inputs = [_buffer(graph, picture) for picture in (frame, reference)]
    enlarge = graph.add("scale", f"{size}:flags=bicubic")
    same_format = graph.add("format", pixel_format)
    measure = graph.add(
        "libvmaf", None, model=f"version={model}", log_fmt="json", log_path=str(log), n_threads=str(threads)
    )
    sink = graph.add("buffersink")
    inputs[0].link_to(enlarge)
    enlarge.link_to(same_format)
    same_format.link_to(measure, 0, 0)
    inputs[1].link_to(measure, 0, 1)
    measure.link_to(sink)
    graph.configure()
    return graph, inputs


def _buffer(graph: av.filter.Graph, frame: VideoFrame) -> "av.filter.context.FilterContext":
    # Both as limited range and of no named matrix, as `_forget_colors` makes the frames.
    return graph.add(
        "buffer",
        video_size=f"{frame.width}x{frame.height}",
        pix_fmt=frame.format.name,
        time_base="1/1",
        pixel_aspect="1/1",
    )


def _forget_colors(frame: VideoFrame) -> None:
    """What is compared are the stored values: the scaler would convert named colours to the graph's unnamed ones.

    A standard-definition rendition of VMAF 96 was scored 66.
    """
    frame.colorspace = frame.color_primaries = frame.color_trc = UNSPECIFIED
    frame.color_range = 0


def _drain(graph: av.filter.Graph) -> None:
    while True:
        try:
            graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
