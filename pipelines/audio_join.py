"""An audio track out of an earlier package: its packets in a file like the one that was packaged, proven like it."""

from dataclasses import dataclass
from pathlib import Path

import av

from pipelines.audio import MAX_OFFSET_MS, read_back
from pipelines.errors import ProofFailed
from pipelines.plan import AudioTrackPlan
from pipelines.segments import Parts


@dataclass(frozen=True, slots=True)
class JoinTrack:
    """One packaged track, and where its MP4 goes."""

    plan: AudioTrackPlan
    paths: tuple[str, ...]  # the init segment and all media segments, in order
    expected_samples: int
    out_path: str


@dataclass(frozen=True, slots=True)
class TrackProof:
    """What was found in the file, as a player reads it."""

    name: str
    samples: int
    start_offset_ms: float
    bytes: int


def join_track(track: JoinTrack) -> TrackProof:
    """Copy the packets and read them back; raises ProofFailed unless they play the expected samples from 0 on."""
    out_path = Path(track.out_path)
    # bitexact, language and bitrate as when it was encoded: the same packets then give the very same file
    with (
        Parts([Path(path) for path in track.paths]) as parts,
        av.open(parts, "r", format="mp4") as packaged,
        av.open(track.out_path, "w", format="mp4", options={"fflags": "+bitexact"}) as out,
    ):
        source = packaged.streams.audio[0]
        stream = out.add_stream_from_template(source)
        stream.codec_context.bit_rate = track.plan.bitrate_bps
        stream.metadata.clear()
        stream.metadata["language"] = track.plan.language
        for packet in packaged.demux(source):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    played = read_back(out_path)
    proof = TrackProof(track.plan.name, played.samples, played.start_offset_ms, out_path.stat().st_size)
    if proof.samples != track.expected_samples or abs(proof.start_offset_ms) > MAX_OFFSET_MS:
        raise ProofFailed(
            f"audio track {proof.name} of an earlier revision plays {proof.samples} samples from"
            f" {proof.start_offset_ms:.1f} ms instead of {track.expected_samples} from 0"
        )
    return proof
