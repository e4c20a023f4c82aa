"""The GPU's engines for video and for pictures, found by using each: a card or a container lacks them without a word.

A driver can hang or crash whoever asks: ask from a process that somebody watches, as `python -m pipelines.engines`,
which answers in JSON.

No video of a job is decoded by them. NVDEC of an H100 gave 634 frames of three H.264 clips as the processors do, bit by
bit, from key frames on too, but none of 38 interlaced MPEG-2 frames. One 720p stream with its frames copied to the host
ran at 481 a second and 14 together at 1,032, where 16 cores decode 1,688. Encoders take the most of every ladder, and
that GPU has none.
"""

import contextlib
import io
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

import av
from av.codec.hwaccel import HWAccel
from av.error import FFmpegError

from pipelines.gpu_units import count_decoders, count_jpeg_engines
from pipelines.images.gpu import NoGpu, find_gpu, prove_jpeg_engine

# What each codec is encoded by on processors, to have something that the GPU can decode.
CODECS = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1"}
SIDE = 256  # pixels; less than some engines take at all
FRAMES = 3


@dataclass(frozen=True, slots=True)
class Engines:
    """What was proven; `why` says of nvenc, nvdec and nvjpg why there is none, or not for a codec (`nvenc h264`)."""

    name: str | None  # of the GPU
    nvenc: tuple[str, ...] = ()  # codecs
    nvdec: tuple[str, ...] = ()
    nvjpg: bool = False
    counts: dict[str, int] = field(default_factory=dict)  # of units, by nvdec and nvjpg, where the driver says it
    why: dict[str, str] = field(default_factory=dict)


def find_engines() -> Engines:
    """What the GPU that this process may see can really do; takes a few seconds where there is one."""
    try:
        gpu = find_gpu()
    except NoGpu as error:
        return Engines(None, why=dict.fromkeys(("nvenc", "nvdec", "nvjpg"), str(error)))
    why: dict[str, str] = {}
    nvenc = tuple(codec for codec in CODECS if _works(f"nvenc {codec}", encode, f"{codec}_nvenc", why))
    nvdec = tuple(codec for codec in CODECS if _works(f"nvdec {codec}", _decode, codec, why))
    nvjpg = _works("nvjpg", lambda _: prove_jpeg_engine(), "", why)
    counts: dict[str, int] = {}
    if nvdec:
        _count("nvdec", lambda: max(map(count_decoders, nvdec)), counts)
    if nvjpg:
        _count("nvjpg", count_jpeg_engines, counts)
    return Engines(gpu.name, nvenc, nvdec, nvjpg, counts, why)


def encode(encoder: str) -> bytes:
    """A few grey frames as the encoder makes them, in Matroska. FFmpegError or ValueError when it does not."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream(encoder, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        for number in range(FRAMES):
            frame = av.VideoFrame(SIDE, SIDE, "yuv420p")
            for plane in frame.planes:
                plane.update(b"\x80" * plane.buffer_size)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def _decode(codec: str) -> None:
    if count_decoders(codec) == 0:  # FFmpeg would only say that it got no buffer
        raise NoGpu("this GPU has no decoder for it")
    prove_decoder(codec)


def prove_decoder(codec: str) -> None:
    """Have the GPU, and nothing else, decode a few frames of the codec. FFmpegError, ValueError or RuntimeError."""
    clip = io.BytesIO(encode(CODECS[codec]))
    with av.open(clip, "r") as container:
        stream = container.streams.video[0]
        # By its name: of AV1 the first decoder is dav1d, which uses no GPU.
        context = av.CodecContext.create(codec, "r", hwaccel=HWAccel("cuda", allow_software_fallback=False))
        assert isinstance(context, av.VideoCodecContext)
        context.extradata = stream.codec_context.extradata
        decoded = sum(len(context.decode(packet)) for packet in container.demux(stream))
    if decoded != FRAMES:
        raise ValueError(f"{decoded} of {FRAMES} frames came out")


def _works(name: str, prove: Callable[[str], object], what: str, why: dict[str, str]) -> bool:
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)  # FFmpeg's own errors are numbers: the reason is in what it logs
    try:
        with av.logging.Capture(local=False) as logged:
            prove(what)
    except (FFmpegError, NoGpu, RuntimeError, NotImplementedError, ValueError) as error:
        said = dict.fromkeys(message.strip() for _, _, message in logged)
        why[name] = "; ".join(said) if isinstance(error, FFmpegError) and said else str(error)
        return False
    finally:
        av.logging.set_level(level)
    return True


def _count(kind: str, count: Callable[[], int], counts: dict[str, int]) -> None:
    with contextlib.suppress(NoGpu):  # then one is known to work, and no more
        counts[kind] = count()


def main() -> int:
    """Print what was found as one JSON object."""
    logging.disable()
    found: dict[str, Any] = asdict(find_engines())
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
