"""One rendition of a chunk: a thread that scales, encodes, and writes one MP4."""

import errno
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, Full, Queue

import av
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipelines.encoders import configure
from pipelines.errors import EncodeFailed
from pipelines.filters import RenditionGraph
from pipelines.plan import ColorTags, RenditionPlan, VideoPlan
from pipelines.usage import cpu_of, thread_ids

POLL_S = 0.2  # how soon one end of a queue notices that the other is gone

Work = tuple[VideoFrame, tuple[int, ...]]
"""A shared frame, and the output times at which it is shown."""


class Stopped(Exception):
    """The other end of the queue has ended; its own error says why."""


class RenditionEncoder:
    """Scales and encodes frames in a thread of its own; the encoder is open as soon as this object is made."""

    def __init__(
        self,
        plan: RenditionPlan,
        video: VideoPlan,
        tags: ColorTags,
        path: Path,
        *,
        depth: int,
        on_frames: Callable[[str, int], None],
        on_wait: Callable[[], None],
    ) -> None:
        """`on_wait` is called now and then by whoever waits for the thread: until there is room, or for its end."""
        self.plan, self.path = plan, path
        self.frames = 0
        self.cpu_s = self.filter_cpu_s = 0.0
        self.error: BaseException | None = None
        self._time_base, self._on_frames, self._on_wait = video.time_base, on_frames, on_wait
        self._graph = RenditionGraph(plan, tags)
        self._queue: Queue[Work | None] = Queue(maxsize=depth)
        self._ended = threading.Event()
        before = thread_ids()
        self._container = av.open(str(path), "w", format="mp4")
        try:
            self._stream = self._open(video)
        except av.error.FFmpegError as error:
            raise _failed(plan, error) from error
        self._own_threads = thread_ids() - before
        self._thread = threading.Thread(target=self._run, name=f"encode {plan.name}", daemon=True)

    def start(self) -> None:
        """Begin to take frames."""
        self._thread.start()

    def put(self, frame: VideoFrame, times: tuple[int, ...]) -> None:
        """Hand over a shared frame, waiting for room; raises Stopped when the thread has ended."""
        self._give((frame, times))

    def finish(self) -> None:
        """No more frames come."""
        self._give(None)

    def join(self) -> None:
        """Wait for the end; raises what the thread died of."""
        while self._thread.is_alive():
            self._thread.join(POLL_S)
            self._on_wait()
        if self.error is not None:
            raise self.error

    def abandon(self) -> None:
        """End the thread without finishing the file."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _give(self, item: Work | None) -> None:
        while not self._ended.is_set():
            try:
                self._queue.put(item, timeout=POLL_S)
            except Full:
                self._on_wait()
                continue
            return
        raise Stopped(self.plan.name)

    def _take(self) -> Work | None:
        while not self._ended.is_set():
            try:
                return self._queue.get(timeout=POLL_S)
            except Empty:
                continue
        raise Stopped(self.plan.name)

    def _open(self, video: VideoPlan) -> VideoStream:
        plan = self.plan
        stream = self._container.add_stream(plan.encoder, rate=video.frame_rate)
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        configure(context, plan, video.frame_rate, video.time_base)
        context.thread_count = 1  # whose number x264's output depends on
        if plan.codec == "hevc":
            context.codec_tag = "hvc1"  # parameter sets in the header only: what Apple's players ask for
        self._container.start_encoding()
        return stream

    def _run(self) -> None:
        started = time.thread_time()
        try:
            while (work := self._take()) is not None:
                self._encode(*work)
            self._drain()
            self.cpu_s = time.thread_time() - started + cpu_of(self._own_threads)
            self._container.close()
        except Stopped:
            pass
        except av.error.FFmpegError as error:
            self.error = error if error.errno == errno.ENOSPC else _failed(self.plan, error)
        except BaseException as error:  # noqa: BLE001 - carried over to the main thread, which raises it
            self.error = error
        finally:
            self._ended.set()

    def _encode(self, shared: VideoFrame, times: Sequence[int]) -> None:
        before = time.thread_time()
        frame = self._graph.frame(shared)
        self.filter_cpu_s += time.thread_time() - before
        frame.pict_type = 0  # the source's own choice would be obeyed: key frames off the grid
        for pts in times:
            frame.pts, frame.time_base = pts, self._time_base
            self._container.mux(self._stream.encode(frame))
            self.frames += 1
            self._on_frames(self.plan.name, 1)

    def _drain(self) -> None:
        """Encode what the encoder still holds: at 2160p a minute's work, of which the first packet may take all."""
        packets = self._stream.encode(None)
        if self.frames == 1:
            for packet in packets:
                packet.dts = packet.pts  # x265 leaves that of an only frame undefined, and few numbers can be written
        self._container.mux(packets)


def _failed(plan: RenditionPlan, error: av.error.FFmpegError) -> EncodeFailed:
    return EncodeFailed(
        f"{plan.encoder} failed on rendition {plan.name}", detail={"rendition": plan.name, "native": str(error)}
    )
