"""The audio of a job: every kept stream is decoded once, and every rendition of it is encoded from that.

Audio is never cut into chunks: an encoder's state runs through, and the whole of a film costs about as much as half a
minute of its video.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard

from pipelines.audio_encode import TrackEncoder
from pipelines.audio_timeline import Timeline
from pipelines.errors import CorruptMedia, NoDecodableStream, ProofFailed, UnsupportedCodec
from pipelines.native import UNTYPED
from pipelines.opening import codec_of, demux_source, may_decode, open_source
from pipelines.plan import AudioTrackPlan

MAX_OFFSET_MS = 5.0
# Silence stands in for packets that do not decode, up to this share of a stream; what is worse is not worth publishing.
MAX_LOST_SHARE = Fraction(1, 5)
REPORT_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class AudioRequest:
    """What one audio media process does; writes ``{out_dir}/{track.name}.mp4``."""

    source_path: str
    tracks: tuple[AudioTrackPlan, ...]
    start_s: Fraction  # source time that plays at 0
    duration_s: float  # of the outputs, when has_video
    has_video: bool  # without a picture the audio lasts as long as it lasts
    out_dir: str


@dataclass(frozen=True, slots=True)
class AudioProof:
    """One encoded track, as read back from its file."""

    name: str
    samples: int  # that a player plays: priming and padding are hidden by the edit list
    expected_samples: int
    start_offset_ms: float  # of the first sample that plays, against output time 0
    bytes: int
    bitrate_bps: int
    packets: int  # of the source stream
    lost_packets: int  # that did not decode; silence stands in for them
    silence_s: float  # put in for holes, lost packets and a late start


@dataclass(frozen=True, slots=True)
class AudioResult:
    """All tracks, in the order of the request."""

    tracks: tuple[AudioProof, ...]


class _Stream:
    """One source stream and what is made of it."""

    def __init__(self, stream: AudioStream, request: AudioRequest) -> None:
        self.index = stream.index
        end_s = Fraction(request.duration_s) if request.has_video else None
        self.encoders = [
            TrackEncoder(track, Path(request.out_dir) / f"{track.name}.mp4", _samples(end_s, track))
            for track in request.tracks
            if track.stream_index == self.index
        ]
        sinks = [(encoder, encoder.plan.sample_rate_hz) for encoder in self.encoders]
        self.timeline = Timeline(request.start_s, end_s, sinks)
        self.end_s = end_s
        self.packets = 0
        self.lost = 0

    def decode(self, packet: "av.Packet[AudioStream]") -> None:
        """Decode one packet; one that does not decode is counted."""
        self.packets += bool(packet.size)
        try:
            for frame in packet.decode():
                self.timeline.feed(frame)
        except UNTYPED as error:
            if isinstance(error, MemoryError):
                raise
            self.lost += 1
            self.timeline.lost()

    def finish(self) -> tuple[AudioProof, ...]:
        """Close and prove the tracks. Raises CorruptMedia, NoDecodableStream, ProofFailed."""
        if self.lost > MAX_LOST_SHARE * self.packets:
            raise CorruptMedia(f"{self.lost} of {self.packets} packets of audio stream {self.index} cannot be decoded")
        end_s = self.end_s if self.end_s is not None else self.timeline.position_s
        if end_s <= 0:
            raise NoDecodableStream(f"audio stream {self.index} gives no sound")
        return tuple(self._prove(encoder, end_s) for encoder in self.encoders)

    def _prove(self, encoder: TrackEncoder, end_s: Fraction) -> AudioProof:
        expected = round(end_s * encoder.plan.sample_rate_hz)
        encoder.finish(expected)
        played = read_back(encoder.path)
        proof = AudioProof(
            name=encoder.plan.name,
            samples=played.samples,
            expected_samples=expected,
            start_offset_ms=played.start_offset_ms,
            bytes=encoder.path.stat().st_size,
            bitrate_bps=round(played.payload_bytes * 8 / float(end_s)),
            packets=self.packets,
            lost_packets=self.lost,
            silence_s=float(self.timeline.silence_s),
        )
        if proof.samples != expected or abs(proof.start_offset_ms) > MAX_OFFSET_MS:
            raise ProofFailed(
                f"audio track {proof.name} plays {proof.samples} samples from {proof.start_offset_ms:.1f} ms"
                f" instead of {expected} from 0"
            )
        return proof


def encode_audio(request: AudioRequest, report: Callable[[dict[str, Any]], None]) -> AudioResult:
    """Encode all tracks of one source in one pass over it.

    Raises CorruptMedia, NoDecodableStream, UnsupportedCodec, ProofFailed, and what `open_source` raises.
    """
    with open_source(request.source_path) as container:
        wanted = {track.stream_index for track in request.tracks}
        streams = {index: _Stream(_audio_stream(container, index), request) for index in sorted(wanted)}
        _decode_all(container, streams, report)
    proofs = {proof.name: proof for stream in streams.values() for proof in stream.finish()}
    return AudioResult(tuple(proofs[track.name] for track in request.tracks))


def _decode_all(
    container: InputContainer, streams: dict[int, _Stream], report: Callable[[dict[str, Any]], None]
) -> None:
    for other in container.streams:
        if other.index not in streams:
            other.discard = Discard.all  # where the container has an index, its bytes are not even read
    reported = time.monotonic()
    for packet in demux_source(container):
        if packet.stream.index not in streams:
            continue
        streams[packet.stream.index].decode(packet)
        if time.monotonic() - reported >= REPORT_EVERY_S:
            reported = time.monotonic()
            report({"audio_s": float(min(stream.timeline.position_s for stream in streams.values()))})
        if all(stream.timeline.full for stream in streams.values()):
            return


def _audio_stream(container: InputContainer, index: int) -> AudioStream:
    stream = container.streams[index] if index < len(container.streams) else None
    if not isinstance(stream, AudioStream):
        raise NoDecodableStream(f"stream {index} of the file is not audio")
    if not may_decode(stream):
        raise UnsupportedCodec(f"the codec {codec_of(stream)} is not accepted", detail={"codec": codec_of(stream)})
    return stream


def _samples(end_s: Fraction | None, track: AudioTrackPlan) -> int | None:
    return None if end_s is None else round(end_s * track.sample_rate_hz)


@dataclass(frozen=True, slots=True)
class Played:
    """What a player gets from one of our audio files."""

    samples: int
    start_offset_ms: float
    payload_bytes: int


def read_back(path: Path) -> Played:
    """Read our own file as a player does: by its packets, and by decoding its beginning."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        packets = [(p.pts, p.duration, p.size) for p in container.demux(stream) if p.size and p.pts is not None]
    with av.open(str(path)) as container:
        first = next(container.decode(audio=0))
    pts, duration, _ = packets[-1]
    assert first.pts is not None
    return Played(
        samples=pts + (duration or 0) - first.pts,
        start_offset_ms=1000 * first.pts / first.sample_rate,
        payload_bytes=sum(size for _, _, size in packets),
    )
