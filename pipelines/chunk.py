"""One chunk of a video: decoded once, encoded for every rendition at the same time.

The main thread decodes and does what all renditions share. Each rendition has a thread that scales and encodes; codecs
and filters release Python's lock. Short queues between them bound the memory.
"""

import resource
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.errors import CorruptMedia
from pipelines.plan import ChunkPlan, VideoPlan

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from pipelines.decode import Decoder
    from pipelines.encode import RenditionEncoder
    from pipelines.filters import SourceStage

QUEUE_BYTES = 24_000_000  # of shared frames that wait for the slowest rendition: 7 at 1080p
LEAST_QUEUE_FRAMES = 3  # larger pictures need longer for each, and stall nobody with fewer
REPORT_S = 0.5
SIGN_CPU_S = 0.1  # of work that counts as a sign of life; waiting for a minute takes less, however busy the machine is
# A viewer forgives a glitch. A chunk is at least some seconds long; when more than a quarter of it is not the video,
# the file is broken, and a rendition of it would only hide that.
DAMAGED_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class ChunkRequest:
    """What to encode: rows are parallel, one per output frame of the chunk."""

    source_path: str
    video: VideoPlan  # with the renditions that are wanted, and no chunks
    chunk: ChunkPlan
    sources: tuple[int, ...]  # FrameRow.source
    pts: tuple[int, ...]  # FrameRow.pts
    out_dir: str
    threads: int  # of the decoder; encoders have one each


@dataclass(frozen=True, slots=True)
class ChunkRendition:
    """One encoded chunk of one rendition, ``{out_dir}/{name}.mp4``: its first frame is at 0, in the exact time base."""

    name: str
    frames: int
    encode_cpu_s: float  # scaling included


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """What came of a chunk, and what it cost."""

    renditions: tuple[ChunkRendition, ...]
    decode_cpu_s: float
    filter_cpu_s: float  # what all renditions share, and all scaling
    concealed_frames: int  # missing in the source, shown as the frame before them
    decoded_frames: int
    wall_s: float
    peak_rss_bytes: int


def encode_chunk(request: ChunkRequest, report: Callable[[dict[str, Any]], None]) -> ChunkResult:
    """Encode one chunk for all its renditions; reports {frames, frames_done, renditions: {name: frames}}.

    Raises CorruptMedia when too much of the source is missing, EncodeFailed when an encoder gives up.
    """
    from pipelines.decode import Decoder
    from pipelines.encode import Stopped
    from pipelines.filters import SourceStage

    started = time.monotonic()
    meter = _Meter(request, report)
    stage = SourceStage(request.video)
    with Decoder(request.source_path, request.video.source, request.threads, meter.tell) as decoder:
        encoders = _open_encoders(request, stage, meter)
        feed = Feed(request, decoder, stage, encoders)
        try:
            for encoder in encoders:
                encoder.start()
            feed.run()
            for encoder in encoders:
                encoder.join()
        except Stopped:  # one of the encoders ended early, and knows why
            raise next(encoder.error for encoder in encoders if encoder.error is not None) from None
        finally:
            for encoder in encoders:
                encoder.abandon()
        meter.tell(at_once=True)
        return ChunkResult(
            renditions=tuple(_rendition(encoder) for encoder in encoders),
            decode_cpu_s=feed.decode_cpu_s,
            filter_cpu_s=feed.filter_cpu_s + sum(encoder.filter_cpu_s for encoder in encoders),
            concealed_frames=feed.concealed,
            decoded_frames=decoder.decoded_frames,
            wall_s=time.monotonic() - started,
            peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        )


def _open_encoders(request: ChunkRequest, stage: "SourceStage", meter: "_Meter") -> "list[RenditionEncoder]":
    """All encoders, before any thread starts: some hold Python's lock while they open."""
    from pipelines.encode import RenditionEncoder

    source = request.video.source
    frame_bytes = source.width * source.height * (3 if source.bit_depth > 8 else 1.5)
    depth = max(LEAST_QUEUE_FRAMES, min(8, int(QUEUE_BYTES / frame_bytes)))
    encoders: list[RenditionEncoder] = []
    try:
        for plan in request.video.renditions:
            encoders.append(
                RenditionEncoder(
                    plan,
                    request.video,
                    stage.out_tags,
                    Path(request.out_dir) / f"{plan.name}.mp4",
                    depth=depth,
                    on_frames=meter.add,
                    on_wait=meter.wait,
                )
            )
    except BaseException:
        for encoder in encoders:
            encoder.abandon()
        raise
    return encoders


def _rendition(encoder: "RenditionEncoder") -> ChunkRendition:
    return ChunkRendition(name=encoder.plan.name, frames=encoder.frames, encode_cpu_s=encoder.cpu_s)


class FrameSink(Protocol):
    """What takes the shared frames of a chunk: a rendition's encoder, or a measurement."""

    def put(self, frame: "VideoFrame", times: tuple[int, ...]) -> None:
        """One shared frame, and the times from the first row's at which it is shown."""

    def finish(self) -> None:
        """Nothing more comes."""


class Feed:
    """Decodes the chunk's frames and hands each to all sinks, with the times at which it is shown."""

    def __init__(
        self, request: ChunkRequest, decoder: "Decoder", stage: "SourceStage", encoders: "Sequence[FrameSink]"
    ) -> None:
        self._request, self._decoder, self._stage, self._encoders = request, decoder, stage, encoders
        rows = zip(request.sources, request.pts, strict=True)
        start = request.pts[0]
        self._times = {key: tuple(pts - start for _, pts in shown) for key, shown in groupby(rows, lambda row: row[0])}
        self._needed = (*request.chunk.lead, *self._times, *request.chunk.tail)
        self._damaged = 0
        self.concealed = 0
        self.decode_cpu_s = self.filter_cpu_s = 0.0

    def run(self) -> None:
        """Feed everything, then say that nothing more comes."""
        before = time.thread_time()
        for key, frame in self._complete(self._decoded()):
            self._through(key, frame)
        self._hand_over(self._stage.finish())
        for encoder in self._encoders:
            encoder.finish()
        self.decode_cpu_s = time.thread_time() - before - self.filter_cpu_s + self._decoder.threads_cpu_s()

    def _decoded(self) -> "Iterator[tuple[int, VideoFrame]]":
        """(key, frame) from the first needed frame to the last; a frame's key is its pts or its ordinal."""
        needed, chunk = self._needed, self._request.chunk
        if self._request.video.matching == "ordinal":
            for ordinal, frame in enumerate(self._decoder.all()):
                if ordinal >= needed[0]:
                    yield ordinal, frame
                if ordinal >= needed[-1]:
                    break
            return
        for frame in self._decoder.between(needed[0], needed[-1], chunk.seek_pts):
            assert frame.pts is not None
            yield frame.pts, frame

    def _complete(self, found: "Iterable[tuple[int, VideoFrame]]") -> "Iterator[tuple[int, VideoFrame]]":
        """Exactly the needed frames: others are dropped, missing ones repeat the frame before them."""
        waiting = iter(self._needed)
        wanted = next(waiting, None)
        gaps: list[int] = []  # missing before the first frame that was found
        shown: VideoFrame | None = None
        for key, frame in found:
            while wanted is not None and wanted < key:
                yield from self._conceal(wanted, shown, gaps)
                wanted = next(waiting, None)
            if wanted == key:
                self._damaged += frame.is_corrupt
                self._check_damage()
                for gap in gaps:
                    yield gap, frame
                gaps.clear()
                yield key, frame
                wanted = next(waiting, None)
            shown = frame
        while wanted is not None:
            yield from self._conceal(wanted, shown, gaps)
            wanted = next(waiting, None)
        if shown is None:
            raise CorruptMedia("none of the frames of a part of the video can be decoded")

    def _conceal(self, key: int, shown: "VideoFrame | None", gaps: list[int]) -> "Iterator[tuple[int, VideoFrame]]":
        self.concealed += 1
        self._damaged += 1
        self._check_damage()
        if shown is None:
            gaps.append(key)
        else:
            yield key, shown

    def _check_damage(self) -> None:
        if self._damaged > len(self._needed) * DAMAGED_SHARE and self._damaged > 2:
            raise CorruptMedia(
                "too many frames of the video are damaged or missing",
                detail={"frames": len(self._needed), "damaged": self._damaged, "chunk": self._request.chunk.number},
            )

    def _through(self, key: int, frame: "VideoFrame") -> None:
        before = time.thread_time()
        ready = self._stage.push(key, frame, self._decoder.sample_aspect_ratio)
        self.filter_cpu_s += time.thread_time() - before
        self._hand_over(ready)

    def _hand_over(self, ready: "Iterable[tuple[int, VideoFrame]]") -> None:
        for key, frame in ready:
            times = self._times.get(key)
            if times is not None:  # frames before and after the range were for the temporal filter only
                for encoder in self._encoders:
                    encoder.put(frame, times)


class _Meter:
    """Counts encoded frames from all threads, and tells now and then."""

    def __init__(self, request: ChunkRequest, report: Callable[[dict[str, Any]], None]) -> None:
        self._frames = len(request.pts)
        self._done = {plan.name: 0 for plan in request.video.renditions}
        self._report, self._lock, self._told = report, threading.Lock(), time.monotonic()
        self._used_s = time.process_time()

    def add(self, name: str, frames: int) -> None:
        """`frames` more of rendition `name` are encoded."""
        with self._lock:
            self._done[name] += frames
        self.tell()

    def wait(self) -> None:
        """Tell that an encoder is at work though no frame comes or goes: one that hangs uses no CPU.

        SVT-AV1 at 2160p gave no packet for 17.8 s.
        """
        used_s = time.process_time()  # of all threads
        if used_s - self._used_s >= SIGN_CPU_S:
            self._used_s = used_s
            self.tell()

    def tell(self, *, at_once: bool = False) -> None:
        """Report where things stand, unless that was done a moment ago."""
        with self._lock:
            if at_once or time.monotonic() - self._told >= REPORT_S:
                self._told = time.monotonic()
                done = dict(self._done)
                self._report({"frames": self._frames, "frames_done": min(done.values()), "renditions": done})
