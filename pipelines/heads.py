"""The first frames of a source's streams, really decoded: what headers claim is not yet media."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines.errors import MediaError
from pipelines.facts import USUAL_LAYOUTS
from pipelines.limits import Limits
from pipelines.native import UNTYPED, Log, from_log, native_errors, tail
from pipelines.opening import context_of, demux_source, may_decode, open_source

if TYPE_CHECKING:
    from av.codec.context import CodecContext
    from av.packet import Packet
    from av.video.frame import VideoFrame

HEAD_FRAMES = 6  # enough to see interlacing behind a progressive first frame
RATE_PACKETS = 64  # whose times measure the frame rate
RATE_BYTES = 64_000_000
LATE_PACKETS = 900  # until a recording that was joined in the middle must have given a picture: 30 s
LATE_BYTES = 400_000_000
AUDIO_PACKETS = 4000  # of all audio streams together, until each must have given a sound
AUDIO_BYTES = 100_000_000


@dataclass(slots=True)
class VideoHead:
    """What the beginning of a video stream gave."""

    frames: int = 0
    first: "VideoFrame | None" = None
    interlaced: bool = False  # one of the frames says so
    packets: int = 0
    bytes: int = 0
    times: list[int] = field(default_factory=list)  # pts of the packets, in file order
    error: MediaError | None = None  # why nothing was decoded, where the library said it
    native: list[str] = field(default_factory=list)

    @property
    def enough(self) -> bool:
        """True when reading on would tell nothing new."""
        if self.frames >= HEAD_FRAMES:
            return self.packets >= RATE_PACKETS or self.bytes >= RATE_BYTES
        return self.packets >= LATE_PACKETS or self.bytes >= LATE_BYTES


@dataclass(slots=True)
class AudioHead:
    """What the beginning of an audio stream gave."""

    able: bool  # its decoder is on the list
    packets: int = 0
    decoded: bool = False
    channels: int = 0
    layout: str = ""
    sample_rate_hz: int = 0

    @property
    def settled(self) -> bool:
        """True when reading on would tell nothing new."""
        return self.decoded or (not self.able and self.packets > 0)


def video_head(path: str, index: int, limits: Limits) -> VideoHead:
    """The beginning of video stream `index` of the file at `path`. Raises what `open_source` raises."""
    head = VideoHead()
    with (
        open_source(path, video=index, max_pixels=limits.max_pixels, max_streams=limits.max_streams) as container,
        native_errors("decode the video") as log,
    ):
        stream = container.streams.get(index)[0]
        _single_thread(context_of(stream))
        for packet in demux_source(container, stream):
            head.packets += bool(packet.size)
            head.bytes += packet.size
            if packet.pts is not None:
                head.times.append(packet.pts)
            for frame in _decode(packet) if head.frames < HEAD_FRAMES else ():
                head.first = head.first or frame
                head.frames += 1
                head.interlaced = head.interlaced or frame.interlaced_frame
            if head.enough:
                break
        _explain(head, log)
    return head


def _explain(head: VideoHead, log: Log) -> None:
    if not head.frames:
        head.error = from_log(log)
        head.native = tail(None, log)


def audio_heads(path: str, indexes: Sequence[int], limits: Limits) -> dict[int, AudioHead]:
    """The beginning of each of the audio streams `indexes`, in one pass. Raises what `open_source` raises."""
    budget = AUDIO_BYTES
    with (
        open_source(path, max_pixels=limits.max_pixels, max_streams=limits.max_streams) as container,
        native_errors("decode the audio"),
    ):
        streams = [container.streams.get(index)[0] for index in indexes]
        heads = {stream.index: AudioHead(may_decode(stream)) for stream in streams}
        for stream in streams:
            _single_thread(context_of(stream))
        for number, packet in enumerate(demux_source(container, *streams)):
            head = heads[packet.stream.index]  # the packet that ends a stream has no stream_index of its own
            head.packets += bool(packet.size)
            budget -= packet.size
            if head.able and not head.decoded:
                _hear(head, packet)
            if all(each.settled for each in heads.values()) or number >= AUDIO_PACKETS or budget < 0:
                break
    return heads


def _hear(head: AudioHead, packet: "Packet[Any]") -> None:
    for frame in _decode(packet):
        if frame.samples and frame.sample_rate > 0:
            head.decoded = True
            head.channels = frame.layout.nb_channels
            name = frame.layout.name  # PCM that names no layout has "2 channels": what everybody takes it for, then
            head.layout = USUAL_LAYOUTS.get(head.channels, name) if name.endswith("channels") else name
            head.sample_rate_hz = frame.sample_rate
            return


def _decode(packet: "Packet[Any]") -> Sequence[Any]:
    """The packet's frames; none when it is damaged, or its decoder could not even be opened."""
    try:
        return packet.decode()
    except MemoryError:
        raise
    except (*UNTYPED, ValueError):  # ValueError: PyAV's word for a decoder that failed to open before
        return ()


def _single_thread(context: "CodecContext | None") -> None:
    if context is not None and not context.is_open:
        context.thread_count = 1
        context.thread_type = "NONE"
