"""Decoding a source's frames: all of them, or a range that starts at exactly the right one."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Self

import av

from pipelines.facts import VideoFacts
from pipelines.opening import demux_source, open_source
from pipelines.picture_facts import pixel_aspect
from pipelines.usage import cpu_of, thread_ids

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.rational import AVRational
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


class Decoder:
    """Decodes the shown stream of one source file."""

    def __init__(self, path: str, video: VideoFacts, threads: int, alive: Callable[[], None] = lambda: None) -> None:
        """`alive` is called for every packet, also for those that are skipped or give no frame."""
        self._path, self._video, self._threads, self._alive = path, video, threads, alive
        self._container: InputContainer | None = None
        self._stream: VideoStream
        self._at_top = False
        self.decoded_frames = 0
        """Frames that the decoder gave, also those in front of a range."""
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; frames that were given stay valid."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def threads_cpu_s(self) -> float:
        """CPU seconds of the decoder's own threads, which the caller's thread time does not count."""
        return cpu_of(self._own_threads)

    @property
    def sample_aspect_ratio(self) -> Fraction:
        """Of the pixels of the frame given last."""
        return self._stated_aspect or self._coded_aspect

    def all(self) -> "Iterator[VideoFrame]":
        """Every frame from the top; what cannot be decoded is left out."""
        if not self._at_top:
            self._open()
        return self._frames()

    def between(self, first: int, last: int, seek_pts: Sequence[int]) -> "Iterator[VideoFrame]":
        """The frames with `first` <= pts <= `last`, in order of pts.

        Seeking is a wish: MPEG-TS lands late, an open GOP loses its leading frames, an intra refresh shows nothing at
        first. So when `first` does not come out sound, decoding starts one place further back in `seek_pts` (rising),
        and at last from the top. A frame that two starts in front of it do not give is not there: the rest follows.
        """
        earlier: tuple[int, bool] | None = None
        for target in (*reversed(seek_pts), None):
            frames = self._from(target)
            began, head = _skip_to(frames, first)
            if head is None or head.pts is None:
                continue
            seen = (head.pts, head.is_corrupt)
            settled = began <= first and seen == earlier
            if seen == (first, False) or settled or target is None:
                yield from _until(head, frames, last)
                return
            earlier = seen

    def _open(self) -> None:
        self.close()
        self._container = open_source(self._path, video=self._video.stream_index)
        self._stream = self._container.streams[self._video.stream_index]  # type: ignore[assignment]
        context = self._stream.codec_context
        context.thread_count = self._threads
        context.thread_type = "AUTO" if self._threads > 1 else "NONE"
        before = thread_ids()
        context.open(strict=False)
        self._own_threads = thread_ids() - before
        self._at_top = True
        stated, coded = _aspect(self._stream.sample_aspect_ratio), _aspect(context.sample_aspect_ratio)
        self._stated_aspect = stated if stated != coded else None  # a container that contradicts its codec is believed
        self._coded_aspect = coded

    def _from(self, target: int | None) -> "Iterator[VideoFrame]":
        if target is None:
            return self.all()
        assert self._container is not None
        try:
            self._container.seek(target, stream=self._stream, backward=True)
        except av.error.FFmpegError:
            return iter(())  # nothing to be found that way: the next start is tried
        finally:
            self._at_top = False
        return self._frames()

    def _frames(self) -> "Iterator[VideoFrame]":
        assert self._container is not None
        self._at_top, first = False, True
        for packet in demux_source(self._container, self._stream):
            self._alive()
            try:
                frames: list[VideoFrame] = packet.decode()
            except (av.error.FFmpegError, MemoryError) as error:
                # dav1d calls some damaged frames "out of memory"
                if isinstance(error, MemoryError) and self._video.codec != "av1":
                    raise
                continue  # damaged: the next packets may be sound, and what is missing is counted by the caller
            for frame in frames:
                self.decoded_frames += 1
                if first or frame.key_frame:  # the decoder tells of a change while frames from before it still come out
                    self._coded_aspect, first = _aspect(self._stream.codec_context.sample_aspect_ratio), False
                yield frame


def _aspect(claimed: "AVRational | None") -> Fraction:
    return pixel_aspect(Fraction(claimed.numerator, claimed.denominator) if claimed else None)


def _skip_to(frames: "Iterator[VideoFrame]", first: int) -> "tuple[int, VideoFrame | None]":
    """The pts that decoding began with, and the first frame that is not before `first`."""
    began: int | None = None
    for frame in frames:
        if frame.pts is None:
            continue
        began = frame.pts if began is None else began
        if frame.pts >= first:
            return began, frame
    return first if began is None else began, None


def _until(head: "VideoFrame", frames: "Iterator[VideoFrame]", last: int) -> "Iterator[VideoFrame]":
    frame, at = head, None
    while True:
        if frame.pts is not None and (at is None or frame.pts > at):
            if frame.pts > last:
                return
            at = frame.pts
            yield frame
            if at == last:
                return
        following = next(frames, None)
        if following is None:
            return
        frame = following
