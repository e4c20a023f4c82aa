"""Pictures cut from a video: a poster, and sprite sheets with their WebVTT map for seek previews.

Both come from our own joined renditions. The tree under ``out_dir``::

    poster/poster.jpg  poster/poster.webp     sprites/sprites.vtt  sprites/sheet-001.jpg …

Only key frames are decoded, except in videos too short to have ten of them.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, log2
from pathlib import Path
from typing import Any

import av
import av.filter
from av.container import InputContainer
from av.video.stream import VideoStream

from pipelines.errors import EncodeFailed
from pipelines.pictures import THREADS, StillScaler, ToneMapper, jpeg, webp

TILES_WANTED = 10  # at least, however short the video
COLUMNS = ROWS = 10
MAX_SHEETS = 4
TILE_BOX = (160, 320)  # pixels; width decides except for very tall pictures
POSTER_LONG_SIDE = 1280
REPORT_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class StillsRequest:
    """What one stills media process does; a path that is None is not wanted."""

    poster_path: str | None  # the rendition that the poster is cut from
    sprites_path: str | None  # the rendition that the tiles are cut from: the smallest will do
    out_dir: str


@dataclass(frozen=True, slots=True)
class StillsResult:
    """What was chosen."""

    poster_s: float | None  # output time of the frame on the poster


@dataclass(frozen=True, slots=True)
class Sample:
    """A small picture of one frame, and when it is shown."""

    start_s: Fraction
    picture: av.VideoFrame


def make_stills(request: StillsRequest, report: Callable[[dict[str, Any]], None]) -> StillsResult:
    """Cut the stills. Raises EncodeFailed when a rendition gives no frame."""
    path = request.sprites_path or request.poster_path
    if path is None:
        raise EncodeFailed("stills were asked for without a rendition to cut them from")
    samples, duration_s = _samples(path, report)
    out_dir = Path(request.out_dir)
    if request.sprites_path is not None:
        _write_sprites(samples, duration_s, out_dir / "sprites")
    if request.poster_path is None:
        return StillsResult(None)
    poster_s = best(samples).start_s
    _write_poster(request.poster_path, poster_s, out_dir / "poster")
    return StillsResult(float(poster_s))


def _samples(path: str, report: Callable[[dict[str, Any]], None]) -> tuple[list[Sample], Fraction]:
    """Evenly spread small pictures of the video, and the video's length."""
    to_sdr, shrink = ToneMapper(TILE_BOX), StillScaler("yuvj420p", TILE_BOX)
    samples: list[Sample] = []
    reported = time.monotonic()
    with _opened(path) as (container, stream):
        tick_s = Fraction(stream.time_base.numerator, stream.time_base.denominator)
        duration_s = (stream.duration or 0) * tick_s
        keys = [entry.timestamp for entry in stream.index_entries if entry.is_keyframe]
        many = len(keys) >= TILES_WANTED
        frames = _key_frames(container, stream, _thinned(keys)) if many else _spread(container, stream)
        for frame in frames:
            assert frame.pts is not None
            samples.append(Sample(frame.pts * tick_s, shrink(to_sdr(frame))))
            if time.monotonic() - reported > REPORT_EVERY_S:
                reported = time.monotonic()
                report({"stills": len(samples)})
    if not samples:
        raise EncodeFailed("the joined rendition gives no frame")
    return samples, duration_s


def _thinned(keys: Sequence[int]) -> Sequence[int]:
    """As many of `keys` as fit on the sheets, evenly spread."""
    return keys[:: ceil(len(keys) / (MAX_SHEETS * COLUMNS * ROWS))]


def _key_frames(container: InputContainer, stream: VideoStream, keys: Sequence[int]) -> Iterator[av.VideoFrame]:
    """The key frames with these decoding timestamps; what lies between is not even read."""
    for key in keys:
        # Seeking goes by presentation time, which is later than `key`: it lands there, or one key frame before.
        container.seek(key, stream=stream, backward=True)
        packet = next(p for p in container.demux(stream) if p.is_keyframe and p.dts is not None and p.dts >= key)
        # Draining after each makes the decoder give the frame at once instead of waiting for what may precede it.
        yield from [*stream.decode(packet), *stream.decode(None)][:1]
        stream.codec_context.flush_buffers()


def _spread(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    """`TILES_WANTED` frames at equal distances, or all there are."""
    count = min(TILES_WANTED, max(1, stream.frames))
    wanted = {number * stream.frames // count for number in range(count)}
    for number, frame in enumerate(container.decode(stream)):
        if number in wanted:
            yield frame


def best(samples: Sequence[Sample]) -> Sample:
    """The sample that shows the most: the highest entropy of brightness; of equals the first.

    Black, white and faded frames have nearly none, so that a poster is never one while there is any other.
    """
    return max(samples, key=lambda sample: (round(_entropy_bits(sample.picture), 3), -sample.start_s))


def _entropy_bits(picture: av.VideoFrame) -> float:
    plane = picture.planes[0]
    luma = bytes(plane)
    rows = [luma[y * plane.line_size : y * plane.line_size + picture.width] for y in range(picture.height)]
    counts = [0] * 32
    for row in rows:
        for value in row[::2]:
            counts[value >> 3] += 1
    total = sum(counts)
    return -sum(count / total * log2(count / total) for count in counts if count)


def _write_poster(path: str, at_s: Fraction, folder: Path) -> None:
    folder.mkdir(parents=True)
    box = (POSTER_LONG_SIDE, POSTER_LONG_SIDE)
    frame = ToneMapper(box)(_frame_at(path, at_s))
    (folder / "poster.jpg").write_bytes(jpeg(StillScaler("yuvj420p", box)(frame)))
    (folder / "poster.webp").write_bytes(webp(StillScaler("yuv420p", box)(frame)))


def _frame_at(path: str, at_s: Fraction) -> av.VideoFrame:
    """The frame that is shown at `at_s`. All renditions have the same frames, but each its own time base."""
    with _opened(path) as (container, stream):
        tick_s = Fraction(stream.time_base.numerator, stream.time_base.denominator)
        container.seek(int(at_s / tick_s), stream=stream, backward=True)
        frame = None
        for frame in container.decode(stream):
            if frame.pts is not None and frame.pts * tick_s >= at_s - tick_s:
                break
    if frame is None:
        raise EncodeFailed("the joined rendition gives no frame")
    return frame


def _write_sprites(samples: Sequence[Sample], duration_s: Fraction, folder: Path) -> None:
    """Sheets and map."""
    folder.mkdir(parents=True)
    per_sheet = COLUMNS * ROWS
    pages = [samples[first : first + per_sheet] for first in range(0, len(samples), per_sheet)]
    for number, page in enumerate(pages):
        (folder / _sheet_name(number)).write_bytes(jpeg(_tiled([sample.picture for sample in page])))
    ends = [*(sample.start_s for sample in samples[1:]), max(duration_s, samples[-1].start_s + Fraction(1, 1000))]
    cues = []
    for place, (sample, end_s) in enumerate(zip(samples, ends, strict=True)):
        sheet, tile = divmod(place, per_sheet)
        row, column = divmod(tile, COLUMNS)
        width, height = sample.picture.width, sample.picture.height
        area = f"{column * width},{row * height},{width},{height}"
        cues.append(f"{_clock(sample.start_s)} --> {_clock(end_s)}\n{_sheet_name(sheet)}#xywh={area}\n")
    (folder / "sprites.vtt").write_text("WEBVTT\n\n" + "\n".join(cues))


def _sheet_name(number: int) -> str:
    return f"sheet-{number + 1:03d}.jpg"


def _clock(seconds: Fraction) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def _tiled(pictures: Sequence[av.VideoFrame]) -> av.VideoFrame:
    """One sheet, no larger than its tiles need."""
    columns = min(COLUMNS, len(pictures))
    graph = av.filter.Graph()
    graph.threads = THREADS
    first = pictures[0]
    graph.link_nodes(
        graph.add_buffer(width=first.width, height=first.height, format=first.format, time_base=Fraction(1, 1)),
        graph.add("tile", f"{columns}x{ceil(len(pictures) / columns)}"),
        graph.add("format", "yuvj420p"),
        graph.add("buffersink"),
    )
    graph.configure()
    for number, picture in enumerate(pictures):
        picture.pts, picture.time_base = number, Fraction(1, 1)
        graph.vpush(picture)
    graph.vpush(None)
    sheet = graph.vpull()
    sheet.pict_type = 0
    return sheet


@contextmanager
def _opened(path: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # single frames at a time: threads would only add their start
        yield container, stream
