"""VP8 and VP9 with frames that are referred to and never shown: encoders make them in the second of two passes only."""

from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
from av.bitstream import BitStreamFilterContext
from av.codec.context import Flags

from tests.support.media import ENCODERS, Clip, folder, picture

SECOND_PASS = 1 << 10  # AV_CODEC_FLAG_PASS2, which PyAV does not name


@cache
def with_hidden_frames(codec: str, frames: int = 75, *, packed: bool = True) -> Path:
    """A WebM of `codec` (vp8, vp9); `packed`: VP9's hidden frames lie in one packet with the next shown one."""
    target = folder() / f"hidden-{codec}-{frames}-{packed}.webm"
    stats = _encode(target, codec, frames, None)
    _encode(target, codec, frames, stats)
    return target if packed else _unpacked(target)


def _encode(target: Path, codec: str, frames: int, stats: str | None) -> str | None:
    wish = Clip(width=96, height=64, frames=frames)
    options = {"deadline": "good", "cpu-used": "2", "auto-alt-ref": "1", "lag-in-frames": "16", "b": "60k"}
    with av.open(str(target), "w", format="webm") as out:
        stream: Any = out.add_stream(ENCODERS[codec], rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = wish.width, wish.height, "yuv420p"
        context = stream.codec_context
        context.time_base, context.gop_size, context.thread_count = Fraction(1, 30), 40, 1
        context.flags |= Flags.pass1 if stats is None else SECOND_PASS
        if stats is not None:
            context.stats_in = stats
        for number in range(frames):
            frame = picture(wish, number)
            frame.pts, frame.time_base = number, Fraction(1, 30)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        found: str | None = context.stats_out
        return found


def _unpacked(path: Path) -> Path:
    """Every frame in a packet of its own, hidden ones with the time of the frame after them."""
    target = path.with_stem(f"{path.stem}-unpacked")
    # -autobsf: the muxer would pack them again
    options = {"fflags": "-autobsf"}
    with av.open(str(path)) as source, av.open(str(target), "w", format="webm", options=options) as out:
        stream = out.add_stream_from_template(source.streams.video[0], opaque=True)
        split = BitStreamFilterContext("vp9_superframe_split", source.streams.video[0])
        for packet in source.demux(video=0):
            for part in split.filter(packet if packet.size else None):
                part.stream = stream
                out.mux(part)
    return target
