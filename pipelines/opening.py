"""The one way in which a stranger's media is opened.

Nothing here is a user's string but the path of our own local copy. Demuxers and decoders are the few that real uploads
need: every other parser in the library is one that only an attacker would reach. Names that lie inside a file are never
followed.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import av
import av.error
from av.stream import Discard

from pipelines import boxes, ebml
from pipelines.errors import (
    CorruptMedia,
    EncryptedMedia,
    LimitExceeded,
    MediaError,
    NoDecodableStream,
    NotMedia,
    TruncatedMedia,
    UnsupportedCodec,
    UnsupportedMedia,
)
from pipelines.limits import CEILING_PIXELS, CEILING_STREAMS
from pipelines.native import from_log, native_errors, typed
from pipelines.signatures import HEAD_BYTES, Signature, refuse_by_signature

if TYPE_CHECKING:
    from av.codec.context import CodecContext
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

DEMUXERS = (
    "mov", "matroska", "avi", "flv", "mpegts", "mpeg", "asf", "mxf", "ogg",  # with video
    "h264", "hevc", "mpegvideo",  # video without a container
    "mp3", "aac", "ac3", "eac3", "flac", "wav", "aiff", "caf", "amr",  # sound
)  # fmt: skip

VIDEO_DECODERS = (
    "h264", "hevc", "vvc", "vp8", "vp9", "libdav1d",  # what is uploaded today
    "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2", "msmpeg4", "h263", "flv", "theora",  # old cameras and the web
    "wmv1", "wmv2", "wmv3", "vc1", "mjpeg", "dvvideo",
    "prores", "dnxhd", "cfhd", "ffv1",  # cutting rooms and archives
)  # fmt: skip

AUDIO_DECODERS = (
    "aac", "aac_latm", "mp2", "mp2float", "mp3", "mp3float", "ac3", "eac3", "dca", "truehd",
    "flac", "alac", "vorbis", "opus", "amrnb", "amrwb", "speex", "wmav1", "wmav2", "wmapro",
    "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be", "pcm_s8", "pcm_u8",
    "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_alaw", "pcm_mulaw", "pcm_bluray", "pcm_dvd",
    "adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt",
)  # fmt: skip

DECODERS = frozenset(VIDEO_DECODERS + AUDIO_DECODERS)
UPLOAD_BOXES = ("mdat", "free", "uuid", "moof")  # one of which an interrupted upload ends in
FRAGMENT_BOXES = ("styp", "sidx", "emsg", "prft", "moof", "mdat")  # that a fragment consists of, or that announce one
PROBE_BYTES = 50_000_000  # a 100 Mbit/s transport stream whose sound starts 4 s late is still understood
PROBE_US = 20_000_000
IO_TIMEOUT_S = 30.0  # for one open or one read of a local file: a disk that hangs, a loop in a demuxer


def open_source(
    path: str,
    *,
    video: int | None = None,
    max_pixels: int = CEILING_PIXELS,
    max_streams: int = CEILING_STREAMS,
) -> "InputContainer":
    """The container of the local file at `path`, at its first packet; use it as a context manager.

    `video` is the stream that will be decoded: its decoder must be on the list. Pictures above `max_pixels` fail in the
    decoder; of more than `max_streams` streams one more than allowed is visible. Raises MediaError; OSError when the
    file itself cannot be read.
    """
    absolute = Path(path).resolve()
    with absolute.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        kind = refuse_by_signature(file.read(HEAD_BYTES))
        broken = _look_inside(file, size, kind)
    container = _open(absolute, kind, broken, max_pixels, max_streams)
    try:
        _confine_decoders(container, max_pixels)
        if video is not None:
            _check_stream(container, video)
    except BaseException:
        container.close()
        raise
    return container


def demux_source(container: "InputContainer", *streams: "Stream | None") -> "Iterator[Packet[Any]]":
    """The packets of `streams` (others are skipped, unread where the container has an index); of all without any.

    A container that cannot be read to its end raises MediaError.
    """
    wanted = [stream for stream in streams if stream is not None]
    if wanted:
        for other in container.streams:
            if other not in wanted:
                other.discard = Discard.all
    packets = iter(container.demux(*wanted))
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            raise typed(error, "read the file to its end") from error
        if packet is None:
            return
        yield packet


def context_of(stream: "Stream") -> "CodecContext | None":
    """The stream's codec context, or None when FFmpeg has no decoder for it (PyAV's type says otherwise)."""
    return stream.codec_context


def decoder_of(stream: "Stream") -> str | None:
    """The name of the decoder that would be used, or None when there is none."""
    context = context_of(stream)
    return None if context is None else context.name


def may_decode(stream: "Stream") -> bool:
    """True when the stream's decoder is on the list."""
    return decoder_of(stream) in DECODERS


def codec_of(stream: "Stream") -> str:
    """FFmpeg's name of the stream's codec (not of the decoder): h264, av1, amr_nb …; "unknown" without a decoder."""
    context = context_of(stream)
    return "unknown" if context is None else context.codec.canonical_name


def _look_inside(file: BinaryIO, size: int, kind: Signature) -> MediaError | None:
    """Refuse what points elsewhere or is encrypted; what is wrong with the boxes, in case the demuxer fails too."""
    if kind.name == "an MP4 file":
        facts = boxes.look(file, size)
        if facts.external:
            raise UnsupportedMedia("the file keeps its media in another file: upload a self-contained one")
        if facts.encrypted:
            raise EncryptedMedia("the media is encrypted")
        if not facts.has_moov:
            if facts.has_fragments:
                return CorruptMedia("the file is a fragment without the header that describes it (no moov box)")
            if facts.cut in UPLOAD_BOXES:
                return TruncatedMedia("the file ends before its index (no moov box): was the upload interrupted?")
            return CorruptMedia("the file has no index (no moov box)")
        if facts.cut == "moov":
            raise TruncatedMedia("the file ends in the middle of its index: was the upload interrupted?")
        if facts.has_fragments and facts.cut in FRAGMENT_BOXES:  # what came before it would pass for the whole
            raise TruncatedMedia("the file ends in the middle of a fragment: was the upload interrupted?")
    if kind.name == "a Matroska or WebM file" and ebml.is_encrypted(file, size):
        raise EncryptedMedia("the media is encrypted")
    return None


def _open(
    path: Path, kind: Signature, broken: MediaError | None, max_pixels: int, max_streams: int
) -> "InputContainer":
    try:
        with native_errors("open the file") as log:
            container = av.open(
                f"file:{path}",  # the prefix: a name with a colon is still a file
                "r",
                options=_options(max_pixels, max_streams),
                timeout=(IO_TIMEOUT_S, IO_TIMEOUT_S),
            )
            error = from_log(log)
            if isinstance(error, LimitExceeded) and any(not stream.width for stream in container.streams.video):
                container.close()  # the prober's decoder refused the pictures, so that not even their size is known
                raise error
            return container
    except CorruptMedia as error:
        if broken is not None:
            raise type(broken)(broken.public_message, detail=error.detail) from error
        if kind.kind == "unknown":
            raise NotMedia("the file is not video or audio of a kind that is accepted", detail=error.detail) from error
        raise CorruptMedia(f"the file looks like {kind.name} but cannot be read", detail=error.detail) from error


def _options(max_pixels: int, max_streams: int) -> dict[str, str]:
    # The decoders that FFmpeg opens while it probes obey these too.
    return {
        "format_whitelist": ",".join(DEMUXERS),  # also the demuxers that a demuxer opens
        "protocol_whitelist": "file",
        "codec_whitelist": ",".join(sorted(DECODERS)),
        "max_pixels": str(max_pixels),
        "max_streams": str(max_streams + 1),
        "probesize": str(PROBE_BYTES),
        "analyzeduration": str(PROBE_US),
        "enable_drefs": "0",  # MP4 data references
        "use_absolute_path": "0",
    }


def _confine_decoders(container: "InputContainer", max_pixels: int) -> None:
    for stream in container.streams:
        context = context_of(stream)
        if context is not None and stream.type in ("video", "audio"):
            context.options = {"codec_whitelist": ",".join(sorted(DECODERS)), "max_pixels": str(max_pixels)}


def _check_stream(container: "InputContainer", index: int) -> None:
    if index >= len(container.streams):
        raise NoDecodableStream(f"the file has no stream {index}")
    stream = container.streams[index]
    if not may_decode(stream):
        raise UnsupportedCodec(f"the codec {codec_of(stream)} is not accepted", detail={"codec": codec_of(stream)})
