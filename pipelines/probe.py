"""The facts of a source: which stream is shown, what its pictures are, which sounds there are.

Claims of the headers are checked against the first decoded frames. Limits are checked as soon as a figure is known:
sizes before anything is decoded.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition

from pipelines import picture_facts
from pipelines.errors import CorruptMedia, NoDecodableStream, TruncatedMedia, UnsupportedCodec, UnsupportedMedia
from pipelines.facts import AudioFacts, MediaInfo, VideoFacts
from pipelines.heads import AudioHead, VideoHead, audio_heads, video_head
from pipelines.languages import iso_639_2
from pipelines.limits import Limits
from pipelines.opening import codec_of, context_of, may_decode, open_source
from pipelines.text import cleaned

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream

NOT_SHOWN = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image | Disposition.dependent


def probe(path: str, limits: Limits, *, with_video: bool = True) -> MediaInfo:
    """The facts of the local file at `path`; without `with_video` as if it had sound only.

    Raises the RejectedMedia that says what is wrong with it; NoDecodableStream when neither a picture nor a sound can
    be decoded.
    """
    size = Path(path).stat().st_size
    limits.check("max_bytes", size, f"the file has {size:,} bytes")
    with open_source(path, max_pixels=limits.max_pixels, max_streams=limits.max_streams) as container:
        streams = list(container.streams)
        limits.check("max_streams", len(streams), f"the file has {len(streams)} streams or more")
        duration_s = _duration(container)
        limits.check("max_duration_s", duration_s, f"the file lasts {duration_s:,.0f} s")
        shown = _candidates(streams) if with_video else []
        sounds = [stream for stream in streams if stream.type == "audio"]
        limits.check("max_audio_tracks", len(sounds), f"the file has {len(sounds)} audio tracks")
        for stream in shown:
            _check_size(stream, limits)
        video = _video(path, shown, limits, duration_s)
        audio = _audio(path, sounds, limits, video)
        if video is None and not audio:
            raise NoDecodableStream("the file has no video or audio that can be decoded")
        kept = {track.stream_index for track in audio} | ({video.stream_index} if video else set())
        return MediaInfo(
            container=container.format.name,
            size_bytes=size,
            duration_s=duration_s or max([video.duration_s if video else 0.0, *(a.duration_s for a in audio)]),
            video=video,
            audio=audio,
            has_cover=any(s.disposition & Disposition.attached_pic for s in streams),
            other_streams=tuple(
                f"{stream.type}:{codec_of(stream)}"
                for stream in streams
                if stream.index not in kept and not stream.disposition & Disposition.attached_pic
            ),
        )


def _duration(container: "InputContainer") -> float:
    return max(0.0, (container.duration or 0) / 1_000_000)


def _candidates(streams: "Sequence[Stream]") -> "list[Stream]":
    """The video streams that may be the shown one, likeliest first: marked as default, then large, then early."""
    return sorted(
        (s for s in streams if s.type == "video" and not s.disposition & NOT_SHOWN),
        key=lambda s: (may_decode(s), bool(s.disposition & Disposition.default), _pixels(s), -s.index),
        reverse=True,
    )


def _pixels(stream: Any) -> int:
    return 0 if context_of(stream) is None else int(stream.width * stream.height)


def _check_size(stream: Any, limits: Limits) -> None:
    if context_of(stream) is None:
        return
    width, height = stream.width, stream.height
    found = f"the pictures are {width}×{height}"
    limits.check("max_width", width, found)
    limits.check("max_height", height, found)
    limits.check("max_pixels", width * height, f"{found}, {width * height:,} pixels")


def _video(path: str, candidates: "list[Stream]", limits: Limits, duration_s: float) -> VideoFacts | None:
    """The first candidate that gives a frame; None when there is none, or none has any data."""
    heads: list[tuple[Stream, VideoHead]] = []
    for stream in candidates:
        if not may_decode(stream):
            continue
        head = video_head(path, stream.index, limits)
        if head.first is not None:
            return _video_facts(stream, head, limits, duration_s)
        heads.append((stream, head))
    for stream, head in heads:
        if head.error is not None:
            raise head.error
        if head.packets:
            codec = codec_of(stream)
            raise CorruptMedia(f"not one picture of the {codec} video can be decoded", detail={"native": head.native})
        _check_data(stream)
    for stream in candidates:
        if not may_decode(stream):
            raise _unsupported(stream)
    return None


def _check_data(stream: "Stream") -> None:
    """Refuse a stream that lists samples of which none can be read; one that lists none is merely empty."""
    entries = stream.index_entries
    if len(entries) and entries[-1].pos + entries[-1].size > (stream.container.size or 0):  # type: ignore[attr-defined]
        raise TruncatedMedia(f"the file ends before its {stream.type} begins: was the upload interrupted?")
    if len(entries) or stream.frames:
        raise CorruptMedia(f"the file lists {stream.type} that cannot be found in it")


def _unsupported(stream: "Stream") -> UnsupportedCodec:
    codec = codec_of(stream)
    named = "an unknown codec" if codec == "unknown" else f"the codec {codec}"
    return UnsupportedCodec(f"the {stream.type} is in {named}, which is not accepted", detail={"codec": codec})


def _video_facts(stream: Any, head: VideoHead, limits: Limits, duration_s: float) -> VideoFacts:
    context, frame = stream.codec_context, head.first
    assert frame is not None
    claims = context.coded_side_data
    _check_dolby(_bytes(claims.get("dovi_conf")))
    pixel_format = frame.format.name
    primaries, transfer, space = picture_facts.colors(
        pixel_format,
        _set(frame.color_primaries, context.color_primaries),
        _set(frame.color_trc, context.color_trc),
        _set(frame.colorspace, context.colorspace),
    )
    matrix = _frame_data(frame, SideData.DISPLAYMATRIX) or _bytes(claims.get("display_matrix"))
    rotation_deg, mirrored = picture_facts.orientation(matrix)
    light = _frame_data(frame, SideData.MASTERING_DISPLAY_METADATA) or _bytes(claims.get("mastering_display_metadata"))
    levels = _frame_data(frame, SideData.CONTENT_LIGHT_LEVEL) or _bytes(claims.get("content_light_level"))
    order = picture_facts.field_order(context.field_order, head.interlaced, frame.height)
    time_base = Fraction(stream.time_base.numerator, stream.time_base.denominator)
    rate = picture_facts.frame_rate(
        # A stream without times (raw H.264) has an average of its demuxer's invention; the guess asks the codec.
        _fraction(stream.average_rate if head.times else stream.guessed_rate),
        _fraction(stream.base_rate),
        sorted(set(head.times)),
        time_base,
        fields=order != "progressive",
    )
    limits.check("max_frame_rate", float(rate), f"the video has {float(rate):,.3f} frames per second")
    facts = VideoFacts(
        stream_index=stream.index,
        codec=codec_of(stream),
        profile=stream.profile,
        width=frame.width,
        height=frame.height,
        sample_aspect_ratio=picture_facts.pixel_aspect(_fraction(stream.sample_aspect_ratio)),
        rotation_deg=rotation_deg,
        mirrored=mirrored,
        pixel_format=pixel_format,
        bit_depth=max(component.bits for component in frame.format.components),
        field_order=order,
        color_primaries=primaries,
        color_transfer=transfer,
        color_space=space,
        color_range=picture_facts.color_range(pixel_format, frame.color_range or context.color_range),
        frame_rate=rate,
        time_base=time_base,
        start_s=float((stream.start_time or 0) * time_base),
        duration_s=float(stream.duration * time_base) if stream.duration else duration_s,
        bitrate_bps=stream.bit_rate or 0,
        mastering_display=picture_facts.mastering_display(light),
        content_light=picture_facts.content_light(levels),
    )
    _check_shown(facts, limits)
    return facts


def _check_dolby(record: bytes | None) -> None:
    """Refuse pictures in Dolby's own colour space, which would come out green and purple."""
    profile = picture_facts.dolby_profile_without_base(record)
    if profile is not None:
        raise UnsupportedMedia(
            f"the video is Dolby Vision profile {profile}, which has no HDR10, HLG or SDR picture: upload one that has",
            detail={"dolby_vision_profile": profile},
        )


def _check_shown(facts: VideoFacts, limits: Limits) -> None:
    """The decoder's own size and the shown one, which headers may have hidden."""
    for width, height in ((facts.width, facts.height), facts.display_size):
        limits.check("max_width", width, f"the pictures are {width}×{height}")
        limits.check("max_height", height, f"the pictures are {width}×{height}")


def _audio(path: str, streams: "list[Stream]", limits: Limits, video: VideoFacts | None) -> tuple[AudioFacts, ...]:
    """Every track that gives a sound.

    One that does not is left out while another does: telephones add tracks that nobody else can decode. When none is
    left, a source whose sound would be lost is refused.
    """
    heads = audio_heads(path, [stream.index for stream in streams], limits) if streams else {}
    found = tuple(_audio_facts(s, heads[s.index], limits) for s in streams if heads[s.index].decoded)
    if found:
        return found
    for stream in streams:
        head = heads[stream.index]
        if not head.able and (head.packets or video is None):
            raise _unsupported(stream)
        if head.packets:
            raise CorruptMedia(f"not one sound of the {codec_of(stream)} audio can be decoded")
        _check_data(stream)
    return ()


def _audio_facts(stream: Any, head: AudioHead, limits: Limits) -> AudioFacts:
    limits.check("max_audio_channels", head.channels, f"an audio track has {head.channels} channels")
    time_base = stream.time_base
    return AudioFacts(
        stream_index=stream.index,
        codec=codec_of(stream),
        channels=head.channels,
        layout=head.layout,
        sample_rate_hz=head.sample_rate_hz,
        language=iso_639_2(stream.language),
        title=cleaned(stream.metadata.get("title", "")),
        default=bool(stream.disposition & Disposition.default),
        start_s=float((stream.start_time or 0) * time_base),
        duration_s=float(stream.duration * time_base) if stream.duration else 0.0,
        bitrate_bps=stream.bit_rate or 0,
    )


def _set(value: int, otherwise: int) -> int:
    """A frame's tag, or the container's where the frame's says "unspecified"."""
    return otherwise if value == 2 else value


def _fraction(value: Any) -> Fraction | None:
    return Fraction(value.numerator, value.denominator) if value else None


def _frame_data(frame: Any, kind: SideData) -> bytes | None:
    return _bytes(frame.side_data.get(kind))


def _bytes(data: Any) -> bytes | None:
    return None if data is None else bytes(data)
