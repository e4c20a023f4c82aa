"""Small media files made to order, each made once per test run.

    path = clip(frames=90, gop=30, bframes=3, audio=(Sound(), Sound(language="nor", layout="5.1")))
    assert frame_numbers(path) == list(range(90))

Every frame shows its number (tests/support/pictures.py). Sound track k plays a tone of its own, louder for the first
40 ms of every second.
"""

import atexit
import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.filter import Graph
from av.stream import Disposition

from tests.support.pictures import display_matrix, draw, frame_number, stored
from tests.support.sounds import Sound, Track

__all__ = [
    "Clip",
    "Sound",
    "clip",
    "frame_numbers",
    "joined_ts",
    "make",
    "merged",
    "picture",
    "remuxed",
    "resized_midway",
]

ENCODERS = {
    "h264": "libx264",
    "hevc": "libx265",
    "vp8": "libvpx",
    "vp9": "libvpx-vp9",
    "av1": "libsvtav1",
    "prores": "prores_ks",
}
MUXERS = {"ts": "mpegts", "mkv": "matroska", "m4a": "mp4", "m2v": "mpeg2video", "mpg": "mpeg", "aac": "adts"}


@dataclass(frozen=True)
class Clip:
    """What a file should be; sizes and shapes are those that are STORED."""

    suffix: str = "mp4"  # of the file, names the container: mp4 mov mkv webm ts avi flv m4a mp3 flac wav ogg h264 …
    codec: str | None = "h264"  # None: no video
    width: int = 320
    height: int = 180
    fps: Fraction | int = 30
    frames: int = 60
    gop: int = 30
    bframes: int = 2
    open_gop: bool = False
    pix_fmt: str = "yuv420p"
    first_number: int = 0  # that the first frame shows
    flat: tuple[int, int, int] | None = None  # 8-bit Y, U, V of the whole picture, which then carries no number
    pts: tuple[int, ...] | None = None  # of every frame, in `time_base`; None: 0, 1, 2 … in 1/fps
    time_base: Fraction | None = None
    rotation_deg: int = 0  # clockwise turn that makes it upright
    mirrored: bool = False  # flip left-right after that turn
    sar: Fraction | None = None
    primaries: int = 2  # numbers of ITU-T H.273; 2 is "unspecified"
    transfer: int = 2
    matrix: int = 2
    full_range: bool = False
    interlaced: str | None = None  # "top" or "bottom" field first
    options: tuple[tuple[str, str], ...] = ()  # of the video encoder, over the defaults
    mux_options: tuple[tuple[str, str], ...] = ()  # ("movflags", "frag_keyframe+empty_moov") …
    audio: tuple[Sound, ...] = ()
    cover: bool = False  # an attached picture
    metadata: tuple[tuple[str, str], ...] = ()  # ("location", "+48.8584+002.2945/") …


@cache
def folder() -> Path:
    """Where the files of this test run lie; removed at its end."""
    path = Path(tempfile.mkdtemp(prefix="farm-test-media-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def clip(**wishes: Any) -> Path:
    """The path of a file as the `Clip` of these fields describes it; equal wishes share one: never change it."""
    return make(Clip(**wishes))


@cache
def make(wish: Clip) -> Path:
    """The path of the file that `wish` describes."""
    name = hashlib.sha256(repr(wish).encode()).hexdigest()[:16]
    path = folder() / f"{name}.{wish.suffix}"
    options = dict(wish.mux_options)
    with av.open(str(path), "w", format=MUXERS.get(wish.suffix), options=options) as out:
        out.metadata.update(dict(wish.metadata))
        video = _video_stream(out, wish) if wish.codec else None
        tracks = [Track(out, sound, number, _seconds(wish)) for number, sound in enumerate(wish.audio)]
        cover = _cover_stream(out) if wish.cover else None
        out.start_encoding()
        if cover:
            _mux_cover(out, cover)
        for number in range(wish.frames if video else 0):
            _encode_frame(out, video, wish, number)
            for track in tracks:
                track.write_until(out, float((number + 1) / Fraction(wish.fps)))
        if video:
            out.mux(video.encode(None))
        for track in tracks:
            track.finish(out)
    return path


def _time_base(wish: Clip) -> Fraction:
    return wish.time_base or 1 / Fraction(wish.fps)


def _video_stream(out: Any, wish: Clip) -> Any:
    codec = wish.codec or ""
    stream = out.add_stream(ENCODERS.get(codec, codec), rate=Fraction(wish.fps))
    context = stream.codec_context
    stream.width, stream.height, stream.pix_fmt = wish.width, wish.height, wish.pix_fmt
    stream.time_base = context.time_base = _time_base(wish)
    context.gop_size = wish.gop
    if codec in ("h264", "hevc", "mpeg2video", "mpeg4"):
        context.max_b_frames = wish.bframes
    context.color_primaries, context.color_trc, context.colorspace = wish.primaries, wish.transfer, wish.matrix
    context.color_range = 2 if wish.full_range else 1
    context.thread_count = 1  # the same bytes on every machine
    if wish.sar:
        context.sample_aspect_ratio = wish.sar
    if wish.rotation_deg or wish.mirrored:
        stream.set_display_matrix(display_matrix(wish.rotation_deg, mirrored=wish.mirrored))
    stream.options = context.options = _encoder_options(wish)
    return stream


def _encoder_options(wish: Clip) -> dict[str, str]:
    options = {
        "h264": {
            "preset": "ultrafast" if not wish.bframes else "veryfast",
            "crf": "18",
            "x264-params": f"scenecut=0:b-adapt=0:keyint={wish.gop}:min-keyint=1:open-gop={int(wish.open_gop)}",
        },
        "hevc": {
            "preset": "ultrafast",
            "crf": "18",
            "x265-params": f"log-level=none:pools=1:scenecut=0:b-adapt=0:bframes={wish.bframes}"
            f":keyint={wish.gop}:min-keyint={wish.gop}:open-gop={int(wish.open_gop)}",
        },
        "vp8": {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "2M"},
        "vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "0"},
        "av1": {"preset": "10", "crf": "16", "svtav1-params": f"keyint={wish.gop}:lp=1"},
    }.get(wish.codec or "", {"flags": "+qscale", "global_quality": "354"})
    if wish.interlaced:
        options["flags"] = options.get("flags", "") + "+ildct+ilme"
        if wish.codec == "h264":
            options["x264-params"] += ":tff=1" if wish.interlaced == "top" else ":bff=1"
    return options | dict(wish.options)


def picture(wish: Clip, number: int) -> av.VideoFrame:
    """Frame `number` of a clip before it is encoded, in its pixel format."""
    turned = wish.rotation_deg in (90, 270)
    width, height = (wish.height, wish.width) if turned else (wish.width, wish.height)
    if wish.flat is not None:
        planes = np.empty((3, height, width), np.uint8)
        planes[:] = np.array(wish.flat, np.uint8)[:, None, None]
    else:
        planes = draw(wish.first_number + number, width, height, interlaced=wish.interlaced)
    frame = av.VideoFrame.from_ndarray(
        stored(planes, wish.rotation_deg, mirrored=wish.mirrored), format="yuv444p", channel_last=False
    )
    if wish.pix_fmt != "yuv444p":
        span = 2 if wish.full_range else 1
        frame = frame.reformat(format=wish.pix_fmt, src_color_range=span, dst_color_range=span, threads=1)
    if wish.interlaced:
        frame = _with_field_order(frame, wish.interlaced)
    frame.pict_type = 0
    return frame


def _with_field_order(frame: av.VideoFrame, first: str) -> av.VideoFrame:
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25))
    order = graph.add("setfield", "tff" if first == "top" else "bff")
    sink = graph.add("buffersink")
    source.link_to(order)
    order.link_to(sink)
    graph.configure()
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    graph.push(frame)
    return graph.pull()  # type: ignore[return-value]


def _encode_frame(out: Any, stream: Any, wish: Clip, number: int) -> None:
    frame = picture(wish, number)
    frame.time_base = _time_base(wish)
    frame.pts = wish.pts[number] if wish.pts else round(number / (Fraction(wish.fps) * _time_base(wish)))
    out.mux(stream.encode(frame))


def _seconds(wish: Clip) -> float:
    if wish.codec is None:
        return 2.0
    if wish.pts:
        return float((wish.pts[-1] - wish.pts[0]) * _time_base(wish) + 1 / Fraction(wish.fps))
    return float(wish.frames / Fraction(wish.fps))


def _cover_stream(out: Any) -> Any:
    stream = out.add_stream("png", rate=1)
    stream.width, stream.height, stream.pix_fmt = 96, 96, "rgb24"
    stream.disposition = Disposition.attached_pic
    return stream


def _mux_cover(out: Any, stream: Any) -> None:
    frame = av.VideoFrame.from_ndarray(np.full((96, 96, 3), 90, np.uint8), format="rgb24")
    frame.pts, frame.time_base = 0, Fraction(1, 1)
    out.mux(stream.encode(frame))


def joined_ts(*paths: Path) -> Path:
    """MPEG-TS files one after the other, as broadcasts change over: size and parameter sets may change in the middle.

    Give the later clips `pts` that go on where the earlier one ended.
    """
    data = b"".join(path.read_bytes() for path in paths)
    target = folder() / f"joined-{hashlib.sha256(data).hexdigest()[:16]}.ts"
    target.write_bytes(data)
    return target


def resized_midway(suffix: str = "ts", sizes: tuple[tuple[int, int], ...] = ((320, 180), (480, 270))) -> Path:
    """H.264 of 30 frames in each of `sizes`, 30 frames/s, in one stream; numbers run through."""
    parts = []
    for part, (width, height) in enumerate(sizes):
        ticks = tuple(90_000 + 3000 * (30 * part + number) for number in range(30))
        wish = Clip(suffix="ts", width=width, height=height, frames=30, bframes=0, first_number=30 * part)
        parts.append(clip(**(vars(wish) | {"pts": ticks, "time_base": Fraction(1, 90_000)})))
    whole = joined_ts(*parts)
    return whole if suffix == "ts" else remuxed(whole, suffix)


def remuxed(path: Path, suffix: str, **mux_options: str) -> Path:
    """The packets of all streams of `path` in another container."""
    key = hashlib.sha256(repr((path, sorted(mux_options.items()))).encode()).hexdigest()[:16]
    target = folder() / f"remuxed-{key}.{suffix}"
    if target.exists():
        return target
    with (
        av.open(str(path)) as source,
        av.open(str(target), "w", format=MUXERS.get(suffix), options=mux_options) as out,
    ):
        streams = {s.index: out.add_stream_from_template(s) for s in source.streams if s.type in ("video", "audio")}
        for packet in source.demux(*(source.streams[index] for index in streams)):
            if packet.dts is None and packet.pts is None:
                continue
            packet.stream = streams[packet.stream_index]
            out.mux(packet)
    return target


def merged(suffix: str, *paths: Path) -> Path:
    """All video and audio streams of several files in one container, each with its own times."""
    target = folder() / f"merged-{hashlib.sha256(repr(paths).encode()).hexdigest()[:16]}.{suffix}"
    with av.open(str(target), "w", format=MUXERS.get(suffix)) as out:
        sources = [av.open(str(path)) for path in paths]
        packets = []
        for source in sources:
            wanted = [s for s in source.streams if s.type in ("video", "audio")]
            streams = {s.index: out.add_stream_from_template(s) for s in wanted}
            for packet in source.demux(*wanted):
                if packet.dts is not None:
                    packet.stream = streams[packet.stream_index]
                    packets.append(packet)
        for packet in sorted(packets, key=lambda p: (p.dts or 0) * p.time_base):
            out.mux(packet)
        for source in sources:
            source.close()
    return target


def frame_numbers(path: Path) -> list[int]:
    """The numbers that the frames of the first video stream of `path` show, in the order of decoding."""
    with av.open(str(path)) as container:
        return [frame_number(frame) for frame in container.decode(video=0)]
