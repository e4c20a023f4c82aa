"""The authoritative list of a video's frames, from one pass over its packets.

Demuxing tells every frame's time without decoding it, but only the decoder knows which packets give a frame. So the
head is really decoded and compared; where the two disagree in a way that the head cannot settle (field pictures in
packets of their own, times that are missing or wrong), the whole video is decoded once for its list.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING, Any

from pipelines import boxes
from pipelines.decode import Decoder
from pipelines.errors import CorruptMedia, NoDecodableStream, TruncatedMedia
from pipelines.facts import VideoFacts
from pipelines.limits import Limits
from pipelines.opening import demux_source, open_source
from pipelines.plan import FrameIndex

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet

HEAD_FRAMES = 24  # decoded and compared: longer than any reorder delay, and half a second of work at most in 2160p
TIMES_SHARE = 0.95  # of all steps between frames that must go forward for their times to be believed
LOST_SHARE, LOST_S = 0.02, 2.0  # a file whose tracks end this much before its stated duration was cut


@dataclass(slots=True)
class SoundPackets:
    """The packets of one sound stream."""

    start_s: float
    end_s: float
    heard_s: float = 0.0

    @property
    def true_end_s(self) -> float:
        """One damaged time must not make hours of it: it ends no later than its packets could fill.

        Matroska rounds 21.3 ms to 21, so what they fill is taken 5 % longer than they say.
        """
        return min(self.end_s, self.start_s + 1.05 * self.heard_s)


@dataclass(slots=True)
class Packets:
    """What demuxing told: one entry per packet that should give a frame, in file order."""

    pts: list[int | None] = field(default_factory=list)
    jumps_back: bool = False  # the decoding times do
    last_dts: int | None = None
    durations: list[int] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    count: int = 0  # of all packets, also those that give no frame (an AVI repeats a picture by an empty one)
    end_s: float = 0.0  # where the last packet of any demuxed stream ends
    sounds: dict[int, "SoundPackets"] = field(default_factory=dict)  # by stream

    @property
    def sound_end_s(self) -> float:
        """Where the last sound ends; 0 without any."""
        return max((sound.true_end_s for sound in self.sounds.values()), default=0.0)


def build_index(path: str, video: VideoFacts, limits: Limits, alive: Callable[[], None] = lambda: None) -> FrameIndex:
    """The frames of the shown video stream of the container at `path`; `alive` is called as the work goes on.

    Raises TruncatedMedia, CorruptMedia, NoDecodableStream or LimitExceeded.
    """
    found = _demux(path, video, limits, alive)
    times = sorted({pts for pts in found.pts if pts is not None})
    head = _head(path, video, alive)
    if not head:
        raise NoDecodableStream("the video stream does not give a single picture")
    _check_span(times, found, video, limits)
    why_decode = _doubt(found, times, head, video)
    if why_decode is None:
        first = head[0]
        assert first is not None
        pts = tuple(value for value in times if value >= first)
        return _index(video, pts, found)
    with Decoder(path, video, threads=2, alive=alive) as decoder:
        shown = [frame.pts for frame in decoder.all()]
    limits.check("max_frames", len(shown), f"the video has {len(shown):,} frames")
    if not shown:  # with several threads a decoder gives up earlier than with the one that gave the head
        raise CorruptMedia("the video is too damaged to be decoded")
    if _rising(shown):
        return _index(video, tuple(value for value in shown if value is not None), found)
    return _by_order(video, shown, found, why_decode)


def _demux(path: str, video: VideoFacts, limits: Limits, alive: Callable[[], None]) -> Packets:
    found = Packets()
    with open_source(path, video=video.stream_index) as container:
        stream = container.streams[video.stream_index]
        _check_index_in_file(container, video)
        # Matroska states its duration: with every stream's end at hand, a cut file shows.
        every = container.format.name.startswith("matroska")
        for packet in demux_source(container, *(() if every else (stream, *container.streams.audio))):
            if packet.pts is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                found.end_s = max(found.end_s, end)
                if packet.stream.type == "audio":
                    _note_sound(found, packet, end)
            alive()
            if packet.stream_index == video.stream_index and (packet.size or packet.dts is not None):
                _note(found, packet, video)
                limits.check("max_frames", found.count, f"the video has {found.count:,} frames or more")
        _check_complete(container, path, video, found)
    return found


def _note(found: Packets, packet: "Packet[Any]", video: VideoFacts) -> None:
    found.count += 1
    if not packet.size:
        return
    if packet.dts is not None:
        found.jumps_back = found.jumps_back or (found.last_dts is not None and packet.dts < found.last_dts)
        found.last_dts = packet.dts
    if packet.is_keyframe and packet.pts is not None:
        found.keys.append(packet.pts)
    if not packet.is_discard and not _hidden(packet, video.codec):
        found.pts.append(packet.pts)
        found.durations.append(packet.duration or 0)


def _note_sound(found: Packets, packet: "Packet[Any]", end_s: float) -> None:
    length_s = float((packet.duration or 0) * packet.time_base)
    sound = found.sounds.setdefault(packet.stream_index, SoundPackets(end_s - length_s, end_s))
    sound.end_s = max(sound.end_s, end_s)
    sound.heard_s += length_s


def _hidden(packet: "Packet[Any]", codec: str) -> bool:
    """True for VP8 and VP9 frames that are only referred to, when they lie in a packet of their own."""
    if codec not in ("vp8", "vp9"):
        return False
    data = memoryview(packet)
    if codec == "vp8":
        return not data[0] & 0x10  # show_frame, RFC 6386 §9.1
    if data[-1] & 0xE0 == 0xC0:  # a superframe ends with its index and shows its last frame (VP9 annex B)
        return False
    bits = data[0] << 8 | (data[1] if len(data) > 1 else 0)
    position = 4  # frame_marker (2 bits), profile_low_bit, profile_high_bit (VP9 §6.2)
    if bits >> 12 & 3 == 3:
        position += 1  # reserved_zero of profile 3
    show_existing, show = bits >> (15 - position) & 1, bits >> (13 - position) & 1
    return not show_existing and not show


def _check_index_in_file(container: "InputContainer", video: VideoFacts) -> None:
    """Refuse at once an MP4 whose sample table points past the end of the file: an interrupted upload."""
    size = container.size
    if "mp4" not in container.format.name or size is None:
        return
    entries = container.streams[video.stream_index].index_entries
    count = len(entries)
    beyond = sum(1 for entry in entries if entry.pos + entry.size > size)
    if beyond and count and entries[-1].pos + entries[-1].size > size:
        raise TruncatedMedia(
            f"the file ends before its video does: {beyond} of {count} frames are missing",
            detail={"frames_stated": count, "frames_missing": beyond},
        )


def _check_complete(container: "InputContainer", path: str, video: VideoFacts, found: Packets) -> None:
    name = container.format.name
    stream = container.streams[video.stream_index]
    stated = len(stream.index_entries) if "mp4" in name else stream.frames if name == "avi" else 0
    if found.count == 0 and stated == 0:
        raise NoDecodableStream("the video stream is empty")
    if found.count < stated * (1 - LOST_SHARE) - 2:
        raise CorruptMedia(
            f"only {found.count} of the {stated} frames that the file lists can be read",
            detail={"frames_stated": stated, "frames_read": found.count},
        )
    # Not any MP4: an edit list may show less than the header states. One in fragments states it in its segment index.
    states_length = name.startswith("matroska") or ("mp4" in name and _in_fragments(path))
    duration_s = (container.duration or 0) / 1_000_000
    if states_length and duration_s - found.end_s > max(LOST_S, duration_s * LOST_SHARE):
        raise TruncatedMedia(
            f"the file ends at {found.end_s:.1f} s of its stated {duration_s:.1f} s",
            detail={"stated_s": duration_s, "end_s": found.end_s},
        )


def _in_fragments(path: str) -> bool:
    with Path(path).open("rb") as file:
        return boxes.look(file, Path(path).stat().st_size).has_fragments


def _check_span(times: Sequence[int], found: Packets, video: VideoFacts, limits: Limits) -> None:
    """Two frames a day apart are a day of output, whatever the header says."""
    if times:
        span_s = float((times[-1] - times[0]) * video.time_base)
        limits.check("max_duration_s", span_s, f"the video's frames span {span_s:,.0f} s")
        sound_s = found.sound_end_s - float(times[0] * video.time_base)
        limits.check("max_duration_s", sound_s, f"the sound lasts {sound_s:,.0f} s")


def _head(path: str, video: VideoFacts, alive: Callable[[], None]) -> list[int | None]:
    """The times of the first frames that a decoder really gives from the top."""
    head: list[int | None] = []
    with Decoder(path, video, threads=1, alive=alive) as decoder:
        for frame in decoder.all():
            head.append(frame.pts)
            if len(head) == HEAD_FRAMES:
                break
    return head


def _doubt(found: Packets, times: Sequence[int], head: Sequence[int | None], video: VideoFacts) -> str | None:
    """Why the packets' times cannot be the list of frames, or None when they can."""
    if None in found.pts or None in head:
        return "its frames carry no times"
    if len(times) < len(found.pts):
        return "several of its frames carry the same time"
    if found.jumps_back:
        return "its times jump back"
    shown = [value for value in head if value is not None]
    if not _rising(head):
        return "its frames carry wrong times"
    if shown != [value for value in times if shown[0] <= value <= shown[-1]]:
        return "its packets are not its frames"
    gaps = [b - a for a, b in pairwise(times)]
    may_hold_fields = video.codec == "h264" and video.field_order != "progressive"
    if may_hold_fields and gaps and min(gaps) < 0.75 * median_low(gaps):
        return "some of its packets hold single fields"  # picture-adaptive interlace may start after the head
    return None


def _rising(values: Sequence[int | None]) -> bool:
    return None not in values and all(a < b for a, b in pairwise(values))  # type: ignore[operator]


def _index(video: VideoFacts, pts: tuple[int, ...], found: Packets) -> FrameIndex:
    keys = tuple(sorted({key for key in found.keys if key <= pts[-1]}))
    why_not = None if keys else "no frame is marked as a place where decoding can start"
    return FrameIndex(
        time_base=video.time_base,
        pts=pts,
        keys=keys,
        matching="pts",
        chunkable=why_not is None,
        why_not_chunkable=why_not,
        last_duration=_last_duration(video, pts, found),
        sound_end_s=found.sound_end_s,
    )


def _last_duration(video: VideoFacts, pts: Sequence[int], found: Packets) -> int:
    """How long the last frame is shown, in ticks; a claim shorter than the usual gap is not believed."""
    claims = [d for time, d in zip(found.pts, found.durations, strict=True) if time == pts[-1]]
    claim = claims[0] if claims else 0
    if len(pts) == 1:
        usual = round(1 / (video.frame_rate * video.time_base))
        return max(1, claim or usual)
    usual = median_low([b - a for a, b in pairwise(pts)])
    return max(1, claim if claim >= 0.75 * usual else usual)


def _by_order(video: VideoFacts, shown: Sequence[int | None], found: Packets, why: str) -> FrameIndex:
    """An index that counts frames: with their own distances in time where they have such, else at the frame rate."""
    time_base = video.time_base
    pts, last = _bridged([value for value in shown if value is not None]) if None not in shown else ((), 0)
    if not pts:
        step = 1 / (video.frame_rate * time_base)
        if step < 1:  # the container's clock is coarser than the frames: count in frames instead
            time_base, step = 1 / video.frame_rate, Fraction(1)
        start = round(video.start_s / time_base)
        pts, last = tuple(start + round(number * step) for number in range(len(shown))), max(1, round(step))
    return FrameIndex(
        time_base=time_base,
        pts=pts,
        keys=(),
        matching="ordinal",
        chunkable=False,
        why_not_chunkable=why,
        last_duration=last,
        sound_end_s=found.sound_end_s,
    )


def _bridged(shown: Sequence[int]) -> tuple[tuple[int, ...], int]:
    """Times that rise, and the usual step: a jump back counts as one usual step.

    Nothing when there is more than the odd jump (a recording joined from several): then the times mean something else,
    such as the order of decoding.
    """
    steps = [b - a for a, b in pairwise(shown)]
    rising = [step for step in steps if step > 0]
    if len(rising) < len(steps) * TIMES_SHARE or not rising:
        return (), 0
    usual = median_low(rising)
    return tuple(accumulate((step if step > 0 else usual for step in steps), initial=shown[0])), usual
