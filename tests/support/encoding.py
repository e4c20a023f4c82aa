"""Encoders run by the options of a plan, on pictures that tempt them off the grid."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache

import av
import numpy as np
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ladders.model import H264, Av1, Hevc, SelectedRung
from pipelines.encoders import configure, rendition_plan
from pipelines.plan import ColorTags, RenditionPlan

RATE = Fraction(30)
SDR = ColorTags("bt709", "bt709", "bt709")
HDR10 = ColorTags("bt2020", "smpte2084", "bt2020nc")
MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
CODECS: tuple[H264 | Hevc | Av1, ...] = (H264(), Hevc(), Av1())
DECODERS = {"h264": "h264", "hevc": "hevc", "av1": "libdav1d"}


@dataclass(frozen=True)
class Coded:
    """What an encoder gave."""

    packets: "list[Packet[VideoStream]]"
    extradata: bytes

    @property
    def keys(self) -> list[int]:
        return sorted(packet.pts or 0 for packet in self.packets if packet.is_keyframe)

    @property
    def bits(self) -> list[int]:
        return [packet.size * 8 for packet in self.packets]


def plan_of(
    codec: H264 | Hevc | Av1, width: int = 160, height: int = 90, gop: int = 12, **given: object
) -> RenditionPlan:
    rung = SelectedRung(name="r", width=width, height=height, crf=28, max_bitrate_bps=None)
    rung = rung.model_copy(update={key: given.pop(key) for key in list(given) if key in SelectedRung.model_fields})
    values = {"color": SDR, "frame_rate": RATE} | given
    return rendition_plan(rung, codec, gop_frames=gop, **values)  # type: ignore[arg-type]


def with_params(plan: RenditionPlan, more: str) -> RenditionPlan:
    key = next(name for name in plan.options if name.endswith("-params"))
    return replace(plan, options=plan.options | {key: f"{plan.options[key]}:{more}"})


@cache
def scenes(width: int, height: int, count: int, cut_every: int = 7, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Grey pictures: a still gradient and moving noise take turns, so that every cut asks for a key frame."""
    random = np.random.default_rng(seed)
    calm = np.tile(np.linspace(20, 230, width, dtype=np.uint8), (height, 1))
    wild = random.integers(0, 255, (height + count, width), dtype=np.uint8)
    return tuple(wild[n : n + height] if n // cut_every % 2 else calm for n in range(count))


def encoded(plan: RenditionPlan, pictures: Iterable[np.ndarray]) -> Coded:
    context = av.CodecContext.create(plan.encoder, "w")
    assert isinstance(context, VideoCodecContext)
    configure(context, plan, RATE, 1 / RATE)
    context.thread_count = 1
    packets: list[Packet[VideoStream]] = []
    for number, picture in enumerate(pictures):
        frame = VideoFrame.from_ndarray(picture, format="gray").reformat(format=plan.pixel_format, threads=1)
        frame.pts, frame.time_base = number, 1 / RATE
        packets += context.encode(frame)
    packets += context.encode(None)
    return Coded(packets, context.extradata or b"")


def decoded(plan: RenditionPlan, coded: Coded, first: int = 0) -> list[VideoFrame]:
    """The frames from packet number `first` on."""
    context = av.CodecContext.create(DECODERS[plan.codec], "r")
    assert isinstance(context, VideoCodecContext)
    context.extradata = coded.extradata
    frames = [frame for packet in coded.packets[first:] for frame in context.decode(packet)]
    return [*frames, *context.decode(None)]
