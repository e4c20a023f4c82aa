"""The report of a job: what came in, what was made of it, what proves it, what it cost.

It is part of the manifest and is what the API shows; plain values, units in the names.
"""

from dataclasses import dataclass
from typing import Any

from pipelines.facts import MediaInfo
from pipelines.plan import AudioTrackPlan, Plan, RenditionPlan, VideoPlan
from pipelines.quality import summarise
from pipelines.version import versions
from pipelines.wire import to_wire


@dataclass(frozen=True, slots=True)
class ChunkFacts:
    """What the chunk step stored beside one chunk of one rendition."""

    number: int
    rendition: str
    encode_cpu_s: float
    decode_cpu_s: float
    concealed_frames: int
    vmaf: tuple[float, ...]
    vmaf_missing: str | None


def build_report(
    plan: Plan,
    chunks: list[ChunkFacts],
    proofs: list[dict[str, Any]],
    audio: list[dict[str, Any]],
    package: dict[str, Any],
    stages: dict[str, Any],
) -> dict[str, Any]:
    """The report; `proofs` and `audio` have one entry per rendition and track, `stages` one per kind of process."""
    video = plan.video
    renditions = [_rendition(r, video, chunks, proofs) for r in video.renditions] if video else []
    return {
        "kind": "video" if video else "audio",
        "source": source_facts(plan.info),
        "duration_s": plan.duration_s,
        "renditions": renditions,
        "audio": [_track(track, audio) for track in plan.audio],
        "package": package,
        "path": _path(video, chunks),
        "stages": stages,
        "versions": versions(),
    }


def source_facts(info: MediaInfo) -> dict[str, Any]:
    """The source as the API shows it."""
    facts: dict[str, Any] = to_wire(info)
    if info.video is not None:
        facts["video"] |= {
            "display_width": info.video.display_size[0],
            "display_height": info.video.display_size[1],
            "dynamic_range": info.video.dynamic_range,
        }
    return facts


def _path(video: VideoPlan | None, chunks: list[ChunkFacts]) -> dict[str, Any] | None:
    if video is None:
        return None
    first = video.renditions[0].name
    return {
        "lane": "cpu",
        "chunks": len(video.chunks),
        "why_one_chunk": video.why_not_chunkable,
        "frames": video.frame_count,
        "held_frames": video.held_frames,
        "frame_rate": to_wire(video.frame_rate),
        "concealed_frames": sum(chunk.concealed_frames for chunk in chunks if chunk.rendition == first),
        "decode_cpu_s": round(sum(chunk.decode_cpu_s for chunk in chunks if chunk.rendition == first), 3),
    }


def _rendition(
    plan: RenditionPlan, video: VideoPlan | None, chunks: list[ChunkFacts], proofs: list[dict[str, Any]]
) -> dict[str, Any]:
    assert video is not None, "renditions come with a video plan"
    mine = [chunk for chunk in chunks if chunk.rendition == plan.name]
    proof = next(proof for proof in proofs if proof["name"] == plan.name)
    scores = [score for chunk in mine for score in chunk.vmaf]
    missing = next((chunk.vmaf_missing for chunk in mine if chunk.vmaf_missing), None)
    return {
        "name": plan.name,
        "codec": plan.codec,
        "encoder": plan.encoder,
        "width": plan.width,
        "height": plan.height,
        "frame_rate": to_wire(video.frame_rate),
        "frames": proof["frames"],
        "bytes": proof["bytes"],
        "mean_bitrate_bps": proof["mean_bitrate_bps"],
        "peak_1s_bitrate_bps": proof["peak_1s_bitrate_bps"],
        "vmaf": to_wire(summarise(tuple(scores))) if scores else None,
        "vmaf_missing": None if scores else missing,
        "encode_cpu_s": round(sum(chunk.encode_cpu_s for chunk in mine), 3),
        "chunks": len(mine),
        "proof": proof,
    }


def _track(plan: AudioTrackPlan, audio: list[dict[str, Any]]) -> dict[str, Any]:
    proof = next(proof for proof in audio if proof["name"] == plan.name)
    return {
        "name": plan.name,
        "codec": "aac",
        "language": plan.language,
        "title": plan.title,
        "default": plan.default,
        "channels": plan.channels,
        "sample_rate_hz": plan.sample_rate_hz,
        "bitrate_bps": plan.bitrate_bps,
        "proof": {key: value for key, value in proof.items() if key != "path"},
    }
