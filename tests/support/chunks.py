"""Whole small videos through index, chunks and join, without a recipe: the test says how it is cut and encoded.

video = planned(path, chunks=4)
joined = encode_and_join(video, tmp_path)
assert pictures(joined.path) == pictures(path)
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av

from pipelines.chunk import ChunkRequest, ChunkResult, encode_chunk
from pipelines.color import true_tags
from pipelines.cut import at_bounds
from pipelines.frames import constant_rows, pack_rows, source_rate, source_rows
from pipelines.inspect import InspectRequest, inspect
from pipelines.join import JoinRendition, JoinRequest, RenditionProof, join
from pipelines.limits import Limits
from pipelines.plan import ChunkPlan, FrameIndex, FrameRow, RenditionPlan, SourceStage, VideoPlan


@dataclass(frozen=True)
class Planned:
    """A source, its frames, and how it is cut."""

    path: Path
    index: FrameIndex
    rows: list[FrameRow]
    video: VideoPlan


@dataclass(frozen=True)
class Joined:
    """The joined first rendition, its proof, and what each chunk reported."""

    path: Path
    proof: RenditionProof
    chunks: list[ChunkResult]
    paths: list[Path]


def silent(_: dict[str, Any]) -> None:
    """Takes progress and tells nobody."""


def lossless(width: int, height: int, pixel_format: str, gop: int, **changes: Any) -> RenditionPlan:
    """x264 that keeps every bit of every frame, with B frames and a key frame every `gop` frames."""
    plan = RenditionPlan(
        name="lossless",
        codec="h264",
        encoder="libx264",
        width=width,
        height=height,
        pixel_format=pixel_format,
        options={
            "qp": "0",
            "preset": "ultrafast",
            "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0:stitchable=1:bframes=2:b-adapt=0",
        },
        color=changes.pop("color"),
        max_bitrate_bps=None,
        buffer_bits=None,
        mp4=False,
    )
    return replace(plan, **changes)


def planned(
    path: Path,
    *,
    chunks: int = 4,
    timing: Literal["source", "constant"] = "source",
    gop: int = 10,
    deinterlace: bool = False,
    renditions: Callable[[VideoPlan], tuple[RenditionPlan, ...]] | None = None,
    **changes: Any,
) -> Planned:
    """The video at `path` in `chunks` equal parts, or in one when it cannot be cut; lossless unless told otherwise."""
    found = inspect(InspectRequest(str(path), Limits(), "video"), silent)
    source, index = found.info.video, found.index
    assert source is not None
    assert index is not None
    rate = source_rate(index, source.frame_rate)
    if timing == "source":
        rows, time_base = source_rows(index), index.time_base
        duration_s = float((rows[-1].pts + index.last_duration) * time_base)
    else:
        rows, time_base = constant_rows(index, rate, rate.fps), 1 / rate.fps
        duration_s = float(len(rows) * time_base)
    tags = true_tags(source)
    stage = SourceStage(deinterlace, 0, False, False, tags.space, source.width, source.height)
    bounds = _bounds(len(rows), gop, chunks if index.chunkable else 1)
    video = VideoPlan(
        source=source,
        stage=replace(stage, **changes),
        matching=index.matching,
        frame_rate=rate.fps,
        time_base=time_base,
        frame_count=len(rows),
        frames_sha256=hashlib.sha256(pack_rows(rows)).hexdigest(),
        duration_s=duration_s,
        gop_frames=gop,
        renditions=(lossless(source.width, source.height, source.pixel_format, gop, color=tags),),
        chunks=at_bounds(index, rows, bounds, deinterlace=deinterlace),
        why_not_chunkable=index.why_not_chunkable,
    )
    if renditions is not None:
        video = replace(video, renditions=renditions(video))
    return Planned(path, index, rows, video)


def _bounds(frames: int, gop: int, chunks: int) -> list[int]:
    places = -(-frames // gop)
    inner = sorted({round(number * places / chunks) * gop for number in range(1, chunks)} - {0})
    return [0, *(bound for bound in inner if bound < frames), frames]


def encode(video: Planned, chunk: ChunkPlan, folder: Path, *, threads: int = 1) -> ChunkResult:
    """One chunk of `video`, in this process."""
    rows = video.rows[chunk.start_frame : chunk.end_frame]
    target = folder / f"chunk-{chunk.number}"
    target.mkdir(parents=True, exist_ok=True)
    request = ChunkRequest(
        source_path=str(video.path),
        video=replace(video.video, chunks=()),
        chunk=chunk,
        sources=tuple(row.source for row in rows),
        pts=tuple(row.pts for row in rows),
        out_dir=str(target),
        threads=threads,
    )
    return encode_chunk(request, silent)


def encoded_file(folder: Path, chunk: ChunkPlan, rendition: str = "lossless") -> Path:
    """What `encode` made of one chunk for one rendition."""
    return folder / f"chunk-{chunk.number}" / f"{rendition}.mp4"


def encode_and_join(video: Planned, folder: Path, *, threads: int = 1) -> Joined:
    """All chunks, then the join of the first rendition."""
    results = [encode(video, chunk, folder, threads=threads) for chunk in video.video.chunks]
    paths = [encoded_file(folder, chunk, video.video.renditions[0].name) for chunk in video.video.chunks]
    return join_paths(video, results, paths, folder)


def join_paths(video: Planned, results: list[ChunkResult], paths: list[Path], folder: Path) -> Joined:
    """The join of the chunk files at `paths`."""
    frames = folder / "frames.i64"
    frames.write_bytes(pack_rows(video.rows))
    out = folder / "joined.mp4"
    rendition = JoinRendition(video.video.renditions[0], tuple((str(path),) for path in paths), str(out))
    request = JoinRequest((rendition,), replace(video.video, chunks=()), str(frames))
    return Joined(out, join(request, silent).renditions[0], results, paths)


def pictures(path: Path) -> list[str]:
    """A hash of every frame that decoding the first video stream straight through gives."""
    return [digest for _, digest in timed_pictures(path)]


def timed_pictures(path: Path) -> list[tuple[Fraction | None, str]]:
    """(seconds since the first frame, hash) of every frame, in order; None where the container knows no time."""
    found: list[tuple[Fraction | None, str]] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        tick = Fraction(stream.time_base.numerator, stream.time_base.denominator)
        first: int | None = None
        for frame in _decoded(container, stream):
            first = frame.pts if first is None else first
            at = None if frame.pts is None or first is None else (frame.pts - first) * tick
            found.append((at, picture_hash(frame)))
    return found


def _decoded(container: Any, stream: Any) -> Iterator[av.VideoFrame]:
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            continue  # what comes before the first key frame of a recording
        yield from frames


def picture_hash(frame: av.VideoFrame) -> str:
    """Of the pixels alone, without the padding of their lines."""
    digest = hashlib.md5(usedforsecurity=False)
    depth = max(component.bits for component in frame.format.components)
    for plane in frame.planes:
        used, data = plane.width * (2 if depth > 8 else 1), memoryview(plane)
        for row in range(plane.height):
            digest.update(data[row * plane.line_size : row * plane.line_size + used])
    return digest.hexdigest()


def shown(rows: Sequence[FrameRow], index: FrameIndex) -> list[int]:
    """The number of the source frame that each row shows."""
    place = {value: number for number, value in enumerate(index.pts)}
    return [place[row.source] if index.matching == "pts" else row.source for row in rows]
