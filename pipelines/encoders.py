"""From a rung to an encoder's options, and the proof that the encoder takes every one of them.

All chunks of a rendition are encoded by these options, each by an encoder of its own that knows nothing of the others.
So the options must see to it that the chunks can be joined: the same parameter sets whatever the pictures are, key
frames on the GOP grid and nowhere else, nothing that refers past a key frame, and a buffer model that holds over the
joins; and that a chunk that is made again, elsewhere, has the same bytes. An encoder has one thread: x264's choices
follow their number, and x265's and SVT-AV1's are pools that would fight over the cores with the other rungs.

The options are plain strings. What PyAV 19 makes of them: names that an encoder does not know stay in
`context.options` after opening, without an error; unknown keys inside ``x264-params`` and its like are a line in the
log and nothing else. `check_options` turns both into errors.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from pipelines.color import MATRICES, PRIMARIES, RANGES, TRANSFERS, mastering_numbers, svt_mastering
from pipelines.errors import EncodeFailed, UnsupportedMedia
from pipelines.h264_levels import h264_level
from pipelines.plan import ColorTags, RenditionPlan

if TYPE_CHECKING:  # a media process that encodes need not load pydantic
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame

    from ladders.model import H264, Av1, Codec, Hevc, Rung, SelectedRung, VideoPart

ENCODERS = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1"}

MIN_SIDE_PX = {"h264": 2, "hevc": 32, "av1": 16}
"""x265 wants a whole coding tree unit, of 32 from level 5 on; SVT-AV1 4.2 writes past its buffers at 4×4 and 8×8."""
CUTREE_MIN_WIDTH_PX = 64
"""x265's quantiser tree writes past its rows in pictures up to 48 wide (seen under a checking allocator)."""

BUFFER_S = 2.0
"""Of the VBV that a rendition promises: what a player may have to load ahead at the highest bitrate."""
CHUNK_BUFFER_SHARE = 0.75
"""Of it that a chunk's encoder may use, for a chunk cannot know how full its predecessor leaves the buffer. Measured on
a clip that jumps from a still picture to a crowd, this and `CHUNK_START` leave 30 % of the buffer at the worst join."""
X264_LOOKAHEAD = 20
"""Frames, in place of 30 to 60: with GOPs of 2 s more look-ahead tells x264 next to nothing (at 1080p, `medium`, 40
frames: +0.2 % bytes, +0.05 VMAF), and every frame of it weighs 25 MB at 2160p, in a process that has six encoders."""
X264_LONG_LOOKAHEAD = ("fast", "medium", "slow", "slower")  # the presets that look further than that
CHUNK_START = 0.5
"""How full a chunk's encoder takes the buffer to be: the level that x264 and x265 steer to. With their default of 0.9
every chunk spends the same reserve again, and at a tight cap more than half of the frames come too late."""

_SDR = ColorTags("bt709", "bt709", "bt709")
_HDR10 = ColorTags("bt2020", "smpte2084", "bt2020nc")
_HDR10_MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"  # Display P3, 1000 nits


def gop_frames(frame_rate: Fraction, gop_seconds: float) -> int:
    """Frames of one GOP: the whole number nearest to `gop_seconds`, at least 1."""
    return max(1, round(frame_rate * Fraction(repr(gop_seconds))))


def rendition_plan(
    rung: "Rung | SelectedRung",
    codec: "Codec",
    *,
    frame_rate: Fraction,
    gop_frames: int,
    color: ColorTags,
    hdr: bool = False,
    mp4: bool = False,
    mastering_display: str | None = None,
    content_light: str | None = None,
) -> RenditionPlan:
    """How `rung` is encoded. `mastering_display` and `content_light` are written in x265's syntax (see VideoFacts).

    Raises UnsupportedMedia when the picture is too small for the codec, or larger or faster than its highest level.
    """
    _check_size(rung, codec)
    # SVT-AV1 has no buffer model for constant quality, only a soft ceiling: it is asked for, and not promised.
    promised_bps = rung.max_bitrate_bps if codec.name != "av1" else None
    buffer_bits = round(promised_bps * BUFFER_S) if promised_bps else None
    if codec.name == "h264":
        level = h264_level(rung.width, rung.height, frame_rate, promised_bps or 0, buffer_bits or 0)
        options = _x264(rung, codec, gop_frames, level)
    elif codec.name == "hevc":
        options = _x265(rung, codec, gop_frames, mastering_display, content_light)
    else:
        options = _svtav1(rung, codec, gop_frames, mastering_display, content_light)
    if rung.max_bitrate_bps:
        options["maxrate"] = str(rung.max_bitrate_bps)
    if buffer_bits:
        options["bufsize"] = str(round(buffer_bits * CHUNK_BUFFER_SHARE))
    return RenditionPlan(
        name=rung.name,
        codec=codec.name,
        encoder=ENCODERS[codec.name],
        width=rung.width,
        height=rung.height,
        # SDR in HEVC stays 8 bit, which every HEVC decoder takes; AV1 decoders all take 10, which bands less.
        pixel_format="yuv420p10le" if codec.name == "av1" or (hdr and codec.name == "hevc") else "yuv420p",
        options=options,
        color=color,
        max_bitrate_bps=promised_bps,
        buffer_bits=buffer_bits,
        mp4=mp4,
    )


def _check_size(rung: "Rung | SelectedRung", codec: "Codec") -> None:
    least = MIN_SIDE_PX[codec.name]
    if min(rung.width, rung.height) < least:
        raise UnsupportedMedia(
            f"the picture would be {rung.width}×{rung.height}, and {codec.name} needs {least} pixels a side: use a "
            "recipe with h264"
        )


def every_plan(video: "VideoPart") -> Iterator[tuple[RenditionPlan, Fraction]]:
    """Every rung of `video` as it is for a source that fills it, at the highest frame rate: what a recipe can ask for.

    Where the recipe keeps HDR, once more with the tags and values of an HDR10 master.
    """
    frame_rate = Fraction(video.max_frame_rate)
    gop = gop_frames(frame_rate, video.gop_seconds)
    for rung in video.rungs:
        yield rendition_plan(rung, video.codec, frame_rate=frame_rate, gop_frames=gop, color=_SDR), frame_rate
        if video.dynamic_range == "source":
            hdr10 = rendition_plan(
                rung,
                video.codec,
                frame_rate=frame_rate,
                gop_frames=gop,
                color=_HDR10,
                hdr=True,
                mastering_display=_HDR10_MASTERING,
                content_light="1000,400",
            )
            yield hdr10, frame_rate


def _x264(rung: "Rung | SelectedRung", codec: "H264", gop: int, level: str) -> dict[str, str]:
    params: dict[str, object] = {
        "keyint": gop,  # a key frame on every place of the grid …
        "scenecut": 0,  # … and on no other: all rungs and all chunks must agree on where segments can begin
        "open-gop": 0,  # no frame after a key frame refers to one before it, which another chunk has encoded
        "stitchable": 1,  # parameter sets that do not depend on the pictures
        # Of the same frames the same bytes with AVX-512, AVX2, SSE and in plain C, for 4 % of the time. Without it C
        # gives others than SSE and AVX2, and AVX-512 (x264 build 165) others each time, by memory that nobody wrote: at
        # `veryfast`, in 51 of 62 widths, a chunk that was made again differed from the first.
        "cpu-independent": 1,
        "vbv-init": CHUNK_START,
    }
    if codec.preset in X264_LONG_LOOKAHEAD:
        params["rc-lookahead"] = X264_LOOKAHEAD
    return {
        "preset": codec.preset,
        "profile": "high",  # 8-bit 4:2:0: every decoder since 2010
        # Said rather than guessed by x264: then the slow presets' reference frames are held to what the level's
        # decoders can store (1080p by `slower` would become level 5.0, which televisions refuse).
        "level": level,
        "crf": f"{rung.crf:g}",
        "a53cc": "0",  # captions ride on frames: a frame map that drops and repeats frames would garble them
        "x264-params": _joined(params),
    }


def _x265(
    rung: "Rung | SelectedRung", codec: "Hevc", gop: int, mastering_display: str | None, content_light: str | None
) -> dict[str, str]:
    params: dict[str, object] = {
        "keyint": gop,  # these four as for x264
        "scenecut": 0,
        "open-gop": 0,
        "vbv-init": CHUNK_START,
        "info": 0,  # no message with x265's options in the parameter sets
        "pools": "none",  # the rungs of a chunk run side by side …
        "frame-threads": 1,  # … so that an encoder's own threads would only wait for each other
        "log-level": "none",  # x265 writes to stderr by itself
    }
    if rung.width < CUTREE_MIN_WIDTH_PX:
        params["cutree"] = 0
    if mastering_display:
        mastering_numbers(mastering_display)
        params["master-display"] = mastering_display  # HDR10: what the picture was graded on
    if content_light:
        params["max-cll"] = content_light
    return {
        "preset": codec.preset,
        "crf": f"{rung.crf:g}",
        "a53cc": "0",  # as for x264
        "x265-params": _joined(params),
    }


def _svtav1(
    rung: "Rung | SelectedRung", codec: "Av1", gop: int, mastering_display: str | None, content_light: str | None
) -> dict[str, str]:
    params: dict[str, object] = {
        "irefresh-type": 2,  # key frames that nothing refers past; 1 would be forward key frames
        "scd": 0,  # no key frames at scene cuts, as for x264
        "lp": 1,  # one core: SVT-AV1 starts a pool for every encoder otherwise
    }
    if mastering_display:
        params["mastering-display"] = svt_mastering(mastering_display)
    if content_light:
        params["content-light"] = content_light
    return {
        "preset": str(codec.preset),
        "crf": f"{rung.crf:g}",
        "g": str(gop),  # as `keyint` of x264
        "svtav1-params": _joined(params),
    }


def _joined(params: Mapping[str, object]) -> str:
    return ":".join(f"{key}={value}" for key, value in params.items())


def configure(context: "VideoCodecContext", plan: RenditionPlan, frame_rate: Fraction, time_base: Fraction) -> None:
    """Set on an encoder's context, before it is opened, all that `plan` decides.

    PyAV's rationals take a Fraction, and give an AVRational of their own; nothing copies colours from the frames, and
    colours that are set after opening are not in the parameter sets.
    """
    from av.codec.context import Flags

    context.width, context.height, context.pix_fmt = plan.width, plan.height, plan.pixel_format
    context.framerate, context.time_base = frame_rate, time_base
    context.sample_aspect_ratio = Fraction(1)
    context.color_primaries, context.color_trc = PRIMARIES[plan.color.primaries], TRANSFERS[plan.color.transfer]
    context.colorspace, context.color_range = MATRICES[plan.color.space], RANGES[plan.color.range]
    context.flags |= Flags.global_header  # parameter sets beside the stream, as MP4 keeps them
    context.options = dict(plan.options)


def check_options(plan: RenditionPlan, frame_rate: Fraction) -> None:
    """Really open the encoder of `plan` and encode one frame. Raises EncodeFailed, naming what it does not take.

    Not for several threads at once: FFmpeg's log, which alone tells of an unknown parameter, is the process's. SVT-AV1
    describes itself on stderr unless ``SVT_LOG`` is 1 in the environment.
    """
    import av.error
    import av.logging
    from av.video.codeccontext import VideoCodecContext

    before = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture(local=False) as log:
            try:
                context = av.CodecContext.create(plan.encoder, "w")
                assert isinstance(context, VideoCodecContext)
                configure(context, plan, frame_rate, 1 / frame_rate)
                context.thread_count = 1
                packets = [*context.encode(_black(plan)), *context.encode(None)]
            except (av.error.FFmpegError, MemoryError, OverflowError, ValueError) as error:
                raise _refused(plan, [*_lines(log), str(error)]) from error
    finally:
        av.logging.set_level(before)
    unknown = [f"unknown option {name}" for name in context.options]
    if unknown or log:
        raise _refused(plan, [*unknown, *_lines(log)])
    if len(packets) != 1 or not packets[0].is_keyframe or not context.extradata:
        raise _refused(plan, ["the one frame given is not the one key frame that came out"])


def _black(plan: RenditionPlan) -> "VideoFrame":
    from av.video.frame import VideoFrame

    frame = VideoFrame(plan.width, plan.height, plan.pixel_format)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.pts = 0
    return frame


def _lines(log: list[tuple[int, str, str]]) -> list[str]:
    return [message.strip() for _, _, message in log]


def _refused(plan: RenditionPlan, reasons: list[str]) -> EncodeFailed:
    return EncodeFailed(
        f"{plan.encoder} does not take the options of {plan.name}: {'; '.join(reasons)[:500]}",
        detail={"rendition": plan.name, "encoder": plan.encoder, "reasons": reasons, "options": plan.options},
    )
